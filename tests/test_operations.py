"""Looking on: what is told of each operation, the log, and the capacity that is counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import pytest

import mlssocial
from mlssocial import (
    ALL_USERS,
    Item,
    Listing,
    ListingData,
    MLSConnection,
    MLSConnectionData,
    Operation,
    PerformanceMetrics,
    SocialConnection,
    SocialPost,
    SocialPostData,
    StoreError,
    audit_table,
    check_table,
    count_capacity,
    for_user,
    on_operation,
    operations,
)
from mlssocial.connection import store
from mlssocial.operations import recorded
from mlssocial.testing import Factory

from .test_connection import answer, inject  # noqa: F401  a fixture

HOME = ListingData(status="active", mls_provider="p", mls_number="n")
FEED = MLSConnectionData(provider="p", access_token="made up")
IDS = [("u1", f"l{number}") for number in range(150)]
FIGURES = PerformanceMetrics.objects
NOW = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def told() -> Iterator[list[Operation]]:
    """Collect what is told."""
    found: list[Operation] = []
    remove = on_operation(found.append)
    yield found
    remove()


def transaction() -> None:
    with mlssocial.transaction() as t:
        t.create(Listing, "u1", "l2", HOME)
        t.create(Listing, "u1", "l3", HOME)


def lease() -> MLSConnection:
    claimed = MLSConnection.objects.claim(MLSConnection.objects.get("u1", "c1", consistent=True), seconds=60)
    assert claimed is not None
    return claimed


def saved() -> None:
    Listing.objects.get("u1", "l1").save()


def due() -> None:
    list(MLSConnection.objects.due_for_sync(NOW, user_id=ALL_USERS))


def counted() -> None:
    FIGURES.increment("u1", "l1", date(2024, 1, 1), "facebook", views=1, operation_id="o")


def posted() -> None:
    SocialPost.objects.create("u1", "p1", SocialPostData(listing_id="l1", status="published"))


def propagated() -> None:
    Listing.objects.propagate_status("p", "n", "pending", user_id="u1")


Told = tuple[str, int, str | None, int, str]
OPERATIONS: list[tuple[Callable[[], Any], list[Told]]] = [
    (lambda: Listing.objects.get("u1", "l1"), [("Listing.objects.get", 0, None, 1, "ok")]),
    (lambda: Listing.objects.get("u1", "l9"), [("Listing.objects.get", 0, None, 1, "ItemNotFoundError")]),
    (lambda: Listing.objects.find("u1", "l9"), [("Listing.objects.find", 0, None, 1, "ok")]),
    (lambda: SocialConnection.objects.find("u1", "x"), [("SocialConnection.objects.find", 6, None, 1, "ok")]),
    (lambda: Listing.objects.create("u1", "l1", HOME), [("Listing.objects.create", 0, None, 1, "ItemAlreadyExistsError")]),
    (lambda: Listing.objects.save("u1", "l1", HOME), [("Listing.objects.save", 0, None, 1, "ok")]),
    (saved, [("Listing.objects.get", 0, None, 1, "ok"), ("Listing.objects.save", 0, None, 1, "ok")]),
    (lambda: Listing.objects.update("u1", "l1", status="sold"), [("Listing.objects.update", 0, None, 2, "ok")]),
    (lambda: Listing.objects.delete("u1", "l9"), [("Listing.objects.delete", 0, None, 1, "ok")]),
    (lambda: Listing.objects.get_many(IDS), [("Listing.objects.get_many", 0, None, 2, "ok")]),
    (lambda: Listing.objects.delete_many(IDS[:60]), [("Listing.objects.delete_many", 0, None, 3, "ok")]),
    (lambda: for_user("u1").listings.delete_many(["l7"]), [("Listing.objects.delete_many", 0, None, 1, "ok")]),
    (lambda: list(Listing.objects.query("u1")), [("Listing.objects.query", 1, None, 1, "ok")]),
    (lambda: Listing.objects.query("u1").page(5), [("Listing.objects.query", 1, None, 1, "ok")]),
    (lambda: Listing.objects.query("u1").first(), [("Listing.objects.query", 1, None, 1, "ok")]),
    (lambda: Listing.objects.query("u1").count(), [("Listing.objects.query", 1, None, 1, "ok")]),
    (lambda: Listing.objects.query_by_status("u1", "active").page(), [("Listing.objects.query_by_status", 3, "GSI2", 1, "ok")]),
    (lambda: for_user("u1").listings.query_by_status("sold").page(), [("Listing.objects.query_by_status", 3, "GSI2", 1, "ok")]),
    (due, [("MLSConnection.objects.due_for_sync", 8, "GSI2", 8, "ok")]),
    (lambda: FIGURES.rollup("u1", "l1", "2024-01-01", "2024-02-01"), [("PerformanceMetrics.objects.query", 5, None, 1, "ok")]),
    (counted, [("PerformanceMetrics.objects.increment", 0, None, 3, "ok")]),
    (posted, [("SocialPost.objects.create", 0, None, 1, "ok")]),
    (lease, [("MLSConnection.objects.get", 0, None, 1, "ok"), ("MLSConnection.objects.claim", 0, None, 1, "ok")]),
    (propagated, [("Listing.objects.propagate_status", 0, "GSI1", 4, "ok")]),
    (transaction, [("transaction", 0, None, 1, "ok")]),
    (check_table, [("check_table", 0, None, 2, "ok")]),
    (audit_table, [("audit_table", 0, None, 1, "ok")]),
    (lambda: Item.get("USER#u1", "LISTING#l1"), [("GetItem", 0, None, 1, "ok")]),
    (lambda: Listing.objects.get("u#1", "l1"), []),
    (lambda: Listing.objects.query("u1"), []),
]  # fmt: skip


@pytest.fixture
def stored(table: str) -> str:
    """Store what the operations find."""
    Listing.objects.create("u1", "l1", HOME)
    MLSConnection.objects.create("u1", "c1", FEED)
    return table


@pytest.mark.parametrize(
    ("operation", "wanted"), OPERATIONS, ids=lambda one: str(one[-1][0]) if one and isinstance(one, list) else ""
)
@pytest.mark.usefixtures("stored")
def test_every_operation_is_told(told: list[Operation], operation: Callable[[], Any], wanted: list[Told]) -> None:
    """Each is told once, by its method, with access pattern, index, requests and outcome; what sent nothing is not told."""
    with suppress(mlssocial.MLSSocialError):
        operation()
    assert [(one.name, one.access_pattern, one.index, one.requests, one.outcome) for one in told] == wanted
    for one in told:
        assert (one.table, one.seconds > 0) == (store().table_name, True)


class TestIterations:
    @pytest.mark.usefixtures("stored")
    def test_are_told_at_their_end(self, told: list[Operation]) -> None:
        """What the consumer asks for between two items is its own, and its time; the iteration is told when it is left."""
        Listing.objects.create("u1", "l2", HOME)
        del told[:]
        for _ in Listing.objects.query("u1"):
            Listing.objects.find("u1", "l9")
            time.sleep(0.2)
            break
        assert [one.name for one in told] == ["Listing.objects.find", "Listing.objects.query"]
        assert told[1].seconds < 0.2

    @pytest.mark.usefixtures("table")
    def test_pages_that_are_read_ahead_belong_to_them(self, told: list[Operation]) -> None:
        """A page that another thread reads ahead is a request of the iteration."""
        big = ListingData(status="active", description="x" * 300_000)
        for number in range(5):
            Listing.objects.create("u1", f"l{number}", big)
        del told[:]
        assert len(list(Listing.objects.query("u1").iterator(prefetch=1))) == 5
        assert [(one.name, one.requests) for one in told] == [("Listing.objects.query", 2)]

    def test_that_fail_say_so(self, inject: Callable[..., list[str]], told: list[Operation]) -> None:  # noqa: F811
        """An iteration that DynamoDB refuses ends with the error's name."""
        inject(answer("ValidationException"), times=1, operation="Query")
        with pytest.raises(StoreError):
            list(Listing.objects.query("u1"))
        assert [(one.name, one.outcome) for one in told] == [("Listing.objects.query", "StoreError")]


