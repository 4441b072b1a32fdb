"""
The pieces that are put into a botocore client: how data operations are written and read, whichever way they are sent.

Control-plane calls and errors stay on botocore's own path, and so does what the transport leaves to it; there too, nothing is
waited for longer than the call's deadline.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from contextvars import ContextVar
from http.client import HTTPResponse
from typing import Any
from zlib import crc32

import msgspec
from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool, AWSHTTPSConnection, AWSHTTPSConnectionPool
from botocore.exceptions import HTTPClientError
from botocore.parsers import JSONParser, ResponseParserError, ResponseParserFactory
from urllib3.exceptions import ConnectTimeoutError

from .codec import CodecError
from .masked import MaskedBytes, MaskedMap
from .wire import decode_answer, encode_request, is_data_operation, row_of, shows_asked

_FOREVER = float("inf")
until: ContextVar[float] = ContextVar("mlssocial_until", default=_FOREVER)
"""When the call under way must be over, on the clock of ``time.monotonic()``; botocore hands no argument of ours through."""


def time_left(until: float, longest: float) -> float:
    """Give how long the next step may take: *longest*, or less until the deadline; TimeoutError where that has passed."""
    seconds = min(longest, until - time.monotonic())
    if seconds <= 0:
        raise TimeoutError("the deadline has passed")
    return seconds


class Answer:
    """An answer as it came. It is not shown, and what it says is handed on in it, for its body would be."""

    __slots__ = ("content", "headers", "status_code")

    def __init__(self, status_code: int, headers: dict[str, str], content: bytes) -> None:
        self.status_code = status_code
        self.headers = headers
        self.content = content


class ParserFactory(ResponseParserFactory):  # type: ignore[misc]  # botocore has no types
    """Gives the parser that reads the answers of data operations; botocore's session makes one of its components."""

    def create_parser(self, protocol_name: str) -> Any:
        """Give the parser for a protocol."""
        if protocol_name == "json":
            return DataParser(**self._defaults)
        return super().create_parser(protocol_name)


class DataParser(JSONParser):  # type: ignore[misc]
    """Reads the answer of a data operation into rows; all else as botocore does."""

    def parse(self, response: dict[str, Any], shape: Any) -> Any:
        """Read an answer."""
        operation = shape.name.removesuffix("Output") if shape is not None else ""
        headers = {name.lower(): value for name, value in response["headers"].items()}
        answer = Answer(response["status_code"], headers, response["body"])
        response["body"] = MaskedBytes(answer.content)  # which botocore logs as it is shown
        if answer.status_code < 300 and is_data_operation(operation):
            return read_answer(operation, answer)
        parsed = read_other(super().parse, answer, response | {"headers": headers}, shape)
        if isinstance(parsed, dict):
            take_rows(parsed)
        return parsed


class InvalidAnswerError(HTTPClientError):  # type: ignore[misc]
    """What came with status 200 is no answer of DynamoDB's: to the retries it is a lost one."""

    fmt = "the answer is not DynamoDB's: {reason}"


def read_answer(operation: str, answer: Answer) -> dict[str, Any]:
    """Read the answer of a data operation; InvalidAnswerError unless checksum, request id and JSON are right."""
    request_id = _checked(answer)
    try:
        parsed = decode_answer(operation, answer.content)
    except (ValueError, RecursionError) as error:
        raise InvalidAnswerError(reason=f"its body cannot be read ({type(error).__name__})") from None
    parsed["ResponseMetadata"] = {
        "RequestId": request_id,
        "HTTPStatusCode": answer.status_code,
        "HTTPHeaders": answer.headers,
        "RetryAttempts": 0,
    }
    return parsed


def check_shown(request: dict[str, Any], answer: dict[str, Any]) -> None:
    """InvalidAnswerError where an answer shows another item than the request asked for, or a page begins with no row."""
    try:
        right = shows_asked(request, answer)
    except (ValueError, LookupError, RecursionError) as error:
        raise InvalidAnswerError(reason=f"its items cannot be read ({type(error).__name__})") from None
    if not right:
        raise InvalidAnswerError(reason="it shows another item than was asked for")


def check_refusal(request: dict[str, Any], refusal: dict[str, Any]) -> None:
    """InvalidAnswerError where a refusal shows what are no items, or others than asked for."""
    take_rows(refusal)  # of somebody's hook, which answers past the parser
    check_shown(request, refusal)


def take_rows(refusal: dict[str, Any]) -> None:
    """Make rows of the items that a refusal shows; InvalidAnswerError where they are none."""
    items = [shown for shown in (refusal, *refusal.get("CancellationReasons", ())) if shown.get("Item") is not None]
    unfit = [shown for shown in items if not _take_row(shown)]  # none is left as it came, where a traceback would show it
    if unfit:
        raise InvalidAnswerError(reason="the item that it shows cannot be read")


def _take_row(shown: dict[str, Any]) -> bool:
    """Put a row in the place of the item that is shown; False, and nothing in its place, if it is none."""
    try:
        shown["Item"] = MaskedMap(row_of(shown["Item"]))
    except CodecError:
        shown["Item"] = None
    return shown["Item"] is not None


