"""What differs between two items, for people to read: line by line, with secrets masked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from . import codec
from .codec import WireMap
from .exceptions import MLSSocialError
from .schema import CREATED_AT, DATA, ENTITY_TYPE, INDEX_ATTRIBUTES, PK, SK, UPDATED_AT, Entity
from .tokens import MASK, Token, is_sealed

_HARMLESS = (PK, SK, ENTITY_TYPE, CREATED_AT, UPDATED_AT, *INDEX_ATTRIBUTES.values())
_LONGEST = 80
_ABSENT = object()


class Shower:
    """
    Writes down what differs between two items.

    Of an entity that has tokens nothing is shown but fields that its payload declares as something else: unknown fields and
    open maps may hold secrets, too.
    """

    def __init__(self, entity: Entity[Any], item: dict[str, Any]) -> None:
        tokens = {wire for _, wire in entity.token_names}
        fields = entity.payload.model_fields
        shown = {field.alias or name for name, field in fields.items() if field.repr} - tokens
        self._shown = {(DATA, name) for name in shown} | {(name,) for name in _HARMLESS} if tokens else None
        data = item.get(DATA)
        there = [data.get(wire) for wire in tokens] if isinstance(data, dict) else []
        self._secrets = set(_texts([token for token in there if isinstance(token, Token)]))

    def lines(self, old: WireMap, new: WireMap) -> Iterator[str]:
        """Give a line for each value that is gone, and for each that is new."""
        yield from self._compared((), codec.decode({"M": old}), codec.decode({"M": new}))

    def _compared(self, path: tuple[str, ...], old: Any, new: Any) -> Iterator[str]:
        if isinstance(old, dict) and isinstance(new, dict):
            for name in {**old, **new}:
                yield from self._compared((*path, name), old.get(name, _ABSENT), new.get(name, _ABSENT))
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            for number, pair in enumerate(zip(old, new, strict=True)):
                yield from self._compared((*path, str(number)), *pair)
        elif type(old) is not type(new) or old != new:
            for sign, value in (("-", old), ("+", new)):
                if value is not _ABSENT:
                    yield f"{sign} {'.'.join(path)}: {self._text(path, value)}"

    def _text(self, path: tuple[str, ...], value: Any) -> str:
        if self._shown is not None and path[:2] not in self._shown and path[:1] not in self._shown:
            return MASK
        text = _plainly(value)
        if any(secret in text for secret in self._secrets) or (isinstance(value, str) and is_sealed(value)):
            return MASK
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def _texts(tokens: list[Token]) -> Iterator[str]:
    """Give what must not be shown of tokens: how they lie, and what they are."""
    for token in tokens:
        if token.stored:
            yield token.stored
        with suppress(MLSSocialError):  # one that cannot be opened cannot be shown
            yield token.reveal()


def _plainly(value: Any) -> str:
    """Write a value as JSON would, numbers digit for digit."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{name}": {_plainly(entry)}' for name, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_plainly, value)) + "]"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)
