"""Answers that are none, another request's, or about a transaction: what a call makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mlssocial import ALL_USERS, Listing, OutcomeUnknownError, SocialPost, StaleItemError, StoreError
from mlssocial.connection import AnswerLostError, CanceledError, RefusedError, store

from .conftest import get_raw
from .test_transport import (
    HOME,
    LOST,
    THROTTLED,
    Exchange,
    Fault,
    Server,
    clear_the_way,
    connect,
    error_body,
    is_silent,
    put,
    refuses,
    sends_no_length,
)

DEEP = b"[" * 20_000 + b"]" * 20_000


@pytest.fixture(autouse=True)
def _clear_way(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_the_way(monkeypatch)


@pytest.fixture(params=["direct", "botocore"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Give a server with an empty table, and the project pointed at it by either transport."""
    with Server() as made:
        connect(made, read_timeout=0.5, transport=request.param)
        yield made


def says(body: bytes | dict[str, Any], status: int = 200, **headers: str | None) -> Fault:
    """Do what is asked, and answer something else."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def say(exchange: Exchange) -> None:
        exchange.run()
        exchange.send(status, content, **headers)

    return say


def row(user: str = "u1", name: str = "l1", **more: Any) -> dict[str, Any]:
    return {
        "PK": {"S": f"USER#{user}"},
        "SK": {"S": f"LISTING#{name}"},
        "EntityType": {"S": "Listing"},
        "Data": {"M": {"status": {"S": "sold"}}},
        **more,
    }


NO_ITEMS: list[Any] = [
    {"Item": 5},
    {"Item": {}},
    {"Item": {"PK": 5}},
    {"Item": row(X={"X": 1})},
    {"Item": row(name="l2")},
    {"Item": row("u2")},
    {"Item": row() | {"SK": {"N": "1"}}},
    b'{"Item": ' + DEEP + b"}",
]
NO_PAGES: list[Any] = [
    {"Items": 5},
    {"Items": [5]},
    {"Items": [{}]},
    {"Items": [None]},
    {"Items": [row("u2"), row()]},
    {"Items": [row() | {"PK": 5}]},
    b'{"Items": [' + DEEP + b"]}",
]
NO_REFUSALS = [
    says(DEEP, 400),
    says(b"[]", 400),
    says(b"5", 400),
    says(error_body("ValidationException"), 400, x_amzn_RequestId=None),
    says(error_body("ValidationException"), 400, x_amz_crc32="1"),
    says(b"<html>Too large</html>", 413, x_amzn_RequestId=None, x_amz_crc32=None),
]


class TestReads:
    @pytest.mark.parametrize("fault", [*map(says, NO_ITEMS), *NO_REFUSALS])
    def test_no_item(self, server: Server, fault: Fault) -> None:
        """An item that is none, or not the one that was asked for, is asked for again; for good, it is a StoreError."""
        put(server, "l1")
        server.next(fault, fault)
        assert Listing.objects.get("u1", "l1").data == HOME
        assert server.seen == ["GetItem"] * 3
        connect(server, deadline=0.6, transport=store().settings.transport)
        server.next(*[fault] * 1000)
        with pytest.raises(StoreError, match="GetItem on homes"):
            Listing.objects.find("u1", "l1")

    @pytest.mark.parametrize("fault", [*map(says, NO_PAGES), *NO_REFUSALS])
    def test_no_page(self, server: Server, fault: Fault) -> None:
        """A page that begins with no row, or with one of another partition, is asked for again."""
        put(server, "l1")
        server.next(fault)
        assert [one.listing_id for one in Listing.objects.query("u1")] == ["l1"]
        server.next(fault)
        assert [one.listing_id for one in Listing.query("USER#u1")] == ["l1"]
        assert server.seen == ["Query"] * 4

    @pytest.mark.parametrize("second", [5, None, {}, row("u2"), row() | {"PK": {"S": 5}}, {"PK": {"S": "USER#u1"}}])
    def test_no_row_within_a_page(self, server: Server, second: Any) -> None:
        """A row further down that is none, or another partition's, ends the iteration as a StoreError, after what was right."""
        server.next(says({"Items": [row(), second]}))
        found = iter(Listing.objects.query("u1"))
        assert next(found).listing_id == "l1"
        with pytest.raises(StoreError, match=r"the answer is not DynamoDB's: a row of it .*; ask again") as caught:
            next(found)
        assert caught.value.code == "InvalidAnswer"

    def test_of_an_index(self, server: Server) -> None:
        """The rows of an index are those of the index's own partition, whichever user's they are."""
        keys = {"GSI1PK": {"S": "LISTING#l1"}, "GSI1SK": {"S": "POST#p1"}}
        post = {"PK": {"S": "USER#u9"}, "SK": {"S": "POST#p1"}, "EntityType": {"S": "SocialPost"}, "Data": {"M": {}}}
        server.next(says({"Items": [post | keys | {"GSI1PK": {"S": "LISTING#l2"}}]}), says({"Items": [post | keys]}))
        assert [one.post_id for one in SocialPost.objects.query_by_listing("l1", user_id=ALL_USERS)] == ["p1"]
        assert server.seen == ["Query"] * 2

    def test_of_a_batch(self, server: Server) -> None:
        """A batch that shows what was not asked for is asked for again."""
        put(server, "l1", "l2")
        server.next(says({"Responses": {"homes": [row(name="l3")]}}))
        assert len(Listing.objects.get_many([("u1", "l1"), ("u1", "l2")])) == 2
        assert server.seen == ["BatchGetItem"] * 2

    @pytest.mark.parametrize("second", [row("u2"), row(name="l3"), {}, {"PK": {"S": "USER#u1"}}])
    def test_within_a_batch(self, server: Server, second: dict[str, Any]) -> None:
        """A row of a batch that was not asked for, further down than it begins, ends the read as a StoreError."""
        server.next(says({"Responses": {"homes": [row(), second]}}))
        with pytest.raises(StoreError, match="none of those that were asked for") as caught:
            Listing.objects.get_many([("u1", "l1"), ("u1", "l2")])
        assert (caught.value.code, "u2" in str(caught.value)) == ("InvalidAnswer", False)

    @pytest.mark.usefixtures("server")
    def test_a_part_of_an_item(self) -> None:
        """A read of some attributes shows no key and is taken for what it is."""
        Listing.objects.save("u1", "l1", HOME)
        found = Listing._get_connection().get_item("USER#u1", "LISTING#l1", attributes_to_get=["EntityType"])
        assert list(found["Item"]) == ["EntityType"]


