"""
Measure a cold import with a first client, in fresh processes that take turns.

The import is that of a peer's module, with the models that it declares; then its client is made. Nothing is sent.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from . import environment, report, targets
from .peers import LABELS, OURS

if TYPE_CHECKING:
    from collections.abc import Iterable

ROUNDS, QUICK_ROUNDS = 9, 3
EMPTY = "python (empty)"
YARDSTICK = "pynamodb_pydantic"
LEFT_OUT = ("floor",)
PATIENCE_SECONDS = 60

# What a fresh process runs. Python's own start is before the first line, and in no figure but the memory.
SCRIPT = """
import sys, time
begun = imported = time.process_time(), time.perf_counter()
if len(sys.argv) > 1:
    from importlib import import_module
    from benchmarks.peers.base import Target
    made = import_module("benchmarks.peers." + sys.argv[1]).Peer(Target("http://127.0.0.1:9", "benchmark"))
    imported = time.process_time(), time.perf_counter()
    made.connect()
ended, modules = (time.process_time(), time.perf_counter()), len(sys.modules)
from benchmarks.resident import resident_mb
resident = resident_mb()
import json, os
seconds = imported[0] - begun[0], ended[0] - imported[0], ended[1] - begun[1]
print(json.dumps([*(1000 * each for each in seconds), modules, resident]), flush=True)
os._exit(0)
"""


@dataclass
class Runs:
    """What one peer's processes measured."""

    values: list[list[float]] = field(default_factory=list)

    def median(self, column: int) -> float:
        """Give a column's median."""
        return median(run[column] for run in self.values)

    @property
    def cpu(self) -> float:
        """The median of import and client together."""
        return median(self.totals)

    @property
    def totals(self) -> list[float]:
        """Import and client together, run by run."""
        return [run[0] + run[1] for run in self.values]


def measure(peers: Iterable[str], rounds: int) -> dict[str, Runs]:
    """Start each peer's processes, in turns; a first turn, not counted, fills the caches."""
    found = {name: Runs() for name in ("", *peers)}
    for number in range(rounds + 1):
        sys.stderr.write(f"round {number} of {rounds}\n")
        for name, runs in found.items():
            values = _once(name)
            if number:
                runs.values.append(values)
    return found


def table_of(found: dict[str, Runs]) -> report.Table:
    """Make the table, and say how the target came out."""
    rows = [[LABELS.get(name, EMPTY), *_cells(runs)] for name, runs in found.items()]
    rounds = len(found[""].values)
    notes = [f"medians of {rounds} fresh processes each; modules and memory include Python's own", *_verdict(found)]
    head = ["peer", "import CPU ms", "client CPU ms", "together", "wall ms", "modules", "memory MB"]
    return report.Table("Cold import with a first client", head, rows, notes)


def _cells(runs: Runs) -> list[str]:
    times = (runs.median(0), runs.median(1), runs.cpu, runs.median(2))
    return [*map(report.figure, times), f"{runs.median(3):.0f}", f"{runs.median(4):.1f}"]


def _once(peer: str) -> list[float]:
    command = [sys.executable, "-c", SCRIPT, *([peer] if peer else [])]
    run = subprocess.run(
        command, cwd=environment.ROOT, env=environment.clean(), capture_output=True, check=True, timeout=PATIENCE_SECONDS
    )
    values: list[float] = json.loads(run.stdout)
    return values


def _verdict(found: dict[str, Runs]) -> list[str]:
    if OURS not in found or YARDSTICK not in found:
        return []
    reached = median(map(float.__truediv__, found[OURS].totals, found[YARDSTICK].totals))
    limit = targets.COLD_OF_PYNAMODB_PYDANTIC
    outcome = "met" if reached <= limit else "MISSED"
    return [f"target: at most {limit:.2f} of {LABELS[YARDSTICK]}'s CPU: {reached:.2f} {outcome} (median of pairs)"]


def main() -> None:
    """Measure, and show the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how many processes each (%(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} processes each: to try things out")
    parser.add_argument("--markdown", type=Path, help="write the table and the machine's description to this file")
    options = parser.parse_args()
    machine = environment.describe("benchmarks.cold")
    peers = [name for name in LABELS if name not in LEFT_OUT]
    table = table_of(measure(peers, QUICK_ROUNDS if options.quick else options.rounds))
    sys.stdout.write(report.text([table]))
    if options.markdown:
        options.markdown.write_text(report.markdown([table], machine))


if __name__ == "__main__":
    main()
