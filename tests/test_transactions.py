"""Transactions: all or nothing, applied once, and every refusal told to the operation that it belongs to."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError

import mlssocial
from mlssocial import (
    ConfigurationError,
    InvalidItemError,
    InvalidKeyError,
    Item,
    ItemAlreadyExistsError,
    Listing,
    ListingData,
    MLSConnection,
    MLSConnectionData,
    OutcomeUnknownError,
    PerformanceMetrics,
    PerformanceMetricsData,
    SocialConnection,
    SocialConnectionData,
    SocialPost,
    SocialPostData,
    StaleItemError,
    StoreError,
    Transaction,
    TransactionCanceledError,
    WrongEntityError,
    transaction,
)
from mlssocial.connection import recorded, store

from .conftest import get_raw, put_raw

HOME = ListingData(status="active", mls_provider="p", mls_number="1", list_date="2024-01-15", price=5)
POST = SocialPostData(listing_id="l1", status="published", platform="facebook")


def create(user_id: str = "u1", listing_id: str = "l1", **fields: Any) -> Listing:
    """Create a listing outside of any transaction."""
    return Listing.objects.create(user_id, listing_id, HOME.model_copy(update=fields))


def together(*acts: Callable[[Transaction], None], operation_id: str | None = None) -> Transaction:
    """Send acts as one transaction."""
    with transaction(operation_id) as t:
        for act in acts:
            act(t)
    return t


def meanwhile(act: Callable[[], Any], *, times: int = 1) -> None:
    """Let another writer act right before the next transactions are sent."""
    left = [None] * times

    def handle(**_: Any) -> None:
        if left:
            left.pop()
            act()

    store().client.meta.events.register_first("before-call.dynamodb.TransactWriteItems", handle)


def lose(*, times: int, after: bool = True) -> list[str]:
    """Lose the answers of the next transactions, after they were applied or before they arrived."""
    seen: list[str] = []

    def handle(event_name: str, **_: Any) -> None:
        if len(seen) < times:
            seen.append(event_name)
            raise ConnectionClosedError(endpoint_url="x")

    event = "response-received" if after else "before-call"
    store().client.meta.events.register_first(f"{event}.dynamodb.TransactWriteItems", handle)
    return seen


def cancel(*codes: str, times: int, item: dict[str, Any] | None = None) -> list[str]:
    """Answer the next transactions with a cancellation for these reasons, which show *item*."""
    seen: list[str] = []

    def handle(event_name: str, **_: Any) -> Any:
        if len(seen) >= times:
            return None
        seen.append(event_name)
        reasons = [{"Code": code, "Message": f"injected {code}", "Item": item} for code in codes]
        error = {"Code": "TransactionCanceledException", "Message": "injected"}
        metadata = {"HTTPStatusCode": 400, "RequestId": "R", "HTTPHeaders": {}}
        return AWSResponse("", 400, {}, None), {
            "Error": error,
            "CancellationReasons": reasons,
            "ResponseMetadata": metadata,
        }

    store().client.meta.events.register_first("before-call.dynamodb.TransactWriteItems", handle)
    return seen


@pytest.fixture
def embedded() -> None:
    """Configure an embedded engine with a short deadline, for faults: moto has no transaction tokens."""
    mlssocial.configure(table_name=f"transactions-{uuid.uuid4().hex}", endpoint_url="local:", deadline=1)
    mlssocial.create_table()


@pytest.mark.usefixtures("table")
class TestTransaction:
    def test_every_verb_of_every_entity(self) -> None:
        """Create, save, update, delete and check of the five entities go in one request, built as they are alone."""
        create()
        create(listing_id="gone")
        SocialConnection.objects.create("u1", "facebook", SocialConnectionData(platform_user_id="x"))
        with recorded() as calls, transaction() as t:
            t.create(MLSConnection, "u1", "c1", MLSConnectionData(provider="p"))
            t.save(PerformanceMetrics, "u1", "l1", "2024-01-15", PerformanceMetricsData(views=3))
            t.update(Listing, "u1", "l1", price=Decimal(6), address__city="Reno")
            t.delete(Listing, user_id="u1", listing_id="gone")
            t.check(SocialConnection, "u1", "facebook", platform_user_id="x")
            t.create(SocialPost, "u1", "p1", SocialPostData(platform="facebook", status="failed"))
            assert t.applied is None
        assert t.applied is True
        assert {call.operation for call in calls} == {"TransactWriteItems"}
        listing = Listing.objects.get("u1", "l1", consistent=True)
        assert (listing.data.price, listing.data.address.city if listing.data.address else None) == (6, "Reno")
        assert PerformanceMetrics.objects.get("u1", "l1", "2024-01-15", consistent=True).data.views == 3
        assert Listing.objects.find("u1", "gone", consistent=True) is None
        connection = get_raw("USER#u1", "MLS_CONNECTION#c1")
        assert connection is not None
        assert connection.keys() >= {"GSI2PK", "GSI2SK", "WriteId", "CreatedAt", "UpdatedAt"}

    def test_index_keys_follow(self) -> None:
        """An update that does not give all that its index keys are made of reads the items first, all in one request."""
        create()
        create(listing_id="l2")
        with recorded() as calls, transaction() as t:
            t.update(Listing, "u1", "l1", status="sold")
            t.update(Listing, "u1", "l2", list_date="2024-02-02")
        assert [call.operation for call in calls] == ["BatchGetItem", "TransactWriteItems"]
        first, second = get_raw("USER#u1", "LISTING#l1"), get_raw("USER#u1", "LISTING#l2")
        assert first is not None
        assert second is not None
        assert (first["GSI1SK"], first["GSI2PK"]) == ({"S": "STATUS#sold"}, {"S": "USER#u1#STATUS#sold"})
        assert second["GSI2SK"] == {"S": "LISTED#2024-02-02#l2"}

    def test_a_lost_answer(self) -> None:
        """A transaction whose answer was lost was applied, even if the engine forgets its token (moto keeps none)."""
        seen = lose(times=1)
        with transaction() as t:
            t.create(Listing, "u1", "l1", HOME)
        assert (len(seen), t.applied) == (1, True)

    def test_nothing_is_sent_by_an_empty_block(self) -> None:
        """A block without operations sends nothing."""
        with recorded() as calls, transaction("op") as t:
            pass
        assert (calls, t.applied) == ([], None)

    def test_nothing_is_sent_where_the_block_raises(self) -> None:
        """An exception in the block leaves it, and nothing was sent."""
        with recorded() as calls, pytest.raises(InvalidItemError):
            together(lambda t: t.create(Listing, "u1", "l1", HOME), lambda t: t.update(Listing, "u1", "l2", prise=1))
        assert calls == []

    def test_what_has_expired_is_gone(self) -> None:
        """A create, and a save, replace an item whose TTL has passed."""
        for listing_id in ("l1", "l2"):
            item = create(listing_id=listing_id)
            put_raw(stored(item) | {"TTL": {"N": "1"}})
        with transaction() as t:
            t.create(Listing, "u1", "l1", HOME)
            t.save(Listing, "u1", "l2", HOME)
        for listing_id in ("l1", "l2"):
            found = get_raw("USER#u1", f"LISTING#{listing_id}")
            assert found is not None
            assert "TTL" not in found


def stored(item: Item) -> dict[str, Any]:
    """Give an item's attribute values as they are stored."""
    found = get_raw(item.pk, item.sk)
    assert found is not None
    return found


