"""The direct way over the wire, against a server that can misbehave: what arrives, how often, and what the caller is told."""

from __future__ import annotations

import contextlib
import gc
import http.client
import ipaddress
import json
import os
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import traceback
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple, Self
from unittest.mock import patch

import botocore.handlers
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from mlssocial import (
    ConfigurationError,
    ItemAlreadyExistsError,
    Listing,
    ListingData,
    OutcomeUnknownError,
    StoreError,
    configure,
    create_table,
    local,
)
from mlssocial.connection import store
from mlssocial.transport import _Signer

HOME = ListingData(status="active")
CALLS: list[Callable[[], Any]] = [
    lambda: Listing.objects.find("u1", "l1"),
    lambda: Listing.objects.save("u1", "l1", HOME),
]
"""A read and a write."""
BOTOCORES = "amz-sdk-invocation-id"
"""A header that every request has which botocore itself sends, and none of the direct way."""


# --- A server --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """A request as it arrived, and which of the server's connections it came by."""

    operation: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def direct(self) -> bool:
        """Whether it came by the direct way."""
        return BOTOCORES not in self.headers


class Exchange(NamedTuple):
    """What a fault has in its hands: a request, the engine behind it, and the connection."""

    request: Request
    server: Server
    connection: socket.socket

    def run(self) -> tuple[int, bytes]:
        """Let the engine do what is asked, and give its answer."""
        with local._lock:
            return self.server.engine.answer(self.request.operation, self.request.body)

    def send(self, status: int, body: bytes, **headers: str | None) -> None:
        """Answer as DynamoDB does, but for *headers*: another value, or None to leave one out."""
        self.connection.sendall(response(status, body, **headers))

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


Fault = Callable[[Exchange], None]


def response(status: int, body: bytes, **headers: str | None) -> bytes:
    """Make a whole HTTP response with the headers that DynamoDB sends."""
    usual = {
        "Content-Type": "application/x-amz-json-1.0",
        "x-amzn-RequestId": "REQUEST",
        "x-amz-crc32": str(zlib.crc32(body)),
        "Content-Length": str(len(body)),
        "Connection": "keep-alive",
    }
    all_headers = usual | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in all_headers.items() if value is not None]
    return "\r\n".join([f"HTTP/1.1 {status} Status", *lines, "", ""]).encode() + body


