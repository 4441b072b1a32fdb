"""
Every fault of the wire against every operation: what the engine holds in the end must agree with what the call has claimed.

A call that succeeds was applied exactly once, and a read that succeeds is right; one that is refused was not applied; one whose
outcome is unknown may have been. Nothing else may leave. A new operation is one entry in ``OPERATIONS`` below.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import socket
import struct
import uuid
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest

import mlssocial
from mlssocial import (
    BatchIncompleteError,
    Item,
    Listing,
    ListingData,
    MLSConnection,
    MLSConnectionData,
    MLSSocialError,
    OutcomeUnknownError,
    PerformanceMetrics,
    PerformanceMetricsData,
    SocialPost,
    SocialPostData,
    StoreError,
    UnreadableItemWarning,
    configure,
    local,
)
from mlssocial.connection import Store, store

from .conftest import ENDPOINT, Tally
from .test_transport import (
    Exchange,
    Fault,
    Server,
    as_it_is,
    clear_the_way,
    closes_after,
    closes_unread,
    connect,
    cuts_the_body,
    fails,
    fails_after,
    fails_in_html,
    is_silent,
    refuses,
    sends_half_the_json,
    sends_html,
    sends_html_with_headers,
    sends_no_request_id,
    sends_wrong_checksum,
)

Rows = dict[str, dict[str, Any]]
WRITES = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"}
DAY = "2024-01-01"


# --- The engine behind the faults ------------------------------------------------------------------------------------


class Embedded:
    """The embedded engine; *applied* are the writes that it has done."""

    def __init__(self) -> None:
        self._engine = local._MiniStack(uuid.uuid4().hex)
        self.table = f"faults-{uuid.uuid4().hex[:12]}"
        self.applied: list[str] = []
        self._tokens: set[str] = set()

    def answer(self, operation: str, body: bytes) -> tuple[int, bytes]:
        """Do what is asked, and note it."""
        status, answer = self.run(operation, body)
        if status == 200 and operation in WRITES and not self._is_repeated(body):
            self.applied.append(operation)
        return status, answer

    def _is_repeated(self, body: bytes) -> bool:
        """Tell whether a transaction with this token was answered before: it is done once."""
        token = json.loads(body).get("ClientRequestToken")
        repeated = token in self._tokens
        self._tokens |= {token} if token else set()
        return repeated

    def run(self, operation: str, body: bytes) -> tuple[int, bytes]:
        """Do what is asked."""
        return self._engine.answer(operation, body)

    def tell(self, operation: str, **request: Any) -> dict[str, Any]:
        """Do what somebody else asks."""
        status, answer = self.run(operation, json.dumps({"TableName": self.table, **request}).encode())
        assert status == 200, answer
        told: dict[str, Any] = json.loads(answer)
        return told

    def rows(self) -> Rows:
        """Give everything of u1, by sort key."""
        query = {"KeyConditionExpression": "PK = :pk", "ExpressionAttributeValues": {":pk": {"S": "USER#u1"}}}
        rows: Rows = {}
        more: dict[str, Any] = {}
        while True:
            answer = self.tell("Query", ConsistentRead=True, **query, **more)
            rows |= {row["SK"]["S"]: row for row in answer["Items"]}
            if not answer.get("LastEvaluatedKey"):
                return rows
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def restore(self, items: Rows) -> None:
        """Leave these items of u1, and no other."""
        now = self.rows()
        for key in now.keys() - items.keys():
            self.tell("DeleteItem", Key={"PK": {"S": "USER#u1"}, "SK": {"S": key}})
        for key, item in items.items():
            if now.get(key) != item:
                self.tell("PutItem", Item=item)


class Endpoint(Embedded):
    """Another engine, asked over HTTP; it is believed to look at no signature, as DynamoDB Local does."""

    def run(self, operation: str, body: bytes) -> tuple[int, bytes]:
        """Do what is asked."""
        target = urlsplit(str(ENDPOINT))
        signed = "AWS4-HMAC-SHA256 Credential=testing/20240101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0"
        headers = {"X-Amz-Target": f"DynamoDB_20120810.{operation}", "Authorization": signed}
        headers["Content-Type"] = "application/x-amz-json-1.0"
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()


class FaultyServer(Server):
    """A server of faults, before an engine that notes what it has done."""

    engine: Any


# --- Faults ----------------------------------------------------------------------------------------------------------


def engine_of(exchange: Exchange) -> Any:
    """Give the engine behind a fault."""
    return exchange.server.engine


def resets_unread(exchange: Exchange) -> None:
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(exchange.connection.detach())  # close() would wait for the file that reads from it


def resets_after(exchange: Exchange) -> None:
    exchange.run()
    resets_unread(exchange)


def is_silent_unread(exchange: Exchange) -> None:
    exchange.connection.recv(1)  # until the client has had enough


def alters_the_body(exchange: Exchange) -> None:
    """Send an answer in which a value was changed on the way, under the checksum that it had."""
    status, body = exchange.run()
    altered = re.sub(rb'"Count": *(\d)', rb'"Count":9\1', body.replace(b"Elm Street", b"Oak Street"))
    exchange.send(status, altered, x_amz_crc32="1" if altered == body else str(zlib.crc32(body)))


def is_answered_by_a_stranger(exchange: Exchange) -> None:
    """Answer as some proxy would that knows JSON and nothing else: to DynamoDB's clients it says "nothing there", or "done"."""
    exchange.send(200, b"{}", x_amzn_RequestId=None, x_amz_crc32=None)


