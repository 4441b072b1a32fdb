"""The way to the table under real faults: throttling, lost answers, dead endpoints. Injected at botocore's events."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from mlssocial import (
    ConfigurationError,
    Listing,
    ListingData,
    OutcomeUnknownError,
    PerformanceMetrics,
    PerformanceMetricsData,
    PlatformMetrics,
    StaleItemError,
    StoreError,
    configure,
    create_table,
)
from mlssocial.connection import recorded, store

from .conftest import get_raw, put_raw

HOME = ListingData(status="active")


def answer(code: str, status: int = 400, more: dict[str, Any] | None = None) -> Callable[..., Any]:
    """Answer a request with an error of DynamoDB's, instead of sending it."""
    parsed = {
        "Error": {"Code": code, "Message": "injected"},
        "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "REQUEST", "HTTPHeaders": {}},
        **(more or {}),
    }
    return lambda **_: (AWSResponse("", status, {}, None), parsed)


def breaks(error: Exception) -> Callable[..., Any]:
    """Break the connection instead of answering."""

    def fail(**_: Any) -> None:
        raise error

    return fail


@pytest.fixture
def inject() -> Callable[..., list[str]]:
    """Give a function that answers the next *times* requests of an operation with *fault*, or the answers after they came."""
    configure(table_name=f"faults-{uuid.uuid4().hex}", endpoint_url="local:", deadline=2)
    create_table()

    def install(fault: Callable[..., Any], *, times: int, operation: str = "*", after: bool = False) -> list[str]:
        seen: list[str] = []

        def handle(event_name: str, **_: Any) -> Any:
            if len(seen) >= times:
                return None
            seen.append(event_name)
            return fault()

        event = f"{'response-received.dynamodb' if after else 'before-call.dynamodb'}.{operation}"
        store().client.meta.events.register_first(event, handle)
        return seen

    return install


READS = [
    lambda: Listing.objects.find("u", "l"),
    lambda: list(Listing.objects.query("u")),
    lambda: Listing.objects.query("u").count(),
]
THROTTLES = ["ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"]


class TestReads:
    @pytest.mark.parametrize("read", READS)
    @pytest.mark.parametrize(
        "fault",
        [
            *(answer(code) for code in THROTTLES),
            answer("InternalServerError", 500),
            answer("ServiceUnavailable", 503),
            breaks(ConnectionClosedError(endpoint_url="x")),
            breaks(ReadTimeoutError(endpoint_url="x")),
            breaks(EndpointConnectionError(endpoint_url="x", error="y")),
        ],
    )
    def test_are_tried_again(self, inject: Any, read: Callable[[], Any], fault: Any) -> None:
        """A read that was throttled, failed or cut off is tried again, and answers."""
        seen = inject(fault, times=2)
        read()
        assert len(seen) == 2

    def test_end_at_the_deadline(self, inject: Any) -> None:
        """A read that is throttled for good ends at the deadline, after few requests, and says why."""
        seen = inject(answer("ThrottlingException"), times=10_000)
        with pytest.raises(StoreError, match=r"GetItem on faults-.*: ThrottlingException: injected") as caught:
            Listing.objects.find("u", "l")
        assert 3 <= len(seen) <= 60
        assert (caught.value.code, caught.value.request_id) == ("ThrottlingException", "REQUEST")

    @pytest.mark.parametrize("code", ["AccessDeniedException", "ValidationException", "ExpiredTokenException"])
    def test_refusals_are_final(self, inject: Any, code: str) -> None:
        """What DynamoDB refuses for good is asked once."""
        seen = inject(answer(code), times=5)
        with pytest.raises(StoreError, match=code):
            Listing.objects.find("u", "l")
        assert len(seen) == 1


WRITES = [
    lambda: Listing.objects.create("u", "new", HOME),
    lambda: Listing.objects.save("u", "l", HOME),
    lambda: Listing.objects.update("u", "l", price=7),
    lambda: PerformanceMetrics.objects.increment("u", "l", "2024-01-01", "facebook", views=1),
]


def saved(item: Listing) -> Listing:
    """Save an item that was read."""
    item.save()
    return item


ONCE = [
    lambda _: Listing.objects.create("u", "new", HOME),
    lambda seen: Listing.objects.update("u", "l", price=7, if_unchanged_since=seen),
    lambda _: Listing.objects.update("u", "l", status="sold"),
    saved,
]
LOST = [
    breaks(ConnectionClosedError(endpoint_url="x")),
    breaks(ReadTimeoutError(endpoint_url="x")),
]


