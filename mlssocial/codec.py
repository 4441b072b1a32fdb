"""
Between payloads and DynamoDB attribute values.

An attribute value is botocore's form: ``{"S": "text"}``, ``{"N": "12.5"}``, ``{"M": {...}}``, with bytes for ``B``. Decoding an
item and encoding it again gives the same item.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Context, Decimal
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from .entities import EPOCH, MILLISECOND, Payload, check_number, check_whole, explained, parse_number
from .exceptions import clipped
from .masked import MaskedText
from .tokens import STORED, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

AttributeValue = dict[str, Any]
WireMap = dict[str, AttributeValue]
"""Attribute values by name: an item, or what stands in a map."""

P = TypeVar("P", bound=Payload)
T = TypeVar("T")

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-attributes
MAX_NESTING = 32
MAX_ITEM_BYTES = 400 * 1024
MAX_NAME_BYTES = 64 * 1024 - 1

_EXACT = Context(prec=400)

upgrades: dict[type[Payload], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""What reads an older shape of a payload's fields; see :mod:`upgrades`."""


class CodecError(ValueError):
    """
    A value cannot be decoded or encoded; the caller knows the item and makes an InvalidItemError of it.

    Attributes:
        fields: The fields at fault, in wire names joined by dots.
    """

    def __init__(self, reason: str, fields: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.fields = fields


# --- Payloads --------------------------------------------------------------------------------------------------------


def load(payload_type: type[P], data: Mapping[str, AttributeValue]) -> P:
    """Make a payload of ``Data`` as it is stored; CodecError names what does not fit."""
    return _validated(payload_type, upgraded(payload_type, {name: decode(value, (name,)) for name, value in data.items()}))


def upgraded(payload_type: type[Payload], fields: dict[str, Any]) -> dict[str, Any]:
    """Bring ``Data`` into the payload's shape, where one declares how it reads an older one; CodecError if that fails."""
    upgrade = upgrades.get(payload_type)
    if upgrade is None:
        return fields
    try:
        made = upgrade(fields)
    except Exception as error:
        raise CodecError(f"its upgrade failed with {type(error).__name__}") from error  # a message might show a token
    if not isinstance(made, dict):
        raise CodecError(f"its upgrade gave a {type(made).__name__}, and not the fields")
    return made


def dump(payload: Payload) -> WireMap:
    """Make ``Data`` of a payload; CodecError names a field that was changed, past validation, to what cannot be read back."""
    names = _wire_names(type(payload))
    for name, value in _set_fields(payload).items():
        check_bounds(value, (names.get(name, name),))
    fields = natives(payload)
    _validated(type(payload), fields)
    data: WireMap = encode(fields)["M"]
    return data


def wire_name(payload_type: type[BaseModel], name: str) -> str:
    """Give a field's name on the wire."""
    return payload_type.model_fields[name].alias or name


def explain(error: ValidationError) -> CodecError:
    """Say which fields pydantic refused and why, without repeating any input."""
    return CodecError(*explained(error))


def check_bounds(value: Any, path: tuple[str, ...] = ()) -> None:
    """
    Refuse a value that no item can hold, by its levels and its entries, before more work is put into it.

    An entry is taken for what it has in an item at the least: a byte in a list or set, two in a map, and three more where it is
    a list or a map. So no more than an item's worth is looked at, however much there is. CodecError names the field.
    """
    left, level = MAX_ITEM_BYTES, iter((value,))
    for _ in range(MAX_NESTING):
        inside: list[Collection[Any]] = []
        for entry in level:
            if isinstance(entry, int):
                _named(check_whole, entry, path)
            elif isinstance(entry, list | tuple | set | frozenset):
                left -= len(entry) + (0 if isinstance(entry, set | frozenset) else 3)
                inside.append(entry)
            elif isinstance(entry, dict | BaseModel):
                inside.append((entry if isinstance(entry, dict) else _set_fields(entry)).values())
                left -= 3 + 2 * len(inside[-1])
            if left < 0:
                reason = f"more entries than the {MAX_ITEM_BYTES:,} bytes of DynamoDB's items can hold"
                raise CodecError(f"{dotted(path)}: {reason}", (dotted(path),))
        if not inside:
            return
        level = chain.from_iterable(inside)
    raise _too_deep(path)


def _set_fields(model: BaseModel) -> dict[str, Any]:
    """Give what is set in a model, unknown fields too, by Python names."""
    values = model.__dict__
    return {name: values[name] for name in model.model_fields_set if name in values} | (model.__pydantic_extra__ or {})


def _validated(payload_type: type[P], natives: dict[str, Any]) -> P:
    try:
        return payload_type.model_validate(natives, context=STORED, by_alias=True, by_name=False)
    except ValidationError as error:
        raise explain(error) from None  # pydantic's own error holds the input


def natives(payload: BaseModel) -> dict[str, Any]:
    """Give what is set in a payload by wire name, in the form in which stored values are validated."""
    names, values, more = _wire_names(type(payload)), payload.__dict__, payload.__pydantic_extra__ or {}
    # An unknown field may have the Python name of a known one: then it is the one that is set.
    # One that was deleted (``del data.price``) is still among those that were set.
    there = [name for name in names if name in payload.model_fields_set and name in values]
    known = [name for name in there if values[name] is not None or name not in more]
    return {names[name]: native(values[name]) for name in known} | {name: native(value) for name, value in more.items()}


def native(value: Any) -> Any:
    """Give a payload's value in the form that is encoded: moments as numbers, days as text, models as dicts."""
    if isinstance(value, BaseModel):
        return natives(value)
    if isinstance(value, list):
        return [native(entry) for entry in value]
    if isinstance(value, dict):
        return {name: native(entry) for name, entry in value.items()}
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return Decimal(epoch_millis(value))
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return value


def epoch_millis(moment: datetime) -> int:
    """Give an aware datetime as epoch milliseconds, the table's form of a point in time."""
    return (moment - EPOCH) // MILLISECOND


def from_epoch_millis(millis: int) -> datetime:
    """Give epoch milliseconds as an aware UTC datetime; OverflowError outside of the years 1 to 9999."""
    return EPOCH + millis * MILLISECOND


@cache
def _wire_names(payload_type: type[BaseModel]) -> dict[str, str]:
    return {name: wire_name(payload_type, name) for name in payload_type.model_fields}


# --- Attribute values ------------------------------------------------------------------------------------------------


def decode(value: AttributeValue, path: tuple[str, ...] = ()) -> Any:
    """
    Turn an attribute value into Python: N is a Decimal, SS, NS and BS are sets, M a dict, L a list, NULL None.

    CodecError if it is no attribute value.
    """
    if not isinstance(value, dict) or len(value) != 1:
        raise CodecError(f"{dotted(path)}: not a DynamoDB attribute value", (dotted(path),))
    ((kind, content),) = value.items()
    if kind == "M":
        return {name: decode(entry, (*path, name)) for name, entry in content.items()}
    if kind == "L":
        return [decode(entry, (*path, str(index))) for index, entry in enumerate(content)]
    try:
        return _DECODERS[kind](content)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"unknown type {kind}" if kind not in _DECODERS else str(error)
        raise CodecError(f"{dotted(path)}: {reason}", (dotted(path),)) from None


def encode(value: Any, path: tuple[str, ...] = ()) -> AttributeValue:
    """
    Turn a Python value into an attribute value, the reverse of :func:`decode`.

    CodecError if DynamoDB has no place for it: a float, an empty set, a number of more than 38 digits, nesting over 32.
    """
    if isinstance(value, dict | list | tuple) and len(path) + 2 > MAX_NESTING:  # Data is the first level, an entry one more
        raise _too_deep(path)
    if isinstance(value, dict):
        return {"M": {_name(name, path): encode(entry, (*path, name)) for name, entry in value.items()}}
    if isinstance(value, list | tuple):
        return {"L": [encode(entry, (*path, str(index))) for index, entry in enumerate(value)]}
    return _named(_encode_scalar, value, path)


def _named(make: Callable[[Any], T], value: Any, path: tuple[str, ...]) -> T:
    """Make something of a value; a ValueError becomes a CodecError that names the field."""
    try:
        return make(value)
    except ValueError as error:
        raise CodecError(f"{dotted(path)}: {error}", (dotted(path),)) from None


def _too_deep(path: tuple[str, ...]) -> CodecError:
    top = dotted(path[:3])
    return CodecError(f"{top}: nested deeper than {MAX_NESTING} levels", (top,))


def number_text(number: Decimal | int) -> str:
    """Write a number as DynamoDB itself does: plain notation, no trailing zeros. ValueError if it cannot hold it exactly."""
    exact = check_number(Decimal(check_whole(number) if isinstance(number, int) else number))
    return format(_EXACT.normalize(exact), "f") if exact else "0"  # zero has no sign in DynamoDB


def _encode_scalar(value: Any) -> AttributeValue:
    if isinstance(value, str):
        return {"S": _text(value)}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, Decimal | int):
        return {"N": number_text(value)}
    if value is None:
        return {"NULL": True}
    if isinstance(value, Token):
        if value.stored is None:
            raise ValueError("a token is written through the managers, which seal it")
        text = _text(value.stored)
        return {"S": text if value.sealed else MaskedText(text)}
    if isinstance(value, bytes | bytearray):
        return {"B": bytes(value)}
    if isinstance(value, set | frozenset):
        return _encode_set(value)
    if isinstance(value, float):
        raise ValueError("a binary float is not exact; give a Decimal, an int or the number's text")  # noqa: TRY004
    raise ValueError(f"DynamoDB has no type for {type(value).__name__}")


