"""
The write engine: every write to the table goes through it.

It works on attribute values. Each write computes the index keys anew, sets UpdatedAt and a fresh WriteId, and is conditional:
an update or delete never touches another entity's item, nor one whose TTL has passed. What failed is told apart by the item
that DynamoDB shows in its refusal, and a write whose answer was lost is looked up by its WriteId, never guessed at.

A write is prepared first, which is pure, and then sent alone, or with others in a transaction: both are built by the same code.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from . import limits
from .changes import Changes, Resolved
from .codec import MAX_ITEM_BYTES, CodecError, WireMap, item_size
from .connection import AnswerLostError, Patience, RefusedError, store
from .exceptions import (
    InvalidItemError,
    ItemAlreadyExistsError,
    ItemError,
    ItemNotFoundError,
    MLSSocialError,
    OutcomeUnknownError,
    StaleItemError,
    StoreError,
    WrongEntityError,
)
from .expressions import Expression, not_expired, update_expression
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
from .wire import Row, decode_row, encoded, plain, plain_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .changes import Path

CHANGED = "it has changed since it was read; read it and try again"
LEASE_LOST = "its lease was lost: it ran out and another worker took it, or the item was written anew; claim() it again"


def create(entity: Entity[Any], ids: tuple[Any, ...], data: Content) -> Row:
    """Write a new item and give it; ItemAlreadyExistsError if it is there. One request."""
    return _apply(prepare_create(entity, ids, data))[1]


def apply(prepared: Prepared) -> Row:
    """Send a write that was prepared, and give the item as it is now."""
    return _apply(prepared)[1]


def save(entity: Entity[Any], ids: tuple[Any, ...], data: Content) -> Row:
    """
    Write an item whole, whether it was there or not, and give it as it is now. One request.

    Data is replaced; CreatedAt and attributes that are not mentioned are kept.
    """
    return _apply(prepare_save(entity, ids, data))[1]


def save_head(
    entity: Entity[Any], ids: tuple[Any, ...], data: Content, *, others: WireMap, gone: frozenset[str], seen: Row | None
) -> tuple[WireMap, Row]:
    """
    Write an item whole as :func:`save` does, with *others* too and without *gone*. Give its head, and what was left in place.

    With *seen*, the item as it was read, the write is refused with StaleItemError if it has changed since.
    """
    write, head, item = _whole("save", entity, ids, data, others, None if seen is None else frozenset())
    prepared = _prepared_save(write, item, data, seen, others, gone)
    prepared, row = _apply(prepared, "ALL_OLD")  # no more than what was there is sent back
    if prepared.operation == "PutItem":  # it had expired, and was created anew
        return {name: plain(row[name]) for name in head}, {}
    written = {*item, *gone, *INDEX_ATTRIBUTES.values()}
    left = {name: value for name, value in row.items() if name not in written}
    return head | {name: plain(row[name]) for name in (CREATED_AT,) if name in row}, left


def update(
    entity: Entity[Any],
    ids: tuple[Any, ...],
    changes: Changes,
    *,
    seen: Row | None = None,
    otherwise: Callable[[], Content] | None = None,
    lease: str | None = None,
    patience: Patience | None = None,
) -> Row:
    """
    Change some fields of an item and give it as it is now; ItemNotFoundError if it is not there.

    One request; a consistent read before it where index keys depend on fields that are not given. Another writer that comes
    between is noticed, and the update is made anew on what that one left; with *seen*, the version that the caller has read, it
    is StaleItemError. *otherwise* gives Data of the item to create where there is none. With *lease*, a LeaseId, the same write
    ends that lease, and it is StaleItemError if it was lost.
    """
    patience = patience or store().patience()
    prepared = prepare_update(entity, ids, changes, seen=seen, otherwise=otherwise, lease=lease)
    if prepared.needs_item:
        prepared = prepared.anew(read(entity, ids, consistent=True, patience=patience))
    return _apply(prepared, patience=patience)[1]


def mark(
    verb: str,
    entity: Entity[Any],
    ids: tuple[Any, ...],
    condition: Callable[[Expression], str],
    *,
    sets: WireMap,
    removes: Iterable[str] = (),
    stale: str,
) -> Row:
    """
    Set and remove attributes beside Data where a condition holds, and give the item as it is now. One request.

    ItemNotFoundError if it is not there; StaleItemError with the reason *stale* if the condition does not hold.
    """
    write = _Write.new(verb, entity, ids)
    expression = Expression()
    values = {**sets, UPDATED_AT: {"N": str(write.now)}, WRITE_ID: {"S": write.write_id}}
    change = update_expression(
        [f"{expression.path((name,))} = {expression.value(value)}" for name, value in values.items()],
        [expression.path((name,)) for name in removes],
    )

    def anew(item: Row | None) -> Prepared:
        raise write.refusal(item) or write.stale(item, stale)

    conditions = f"{expression.alive(entity, write.now)} AND {condition(expression)}"
    members = write.members(expression, conditions, UpdateExpression=change)
    return _apply(Prepared(write, "UpdateItem", members, anew))[1]


def delete(entity: Entity[Any], ids: tuple[Any, ...], *, seen: Row | None = None) -> bool:
    """Delete an item; False if it was not there. With *seen*, StaleItemError if it has changed since. One request."""
    try:
        _apply(prepare_delete(entity, ids, seen=seen))
    except ItemNotFoundError:
        return False
    return True


def rekey(entity: Entity[Any], ids: tuple[Any, ...], seen: Row) -> None:
    """
    Make an item's index keys follow from its data, and change nothing else but WriteId. One request.

    UpdatedAt stays, since no data changes; the fresh WriteId shows the write to whoever locks on the version. StaleItemError,
    with the item as it is now, unless its version and the fields that the keys are made of are those of *seen*: another
    application may write twice within the millisecond that UpdatedAt tells. ItemNotFoundError if it is gone.
    """
    write, expression = _Write.new("repair", entity, ids), Expression()
    data = entity.index_data(seen)
    index = entity.index_keys(ids, data, frozenset())
    sets = [f"{expression.path((name,))} = {expression.value(value)}" for name, value in index.items()]
    sets.append(f"{expression.path((WRITE_ID,))} = {expression.value({'S': write.write_id})}")
    removes = [expression.path((name,)) for name in INDEX_ATTRIBUTES.values() if name not in index]
    conditions = [expression.alive(entity, write.now), expression.unchanged(seen)]
    conditions += [expression.same((DATA, name), data.get(name)) for name in entity.index_names]

    def anew(item: Row | None) -> Prepared:
        raise write.refusal(item) or write.stale(item)

    members = write.members(expression, " AND ".join(conditions), UpdateExpression=update_expression(sets, removes))
    _apply(Prepared(write, "UpdateItem", members, anew), "NONE")


def replacement(
    entity: Entity[Any], ids: tuple[Any, ...], data: Content, *, created_at: int | None, others: WireMap
) -> tuple[msgspec.Raw, WireMap]:
    """
    Make a whole item's JSON for a batch, which takes no conditions and replaces what is stored; and its head.

    Args:
        entity: Which.
        ids: Whose.
        data: Its Data.
        created_at: When it was created, in epoch milliseconds; now if None.
        others: Attributes that no model declares, as they were read.
    """
    write = _Write.new("save", entity, ids)
    head = write.head(data, None if created_at is None else frozenset())
    if created_at is not None:
        head[CREATED_AT] = {"N": str(created_at)}
    return encoded({**others, **write.item(data, head)}), head


def read(entity: Entity[Any], ids: tuple[Any, ...], *, consistent: bool, patience: Patience | None = None) -> Row | None:
    """Read an item; None where it is not there or its TTL has passed. One request."""
    pk, sk = entity.keys(ids)
    key = {PK: {"S": pk}, SK: {"S": sk}}
    table = store()
    request = {"TableName": table.table_name, "Key": key, "ConsistentRead": consistent}
    answer = table.call("GetItem", request, patience=patience)
    item: Row | None = answer.get("Item")
    if item is None or expired(item, now_millis()):
        return None
    if entity_type(item) != entity.name:
        raise WrongEntityError(f"get {entity.name}", (pk, sk), found=entity_type(item))
    return item


@dataclass(slots=True, repr=False)  # its members may hold tokens
class Prepared:
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
    """

    write: _Write
    operation: str
    members: dict[str, Any]
    anew: Callable[[Row | None], Prepared]
    needs_item: bool = False
    once: bool = False


