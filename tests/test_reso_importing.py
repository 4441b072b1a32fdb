"""Records become a user's listings: new ones are made, changed ones changed, and nothing else is touched."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from mlssocial import InvalidKeyError, Listing, ListingData, ListingStatus, StoreError, keys
from mlssocial.connection import recorded, store
from mlssocial.reso import (
    FeedError,
    ImportReport,
    Record,
    RejectedRecord,
    demo_page,
    import_feed,
    listing_id,
    read_records,
)

from .conftest import SHARED, get_raw, put_raw

SPARK = SHARED / "data" / "spark_api"
WRITES = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"}
HOUSE: dict[str, Any] = {
    "ListingKey": "K1",
    "ListingId": "06-9395",
    "StandardStatus": "Active",
    "ListPrice": "500000",
    "PublicRemarks": "Bright.",
    "City": "Reno",
    "StateOrProvince": "NV",
    "Heating": ["Gas"],
    "ModificationTimestamp": "2024-01-15T10:00:00Z",
}


def load(*records: dict[str, Any], user_id: str = "u1", provider: str = "flexmls", **options: Any) -> ImportReport:
    """Import records out of memory."""
    return import_feed(map(Record, records), user_id=user_id, provider=provider, **options)


def house(**changes: Any) -> dict[str, Any]:
    """Give the house with some fields changed, and without those that are given as an ellipsis."""
    return {name: value for name, value in {**HOUSE, **changes}.items() if value is not ...}


def stored(listing: str = "flexmls-K1", user_id: str = "u1") -> ListingData:
    """Read a listing's payload."""
    return Listing.objects.get(user_id, listing, consistent=True).data


def counts(report: ImportReport) -> tuple[int, int, int, int, int]:
    """Give what a report counts: created, updated, unchanged, skipped, rejected."""
    return report.created, report.updated, report.unchanged, report.skipped_count, report.rejected_count


def foreign(listing: str, **data: Any) -> None:
    """Store a listing as the other application would, under an id of its own."""
    fields = {"mlsProvider": {"S": "flexmls"}, "mlsId": {"S": "K1"}, "status": {"S": "active"}, **data}
    key = {"PK": {"S": "USER#u1"}, "SK": {"S": f"LISTING#{listing}"}}
    times = {"CreatedAt": {"N": "1"}, "UpdatedAt": {"N": "1"}}
    put_raw({**key, "EntityType": {"S": "Listing"}, "Data": {"M": fields}, **times})


