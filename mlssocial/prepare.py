"""
What a write is before it is sent: DynamoDB's operation, its members, and what it means that an item refuses it.

Each write computes the index keys anew, sets UpdatedAt and a fresh WriteId, and is conditional: an update or delete never
touches another entity's item, nor one whose TTL has passed. Nothing is sent here: :mod:`writes` sends a write alone, and
:mod:`atomic` several together, so that both are built by the same code.
"""

from __future__ import annotations

import secrets
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from . import limits
from .changes import Changes, Resolved
from .codec import MAX_ITEM_BYTES, CodecError, WireMap, item_size
from .connection import store
from .exceptions import (
    InvalidItemError,
    ItemAlreadyExistsError,
    ItemError,
    ItemNotFoundError,
    StaleItemError,
    WrongEntityError,
    clipped,
)
from .expressions import Expression, not_expired, update_expression
from .head import Head
from .masked import MaskedMap
from .schema import (
    CREATED_AT,
    DATA,
    ENTITY_TYPE,
    INDEX_ATTRIBUTES,
    LEASE_ID,
    LEASE_UNTIL,
    PK,
    SK,
    TTL,
    UPDATED_AT,
    WRITE_ID,
    Content,
    Entity,
    entity_type,
    expired,
    now_millis,
)
from .wire import Hiding, Row, encoded, plain, plain_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .changes import Path
    from .expressions import Value
    from .tokens import Token

CHANGED = "it has changed since it was read; read it and try again"
_WRITE_ID_BYTES = 12  # of which base64 makes 16 characters, and no padding
LEASE_LOST = "its lease was lost: it ran out and another worker took it, or the item was written anew; claim() it again"


class Prepared(Hiding):
    """
    A write that was not sent yet.

    Attributes:
        write: What it is, when, and its nonce.
        operation: DynamoDB's operation, such as ``PutItem``.
        members: The request's members, but for what the answer is to show.
        anew: Tells what it means that the item that is there refused the write: raises the error, or gives the write as it has
            to be on that item.
        needs_item: Its members are not complete: it has to be made anew on the item as it is.
        once: Once it has been applied its own condition refuses it, so that it can be sent again when an answer was lost.
        head: What a whole item is given beside Data; None where none is written.
    """

    write: Write
    operation: str
    members: dict[str, Any]
    anew: Callable[[Row | None], Prepared]
    needs_item: bool = False
    once: bool = False
    head: Head | None = None


def create(entity: Entity[Any], ids: tuple[Any, ...], data: Content, *, others: WireMap | None = None) -> Prepared:
    """Write a new item, with *others* beside Data; ItemAlreadyExistsError if it is there."""
    write, expression = Write.new("create", entity, ids), Expression()
    head = write.head(data)

    def anew(_: Row | None) -> Prepared:
        raise ItemAlreadyExistsError(write.operation, write.key, "it exists already; use update(), or save() to overwrite")

    check_size(write.operation, data, head)
    condition = expression.absent(write.now)
    members = write.members(expression.request(), condition, Item=head.item(data.json, others or {}))
    return Prepared(write, "PutItem", members, anew, once=True, head=head)


