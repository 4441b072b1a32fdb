"""The ``mlssocial`` command: its global options, its errors, and subcommands that are loaded when they are invoked."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from mlssocial.exceptions import MissingExtraError, MLSSocialError, StoreError
from mlssocial.settings import current

from .options import Globals, global_options

COMMANDS = {
    "demo": ("demo", "Answer every access pattern on 932 real sales, in memory."),
    "patterns": ("patterns", "List the access patterns, and what answers them."),
    "init": ("init", "Make the table unless it stands, and check it."),
    "import": ("imports", "Import listings from an MLS's files, or its server."),
    "listings": ("queries", "List a user's listings."),
    "posts": ("queries", "List a user's social posts, all or those of a listing."),
    "metrics": ("queries", "List a listing's figures, day by day, or draw them."),
    "connections": ("queries", "List a user's connections to MLS feeds and platforms."),
    "show": ("show", "Show everything of a user, or one item whole."),
    "audit": ("audit", "Find items whose index keys are wrong, and repair them."),
    "migrations": ("migrations", "Change the shape of the table's items while it is in use."),
    "encrypt-tokens": ("reseal", "Seal the tokens that lie in clear text."),
    "rotate-keys": ("reseal", "Seal every token anew that is not under the current key."),
    "status": ("status", "Say what the table holds, and what waits for somebody."),
    "export": ("export", "Write the table's items into a folder."),
    "restore": ("export", "Put the items of an export into the table."),
    "purge": ("purge", "Erase a feed or a user, and report what is gone."),
    "token-key": ("keys", "Print a new key to seal tokens with."),
    "browse": ("browse", "Serve pages to look at the table with."),
    "iam-policy": ("iam", "Print the IAM policy of a role, with the least that it needs."),
    "shell": ("shell", "Open a Python prompt with the models at hand."),
}
"""Every command: the module that has it, as ``<name>_command`` with underscores, and its short help."""


class Failure(click.ClickException):
    """An error that ends the command, on one line."""

    def show(self, file: Any = None) -> None:
        """Print it to stderr."""
        click.echo(f"error: {' '.join(self.message.split())}", file=file, err=True)


class LazyGroup(click.Group):
    """A group that knows its commands by name, and loads one when it is invoked."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Name the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Load a command."""
        if cmd_name not in COMMANDS:
            return None
        try:
            module = import_module(f".{COMMANDS[cmd_name][0]}", __package__)
        except ModuleNotFoundError as error:
            if error.name != "rich":
                raise
            raise MissingExtraError("the command line", "rich", "cli") from None
        command: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands' short help without loading any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of this package is one line and exit code 1, Ctrl-C is 130."""
        try:
            with _one_line_warnings():
                return super().invoke(ctx)
        except MLSSocialError as error:
            if ctx.ensure_object(Globals).verbose:
                click.echo(traceback.format_exc(), err=True, nl=False)
            raise Failure(_message(error)) from error
        except KeyboardInterrupt:
            click.echo("interrupted: what was written stays", err=True)
            ctx.exit(130)


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Print a warning as one line, without the place in the code that Python adds."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: click.echo(f"warning: {message}", err=True)
        yield


def _message(error: MLSSocialError) -> str:
    if isinstance(error, StoreError) and error.code == "ResourceNotFoundException":
        return f"the table {current().table_name} is not there, or lacks an index; run 'mlssocial init'"
    return str(error)


@click.group(cls=LazyGroup, params=global_options(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mlssocial")
def cli() -> None:
    """
    MLS listings and social posts in one DynamoDB table.

    Start with 'mlssocial demo'. Without a table of yours the other commands use the embedded engine, in a file.
    """
