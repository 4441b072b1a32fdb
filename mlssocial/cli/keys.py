"""``mlssocial token-key``."""

from __future__ import annotations

import click

from mlssocial.crypto import new_token_key

from .options import Command


@click.command("token-key", cls=Command)
def token_key_command() -> None:
    """
    Print a new key to seal tokens with.

    The base64 of 32 random bytes, for MLSSOCIAL_TOKEN_KEYS="k1=<key>". Keep it where secrets are kept: what it has sealed opens
    with nothing else. Nothing is configured or written.
    """
    click.echo(new_token_key())
