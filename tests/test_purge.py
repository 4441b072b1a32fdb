"""Erasing: what came by a feed goes, whole; nothing else does; and the report says so."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlssocial import (
    ConfigurationError,
    InvalidKeyError,
    Listing,
    MLSConnection,
    PerformanceMetrics,
    PerformanceMetricsData,
    PurgeReport,
    PurgeScope,
    SocialConnection,
    SocialPost,
    SocialPostData,
    plan_purge,
    purge_items,
    transaction,
)
from mlssocial.connection import READS, recorded, store
from mlssocial.rawwrites import key_of
from mlssocial.wire import decode_row

from .conftest import put_raw
from .doors import ACCOUNT, FEED, HOME

FOREIGN = {"PK": {"S": "USER#u1"}, "SK": {"S": "PROFILE"}, "EntityType": {"S": "UserProfile"}, "Data": {"M": {}}}


def there() -> set[tuple[str, str]]:
    """Give the keys of the whole table."""
    answer = store().call("Scan", {"TableName": store().table_name, "ConsistentRead": True})
    return {key_of(row) for row in map(decode_row, answer.get("Items", ()))}


def listing(user: str, name: str, connection: str, system: str) -> None:
    """Store a listing that came by a connection from a system, a post of it, and two days of figures."""
    data = HOME.model_copy(update={"mls_connection_id": connection, "originating_system_name": system})
    Listing.objects.save(user, name, data)
    SocialPost.objects.save(user, f"p-{name}", SocialPostData.model_validate({"listing_id": name, "status": "published"}))
    for day in (1, 2):
        PerformanceMetrics.objects.save(user, name, date(2024, 1, day), PerformanceMetricsData(views=1))


@pytest.fixture
def feeds(table: str) -> None:
    """Two users with listings of two systems by two connections, and items of another application."""
    for user in ("u1", "u2"):
        for connection in ("c1", "c2"):
            MLSConnection.objects.save(user, connection, FEED)
        listing(user, "l1", "c1", "MRED")
        listing(user, "l11", "c2", "MRED")
        listing(user, "l2", "c1", "CRMLS")
        SocialConnection.objects.save(user, "facebook", ACCOUNT)
        SocialPost.objects.save(user, "free", SocialPostData.model_validate({"status": "published"}))
    put_raw(FOREIGN)


def of(user: str, name: str) -> set[tuple[str, str]]:
    """Give the keys of a listing and of what refers to it."""
    days = {(f"USER#{user}", f"METRICS#{name}#2024-01-0{day}") for day in (1, 2)}
    return {(f"USER#{user}", f"LISTING#{name}"), (f"USER#{user}", f"POST#p-{name}"), *days}


def erase(scope: PurgeScope, path: Path, **how: Any) -> PurgeReport:
    """Plan and purge."""
    return purge_items(plan_purge(scope), confirm=str(scope), report=path, signed_by="ann", **how)


@pytest.mark.usefixtures("feeds")
class TestScopes:
    def test_a_connection(self, tmp_path: Path) -> None:
        """A connection goes with its tokens, its listings, and their posts and figures; and nothing else."""
        before = there()
        report = erase(PurgeScope("u1", "c1"), tmp_path / "report.json")
        assert before - there() == of("u1", "l1") | of("u1", "l2") | {("USER#u1", "MLS_CONNECTION#c1")}
        assert report.counts == {"Listing": 2, "MLSConnection": 1, "PerformanceMetrics": 4, "SocialPost": 2}
        assert (report.left, report.others) == (0, 1)

    def test_an_originating_system(self, tmp_path: Path) -> None:
        """Every user's listings of a system go, with their posts and figures, whatever connection they came by."""
        before = there()
        report = erase(PurgeScope(originating_system="MRED"), tmp_path / "report.json")
        assert before - there() == {key for user in ("u1", "u2") for name in ("l1", "l11") for key in of(user, name)}
        assert report.counts == {"Listing": 4, "PerformanceMetrics": 8, "SocialPost": 4}

    def test_a_user(self, tmp_path: Path) -> None:
        """Of a user goes all that is ours, the ledger of operations too; other applications' items and other users' stay."""
        with transaction(operation_id="sale") as t:
            t.update(Listing, "u1", "l1", price=1)
        before = there()
        assert ("USER#u1", "OP#sale") in before
        erase(PurgeScope("u1"), tmp_path / "report.json")
        assert there() == {key for key in before if key[0] == "USER#u2"} | {("USER#u1", "PROFILE")}

    def test_what_has_expired_goes_too(self, tmp_path: Path) -> None:
        """An item whose TTL has passed is erased like any other, since DynamoDB may keep it for days."""
        expired = {"PK": {"S": "USER#u1"}, "SK": {"S": "POST#old"}, "EntityType": {"S": "SocialPost"}, "TTL": {"N": "1"}}
        put_raw(expired | {"Data": {"M": {"listingId": {"S": "l1"}}}})
        erase(PurgeScope("u1", "c1"), tmp_path / "report.json")
        assert ("USER#u1", "POST#old") not in there()

    def test_a_key_that_says_no_listing(self, tmp_path: Path) -> None:
        """A listing under a key that is none takes no post along that says no listing either."""
        put_raw(
            {"PK": {"S": "USER#u1"}, "SK": {"S": "LISTNG"}, "EntityType": {"S": "Listing"}}
            | {"Data": {"M": {"mlsConnectionId": {"S": "c1"}}}}
        )
        erase(PurgeScope("u1", "c1"), tmp_path / "report.json")
        assert ("USER#u1", "LISTNG") not in there()
        assert ("USER#u1", "POST#free") in there()

    @pytest.mark.parametrize("ids", [{}, {"user_id": "u1", "originating_system": "x"}, {"connection_id": "c1"}])
    def test_what_names_nothing_or_two(self, ids: dict[str, str]) -> None:
        """A scope names one thing."""
        with pytest.raises(ConfigurationError, match="name a user, a user's connection, or an originating system"):
            PurgeScope(**ids)

    def test_ids_are_checked(self) -> None:
        """An id that no key can hold is refused."""
        with pytest.raises(InvalidKeyError):
            PurgeScope("u#1")


