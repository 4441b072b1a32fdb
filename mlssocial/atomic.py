"""
Writes that are applied together or not at all: the way of one transaction from its operations to its outcome.

Operations are prepared by the write engine, as those are that are sent alone. What DynamoDB refuses is told for each of them.
Where only index keys or parent maps have to be worked out anew, that is done, and the transaction is sent again.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from . import batch, notices, prepare, writes
from . import operations as records
from .codec import WireMap, item_size
from .connection import PASSING_REASONS, AnswerLostError, CanceledError, Patience, store
from .entities import ListingStatus, PostStatus
from .exceptions import InvalidItemError, MLSSocialError, OutcomeUnknownError, StoreError, TransactionCanceledError
from .expressions import Expression
from .prepare import Prepared
from .schema import DATA, LISTING, OPERATION, SOCIAL_POST, TTL, WRITE_ID, expired, key_of, now_millis
from .tokens import MASK, is_sealed
from .wire import Row, decode_row, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .models import Item
    from .schema import Content, Entity

Key = tuple[str, str]

# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
MAX_OPERATIONS = 100
MAX_BYTES = 4 * 1024 * 1024

LEDGER_SECONDS = 30 * 24 * 3600
"""How long the ledger knows an operation."""

ON_MARKET = (ListingStatus.ACTIVE, ListingStatus.PENDING)
"""The statuses of a listing whose posts may be published."""

_ON_MARKET = [{"S": status.value} for status in ON_MARKET]
_MEMBERS = {"PutItem": "Put", "UpdateItem": "Update", "DeleteItem": "Delete", "ConditionCheck": "ConditionCheck"}
_CONDITION = "ConditionalCheckFailed"


@dataclass(slots=True, repr=False)  # what is asked for may hold tokens
class Operation:
    """
    One operation of a transaction.

    Attributes:
        verb: What it does.
        prepared: The write.
        asked: What is asked for, without times and nonces.
        model: Whose errors it raises; the write engine's own if None.
        size: The bytes that it is sure to bring along: those of Data where an item is written whole.
    """

    verb: str
    prepared: Prepared
    asked: dict[str, Any]
    model: type[Item] | None = None
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = item_size({DATA: {"M": self.asked}}) if self.verb in {"create", "save"} else 0

    @property
    def name(self) -> str:
        """The operation as errors name it, such as ``create Listing``."""
        return self.prepared.write.operation

    @property
    def key(self) -> Key:
        """The item's key."""
        return self.prepared.write.key

    @property
    def status(self) -> str | None:
        """The status that it gives its item; None where it leaves it as it is."""
        whole = self.verb in {"create", "save"}
        given = self.asked if whole else {path[0]: value for path, value in self.asked.get("sets", ()) if len(path) == 1}
        return _text(given.get("status"))

    def refused(self, item: Row | None) -> MLSSocialError | None:
        """Make it anew on the item that refused it, or give the error that this is."""
        try:
            self.prepared = self.prepared.anew(item)
        except MLSSocialError as error:
            return self._own(error)
        return None

    def contended(self, item: Row | None) -> MLSSocialError:
        """Give the error that it was refused for as long as there was time."""
        return self._own(self.prepared.write.contended(item))

    def failed(self, reason: dict[str, Any]) -> StoreError:
        """Give the error for a reason that is no condition."""
        code, message = reason["Code"], reason["Message"] or "DynamoDB gives no reason"
        return StoreError(f"{self.name} {self.key[0]} / {self.key[1]}: {code}: {message}", code=code)

    def _own(self, error: MLSSocialError) -> MLSSocialError:
        return error if self.model is None else self.model.own_error(error)


def apply(operations: Sequence[Operation], operation_id: str | None = None, *, asked: list[Any] | None = None) -> bool:
    """
    Write all of the operations or none, in one request; False if *operation_id* says that they had been written before.

    Where index keys depend on fields that are not given, the items are read first, in one request. *asked* is what tells this
    request from others under the same operation_id; what the operations ask for if None.
    """
    with records.running(operations[0].name if len(operations) == 1 else "transaction"):
        return _Transaction(operations, operation_id, asked or _asked(operations)).apply()


