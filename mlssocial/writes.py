"""
The write engine: every write to the table goes through it.

It works on attribute values. Each write computes the index keys anew, sets UpdatedAt and a fresh WriteId, and is conditional:
an update or delete never touches another entity's item, nor one whose TTL has passed. What failed is told apart by the item
that DynamoDB shows in its refusal, and a write whose answer was lost is looked up by its WriteId, never guessed at.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from .changes import Changes, Path
from .codec import MAX_ITEM_BYTES, CodecError, WireMap, item_size, number_text
from .connection import AnswerLostError, Patience, RefusedError, store
from .exceptions import (
    InvalidItemError,
    ItemAlreadyExistsError,
    ItemError,
    ItemNotFoundError,
    MLSSocialError,
    OutcomeUnknownError,
    StaleItemError,
    WrongEntityError,
)
from .schema import (
    CREATED_AT,
    DATA,
    ENTITY_TYPE,
    INDEX_ATTRIBUTES,
    PK,
    SK,
    TTL,
    UPDATED_AT,
    WRITE_ID,
    Entity,
    entity_type,
    expired,
    now_millis,
)
from .wire import AttributeValue, Row, decode_row, encoded, plain_row, row_of

if TYPE_CHECKING:
    from collections.abc import Iterable


def create(entity: Entity[Any], ids: tuple[Any, ...], data: WireMap) -> Row:
    """Write a new item and give it; ItemAlreadyExistsError if it is there. One request."""
    write = _Write.new("create", entity, ids)
    item = encoded(write.item(data))
    expression = Expression()
    absent = f"attribute_not_exists({expression.path((PK,))}) OR {expression.expired(write.now)}"
    try:
        write.send("PutItem", expression, absent, Item=item)
    except RefusedError:
        reason = "it exists already; use update(), or save() to overwrite"
        raise ItemAlreadyExistsError(write.operation, write.key, reason) from None
    return decode_row(item)


def save(
    entity: Entity[Any],
    ids: tuple[Any, ...],
    data: WireMap,
    *,
    others: WireMap | None = None,
    seen: Row | None = None,
    whole: bool = True,
) -> Row:
    """
    Write an item whole, whether it was there or not, and give it as it is now. One request.

    Data is replaced, *others* are set; CreatedAt and attributes that are not mentioned are kept. With *seen*, the item as it
    was read, the write is refused with StaleItemError if it has changed since. Without *whole*, only what the write itself
    has set is given, and not Data, which the caller has: DynamoDB then sends back no more than what was there before.
    """
    write = _Write.new("save", entity, ids)
    item = (others or {}) | write.item(data, given=None if seen is None else frozenset())
    change, condition, names = _save_expressions(frozenset(item), None if seen is None else frozenset(seen))
    values = {f":{name}": value for name, value in item.items() if name not in {PK, SK}}
    values |= {f":seen{name}": value for name, value in (seen or {}).items()}
    values |= {":now": {"N": str(write.now // 1000)}, ":number": {"S": "N"}}
    returned = "ALL_NEW" if whole else "ALL_OLD"
    try:
        row = write.send("UpdateItem", Expression(names, values), condition, UpdateExpression=change, ReturnValues=returned)
    except RefusedError as refused:
        if seen is None and refused.item is not None and expired(refused.item, write.now):
            return create(entity, ids, data)  # what has expired is gone, its CreatedAt and TTL with it
        raise write.refusal(refused.item) or write.stale(refused.item) from None
    if whole:
        return row
    return _head(item) | {name: row[name] for name in (CREATED_AT,) if name in row}


def update(entity: Entity[Any], ids: tuple[Any, ...], changes: Changes, *, seen: Row | None = None) -> Row:
    """
    Change some fields of an item and give it as it is now; ItemNotFoundError if it is not there.

    One request; a consistent read before it where index keys depend on fields that are not given. Another writer that comes
    between is noticed, and the update is made anew on what that one left; with *seen*, the version that the caller has read, it
    is StaleItemError.
    """
    write = _Write.new("update", entity, ids)
    old: Row | None = None
    if changes.touches_index(entity) and not changes.decide_index(entity):
        old = read(entity, ids, consistent=True, patience=write.patience)
        if old is None:
            raise write.missing()
    while True:
        if seen is not None and old is not None and not _same_version(seen, old):
            raise write.stale(old)
        try:
            return _update_once(write, changes, old, seen)
        except RefusedError as refused:
            error = write.refusal(refused.item)
            if error is not None:
                raise error from None
            old = refused.item
        if not write.patience.wait():
            reason = "other writers kept changing it until the deadline, and nothing was written; try again"
            raise StaleItemError(write.operation, write.key, reason, item=old)


def delete(entity: Entity[Any], ids: tuple[Any, ...], *, seen: Row | None = None) -> bool:
    """Delete an item; False if it was not there. With *seen*, StaleItemError if it has changed since. One request."""
    write = _Write.new("delete", entity, ids)
    expression = Expression()
    condition = expression.alive(entity, write.now)
    if seen is not None:
        condition += f" AND {expression.unchanged(seen)}"
    try:
        write.send("DeleteItem", expression, condition)
    except RefusedError as refused:
        error = write.refusal(refused.item)
        if isinstance(error, ItemNotFoundError):
            return False
        raise error or write.stale(refused.item) from None
    return True


def replacement(
    entity: Entity[Any], ids: tuple[Any, ...], data: WireMap, *, created_at: int | None, others: WireMap
) -> tuple[msgspec.Raw, Row]:
    """
    Make a whole item's JSON for a batch, which takes no conditions and replaces what is stored; and its head, without Data.

    Args:
        entity: Which.
        ids: Whose.
        data: Its Data.
        created_at: When it was created, in epoch milliseconds; now if None.
        others: Attributes that no model declares, as they were read.
    """
    write = _Write.new("save", entity, ids)
    item = others | write.item(data, given=None if created_at is None else frozenset())
    if created_at is not None:
        item[CREATED_AT] = {"N": str(created_at)}
    return encoded(item), _head(item)


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


@dataclass(slots=True)
class Expression:
    """Names and values of a request's expressions, each under a placeholder: no field's name is ever syntax."""

    names: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def path(self, parts: Iterable[str]) -> str:
        """Give a document path in placeholders."""
        return ".".join(f"#{self.names.setdefault(part, f'n{len(self.names)}')}" for part in parts)

    def value(self, value: dict[str, Any] | AttributeValue) -> str:
        """Give a placeholder for a value."""
        placeholder = f":v{len(self.values)}"
        self.values[placeholder] = value
        return placeholder

    def alive(self, entity: Entity[Any], now: int) -> str:
        """Give the condition of every update and delete: an item of this entity, whose TTL has not passed."""
        return f"({self.path((ENTITY_TYPE,))} = {self.value({'S': entity.name})} AND {self.not_expired(now)})"

    def not_expired(self, now: int) -> str:
        """Give the condition that an item's TTL has not passed: a number of epoch seconds, anything else is none."""
        return _not_expired(self.path((TTL,)), self.value({"S": "N"}), self.value({"N": str(now // 1000)}))

    def expired(self, now: int) -> str:
        """Give the condition that an item's TTL has passed."""
        ttl = (TTL,)
        return f"({self.of_type(ttl, 'N')} AND {self.path(ttl)} <= {self.value({'N': str(now // 1000)})})"

    def unchanged(self, item: Row) -> str:
        """Give the condition that an item's version, the pair (UpdatedAt, WriteId), is the one that *item* has."""
        return " AND ".join(self._same(name, item.get(name)) for name in (UPDATED_AT, WRITE_ID))

    def of_type(self, path: Path, kind: str) -> str:
        """Give the condition that *path* holds a value of this type."""
        return f"attribute_type({self.path(path)}, {self.value({'S': kind})})"

    def empty(self, path: Path) -> str:
        """Give the condition that *path* is missing or null."""
        return f"(attribute_not_exists({self.path(path)}) OR {self.of_type(path, 'NULL')})"

    def missing_or_number(self, path: Path) -> str:
        """Give the condition that a number can be added at *path*."""
        return f"(attribute_not_exists({self.path(path)}) OR {self.of_type(path, 'N')})"

    def request(self) -> dict[str, Any]:
        """Give the request's members."""
        names = {f"#{placeholder}": name for name, placeholder in self.names.items()}
        return {"ExpressionAttributeNames": names, "ExpressionAttributeValues": self.values}

    def _same(self, name: str, value: AttributeValue | None) -> str:
        path = self.path((name,))
        return f"attribute_not_exists({path})" if value is None else f"{path} = {self.value(value)}"


@dataclass(frozen=True, slots=True)
class _Write:
    """One write: what it is, when, the nonce by which it recognises itself, and how long all of it may take."""

    operation: str
    entity: Entity[Any]
    ids: tuple[Any, ...]
    key: tuple[str, str]
    now: int
    write_id: str
    patience: Patience

    @classmethod
    def new(cls, verb: str, entity: Entity[Any], ids: tuple[Any, ...]) -> _Write:
        key, nonce = entity.keys(ids), secrets.token_urlsafe(12)
        return cls(f"{verb} {entity.name}", entity, ids, key, now_millis(), nonce, store().patience())

    def item(self, data: WireMap, *, given: frozenset[str] | None = None) -> dict[str, Any]:
        """Make a whole item of Data, which is written as JSON once and for all; InvalidItemError if it passes 400 KB."""
        now, content = {"N": str(self.now)}, encoded({"M": data})
        item: dict[str, Any] = {
            PK: {"S": self.key[0]},
            SK: {"S": self.key[1]},
            ENTITY_TYPE: {"S": self.entity.name},
            DATA: content,
            CREATED_AT: now,
            UPDATED_AT: now,
            WRITE_ID: {"S": self.write_id},
            **self.entity.index_keys(self.ids, data, given),
        }
        # JSON is never shorter than what DynamoDB counts: only a large item needs to be measured.
        if len(content) > MAX_ITEM_BYTES // 2 and (size := item_size(item | {DATA: {"M": data}})) > MAX_ITEM_BYTES:
            largest = max(data, key=lambda name: item_size({name: data[name]}))
            reason = f"{size:,} bytes, and DynamoDB takes {MAX_ITEM_BYTES:,}; the largest field is {largest}"
            raise InvalidItemError(self.operation, self.key, reason, fields=(largest,))
        return item

    def send(self, operation: str, expression: Expression, condition: str, **request: Any) -> Row:
        """Send the write; RefusedError if its condition fails, OutcomeUnknownError if nobody can tell."""
        table = store()
        if "Item" not in request:
            request["Key"] = {PK: {"S": self.key[0]}, SK: {"S": self.key[1]}}
        members = {
            "TableName": table.table_name,
            "ConditionExpression": condition,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **expression.request(),
            **request,
        }
        try:
            answer = table.call(operation, members, patience=self.patience)
        except AnswerLostError as lost:
            return self._settle(lost)
        attributes: Row = answer.get("Attributes", {})
        return attributes

    def _settle(self, lost: AnswerLostError) -> Row:
        """Find out by a consistent read whether a write whose answer was lost was applied."""
        try:
            item = read(self.entity, self.ids, consistent=True, patience=self.patience.to_look())
        except MLSSocialError as error:
            reason = f"the answer was lost ({lost}), and so was a look at the item ({error}); read it before you try again"
            raise OutcomeUnknownError(self.operation, self.key, reason) from error
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
        return ItemNotFoundError(self.operation, self.key, "it does not exist; create() it first")

    def stale(self, item: Row | None) -> StaleItemError:
        reason = "it has changed since it was read; read it and try again"
        return StaleItemError(self.operation, self.key, reason, item=item)


def _head(item: dict[str, Any]) -> Row:
    """Give what an item has beside Data, as a row."""
    return row_of({name: value for name, value in item.items() if name != DATA})


def _not_expired(ttl: str, number: str, now: str) -> str:
    return f"(NOT attribute_type({ttl}, {number}) OR {ttl} > {now})"


@cache
def _save_expressions(attributes: frozenset[str], seen: frozenset[str] | None) -> tuple[str, str, dict[str, str]]:
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
    removes = [expression.path((name,)) for name in INDEX_ATTRIBUTES.values() if name not in attributes]
    alive = f"{expression.path((ENTITY_TYPE,))} = :{ENTITY_TYPE} AND {_not_expired(expression.path((TTL,)), ':number', ':now')}"
    if seen is None:
        condition = f"attribute_not_exists({expression.path((PK,))}) OR ({alive})"
    else:
        versions = [(expression.path((name,)), name) for name in (UPDATED_AT, WRITE_ID)]
        same = [f"{path} = :seen{name}" if name in seen else f"attribute_not_exists({path})" for path, name in versions]
        condition = " AND ".join([alive, *same])
    return _update_expression(sets, removes), condition, expression.names


def _same_version(one: Row, other: Row) -> bool:
    return all(one.get(name) == other.get(name) for name in (UPDATED_AT, WRITE_ID))


def _update_once(write: _Write, changes: Changes, old: Row | None, seen: Row | None) -> Row:
    stored = None if old is None or DATA not in old else old[DATA].M
    if old is not None and stored is None:
        raise InvalidItemError(write.operation, write.key, "Data is no map in the stored item; save() it whole", fields=(DATA,))
    data = None if stored is None else plain_row(stored)
    try:
        resolved = changes.resolve(data)
    except CodecError as error:
        raise InvalidItemError(write.operation, write.key, str(error), fields=error.fields) from None
    expression = Expression()
    path = expression.path
    sets = [f"{path((DATA, *at))} = {expression.value(value)}" for at, value in resolved.sets.items()]
    sets += [_addition(expression, (DATA, *at), amount) for at, amount in resolved.adds.items()]
    removes = [path((DATA, *at)) for at in resolved.removes]
    conditions = [expression.alive(write.entity, write.now), expression.of_type((DATA,), "M")]
    conditions += [expression.of_type((DATA, *at), "M") for at in resolved.maps]
    conditions += [expression.empty((DATA, *at)) for at in resolved.absent]
    conditions += [expression.missing_or_number((DATA, *at)) for at in resolved.adds]
    if changes.touches_index(write.entity):
        index = write.entity.index_keys(write.ids, changes.after(data or {}), changes.fields)
        sets += [f"{path((name,))} = {expression.value(value)}" for name, value in index.items()]
        removes += [path((name,)) for name in INDEX_ATTRIBUTES.values() if name not in index]
        seen = seen or old
    if seen is not None:
        conditions.append(expression.unchanged(seen))
    sets.append(f"{path((UPDATED_AT,))} = {expression.value({'N': str(write.now)})}")
    sets.append(f"{path((WRITE_ID,))} = {expression.value({'S': write.write_id})}")
    return write.send(
        "UpdateItem",
        expression,
        " AND ".join(conditions),
        UpdateExpression=_update_expression(sets, removes),
        ReturnValues="ALL_NEW",
    )


def _addition(expression: Expression, path: Path, amount: dict[str, Any]) -> str:
    # ADD takes top-level attributes only: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html
    at = expression.path(path)
    return f"{at} = if_not_exists({at}, {expression.value({'N': number_text(0)})}) + {expression.value(amount)}"


def _update_expression(sets: list[str], removes: list[str]) -> str:
    return f"SET {', '.join(sets)}" + (f" REMOVE {', '.join(removes)}" if removes else "")
