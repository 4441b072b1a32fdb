"""The demo, as a user runs it: in a process of its own, with nothing configured."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import mlssocial
from mlssocial import Listing
from mlssocial.cli.app import cli
from mlssocial.cli.patterns import PATTERNS
from mlssocial.connection import store
from mlssocial.settings import current

CONFIGURED = mlssocial.Settings(table_name="homes", endpoint_url="local:")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Give what a run in memory says as JSON, in a process that works on a table of its own."""
    mlssocial.configure(CONFIGURED)
    result = CliRunner().invoke(cli, ["demo", "--json"])
    assert (result.exit_code, result.stderr) == (0, "")
    document: dict[str, Any] = json.loads(result.stdout)
    return document | {"still configured": current() == CONFIGURED, "tables": store().call("ListTables", {})["TableNames"]}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Give the file of a run that is kept, and what it prints, in a process with nothing configured."""
    path = tmp_path_factory.mktemp("demo") / "demo.db"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLSSOCIAL_"))}
    command = [sys.executable, "-m", "mlssocial.cli", "demo", "--keep", str(path)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=inherited)
    assert (process.returncode, process.stderr) == (0, "")
    return path, process.stdout


@pytest.fixture
def shown(kept: tuple[Path, str]) -> str:
    """Give what a run prints."""
    return kept[1]


def test_answers_every_pattern(document: dict[str, Any]) -> None:
    """Each access pattern has its count of items, out of its index, in as few requests as it can."""
    answers = [(a["number"], a["index"], a["count"], a["requests"]) for a in document["patterns"]]
    assert answers == [
        (1, "table", 932, 1),
        (2, "GSI1", 1, 1),
        (3, "GSI2", 186, 1),
        (3, "GSI1", 1, 1),
        (4, "GSI1", 2, 1),
        (5, "table", 7, 1),
        (6, "table", 1, 1),
        (7, "table", 2, 1),
        (8, "GSI2", 2, 8),
        (9, "GSI2", 4, 8),
        (10, "GSI2", 3, 8),
        (0, "table", 1018, 1),
    ]


def test_sets_answers_against_each_other(document: dict[str, Any]) -> None:
    """The same question across tenants, in another status, or over all days has another count."""
    contrasts = [(a["number"], a["contrast"]["count"]) for a in document["patterns"] if "contrast" in a]
    assert contrasts == [(2, 2), (3, 93), (3, 1), (4, 3), (5, 30)]


def test_everything_of_a_user_has_every_type(document: dict[str, Any]) -> None:
    """One query gives all five entities, and the demo shows one of each."""
    everything = document["patterns"][-1]
    assert everything["types"] == {
        "Listing": 932,
        "PerformanceMetrics": 60,
        "MLSConnection": 2,
        "SocialPost": 20,
        "SocialConnection": 4,
    }
    assert [item["type"] for item in everything["items"]] == list(everything["types"])


def test_queues_are_in_order_and_across_users(document: dict[str, Any]) -> None:
    """Work queues give the most urgent first, of every user."""
    queues = {answer["number"]: [(item["userId"], item["key"]) for item in answer["items"]] for answer in document["patterns"]}
    assert queues[8] == [("anna", "MLS_CONNECTION#second-feed"), ("ben", "MLS_CONNECTION#demo-feed")]
    assert queues[9] == [
        ("anna", "SOCIAL#LINKEDIN"),
        ("anna", "SOCIAL#TWITTER"),
        ("anna", "SOCIAL#INSTAGRAM"),
        ("ben", "SOCIAL#FACEBOOK"),
    ]
    assert queues[10] == [("anna", f"POST#post-{number}") for number in ("01", "02", "05")]


def test_says_what_is_made_up(document: dict[str, Any], shown: str) -> None:
    """Nobody can take the made-up data for real."""
    assert "made up" in document["note"]
    assert shown.startswith(document["note"])


def test_shows_call_answer_and_cost(shown: str) -> None:
    """Each pattern is shown with its question, its call, its rows, its key condition and what it cost."""
    for pattern in PATTERNS:
        assert f" {pattern.title}  {pattern.question} " in shown
        assert f"│ {pattern.method}(" in shown
    assert "│ GSI1: GSI1PK = MLS#demo#08-0001 " in shown
    assert re.search(r"│ 4 items · 8 requests · \d+\.\d ms ", shown)
    assert re.search(r"│ ben +facebook +ben.homes ", shown)


def test_ends_with_a_summary(shown: str) -> None:
    """The last table has one line a pattern."""
    summary = shown[shown.rindex("access pattern") :].splitlines()
    assert [line.split()[0] for line in summary[2:14]] == [pattern.title for pattern in PATTERNS]
    assert re.search(r"12 questions; \d+\.\d s in all", shown)


def test_shows_no_token(document: dict[str, Any], shown: str) -> None:
    """Even a made-up token is masked."""
    assert "opens nothing" not in json.dumps(document) + shown


def test_keeps_the_table(kept: tuple[Path, str]) -> None:
    """A kept table is there for the other commands, as the last line says."""
    path, shown = kept
    assert shown.endswith(f"look around with: mlssocial --endpoint local:{path} show anna\n")
    mlssocial.configure(endpoint_url=f"local:{path}")
    assert Listing.objects.query("anna").count() == 932
    assert Listing.objects.get("anna", "demo-SAC-0001").gsi1sk == "STATUS#sold"


def test_makes_a_new_file_only(kept: tuple[Path, str]) -> None:
    """A file that is there is not touched."""
    path = kept[0]
    before = path.read_bytes()
    result = CliRunner().invoke(cli, ["demo", "--keep", str(path)])
    assert result.exit_code == 2
    assert "exists already; the demo makes a new file" in result.stderr
    assert path.read_bytes() == before


def test_leaves_what_is_configured_alone(document: dict[str, Any]) -> None:
    """The table that was in force is in force afterwards, and the demo's own is gone."""
    assert document["kept"] is None
    assert document["still configured"]
    assert "mlssocial-demo" not in document["tables"]


def test_runs_in_memory() -> None:
    """Without options it answers on the terminal, and names no file."""
    result = CliRunner().invoke(cli, ["demo"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("DynamoDB's go with the items that are found.\n")
