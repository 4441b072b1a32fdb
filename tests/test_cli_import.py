"""``mlssocial import``, as a user calls it: what it shows, what machines read, where secrets come from."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import mlssocial
from mlssocial import Listing, MLSConnection, MLSConnectionData
from mlssocial.cli.app import cli
from mlssocial.settings import current

from .resoserver import Api, serving
from .test_reso_importing import house

CANARY = "tok-canary-4711"
OPTIONS = ("--user", "u1", "--provider", "flexmls")


@pytest.fixture(autouse=True)
def memory() -> None:
    """Have a table, in memory: the command's own doing is proved here."""
    mlssocial.configure(endpoint_url="local:", table_name="homes")
    mlssocial.local.forget()
    mlssocial.create_table()


def run(*arguments: str, code: int = 0, stdin: str | None = None) -> Result:
    """Call the command, and see that it ends with that code."""
    where = ["--endpoint", str(current().endpoint_url), "--table", "homes"]
    result = CliRunner().invoke(cli, [*where, "import", *arguments, *OPTIONS], input=stdin)
    assert not (result.exception is not None and not isinstance(result.exception, SystemExit)), result.exception
    assert (result.exit_code, result.output) == (code, result.output)
    return result


def events(result: Result) -> list[dict[str, Any]]:
    """Read what machines read."""
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    """Write three records, one of which cannot be imported."""
    path = tmp_path / "feed.ndjson"
    records = [house(), house(ListingKey="K2", ListPrice="much"), house(ListingKey="K3")]
    path.write_text("\n".join(map(json.dumps, records)))
    return path


class TestSources:
    def test_folders_and_globs(self, feed: Path) -> None:
        """A folder, and a glob that the shell left alone, are their files."""
        assert "2 created" in run(str(feed.parent), code=1).stdout
        assert "2 unchanged" in run(f"{feed.parent}/*.ndjson", code=1).stdout

    def test_nothing(self) -> None:
        """Neither a file nor a server is a usage error; so is a file that is not there."""
        assert "what to import is missing: files, or --url for a server" in run(code=2).stderr
        assert "'nowhere.json' does not exist" in run("nowhere.json", code=2).stderr


