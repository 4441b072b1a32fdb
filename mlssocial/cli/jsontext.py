"""JSON with exact numbers."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any


def dumps(value: Any, margin: str = "\n") -> str:
    """
    Write a value as indented JSON.

    A Decimal is written digit for digit, which :mod:`json` can do only by way of a binary float. Moments and days are ISO 8601,
    sets are sorted arrays, bytes are base64; all text is ASCII, so that no terminal's encoding can spoil it.
    """
    inner = margin + "  "
    if isinstance(value, dict):
        return _enclosed("{}", [f"{json.dumps(str(name))}: {dumps(entry, inner)}" for name, entry in value.items()], margin)
    if isinstance(value, list | tuple):
        return _enclosed("[]", [dumps(entry, inner) for entry in value], margin)
    if isinstance(value, set | frozenset):
        return dumps(sorted(value), margin)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return json.dumps(value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    if isinstance(value, date):
        return json.dumps(value.isoformat())
    return json.dumps(base64.b64encode(value).decode() if isinstance(value, bytes) else value)


def _enclosed(brackets: str, parts: list[str], margin: str) -> str:
    if not parts:
        return brackets
    return brackets[0] + ",".join(f"{margin}  {part}" for part in parts) + margin + brackets[1]
