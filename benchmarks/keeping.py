"""
A server that keeps what is put into it: for imports, which read what they have written.

Like the canned one it looks at as little as it can: keys, and items as bytes. It checks no condition, and finds nothing by a
query. It writes to standard output, when its input ends, how many requests of each operation it has had.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import sys
from collections import Counter
from threading import Thread

import msgspec

from .server import Canned, _answer, serve

_SK = re.compile(rb'"SK"\s*:\s*\{\s*"S"\s*:\s*"([^"]+)"')


class _Put(msgspec.Struct):
    Item: msgspec.Raw


class _Batch(msgspec.Struct):
    RequestItems: dict[str, list[dict[str, _Put]]]


_put, _batch = msgspec.json.Decoder(_Put), msgspec.json.Decoder(_Batch)


class Keeping(Canned):
    """Items by sort key: all are one user's."""

    def __init__(self) -> None:
        super().__init__(0)
        self.items: dict[bytes, bytes] = {}
        self.counts: Counter[bytes] = Counter()
        self.operations |= {
            b"putitem": self._take,
            b"batchwriteitem": self._take_many,
            b"batchgetitem": self._give,
            b"query": lambda _: _answer(b'{"Count":0,"Items":[],"ScannedCount":0}'),
        }

    def answer(self, operation: bytes, body: bytes) -> bytes:
        """Give the whole response to a request, and count it."""
        self.counts[operation] += 1
        return super().answer(operation, body)

    def _take(self, body: bytes) -> bytes:
        self._keep(_put.decode(body).Item)
        return self._empty

    def _take_many(self, body: bytes) -> bytes:
        for requests in _batch.decode(body).RequestItems.values():
            for request in requests:
                self._keep(request["PutRequest"].Item)
        return self._written

    def _keep(self, item: msgspec.Raw) -> None:
        content = bytes(item)
        found = _SK.search(content)
        if found is not None:
            self.items[found[1]] = content

    def _give(self, body: bytes) -> bytes:
        (table,) = json.loads(body)["RequestItems"]
        found = [self.items[key] for key in _SK.findall(body) if key in self.items]
        return _answer(b'{"Responses":{"' + table.encode() + b'":[' + b",".join(found) + b']},"UnprocessedKeys":{}}')


def main() -> None:
    """Serve on a free port of 127.0.0.1, and write it to standard output."""
    argparse.ArgumentParser(prog="python -m benchmarks.keeping", description=__doc__).parse_args()
    keeping = Keeping()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=serve, args=(keeping, listener), daemon=True).start()
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        sys.stdin.read()
        sys.stdout.write(json.dumps({name.decode(): count for name, count in keeping.counts.items()}))


if __name__ == "__main__":
    main()
