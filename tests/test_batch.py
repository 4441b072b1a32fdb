"""Many items at once: every one is written or read, or named."""

from __future__ import annotations

import json
import pickle
import signal
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from mlssocial import (
    BatchIncompleteError,
    BatchResult,
    InvalidItemError,
    InvalidKeyError,
    Item,
    ItemAlreadyExistsError,
    Listing,
    ListingData,
    OutcomeUnknownError,
    PerformanceMetrics,
    PerformanceMetricsData,
    SocialConnection,
    SocialConnectionData,
    SocialPost,
    SocialPostData,
    StaleItemError,
    StoreError,
    UnreadableItemWarning,
)
from mlssocial.connection import recorded, store

from .conftest import get_raw, put_raw
from .test_managers import stored
from .test_transport import (
    THROTTLED,
    Exchange,
    Server,
    as_it_is,
    clear_the_way,
    closes_after,
    closes_unread,
    connect,
    fails_after,
    refuses,
    sends_html,
)

SOLD: dict[str, Any] = {"status": {"S": "sold"}}


@pytest.fixture(autouse=True)
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send by threads, as to DynamoDB, however fast the engine at hand answers; :class:`TestNear` does not."""
    monkeypatch.setattr("mlssocial.connection.NEAR_SECONDS", 0)


def listing(number: int, **fields: Any) -> Listing:
    """Make a new listing whose index keys all stand."""
    known = {
        "status": "active" if number % 2 else "sold",
        "mls_provider": "flexmls",
        "mls_number": f"MLS-{number:03}",
        "list_date": date(2024, 1, 1 + number % 28),
        "price": Decimal(number),
    }
    return Listing(user_id="u1", listing_id=f"l{number:03}", data=ListingData.model_validate(known | fields))


def ids(*numbers: int) -> list[tuple[str, str]]:
    """Give the ids of listings."""
    return [("u1", f"l{number:03}") for number in numbers]


def there() -> list[str]:
    """Give the ids of the listings that are in the table."""
    return [one.listing_id for one in Listing.objects.query("u1", consistent=True)]


@pytest.mark.usefixtures("table")
class TestSaveMany:
    def test_round_trip(self) -> None:
        """260 items are written in 11 requests, read in 3, and stand in the indexes as single ones do."""
        items = [listing(number) for number in range(260)]
        with recorded() as calls:
            assert len(Listing.objects.save_many(items).written) == 260
            found = Listing.objects.get_many(ids(*range(260)), consistent=True)
        assert [call.operation for call in calls] == ["BatchWriteItem"] * 11 + ["BatchGetItem"] * 3
        assert list(found) == ids(*range(260))
        assert [one.data for one in found.values()] == [item.data for item in items]
        assert len(list(Listing.objects.query_by_status("u1", "active"))) == 130
        (one,) = Listing.objects.query_by_mls_number("flexmls", "MLS-007", user_id="u1")
        assert one.listing_id == "l007"

    def test_as_single_ones(self) -> None:
        """What a batch writes is what create() writes, but for the time and the WriteId."""
        Listing.objects.save_many([listing(1)])
        many = get_raw("USER#u1", "LISTING#l001")
        Listing.objects.delete("u1", "l001")
        Listing.objects.create("u1", "l001", listing(1).data)
        single = get_raw("USER#u1", "LISTING#l001")
        assert many is not None
        assert single is not None
        assert many.keys() == single.keys()
        own = {"CreatedAt", "UpdatedAt", "WriteId"}
        assert {name: many[name] for name in many.keys() - own} == {name: single[name] for name in single.keys() - own}

    def test_each_is_a_write_of_its_own(self) -> None:
        """Every item gets the time and a WriteId of its own, so that an optimistic lock elsewhere sees the batch."""
        items = [listing(1), listing(2)]
        Listing.objects.save_many(items)
        read = Listing.objects.get_many(ids(1, 2), consistent=True)
        Listing.objects.save_many(items)
        again = Listing.objects.get_many(ids(1, 2), consistent=True)
        assert len({one.write_id for found in (read, again) for one in found.values()}) == 4
        assert all(one.updated_at and one.created_at and one.updated_at >= one.created_at for one in again.values())
        with pytest.raises(StaleItemError):
            read["u1", "l001"].save()

    def test_items_know_what_became_of_them(self) -> None:
        """An item that was written has its new times, index keys and version, and can be saved and deleted from there."""
        new, read = listing(1), Listing.objects.create("u1", "l002", listing(2).data)
        Listing.objects.save_many([new, read])
        for item in (new, read):
            now = Listing.objects.get("u1", item.listing_id, consistent=True)
            seen = (item.created_at, item.updated_at, item.write_id, item.gsi1pk, item.gsi1sk, item.gsi2pk, item.gsi2sk)
            assert seen == (now.created_at, now.updated_at, now.write_id, now.gsi1pk, now.gsi1sk, now.gsi2pk, now.gsi2sk)
            item.data.price = Decimal(9)
            item.save()
            assert item.delete() is True

    def test_other_entities(self) -> None:
        """Each entity's manager has it, and fields that repeat the key are filled in."""
        days = [PerformanceMetrics(user_id="u1", listing_id="l1", date=date(2024, 1, d), data=day(d)) for d in (1, 2)]
        assert len(PerformanceMetrics.objects.save_many(days).written) == 2
        found = PerformanceMetrics.objects.get_many([("u1", "l1", date(2024, 1, 1))], consistent=True)
        assert [one.data.date for one in found.values()] == [date(2024, 1, 1)]
        connection = SocialConnection(user_id="u1", platform="facebook", data=SocialConnectionData(access_token="at"))
        assert len(SocialConnection.objects.save_many([connection]).written) == 1
        assert SocialConnection.objects.get("u1", "facebook", consistent=True).data.access_token == connection.data.access_token

    def test_duplicates(self) -> None:
        """Of several items with one key the last one stands."""
        with recorded() as calls:
            assert len(Listing.objects.save_many([listing(1, price=1), listing(2), listing(1, price=3)]).written) == 2
        assert len(calls) == 1
        assert Listing.objects.get("u1", "l001", consistent=True).data.price == 3

    def test_a_generator(self) -> None:
        """Items may come from anything that gives them one by one."""
        assert len(Listing.objects.save_many(listing(number) for number in range(30)).written) == 30
        assert len(there()) == 30

    def test_nothing(self) -> None:
        """No items are no request."""
        with recorded() as calls:
            assert len(Listing.objects.save_many([]).written) == 0
            assert len(Listing.objects.save_many(iter(())).written) == 0
        assert calls == []

    def test_an_unfit_item(self) -> None:
        """An item that cannot be stored is refused before anything is sent, wherever it stands among the others."""
        unfit: list[tuple[Any, type[Exception]]] = [
            (Listing(user_id="u1", listing_id="bad"), InvalidItemError),
            (listing(900, description="x" * 410_000), InvalidItemError),
            (listing(900, mls_number="a#b"), InvalidKeyError),
            (Listing("USER#u1", "POST#p1", data=listing(1).data), InvalidKeyError),
            (changed(listing(900), price="much"), InvalidItemError),
            (SocialPost(user_id="u1", post_id="p1", data=SocialPostData()), InvalidItemError),
            (foreign(), InvalidItemError),
            (in_part(), InvalidItemError),
        ]
        before = there()
        with recorded() as calls:
            for item, error in unfit:
                with pytest.raises(error):
                    Listing.objects.save_many([*(listing(number) for number in range(30)), item])
        assert calls == []
        assert there() == before

    def test_what_was_stored_stays(self) -> None:
        """An item that was read keeps its CreatedAt, its TTL and what no model declares; its index keys follow its data."""
        extra: dict[str, Any] = {"Foreign": {"M": {"a": {"B": b"x"}}}, "Tags": {"SS": ["a", "b"]}, "TTL": {"N": "99999999999"}}
        put_raw(stored("Listing", "LISTING#l1", {**SOLD, "unknown": {"NS": ["1", "2"]}}, **extra))
        (item,) = Listing.objects.query("u1", consistent=True)
        item.data.status = "active"  # type: ignore[assignment]
        item.data.mls_provider, item.data.mls_number = "flexmls", "MLS-1"
        assert len(Listing.objects.save_many([item]).written) == 1
        raw = get_raw("USER#u1", "LISTING#l1")
        assert raw is not None
        kept = {name: raw[name] for name in ("CreatedAt", *extra)}
        assert kept == {"CreatedAt": {"N": "1"}, **extra}
        assert raw["Data"]["M"]["unknown"] == {"NS": ["1", "2"]}
        assert (raw["GSI1PK"], raw["GSI1SK"]) == ({"S": "MLS#flexmls#MLS-1"}, {"S": "STATUS#active"})
        assert raw["UpdatedAt"] != {"N": "2"}

    def test_a_claim_stays(self) -> None:
        """An item that was read while a worker had it claimed keeps the claim."""
        claim: dict[str, Any] = {"LeaseId": {"S": "worker-1"}, "LeaseUntil": {"N": "1705363200000"}}
        put_raw(stored("Listing", "LISTING#l1", SOLD, **claim))
        item = Listing.objects.get("u1", "l1", consistent=True)
        Listing.objects.save_many([item])
        raw = get_raw("USER#u1", "LISTING#l1")
        assert raw is not None
        assert {name: raw.get(name) for name in claim} == claim

    def test_an_index_key_that_cannot_be_made_of_stored_data(self) -> None:
        """An item whose stored data another writer made unfit for an index is written, without that index's keys."""
        data = {**SOLD, "mlsProvider": {"S": "a#b"}, "mlsNumber": {"S": "1"}}
        put_raw(stored("Listing", "LISTING#l1", data, GSI1PK="MLS#a#b#1", GSI1SK="STATUS#sold"))
        Listing.objects.save_many([Listing.objects.get("u1", "l1", consistent=True)])
        raw = get_raw("USER#u1", "LISTING#l1")
        assert raw is not None
        assert ("GSI1PK" in raw, raw["Data"]["M"]) == (False, data)

    def test_over_what_is_there(self) -> None:
        """A new item takes the place of what is stored under its key, whatever that is."""
        put_raw(stored("Listing", "LISTING#l001", SOLD, Foreign="x"))
        Listing.objects.save_many([listing(1)])
        raw = get_raw("USER#u1", "LISTING#l001")
        assert raw is not None
        assert ("Foreign" in raw, raw["CreatedAt"] == raw["UpdatedAt"]) == (False, True)

    def test_unprocessed_ones_are_sent_again(self) -> None:
        """What DynamoDB left of a batch is sent again, on every engine, until all is done."""
        left = leave_some("BatchWriteItem", times=4)
        with recorded() as calls:
            assert len(Listing.objects.save_many([listing(number) for number in range(30)]).written) == 30
        assert (len(calls), left) == (2 + 4, [])
        assert len(there()) == 30