@pytest.mark.usefixtures("table")
class TestRefusals:
    def test_each_stands_in_its_operations_place(self) -> None:
        """Reasons come in the caller's order, each the error of the single write, and nothing is written."""
        home = create()
        create(listing_id="l2")
        put_raw({"PK": {"S": "USER#u1"}, "SK": {"S": "LISTING#l3"}, "EntityType": {"S": "Task"}})
        create(listing_id="l4", price=4)
        Listing.objects.update("u1", "l1", price=6)
        with pytest.raises(TransactionCanceledError) as caught:
            together(
                lambda t: t.check(Listing, "u1", "l4", price=5),
                lambda t: t.save(Listing, "u1", "new", HOME),
                lambda t: t.update(Listing, "u1", "l1", price=7, if_unchanged_since=home),
                lambda t: t.create(Listing, "u1", "l2", HOME),
                lambda t: t.delete(Listing, "u1", "nowhere"),
                lambda t: t.delete(Listing, "u1", "l3"),
            )
        reasons = caught.value.reasons
        kinds = [StaleItemError, type(None), StaleItemError, ItemAlreadyExistsError, Listing.DoesNotExist, WrongEntityError]
        assert kinds == [type(reason) for reason in reasons]
        check, stale = reasons[0], reasons[2]
        assert isinstance(check, StaleItemError)
        assert isinstance(stale, StaleItemError)
        assert (check.item.data.price, stale.item.data.price) == (4, 6)
        assert "operation 1, check Listing USER#u1 / LISTING#l4: price: not as the check asks" in str(caught.value)
        assert "operation 4, create Listing USER#u1 / LISTING#l2: it exists already" in str(caught.value)
        assert "operation 2" not in str(caught.value)
        assert Listing.objects.find("u1", "new", consistent=True) is None

    def test_an_item_that_has_to_be_read_and_is_not_there(self) -> None:
        """An update that reads first says what is missing, and sends nothing else."""
        with recorded() as calls, pytest.raises(TransactionCanceledError) as caught:
            together(
                lambda t: t.create(Listing, "u1", "l2", HOME),
                lambda t: t.update(Listing, "u1", "l1", status="sold"),
            )
        assert [type(reason) for reason in caught.value.reasons] == [type(None), Listing.DoesNotExist]
        assert [call.operation for call in calls] == ["BatchGetItem"]

    def test_a_check_locks_on_the_version(self) -> None:
        """A check with if_unchanged_since is refused once anybody has written the item."""
        seen = create()
        with transaction() as t:
            t.check(Listing, "u1", "l1", if_unchanged_since=seen)
        Listing.objects.update("u1", "l1", price=6)
        with pytest.raises(TransactionCanceledError, match="it has changed since it was read"), transaction() as t:
            t.check(Listing, "u1", "l1", if_unchanged_since=seen)

    def test_a_check_that_nothing_is_known_of(self) -> None:
        """A check without fields asks that the item is there."""
        with pytest.raises(TransactionCanceledError, match="it does not exist"), transaction() as t:
            t.check(Listing, "u1", "l1")
        create()
        with transaction() as t:
            t.check(Listing, "u1", "l1")
        assert t.applied


