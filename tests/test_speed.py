"""A guard on speed: ratios against PynamoDB in the same process. The full measure, with all peers, is ``make bench``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A process of its own, since moto, once imported, stands on the way of every request.
# There is no proxy in it, and no coverage to slow it.
MEASURE = """
import gc, json, time
from benchmarks import item, server
from benchmarks.peers import mlssocial, pynamodb_typed
from benchmarks.peers.base import Target

ROUNDS = 4
ids = item.ids(0)
with server.running() as endpoint:
    peers = {}
    for name, module in (("ours", mlssocial), ("pynamodb", pynamodb_typed)):
        peers[name] = module.Peer(Target(endpoint, item.TABLE))
        peers[name].connect()

    def cpu(peer, operation, times):
        gc.collect()
        started = time.process_time()
        for _ in range(times):
            getattr(peer, operation)(ids)
        return (time.process_time() - started) / times

    wanted = [item.view(number) for number in range(item.COUNT)]
    same = {name: list(map(peer.view, peer.query(ids))) == wanted for name, peer in peers.items()}
    best = {}
    for operation, times in (("query", 1), ("get", 60)):
        rounds = [{name: cpu(peer, operation, times) for name, peer in peers.items()} for _ in range(1 + ROUNDS)]
        best[operation] = {name: min(one[name] for one in rounds) for name in peers}
    print(json.dumps({"same": same, "best": best}))
"""


@pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="the benchmarks are not there")
def test_ratios_against_pynamodb() -> None:
    """A query of 1,000 listings costs less than an eighth of PynamoDB's CPU, a get less than a third; both read the same."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "HTTP", "http"))}
    command = [sys.executable, "-c", MEASURE]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    ratios = {operation: best["pynamodb"] / best["ours"] for operation, best in measured["best"].items()}
    assert measured["same"] == {"ours": True, "pynamodb": True}
    assert ratios["query"] >= 8, measured["best"]
    assert ratios["get"] >= 3, measured["best"]
