"""The audit: every item is looked at, drift is repaired, and what stops on the way goes on."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlssocial
from mlssocial import (
    AuditReport,
    ConfigurationError,
    Finding,
    Listing,
    ListingData,
    ListingStatus,
    MLSConnection,
    StoreError,
    audit_table,
)
from mlssocial.connection import recorded, store
from mlssocial.drift import Kind, Outcome
from mlssocial.schema import ENTITIES, INDEX_ATTRIBUTES, LISTING
from mlssocial.settings import current

from .conftest import get_raw, put_raw

INDEX_NAMES = frozenset(INDEX_ATTRIBUTES.values())
OURS = INDEX_NAMES | {"WriteId"}
FOREIGN = {"PK": {"S": "USER#u1"}, "SK": {"S": "PROFILE"}, "EntityType": {"S": "UserProfile"}, "GSI2PK": {"S": "AUDIT#1"}}
ACTIVE = ListingData(status=ListingStatus.ACTIVE)


def drifted(number: int, **attributes: Any) -> dict[str, Any]:
    """Make a listing as the other application leaves it: sold, without the index keys of that."""
    return {
        "PK": {"S": f"USER#u{number}"},
        "SK": {"S": "LISTING#l1"},
        "EntityType": {"S": "Listing"},
        "UpdatedAt": {"N": "1700000000000"},
        "Data": {"M": {"status": {"S": "sold"}}},
    } | attributes


def key_of(item: dict[str, Any]) -> tuple[str, str]:
    """Give an item's key."""
    return item["PK"]["S"], item["SK"]["S"]


def status_of(number: int) -> list[str]:
    """Give the listings that a user's query for what is sold finds."""
    return [listing.listing_id for listing in Listing.objects.query_by_status(f"u{number}", ListingStatus.SOLD)]


def before(operation: str, act: Callable[[], Any], *, times: int = 1, after: bool = False) -> None:
    """Do something before the next *times* requests of an operation are sent, or after they were answered."""
    left = [act] * times

    def handle(**_: Any) -> Any:
        return left.pop()() if left else None

    store().client.meta.events.register_first(f"{'after' if after else 'before'}-call.dynamodb.{operation}", handle)


