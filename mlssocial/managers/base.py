"""What all managers share: the seven verbs, and the plans of queries."""

from __future__ import annotations

from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

from mlssocial import changes, keys, writes
from mlssocial.entities import Payload
from mlssocial.exceptions import ItemNotFoundError
from mlssocial.results import Plan, Results

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlssocial.codec import WireMap
    from mlssocial.models import Item
    from mlssocial.schema import Entity
    from mlssocial.wire import Row

M = TypeVar("M", bound="Item")
D = TypeVar("D", bound=Payload)


class AllUsers(Enum):
    """The type of :data:`ALL_USERS`."""

    ALL_USERS = "all users"

    def __repr__(self) -> str:
        return "ALL_USERS"


ALL_USERS: Final = AllUsers.ALL_USERS
"""Asks an index query for the items of every user. Never a default."""

WhoseItems = str | Literal[AllUsers.ALL_USERS]


class Manager(Generic[M, D]):
    """
    The access to one entity, at ``Model.objects``.

    ``get`` raises where the item is absent and ``find`` gives None; ``create`` fails where it is present, ``save`` overwrites,
    ``update`` fails where it is absent; ``query*`` reads lazily.
    """

    model: type[M]
    entity: Entity[D]

    def __set_name__(self, owner: type[M], name: str) -> None:
        """Take the model that this manager stands on."""
        self.model = owner
        if owner.entity is not None:
            self.entity = owner.entity

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model.__name__}>"

    def _get(self, *ids: Any, consistent: bool) -> M:
        found = self._find(*ids, consistent=consistent)
        if found is None:
            raise self.model.DoesNotExist(f"get {self.entity.name}", self.entity.keys(ids))
        return found

    def _find(self, *ids: Any, consistent: bool) -> M | None:
        row = writes.read(self.entity, ids, consistent=consistent)
        return None if row is None else self._load(row)

    def _create(self, *ids: Any, data: D) -> M:
        return self._load(writes.create(self.entity, ids, self._encoded("create", ids, data)))

    def _save(self, *ids: Any, data: D) -> M:
        return self._load(writes.save(self.entity, ids, self._encoded("save", ids, data)))

    def _update(self, *ids: Any, values: dict[str, Any], remove: Iterable[str]) -> M:
        change = changes.parse(self.entity, f"update {self.entity.name}", ids, values, remove)
        with self._missing():
            return self._load(writes.update(self.entity, ids, change))

    def _delete(self, *ids: Any) -> bool:
        return writes.delete(self.entity, ids)

    def _encoded(self, verb: str, ids: tuple[Any, ...], data: D) -> WireMap:
        return self.entity.encode(f"{verb} {self.entity.name}", ids, data)

    def _load(self, row: Row) -> M:
        return self.model.from_raw_data(row)

    @contextmanager
    def _missing(self) -> Iterator[None]:
        """Raise the model's own DoesNotExist."""
        try:
            yield
        except ItemNotFoundError as error:
            raise self.model.DoesNotExist(error.operation, error.key, error.reason) from None

    def _results(self, method: str, pattern: int, *partitions: str, **how: Any) -> Results[M]:
        return Results(Plan(f"{self.model.__name__}.objects.{method}", pattern, partitions, **how), self._load)


class ItemManager(Manager["Item", Payload]):
    """Everything of a user, whatever it is."""

    def query(self, user_id: str, *, reverse: bool = False, consistent: bool = False) -> Results[Item]:
        """
        Find everything of a user in one query, every item as its own class, ordered by sort key.

        ``PK = USER#<user_id>``. What is another application's comes as a plain Item. It costs the whole partition.

        Raises:
            InvalidKeyError: *user_id* is empty, too long, or contains ``#``.
        """
        return self._results("query", 0, keys.user_partition(user_id), reverse=reverse, consistent=consistent)


def tenant(user_id: WhoseItems) -> str | None:
    """Give the partition key that an index query is confined to, None for ALL_USERS."""
    return None if user_id is ALL_USERS else keys.user_partition(user_id)


def queue_user(user_id: WhoseItems) -> str | None:
    """Give the user whose part of a work queue is read, None for ALL_USERS."""
    return None if user_id is ALL_USERS else user_id
