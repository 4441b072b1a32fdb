"""``mlssocial audit``."""

from __future__ import annotations

from dataclasses import dataclass

import click

from mlssocial.audit import AuditReport, audit_table
from mlssocial.settings import current

from .connect import connect
from .items import Column, text
from .jobs import job_options
from .options import Command, Globals
from .output import console, print_json, table
from .progress import progress_bar


@click.command("audit", cls=Command)
@click.option("--repair", is_flag=True, help="Repair what is found; without it nothing is written.")
@click.option("--dry-run", is_flag=True, help="Write nothing, as without --repair.")
@click.option("--yes", is_flag=True, help="Repair without asking.")
@job_options
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="How many findings are named.")
@click.pass_obj
@click.pass_context
def audit_command(
    context: click.Context,
    options: Globals,
    repair: bool,  # noqa: FBT001  click passes by name
    dry_run: bool,  # noqa: FBT001
    yes: bool,  # noqa: FBT001
    segments: int,
    checkpoint: str | None,
    max_read_units: float | None,
    executor: str | None,
    limit: int,
) -> None:
    """
    Find items whose index keys are wrong, and repair them.

    Wrong is what does not follow from the item's data: another application leaves such items behind. Reads the whole table, at
    half a read unit for each 4 KB. Exit code 1 if something is left wrong.
    """
    connect(options)
    repair = repair and not dry_run
    if repair and not yes:
        click.confirm(f"repair the index keys of items in {current().table_name}?", abort=True, err=True)
    with progress_bar("auditing", events=options.json) as progress:
        report = audit_table(
            repair=repair,
            segments=segments,
            checkpoint=checkpoint,
            max_read_units=max_read_units,
            executor=executor,
            keep=limit,
            progress=lambda report: progress(report.scanned),
        )
    _print(options, report)
    if report.left:
        context.exit(1)


@dataclass(frozen=True, slots=True)
class _Count:
    """How many items of an entity have a kind of finding."""

    entity: str
    kind: str
    count: int


_COLUMNS = (
    Column("entity", lambda row: row.entity),
    Column("finding", lambda row: row.kind),
    Column("items", lambda row: row.count, right=True),
)


def _print(options: Globals, report: AuditReport) -> None:
    if options.json:
        print_json(report.as_dict())
        return
    click.echo("\n".join(line for line in str(report).splitlines() if not line.startswith(" ")))
    if not report.counts:
        return
    rows = [_Count(entity, kind, n) for entity, kinds in sorted(report.counts.items()) for kind, n in sorted(kinds.items())]
    console().print("", table(rows, _COLUMNS), "", sep="\n")
    for finding in report.findings:
        click.echo(text(str(finding)))
    if not report.repair and report.drifted:
        click.echo("\nrepair them with --repair")
    if report.clear_tokens:
        click.echo("\nseal the tokens in clear text with 'mlssocial encrypt-tokens'")
