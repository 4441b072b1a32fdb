"""
DynamoDB Streams: a record as items before and after a change, and the handler that repairs drift as it happens.

Records come from AWS Lambda (``event["Records"]``) or from ``get_records`` of botocore's ``dynamodbstreams`` client. The stream
has to carry new images: its view type is ``NEW_IMAGE`` or ``NEW_AND_OLD_IMAGES``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from . import drift
from .connection import store
from .drift import Finding, Kind, Outcome
from .exceptions import (
    ConfigurationError,
    InvalidItemError,
    ItemNotFoundError,
    OutcomeUnknownError,
    StaleItemError,
    StoreError,
    WrongEntityError,
)
from .models import Item
from .schema import PK, SK
from .wire import Row

_log = logging.getLogger(__name__)

_TTL_PRINCIPAL = "dynamodb.amazonaws.com"


class ChangeKind(StrEnum):
    """What happened to an item, in the stream's words."""

    INSERT = "INSERT"
    MODIFY = "MODIFY"
    REMOVE = "REMOVE"


@dataclass(frozen=True, slots=True)
class Change:
    """
    One change of one item.

    Attributes:
        key: (PK, SK).
        old: The item before, None where there was none or the stream does not carry it.
        new: The item after, likewise. Each is of its own class; another application's is a plain Item.
        sequence_number: The record's place in its shard.
        by_ttl: Whether DynamoDB itself deleted it because its TTL had passed.
    """

    kind: ChangeKind
    key: tuple[str, str]
    old: Item | None
    new: Item | None
    sequence_number: str
    by_ttl: bool


def read(record: Mapping[str, Any]) -> Change:
    """
    Turn a stream's record into models. No request.

    Raises:
        InvalidItemError: It is no record of this table's stream, or an image cannot be read as its entity; *key* says whose.
    """
    known = _converted(record, _Record)
    return Change(
        kind=known.event_name,
        key=known.key,
        old=None if known.old is None else Item.from_row(known.old),
        new=None if known.new is None else Item.from_row(known.new),
        sequence_number=known.dynamodb.sequence_number,
        by_ttl=known.by_ttl,
    )


def repair(record: Mapping[str, Any]) -> Finding | None:
    """
    Repair the item that a record is about, if its new image has drifted, and give what was found; None where nothing was.

    No request where the index keys follow from the data, as they do after every write of this project: a repair's own record
    causes none. Otherwise one conditional write. An item that has changed since the image, or is gone, is left alone, because
    the record of that change is yet to come.

    Raises:
        InvalidItemError: It is no record of this table's stream.
        ConfigurationError: It is another table's, or the stream carries no new images.
        OutcomeUnknownError: The answer was lost. To try again does no harm.
        StoreError: DynamoDB refused, or could not be reached before the deadline.
    """
    return _repair(_converted(record, _Record))


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, list[dict[str, str]]]:  # noqa: ARG001  Lambda's
    """
    Handle an event of AWS Lambda: repair what has drifted, record by record.

    Name it as the function's handler, ``mlssocial.streams.handler``, with ``MLSSOCIAL_TABLE_NAME`` set and
    ``ReportBatchItemFailures`` switched on in the event source mapping. It costs one write for an item that another application
    has left drifted, and nothing otherwise; of several records of one item the last one counts. The answer names the first
    record that could not be worked off, and Lambda sends that one and those behind it again. What no repeating would mend, such
    as an item that cannot be read, is logged as a warning and left out.

    Raises:
        InvalidItemError: It holds what is no record of this table's stream.
        ConfigurationError: A record is of another table, or the stream carries no new images.
    """
    records = _converted(event, _Event).records
    last = {record.key: record for record in records}
    for record in records:
        if last[record.key] is not record:
            continue
        try:
            finding = _repair(record)
        except (StoreError, OutcomeUnknownError) as error:
            _log.warning("to be sent again: %s", error)
            return {"batchItemFailures": [{"itemIdentifier": record.dynamodb.sequence_number}]}
        if finding is not None and (finding.outcome is Outcome.FAILED or Kind.UNREADABLE in finding.kinds):
            _log.warning("left out: %s", finding)
    return {"batchItemFailures": []}


def _repair(record: _Record) -> Finding | None:
    if record.event_name is ChangeKind.REMOVE:
        return None
    record.check_table()
    row = record.new
    if row is None:
        reason = "the stream carries no new images; its view type has to be NEW_IMAGE or NEW_AND_OLD_IMAGES"
        raise ConfigurationError(f"repair {record.key[0]} / {record.key[1]}: {reason}")
    finding = drift.examine(row)
    if finding is None or not finding.drifted:
        return finding
    try:
        return drift.repair(finding, row)
    except (StaleItemError, ItemNotFoundError, WrongEntityError):
        return None


# --- The two forms of a record ---------------------------------------------------------------------------------------


class _Images(msgspec.Struct, rename="pascal"):
    """What a record says of its item. Binary values are base64 text from Lambda and bytes from botocore; both are read."""

    keys: Row
    sequence_number: str = ""
    new_image: Row | None = None
    old_image: Row | None = None

    def __post_init__(self) -> None:
        """Refuse the record of a table with other keys."""
        if any(name not in self.keys or not self.keys[name].S for name in (PK, SK)):
            raise ValueError("its Keys are not PK and SK")


class _Record(msgspec.Struct):
    dynamodb: _Images
    event_name: ChangeKind = msgspec.field(name="eventName")
    source: str | None = msgspec.field(name="eventSourceARN", default=None)
    identity: dict[str, Any] | None = msgspec.field(name="userIdentity", default=None)

    @property
    def key(self) -> tuple[str, str]:
        """The item's (PK, SK)."""
        return self.dynamodb.keys[PK].S or "", self.dynamodb.keys[SK].S or ""

    @property
    def old(self) -> Row | None:
        """The item before."""
        image = self.dynamodb.old_image
        return None if image is None else self.dynamodb.keys | image

    @property
    def new(self) -> Row | None:
        """The item after."""
        image = self.dynamodb.new_image
        return None if image is None else self.dynamodb.keys | image

    @property
    def by_ttl(self) -> bool:
        """Whether DynamoDB deleted the item itself; Lambda and botocore spell it differently."""
        # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html
        who = self.identity or {}
        return _TTL_PRINCIPAL in {who.get("principalId"), who.get("PrincipalId")}

    def check_table(self) -> None:
        """Refuse the record of another table, where it says whose it is."""
        table = store().table_name.rpartition("/")[2]
        if self.source is not None and f":table/{table}/" not in self.source:
            raise ConfigurationError(f"the record is of {self.source}, and the configured table is {table}")


class _Event(msgspec.Struct):
    records: list[_Record] = msgspec.field(name="Records")


_T = TypeVar("_T")


def _converted(given: Mapping[str, Any], kind: type[_T]) -> _T:
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:  # it names types and places, and no value
        raise InvalidItemError("read a stream's record", None, f"it is none of this table's: {error}") from None
