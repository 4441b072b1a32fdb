"""
DynamoDB's answers, decoded by msgspec without a tree of dicts in between.

A row is a dict of :class:`AttributeValue` by name. The rows of a page stay undecoded bytes until each is asked for, so that the
garbage collector never meets a page's whole tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from .codec import CodecError, WireMap
from .exceptions import StoreError
from .masked import MaskedBytes
from .tokens import MASK


class Hiding(msgspec.Struct):
    """What shows its type and never its content: what is read from the table or written there, with tokens in it."""

    def __repr__(self) -> str:
        there = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        return f"<{type(self).__name__} of {', '.join(there)}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show no more to rich."""
        return [(name, MASK) for name in self.__struct_fields__ if getattr(self, name) is not None]


class AttributeValue(Hiding, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One attribute value: the one member that is not None is its type and its content."""

    S: str | None = None
    N: str | None = None
    M: dict[str, AttributeValue] | None = None
    L: list[AttributeValue] | None = None
    BOOL: bool | None = None
    NULL: bool | None = None
    B: bytes | None = None
    SS: list[str] | None = None
    NS: list[str] | None = None
    BS: list[bytes] | None = None


Row = dict[str, AttributeValue]
"""An item as it was read."""

_KINDS = AttributeValue.__struct_fields__
_row = msgspec.json.Decoder(Row)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_value = msgspec.json.Decoder(AttributeValue)
# How a query's key condition begins, this project's and PynamoDB's.
_PARTITION = re.compile(r"\(*(#\w+) = (:\w+)")


def plain(value: AttributeValue) -> dict[str, Any]:
    """Give botocore's form of an attribute value: ``{"S": "text"}``."""
    if type(value) is not AttributeValue:  # one of a shape
        made: dict[str, Any] = msgspec.to_builtins(value, builtin_types=(bytes,))
        return made
    if value.M is not None:
        return {"M": plain_row(value.M)}
    if value.L is not None:
        return {"L": [plain(entry) for entry in value.L]}
    return {kind: content for kind in _KINDS if (content := getattr(value, kind)) is not None}


def plain_row(row: Row) -> WireMap:
    """Give botocore's form of a row."""
    return {name: plain(value) for name, value in row.items()}


def row_of(item: WireMap | Row) -> Row:
    """Give the row of an item in botocore's form; a row is given back as it is. CodecError if it is neither."""
    if isinstance(item, dict) and all(isinstance(value, AttributeValue) for value in item.values()):
        return item  # type: ignore[return-value]  # just looked at
    try:
        return msgspec.convert(item, Row)
    except msgspec.ValidationError as error:
        raise CodecError(f"not a DynamoDB item: {error}") from None


def decode_row(content: bytes | msgspec.Raw) -> Row:
    """Decode one row; StoreError if it is none."""
    try:
        return _row.decode(content)
    except (ValueError, RecursionError) as error:
        raise invalid_answer(f"a row of it cannot be read ({type(error).__name__})") from None


def invalid_answer(reason: str) -> StoreError:
    """Say that an answer that was taken for one is none after all: a page's rows are not looked into before they are needed."""
    return StoreError(f"the answer is not DynamoDB's: {reason}; ask again", code="InvalidAnswer")


class _GetItem(msgspec.Struct):
    Item: Row | None = None
    ConsumedCapacity: Any = None


class _Write(msgspec.Struct):
    Attributes: Row | None = None
    ConsumedCapacity: Any = None


class _Query(msgspec.Struct):
    Items: list[msgspec.Raw] | None = None
    Count: int = 0
    ScannedCount: int = 0
    LastEvaluatedKey: Row | None = None
    ConsumedCapacity: Any = None


class _BatchGetItem(msgspec.Struct):
    Responses: dict[str, list[msgspec.Raw]] = {}
    UnprocessedKeys: dict[str, Any] = {}
    ConsumedCapacity: Any = None


class _BatchWriteItem(msgspec.Struct):
    UnprocessedItems: dict[str, list[dict[str, dict[str, Row]]]] = {}
    ConsumedCapacity: Any = None


class _TransactGetItems(msgspec.Struct):
    Responses: list[dict[str, Row]] = []
    ConsumedCapacity: Any = None


class _TransactWriteItems(msgspec.Struct):
    ConsumedCapacity: Any = None


_ANSWERS: dict[str, msgspec.json.Decoder[Any]] = {
    "GetItem": msgspec.json.Decoder(_GetItem),
    "Query": msgspec.json.Decoder(_Query),
    "Scan": msgspec.json.Decoder(_Query),
    "PutItem": msgspec.json.Decoder(_Write),
    "UpdateItem": msgspec.json.Decoder(_Write),
    "DeleteItem": msgspec.json.Decoder(_Write),
    "BatchGetItem": msgspec.json.Decoder(_BatchGetItem),
    "BatchWriteItem": msgspec.json.Decoder(_BatchWriteItem),
    "TransactGetItems": msgspec.json.Decoder(_TransactGetItems),
    "TransactWriteItems": msgspec.json.Decoder(_TransactWriteItems),
}


OPERATIONS = tuple(_ANSWERS)
"""The data operations."""


def is_data_operation(operation: str) -> bool:
    """Tell whether this module reads an operation's answers; all others are botocore's."""
    return operation in _ANSWERS


def decode_answer(operation: str, body: bytes) -> dict[str, Any]:
    """
    Decode the answer of a data operation; ValueError if it is none.

    Rows of a page are left as bytes, for :func:`decode_row`; what DynamoDB did not send is not there.
    """
    answer = _ANSWERS[operation].decode(body)
    return {name: value for name in answer.__struct_fields__ if (value := getattr(answer, name)) is not None}


def to_json(value: Any, *, order: Literal["deterministic"] | None = None) -> bytes:
    """Write attribute values in either form, masked ones too."""
    return msgspec.json.encode(value, enc_hook=str.__str__, order=order)  # all that msgspec does not know is masked text


def encoded(value: dict[str, Any]) -> msgspec.Raw:
    """Write a part of a request, to be put into it as it is."""
    return msgspec.Raw(to_json(value))


def encode_request(request: dict[str, Any]) -> bytes:
    """Write the body of a data operation's request; attribute values in either form. It is not shown."""
    return MaskedBytes(to_json(request))


def is_at(row: Row, keys: Mapping[str, Any]) -> bool:
    """Tell whether a row has these key attributes, which are text in botocore's form."""
    for name, value in keys.items():
        if name not in row or value.get("S") != row[name].S:
            return False
    return bool(keys)


def shows_asked(request: dict[str, Any], answer: dict[str, Any]) -> bool:
    """
    Tell whether the items in an answer are what the request asked for; if not, it is the answer to another request.

    Of a page the first row is looked at, since rows are decoded when they are needed.
    """
    if "Error" not in answer and not _is_whole(request, answer):
        return False
    if "Key" in request:
        item = answer.get("Item", answer.get("Attributes"))
        return item is None or is_at(item, request["Key"]) or "ProjectionExpression" in request
    if "ProjectionExpression" in request:
        return True
    if rows := answer.get("Items"):
        partition = _partition(request)
        return not partition or is_at(_head(rows[0], partition), partition)
    if "TransactItems" in request:
        found = answer.get("Responses", answer.get("CancellationReasons"))
        return found is None or all(_is_of_member(*pair) for pair in zip(request["TransactItems"], found, strict=True))
    if "RequestItems" in request:
        found = answer.get("Responses", {}).items()
        return all(_is_asked(rows[0], request["RequestItems"][table]) for table, rows in found if rows)
    return True


def _is_whole(request: dict[str, Any], answer: dict[str, Any]) -> bool:
    """Tell whether an answer has what each of its kind has: that nothing was found is another thing than nothing."""
    if request.get("ReturnValues") == "ALL_NEW":
        return "Attributes" in answer
    if members := request.get("TransactItems"):
        return "Responses" in answer or "Get" not in members[0]
    if tables := request.get("RequestItems"):
        told = {*answer.get("Responses", ()), *answer.get("UnprocessedKeys", ())}
        return all("Keys" not in asked or table in told for table, asked in tables.items())
    return True


def _is_asked(content: msgspec.Raw, asked: dict[str, Any]) -> bool:
    row = _head(content, asked["Keys"][0])
    return "ProjectionExpression" in asked or any(is_at(row, key) for key in asked["Keys"])


def _is_of_member(member: dict[str, Any], shown: dict[str, Any]) -> bool:
    """Tell whether an item that a transaction's answer shows is that of its operation; a Put has its key in its item."""
    (asked,) = member.values()
    item = shown.get("Item")
    return item is None or "Key" not in asked or "ProjectionExpression" in asked or is_at(item, asked["Key"])


def _head(content: msgspec.Raw, names: Iterable[str]) -> Row:
    """Decode some of a row's attributes."""
    members = _members.decode(content)
    return {name: _value.decode(members[name]) for name in names if name in members}


def _partition(request: dict[str, Any]) -> dict[str, Any]:
    """Give the partition that a query asks for; nothing of a scan."""
    named = _PARTITION.match(request.get("KeyConditionExpression", ""))
    if named is None:
        return {}
    name, value = named.groups()
    return {request["ExpressionAttributeNames"][name]: request["ExpressionAttributeValues"][value]}
