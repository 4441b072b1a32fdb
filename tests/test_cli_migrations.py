"""``mlssocial migrations``, as a user calls it."""

from __future__ import annotations

import json
import re
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import mlssocial
from mlssocial import Address, Listing, ListingData, ListingStatus
from mlssocial import migration_record as record
from mlssocial.cli.app import cli
from mlssocial.settings import current

from .conftest import put_raw
from .test_migrations import UPPER, data_of, old, write

HOW_TO = Path(__file__).parents[1] / "docs" / "how-to" / "migrate.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give where the migrations are."""
    return tmp_path / "migrations"


def migrations(*arguments: str, code: int = 0, answer: str | None = None) -> Result:
    """Call the command on the test's table, and see that it ends with that code."""
    where = current()
    options = {"--table": where.table_name, "--region": where.region, "--endpoint": where.endpoint_url}
    named = [word for name, value in options.items() if value for word in (name, value)]
    result = CliRunner().invoke(cli, [*named, "migrations", *arguments], input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.output) == (code, result.output)
    return result


@pytest.mark.usefixtures("table")
class TestMigrations:
    def test_from_new_to_down(self, folder: Path) -> None:
        """new writes a file, plan shows it, up applies it, status says so, and down undoes it."""
        put_raw(old(1))
        where = ("--folder", str(folder))
        assert migrations("new", "upper", *where).stdout == f"wrote {folder / '0001_upper.py'}\n"
        write(folder, "0001_upper", UPPER)
        planned = migrations("plan", *where).stdout
        assert "0001_upper up: 1 to change" in planned
        assert '    - Data.town: "Reno"\n    + Data.city: "RENO"\n' in planned
        assert data_of(old(1)) == old(1)["Data"]["M"]
        assert re.search(r"0001_upper +pending", migrations("status", *where).stdout)
        assert "0001_upper up: 1 changed; verified: nothing left to change" in migrations("up", "--yes", *where).stdout
        assert re.search(r"0001_upper +applied +20\d\d-", migrations("status", *where).stdout)
        assert migrations("up", "--yes", *where).stdout == "no migration is pending\n"
        assert "0001_upper down: 1 changed" in migrations("down", "--yes", *where).stdout

    def test_asks_before_it_writes(self, folder: Path) -> None:
        """Without --yes up, down and unlock ask, on stderr, and do nothing unless the answer is yes."""
        put_raw(old(1))
        write(folder, "0001_upper", UPPER)
        assert "migrate the items of" in migrations("up", "--folder", str(folder), code=1, answer="n\n").stderr
        assert data_of(old(1)) == old(1)["Data"]["M"]
        assert "1 changed" in migrations("up", "--folder", str(folder), answer="y\n").stdout
        assert "undo the last" in migrations("down", "--folder", str(folder), code=1, answer="n\n").stderr
        assert data_of(old(1))["city"] == {"S": "RENO"}
        with record.leased():
            migrations("unlock", code=1, answer="n\n")
            assert record.lock() is not None

    def test_what_fails(self, folder: Path, tmp_path: Path) -> None:
        """What failed is named, and in the file, the code is 1, and no secret or control character reaches the terminal."""
        put_raw(old(1) | {"SK": {"S": "LISTING#\x1b[31m"}})
        write(folder, "0001_upper", UPPER)
        file = tmp_path / "failed.ndjson"
        shown = migrations("up", "--yes", "--folder", str(folder), "--failed", str(file), code=1).stdout
        assert "failed: Listing USER#u1 / LISTING# [31m: listing_id: " in shown
        assert "\x1b" not in shown
        assert json.loads(file.read_text())["key"] == ["USER#u1", "LISTING#\x1b[31m"]

    def test_the_lock(self, folder: Path) -> None:
        """While another run has the lock up is one line and code 1; status names the holder, and unlock frees it."""
        put_raw(old(1))
        write(folder, "0001_upper", UPPER)
        record.Lease(60).take()
        assert migrations("up", "--yes", "--folder", str(folder), code=1).stderr.startswith(
            "error: migrations: another run has"
        )
        assert re.search(r"the lock is held by .* process \d+, until 20", migrations("status", "--folder", str(folder)).stdout)
        assert "the lock was held by" in migrations("unlock", "--yes").stdout
        assert migrations("unlock", "--yes").stdout == "nobody had the lock\n"
        migrations("up", "--yes", "--folder", str(folder))

    def test_json(self, folder: Path) -> None:
        """Every command prints one JSON document."""
        put_raw(old(1))
        where = ("--folder", str(folder), "--json")
        assert json.loads(migrations("new", "upper", *where).stdout) == {"path": str(folder / "0001_upper.py")}
        write(folder, "0001_upper", UPPER)
        (planned,) = json.loads(migrations("plan", *where).stdout)["migrations"]
        assert (planned["changed"], planned["dry_run"], planned["write_units"]) == (1, True, 2)
        assert planned["samples"][0]["changes"][0] == '- Data.town: "Reno"'
        (applied,) = json.loads(migrations("up", "--yes", *where).stdout)["migrations"]
        assert (applied["changed"], applied["unverified"], applied["failures"]) == (1, 0, [])
        status = json.loads(migrations("status", *where).stdout)
        assert (status["lock"], [found["name"] for found in status["migrations"]]) == (None, ["0001_upper"])
        assert status["migrations"][0]["applied"].startswith("20")
        assert json.loads(migrations("unlock", "--yes", "--json").stdout) == {"unlocked": False, "by": None}

    def test_left_behind(self, folder: Path) -> None:
        """Where a second look finds something to change the code is 1, and the summary says what to do."""
        put_raw(old(1))
        source = """
            entities = ["Listing"]
            looks = []
            def transform(item):
                looks.append(1)
                item["Data"]["look"] = (len(looks) + 1) // 2  # each look calls it twice
                return item
        """
        write(folder, "0001_impure", source)
        shown = migrations("up", "--yes", "--folder", str(folder), code=1).stdout
        assert "verified: 1 left to change" in shown
        assert "not recorded as applied: " in shown


def test_the_how_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of the page about migrations print what it says, with the files that it shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLSSOCIAL_ENDPOINT_URL", f"local:{tmp_path / 'homes.db'}")
    mlssocial.configure()
    mlssocial.create_table()
    Listing.objects.create("u1", "l1", ListingData(status=ListingStatus.ACTIVE, address=Address(zip_code="89501", state="nv")))
    Listing.objects.create("u1", "l2", ListingData(status=ListingStatus.SOLD))
    checker, commands = OutputChecker(), 0
    for kind, block in re.findall(r"^```(sh|python)\n(.*?)^```$", HOW_TO.read_text(), re.MULTILINE | re.DOTALL):
        if kind == "python" and (file := re.match(r"# (migrations/\w+\.py)\n", block)):
            Path(file[1]).write_text(block)
        for command, wanted in re.findall(r"^\$ mlssocial (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            result = CliRunner().invoke(cli, command.split())
            assert checker.check_output(wanted, result.stdout, ELLIPSIS | NORMALIZE_WHITESPACE), (command, result.output)
            commands += 1
    assert commands == 9