@pytest.mark.usefixtures("table")
class TestOtherWriters:
    def test_one_that_comes_between_read_and_write(self) -> None:
        """An update whose index keys were worked out on an item that has changed since is worked out and sent anew."""
        create()
        meanwhile(lambda: Listing.objects.update("u1", "l1", list_date="2024-03-03"))
        with recorded() as calls, transaction() as t:
            t.update(Listing, "u1", "l1", status="sold")
        assert [call.operation for call in calls].count("TransactWriteItems") == 2
        found = stored(Listing.objects.get("u1", "l1"))
        assert (found["GSI2PK"], found["GSI2SK"]) == ({"S": "USER#u1#STATUS#sold"}, {"S": "LISTED#2024-03-03#l1"})

    def test_one_that_comes_between_and_a_lock(self) -> None:
        """With if_unchanged_since nothing is worked out anew: it is stale, and what it is now is shown."""
        seen = create()
        meanwhile(lambda: Listing.objects.update("u1", "l1", list_date="2024-03-03"))
        with pytest.raises(TransactionCanceledError) as caught, transaction() as t:
            t.update(Listing, "u1", "l1", status="sold", if_unchanged_since=seen)
        (reason,) = caught.value.reasons
        assert isinstance(reason, StaleItemError)
        assert str(reason.item.data.list_date) == "2024-03-03"

    def test_one_who_deletes_the_item(self) -> None:
        """An item that is gone when the transaction arrives is told as missing, and nothing is written."""
        create()
        meanwhile(lambda: Listing.objects.delete("u1", "l1"))
        with pytest.raises(TransactionCanceledError) as caught:
            together(
                lambda t: t.create(Listing, "u1", "l2", HOME),
                lambda t: t.update(Listing, "u1", "l1", status="sold"),
            )
        assert [type(reason) for reason in caught.value.reasons] == [type(None), Listing.DoesNotExist]
        assert Listing.objects.find("u1", "l2", consistent=True) is None


