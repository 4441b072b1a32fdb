"""``mlssocial audit``, as a user calls it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mlssocial import Listing, ListingData, ListingStatus
from mlssocial.cli.app import cli
from mlssocial.connection import CONTROL, READS, recorded
from mlssocial.settings import current

from .conftest import get_raw, put_raw


def audit(*arguments: str, code: int = 0, answer: str | None = None) -> Result:
    """Call the command on the test's table, and see that it ends with that code."""
    where = current()
    options = {"--table": where.table_name, "--region": where.region, "--endpoint": where.endpoint_url}
    named = [word for name, value in options.items() if value for word in (name, value)]
    result = CliRunner().invoke(cli, [*named, "audit", *arguments], input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.output) == (code, result.output)
    return result


def drifted(number: int) -> dict[str, Any]:
    """Make a listing as the other application leaves it."""
    return {
        "PK": {"S": "USER#u1"},
        "SK": {"S": f"LISTING#l{number}"},
        "EntityType": {"S": "Listing"},
        "GSI1SK": {"S": "STATUS#active"},
        "Data": {"M": {"status": {"S": "sold"}}},
    }


@pytest.mark.usefixtures("table")
class TestAudit:
    def test_a_table_without_drift(self) -> None:
        """Nothing found is two lines and exit code 0."""
        Listing.objects.create("u1", "l1", ListingData(status=ListingStatus.ACTIVE))
        shown = audit().stdout.splitlines()
        assert re.match(r"1 items in .* read units; left alone: 0 of other applications and 0 expired", shown[0])
        assert shown[1:] == ["0 drifted: dry run, nothing was written"]

    def test_a_dry_run(self) -> None:
        """Drift is counted, and named with what is there and what should be; nothing is written, and the code is 1."""
        put_raw(drifted(1))
        put_raw(drifted(2))
        with recorded() as calls:
            shown = audit("--limit", "1", code=1).stdout
        assert {call.operation for call in calls} <= READS | CONTROL
        assert get_raw("USER#u1", "LISTING#l1") == drifted(1)
        assert re.search(r"^Listing +half +2$", shown, re.MULTILINE)
        assert re.search(r"^Listing +missing +2$", shown, re.MULTILINE)
        assert shown.count("GSI1SK is STATUS#active, should be absent; GSI2PK is absent, should be USER#u1#STATUS#sold") == 1
        assert shown.endswith("\nrepair them with --repair\n")

    def test_a_repair(self, tmp_path: Path) -> None:
        """With --repair and --yes drift is repaired, in segments and with a checkpoint, and the code is 0."""
        put_raw(drifted(1))
        path = tmp_path / "audit.json"
        shown = audit("--repair", "--yes", "--segments", "2", "--checkpoint", str(path), "--max-read-units", "1000").stdout
        assert "1 drifted: 1 repaired" in shown
        assert "[repaired]" in shown
        assert not path.exists()
        assert "0 drifted" in audit().stdout

    def test_a_dry_run_of_a_repair(self) -> None:
        """With --dry-run nothing is asked and nothing written, whatever else is given."""
        put_raw(drifted(1))
        assert "1 drifted: dry run, nothing was written" in audit("--repair", "--yes", "--dry-run", code=1).stdout
        assert audit("--repair", "--dry-run", code=1).stderr.count("repair the index keys") == 0
        assert get_raw("USER#u1", "LISTING#l1") == drifted(1)

    def test_asks_before_it_writes(self) -> None:
        """Without --yes it asks, on stderr, and writes only if the answer is yes."""
        put_raw(drifted(1))
        refused = audit("--repair", code=1, answer="n\n")
        assert "repair the index keys of items in" in refused.stderr
        assert get_raw("USER#u1", "LISTING#l1") == drifted(1)
        assert "1 repaired" in audit("--repair", answer="y\n").stdout

    def test_json(self) -> None:
        """JSON has the counts, the findings and what is left, and the code says the same."""
        put_raw(drifted(1))
        document = json.loads(audit("--json", code=1).stdout)
        assert (document["repair"], document["drifted"], document["left"]) == (False, 1, 1)
        assert document["counts"] == {"Listing": {"half": 1, "missing": 1}}
        (finding,) = document["findings"]
        assert (finding["key"], finding["outcome"]) == (["USER#u1", "LISTING#l1"], "found")
        assert finding["wanted"] == {"GSI2PK": "USER#u1#STATUS#sold", "GSI2SK": "LISTED##l1"}
        repaired = json.loads(audit("--json", "--repair", "--yes").stdout)
        assert (repaired["outcomes"], repaired["left"]) == ({"repaired": 1}, 0)

    def test_what_cannot_be_read(self) -> None:
        """An item that cannot be read is named with its reason, and the code is 1; its text cannot steer the terminal."""
        put_raw(drifted(1) | {"SK": {"S": "LISTNG\x1b[31m"}})
        shown = audit("--repair", "--yes", code=1).stdout
        assert "LISTNG [31m: unreadable: " in shown
        assert "\x1b" not in shown

    def test_another_audits_checkpoint(self, tmp_path: Path) -> None:
        """A checkpoint that cannot be gone on with is one line and exit code 1."""
        path = tmp_path / "audit.json"
        path.write_text("{}")
        shown = audit("--checkpoint", str(path), code=1).stderr
        assert shown.startswith(f"error: {path}: it cannot be read as a checkpoint")
