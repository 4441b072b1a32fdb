"""The progress bar, on stderr, and only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

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


class Advance(Protocol):
    """Is told how many records are done, and of how many where that is known only then."""

    def __call__(self, done: int, total: int | None = None) -> None:
        """Show it."""


class _Rate(ProgressColumn):
    """How many records a second are done."""

    def render(self, task: Task) -> Text:
        """Give the rate as text."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s", style="progress.data.speed")


@contextmanager
def progress_bar(what: str, total: int | None = None) -> Iterator[Advance]:
    """Show how far a task is, and how fast it goes; what it gives takes the number of records that are done."""
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
