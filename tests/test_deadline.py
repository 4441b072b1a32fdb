"""The deadline of a call, against servers that are silent, slow, or never done: nobody is kept waiting past it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlssocial import Listing, ListingData, MLSSocialError, OutcomeUnknownError, StoreError, configure
from mlssocial.connection import AnswerLostError, Patience, store

from .conftest import get_raw
from .test_transport import (
    HOME,
    THROTTLED,
    Exchange,
    Fault,
    Server,
    as_it_is,
    certificate,
    clear_the_way,
    connect,
    fails,
    is_silent,
    put,
    refuses,
    response,
    serving_tls,
)

DEADLINE = 0.5
LATEST = 0.9
"""A tenth above the deadline is promised; the rest is for a machine that does other work beside."""

either_way = pytest.mark.parametrize("transport", ["direct", "botocore"])


@pytest.fixture(autouse=True)
def _clear_way(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_the_way(monkeypatch)


@pytest.fixture
def server() -> Iterator[Server]:
    """Give a server with an empty table, and the project pointed at it with a deadline that a read timeout would pass."""
    with Server() as made:
        connect(made, deadline=DEADLINE, read_timeout=5, connect_timeout=5)
        yield made


def drips(before: bytes, drop: bytes) -> Fault:
    """Send the beginning of an answer, and then drop after drop, for as long as anybody listens."""

    def drip(exchange: Exchange) -> None:
        exchange.run()
        exchange.connection.sendall(before)
        while True:
            exchange.connection.sendall(drop)
            time.sleep(0.02)

    return drip


WHOLE = response(200, b" " * 1_000_000)
NEVER_DONE = [
    is_silent,
    drips(b"HTTP/1.1 200 OK\r\nX-Header: ", b"x"),
    drips(b"HTTP/1.1 200 OK\r\n", b"X-Header: x\r\n"),
    drips(WHOLE[: -len(b" " * 1_000_000)], b" "),
    drips(response(200, b"", Content_Length=None, Transfer_Encoding="chunked"), b"1\r\n \r\n"),
    drips(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
]


@contextlib.contextmanager
def taking(least: float = DEADLINE / 2, most: float = LATEST) -> Iterator[None]:
    """Assert how long something takes."""
    started = time.monotonic()
    yield
    took = time.monotonic() - started
    assert least <= took < most


class TestAttempts:
    @either_way
    @pytest.mark.parametrize("fault", NEVER_DONE)
    def test_end_with_the_call(self, server: Server, transport: str, fault: Fault) -> None:
        """Whatever a server sends, or does not, a read ends at the deadline, and a write with its look is over then too."""
        connect(server, deadline=DEADLINE, read_timeout=5, transport=transport)
        server.next(*[fault] * 100)
        with taking(0), pytest.raises(StoreError):
            Listing.objects.find("u1", "l1")
        with taking(0), pytest.raises(OutcomeUnknownError):
            Listing.objects.create("u1", "l1", HOME)
        with taking(0), pytest.raises(StoreError):
            list(Listing.objects.query("u1"))

    def test_leave_nothing_behind(self, server: Server) -> None:
        """After a call that was cut off the next one gets its own answer, with the whole of its own time."""
        put(server, "l1")
        server.next(*[NEVER_DONE[3]] * 100)
        with pytest.raises(StoreError):
            Listing.objects.find("u1", "l2")
        server.faults.clear()

        def slow(exchange: Exchange) -> None:
            time.sleep(DEADLINE / 2)
            exchange.send(*exchange.run())

        for _ in range(3):
            server.next(slow)
            assert Listing.objects.get("u1", "l1").data == HOME

    def test_a_slow_answer_is_waited_for(self, server: Server) -> None:
        """Only the deadline ends a drip: an answer that is slow, and whole in time, is taken."""
        put(server, "l1")

        def slow(exchange: Exchange) -> None:
            answer = response(*exchange.run())
            step = len(answer) // 10 + 1
            for start in range(0, len(answer), step):
                exchange.connection.sendall(answer[start : start + step])
                time.sleep(0.01)

        server.next(slow)
        assert Listing.objects.get("u1", "l1").data == HOME
        assert len(server.requests) == 1

    @either_way
    def test_where_nobody_reads(self, transport: str) -> None:
        """A request that the server does not take in is given up at the deadline."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            point_at(listener, transport)
            item = {"PK": {"S": "p"}, "SK": {"S": "s"}, "Text": {"S": "x" * 20_000_000}}
            with taking(), pytest.raises(AnswerLostError):
                store().call("PutItem", {"TableName": "homes", "Item": item})

    @either_way
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_where_nobody_answers(self, transport: str, scheme: str) -> None:
        """A server that takes the connection and says nothing, not even for TLS, is left at the deadline."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            point_at(listener, transport, scheme)
            with taking(), pytest.raises(StoreError):
                Listing.objects.find("u1", "l1")
            with taking(), pytest.raises(MLSSocialError):
                Listing.objects.create("u1", "l1", HOME)

    def test_a_handshake_that_was_not_finished_sent_nothing(self) -> None:
        """Where TLS never comes about, a write was not sent, and that is what is said."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            point_at(listener, "direct", "https")
            with taking(), pytest.raises(StoreError, match="ConnectTimeoutError"):
                Listing.objects.create("u1", "l1", HOME)

    def test_over_tls(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Over TLS too, a drip ends at the deadline."""
        path = certificate(tmp_path, "127.0.0.1")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
        with serving_tls(path) as server:
            for transport in ("direct", "botocore"):
                connect(server, deadline=DEADLINE, read_timeout=5, transport=transport)
                server.next(*[NEVER_DONE[3]] * 100)
                with taking(), pytest.raises(StoreError):
                    Listing.objects.find("u1", "l1")
                server.faults.clear()


def point_at(listener: socket.socket, transport: str, scheme: str = "http") -> None:
    """Point the project at a socket, with its client made already."""
    url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    times: dict[str, Any] = {"deadline": DEADLINE, "read_timeout": 5, "connect_timeout": 5}
    configure(table_name="homes", region="us-east-1", endpoint_url=url, transport=transport, **times)
    store().client  # noqa: B018


class TestCalls:
    """One public call has one deadline, however many requests it takes."""

    def test_all_attempts_together(self, server: Server) -> None:
        """A read that is refused for good, now and then in silence, ends at the deadline and not at each attempt's own."""
        connect(server, deadline=DEADLINE, read_timeout=0.2)
        server.next(*[THROTTLED, is_silent, fails] * 100)
        with taking(), pytest.raises(StoreError):
            Listing.objects.find("u1", "l1")
        assert len(server.requests) > 2

    def test_an_update_that_reads_first(self, server: Server) -> None:
        """The read before an update, and the update, end together at the deadline."""
        put(server, "l1")
        server.next(slowed(as_it_is), *[is_silent] * 100, operation="GetItem")
        server.next(*[is_silent] * 100, operation="UpdateItem")
        with taking(), pytest.raises((OutcomeUnknownError, StoreError)):
            Listing.objects.update("u1", "l1", status="sold")

    def test_an_update_among_other_writers(self, server: Server) -> None:
        """An update that another writer came before is made anew within the one deadline."""
        put(server, "l1")
        refusal = refuses("ConditionalCheckFailedException", Item=get_raw("USER#u1", "LISTING#l1"))
        server.next(as_it_is, *[is_silent] * 100, operation="GetItem")
        server.next(slowed(refusal), *[is_silent] * 100, operation="UpdateItem")
        with taking(), pytest.raises((OutcomeUnknownError, StoreError)):
            Listing.objects.update("u1", "l1", status="sold")

    def test_the_look_after_a_lost_answer(self, server: Server) -> None:
        """A write that was cut off at the deadline is still looked for, a moment long, and found where the table answers."""
        server.next(is_silent, operation="PutItem")
        with taking():
            listing = Listing.objects.create("u1", "l1", ListingData(status="active"))
        assert (listing.listing_id, server.seen) == ("l1", ["PutItem", "GetItem"])

    def test_a_throttled_write_is_not_cut_off(self, server: Server) -> None:
        """A write that is throttled until the deadline was not applied, and is never sent so late that nobody could tell."""
        for _ in range(3):
            server.next(*[THROTTLED] * 1000, operation="PutItem")
            with taking(0), pytest.raises(StoreError, match="ThrottlingException"):
                Listing.objects.create("u1", "l1", HOME)
            server.faults.clear()


def slowed(fault: Fault) -> Fault:
    """Answer so late that a deadline which began anew behind it would pass the latest time."""

    def late(exchange: Exchange) -> None:
        time.sleep(LATEST - DEADLINE)
        fault(exchange)

    return late


class TestPatience:
    def test_ends(self) -> None:
        """It waits for as long as another attempt has time, and then says no at once."""
        patience = Patience(0.2)
        with taking(0.0, 0.4):
            while patience.wait():
                pass
        assert time.monotonic() < patience.until + 0.2

    def test_a_look(self) -> None:
        """A look has the time that is left, and a twentieth of all where none is."""
        assert Patience(100).to_look().until == pytest.approx(time.monotonic() + 100, abs=1)
        patience = Patience(2)
        patience.until = time.monotonic()
        assert patience.to_look().until == pytest.approx(time.monotonic() + 0.1, abs=0.09)
