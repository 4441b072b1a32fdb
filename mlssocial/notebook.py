"""
Tables in HTML, for notebooks: what ``_repr_html_`` gives of payloads, items, pages and plans.

All text is escaped and cut to a length, and rows to a number. A token shows no more here than elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Protocol, runtime_checkable

MAX_ROWS = 20
"""How many rows of a page are shown."""

MAX_COLUMNS = 12
"""How many fields of an item are shown in such a row."""

MAX_TEXT = 200
"""How much of a value is shown."""

_NESTED = (Mapping, list, tuple, set)


@runtime_checkable
class Shown(Protocol):
    """What says by itself which of its fields are shown."""

    def shown(self) -> Iterable[tuple[str, object]]:
        """Give names and values."""


def fields(title: str, values: Iterable[tuple[str, object]]) -> str:
    """Show names and values, one below the other."""
    rows = "".join(f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>' for name, value in values)
    return f"<table><caption>{_text(title)}</caption><tbody>{rows}</tbody></table>"


def rows(title: str, items: Sequence[object]) -> str:
    """Show the first items, with those of their fields that are text, numbers or times, side by side."""
    found = [_fields_of(item) for item in items[:MAX_ROWS]]
    names = list(dict.fromkeys(name for one in found for name in one))[:MAX_COLUMNS]
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in names)
    cells = ("".join(f"<td>{_text(one.get(name))}</td>" for name in names) for one in found)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    more = f"<p>and {len(items) - MAX_ROWS:,} more</p>" if len(items) > MAX_ROWS else ""
    return f"<table><caption>{_text(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _fields_of(item: object) -> dict[str, object]:
    fields = item.shown() if isinstance(item, Shown) else ()
    return {"item": repr(item), **{name: value for name, value in fields if not isinstance(value, _NESTED)}}


def _text(value: object) -> str:
    text = "" if value is None else str(value)
    return escape(text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…")