@pytest.mark.usefixtures("feeds")
class TestSafety:
    def test_a_plan_writes_nothing(self) -> None:
        """A plan only reads."""
        before = there()
        with recorded() as calls:
            plan = plan_purge(PurgeScope(originating_system="MRED"), segments=2)
        assert {call.operation for call in calls} <= READS
        assert (len(plan.items), there()) == (16, before)
        assert str(plan).startswith("MRED: 4 Listing, 8 PerformanceMetrics, 4 SocialPost to delete")

    def test_what_is_not_confirmed_is_not_deleted(self, tmp_path: Path) -> None:
        """Nothing is deleted or written unless the scope is confirmed to the letter."""
        before, plan = there(), plan_purge(PurgeScope("u1", "c1"))
        for wrong in ("", "u1", "u1/c2", "U1/C1"):
            with pytest.raises(ConfigurationError, match="u1/c1 is to be confirmed"):
                purge_items(plan, confirm=wrong, report=tmp_path / "report.json", signed_by="ann")
        assert (there(), list(tmp_path.iterdir())) == (before, [])

    def test_a_report_that_cannot_be_written(self, tmp_path: Path) -> None:
        """Where the report cannot be written nothing is deleted."""
        before = there()
        with pytest.raises(ConfigurationError, match="the report cannot be written"):
            erase(PurgeScope("u1", "c1"), tmp_path / "nowhere" / "report.json")
        assert there() == before

    def test_what_has_moved_on_stays(self, tmp_path: Path) -> None:
        """What another writer has moved to another connection, or has replaced, since the plan was made is not deleted."""
        plan = plan_purge(PurgeScope("u1", "c1"))
        Listing.objects.update("u1", "l1", mls_connection_id="c2")
        SocialPost.objects.update("u1", "p-l2", listing_id="l11")
        put_raw({"PK": {"S": "USER#u1"}, "SK": {"S": "MLS_CONNECTION#c1"}, "EntityType": {"S": "Another"}})
        report = purge_items(plan, confirm="u1/c1", report=tmp_path / "report.json", signed_by="ann")
        assert {("USER#u1", "LISTING#l1"), ("USER#u1", "POST#p-l2"), ("USER#u1", "MLS_CONNECTION#c1")} <= there()
        assert report.left == 0

    def test_listings_go_last(self) -> None:
        """What refers to a listing goes before it, and the connection after all: so what is left can be found again."""
        order = [item.entity for item in plan_purge(PurgeScope("u1", "c1")).items]
        assert order[-3:] == ["Listing", "Listing", "MLSConnection"]
        assert Counter(order[:-3]) == {"PerformanceMetrics": 4, "SocialPost": 2}