@pytest.mark.usefixtures("embedded")
class TestFaults:
    def test_one_who_never_stops(self) -> None:
        """Where others keep changing the item, it ends at the deadline as stale, and nothing was written."""
        create()
        meanwhile(lambda: Listing.objects.update("u1", "l1", price=6), times=10_000)
        with pytest.raises(TransactionCanceledError, match="other writers kept changing it until the deadline"):
            together(lambda t: t.update(Listing, "u1", "l1", status="sold"))
        assert Listing.objects.get("u1", "l1").data.status == "active"

    def test_a_lost_answer_is_asked_for_again(self) -> None:
        """A transaction whose answer was lost is sent again under its token, and applies once."""
        PerformanceMetrics.objects.increment("u1", "l1", "2024-01-15", "facebook", views=1)
        seen = lose(times=2)
        with transaction() as t:
            t.create(Listing, "u1", "l1", HOME)
        assert (len(seen), t.applied) == (2, True)

    def test_answers_that_stay_lost_are_looked_up(self) -> None:
        """Where every answer was lost, an item that shows this write says that it was applied."""
        create()
        lose(times=10_000)
        with transaction() as t:
            t.delete(Listing, "u1", "l1")
            t.create(Listing, "u1", "l2", HOME)
        assert t.applied is True

    @pytest.mark.parametrize("operation_id", [None, "op"])
    def test_what_nobody_knows_is_unknown(self, operation_id: str | None) -> None:
        """Where no item shows it, the outcome is unknown, and the error says what to do."""
        lose(times=10_000, after=False)
        remedy = "send it again with the same operation_id" if operation_id else "read the items before you try again"
        with pytest.raises(OutcomeUnknownError, match=remedy) as caught, transaction(operation_id) as t:
            t.create(Listing, "u1", "l1", HOME)
        assert (caught.value.operation, caught.value.key) == ("transaction of 1", ("USER#u1", "LISTING#l1"))

    def test_nothing_written_shows_nothing(self) -> None:
        """A transaction of deletes leaves no item that could tell: its outcome is unknown though it was applied."""
        create()
        lose(times=10_000)
        with pytest.raises(OutcomeUnknownError), transaction() as t:
            t.delete(Listing, "u1", "l1")
        assert Listing.objects.find("u1", "l1") is None

    def test_the_ledger_tells_for_deletes(self) -> None:
        """With an operation_id the ledger says that deletes were applied though every answer was lost."""
        create()
        lose(times=10_000)
        with transaction("op") as t:
            t.delete(Listing, "u1", "l1")
        assert t.applied is True

    def test_the_ledger_tells_of_an_earlier_one(self) -> None:
        """A repeat that never arrives is known as one all the same: the ledger has the first."""
        with transaction("op") as t:
            t.create(Listing, "u1", "l1", HOME)
        lose(times=10_000, after=False)
        with transaction("op") as t:
            t.create(Listing, "u1", "l1", HOME)
        assert t.applied is False

    def test_a_conflict_is_tried_again(self) -> None:
        """A conflict with another transaction is tried again."""
        seen = cancel("TransactionConflict", "None", times=2)
        with transaction() as t:
            t.create(Listing, "u1", "l1", HOME)
            t.create(Listing, "u1", "l2", HOME)
        assert (len(seen), t.applied) == (2, True)

    @pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"])
    def test_what_does_not_pass_until_the_deadline(self, code: str) -> None:
        """Conflicts and throttling that last are a StoreError that names the operation."""
        cancel("None", code, times=10_000)
        with pytest.raises(StoreError, match=f"create Listing USER#u1 / LISTING#l2: {code}") as caught:
            together(
                lambda t: t.create(Listing, "u1", "l1", HOME),
                lambda t: t.create(Listing, "u1", "l2", HOME),
            )
        assert caught.value.code == code

    def test_another_reason(self) -> None:
        """A reason of DynamoDB's that is no condition is its operation's StoreError."""
        cancel("None", "ValidationError", times=1)
        with pytest.raises(TransactionCanceledError) as caught:
            together(
                lambda t: t.create(Listing, "u1", "l1", HOME),
                lambda t: t.create(Listing, "u1", "l2", HOME),
            )
        first, second = caught.value.reasons
        assert first is None
        assert isinstance(second, StoreError)
        assert second.code == "ValidationError"

    def test_a_conflict_beside_what_has_changed(self) -> None:
        """Where one operation has to be worked out anew and another had a conflict, all of it is sent again."""
        item = stored(create())
        create(listing_id="l2")
        seen = cancel("TransactionConflict", "ConditionalCheckFailed", times=1, item=item)
        with transaction() as t:
            t.update(Listing, "u1", "l2", price=1)
            t.update(Listing, "u1", "l1", address__city="Reno")
        assert (len(seen), t.applied) == (1, True)
        assert stored(Listing.objects.get("u1", "l1"))["Data"]["M"]["address"] == {"M": {"city": {"S": "Reno"}}}

    def test_a_cancellation_without_reasons(self) -> None:
        """A cancellation that does not say why each operation was refused is no answer: it is asked again, under one token."""
        seen = cancel("ConditionalCheckFailed", times=1)
        together(
            lambda t: t.create(Listing, "u1", "l1", HOME),
            lambda t: t.create(Listing, "u1", "l2", HOME),
        )
        assert len(seen) == 1
        assert {listing.listing_id for listing in Listing.objects.query("u1")} == {"l1", "l2"}

    def test_a_look_that_fails_too(self) -> None:
        """Where the look at the items fails as well, the outcome is unknown."""
        lose(times=10_000)

        def fail(**_: Any) -> None:
            raise ConnectionClosedError(endpoint_url="x")

        store().client.meta.events.register_first("before-call.dynamodb.BatchGetItem", fail)
        with pytest.raises(OutcomeUnknownError, match="so was a look at the items"), transaction() as t:
            t.create(Listing, "u1", "l1", HOME)


