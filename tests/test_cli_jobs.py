"""``mlssocial export``, ``restore``, ``purge``, ``status`` and ``metrics --plot``, as a user calls them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import mlssocial
from mlssocial import Listing, PerformanceMetrics, restore_table
from mlssocial.cli.app import cli
from mlssocial.cli.plot import blocks
from mlssocial.rollups import period_of
from mlssocial.settings import current

from .conftest import put_raw
from .doors import FEED, HOME, fill
from .test_export import CLEAR, lines
from .test_kills import CODE, version
from .test_purge import listing


def run(*arguments: str, code: int = 0, answer: str | None = None) -> Result:
    """Call the command on the test's table, and see that it ends with that code."""
    where = current()
    options = {"--table": where.table_name, "--region": where.region, "--endpoint": where.endpoint_url}
    named = [word for name, value in options.items() if value for word in (name, value)]
    result = CliRunner().invoke(cli, [*named, *arguments], input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.output) == (code, result.output)
    return result


@pytest.mark.usefixtures("table")
class TestExportAndRestore:
    def test_there_and_back(self, tmp_path: Path) -> None:
        """An export says what it has; restoring it where nothing has changed writes nothing, and quietly."""
        fill("u1")
        exported = run("export", str(tmp_path / "export"), "--segments", "2")
        assert exported.stdout.splitlines()[1].startswith("1 Listing, 1 MLSConnection")
        assert exported.stderr == ""
        assert "dry run, would be: 6 unchanged" in run("restore", str(tmp_path / "export"), "--dry-run").stdout
        Listing.objects.delete("u1", "l")
        document = json.loads(run("restore", str(tmp_path / "export"), "--json").stdout)
        assert (document["written"], document["unchanged"]) == (1, 5)

    def test_conflicts(self, tmp_path: Path) -> None:
        """A conflict is one line and exit code 1; overwriting asks first."""
        fill("u1")
        run("export", str(tmp_path / "export"))
        Listing.objects.update("u1", "l", status="sold")
        assert "another Listing stands there" in run("restore", str(tmp_path / "export"), code=1).stderr
        run("restore", str(tmp_path / "export"), "--dry-run", code=1)
        run("restore", str(tmp_path / "export"), "--on-conflict", "overwrite", code=1, answer="n\n")
        assert Listing.objects.get("u1", "l").data.status == "sold"
        run("restore", str(tmp_path / "export"), "--on-conflict", "overwrite", answer="y\n")
        assert Listing.objects.get("u1", "l").data.status == "active"

    def test_revealing_asks_for_the_tables_name(self, tmp_path: Path) -> None:
        """Tokens in clear text are revealed only after the table's name was typed, and then said aloud."""
        put_raw(CLEAR)
        run("export", str(tmp_path / "export"), "--reveal", code=1, answer="yes\n")
        assert not (tmp_path / "export").exists()
        revealed = run("export", str(tmp_path / "export"), "--reveal", answer=f"{current().table_name}\n")
        assert "warning: 1 tokens are in clear text" in revealed.stderr
        assert "1 TOKENS ARE IN CLEAR TEXT" in revealed.stdout

    def test_csv(self, tmp_path: Path) -> None:
        """CSV is of one entity, and says so where none is given."""
        fill("u1")
        assert "give --entity" in run("export", str(tmp_path / "export"), "--format", "csv", code=2).stderr
        run("export", str(tmp_path / "export"), "--format", "csv", "--entity", "listings")
        (path,) = (tmp_path / "export" / "data").iterdir()
        assert len(path.read_text().splitlines()) == 2


def test_killed_exports_go_on(tmp_path: Path) -> None:
    """An export that is killed again and again has every item once in the end."""
    mlssocial.configure(endpoint_url=f"local:{tmp_path / 'homes.db'}")
    mlssocial.create_table()
    for number in range(120):
        Listing.objects.create(f"u{number}", "l1", HOME.model_copy())
    folder, moments, amid = tmp_path / "export", random.Random(7), 0  # noqa: S311
    where = ["--endpoint", str(current().endpoint_url)]
    command = [sys.executable, "-c", CODE, *where, "export", str(folder), "--segments", "3"]
    for _ in range(4):
        before = version(folder / "checkpoint.json")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
        until = time.monotonic() + 60
        while version(folder / "checkpoint.json") == before and process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        amid += process.poll() is None
        process.kill()
        process.wait()
    if not (folder / "manifest.json").exists():
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ), timeout=120)
    assert amid >= 1
    assert sorted(line["Item"]["PK"]["S"] for line in lines(folder)) == sorted(f"USER#u{number}" for number in range(120))
    assert restore_table(folder).unchanged == 120


