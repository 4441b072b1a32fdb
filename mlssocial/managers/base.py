"""What all managers share: the seven verbs, and the plans of queries."""

from __future__ import annotations

import warnings
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

from mlssocial import batch, changes, keys, notices, prepare, writes
from mlssocial.entities import Payload
from mlssocial.exceptions import (
    InvalidItemError,
    InvalidKeyError,
    ItemNotFoundError,
    StaleItemError,
    UnreadableItemWarning,
    shown,
)
from mlssocial.operations import running, steps
from mlssocial.results import Plan, Results
from mlssocial.schema import expired, now_millis
from mlssocial.wire import decode_row

from .bulk import CreateMany, DeleteMany, SaveMany

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from mlssocial.batch import BatchResult
    from mlssocial.connection import Patience
    from mlssocial.models import Item
    from mlssocial.schema import Content, Entity
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

    def __dir__(self) -> list[str]:
        """Give the methods, for tab completion: nothing else is of use at a prompt."""
        return [name for name in super().__dir__() if not name.startswith("_") and callable(getattr(type(self), name, None))]

    def _get(self, *ids: Any, consistent: bool) -> M:
        with running(f"get {self.entity.name}"):
            found = self._find(*ids, consistent=consistent)
            if found is None:
                raise self.model.DoesNotExist(f"get {self.entity.name}", self.entity.keys(ids))
            return found

    def _find(self, *ids: Any, consistent: bool) -> M | None:
        with running(f"find {self.entity.name}"):
            row = writes.read(self.entity, ids, consistent=consistent)
            return None if row is None else self._load(row)

    def _create(self, *ids: Any, data: D) -> M:
        row = writes.apply(prepare.create(self.entity, ids, self._encoded("create", ids, data)))
        return self._told("create", self._load(row))

    def _save(self, *ids: Any, data: D) -> M:
        row = writes.apply(prepare.save(self.entity, ids, self._encoded("save", ids, data)))
        return self._told("save", self._load(row))

    def _update(
        self,
        *ids: Any,
        values: dict[str, Any],
        remove: Iterable[str],
        seen: M | None = None,
        patience: Patience | None = None,
    ) -> M:
        operation = f"update {self.entity.name}"
        change = changes.parse(self.entity, operation, ids, values, remove)
        version = self.model.version_of(operation, self.entity.keys(ids), seen)
        with own_errors(self.model):
            row = writes.apply(prepare.update(self.entity, ids, change, seen=version), patience=patience)
        return self._told("update", self._written("update", ids, row))

    def _delete(self, *ids: Any) -> bool:
        was_there = writes.delete(self.entity, ids)
        if was_there:
            notices.tell_key("delete", self.model, self.entity.keys(ids))
        return was_there

    def _told(self, verb: str, item: M) -> M:
        """Let those know who want to be told of writes."""
        notices.tell(verb, item)
        return item

    def _written(self, verb: str, ids: tuple[Any, ...], row: Row) -> M:
        """Load what a write gave back; if it cannot be read, the error says that the write stands."""
        try:
            return self._load(row)
        except InvalidItemError as error:
            reason = f"the change was written; the item cannot be read: {error.reason}"
            operation = f"{verb} {self.entity.name}"
            raise InvalidItemError(operation, self.entity.keys(ids), reason, fields=error.fields) from None

    def _encoded(self, verb: str, ids: tuple[Any, ...], data: D) -> Content:
        return self.entity.encode(f"{verb} {self.entity.name}", ids, data)

    def _load(self, row: Row) -> M:
        return self.model.from_row(row)

    def _results(self, method: str, pattern: int, *partitions: str, **how: Any) -> Results[M]:
        plan = Plan(f"{self.model.__name__}.objects.{method}", pattern, partitions, **how)
        return Results(plan, self.model.from_row, self._decode_row)

    @property
    def _decode_row(self) -> Callable[[Any], Row]:
        return decode_row if self.model.entity is None else self.entity.decode_row


class own_errors:  # noqa: N801  a context manager, as a class because each save pays for it
    """Make errors of the write engine the model's own: its DoesNotExist, and its instance of an item that has changed."""

    __slots__ = ("_model",)

    def __init__(self, model: type[Item]) -> None:
        self._model = model

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, ItemNotFoundError | StaleItemError):
            raise self._model.own_error(error) from None


