"""Streams: records of both forms as models, and the handler that repairs drift as it happens."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

import mlssocial
from mlssocial import (
    ConfigurationError,
    InvalidItemError,
    Item,
    Listing,
    ListingData,
    ListingStatus,
    OutcomeUnknownError,
    streams,
)
from mlssocial.connection import recorded, store
from mlssocial.drift import Kind, Outcome
from mlssocial.streams import ChangeKind

from .conftest import ENDPOINT, get_raw, put_raw

KEY = ("USER#u1", "LISTING#l1")
KEYS = {"PK": {"S": KEY[0]}, "SK": {"S": KEY[1]}}
ACTIVE = ListingData(status=ListingStatus.ACTIVE)


def listing(status: str = "sold", **attributes: Any) -> dict[str, Any]:
    """Make a listing as the other application leaves it, without the index keys of its status."""
    data = {"M": {"status": {"S": status}}}
    return {**KEYS, "EntityType": {"S": "Listing"}, "UpdatedAt": {"N": "1700000000000"}, "Data": data} | attributes


def record(new: dict[str, Any] | None, *, old: dict[str, Any] | None = None, number: int = 1, **more: Any) -> dict[str, Any]:
    """Make a record as AWS Lambda gives it."""
    image = new or old or listing()
    name = "REMOVE" if new is None else "INSERT" if old is None else "MODIFY"
    images = {"NewImage": new, "OldImage": old}
    return {
        "eventID": "c4ca4238a0b923820dcc509a6f75849b",
        "eventName": name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-west-2",
        "dynamodb": {
            "ApproximateCreationDateTime": 1479499740.0,
            "Keys": {"PK": image["PK"], "SK": image["SK"]},
            **{name: image for name, image in images.items() if image is not None},
            "SequenceNumber": f"{number:021d}",
            "SizeBytes": 112,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": f"arn:aws:dynamodb:us-west-2:123456789012:table/{store().table_name}/stream/2024-01-15T00:00:00.000",
    } | more


def answer(code: str) -> Callable[[], Any]:
    """Answer a request with an error of DynamoDB's."""
    parsed = {"Error": {"Code": code, "Message": "injected"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return lambda: (AWSResponse("", 400, {}, None), parsed)


def lose() -> None:
    """Lose the answer of a request."""
    raise ReadTimeoutError(endpoint_url="injected")


def before(operation: str, act: Callable[[], Any], *, skip: int = 0) -> None:
    """Do something before a request of an operation is sent: the next one, or after *skip* others."""
    left: list[Callable[[], Any]] = [act, *[lambda: None] * skip]

    def handle(**_: Any) -> Any:
        return left.pop()() if left else None

    store().client.meta.events.register_first(f"before-call.dynamodb.{operation}", handle)


@pytest.fixture
def configured() -> None:
    """Configure a table that no request goes to."""
    mlssocial.configure(table_name="homes", endpoint_url="local:")


@pytest.mark.usefixtures("configured")
class TestRead:
    def test_a_change(self) -> None:
        """A record is a change: its kind, key, place in the shard, and the item before and after as its own class."""
        change = streams.read(record(listing("sold"), old=listing("active")))
        assert (change.kind, change.key, change.sequence_number) == (ChangeKind.MODIFY, KEY, "000000000000000000001")
        assert isinstance(change.old, Listing)
        assert isinstance(change.new, Listing)
        assert (change.old.data.status, change.new.data.status) == (ListingStatus.ACTIVE, ListingStatus.SOLD)
        assert not change.by_ttl

    def test_insert_and_remove(self) -> None:
        """What was made has no item before, and what was deleted none after."""
        made, gone = streams.read(record(listing())), streams.read(record(None, old=listing()))
        assert (made.kind, made.old, gone.kind, gone.new) == (ChangeKind.INSERT, None, ChangeKind.REMOVE, None)

    @pytest.mark.parametrize(
        "identity",
        [
            {"type": "Service", "principalId": "dynamodb.amazonaws.com"},
            {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"},
        ],
        ids=["Lambda", "botocore"],
    )
    def test_a_deletion_by_ttl(self, identity: dict[str, str]) -> None:
        """What DynamoDB deleted itself is told apart, in both spellings."""
        assert streams.read(record(None, old=listing(), userIdentity=identity)).by_ttl
        assert not streams.read(record(None, old=listing(), userIdentity=None)).by_ttl
        assert not streams.read(record(None, old=listing(), userIdentity={"principalId": "somebody"})).by_ttl

    @given(content=st.binary(min_size=1))
    def test_binary_values(self, content: bytes) -> None:
        """Bytes are the same from Lambda, which has them as base64, and from botocore, which has them as they are."""
        theirs = {**KEYS, "EntityType": {"S": "UserProfile"}}
        text = base64.b64encode(content).decode()
        nested = {"M": {"L": {"L": [{"B": content}]}}}
        coded = {"M": {"L": {"L": [{"B": text}]}}}
        ours = streams.read(record(theirs | {"b": {"B": content}, "bs": {"BS": [content]}, "m": nested}))
        lambdas = streams.read(record(theirs | {"b": {"B": text}, "bs": {"BS": [text]}, "m": coded}))
        assert ours.new is not None
        assert lambdas.new is not None
        assert ours.new.raw == lambdas.new.raw == {"b": {"B": content}, "bs": {"BS": [content]}, "m": nested}

    def test_another_applications_item(self) -> None:
        """Another application's item is a plain Item with its raw attributes."""
        change = streams.read(record({**KEYS, "EntityType": {"S": "UserProfile"}, "Name": {"S": "Jo"}}))
        assert type(change.new) is Item
        assert change.new.raw == {"Name": {"S": "Jo"}}

    def test_an_image_that_cannot_be_read(self) -> None:
        """An image that is not what its entity says is an error with the item's key and the field, and without the value."""
        with pytest.raises(InvalidItemError, match="read Listing USER#u1 / LISTING#l1: price") as caught:
            streams.read(record(listing(Data={"M": {"status": {"S": "sold"}, "price": {"S": "canary"}}})))
        assert (caught.value.key, caught.value.fields) == (KEY, ("price",))
        assert "canary" not in str(caught.value)

    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"eventName": "MODIFY"},
            {"eventName": "CHANGED", "dynamodb": {"Keys": KEYS}},
            {"eventName": "MODIFY", "dynamodb": {"Keys": {"id": {"S": "1"}}}},
            {"eventName": "MODIFY", "dynamodb": {"Keys": KEYS | {"SK": {"N": "1"}}}},
            {"eventName": "MODIFY", "dynamodb": {"Keys": KEYS, "NewImage": {"Data": {"S": ["canary"]}}}},
            {"eventName": "MODIFY", "dynamodb": {"Keys": KEYS, "NewImage": {"Data": {"B": "canary!"}}}},
        ],
    )
    def test_what_is_no_record(self, given: dict[str, Any]) -> None:
        """What is no record of this table's stream is refused in our words, and no value is repeated."""
        with pytest.raises(InvalidItemError, match="read a stream's record: it is none of this table's: ") as caught:
            streams.read(given)
        assert "canary" not in str(caught.value)

    def test_keys_stand_for_an_image_without_them(self) -> None:
        """An image that lacks its keys has those of the record."""
        image = {name: value for name, value in listing().items() if name not in KEYS}
        made = record(listing())
        made["dynamodb"]["NewImage"] = image
        assert (streams.read(made).new or Item()).pk == "USER#u1"