class TestShowing:
    def test_a_dry_run(self, feed: Path) -> None:
        """A dry run shows what would change, field by field, and a limit holds it short."""
        run(str(feed), code=1)
        changed = [
            house(ListPrice="1", City=None, YearBuilt="1990", Heating=["Gas", "Solar"]),
            house(ListingKey="K4"),
            house(ListingKey="K5"),
        ]
        feed.write_text("\n".join(map(json.dumps, changed)))
        shown = run(str(feed), "--dry-run").stdout.splitlines()
        assert shown[0] == (
            "would be updated: flexmls-K1 (ListingKey K1): price 500000 -> 1; yearBuilt nothing -> 1990; "
            "heating 1 entry -> 2 entries; address.city Reno -> nothing"
        )
        assert shown[1:3] == ["would be created: flexmls-K4 (ListingKey K4)", "would be created: flexmls-K5 (ListingKey K5)"]
        assert shown[3].startswith("dry run, nothing was written: 3 records")
        assert run(str(feed), "--dry-run", "--limit", "1").stdout.splitlines()[1] == "and 2 more; --limit shows more of them"
        assert Listing.objects.query("u1").count() == 2

    def test_events(self, feed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With --json each change, rejected record and second is one line, and the last is the report."""
        monkeypatch.setattr("mlssocial.cli.imports.EVENT_EVERY", 0)
        said = events(run(str(feed), "--json", code=1))
        assert [event["event"] for event in said if event["event"] != "progress"] == ["change", "rejected", "change", "report"]
        assert [event["total"] for event in said if event["event"] == "progress"] == [1, 2, 3]
        change = next(event for event in said if event["event"] == "change")
        assert (change["action"], change["listing_id"], change["position"]) == ("created", "flexmls-K1", 1)
        rejected = next(event for event in said if event["event"] == "rejected")
        assert (rejected["key"], rejected["position"]) == ("K2", 2)
        assert (said[-1]["created"], said[-1]["rejected_count"]) == (2, 1)

    def test_is_quiet_when_piped(self, feed: Path) -> None:
        """Where stderr is no terminal nothing but the report is written."""
        where = ["--endpoint", "local:"]
        command = [sys.executable, "-m", "mlssocial.cli", *where, "import", str(feed), *OPTIONS]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.startswith("3 records in ")

    def test_shows_progress_on_a_terminal(self, tmp_path: Path) -> None:
        """On a terminal a bar shows how many are done, and at what rate."""
        path = tmp_path / "feed.ndjson"
        path.write_text("\n".join(json.dumps(house(ListingKey=f"K{number}")) for number in range(1_500)))
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "mlssocial.cli", "--endpoint", "local:", "import", str(path), *OPTIONS]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=os.environ | {"TERM": "xterm"}) as process:
            os.close(theirs)
            shown = b""
            try:
                while piece := os.read(ours, 10_000):
                    shown += piece
            except OSError:  # the terminal's end
                pass
            os.close(ours)
        assert process.returncode == 0
        assert b"importing" in shown
        assert re.search(rb"\d+/s", shown)


class TestOptions:
    def test_checkpoint_and_rejected(self, feed: Path, tmp_path: Path) -> None:
        """A checkpoint is kept, and rejected records are."""
        files = ["--checkpoint", str(tmp_path / "c.json"), "--rejected", str(tmp_path / "r.ndjson")]
        run(str(feed), *files, code=1)
        assert json.loads((tmp_path / "r.ndjson").read_text())["@mlssocial.line"] == 2
        assert run(str(feed), *files).stdout.startswith("0 records in ")

    def test_removals(self, feed: Path) -> None:
        """What the feed removes is marked, deleted or left."""
        run(str(feed), code=1)
        feed.write_text(json.dumps(house(MlgCanView=False)))
        assert "1 skipped" in run(str(feed), "--removals", "skip").stdout
        assert "1 removed" in run(str(feed), "--removals", "delete").stdout
        assert Listing.objects.find("u1", "flexmls-K1") is None

    def test_everyones_copies(self, feed: Path) -> None:
        """A status reaches every user's copies on request."""
        run(str(feed), code=1)
        Listing.objects.create("u2", "theirs", Listing.objects.get("u1", "flexmls-K1").data)
        feed.write_text(json.dumps(house(StandardStatus="Closed")))
        assert (
            "status brought to all copies and posts: 1" in run(str(feed), "--all-users", "--no-adopt", "--workers", "1").stdout
        )
        assert Listing.objects.get("u2", "theirs", consistent=True).data.status == "sold"


class TestServers:
    @pytest.fixture
    def api(self) -> Iterator[Api]:
        """Serve three records."""
        with serving(Api([house(ListingKey=f"K{number}") for number in range(3)])) as made:
            yield made

    def test_a_token_of_the_environment(self, api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The token comes from the environment; with a checkpoint the second time only what is new is asked for."""
        api.tokens = {CANARY}
        monkeypatch.setenv("MLSSOCIAL_RESO_TOKEN", CANARY)
        more = ["--page-size", "0", "--requests-per-second", "50", "--checkpoint", str(tmp_path / "c.json")]
        assert "3 created" in run("--url", api.url, *more).stdout
        assert "3 unchanged" in run("--url", api.url, *more, "--overlap", "20").stdout
        assert "prefer" not in api.asked[0].headers
        assert api.asked[1].query["$filter"] == "ModificationTimestamp ge 2024-01-15T09:40:00.000Z"
        assert CANARY not in (tmp_path / "c.json").read_text()

    def test_a_token_of_a_connection(self, api: Api) -> None:
        """Without one there, the connection's is taken."""
        api.tokens = {CANARY}
        MLSConnection.objects.create("u1", "c1", MLSConnectionData(provider="flexmls", access_token=CANARY))
        assert "3 created" in run("--url", api.url, "--connection", "c1", "--unordered").stdout
        assert Listing.objects.get("u1", "flexmls-K1").data.mls_connection_id == "c1"
        assert "$orderby" not in api.asked[0].query

    def test_a_token_that_is_asked_for(self, api: Api) -> None:
        """On request the token is asked for, and not shown."""
        api.tokens = {CANARY}
        result = run("--url", api.url, "--ask-token", stdin=f"{CANARY}\n")
        assert "3 created" in result.stdout
        assert CANARY not in result.output

    @pytest.mark.parametrize("how", ["environment", "prompt"])
    def test_client_credentials(self, api: Api, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """An OAuth client's secret comes from the environment or is asked for, and not shown."""
        api.tokens, api.given = {"x"}, ["fresh"]
        if how == "environment":
            monkeypatch.setenv("MLSSOCIAL_RESO_CLIENT_SECRET", api.secret)
        client = ["--client-id", "client", "--token-url", f"{api.url}/token", "--scope", "api"]
        result = run("--url", api.url, *client, stdin=f"{api.secret}\n" if how == "prompt" else None)
        assert "3 created" in result.stdout
        assert api.secret not in result.output

    def test_errors(self, api: Api) -> None:
        """A server that refuses is an error of one line, without a traceback and without the token."""
        api.tokens = {"x"}
        result = run("--url", api.url, "--ask-token", stdin=f"{CANARY}\n", code=1)
        assert re.search(r"error: http://127.0.0.1:\d+/odata/Property: the server answers 401: no: Bearer \*+;", result.stderr)
        assert CANARY not in result.output
        assert "belong together" in run("--url", api.url, "--client-id", "c", code=1).stderr
        assert "https only" in run("--url", "http://api.example.com/P", "--ask-token", stdin="x\n", code=1).stderr

    def test_needs_the_extra(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the HTTP client is not installed, the error says how to."""
        monkeypatch.setitem(sys.modules, "httpx2", None)
        assert "pip install 'mlssocial[reso]'" in run("--url", api.url, code=1).stderr
