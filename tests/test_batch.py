"""Many items at once: every one is written or read, or named."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from mlssocial import (
    BatchIncompleteError,
    InvalidItemError,
    InvalidKeyError,
    Item,
    Listing,
    ListingData,
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
    clear_the_way,
    closes_after,
    closes_unread,
    connect,
    refuses,
    sends_html,
)

SOLD: dict[str, Any] = {"status": {"S": "sold"}}


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
        connect(server, deadline=0.2)
        items = [listing(number) for number in range(30)]

        def takes_but_two(exchange: Exchange) -> None:
            wanted = names_in(exchange.request.body)
            assert wanted[-1] in {"l024", "l029"}
            does_only(len(wanted) - 1)(exchange)

        server.next(*[takes_but_two] * 1000)
        with pytest.raises(
            BatchIncompleteError, match=r"save_many Listing: 2 of 30 items .*save_many\(\) the unprocessed"
        ) as caught:
            Listing.objects.save_many(items)
        assert [id(item) for item in caught.value.unprocessed] == [id(items[24]), id(items[29])]
        server.faults.clear()
        assert len(there()) == 28
        assert len(Listing.objects.save_many(caught.value.unprocessed).written) == 2
        assert len(there()) == 30

    @pytest.mark.parametrize("fault", [closes_after, closes_unread, sends_html])
    def test_a_lost_answer(self, server: Server, fault: Callable[[Exchange], None]) -> None:
        """A batch whose answer was lost is named as unknown and not sent again; the other batches are written."""
        server.next(fault)
        items = [listing(number) for number in range(60)]
        with pytest.raises(BatchIncompleteError, match=r"25 of 60|10 of 60") as caught:
            Listing.objects.save_many(items)
        assert "unknown: the answer was lost" in str(caught.value)
        assert server.seen == ["BatchWriteItem"] * 3
        lost = {one.listing_id for one in caught.value.unprocessed}
        assert lost in [set(names_in(request.body)) for request in server.requests]
        assert {item.listing_id for item in items} - lost <= set(there())

    def test_a_refused_batch(self, server: Server) -> None:
        """A batch that DynamoDB refuses is named with the reason; the other batches are written."""
        server.next(refuses("AccessDeniedException"))
        with pytest.raises(BatchIncompleteError, match=r"refused: .*AccessDeniedException") as caught:
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