def save(
    entity: Entity[Any],
    ids: tuple[Any, ...],
    data: Content,
    *,
    others: WireMap | None = None,
    gone: frozenset[str] = frozenset(),
    seen: Row | None = None,
) -> Prepared:
    """
    Write an item whole, whether it is there or not, with *others* beside Data, and without *gone*.

    Data is replaced; CreatedAt and attributes that are not mentioned are kept. With *seen*, the item as it was read,
    StaleItemError if it has changed since.
    """
    write = Write.new("save", entity, ids)
    head = write.head(data, None if seen is None else frozenset())
    check_size(write.operation, data, head)
    others = others or {}
    which = head.indexes, frozenset(others), None if seen is None else frozenset(seen), gone
    change, condition, names = _save_expressions(*which)
    values = {f":{name}": value for name, value in others.items()} | head.values()
    values |= {f":seen{name}": value for name, value in (seen or {}).items()}
    values |= {f":{DATA}": {"M": data.json}, ":now": {"N": str(write.now // 1000)}, ":number": {"S": "N"}}
    refuse = write.refuses()

    def anew(shown: Row | None) -> Prepared:
        if seen is None and shown is not None and expired(shown, write.now):
            return create(entity, ids, data, others=others)  # what has expired is gone, its CreatedAt and TTL with it
        return refuse(shown)

    named = {"ExpressionAttributeNames": dict(names), "ExpressionAttributeValues": values}
    members = write.members(named, condition, UpdateExpression=change)
    return Prepared(write, "UpdateItem", members, anew, once=seen is not None, head=head)


def update(
    entity: Entity[Any],
    ids: tuple[Any, ...],
    changes: Changes,
    *,
    verb: str = "update",
    seen: Row | None = None,
    otherwise: Callable[[], Content] | None = None,
    lease: str | None = None,
) -> Prepared:
    """
    Change some fields of an item; ItemNotFoundError if it is not there.

    It needs the item where index keys depend on fields that are not given. Another writer that comes between is noticed, and
    the update is made anew on what that one left; with *seen*, the version that the caller has read, it is StaleItemError.
    *otherwise* gives Data of the item to create where there is none. With *lease*, a LeaseId, the same write ends that lease,
    and it is StaleItemError if it was lost.
    """
    change = _Update(Write.new(verb, entity, ids), changes, seen, otherwise, lease)
    if changes.touches_index(entity) and not changes.decide_index(entity):
        return Prepared(change.write, "UpdateItem", {}, change.anew, needs_item=True)
    return change.on(None)


def delete(entity: Entity[Any], ids: tuple[Any, ...], *, seen: Row | None = None) -> Prepared:
    """Delete an item; ItemNotFoundError if it is not there. With *seen*, StaleItemError if it has changed since."""
    write, expression = Write.new("delete", entity, ids), Expression()
    condition = expression.alive(entity, write.now)
    if seen is not None:
        condition += f" AND {expression.unchanged(seen)}"
    return Prepared(write, "DeleteItem", write.members(expression.request(), condition), write.refuses())


def check(
    entity: Entity[Any],
    ids: tuple[Any, ...],
    expected: Mapping[Path, Iterable[dict[str, Any]]],
    *,
    seen: Row | None = None,
    or_absent: bool = False,
) -> Prepared:
    """Hold a transaction to an item that is there, with one of these values at each path, and unchanged since *seen*."""
    write, expression = Write.new("check", entity, ids), Expression()
    conditions = [expression.alive(entity, write.now)]
    conditions += [expression.one_of((DATA, *path), values) for path, values in expected.items()]
    conditions += [] if seen is None else [expression.unchanged(seen)]
    condition = " AND ".join(conditions)
    if or_absent:
        condition = f"{expression.absent(write.now)} OR ({condition})"
    limits.check_expressions(write.operation, write.key, condition=condition)
    limits.check_names(write.operation, write.key, expression.names)

    def anew(item: Row | None) -> Prepared:
        error = write.refusal(item)
        if error is None and item is not None and (seen is None or _same_version(seen, item)):
            reason = f"{', '.join('.'.join(path) for path in expected)}: not as the check asks; read it and decide"
            error = StaleItemError(write.operation, write.key, reason, item=item)
        raise error or write.stale(item)

    return Prepared(write, "ConditionCheck", write.members(expression.request(), condition), anew)


def mark(
    verb: str,
    entity: Entity[Any],
    ids: tuple[Any, ...],
    condition: Callable[[Expression], str],
    *,
    sets: WireMap,
    removes: Iterable[str] = (),
    stale: str,
) -> Prepared:
    """
    Set and remove attributes beside Data where a condition holds.

    ItemNotFoundError if it is not there; StaleItemError with the reason *stale* if the condition does not hold.
    """
    write, expression = Write.new(verb, entity, ids), Expression()
    values = {**sets, UPDATED_AT: {"N": str(write.now)}, WRITE_ID: {"S": write.write_id}}
    change = update_expression(
        [f"{expression.path((name,))} = {expression.value(value)}" for name, value in values.items()],
        [expression.path((name,)) for name in removes],
    )
    conditions = f"{expression.alive(entity, write.now)} AND {condition(expression)}"
    members = write.members(expression.request(), conditions, UpdateExpression=change)
    return Prepared(write, "UpdateItem", members, write.refuses(stale))


def rekey(entity: Entity[Any], ids: tuple[Any, ...], seen: Row) -> Prepared:
    """
    Make an item's index keys follow from its data, and change nothing else but WriteId.

    UpdatedAt stays, since no data changes; the fresh WriteId shows the write to whoever locks on the version. StaleItemError,
    with the item as it is now, unless its version and the fields that the keys are made of are those of *seen*: another
    application may write twice within the millisecond that UpdatedAt tells. ItemNotFoundError if it is gone.
    """
    data = entity.index_data(seen)
    index = entity.index_keys(ids, data, frozenset())
    removes = [name for name in INDEX_ATTRIBUTES.values() if name not in index]
    sets: dict[Path, Value] = {(name,): value for name, value in index.items()}
    same: dict[Path, Value | None] = {(DATA, name): data.get(name) for name in entity.index_names}
    return _amended("repair", entity, ids, seen, sets, removes, same)


def reseal(entity: Entity[Any], ids: tuple[Any, ...], seen: Row, tokens: Mapping[str, Token]) -> Prepared:
    """
    Put tokens, by their names in Data, as they are sealed anew in the place of those that *seen* has, as :func:`rekey` does.

    StaleItemError unless the item's version and those tokens are what was read.
    """
    stored = entity.stored_tokens(seen)
    sets: dict[Path, Value] = {(DATA, name): encoded({"S": token.stored}) for name, token in tokens.items()}
    # In a form that does not show what may be clear text.
    same: dict[Path, Value] = {(DATA, name): encoded({"S": stored[name].stored}) for name in tokens}
    return _amended("reseal", entity, ids, seen, sets, (), same)


def _amended(
    verb: str,
    entity: Entity[Any],
    ids: tuple[Any, ...],
    seen: Row,
    sets: Mapping[Path, Value],
    removes: Iterable[str],
    same: Mapping[Path, Value | None],
) -> Prepared:
    """Change an item in what is no news to its readers: its version is *seen*'s, *same* is as it was read, UpdatedAt stays."""
    write, expression = Write.new(verb, entity, ids), Expression()
    assigned: dict[Path, Value] = {**sets, (WRITE_ID,): {"S": write.write_id}}
    change = update_expression(
        [f"{expression.path(path)} = {expression.value(value)}" for path, value in assigned.items()],
        [expression.path((name,)) for name in removes],
    )
    conditions = [expression.alive(entity, write.now), expression.unchanged(seen)]
    conditions += [expression.same(path, value) for path, value in same.items()]
    members = write.members(expression.request(), " AND ".join(conditions), UpdateExpression=change, ReturnValues="NONE")
    return Prepared(write, "UpdateItem", members, write.refuses())


def replacement(
    entity: Entity[Any], ids: tuple[Any, ...], data: Content, *, write_id: str, created_at: int | None, others: WireMap
) -> tuple[msgspec.Raw, Head]:
    """
    Make a whole item's JSON for a batch, which takes no conditions and replaces what is stored; and its head.

    Args:
        entity: Which.
        ids: Whose.
        data: Its Data.
        write_id: The write's nonce.
        created_at: When it was created, in epoch milliseconds; now if None.
        others: Attributes that no model declares, as they were read.
    """
    now = now_millis()
    made = entity.derive(ids, data.index_values, None if created_at is None else frozenset())[0]
    head = Head(made, entity.name, now if created_at is None else created_at, now, write_id)
    check_size(f"save {entity.name}", data, head)
    return head.item(data.json, others), head


def check_size(operation: str, data: Content, head: Head) -> None:
    """Refuse an item that passes 400 KB with InvalidItemError."""
    # JSON is never shorter than what DynamoDB counts: only a large item needs to be measured.
    if len(data.json) <= MAX_ITEM_BYTES // 2:
        return
    sizes = {name: item_size({name: value}) for name, value in data.plain().items()}
    # An entry of a map takes one byte beside its name and value.
    if (size := item_size({**head.attributes(), DATA: {"M": {}}}) + sum(sizes.values()) + len(sizes)) > MAX_ITEM_BYTES:
        largest = clipped(max(sizes, key=lambda name: sizes[name]))
        reason = f"{size:,} bytes, and DynamoDB takes {MAX_ITEM_BYTES:,}; the largest field is {largest}"
        raise InvalidItemError(operation, head.keys[:2], reason, fields=(largest,))


def write_ids(count: int) -> list[str]:
    """
    Make nonces for that many writes at once, none of which is kept for another call.

    A process that is forked, or restored from a snapshot, would give those that were left a second time.
    """
    text = secrets.token_urlsafe(_WRITE_ID_BYTES * count)
    return [text[start : start + len(text) // count] for start in range(0, len(text), len(text) // count)]


class Write(msgspec.Struct, frozen=True, gc=False):
    """One write: what it is, when, and the nonce by which it recognises itself."""

    operation: str
    entity: Entity[Any]
    ids: tuple[Any, ...]
    key: tuple[str, str]
    now: int
    write_id: str

    @classmethod
    def new(cls, verb: str, entity: Entity[Any], ids: tuple[Any, ...]) -> Write:
        """Begin a write, now."""
        return cls(f"{verb} {entity.name}", entity, ids, entity.keys(ids), now_millis(), secrets.token_urlsafe(_WRITE_ID_BYTES))

    def head(self, data: Content, given: frozenset[str] | None = None) -> Head:
        """Make what an item has beside Data; *given* as for :meth:`Entity.index_keys`."""
        made = self.entity.derive(self.ids, data.index_values, given)[0]
        return Head(made, self.entity.name, self.now, self.now, self.write_id)

    def members(self, named: dict[str, Any], condition: str, **request: Any) -> dict[str, Any]:
        """Give a request's members: those that name its expressions' names and values, its condition, and the others."""
        if "Item" not in request:
            request["Key"] = {PK: {"S": self.key[0]}, SK: {"S": self.key[1]}}
        return {
            "TableName": store().table_name,
            "ConditionExpression": condition,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **named,
            **request,
        }

    def refusal(self, item: Row | None) -> ItemError | None:
        """Say why the item that DynamoDB showed was refused: missing or another entity's; None if it is neither."""
        if item is None or expired(item, self.now):
            return self.missing()
        if entity_type(item) != self.entity.name:
            return WrongEntityError(self.operation, self.key, found=entity_type(item))
        return None

    def refuses(self, reason: str = CHANGED) -> Callable[[Row | None], Prepared]:
        """Give what is done where an item refuses this write for good: raise why, and *reason* where it is there."""

        def anew(item: Row | None) -> Prepared:
            raise self.refusal(item) or self.stale(item, reason)

        return anew

    def missing(self) -> ItemNotFoundError:
        """Make the error for an item that is not there."""
        remedy = "" if self.operation.startswith("delete") else "; create() it first"
        return ItemNotFoundError(self.operation, self.key, f"it does not exist{remedy}")

    def stale(self, item: Row | None, reason: str = CHANGED) -> StaleItemError:
        """Make the error for an item that is not as it was read."""
        return StaleItemError(self.operation, self.key, reason, item=item)

    def contended(self, item: Row | None) -> StaleItemError:
        """Make the error for an item that others kept changing."""
        reason = "other writers kept changing it until the deadline, and nothing was written; try again"
        return StaleItemError(self.operation, self.key, reason, item=item)


@cache
def _save_expressions(
    indexes: tuple[str, ...], others: frozenset[str], seen: frozenset[str] | None, gone: frozenset[str]
) -> tuple[str, str, dict[str, str]]:
    """
    Write the expressions of a save, which depend on nothing but which attributes there are, and their names.

    Every attribute but the key is set, CreatedAt is kept, index keys that the item does not have are dropped, and values stand
    under the attributes' own names.
    """
    expression = Expression()
    attributes = {ENTITY_TYPE, CREATED_AT, UPDATED_AT, WRITE_ID, DATA, *indexes, *others}
    sets = []
    for name in sorted(attributes):
        path = expression.path((name,))
        sets.append(f"{path} = if_not_exists({path}, :{name})" if name == CREATED_AT else f"{path} = :{name}")
    removes = [expression.path((name,)) for name in (*INDEX_ATTRIBUTES.values(), *sorted(gone)) if name not in attributes]
    alive = f"{expression.path((ENTITY_TYPE,))} = :{ENTITY_TYPE} AND {not_expired(expression.path((TTL,)), ':number', ':now')}"
    if seen is None:
        condition = f"attribute_not_exists({expression.path((PK,))}) OR ({alive})"
    else:
        versions = [(expression.path((name,)), name) for name in (UPDATED_AT, WRITE_ID)]
        same = [f"{path} = :seen{name}" if name in seen else f"attribute_not_exists({path})" for path, name in versions]
        condition = " AND ".join([alive, *same])
    return update_expression(sets, removes), condition, expression.request()["ExpressionAttributeNames"]


def _text(item: Row, name: str) -> str | None:
    return item[name].S if name in item else None


def _same_version(one: Row, other: Row) -> bool:
    return all(
        (name in one) == (name in other) and (name not in one or plain(one[name]) == plain(other[name]))
        for name in (UPDATED_AT, WRITE_ID)
    )


class _Update(Hiding):
    """What an update is to do, whichever item it meets."""

    write: Write
    changes: Changes
    seen: Row | None
    otherwise: Callable[[], Content] | None
    lease: str | None

    def anew(self, item: Row | None) -> Prepared:
        """Prepare it on the item that is there, or raise what is wrong with that."""
        error = self.write.refusal(item)
        if self.otherwise is not None and isinstance(error, ItemNotFoundError):
            made = create(self.write.entity, self.write.ids, self.otherwise())
            return msgspec.structs.replace(made, anew=self.anew)  # another writer may make it first
        if error is None and self.seen is not None and item is not None and not _same_version(self.seen, item):
            error = self.write.stale(item)
        if error is None and self.lease is not None and (item is None or _text(item, LEASE_ID) != self.lease):
            error = self.write.stale(item, LEASE_LOST)
        if error is not None:
            raise error
        return self.on(item)

    def on(self, old: Row | None) -> Prepared:
        """Prepare it on the item as it was last seen; where it was not, what it needs is taken to be there."""
        write, expression = self.write, Expression()
        data, resolved = self._resolved(old)
        path, locked = expression.path, self.seen
        sets = [f"{path((DATA, *at))} = {expression.value(value)}" for at, value in resolved.sets.items()]
        sets += [expression.added((DATA, *at), amount) for at, amount in resolved.adds.items()]
        removes = [path((DATA, *at)) for at in resolved.removes]
        conditions = [expression.alive(write.entity, write.now), expression.of_type((DATA,), "M")]
        conditions += [expression.of_type((DATA, *at), "M") for at in resolved.maps]
        conditions += [expression.empty((DATA, *at)) for at in resolved.absent]
        conditions += [expression.missing_or_number((DATA, *at)) for at in resolved.adds]
        if self.changes.touches_index(write.entity):
            index = write.entity.index_keys(write.ids, self.changes.after(data or {}), self.changes.fields)
            sets += [f"{path((name,))} = {expression.value(value)}" for name, value in index.items()]
            removes += [path((name,)) for name in INDEX_ATTRIBUTES.values() if name not in index]
            locked = self.seen or old
        if locked is not None:
            conditions.append(expression.unchanged(locked))
        if self.lease is not None:
            conditions.append(expression.same((LEASE_ID,), {"S": self.lease}))
            removes += [path((name,)) for name in (LEASE_ID, LEASE_UNTIL)]
        sets.append(f"{path((UPDATED_AT,))} = {expression.value({'N': str(write.now)})}")
        sets.append(f"{path((WRITE_ID,))} = {expression.value({'S': write.write_id})}")
        change, condition = update_expression(sets, removes), " AND ".join(conditions)
        limits.check_expressions(write.operation, write.key, update=change, condition=condition)
        limits.check_names(write.operation, write.key, expression.names)
        members = write.members(expression.request(), condition, UpdateExpression=change)
        return Prepared(write, "UpdateItem", members, self.anew, once=locked is not None or self.lease is not None)

    def _resolved(self, old: Row | None) -> tuple[WireMap | None, Resolved]:
        """Give Data as it was last seen, and what to send on it."""
        stored = None if old is None or DATA not in old else old[DATA].M
        if old is not None and stored is None:
            reason = "Data is no map in the stored item; save() it whole"
            raise InvalidItemError(self.write.operation, self.write.key, reason, fields=(DATA,))
        data = None if stored is None else MaskedMap(plain_row(stored))
        try:
            resolved = self.changes.resolve(data)
        except CodecError as error:
            raise InvalidItemError(self.write.operation, self.write.key, str(error), fields=error.fields) from None
        limits.check_values(self.write.operation, self.write.key, resolved.sets)
        return data, resolved