def answers_for_another(exchange: Exchange) -> None:
    """Send what was asked for, of another user."""
    status, body = exchange.run()
    exchange.send(status, body.replace(b"USER#u1", b"USER#u2"))


def does_half(exchange: Exchange) -> None:
    """Do the first half of a batch, and leave the rest unprocessed, as DynamoDB does when it is busy."""
    request = json.loads(exchange.request.body)
    if not exchange.request.operation.startswith("Batch"):
        exchange.send(*exchange.run())
        return
    ((table, asked),) = request["RequestItems"].items()
    reads = isinstance(asked, dict)
    members = asked["Keys"] if reads else asked
    some, rest = members[: len(members) // 2], members[len(members) // 2 :]
    answer: dict[str, Any] = {"Responses": {table: []}} if reads else {}
    if some:
        request["RequestItems"][table] = asked | {"Keys": some} if reads else some
        _, body = engine_of(exchange).answer(exchange.request.operation, json.dumps(request).encode())
        answer = json.loads(body)
    left = {table: asked | {"Keys": rest} if reads else rest}
    exchange.send(200, json.dumps(answer | {"UnprocessedKeys" if reads else "UnprocessedItems": left}).encode())


# Faults after which the write was done, and its answer is none.
LOST: dict[str, Fault] = {
    "lost answer": closes_after,
    "reset after it was done": resets_after,
    "500 after it was done": fails_after,
    "502 in HTML": fails_in_html,
    "cut body": cuts_the_body,
    "half the JSON": sends_half_the_json,
    "wrong checksum": sends_wrong_checksum,
    "altered body": alters_the_body,
    "HTML for an answer": sends_html,
    "HTML with DynamoDB's headers": sends_html_with_headers,
    "no request id": sends_no_request_id,
    "silence after it was done": is_silent,
}
FAULTS: dict[str, Fault] = LOST | {
    "lost request": closes_unread,
    "reset before it was read": resets_unread,
    "a stranger's answer": is_answered_by_a_stranger,
    "500 before": fails,
    "silence before": is_silent_unread,
    "throttled": refuses("ProvisionedThroughputExceededException"),
    "in transaction conflict": refuses("TransactionConflictException"),
    "unprocessed": does_half,
    "another's answer": answers_for_another,
}
PASSING = {"throttled", "in transaction conflict", "unprocessed"}
"""Faults that cost time and nothing else, once they pass."""


STAYING = (
    "lost answer",
    "500 after it was done",
    "altered body",
    "HTML for an answer",
    "silence after it was done",
    "lost request",
    "throttled",
    "unprocessed",
    "another's answer",
)

# --- Operations ------------------------------------------------------------------------------------------------------

HOME = {"status": "active", "price": 1, "mls_provider": "flexmls", "mls_number": "M1", "address": {"street": "7 Elm Street"}}


def home(**fields: Any) -> ListingData:
    return ListingData.model_validate(HOME | fields)


def price(rows: Rows, listing: str = "l1") -> Any:
    return rows.get(f"LISTING#{listing}", {}).get("Data", {}).get("M", {}).get("price", {}).get("N")


def views(rows: Rows, day: str = DAY) -> Any:
    data = rows.get(f"METRICS#l1#{day}", {}).get("Data", {}).get("M", {})
    figures = data.get("platforms", {}).get("M", {}).get("facebook", {}).get("M", {})
    return data.get("views", {}).get("N"), figures.get("views", {}).get("N")


def stored(row: dict[str, Any]) -> Any:
    return row["Data"]["M"]["status"]["S"]


def is_written(rows: Rows, listing: str) -> bool:
    return bool(price(rows, listing) == "7")


def one_and_new(rows: Rows) -> bool:
    """Tell whether both of a transaction's operations were done; one alone would be neither done nor untouched."""
    return is_written(rows, "l1") and is_written(rows, "new")


@dataclass(frozen=True)
class Operation:
    """
    A call, and how its claims are held to the truth.

    Attributes:
        sends: The request that carries it.
        prepare: What is made of the table before any fault; the call gets it.
        shows: What of its result is right or wrong.
        right: What that is where it succeeds.
        done: Whether rows show it done; None for reads, and for writes that must be refused.
        member: Whether rows show one of a batch done, of which the result gives the ids.
        knows: Whether it can tell by its WriteId that it was done.
        requests: How many writes it takes.
        of_index: Another user's rows have the keys of the index that were asked for.
    """

    sends: str
    call: Callable[[Any], Any]
    shows: Callable[[Any], Any]
    right: Any
    done: Callable[[Rows], bool] | None = None
    prepare: Callable[[], Any] = lambda: None
    knows: bool = True
    refused: str = ""
    requests: int = 1
    of_index: bool = False
    member: Callable[[Rows, str], bool] | None = None


def listing() -> Listing:
    return Listing.objects.get("u1", "l1", consistent=True)


def changed() -> Listing:
    item = listing()
    item.data.price = 7  # type: ignore[assignment]  # it is converted
    return item


def stale() -> Listing:
    item = changed()
    Listing.objects.update("u1", "l1", description="another's")
    return item


def many() -> list[Listing]:
    return [Listing(user_id="u1", listing_id=f"n{number:02}", data=home(price=7)) for number in range(30)]


def many_saved() -> list[Listing]:
    items = many()
    Listing.objects.save_many(items)
    return items


def in_one(_: Any, operation_id: str | None = None) -> bool | None:
    with mlssocial.transaction(operation_id) as transaction:
        transaction.update(Listing, "u1", "l1", price=7)
        transaction.create(Listing, "u1", "new", home(price=7))
    return transaction.applied


def new_is_there() -> None:
    Listing.objects.create("u1", "new", home())


def published() -> None:
    Listing.objects.create("u1", "l9", home(mls_number="M9"))
    SocialPost.objects.create("u1", "p9", SocialPostData(listing_id="l9", status="published"))


def propagated(_: Any) -> list[str]:
    """Give the sort keys of what was changed; raise what came of the one copy if nothing was."""
    result = Listing.objects.propagate_status("flexmls", "M9", "sold", user_id="u1")
    if result.failed and not result.changed:
        raise next(iter(result.failed.values()))
    return sorted(key for _, key in result.changed)


def connection() -> MLSConnection:
    return MLSConnection.objects.get("u1", "c1", consistent=True)


def of_lease(item: MLSConnection | None) -> tuple[Any, ...] | None:
    return None if item is None else (item.sk, item.lease_id is not None)


def saved(item: Listing) -> Listing:
    item.save()
    return item


def refreshed(item: Listing) -> Listing:
    item.data.price = None
    item.refresh()
    return item


def paged(limit: int) -> list[str]:
    cursor, found = None, []
    while True:
        page = Listing.objects.query("u1").page(limit, cursor)
        found += [item.pk + item.sk for item in page]
        if (cursor := page.cursor) is None:
            return found


def of_listing(item: Listing) -> tuple[Any, ...]:
    """Say what a listing shows; an altered or another's answer shows in it."""
    return item.pk, item.sk, item.data.price, item.data.status, item.data.address and item.data.address.street


def of_day(item: PerformanceMetrics) -> tuple[Any, ...]:
    figures = (item.data.platforms or {}).get("facebook")
    return item.pk, item.sk, item.data.views, figures and figures.views


def keys_of(items: Any) -> list[str]:
    return [item.pk + item.sk + of_listing(item)[4] for item in items]


def is_there(listing_id: str, at: str = "7") -> Callable[[Rows], bool]:
    return lambda rows: price(rows, listing_id) == at


def listing_shown(listing_id: str, at: int, status: str = "active") -> tuple[Any, ...]:
    return "USER#u1", f"LISTING#{listing_id}", at, status, "7 Elm Street"


L1, NEW = listing_shown("l1", 7), listing_shown("new", 7)
LATER = datetime(2025, 1, 1, tzinfo=UTC)
BOTH = ["USER#u1LISTING#l17 Elm Street", "USER#u1LISTING#l27 Elm Street"]
WHEN = datetime(2024, 1, 1, tzinfo=UTC)

OPERATIONS: dict[str, Operation] = {
    "create": Operation(
        "PutItem", lambda _: Listing.objects.create("u1", "new", home(price=7)), of_listing, NEW, is_there("new")
    ),
    "save": Operation("UpdateItem", lambda _: Listing.objects.save("u1", "l1", home(price=7)), of_listing, L1, is_there("l1")),
    "save a new one": Operation(
        "UpdateItem", lambda _: Listing.objects.save("u1", "new", home(price=7)), of_listing, NEW, is_there("new")
    ),
    "item.save": Operation("UpdateItem", saved, of_listing, L1, is_there("l1"), changed),
    "update": Operation("UpdateItem", lambda _: Listing.objects.update("u1", "l1", price=7), of_listing, L1, is_there("l1")),
    "update a status": Operation(
        "UpdateItem",
        lambda _: Listing.objects.update("u1", "l1", status="sold"),
        of_listing,
        listing_shown("l1", 1, "sold"),
        lambda rows: rows["LISTING#l1"]["GSI1SK"] == {"S": "STATUS#sold"},
    ),
    "update if unchanged": Operation(
        "UpdateItem",
        lambda item: Listing.objects.update("u1", "l1", price=7, if_unchanged_since=item),
        of_listing,
        L1,
        is_there("l1"),
        listing,
    ),
    "increment": Operation(
        "UpdateItem",
        lambda _: PerformanceMetrics.objects.increment("u1", "l1", DAY, "facebook", views=2),
        of_day,
        ("USER#u1", f"METRICS#l1#{DAY}", 7, 7),
        lambda rows: views(rows) == ("7", "7"),
    ),
    "increment a new day": Operation(
        "PutItem",
        lambda _: PerformanceMetrics.objects.increment("u1", "l1", "2024-01-02", "facebook", views=2),
        of_day,
        ("USER#u1", "METRICS#l1#2024-01-02", 2, 2),
        lambda rows: views(rows, "2024-01-02") == ("2", "2"),
    ),
    "delete": Operation(
        "DeleteItem",
        lambda _: Listing.objects.delete("u1", "l1"),
        bool,
        True,
        lambda rows: "LISTING#l1" not in rows,
        knows=False,
    ),
    "item.delete": Operation(
        "DeleteItem", lambda item: item.delete(), bool, True, lambda rows: "LISTING#l1" not in rows, listing, knows=False
    ),
    "create what is there": Operation(
        "PutItem",
        lambda _: Listing.objects.create("u1", "l1", home(price=7)),
        of_listing,
        None,
        refused="ItemAlreadyExistsError",
    ),
    "update what is not": Operation(
        "UpdateItem", lambda _: Listing.objects.update("u1", "gone", price=7), of_listing, None, refused="DoesNotExist"
    ),
    "item.save of a stale one": Operation("UpdateItem", saved, of_listing, None, prepare=stale, refused="StaleItemError"),
    "delete what is not": Operation("DeleteItem", lambda _: Listing.objects.delete("u1", "gone"), bool, False, knows=False),
    "save_many": Operation(
        "BatchWriteItem",
        Listing.objects.save_many,
        lambda result: len(result.written),
        30,
        lambda rows: all(price(rows, f"n{number:02}") == "7" for number in range(30)),
        many,
        knows=False,
        requests=2,
        member=is_written,
    ),
    "create_many": Operation(
        "PutItem",
        Listing.objects.create_many,
        lambda result: len(result.written),
        30,
        lambda rows: all(is_written(rows, f"n{number:02}") for number in range(30)),
        many,
        requests=30,
        member=is_written,
    ),
    "delete_many": Operation(
        "BatchWriteItem",
        Listing.objects.delete_many,
        lambda result: len(result.written),
        30,
        lambda rows: not any(is_written(rows, f"n{number:02}") for number in range(30)),
        lambda: [(one.user_id, one.listing_id) for one in many_saved()],
        knows=False,
        requests=2,
        member=lambda rows, listing: not is_written(rows, listing),
    ),
    "transaction": Operation("TransactWriteItems", in_one, bool, True, one_and_new),
    "transaction under an id": Operation("TransactWriteItems", partial(in_one, operation_id="o1"), bool, True, one_and_new),
    "transaction that is refused": Operation(
        "TransactWriteItems", in_one, bool, None, prepare=new_is_there, refused="TransactionCanceledError"
    ),
    "increment under an id": Operation(
        "TransactWriteItems",
        lambda _: PerformanceMetrics.objects.increment("u1", "l1", DAY, "facebook", operation_id="o1", views=2),
        of_day,
        ("USER#u1", f"METRICS#l1#{DAY}", 7, 7),
        lambda rows: views(rows) == ("7", "7"),
    ),
    "propagate_status": Operation(
        "TransactWriteItems",
        propagated,
        list,
        ["LISTING#l9", "POST#p9"],
        lambda rows: [stored(rows["LISTING#l9"]), stored(rows["POST#p9"])] == ["sold", "unpublish_pending"],
        published,
    ),
    "claim": Operation(
        "UpdateItem",
        lambda item: MLSConnection.objects.claim(item, seconds=60),
        of_lease,
        ("MLS_CONNECTION#c1", True),
        lambda rows: "LeaseId" in rows["MLS_CONNECTION#c1"],
        connection,
    ),
    "complete": Operation(
        "UpdateItem",
        lambda lease: MLSConnection.objects.complete(lease, last_synced_at=LATER),
        of_lease,
        ("MLS_CONNECTION#c1", False),
        lambda rows: "LeaseId" not in rows["MLS_CONNECTION#c1"] and rows["MLS_CONNECTION#c1"]["GSI2SK"]["S"] > "17",
        lambda: MLSConnection.objects.claim(connection(), seconds=60),
    ),
    "release": Operation(
        "UpdateItem",
        MLSConnection.objects.release,
        bool,
        True,
        lambda rows: "LeaseId" not in rows["MLS_CONNECTION#c1"],
        lambda: MLSConnection.objects.claim(connection(), seconds=60),
    ),
    "get": Operation("GetItem", lambda _: Listing.objects.get("u1", "l1"), of_listing, listing_shown("l1", 1)),
    "find nothing": Operation("GetItem", lambda _: Listing.objects.find("u1", "gone"), lambda found: found, None),
    "get by PynamoDB": Operation("GetItem", lambda _: Listing.get("USER#u1", "LISTING#l1"), of_listing, listing_shown("l1", 1)),
    "refresh": Operation("GetItem", refreshed, of_listing, listing_shown("l1", 1), prepare=listing),
    "get_many": Operation(
        "BatchGetItem",
        lambda _: Listing.objects.get_many([("u1", "l1"), ("u1", "l2")]),
        lambda got: keys_of(got.values()),
        BOTH,
    ),
    "query": Operation("Query", lambda _: list(Listing.objects.query("u1")), keys_of, BOTH),
    "query everything": Operation("Query", lambda _: {item.pk for item in Item.objects.query("u1")}, set, {"USER#u1"}),
    "pages": Operation("Query", lambda _: paged(1), list, ["USER#u1LISTING#l1", "USER#u1LISTING#l2"]),
    "count": Operation("Query", lambda _: Listing.objects.query("u1").count(), int, 2),
    "first": Operation("Query", lambda _: Listing.objects.query("u1").first(), of_listing, listing_shown("l1", 1)),
    "query_by_status": Operation("Query", lambda _: list(Listing.objects.query_by_status("u1", "active")), keys_of, BOTH),
    "query_by_mls_number": Operation(
        "Query",
        lambda _: list(Listing.objects.query_by_mls_number("flexmls", "M1", user_id="u1")),
        keys_of,
        BOTH,
        of_index=True,
    ),
    "query_by_listing": Operation(
        "Query",
        lambda _: [post.pk + post.sk for post in SocialPost.objects.query_by_listing("l1", user_id="u1")],
        list,
        ["USER#u1POST#p1"],
        of_index=True,
    ),
    "due_for_sync": Operation(
        "Query",
        lambda _: [one.pk + one.sk for one in MLSConnection.objects.due_for_sync(user_id="u1")],
        list,
        ["USER#u1MLS_CONNECTION#c1"],
        of_index=True,
    ),
}
ONE_ITEM = {"PutItem", "UpdateItem", "DeleteItem"}
SINGLE_WRITES = {name: one for name, one in OPERATIONS.items() if one.sends in ONE_ITEM and one.requests == 1}


# --- Fixtures --------------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """A server of faults with a few items behind it, and the ways to it that have been used: making one is dear."""

    server: FaultyServer
    items: Rows
    ways: dict[tuple[float, float], Store]

    def restore(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the items as they were, and give calls time enough."""
        self.server.engine.restore(self.items)
        self.use(monkeypatch, deadline=5, read_timeout=5)

    def use(self, monkeypatch: pytest.MonkeyPatch, *, deadline: float, read_timeout: float) -> None:
        """Go to the server with these times."""
        way = (deadline, read_timeout)
        monkeypatch.setattr("mlssocial.connection._store", None)  # or the next that is made would close it
        if way not in self.ways:
            address = {"table_name": self.server.engine.table, "region": "us-east-1", "endpoint_url": self.server.url}
            configure(**address, deadline=deadline, read_timeout=read_timeout)
            self.ways[way] = store()
            assert self.ways[way].client  # made now, and not in the time of a call
        monkeypatch.setattr("mlssocial.settings._settings", self.ways[way].settings)
        monkeypatch.setattr("mlssocial.connection._store", self.ways[way])


@pytest.fixture(scope="module", params=["embedded", *(["endpoint"] if ENDPOINT else [])])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Give a server of faults with a few items of u1 behind it."""
    with pytest.MonkeyPatch.context() as patch, FaultyServer() as server:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        clear_the_way(patch)
        engine = Embedded() if request.param == "embedded" else Endpoint()
        server.engine = engine
        connect(server, table_name=engine.table)
        for name in ("l1", "l2"):
            Listing.objects.create("u1", name, home())
        SocialPost.objects.create("u1", "p1", SocialPostData(listing_id="l1"))
        MLSConnection.objects.create("u1", "c1", MLSConnectionData(last_synced_at=WHEN))
        day = PerformanceMetricsData.model_validate({"views": 5, "platforms": {"facebook": {"views": 5}}})
        PerformanceMetrics.objects.create("u1", "l1", DAY, day)
        made = Bench(server, engine.rows(), {})
        yield made
        for way in made.ways.values():
            way.close()
        engine.tell("DeleteTable")


@pytest.fixture(autouse=True)
def _clear_way(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_the_way(monkeypatch)


@dataclass
class Trial:
    """One call under a fault: what it has claimed, and what came of it."""

    before: Rows
    after: Rows
    applied: int
    result: Any = None
    error: MLSSocialError | None = None


def attempt(server: FaultyServer, operation: Operation, prepared: Any, fault: Fault, *, every: bool = False) -> Trial:
    """Run an operation whose first request of its kind meets a fault, or of which every request does."""
    before = server.engine.rows()
    server.engine.applied.clear()
    server.requests.clear()
    server.next(*[fault] * (200 if every else 1), operation="" if every else operation.sends)
    result, error = None, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UnreadableItemWarning)
            result = operation.call(prepared)
    except MLSSocialError as caught:
        error = caught
    server.faults.clear()
    return Trial(before, server.engine.rows(), len(server.engine.applied), result, error)


def check(operation: Operation, trial: Trial) -> None:
    """Hold what a call has claimed to what the engine has done and holds."""
    untouched = trial.after == trial.before
    if trial.error is None:
        assert operation.shows(trial.result) == operation.right
        assert operation.refused == ""
        if operation.done is None:
            assert untouched
        else:
            assert operation.done(trial.after)
            assert trial.applied == operation.requests or operation.requests > 1
    elif isinstance(trial.error, BatchIncompleteError):
        result, member = trial.error.result, operation.member
        assert member is not None
        assert result is not None
        assert trial.error.unprocessed
        assert all(member(trial.after, listing) for _, listing in result.written)
        assert not any(member(trial.after, listing) for _, listing in result.refused)
        assert len(result.written) + len(result.refused) + len(result.unknown) == operation.right
    elif isinstance(trial.error, OutcomeUnknownError):
        assert operation.sends in WRITES
        assert untouched or (operation.done is not None and operation.done(trial.after) and trial.applied == 1)
    else:
        assert untouched
        assert trial.applied == 0
        assert isinstance(trial.error, StoreError) or type(trial.error).__name__ == operation.refused


# --- Tests -----------------------------------------------------------------------------------------------------------


def matrix(*faults: str) -> pytest.MarkDecorator:
    """Give every operation with every fault that can be one of its own."""
    pairs = [(name, fault) for name, one in OPERATIONS.items() for fault in faults]
    fit = [(name, fault) for name, fault in pairs if fault != "unprocessed" or OPERATIONS[name].sends.startswith("Batch")]
    cases = [pytest.param(*pair, id="-".join(pair)) for pair in fit]
    return pytest.mark.parametrize(("name", "fault"), cases)


class TestTruth:
    @matrix(*FAULTS)
    def test_of_a_fault_that_passes(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, tally: Tally, name: str, fault: str
    ) -> None:
        """A call whose first request meets a fault claims nothing that is not so, and succeeds where it can know."""
        operation, silent = OPERATIONS[name], "silence" in fault
        bench.restore(monkeypatch)
        prepared = operation.prepare()
        bench.use(monkeypatch, deadline=5, read_timeout=0.3 if silent else 5)
        trial = attempt(bench.server, operation, prepared, FAULTS[fault])
        tally(faults=1)
        check(operation, trial)
        if not silent and can_know(operation, fault):
            assert type(trial.error).__name__ == operation.refused if operation.refused else trial.error is None

    @matrix(*STAYING)
    def test_of_a_fault_that_stays(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, tally: Tally, name: str, fault: str
    ) -> None:
        """A call whose every request meets a fault ends at its deadline, and claims nothing that is not so."""
        operation = OPERATIONS[name]
        bench.restore(monkeypatch)
        prepared = operation.prepare()
        bench.use(monkeypatch, deadline=0.1, read_timeout=0.1 if "silence" in fault else 5)
        trial = attempt(bench.server, operation, prepared, FAULTS[fault], every=True)
        tally(faults=len(bench.server.requests))
        check(operation, trial)


@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in {"unprocessed", "silence before"}])
@pytest.mark.parametrize("name", ["increment under an id", "transaction under an id"])
class TestExactlyOnce:
    def test_under_an_operation_id(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, tally: Tally, name: str, fault: str
    ) -> None:
        """What is sent again under its operation_id until it succeeds, and once more after that, is applied exactly once."""
        operation = OPERATIONS[name]
        bench.restore(monkeypatch)
        bench.use(monkeypatch, deadline=0.1, read_timeout=0.1 if "silence" in fault else 5)
        bench.server.engine.applied.clear()
        for rounds in range(3):
            bench.server.next(*[FAULTS[fault]] * (3 - rounds), operation="TransactWriteItems")
            with contextlib.suppress(OutcomeUnknownError, StoreError):
                operation.call(None)
        bench.server.faults.clear()
        bench.use(monkeypatch, deadline=5, read_timeout=5)
        for _ in range(2):
            operation.call(None)
        tally(faults=6)
        assert operation.done is not None
        assert operation.done(bench.server.engine.rows())
        assert bench.server.engine.applied == ["TransactWriteItems"]


