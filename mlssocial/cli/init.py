"""``mlssocial init``."""

from __future__ import annotations

import click

import mlssocial
from mlssocial.settings import current

from .connect import configure
from .options import Command, Globals
from .output import print_json


@click.command("init", cls=Command)
@click.pass_obj
@click.pass_context
def init_command(context: click.Context, options: Globals) -> None:
    """
    Make the table unless it stands, and check it.

    Makes the table with its two indexes and TTL, waits until it can be used, and compares what is there with what the models
    need. Exit code 1 and the differences if a table that stood already is another.
    """
    configure(options)
    made, name = mlssocial.create_table(), current().table_name
    differences = mlssocial.check_table()
    if options.json:
        print_json({"table": name, "created": made, "differences": differences})
    else:
        click.echo(f"{name}: {'made' if made else 'it stands already'}; {'it differs' if differences else 'all is well'}")
        for difference in differences:
            click.echo(f"differs: {difference}", err=True)
    if differences:
        context.exit(1)