class EntityManager(Manager[M, D]):
    """What the managers of the five entities have beyond their verbs: reading and writing in bulk."""

    def get_many(self, ids: Iterable[tuple[Any, ...]], *, consistent: bool = False) -> dict[tuple[Any, ...], M]:
        """
        Read many items at once, by their ids: ``get_many([("u1", "l1"), ("u1", "l2")])``.

        Any number, 100 a request and a few requests at a time. What is not there is not in the answer; a row that cannot be
        read is left out with an UnreadableItemWarning. The answer has the ids as they were given, in their order.

        Raises:
            InvalidKeyError: An id cannot go into a key. Nothing was sent.
            StoreError: DynamoDB refused, or left keys unprocessed until the deadline.
        """
        wanted = [(one, self.entity.keys(self._whole(one))) for one in ids]
        found: dict[tuple[str, str], M] = {}
        now = now_millis()
        rows = batch.read((key for _, key in wanted), self._decode_row, consistent=consistent)
        for row in steps(f"get_many {self.entity.name}", 0, rows):
            if not expired(row, now):
                try:
                    item = self._load(row)
                except InvalidItemError as error:
                    warnings.warn(f"left out: {error}", UnreadableItemWarning, stacklevel=2)
                else:
                    values = item.attribute_values  # PynamoDB's attribute look-up costs as much as a field's decoding
                    found[values["pk"], values["sk"]] = item
        return {one: found[key] for one, key in wanted if key in found}

    def save_many(self, items: Iterable[M]) -> BatchResult:
        """
        Write many items whole, over what was there.

        Any number, 25 or 16 MB a request and a few requests at a time; of several with one key the last one stands. DynamoDB's
        batches take no conditions: what another writer has changed since an item was read is lost, so keep them for items
        that nobody else writes. Index keys follow as ever. A list is checked whole before anything is sent; items of an
        iterator are checked as they are sent, and let go of then. The result holds the ids of all.

        An exception in the iterator itself reaches you as it is: no request is begun after it, and a note on it says how far
        the batch had come.

        Raises:
            InvalidItemError, InvalidKeyError: An item cannot be stored. Nothing was sent.
            BatchIncompleteError: Some were not written, or nobody can tell: *unprocessed* are those items, *result* says why.
                Or an iterator's item cannot be stored, which is the last of *unprocessed* then: all before it were sent, and
                none was taken after it.
        """
        return SaveMany("save_many", self.model, self.entity).run(items)

    def create_many(self, items: Iterable[M]) -> BatchResult:
        """
        Write many new items, each under the condition that there is none yet: one request each, a few at a time.

        Of several with one key the first one is created and the others are refused. A list is checked whole before anything is
        sent, an iterator as for :meth:`save_many`.

        Raises:
            InvalidItemError, InvalidKeyError: An item cannot be stored. Nothing was sent.
            BatchIncompleteError: Some were not created, or nobody can tell: in ``result.refused`` those that were there are
                under ItemAlreadyExistsError; *unprocessed* and an unfit item are as for :meth:`save_many`.
        """
        return CreateMany("create_many", self.model, self.entity).run(items)

    def delete_many(self, ids: Iterable[tuple[Any, ...]]) -> BatchResult:
        """
        Delete many items by their ids, whether they are there or not: ``delete_many([("u1", "l1"), ("u1", "l2")])``.

        Any number, 25 a request and a few requests at a time. DynamoDB's batches take no conditions: whatever is stored under
        such a key goes, however new it is, and another application's item too if its sort key begins as this entity's do. What
        ``result.written`` names is gone. Where an answer was lost, that is what a consistent read says; an item that is still
        there then is not deleted again, since it may be a newer one, but unknown.

        Raises:
            InvalidKeyError: An id cannot go into a key. Nothing was sent.
            BatchIncompleteError: Some were not deleted, or nobody can tell: *unprocessed* are those ids; unfit ids of an
                iterator are the last, as for :meth:`save_many`.
        """
        return DeleteMany(self.model, self.entity, self._whole).run(ids)

    def _whole(self, ids: tuple[Any, ...]) -> tuple[Any, ...]:
        if not isinstance(ids, tuple) or len(ids) != len(self.entity.id_names):
            given = f"{len(ids)} of them" if isinstance(ids, tuple) else shown(ids)
            reason = f"({', '.join(self.entity.id_names)}) is needed for each {self.entity.name}, not {given}"
            raise InvalidKeyError("ids", reason)
        return ids


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
