"""
Single values between Python and the table, as compiled code reads and writes them.

A reader takes the content of an attribute value, a writer gives the text that stands in its JSON. What is not as expected is a
SurpriseError, and is left to the codec.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from .codec import MAX_NAME_BYTES, check_bounds, decode, encode, native, number_text
from .entities import EPOCH, MILLISECOND, parse_number
from .tokens import Token
from .wire import AttributeValue, Row, plain

if TYPE_CHECKING:
    from collections.abc import Callable


class SurpriseError(Exception):
    """A value is not what a compiled function takes."""


T = TypeVar("T")

_SHORT = 4
_DAY_MILLIS = 86_400_000
_DEEPEST_OPEN_MAP = ("Data", "photos", "0", "any")
_LEAST_WHOLE, _MOST_WHOLE = -(10**38), 10**38
_PLAIN_NUMBER = re.compile(r"(?!-0$)-?(0|[1-9]\d{0,18})(\.\d{0,17}[1-9])?", re.ASCII)

quote = encode_basestring
"""Writes text as JSON; TypeError for anything else. A lone surrogate comes to light where the whole is encoded."""


class Short(dict[str, T]):
    """What is made of texts, kept for those of up to four characters: what they say occurs in nearly every item."""

    def __init__(self, make: Callable[[str], T]) -> None:
        self._make = make

    def __missing__(self, text: str) -> T:
        """Make it."""
        made = self._make(text)
        if len(text) <= _SHORT:
            self[text] = made
        return made


def load_number(text: str) -> Decimal:
    """Read a number; what is short and plain needs no check."""
    plain = (len(text) < 20 and text.isdigit() and text.isascii()) or _PLAIN_NUMBER.fullmatch(text)
    return Decimal(text) if plain else parse_number(text)


def load_whole(text: str) -> int:
    """Read a count."""
    if text.isdigit() and text.isascii() and len(text) <= 38:
        return int(text)
    raise SurpriseError


numbers, wholes = Short(load_number), Short(load_whole)


def load_moment(text: str) -> datetime:
    """Read epoch milliseconds."""
    return EPOCH + load_whole(text) * MILLISECOND


def load_day(text: str) -> date | str:
    """Read a calendar day, or the empty text that may stand for none."""
    if len(text) == 10 and text[4] == text[7] == "-":
        return date.fromisoformat(text)
    if text:
        raise SurpriseError
    return text


def load_complete(values: Any) -> Any:
    """Give a list or a map of single values back, if each of them was of its kind."""
    if None in (values.values() if type(values) is dict else values):
        raise SurpriseError
    return values


def load_any(value: AttributeValue) -> Any:
    """Read a value of any kind, as the codec decodes it."""
    if value.S is not None:
        return value.S
    if value.N is not None:
        return load_number(value.N)
    if value.M is not None:
        return load_open_map(value.M)
    if value.L is not None:
        return [load_any(entry) for entry in value.L]
    return decode(plain(value))


def load_open_map(values: Row) -> dict[str, Any]:
    """Read a map of anything."""
    return {name: load_any(value) for name, value in values.items()}


def _plain_notation(text: str) -> str:
    return text if (text.isdigit() and len(text) <= 38) or _PLAIN_NUMBER.fullmatch(text) else number_text(Decimal(text))


number_texts = Short(_plain_notation)


def dump_number(value: Any) -> str:
    """Write a number in plain notation."""
    if type(value) is not Decimal:
        raise SurpriseError
    return number_texts[str(value)]


def dump_whole(value: Any) -> str:
    """Write a count."""
    if type(value) is not int or not _LEAST_WHOLE < value < _MOST_WHOLE:
        raise SurpriseError
    return str(value)


def dump_moment(value: Any) -> str:
    """Write epoch milliseconds."""
    if type(value) is not datetime or value.tzinfo is not UTC:
        raise SurpriseError
    since = value - EPOCH  # whose parts cost half of what dividing it does
    return str(since.days * _DAY_MILLIS + since.seconds * 1000 + since.microseconds // 1000)


def dump_day(value: Any) -> str:
    """Write a calendar day, quoted."""
    if type(value) is date:
        return f'"{value.isoformat()}"'
    if value != "":
        raise SurpriseError
    return '""'


def dump_flag(value: Any) -> str:
    """Write yes or no."""
    if type(value) is not bool:
        raise SurpriseError
    return "true" if value else "false"


def dump_token(value: Any) -> str:
    """Write a token as it lies at rest, quoted."""
    if type(value) is not Token or value.stored is None:
        raise SurpriseError
    return quote(value.stored)


def dump_name(value: Any) -> str:
    """Write a name in an open map, quoted."""
    if not value or len(value) > MAX_NAME_BYTES // 4:
        raise SurpriseError
    return quote(value)


def dump_open_map(values: Any) -> str:
    """Write what stands in a map of anything; one that is nested so deep that its place matters is a surprise."""
    if type(values) is not dict:
        raise SurpriseError
    check_bounds(values)
    data = encode(native(values), _DEEPEST_OPEN_MAP)["M"]
    return msgspec.json.encode(data)[1:-1].decode()


def dump_extra(values: dict[str, Any], known: frozenset[str]) -> str:
    """Write unknown fields; one that has the name of a known one is a surprise."""
    if not known.isdisjoint(values):
        raise SurpriseError
    return dump_open_map(values)