class TestWrites:
    @pytest.mark.parametrize("fault", [*NO_REFUSALS, says({"Attributes": 5}), says({"Attributes": row(name="l2")})])
    def test_are_looked_up(self, server: Server, fault: Fault) -> None:
        """A write whose answer is none, or about another item, is found by a look."""
        put(server, "l1")
        server.next(fault)
        assert str(Listing.objects.update("u1", "l1", price=7).data.price) == "7"
        assert server.seen == ["UpdateItem", "GetItem"]

    @pytest.mark.parametrize("item", [row(name="l2"), row(X={"S": 5}), {}])
    def test_a_refusal_that_shows_another_item(self, server: Server, item: dict[str, Any]) -> None:
        """A refusal is no answer if the item that it shows is none, or another one: the write is looked up."""
        put(server, "l1")
        server.next(refuses("ConditionalCheckFailedException", Item=item))
        with pytest.raises(OutcomeUnknownError, match="the answer is not DynamoDB's"):
            Listing.objects.update("u1", "l1", price=7)

    @pytest.mark.usefixtures("server")
    def test_a_refusal_that_shows_the_item(self) -> None:
        """A refusal with the item that the write was about stands, with the item as it is now."""
        seen = Listing.objects.save("u1", "l1", HOME)
        Listing.objects.update("u1", "l1", price=7)
        with pytest.raises(StaleItemError) as caught:
            Listing.objects.update("u1", "l1", price=8, if_unchanged_since=seen)
        assert caught.value.item is not None
        assert str(caught.value.item.data.price) == "7"


