"""
DynamoDB's answers, decoded by msgspec without a tree of dicts in between.

A row is a dict of :class:`AttributeValue` by name. The rows of a page stay undecoded bytes until each is asked for, so that the
garbage collector never meets a page's whole tree.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .codec import CodecError, WireMap


class AttributeValue(msgspec.Struct, gc=False, omit_defaults=True):
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


def plain(value: AttributeValue) -> dict[str, Any]:
    """Give botocore's form of an attribute value: ``{"S": "text"}``."""
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
    """Decode one row."""
    return _row.decode(content)


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
    UnprocessedItems: dict[str, Any] = {}
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


def encoded(value: dict[str, Any]) -> msgspec.Raw:
    """Write a part of a request, to be put into it as it is."""
    return msgspec.Raw(msgspec.json.encode(value))


def encode_request(request: dict[str, Any]) -> bytes:
    """Write the body of a data operation's request; attribute values in either form."""
    return msgspec.json.encode(request)
