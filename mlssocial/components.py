"""
The pieces that are put into a botocore client: how data operations are written and read, whichever way they are sent.

Control-plane calls and errors stay on botocore's own path.
"""

from __future__ import annotations

from typing import Any

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
        parsed = decode_answer(operation, response["body"])
        parsed["ResponseMetadata"] = {
            "RequestId": response["headers"].get("x-amzn-requestid"),
            "HTTPStatusCode": response["status_code"],
            "HTTPHeaders": {name.lower(): value for name, value in response["headers"].items()},
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
