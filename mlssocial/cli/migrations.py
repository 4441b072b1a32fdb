"""``mlssocial migrations``: new, plan, up, down, status, unlock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from mlssocial.codec import from_epoch_millis
from mlssocial.connection import store
from mlssocial.migration_record import LEASE_SECONDS
from mlssocial.migration_templates import TEMPLATES
from mlssocial.migrations import FOLDER, MigrationReport, Migrations, Status
from mlssocial.settings import current

from .connect import connect
from .items import Column, text
from .jobs import job_options
from .options import Command, Globals
from .output import console, print_json, table
from .progress import progress_bar

F = TypeVar("F", bound=Callable[..., Any])

_folder = click.option("--folder", metavar="FOLDER", default=FOLDER, show_default=True, help="Where the migrations are.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")
_limit = click.option("--limit", type=click.IntRange(min=0), default=10, show_default=True, help="How many items are named.")


def _run_options(command: F) -> F:
    """Add the options of a run."""
    positive, file = click.FloatRange(0, min_open=True), click.Path(dir_okay=False)
    lease = f"How long the lock stays where a run has died. [default: {LEASE_SECONDS:.0f}]"
    for decorate in (
        click.option("--lease-seconds", type=positive, metavar="N", default=LEASE_SECONDS, help=lease),
        click.option("--no-verify", "verify", flag_value=False, default=True, help="Do not look at every item a second time."),
        click.option("--failed", metavar="FILE", type=file, help="Where the items that failed are named, a line of JSON each."),
        click.option("--max-write-units", type=positive, metavar="N", help="Write units a second at the most."),
        _limit,
        job_options,
        _yes,
        _folder,
    ):
        command = decorate(command)
    return command


@click.group("migrations")
def migrations_command() -> None:
    """
    Change the shape of the table's items while it is in use.

    A migration is a file of yours, 0001_name.py, with a function transform(item). Applied ones are recorded in the table; one
    run has the lock at a time, and one that was interrupted goes on where it was.
    """


@migrations_command.command("new", cls=Command)
@click.argument("name")
@click.option("--template", type=click.Choice(sorted(TEMPLATES)), default="empty", show_default=True, help="What it begins as.")
@_folder
@click.pass_obj
def new_command(options: Globals, name: str, template: str, folder: str) -> None:
    """
    Write a new migration's file, with the next number.

    index-keys fills the indexes on a table that another application filled, zip moves zipCode to zip, and seal-tokens seals
    tokens that lie in clear text. Needs no table.
    """
    path = Migrations(folder=folder).new(name, template=template)
    if options.json:
        print_json({"path": str(path)})
    else:
        click.echo(f"wrote {path}")


@migrations_command.command("plan", cls=Command)
@_folder
@_limit
@job_options
@click.pass_obj
def plan_command(options: Globals, /, folder: str, limit: int, checkpoint: str | None, **job: Any) -> None:
    """
    Show what the pending migrations would change, and what that would cost.

    Each is shown on the items as they are now. Reads the whole table for each, and writes nothing. Tokens are masked.
    """
    del checkpoint  # nothing is written that could be gone on with
    connect(options)
    with _progress("planning", options) as progress:
        reports = Migrations(folder=folder, keep=limit, progress=progress, **job).plan()
    _print(options, reports)


@migrations_command.command("up", cls=Command)
@click.option("--to", metavar="NAME", help="The last one to apply.")
@_run_options
@click.pass_obj
@click.pass_context
def up_command(context: click.Context, options: Globals, /, to: str | None, yes: bool, limit: int, **job: Any) -> None:  # noqa: FBT001
    """
    Apply the pending migrations, in the order of their numbers.

    Each is recorded as applied when no item has failed and a second look finds nothing to change. Exit code 1 if one is not.
    """
    connect(options)
    _ask(f"migrate the items of {current().table_name}?", yes=yes)
    with _progress("migrating", options) as progress:
        reports = Migrations(keep=limit, progress=progress, **job).up(to=to)
    _print(options, reports)
    if not all(report.is_done for report in reports):
        context.exit(1)


@migrations_command.command("down", cls=Command)
@_run_options
@click.pass_obj
@click.pass_context
def down_command(context: click.Context, options: Globals, /, yes: bool, limit: int, **job: Any) -> None:  # noqa: FBT001
    """Undo the migration that was applied last, with its down(item)."""
    connect(options)
    _ask(f"undo the last migration of {current().table_name}?", yes=yes)
    with _progress("migrating", options) as progress:
        report = Migrations(keep=limit, progress=progress, **job).down()
    _print(options, [report])
    if not report.is_done:
        context.exit(1)


@migrations_command.command("status", cls=Command)
@_folder
@click.pass_obj
def status_command(options: Globals, folder: str) -> None:
    """Show which migrations were applied, and who has the lock."""
    connect(options)
    migrations = Migrations(folder=folder)
    found, lock = migrations.status(), migrations.lock()
    if options.json:
        held = None if lock is None else {"by": lock.by, "until": from_epoch_millis(lock.until), "lasts": lock.lasts}
        print_json({"migrations": [_as_dict(status) for status in found], "lock": held})
        return
    if found:
        console().print(table(found, _COLUMNS))
    else:
        click.echo(f"no migrations in {folder}, and none applied")
    if lock is not None:
        ended = "until" if lock.lasts else "a lease that ended"
        click.echo(f"the lock is held by {text(lock.by)}, {ended} {from_epoch_millis(lock.until):%Y-%m-%d %H:%M:%S} UTC")


@migrations_command.command("unlock", cls=Command)
@_yes
@click.pass_obj
def unlock_command(options: Globals, yes: bool) -> None:  # noqa: FBT001
    """Take the lock away from a run that has died; one that is alive stops at its next page."""
    connect(options)
    _ask(f"take the lock on the migrations of {current().table_name} away from whoever has it?", yes=yes)
    lock = Migrations().unlock()
    if options.json:
        print_json({"unlocked": lock is not None, "by": None if lock is None else lock.by})
    else:
        click.echo("nobody had the lock" if lock is None else f"the lock was held by {text(lock.by)}")


# --- Showing ---------------------------------------------------------------------------------------------------------


def _state(status: Status) -> str:
    if status.applied is None:
        return "pending"
    return "applied" + (
        ", its file is gone" if status.is_missing else ", its file has changed since" if status.is_altered else ""
    )


_COLUMNS = (
    Column("migration", lambda row: row.name),
    Column("state", _state),
    Column("applied", lambda row: None if row.applied is None else from_epoch_millis(row.applied.at)),
    Column("by", lambda row: None if row.applied is None else row.applied.by),
)


def _as_dict(status: Status) -> dict[str, Any]:
    record = status.applied
    when = None if record is None else from_epoch_millis(record.at)
    return {
        "name": status.name,
        "applied": when,
        "by": None if record is None else record.by,
        "is_missing": status.is_missing,
        "is_altered": status.is_altered,
    }


def _print(options: Globals, reports: list[MigrationReport]) -> None:
    if options.json:
        print_json({"migrations": [report.as_dict() for report in reports]})
        return
    if not reports:
        click.echo("no migration is pending")
    for report in reports:
        click.echo(str(report))
        for sample in report.samples:
            click.echo(text(f"  {sample.entity} {sample.key[0]} / {sample.key[1]}"))
            for line in sample.changes:
                click.echo(text(f"    {line}"))
        for failure in report.failures:
            click.echo(text(f"  failed: {failure}"))
        if report.unverified:
            click.echo(
                "  not recorded as applied: other writers still write the older shape; run it again, or with --no-verify"
            )


def _ask(question: str, *, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True, err=True)


@contextmanager
def _progress(what: str, options: Globals) -> Iterator[Callable[[MigrationReport], None]]:
    """Show how many items were read, of as many as DynamoDB counted some hours ago, with rate and time left."""
    described = store().call("DescribeTable", {"TableName": store().table_name})["Table"]
    with progress_bar(what, described.get("ItemCount") or None, events=options.json) as progress:
        yield lambda report: progress(report.scanned)
