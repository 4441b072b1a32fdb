"""The status: what the table holds, and what waits for somebody."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mlssocial import InvalidExportError, Listing, export_table, table_status
from mlssocial.connection import recorded, store

from .conftest import put_raw
from .doors import fill
from .test_export import CLEAR, FOREIGN


def drifted() -> None:
    """Store a listing as another application leaves it."""
    listing = {"PK": {"S": "USER#u1"}, "SK": {"S": "LISTING#l9"}, "EntityType": {"S": "Listing"}}
    put_raw(listing | {"Data": {"M": {"status": {"S": "sold"}}}, "GSI1SK": {"S": "STATUS#active"}})


@pytest.mark.usefixtures("table")
class TestStatus:
    def test_counts(self) -> None:
        """Items by entity, drift, tokens in clear text and what has expired are counted in one pass."""
        fill("u1")
        drifted()
        put_raw(CLEAR | {"SK": {"S": "SOCIAL#LINKEDIN"}})
        put_raw(FOREIGN)
        put_raw({"PK": {"S": "SESSION"}, "SK": {"S": "x"}, "TTL": {"N": "1"}})
        with recorded() as calls:
            status = table_status(segments=2)
        assert status.items == {
            "": 1,
            "Listing": 2,
            "MLSConnection": 1,
            "PerformanceMetrics": 1,
            "SocialConnection": 2,
            "SocialPost": 2,
            "UserProfile": 1,
        }
        assert (status.total, status.clear_tokens, status.drifted) == (10, 1, 1)
        assert {call.operation for call in calls} == {"Scan", "DescribeTable", "Query"}
        assert (status.table, status.state) == (store().table_name, "ACTIVE")

    def test_queues(self) -> None:
        """Connections to sync, tokens that expire and posts that wait are counted for all users."""
        fill("u1")
        fill("u2")
        status = table_status()
        assert (status.due_for_sync, status.expiring, status.pending_unpublish) == (2, 2, 2)
        assert table_status(stale_after=timedelta(days=365 * 200)).due_for_sync == 0
        assert "queues: 2 to sync, 2 with tokens that expire, 2 to unpublish" in str(status)

    def test_of_an_export(self, tmp_path: Path) -> None:
        """An export's counts do instead of a pass, with its time; drift and tokens are not known then."""
        fill("u1")
        export_table(tmp_path / "export")
        Listing.objects.delete("u1", "l")
        with recorded() as calls:
            status = table_status(export=tmp_path / "export")
        assert "Scan" not in {call.operation for call in calls}
        assert (status.items["Listing"], status.drifted, status.clear_tokens) == (1, None, None)
        assert "drifted" not in str(status)
        with pytest.raises(InvalidExportError):
            table_status(export=tmp_path)
