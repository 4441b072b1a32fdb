"""Work queues: leases, so that no two workers take the same item."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from mlssocial import changes, prepare, writes
from mlssocial.codec import epoch_millis, wire_name
from mlssocial.exceptions import InvalidItemError, ItemNotFoundError, StaleItemError, shown
from mlssocial.operations import running
from mlssocial.schema import DATA, INDEX_ATTRIBUTES, LEASE_ID, LEASE_UNTIL, now_millis
from mlssocial.tokens import hide

from .base import D, EntityManager, M, own_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mlssocial.codec import WireMap
    from mlssocial.expressions import Expression

_QUEUE_KEY = INDEX_ATTRIBUTES["gsi2pk"]


class QueueManager(EntityManager[M, D]):
    """
    What the managers of work queues have beyond their verbs: leases.

    A lease is the claimed item itself, with ``lease_id`` and ``lease_until``. It keeps other workers away and nobody else:
    any other write to the item goes on as ever. Whether a lease has run out is told by the clock of whoever claims, so let it
    be long beside the difference between the workers' clocks; one that was taken too early is lost, and its
    :meth:`complete` is refused.
    """

    def claim(self, item: M, *, seconds: float) -> M | None:
        """
        Lease an item of the queue for a time, and give it as it is now, with its lease; None if it cannot be had.

        That is so if another worker has it, and if it has left the place in the queue at which it was read: it is done, gone,
        or was put off. One request, none where the item was in no queue when it was read. A claim is a write like any other
        and moves ``updated_at``: an ``item.save()`` of what was read before is refused.

        Args:
            item: As it was read, most often by the queue's query.
            seconds: How long the lease lasts. The work should take less, or :meth:`extend` it.

        Raises:
            WrongEntityError: Another entity is stored under its key.
            OutcomeUnknownError: Nobody can tell; if it was claimed, it is free again when the lease runs out.
        """
        ids, place = self._place(item)
        lease = {LEASE_ID: {"S": secrets.token_urlsafe(12)}, LEASE_UNTIL: self._until("claim", item, seconds)}
        if place is None:
            return None
        with running(f"claim {self.entity.name}"):
            try:
                row = writes.apply(prepare.mark("claim", self.entity, ids, _free(place), sets=lease, stale=prepare.CHANGED))
            except (StaleItemError, ItemNotFoundError):
                return None
            return self._written("claim", ids, row)

    def claim_each(self, queue: Iterable[M], *, seconds: float) -> Iterator[M]:
        """
        Walk a queue, and give each item that could be claimed, with its lease: one is claimed when it is asked for.

        ``for post in SocialPost.objects.claim_each(SocialPost.objects.pending_unpublish(user_id=ALL_USERS), seconds=60)``.
        What others have leased is passed by, without a request where the queue shows it, so any number of workers may walk one
        queue. What is neither completed nor released is in the queue again once its lease has run out. ``next(…, None)`` takes
        one.
        """
        for item in queue:
            self._ids("claim", item)
            if not _leased(item) and (lease := self.claim(item, seconds=seconds)) is not None:
                yield lease

    def complete(self, lease: M, *, remove: Iterable[str] = (), **fields: Any) -> M:
        """
        Change a claimed item as ``update`` does, end its lease in the same write, and give it as it is now.

        It counts as done only if the lease is still ours, run out or not. One request; a consistent read before it where index
        keys follow from what is not given.

        Raises:
            StaleItemError: The lease was lost; nothing was written, and *item* is what it is now.
            ItemNotFoundError: It is gone.
            InvalidItemError: It was not claimed, or a field is unknown, not valid, or none is given. Nothing was sent.
        """
        hide(fields)
        ids, lease_id = self._lease("complete", lease)
        change = changes.parse(self.entity, f"complete {self.entity.name}", ids, fields, remove)
        with own_errors(self.model):
            row = writes.apply(prepare.update(self.entity, ids, change, verb="complete", lease=lease_id))
        return self._told("complete", self._written("complete", ids, row))

    def extend(self, lease: M, *, seconds: float) -> M:
        """
        Let a lease last *seconds* from now, and give the item as it is now. One request.

        Raises:
            StaleItemError: The lease was lost; *item* is what it is now.
            ItemNotFoundError: It is gone.
            InvalidItemError: It was not claimed. Nothing was sent.
        """
        ids, lease_id = self._lease("extend", lease)
        until = {LEASE_UNTIL: self._until("extend", lease, seconds)}
        with own_errors(self.model):
            row = writes.apply(prepare.mark("extend", self.entity, ids, _held(lease_id), sets=until, stale=prepare.LEASE_LOST))
        return self._written("extend", ids, row)

    def release(self, lease: M) -> bool:
        """Give a claimed item back to the queue, for anybody to claim; False if the lease was lost. One request."""
        ids, lease_id = self._lease("release", lease)
        gone = (LEASE_ID, LEASE_UNTIL)
        with running(f"release {self.entity.name}"):
            try:
                writes.apply(
                    prepare.mark("release", self.entity, ids, _held(lease_id), sets={}, removes=gone, stale=prepare.LEASE_LOST)
                )
            except (StaleItemError, ItemNotFoundError):
                return False
            return True

    def _place(self, item: M) -> tuple[tuple[Any, ...], WireMap | None]:
        """Give an item's ids, and the fields that its place in the queue follows from; None if it is in none."""
        ids = self._ids("claim", item)
        item.version(f"claim {self.entity.name}")  # refuses what was not read whole
        data = self.entity.index_map(item.attribute_values["data"])
        if _QUEUE_KEY not in self.entity.index_keys(ids, data, frozenset()):
            return ids, None
        names = [wire_name(self.entity.payload, name) for name in self.entity.index_fields]
        return ids, {name: data.get(name) for name in names}  # type: ignore[misc]  # None stands for what is absent

    def _lease(self, verb: str, item: M) -> tuple[tuple[Any, ...], str]:
        ids = self._ids(verb, item)
        if item.lease_id is None:
            raise InvalidItemError(f"{verb} {self.entity.name}", (item.pk, item.sk), "it has no lease; claim() it first")
        return ids, item.lease_id

    def _ids(self, verb: str, item: M) -> tuple[Any, ...]:
        if not isinstance(item, self.model):
            reason = f"a {self.model.__name__} is needed, not {type(item).__name__}"
            raise InvalidItemError(f"{verb} {self.entity.name}", None, reason)
        return self.entity.parse(item.pk, item.sk)

    def _until(self, verb: str, item: M, seconds: float) -> dict[str, Any]:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST:
            reason = f"seconds: a number above zero and up to {_LONGEST:,} is needed, not {shown(seconds)}"
            raise InvalidItemError(f"{verb} {self.entity.name}", (item.pk, item.sk), reason)
        return {"N": str(now_millis() + max(1, int(seconds * 1000)))}


_LONGEST = 7 * 24 * 60 * 60
"""Nobody waits longer than a week for an item whose worker has died."""


def _free(place: WireMap) -> Callable[[Expression], str]:
    """Give the condition that an item is where it was read in the queue, and that nobody's lease on it lasts."""
    now = {"N": str(now_millis())}

    def condition(expression: Expression) -> str:
        until = (LEASE_UNTIL,)
        there = [expression.same((DATA, name), value) for name, value in place.items()]
        ran_out = f"(NOT {expression.of_type(until, 'N')} OR {expression.path(until)} <= {expression.value(now)})"
        return " AND ".join([*there, ran_out])

    return condition


def _held(lease_id: str) -> Callable[[Expression], str]:
    return lambda expression: expression.same((LEASE_ID,), {"S": lease_id})


def _leased(item: Any) -> bool:
    return item.lease_until is not None and epoch_millis(item.lease_until) > now_millis()