def prepare_create(entity: Entity[Any], ids: tuple[Any, ...], data: Content, *, others: WireMap | None = None) -> Prepared:
    """Prepare to write a new item; *others* are attributes beside Data."""
    write, _, item = _whole("create", entity, ids, data, others, None)
    expression = Expression()

    def anew(_: Row | None) -> Prepared:
        raise ItemAlreadyExistsError(write.operation, write.key, "it exists already; use update(), or save() to overwrite")

    members = write.members(expression, expression.absent(write.now), Item=encoded(item))
    return Prepared(write, "PutItem", members, anew, once=True)


def prepare_save(entity: Entity[Any], ids: tuple[Any, ...], data: Content) -> Prepared:
    """Prepare to write an item whole, whether it is there or not."""
    write, _, item = _whole("save", entity, ids, data, None, None)
    return _prepared_save(write, item, data, None)


def prepare_update(
    entity: Entity[Any],
    ids: tuple[Any, ...],
    changes: Changes,
    *,
    seen: Row | None = None,
    otherwise: Callable[[], Content] | None = None,
    lease: str | None = None,
) -> Prepared:
    """Prepare to change some fields of an item, as :func:`update` says."""
    verb = "complete" if lease is not None else "update" if otherwise is None else "increment"
    update = _Update(_Write.new(verb, entity, ids), changes, seen, otherwise, lease)
    if changes.touches_index(entity) and not changes.decide_index(entity):
        return Prepared(update.write, "UpdateItem", {}, update.anew, needs_item=True)
    return update.on(None)


