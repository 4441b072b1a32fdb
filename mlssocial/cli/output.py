"""Printing: pages of items as tables or JSON, single items as trees."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from mlssocial.models import Item
from mlssocial.results import Page

from . import jsontext
from .items import COLUMNS, Column, keys_of, plain, text

if TYPE_CHECKING:
    from mlssocial.results import Results

    from .options import Globals

_UNBOUNDED = 100_000
_BATCH = 1_000
_COLOURS = {
    "active": "green",
    "published": "green",
    "pending": "yellow",
    "unpublish_pending": "yellow",
    "failed": "red",
    "unpublish_failed": "red",
}


def console() -> Console:
    """Make a console on stdout: as wide as the terminal, and without bounds in a pipe, so that nothing is cut off."""
    width = None if sys.stdout.isatty() else _UNBOUNDED
    return Console(width=width, markup=False, emoji=False, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(jsontext.dumps(value))


def table(items: Iterable[Any], columns: Sequence[Column]) -> Table:
    """Make a table of items, one row an item."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="ellipsis" if column.cut else "fold",
            no_wrap=not column.cut,  # where the terminal is too narrow, rich first shortens the columns that may wrap
        )
    for item in items:
        made.add_row(*(_cell(column, item) for column in columns))
    return made


def show_pages(options: Globals, pages: Sequence[Page[Any]], what: str, columns: Sequence[Column] | None = None) -> None:
    """
    Print pages, each of one entity, or of any where *columns* are given; as JSON they are one.

    *what* names what was looked for, for the case that there is nothing.
    """
    items = [item for page in pages for item in page.items]
    unreadable = [row for page in pages for row in page.unreadable]
    cursor = pages[-1].cursor
    if options.json:
        left_out = [{"key": row.key[1], "reason": row.error.reason} for row in unreadable]
        print_json({"items": [plain(item) for item in items], "cursor": cursor, "unreadable": left_out})
        return
    tables = [table(page.items, columns or COLUMNS[page.items[0].entity_type]) for page in pages if page.items]
    for number, shown in enumerate(tables):
        console().print(*([""] if number else []), shown, sep="\n")
    if not items:
        click.echo(f"no {what}")
    for row in unreadable:
        click.echo(f"left out: {row.error}", err=True)
    if cursor is not None:
        click.echo(f"there is more; go on with --cursor {cursor}")


def show_item(options: Globals, item: Item) -> None:
    """Print one item whole."""
    shown = plain(item)
    if options.json:
        print_json(shown | {"keys": keys_of(item)})
        return
    content, note = ("data", "") if "data" in shown else ("outline", "another application's; its values are not shown")
    tree = Tree(_named(str(item.entity_type or "row without EntityType"), text(item.sk), style="bold"))
    _grow(tree, {"user": item.user_id, "created": item.created_at, "updated": item.updated_at})
    _grow(tree.add(_named("keys", "", style="bold")), {name: str(key) for name, key in keys_of(item).items()})
    _grow(tree.add(_named(content, note, style="bold")), shown[content])
    console().print(tree)


def everything(results: Results[Any]) -> Page[Any]:
    """Read a query to its end as one page."""
    whole: Page[Any] = results.page(_BATCH)
    cursor = whole.cursor
    while cursor is not None:
        page = results.page(_BATCH, cursor)
        whole.items.extend(page.items)
        whole.unreadable.extend(page.unreadable)
        cursor = page.cursor
    return Page(whole.items, None, whole.unreadable)


def _cell(column: Column, item: Any) -> Text:
    shown = column.shown(item)
    return Text(shown, style=_COLOURS.get(shown, ""), no_wrap=column.cut or None, overflow="ellipsis" if column.cut else None)


def _named(name: str, value: str, style: str = "cyan") -> Text:
    return Text.assemble((text(name), style), f"  {value}" if value else "")


def _grow(tree: Tree, fields: Mapping[str, Any]) -> None:
    """Hang fields on a tree, maps and lists of maps as branches of their own."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value):
            _grow(tree.add(_named(name, "")), {str(number): entry for number, entry in enumerate(value, 1)})
        elif isinstance(value, dict) and value:
            _grow(tree.add(_named(name, "")), value)
        else:
            tree.add(_named(name.ljust(width), "null" if value is None else text(value) or "empty"))