def _encode_set(members: set[Any] | frozenset[Any]) -> AttributeValue:
    kinds: dict[str, list[Any]] = {}
    for member in members:
        ((kind, content),) = _encode_scalar(member).items()
        kinds.setdefault(kind, []).append(content)
    ((kind, contents),) = kinds.items() if len(kinds) == 1 else [("", [])]
    if kind not in {"S", "N", "B"}:
        raise ValueError("a set holds one or more strings, numbers or binaries, all of one type")
    return {f"{kind}S": sorted(contents)}


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("text with a lone surrogate, which no UTF-8 can hold") from None
    return str.__str__(value)


def _name(name: Any, path: tuple[str, ...]) -> str:
    if not isinstance(name, str) or not name:
        raise CodecError(f"{dotted(path)}: a field's name is a string that is not empty", (dotted(path),))
    try:
        text = _text(name)
    except ValueError as error:
        raise CodecError(f"{dotted(path)}: a field's name is {error}", (dotted(path),)) from None
    # In characters first: a name takes four bytes for each at the most.
    if len(text) > MAX_NAME_BYTES // 4 and (size := len(text.encode())) > MAX_NAME_BYTES:
        named = dotted((*path, name))
        raise CodecError(f"{named}: a name of {size:,} bytes, and DynamoDB takes {MAX_NAME_BYTES:,}", (named,))
    return text


