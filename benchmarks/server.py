"""
A canned DynamoDB: answers made beforehand, so that what is measured is the client.

It looks at as little of a request as it can: the operation, the keys that are asked for, where a query goes on. It checks no
signature and no condition, and stores nothing. It ends when its standard input does, so it never outlives whoever started it.
Needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from zlib import crc32

from . import item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
RECEIVE_BYTES = 1 << 18

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")
_OPERATION = re.compile(rb"\r\nx-amz-target: *dynamodb_\d+\.(\w+)")
_LISTING = re.compile(rb"LISTING#listing-(\d+)")
_START = re.compile(rb'"ExclusiveStartKey".*?LISTING#listing-(\d+)', re.DOTALL)
_BATCH_TABLE = re.compile(rb'"RequestItems"\s*:\s*\{\s*"([^"]+)"')


class Canned:
    """
    The answers.

    *count* items are in the table. Pages behind the usual thousand are made when they are asked for.
    """

    def __init__(self, count: int = item.COUNT, *, unknown_fields: bool = False) -> None:
        self._count = count
        self._unknown_fields = unknown_fields
        self._item = lru_cache(maxsize=2 * item.COUNT)(self._make_item)
        self._page = lru_cache(maxsize=4)(self._make_page)
        self._get = lru_cache(maxsize=item.COUNT)(lambda number: _answer(b'{"Item":' + self._item(number) + b"}"))
        self._updated = lru_cache(maxsize=item.COUNT)(lambda number: _answer(b'{"Attributes":' + self._item(number) + b"}"))
        self._found = lru_cache(maxsize=64)(self._make_found)
        self._empty = _answer(b"{}")
        self._written = _answer(b'{"UnprocessedItems":{}}')
        self.operations: dict[bytes, Callable[[bytes], bytes]] = {
            b"getitem": lambda body: self._get(_number(body)),
            b"putitem": lambda _: self._empty,
            b"deleteitem": lambda _: self._empty,
            b"updateitem": lambda body: self._updated(_number(body)) if b"ALL_NEW" in body else self._empty,
            b"query": self._query,
            b"batchgetitem": self._batch_get,
            b"batchwriteitem": lambda _: self._written,
        }

    def answer(self, operation: bytes, body: bytes) -> bytes:
        """Give the whole response to a request."""
        known = self.operations.get(operation)
        if known is None:
            return _answer(b'{"__type":"com.amazon.coral.service#UnknownOperationException"}', b"400 Bad Request")
        return known(body)

    def warm(self) -> None:
        """Make the usual answers before they are asked for."""
        self._page(0)
        self._page(item.PAGE)

    def _query(self, body: bytes) -> bytes:
        start = _START.search(body)
        return self._page(int(start[1]) + 1 if start else 0)

    def _batch_get(self, body: bytes) -> bytes:
        table = _BATCH_TABLE.search(body)
        return self._found(table[1] if table else b"", tuple(map(int, _LISTING.findall(body))))

    def _make_item(self, number: int) -> bytes:
        return item.wire_json(item.item(number, unknown_fields=self._unknown_fields))

    def _make_page(self, start: int) -> bytes:
        end = min(start + item.PAGE, self._count)
        count = b"%d" % (end - start)
        more = b',"LastEvaluatedKey":' + _key_json(end - 1) if end < self._count else b""
        items = b",".join(map(self._item, range(start, end)))
        return _answer(b'{"Count":' + count + b',"Items":[' + items + b"]" + more + b',"ScannedCount":' + count + b"}")

    def _make_found(self, table: bytes, numbers: tuple[int, ...]) -> bytes:
        items = b",".join(map(self._item, numbers))
        return _answer(b'{"Responses":{"' + table + b'":[' + items + b']},"UnprocessedKeys":{}}')


def serve(canned: Canned, listener: socket.socket) -> None:
    """Answer every connection in a thread of its own, for ever."""
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Thread(target=_talk, args=(canned, connection), daemon=True).start()


@contextmanager
def running(count: int = item.COUNT, *, unknown_fields: bool = False) -> Iterator[str]:
    """Start the server in a process of its own, and give its endpoint; it ends with the block."""
    command = [sys.executable, "-m", "benchmarks.server", "--count", str(count)]
    if unknown_fields:
        command.append("--unknown-fields")
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or not (port := process.stdout.readline().strip()):
                raise RuntimeError("the canned server did not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def _talk(canned: Canned, connection: socket.socket) -> None:
    received = b""
    with connection:
        while True:
            while (end := received.find(b"\r\n\r\n")) < 0:
                chunk = connection.recv(RECEIVE_BYTES)
                if not chunk:
                    return
                received += chunk
            head, body = received[:end].lower(), received[end + 4 :]
            length = int(_group(_LENGTH, head) or 0)
            if len(body) < length:
                body = _rest(connection, body, length)
            received = body[length:]
            try:
                connection.sendall(canned.answer(_group(_OPERATION, head), body[:length]))
            except OSError:  # the client has gone
                return


def _rest(connection: socket.socket, body: bytes, length: int) -> bytes:
    chunks, missing = [body], length - len(body)
    while missing > 0 and (chunk := connection.recv(RECEIVE_BYTES)):
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)


def _answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    """Make a whole response, with the headers that DynamoDB sends and clients look at."""
    head = (
        b"HTTP/1.1 %b\r\nServer: Server\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n"
        b"Connection: keep-alive\r\nx-amzn-RequestId: 5F0C3N7TTPHFA2QJQ0B3V8R1PVVV4KQNSO5AEMVJF66Q9ASUAAJG\r\n"
        b"x-amz-crc32: %d\r\n\r\n"
    )
    return head % (status, len(body), crc32(body)) + body


def _key_json(number: int) -> bytes:
    ids = item.ids(number)
    return item.wire_json({"PK": ids.pk, "SK": ids.sk})


def _number(body: bytes) -> int:
    return int(_group(_LISTING, body) or 0)


def _group(pattern: re.Pattern[bytes], text: bytes) -> bytes:
    found = pattern.search(text)
    return found[1] if found else b""


def main() -> None:
    """Serve on a free port of 127.0.0.1, and write it to standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    parser.add_argument("--count", type=int, default=item.COUNT, help="how many items a query finds")
    parser.add_argument("--unknown-fields", action="store_true", help="two fields in each item that the model does not know")
    options = parser.parse_args()
    canned = Canned(options.count, unknown_fields=options.unknown_fields)
    canned.warm()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=serve, args=(canned, listener), daemon=True).start()
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