def creation(entity: Entity[Any], ids: tuple[Any, ...], data: Content, *, others: WireMap | None = None) -> Callable[[], Row]:
    """
    Check a new item and make its JSON, with *others* beside Data; what is given back writes it and gives the row.

    A published post goes in a transaction with the check of its listing, anything else alone.
    """
    prepared = prepare.create(entity, ids, data, others=others)
    if entity is not SOCIAL_POST or not _listings([operation := Operation("create", prepared, data.plain())]):
        return lambda: writes.apply(prepared)

    def send() -> Row:
        apply_as_one([operation])
        return decode_row(operation.prepared.members["Item"])

    return send


def tell(operations: Iterable[Operation]) -> None:
    """Let those know who want to be told of writes: operations of a model's that were applied. They give no item back."""
    for one in operations:
        if one.model is not None and one.verb != "check":
            notices.tell_key(one.verb, one.model, one.key)


def apply_as_one(operations: Sequence[Operation], operation_id: str | None = None) -> bool:
    """Write all of the operations or none, as :func:`apply` does, and raise the first one's error as it is."""
    try:
        return apply(operations, operation_id)
    except TransactionCanceledError as canceled:
        raise next(filter(None, canceled.reasons)) from None


def check_room(operations: Sequence[Operation], operation_id: str | None) -> None:
    """Refuse a transaction that DynamoDB would, or that would publish a post of a listing off the market; name the last one."""
    last = operations[-1]
    room = MAX_OPERATIONS
    if operation_id is not None:
        room -= 1
        OPERATION.keys((_user(operations), operation_id))  # refuses what cannot go into a key
    by_key, listings = {one.key: one for one in operations}, _listings(operations)
    for key, (_, place) in listings.items():
        status = by_key[key].status if key in by_key else None
        if status is not None and status not in ON_MARKET:
            raise _off_market(operations[place], key, status)
    if len(operations) + len(listings.keys() - by_key.keys()) > room:
        reason = f"the transaction is full: DynamoDB takes {room} operations, checks of posts' listings among them"
        raise InvalidItemError(last.name, last.key, reason)
    if (size := sum(one.size for one in operations)) > MAX_BYTES:
        reason = f"the transaction would have {size:,} bytes, and DynamoDB takes {MAX_BYTES:,}"
        raise InvalidItemError(last.name, last.key, reason)


