"""
Measure this project beside its peers: get, put, query, batch write and batch get of the same listings.

Every peer runs in a process of its own; the processes take turns, operation by operation and round by round. The main figure is
the client's CPU time, all threads, user and system. Ratios are taken inside each round, and their median is shown.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from . import environment, report, targets
from .peers import LABELS, OURS
from .peers.base import OPERATIONS
from .rounds import Plan, Results, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .targets import Ratios

ROUNDS, TIMES = 9, 300
QUICK_ROUNDS, QUICK_TIMES = 3, 60


def tables_of(results: Results, plan: Plan) -> list[report.Table]:
    """Make the table of figures, and the one of targets."""
    clock = "wall" if plan.endpoint else "cpu"
    ratios = results.ratios(clock)
    rows = [[LABELS[peer], *(_cell(results, ratios, peer, name) for name in plan.operations)] for peer in plan.peers]
    what = "wall time" if plan.endpoint else "CPU"
    place = "a real engine" if plan.endpoint else "the canned server"
    variant = ", two unknown fields in each item" if plan.unknown_fields else ""
    figures = report.Table(
        f"Client CPU (and wall time) in µs against {place}{variant}, and the ratio to mlssocial",
        ["peer", *map(_words, plan.operations)],
        rows,
        [
            "get and put: a call. query, batch write and batch get: an item of 1,000. Medians of the rounds.",
            f"ratio: the peer's {what} divided by mlssocial's, median of {plan.rounds} pairs",
            *_reasons(results, plan),
        ],
    )
    return [figures, *_targets(ratios, plan)]


def as_json(results: Results, machine: dict[str, str]) -> str:
    """Write every round's figures, for whoever wants to look closer."""
    cpu, wall = results.ratios("cpu"), results.ratios("wall")
    cells = [
        {
            "peer": peer,
            "operation": name,
            **asdict(series),
            "cpu_ratio": cpu.get((peer, name)),
            "wall_ratio": wall.get((peer, name)),
        }
        for (peer, name), series in results.series.items()
    ]
    skipped = [{"peer": peer, "operation": name, "reason": reason} for (peer, name), reason in results.skipped.items()]
    unit = "microseconds a call (get, put) or an item (query, batches), one value a round"
    return json.dumps({"machine": machine, "unit": unit, "cells": cells, "skipped": skipped}, indent=1) + "\n"


def _cell(results: Results, ratios: Ratios, peer: str, operation: str) -> str:
    series = results.series.get((peer, operation))
    if series is None:
        return "-"
    cpu, wall, ratio = median(series.cpu), median(series.wall), ratios.get((peer, operation))
    times = "" if ratio is None else report.ratio(ratio)
    return f"{report.figure(cpu)} {f'({report.figure(wall)})':>8} {times:>6}"


def _reasons(results: Results, plan: Plan) -> list[str]:
    by_reason: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (peer, operation), reason in results.skipped.items():
        if operation in plan.operations:
            by_reason[peer, reason].append(_words(operation))
    return [f"{LABELS[peer]}: {', '.join(names)} left out: {reason}" for (peer, reason), names in by_reason.items()]


def _targets(ratios: Ratios, plan: Plan) -> list[report.Table]:
    wanted, title = targets.CANNED, "Targets: the peer's CPU divided by mlssocial's"
    if plan.endpoint:
        wanted = {} if plan.unknown_fields else targets.ENGINE  # none is set for the two together
        title = "Target: the peer's wall time divided by mlssocial's"
    elif plan.unknown_fields:
        wanted, title = targets.UNKNOWN_FIELDS, f"{title}, two unknown fields in each item"
    peers = [peer for peer in wanted if peer in plan.peers]
    if OURS not in plan.peers or not peers:
        return []
    rows = [
        [LABELS[peer], *(_verdict(wanted[peer].get(name), ratios.get((peer, name))) for name in plan.operations)]
        for peer in peers
    ]
    return [report.Table(title, ["peer", *map(_words, plan.operations)], rows)]


def _verdict(target: float | None, reached: float | None) -> str:
    if target is None:
        return ""
    if reached is None:
        return f"≥ {target:g}: not measured"
    return f"≥ {target:g}: {reached:.2f} {'met' if reached >= target else 'MISSED'}"


def _words(operation: str) -> str:
    return operation.replace("_", " ")


def _some_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    names = list(known)

    def parse(text: str) -> list[str]:
        asked = text.split(",")
        if unknown := sorted(set(asked) - set(names)):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(names)}")
        return [name for name in names if name in asked]

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, help=f"how many rounds ({ROUNDS})")
    add("--times", type=int, help=f"how many gets and puts a round has ({TIMES})")
    add("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds of {QUICK_TIMES}: to try things out, not to publish")
    add("--peers", type=_some_of(LABELS), default=list(LABELS), help=f"some of {','.join(LABELS)}")
    add("--operations", type=_some_of(OPERATIONS), default=list(OPERATIONS), help=f"some of {','.join(OPERATIONS)}")
    add("--endpoint", help="a real engine, such as http://localhost:8000; tables are made there, and removed at the end")
    add("--unknown-fields", action="store_true", help="two fields in each item that the models do not know")
    add("--json", type=Path, help="write every round's figures to this file")
    add("--markdown", type=Path, help="write the tables and the machine's description to this file")
    return parser


def main() -> None:
    """Measure, and show the tables."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers are ended, and tables removed
    options = _parser().parse_args()
    plan = Plan(
        options.peers,
        options.operations,
        options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS),
        options.times or (QUICK_TIMES if options.quick else TIMES),
        options.endpoint,
        options.unknown_fields,
    )
    machine = environment.describe("benchmarks.run")
    results = measure(plan)
    tables = tables_of(results, plan)
    sys.stdout.write(report.text(tables))
    if options.json:
        options.json.write_text(as_json(results, machine))
    if options.markdown:
        options.markdown.write_text(report.markdown(tables, machine))


if __name__ == "__main__":
    main()
