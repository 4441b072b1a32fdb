"""
A status change that reaches every copy of a property and every post of it.

Each copy is one transaction with its posts; posts beyond its room follow in further ones. The items' own state is the progress:
a run that was interrupted, or that meets another one, finds what is left to do by reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from . import changes, keys, prepare, writes
from .atomic import MAX_BYTES, MAX_OPERATIONS, ON_MARKET, Key, Operation, apply, stored_status, tell
from .codec import item_size, utc_text
from .connection import store
from .entities import ListingStatus, PostStatus
from .exceptions import ItemNotFoundError, MLSSocialError, StaleItemError, TransactionCanceledError
from .results import Guard, Plan, Results
from .schema import DATA, ENTITY_TYPE, LISTING, SOCIAL_POST, Entity, key_of
from .wire import Row, plain_row

if TYPE_CHECKING:
    from .models import Item


@dataclass(frozen=True, slots=True)
class Propagation:
    """
    What became of a status change; keys are (PK, SK).

    Attributes:
        changed: Listings whose status was set, and posts that wait to be unpublished now.
        unchanged: Listings that were to stay as they are: they had the status already, or were given another one since the
            operation_id was applied to them.
        failed: Listings that the change, or a part of their posts, did not reach, with the error; run it again.
    """

    changed: tuple[Key, ...]
    unchanged: tuple[Key, ...]
    failed: dict[Key, MLSSocialError]


class Change(msgspec.Struct, frozen=True):
    """
    A status for all copies of a property.

    Attributes:
        mls_provider: The feed.
        mls_number: The property's number there; None for a listing that has none.
        status: What it is from now on.
        operation_id: Names this change, so that a repeat overrides nothing later.
        model_of: Gives the model whose errors are raised.
    """

    mls_provider: str
    mls_number: str | None
    status: ListingStatus
    operation_id: str | None
    model_of: Callable[[Entity[Any]], type[Item]]

    def propagate(self, copies: Iterable[Row]) -> Propagation:
        """Bring the change to each copy, one after the other."""
        changed: list[Key] = []
        unchanged: list[Key] = []
        failed: dict[Key, MLSSocialError] = {}
        for key in dict.fromkeys(key_of(row) for row in copies):
            try:
                copy = _Copy(self, LISTING.parse(*key))
                try:
                    there = copy.run()
                finally:
                    changed += copy.changed
            except MLSSocialError as error:
                failed[key] = error
            else:
                unchanged += [key] if there and key not in copy.changed else []
        return Propagation(tuple(changed), tuple(unchanged), failed)


class _Copy(msgspec.Struct):
    """One copy on its way to the status."""

    change: Change
    ids: tuple[str, str]
    changed: list[Key] = []

    def run(self) -> bool:
        """Set the status, with as many posts as there is room for, and then the other posts; False if the copy is gone."""
        patience = store().patience()
        settled = False
        while (listing := self._read()) is not None:
            is_so = stored_status(listing) == self.change.status
            posts = list(self._published()) if self.change.status not in ON_MARKET else []
            if (settled and not is_so) or (is_so and not posts and (settled or self.change.operation_id is None)):
                return True  # it is as it should be; or somebody has changed it since, who is not to be overridden
            try:
                self._apply(listing, posts, is_so=is_so, record=not settled)
            except TransactionCanceledError as error:
                if not _has_moved(error) or not patience.wait():
                    raise
            else:
                settled, patience = True, store().patience()
        return False

    def _apply(self, listing: Row, posts: list[Row], *, is_so: bool, record: bool) -> None:
        operations = [self._still_so() if is_so else self._set_status(listing)]
        operations += [self._turn(post) for post in _fitting(listing, posts)]
        operation_id, asked = None, [*LISTING.keys(self.ids), self.change.status]
        if record and self.change.operation_id is not None:
            operation_id = f"{self.change.operation_id}/{self.ids[1]}"
        if apply(operations, operation_id, asked=asked):
            self.changed += [one.key for one in operations if one.verb == "update"]
            tell(operations)

    def _read(self) -> Row | None:
        """Read the listing; None if it is gone, or is no copy of this property any more."""
        row = writes.read(LISTING, self.ids, consistent=True)
        data = row[DATA].M if row is not None and DATA in row else None
        if data is None:
            return None
        found = [data[name].S if name in data else None for name in ("mlsProvider", "mlsNumber")]
        return row if found == [self.change.mls_provider, self.change.mls_number] else None

    def _published(self) -> Iterator[Row]:
        user_id, listing_id = self.ids
        guards = (
            Guard((ENTITY_TYPE,), "=", {"S": SOCIAL_POST.name}),
            Guard((DATA, "listingId"), "=", {"S": listing_id}),
            Guard((DATA, "status"), "=", {"S": PostStatus.PUBLISHED.value}),
        )
        partition = keys.user_partition(user_id)
        plan = Plan("posts to unpublish", 0, (partition,), prefix=keys.SOCIAL_POSTS, guards=guards, consistent=True)
        return iter(Results(plan, lambda row: row))

    def _still_so(self) -> Operation:
        check = prepare.check(LISTING, self.ids, {("status",): [{"S": self.change.status.value}]})
        return Operation("check", check, {}, self.change.model_of(LISTING))

    def _set_status(self, listing: Row) -> Operation:
        now = utc_text(datetime.now(UTC))
        return self._update(LISTING, listing, status=self.change.status, status_change_timestamp=now)

    def _turn(self, post: Row) -> Operation:
        now = datetime.now(UTC)
        return self._update(SOCIAL_POST, post, status=PostStatus.UNPUBLISH_PENDING, unpublish_requested_at=now)

    def _update(self, entity: Entity[Any], row: Row, **fields: Any) -> Operation:
        """Prepare a change of an item that was just read, under the condition that it is still as it was."""
        ids = entity.parse(*key_of(row))
        change = changes.parse(entity, f"update {entity.name}", ids, fields, ())
        prepared = prepare.update(entity, ids, change, seen=row).anew(row)
        return Operation("update", prepared, change.asked(), self.change.model_of(entity))


def _fitting(listing: Row, posts: Iterable[Row]) -> Iterator[Row]:
    """Give the posts that one transaction takes beside their listing and the ledger."""
    room = MAX_BYTES - item_size(plain_row(listing))
    for number, post in enumerate(posts, 1):
        room -= item_size(plain_row(post)) + _MORE
        if number > MAX_OPERATIONS - 2 or (room < 0 and number > 1):
            return
        yield post


_MORE = 1024
"""More than what an update adds to an item."""


def _has_moved(error: TransactionCanceledError) -> bool:
    """Tell whether nothing else was in the way than what others have written since it was read."""
    return all(reason is None or isinstance(reason, StaleItemError | ItemNotFoundError) for reason in error.reasons)
