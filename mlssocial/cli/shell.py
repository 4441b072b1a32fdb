"""``mlssocial shell``."""

from __future__ import annotations

import code
import rlcompleter
from typing import Any

import click

from mlssocial.settings import table_settings

from .connect import connect
from .names import names
from .options import Command, Globals


@click.command("shell", cls=Command)
@click.pass_obj
def shell_command(options: Globals) -> None:
    """
    Open a Python prompt with the models at hand.

    IPython where it is installed. All public names of mlssocial are there, and datetime, date, timedelta, UTC and Decimal.
    """
    connect(options)
    settings = table_settings()
    where = settings.endpoint_url or f"AWS {settings.region or ''}".rstrip()
    banner = f"mlssocial: table {settings.table_name}, {where}\nTry Listing.objects.query('u1').page(limit=5).items"
    click.echo(banner)
    _interact(names())


def _interact(namespace: dict[str, Any]) -> None:
    try:
        from IPython import start_ipython
    except ImportError:
        _complete(namespace)
        code.interact("", local=namespace, exitmsg="")
    else:
        start_ipython(argv=["--no-banner"], user_ns=namespace)


def _complete(namespace: dict[str, Any]) -> None:
    """Complete names by tab, where this Python has readline."""
    try:
        import readline
    except ImportError:
        return
    readline.set_completer(rlcompleter.Completer(namespace).complete)
    readline.parse_and_bind("tab: complete")
