"""``mlssocial export`` and ``mlssocial restore``."""

from __future__ import annotations

from pathlib import Path

import click

from mlssocial.export import CLEAR, ExportReport, export_table
from mlssocial.manifests import CSV, DYNAMODB_JSON
from mlssocial.restore import Conflict, RestoreReport, restore_table
from mlssocial.settings import current

from .connect import connect
from .jobs import checkpoint_option, segment_options
from .options import Command, Globals
from .output import print_json
from .progress import progress_bar

ENTITIES = {
    "listings": "Listing",
    "mls-connections": "MLSConnection",
    "social-connections": "SocialConnection",
    "posts": "SocialPost",
    "metrics": "PerformanceMetrics",
}
"""The entities as commands call them."""

_REVEALING = "tokens in clear text will be readable in the export; to go on type the table's name, {table}"


@click.command("export", cls=Command)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--format", "kind", type=click.Choice([DYNAMODB_JSON, CSV]), default=DYNAMODB_JSON, show_default=True)
@click.option("--entity", type=click.Choice(list(ENTITIES)), help="Only these; CSV needs it.")
@click.option("--reveal", is_flag=True, help="Leave tokens in clear text that lie so; asks first.")
@click.option("--consistent", is_flag=True, help="See every write before this one, for twice the read units.")
@segment_options
@click.pass_obj
def export_command(
    options: Globals,
    folder: Path,
    kind: str,
    entity: str | None,
    reveal: bool,  # noqa: FBT001  click passes by name
    consistent: bool,  # noqa: FBT001
    segments: int,
    max_read_units: float | None,
    executor: str | None,
) -> None:
    """
    Write the table's items into a folder.

    In DynamoDB JSON, which 'mlssocial restore' and DynamoDB's own import from S3 take, every item of every application
    is there. Tokens are sealed: those that lie in clear text are sealed for it under the current key. An export that was
    interrupted goes on with the same FOLDER.

    Reads the whole table, at half a read unit for each 4 KB.
    """
    if kind == CSV and entity is None:
        raise click.UsageError("--format csv is of one entity: give --entity")
    connect(options)
    table = current().table_name
    if reveal and click.prompt(_REVEALING.format(table=table), err=True) != table:
        raise click.Abort
    with progress_bar("exporting", events=options.json) as progress:
        report = export_table(
            folder,
            format=kind,
            entity=None if entity is None else ENTITIES[entity],
            reveal=reveal,
            consistent=consistent,
            segments=segments,
            max_read_units=max_read_units,
            executor=executor,
            progress=lambda report: progress(report.scanned),
        )
    if report.tokens.get(CLEAR):
        click.echo(f"warning: {report.tokens[CLEAR]:,} tokens are in clear text in {folder}", err=True)
    _print(options, report)


@click.command("restore", cls=Command)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--on-conflict",
    "conflict",
    type=click.Choice([choice.value for choice in Conflict]),
    default=Conflict.FAIL.value,
    show_default=True,
    help="Where another item stands under a key.",
)
@click.option("--dry-run", is_flag=True, help="Compare, and write nothing.")
@click.option("--yes", is_flag=True, help="Overwrite without asking.")
@checkpoint_option
@click.option("--executor", metavar="dask://HOST:PORT", help="Have a Dask cluster's workers write; threads otherwise.")
@click.pass_obj
@click.pass_context
def restore_command(
    context: click.Context,
    options: Globals,
    folder: Path,
    conflict: str,
    dry_run: bool,  # noqa: FBT001  click passes by name
    yes: bool,  # noqa: FBT001
    checkpoint: str | None,
    executor: str | None,
) -> None:
    """
    Put the items of an export into the table.

    FOLDER is the export's, and items are put as they were. First all its files are compared with their checksums. What stands
    in the table as it was exported costs no write, so that restoring again is safe. Exit code 1 if another item stands under
    a key and --on-conflict is fail.
    """
    connect(options)
    if conflict == Conflict.OVERWRITE and not (dry_run or yes):
        click.confirm(f"overwrite items of {current().table_name} with those of {folder}?", abort=True, err=True)
    with progress_bar("restoring", events=options.json) as progress:
        report = restore_table(
            folder,
            conflict=conflict,
            dry_run=dry_run,
            checkpoint=checkpoint,
            executor=executor,
            progress=lambda report: progress(report.total, sum(report.items.values())),
        )
    _print(options, report)
    if report.conflicts:
        context.exit(1)


def _print(options: Globals, report: ExportReport | RestoreReport) -> None:
    if options.json:
        print_json(report.as_dict())
    else:
        click.echo(str(report))