@pytest.mark.usefixtures("table")
class TestRepair:
    def test_repairs_what_has_drifted(self) -> None:
        """A drifted image's item is repaired with one write, and a status query finds it."""
        put_raw(item := listing())
        with recorded() as calls:
            finding = streams.repair(record(item))
        assert [call.operation for call in calls] == ["UpdateItem"]
        assert finding is not None
        assert (finding.key, finding.kinds, finding.outcome) == (KEY, (Kind.MISSING,), Outcome.REPAIRED)
        assert [one.listing_id for one in Listing.objects.query_by_status("u1", ListingStatus.SOLD)] == ["l1"]

    def test_its_own_write_ends_the_matter(self) -> None:
        """The record of a repair causes no request, and so the stream comes to rest."""
        put_raw(item := listing())
        streams.repair(record(item))
        now = get_raw(*KEY)
        with recorded() as calls:
            assert streams.repair(record(now, old=item)) is None
        assert calls == []

    @pytest.mark.parametrize(
        "image",
        [
            None,
            listing(EntityType={"S": "UserProfile"}),
            listing(TTL={"N": "1000000000"}),
            listing(GSI2PK={"S": "USER#u1#STATUS#sold"}, GSI2SK={"S": "LISTED##l1"}),
        ],
        ids=["deleted", "another's", "expired", "right"],
    )
    def test_what_is_right_costs_nothing(self, image: dict[str, Any] | None) -> None:
        """A deletion, another application's item, an expired one and one that is right cause no request."""
        with recorded() as calls:
            assert streams.repair(record(image, old=listing())) is None
        assert calls == []

    @pytest.mark.parametrize(
        "now",
        [
            listing("pending", UpdatedAt={"N": "1700000000001"}),
            listing("pending"),
            listing(WriteId={"S": "ours"}),
            listing(EntityType={"S": "UserProfile"}),
            None,
        ],
        ids=["changed", "changed in the same millisecond", "written by us", "another's", "deleted"],
    )
    def test_an_item_that_has_moved_on_is_left_to_its_own_record(self, now: dict[str, Any] | None) -> None:
        """An old image never decides the keys of what came after it."""
        if now is not None:
            put_raw(now)
        assert streams.repair(record(listing())) is None
        assert get_raw(*KEY) == now

    def test_what_cannot_be_read_is_said(self) -> None:
        """An image of which no keys can be told is a finding, and causes no request."""
        with recorded() as calls:
            finding = streams.repair(record(listing(Data={"S": "x"})))
        assert finding is not None
        assert (finding.kinds, finding.outcome, calls) == ((Kind.UNREADABLE,), Outcome.FOUND, [])

    def test_another_tables_record(self) -> None:
        """A record of another table is refused before any request."""
        arn = "arn:aws:dynamodb:us-west-2:123456789012:table/other/stream/2024-01-15T00:00:00.000"
        with recorded() as calls, pytest.raises(ConfigurationError, match=r"table/other/stream.*configured table is homes-"):
            streams.repair(record(listing(), eventSourceARN=arn))
        assert calls == []

    def test_a_stream_without_new_images(self) -> None:
        """A stream that carries keys only is refused, with what it has to carry."""
        made = record(listing())
        del made["dynamodb"]["NewImage"]
        with pytest.raises(ConfigurationError, match="view type has to be NEW_IMAGE or NEW_AND_OLD_IMAGES"):
            streams.repair(made)

    def test_a_lost_answer_may_be_sent_again(self) -> None:
        """A repair whose answer was lost is unknown, and the same record does it, or nothing, the next time."""
        put_raw(item := listing())
        before("UpdateItem", lose)
        with pytest.raises(OutcomeUnknownError):
            streams.repair(record(item))
        assert streams.repair(record(item)) is not None
        assert streams.repair(record(item)) is None


