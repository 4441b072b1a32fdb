"""A RESO Web API server on this machine, which answers as it is told: rightly, or in one of the ways in which servers fail."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = Callable[["Handler", "Asked"], None]
Record = dict[str, Any]


@dataclass
class Asked:
    """One request: its path, its query by name, and its headers."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: str = ""


@dataclass
class Api:
    """
    The server's data, and what it has seen.

    Attributes:
        records: In the order in which pages show them; ``$orderby`` sorts them, if *orders*.
        page: How many records a page has.
        faults: What is done instead of answering, request by request; None is an answer.
        tokens: The bearers that are taken; anybody if empty.
        given: The bearers that are given out to clients, in their order.
    """

    records: list[Record]
    page: int = 10
    orders: bool = True
    faults: list[Answer | None] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    given: list[str] = field(default_factory=list)
    secret: str = "s3cret-canary"
    takes_header: bool = True
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def found(self, query: dict[str, str]) -> list[Record]:
        """Give the records that a query asks for."""
        found = self.records
        since = query.get("$filter", "")
        if since:
            found = [record for record in found if matches(record, since)]
        if self.orders and "$orderby" in query:
            found = sorted(found, key=lambda record: (record["ModificationTimestamp"], record["ListingKey"]))
        return found


def matches(record: Record, condition: str) -> bool:
    """Evaluate the conditions that an import asks for."""
    timestamp, key = record["ModificationTimestamp"], record["ListingKey"]
    if condition.startswith("(City eq 'Reno') and "):
        return bool(record.get("City") == "Reno") and matches(record, condition.removeprefix("(City eq 'Reno') and "))
    if " or " in condition:
        after = condition.split(" gt ")[1].split(" or ")[0]
        least = condition.split("ListingKey gt '")[1].rstrip(")'").replace("''", "'")
        return bool(timestamp > after or (timestamp == after and key > least))
    if condition.startswith("City"):
        return bool(record.get("City") == "Reno")
    name, operator, value = condition.split(" ")
    assert (name, operator) == ("ModificationTimestamp", "ge")
    return bool(timestamp >= value)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    api: Api

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        """Answer a page."""
        asked = self.taken()
        fault = self.api.faults.pop(0) if self.api.faults else None
        if fault is not None:
            fault(self, asked)
        elif self.api.tokens and asked.headers.get("authorization", "").removeprefix("Bearer ") not in self.api.tokens:
            self.send(401, {"error": {"message": f"no: {asked.headers.get('authorization')}"}})
        else:
            self.send(200, self.page(asked))

    def do_POST(self) -> None:
        """Give out a token."""
        asked = self.taken(self.rfile.read(int(self.headers["Content-Length"])).decode())
        fault = self.api.faults.pop(0) if self.api.faults else None
        if fault is not None:
            fault(self, asked)
            return
        basic = "authorization" in asked.headers
        right = self.api.takes_header if basic else self.api.secret in asked.body
        if right and self.api.given:
            token = self.api.given.pop(0)
            self.api.tokens.add(token)
            self.send(200, {"access_token": token, "token_type": "bearer", "expires_in": 3600})
        else:
            said = {"error": "invalid_client", "error_description": f"unknown client with {self.api.secret}"}
            self.send(401, said)

    def taken(self, body: str = "") -> Asked:
        """Take note of a request."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        asked = Asked(parts.path, query, {name.lower(): value for name, value in self.headers.items()}, body)
        self.api.asked.append(asked)
        return asked

    def page(self, asked: Asked) -> dict[str, Any]:
        """Make a page, with the next link where there is more."""
        found = self.api.found(asked.query)
        start = int(asked.query.get("$skiptoken", "0"))
        made: dict[str, Any] = {"@odata.context": "x", "value": found[start : start + self.api.page]}
        if start + self.api.page < len(found):
            kept = "&".join(f"{name}={value}" for name, value in asked.query.items() if name != "$skiptoken")
            link = f"{self.api.url}?{kept}&$skiptoken={start + self.api.page}"
            made["@odata.nextLink"] = link.replace(" ", "%20")
        return made

    def send(self, status: int, body: Any, *, kind: str = "application/json;odata.metadata=minimal", **headers: str) -> None:
        """Send an answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        packs = "gzip" in self.headers.get("Accept-Encoding", "") and "Content_Encoding" not in headers
        if packs:
            content, headers = gzip.compress(content), headers | {"Content_Encoding": "gzip"}
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def cut(self) -> None:
        """End the connection."""
        self.close_connection = True
        self.wfile.flush()
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def status(code: int, **headers: str) -> Answer:
    """Answer with a status."""
    return lambda handler, _: handler.send(code, {"error": {"message": f"status {code}"}}, **headers)


def cut_body(handler: Handler, asked: Asked) -> None:
    """Send half of a page, and hang up."""
    content = json.dumps(handler.page(asked)).encode()
    handler.send(200, content[: len(content) // 2], Content_Encoding="identity", Content_Length=str(len(content)))
    handler.cut()


def cut_without_length(handler: Handler, asked: Asked) -> None:
    """Send half of a page without saying how long it is, and hang up as if that were all."""
    content = json.dumps(handler.page(asked)).encode()
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
    handler.wfile.write(content[: len(content) // 2])
    handler.cut()


def cut_archive(handler: Handler, asked: Asked) -> None:
    """Send half of a gzipped page as if it were all of it."""
    content = gzip.compress(json.dumps(handler.page(asked)).encode())
    handler.send(200, content[: len(content) // 2], Content_Encoding="gzip")


def damaged_archive(handler: Handler, asked: Asked) -> None:
    """Send a gzipped page with bytes altered on the way."""
    content = bytearray(gzip.compress(json.dumps(handler.page(asked)).encode()))
    content[30:40] = bytes(10)
    handler.send(200, bytes(content), Content_Encoding="gzip")


def drip(handler: Handler, asked: Asked) -> None:
    """Send a page byte by byte, without an end."""
    content = json.dumps(handler.page(asked)).encode()
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
    with suppress(OSError):
        for byte in content * 100:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.02)
    handler.close_connection = True


def silence(handler: Handler, _: Asked) -> None:
    """Say nothing, and hang up after a while."""
    time.sleep(0.6)
    handler.cut()


def hang_up(handler: Handler, _: Asked) -> None:
    """Hang up at once."""
    handler.cut()


def page_of(make: Callable[[Handler, Asked], dict[str, Any]], **headers: str) -> Answer:
    """Answer with another page than the right one."""
    return lambda handler, asked: handler.send(200, make(handler, asked), **headers)


@contextmanager
def serving(api: Api) -> Iterator[Api]:
    """Serve, at ``api.url``."""
    handler = type("ThisHandler", (Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_address[1]}/odata/Property"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
