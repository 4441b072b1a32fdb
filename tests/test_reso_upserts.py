"""What a record does beyond the fields it brings: statuses that reach copies and posts, removals, photos, and other writers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from mlssocial import (
    ALL_USERS,
    ConfigurationError,
    Listing,
    ListingData,
    ListingStatus,
    PostStatus,
    SocialPost,
    SocialPostData,
    StoreError,
)
from mlssocial.connection import recorded, store
from mlssocial.reso import ImportReport, ListingChange, Record, import_feed

from .conftest import get_raw, put_raw
from .test_reso_importing import WRITES, counts, foreign, house, load, stored

SOLD = {"StandardStatus": "Closed", "ModificationTimestamp": "2024-02-01T00:00:00Z"}
GONE = {"StandardStatus": "Delete", "ModificationTimestamp": "2024-02-01T00:00:00Z"}


def post(name: str, listing: str = "flexmls-K1", user_id: str = "u1") -> None:
    """Store a published post of a listing."""
    data = SocialPostData(listing_id=listing, platform="facebook", status=PostStatus.PUBLISHED)
    SocialPost.objects.create(user_id, name, data)


def status_of(name: str, user_id: str = "u1") -> str:
    """Give a post's status."""
    return str(SocialPost.objects.get(user_id, name, consistent=True).data.status)


def writes(call: Callable[[], ImportReport]) -> tuple[ImportReport, list[str]]:
    """Give what an import reports, and the writes that it sent."""
    with recorded() as calls:
        report = call()
    return report, [each.operation for each in calls if each.operation in WRITES]


@contextmanager
def before(operation: str, act: Callable[[int], None]) -> Iterator[None]:
    """Do something before each request of an operation, which is told how many there were."""
    seen: list[int] = []

    def run(**_: Any) -> None:
        seen.append(len(seen))
        act(seen[-1])

    client = store().client
    client.meta.events.register(f"before-call.dynamodb.{operation}", run)
    try:
        yield
    finally:
        client.meta.events.unregister(f"before-call.dynamodb.{operation}", run)


def throttled(operation: str) -> ClientError:
    """Make DynamoDB's answer when it is busy."""
    return ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, operation)