class TestRequests:
    def test_that_are_sent_again_count(self, inject: Callable[..., list[str]], told: list[Operation]) -> None:  # noqa: F811
        """A get that is throttled twice has three requests."""
        inject(answer("ThrottlingException"), times=2, operation="GetItem")
        assert Listing.objects.find("u1", "l1") is None
        assert [(one.name, one.requests, one.outcome) for one in told] == [("Listing.objects.find", 3, "ok")]

    @pytest.mark.usefixtures("stored")
    def test_are_recorded_where_they_are_asked_for(self) -> None:
        """A record has this context's requests alone, or those of every thread."""
        with recorded() as mine, recorded(everywhere=True) as everyones, ThreadPoolExecutor(1) as pool:
            Listing.objects.find("u1", "l1")
            pool.submit(Listing.objects.find, "u1", "l2").result()
        assert (len(mine), len(everyones)) == (1, 2)
        assert (mine[0].operation, mine[0].name) == ("GetItem", "Listing.objects.find")


@pytest.mark.usefixtures("stored")
class TestCallbacks:
    def test_that_fail_do_no_harm(self, told: list[Operation], caplog: pytest.LogCaptureFixture) -> None:
        """The operation ends as it has, others are told, and the failure is logged once."""

        def fail(_: Operation) -> None:
            raise ZeroDivisionError

        remove = on_operation(fail)
        later: list[Operation] = []
        remove_later = on_operation(later.append)
        for _ in range(2):
            assert Listing.objects.get("u1", "l1").listing_id == "l1"
        remove()
        remove_later()
        assert (len(told), len(later)) == (2, 2)
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("mlssocial", "WARNING")
        assert record.exc_info is not None
        assert record.exc_info[0] is ZeroDivisionError

    def test_may_use_the_library(self) -> None:
        """What a callback asks for itself is not told, or it would be called for ever."""
        names: list[str] = []

        def look(one: Operation) -> None:
            names.append(one.name)
            Listing.objects.find("u1", "l1")

        remove = on_operation(look)
        Listing.objects.get("u1", "l1")
        remove()
        assert names == ["Listing.objects.get"]

    def test_are_taken_back(self, told: list[Operation]) -> None:
        """Taking one back, once or twice, leaves the others."""
        mine: list[Operation] = []
        remove = on_operation(mine.append)
        remove()
        remove()
        Listing.objects.find("u1", "l1")
        assert (len(mine), len(told)) == (0, 1)

    def test_cost_nothing_where_there_are_none(self) -> None:
        """Where nobody looks on an operation makes no record of itself, and an iteration is the iterator itself."""
        rows: Iterator[int] = iter(())
        assert not operations.is_watched()
        assert operations.running("get Listing") is operations.running("find Listing")
        assert operations.steps("query", 1, rows) is rows
        remove = on_operation(print)
        assert operations.is_watched()
        assert operations.running("get Listing") is not operations.running("get Listing")
        remove()
        assert not operations.is_watched()