def _expect(kind: type) -> Callable[[Any], Any]:
    def check(content: Any) -> Any:
        if not isinstance(content, kind):
            raise ValueError(f"{kind.__name__} expected")  # noqa: TRY004  one error for all that is no attribute value
        return content

    return check


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "S": _expect(str),
    "N": parse_number,
    "BOOL": _expect(bool),
    "NULL": lambda _: None,
    "B": _expect(bytes),
    "SS": set,
    "NS": lambda members: {parse_number(member) for member in members},
    "BS": set,
}


def dotted(path: tuple[str, ...]) -> str:
    """Show a path in a message."""
    return ".".join(map(clipped, path))


def item_size(item: WireMap) -> int:
    """
    Measure an item as DynamoDB does, in bytes, against the limit of 409,600.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: AttributeValue) -> int:
    ((kind, content),) = value.items()
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + _value_size(entry) for name, entry in content.items())
    if kind == "L":
        return 3 + sum(1 + _value_size(entry) for entry in content)
    if kind in {"BOOL", "NULL"}:
        return 1
    return sum(_scalar_size(kind[0], member) for member in _members(kind, content))


def _members(kind: str, content: Any) -> Iterator[Any]:
    return iter(content) if kind.endswith("S") and kind != "S" else iter((content,))


def _scalar_size(kind: str, content: str | bytes) -> int:
    if isinstance(content, bytes):
        return len(content)
    if kind == "S":
        return len(content.encode())
    return (len(content.strip("-").replace(".", "").strip("0")) + 1) // 2 + 1 + content.startswith("-")
