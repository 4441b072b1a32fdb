"""``mlssocial import``."""

from __future__ import annotations

import glob
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import click

from mlssocial import ALL_USERS
from mlssocial.entities import ListingStatus
from mlssocial.reso import ImportReport, ListingChange, import_feed
from mlssocial.reso.importing import MAX_WORKERS
from mlssocial.reso.reading import STDIN
from mlssocial.reso.sources import Source
from mlssocial.reso.targets import Removals

from .connect import connect
from .feeds import ServerOptions, server_options
from .items import text
from .options import Command, Globals
from .progress import EVENT_EVERY, progress_bar

_FILE = click.Path(dir_okay=False)
_STATUSES = click.Choice([status.value for status in ListingStatus])


def _there(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a file that is not there before anything is touched."""
    for name in names:
        if name != STDIN and not glob.has_magic(name) and not Path(name).exists():
            raise click.BadParameter(f"{name!r} does not exist", context, parameter)
    return names


@click.command("import", cls=Command)
@click.argument("sources", nargs=-1, metavar="[SOURCE]...", callback=_there)
@click.option("--user", "user_id", required=True, metavar="ID", help="Whose listings they become.")
@click.option("--provider", required=True, metavar="NAME", help="The feed that they come from, such as flexmls.")
@click.option("--connection", "connection_id", metavar="ID", help="The MLS connection that they come by, also for --url.")
@click.option("--default-status", type=_STATUSES, help="For feeds that have no status at all.")
@click.option(
    "--removals", type=click.Choice(get_args(Removals)), default="mark", help="What becomes of listings that the feed removes."
)
@click.option("--all-users", is_flag=True, help="Bring a changed status to every user's copies of the listing.")
@click.option("--no-adopt", is_flag=True, help="Do not look for listings that another application made.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and write nothing.")
@click.option("--limit", type=click.IntRange(min=0), default=50, help="How many changes a dry run shows.")
@click.option("--checkpoint", metavar="FILE", type=_FILE, help="Go on there after an interruption; later read what is new.")
@click.option("--rejected", metavar="FILE", type=_FILE, help="Add records there that cannot be imported.")
@click.option(
    "--workers", type=click.IntRange(1, MAX_WORKERS), default=8, help="How many windows of 100 records are written at once."
)
@click.option("--executor", metavar="dask://HOST:PORT", help="Have a Dask cluster's workers write; threads otherwise.")
@server_options
@click.pass_obj
@click.pass_context
def import_command(
    context: click.Context,
    options: Globals,
    /,
    sources: tuple[str, ...],
    user_id: str,
    provider: str,
    connection_id: str | None,
    dry_run: bool,  # noqa: FBT001  click passes by name
    limit: int,
    all_users: bool,  # noqa: FBT001
    no_adopt: bool,  # noqa: FBT001
    server: ServerOptions,
    **how: Any,
) -> None:
    """
    Import listings from an MLS's files, or its server.

    SOURCE is a file, a folder, a glob, or - for stdin: pages of the RESO Web API, bodies of Spark's API, JSON arrays, or one
    record a line; gzipped or not. What is new is created, what differs is changed, all else is left alone: importing again is
    safe. Exit code 1 if a record was rejected; the others are imported.

    With --json each event is one line: progress, change, rejected, and at the end the report.
    """
    if not sources and server.url is None:
        raise click.UsageError("what to import is missing: files, or --url for a server")
    connect(options)
    feeds: list[Source] = [*sources, *server.feeds(user_id, connection_id)]
    with progress_bar("importing") as progress:
        shown = _Events(progress) if options.json else _Lines(progress, limit if dry_run else 0)
        report = import_feed(
            *feeds,
            user_id=user_id,
            provider=provider,
            connection_id=connection_id,
            propagate_to=ALL_USERS if all_users else None,
            adopt=not no_adopt,
            dry_run=dry_run,
            on_change=shown.change,
            progress=shown.progress,
            **how,
        )
    shown.end(report)
    if report.rejected_count:
        context.exit(1)


@dataclass(slots=True)
class _Lines:
    """What a person reads: in a dry run the first changes, and the report."""

    bar: Callable[[int], None]
    limit: int
    changes: list[str] = field(default_factory=list)
    more: int = 0

    def change(self, change: ListingChange) -> None:
        if len(self.changes) < self.limit:
            fields = change.fields.items()
            said = "; ".join(
                f"{name} {_shown(before) or 'nothing'} -> {_shown(after) or 'nothing'}" for name, (before, after) in fields
            )
            line = f"would be {change.action}: {change.listing_id} (ListingKey {change.key})"
            self.changes.append(text(f"{line}: {said}" if said else line))
        else:
            self.more += 1

    def progress(self, report: ImportReport) -> None:
        self.bar(report.total)

    def end(self, report: ImportReport) -> None:
        for line in self.changes:
            click.echo(line)
        if self.changes and self.more:
            click.echo(f"and {self.more:,} more; --limit shows more of them")
        click.echo(str(report))


@dataclass(slots=True)
class _Events:
    """What a machine reads: each event one line of JSON."""

    bar: Callable[[int], None]
    rejected: int = 0
    said: float = field(default_factory=time.monotonic)

    def change(self, change: ListingChange) -> None:
        fields = {name: [_shown(before), _shown(after)] for name, (before, after) in change.fields.items()}
        _say("change", **change._asdict() | {"fields": fields})

    def progress(self, report: ImportReport) -> None:
        self.bar(report.total)
        if report.rejected_count > self.rejected:
            self.rejected = report.rejected_count
            if self.rejected == len(report.rejected):  # it is among those that are named
                _say("rejected", **report.rejected[-1]._asdict())
        now = time.monotonic()
        if now >= self.said + EVENT_EVERY:
            self.said = now
            _say("progress", total=report.total, seconds=round(report.elapsed, 1), rate=round(report.total / report.elapsed, 1))

    def end(self, report: ImportReport) -> None:
        _say("report", **report.as_dict())


def _say(event: str, **facts: Any) -> None:
    click.echo(json.dumps({"event": event, **facts}))


def _shown(value: object) -> str | None:
    """Show a field's value on part of a line; of a list or a map how much is in it."""
    if value is None:
        return None
    if isinstance(value, list | dict):
        return f"{len(value)} {'entry' if len(value) == 1 else 'entries'}"
    shown = ("no", "yes")[value] if isinstance(value, bool) else f"{value}"
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
