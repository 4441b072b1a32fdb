"""``manage.py mlssocial``: the command line, under the site's settings."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from mlssocial.settings import current, using

_NAME = "mlssocial"


class PassingParser(CommandParser):
    """Takes the two options that Django reads off every command line, and leaves the rest to the command."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Namespace | None = None) -> Namespace:
        """Give the rest as the command's arguments, in their order."""
        known: Namespace
        known, known.args = self.parse_known_args(args, namespace)
        return known


class Command(BaseCommand):
    """Runs a command of mlssocial as the shell would, with its arguments, output and exit code."""

    help = "Runs mlssocial's command line with this site's settings: manage.py mlssocial --help names its commands."
    requires_system_checks = ()
    stealth_options = ("force_color", "no_color", "skip_checks", "traceback", "verbosity")

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Make a parser that leaves everything but ``--settings`` and ``--pythonpath`` as it stands."""
        parser = PassingParser(prog=f"{prog_name} {subcommand}", add_help=False, allow_abbrev=False, **kwargs)
        parser.add_argument("--settings")
        parser.add_argument("--pythonpath")
        parser.set_defaults(force_color=False, no_color=False, skip_checks=True, traceback=False)
        return parser

    def print_help(self, prog_name: str, subcommand: str) -> None:  # noqa: ARG002  Django's signature
        """Print the command line's own help."""
        self.handle("--help")

    def handle(self, *arguments: str, **options: Any) -> None:
        """Run the command line; CommandError where it fails, with its exit code."""
        if find_spec("click") is None or find_spec("rich") is None:
            raise CommandError("the command line needs click and rich: pip install 'mlssocial[cli]'")
        with ExitStack() as streams:
            if options.get("stdout"):
                streams.enter_context(redirect_stdout(options["stdout"]))
            if options.get("stderr"):
                streams.enter_context(redirect_stderr(options["stderr"]))
            _run(arguments)


def _run(arguments: Sequence[str]) -> None:
    """Run the command line on the site's settings; its options go before them, for this command alone."""
    from click import ClickException

    from mlssocial.cli.app import cli
    from mlssocial.cli.options import Globals

    options = Globals(settings=current())
    try:
        with using(current()):
            code = cli.main(list(arguments), f"manage.py {_NAME}", standalone_mode=False, obj=options)
    except ClickException as error:
        raise CommandError(" ".join(error.format_message().split()), returncode=error.exit_code) from error
    if code:
        raise CommandError(f"{' '.join([_NAME, *arguments[:1]])}: exit code {code}", returncode=code)