@pytest.mark.usefixtures("stored")
class TestLog:
    def test_has_every_operation(self, caplog: pytest.LogCaptureFixture) -> None:
        """At DEBUG each operation is a record with its fields, and at INFO there is none."""
        caplog.set_level(logging.INFO, "mlssocial")
        Listing.objects.find("u1", "l1")
        assert not caplog.records
        caplog.set_level(logging.DEBUG, "mlssocial")
        Listing.objects.query_by_status("u1", "active").page()
        (record,) = [one for one in caplog.records if one.name == "mlssocial"]
        assert record.getMessage().startswith("Listing.objects.query_by_status: ok, 1 requests, ")
        fields = {name: vars(record)[name] for name in ("operation", "access_pattern", "index", "requests", "outcome", "table")}
        assert fields == {
            "operation": "Listing.objects.query_by_status",
            "access_pattern": 3,
            "index": "GSI2",
            "requests": 1,
            "outcome": "ok",
            "table": store().table_name,
        }


@pytest.mark.usefixtures("stored")
class TestCapacity:
    def test_is_counted_by_access_pattern_and_operation(self, told: list[Operation]) -> None:
        """What is counted is what DynamoDB told with each answer, summed by access pattern and by operation."""
        answers: list[Any] = []
        with count_capacity() as used:
            store().client.meta.events.register("after-call.dynamodb.*", lambda parsed, **_: answers.append(parsed))
            Listing.objects.find("u1", "l1", consistent=True)
            list(Listing.objects.query_by_status("u1", "active"))
            Listing.objects.query_by_status("u1", "active").page()
            Listing.objects.update("u1", "l1", bedrooms=3)
        units = [one["ConsumedCapacity"]["CapacityUnits"] for one in answers]
        assert len(units) == 4
        assert used.read_units == sum(units[:3])
        assert used.write_units == units[3]
        assert used.by_access_pattern[3].read_units == sum(units[1:3])
        assert used.by_operation["Listing.objects.update"].write_units == units[3]
        assert sum(one.read_units or 0 for one in told) == used.read_units
        assert told[0].write_units is None

    def test_is_asked_for_only_where_it_is_counted(self) -> None:
        """Requests ask for it inside of a counter, or while a callback wants it, and at no other time."""
        asked: list[Any] = []
        store().client.meta.events.register(
            "provide-client-params.dynamodb.GetItem", lambda params, **_: asked.append(params.get("ReturnConsumedCapacity"))
        )

        def find() -> None:
            Listing.objects.find("u1", "l1")

        find()
        with count_capacity():
            find()
        for capacity in (False, True):
            remove = on_operation(lambda _: None, capacity=capacity)
            find()
            remove()
        find()
        assert asked == [None, "TOTAL", None, "TOTAL", None]

    def test_is_not_asked_of_the_table_itself(self) -> None:
        """What makes and describes the table consumes no capacity, and works inside of a counter as outside."""
        with count_capacity() as used:
            assert mlssocial.create_table() is False
            assert check_table() == []
        assert (used.read_units, used.write_units, used.by_operation) == (0, 0, {})

    def test_is_counted_apart(self) -> None:
        """Two contexts that run side by side count their own; a counter inside another counts for both."""

        def work(times: int) -> float:
            with count_capacity() as used:
                for _ in range(times):
                    Listing.objects.find("u1", "l1", consistent=True)
            return used.read_units

        with ThreadPoolExecutor(2) as pool, count_capacity() as all_of:
            one, three = pool.map(work, [1, 3])
            inside = work(2)
        assert (three, inside) == (3 * one, 2 * one)
        assert one > 0
        assert all_of.read_units == inside

    def test_of_a_batch_is_its_threads(self) -> None:
        """The threads of a batch count for the context that began it."""
        factory = Factory()
        with count_capacity() as used:
            Listing.objects.create_many([factory.listing() for _ in range(12)])
        assert used.by_operation.keys() == {"Listing.objects.create_many"}
        assert used.write_units >= 12

    @pytest.mark.parametrize("nonsense", [5, [5], {"CapacityUnits": "x"}, {"CapacityUnits": 10**400}, {}, [{}], "x"])
    def test_that_cannot_be_read_is_none(self, nonsense: Any, told: list[Operation]) -> None:
        """An answer with nonsense in its place leaves the operation as it was."""
        found = answer("", 200, {"ConsumedCapacity": nonsense})
        store().client.meta.events.register("before-call.dynamodb.GetItem", found)
        with count_capacity() as used:
            assert Listing.objects.find("u1", "l1") is None
        assert (used.read_units, told[-1].read_units, told[-1].outcome) == (0, None, "ok")