class TestWrites:
    @pytest.mark.parametrize("write", WRITES)
    @pytest.mark.parametrize("code", THROTTLES)
    def test_throttled_ones_are_tried_again(self, inject: Any, write: Callable[[], Any], code: str) -> None:
        """A write that was throttled, and so not applied, is tried again."""
        Listing.objects.save("u", "l", HOME)
        PerformanceMetrics.objects.increment("u", "l", "2024-01-01", "facebook", views=1)
        Listing.objects.delete("u", "new")
        seen = inject(answer(code), times=2)
        write()
        assert len(seen) == 2

    @pytest.mark.parametrize(
        ("fault", "applied"),
        [*((fault, True) for fault in LOST), *((fault, False) for fault in [*LOST, answer("InternalServerError", 500)])],
    )
    @pytest.mark.parametrize("write", ONCE)
    def test_what_its_condition_refuses_is_sent_again(
        self, inject: Any, write: Callable[[Listing], Listing], fault: Any, applied: bool
    ) -> None:
        """A create, or a write of a version that was read, is sent again under its WriteId, and is applied once."""
        seen = Listing.objects.save("u", "l", HOME)
        for operation in ("PutItem", "UpdateItem"):
            inject(fault, times=1, operation=operation, after=applied)
        with recorded() as calls:
            item = write(seen)
        sent = [call.operation for call in calls if call.operation != "GetItem"]
        assert len(sent) == 2
        assert item.write_id == Listing.objects.get("u", item.listing_id, consistent=True).write_id

    @pytest.mark.parametrize("write", ONCE)
    def test_a_foreign_write_in_between_is_unknown(self, inject: Any, write: Callable[[Listing], Listing]) -> None:
        """Where a write whose answer was lost is refused by somebody else's item, nobody can tell whether it was applied."""
        seen = Listing.objects.save("u", "l", HOME)

        def lose(**_: Any) -> None:
            for name in ("l", "new"):
                put_raw({**(get_raw("USER#u", "LISTING#l") or {}), "SK": {"S": f"LISTING#{name}"}, "WriteId": {"S": "x"}})
            raise ConnectionClosedError(endpoint_url="x")

        for operation in ("PutItem", "UpdateItem"):
            inject(lose, times=1, operation=operation)
        with pytest.raises(OutcomeUnknownError, match="does not show this write"):
            write(seen)

    @pytest.mark.parametrize("write", WRITES[1:])
    @pytest.mark.parametrize("fault", LOST)
    def test_a_lost_answer_is_looked_up(self, inject: Any, write: Callable[[], Any], fault: Any) -> None:
        """A write that was applied and whose answer was lost is found by its WriteId, and not sent again."""
        Listing.objects.save("u", "l", HOME)
        PerformanceMetrics.objects.save("u", "l", "2024-01-01", _day())
        Listing.objects.delete("u", "new")
        inject(fault, times=1, after=True)
        with recorded() as calls:
            item = write()
        assert [call.operation for call in calls][1:] == ["GetItem"]
        assert item.write_id
        if isinstance(item, PerformanceMetrics):
            assert item.data.views == 6

    @pytest.mark.parametrize("write", [*WRITES[1:], lambda: Listing.objects.delete("u", "l")])
    @pytest.mark.parametrize("fault", [*LOST, answer("InternalServerError", 500)])
    def test_what_cannot_be_told_is_said(self, inject: Any, write: Callable[[], Any], fault: Any) -> None:
        """A write that does not show in the table after its answer was lost ends as unknown, never as a yes or a no."""
        Listing.objects.save("u", "l", HOME)
        PerformanceMetrics.objects.save("u", "l", "2024-01-01", _day())
        Listing.objects.delete("u", "new")
        inject(fault, times=1)
        with pytest.raises(OutcomeUnknownError, match="read it before you try again"):
            write()

    @pytest.mark.parametrize("write", WRITES[1:])
    def test_a_look_that_fails_is_unknown_too(self, inject: Any, write: Callable[[], Any]) -> None:
        """Where the look at the item after a lost answer fails as well, the outcome is unknown and said to be."""
        Listing.objects.save("u", "l", HOME)
        PerformanceMetrics.objects.save("u", "l", "2024-01-01", _day())
        Listing.objects.delete("u", "new")
        inject(LOST[0], times=1)
        inject(answer("AccessDeniedException"), times=5, operation="GetItem")
        with pytest.raises(OutcomeUnknownError, match="so was a look at the item"):
            write()

    def test_writers_that_never_rest(self, inject: Any) -> None:
        """An update that meets other writers until the deadline says so, and that nothing was written."""
        Listing.objects.save("u", "l", HOME)
        changed = get_raw("USER#u", "LISTING#l")
        refusal = answer("ConditionalCheckFailedException", more={"Item": changed})
        seen = inject(refusal, times=10_000, operation="UpdateItem")
        with pytest.raises(StaleItemError, match="kept changing it until the deadline, and nothing was written"):
            Listing.objects.update("u", "l", status="sold")
        assert len(seen) >= 3

    @pytest.mark.parametrize(
        ("body", "headers", "what"),
        [
            (b"<html>", {"x-amzn-requestid": "R"}, "cannot be read"),
            (b"", {"x-amzn-requestid": "R"}, "cannot be read"),
            (b"[]", {"x-amzn-requestid": "R"}, "cannot be read"),
            (b"{}", {}, "no request id"),
            (b"{}", {"x-amzn-requestid": "R", "x-amz-crc32": "1"}, "checksum"),
            (b"{}", {"x-amzn-requestid": "R", "x-amz-crc32": "abc"}, "checksum"),
        ],
    )
    def test_what_is_no_answer_is_a_lost_one(self, body: bytes, headers: dict[str, str], what: str) -> None:
        """A 200 that is not DynamoDB's answers nothing, on botocore's way too: a read fails, a write is unknown."""
        configure(table_name="x", region="us-east-1", deadline=0.3, transport="botocore", endpoint_url="http://127.0.0.1:9")

        class Raw:
            def stream(self, **_: Any) -> Any:
                yield body

        def respond(request: Any, **_: Any) -> AWSResponse:
            return AWSResponse(request.url, 200, headers, Raw())

        store().client.meta.events.register_first("before-send.dynamodb", respond)
        with pytest.raises(StoreError, match=what):
            Listing.objects.find("u", "l")
        with pytest.raises(OutcomeUnknownError, match=what):
            Listing.objects.create("u", "l", HOME)

    def test_a_dead_endpoint(self) -> None:
        """A write to an endpoint where nothing listens was never sent: it ends at the deadline as a StoreError."""
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{held.getsockname()[1]}"
            configure(table_name="x", region="us-east-1", endpoint_url=url, deadline=0.3)
            with pytest.raises(StoreError, match="nothing answers at the endpoint") as caught:
                Listing.objects.save("u", "l", HOME)
        assert caught.value.code in {"EndpointConnectionError", "ConnectTimeoutError"}  # the last attempt may end early


