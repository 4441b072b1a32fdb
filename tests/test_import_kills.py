"""Imports whose process is killed amid its work, again and again: they go on, lose nothing, and do nothing twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mlssocial
from mlssocial import Item, ListingData, PostStatus, SocialPost, SocialPostData
from mlssocial.codec import dump
from mlssocial.connection import store
from mlssocial.reso import Server, import_feed
from mlssocial.settings import current

from .conftest import ENDPOINT, Tally, put_raw
from .resoserver import Api, serving
from .test_kills import version
from .test_reso_importing import house

# Windows of a few records, so that there are many moments to be killed at.
CODE = """
import sys
import mlssocial.reso.importing
from mlssocial.cli.app import cli

mlssocial.reso.importing.WINDOW = 7
cli(sys.argv[1:], prog_name="mlssocial")
"""
NAMES = ("--user", "u1", "--provider", "flexmls", "--workers", "3")


@pytest.fixture(params=["file", *(["endpoint"] if ENDPOINT else [])])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """Give the options of a table that several processes can reach."""
    name = f"homes-{uuid.uuid4().hex[:12]}"
    url = ENDPOINT if request.param == "endpoint" else f"local:{tmp_path / 'homes.db'}"
    mlssocial.configure(table_name=name, endpoint_url=url, region="us-east-1")
    mlssocial.create_table()
    yield ["--endpoint", str(url), "--table", name, "--region", "us-east-1"]
    if request.param == "endpoint":
        store().call("DeleteTable", {"TableName": name})


@pytest.fixture
def kills(soak: bool) -> int:
    """Give how often an import is killed; it has thirty records for each time, so that most of them come amid its work."""
    return 40 if soak else 3


def record(number: int, **changes: Any) -> dict[str, Any]:
    """Make one of the feed's records."""
    return house(ListingKey=f"K{number:04}", ListingId=f"N{number}", ListPrice=str(1000 + number), **changes)


def later(second: int) -> str:
    """Give a timestamp after all that are stored."""
    return f"2024-02-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


def feed(kills: int) -> list[dict[str, Any]]:
    """Make records of all kinds: new, changed, unchanged, sold, removed, come twice, and such that cannot be imported."""
    kinds: list[dict[str, Any]] = [
        {},
        {"PublicRemarks": "New."},
        {"StandardStatus": "Closed"},
        {"MlgCanView": False},
        {"ListPrice": "much"},
        {"StandardStatus": "Coming Soon"},
    ]
    count = 60 + 30 * kills
    made = [record(number) | kinds[number % 6] | {"ModificationTimestamp": later(number)} for number in range(count)]
    again = [one | {"ListPrice": "5", "ModificationTimestamp": later(count + n)} for n, one in enumerate(made[::25])]
    return made + again


def prepare(kills: int) -> None:
    """Store what is there before: listings of ours and of another application, and posts of them."""
    for number in range(0, 60 + 30 * kills, 2):
        data = ListingData(status="active", mls_provider="flexmls", mls_id=f"K{number:04}", mls_number=f"N{number}", price=1)
        one = f"theirs-{number}" if number % 10 == 0 else f"flexmls-K{number:04}"
        key = {"PK": {"S": "USER#u1"}, "SK": {"S": f"LISTING#{one}"}, "EntityType": {"S": "Listing"}}
        put_raw(
            {**key, "Data": {"M": {**dump(data), "note": {"S": "theirs"}}}, "UpdatedAt": {"N": "1"}, "CreatedAt": {"N": "1"}}
        )
        if number % 12 == 2:  # whose listings are sold
            post = SocialPostData(listing_id=one, platform="facebook", status=PostStatus.PUBLISHED)
            SocialPost.objects.create("u1", f"p{number}", post)


def table() -> dict[str, Any]:
    """Give all that is stored, without what differs from run to run: times and nonces."""
    moments = {"syncedAt", "removedAt", "statusChangeTimestamp", "unpublishRequestedAt"}
    found = {}
    for item in Item.objects.query("u1", consistent=True):
        data: Any = item.attribute_values["data"]
        fields = {name: value for name, value in dump(data).items() if name not in moments}
        keys = (item.gsi1pk, item.gsi1sk, item.gsi2pk) if item.sk.startswith("LISTING#") else ()
        found[item.sk] = fields, keys
    return found


def killed(kills: int, checkpoint: Path, command: list[str]) -> int:
    """Start a command and kill it at a random moment amid its work, so many times; give how often it was amid it."""
    moments, amid = random.Random(11), 0  # noqa: S311
    for _ in range(kills):
        before = version(checkpoint)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        until = time.monotonic() + 60
        while version(checkpoint) == before and process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.08))
        amid += process.poll() is None
        process.kill()
        said = process.communicate()[1]
        assert process.returncode in {0, 1, -signal.SIGKILL}, said
    return amid


def finished(command: list[str]) -> dict[str, Any]:
    """Run a command to its end, and give its report."""
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def expected(kills: int, work: Callable[[], object]) -> dict[str, Any]:
    """Give what an import leaves that nobody kills, on an engine in memory."""
    settings = current()
    mlssocial.configure(table_name="homes", endpoint_url="local:")
    mlssocial.local.forget()
    mlssocial.create_table()
    prepare(kills)
    work()
    found = table()
    mlssocial.configure(settings)
    return found


def test_of_files(where: list[str], tmp_path: Path, kills: int, tally: Tally) -> None:
    """An import of files that was killed leaves what one does that was not, and names each rejected record once."""
    folder = tmp_path / "feeds"
    folder.mkdir()
    records = feed(kills)
    third = len(records) // 3
    for number in range(3):
        part = records[number * third :] if number == 2 else records[number * third : (number + 1) * third]
        (folder / f"{number}.ndjson").write_text("\n".join(map(json.dumps, part)))
    wanted = expected(kills, lambda: import_feed(folder, user_id="u1", provider="flexmls"))
    prepare(kills)
    checkpoint, rejected = tmp_path / "import.json", tmp_path / "rejected.ndjson"
    files = ["--checkpoint", str(checkpoint), "--rejected", str(rejected)]
    command = [sys.executable, "-c", CODE, *where, "import", str(folder), *NAMES, *files]
    amid = killed(kills, checkpoint, command)
    report = finished(command)
    assert table() == wanted
    assert report["event"] == "report"
    lines = [json.loads(line) for line in rejected.read_text().splitlines()]
    keys = [line["ListingKey"] for line in lines]
    assert keys == [one["ListingKey"] for one in records if one["ListPrice"] == "much"]
    assert amid >= kills // 2
    tally(kills=amid)
    assert import_feed(folder, user_id="u1", provider="flexmls").updated == 0


def test_of_a_server(where: list[str], tmp_path: Path, kills: int, tally: Tally) -> None:
    """So does an import from a server, which goes on from the last change that it had taken over."""
    records = [one for one in feed(kills) if one["ListPrice"] != "much"]
    with serving(Api(records, page=25)) as api:
        wanted = expected(kills, lambda: import_feed(Server(url=api.url), user_id="u1", provider="flexmls"))
        prepare(kills)
        checkpoint = tmp_path / "import.json"
        command = [sys.executable, "-c", CODE, *where, "import", "--url", api.url, *NAMES, "--checkpoint", str(checkpoint)]
        amid = killed(kills, checkpoint, command)
        finished(command)
        assert table() == wanted
        asked = len(api.asked)
        assert finished(command)["total"] <= 2
        assert len(api.asked) == asked + 1
    assert amid >= kills // 2
    assert sum("$filter" in one.query for one in api.asked) >= 1
    tally(kills=amid)
