"""``mlssocial browse``."""

from __future__ import annotations

import secrets

import click

from .connect import connect
from .options import Command, Globals
from .output import print_json

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@click.command("browse", cls=Command)
@click.option("--user", metavar="ID", help="Whose items are shown where the address names nobody.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="The port to listen at [a free one].")
@click.option("--allow-host", "names", metavar="NAME", multiple=True, help="A name that browsers may call this server by.")
@click.option("--photos", is_flag=True, help="Load photos from the hosts that the listings name.")
@click.pass_obj
def browse_command(options: Globals, user: str | None, host: str, port: int, names: tuple[str, ...], photos: bool) -> None:  # noqa: FBT001  click passes by name
    """
    Serve pages to look at the table with, until Ctrl-C.

    Listings, a listing with its posts and figures, connections, and the work queues; read-only, and on this machine alone
    unless --host says otherwise. Prints the address, which has a token that is made anew for each run: whoever has it sees
    every user's items.
    """
    from mlssocial.browse import create_app
    from mlssocial.browse.serving import listen

    connect(options)
    if host not in LOOPBACK:
        click.echo(f"warning: {host} can be reached by others, and HTTP is not encrypted: who listens has the token", err=True)
    token = secrets.token_urlsafe(32)
    app = create_app(access_token=token, user=user, photos=photos, hosts=names)
    with listen(app, host, port) as server:
        url = server.address(token)
        if options.json:
            print_json({"url": url})
        else:
            click.echo(url)
            click.echo("Ctrl-C ends it", err=True)
        server.serve_forever()