class _Transaction:
    """
    A transaction under way.

    Attributes:
        sent: The operations as they are sent: the caller's, then the checks of posts' listings, then the ledger's.
        places: For each of them, which of the caller's it stands for.
    """

    def __init__(self, operations: Sequence[Operation], operation_id: str | None, asked: list[Any]) -> None:
        self.asked = len(operations)
        # A hash, which tells one request from another and shows nothing of it.
        self.fingerprint = blake2b(to_json(asked, order="deterministic"), digest_size=16).hexdigest()
        self.sent, self.places = [*operations], [*range(len(operations))]
        by_key = {one.key: one for one in operations}
        for key, (listing, place) in _listings(operations).items():
            if key not in by_key:
                self.sent.append(_guard(operations[place], listing))
                self.places.append(place)
            elif by_key[key].verb in {"update", "check"} and by_key[key].status is None:
                by_key[key].prepared = _held(by_key[key].prepared, operations[place])
        self.ledger: Operation | None = None
        if operation_id is not None:
            data, ttl = {"fingerprint": {"S": self.fingerprint}}, {"N": str(now_millis() // 1000 + LEDGER_SECONDS)}
            entry = prepare.create(OPERATION, (_user(operations), operation_id), OPERATION.content(data), others={TTL: ttl})
            self.ledger = Operation("create", entry, data)
            self.sent.append(self.ledger)
            self.places.append(0)

    def apply(self) -> bool:
        patience = store().patience()
        if self._read_first(patience):
            return False
        while True:
            try:
                self._send(patience)
            except AnswerLostError as lost:
                return self._settle(lost, patience.to_look())
            except CanceledError as canceled:
                reasons = canceled.reasons
            else:
                return True
            if self._is_in([reason["Item"] for reason in reasons]):
                return True
            if self.ledger is not None and self._was_applied(reasons[-1]["Item"]):
                return False
            self._make_anew(reasons)
            if not patience.wait():
                self._raise(
                    [one.contended(why["Item"]) if why["Code"] == _CONDITION else None for one, why in self._each(reasons)]
                )

    def _send(self, patience: Patience) -> None:
        members = [{_MEMBERS[one.prepared.operation]: one.prepared.members} for one in self.sent]
        # The token is this request's alone: DynamoDB refuses it for another one, such as this one made anew.
        request = {"TransactItems": members, "ClientRequestToken": str(uuid.uuid4())}
        store().call("TransactWriteItems", request, patience=patience)

    def _read_first(self, patience: Patience) -> bool:
        """Read the items that operations depend on; True if the ledger, read along with them, knows this transaction."""
        wanting = [one for one in self.sent if one.prepared.needs_item]
        if not wanting:
            return False
        rows = self._read(wanting if self.ledger is None else [*wanting, self.ledger], patience)
        if self.ledger is not None and self._was_applied(rows.get(self.ledger.key)):
            return True
        self._raise([one.refused(rows.get(one.key)) if one.prepared.needs_item else None for one in self.sent])
        return False

    def _read(self, wanted: Sequence[Operation], patience: Patience) -> dict[Key, Row]:
        rows = batch.read((one.key for one in wanted), consistent=True, patience=patience)
        return {key_of(row): row for row in rows}

    def _was_applied(self, entry: Row | None) -> bool:
        """Tell by the ledger's item whether this was applied before; InvalidItemError if something else was, under its id."""
        if self.ledger is None or entry is None or expired(entry, self.ledger.prepared.write.now):
            return False
        data = entry[DATA].M if DATA in entry else None
        if data is not None and "fingerprint" in data and self.fingerprint == data["fingerprint"].S:
            return True
        reason = "this operation_id was used for another request; give each operation one of its own"
        raise InvalidItemError(f"transaction of {self.asked}", self.ledger.key, reason)

    def _is_in(self, rows: Iterable[Row | None]) -> bool:
        """Tell whether one of these items was written by this transaction: then all were."""
        ours = {one.prepared.write.write_id for one in self.sent}
        return any(row is not None and WRITE_ID in row and row[WRITE_ID].S in ours for row in rows)

    def _make_anew(self, reasons: Sequence[dict[str, Any]]) -> None:
        """Make anew what was refused, and raise what that does not help with."""
        if {why["Code"] for why in reasons} <= PASSING_REASONS:  # it was sent again and again until the deadline
            raise next(one.failed(why) for one, why in self._each(reasons) if why["Code"] != "None")
        errors: list[MLSSocialError | None] = []
        for one, why in self._each(reasons):
            if why["Code"] == _CONDITION:
                errors.append(one.refused(why["Item"]))
            else:
                errors.append(None if why["Code"] in PASSING_REASONS else one.failed(why))
        self._raise(errors)

    def _each(self, reasons: Sequence[dict[str, Any]]) -> Iterator[tuple[Operation, dict[str, Any]]]:
        return zip(self.sent, reasons, strict=True)

    def _raise(self, errors: Sequence[MLSSocialError | None]) -> None:
        """Raise what is wrong, if anything is: each error in the place of the caller's operation."""
        reasons: list[MLSSocialError | None] = [None] * self.asked
        for place, error in zip(self.places, errors, strict=True):
            reasons[place] = reasons[place] or error
        if any(reasons):
            raise TransactionCanceledError(reasons)

    def _settle(self, lost: AnswerLostError, patience: Patience) -> bool:
        """Find out by a consistent read whether a transaction whose answer was lost was applied."""
        try:
            rows = self._read([one for one in self.sent if one.prepared.operation in {"PutItem", "UpdateItem"}], patience)
        except MLSSocialError as error:
            raise self._unknown(f"the answer was lost ({lost}), and so was a look at the items ({error})") from error
        if self._is_in(rows.values()):
            return True
        if self.ledger is not None and self._was_applied(rows.get(self.ledger.key)):
            return False
        raise self._unknown(f"the answer was lost ({lost}), and no item shows this write") from lost

    def _unknown(self, reason: str) -> OutcomeUnknownError:
        remedy = "read the items before you try again" if self.ledger is None else "send it again with the same operation_id"
        return OutcomeUnknownError(f"transaction of {self.asked}", self.sent[0].key, f"{reason}; {remedy}")


def _user(operations: Sequence[Operation]) -> str:
    user: str = operations[0].prepared.write.ids[0]
    return user


def _asked(operations: Sequence[Operation]) -> list[Any]:
    """Give what is asked for, in whichever order: each item has one operation."""
    return sorted(([*one.key, one.verb, _settled(one.asked)] for one in operations), key=lambda one: one[:2])


def _settled(asked: Any) -> Any:
    """Leave out what a repeat of the same request cannot repeat: a token is sealed anew each time."""
    if isinstance(asked, dict):
        return {name: _settled(value) for name, value in asked.items()}
    if isinstance(asked, list):
        return [_settled(value) for value in asked]
    return MASK if isinstance(asked, str) and is_sealed(asked) else asked


def _listings(operations: Sequence[Operation]) -> dict[Key, tuple[tuple[str, str], int]]:
    """Give the listings whose posts are created as published: their ids, and the place of the first such post."""
    listings: dict[Key, tuple[tuple[str, str], int]] = {}
    for place, one in enumerate(operations):
        listing_id = _text(one.asked.get("listingId"))
        if (
            one.verb == "create"
            and one.prepared.write.entity is SOCIAL_POST
            and one.status == PostStatus.PUBLISHED
            and listing_id
        ):
            ids = (one.prepared.write.ids[0], listing_id)
            listings.setdefault(LISTING.keys(ids), (ids, place))
    return listings


def _guard(post: Operation, listing: tuple[str, str]) -> Operation:
    """Make the check that a post's listing is on the market, or is not in this table."""
    check = prepare.check(LISTING, listing, {("status",): _ON_MARKET}, or_absent=True)

    def anew(item: Row | None) -> Prepared:
        raise _off_market(post, LISTING.keys(listing), stored_status(item))

    return Operation("check", msgspec.structs.replace(check, anew=anew), {})


def _held(prepared: Prepared, post: Operation) -> Prepared:
    """Hold an operation that leaves its listing's status as it is to one that is on the market."""

    def anew(item: Row | None) -> Prepared:
        if prepared.write.refusal(item) is None and stored_status(item) not in ON_MARKET:
            raise _off_market(post, prepared.write.key, stored_status(item))
        return _held(prepared.anew(item), post)

    members = prepared.members
    if not prepared.needs_item:
        names = {name: placeholder[1:] for placeholder, name in members["ExpressionAttributeNames"].items()}
        expression = Expression(names, dict(members["ExpressionAttributeValues"]))
        condition = f"({members['ConditionExpression']}) AND {expression.one_of((DATA, 'status'), _ON_MARKET)}"
        members = members | {"ConditionExpression": condition, **expression.request()}
    return msgspec.structs.replace(prepared, members=members, anew=anew)


def _off_market(post: Operation, listing: Key, status: str | None) -> InvalidItemError:
    reason = (
        f"its listing {listing[0]} / {listing[1]} is {status or 'without a status'}, and a post of a listing off the market "
        "cannot be published; give it another status"
    )
    return InvalidItemError(post.name, post.key, reason, fields=("status",))


def stored_status(item: Row | None) -> str | None:
    """Give the status that a stored item has in Data."""
    data = item[DATA].M if item is not None and DATA in item else None
    return data["status"].S if data is not None and "status" in data else None


def _text(value: dict[str, Any] | None) -> str | None:
    return None if value is None else value.get("S")
