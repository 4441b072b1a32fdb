"""Jobs whose process is killed amid its work, again and again: they go on from their checkpoint, and end right."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import mlssocial
from mlssocial import Migrations, audit_table, keys, reseal_tokens
from mlssocial.connection import store
from mlssocial.crypto import Place
from mlssocial.settings import current
from mlssocial.tokens import Secret

from .conftest import ENDPOINT, Tally, put_raw
from .test_audit import drifted, status_of
from .test_migrations import data_of, increase, old, write
from .test_reseal import connection, stored, tokens, use

ITEMS = 120
# Pages of a few items, so that there are many moments to be killed at.
CODE = """
import sys
import mlssocial.scans
from mlssocial.cli.app import cli

mlssocial.scans.PAGE_ITEMS = 4
cli(sys.argv[1:], prog_name="mlssocial")
"""


@pytest.fixture(params=["embedded", *(["endpoint"] if ENDPOINT else [])])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Give where the checkpoint is to be, and a table that several processes can reach."""
    if request.param == "embedded":
        mlssocial.configure(endpoint_url=f"local:{tmp_path / 'homes.db'}")
    else:
        mlssocial.configure(table_name=f"homes-{uuid.uuid4().hex}", region="us-east-1", endpoint_url=ENDPOINT)
    mlssocial.create_table()
    yield tmp_path / "job.json"
    assert list(tmp_path.glob("job.json*")) == []
    store().call("DeleteTable", {"TableName": store().table_name})


def start(path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a command on the test's table in a process of its own, and wait until its checkpoint has been written."""
    before, at = version(path), current()
    where = ["--endpoint", str(at.endpoint_url), "--table", at.table_name, "--region", at.region or "us-east-1"]
    command = [sys.executable, "-c", CODE, *where, *arguments, "--checkpoint", str(path)]
    keys = ",".join(f"{name}={key.reveal()}" for name, key in at.token_keys.items())
    environment = {"MLSSOCIAL_TOKEN_KEYS": keys, "MLSSOCIAL_CURRENT_TOKEN_KEY": str(at.sealing_key)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | environment)
    written = time.monotonic() + 60
    while version(path) == before and process.poll() is None and time.monotonic() < written:
        time.sleep(0.001)
    return process


def version(path: Path) -> int | None:
    """Tell one content of a checkpoint's file from the next."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return None


def killed_amid(path: Path, times: int, *arguments: str) -> int:
    """Start a command and kill it at a random moment, so many times; give how often it was amid its work."""
    moments, amid = random.Random(5), 0  # noqa: S311
    for _ in range(times):
        process = start(path, *arguments)
        time.sleep(moments.uniform(0, 0.12))
        amid += process.poll() is None
        process.kill()
        process.communicate()
    return amid


def finished(path: Path, *arguments: str) -> str:
    """Run a command to its end, and give what it printed."""
    printed, said = start(path, *arguments).communicate(timeout=120)
    assert said == b""
    return printed.decode()


REPAIR = ("audit", "--repair", "--yes", "--segments", "3")


def test_an_audit(path: Path) -> None:
    """An audit that is killed five times repairs every item, and counts each one once."""
    for number in range(ITEMS):
        put_raw(drifted(number))
    assert killed_amid(path, 5, *REPAIR) >= 3
    assert f"{ITEMS} items in" in finished(path, *REPAIR)
    assert audit_table().drifted == 0
    assert [status_of(number) for number in range(ITEMS)] == [["l1"]] * ITEMS


ROTATE = ("rotate-keys", "--yes", "--segments", "3")


def test_a_rotation(path: Path, tally: Tally, soak: bool) -> None:
    """
    A rotation that is killed again and again seals every token under the new key, once, and loses none.

    As often as it comes to its end before it is killed, the other key is made the current one.
    """
    use("k1")
    users = [(f"USER#u{number}", "SOCIAL#X" if number % 3 else "MLS_CONNECTION#c") for number in range(ITEMS)]
    for number, key in enumerate(users):
        sealed = Place.of(key, "refreshToken").seal(Secret(f"r{number}"))
        put_raw(connection(key, accessToken=f"a{number}", refreshToken=sealed))
    use("k2", "k1")
    amid, moments = 0, random.Random(7)  # noqa: S311
    while amid < (40 if soak else 6):
        process = start(path, *ROTATE)
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.communicate()
        if process.returncode == -signal.SIGKILL and path.exists():
            amid += 1
        elif not path.exists():
            use(*(("k1", "k2") if current().sealing_key == "k2" else ("k2", "k1")))
    tally(kills=amid)
    to = str(current().sealing_key)
    assert f"to seal under key {to}: " in finished(path, *ROTATE)
    use(to)
    for number, key in enumerate(users):
        assert tokens(key) == {"accessToken": (to, f"a{number}"), "refreshToken": (to, f"r{number}")}
        assert stored(key).count("enc:") == 1
    assert reseal_tokens(rotate=True).wanted == 0
    assert audit_table().sealed_tokens == {to: 2 * ITEMS}


APPLIED = {"PK": {"S": keys.MIGRATIONS}, "SK": {"S": "MIGRATION#0001_counted"}}
COUNTED = """
entities = ["Listing"]

def transform(item):
    data = item["Data"]
    if "town" not in data:
        return None
    data["city"] = data.pop("town")
    data["times"] = data.get("times", 0) + 1
    return item
"""


def test_a_migration(path: Path, tally: Tally, soak: bool) -> None:
    """A migration that is killed again and again changes every item once, and loses nothing that others write meanwhile."""
    folder = path.parent / "migrations"
    write(folder, "0001_counted", COUNTED)
    items = [old(number, views={"N": "0"}) for number in range(ITEMS)]
    for item in items:
        put_raw(item)
    migrations, up = Migrations(folder=folder), ("migrations", "up", "--yes", "--segments", "3", "--folder", str(folder))
    amid, counted, moments = 0, 0, random.Random(11)  # noqa: S311
    while amid < (40 if soak else 3):
        process = start(path, *up)
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.communicate()
        migrations.unlock()
        amid += process.returncode == -signal.SIGKILL and path.exists()
        if not path.exists():  # it came to its end: the items are put back, and all begins anew
            assert {data_of(item)["times"]["N"] for item in items} == {"1"}
            store().call("DeleteItem", {"TableName": store().table_name, "Key": APPLIED})
            counted = 0
            for item in items:
                put_raw(item)
        for item in items[::7]:
            increase(item)
        counted += 1
    tally(kills=amid)
    assert "verified: nothing left to change" in finished(path, *up)
    for number, item in enumerate(items):
        stored = data_of(item)
        assert (stored["times"], stored["city"], "town" in stored) == ({"N": "1"}, {"S": "Reno"}, False)
        assert stored["views"] == {"N": str(counted if number % 7 == 0 else 0)}
    assert migrations.status()[0].applied is not None
    assert [file.name for file in folder.iterdir()] == ["0001_counted.py"]


def test_an_interrupted_command(path: Path) -> None:
    """Ctrl-C ends a command with code 130 and one line, and it goes on where it was."""
    for number in range(ITEMS):
        put_raw(drifted(number))
    process = start(path, *REPAIR)
    os.kill(process.pid, signal.SIGINT)
    printed, said = process.communicate(timeout=60)
    assert (process.returncode, printed, said) == (130, b"", b"interrupted: what was written stays\n")
    assert path.exists()
    assert not path.with_name("job.json.lock").exists()
    assert f"{ITEMS} items in" in finished(path, *REPAIR)
    assert audit_table().drifted == 0
