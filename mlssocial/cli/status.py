"""``mlssocial status``."""

from __future__ import annotations

from datetime import timedelta

import click

from mlssocial.status import table_status

from .connect import connect
from .jobs import segment_options
from .options import Command, Globals
from .output import print_json
from .progress import progress_bar


@click.command("status", cls=Command)
@click.option("--export", metavar="FOLDER", type=click.Path(exists=True, file_okay=False), help="Take an export's counts.")
@click.option("--days", type=click.IntRange(min=0), default=7, show_default=True, help="How soon tokens expire that count.")
@segment_options
@click.pass_obj
def status_command(
    options: Globals,
    export: str | None,
    days: int,
    segments: int,
    max_read_units: float | None,
    executor: str | None,
) -> None:
    """
    Say what the table holds, and what waits for somebody.

    Items by entity, queues, drift, tokens in clear text. Reads the whole table once, at half a read unit for each 4 KB: 1 GB
    is 131,072 units. With --export the counts are those of an export, and only the queues are read.
    """
    connect(options)
    with progress_bar("counting", events=options.json) as progress:
        status = table_status(
            export=export,
            within=timedelta(days=days),
            segments=segments,
            max_read_units=max_read_units,
            executor=executor,
            progress=lambda status: progress(status.scanned),
        )
    if options.json:
        print_json(status.as_dict())
    else:
        click.echo(str(status))