def _day() -> Any:
    return PerformanceMetricsData(views=5, platforms={"facebook": PlatformMetrics(views=5)})


class TestClient:
    def test_no_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Missing credentials are said with the remedy."""
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        configure(table_name="x", region="us-east-1", endpoint_url="http://127.0.0.1:9")
        with pytest.raises(StoreError, match="configure AWS credentials"):
            Listing.objects.find("u", "l")

    def test_no_region(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A missing region is said with the remedy."""
        monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
        configure(table_name="x")
        with pytest.raises(StoreError, match="MLSSOCIAL_REGION"):
            Listing.objects.find("u", "l")

    def test_no_such_profile(self) -> None:
        """A profile that is not there, and an endpoint that is none, are configuration errors."""
        configure(table_name="x", region="us-east-1", profile="no-such-profile")
        with pytest.raises(ConfigurationError, match="no-such-profile"):
            Listing.objects.find("u", "l")
        configure(table_name="x", region="us-east-1", endpoint_url="nonsense:")
        with pytest.raises(ConfigurationError, match="nonsense"):
            Listing.objects.find("u", "l")

    def test_settings_reach_the_client(self) -> None:
        """Timeouts and pool size are the client's; botocore's own retries are off."""
        configure(table_name="x", region="eu-west-1", connect_timeout=1, read_timeout=3, max_pool_connections=5)
        config = store().client.meta.config
        assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (1, 3, 5)
        assert config.retries == {"total_max_attempts": 1, "mode": "standard"}
        assert store().client.meta.region_name == "eu-west-1"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
    def test_a_forked_child_connects_anew(self) -> None:
        """A child does not share its parent's connection."""
        configure(table_name="fork", endpoint_url="local:")
        create_table()
        parent = store()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:  # pragma: no cover  the child's lines are not measured
            os.write(write, b"new" if store() is not parent else b"old")
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(read, 3) == b"new"
        os.close(read)
        os.close(write)
        assert store() is parent
