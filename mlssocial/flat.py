"""
Items as lines of CSV, for people who analyse them: one entity's declared fields, flat.

Tokens are never in it, nor what other applications keep beside the declared fields, where they may keep tokens too. Text that a
spreadsheet would take for a formula has an apostrophe before it, as OWASP has it:
https://owasp.org/www-community/attacks/CSV_Injection
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from pydantic import BaseModel

from .entities import Address, Payload
from .schema import CREATED_AT, UPDATED_AT, Entity
from .wire import AttributeValue, Row

_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
_STEERING = frozenset("\t\r\n\0")
_OPEN = frozenset({"metadata"})
"""Fields that hold anything, and often another application's tokens."""


def header(entity: Entity[Any]) -> bytes:
    """Give the line with the columns' names: those of the key, times, and Data's fields in wire names."""
    return _written([*_key_columns(entity), CREATED_AT, UPDATED_AT, *(title for title, _ in _fields(entity))])


def line(entity: Entity[Any], row: Row) -> bytes:
    """Give an item as a line; InvalidItemError if it cannot be read as its entity."""
    payload = entity.decode("export", row)
    ids = entity.ids((row["PK"].S or "", row["SK"].S or ""))
    times = [_millis(row.get(name)) for name in (CREATED_AT, UPDATED_AT)]
    return _written([*map(_cell, ids), *times, *(_cell(_at(payload, path)) for _, path in _fields(entity))])


def guarded(text: str) -> str:
    """Give text so that no spreadsheet computes it."""
    computed = text.lstrip()[:1] in _FORMULA or text[:1] in _STEERING
    return f"'{text}" if computed else text


def _key_columns(entity: Entity[Any]) -> list[str]:
    return [f"key.{name}" for name in entity.id_names]


def _fields(entity: Entity[Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Give the columns of Data: title, and path in the payload."""
    payload: type[Payload] = entity.payload
    return _columns_of(payload, _OPEN | {name for name, _ in entity.token_names})


@cache
def _columns_of(payload: type[Payload], left_out: frozenset[str]) -> list[tuple[str, tuple[str, ...]]]:
    return list(_columns(payload, left_out))


def _columns(payload: type[Payload], left_out: frozenset[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, described in payload.model_fields.items():
        if name in left_out:
            continue
        if name == "address":
            yield from ((f"address.{title}", (name, *path)) for title, path in _columns(Address, frozenset()))
        else:
            yield described.alias or name, (name,)


def _at(payload: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        payload = None if payload is None else getattr(payload, name)
    return payload


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):  # before text: a minus is a number's own
        return f"{Decimal(value):f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return guarded(str(value))
    return json.dumps(_declared(value), ensure_ascii=False, default=_cell)


def _declared(value: Any) -> Any:
    """Give lists, maps and payloads inside of a field as JSON has them, without unknown fields."""
    if isinstance(value, BaseModel):
        named = {name: (described.alias or name) for name, described in type(value).model_fields.items()}
        return {wire: _declared(getattr(value, name)) for name, wire in named.items() if getattr(value, name) is not None}
    if isinstance(value, dict):
        return {name: _declared(entry) for name, entry in value.items()}
    return [_declared(entry) for entry in value] if isinstance(value, list) else value


def _millis(value: AttributeValue | None) -> str:
    return "" if value is None or value.N is None else _cell(datetime.fromtimestamp(int(Decimal(value.N)) / 1000, UTC))


def _written(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode()
