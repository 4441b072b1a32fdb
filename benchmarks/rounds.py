"""The measuring: a process a peer, taking turns, and what comes of their rounds."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import IO, TYPE_CHECKING, Any, cast

from . import engine, environment, item, server
from .peers import LABELS, OURS
from .peers.base import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .targets import Ratios

PER_CALL = {"get": 1, "put": 1, "query": item.COUNT, "batch_write": item.COUNT, "batch_get": item.COUNT}
"""What a call's time is divided by: items, but for get and put."""

PATIENCE_SECONDS = 120
"""How long a worker may take to start, or for one measurement."""


class WorkerFailedError(Exception):
    """A worker ended, or did not answer in time."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: *times* is how many gets and puts a round has; without *endpoint* it is the canned server."""

    peers: list[str]
    operations: list[str]
    rounds: int
    times: int
    endpoint: str | None = None
    unknown_fields: bool = False


@dataclass
class Series:
    """What was measured of one peer and operation, a value a round, in microseconds a call or an item."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


@dataclass
class Results:
    """Everything that was measured, by peer and operation, and why some of it was not."""

    series: dict[tuple[str, str], Series] = field(default_factory=lambda: defaultdict(Series))
    skipped: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, peer: str, operation: str, seconds: dict[str, float]) -> None:
        """Keep one measurement."""
        series, factor = self.series[peer, operation], 1e6 / PER_CALL[operation]
        series.cpu.append(seconds["cpu"] * factor)
        series.wall.append(seconds["wall"] * factor)

    def skip(self, peer: str, operation: str, reason: str) -> None:
        """Leave a cell out, and forget what was measured of it."""
        self.series.pop((peer, operation), None)
        self.skipped[peer, operation] = reason

    def ratios(self, clock: str) -> Ratios:
        """Divide each peer's rounds by ours, and give the medians."""
        return {
            (peer, operation): median(map(float.__truediv__, getattr(series, clock), getattr(ours, clock)))
            for (peer, operation), series in self.series.items()
            if (ours := self.series.get((OURS, operation))) is not None
        }


class Worker:
    """One peer's process, and the line that leads to it."""

    def __init__(self, peer: str, endpoint: str, table: str, plan: Plan) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", peer, endpoint, table]
        command += ["--unknown-fields"] * plan.unknown_fields + ["--engine"] * bool(plan.endpoint)
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
        self._process = subprocess.Popen(command, cwd=environment.ROOT, env=environment.clean(), **pipes)
        self._orders, self._answers = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)

    def ask(self, operation: str, times: int) -> dict[str, Any]:
        """Have an operation timed."""
        order = json.dumps({"operation": operation, "times": times}) + "\n"
        try:
            self._orders.write(order.encode())
        except BrokenPipeError:
            raise WorkerFailedError("its process has ended") from None
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Wait for an answer, though not for ever."""
        ready, _, _ = select.select([self._answers], [], [], PATIENCE_SECONDS)
        if not ready:
            self.kill()
            raise WorkerFailedError(f"no answer in {PATIENCE_SECONDS} s")
        line = self._answers.readline()
        if not line:
            raise WorkerFailedError("its process has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def measure(plan: Plan) -> Results:
    """Start the peers, let them take turns, and end them."""
    results = Results()
    with _tables(plan) as (endpoint, tables), ExitStack() as stack:
        workers = {peer: Worker(peer, endpoint, tables[peer], plan) for peer in plan.peers}
        for worker in workers.values():
            stack.callback(worker.kill)
        for peer, worker in workers.items():
            _progress(f"checking {LABELS[peer]}")
            _check(results, peer, worker)
        for number in range(plan.rounds):
            _progress(f"round {number + 1} of {plan.rounds}")
            _round(results, workers, plan, number)
    return results


@contextmanager
def _tables(plan: Plan) -> Iterator[tuple[str, dict[str, str]]]:
    """Give the endpoint, and each peer's table there."""
    if plan.endpoint:
        _progress("making and filling the tables")
        with engine.tables(plan.endpoint, plan.peers, unknown_fields=plan.unknown_fields) as tables:
            yield plan.endpoint, tables
    else:
        with server.running(unknown_fields=plan.unknown_fields) as endpoint:
            yield endpoint, dict.fromkeys(plan.peers, item.TABLE)


def _check(results: Results, peer: str, worker: Worker) -> None:
    try:
        skipped = worker.answer()["skipped"]
    except WorkerFailedError as error:
        skipped = dict.fromkeys(OPERATIONS, str(error))
    for operation, reason in skipped.items():
        results.skip(peer, operation, reason)


def _round(results: Results, workers: dict[str, Worker], plan: Plan, number: int) -> None:
    """Measure every cell once; another peer begins in each round."""
    first = number % len(plan.peers)
    for operation in plan.operations:
        for peer in plan.peers[first:] + plan.peers[:first]:
            if (peer, operation) in results.skipped:
                continue
            try:
                results.add(peer, operation, workers[peer].ask(operation, plan.times if PER_CALL[operation] == 1 else 1))
            except WorkerFailedError as error:
                results.skip(peer, operation, str(error))


def _progress(text: str) -> None:
    sys.stderr.write(f"{text}\n")