def prepare_delete(entity: Entity[Any], ids: tuple[Any, ...], *, seen: Row | None = None) -> Prepared:
    """Prepare to delete an item."""
    write, expression = _Write.new("delete", entity, ids), Expression()
    condition = expression.alive(entity, write.now)
    if seen is not None:
        condition += f" AND {expression.unchanged(seen)}"

    def anew(item: Row | None) -> Prepared:
        raise write.refusal(item) or write.stale(item)

    return Prepared(write, "DeleteItem", write.members(expression, condition), anew)


def prepare_check(
    entity: Entity[Any],
    ids: tuple[Any, ...],
    expected: Mapping[Path, Iterable[dict[str, Any]]],
    *,
    seen: Row | None = None,
    or_absent: bool = False,
) -> Prepared:
    """Prepare the condition that an item is there, with one of these values at each path, and unchanged since *seen*."""
    write, expression = _Write.new("check", entity, ids), Expression()
    conditions = [expression.alive(entity, write.now)]
    conditions += [expression.one_of((DATA, *path), values) for path, values in expected.items()]
    conditions += [] if seen is None else [expression.unchanged(seen)]
    condition = " AND ".join(conditions)
    if or_absent:
        condition = f"{expression.absent(write.now)} OR ({condition})"

    def anew(item: Row | None) -> Prepared:
        error = write.refusal(item)
        if error is None and item is not None and (seen is None or _same_version(seen, item)):
            reason = f"{', '.join('.'.join(path) for path in expected)}: not as the check asks; read it and decide"
            error = StaleItemError(write.operation, write.key, reason, item=item)
        raise error or write.stale(item)

    return Prepared(write, "ConditionCheck", write.members(expression, condition), anew)


def _apply(prepared: Prepared, returned: str = "ALL_NEW", patience: Patience | None = None) -> tuple[Prepared, Row]:
    """Send a write, and anew on what refused it for as long as that helps; give what was sent at last, and the item."""
    patience, refusals = patience or store().patience(), 0
    while True:
        if prepared.operation == "UpdateItem":
            prepared.members["ReturnValues"] = returned
        try:
            row = _send(prepared, patience)
        except RefusedError as refused:
            item = refused.item
        else:
            return prepared, decode_row(prepared.members["Item"]) if prepared.operation == "PutItem" else row
        prepared = prepared.anew(item)
        refusals += 1  # what was in the way is known now: the first time there is nothing to wait for
        if refusals > 1 and not patience.wait():
            raise prepared.write.contended(item)