def read_other(parse: Callable[..., Any], answer: Answer, *how: Any) -> Any:
    """Read a refusal, or the answer of another operation, by one of botocore's parsers; InvalidAnswerError if it is none."""
    if answer.status_code < 500:  # behind those that follow is a gateway as often as DynamoDB, and all count as lost
        _checked(answer)
    try:
        if answer.status_code < 500 and answer.content:
            msgspec.json.decode(answer.content)  # botocore takes a refusal that it cannot read for one without a code
        return parse(*how)
    except (ResponseParserError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise InvalidAnswerError(reason=f"its body cannot be read ({type(error).__name__})") from None


def _checked(answer: Answer) -> str:
    """Give an answer's request id, if it has one and the right checksum."""
    checksum, request_id = answer.headers.get("x-amz-crc32"), answer.headers.get("x-amzn-requestid")
    if checksum is not None and checksum != str(crc32(answer.content)):
        raise InvalidAnswerError(reason="it does not match its checksum")
    if request_id is None:
        raise InvalidAnswerError(reason=f"it has no request id (status {answer.status_code})")
    return request_id


class Serializer:
    """Writes the requests of data operations in one step; others are written by the client's own serializer."""

    def __init__(self, serializer: Any) -> None:
        self._serializer = serializer

    def serialize_to_request(self, parameters: dict[str, Any], operation_model: Any) -> dict[str, Any]:
        """Write a request."""
        if not is_data_operation(operation_model.name):
            written: dict[str, Any] = self._serializer.serialize_to_request(parameters, operation_model)
            return written
        return {
            "url_path": "/",
            "query_string": "",
            "method": "POST",
            "headers": {
                "X-Amz-Target": f"DynamoDB_20120810.{operation_model.name}",
                "Content-Type": "application/x-amz-json-1.0",
            },
            "body": encode_request(parameters),
        }


class Agent:
    """The user agent, worked out once a client: botocore puts it together anew for every request."""

    def __init__(self, creator: Any) -> None:
        self._text: str = creator.to_string()

    def to_string(self) -> str:
        """Give the user agent."""
        return self._text


class Endpoints:
    """Endpoints as botocore's rules give them, kept for a table and a credential."""

    def __init__(self, resolver: Any, request_signer: Any) -> None:
        self._resolver, self._signer = resolver, request_signer
        self._kept: dict[tuple[Any, Any], Any] = {}

    def construct_endpoint(self, operation_model: Any, call_args: dict[str, Any], request_context: Any) -> Any:
        """Give the endpoint of a call. An account id in it goes with the credential."""
        if not is_data_operation(operation_model.name):
            return self._resolver.construct_endpoint(operation_model, call_args, request_context)
        credentials = self._signer._credentials  # noqa: SLF001
        key = (call_args.get("TableName"), credentials and credentials.get_frozen_credentials().access_key)
        found = self._kept.get(key)
        if found is None:
            found = self._resolver.construct_endpoint(operation_model, call_args, request_context)
            self._kept = {key: found}
        return found

    def auth_schemes_to_signing_ctx(self, auth_schemes: Any) -> Any:
        """Give how an endpoint's requests are signed."""
        return self._resolver.auth_schemes_to_signing_ctx(auth_schemes)


class _TimedReads(io.RawIOBase):
    """What arrives on a connection of botocore's, for as long as the call has time."""

    def __init__(self, connection: socket.socket, reads: io.RawIOBase) -> None:
        self._connection, self._reads = connection, reads

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Wait for the next piece."""
        self._connection.settimeout(time_left(until.get(), self._connection.gettimeout() or _FOREVER))
        return self._reads.readinto(buffer)

    def close(self) -> None:
        """Close what it reads from."""
        self._reads.close()
        super().close()


class _TimedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_TimedReads(sock, self.fp.detach()))


class _TimedConnection:
    """How botocore's connections are made to end at the deadline: urllib3 knows times for single reads alone."""

    response_class = _TimedResponse
    timeout: float

    def connect(self) -> None:
        try:
            self.timeout = time_left(until.get(), self.timeout)
        except TimeoutError as error:
            raise ConnectTimeoutError(str(error)) from None  # urllib3's own, by which botocore knows that nothing was sent
        super().connect()  # type: ignore[misc]  # mixed into botocore's classes


class _HTTPConnection(_TimedConnection, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _HTTPSConnection(_TimedConnection, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _HTTPPool(AWSHTTPConnectionPool):  # type: ignore[misc]
    ConnectionCls = _HTTPConnection


class _HTTPSPool(AWSHTTPSConnectionPool):  # type: ignore[misc]
    ConnectionCls = _HTTPSConnection


def _masking(send: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let what botocore's way of sending gives be shown by nobody who looks at it on its way, and fails there."""

    def sent(request: Any) -> Any:
        response = send(request)
        response._content = MaskedBytes(response.content)  # noqa: SLF001
        return response

    return sent


def install(client: Any) -> None:
    """Put the pieces into a client that botocore has no component for."""
    client._serializer = Serializer(client._serializer)  # noqa: SLF001
    client._user_agent_creator = Agent(client._user_agent_creator)  # noqa: SLF001
    if client._ruleset_resolver is not None:  # noqa: SLF001
        client._ruleset_resolver = Endpoints(client._ruleset_resolver, client._request_signer)  # noqa: SLF001
    session = client._endpoint.http_session  # noqa: SLF001
    session._pool_classes_by_scheme |= {"http": _HTTPPool, "https": _HTTPSPool}  # noqa: SLF001
    session.send = _masking(session.send)
