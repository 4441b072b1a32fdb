"""A server for the pages, for one person at a time: no worker processes, and no log."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from mlssocial.exceptions import ConfigurationError

from .access import PARAMETER

if TYPE_CHECKING:
    from flask import Flask


class _Quiet(WSGIRequestHandler):
    """Writes no log, in which the token would stand, and tells no versions."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  werkzeug's signature
        """Write nothing."""

    def version_string(self) -> str:
        """Name the server."""
        return "mlssocial"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens."""

    server: BaseWSGIServer

    def address(self, token: str) -> str:
        """Give the URL that a browser is to open first."""
        host = str(self.server.server_address[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server.port}/?{PARAMETER}={token}"

    def serve_forever(self) -> None:
        """Serve until Ctrl-C."""
        self.server.serve_forever()


@contextmanager
def listen(app: Flask, host: str, port: int) -> Iterator[Server]:
    """
    Listen at an address, and stop at the end; port 0 is a free one.

    Raises:
        ConfigurationError: The address is not this machine's, or another program listens there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        held = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"--host {host} --port {port}: {reason}; give another, or port 0 for a free one") from error
    with held:
        server = make_server(host, held.getsockname()[1], app, threaded=True, request_handler=_Quiet, fd=held.fileno())
        try:
            yield Server(server)
        finally:
            server.server_close()
