"""
The way of a data request over the wire: signed, sent, and its answer checked, without botocore's machinery in between.

It stands behind botocore's ``before-call`` event, so parameters, endpoint and credentials are botocore's, and so are the hooks
before and after the call. It steps aside, call by call, for whatever it would skip: somebody's handler on the way of the
request, a proxy, a client certificate, another signer, an endpoint with a path. Where nobody watches the call itself either,
what botocore made of the first one (endpoint, headers) is kept for those after it, which do not pass through botocore at all.
An answer counts only if its checksum, its request id and its JSON are right.

An attempt ends at its call's deadline, whatever arrives until then; only the look-up of a host's name cannot be cut short.
"""

from __future__ import annotations

import hmac
import os
import select
import socket
import ssl
import time
from collections import deque
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from threading import Lock, local
from types import FunctionType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import botocore
import httptools
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import get_cert_path

from .components import Answer, read_answer, time_left, until
from .masked import MaskedBytes
from .wire import OPERATIONS, encode_request, is_data_operation

_CHUNK = 256 * 1024
_MOST_FIXED = 64
_BOTOCORE = Path(botocore.__file__).parent
# What a request passes through in botocore and would miss here. Handlers of botocore's own are made up for.
_WATCHED = (
    "request-created",
    "choose-signer",
    "before-sign",
    "before-send",
    "response-received",
    "before-parse",
    "needs-retry",
)
# And what a call passes through.
_CALL = ("provide-client-params", "before-parameter-build", "before-call", "after-call", "after-call-error")

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html: what changes on the way.
_DATE = "x-amz-date"
_UNSIGNED = {"connection", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"}


class _Way(NamedTuple):
    """
    How botocore sends one operation on one table, as long as the handlers and the credential are these.

    Attributes:
        make_api_call: What calls pass through in botocore's client: tracing puts itself there.
    """

    model: Any
    url: str
    headers: dict[str, str]
    signer: Any
    access_key: str
    handlers: Any
    make_api_call: Any


class Transport:
    """Sends the data operations of one botocore client."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._events = client.meta.events._emitter  # noqa: SLF001  botocore tells nobody which handlers it has
        self._known: tuple[Any, dict[tuple[str, str], bool]] = (None, {})
        self._pools: dict[str, _Pool] = {}
        self._ways: dict[tuple[str, str | None], _Way] = {}
        self._passed = local()  # the way of this thread's last call through botocore
        self._closed = False
        self._signer = _Signer(client.meta.region_name)

    def install(self) -> None:
        """Stand behind the client's before-call event, behind everybody who looks at the request there."""
        self._client.meta.events.register_last("before-call", self._before_call)
        self._own = {(event, name): self._handlers(event, name) for event in _CALL for name in OPERATIONS}

    def call(self, method: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Send a call by the client's method, or as that has sent one before."""
        place = operation, request.get("TableName")
        way = self._ways.get(place)
        if way is not None and self._is_as_it_was(way):
            credentials = way.signer._credentials.get_frozen_credentials()  # noqa: SLF001
            if credentials.access_key == way.access_key:
                return self._send(way, operation, encode_request(request), credentials)
        self._passed.way = None
        answer: dict[str, Any] = getattr(self._client, method)(**request)
        if self._passed.way is not None and self._nobody_watches(operation):
            self._ways[place] = self._passed.way
        return answer

    def _send(self, way: _Way, operation: str, body: bytes, credentials: Any) -> dict[str, Any]:
        answer = self._exchange(way.url, way.headers, body, credentials)
        if answer.status_code >= 300:
            refusal = self._refusal(way.model, answer)
            raise self._client.exceptions.from_code(refusal.get("Error", {}).get("Code"))(refusal, operation)
        return read_answer(operation, answer)

    def _is_as_it_was(self, way: _Way) -> bool:
        handlers, calls = self._watchers()
        return way.handlers is handlers and way.make_api_call is calls  # the same, not equal: a new cache begins empty

    def _watchers(self) -> tuple[Any, Any]:
        """Give what is another object as soon as a handler comes or goes, and what calls pass through."""
        return self._events._lookup_cache, type(self._client)._make_api_call  # noqa: SLF001

    def _nobody_watches(self, operation: str) -> bool:
        """Tell whether a call passes nothing but botocore; AWS Lambda has a header of its own for each."""
        calls = type(self._client)._make_api_call  # noqa: SLF001  tracing puts itself there
        plain = isinstance(calls, FunctionType) and Path(calls.__code__.co_filename).parent == _BOTOCORE
        own = all(self._handlers(event, operation) == self._own[event, operation] for event in _CALL)
        return plain and own and "AWS_LAMBDA_FUNCTION_NAME" not in os.environ

    def _handlers(self, event: str, operation: str) -> list[Any]:
        return list(self._events._handlers.prefix_search(f"{event}.dynamodb.{operation}"))  # noqa: SLF001

    def close(self) -> None:
        """Close the connections that nobody uses, and those in use as soon as they are given back."""
        self._closed = True
        for pool in list(self._pools.values()):
            pool.close()

    def _before_call(self, model: Any, params: dict[str, Any], request_signer: Any, **_: Any) -> tuple[Answer, Any] | None:
        operation: str = model.name
        if not is_data_operation(operation) or not self._is_free(operation, params["url"], request_signer):
            return None
        credentials = request_signer._credentials  # noqa: SLF001  the signer is botocore's, its credentials too
        if credentials is None:
            return None  # botocore says what is missing
        frozen, headers = credentials.get_frozen_credentials(), dict(params["headers"].items())
        self._passed.way = _Way(model, params["url"], headers, request_signer, frozen.access_key, *self._watchers())
        answer = self._exchange(params["url"], headers, params["body"], frozen)
        if answer.status_code >= 300:
            return answer, self._refusal(model, answer)
        return answer, read_answer(operation, answer)

    def _exchange(self, url: str, headers: dict[str, str], body: bytes, credentials: Any) -> Answer:
        pool = self._pools.get(url) or self._pool(url)
        # A view is not shown in a traceback with locals, as the bytes would be, and costs no copy.
        return pool.exchange(memoryview(self._signer.head(pool.host, headers, body, credentials) + body), until.get())

    def _is_free(self, operation: str, url: str, request_signer: Any) -> bool:
        """Tell whether nobody stands on the way of this operation's requests."""
        # botocore begins a new cache whenever a handler comes or goes; one pair, so that no thread writes into another's.
        handlers = self._events._lookup_cache  # noqa: SLF001
        known, free = self._known
        if known is not handlers:
            free = {}
            self._known = handlers, free
        if (operation, url) not in free:
            free[operation, url] = self._look(operation, url, request_signer)
        return free[operation, url]

    def _look(self, operation: str, url: str, request_signer: Any) -> bool:
        config, session = self._client.meta.config, self._client._endpoint.http_session  # noqa: SLF001
        return (
            all(_is_botocores(handler) for event in _WATCHED for handler in self._handlers(event, operation))
            and request_signer._signature_version == "v4"  # noqa: SLF001
            and config.client_cert is None
            and session._proxy_config.proxy_url_for(url) is None  # noqa: SLF001
            and urlsplit(url).path in {"", "/"}
        )

    def _pool(self, url: str) -> _Pool:
        config, verify = self._client.meta.config, self._client._endpoint.http_session._verify  # noqa: SLF001
        made = _Pool(url, config.connect_timeout, config.read_timeout, config.max_pool_connections, verify)
        pool = self._pools.setdefault(url, made)
        if self._closed:
            pool.close()
        return pool

    def _refusal(self, model: Any, answer: Answer) -> Any:
        """Read an error as botocore does, with the fields that its shape has."""
        endpoint = self._client._endpoint  # noqa: SLF001
        response = {"status_code": answer.status_code, "headers": answer.headers, "body": MaskedBytes(answer.content)}
        parser = endpoint._response_parser_factory.create_parser(model.service_model.resolved_protocol)  # noqa: SLF001
        parsed = parser.parse(response, model.output_shape)
        endpoint._add_modeled_error_fields(response, parsed, model, parser)  # noqa: SLF001
        return parsed


def _is_botocores(handler: Any) -> bool:
    module = getattr(handler, "__module__", None) or type(handler).__module__
    return str(module).startswith("botocore.")


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


class _Fixed(NamedTuple):
    """
    What a request's head has in common with those before it.

    Attributes:
        lines: The lines themselves.
        names: The names of the headers that are signed, the date's among them.
        before: What is signed of them before the date.
        after: What is signed of them after it.
    """

    lines: str
    names: str
    before: str
    after: str


class _Signer:
    """
    Signature Version 4 for DynamoDB's one kind of request.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. The signing key is kept for a
    credential and a day, and what requests have in common for as long as they have it: working these out is most of the work.
    """

    def __init__(self, region: str) -> None:
        self._region = region
        self._key: tuple[str, str, str, hmac.HMAC] | None = None
        self._fixed: dict[tuple[Any, ...], _Fixed] = {}

    def head(self, host: str, headers: dict[str, Any], body: bytes, credentials: Any) -> bytes:
        """Make the request's head, with its signature."""
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        place = host, credentials.token, *headers.items()
        lines, names, before, after = self._fixed.get(place) or self._fix(place, host, headers, credentials.token)
        canonical = f"POST\n/\n\n{before}{now}{after}\n{names}\n{sha256(body).hexdigest()}"
        scope = f"{now[:8]}/{self._region}/dynamodb/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = self._keyed(credentials.access_key, credentials.secret_key, now[:8])
        signature.update(text.encode())
        return (
            f"POST / HTTP/1.1\r\n{lines}{_DATE}: {now}\r\n"
            f"authorization: AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={names}, "
            f"Signature={signature.hexdigest()}\r\naccept-encoding: identity\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode()

    def _fix(self, place: tuple[Any, ...], host: str, headers: dict[str, Any], token: str | None) -> _Fixed:
        sent = {"content-type": "application/x-amz-json-1.0", "host": host}
        sent |= {name.lower(): " ".join(_text(value).split()) for name, value in headers.items()}
        if token:
            sent["x-amz-security-token"] = token
        lines = "".join([f"{name}: {value}\r\n" for name, value in sent.items()])
        named = sorted({*sent, _DATE} - _UNSIGNED)
        at = named.index(_DATE)
        before, after = ("".join([f"{name}:{sent[name]}\n" for name in part]) for part in (named[:at], named[at + 1 :]))
        made = _Fixed(lines, ";".join(named), f"{before}{_DATE}:", f"\n{after}")
        kept = {other: fixed for other, fixed in self._fixed.items() if other[1] == token}  # no session's token after its end
        self._fixed = {place: made} if len(kept) >= _MOST_FIXED else {**kept, place: made}
        return made

    def _keyed(self, access_key: str, secret_key: str, day: str) -> hmac.HMAC:
        """Give a hash that has the signing key."""
        held = self._key  # one tuple, so that threads see all of it or none
        if held is None or held[:3] != (access_key, secret_key, day):
            key = f"AWS4{secret_key}".encode()
            for part in (day, self._region, "dynamodb", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key = held = access_key, secret_key, day, hmac.new(key, digestmod="sha256")
        return held[3].copy()


class _Pool:
    """
    Connections to one endpoint that are kept open; the one used last is used next.

    *until*, here and below, is when the call's deadline is, on the clock of ``time.monotonic()``.
    """

    def __init__(self, url: str, connect_timeout: float, read_timeout: float, size: int, verify: Any) -> None:
        parts = urlsplit(url)
        self.url = url
        self.host = parts.netloc.rpartition("@")[2]
        self._address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        self._connect_timeout, self._read_timeout = connect_timeout, read_timeout
        self._idle: deque[_Connection] = deque()
        self._size, self._lock, self._closed = size, Lock(), False
        self._tls = _tls_context(verify) if parts.scheme == "https" else None

    def exchange(self, request: memoryview, until: float) -> Answer:
        """Send a request and give its answer; botocore's exceptions tell how it failed."""
        connection = self._take(until)
        try:
            answer = connection.exchange(request, until)
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=self.url, error=error) from error
        except (OSError, EOFError, httptools.HttpParserError) as error:
            raise ConnectionClosedError(endpoint_url=self.url, error=error) from error
        finally:
            self._give_back(connection)
        return answer

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            kept = connection.reusable and len(self._idle) < self._size and not self._closed
            if kept:
                self._idle.append(connection)
        if not kept:
            connection.close()

    def close(self) -> None:
        """Close the connections that nobody uses, and from now on each one that is given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, deque()
        for connection in idle:
            connection.close()

    def _take(self, until: float) -> _Connection:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread took the last one
                break
            if connection.is_open():
                return connection
            connection.close()
        return self._open(until)

    def _open(self, until: float) -> _Connection:
        try:
            opened = self._reach(until)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._tls:
                opened.settimeout(time_left(until, self._connect_timeout))
                opened = self._tls.wrap_socket(opened, server_hostname=self._address[0])
        except ssl.SSLEOFError as error:
            raise EndpointConnectionError(endpoint_url=self.url, error=error) from error
        except ssl.SSLError as error:
            raise SSLError(endpoint_url=self.url, error=error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=self.url, error=error) from error
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=self.url, error=error) from error
        return _Connection(opened, self._read_timeout)

    def _reach(self, until: float) -> socket.socket:
        """Connect to the first of the host's addresses that answers; each has its share of the time that is left."""
        found = socket.getaddrinfo(*self._address, type=socket.SOCK_STREAM)
        for left, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
            opened = socket.socket(family, kind, protocol)
            try:
                opened.settimeout(time_left(until, self._connect_timeout * left) / left)
                opened.connect(address)
            except OSError:
                opened.close()
                if left == 1:
                    raise
            else:
                return opened
        raise OSError("the host has no address")


def _tls_context(verify: Any) -> ssl.SSLContext:
    path = get_cert_path(verify) if verify else None
    try:
        context = ssl.create_default_context(cafile=path)
    except OSError as error:
        raise SSLError(endpoint_url=f"the certificates in {path}", error=error) from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@lru_cache(64)  # DynamoDB's answers have the same six headers each
def _header_name(name: bytes) -> str:
    return name.decode("latin-1").lower()


class _Connection:
    """
    One connection, and the parser of the answer that is read from it.

    Attributes:
        reusable: Whether the last answer was complete, and another request may follow.
        on_header: Takes a header of the answer under way from the parser.
        on_body: Takes a piece of its body.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_done",
        "_headers",
        "_parser",
        "_poll",
        "_read_timeout",
        "_socket",
        "_timeout",
        "on_body",
        "on_header",
        "reusable",
    )

    def __init__(self, opened: socket.socket, read_timeout: float) -> None:
        self._socket = opened
        self._read_timeout = read_timeout
        self._timeout: float | None = None
        self._buffer = memoryview(bytearray(_CHUNK))
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)
        self.reusable = False

    def is_open(self) -> bool:
        """Tell whether the other side has neither closed it nor sent what nobody asked for."""
        return not self._poll.poll(0)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def exchange(self, request: memoryview, until: float) -> Answer:
        """Send one request and read its answer to the end."""
        self.reusable, self._done = False, False
        # No local names: a traceback with locals would show what has arrived of an item.
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self.on_header, self.on_body = self._headers.__setitem__, self._body.append
        self._parser = parser = httptools.HttpResponseParser(self)
        self._limit(until)
        sent = self._socket.send(request)
        while sent < len(request):
            self._limit(until)
            sent += self._socket.send(request[sent:])
        while not self._done:
            self._limit(until)
            received = self._socket.recv_into(self._buffer)
            if not received:
                raise EOFError("the connection was closed before the answer was complete")
            parser.feed_data(self._buffer[:received])
        headers = {_header_name(name): value.decode("latin-1") for name, value in self._headers.items()}
        return Answer(parser.get_status_code(), headers, b"".join(self._body))

    def _limit(self, until: float) -> None:
        """Let the next step take no longer than it may; asking costs less than telling the socket each time."""
        timeout = until - time.monotonic()
        if timeout >= self._read_timeout:
            timeout = self._read_timeout
        elif timeout <= 0:
            raise TimeoutError("the deadline has passed")
        if timeout != self._timeout:
            self._socket.settimeout(timeout)
            self._timeout = timeout

    def on_message_complete(self) -> None:
        """Hear from the parser that the answer is complete, and whether the connection can be used again."""
        self._done = True
        self.reusable = self._parser.should_keep_alive()
