"""
The pieces that are put into a botocore client: how data operations are written and read, whichever way they are sent.

Control-plane calls and errors stay on botocore's own path.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

from botocore.exceptions import HTTPClientError
from botocore.parsers import JSONParser, ResponseParserFactory

from .wire import decode_answer, encode_request, is_data_operation


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
        if response["status_code"] >= 300 or not is_data_operation(operation):
            return super().parse(response, shape)
        headers = {name.lower(): value for name, value in response["headers"].items()}
        return read_answer(operation, response["status_code"], headers, response["body"])


class InvalidAnswerError(HTTPClientError):  # type: ignore[misc]
    """What came with status 200 is no answer of DynamoDB's: to the retries it is a lost one."""

    fmt = "the answer is not DynamoDB's: {reason}"


def read_answer(operation: str, status: int, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """Read the answer of a data operation; InvalidAnswerError unless checksum, request id and JSON are right."""
    checksum, request_id = headers.get("x-amz-crc32"), headers.get("x-amzn-requestid")
    if checksum is not None and checksum != str(crc32(body)):
        raise InvalidAnswerError(reason="it does not match its checksum")
    if request_id is None:
        raise InvalidAnswerError(reason="it has no request id")
    try:
        parsed = decode_answer(operation, body)
    except ValueError as error:
        raise InvalidAnswerError(reason=f"its body cannot be read ({type(error).__name__})") from None
    parsed["ResponseMetadata"] = {
        "RequestId": request_id,
        "HTTPStatusCode": status,
        "HTTPHeaders": headers,
        "RetryAttempts": 0,
    }
    return parsed


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


def install(client: Any) -> None:
    """Put the pieces into a client that botocore has no component for."""
    client._serializer = Serializer(client._serializer)  # noqa: SLF001
    client._user_agent_creator = Agent(client._user_agent_creator)  # noqa: SLF001
    if client._ruleset_resolver is not None:  # noqa: SLF001
        client._ruleset_resolver = Endpoints(client._ruleset_resolver, client._request_signer)  # noqa: SLF001