@pytest.fixture
def pages_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read one item a page."""
    monkeypatch.setattr("mlssocial.scans.PAGE_ITEMS", 1)


@pytest.mark.usefixtures("table")
class TestFinding:
    def test_the_golden_items_faults(self, golden: list[dict[str, Any]]) -> None:
        """Every fault of the other application's items is found, the stale status and the half pair among them."""
        for item in golden:
            put_raw(item)
        report = audit_table()
        kinds = {finding.key[1]: set(finding.kinds) for finding in report.findings if finding.key[0] == "USER#user-123"}
        assert kinds == {
            "LISTING#draft-1": {Kind.HALF, Kind.MISSING},
            "LISTING#listing-1": {Kind.MISSING},
            "LISTING#listing-2": {Kind.WRONG, Kind.MISSING},
            "MLS_CONNECTION#conn-1": {Kind.MISSING, Kind.CLEAR_TOKEN},
            "SOCIAL#FACEBOOK": {Kind.MISSING, Kind.CLEAR_TOKEN},
        }
        assert report.counts == {
            "Listing": {"half": 1, "missing": 4, "wrong": 1},
            "MLSConnection": {"clear_token": 1, "missing": 1},
            "SocialConnection": {"clear_token": 1, "missing": 1},
        }
        assert (report.scanned, report.others, report.drifted, report.left) == (len(golden), 0, 6, 6)
        assert report.outcomes == {"found": 6}

    def test_a_dry_run_writes_nothing(self) -> None:
        """Without repair there is no request but scans."""
        put_raw(drifted(1))
        with recorded() as calls:
            report = audit_table(segments=3)
        assert {call.operation for call in calls} == {"Scan"}
        assert (report.drifted, report.repaired, report.left) == (1, 0, 1)
        assert get_raw("USER#u1", "LISTING#l1") == drifted(1)

    def test_what_is_not_ours_is_counted_and_left_alone(self) -> None:
        """Other applications' items and expired ones are counted, and never written."""
        expired = drifted(2, TTL={"N": "1000000000"})
        put_raw(FOREIGN)
        put_raw(expired)
        Listing.objects.create("u1", "l1", ACTIVE)
        with recorded() as calls:
            report = audit_table(repair=True)
        assert (report.scanned, report.others, report.expired, report.drifted) == (3, 1, 1, 0)
        assert {call.operation for call in calls} == {"Scan"}
        assert (get_raw(*key_of(FOREIGN)), get_raw(*key_of(expired))) == (FOREIGN, expired)

    def test_what_cannot_be_read_stops_nothing(self) -> None:
        """An item of which no keys can be told is reported with its key and reason, and the others are repaired."""
        put_raw(broken := drifted(1, Data={"S": "canary"}))
        put_raw(drifted(2))
        report = audit_table(repair=True)
        (finding,) = [finding for finding in report.findings if not finding.drifted]
        assert (finding.key, finding.kinds, finding.notes) == (key_of(broken), (Kind.UNREADABLE,), ("Data is no map",))
        assert (report.repaired, report.left) == (1, 1)
        assert get_raw(*key_of(broken)) == broken

    def test_a_value_that_no_key_can_hold_is_a_note(self) -> None:
        """A stored value that cannot go into a key leaves no index pair, and is noted ever after, which is no drift."""
        data = {"status": {"S": "act#ive"}}
        put_raw(drifted(1, Data={"M": data}, GSI2PK={"S": "x"}, GSI2SK={"S": "y"}))
        first, again = audit_table(repair=True), audit_table(repair=True)
        assert first.counts == {"Listing": {"unexpected": 1, "unfit": 1}}
        assert again.counts == {"Listing": {"unfit": 1}}
        assert (again.drifted, again.left) == (0, 0)
        assert "status: 'act#ive' contains '#'" in again.findings[0].notes[0]
        assert get_raw("USER#u1", "LISTING#l1").keys() & INDEX_NAMES == set()  # type: ignore[union-attr]

    @pytest.mark.parametrize("segments", [1, 4])
    @pytest.mark.usefixtures("pages_of_one")
    def test_every_page_of_every_segment_is_read(self, segments: int) -> None:
        """Each item is looked at once, whatever the number of pages and segments, and each finding is called back."""
        for number in range(12):
            put_raw(drifted(number))
        seen: list[Finding] = []
        progress: list[int] = []
        report = audit_table(segments=segments, on_finding=seen.append, progress=lambda now: progress.append(now.scanned))
        assert sorted(finding.key[0] for finding in seen) == sorted(f"USER#u{number}" for number in range(12))
        assert (report.scanned, report.drifted, progress[-1]) == (12, 12, 12)
        assert report.read_units > 0

    def test_the_report_names_some_and_counts_all(self) -> None:
        """As many findings are kept as were asked for; all of them are counted."""
        for number in range(5):
            put_raw(drifted(number))
        report = audit_table(keep=2)
        assert (len(report.findings), report.drifted, report.counts) == (2, 5, {"Listing": {"missing": 5}})
        document = json.loads(json.dumps(report.as_dict()))
        assert (document["drifted"], len(document["findings"]), document["findings"][0]["kinds"]) == (5, 2, ["missing"])

    def test_the_report_reads_well(self) -> None:
        """A report says what was read, what it cost, what was left alone and what was found."""
        report = AuditReport(scanned=1200, others=3, expired=1, read_units=7.5, elapsed=1.25)
        report.counts, report.outcomes = {"Listing": {"wrong": 1, "half": 2}}, {"found": 3}
        assert str(report).splitlines() == [
            "1,200 items in 1.2 s for 7.5 read units; left alone: 3 of other applications and 1 expired",
            "3 drifted: dry run, nothing was written",
            "  Listing: 2 half, 1 wrong",
        ]
        report.repair, report.outcomes = True, {"repaired": 2, "settled": 1}
        assert "3 drifted: 2 repaired, 1 settled" in str(report)
        assert "0 drifted: nothing to repair" in str(AuditReport(repair=True))