class Server(socketserver.ThreadingTCPServer):
    """
    DynamoDB over HTTP on 127.0.0.1, with the embedded engine behind it.

    It counts what it sees, and answers the next requests with the faults that were queued.
    """

    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.engine = local._MiniStack(uuid.uuid4().hex)
        self.requests: list[Request] = []
        self.faults: list[tuple[str, Fault]] = []
        self.errors: list[BaseException | None] = []
        self.live: dict[int, socket.socket] = {}
        self._lock = threading.Lock()
        self._accepted = 0
        super().__init__(("127.0.0.1", port), Talk)

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.server_address[1]}"

    @property
    def seen(self) -> list[str]:
        """The operations that were asked for."""
        return [request.operation for request in self.requests]

    @property
    def connections(self) -> int:
        """How many connections the requests came by."""
        return len({request.connection for request in self.requests})

    def next(self, *faults: Fault, operation: str = "") -> None:
        """Answer the next requests, of one operation or of any, with these faults."""
        self.faults += [(operation, fault) for fault in faults]

    def fault_for(self, operation: str) -> Fault:
        """Take the fault that is next, or none."""
        with self._lock:
            for number, (wanted, fault) in enumerate(self.faults):
                if wanted in {"", operation}:
                    del self.faults[number]
                    return fault
        return as_it_is

    def enter(self, connection: socket.socket) -> int:
        """Count a connection."""
        with self._lock:
            self._accepted += 1
            self.live[self._accepted] = connection
            return self._accepted

    def hang_up(self) -> None:
        """Close every connection, as a server does with those that are idle, and wait until that is done."""
        for connection in list(self.live.values()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.wait_for_closed()

    def wait_for_closed(self) -> None:
        """Wait until every connection is closed, and fail if one is not."""
        until = time.monotonic() + 5
        while self.live and time.monotonic() < until:
            time.sleep(0.001)
        assert not self.live

    def handle_error(self, *_: object) -> None:
        """Keep what went wrong here; a client that went away is nothing wrong."""
        if not isinstance(sys.exception(), OSError):  # pragma: no cover
            self.errors.append(sys.exception())

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.hang_up()
        self.server_close()  # waits for the connections' threads
        assert self.errors == []


class Talk(socketserver.BaseRequestHandler):
    """One connection of the server."""

    server: Server

    def handle(self) -> None:
        """Answer request after request until one side closes."""
        connection: socket.socket = self.request
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.server.tls:
            connection = self.server.tls.wrap_socket(connection, server_side=True)
        number = self.server.enter(connection)
        try:
            with connection, connection.makefile("rb") as incoming:
                while first := incoming.readline():
                    self._answer(first, incoming, connection, number)
        finally:
            del self.server.live[number]

    def _answer(self, first: bytes, incoming: Any, connection: socket.socket, number: int) -> None:
        path = first.split()[1].decode()
        headers = {name.lower(): value for name, value in http.client.parse_headers(incoming).items()}
        body = incoming.read(int(headers["content-length"]))
        operation = headers["x-amz-target"].rpartition(".")[2]
        request = Request(operation, path, headers, body, number)
        self.server.requests.append(request)
        self.server.fault_for(operation)(Exchange(request, self.server, connection))


# --- Faults: each says whether the engine has done what was asked ----------------------------------------------------


def as_it_is(exchange: Exchange) -> None:
    exchange.send(*exchange.run())


def closes_unread(exchange: Exchange) -> None:
    exchange.close()


def closes_after(exchange: Exchange) -> None:
    exchange.run()
    exchange.close()


def cuts_the_head(exchange: Exchange) -> None:
    exchange.connection.sendall(response(*exchange.run())[:40])
    exchange.close()


def cuts_the_body(exchange: Exchange) -> None:
    exchange.connection.sendall(response(*exchange.run())[:-1])
    exchange.close()


def sends_no_length(exchange: Exchange) -> None:
    exchange.send(*exchange.run(), Content_Length=None)
    exchange.close()


def sends_wrong_checksum(exchange: Exchange) -> None:
    exchange.send(*exchange.run(), x_amz_crc32="1")


def sends_no_number_for_checksum(exchange: Exchange) -> None:
    exchange.send(*exchange.run(), x_amz_crc32="nonsense")


def sends_no_request_id(exchange: Exchange) -> None:
    exchange.send(*exchange.run(), x_amzn_RequestId=None)


def sends_html(exchange: Exchange) -> None:
    exchange.run()
    exchange.send(
        200, b"<html>Sign in to this network</html>", x_amzn_RequestId=None, x_amz_crc32=None, Content_Type="text/html"
    )


def sends_html_with_headers(exchange: Exchange) -> None:
    exchange.run()
    exchange.send(200, b"<html>It works</html>")


def sends_half_the_json(exchange: Exchange) -> None:
    status, body = exchange.run()
    exchange.send(status, body[: len(body) // 2], x_amz_crc32=None)


def sends_no_http(exchange: Exchange) -> None:
    exchange.run()
    exchange.connection.sendall(b"\x16\x03\x01 nothing that is HTTP\r\n\r\n")


def fails(exchange: Exchange) -> None:
    exchange.send(500, error_body("InternalServerError"))


def fails_after(exchange: Exchange) -> None:
    exchange.run()
    fails(exchange)


def fails_in_html(exchange: Exchange) -> None:
    exchange.run()
    exchange.send(502, b"<html>Bad gateway</html>", x_amzn_RequestId=None, x_amz_crc32=None)


def is_silent(exchange: Exchange) -> None:
    exchange.run()
    exchange.connection.recv(1)  # until the client has had enough


def refuses(code: str, status: int = 400, **more: Any) -> Fault:
    return lambda exchange: exchange.send(status, error_body(code, **more))


def error_body(code: str, **more: Any) -> bytes:
    return json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "injected", **more}).encode()


THROTTLED = refuses("ThrottlingException")
# Faults after which nobody can tell from the answer whether the request was done; it was.
LOST = [
    closes_after,
    cuts_the_head,
    cuts_the_body,
    sends_no_length,
    sends_wrong_checksum,
    sends_no_number_for_checksum,
    sends_no_request_id,
    sends_html,
    sends_html_with_headers,
    sends_half_the_json,
    sends_no_http,
    fails_after,
    fails_in_html,
    is_silent,
]
# The same, and it was not.
NOT_DONE = [closes_unread, fails]
READ_TIMEOUT = 0.5
"""Seconds that a silent server is waited for."""


# --- Fixtures --------------------------------------------------------------------------------------------------------

LOADER = Loader()
"""One for all clients: reading botocore's JSON is most of what making one costs."""


def clear_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take moto, which stands on the way of every client that is made once it was imported, and any proxy off the way."""
    handlers = [spec for spec in botocore.handlers.BUILTIN_HANDLERS if not type(spec[1]).__module__.startswith("moto")]
    monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", handlers)
    monkeypatch.setattr("botocore.session.create_loader", lambda *_: LOADER)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True)
def _clear_way(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_the_way(monkeypatch)


def connect(server: Server, **options: Any) -> None:
    """Point the project at a server, with an empty table there and nothing counted."""
    known = {"table_name": "homes", "region": "us-east-1", "endpoint_url": server.url}
    usual = known | {"deadline": 5, "connect_timeout": 2, "read_timeout": 3} | options
    configure(**usual | {"deadline": 30})
    create_table()
    configure(**usual)
    store().client  # noqa: B018  made now, at nobody's expense
    server.requests.clear()


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Give a server with an empty table, and the project pointed at it; a parameter is the transport."""
    with Server() as made:
        connect(made, read_timeout=READ_TIMEOUT, transport=getattr(request, "param", "direct"))
        yield made


botocores_way = pytest.mark.parametrize("server", ["botocore"], indirect=True)
either_way = pytest.mark.parametrize("server", ["direct", "botocore"], indirect=True)


def put(server: Server, *names: str) -> None:
    """Store a listing under each of the names, and forget that it was asked for."""
    for name in names:
        Listing.objects.save("u1", name, HOME)
    server.requests.clear()


# --- What is sent ----------------------------------------------------------------------------------------------------


def signed_by_botocore(sent: dict[str, str], url: str, body: bytes, credentials: Credentials, region: str) -> str:
    """Give the Authorization that botocore makes for the same request at the same time."""
    own = {"host", "x-amz-date", "x-amz-security-token", "authorization", "accept-encoding", "content-length", "connection"}
    request = AWSRequest("POST", url, headers={name: sent[name] for name in sent.keys() - own}, data=body)
    when = datetime.strptime(sent["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    with patch("botocore.auth.get_current_datetime", return_value=when):
        SigV4Auth(credentials, "dynamodb", region).add_auth(request)
    authorization: str = request.headers["Authorization"]
    return authorization


def headers_of(head: bytes) -> dict[str, str]:
    """Read a request's head; no header is in it twice."""
    first, *lines, _, _ = head.decode().split("\r\n")
    assert first == "POST / HTTP/1.1"
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert len(headers) == len(lines)
    return headers


def known_headers(operation: str) -> dict[str, str]:
    """Give the headers that every request has before it is signed."""
    target = f"DynamoDB_20120810.{operation}"
    return {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.0", "User-Agent": "agent"}


labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
hosts = st.builds(
    "{}{}".format, st.lists(labels, min_size=1, max_size=4).map(".".join), st.sampled_from(["", ":8000", ":65535"])
)
secrets = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/+=", min_size=1, max_size=40)
credentials = st.builds(Credentials, secrets, secrets, st.none() | secrets)
more_headers = st.dictionaries(
    st.sampled_from(["X-Trace", "X-Amzn-Trace-Id", "A", "x-amz-meta"]),
    st.text("abc =;,", min_size=1, max_size=9).filter(str.strip),
    max_size=2,
)
calls = st.tuples(credentials, hosts, st.sampled_from(["Query", "PutItem"]), st.binary(max_size=200), more_headers)


class TestSignature:
    @given(st.sampled_from(["us-east-1", "eu-central-1"]), st.lists(calls, min_size=1, max_size=4))
    def test_is_botocores(self, region: str, made: list[tuple[Credentials, str, str, bytes, dict[str, str]]]) -> None:
        """Any body and headers to any host under any credentials, one after the other, are signed as botocore signs them."""
        signer = _Signer(region)
        for who, host, operation, body, more in made:
            sent = headers_of(signer.head(host, known_headers(operation) | more, body, who.get_frozen_credentials()))
            assert sent["authorization"] == signed_by_botocore(sent, f"https://{host}/", body, who, region)
            assert (sent["host"], sent["content-length"]) == (host, str(len(body)))
            assert sent.get("x-amz-security-token") == (who.token or None)
            assert {name: " ".join(value.split()) for name, value in more.items()}.items() <= {
                name: sent[name.lower()] for name in more
            }.items()

    def test_of_another_day(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """At midnight UTC the signing key is another one, and at the same second of the next day as well."""
        signer, who = _Signer("us-east-1"), Credentials("AKID", "secret")
        for now in ("20240229T235959Z", "20240301T000000Z", "20240229T235959Z"):
            clock = SimpleNamespace(strftime=lambda *_, now=now: now, gmtime=time.gmtime)
            monkeypatch.setattr("mlssocial.transport.time", clock)
            sent = headers_of(signer.head("localhost", known_headers("Query"), b"{}", who.get_frozen_credentials()))
            assert sent["x-amz-date"] == now
            assert sent["authorization"] == signed_by_botocore(sent, "http://localhost/", b"{}", who, "us-east-1")

    @pytest.mark.parametrize("token", [None, "a/session+token=="])
    def test_of_what_arrives(self, server: Server, monkeypatch: pytest.MonkeyPatch, token: str | None) -> None:
        """What a server receives carries the signature that botocore would have put on it."""
        if token:
            monkeypatch.setenv("AWS_SESSION_TOKEN", token)
            connect(server)
        put(server)
        Listing.objects.create("u1", "l1", ListingData(status="active", description="Größe ≥ 2 ½"))
        list(Listing.objects.query("u1"))
        Listing.objects.delete("u1", "l1")
        who = Credentials("testing", "testing", token)
        assert server.seen == ["PutItem", "Query", "DeleteItem"]
        for request in server.requests:
            signed = signed_by_botocore(request.headers, server.url + "/", request.body, who, "us-east-1")
            assert (request.direct, request.headers["authorization"]) == (True, signed)
            assert request.headers.get("x-amz-security-token") == token

    def test_says_who_asks(self, server: Server) -> None:
        """The user agent is botocore's, with this project's name in it."""
        Listing.objects.find("u1", "l1")
        agent = server.requests[0].headers["user-agent"]
        assert ("Botocore/" in agent, "mlssocial" in agent) == (True, True)


class TestCredentials:
    def test_missing_ones(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """Missing credentials are said with the remedy, and nothing is sent."""
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, os.devnull)
        configure(table_name="homes", region="us-east-1", endpoint_url=server.url)
        for call in CALLS:
            with pytest.raises(StoreError, match="configure AWS credentials") as caught:
                call()
            assert caught.value.code == "NoCredentialsError"
        assert server.requests == []

    def test_rotated_ones(self, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Credentials that end soon are asked for anew, and the next call is signed with what came."""
        current = tmp_path / "credentials.json"
        use_credential_process(monkeypatch, tmp_path, f"print(open({str(current)!r}).read())")
        expires = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        for number in (1, 2, 3):
            made = {"AccessKeyId": f"AKID{number}", "SecretAccessKey": f"secret{number}", "SessionToken": f"token{number}"}
            current.write_text(json.dumps(made | {"Version": 1, "Expiration": expires}))
            if number == 1:
                connect(server)
            Listing.objects.find("u1", "l1")
            request = server.requests[-1]
            who = Credentials(f"AKID{number}", f"secret{number}", f"token{number}")
            signed = signed_by_botocore(request.headers, server.url + "/", request.body, who, "us-east-1")
            assert (request.direct, request.headers["authorization"]) == (True, signed)
        assert server.connections == 1

    def test_ones_that_cannot_be_had_any_more(self, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Where a credential process begins to fail, reads and writes are refused with its reason and nothing is sent."""
        current = tmp_path / "credentials.json"
        use_credential_process(monkeypatch, tmp_path, f"print(open({str(current)!r}).read())")
        expires = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        made = {"Version": 1, "AccessKeyId": "AKID", "SecretAccessKey": "secret", "Expiration": expires}
        current.write_text(json.dumps(made))
        connect(server)
        Listing.objects.find("u1", "l1")
        server.requests.clear()
        current.unlink()
        for call in CALLS:
            with pytest.raises(StoreError, match="No such file") as caught:
                call()
            assert caught.value.code == "CredentialRetrievalError"
        assert server.requests == []

    def test_replaced_in_the_client(self, server: Server) -> None:
        """Credentials that somebody changes in botocore's client are the next call's."""
        Listing.objects.find("u1", "l1")
        held = store().client._request_signer._credentials
        held.access_key, held.secret_key, held.token = "AKID2", "secret2", "token2"
        Listing.objects.find("u1", "l1")
        first, second = server.requests
        assert "Credential=testing/" in first.headers["authorization"]
        signed = signed_by_botocore(second.headers, server.url + "/", second.body, held, "us-east-1")
        assert (second.direct, second.headers["authorization"]) == (True, signed)


def use_credential_process(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Let botocore take its credentials from a process that runs this code."""
    script, config = folder / "process.py", folder / "config"
    script.write_text(code)
    config.write_text(f'[default]\ncredential_process = "{sys.executable}" "{script}"\n')
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)


# --- Connections -----------------------------------------------------------------------------------------------------


class TestConnections:
    def test_are_kept(self, server: Server) -> None:
        """Any number of calls, one after the other, go over one connection."""
        put(server, "l1")
        for _ in range(20):
            assert Listing.objects.get("u1", "l1").data == HOME
            Listing.objects.update("u1", "l1", price=7)
            Listing.objects.save("u1", "l1", HOME)
        assert (len(server.requests), server.connections) == (60, 1)

    def test_threads(self, server: Server) -> None:
        """Eight threads with fifty calls each get every one its own answers, over eight connections at the most."""
        put(server, *(f"l{number}" for number in range(8)))
        start = threading.Barrier(8)

        def ask(number: int) -> set[str]:
            start.wait()
            return {Listing.objects.get("u1", f"l{number}").listing_id for _ in range(50)}

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, range(8))) == [{f"l{number}"} for number in range(8)]
        assert len(server.requests) == 400
        assert server.connections <= 8

    def test_more_threads_than_are_kept(self, server: Server) -> None:
        """More threads than connections are kept get their answers too, and what is not kept is closed without a warning."""
        connect(server, max_pool_connections=2)
        put(server, *(f"l{number}" for number in range(6)))
        start = threading.Barrier(6)

        def ask(number: int) -> set[str]:
            start.wait()
            return {Listing.objects.get("u1", f"l{number}").listing_id for _ in range(10)}

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(ask, range(6))) == [{f"l{number}"} for number in range(6)]
        asked = {request.connection for request in server.requests}
        until = time.monotonic() + 5  # for the server to see what was closed
        while len(asked & server.live.keys()) > 2 and time.monotonic() < until:
            time.sleep(0.001)
        assert len(asked & server.live.keys()) <= 2

    def test_closed_while_idle(self, server: Server) -> None:
        """A connection that the server closed while nobody used it is not used again: no error, and nothing is sent twice."""
        put(server, "l1")
        for call in CALLS:
            call()
            server.hang_up()
            server.requests.clear()
            call()
            assert len(server.requests) == 1

    def test_all_of_several_closed_while_idle(self, server: Server) -> None:
        """Where the server closed every kept connection, each is dropped, and the call goes over a new one."""
        start = threading.Barrier(4)

        def ask(_: int) -> None:
            start.wait()
            Listing.objects.find("u1", "l1")

        for _ in range(2):
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(ask, range(4)))
        server.hang_up()
        server.requests.clear()
        assert Listing.objects.find("u1", "l1") is None
        assert len(server.requests) == 1

    def test_announced_to_close(self, server: Server) -> None:
        """A connection of which the server says that it will be closed is not used again."""
        server.next(*[lambda exchange: exchange.send(*exchange.run(), Connection="close")] * 3)
        for _ in range(3):
            assert Listing.objects.find("u1", "l1") is None
        assert (len(server.requests), server.connections) == (3, 3)

    def test_an_answer_that_nobody_asked_for(self, server: Server) -> None:
        """An answer too many, at once or later, is never given to the next who asks."""
        put(server, "l1", "l2")

        def twice(exchange: Exchange) -> None:
            exchange.connection.sendall(response(*exchange.run()) * 2)

        def twice_with_a_pause(exchange: Exchange) -> None:
            exchange.send(*exchange.run())
            time.sleep(0.02)
            exchange.send(*exchange.run())

        for fault in (twice, twice_with_a_pause):
            server.next(fault)
            assert Listing.objects.get("u1", "l1").listing_id == "l1"
            time.sleep(0.05)
            assert Listing.objects.get("u1", "l2").listing_id == "l2"

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this platform has no interval timer")
    def test_an_interrupted_call(self, server: Server) -> None:
        """A call that was interrupted leaves no answer behind that the next one could take for its own."""

        class Interrupted(BaseException):
            """What the alarm raises."""

        def interrupt(*_: object) -> None:
            raise Interrupted

        def late(exchange: Exchange) -> None:
            time.sleep(0.2)
            with contextlib.suppress(OSError):
                exchange.send(*exchange.run())

        put(server, "l1", "l2")
        server.next(late)
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Interrupted):
                Listing.objects.get("u1", "l1")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        time.sleep(0.2)
        assert Listing.objects.get("u1", "l2").listing_id == "l2"

    def test_are_closed_with_their_client(self, server: Server) -> None:
        """Where another configuration takes over, the connections of the one before are closed, and no warning is left."""
        Listing.objects.find("u1", "l1")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            connect(server)
            Listing.objects.find("u1", "l1")
            gc.collect()
        assert [str(warning.message) for warning in caught] == []

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
    def test_after_a_fork(self, server: Server) -> None:
        """Children of a process whose connection is open ask over their own, and get their own answers, all at once."""
        put(server, *(f"l{number}" for number in range(5)))
        script = [sys.executable, "-c", FORKS, server.url]
        done = subprocess.run(script, capture_output=True, text=True, timeout=30, check=False)
        assert (done.stdout.strip(), done.stderr) == ("[0, 0, 0, 0] 0", "")
        assert len(server.requests) == 1 + 5 * 100
        assert all(request.direct for request in server.requests)
        by_connection: dict[int, set[bytes]] = {}
        for request in server.requests[1:]:
            by_connection.setdefault(request.connection, set()).add(request.body)
        assert [len(bodies) for bodies in by_connection.values()] == [1] * 5


FORKS = """
import os, sys
from mlssocial import Listing, configure

def wrong(number):
    return sum(Listing.objects.get("u1", f"l{number}").listing_id != f"l{number}" for _ in range(100))

configure(table_name="homes", region="us-east-1", endpoint_url=sys.argv[1])
Listing.objects.get("u1", "l0")
children = []
for number in range(1, 5):
    child = os.fork()
    if not child:
        code = 255
        try:
            code = min(wrong(number), 100)
        finally:
            os._exit(code)
    children.append(child)
mine = wrong(0)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children], mine)
"""


# --- Answers ---------------------------------------------------------------------------------------------------------


class TestReads:
    @pytest.mark.parametrize("fault", [*LOST, *NOT_DONE, THROTTLED])
    def test_are_tried_again(self, server: Server, fault: Fault) -> None:
        """A read whose answer was lost, cut, altered or not DynamoDB's is asked again, and gives the right answer."""
        put(server, "l1")
        server.next(fault, fault)
        assert Listing.objects.get("u1", "l1").data == HOME
        assert server.seen == ["GetItem"] * 3
        assert all(request.direct for request in server.requests)

    @pytest.mark.parametrize("fault", [closes_unread, sends_html, sends_no_number_for_checksum, fails_in_html])
    def test_end_at_the_deadline(self, server: Server, fault: Fault) -> None:
        """A read that never gets a good answer ends at the deadline as a StoreError."""
        connect(server, deadline=0.2)
        server.next(*[fault] * 1000)
        with pytest.raises(StoreError, match="GetItem on homes"):
            Listing.objects.find("u1", "l1")
        assert len(server.requests) > 1

    def test_chunked(self, server: Server) -> None:
        """An answer in chunks is read to its end, however small the pieces that it arrives in."""
        put(server, "l1")

        def chunked(exchange: Exchange) -> None:
            status, body = exchange.run()
            head = response(status, body, Content_Length=None, Transfer_Encoding="chunked").removesuffix(body)
            chunks = [body[start : start + 50] for start in range(0, len(body), 50)]
            for piece in (head, *(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks), b"0\r\n\r\n"):
                exchange.connection.sendall(piece)
                time.sleep(0.001)

        server.next(chunked, chunked)
        assert [Listing.objects.get("u1", "l1").data for _ in range(2)] == [HOME, HOME]
        assert server.connections == 1

    def test_in_single_bytes(self, server: Server) -> None:
        """An answer that trickles in byte by byte is read as if it came at once."""
        put(server, "l1")

        def trickles(exchange: Exchange) -> None:
            for byte in response(*exchange.run()):
                exchange.connection.sendall(bytes((byte,)))

        server.next(trickles)
        assert Listing.objects.get("u1", "l1").data == HOME

    def test_of_five_megabytes(self, server: Server) -> None:
        """A large answer arrives whole."""
        items = []
        for number in range(100):
            data = {"status": {"S": "sold"}, "description": {"S": f"{number:03}" + "x" * 50_000}}
            key = {"PK": {"S": "USER#u1"}, "SK": {"S": f"LISTING#l{number:03}"}}
            items.append({**key, "EntityType": {"S": "Listing"}, "Data": {"M": data}})
        body = json.dumps({"Items": items, "Count": 100, "ScannedCount": 100}).encode()
        assert len(body) > 5_000_000
        server.next(lambda exchange: exchange.send(200, body))
        found = list(Listing.objects.query("u1"))
        assert [one.listing_id for one in found] == [f"l{number:03}" for number in range(100)]
        assert all(len(one.data.description or "") == 50_003 for one in found)

    def test_without_a_checksum(self, server: Server) -> None:
        """An answer without a checksum, as other engines send it, counts if its JSON and its request id are right."""
        put(server, "l1")
        server.next(lambda exchange: exchange.send(*exchange.run(), x_amz_crc32=None))
        assert Listing.objects.get("u1", "l1").data == HOME
        assert len(server.requests) == 1


WRITES: list[tuple[str, Callable[[], Any]]] = [
    ("PutItem", lambda: Listing.objects.create("u1", "new", HOME)),
    ("UpdateItem", lambda: Listing.objects.save("u1", "l1", HOME)),
    ("UpdateItem", lambda: Listing.objects.update("u1", "l1", price=7)),
    ("UpdateItem", lambda: Listing(user_id="u1", listing_id="l1", data=HOME).save()),
]
DELETE = ("DeleteItem", lambda: Listing.objects.delete("u1", "l1"))


def test_an_interrupt_shows_nothing(server: Server) -> None:
    """What has arrived of an answer when the caller is interrupted stands in no traceback, with locals or without."""

    def interrupts(exchange: Exchange) -> None:
        sent = response(*exchange.run())
        exchange.connection.sendall(sent[:-20])
        time.sleep(0.1)  # until it is read
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.2)
        exchange.connection.sendall(sent[-20:])

    Listing.objects.save("u1", "l1", ListingData(status="active", description="not to be seen"))
    server.next(interrupts)
    with pytest.raises(KeyboardInterrupt) as caught:
        Listing.objects.get("u1", "l1")
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "exchange" in shown
    assert "not to be seen" not in shown


class TestWrites:
    @pytest.mark.parametrize("fault", LOST)
    def test_are_looked_up(self, server: Server, fault: Fault) -> None:
        """A write that was done and whose answer was lost is found in the table; a create by the item that refuses it then."""
        for operation, write in WRITES:
            put(server, "l1")
            server.next(fault)
            write()
            assert server.seen == [operation, "PutItem" if operation == "PutItem" else "GetItem"]
            assert all(request.direct for request in server.requests)

    @pytest.mark.parametrize("fault", NOT_DONE)
    def test_are_unknown(self, server: Server, fault: Fault) -> None:
        """A write that the table does not show after its answer was lost ends as unknown, sent once; a create is sent again."""
        for operation, write in [*WRITES, DELETE]:
            put(server, "l1")
            server.next(fault)
            again = operation == "PutItem"
            with contextlib.nullcontext() if again else pytest.raises(OutcomeUnknownError):
                write()
            assert server.seen.count(operation) == (2 if again else 1)
            assert set(server.seen) - {operation} == (set() if again else {"GetItem"})  # which may be sent again

    @pytest.mark.parametrize("read_fails", [refuses("AccessDeniedException"), closes_unread])
    def test_are_unknown_where_nobody_can_look(self, server: Server, read_fails: Fault) -> None:
        """A write whose answer was lost, and that cannot be looked up either, ends as unknown: it may have been done."""
        connect(server, deadline=0.3)
        server.next(closes_after, operation="UpdateItem")
        server.next(*[read_fails] * 1000, operation="GetItem")
        with pytest.raises(OutcomeUnknownError):
            Listing.objects.save("u1", "l1", HOME)
        assert server.seen.count("UpdateItem") == 1

    def test_throttled(self, server: Server) -> None:
        """A write that was throttled, and so not done, is sent again until it is done."""
        for operation, write in [*WRITES, DELETE]:
            put(server, "l1")
            server.next(THROTTLED, refuses("ProvisionedThroughputExceededException"))
            write()
            assert server.seen == [operation] * 3

    def test_throttled_and_then_lost(self, server: Server) -> None:
        """A write that was throttled and then lost is looked up, and not sent a third time."""
        server.next(THROTTLED, closes_after)
        Listing.objects.save("u1", "l1", HOME)
        assert server.seen == ["UpdateItem", "UpdateItem", "GetItem"]

    def test_a_condition_that_failed(self, server: Server) -> None:
        """A condition that failed is told by the item that DynamoDB shows, and a refusal is not sent again by anybody."""
        put(server, "l1")
        with pytest.raises(ItemAlreadyExistsError):
            Listing.objects.create("u1", "l1", HOME)
        with pytest.raises(Listing.DoesNotExist):
            Listing.objects.update("u1", "gone", price=1)
        assert Listing.objects.delete("u1", "gone") is False
        assert server.seen == ["PutItem", "UpdateItem", "DeleteItem"]
        assert all(request.direct for request in server.requests)

    def test_refused(self, server: Server) -> None:
        """What DynamoDB refuses for good arrives there once, directly, and the caller is told its code and request id."""
        for code in ("ValidationException", "AccessDeniedException", "ResourceNotFoundException", "NoSuchCode"):
            server.requests.clear()
            server.next(refuses(code))
            with pytest.raises(StoreError, match=f"PutItem on homes: {code}: injected") as caught:
                Listing.objects.create("u1", "l1", HOME)
            assert (caught.value.code, caught.value.request_id) == (code, "REQUEST")
            assert [(request.operation, request.direct) for request in server.requests] == [("PutItem", True)]


class TestErrors:
    REFUSALS: ClassVar[list[Fault]] = [
        refuses("ValidationException"),
        refuses("ResourceNotFoundException"),
        refuses("ConditionalCheckFailedException", Item={"PK": {"S": "a"}, "B": {"B": "aGk="}, "M": {"M": {}}}),
        refuses("ServiceUnavailable", 503),
        fails_in_html,
        lambda exchange: exchange.send(400, b'{"Message": "no type"}'),
        lambda exchange: exchange.send(301, b"", Location="http://elsewhere.invalid/"),
    ]

    def test_are_as_botocore_raises_them(self, server: Server) -> None:
        """The ClientError of a refusal has the class and the response that botocore's own has, but for its counted retries."""
        raised: dict[str, list[Any]] = {}
        for transport in ("direct", "botocore"):
            connect(server, transport=transport)
            for fault in self.REFUSALS:
                server.next(fault)
                with pytest.raises(ClientError) as caught:
                    store().client.put_item(TableName="homes", Item={"PK": {"S": "a"}, "SK": {"S": "b"}})
                answer = caught.value.response
                for name in ("RetryAttempts", "MaxAttemptsReached"):
                    answer["ResponseMetadata"].pop(name, None)
                raised.setdefault(transport, []).append((type(caught.value).__name__, answer))
            assert [request.direct for request in server.requests] == [transport == "direct"] * len(self.REFUSALS)
        assert raised["direct"] == raised["botocore"]

    def test_a_timeout(self, server: Server) -> None:
        """A server that takes the request and says nothing is left after read_timeout, and named."""
        connect(server, deadline=0.3, read_timeout=0.1)
        server.next(*[is_silent] * 100)
        with pytest.raises(StoreError, match="Read timeout on endpoint URL") as caught:
            Listing.objects.find("u1", "l1")
        assert caught.value.code == "ReadTimeoutError"

    def test_a_refused_connection(self, server: Server) -> None:
        """Where nothing listens any more, reads and writes end at the deadline as a StoreError that says so."""
        connect(server, deadline=0.2)
        server.__exit__()
        for call in CALLS:
            with pytest.raises(StoreError, match="nothing answers at the endpoint") as caught:
                call()
            assert caught.value.code in {"EndpointConnectionError", "ConnectTimeoutError"}  # the last attempt may end early

    def test_a_server_that_comes_back(self) -> None:
        """A write to a server that is away for a moment, and so was never sent, is done once when it is back."""
        with Server() as first:
            connect(first)
            Listing.objects.save("u1", "l1", HOME)
            engine, port = first.engine, first.server_address[1]
        second = Server(port)
        second.server_close()
        timer: list[Server] = []

        def come_back() -> None:
            again = Server(port)
            again.engine = engine
            timer.append(again.__enter__())

        late = threading.Timer(0.2, come_back)
        late.start()
        try:
            Listing.objects.update("u1", "l1", price=7)
            assert timer[0].seen == ["UpdateItem"]
        finally:
            late.join()
            timer[0].__exit__()


# --- Stepping aside --------------------------------------------------------------------------------------------------


class TestStepsAside:
    @pytest.mark.parametrize(
        "event",
        [
            "request-created",
            "choose-signer.dynamodb",
            "before-sign.dynamodb.*",
            "before-send.*.GetItem",
            "response-received.dynamodb",
            "before-parse.dynamodb.GetItem",
            "needs-retry",
        ],
    )
    def test_for_somebodys_hook(self, server: Server, event: str) -> None:
        """A hook on the way of the request gets every call from when it is registered until it is unregistered."""
        put(server, "l1")
        seen: list[str] = []

        def hook(event_name: str, **_: Any) -> None:
            seen.append(event_name)

        events = store().client.meta.events
        for _ in range(2):
            Listing.objects.get("u1", "l1")
            assert (server.requests[-1].direct, seen) == (True, [])
            events.register(event, hook)
            Listing.objects.get("u1", "l1")
            Listing.objects.get("u1", "l1")
            assert ([request.direct for request in server.requests[-2:]], len(seen)) == ([False, False], 2)
            events.unregister(event, hook)
            seen.clear()
        Listing.objects.get("u1", "l1")
        assert (server.requests[-1].direct, seen) == (True, [])

    def test_for_one_operation_alone(self, server: Server) -> None:
        """A hook on one operation sends that one botocore's way, and leaves the others direct."""
        store().client.meta.events.register("before-send.dynamodb.Query", lambda **_: None)
        Listing.objects.find("u1", "l1")
        list(Listing.objects.query("u1"))
        assert [(request.operation, request.direct) for request in server.requests] == [("GetItem", True), ("Query", False)]

    def test_for_a_hook_that_answers(self, server: Server) -> None:
        """An answer that a hook gives in the request's place is the answer."""
        body = b'{"Item": {"PK": {"S": "a"}, "SK": {"S": "b"}}}'

        class Raw:
            """A body as urllib3 has it."""

            def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
                yield body

        headers = {"x-amzn-RequestId": "HOOK"}
        store().client.meta.events.register("before-send", lambda **_: AWSResponse("", 200, headers, Raw()))
        answer = store().call("GetItem", {"TableName": "homes", "Key": {"PK": {"S": "a"}, "SK": {"S": "b"}}})
        assert (len(answer["Item"]), answer["ResponseMetadata"]["RequestId"], server.requests) == (2, "HOOK", [])

    def test_calls_that_nobody_watches(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """From its second call on an operation goes past botocore; not where tracing stands on the calls, nor in AWS Lambda."""
        passed: list[str] = []
        put(server, "l1")
        kind = type(store().client)
        plain = kind._make_api_call

        def traced(client: Any, operation: str, request: dict[str, Any]) -> Any:
            passed.append(operation)
            return plain(client, operation, request)

        def gets(times: int) -> int:
            passed.clear()
            for _ in range(times):
                assert Listing.objects.get("u1", "l1").listing_id == "l1"
            return len(passed)

        gets(2)
        with monkeypatch.context() as tracing:
            tracing.setattr(kind, "_make_api_call", traced)
            assert gets(3) == 3
        calls: list[str] = []
        monkeypatch.setattr("botocore.client.history_recorder.record", lambda what, _: calls.append(what))
        gets(3)
        assert calls == []
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
        connect(server)
        calls.clear()
        gets(3)
        assert calls.count("API_CALL") == 3

    def test_hooks_before_the_call_are_run(self, server: Server) -> None:
        """Hooks before the call are run on the direct way, wherever they are registered."""
        seen: list[str] = []
        events = ["before-call", "before-call.*", "before-call.dynamodb", "before-call.dynamodb.GetItem"]
        for event in events:
            store().client.meta.events.register(event, lambda event=event, **_: seen.append(event))
        Listing.objects.find("u1", "l1")
        assert (sorted(seen), server.requests[0].direct) == (events, True)

    def test_hooks_after_the_call_are_run(self, server: Server) -> None:
        """Hooks after the call see the HTTP response and what was read of it, of an answer and of a refusal."""
        seen: list[Any] = []

        def hook(http_response: Any, parsed: dict[str, Any], **_: Any) -> None:
            seen.append((http_response.status_code, http_response.headers["x-amzn-requestid"], "Error" in parsed))

        store().client.meta.events.register("after-call", hook)
        Listing.objects.find("u1", "l1")
        server.next(refuses("AccessDeniedException"))
        with pytest.raises(StoreError):
            Listing.objects.find("u1", "l1")
        assert seen == [(200, "REQUEST", False), (400, "REQUEST", True)]

    @either_way
    def test_what_a_hook_puts_into_the_request_is_sent(self, server: Server) -> None:
        """A header that a hook before the call adds to the request arrives, whichever way it goes."""

        def add(params: dict[str, Any], **_: Any) -> None:
            params["headers"]["X-Trace"] = "abc"

        store().client.meta.events.register_first("before-call.dynamodb", add)
        Listing.objects.find("u1", "l1")
        assert server.requests[0].headers.get("x-trace") == "abc"

    def test_the_trace_of_aws_lambda_is_sent(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """In AWS Lambda the request carries the trace id that botocore gives to it."""
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
        monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-a-b")
        Listing.objects.find("u1", "l1")
        assert server.requests[0].headers.get("x-amzn-trace-id") == "Root=1-a-b"

    def test_for_a_proxy(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the environment names a proxy, requests go through it, botocore's way."""
        monkeypatch.setenv("HTTP_PROXY", server.url)
        connect(server, endpoint_url="http://table.invalid:8000")
        Listing.objects.save("u1", "l1", HOME)
        assert Listing.objects.get("u1", "l1").data == HOME
        asked = [(request.operation, request.path, request.direct) for request in server.requests]
        url = "http://table.invalid:8000/"
        assert asked == [("UpdateItem", url, False), ("GetItem", url, False)]

    def test_not_for_a_proxy_that_is_not_meant(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """A host that NO_PROXY names is asked directly."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
        connect(server)
        Listing.objects.find("u1", "l1")
        assert [(request.path, request.direct) for request in server.requests] == [("/", True)]

    def test_for_an_endpoint_with_a_path(self, server: Server) -> None:
        """An endpoint with a path is botocore's, and the path is kept."""
        connect(server, endpoint_url=f"{server.url}/dynamodb")
        Listing.objects.find("u1", "l1")
        assert [(request.path, request.direct) for request in server.requests] == [("/dynamodb", False)]

    def test_for_a_path_that_a_hook_puts_in(self, server: Server) -> None:
        """A request that a hook before the call sends to another URL, with a path, is botocore's, and arrives there."""
        elsewhere: list[str] = []

        def send_there(params: dict[str, Any], **_: Any) -> None:
            params["url"] = elsewhere[0] if elsewhere else params["url"]

        store().client.meta.events.register("before-call.dynamodb", send_there)
        Listing.objects.find("u1", "l1")
        elsewhere.append(f"{server.url}/elsewhere")
        Listing.objects.find("u1", "l1")
        assert [(request.path, request.direct) for request in server.requests] == [("/", True), ("/elsewhere", False)]

    def test_for_a_client_certificate(self, server: Server) -> None:
        """Where botocore's client has a certificate of its own to show, the requests are botocore's."""
        store().client.meta.config.client_cert = "certificate.pem"
        Listing.objects.find("u1", "l1")
        assert [request.direct for request in server.requests] == [False]

    @botocores_way
    def test_where_it_is_switched_off(self, server: Server) -> None:
        """With transport="botocore" every request is botocore's."""
        Listing.objects.save("u1", "l1", HOME)
        assert Listing.objects.get("u1", "l1").data == HOME
        assert [one.listing_id for one in Listing.objects.query("u1")] == ["l1"]
        assert [request.direct for request in server.requests] == [False] * 3

    def test_control_plane(self, server: Server) -> None:
        """What is not about items is botocore's."""
        assert create_table() is False
        assert server.requests
        assert not any(request.direct for request in server.requests)

    def test_moto(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Inside moto's mock everything works, and nothing leaves the process."""
        stubber: Any = import_module("moto.core.models").botocore_stubber
        monkeypatch.setattr(
            botocore.handlers, "BUILTIN_HANDLERS", [*botocore.handlers.BUILTIN_HANDLERS, ("before-send", stubber)]
        )
        with mock_aws():
            configure(table_name="homes", region="us-east-1")
            create_table()
            Listing.objects.create("u1", "l1", HOME)
            with pytest.raises(ItemAlreadyExistsError):
                Listing.objects.create("u1", "l1", HOME)
            assert Listing.objects.get("u1", "l1").data == HOME
            assert [one.listing_id for one in Listing.objects.query("u1")] == ["l1"]
            assert Listing.objects.delete("u1", "l1") is True


@botocores_way
class TestBotocoresWay:
    """Where the direct way steps aside, an operation still ends as applied, refused or unknown."""

    @pytest.mark.parametrize("fault", [*LOST, *NOT_DONE])
    def test_reads_and_writes(self, server: Server, fault: Fault) -> None:
        """A read or a create whose answer is no good is right in the end: the create is sent again, and is applied once."""
        put(server, "l1")
        server.next(fault)
        assert Listing.objects.get("u1", "l1").data == HOME
        server.next(fault)
        assert Listing.objects.create("u1", "l2", HOME).data == HOME
        assert server.seen.count("PutItem") == (1 if fault is sends_no_length else 2)  # which botocore reads to the end


class TestSettings:
    def test_nonsense(self) -> None:
        """A transport that there is not is refused by name."""
        with pytest.raises(ConfigurationError, match="transport: 'direct' or 'botocore' is needed, not 'nonsense'"):
            configure(table_name="homes", transport="nonsense")

    def test_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The transport can come from the environment."""
        monkeypatch.setenv("MLSSOCIAL_TRANSPORT", "botocore")
        assert configure(table_name="homes").transport == "botocore"


# --- TLS -------------------------------------------------------------------------------------------------------------


def certificate(folder: Path, host: str) -> Path:
    """Make a self-signed certificate for a host, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mlssocial's tests")])
    now = datetime.now(UTC)
    try:
        subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / f"{host}.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@contextlib.contextmanager
def serving_tls(path: Path) -> Iterator[Server]:
    """Run a server that shows this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with Server(tls=context) as server:
        yield server


class TestTLS:
    def test_a_certificate_that_nobody_vouches_for(self, tmp_path: Path) -> None:
        """A server whose certificate nobody vouches for is refused, reads and writes alike, before anything is sent."""
        with serving_tls(certificate(tmp_path, "127.0.0.1")) as server:
            configure(table_name="homes", region="us-east-1", endpoint_url=server.url)
            for call in CALLS:
                with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED") as caught:
                    call()
                assert caught.value.code == "SSLError"
            assert server.requests == []

    def test_a_certificate_of_another_host(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A certificate that is trusted, and is another host's, is refused."""
        path = certificate(tmp_path, "example.com")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
        with serving_tls(path) as server:
            configure(table_name="homes", region="us-east-1", endpoint_url=server.url)
            with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
                Listing.objects.find("u1", "l1")
            assert server.requests == []

    def test_the_bundle_that_the_environment_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where AWS_CA_BUNDLE vouches for it, calls go directly over one connection, and a closed one is noticed."""
        path = certificate(tmp_path, "127.0.0.1")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
        with serving_tls(path) as server:
            connect(server)
            Listing.objects.save("u1", "l1", HOME)
            for _ in range(5):
                assert Listing.objects.get("u1", "l1").data == HOME
            assert ([request.direct for request in server.requests], server.connections) == ([True] * 6, 1)
            server.hang_up()
            assert Listing.objects.get("u1", "l1").data == HOME
            assert (len(server.requests), server.connections) == (7, 2)

    @pytest.mark.parametrize("fault", [closes_after, cuts_the_body, is_silent])
    def test_faults(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
        """Over TLS too, a read is asked again and a create is sent again."""
        path = certificate(tmp_path, "127.0.0.1")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
        with serving_tls(path) as server:
            connect(server, read_timeout=READ_TIMEOUT)
            server.next(fault)
            Listing.objects.create("u1", "l1", HOME)
            server.next(fault)
            assert Listing.objects.get("u1", "l1").data == HOME
            assert server.seen == ["PutItem", "PutItem", "GetItem", "GetItem"]

    @pytest.mark.parametrize("transport", ["direct", "botocore"])
    def test_a_bundle_that_is_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str) -> None:
        """A bundle that is not there is an error of ours, reads and writes alike, before anything is sent."""
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "missing.pem"))
        with serving_tls(certificate(tmp_path, "127.0.0.1")) as server:
            configure(table_name="homes", region="us-east-1", endpoint_url=server.url, deadline=0.3, transport=transport)
            for call in CALLS:
                with pytest.raises(StoreError):
                    call()
            assert server.requests == []
