"""
The write engine: every write to the table goes through it.

It sends what :mod:`prepare` makes. What failed is told apart by the item that DynamoDB shows in its refusal, and a write that
has to be worked out on that item is made anew. One whose answer was lost is sent again where its own condition knows it, or
looked up by its WriteId, never guessed at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from . import limits, operations, prepare
from .connection import AnswerLostError, Patience, RefusedError, store
from .exceptions import InvalidItemError, ItemNotFoundError, MLSSocialError, OutcomeUnknownError, StoreError, WrongEntityError
from .prepare import Prepared, Write
from .schema import (
    CREATED_AT,
    DATA,
    INDEX_ATTRIBUTES,
    PK,
    SK,
    WRITE_ID,
    Content,
    Entity,
    entity_type,
    expired,
    now_millis,
)
from .wire import Row, decode_row

if TYPE_CHECKING:
    from .codec import WireMap
    from .head import Head


def apply(prepared: Prepared, *, patience: Patience | None = None) -> Row:
    """Send a write, and give the item as it is now. One request; a consistent read before it where it needs the item."""
    with operations.running(prepared.write.operation):
        patience = patience or store().patience()
        if prepared.needs_item:
            prepared = prepared.anew(read(prepared.write.entity, prepared.write.ids, consistent=True, patience=patience))
        return _apply(prepared, "ALL_NEW", patience)[1]


def is_final(error: InvalidItemError | StoreError) -> bool:
    """Tell whether an item was refused for good: it would pass a limit, whenever it is tried again."""
    return isinstance(error, InvalidItemError) or error.code == "ValidationException"


def delete(entity: Entity[Any], ids: tuple[Any, ...], *, seen: Row | None = None) -> bool:
    """Delete an item; False if it was not there. With *seen*, StaleItemError if it has changed since. One request."""
    with operations.running(f"delete {entity.name}"):
        try:
            apply(prepare.delete(entity, ids, seen=seen))
        except ItemNotFoundError:
            return False
        return True


def save_head(
    entity: Entity[Any], ids: tuple[Any, ...], data: Content, *, others: WireMap, gone: frozenset[str], seen: Row | None
) -> tuple[Head, Row]:
    """Write an item whole, as :func:`prepare.save` says. Give what it was given beside Data, and what was left in place."""
    prepared = prepare.save(entity, ids, data, others=others, gone=gone, seen=seen)
    with operations.running(prepared.write.operation):
        sent, row = _apply(prepared, "ALL_OLD", store().patience())  # no more than what was there is sent back
    head = cast("Head", sent.head)  # what was sent is a whole item, be it anew
    if sent is not prepared or not row:  # it had expired, and was created anew, or there was none
        return head, {}
    written = {DATA, *head.attributes(), *others, *gone, *INDEX_ATTRIBUTES.values()} - {CREATED_AT}
    return head, {name: value for name, value in row.items() if name not in written}


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


def _apply(prepared: Prepared, returned: str, patience: Patience) -> tuple[Prepared, Row]:
    """Send a write, and anew on what refused it for as long as that helps; give what was sent at last, and the item."""
    refusals = 0
    while True:
        if prepared.operation == "UpdateItem":
            prepared.members.setdefault("ReturnValues", returned)
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
                return _settle(write, lost, patience.to_look())
        except RefusedError as refused:
            if lost is None:
                raise
            return _recognised(write, refused.item, lost)
        except StoreError as error:
            if lost is not None:  # refused, throttled or not reached: that tells nothing of the first time
                return _settle(write, lost, patience.to_look())
            broken = limits.broken(write.operation, write.key, error)
            if broken is None:
                raise
            raise broken from error
        else:
            attributes: Row = answer.get("Attributes", {})
            return attributes


def _settle(write: Write, lost: AnswerLostError, patience: Patience) -> Row:
    """Find out by a consistent read whether a write whose answer was lost was applied."""
    try:
        item = read(write.entity, write.ids, consistent=True, patience=patience)
    except MLSSocialError as error:
        reason = f"the answer was lost ({lost}), and so was a look at the item ({error}); read it before you try again"
        raise OutcomeUnknownError(write.operation, write.key, reason) from error
    return _recognised(write, item, lost)


def _recognised(write: Write, item: Row | None, lost: AnswerLostError) -> Row:
    """Give the item if it shows this write; else nobody can tell, for another write may have come after it."""
    if item is not None and WRITE_ID in item and write.write_id == item[WRITE_ID].S:
        return item
    reason = f"the answer was lost ({lost}), and the item does not show this write; read it before you try again"
    raise OutcomeUnknownError(write.operation, write.key, reason) from lost