def counting(token: str | None = "token", condition: str | None = None) -> dict[str, Any]:
    """Make a transaction that adds one to a counter and puts an item."""
    key = {"PK": {"S": "p"}, "SK": {"S": "counter"}}
    add = {"Key": key, "UpdateExpression": "ADD Seen :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}
    item: dict[str, Any] = {"Item": {"PK": {"S": "p"}, "SK": {"S": "other"}}}
    if condition:
        item |= {"ConditionExpression": condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    table = {"TableName": "homes"}
    members = {"TransactItems": [{"Update": table | add}, {"Put": table | item}]}
    return members | ({"ClientRequestToken": token} if token else {})


def counted() -> Any:
    found = get_raw("p", "counter")
    return found and found["Seen"]["N"]


def canceled(*codes: str) -> Fault:
    return refuses("TransactionCanceledException", CancellationReasons=[{"Code": code} for code in codes])


AGAIN = [
    refuses("TransactionInProgressException"),
    refuses("TransactionConflictException"),
    canceled("TransactionConflict", "None"),
    canceled("None", "ThrottlingError"),
    canceled("TransactionConflict", "ProvisionedThroughputExceeded"),
    THROTTLED,
]


# An answer without a length that ends where it should is one to botocore.
ALWAYS_LOST = [fault for fault in LOST if fault is not sends_no_length]


class TestTransactions:
    @pytest.mark.parametrize("fault", [*AGAIN, *ALWAYS_LOST, canceled("None"), canceled("None", "None", "None")])
    def test_are_tried_again_under_their_token(self, server: Server, fault: Fault) -> None:
        """A transaction that met another, a throttle or a lost answer is sent again with its token, and applies once."""
        server.next(fault, fault)
        store().call("TransactWriteItems", counting())
        assert [json.loads(sent.body)["ClientRequestToken"] for sent in server.requests] == ["token"] * 3
        assert counted() == "1"

    @pytest.mark.parametrize("fault", ALWAYS_LOST)
    def test_without_a_token(self, server: Server, fault: Fault) -> None:
        """A transaction without a token whose answer was lost is not sent again: nobody knows."""
        server.next(fault)
        with pytest.raises(AnswerLostError):
            store().call("TransactWriteItems", counting(None))
        assert server.seen == ["TransactWriteItems"]

    def test_that_are_cancelled(self, server: Server) -> None:
        """A condition that failed cancels a transaction at once, and its reasons are told in order, items as rows."""
        store().call("TransactWriteItems", counting("first"))
        with pytest.raises(CanceledError) as caught:
            store().call("TransactWriteItems", counting("second", "attribute_not_exists(PK)"))
        first, second = caught.value.reasons
        assert (first["Code"], first["Item"], second["Code"]) == ("None", None, "ConditionalCheckFailed")
        assert second["Item"]["SK"].S == "other"
        assert (server.seen.count("TransactWriteItems"), counted()) == (2, "1")

    @pytest.mark.parametrize("codes", [("ConditionalCheckFailed", "TransactionConflict"), ("ValidationError", "None")])
    def test_a_mixed_cancellation_is_final(self, server: Server, codes: tuple[str, str]) -> None:
        """Where one reason will be the same the next time, the transaction is not sent again."""
        server.next(canceled(*codes))
        with pytest.raises(CanceledError) as caught:
            store().call("TransactWriteItems", counting())
        assert [reason["Code"] for reason in caught.value.reasons] == list(codes)
        assert len(server.requests) == 1

    @pytest.mark.parametrize("fault", [canceled("TransactionConflict", "None"), THROTTLED])
    def test_that_never_get_through(self, server: Server, fault: Fault) -> None:
        """A transaction that was turned away until the deadline was not applied, and that is what is said."""
        connect(server, deadline=0.6, transport=store().settings.transport)
        server.next(*[fault] * 1000)
        with pytest.raises((CanceledError, StoreError)):
            store().call("TransactWriteItems", counting())

    @pytest.mark.parametrize("later", [*AGAIN, refuses("ExpiredTokenException")])
    def test_a_lost_answer_is_not_forgotten(self, server: Server, later: Fault) -> None:
        """Once an answer was lost, only an answer to the transaction itself tells: a later throttle or refusal does not."""
        connect(server, deadline=1.5, read_timeout=0.3, transport=store().settings.transport)
        server.next(is_silent, *[later] * 1000)
        with pytest.raises(AnswerLostError):
            store().call("TransactWriteItems", counting())

    def test_in_progress_until_the_deadline(self, server: Server) -> None:
        """A transaction that is in progress until the deadline is not known to have failed."""
        connect(server, deadline=0.6, transport=store().settings.transport)
        server.next(*[refuses("TransactionInProgressException")] * 1000)
        with pytest.raises(AnswerLostError):
            store().call("TransactWriteItems", counting())

    def test_reads(self, server: Server) -> None:
        """A transaction of reads gives its items as rows, and another item than was asked for is none of them."""
        put(server, "l1", "l2")
        keys = [{"PK": {"S": "USER#u1"}, "SK": {"S": f"LISTING#{name}"}} for name in ("l2", "none", "l1")]
        members = [{"Get": {"TableName": "homes", "Key": key}} for key in keys]
        server.next(says({"Responses": [{"Item": row()}, {}, {"Item": row()}]}), says({"Responses": []}), canceled("None"))
        answer = store().call("TransactGetItems", {"TransactItems": members})
        assert [found["Item"]["SK"].S if found else None for found in answer["Responses"]] == ["LISTING#l2", None, "LISTING#l1"]
        assert server.seen == ["TransactGetItems"] * 4


class TestClosing:
    @pytest.mark.parametrize("call", [lambda: Listing.objects.find("u1", "l1"), lambda: Listing.objects.save("u1", "l1", HOME)])
    def test_a_connection_in_use(self, server: Server, call: Callable[[], Any]) -> None:
        """A store that is closed during a call lets it finish, and its connection is closed then and kept nowhere."""

        def closes(exchange: Exchange) -> None:
            store().close()
            exchange.send(*exchange.run())

        server.next(closes)
        call()
        server.wait_for_closed()

    def test_idle_ones(self, server: Server) -> None:
        """A store that is closed has no connection left open, botocore's included."""
        Listing.objects.find("u1", "l1")
        store().client.describe_table(TableName="homes")
        store().close()
        server.wait_for_closed()

    @pytest.mark.usefixtures("server")
    def test_calls_go_on(self) -> None:
        """A call that still has a store which was closed is answered."""
        held = store()
        held.close()
        key = {"PK": {"S": "p"}, "SK": {"S": "s"}}
        with pytest.raises(RefusedError):
            held.call("DeleteItem", {"TableName": "homes", "Key": key, "ConditionExpression": "attribute_exists(PK)"})