@pytest.mark.usefixtures("table")
class TestOperationId:
    def test_applies_once(self) -> None:
        """The same block under the same operation_id is applied once, and says which time it was."""
        create(listing_id="l2")
        for applied in (True, False, False):
            with transaction("op-1") as t:
                t.create(Listing, "u1", "l1", HOME)
                t.update(Listing, "u1", "l2", price=7)
            assert t.applied is applied
            Listing.objects.update("u1", "l2", price=8)
        assert Listing.objects.get("u1", "l2", consistent=True).data.price == 8

    def test_the_ledger_item(self) -> None:
        """The ledger's item lies in the first operation's user's partition, for 30 days, and shows no value."""
        with transaction("op-1") as t:
            t.create(Listing, "u1", "l1", HOME)
            t.create(Listing, "u2", "l1", HOME)
        entry = get_raw("USER#u1", "OP#op-1")
        assert entry is not None
        assert entry["EntityType"] == {"S": "Operation"}
        assert entry["Data"]["M"].keys() == {"fingerprint"}
        assert int(entry["TTL"]["N"]) == int(entry["CreatedAt"]["N"]) // 1000 + 30 * 24 * 3600
        assert {"UpdatedAt", "WriteId"} <= entry.keys()
        assert get_raw("USER#u2", "OP#op-1") is None

    def test_the_ledger_is_no_error_to_queries(self) -> None:
        """Everything of a user has the ledger's item as a plain Item."""
        with transaction("op-1") as t:
            t.create(Listing, "u1", "l1", HOME)
        found = list(Item.objects.query("u1", consistent=True))
        assert [type(item) for item in found] == [Listing, Item]
        assert found[1].entity_type == "Operation"

    def test_another_request(self) -> None:
        """An operation_id that was used for something else is refused, and nothing is written."""
        with transaction("op-1") as t:
            t.create(Listing, "u1", "l1", HOME)
        with pytest.raises(InvalidItemError, match="was used for another request"), transaction("op-1") as t:
            t.create(Listing, "u1", "l2", HOME)
        assert Listing.objects.find("u1", "l2", consistent=True) is None

    def test_is_asked_before_what_is_read(self) -> None:
        """A repeat is known as one though an item that it would have to read is gone by now."""
        create()
        for applied in (True, False):
            with transaction("op-1") as t:
                t.update(Listing, "u1", "l1", status="sold")
            assert t.applied is applied
            Listing.objects.delete("u1", "l1")

    def test_an_expired_ledger_item_is_none(self) -> None:
        """Once the ledger's item has expired the operation_id is free, though DynamoDB may still show it."""
        with transaction("op-1") as t:
            t.save(Listing, "u1", "l1", HOME)
        entry = get_raw("USER#u1", "OP#op-1")
        assert entry is not None
        put_raw(entry | {"TTL": {"N": "1"}})
        with transaction("op-1") as t:
            t.update(Listing, "u1", "l1", status="sold")
        assert t.applied is True

    def test_refusals_leave_it_unused(self) -> None:
        """A transaction that was refused leaves its operation_id for the next try."""
        with pytest.raises(TransactionCanceledError), transaction("op-1") as t:
            t.update(Listing, "u1", "l1", price=6)
        create()
        with transaction("op-1") as t:
            t.update(Listing, "u1", "l1", price=6)
        assert t.applied is True

    def test_two_at_once(self, table: str) -> None:
        """Of many who send the same operation at once, one applies it, and all others learn that it was."""
        if table == "moto":
            pytest.skip("moto loses updates under threads")
        create()

        def act(_: int) -> bool | None:
            with transaction("op-1") as t:
                t.update(Listing, "u1", "l1", status="sold")
                t.create(Listing, "u1", "l2", HOME)
            return t.applied

        with ThreadPoolExecutor(8) as pool:
            applied = list(pool.map(act, range(24)))
        assert sorted(map(bool, applied)) == [False] * 23 + [True]


