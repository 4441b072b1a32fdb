"""Engines: every test that asks for ``table`` runs on each of them, with a fresh table."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from moto import mock_aws

import mlssocial
from mlssocial.connection import store
from mlssocial.wire import plain_row

ENDPOINT = os.environ.get("MLSSOCIAL_TEST_ENDPOINT_URL")
ENGINES = ["moto", "embedded", *(["endpoint"] if ENDPOINT else [])]
TOKEN_KEY = "bWxzc29jaWFsLCBhIGtleSB0aGF0IHRlc3RzIHVzZSE="
SHARED = Path(__file__).parents[2] / "shared"

# Where a shell started this run in the background SIGINT is ignored, here and in every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("ci", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# For seeded faults: one failure is enough, and the smallest example of it takes minutes.
settings.register_profile("unshrunk", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("ci")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees this machine's AWS or mlssocial configuration."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "MLSSOCIAL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("MLSSOCIAL_TOKEN_KEYS", f"test={TOKEN_KEY}")
    monkeypatch.setattr("mlssocial.settings._settings", None)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the name of an engine that is configured, and has no table yet."""
    name = f"homes-{uuid.uuid4().hex[:12]}"
    if request.param == "moto":
        with mock_aws():
            mlssocial.configure(table_name=name, region="us-east-1")
            yield "moto"
    elif request.param == "embedded":
        mlssocial.configure(table_name=name, endpoint_url="local:")
        yield "embedded"
    else:
        mlssocial.configure(table_name=name, region="us-east-1", endpoint_url=ENDPOINT)
        yield "endpoint"


@pytest.fixture
def table(engine: str) -> Iterator[str]:
    """Give the name of an engine with a fresh table in it."""
    mlssocial.create_table()
    yield engine
    if engine != "moto":
        store().call("DeleteTable", {"TableName": store().table_name})


@pytest.fixture(scope="session")
def golden() -> list[dict[str, Any]]:
    """Give the items that the other application stored."""
    path = SHARED / "golden" / "typescript-items.json"
    if not path.exists():
        pytest.skip("the golden items are not part of the project; ../shared is missing")
    items: list[dict[str, Any]] = json.loads(path.read_text())
    return items


class Tally:
    """Counts what a test has tried, for the summary at the end of the run."""

    def __init__(self, node: pytest.Item) -> None:
        self._counts: Counter[str] = Counter()
        self._node = node

    def __call__(self, **counts: int) -> None:
        """Add to counts, by what they count."""
        self._counts.update(counts)
        others = [entry for entry in self._node.user_properties if entry[0] != "tally"]
        self._node.user_properties[:] = [*others, ("tally", dict(self._counts))]  # they cross from xdist's workers


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Give what counts the operations, faults and races that a test tries."""
    return Tally(request.node)


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> bool:
    """Tell whether the tests run at large size."""
    return bool(request.config.getoption("--soak"))


def put_raw(item: dict[str, Any]) -> None:
    """Store an item as another application would, past this project's write engine."""
    store().call("PutItem", {"TableName": store().table_name, "Item": item})


def get_raw(pk: str, sk: str) -> dict[str, Any] | None:
    """Read an item's attribute values as they are stored."""
    key = {"PK": {"S": pk}, "SK": {"S": sk}}
    answer = store().call("GetItem", {"TableName": store().table_name, "Key": key, "ConsistentRead": True})
    return plain_row(answer["Item"]) if "Item" in answer else None