def can_know(operation: Operation, fault: str) -> bool:
    """Tell whether nothing stands in the way of a right answer; rows of an index are looked at too late to ask again."""
    if fault == "another's answer" and operation.of_index:
        return False
    return operation.sends not in WRITES or fault in PASSING or (fault in LOST and operation.knows and not operation.refused)


OTHERS: dict[str, Callable[[Any, str], None]] = {}
"""What another writer does to an item in between."""


def by_another(does: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    OTHERS[does.__name__] = does
    return does


@by_another
def changes_it(engine: Any, sk: str) -> None:
    """Change it as the other application does: it moves UpdatedAt, and knows no WriteId."""
    engine.tell(
        "UpdateItem",
        Key={"PK": {"S": "USER#u1"}, "SK": {"S": sk}},
        UpdateExpression="SET Another = :one, UpdatedAt = :now",
        ExpressionAttributeValues={":one": {"S": "was here"}, ":now": {"N": "9999999999999"}},
    )


@by_another
def replaces_it(engine: Any, sk: str) -> None:
    """Write it whole, as another process of this project does."""
    kind = {"METRICS": "PerformanceMetrics", "MLS_CONNECTION": "MLSConnection"}.get(sk.split("#")[0], "Listing")
    data = {"views": {"N": "50"}} if kind != "Listing" else {"status": {"S": "expired"}}
    item = {"PK": {"S": "USER#u1"}, "SK": {"S": sk}, "EntityType": {"S": kind}, "Data": {"M": data}}
    item |= {"CreatedAt": {"N": "1"}, "UpdatedAt": {"N": "9999999999999"}, "WriteId": {"S": "another's"}}
    engine.tell("PutItem", Item=item)


@by_another
def deletes_it(engine: Any, sk: str) -> None:
    """Delete it."""
    engine.tell("DeleteItem", Key={"PK": {"S": "USER#u1"}, "SK": {"S": sk}})


SORT_KEYS = (
    {"create": "LISTING#new", "save a new one": "LISTING#new", "increment": f"METRICS#l1#{DAY}"}
    | {
        "increment a new day": "METRICS#l1#2024-01-02",
        "update what is not": "LISTING#gone",
        "delete what is not": "LISTING#gone",
    }
    | dict.fromkeys(("claim", "complete", "release"), "MLS_CONNECTION#c1")
)


CREATES = ("create", "create what is there", "save a new one", "increment a new day")
SENT_AGAIN = {*(("deletes_it", name) for name in CREATES), ("changes_it", "complete")}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", SINGLE_WRITES)
@pytest.mark.parametrize("applied", [True, False], ids=["answer lost", "request lost"])
class TestAnotherWriterInBetween:
    def test_is_not_overwritten(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, tally: Tally, name: str, other: str, applied: bool
    ) -> None:
        """
        Where another writer comes between a lost write and our look, its write stands; ours is claimed only if it was done.

        A create that is sent again may find the item deleted by somebody: then it is there anew. An end of a lease is sent
        again as long as the lease is held, whatever else has changed.
        """
        operation, left = OPERATIONS[name], []

        def comes_between(exchange: Exchange) -> None:
            if applied:
                exchange.run()
            OTHERS[other](engine_of(exchange), SORT_KEYS.get(name, "LISTING#l1"))
            left.append(engine_of(exchange).rows())
            exchange.close()

        bench.restore(monkeypatch)
        trial = attempt(bench.server, operation, operation.prepare(), comes_between)
        tally(faults=1)
        if trial.after == left[0]:
            assert trial.applied == (applied and operation.done is not None)
        else:  # sent again over nothing, or by whoever has the lease
            assert trial.error is None
            assert (other, name) in SENT_AGAIN
        if trial.error is None:
            assert trial.applied == 1 or (other, name, applied) in {(*again, True) for again in SENT_AGAIN}
        else:
            assert isinstance(trial.error, OutcomeUnknownError) or trial.applied == 0


class TestStorm:
    def test_of_random_faults(self, bench: Bench, monkeypatch: pytest.MonkeyPatch, soak: bool, tally: Tally) -> None:
        """While a quarter of all requests meet some fault, counters and items are what the calls of four threads claim."""
        bench.restore(monkeypatch)
        bench.server.requests.clear()
        chance, rounds = random.Random(7), 2_000 if soak else 50  # noqa: S311  faults are no secret
        bad = [
            fault for name, fault in FAULTS.items() if "silence" not in name and name not in {"another's answer", "unprocessed"}
        ]
        monkeypatch.setattr(bench.server, "fault_for", lambda _: chance.choice(bad) if chance.random() < 0.25 else as_it_is)
        with ThreadPoolExecutor(4) as pool:
            claims = list(pool.map(lambda thread: storm(thread, rounds), range(4)))
        monkeypatch.undo()
        tally(faults=round(len(bench.server.requests) / 4), operations=8 * rounds)
        rows = bench.server.engine.rows()
        added, perhaps = (sum(claim[which] for claim in claims) for which in ("added", "perhaps added"))
        assert added <= int(views(rows)[0]) - 5 <= added + perhaps
        assert views(rows)[0] == views(rows)[1]
        for thread, claim in enumerate(claims):
            there = {number for number in range(rounds) if price(rows, f"s{thread}-{number}")}
            assert claim["created"] <= len(there) <= claim["created"] + claim["perhaps created"]


def storm(thread: int, rounds: int) -> Counter[str]:
    """Add to a counter and create items; count what was claimed. An item that nobody else makes is never there already."""
    claims: Counter[str] = Counter()
    for number in range(rounds):
        try:
            PerformanceMetrics.objects.increment("u1", "l1", DAY, "facebook", views=1)
            claims["added"] += 1
        except OutcomeUnknownError:
            claims["perhaps added"] += 1
        try:
            Listing.objects.create("u1", f"s{thread}-{number}", home())
            claims["created"] += 1
        except OutcomeUnknownError:
            claims["perhaps created"] += 1
    return claims