@pytest.mark.usefixtures("table")
class TestStatus:
    def test_reaches_posts(self) -> None:
        """Where a status leaves the market, the listing's published posts wait to be unpublished, and others' do not."""
        load(house(), house(ListingKey="K2", ListingId="2"))
        post("p1")
        post("p2", "flexmls-K2")
        report = load(house(**SOLD))
        assert counts(report) == (0, 1, 0, 0, 0)
        assert report.propagated == 1
        assert (status_of("p1"), status_of("p2")) == ("unpublish_pending", "published")
        data = stored()
        assert (data.status, data.standard_status, data.modification_timestamp) == ("sold", "Closed", "2024-02-01T00:00:00Z")
        assert counts(load(house(**SOLD))) == (0, 0, 1, 0, 0)

    def test_reaches_the_users_copies(self) -> None:
        """The user's other copies of the MLS number get it; another user's do not, unless everyone's are asked for."""
        load(house())
        load(house(), user_id="u2")
        foreign("copy", mlsId={"S": "other"}, mlsNumber={"S": "06-9395"}, GSI1PK={"S": "x"})
        key = {"PK": {"S": "USER#u1"}, "SK": {"S": "LISTING#copy"}}
        item = get_raw("USER#u1", "LISTING#copy") or {}
        put_raw(item | key | {"GSI1PK": {"S": "MLS#flexmls#06-9395"}, "GSI1SK": {"S": "STATUS#active"}})
        load(house(**SOLD))
        assert (stored("copy").status, stored(user_id="u2").status) == ("sold", "active")
        load(house(ModificationTimestamp="2024-03-01T00:00:00Z", StandardStatus="Pending"), propagate_to=ALL_USERS)
        assert (stored("copy").status, stored(user_id="u2").status) == ("pending", "pending")

    def test_spares_newer_copies(self) -> None:
        """A copy that a newer record has reached keeps its status."""
        load(house())
        load(house(StandardStatus="Active", ModificationTimestamp="2024-05-01T00:00:00Z"), user_id="u2")
        load(house(**SOLD), propagate_to=ALL_USERS)
        assert (stored().status, stored(user_id="u2").status) == ("sold", "active")

    def test_an_interrupted_one_is_finished(self) -> None:
        """A run that ended between the status and the rest is finished by the next, though the status is there already."""
        load(house())
        for name in ("p1", "p2"):
            post(name)
        Listing.objects.propagate_status("flexmls", "06-9395", "sold", user_id="u1")
        SocialPost.objects.update("u1", "p2", status="published")  # as if the run had ended before it
        report = load(house(**SOLD))
        assert counts(report) == (0, 1, 0, 0, 0)
        assert (status_of("p1"), status_of("p2")) == ("unpublish_pending", "unpublish_pending")

    def test_of_a_listing_without_number(self) -> None:
        """A listing that another application stored without MLS number gets its status, and its posts wait too."""
        foreign("theirs")
        post("p1", "theirs")
        assert counts(load(house(**SOLD))) == (0, 1, 0, 0, 0)
        assert (stored("theirs").status, stored("theirs").mls_number, status_of("p1")) == (
            "sold",
            "06-9395",
            "unpublish_pending",
        )

    def test_of_a_number_that_cannot_be_a_key(self) -> None:
        """A stored MLS number that no index can hold hinders nothing."""
        foreign("theirs", mlsNumber={"S": "a#b"})
        assert counts(load(house(ListingId=..., **SOLD))) == (0, 1, 0, 0, 0)
        assert stored("theirs").status == "sold"

    def test_back_on_the_market(self) -> None:
        """A status that returns to the market changes no post."""
        load(house(**SOLD))
        load(house(ModificationTimestamp="2024-03-01T00:00:00Z"))
        assert stored().status is ListingStatus.ACTIVE

    def test_a_status_that_is_not_brought(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where a status cannot be brought to all, the listing does not say that it was; the next import does it."""
        monkeypatch.setattr("mlssocial.settings._settings", _impatient())
        monkeypatch.setattr("mlssocial.reso.upserts.BUSY_SECONDS", 0.1)
        load(house())
        post("p1")
        with before("TransactWriteItems", _throttle), pytest.raises(StoreError, match="slow down"):
            load(house(**SOLD, ListPrice="1"))
        assert (str(stored().status), stored().price) == ("active", Decimal(500000))
        assert counts(load(house(**SOLD, ListPrice="1"))) == (0, 1, 0, 0, 0)
        assert status_of("p1") == "unpublish_pending"


def _throttle(_: int) -> None:
    raise throttled("TransactWriteItems")


def _impatient() -> Any:
    from dataclasses import replace

    from mlssocial.settings import current

    return replace(current(), deadline=0.3)


@pytest.mark.usefixtures("table")
class TestRemoval:
    REMOVALS = (
        GONE,
        {"MlgCanView": False},
        {"MlgCanView": "false", "ListPrice": "7"},
        {"StandardStatus": ..., "MlsStatus": "Delete"},
    )

    @pytest.mark.parametrize("asks", REMOVALS)
    def test_marks(self, asks: dict[str, Any]) -> None:
        """A record that asks for removal takes its listing off the market, posts too; again it writes nothing."""
        load(house())
        post("p1")
        report = load(house(**asks))
        assert (report.removed, report.total, report.propagated) == (1, 1, 1)
        data = stored()
        assert (str(data.status), data.price, status_of("p1")) == ("expired", Decimal(500000), "unpublish_pending")
        assert "removedAt" in (data.model_extra or {})
        report, sent = writes(lambda: load(house(**asks)))
        assert (report.unchanged, sent) == (1, [])

    def test_comes_back(self) -> None:
        """A listing whose record comes again is as it was, without the mark."""
        load(house())
        load(house(**GONE))
        assert stored().standard_status == "Delete"
        assert counts(load(house(ModificationTimestamp="2024-03-01T00:00:00Z"))) == (0, 1, 0, 0, 0)
        data = stored()
        assert (data.status, data.standard_status, "removedAt" in (data.model_extra or {})) == ("active", "Active", False)
        load(house(MlgCanView=False, ModificationTimestamp="2024-03-01T00:00:00Z"))
        assert counts(load(house(ModificationTimestamp="2024-03-01T00:00:00Z"))) == (0, 1, 0, 0, 0)

    @pytest.mark.parametrize("asks", REMOVALS)
    def test_deletes(self, asks: dict[str, Any]) -> None:
        """On request the listing is deleted, when its posts wait to be unpublished."""
        load(house())
        post("p1")
        report = load(house(**asks), removals="delete")
        assert (report.removed, report.total) == (1, 1)
        assert Listing.objects.find("u1", "flexmls-K1", consistent=True) is None
        assert status_of("p1") == "unpublish_pending"
        again = load(house(**asks), removals="delete")
        assert again.skipped == {"the feed asks for removal of a listing that is not stored": 1}

    def test_skips(self) -> None:
        """On request nothing is done, and the report says why."""
        load(house())
        report = load(house(**GONE), house(MlgCanView=False), removals="skip")
        assert sorted(report.skipped) == ["MlgCanView is false and asks for removal", "StandardStatus Delete asks for removal"]
        assert stored().status == "active"

    def test_older(self) -> None:
        """A removal that is older than what is stored changes nothing."""
        load(house())
        report = load(house(MlgCanView=False, ModificationTimestamp="2024-01-01T00:00:00Z"))
        assert report.skipped == {"older than what is stored, by ModificationTimestamp": 1}

    def test_one_feed(self) -> None:
        """Within one feed a listing may come, go and come again."""
        later = house(ModificationTimestamp="2024-03-01T00:00:00Z")
        for removals in ("mark", "delete"):
            feed = [house(), house(**GONE), house(**GONE), later]
            for dry in (True, False):
                report = load(*feed, removals=removals, dry_run=dry, user_id=removals)
                made = (1, 1, 1, 0) if removals == "mark" else (2, 0, 0, 1)
                assert (report.created, report.updated, report.unchanged, report.skipped_count) == made
                assert report.removed == 1
            assert stored(user_id=removals).status == "active"

    def test_options(self) -> None:
        """What is none of the options is refused by name."""
        with pytest.raises(ConfigurationError, match="removals: one of mark, delete, skip"):
            load(house(), removals="purge")
        with pytest.raises(ConfigurationError, match="propagate_to: ALL_USERS"):
            load(house(), propagate_to="u2")


def photos(count: int, size: int = 8_000) -> list[dict[str, Any]]:
    """Make photos with long addresses."""
    return [{"MediaURL": f"https://example.com/{number:0{size}}", "Order": number} for number in range(count)]


@pytest.mark.usefixtures("table")
class TestPhotos:
    def test_as_many_as_there_is_room_for(self) -> None:
        """A listing whose photos pass 400 KB keeps the first ones, and the report says how many; again it writes nothing."""
        report = load(house(Media=photos(99)))
        assert (report.created, report.shortened_count) == (1, 1)
        kept = stored().photos or []
        assert 47 <= len(kept) <= 49
        assert [photo.order for photo in kept] == list(range(len(kept)))
        assert f"shortened a record (ListingKey K1): {len(kept)} of 99 photos kept, since an item holds 400 KB" in str(report)
        assert report.shortened[0][2:] == ("K1", len(kept), 99)
        report, sent = writes(lambda: load(house(Media=photos(99))))
        assert (report.unchanged, report.shortened_count, sent) == (1, 1, [])

    def test_of_a_listing_that_grows(self) -> None:
        """Photos give way to what another application keeps in the item, and come back when there is room again."""
        load(house(Media=photos(99)))
        whole = len(stored().photos or [])
        item = get_raw("USER#u1", "LISTING#flexmls-K1") or {}
        item["Data"]["M"]["photos"] = {"L": []}
        put_raw(item | {"Theirs": {"S": "x" * 100_000}})
        load(house(Media=photos(99)))
        fewer = len(stored().photos or [])
        assert whole - 14 <= fewer <= whole - 12
        put_raw(item)
        load(house(Media=photos(99)))
        assert len(stored().photos or []) == whole

    @settings(max_examples=20)
    @given(st.lists(st.integers(10, 60_000), min_size=1, max_size=40), st.integers(0, 300_000), st.booleans())
    def test_of_any_size(self, sizes: list[int], remarks: int, later: bool) -> None:
        """Whatever sizes photos and remarks have, as many as fit are stored, and a second time nothing is written."""
        media = [{"MediaURL": "u" * size} for size in sizes]
        feed = house(Media=media, PublicRemarks="x" * remarks)
        if later:
            load(house(Media=photos(3, 50)))
        report = load(feed)
        assert report.rejected_count == 0
        kept = len(stored().photos or [])
        assert (kept < len(sizes)) == (report.shortened_count == 1)
        if kept < len(sizes):
            assert sum(sizes[: kept + 1]) + remarks > 380_000
        report, sent = writes(lambda: load(feed))
        assert (report.unchanged, sent) == (1, [])
        Listing.objects.delete("u1", "flexmls-K1")


@pytest.mark.usefixtures("table")
class TestAdoption:
    def test_costs_a_look_where_something_is_new(self) -> None:
        """The user's listings are looked through once, where a record is new; where all are known, not at all."""
        with recorded() as calls:
            load(*[house(ListingKey=f"K{number}") for number in range(250)])
        assert Counter(call.operation for call in calls)["Query"] == 1
        with recorded() as calls:
            load(*[house(ListingKey=f"K{number}") for number in range(250)])
        assert [call.operation for call in calls] == ["BatchGetItem"] * 3

    def test_can_be_left_out(self) -> None:
        """Without it no listing is looked for under another id, and one that is there is doubled."""
        foreign("theirs")
        with recorded() as calls:
            assert counts(load(house(), adopt=False)) == (1, 0, 0, 0, 0)
        assert "Query" not in {call.operation for call in calls}
        assert Listing.objects.query("u1").count() == 2

    def test_of_another_provider(self) -> None:
        """Another provider's listing with the same key is not taken for this one's."""
        foreign("theirs", mlsProvider={"S": "crmls"})
        assert counts(load(house())) == (1, 0, 0, 0, 0)

    def test_expired(self) -> None:
        """A listing whose TTL has passed is gone."""
        foreign("theirs")
        put_raw((get_raw("USER#u1", "LISTING#theirs") or {}) | {"TTL": {"N": "1000"}})
        assert counts(load(house())) == (1, 0, 0, 0, 0)


@pytest.mark.usefixtures("table")
class TestOtherWriters:
    def test_a_change_in_between(self) -> None:
        """What another writer changes between our read and our write is kept, and the record's fields are written too."""
        load(house())

        def act(number: int) -> None:
            if number == 0:
                item = get_raw("USER#u1", "LISTING#flexmls-K1") or {}
                item["Data"]["M"] |= {"note": {"S": "theirs"}, "price": {"N": "3"}}
                put_raw(item | {"UpdatedAt": {"N": "5"}})

        with before("UpdateItem", act):
            assert counts(load(house(PublicRemarks="New."))) == (0, 1, 0, 0, 0)
        data = stored()
        assert (data.description, data.price) == ("New.", Decimal(500000))
        assert data.model_extra == {"heating": ["Gas"], "note": "theirs"}

    def test_a_newer_record_in_between(self) -> None:
        """A record that another import overtook does not overwrite the newer one."""
        load(house())
        newer = house(ListPrice="2", ModificationTimestamp="2024-04-01T00:00:00Z")

        def act(number: int) -> None:
            if number == 0:
                thread = threading.Thread(target=load, args=(newer,))
                thread.start()
                thread.join()

        with before("UpdateItem", act):
            report = load(house(ListPrice="1", ModificationTimestamp="2024-03-01T00:00:00Z"))
        assert report.skipped == {"older than what is stored, by ModificationTimestamp": 1}
        assert stored().price == 2

    @pytest.mark.parametrize("act", ["delete", "create"])
    def test_deleted_or_made_in_between(self, act: str) -> None:
        """A listing that is deleted or made between our read and our write is there once, with our fields."""
        if act == "delete":
            load(house())

        def meddle(number: int) -> None:
            if number == 0 and act == "delete":
                Listing.objects.delete("u1", "flexmls-K1")
            elif number == 0:
                data = ListingData(status="active", mls_provider="flexmls", mls_id="K1", price=3)
                put_raw(_item(data))

        with before("UpdateItem" if act == "delete" else "PutItem", meddle):
            report = load(house(ListPrice="9"))
        assert (report.created, report.updated) == ((1, 0) if act == "delete" else (0, 1))
        assert stored().price == 9
        assert Listing.objects.query("u1", consistent=True).count() == 1

    def test_without_an_end(self) -> None:
        """A listing that others keep changing is rejected after some attempts, and the next record goes on."""
        load(house(), house(ListingKey="K2"))

        def act(number: int) -> None:
            if number < 20:
                put_raw((get_raw("USER#u1", "LISTING#flexmls-K1") or {}) | {"UpdatedAt": {"N": str(number)}})

        with before("UpdateItem", act):
            report = load(house(ListPrice="1"), house(ListingKey="K2", ListPrice="1"))
        assert counts(report) == (0, 1, 0, 0, 1)
        assert "it has changed since it was read" in report.rejected[0].reason

    def test_two_imports_at_once(self, table: str) -> None:
        """Two imports of one feed at the same time leave each listing once, as the newest record has it."""
        if table == "moto":
            pytest.skip("moto loses writes under threads")
        feed = [house(ListingKey=f"K{number}", ListPrice=str(number)) for number in range(150)]
        newer = [record | {"ListPrice": "7", "ModificationTimestamp": "2024-03-01T00:00:00Z"} for record in feed]
        reports: list[ImportReport] = []
        threads = [threading.Thread(target=lambda one=one: reports.append(load(*one))) for one in (feed, newer, feed)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [report.rejected_count for report in reports] == [0, 0, 0]
        assert [listing.data.price for listing in Listing.objects.query("u1", consistent=True)] == [7] * 150


def _item(data: ListingData) -> dict[str, Any]:
    """Make an item as another import would."""
    from mlssocial.codec import dump

    key = {"PK": {"S": "USER#u1"}, "SK": {"S": "LISTING#flexmls-K1"}, "EntityType": {"S": "Listing"}}
    return {**key, "Data": {"M": dump(data)}, "CreatedAt": {"N": "1"}, "UpdatedAt": {"N": "1"}}


@pytest.mark.usefixtures("table")
class TestBusyTable:
    def test_throttled_midway(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Writes that are throttled, for longer than a call waits, are sent again until they go through."""
        monkeypatch.setattr("mlssocial.settings._settings", _impatient())
        monkeypatch.setattr("mlssocial.reso.upserts._FIRST_PAUSE", 0.01)

        def refuse(number: int) -> None:
            if 3 <= number < 30:
                raise throttled("PutItem")

        with before("PutItem", refuse):
            assert counts(load(*[house(ListingKey=f"K{number}") for number in range(20)])) == (20, 0, 0, 0, 0)
        assert Listing.objects.query("u1", consistent=True).count() == 20

    def test_too_busy_for_too_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A table that stays busy ends the import with an error; what was written stays, and importing again goes on."""
        monkeypatch.setattr("mlssocial.settings._settings", _impatient())
        monkeypatch.setattr("mlssocial.reso.upserts.BUSY_SECONDS", 0.05)

        def refuse(number: int) -> None:
            if number >= 3:
                raise throttled("PutItem")

        feed = [house(ListingKey=f"K{number}") for number in range(6)]
        with before("PutItem", refuse), pytest.raises(StoreError, match="slow down"):
            load(*feed)
        assert counts(load(*feed)) == (3, 0, 3, 0, 0)

    def test_reads_that_are_left_undone(self) -> None:
        """Keys that a batch read leaves unprocessed are read by another; no listing that is there is taken for new."""
        load(*[house(ListingKey=f"K{number}") for number in range(60)])
        left: list[int] = []

        def leave(http_response: Any, parsed: dict[str, Any], **_: Any) -> None:
            if len(left) < 3:
                left.append(1)
                (table,) = parsed["Responses"]
                rows = parsed["Responses"][table]
                keys = [{name: row[name] for name in ("PK", "SK")} for row in map(_plain, rows[20:])]
                parsed["Responses"][table] = rows[:20]
                parsed["UnprocessedKeys"] = {table: {"Keys": keys, "ConsistentRead": True}}

        client = store().client
        client.meta.events.register("after-call.dynamodb.BatchGetItem", leave)
        report, sent = writes(lambda: load(*[house(ListingKey=f"K{number}") for number in range(60)]))
        client.meta.events.unregister("after-call.dynamodb.BatchGetItem", leave)
        assert (report.unchanged, sent, len(left)) == (60, [], 3)


def _plain(row: Any) -> dict[str, Any]:
    from mlssocial.wire import decode_row, plain_row

    return plain_row(decode_row(row))


@pytest.mark.usefixtures("table")
class TestWindows:
    def test_order_of_one_listing(self) -> None:
        """However far apart records of one listing are, the last one stands, though many windows are under way."""
        feed = []
        for price in range(1, 9):
            feed += [house(ListingKey="K", ListPrice=str(price))]
            feed += [house(ListingKey=f"{price}-{number}") for number in range(60)]
        report = load(*feed)
        assert counts(report) == (481, 7, 0, 0, 0)
        assert stored("flexmls-K").price == 8

    @pytest.mark.parametrize("workers", [1, 3, 64])
    def test_any_number_of_workers(self, workers: int) -> None:
        """With however many workers, the report and the changes come in the order of the records."""
        seen: list[ListingChange] = []
        totals: list[int] = []
        feed = [Record(house(ListingKey=f"K{number}"), "f", number) for number in range(450)]
        options: dict[str, Any] = {"on_change": seen.append, "progress": lambda report: totals.append(report.total)}
        report = import_feed(feed, user_id="u1", provider="flexmls", workers=workers, **options)
        assert report.created == 450
        assert totals == list(range(1, 451))
        assert [change.position for change in seen] == list(range(450))

    def test_changes_are_shown(self) -> None:
        """A change says what it did to which listing, and what its fields were and are; a dry run says the same."""
        load(house())
        for dry in (True, False):
            seen: list[ListingChange] = []
            load(
                house(**SOLD, ListPrice="1", City="Sparks", YearBuilt="1990"),
                house(ListingKey="K2"),
                on_change=seen.append,
                dry_run=dry,
            )
            first, second = seen
            assert (first.action, first.listing_id, first.key) == ("updated", "flexmls-K1", "K1")
            fields = {name: change for name, change in first.fields.items() if name != "statusChangeTimestamp"}
            assert fields == {
                "status": ("active", "sold"),
                "standardStatus": ("Active", "Closed"),
                "price": (500000, 1),
                "address.city": ("Reno", "Sparks"),
                "yearBuilt": (None, 1990),
                "modificationTimestamp": ("2024-01-15T10:00:00Z", "2024-02-01T00:00:00Z"),
            }
            assert (second.action, second.fields) == ("created", {})

    @pytest.mark.parametrize("workers", [0, 65, True, 2.5, "4"])
    def test_workers_that_cannot_be(self, workers: Any) -> None:
        """A number of workers that cannot be is refused."""
        with pytest.raises(ConfigurationError, match="workers: a whole number from 1 to 64"):
            load(house(), workers=workers)

    def test_an_error_of_the_callers_records(self) -> None:
        """An error in the caller's own records reaches the caller, when what came before is imported."""

        def feed() -> Iterator[Record]:
            for number in range(150):
                yield Record(house(ListingKey=f"K{number}"))
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            import_feed(feed(), user_id="u1", provider="flexmls")
        assert Listing.objects.query("u1").count() == 150
