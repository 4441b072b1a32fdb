"""How single values of a feed are read: text, numbers, days, yes and no, lists, areas."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Context, Decimal
from functools import partial
from typing import Any, Final, TypeVar

from mlssocial.entities import check_number, parse_number
from mlssocial.exceptions import InvalidRecordError, shown

T = TypeVar("T")

Fields = Mapping[str, Any]
"""A record's fields, by their names in the feed."""

Reader = Callable[[Fields], Any]
"""Reads one of our values out of a record; None where the feed says that there is none, ABSENT where it says nothing."""

ABSENT: Final[Any] = object()
"""The feed says nothing about a field: it is not there, or empty, or masked."""

_DAY = re.compile(r"(\d{4}-\d\d-\d\d)([T ].*)?", re.ASCII)
_FLAGS = {"true": True, "yes": True, "y": True, "1": True, "false": False, "no": False, "n": False, "0": False}

# In square metres, exactly: the international foot of 0.3048 m, and the acre of 43,560 square feet.
_SQUARE_FOOT, _SQUARE_METRE, _ACRE, _HECTARE = Decimal("0.09290304"), Decimal(1), Decimal("4046.8564224"), Decimal(10000)
_AREA_UNITS = {
    "squarefeet": _SQUARE_FOOT,
    "sqft": _SQUARE_FOOT,
    "squaremeters": _SQUARE_METRE,
    "squaremetres": _SQUARE_METRE,
    "sqm": _SQUARE_METRE,
    "acres": _ACRE,
    "hectares": _HECTARE,
}
_EXACT = Context(prec=400)


# --- Readers of a record ---------------------------------------------------------------------------------------------


def first(convert: Callable[[Any], Any], *names: str) -> Reader:
    """Read the first of *names* that has a value."""

    def read(fields: Fields) -> Any:
        name, value = pick(fields, *names)
        return value if value is None or value is ABSENT else converted(convert, name, value)

    return read


def merged(*names: str) -> Reader:
    """Read all of *names*, lists or texts joined by commas, as one list in their order, each entry once."""

    def read(fields: Fields) -> Any:
        found: dict[str, None] = {}
        given = [(name, fields[name]) for name in names if name in fields and not _is_nothing(fields[name])]
        lists = [(name, value) for name, value in given if value is not None]
        for name, value in lists:
            found |= dict.fromkeys(converted(_entries, name, value))
        return list(found) if lists else None if given else ABSENT

    return read


def joined(separator: str, *readers: Reader) -> Reader:
    """Read several texts as one."""

    def read(fields: Fields) -> Any:
        values = [read(fields) for read in readers]
        texts = [value for value in values if value is not None and value is not ABSENT]
        return separator.join(dict.fromkeys(texts)) if texts else None if None in values else ABSENT

    return read


def area(unit: str, places: Decimal, *sources: tuple[str, str | None, str | None]) -> Reader:
    """
    Read the first area that has a value, in *unit*.

    Each source is the field of the number, the field of its unit, and the unit to take where that field says nothing. An area
    without either is passed over: nobody can tell what it measures.
    """

    def read(fields: Fields) -> Any:
        found = ABSENT
        for name, unit_name, assumed in sources:
            _, value = pick(fields, name)
            if value is None:
                found = None
            elif value is not ABSENT and (given := _unit(fields, unit_name, assumed)) is not None:
                return converted(
                    partial(_measured, given=given, wanted=_AREA_UNITS[_letters(unit)], places=places), name, value
                )
        return found

    return read


def pick(fields: Fields, *names: str) -> tuple[str, Any]:
    """Give the first of *names* that has a value, and the value; without any, None where one of them is null, else ABSENT."""
    found = ABSENT
    for name in names:
        value = fields.get(name, ABSENT)
        if value is None:
            found = None
        elif value is not ABSENT and not _is_nothing(value):
            return name, value
    return names[0], found


def converted(convert: Callable[[Any], T], name: str, value: Any) -> T:
    """Convert a field's value; InvalidRecordError if it cannot be."""
    try:
        return convert(value)
    except ValueError as error:
        raise InvalidRecordError(name, f"{shown(value)}: {error}") from None


# --- Conversions: each takes a value that is there, and raises ValueError --------------------------------------------


def text(value: Any) -> str:
    """Take text as it came; a whole number will do, since some servers send keys so."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError("text is needed")  # noqa: TRY004  one error for all that a field cannot be
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("bytes that are no UTF-8, or a lone surrogate") from None
    return str(value)


def stripped(value: Any) -> str:
    """Take text without the blanks around it."""
    return text(value).strip()


def number(value: Any) -> Decimal:
    """Take a number, exactly, also as text with blanks around it."""
    if isinstance(value, Decimal):
        return check_number(value)
    if isinstance(value, float):
        raise ValueError("a binary float is not exact; read_records() keeps a feed's numbers as they came")  # noqa: TRY004
    return parse_number(stripped(value))


def whole(value: Any) -> int:
    """Take a whole number."""
    found = number(value)
    if found != found.to_integral_value():
        raise ValueError("not a whole number")
    return int(found)


def day(value: Any) -> date:
    """Take a date, or the date of a timestamp."""
    found = _DAY.fullmatch(stripped(value))
    if found is None:
        raise ValueError("not a date of the form YYYY-MM-DD")
    return date.fromisoformat(found[1])


def flag(value: Any) -> bool:
    """Take yes or no, also as text."""
    if isinstance(value, bool):
        return value
    if (found := _FLAGS.get(stripped(value).casefold())) is None:
        raise ValueError("neither yes nor no")
    return found


def _entries(value: Any) -> list[str]:
    """Take a list's texts, text joined by commas, or Spark's ``{"Forced Air": true}``."""
    if isinstance(value, Mapping):
        value = [name for name, chosen in value.items() if chosen is True]
    entries = value.split(",") if isinstance(value, str) else value
    if not isinstance(entries, list):
        raise ValueError("a list, or text joined by commas, is needed")  # noqa: TRY004
    return [stripped(entry) for entry in entries if entry is not None and not _is_nothing(entry)]


def _is_nothing(value: Any) -> bool:
    """Tell whether a text is blank, or the asterisks with which Spark masks what a key may not see."""
    if not isinstance(value, str):
        return False
    shown = value.strip()
    return not shown or (len(shown) > 2 and shown[0] == "*" and not shown.strip("*"))


def _letters(value: str) -> str:
    return "".join(filter(str.isalnum, value)).casefold()


def _unit(fields: Fields, name: str | None, assumed: str | None) -> Decimal | None:
    """Give the size of the unit in square metres, None where there is none."""
    _, value = pick(fields, name) if name else ("", ABSENT)
    if value is None or value is ABSENT:
        return None if assumed is None else _AREA_UNITS[_letters(assumed)]
    if (found := _AREA_UNITS.get(_letters(converted(text, name or "", value)))) is None:
        raise InvalidRecordError(name or "", f"{shown(value)}: no unit of area that is known")
    return found


def _measured(value: Any, *, given: Decimal, wanted: Decimal, places: Decimal) -> Decimal:
    size = number(value)
    if given == wanted:
        return size
    return check_number(_EXACT.quantize(_EXACT.divide(_EXACT.multiply(size, given), wanted), places))
