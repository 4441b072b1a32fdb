"""The floor: requests made beforehand over a bare socket, answers received whole and not looked into."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks import item

from . import base

if TYPE_CHECKING:
    from benchmarks.item import Ids

_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")
_RECEIVE_BYTES = 1 << 18


class Ready(NamedTuple):
    """An item's JSON, and the whole request that puts it."""

    put: bytes
    item: bytes


class Peer(base.Peer):
    """One socket to the canned server; it signs nothing, so no engine would answer it."""

    def missing(self, operation: str) -> str | None:  # noqa: ARG002  all of them or none
        return None if self.target.canned else "the floor signs nothing; it is for the canned server"

    def connect(self) -> None:
        if not self.target.canned:
            return
        url = urlsplit(self.target.endpoint)
        self.socket = socket.create_connection((url.hostname or "", url.port or 80), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keys = [{"PK": {"S": each.pk}, "SK": {"S": each.sk}} for each in map(item.ids, range(item.COUNT))]
        table = self.target.table
        self._get = _json_request("GetItem", {"TableName": table, "Key": keys[0]})
        first = {"TableName": table, "KeyConditionExpression": "PK = :pk", "ExpressionAttributeValues": {":pk": keys[0]["PK"]}}
        self._pages = [
            _json_request("Query", first),
            _json_request("Query", first | {"ExclusiveStartKey": keys[item.PAGE - 1]}),
        ]
        self._keys = [
            _json_request("BatchGetItem", {"RequestItems": {table: {"Keys": list(chunk)}}})
            for chunk in base.chunks(keys, base.GET_LIMIT)
        ]

    def ready(self, number: int) -> Ready:
        content = item.wire_json(self.item(number))
        table = json.dumps(self.target.table).encode()
        return Ready(_request("PutItem", b'{"TableName":' + table + b',"Item":' + content + b"}"), content)

    def get(self, ids: Ids) -> bytes:  # noqa: ARG002  the request is made already
        return self._send(self._get)

    def put(self, ready: Ready) -> bytes:
        return self._send(ready.put)

    def query(self, ids: Ids) -> list[bytes]:  # noqa: ARG002
        return [self._send(request) for request in self._pages]

    def batch_write(self, ready: list[Ready]) -> list[bytes]:
        start, end = b'{"RequestItems":{"' + self.target.table.encode() + b'":[{"PutRequest":{"Item":', b"}}]}}"
        bodies = (
            start + b'}},{"PutRequest":{"Item":'.join(made.item for made in chunk) + end
            for chunk in base.chunks(ready, base.WRITE_LIMIT)
        )
        return [self._send(_request("BatchWriteItem", body)) for body in bodies]

    def batch_get(self, ids: list[Ids]) -> list[bytes]:  # noqa: ARG002
        return [self._send(request) for request in self._keys]

    def view(self, found: Any) -> None:  # noqa: ARG002
        return None

    def _send(self, request: bytes) -> bytes:
        self.socket.sendall(request)
        received = self.socket.recv(_RECEIVE_BYTES)
        head, _, body = received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        missing = int(length[1]) - len(body) if length else 0
        chunks = [body]
        while missing > 0:
            chunks.append(self.socket.recv(_RECEIVE_BYTES))
            missing -= len(chunks[-1])
        return b"".join(chunks)


def _json_request(operation: str, members: dict[str, Any]) -> bytes:
    return _request(operation, json.dumps(members).encode())


def _request(operation: str, body: bytes) -> bytes:
    target = f"X-Amz-Target: DynamoDB_20120810.{operation}"
    return f"POST / HTTP/1.1\r\nHost: localhost\r\n{target}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