@pytest.mark.usefixtures("table")
class TestIncrement:
    def test_counts_once(self) -> None:
        """An increment under an operation_id counts once however often it is sent, and gives the day as it is."""
        for expected in (1, 1):
            day = PerformanceMetrics.objects.increment("u1", "l1", "2024-01-15", "facebook", views=1, operation_id="op-1")
            assert day.data.views == expected
        day = PerformanceMetrics.objects.increment("u1", "l1", "2024-01-15", "instagram", views=2, operation_id="op-2")
        assert day.data.views == 3
        assert day.data.platforms is not None
        assert {name: figures.views for name, figures in day.data.platforms.items()} == {"facebook": 1, "instagram": 2}
        again = PerformanceMetrics.objects.increment("u1", "l1", "2024-01-15", "facebook", views=1, operation_id="op-1")
        assert again.data.views == 3

    def test_another_count(self) -> None:
        """Another amount under a used operation_id is refused."""
        PerformanceMetrics.objects.increment("u1", "l1", "2024-01-15", "facebook", views=1, operation_id="op-1")
        with pytest.raises(InvalidItemError, match="was used for another request"):
            PerformanceMetrics.objects.increment("u1", "l1", "2024-01-15", "facebook", views=2, operation_id="op-1")

    def test_what_is_no_number(self) -> None:
        """A day whose counter is stored as text is told by that, as it is without an operation_id."""
        day = PerformanceMetrics.objects.create("u1", "l1", "2024-01-15", PerformanceMetricsData())
        item = stored(day)
        item["Data"]["M"]["views"] = {"S": "many"}
        put_raw(item)
        with pytest.raises(InvalidItemError, match="views is stored as text, which is no number"):
            PerformanceMetrics.objects.increment("u1", "l1", "2024-01-15", "facebook", views=1, operation_id="op-1")

    def test_is_one_request_without_an_operation_id(self) -> None:
        """Without an operation_id it stays one request, and no ledger item is written."""
        PerformanceMetrics.objects.increment("u1", "l1", "2024-01-15", "facebook", views=1)
        with recorded() as calls:
            PerformanceMetrics.objects.increment("u1", "l1", "2024-01-15", "facebook", views=1)
        assert [call.operation for call in calls] == ["UpdateItem"]

    def test_many_at_once(self, table: str) -> None:
        """Threads that each send every operation add each of them once."""
        if table == "moto":
            pytest.skip("moto loses updates under threads")

        def act(number: int) -> None:
            PerformanceMetrics.objects.increment(
                "u1", "l1", "2024-01-15", "facebook", views=1, operation_id=f"op-{number % 16}"
            )

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(act, range(64)))
        assert PerformanceMetrics.objects.get("u1", "l1", "2024-01-15", consistent=True).data.views == 16