@pytest.mark.usefixtures("feeds")
class TestReport:
    def test_says_what_was_deleted(self, tmp_path: Path) -> None:
        """The file has the scope, the counts, who and when, and of each key the hash that anybody can make of it."""
        before = there()
        report = erase(PurgeScope("u1", "c1"), tmp_path / "report.json")
        gone = {hashlib.sha256(f"{pk}\n{sk}".encode()).hexdigest() for pk, sk in before - there()}
        document = json.loads((tmp_path / "report.json").read_text())
        assert document == report.as_dict()
        assert (document["state"], document["signed_by"]) == ("complete", "ann")
        assert document["scope"] == {"user_id": "u1", "connection_id": "c1"}
        assert document["table"] == store().table_name
        assert document["items"].keys() == gone
        assert document["began"] <= document["ended"]
        assert "LISTING#" not in (tmp_path / "report.json").read_text()

    def test_a_change_is_noticed(self, tmp_path: Path) -> None:
        """The digest is that of the report, and of no other."""
        report = erase(PurgeScope("u1", "c1"), tmp_path / "report.json")
        assert report.signed() == report
        changed = msgspec.convert(report.as_dict() | {"signed_by": "bob"}, PurgeReport)
        assert changed.signed().digest != report.digest

    def test_what_is_written_meanwhile_is_left(self, tmp_path: Path) -> None:
        """A listing that comes while the others are deleted is counted as left, and is not in the report."""
        said: list[int] = []

        def come(done: int) -> None:
            if not said:
                listing("u1", "late", "c1", "MRED")
            said.append(done)

        report = erase(PurgeScope("u1", "c1"), tmp_path / "report.json", progress=come)
        assert (report.left, "4 ITEMS ARE LEFT" in str(report)) == (4, True)
        assert said == list(range(1, 10))

    def test_another_erasures(self, tmp_path: Path) -> None:
        """A report that is complete, another's or none at all is never written over."""
        path = tmp_path / "report.json"
        erase(PurgeScope("u1", "c1"), path)
        content, before = path.read_bytes(), there()
        with pytest.raises(ConfigurationError, match="complete, or of another"):
            erase(PurgeScope("u1", "c2"), path)
        path.write_text("shopping list")
        with pytest.raises(ConfigurationError, match="it is no report of an erasure"):
            erase(PurgeScope("u1", "c2"), path)
        assert (path.read_text(), there()) == ("shopping list", before)
        assert content

    @settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(ends=st.lists(st.integers(1, 6), min_size=1, max_size=3))
    def test_an_interrupted_one_goes_on(self, tmp_path: Path, ends: list[int]) -> None:
        """Interrupted anywhere, an erasure finds what is left, and its report has what all its runs have deleted."""
        for name in ("l1", "l2"):
            listing("u1", name, "c1", "MRED")
        MLSConnection.objects.save("u1", "c1", FEED)
        path, before = tmp_path / "-".join(map(str, ends)), there()
        path.unlink(missing_ok=True)

        def interrupt(done: int, *, end: int) -> None:
            if done == end:
                raise KeyboardInterrupt

        for end in [*ends, 0]:
            with suppress(KeyboardInterrupt):
                report = erase(PurgeScope("u1", "c1"), path, progress=partial(interrupt, end=end))
                break
        gone = {hashlib.sha256(f"{pk}\n{sk}".encode()).hexdigest() for pk, sk in before - there()}
        assert (set(report.items), len(gone), report.left) == (gone, 9, 0)