@pytest.mark.usefixtures("table")
class TestRepairing:
    @pytest.mark.parametrize("segments", [1, 3])
    def test_the_golden_items(self, golden: list[dict[str, Any]], segments: int) -> None:
        """After a repair nothing is found, and only index attributes and WriteId differ from before."""
        for item in golden:
            put_raw(item)
        assert (report := audit_table(repair=True, segments=segments)).repaired == 6
        assert report.left == 0
        assert audit_table().drifted == 0
        for item in golden:
            now = get_raw(*key_of(item))
            assert now is not None
            ours = ENTITIES[item["EntityType"]["S"]].index_keys
            ids = ENTITIES[item["EntityType"]["S"]].parse(*key_of(item))
            assert {name: value for name, value in now.items() if name in INDEX_NAMES} == ours(ids, item["Data"]["M"])
            rest = [{name: value for name, value in one.items() if name not in OURS} for one in (now, item)]
            assert rest[0] == rest[1]
        found = Listing.objects.query_by_mls_number("flexmls", "MLS-457", user_id="user-123", status=ListingStatus.SOLD)
        assert [listing.listing_id for listing in found] == ["listing-2"]
        due = MLSConnection.objects.due_for_sync(datetime.now(UTC), user_id="user-123")
        assert [connection.connection_id for connection in due] == ["conn-1"]

    def test_a_second_repair_writes_nothing(self) -> None:
        """What is right is not written again."""
        put_raw(drifted(1))
        audit_table(repair=True)
        now = get_raw("USER#u1", "LISTING#l1")
        assert audit_table(repair=True).outcomes == {}
        assert get_raw("USER#u1", "LISTING#l1") == now

    def test_another_writer_in_between_is_not_overwritten(self) -> None:
        """An item that another writer changes between read and repair keeps that change, and its keys follow from it."""
        put_raw(drifted(1))
        changed = drifted(1, Data={"M": {"status": {"S": "pending"}}}, UpdatedAt={"N": "1700000000001"})
        before("UpdateItem", lambda: put_raw(changed))
        report = audit_table(repair=True)
        assert report.outcomes == {"repaired": 1}
        now = get_raw("USER#u1", "LISTING#l1")
        assert now is not None
        assert now["Data"] == changed["Data"]
        assert now["GSI2PK"] == {"S": "USER#u1#STATUS#pending"}

    @pytest.mark.parametrize(
        "settle",
        [
            lambda: Listing.objects.save("u1", "l1", ACTIVE),
            lambda: Listing.objects.delete("u1", "l1"),
            lambda: put_raw(FOREIGN | {"SK": {"S": "LISTING#l1"}}),
        ],
        ids=["saved", "deleted", "another's"],
    )
    def test_what_another_writer_settles_is_settled(self, settle: Callable[[], Any]) -> None:
        """Where another writer has come first and nothing is left to repair, nothing is written."""
        put_raw(drifted(1))
        left = []

        def act() -> None:
            settle()
            left.append(get_raw("USER#u1", "LISTING#l1"))

        before("UpdateItem", act)
        report = audit_table(repair=True)
        assert (report.outcomes, report.left) == ({"settled": 1}, 0)
        assert get_raw("USER#u1", "LISTING#l1") == left[0]

    def test_an_item_that_never_rests_is_reported(self) -> None:
        """An item that other writers change without end is a failed finding, and the others are repaired."""
        put_raw(drifted(1))
        put_raw(drifted(2))
        moments = iter(range(1_700_000_000_001, 1_700_000_000_999))
        target = json.dumps("USER#u1").encode()

        def interfere(params: dict[str, Any], **_: Any) -> None:
            if target in params["body"]:
                put_raw(drifted(1, UpdatedAt={"N": str(next(moments))}))

        store().client.meta.events.register_first("before-call.dynamodb.UpdateItem", interfere)
        report = audit_table(repair=True)
        assert (report.outcomes, report.left) == ({"failed": 1, "repaired": 1}, 1)
        (failed,) = [finding for finding in report.findings if finding.outcome is Outcome.FAILED]
        assert (failed.key[0], failed.notes) == ("USER#u1", ("other writers kept changing it; audit again",))

    @pytest.mark.parametrize("applied", [True, False])
    def test_a_lost_answer(self, applied: bool) -> None:
        """A repair whose answer was lost is looked up, and sent again if it does not show."""

        def lose() -> None:
            raise ReadTimeoutError(endpoint_url="injected")

        put_raw(drifted(1))
        before("UpdateItem", lose, after=applied)
        assert audit_table(repair=True).outcomes == {"repaired": 1}
        assert status_of(1) == ["l1"]

    def test_every_item_that_another_application_may_have_left(self) -> None:
        """Whatever index keys another application leaves, after a repair they follow from data and a status query finds all."""
        text = st.sampled_from(["", "x", "MLS#flexmls#7", "STATUS#active"]).map(lambda value: {"S": value or "y"})
        data = st.fixed_dictionaries(
            {"status": st.sampled_from(["active", "pending", "sold", "expired"]).map(lambda value: {"S": value})},
            optional={
                "mlsProvider": st.sampled_from(["flexmls", "a#b"]).map(lambda value: {"S": value}),
                "mlsNumber": st.sampled_from([{"S": "7"}, {"N": "7"}, {"NULL": True}]),
                "listDate": st.sampled_from([{"S": "2024-01-15"}, {"S": "15.1.2024"}]),
            },
        )
        items = st.lists(st.tuples(st.dictionaries(st.sampled_from(sorted(INDEX_NAMES)), text), data), min_size=1, max_size=4)

        @settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(items=items)
        def holds(items: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
            user = uuid.uuid4().hex
            for number, (attributes, stored) in enumerate(items):
                pk, sk = LISTING.keys((user, f"l{number}"))
                put_raw(drifted(0, **attributes, PK={"S": pk}, SK={"S": sk}, Data={"M": stored}))
            assert audit_table(repair=True).left == 0
            for number, (_, stored) in enumerate(items):
                ids = (user, f"l{number}")
                now = get_raw(*LISTING.keys(ids)) or {}
                follow = LISTING.index_keys(ids, stored, frozenset())
                assert {name: value for name, value in now.items() if name in INDEX_NAMES} == follow
                page = Listing.objects.query_by_status(user, stored["status"]["S"]).page(100)
                found = [(one.pk, one.sk) for one in page.items] + [row.key for row in page.unreadable]
                assert LISTING.keys(ids) in found

        holds()


@pytest.mark.usefixtures("table", "pages_of_one")
class TestGoingOn:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Give a checkpoint's path, and fill the table with drift."""
        for number in range(8):
            put_raw(drifted(number))
        return tmp_path / "audit.json"

    @pytest.mark.parametrize("segments", [1, 3])
    def test_after_an_interruption(self, path: Path, segments: int) -> None:
        """An audit that was interrupted goes on where it was: the rest is repaired, the file goes, and the report counts on."""
        seen: list[Finding] = []

        def interrupt(finding: Finding) -> None:
            seen.append(finding)
            if len(seen) == 4:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            audit_table(repair=True, segments=segments, checkpoint=path, on_finding=interrupt)
        assert path.exists()
        assert 4 <= sum(status_of(number) == ["l1"] for number in range(8)) < 8
        report = audit_table(repair=True, segments=segments, checkpoint=path)
        assert [status_of(number) for number in range(8)] == [["l1"]] * 8
        assert not path.exists()
        assert report.scanned == 8
        assert report.drifted >= 8 - segments  # the pages that were under way were repaired, and not taken over

    def test_a_page_that_was_taken_over_is_not_read_again(self, path: Path) -> None:
        """What the checkpoint says was done is not done again."""
        ended: list[int] = []

        def stop(report: AuditReport) -> None:
            ended.append(report.scanned)
            if len(ended) == 5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            audit_table(checkpoint=path, progress=stop)
        with recorded() as calls:
            report = audit_table(checkpoint=path)
        assert len(calls) <= 4  # three items, and the end
        assert (report.scanned, report.drifted, len(report.findings)) == (8, 8, 8)

    def test_after_a_failure(self, path: Path) -> None:
        """An error of the table's ends the audit, and leaves the checkpoint to go on with."""
        done: list[AuditReport] = []

        def refuse() -> Any:
            failed = {"Code": "AccessDeniedException", "Message": "injected"}
            return AWSResponse("", 400, {}, None), {"Error": failed, "ResponseMetadata": {"HTTPStatusCode": 400}}

        def fail(report: AuditReport) -> None:
            done.append(report)
            if len(done) == 3:
                before("Scan", refuse)

        with pytest.raises(StoreError, match="AccessDenied"):
            audit_table(repair=True, checkpoint=path, progress=fail)
        assert path.exists()
        assert audit_table(repair=True, checkpoint=path).repaired == 8
        assert not path.exists()

    @pytest.mark.parametrize(
        ("other", "reason"),
        [
            ({"segments": 2}, "with segments 1 and not 2"),
            ({"repair": True}, "with repair False and not True"),
        ],
    )
    def test_refuses_another_audits_checkpoint(self, path: Path, other: dict[str, Any], reason: str) -> None:
        """A checkpoint of other segments, or of a dry run, is refused, and stays as it is."""
        self.leave(path)
        content = path.read_bytes()
        with recorded() as calls, pytest.raises(ConfigurationError, match=reason):
            audit_table(checkpoint=path, **other)
        assert (calls, path.read_bytes()) == ([], content)

    def test_refuses_another_tables_checkpoint(self, path: Path) -> None:
        """A checkpoint of another table is refused, by name."""
        self.leave(path)
        held = current()
        mlssocial.configure(held, table_name="another")
        try:
            with pytest.raises(ConfigurationError, match=rf"with table {held.table_name} .* and not another"):
                audit_table(checkpoint=path)
        finally:
            mlssocial.configure(held)

    def test_refuses_what_is_no_checkpoint(self, path: Path) -> None:
        """A file that is none is refused, and not overwritten."""
        for content in (b"", b"{", b"[]", b'{"table": 1}', b"\xff", b'{"positions": {"x": 1}}', b'{"x": ' + b"[" * 100_000):
            path.write_bytes(content)
            with pytest.raises(ConfigurationError, match="cannot be read as a checkpoint"):
                audit_table(checkpoint=path)
            assert path.read_bytes() == content

    def test_a_checkpoint_that_cannot_be_written(self, path: Path) -> None:
        """A place where no file can be written is known before anything is done."""
        with recorded() as calls, pytest.raises(ConfigurationError, match="the checkpoint cannot be written: "):
            audit_table(repair=True, checkpoint=path / "nowhere" / "audit.json")
        assert calls == []

    @staticmethod
    def leave(path: Path) -> None:
        """Interrupt an audit, so that its checkpoint stays."""

        def stop(_: AuditReport) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            audit_table(checkpoint=path, progress=stop)


class TestPace:
    @pytest.mark.usefixtures("table", "pages_of_one")
    def test_read_units_a_second(self) -> None:
        """The scan is no faster than it may be."""
        for number in range(3):
            put_raw(drifted(number))
        started = time.monotonic()
        report = audit_table(max_read_units=10)
        assert time.monotonic() - started >= report.read_units / 10 > 0

    @pytest.mark.parametrize("how", [{"segments": 0}, {"segments": 65}, {"segments": True}, {"segments": 1.5}])
    def test_segments(self, how: Any) -> None:
        """A number of segments that cannot be is refused."""
        with pytest.raises(ConfigurationError, match="segments: a whole number from 1 to 64"):
            audit_table(**how)

    @pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), True, "fast"])
    def test_a_rate_that_cannot_be(self, rate: Any) -> None:
        """A rate that cannot be is refused."""
        with pytest.raises(ConfigurationError, match="max_read_units: a number above zero"):
            audit_table(max_read_units=rate)


