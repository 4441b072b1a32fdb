"""How the demo shows what it did."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from .demo_data import ANNA, MADE_UP
from .items import COLUMNS, ITEM_COLUMNS, USER_COLUMN, Column, plain
from .output import console, table

if TYPE_CHECKING:
    from .demo import Answer


@dataclass(frozen=True, slots=True)
class Run:
    """
    One run of the demo.

    Attributes:
        written: How many items and changes were written, in *fill_seconds*.
        seconds: How long the whole run took.
        kept: The file that has the table, None if it was in memory.
    """

    answers: list[Answer]
    written: int
    fill_seconds: float
    seconds: float
    kept: Path | None


_SUMMARY = (
    Column("", lambda answer: answer.pattern.title, right=True),
    Column("access pattern", lambda answer: answer.pattern.question, cut=True),
    Column("index", lambda answer: answer.index),
    Column("requests", lambda answer: answer.requests, right=True),
    Column("items", lambda answer: len(answer.items), right=True),
    Column("ms", lambda answer: f"{answer.milliseconds:.1f}", right=True),
)
_CAVEAT = (
    "The times are the embedded engine's, which looks through a whole partition; DynamoDB's go with the items that are found."
)


def show(run: Run) -> None:
    """Print every answer, and a summary."""
    out = console()
    out.print(MADE_UP, f"\n{run.written:,} writes in {run.fill_seconds:.1f} s.\n", sep="")
    for answer in run.answers:
        title = Text(f"{answer.pattern.title}  {answer.pattern.question}", style="bold")
        out.print(Panel(Group(*_parts(answer)), title=title, title_align="left", expand=sys.stdout.isatty()))
    out.print()
    out.print(table(run.answers, _SUMMARY))
    out.print(f"\n{len(run.answers)} questions; {run.seconds:.1f} s in all. {_CAVEAT}")
    if run.kept:
        endpoint = shlex.quote(f"local:{run.kept}")
        click.echo(f"Kept in {run.kept}; look around with: mlssocial --endpoint {endpoint} show {ANNA}")


def as_json(run: Run) -> dict[str, Any]:
    """Give the same as plain values."""
    return {
        "note": MADE_UP,
        "writes": run.written,
        "fillSeconds": round(run.fill_seconds, 3),
        "patterns": [_plain(answer) for answer in run.answers],
        "seconds": round(run.seconds, 3),
        "kept": None if run.kept is None else str(run.kept),
    }


def _parts(answer: Answer) -> Iterator[RenderableType]:
    yield Text(answer.call, style="cyan")
    yield ""
    yield table(answer.sample, _columns(answer))
    yield ""
    yield Text.assemble((_total(answer), "bold"), f" · {_count(answer.requests, 'request')} · {answer.milliseconds:.1f} ms")
    yield Text(f"{answer.index}: {answer.key_condition}", style="dim")
    if answer.contrast is not None:
        users = ", ".join(sorted({item.user_id for item in answer.contrast.items}))
        yield ""
        yield Text.assemble((answer.contrast.call, "cyan"), f"\n{_total(answer.contrast)}, of {users}")


def _columns(answer: Answer) -> tuple[Column, ...]:
    if len(answer.types) > 1:
        return ITEM_COLUMNS
    user = (USER_COLUMN,) if "ALL_USERS" in answer.call else ()
    return (*user, *COLUMNS[answer.items[0].entity_type])


def _total(answer: Answer) -> str:
    count = _count(len(answer.items), "item")
    if len(answer.types) == 1:
        return count
    return f"{count}: " + ", ".join(f"{number:,} {name}" for name, number in answer.types.items())


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _plain(answer: Answer) -> dict[str, Any]:
    shown = {
        "number": answer.pattern.number,
        "question": answer.pattern.question,
        "call": answer.call,
        "index": answer.index,
        "keyCondition": answer.key_condition,
        "requests": answer.requests,
        "milliseconds": answer.milliseconds,
        "count": len(answer.items),
        "types": answer.types,
        "items": [plain(item) for item in answer.sample],
    }
    if answer.contrast is not None:
        shown["contrast"] = {"call": answer.contrast.call, "count": len(answer.contrast.items)}
    return shown
