"""The options that every command takes, before its name and behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mlssocial import Settings

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Globals:
    """
    What the global options say; None and False where they are not given.

    Attributes:
        settings: What is in force where an application runs the command line; the environment's settings are if None.
    """

    table: str | None = None
    region: str | None = None
    endpoint: str | None = None
    profile: str | None = None
    json: bool = False
    verbose: bool = False
    settings: Settings | None = None


class Command(click.Command):
    """A command that takes the global options too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += global_options(hide_settings=True)
        self.epilog = "--table, --region, --endpoint and --profile may stand here too; see mlssocial --help."


def global_options(*, hide_settings: bool = False) -> list[click.Parameter]:
    """Make the global options; the last one given wins, wherever it stands."""
    where: dict[str, Any] = {"expose_value": False, "callback": _remember, "default": None, "hidden": hide_settings}
    switch: dict[str, Any] = where | {"is_flag": True, "hidden": False}
    return [
        click.Option(["--table"], metavar="NAME", help="The table [MLSSOCIAL_TABLE_NAME].", **where),
        click.Option(["--region"], metavar="REGION", help="AWS region [MLSSOCIAL_REGION].", **where),
        click.Option(
            ["--endpoint"],
            metavar="URL",
            help="Another endpoint than AWS's; local:PATH is the embedded engine in a file [MLSSOCIAL_ENDPOINT_URL].",
            **where,
        ),
        click.Option(["--profile"], metavar="NAME", help="Profile of AWS's configuration [MLSSOCIAL_PROFILE].", **where),
        click.Option(["--json"], help="Print one JSON document.", **switch),
        click.Option(["-v", "--verbose"], help="Show the traceback of an error.", **switch),
    ]


def paging(command: F) -> F:
    """Add the options of a query that is read page by page."""
    for decorate in (
        click.option("--consistent", is_flag=True, help="Read from the table, and see every write before this one."),
        click.option("--reverse", is_flag=True, help="Read from the end."),
        click.option("--cursor", metavar="CURSOR", help="Go on where an earlier page left off."),
        click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many items."),
    ):
        command = decorate(command)
    return command


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    given = context.ensure_object(Globals)
    if value:
        setattr(given, str(parameter.name), value)
