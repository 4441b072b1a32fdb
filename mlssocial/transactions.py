"""All-or-none writes: ``with mlssocial.transaction() as t``, and operations that are applied exactly once."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, Self

from . import changes, limits, prepare
from .atomic import Key, Operation, apply, check_room, tell
from .codec import WireMap
from .exceptions import ConfigurationError, InvalidItemError, shown
from .operations import running
from .prepare import Prepared
from .schema import Entity
from .tokens import hide

if TYPE_CHECKING:
    from types import TracebackType

    from .wire import Row

P = ParamSpec("P")
Ids = tuple[Any, ...]


def transaction(operation_id: str | None = None) -> Transaction:
    """
    Begin a transaction: ``with mlssocial.transaction() as t: t.create(Listing, "u1", "l1", data)``.

    What is called on it is checked at once and sent at the end of the block, in one request: all of it is written, or nothing.
    Nothing is sent where the block raises, or has called nothing. An update of index fields that does not give all of them is
    preceded by one consistent read. A transaction costs twice the capacity of its writes.

    Args:
        operation_id: Makes it apply exactly once, however often the same block runs with it: an item in the partition of the
            first operation's user says for 30 days that it was applied. Then nothing is written, and *applied* is False. Begin
            the block with the same user each time.

    Raises:
        TransactionCanceledError: Some operations were refused; *reasons* has theirs. Nothing was written.
        InvalidItemError: The operation_id was used for something else.
        OutcomeUnknownError: The answer was lost, and the items do not show it; safe to repeat with an operation_id.
        StoreError: DynamoDB refused it all, or was busy until the deadline.
    """
    return Transaction(operation_id)


class Transaction:
    """
    The operations of one transaction, as :func:`transaction` begins it; their arguments are those of ``Model.objects``.

    Up to 100 operations, 99 with an operation_id, one an item, 4 MB in all. Each raises as its single form does where its
    arguments are not valid; and InvalidItemError where there is no room for it, or the item has an operation already.

    Attributes:
        applied: True once this transaction was applied, False if its operation_id had been before; None until the end, and
            where nothing was sent.
    """

    def __init__(self, operation_id: str | None = None) -> None:
        self.applied: bool | None = None
        self._operation_id = operation_id
        self._operations: dict[Key, Operation] = {}
        self._ended = False

    def __enter__(self) -> Self:
        if self._ended:
            raise ConfigurationError("the transaction has ended; begin another")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended = True
        if kind is None and self._operations:
            with running("transaction"):
                self.applied = apply(list(self._operations.values()), self._operation_id)
            if self.applied:
                tell(self._operations.values())

    def create(self, model: _Creates[P], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Write a new item; refused with ItemAlreadyExistsError."""
        entity, ids, given = _arguments("create", model, args, kwargs)
        data = entity.encode(f"create {entity.name}", ids, given["data"])
        self._add("create", model, prepare.create(entity, ids, data), data.plain())

    def save(self, model: _Saves[P], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Write an item whole, over what was there."""
        entity, ids, given = _arguments("save", model, args, kwargs)
        data = entity.encode(f"save {entity.name}", ids, given["data"])
        self._add("save", model, prepare.save(entity, ids, data), data.plain())

    def update(self, model: _Updates[P], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Change some fields of an item; refused with DoesNotExist, StaleItemError or WrongEntityError."""
        hide(kwargs)
        entity, ids, given = _arguments("update", model, args, kwargs)
        change = changes.parse(entity, f"update {entity.name}", ids, given.get("fields", {}), given.get("remove", ()))
        seen = _version(model, f"update {entity.name}", entity.keys(ids), given)
        self._add("update", model, prepare.update(entity, ids, change, seen=seen), change.asked())

    def delete(self, model: _Deletes[P], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Delete an item; refused with DoesNotExist or WrongEntityError: all or none, so it has to be there."""
        entity, ids, _ = _arguments("delete", model, args, kwargs)
        self._add("delete", model, prepare.delete(entity, ids), {})

    def check(self, model: _Updates[P], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """
        Hold the transaction to an item that is there: with these values in its fields, and unchanged since it was read.

        ``t.check(Listing, "u1", "l1", status="active")``. Refused with DoesNotExist, StaleItemError or WrongEntityError.
        """
        hide(kwargs)
        entity, ids, given = _arguments("update", model, args, kwargs)
        operation, key = f"check {entity.name}", entity.keys(ids)
        if given.get("remove"):
            raise InvalidItemError(operation, key, "remove: a check removes nothing; it takes fields and if_unchanged_since")
        expected = changes.expectations(entity, operation, ids, given.get("fields", {}))
        limits.check_values(operation, key, expected)
        seen = _version(model, operation, key, given)
        prepared = prepare.check(entity, ids, {path: (value,) for path, value in expected.items()}, seen=seen)
        self._add("check", model, prepared, changes.Changes(sets=expected).asked())

    def _add(self, verb: str, model: Any, prepared: Prepared, values: WireMap) -> None:
        write = prepared.write
        added = Operation(verb, prepared, values, model)
        if self._ended:
            raise ConfigurationError(f"{write.operation}: the transaction has ended; begin another")
        if write.key in self._operations:
            first = self._operations[write.key].name
            reason = f"the transaction has an operation on it already ({first}), and DynamoDB takes one an item"
            raise InvalidItemError(write.operation, write.key, reason)
        check_room([*self._operations.values(), added], self._operation_id)
        self._operations[write.key] = added


def _arguments(verb: str, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Entity[Any], Ids, dict[str, Any]]:
    """Take the arguments of a manager's method apart: the entity, its ids, and the others by name."""
    entity = getattr(model, "entity", None)
    if not isinstance(entity, Entity):
        raise InvalidItemError(f"{verb} item", None, f"one of the five entities' models comes first, not {shown(model)}")
    given = inspect.signature(getattr(model.objects, verb)).bind(*args, **kwargs).arguments
    return entity, tuple(given[name] for name in entity.id_names), given


def _version(model: Any, operation: str, key: Key, given: dict[str, Any]) -> Row | None:
    version: Row | None = model.version_of(operation, key, given.get("if_unchanged_since"))
    return version


# A model whose manager has the method, with that method's own parameters.


class _Create(Protocol[P]):
    def create(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...


class _Creates(Protocol[P]):
    @property
    def objects(self) -> _Create[P]: ...


class _Save(Protocol[P]):
    def save(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...


class _Saves(Protocol[P]):
    @property
    def objects(self) -> _Save[P]: ...


class _Update(Protocol[P]):
    def update(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...


class _Updates(Protocol[P]):
    @property
    def objects(self) -> _Update[P]: ...


class _Delete(Protocol[P]):
    def delete(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...


class _Deletes(Protocol[P]):
    @property
    def objects(self) -> _Delete[P]: ...