class TestListingId:
    """The id of a listing that an import makes."""

    TEXTS = st.text(min_size=1, max_size=30) | st.text("-%#~a", min_size=1, max_size=6)

    def test_plain(self) -> None:
        """Ordinary providers and keys can be read in it."""
        assert listing_id("flexmls", "20060725224713296297000000") == "flexmls-20060725224713296297000000"
        assert listing_id("mls-grid", "A#1/b") == "mls%2Dgrid-A%231%2Fb"

    @given(st.tuples(TEXTS, TEXTS), st.tuples(TEXTS, TEXTS))
    def test_one_id_a_pair(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        """Two different pairs of provider and key never give one id."""
        assert (listing_id(*one) == listing_id(*other)) == (one == other)

    @given(st.text(min_size=1, max_size=4), st.integers(1, 255), st.text(min_size=1, max_size=4), st.integers(1, 255))
    def test_long_keys(self, one: str, times: int, other: str, often: int) -> None:
        """That holds for keys of any length too, and none is too long for the keys that it goes into."""
        made, another = listing_id("flexmls", one * times), listing_id("flexmls", other * often)
        assert (made == another) == (one * times == other * often)
        assert keys.listing_keys("u1", made, "flexmls", "1", "active", "2024-01-15").sk == f"LISTING#{made}"
        assert keys.performance_metrics_keys("u1", made, "2024-01-15")


@pytest.mark.usefixtures("table")
class TestCreate:
    """A record that is new."""

    def test_everything(self) -> None:
        """A new record becomes a listing with the feed's fields, the provider, the connection and the time of the import."""
        before = datetime.now(UTC) - timedelta(milliseconds=1)
        report = load(house(), connection_id="c1")
        data = stored()
        assert counts(report) == (1, 0, 0, 0, 0)
        assert (data.price, data.status, data.mls_number) == (Decimal(500000), ListingStatus.ACTIVE, "06-9395")
        assert (data.mls_provider, data.mls_id, data.mls_connection_id) == ("flexmls", "K1", "c1")
        assert data.model_extra == {"heating": ["Gas"]}
        assert data.synced_at is not None
        assert before <= data.synced_at <= datetime.now(UTC)
        found = Listing.objects.query_by_mls_number("flexmls", "06-9395", user_id="u1").first()
        assert found is not None
        assert found.listing_id == "flexmls-K1"

    def test_null_is_nothing(self) -> None:
        """What a feed has as null is not stored in a new listing."""
        load(house(PublicRemarks=None, BedroomsTotal=None, City=None, StateOrProvince=None, Heating=None))
        assert {"description", "bedrooms", "address", "heating"}.isdisjoint(stored().model_dump(exclude_unset=True))

    def test_another_users_listing(self) -> None:
        """Another user's copy is another listing."""
        load(house())
        assert counts(load(house(ListPrice="1"), user_id="u2")) == (1, 0, 0, 0, 0)
        assert stored().price == Decimal(500000)

    def test_another_providers_listing(self) -> None:
        """The same key of another provider is another listing."""
        load(house())
        assert counts(load(house(), provider="crmls")) == (1, 0, 0, 0, 0)

    def test_an_id_that_is_taken(self) -> None:
        """A listing that stands under the id, and is another one, is not overwritten."""
        foreign("flexmls-K1", mlsId={"S": "another"})
        report = load(house())
        assert counts(report) == (0, 0, 0, 0, 1)
        assert "exists already" in report.rejected[0].reason

    def test_too_large(self) -> None:
        """A listing that is larger than an item may be, without any photo, is rejected, and the next one goes on."""
        report = load(house(PublicRemarks="x" * 420_000, Media=[{"MediaURL": "u"}]), house(ListingKey="K2"))
        assert counts(report) == (1, 0, 0, 0, 1)
        assert "the largest field is description" in report.rejected[0].reason

    def test_too_many(self) -> None:
        """Of more photos than any item has room for, a listing keeps as many as fit."""
        report = load(house(Media=[{"MediaURL": "u"}] * 103_000), house(ListingKey="K2"))
        assert counts(report) == (2, 0, 0, 0, 0)


@pytest.mark.usefixtures("table")
class TestUpdate:
    """A record that is there already."""

    def test_unchanged(self) -> None:
        """Importing again writes nothing, the time of the import included."""
        load(house())
        synced = stored().synced_at
        with recorded() as calls:
            assert counts(load(house())) == (0, 0, 1, 0, 0)
        assert WRITES.isdisjoint(call.operation for call in calls)
        assert stored().synced_at == synced

    def test_changed(self) -> None:
        """A changed field is written by one request, with the time of the import, and nothing else changes."""
        load(house())
        before = get_raw("USER#u1", "LISTING#flexmls-K1") or {}
        with recorded() as calls:
            report = load(house(ListPrice="499000"))
        after = get_raw("USER#u1", "LISTING#flexmls-K1") or {}
        assert counts(report) == (0, 1, 0, 0, 0)
        assert [call.operation for call in calls] == ["BatchGetItem", "UpdateItem"]
        old, new = before["Data"]["M"], after["Data"]["M"]
        assert {name for name in old | new if old.get(name) != new.get(name)} == {"price", "syncedAt"}
        assert {name for name in before if before[name] != after.get(name)} <= {"Data", "UpdatedAt", "WriteId"}

    @pytest.mark.parametrize(
        ("change", "read", "expected"),
        [
            ({"StandardStatus": "Closed"}, lambda data: data.status, ListingStatus.SOLD),
            ({"City": "Sparks"}, lambda data: (data.address.city, data.address.state), ("Sparks", "NV")),
            ({"PostalCode": "89501"}, lambda data: data.address.zip, "89501"),
            ({"Heating": ["Gas", "Solar"]}, lambda data: data.model_extra, {"heating": ["Gas", "Solar"]}),
            ({"Media": [{"MediaURL": "u"}]}, lambda data: [photo.url for photo in data.photos], ["u"]),
            ({"ListingId": "07-1"}, lambda data: data.mls_number, "07-1"),
            ({"PublicRemarks": None}, lambda data: (data.description, "description" in data.model_fields_set), (None, True)),
            ({"City": None}, lambda data: (data.address.city, data.address.state), (None, "NV")),
        ],
    )
    def test_each_kind(self, change: dict[str, Any], read: Any, expected: Any) -> None:
        """Status, parts of the address, lists, undeclared fields and what became null are written, and then are unchanged."""
        load(house())
        assert counts(load(house(**change))) == (0, 1, 0, 0, 0)
        assert read(stored()) == expected
        assert counts(load(house(**change))) == (0, 0, 1, 0, 0)

    def test_what_the_feed_does_not_say(self) -> None:
        """A field that the feed leaves out, or has empty, stays as it is: it may only not have been asked for."""
        load(house())
        assert counts(load(house(PublicRemarks=..., City=..., Heating=..., ListingId=""))) == (0, 0, 1, 0, 0)
        assert (stored().description, stored().mls_number) == ("Bright.", "06-9395")

    def test_index_keys_follow(self) -> None:
        """A status that changes is found under the new one, and no longer under the old one."""
        load(house())
        load(house(StandardStatus="Pending"))
        pending = [listing.listing_id for listing in Listing.objects.query_by_status("u1", "pending")]
        active = [listing.listing_id for listing in Listing.objects.query_by_status("u1", "active")]
        assert (pending, active) == (["flexmls-K1"], [])

    def test_too_large(self) -> None:
        """A change that would make a listing too large is rejected, and the next record goes on."""
        load(house(), house(ListingKey="K2"))
        report = load(house(PublicRemarks="x" * 420_000), house(ListingKey="K2", ListPrice="1"))
        assert counts(report) == (0, 1, 0, 0, 1)
        assert "more than the 409,600 that DynamoDB takes" in report.rejected[0].reason

    def test_deleted_before(self) -> None:
        """A listing that was deleted is made again, since the feed has it."""
        load(house())
        Listing.objects.delete("u1", "flexmls-K1")
        assert counts(load(house(ListPrice="1"))) == (1, 0, 0, 0, 0)


@pytest.mark.usefixtures("table")
class TestForeignListings:
    """Listings that the other application made."""

    def test_known_again(self) -> None:
        """One with an id of its own is updated and not doubled, and what an import does not own is kept."""
        address = {"M": {"city": {"S": "Reno"}, "zipCode": {"S": "89501"}, "unit": {"S": "4"}}}
        foreign("abc", customNote={"BOOL": True}, address=address, listDate={"S": "2024-01-01"})
        assert counts(load(house())) == (0, 1, 0, 0, 0)
        raw = (get_raw("USER#u1", "LISTING#abc") or {})["Data"]["M"]
        assert (raw["customNote"], raw["listDate"], raw["price"]) == ({"BOOL": True}, {"S": "2024-01-01"}, {"N": "500000"})
        assert raw["address"]["M"] == {**address["M"], "state": {"S": "NV"}}
        assert [listing.listing_id for listing in Listing.objects.query("u1")] == ["abc"]
        assert counts(load(house())) == (0, 0, 1, 0, 0)

    def test_doubles(self) -> None:
        """Where several have one key, the one with the feed's MLS number is meant."""
        foreign("first", mlsNumber={"S": "06-1"})
        foreign("second", mlsNumber={"S": "06-9395"})
        assert counts(load(house())) == (0, 1, 0, 0, 0)
        assert (stored("first").price, stored("second").price) == (None, Decimal(500000))

    @pytest.mark.parametrize("address", [{"S": "12 Main St"}, {"L": []}])
    def test_unreadable(self, address: dict[str, Any]) -> None:
        """One that cannot be read is left alone, and the record is rejected."""
        foreign("flexmls-K1", address=address)
        report = load(house())
        assert counts(report) == (0, 0, 0, 0, 1)
        assert (
            "it is stored already, and cannot be read: read Listing USER#u1 / LISTING#flexmls-K1" in report.rejected[0].reason
        )

    def test_unreadable_under_another_id(self) -> None:
        """One that cannot be read is not doubled under an id of the import's own: the record is rejected and says why."""
        foreign("theirs", address={"S": "here"})
        report = load(house())
        assert counts(report) == (0, 0, 0, 0, 1)
        assert "stored already, and cannot be read" in report.rejected[0].reason
        assert [row.key[1] for row in Listing.objects.query("u1").page().unreadable] == ["LISTING#theirs"]
        assert Listing.objects.query("u1").count() == 1

    def test_golden(self, golden: list[dict[str, Any]]) -> None:
        """The golden listings, two of which share a key, take the feed's price and keep everything else."""
        for item in golden:
            put_raw(item)
        feed = house(ListingKey="mls-123", ListingId="MLS-457", StandardStatus="Closed", ListPrice="700000")
        assert counts(load(feed, user_id="user-123")) == (0, 1, 0, 0, 0)
        assert stored("listing-1", "user-123").price == Decimal(500000)
        raw = (get_raw("USER#user-123", "LISTING#listing-2") or {})["Data"]["M"]
        assert (raw["price"], raw["customNote"], raw["emptyText"]) == ({"N": "700000"}, {"NULL": True}, {"S": ""})


@pytest.mark.usefixtures("table")
class TestOrder:
    """The same listing more than once, in a feed or in time."""

    def test_older(self) -> None:
        """A record that is older than what is stored changes nothing."""
        load(house())
        report = load(house(ModificationTimestamp="2024-01-15T09:59:59.999Z", ListPrice="1"))
        assert report.skipped == {"older than what is stored, by ModificationTimestamp": 1}
        assert stored().price == Decimal(500000)

    @pytest.mark.parametrize(
        "timestamp",
        ["2024-01-15T10:00:00Z", "2024-01-15T11:00:00.123456789+01:00", "2024-01-15T10:00:00", "yesterday", ...],
    )
    def test_not_older(self, timestamp: Any) -> None:
        """One that is as old, in whatever form, or does not say, is compared field by field."""
        load(house())
        assert counts(load(house(ModificationTimestamp=timestamp, ListPrice="1"))) == (0, 1, 0, 0, 0)

    def test_the_latest_wins(self) -> None:
        """Of two versions in one feed the one with the later ModificationTimestamp stands, in whichever order they come."""
        early, late = house(ListPrice="1"), house(ListPrice="2", ModificationTimestamp="2024-01-15T10:00:00.001Z")
        for user, feed in (("u1", [early, late]), ("u2", [late, early])):
            load(*feed, user_id=user)
            assert stored(user_id=user).price == Decimal(2)
            with recorded() as calls:
                load(*feed, user_id=user)
            assert WRITES.isdisjoint(call.operation for call in calls)

    def test_the_last_wins(self) -> None:
        """Of two versions that cannot be told apart by time the last one stands."""
        assert counts(load(house(ListPrice="1"), house(ListPrice="2"))) == (1, 1, 0, 0, 0)
        assert stored().price == Decimal(2)

    def test_back_on_the_market(self) -> None:
        """A sold listing may become active again."""
        load(house(StandardStatus="Closed"))
        load(house(ModificationTimestamp="2024-02-01T00:00:00Z"))
        assert stored().status is ListingStatus.ACTIVE


@pytest.mark.usefixtures("table")
class TestReport:
    """What became of a feed."""

    def test_everything_counts(self) -> None:
        """Every record is counted once, skipped ones by reason, rejected ones with their place, key and reason."""
        records = [
            Record(house(), "f", 1),
            Record(house(), "f", 2),
            Record(house(ListPrice="1"), "f", 3),
            Record(house(StandardStatus="Coming Soon"), "f", 4),
            Record(house(StandardStatus="Coming Soon"), "f", 5),
            Record(house(StandardStatus="Hold"), "f", 6),
            Record(house(ListPrice="x"), "f", 7),
            Record(house(ListingId="a#b"), "f", 8),
            Record({}, "f", 9, "not JSON: Expecting value"),
        ]
        report = import_feed(records, user_id="u1", provider="flexmls")
        assert counts(report) == (1, 1, 1, 3, 3)
        assert report.total == 9
        assert sorted(report.skipped.values()) == [1, 2]
        assert [(record.position, record.key) for record in report.rejected] == [(7, "K1"), (8, "K1"), (9, None)]
        text = str(report)
        assert "9 records in 0." in text
        assert "1 created, 1 updated, 1 unchanged, 0 removed, 3 skipped, 3 rejected" in text
        assert "skipped 2: StandardStatus Coming Soon has no place among the four statuses" in text
        assert "rejected f:7 (ListingKey K1): ListPrice: 'x': not a decimal number" in text
        assert "rejected f:9: not JSON: Expecting value" in text

    def test_json(self) -> None:
        """As a dict it is JSON, with the rejected records by name."""
        report = load(house(), house(ListPrice="x"))
        found = json.loads(json.dumps(report.as_dict()))
        assert (found["total"], found["created"], found["rejected_count"], found["dry_run"]) == (2, 1, 1, False)
        assert RejectedRecord(**found["rejected"][0]) == report.rejected[0]
        assert found["elapsed"] >= 0

    def test_bounded(self) -> None:
        """A feed of nothing but broken records does not fill memory: all are counted, the first hundred are named."""
        report = load(*[house(ListPrice="x")] * 250, house(ListingKey=["x"]))
        assert (report.rejected_count, len(report.rejected)) == (251, 100)
        assert str(report).splitlines()[-1] == "  rejected 151 more"

    def test_progress(self) -> None:
        """The caller is shown the report after each record."""
        seen: list[int] = []
        load(house(), house(), house(), progress=lambda report: seen.append(report.total))
        assert seen == [1, 2, 3]

    def test_dry_run(self) -> None:
        """A dry run counts what an import would do, and writes nothing."""
        load(house())
        with recorded() as calls:
            report = load(house(ListPrice="1"), house(ListingKey="K2"), house(ListingKey="K2"), dry_run=True)
        assert counts(report) == (1, 1, 1, 0, 0)
        assert str(report).startswith("dry run, nothing was written: ")
        assert WRITES.isdisjoint(call.operation for call in calls)


@pytest.mark.usefixtures("table")
class TestErrors:
    """What stops an import, and what it leaves."""

    @pytest.mark.parametrize(
        "names", [{"user_id": "a#b"}, {"user_id": ""}, {"provider": "a#b"}, {"provider": ""}, {"connection_id": "a#b"}]
    )
    def test_names(self, names: dict[str, str]) -> None:
        """A user, provider or connection that cannot go into a key is refused before anything is read."""
        with recorded() as calls, pytest.raises(InvalidKeyError):
            load(house(), **names)
        assert calls == []

    def test_default_status(self) -> None:
        """A default that is no status is refused, and a good one is taken for records that have none."""
        with pytest.raises(ValueError, match="Coming Soon"):
            load(house(), default_status="Coming Soon")
        assert counts(load(house(StandardStatus=...))) == (0, 0, 0, 1, 0)
        assert counts(load(house(StandardStatus=...), default_status="pending")) == (1, 0, 0, 0, 0)
        assert stored().status is ListingStatus.PENDING

    def test_interrupted(self) -> None:
        """An error of the store stops the import; what was written stays, and importing again goes on from there."""
        feed = [house(ListingKey=f"K{number}") for number in range(5)]
        sent: list[str] = []

        def refuse(**_: Any) -> None:
            sent.append("PutItem")
            if len(sent) == 3:
                raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not allowed"}}, "PutItem")

        client = store().client
        client.meta.events.register("before-call.dynamodb.PutItem", refuse)
        with pytest.raises(StoreError, match="AccessDeniedException"):
            load(*feed)
        client.meta.events.unregister("before-call.dynamodb.PutItem", refuse)
        assert counts(load(*feed)) == (3, 0, 2, 0, 0)

    def test_a_broken_feed(self, tmp_path: Path) -> None:
        """A feed that cannot be read on stops the import too; the files before it are imported."""
        (tmp_path / "a.json").write_text(json.dumps(house()))
        (tmp_path / "b.json").write_text("no JSON")
        with pytest.raises(FeedError, match=r"b\.json: line 1"):
            import_feed(tmp_path / "a.json", tmp_path / "b.json", user_id="u1", provider="flexmls")
        assert stored().price == Decimal(500000)


@pytest.mark.usefixtures("table")
class TestFiles:
    """Whole feeds."""

    def test_sacramento(self) -> None:
        """All 932 sales are imported; again, nothing is written; with one price changed, that one is."""
        names: dict[str, Any] = {"user_id": "u1", "provider": "sacramento"}
        with recorded() as calls:
            assert counts(import_feed(read_records(demo_page()), **names)) == (932, 0, 0, 0, 0)
        assert Counter(call.operation for call in calls)["PutItem"] == 932
        with recorded() as calls:
            assert counts(import_feed(demo_page(), user_id="u1", provider="sacramento")) == (0, 0, 932, 0, 0)
        assert WRITES.isdisjoint(call.operation for call in calls)
        records = list(read_records(demo_page()))
        records[499] = Record({**records[499].fields, "ListPrice": "1"})
        with recorded() as calls:
            assert counts(import_feed(records, **names)) == (0, 1, 931, 0, 0)
        assert [call.operation for call in calls if call.operation in WRITES] == ["UpdateItem"]
        assert stored("sacramento-SAC-0500").price == Decimal(1)
        assert Listing.objects.query("u1").count() == 932
        assert Listing.objects.query_by_status("u1", "expired").count() == 93

    def test_several(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Files are imported one after the other, standard input among them, and the report names each."""
        (tmp_path / "a.json").write_text(json.dumps(house()))
        text = "\n".join(map(json.dumps, [house(ListPrice="1"), house(ListPrice="x")]))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        report = import_feed(tmp_path / "a.json", "-", user_id="u1", provider="flexmls")
        assert counts(report) == (1, 1, 0, 0, 1)
        assert report.rejected[0][:2] == ("standard input", 2)

    @pytest.mark.skipif(not SPARK.exists(), reason="the Spark fixtures are not part of the project; ../shared is missing")
    def test_spark(self) -> None:
        """All thirteen listings of the Spark fixtures are imported, each file as a user's own, and none is rejected."""
        bodies = [path for path in sorted(SPARK.glob("*.json")) if path.name != "listings_photos_index.json"]
        total = 0
        for path in bodies:
            report = import_feed(path, user_id=path.stem, provider="flexmls", default_status="active")
            assert (report.skipped_count, report.rejected_count) == (0, 0)
            total += report.total
            again = import_feed(path, user_id=path.stem, provider="flexmls", default_status="active")
            assert (again.created, again.updated) == (0, 0)
        assert total == 13

    def test_any_feed(self) -> None:
        """Whatever a feed of different keys holds, importing it again changes and writes nothing."""
        values = (
            st.none() | st.text(max_size=4) | st.lists(st.text(max_size=3), max_size=2) | st.sampled_from(["5", "2024-01-15"])
        )
        names = st.sampled_from(["ListPrice", "PublicRemarks", "Heating", "View", "City", "UnitNumber", "StreetName"])
        status = st.sampled_from(["Active", "Closed", "Hold"])
        feeds = st.dictionaries(st.text(min_size=1, max_size=4), st.tuples(status, st.dictionaries(names, values)), max_size=4)
        users = iter(range(10**6))

        @settings(max_examples=25)
        @given(feeds)
        def check(feed: dict[str, tuple[str, dict[str, Any]]]) -> None:
            records = [{**fields, "ListingKey": key, "StandardStatus": said} for key, (said, fields) in feed.items()]
            user_id = f"user-{next(users)}"
            first = load(*records, user_id=user_id)
            with recorded() as calls:
                second = load(*records, user_id=user_id)
            assert counts(second) == (0, 0, first.created, first.skipped_count, first.rejected_count)
            assert writes_of(call.operation for call in calls) == []
            assert Listing.objects.query(user_id, consistent=True).count() == first.created

        check()


def writes_of(operations: Iterable[str]) -> list[str]:
    """Give the operations that write."""
    return [operation for operation in operations if operation in WRITES]
