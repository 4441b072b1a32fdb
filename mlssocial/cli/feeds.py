"""The options of a RESO Web API server. No secret is among them: those come from a connection, the environment or a prompt."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from mlssocial.exceptions import ConfigurationError

if TYPE_CHECKING:
    from mlssocial.reso import ClientCredentials, Server

TOKEN, SECRET = "MLSSOCIAL_RESO_TOKEN", "MLSSOCIAL_RESO_CLIENT_SECRET"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What the options say of a server."""

    url: str | None
    ask_token: bool
    token_url: str | None
    client_id: str | None
    scope: str | None
    page_size: int
    unordered: bool
    tie_break: bool
    overlap: float
    requests_per_second: float | None
    requests_per_day: int | None

    def feeds(self, user_id: str, connection_id: str | None) -> list[Server]:
        """Give the server that is meant, if one is; its token is the environment's, or else the connection's."""
        if self.url is None:
            return []
        from mlssocial.reso import Server

        how: dict[str, Any] = {
            "credentials": self._credentials(),
            "page_size": self.page_size or None,
            "ordered": not self.unordered,
            "tie_break": self.tie_break,
            "overlap": timedelta(minutes=self.overlap),
            "requests_per_second": self.requests_per_second,
            "requests_per_day": self.requests_per_day,
        }
        token = click.prompt("token", hide_input=True, err=True) if self.ask_token else os.environ.get(TOKEN)
        if token or connection_id is None:
            return [Server(url=self.url, token=token or None, **how)]
        return [Server.of_connection(user_id, connection_id, self.url, **how)]

    def _credentials(self) -> ClientCredentials | None:
        if self.client_id is None and self.token_url is None:
            return None
        if self.client_id is None or self.token_url is None:
            raise ConfigurationError("--client-id and --token-url belong together; give both")
        from mlssocial.reso import ClientCredentials

        secret = os.environ.get(SECRET) or click.prompt("client secret", hide_input=True, err=True)
        return ClientCredentials(token_url=self.token_url, client_id=self.client_id, client_secret=secret, scope=self.scope)


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a server; the command's function has them as one argument, *server*."""

    @functools.wraps(command)
    def with_server(*arguments: Any, **given: Any) -> Any:
        server = ServerOptions(**{field.name: given.pop(field.name) for field in fields(ServerOptions)})
        return command(*arguments, server=server, **given)

    positive, minutes = click.FloatRange(0, min_open=True), click.FloatRange(0)
    options: tuple[Callable[[Any], Any], ...] = (
        click.option("--url", metavar="URL", help=f"A RESO Web API resource, such as .../Property; its token is {TOKEN}'s."),
        click.option("--ask-token", is_flag=True, help="Ask for the token."),
        click.option("--token-url", metavar="URL", help="Where an OAuth client gets its token."),
        click.option("--client-id", metavar="ID", help=f"The OAuth client; its secret is {SECRET}'s, or asked for."),
        click.option("--scope", metavar="SCOPE", help="What the OAuth client asks for."),
        click.option("--page-size", type=click.IntRange(0), default=1_000, help="Records a page; 0 leaves it to the server."),
        click.option("--unordered", is_flag=True, help="Do not ask for an order, which endpoints for replication refuse."),
        click.option("--tie-break", is_flag=True, help="Ask for keys behind the last one, where many share a timestamp."),
        click.option("--overlap", type=minutes, default=0, metavar="MINUTES", help="Ask again for what is so recent."),
        click.option("--requests-per-second", type=positive, metavar="N", help="Requests to the server at the most."),
        click.option("--requests-per-day", type=click.IntRange(1), metavar="N", help="Requests in 24 hours at the most."),
    )
    made: Callable[..., Any] = with_server
    for decorate in reversed(options):
        made = decorate(made)
    return made