def _send(prepared: Prepared, patience: Patience) -> Row:
    """Send a write; RefusedError if its condition fails, OutcomeUnknownError if nobody can tell."""
    write, lost = prepared.write, None
    while True:
        try:
            answer = store().call(prepared.operation, prepared.members, patience=patience)
        except AnswerLostError as error:
            lost = error
            if not prepared.once or not patience.wait():
                return write.settle(lost, patience.to_look())
        except RefusedError as refused:
            if lost is None:
                raise
            return write.recognised(refused.item, lost)
        except StoreError as error:
            if lost is not None:  # refused, throttled or not reached: that tells nothing of the first time
                return write.settle(lost, patience.to_look())
            raise limits.refusal(write.operation, write.key, error) from error
        else:
            attributes: Row = answer.get("Attributes", {})
            return attributes


class _Write(NamedTuple):
    """One write: what it is, when, and the nonce by which it recognises itself."""

    operation: str
    entity: Entity[Any]
    ids: tuple[Any, ...]
    key: tuple[str, str]
    now: int
    write_id: str

    @classmethod
    def new(cls, verb: str, entity: Entity[Any], ids: tuple[Any, ...]) -> _Write:
        return cls(f"{verb} {entity.name}", entity, ids, entity.keys(ids), now_millis(), secrets.token_urlsafe(12))

    def head(self, data: Content, given: frozenset[str] | None = None) -> WireMap:
        """Make what an item has beside Data: key, type, times, WriteId and index keys."""
        now = {"N": str(self.now)}
        return {
            PK: {"S": self.key[0]},
            SK: {"S": self.key[1]},
            ENTITY_TYPE: {"S": self.entity.name},
            CREATED_AT: now,
            UPDATED_AT: now,
            WRITE_ID: {"S": self.write_id},
            **self.entity.index_of(self.ids, data.index_values, given),
        }

    def item(self, data: Content, head: WireMap) -> dict[str, Any]:
        """Make a whole item of its Data, which is JSON already, and its head; InvalidItemError if it passes 400 KB."""
        # JSON is never shorter than what DynamoDB counts: only a large item needs to be measured.
        if len(data.json) > MAX_ITEM_BYTES // 2:
            self._measure(data.plain(), head)
        return {**head, DATA: {"M": data.json}}

    def _measure(self, data: WireMap, head: WireMap) -> None:
        if (size := item_size({**head, DATA: {"M": data}})) > MAX_ITEM_BYTES:
            largest = max(data, key=lambda name: item_size({name: data[name]}))
            reason = f"{size:,} bytes, and DynamoDB takes {MAX_ITEM_BYTES:,}; the largest field is {largest}"
            raise InvalidItemError(self.operation, self.key, reason, fields=(largest,))

    def members(self, expression: Expression, condition: str, **request: Any) -> dict[str, Any]:
        """Give a request's members, its condition among them."""
        if "Item" not in request:
            request["Key"] = {PK: {"S": self.key[0]}, SK: {"S": self.key[1]}}
        return {
            "TableName": store().table_name,
            "ConditionExpression": condition,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **expression.request(),
            **request,
        }

    def settle(self, lost: AnswerLostError, patience: Patience) -> Row:
        """Find out by a consistent read whether a write whose answer was lost was applied."""
        try:
            item = read(self.entity, self.ids, consistent=True, patience=patience)
        except MLSSocialError as error:
            reason = f"the answer was lost ({lost}), and so was a look at the item ({error}); read it before you try again"
            raise OutcomeUnknownError(self.operation, self.key, reason) from error
        return self.recognised(item, lost)

    def recognised(self, item: Row | None, lost: AnswerLostError) -> Row:
        """Give the item if it shows this write; else nobody can tell, for another write may have come after it."""
        if item is not None and WRITE_ID in item and self.write_id == item[WRITE_ID].S:
            return item
        reason = f"the answer was lost ({lost}), and the item does not show this write; read it before you try again"
        raise OutcomeUnknownError(self.operation, self.key, reason) from lost

    def refusal(self, item: Row | None) -> ItemError | None:
        """Say why the item that DynamoDB showed was refused: missing or another entity's; None if it is neither."""
        if item is None or expired(item, self.now):
            return self.missing()
        if entity_type(item) != self.entity.name:
            return WrongEntityError(self.operation, self.key, found=entity_type(item))
        return None

    def missing(self) -> ItemNotFoundError:
        remedy = "" if self.operation.startswith("delete") else "; create() it first"
        return ItemNotFoundError(self.operation, self.key, f"it does not exist{remedy}")

    def stale(self, item: Row | None, reason: str = CHANGED) -> StaleItemError:
        return StaleItemError(self.operation, self.key, reason, item=item)

    def contended(self, item: Row | None) -> StaleItemError:
        reason = "other writers kept changing it until the deadline, and nothing was written; try again"
        return StaleItemError(self.operation, self.key, reason, item=item)