class TestChecks:
    @pytest.fixture(autouse=True)
    def unreachable(self) -> None:
        """Nothing here sends anything."""
        mlssocial.configure(table_name="x", region="us-east-1", endpoint_url="http://127.0.0.1:9", deadline=0.1)

    def test_one_operation_an_item(self) -> None:
        """A second operation on one item is refused, and names the first."""
        t = transaction()
        t.create(Listing, "u1", "l1", HOME)
        with pytest.raises(InvalidItemError, match=r"has an operation on it already \(create Listing\)"):
            t.update(Listing, "u1", "l1", price=3)

    @pytest.mark.parametrize(("operation_id", "room"), [(None, 100), ("op", 99)])
    def test_a_hundred_operations(self, operation_id: str | None, room: int) -> None:
        """There is room for 100 operations, one less with an operation_id."""
        t = transaction(operation_id)
        for number in range(room):
            t.delete(Listing, "u1", f"l{number}")
        with pytest.raises(InvalidItemError, match=f"DynamoDB takes {room} operations"):
            t.delete(Listing, "u1", "one-more")

    def test_four_megabytes(self) -> None:
        """What does not fit into 4 MB is refused before anything is sent."""
        t = transaction()
        for number in range(10):
            t.create(Listing, "u1", f"l{number}", ListingData(status="active", description="x" * 400_000))
        with pytest.raises(InvalidItemError, match="DynamoDB takes 4,194,304"):
            t.create(Listing, "u1", "one-more", ListingData(status="active", description="x" * 400_000))

    def test_arguments_are_checked_at_once(self) -> None:
        """What the single write refuses is refused when it is called."""
        t = transaction("op")
        with pytest.raises(InvalidItemError, match="has no field prise"):
            t.update(Listing, "u1", "l1", prise=3)
        with pytest.raises(InvalidKeyError, match="user_id"):
            t.create(Listing, "u#1", "l1", HOME)
        with pytest.raises(InvalidItemError, match="ListingData is needed"):
            t.save(Listing, "u1", "l1", POST)  # type: ignore[arg-type]
        with pytest.raises(InvalidItemError, match="a check removes nothing"):
            t.check(Listing, "u1", "l1", remove=("price",))
        with pytest.raises(InvalidItemError, match="has no field prise"):
            t.check(Listing, "u1", "l1", prise=3)
        with pytest.raises(InvalidItemError, match="not the Listing that is meant"):
            t.check(Listing, "u1", "l1", if_unchanged_since=Listing(user_id="u1", listing_id="l2", data=HOME))
        with pytest.raises(InvalidItemError, match="five entities' models"):
            t.create(Item, "u1", "l1", HOME)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="listing_id"):
            t.create(Listing, "u1", data=HOME)  # type: ignore[call-arg]

    def test_operation_ids_are_ids(self) -> None:
        """An operation_id that cannot go into a key is refused with the first operation."""
        with pytest.raises(InvalidKeyError, match="operation_id"):
            transaction("a#b").create(Listing, "u1", "l1", HOME)

    def test_an_ended_transaction_takes_nothing(self) -> None:
        """What is called after the block is refused, and not dropped."""
        with transaction() as t:
            pass
        with pytest.raises(ConfigurationError, match="has ended"):
            t.create(Listing, "u1", "l1", HOME)
        with pytest.raises(ConfigurationError, match="has ended"):
            t.__enter__()

    def test_nothing_shows_what_is_asked_for(self) -> None:
        """Neither operations nor writes show values, tokens among them, when a debugger or a log shows them."""
        t = transaction()
        t.create(MLSConnection, "u1", "c1", MLSConnectionData(access_token="CANARY"))
        (operation,) = t._operations.values()
        assert "CANARY" not in f"{operation!r} {operation.prepared!r} {t!r}"