@pytest.mark.usefixtures("table")
class TestHandler:
    def test_repairs_a_batch(self) -> None:
        """Every drifted item of an event is repaired, and nothing is named as failed."""
        items = [listing(PK={"S": f"USER#u{number}"}) for number in range(3)]
        for item in items:
            put_raw(item)
        event = {"Records": [record(item, number=number) for number, item in enumerate(items)]}
        assert streams.handler(event, None) == {"batchItemFailures": []}
        for number in range(3):
            assert len(list(Listing.objects.query_by_status(f"u{number}", ListingStatus.SOLD))) == 1

    def test_the_last_record_of_an_item_counts(self) -> None:
        """Of several records of one item only the last one causes a request."""
        statuses = ["active", "pending", "sold"]
        images = [listing(status, UpdatedAt={"N": str(1_700_000_000_000 + turn)}) for turn, status in enumerate(statuses)]
        put_raw(images[-1])
        with recorded() as calls:
            streams.handler({"Records": [record(image, number=turn) for turn, image in enumerate(images)]})
        assert len(calls) == 1
        assert [one.listing_id for one in Listing.objects.query_by_status("u1", ListingStatus.SOLD)] == ["l1"]

    @pytest.mark.parametrize("fault", [answer("AccessDeniedException"), lose], ids=["refused", "lost"])
    def test_names_the_first_that_failed(self, fault: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
        """What may succeed later is named by its sequence number and logged; Lambda sends it and the rest again."""
        items = [listing(PK={"S": f"USER#u{number}"}) for number in range(3)]
        for item in items:
            put_raw(item)
        event = {"Records": [record(item, number=number) for number, item in enumerate(items)]}
        before("UpdateItem", fault, skip=1)
        assert streams.handler(event) == {"batchItemFailures": [{"itemIdentifier": f"{1:021d}"}]}
        assert "to be sent again: " in caplog.text
        assert streams.handler(event) == {"batchItemFailures": []}
        for number in range(3):
            assert len(list(Listing.objects.query_by_status(f"u{number}", ListingStatus.SOLD))) == 1

    def test_what_no_repeating_mends_is_left_out(self, caplog: pytest.LogCaptureFixture) -> None:
        """An item that cannot be read is logged and left out; it does not hold up those behind it."""
        put_raw(good := listing(PK={"S": "USER#u2"}))
        with caplog.at_level(logging.WARNING):
            event = {"Records": [record(listing(Data={"S": "canary"})), record(good, number=2)]}
            assert streams.handler(event) == {"batchItemFailures": []}
        assert "left out: Listing USER#u1 / LISTING#l1: unreadable: Data is no map" in caplog.text
        assert "canary" not in caplog.text
        assert len(list(Listing.objects.query_by_status("u2", ListingStatus.SOLD))) == 1

    @pytest.mark.parametrize("event", [{}, {"Records": [{}]}, {"Records": "x"}])
    def test_what_is_no_event(self, event: dict[str, Any]) -> None:
        """What is no event of a stream is an error, and not a success."""
        with pytest.raises(InvalidItemError, match="read a stream's record"):
            streams.handler(event)


def test_a_real_stream(table: str) -> None:
    """Records as an engine's own stream gives them are read, and repaired until the stream comes to rest."""
    if table == "embedded":
        pytest.skip("the embedded engine has no streams")
    name, client = store().table_name, store().client
    stream_view = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    client.update_table(TableName=name, StreamSpecification=stream_view)
    arn = client.describe_table(TableName=name)["Table"]["LatestStreamArn"]
    where = ENDPOINT if table == "endpoint" else None
    feed = botocore.session.get_session().create_client("dynamodbstreams", region_name="us-east-1", endpoint_url=where)
    Listing.objects.create("u1", "l1", ACTIVE)
    changed = get_raw(*KEY)
    assert changed is not None
    changed["Data"]["M"] |= {"status": {"S": "sold"}, "blob": {"B": b"\x00\xff"}}
    put_raw(changed)
    seen: list[tuple[ChangeKind, str | None]] = []
    deadline = time.monotonic() + 20
    shard = feed.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
    start = {"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
    position = feed.get_shard_iterator(**start)["ShardIterator"]
    while len(seen) < 3 and time.monotonic() < deadline:
        page = feed.get_records(ShardIterator=position)
        for one in page["Records"]:
            change, finding = streams.read(one), streams.repair(one)
            assert isinstance(change.new, Listing)
            seen.append((change.kind, finding.outcome.value if finding else None))
        position = page["NextShardIterator"]
    assert seen == [(ChangeKind.INSERT, None), (ChangeKind.MODIFY, "repaired"), (ChangeKind.MODIFY, None)]
    assert [one.listing_id for one in Listing.objects.query_by_status("u1", ListingStatus.SOLD)] == ["l1"]