def _whole(
    verb: str, entity: Entity[Any], ids: tuple[Any, ...], data: Content, others: WireMap | None, given: frozenset[str] | None
) -> tuple[_Write, WireMap, dict[str, Any]]:
    """Begin the write of a whole item: what it has beside Data, and all of it with *others*."""
    write = _Write.new(verb, entity, ids)
    head = write.head(data, given)
    return write, head, {**(others or {}), **write.item(data, head)}


def _prepared_save(
    write: _Write,
    item: dict[str, Any],
    data: Content,
    seen: Row | None,
    others: WireMap | None = None,
    gone: frozenset[str] = frozenset(),
) -> Prepared:
    change, condition, names = _save_expressions(frozenset(item), None if seen is None else frozenset(seen), gone)
    values = {f":{name}": value for name, value in item.items() if name not in {PK, SK}}
    values |= {f":seen{name}": value for name, value in (seen or {}).items()}
    values |= {":now": {"N": str(write.now // 1000)}, ":number": {"S": "N"}}

    def anew(shown: Row | None) -> Prepared:
        if seen is None and shown is not None and expired(shown, write.now):
            # What has expired is gone, its CreatedAt and TTL with it; the caller's own TTL is in the others.
            return prepare_create(write.entity, write.ids, data, others=others)
        raise write.refusal(shown) or write.stale(shown)

    members = write.members(Expression(names, values), condition, UpdateExpression=change)
    return Prepared(write, "UpdateItem", members, anew, once=seen is not None)


@cache
def _save_expressions(
    attributes: frozenset[str], seen: frozenset[str] | None, gone: frozenset[str]
) -> tuple[str, str, dict[str, str]]:
    """
    Write the expressions of a save, which depend on nothing but which attributes there are, and their names.

    Every attribute but the key is set, CreatedAt is kept, index keys that the item does not have are dropped, and values stand
    under the attributes' own names.
    """
    expression = Expression()
    sets = []
    for name in sorted(attributes - {PK, SK}):
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
    return update_expression(sets, removes), condition, expression.names


def _text(item: Row, name: str) -> str | None:
    return item[name].S if name in item else None


def _same_version(one: Row, other: Row) -> bool:
    return all(
        (name in one) == (name in other) and (name not in one or plain(one[name]) == plain(other[name]))
        for name in (UPDATED_AT, WRITE_ID)
    )


@dataclass(frozen=True, slots=True, repr=False)
class _Update:
    """What an update is to do, whichever item it meets."""

    write: _Write
    changes: Changes
    seen: Row | None
    otherwise: Callable[[], Content] | None
    lease: str | None

    def anew(self, item: Row | None) -> Prepared:
        """Prepare it on the item that is there, or raise what is wrong with that."""
        error = self.write.refusal(item)
        if self.otherwise is not None and isinstance(error, ItemNotFoundError):
            made = prepare_create(self.write.entity, self.write.ids, self.otherwise())
            return replace(made, anew=self.anew)  # another writer may make it first
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
        members = write.members(expression, condition, UpdateExpression=change)
        return Prepared(write, "UpdateItem", members, self.anew, once=locked is not None or self.lease is not None)

    def _resolved(self, old: Row | None) -> tuple[WireMap | None, Resolved]:
        """Give Data as it was last seen, and what to send on it."""
        stored = None if old is None or DATA not in old else old[DATA].M
        if old is not None and stored is None:
            reason = "Data is no map in the stored item; save() it whole"
            raise InvalidItemError(self.write.operation, self.write.key, reason, fields=(DATA,))
        data = None if stored is None else plain_row(stored)
        try:
            resolved = self.changes.resolve(data)
        except CodecError as error:
            raise InvalidItemError(self.write.operation, self.write.key, str(error), fields=error.fields) from None
        limits.check_values(self.write.operation, self.write.key, resolved.sets)
        return data, resolved
