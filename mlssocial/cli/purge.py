"""``mlssocial purge``."""

from __future__ import annotations

import getpass

import click

from mlssocial.purge import PurgePlan, PurgeScope, plan_purge, purge_items
from mlssocial.scans import MAX_SEGMENTS
from mlssocial.settings import current

from .connect import connect
from .items import text
from .options import Command, Globals
from .output import print_json
from .progress import progress_bar


@click.command("purge", cls=Command)
@click.option("--connection", metavar="USER/ID", help="What came by an MLS connection of a user's, and the connection.")
@click.option("--originating-system", metavar="NAME", help="Every user's listings of this originating system.")
@click.option("--user", metavar="ID", help="Everything of a user's that is this application's.")
@click.option("--execute", is_flag=True, help="Delete; without it nothing is written.")
@click.option("--report", metavar="FILE", type=click.Path(dir_okay=False), help="The report to write; --execute needs it.")
@click.option("--confirm", metavar="TEXT", help="What would have to be typed, for scripts.")
@click.option("--signed-by", metavar="NAME", help="Who answers for it [the name you are logged in with].")
@click.option("--segments", type=click.IntRange(1, MAX_SEGMENTS), default=1, help="How many parts are read at once.")
@click.pass_obj
@click.pass_context
def purge_command(
    context: click.Context,
    options: Globals,
    connection: str | None,
    originating_system: str | None,
    user: str | None,
    execute: bool,  # noqa: FBT001  click passes by name
    report: str | None,
    confirm: str | None,
    signed_by: str | None,
    segments: int,
) -> None:
    """
    Erase a feed or a user, and report what is gone.

    A feed is what came by a connection or from an originating system. With the listings go their posts, their figures, and
    the connection with its tokens; what belongs to other applications stays. It says what it would delete, and with --execute
    asks for the scope to be typed and deletes. The report has counts, times and the keys' SHA-256. Exit code 1 if something
    is left.
    """
    scope = _scope(connection, originating_system, user)
    if execute and report is None:
        raise click.UsageError("--execute needs --report FILE")
    connect(options)
    with progress_bar("looking", events=options.json) as progress:
        plan = plan_purge(scope, segments=segments, progress=lambda found: progress(found.scanned))
    if not execute or report is None:
        _print_plan(options, plan)
        return
    click.echo(text(str(plan)), err=True)
    if confirm is None:
        confirm = click.prompt(f"to delete these from {current().table_name}, type {text(str(scope))}", err=True)
    with progress_bar("erasing", len(plan.items), events=options.json) as progress:
        done = purge_items(
            plan,
            confirm=confirm,
            report=report,
            signed_by=signed_by or getpass.getuser(),
            progress=lambda deleted: progress(deleted, len(plan.items)),
        )
    if options.json:
        print_json(done.as_dict())
    else:
        click.echo(f"{done}\nreport: {report}")
    if done.left:
        context.exit(1)


def _scope(connection: str | None, originating_system: str | None, user: str | None) -> PurgeScope:
    if sum(given is not None for given in (connection, originating_system, user)) != 1:
        raise click.UsageError("give one of --connection, --originating-system and --user")
    if connection is None:
        return PurgeScope(user_id=user, originating_system=originating_system)
    user_id, separator, connection_id = connection.partition("/")
    if not (user_id and separator and connection_id):
        raise click.BadParameter("USER/ID is needed", param_hint="--connection")
    return PurgeScope(user_id, connection_id)


def _print_plan(options: Globals, plan: PurgePlan) -> None:
    if options.json:
        print_json(plan.as_dict())
    else:
        click.echo(f"{text(str(plan))}\ndry run, nothing was written; erase with --execute --report FILE")