def test_audits_beside_writers_lose_nothing(tmp_path: Path) -> None:
    """Two audits beside writers of both kinds leave every item with what was written last, and with keys that follow."""
    mlssocial.configure(table_name="busy", endpoint_url=f"local:{tmp_path / 'busy.db'}")
    mlssocial.create_table()
    for number in range(20):
        put_raw(drifted(number))
    statuses = [status.value for status in ListingStatus]

    def theirs(number: int) -> None:
        for turn, status in enumerate(statuses):
            store().client.update_item(
                TableName="busy",
                Key={"PK": {"S": f"USER#u{number}"}, "SK": {"S": "LISTING#l1"}},
                UpdateExpression="SET #d.#s = :s, UpdatedAt = :u",
                ExpressionAttributeNames={"#d": "Data", "#s": "status"},
                ExpressionAttributeValues={":s": {"S": status}, ":u": {"N": str(1_700_000_000_001 + turn)}},
            )

    with ThreadPoolExecutor(4) as pool:
        work: list[Future[Any]] = [pool.submit(audit_table, repair=True, segments=2) for _ in range(2)]
        work += [pool.submit(theirs, number) for number in range(20)]
        for future in work:
            future.result()
    assert audit_table(repair=True).left == 0
    for number in range(20):
        found = Listing.objects.query_by_status(f"u{number}", ListingStatus(statuses[-1]))
        assert [listing.listing_id for listing in found] == ["l1"]
    assert audit_table().drifted == 0