@pytest.mark.usefixtures("table")
class TestCreateMany:
    def test_round_trip(self) -> None:
        """60 items are created by one request each, and know what is stored."""
        items = [listing(number) for number in range(60)]
        with recorded() as calls:
            result = Listing.objects.create_many(items)
        assert (result.written, result.refused, result.unknown) == (tuple(ids(*range(60))), {}, {})
        assert repr(result) == "<BatchResult 60 written, 0 refused, 0 unknown>"
        assert Counter(call.operation for call in calls) == {"PutItem": 60}
        for item in items:
            now = Listing.objects.get("u1", item.listing_id, consistent=True)
            assert (item.write_id, item.gsi2sk, item.created_at) == (now.write_id, now.gsi2sk, now.created_at)
        items[0].data.price = Decimal(9)
        items[0].save()

    def test_those_that_exist(self) -> None:
        """An item that is there is refused and stays as it is; the others are created."""
        Listing.objects.create("u1", "l003", listing(3, price=1).data)
        items = [listing(number) for number in range(12)]
        with pytest.raises(BatchIncompleteError, match=r"1 of 12 items were not created.*LISTING#l003.*exists") as caught:
            Listing.objects.create_many(items)
        result = caught.value.result
        assert result is not None
        assert caught.value.unprocessed == (items[3],)
        assert [type(error) for error in result.refused.values()] == [ItemAlreadyExistsError]
        assert (list(result.refused), len(result.written), len(there())) == (ids(3), 11, 12)
        assert Listing.objects.get("u1", "l003", consistent=True).data.price == 1

    def test_duplicates(self) -> None:
        """Of several with one key the first one is created, and every other is refused, however near it stands."""
        numbers = [1, 1, 2, *range(3, 30), 1]
        items = [listing(number, price=turn) for turn, number in enumerate(numbers)]
        for given in (items, iter(items)):
            for one in there():
                Listing.objects.delete("u1", one)
            with pytest.raises(BatchIncompleteError, match="2 of 31") as caught:
                Listing.objects.create_many(given)
            result = caught.value.result
            assert result is not None
            assert caught.value.unprocessed == (items[1], items[-1])
            assert (list(result.refused), result.written) == (ids(1), tuple(ids(*range(1, 30))))
            assert Listing.objects.get("u1", "l001", consistent=True).data.price == 0

    def test_as_single_ones(self) -> None:
        """What is created in bulk is what create() writes, but for the time and the WriteId; a TTL of the caller's stays."""
        expires = int(time.time()) + 10_000
        Listing.objects.create_many([listing(1), Listing(user_id="u1", listing_id="l2", data=listing(2).data, ttl=expires)])
        many = get_raw("USER#u1", "LISTING#l001")
        Listing.objects.delete("u1", "l001")
        Listing.objects.create("u1", "l001", listing(1).data)
        single, with_ttl = get_raw("USER#u1", "LISTING#l001"), get_raw("USER#u1", "LISTING#l2")
        assert many is not None
        assert single is not None
        assert with_ttl is not None
        own = {"CreatedAt", "UpdatedAt", "WriteId"}
        assert {name: many[name] for name in many.keys() - own} == {name: single[name] for name in single.keys() - own}
        assert with_ttl["TTL"] == {"N": str(expires)}

    def test_over_an_expired_one(self) -> None:
        """An item whose TTL has passed is gone, and may be created."""
        put_raw(stored("Listing", "LISTING#l001", SOLD, TTL={"N": "1000"}))
        assert Listing.objects.create_many([listing(1)]).written == tuple(ids(1))
        assert Listing.objects.get("u1", "l001", consistent=True).data.price == 1

    def test_an_unfit_item(self) -> None:
        """An item that cannot be stored is refused before anything is sent, wherever it stands in a list."""
        unfit: list[Any] = [listing(900, description="x" * 410_000), listing(900, mls_number="a#b"), in_part(), "l1"]
        before = there()
        with recorded() as calls:
            for one in unfit:
                with pytest.raises((InvalidItemError, InvalidKeyError)):
                    Listing.objects.create_many([*(listing(number) for number in range(30)), one])
        assert calls == []
        assert there() == before

    def test_races(self, table: str) -> None:
        """Two threads that create the same 200 items make 200, and each item has exactly one winner."""
        if table == "moto":
            pytest.skip("moto loses updates under threads")
        results: list[BatchResult] = []
        gate = threading.Barrier(2)

        def work(price: int) -> None:
            items = [listing(number, price=price) for number in range(200)]
            gate.wait()
            try:
                results.append(Listing.objects.create_many(items))
            except BatchIncompleteError as error:
                if error.result is not None:
                    results.append(error.result)

        threads = [threading.Thread(target=work, args=(price,)) for price in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        first, second = (set(result.written) for result in results)
        assert (first & second, first | second) == (set(), set(ids(*range(200))))
        assert [set(result.refused) for result in results] == [second, first]
        assert [result.unknown for result in results] == [{}, {}]
        assert len(there()) == 200


@pytest.mark.usefixtures("table")
class TestDeleteMany:
    def test_round_trip(self) -> None:
        """60 items are deleted in three requests, those that are not there among them, and all others stay."""
        Listing.objects.save_many([listing(number) for number in range(70)])
        put_raw(stored("Task", "TASK#1", {}))
        with recorded() as calls:
            result = Listing.objects.delete_many(ids(*range(10, 60), *range(900, 910)))
        assert result.written == tuple(ids(*range(10, 60), *range(900, 910)))
        assert [call.operation for call in calls] == ["BatchWriteItem"] * 3
        assert there() == [one[1] for one in ids(*range(10), *range(60, 70))]
        assert get_raw("USER#u1", "TASK#1") is not None

    def test_duplicates(self) -> None:
        """An item is deleted once, in whichever form and however often its ids are given."""
        days = [PerformanceMetrics(user_id="u1", listing_id="l1", date=date(2024, 1, d), data=day(d)) for d in (1, 2)]
        PerformanceMetrics.objects.save_many(days)
        with recorded() as calls:
            result = PerformanceMetrics.objects.delete_many(
                [("u1", "l1", "2024-01-01"), ("u1", "l1", date(2024, 1, 2)), ("u1", "l1", date(2024, 1, 1))]
            )
        assert (len(calls), len(result.written)) == (1, 2)
        assert list(PerformanceMetrics.objects.query("u1", "l1")) == []

    def test_nothing(self) -> None:
        """No ids, and no items, are no request."""
        with recorded() as calls:
            assert Listing.objects.delete_many([]).written == ()
            assert Listing.objects.create_many(iter(())).written == ()
        assert calls == []

    def test_unfit_ids(self) -> None:
        """Ids that cannot go into a key, or are none, are refused before anything is sent."""
        unfit: list[Any] = [("u1", "a#b"), ("u1",), "l1", ["u1", "l1"], 5, None]
        with recorded() as calls:
            for bad in unfit:
                with pytest.raises(InvalidKeyError):
                    Listing.objects.delete_many([*ids(*range(120)), bad])
        assert calls == []

    def test_unprocessed_ones_are_sent_again(self) -> None:
        """What DynamoDB left of a batch is sent again, on every engine, until all is done."""
        Listing.objects.save_many([listing(number) for number in range(30)])
        left = leave_some("BatchWriteItem", times=3)
        assert len(Listing.objects.delete_many(ids(*range(30))).written) == 30
        assert (left, there()) == ([], [])

    def test_ids_of_a_platform(self) -> None:
        """The ids in a result are as a caller gives them, and can be given back."""
        connection = SocialConnection(user_id="u1", platform="facebook", data=SocialConnectionData(access_token="at"))
        (written,) = SocialConnection.objects.save_many([connection]).written
        assert written == ("u1", "facebook")
        assert list(SocialConnection.objects.get_many([written], consistent=True)) == [written]
        assert SocialConnection.objects.delete_many([written]).written == (written,)
        assert SocialConnection.objects.find("u1", "facebook", consistent=True) is None


def day(number: int) -> PerformanceMetricsData:
    """Make a day's figures."""
    return PerformanceMetricsData(views=number)


def changed(item: Listing, **values: Any) -> Listing:
    """Change an item's payload past its validation."""
    item.data.__dict__.update(values)
    return item


def foreign() -> Any:
    """Store and read an item of another application."""
    put_raw(stored("Task", "TASK#1", {}))
    (item,) = Item.objects.query("u1", consistent=True)
    return item


def in_part() -> Any:
    """Store a listing, and read it in part."""
    put_raw(stored("Listing", "LISTING#part", SOLD))
    return Listing.get("USER#u1", "LISTING#part", consistent_read=True, attributes_to_get=["Data", "EntityType", "PK", "SK"])


def leave_some(operation: str, *, times: int) -> list[int]:
    """Let answers of a batch say that its last member was left, *times* in all; give what is left to do of that."""
    turns = list(range(times))

    def remember(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        (context["asked"],) = json.loads(params["body"])["RequestItems"].values()

    def leave(parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        with suppress(IndexError):
            turns.pop()
            table, asked = store().table_name, context["asked"]
            if operation == "BatchWriteItem":
                parsed["UnprocessedItems"] = {table: asked[-1:]}
            else:
                left = asked["Keys"][-1]
                rows = parsed["Responses"][table]
                parsed["Responses"][table] = [row for row in rows if left["SK"]["S"].encode() not in bytes(row)]
                parsed["UnprocessedKeys"] = {table: {"Keys": [left]}}

    store().client.meta.events.register(f"before-call.dynamodb.{operation}", remember)
    store().client.meta.events.register(f"after-call.dynamodb.{operation}", leave)
    return turns


@pytest.mark.usefixtures("table")
class TestGetMany:
    def test_what_is_not_there(self) -> None:
        """What is not there is not in the answer; the others stand in the order that was asked for."""
        Listing.objects.save_many([listing(number) for number in range(150)])
        wanted = ids(149, 999, 3, 1, 77, 500)
        assert list(Listing.objects.get_many(wanted, consistent=True)) == ids(149, 3, 1, 77)
        assert Listing.objects.get_many(ids(998, 999)) == {}

    def test_ids_keep_their_form(self) -> None:
        """An id is in the answer as it was given, in whichever form, and an item is asked for once."""
        days = [PerformanceMetrics(user_id="u1", listing_id="l1", date=date(2024, 1, d), data=day(d)) for d in (1, 2)]
        PerformanceMetrics.objects.save_many(days)
        wanted: list[tuple[Any, ...]] = [
            ("u1", "l1", "2024-01-02"),
            ("u1", "l1", date(2024, 1, 1)),
            ("u1", "l1", date(2024, 1, 2)),
        ]
        with recorded() as calls:
            found = PerformanceMetrics.objects.get_many(wanted, consistent=True)
        assert (list(found), len(calls)) == (wanted, 1)
        assert [one.data.views for one in found.values()] == [2, 1, 2]
        assert list(PerformanceMetrics.objects.get_many([wanted[1]] * 3, consistent=True)) == [wanted[1]]

    def test_a_generator(self) -> None:
        """Ids may come from anything that gives them one by one."""
        Listing.objects.save_many([listing(1)])
        assert list(Listing.objects.get_many((one for one in ids(1, 2)), consistent=True)) == ids(1)

    def test_nothing(self) -> None:
        """No ids are no request."""
        with recorded() as calls:
            assert Listing.objects.get_many([]) == {}
            assert Listing.objects.get_many(iter(())) == {}
        assert calls == []

    def test_an_unfit_id(self) -> None:
        """An id that cannot go into a key, or is none, is refused before anything is sent, wherever it stands."""
        unfit: list[Any] = [("u1", "a#b"), ("", "l1"), ("u1", "x" * 2000), ("u1",), ("u1", "l1", "l2"), "l1"]
        with recorded() as calls:
            for bad in unfit:
                with pytest.raises(InvalidKeyError):
                    Listing.objects.get_many([*ids(*range(120)), bad])
        assert calls == []

    def test_expired_ones(self) -> None:
        """An item whose TTL has passed is as good as not there; one whose TTL is to come is there."""
        put_raw(stored("Listing", "LISTING#gone", SOLD, TTL={"N": "1000"}))
        put_raw(stored("Listing", "LISTING#here", SOLD, TTL={"N": "99999999999"}))
        assert list(Listing.objects.get_many([("u1", "gone"), ("u1", "here")], consistent=True)) == [("u1", "here")]

    def test_unreadable_ones(self) -> None:
        """A row that cannot be read as its entity is left out with a warning that names it, and the others are there."""
        put_raw(stored("Listing", "LISTING#odd", {"price": {"S": "many"}}))
        put_raw(stored("Task", "LISTING#task", SOLD))
        put_raw(stored("Listing", "LISTING#here", SOLD))
        with pytest.warns(UnreadableItemWarning) as warned:
            found = Listing.objects.get_many([("u1", "odd"), ("u1", "task"), ("u1", "here")], consistent=True)
        assert list(found) == [("u1", "here")]
        said = sorted(str(warning.message).split(": ")[1] for warning in warned)
        assert said == ["read Listing USER#u1 / LISTING#odd", "read Listing USER#u1 / LISTING#task"]
        assert {warning.filename for warning in warned} == {__file__}

    def test_unprocessed_keys_are_asked_for_again(self) -> None:
        """What DynamoDB left of a batch is asked for again, on every engine, until all is there."""
        Listing.objects.save_many([listing(number) for number in range(130)])
        left = leave_some("BatchGetItem", times=4)
        with recorded() as calls:
            found = Listing.objects.get_many(ids(*range(130)), consistent=True)
        assert (len(calls), left) == (2 + 4, [])
        assert list(found) == ids(*range(130))


# --- Faults, by a server that misbehaves -----------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Give a server with an empty table, and the project pointed at it."""
    clear_the_way(monkeypatch)
    with Server() as made:
        connect(made)
        yield made


def asked_for(body: bytes) -> list[Any]:
    """Give the members of a batch request: puts, or keys."""
    (members,) = json.loads(body)["RequestItems"].values()
    listed: list[Any] = members["Keys"] if isinstance(members, dict) else members
    return listed


def names_in(body: bytes) -> list[str]:
    """Give the listings that a batch request is about."""
    found = []
    for member in asked_for(body):
        key = member["PutRequest"]["Item"] if "PutRequest" in member else member
        found.append(key["SK"]["S"].removeprefix("LISTING#"))
    return found


def does_only(count: int) -> Callable[[Exchange], None]:
    """Do the first members of a batch, and say that the others are left."""

    def fault(exchange: Exchange) -> None:
        request = json.loads(exchange.request.body)
        ((table, members),) = request["RequestItems"].items()
        is_read = isinstance(members, dict)
        listed = members["Keys"] if is_read else members
        done, left = listed[:count], listed[count:]
        answer: dict[str, Any] = {}
        if done:
            request["RequestItems"][table] = members | {"Keys": done} if is_read else done
            shortened = exchange.request.__class__(**{**vars(exchange.request), "body": json.dumps(request).encode()})
            answer = json.loads(exchange._replace(request=shortened).run()[1])
        answer["UnprocessedKeys" if is_read else "UnprocessedItems"] = {table: {"Keys": left} if is_read else left}
        exchange.send(200, json.dumps(answer).encode())

    return fault


class TestFaultsOfWrites:
    def test_what_is_left_is_sent_again(self, server: Server) -> None:
        """Exactly what DynamoDB left is sent again, until nothing is."""
        server.next(does_only(20), does_only(0), does_only(3))
        assert len(Listing.objects.save_many([listing(number) for number in range(25)]).written) == 25
        assert server.seen == ["BatchWriteItem"] * 4
        assert [names_in(request.body) for request in server.requests] == [
            [f"l{number:03}" for number in range(first, 25)] for first in (0, 20, 20, 23)
        ]
        assert len(there()) == 25

    def test_slow_progress(self, server: Server) -> None:
        """As long as something gets through within the deadline, a batch goes on, however long that takes in all."""
        connect(server, deadline=0.2)
        server.next(*[does_only(1)] * 24)
        started = time.monotonic()
        assert len(Listing.objects.save_many([listing(number) for number in range(25)]).written) == 25
        assert (len(server.requests), len(there())) == (25, 25)
        assert time.monotonic() - started > 0.2

    def test_what_stays_unprocessed(self, server: Server) -> None:
        """What DynamoDB does not take until the deadline is named, item by item, and the rest is written."""
        connect(server, deadline=1.5)
        items = [listing(number) for number in range(30)]

        def takes_but_two(exchange: Exchange) -> None:
            wanted = names_in(exchange.request.body)
            assert wanted[-1] in {"l024", "l029"}
            does_only(len(wanted) - 1)(exchange)

        server.next(*[takes_but_two] * 1000)
        with pytest.raises(BatchIncompleteError, match=r"save_many Listing: 2 of 30 items .*: unprocessed until") as caught:
            Listing.objects.save_many(items)
        assert [id(item) for item in caught.value.unprocessed] == [id(items[24]), id(items[29])]
        server.faults.clear()
        assert len(there()) == 28
        assert len(Listing.objects.save_many(caught.value.unprocessed).written) == 2
        assert len(there()) == 30

    @pytest.mark.parametrize("fault", [closes_after, sends_html, fails_after])
    def test_a_lost_answer_of_what_was_done(self, server: Server, fault: Callable[[Exchange], None]) -> None:
        """Items that show this write's own WriteId are written, though the answer was lost; nothing is sent twice."""
        server.next(fault, operation="BatchWriteItem")
        items = [listing(number) for number in range(60)]
        assert set(Listing.objects.save_many(items).written) == set(ids(*range(60)))
        assert sorted(server.seen) == ["BatchGetItem", *["BatchWriteItem"] * 3]
        assert {item.write_id for item in items} == {get_raw(item.pk, item.sk)["WriteId"]["S"] for item in items}  # type: ignore[index]

    def test_a_lost_request(self, server: Server) -> None:
        """A batch that nobody has seen is unknown item by item, and not sent again; the other batches are written."""
        server.next(closes_unread, operation="BatchWriteItem")
        items = [listing(number) for number in range(60)]
        with pytest.raises(BatchIncompleteError, match=r"(25|10) of 60 .*: the answer was lost") as caught:
            Listing.objects.save_many(items)
        assert sorted(server.seen) == ["BatchGetItem", *["BatchWriteItem"] * 3]
        lost, result = [one.listing_id for one in caught.value.unprocessed], caught.value.result
        assert result is not None
        assert ([one[1] for one in result.unknown], result.refused) == (lost, {})
        assert sorted(lost + there()) == [item.listing_id for item in items]
        assert sorted(one[1] for one in result.written) == there()
        (error, *_) = result.unknown.values()
        assert isinstance(error, OutcomeUnknownError)
        assert (error.operation, error.key) == ("save_many Listing", ("USER#u1", f"LISTING#{lost[0]}"))

    def test_a_lost_answer_and_another_writer(self, server: Server) -> None:
        """An item that another write has replaced before it could be looked up is unknown, and the others are written."""

        def loses_then_another(exchange: Exchange) -> None:
            exchange.run()
            other = {**stored("Listing", "LISTING#l003", SOLD), "WriteId": {"S": "another"}}
            exchange.server.engine.tell("PutItem", {"TableName": "homes", "Item": other})
            exchange.close()

        server.next(loses_then_another)
        with pytest.raises(BatchIncompleteError, match="1 of 10") as caught:
            Listing.objects.save_many([listing(number) for number in range(10)])
        assert caught.value.result is not None
        assert list(caught.value.result.unknown) == ids(3)
        assert get_raw("USER#u1", "LISTING#l003")["WriteId"] == {"S": "another"}  # type: ignore[index]

    def test_a_lost_answer_and_a_lost_look(self, server: Server) -> None:
        """Where the items cannot be looked up either, they are unknown, and both reasons are given."""
        server.next(closes_after, refuses("AccessDeniedException"))
        with pytest.raises(BatchIncompleteError, match=r"the answer was lost .*, and so was a look .*AccessDenied") as caught:
            Listing.objects.save_many([listing(1), listing(2)])
        assert caught.value.result is not None
        assert list(caught.value.result.unknown) == ids(1, 2)

    def test_one_item_that_dynamodb_refuses(self, server: Server) -> None:
        """One item that DynamoDB does not take is refused by itself, and the 59 others are written."""

        def refuses_one(exchange: Exchange) -> None:
            if "l031" in names_in(exchange.request.body):
                refuses("ValidationException", message="Type mismatch for Index Key")(exchange)
            else:
                exchange.send(*exchange.run())

        server.next(*[refuses_one] * 100)
        with pytest.raises(BatchIncompleteError, match=r"1 of 60 .*LISTING#l031.*ValidationException") as caught:
            Listing.objects.save_many([listing(number) for number in range(60)])
        server.faults.clear()
        result = caught.value.result
        assert result is not None
        assert (list(result.refused), len(result.written), len(there())) == (ids(31), 59, 59)
        assert [one.listing_id for one in caught.value.unprocessed] == ["l031"]

    def test_a_request_holds_16_mb(self, server: Server) -> None:
        """A request is cut where its JSON would pass 16 MB: an item may be far larger on the wire than in the table."""
        items = [listing(number, description="\x01" * 390_000) for number in range(9)]  # six bytes each in JSON
        assert len(Listing.objects.save_many(items).written) == 9
        assert [len(request.body) < 16_000_000 for request in server.requests] == [True, True]
        assert sum(len(request.body) for request in server.requests) > 20_000_000

    @pytest.mark.parametrize("endless", [True, False])
    def test_a_table_that_takes_nothing(self, server: Server, *, endless: bool) -> None:
        """After eight requests in a row of which DynamoDB took nothing no more are sent; a list's rest is named, too."""
        server.next(*[refuses("AccessDeniedException")] * 100)
        items = (listing(number) for number in (count() if endless else range(900)))
        with pytest.raises(BatchIncompleteError, match=r"AccessDenied") as caught:
            Listing.objects.save_many(items if endless else list(items))
        assert 8 <= len(server.requests) <= 16
        result = caught.value.result
        assert result is not None
        codes = Counter(error.code for error in result.refused.values() if isinstance(error, StoreError))
        assert codes["AccessDeniedException"] == 25 * len(server.requests)
        assert codes["NotSent"] <= 9 * 25 if endless else codes.total() == 900
        assert [one.listing_id for one in caught.value.unprocessed] == [one[1] for one in result.refused]

    def test_a_refusal_crosses_processes(self, server: Server) -> None:
        """The error pickles with what became of each."""
        server.next(refuses("AccessDeniedException"))
        with pytest.raises(BatchIncompleteError) as caught:
            Listing.objects.delete_many(ids(1, 2))
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  our own
        assert (str(again), again.unprocessed) == (str(caught.value), tuple(ids(1, 2)))
        assert (list(again.result.refused), again.result.written) == (ids(1, 2), ())

    def test_a_refused_batch(self, server: Server) -> None:
        """A batch that DynamoDB refuses is named with the reason; the other batches are written."""
        server.next(refuses("AccessDeniedException"))
        with pytest.raises(BatchIncompleteError, match=r"LISTING#l\d+: BatchWriteItem on homes: AccessDenied") as caught:
            Listing.objects.save_many([listing(number) for number in range(30)])
        assert len(caught.value.unprocessed) + len(there()) == 30
        assert server.seen[:2] == ["BatchWriteItem"] * 2

    def test_a_throttled_batch(self, server: Server) -> None:
        """A batch that was throttled, and so not done, is sent again."""
        server.next(THROTTLED)
        assert len(Listing.objects.save_many([listing(number) for number in range(5)]).written) == 5
        assert (server.seen, len(there())) == (["BatchWriteItem"] * 2, 5)

    def test_unfit_items_are_seen_first(self, server: Server) -> None:
        """Where the last of many items is unfit, the server has not seen the first."""
        with pytest.raises(InvalidKeyError):
            Listing.objects.save_many([*(listing(number) for number in range(100)), listing(900, mls_number="a#b")])
        assert server.requests == []


class TestFaultsOfDeletes:
    @pytest.mark.parametrize("fault", [closes_after, sends_html])
    def test_a_lost_answer(self, server: Server, fault: Callable[[Exchange], None]) -> None:
        """What is gone after a lost answer is deleted: no more was asked for."""
        Listing.objects.save_many([listing(number) for number in range(5)])
        server.requests.clear()
        server.next(fault)
        assert Listing.objects.delete_many(ids(1, 2)).written == tuple(ids(1, 2))
        assert server.seen == ["BatchWriteItem", "BatchGetItem"]
        assert there() == ["l000", "l003", "l004"]

    def test_what_is_still_there(self, server: Server) -> None:
        """What is there after a lost answer may be newer: it is unknown, and not deleted again."""
        Listing.objects.save_many([listing(1)])
        server.requests.clear()
        server.next(closes_unread)
        with pytest.raises(BatchIncompleteError, match="1 of 2 items were not deleted") as caught:
            Listing.objects.delete_many(ids(1, 2))
        assert caught.value.result is not None
        assert (list(caught.value.result.unknown), caught.value.result.written) == (ids(1), tuple(ids(2)))
        assert (caught.value.unprocessed, server.seen) == (tuple(ids(1)), ["BatchWriteItem", "BatchGetItem"])
        assert there() == ["l001"]

    def test_what_is_left_is_sent_again(self, server: Server) -> None:
        """Exactly what DynamoDB left is sent again."""
        Listing.objects.save_many([listing(number) for number in range(10)])
        server.requests.clear()
        server.next(does_only(7), does_only(0))
        assert len(Listing.objects.delete_many(ids(*range(10))).written) == 10
        assert [len(asked_for(request.body)) for request in server.requests] == [10, 3, 3]
        assert there() == []


class TestFaultsOfCreates:
    def test_a_lost_answer(self, server: Server) -> None:
        """A create whose answer or request was lost is sent again, and is applied once."""
        server.next(closes_after, closes_unread, THROTTLED, operation="PutItem")
        result = Listing.objects.create_many(listing(number) for number in range(20))
        assert (len(result.written), result.unknown, result.refused) == (20, {}, {})
        assert sorted(one[1] for one in result.written) == there()

    def test_a_refusal(self, server: Server) -> None:
        """A create that DynamoDB refuses is refused by itself, with the reason."""
        server.next(refuses("AccessDeniedException"))
        with pytest.raises(BatchIncompleteError, match=r"1 of 8 .*AccessDenied") as caught:
            Listing.objects.create_many([listing(number) for number in range(8)])
        result = caught.value.result
        assert result is not None
        assert (len(result.refused), len(result.written), len(there())) == (1, 7, 7)


class TestIterators:
    def test_are_not_held(self, server: Server) -> None:
        """Three times as many items take no more memory: none is held longer than its request is under way."""
        server.next(*[forgets] * 80)

        def most_for(count: int) -> int:
            tracemalloc.start()
            try:
                items = (listing(number, description=f"{number:05}" * 4_000) for number in range(count))
                assert len(Listing.objects.save_many(items).written) == count
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

        few, many = most_for(500), most_for(1_500)
        assert many < 1.4 * few
        assert many < 1_500 * 20_000

    def test_an_unfit_item_in_the_middle(self, server: Server) -> None:
        """All before an unfit item is written, nothing after it is taken, and the error says so and has the item."""
        unfit = listing(900, mls_number="a#b")
        rest = iter([*(listing(number) for number in range(130)), unfit, *(listing(number) for number in range(200, 210))])
        with pytest.raises(BatchIncompleteError, match=r"0 of 130 .*; the next one is unfit.*mls_number") as caught:
            Listing.objects.save_many(rest)
        assert caught.value.unprocessed == (unfit,)
        assert isinstance(caught.value.__cause__, InvalidKeyError)
        assert caught.value.result is not None
        assert caught.value.result.written == tuple(ids(*range(130)))
        assert len(Listing.objects.save_many(rest).written) == 10
        assert len(there()) == 140
        assert len([one for one in server.seen if one == "BatchWriteItem"]) == 6 + 1

    def test_an_unfit_item_early_on(self, server: Server) -> None:
        """Where nothing was sent yet, an unfit item of an iterator is refused as one of a list is."""
        with pytest.raises(InvalidKeyError):
            Listing.objects.save_many(iter([*(listing(number) for number in range(90)), listing(900, mls_number="a#b")]))
        with pytest.raises(InvalidKeyError):
            Listing.objects.delete_many(iter([("u1", "l1"), ("u1", "a#b")]))
        assert server.requests == []

    @pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, InvalidItemError])
    def test_an_exception_of_the_caller(self, server: Server, error: type[BaseException]) -> None:
        """An exception in the caller's iterator comes through as it is; nothing is sent after it, and its note is exact."""
        raised = InvalidItemError("read", None, "the caller's own") if error is InvalidItemError else error("the caller's own")

        def items() -> Iterator[Listing]:
            yield from map(listing, range(320))
            at.append(len(server.requests))
            raise raised

        at: list[int] = []
        with pytest.raises(error) as caught:
            Listing.objects.save_many(items())
        assert caught.value is raised
        assert len(server.requests) <= at[0] + 4  # those that were begun, and are on their way
        (note,) = raised.__notes__
        written = len(there())
        assert note == (
            f"save_many Listing ended here: {written} written, 0 refused, 0 unknown, {320 - written} taken and not sent"
        )

    def test_an_exception_before_anything_is_sent(self, server: Server) -> None:
        """An exception in the iterator before anything is sent has no note."""

        def items() -> Iterator[Listing]:
            yield listing(1)
            raise LookupError

        with pytest.raises(LookupError) as caught:
            Listing.objects.create_many(items())
        assert (server.requests, getattr(caught.value, "__notes__", None)) == ([], None)

    def test_an_interrupt(self, server: Server) -> None:
        """An interrupt while requests are under way lets those finish, sends no more, and says how far it came."""

        def interrupts(exchange: Exchange) -> None:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.2)
            does_only(20)(exchange)

        server.next(*[as_it_is] * 3, interrupts)
        with pytest.raises(KeyboardInterrupt) as caught:
            Listing.objects.save_many([listing(number) for number in range(1_000)])
        sent = [name for request in server.requests for name in names_in(request.body)]
        written = len(there())
        assert len(sent) < 500
        assert len(sent) == len(set(sent)) == written + 5  # what was left of one is not sent again
        (note,) = caught.value.__notes__
        assert f"ended here: {written} written, 0 refused, 0 unknown, " in note

    def test_a_foreign_exception_under_way(self, server: Server) -> None:
        """An exception of somebody's hook comes through, and counts what it cut short as unknown."""

        def hook(**_: Any) -> None:
            raise LookupError("a hook's own")

        Listing.objects.save_many([listing(0)])
        store().client.meta.events.register("after-call.dynamodb.BatchWriteItem", hook)
        with pytest.raises(LookupError, match="a hook's own") as caught:
            Listing.objects.save_many([listing(number) for number in range(20)])
        assert "0 written, 0 refused, 20 unknown, 0 taken and not sent" in caught.value.__notes__[0]
        assert len(server.requests) == 2

    def test_creates_stop_too(self, server: Server) -> None:
        """Of creates that wait behind others in a thread none is sent after an exception."""

        def items() -> Iterator[Listing]:
            yield from map(listing, range(100))
            at.append(len(server.requests))
            raise LookupError

        at: list[int] = []
        with pytest.raises(LookupError) as caught:
            Listing.objects.create_many(items())
        assert len(server.requests) <= at[0] + 4
        assert f"{len(there())} created, 0 refused, 0 unknown" in caught.value.__notes__[0]

    def test_the_last_one_of_a_key_stands(self, server: Server) -> None:
        """Of many writes of one key, far apart or next to each other, the last one stands: they are sent in their order."""
        numbers = [0, *range(1, 25), 0, *range(25, 49), 0, 0]
        items = (listing(number, price=turn) for turn, number in enumerate(numbers))

        def is_slow(exchange: Exchange) -> None:
            """Hold the first request longest, and the second one longer than the third."""
            names = names_in(exchange.request.body)
            time.sleep(0.1 * ("l001" in names) + 0.05 * ("l025" in names))
            exchange.send(*exchange.run())

        server.next(*[is_slow] * 3)
        result = Listing.objects.save_many(items)
        assert (len(server.requests), sorted(result.written)) == (3, ids(*range(49)))
        assert Listing.objects.get("u1", "l000", consistent=True).data.price == len(numbers) - 1

    def test_a_failure_that_a_later_one_makes_good(self, server: Server) -> None:
        """A write that was refused counts no more once a later one of its key is done, and the other way round."""
        server.next(refuses("AccessDeniedException"), as_it_is, as_it_is, as_it_is, as_it_is, refuses("AccessDeniedException"))
        again = [listing(number, price=7) for number in range(24)]
        first = [listing(0, price=1), *(listing(number) for number in range(100, 124))]
        with pytest.raises(BatchIncompleteError) as caught, one_at_a_time():
            Listing.objects.save_many(iter([*first, *again, listing(24), *map(listing, range(200, 275)), listing(1, price=8)]))
        result = caught.value.result
        assert result is not None
        assert list(result.refused) == [*ids(*range(100, 124)), *ids(1)]
        assert set(result.written) == set(ids(0, *range(2, 25), *range(200, 275)))
        assert [one.data.price for one in caught.value.unprocessed][-1] == 8


