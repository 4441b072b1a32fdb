"""``mlssocial encrypt-tokens`` and ``mlssocial rotate-keys``."""

from __future__ import annotations

from typing import Any

import click

from mlssocial.reseal import ResealReport, reseal_tokens
from mlssocial.settings import current

from .connect import connect
from .items import text
from .jobs import job_options
from .options import Command, Globals
from .output import print_json
from .progress import progress_bar

_OPTIONS = (
    click.option("--dry-run", is_flag=True, help="Open what would be sealed, and write nothing."),
    click.option("--yes", is_flag=True, help="Seal without asking."),
    job_options,
    click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="How many failures are named."),
    click.pass_obj,
    click.pass_context,
)


def _command(function: Any) -> Any:
    for decorate in reversed(_OPTIONS):
        function = decorate(function)
    return click.command(function.__name__.removesuffix("_command").replace("_", "-"), cls=Command)(function)


@_command
def encrypt_tokens_command(context: click.Context, options: Globals, **given: Any) -> None:
    """
    Seal the tokens that lie in clear text.

    Another application leaves such tokens behind. Reads the whole table, at a read unit for each 4 KB. Exit code 1 if a token
    could not be sealed; the others are.
    """
    _reseal(context, options, "seal the tokens in clear text", rotate=False, **given)


@_command
def rotate_keys_command(context: click.Context, options: Globals, **given: Any) -> None:
    """
    Seal every token anew that is not under the current key.

    Tokens in clear text are sealed, too. Make a new key the current one in every process first, and take the old one away when
    this has ended with exit code 0. Reads the whole table, at a read unit for each 4 KB. Exit code 1 if a token could not be
    opened, since its key is gone; the others are sealed.
    """
    _reseal(context, options, "seal the tokens under other keys anew", rotate=True, **given)


def _reseal(context: click.Context, options: Globals, what: str, *, yes: bool, limit: int, **given: Any) -> None:
    connect(options)
    settings = current()
    if settings.sealing_key is not None and not given["dry_run"] and not yes:  # without a key there is nothing to ask
        click.confirm(f"{what} in {settings.table_name}, under key {settings.sealing_key}?", abort=True, err=True)
    with progress_bar("sealing", events=options.json) as progress:
        report = reseal_tokens(**given, keep=limit, progress=lambda report: progress(report.scanned))
    _print(options, report)
    if report.failed:
        context.exit(1)


def _print(options: Globals, report: ResealReport) -> None:
    if options.json:
        print_json(report.as_dict())
        return
    click.echo(str(report))
    for failure in report.failures:
        click.echo(text(str(failure)))
