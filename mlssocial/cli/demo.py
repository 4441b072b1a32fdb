"""``mlssocial demo``: every access pattern, asked of a table of real sales and made-up company."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import mlssocial
from mlssocial.connection import store
from mlssocial.crypto import new_token_key
from mlssocial.models import Item
from mlssocial.operations import recorded
from mlssocial.settings import current, scoped, using

from . import demo_view
from .demo_data import LISTING, NUMBER, fill
from .names import names
from .options import Command, Globals
from .output import print_json
from .patterns import PATTERNS, Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    What came of one access pattern.

    Attributes:
        call: The call that was made, as Python.
        index: What it read.
        key_condition: How it read it, with its values.
        items: All that it gave.
        requests: How many requests it took.
        milliseconds: How long it took.
        contrast: What other arguments gave, to see it against.
    """

    pattern: Pattern
    call: str
    index: str
    key_condition: str
    items: list[Any]
    requests: int
    milliseconds: float
    contrast: Answer | None = None

    @property
    def types(self) -> dict[str, int]:
        """How many items there are of each type."""
        return dict(Counter(item.entity_type for item in self.items))

    @property
    def sample(self) -> list[Any]:
        """The first five items; where there are several types, the first one of each."""
        firsts = {item.entity_type: item for item in reversed(self.items)}
        return list(reversed(firsts.values())) if len(firsts) > 1 else self.items[:5]


@click.command("demo", cls=Command)
@click.option("--keep", type=click.Path(dir_okay=False, path_type=Path), help="Keep the table in this new file.")
@click.pass_obj
def demo_command(options: Globals, keep: Path | None) -> None:
    """
    Answer every access pattern on 932 real sales, in memory.

    Fills a fresh table with the sales and made-up users, connections, posts and figures, asks it all that the table is made
    for, and shows each call with its answer, what it read and what it cost. Nothing that is configured is touched.
    """
    if keep is not None and keep.exists():
        raise click.BadParameter(f"{keep} exists already; the demo makes a new file", param_hint="--keep")
    started = time.perf_counter()
    with fresh_table(keep):
        written = fill()
        filled = time.perf_counter() - started
        answers = [_answer(pattern) for pattern in PATTERNS]
    run = demo_view.Run(answers, written, filled, time.perf_counter() - started, keep)
    if options.json:
        print_json(demo_view.as_json(run))
    else:
        demo_view.show(run)


@contextmanager
def fresh_table(keep: Path | None) -> Iterator[None]:
    """Work on a table of its own, whatever is configured for the process or in force where an application runs this."""
    name = "mlssocial-demo" if keep is None else ""
    key = {"demo": new_token_key()}  # the tokens are made up: nobody will miss it
    with _instead(mlssocial.Settings(endpoint_url=f"local:{keep or ''}", table_name=name, token_keys=key)):
        mlssocial.create_table()
        try:
            yield
        finally:
            if keep is None:
                store().call("DeleteTable", {"TableName": name})


@contextmanager
def _instead(settings: mlssocial.Settings) -> Iterator[None]:
    """Put settings in force for a while: for the process, or where an application runs this under its own, in their place."""
    if scoped() is not None:
        with using(settings):
            yield
        return
    before = current()
    mlssocial.configure(settings)
    try:
        yield
    finally:
        mlssocial.configure(before)


def _answer(pattern: Pattern) -> Answer:
    contrast = _asked(pattern, pattern.contrast) if pattern.contrast else None
    return _asked(pattern, pattern.example, contrast)


def _asked(pattern: Pattern, arguments: str, contrast: Answer | None = None) -> Answer:
    """Make the call as it is shown, read all of its answer, and count and time the requests."""
    call = f"{pattern.method}({arguments.format(listing=LISTING, number=NUMBER)})"
    namespace = names()
    with recorded() as requests:
        started = time.perf_counter()
        found = eval(call, namespace)  # noqa: S307  the calls are our own, in PATTERNS: what is shown is what is run
        items = [found] if isinstance(found, Item) else list(found)
        milliseconds = (time.perf_counter() - started) * 1_000
    one = f"PK = {items[0].pk} AND SK = {items[0].sk}"
    plan = None if isinstance(found, Item) else found.explain()
    return Answer(
        pattern=pattern,
        call=call,
        index=(plan.index if plan else None) or "table",
        key_condition=plan.key_condition if plan else one,
        items=items,
        requests=len(requests),
        milliseconds=round(milliseconds, 1),
        contrast=contrast,
    )