class TestPurge:
    @pytest.fixture(autouse=True)
    def feed(self, table: str) -> None:  # noqa: ARG002  it comes first
        """Store a connection and a listing of it."""
        mlssocial.MLSConnection.objects.save("u1", "c1", FEED)
        listing("u1", "l1", "c1", "MRED")

    def test_a_dry_run_is_the_default(self) -> None:
        """Without --execute it says what would be deleted, and deletes nothing."""
        shown = run("purge", "--connection", "u1/c1").stdout
        assert shown.startswith("u1/c1: 1 Listing, 1 MLSConnection, 2 PerformanceMetrics, 1 SocialPost to delete")
        assert json.loads(run("purge", "--user", "u1", "--json").stdout)["items"] == 5
        assert Listing.objects.find("u1", "l1") is not None

    def test_the_scope_has_to_be_typed(self, tmp_path: Path) -> None:
        """Executing asks for the scope to the letter, by hand or as an option."""
        report = str(tmp_path / "report.json")
        execute = ("purge", "--originating-system", "MRED", "--execute", "--report", report, "--signed-by", "Ann")
        assert "is to be confirmed" in run(*execute, code=1, answer="yes\n").stderr
        assert Listing.objects.find("u1", "l1") is not None
        assert "1 Listing, 2 PerformanceMetrics, 1 SocialPost deleted" in run(*execute, "--confirm", "MRED").stdout
        assert json.loads(Path(report).read_text())["signed_by"] == "Ann"
        assert Listing.objects.find("u1", "l1") is None
        typed = run("purge", "--user", "u1", "--execute", "--report", f"{report}.2", "--json", answer="u1\n")
        assert json.loads(typed.stdout)["counts"] == {"MLSConnection": 1}

    @pytest.mark.parametrize(
        "wrong",
        [(), ("--user", "u1", "--originating-system", "x"), ("--connection", "c1"), ("--user", "u1", "--execute")],
    )
    def test_wrong_usage(self, wrong: tuple[str, ...]) -> None:
        """No scope, two, half of one, and executing without a report are wrong usage."""
        run("purge", *wrong, code=2)


@pytest.mark.usefixtures("table")
def test_status() -> None:
    """The status is a few lines, or a document."""
    fill("u1")
    assert "queues: 1 to sync, 1 with tokens that expire, 1 to unpublish" in run("status").stdout
    document = json.loads(run("status", "--json", "--days", "1").stdout)
    assert (document["items"]["SocialPost"], document["clear_tokens"]) == (2, 0)


class TestPlot:
    PLOT = ("metrics", "--user", "u1", "--listing", "l1")

    @pytest.fixture(autouse=True)
    def figures(self, table: str) -> None:  # noqa: ARG002  it comes first
        """Store three days' figures on two platforms."""
        for number, views in enumerate((1, 0, 8)):
            PerformanceMetrics.objects.increment("u1", "l1", date(2024, 3, 1 + number), "facebook", views=views)
        PerformanceMetrics.objects.increment("u1", "l1", date(2024, 3, 3), "$new_platform$", views=4, shares=1)

    def test_in_the_terminal(self) -> None:
        """Each figure is drawn for all platforms and for each that has it, with its sum, and days without figures are gaps."""
        shown = run(*self.PLOT, "--plot").stdout.splitlines()
        assert shown[0] == "views by day, 2024-03-01 to 2024-03-03, at most 12"
        assert [line.split()[-1] for line in shown if line.startswith("  all")] == ["13", "1", "0"]
        (facebook,) = [line for line in shown if line.startswith("  facebook")]
        assert facebook.split() == ["facebook", "▂", "█", "9"]

    def test_as_json(self) -> None:
        """With --json the drawn figures are a document."""
        rows = json.loads(run(*self.PLOT, "--plot", "--json", "--by", "month").stdout)
        assert [(row["start"], row["views"]) for row in rows] == [("2024-03-01", 13)]

    @pytest.mark.parametrize(("name", "magic"), [("plot.png", b"\x89PNG\r\n"), ("plot.SVG", b"<?xml")])
    def test_into_a_file(self, tmp_path: Path, name: str, magic: bytes) -> None:
        """A picture is drawn as PNG or SVG, by the file's name, whatever platforms are called."""
        assert "3 days of l1 of u1" in run(*self.PLOT, "--output", str(tmp_path / name)).stdout
        content = (tmp_path / name).read_bytes()
        assert content.startswith(magic)
        if name.endswith("SVG"):
            assert b"facebook" in content or b"<path" in content

    def test_what_cannot_be_drawn(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another kind of file is wrong usage; no figures, no folder and no matplotlib are one line each."""
        run(*self.PLOT, "--output", "plot.pdf", code=2)
        assert run(*self.PLOT, "--plot", "--since", "2030-01-01").stdout == "no figures of l1 of u1 in that time\n"
        assert "cannot be written" in run(*self.PLOT, "--output", str(tmp_path / "no" / "plot.png"), code=1).stderr
        for module in [name for name in sys.modules if name.startswith("matplotlib")] or ["matplotlib.dates"]:
            monkeypatch.setitem(sys.modules, module, None)
        assert "pip install 'mlssocial[plot]'" in run(*self.PLOT, "--output", str(tmp_path / "p.png"), code=1).stderr


class TestDrawing:
    @given(values=st.lists(st.integers(-5, 10**9), min_size=1, max_size=20))
    def test_blocks(self, values: list[int]) -> None:
        """Heights are in the order of the values, the greatest fills its column, and what is above zero can be seen."""
        top = max(values)
        drawn = list(blocks([float(value) for value in values], float(top)))
        heights = [sum(" ▁▂▃▄▅▆▇█".index(row[column]) for row in drawn) for column in range(len(values))]
        assert {len(row) for row in drawn} == {len(values)}
        for value, height in zip(values, heights, strict=True):
            assert (height > 0) == (value > 0)
            assert height <= 24
            assert value != top or top <= 0 or height == 24
        ordered = [height for _, height in sorted(zip(values, heights, strict=True))]
        assert ordered == sorted(ordered)

    def test_periods(self) -> None:
        """The shortest period is taken of which no more than sixty lie in the time."""
        day = date(2024, 1, 1)
        assert [period_of(day, day + timedelta(days=days)) for days in (0, 59, 60, 419, 420)] == [
            "day",
            "day",
            "week",
            "week",
            "month",
        ]
