"""
The process that one peer runs in: a line of JSON in, a line of JSON out.

It begins by doing every operation once and comparing what it read with what is stored; an operation that fails there is left
out, with its reason. It ends when its standard input does.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import json
import os
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import item
from .peers.base import Peer, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

WARMING = 5
"""How many untimed gets come before each timing: a connection that was closed meanwhile is open again."""


class WrongAnswerError(Exception):
    """A peer decoded something else than what is stored."""


class Worker:
    """One peer, its five operations, and those that are left out."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.skipped: dict[str, str] = {}
        self._ids = [item.ids(number) for number in range(item.COUNT)]

    def check(self) -> None:
        """Do every operation once, writes first, and look at what was read."""
        for operation in ("put", "batch_write", "get", "query", "batch_get"):
            if reason := self.peer.missing(operation):
                self.skipped[operation] = reason
                continue
            try:
                self._compare(operation, self._call(operation, self._argument(operation, 0)))
            except Exception as error:  # noqa: BLE001  whatever a library raises, its row says so and the others go on
                self.skipped[operation] = " ".join(f"{type(error).__name__}: {error}".split())[:300]

    def measure(self, operation: str, times: int) -> dict[str, float]:
        """Time an operation; seconds of CPU (every thread's) and of wall clock for each of *times* calls."""
        arguments = [self._argument(operation, number % item.COUNT) for number in range(times)]
        if "get" not in self.skipped:
            for _ in range(WARMING):
                self._call("get", self._ids[0])
        gc.collect()
        method = getattr(self.peer, operation)
        cpu, wall = self.peer.run(_timed_async(method, arguments)) if self.peer.run else _timed(method, arguments)
        return {"cpu": cpu / times, "wall": wall / times}

    def _argument(self, operation: str, number: int) -> Any:
        match operation:
            case "put":
                return self.peer.ready(number)
            case "batch_write":
                return [self.peer.ready(each) for each in range(item.COUNT)]
            case "batch_get":
                return self._ids
            case _:
                return self._ids[0]

    def _call(self, operation: str, argument: Any) -> Any:
        method = getattr(self.peer, operation)
        return self.peer.run(method(argument)) if inspect.iscoroutinefunction(method) else method(argument)

    def _compare(self, operation: str, found: Any) -> None:
        if operation == "get":
            self._compare_views([self.peer.view(found)], 1)
        elif operation in {"query", "batch_get"}:
            self._compare_views([self.peer.view(each) for each in found], item.COUNT)

    def _compare_views(self, seen: list[item.View | None], count: int) -> None:
        if all(view is None for view in seen):
            return
        unknown_fields = self.peer.target.unknown_fields and self.peer.keeps_unknown
        wanted = [item.view(number, unknown_fields=unknown_fields) for number in range(count)]
        by_id = sorted((view for view in seen if view is not None), key=lambda view: view.listing_id)
        for have, want in zip(by_id, wanted, strict=True):
            if have != want:
                raise WrongAnswerError(f"{have} is not {want}")


def _timed(method: Callable[[Any], Any], arguments: list[Any]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for argument in arguments:
        method(argument)
    return time.process_time() - cpu, time.perf_counter() - wall


async def _timed_async(method: Callable[[Any], Coroutine[Any, Any, Any]], arguments: list[Any]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for argument in arguments:
        await method(argument)
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    """Make the peer, check it, and answer orders until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__)
    parser.add_argument("peer")
    parser.add_argument("endpoint")
    parser.add_argument("table")
    parser.add_argument("--unknown-fields", action="store_true")
    parser.add_argument("--engine", action="store_true", help="a real engine stands behind the endpoint")
    options = parser.parse_args()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    target = Target(options.endpoint, options.table, options.unknown_fields, not options.engine)
    peer: Peer = import_module(f"benchmarks.peers.{options.peer}").Peer(target)
    peer.connect()
    worker = Worker(peer)
    worker.check()
    answers.write(json.dumps({"skipped": worker.skipped}) + "\n")
    for line in sys.stdin:
        order = json.loads(line)
        answers.write(json.dumps(worker.measure(order["operation"], order["times"])) + "\n")
    os._exit(0)  # no library's farewell is waited for


if __name__ == "__main__":
    main()
