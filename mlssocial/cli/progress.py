"""How far a job is, on stderr: a bar where that is a terminal, and with --json a line of JSON a second."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

EVENT_EVERY = 1.0
"""Seconds between two events of progress."""


class Advance(Protocol):
    """Is told how many records are done, and of how many where that is known only then."""

    def __call__(self, done: int, total: int | None = None) -> None:
        """Show it."""


class _Rate(ProgressColumn):
    """How many records a second are done."""

    def render(self, task: Task) -> Text:
        """Give the rate as text."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s", style="progress.data.speed")


@dataclass(slots=True)
class _Events:
    """What a machine reads."""

    what: str
    total: int | None
    began: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    def __call__(self, done: int, total: int | None = None) -> None:
        now, self.total = time.monotonic(), total or self.total
        if now >= self.said + EVENT_EVERY:
            self.said, seconds = now, now - self.began
            facts = {"what": self.what, "done": done, "total": self.total, "seconds": round(seconds, 1)}
            click.echo(json.dumps({"event": "progress", **facts, "rate": round(done / seconds, 1)}), err=True)


@contextmanager
def progress_bar(what: str, total: int | None = None, *, events: bool = False) -> Iterator[Advance]:
    """Show how far a task is, and how fast it goes; what it gives takes the number of records that are done."""
    if events:
        yield _Events(what, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with bar:
        task = bar.add_task(what, total=total)

        def advance(done: int, total: int | None = None) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