def forgets(exchange: Exchange) -> None:
    """Answer as if all was written, and keep nothing of it."""
    exchange.server.requests[:] = [replace(request, body=b"") for request in exchange.server.requests]
    exchange.send(200, b"{}")


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let requests go one after the other, so that a fault meets the one that it is for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlssocial.batch.CONCURRENCY", 1)
        yield


def batch_threads() -> set[str]:
    """Name the threads of batches that there are."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("mlssocial-batch")}


class TestNear:
    """Where answers come at once, one request goes after the other, from the caller's thread."""

    @pytest.fixture(autouse=True)
    def near(self, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
        """Take what answers within minutes for near; it has answered once, so that this is known."""
        monkeypatch.setattr("mlssocial.connection.NEAR_SECONDS", 600)
        assert Listing.objects.find("u1", "none") is None
        server.requests.clear()

    def test_one_after_the_other(self, server: Server) -> None:
        """No thread is started, and no more is taken of an iterator than the next request needs."""

        def items() -> Iterator[Listing]:
            for number in range(120):
                sent.append(len(server.requests))
                assert batch_threads() == set()
                yield listing(number)

        sent: list[int] = []
        assert len(Listing.objects.save_many(items()).written) == 120
        assert sent == [0] * 101 + [4] * 19  # the first four requests are put together before the first is sent
        assert len(Listing.objects.get_many(ids(*range(120)), consistent=True)) == 120
        assert [len(names_in(request.body)) for request in server.requests] == [25, 25, 25, 25, 20, 100, 20]
        assert batch_threads() == set()

    def test_until_it_is_far(self, server: Server) -> None:
        """As soon as two answers have taken their time, the rest goes by threads; nothing is lost or doubled on the way."""

        def is_late(exchange: Exchange) -> None:
            time.sleep(0.1)
            as_it_is(exchange)

        def items() -> Iterator[Listing]:
            for number in range(400):
                in_threads.append(bool(batch_threads()))
                yield listing(number)

        in_threads: list[bool] = []
        server.next(as_it_is, is_late, as_it_is, is_late)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mlssocial.connection.NEAR_SECONDS", 0.1)
            assert len(Listing.objects.save_many(items()).written) == 400
        assert in_threads[:101] == [False] * 101  # what the first four requests need
        assert in_threads[-1]
        assert Counter(name for request in server.requests for name in names_in(request.body)) == Counter(
            f"l{number:03}" for number in range(400)
        )

    def test_two_late_answers_are_far(self, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
        """One answer that is late is an accident, two are the way there."""

        def is_late(exchange: Exchange) -> None:
            time.sleep(0.1)
            as_it_is(exchange)

        monkeypatch.setattr("mlssocial.connection.NEAR_SECONDS", 0.1)
        near = []
        for faults in ([is_late], [as_it_is], [is_late] * 2, [as_it_is]):
            server.next(*faults)
            for _ in faults:
                Listing.objects.find("u1", "none")
            near.append(store().is_near)
        assert near == [True, True, False, True]

    def test_what_is_left_unprocessed(self, server: Server) -> None:
        """What DynamoDB leaves is sent again before the next request."""
        server.next(does_only(20))
        assert len(Listing.objects.save_many([listing(number) for number in range(60)]).written) == 60
        assert [len(names_in(request.body)) for request in server.requests] == [25, 5, 25, 10]

    def test_an_exception_of_the_caller(self, server: Server) -> None:
        """An exception in the caller's iterator ends the batch, with an exact note."""

        def items() -> Iterator[Listing]:
            yield from map(listing, range(130))
            raise LookupError

        with pytest.raises(LookupError) as caught:
            Listing.objects.save_many(items())
        written = len(there())
        assert written % 25 == 0
        assert 0 < written < 130
        (note,) = caught.value.__notes__
        assert f"{written} written, 0 refused, 0 unknown, {130 - written} taken and not sent" in note
        assert (
            sum(len(names_in(request.body)) for request in server.requests if request.operation == "BatchWriteItem") == written
        )

    def test_an_interrupt(self, server: Server) -> None:
        """An interrupt cuts off the one request that is under way, whose items count as unknown, and no more."""

        def interrupts(exchange: Exchange) -> None:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.2)
            as_it_is(exchange)

        server.next(as_it_is, interrupts)
        with pytest.raises(KeyboardInterrupt) as caught:
            Listing.objects.save_many([listing(number) for number in range(100)])
        (note,) = caught.value.__notes__
        assert "ended here: 25 written, 0 refused, 25 unknown, " in note


class TestFaultsOfReads:
    def test_what_is_left_is_asked_for_again(self, server: Server) -> None:
        """Exactly the keys that DynamoDB left are asked for again, until none is left."""
        Listing.objects.save_many([listing(number) for number in range(10)])
        server.requests.clear()
        server.next(does_only(7), does_only(0), does_only(1))
        assert list(Listing.objects.get_many(ids(*range(10)), consistent=True)) == ids(*range(10))
        assert [names_in(request.body) for request in server.requests] == [
            [f"l{number:03}" for number in range(first, 10)] for first in (0, 7, 7, 8)
        ]

    def test_every_request_is_consistent(self, server: Server) -> None:
        """A consistent read stays consistent when what was left is asked for again; without it none is."""
        for consistent in (True, False):
            server.requests.clear()
            server.next(does_only(1))
            Listing.objects.get_many(ids(1, 2, 3), consistent=consistent)
            asked = [json.loads(request.body)["RequestItems"]["homes"]["ConsistentRead"] for request in server.requests]
            assert asked == [consistent] * 2

    def test_what_stays_unprocessed(self, server: Server) -> None:
        """Keys that DynamoDB leaves until the deadline are an error that says so, and no short answer."""
        connect(server, deadline=0.2)
        server.next(*[does_only(0)] * 1000)
        with pytest.raises(StoreError, match="3 keys were left unprocessed until the deadline") as caught:
            Listing.objects.get_many(ids(1, 2, 3))
        assert caught.value.code == "UnprocessedKeys"

    @pytest.mark.parametrize("fault", [closes_after, sends_html, THROTTLED])
    def test_a_lost_answer(self, server: Server, fault: Callable[[Exchange], None]) -> None:
        """A batch whose answer was lost is asked for again."""
        Listing.objects.save_many([listing(number) for number in range(120)])
        server.next(fault, fault)
        assert list(Listing.objects.get_many(ids(*range(120)), consistent=True)) == ids(*range(120))

    def test_a_refused_batch(self, server: Server) -> None:
        """A batch that DynamoDB refuses is the refusal, whatever became of the others."""
        server.next(refuses("AccessDeniedException"))
        with pytest.raises(StoreError, match="AccessDeniedException"):
            Listing.objects.get_many(ids(*range(250)))


class TestAtOnce:
    def test_few_requests(self, server: Server) -> None:
        """Several requests are under way at once, and never more than four."""
        lock, under_way, most = threading.Lock(), [0], [0]

        def counts(exchange: Exchange) -> None:
            with lock:
                under_way[0] += 1
                most[0] = max(most[0], under_way[0])
            time.sleep(0.02)
            with lock:
                under_way[0] -= 1
            exchange.send(*exchange.run())

        server.next(*[counts] * 100)
        Listing.objects.save_many([listing(number) for number in range(25 * 12)])
        assert 2 <= most[0] <= 4
        most[0] = 0
        Listing.objects.get_many(ids(*range(800)))
        assert 2 <= most[0] <= 4

    def test_are_recorded(self, server: Server) -> None:
        """recorded() sees what the worker threads send, for its own context and no other."""
        seen: list[int] = []

        def elsewhere() -> None:
            with recorded() as calls:
                Listing.objects.get_many(ids(*range(150)))
            seen.append(len(calls))

        with recorded() as calls:
            Listing.objects.save_many([listing(number) for number in range(60)])
            other = threading.Thread(target=elsewhere)
            other.start()
            other.join()
            Listing.objects.get_many(ids(*range(250)))
        assert [call.operation for call in calls] == ["BatchWriteItem"] * 3 + ["BatchGetItem"] * 3
        assert (seen, len(server.requests)) == ([2], 8)
        assert all(call.seconds > 0 for call in calls)
