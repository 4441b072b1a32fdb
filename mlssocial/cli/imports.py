"""``mlssocial import``."""

from __future__ import annotations

import click

from mlssocial.entities import ListingStatus
from mlssocial.reso import ImportReport, import_feed

from .connect import connect
from .options import Command, Globals
from .output import print_json
from .progress import progress_bar


@click.command("import", cls=Command)
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option("--user", "user_id", required=True, metavar="ID", help="Whose listings they become.")
@click.option("--provider", required=True, metavar="NAME", help="The feed that they come from, such as flexmls.")
@click.option("--connection", "connection_id", metavar="ID", help="The MLS connection that they came by.")
@click.option(
    "--default-status",
    type=click.Choice([status.value for status in ListingStatus]),
    help="For feeds that have no status at all.",
)
@click.option("--dry-run", is_flag=True, help="Read and compare, and write nothing.")
@click.pass_obj
@click.pass_context
def import_command(
    context: click.Context,
    options: Globals,
    files: tuple[str, ...],
    user_id: str,
    provider: str,
    connection_id: str | None,
    default_status: str | None,
    dry_run: bool,  # noqa: FBT001  click passes by name
) -> None:
    """
    Import listings from files of an MLS's records.

    FILE is a page of the RESO Web API, a body of Spark's API, a JSON array, or one record a line; gzipped or not; - is stdin.
    What is new is created, what differs is changed, all else is left alone: importing again is safe. Exit code 1 if a record
    was rejected; the others are imported.
    """
    connect(options)
    with progress_bar("importing") as progress:
        report = import_feed(
            *files,
            user_id=user_id,
            provider=provider,
            connection_id=connection_id,
            default_status=default_status,
            dry_run=dry_run,
            progress=lambda report: progress(report.total),
        )
    _print(options, report)
    if report.rejected_count:
        context.exit(1)


def _print(options: Globals, report: ImportReport) -> None:
    if options.json:
        print_json(report.as_dict())
    else:
        click.echo(str(report))
