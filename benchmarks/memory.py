"""
Measure how memory grows while 100,000 listings are iterated.

``Listing.objects.query`` reads them from the canned server, page after page of 1 MB.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from importlib import import_module
from pathlib import Path

from . import environment, item, report, server, targets
from .peers import OURS
from .peers.base import Target
from .resident import resident_mb

COUNT, QUICK_COUNT = 100_000, 20_000
SETTLED = 5_000
"""From this item on growth counts: by then two pages and more have been seen, and everything is imported."""
STEP = 1_000


def iterate(endpoint: str, count: int) -> list[tuple[int, float]]:
    """Iterate, and give the resident memory in MB after every thousand items."""
    from mlssocial import Listing

    import_module(f"benchmarks.peers.{OURS}").Peer(Target(endpoint, item.TABLE)).connect()
    seen, samples = 0, []
    for _ in Listing.objects.query(item.USER_ID):
        seen += 1
        if seen % STEP == 0:
            samples.append((seen, resident_mb()))
    if seen != count:
        raise RuntimeError(f"{seen:,} items were iterated, and {count:,} are there")
    return samples


def table_of(samples: list[tuple[int, float]], seconds: float) -> report.Table:
    """Make the table, and say how the target came out."""
    settled = max(memory for seen, memory in samples if seen <= SETTLED)
    growth = max(memory for _, memory in samples) - settled
    limit = targets.MEMORY_GROWTH_MB
    shown = [sample for sample in samples if sample[0] in {STEP, SETTLED} or sample[0] % (samples[-1][0] // 5) == 0]
    return report.Table(
        f"Memory while {samples[-1][0]:,} listings are iterated",
        ["items", "memory MB"],
        [[f"{seen:,}", f"{memory:.1f}"] for seen, memory in shown],
        [
            f"in {seconds:.0f} s; the canned server makes each page when it is asked for",
            f"target: after the first {SETTLED:,}, growth of less than {limit} MB: {growth:.1f} MB {_outcome(growth, limit)}",
        ],
    )


def _outcome(growth: float, limit: float) -> str:
    return "met" if growth < limit else "MISSED"


def main() -> None:
    """Measure, and show the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--items", type=int, default=COUNT, help="how many (%(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_COUNT:,} items: to try things out")
    parser.add_argument("--markdown", type=Path, help="write the table and the machine's description to this file")
    options = parser.parse_args()
    machine = environment.describe("benchmarks.memory")
    os.environ.update(environment.clean())
    count = QUICK_COUNT if options.quick else options.items
    with server.running(count) as endpoint:
        started = time.perf_counter()
        samples = iterate(endpoint, count)
        table = table_of(samples, time.perf_counter() - started)
    sys.stdout.write(report.text([table]))
    if options.markdown:
        options.markdown.write_text(report.markdown([table], machine))


if __name__ == "__main__":
    main()
