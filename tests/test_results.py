"""Lazy results: pages, cursors, counts, and what they cost."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlssocial import (
    ALL_USERS,
    InvalidCursorError,
    Item,
    Listing,
    ListingData,
    MLSConnection,
    MLSConnectionData,
    PerformanceMetrics,
    PerformanceMetricsData,
    Results,
    SocialConnection,
    SocialConnectionData,
    SocialPost,
    SocialPostData,
    UnreadableItemWarning,
    configure,
    keys,
)
from mlssocial.connection import recorded, store
from mlssocial.results import Cursor, Plan, _checksum

from .conftest import put_raw


def limited(request: Callable[..., dict[str, Any]], limit: int) -> Callable[..., dict[str, Any]]:
    """Let a query's pages be small."""
    return lambda *args, **options: request(*args, **options) | {"Limit": limit}


def has_length(calls: list[Any], length: int) -> bool:
    return len(calls) == length


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does; an AssertionError after ten seconds."""
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


HOME = ListingData(status="active", mls_provider="p", mls_number="n")


def fill(count: int, *, user: str = "u1") -> list[str]:
    """Store listings and give their ids in order."""
    names = [f"l{number:03}" for number in range(count)]
    for name in names:
        Listing.objects.save(user, name, HOME)
    return names


def walk(results: Results[Any], limit: int) -> list[list[Any]]:
    """Read all pages, each from the cursor of the one before."""
    pages, cursor = [], None
    while True:
        page = results.page(limit, cursor)
        pages.append(page.items)
        if page.cursor is None:
            return pages
        cursor = page.cursor


@pytest.mark.usefixtures("table")
class TestPages:
    @pytest.mark.parametrize(("limit", "sizes"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (50, [7])])
    def test_limit_is_what_is_returned(self, limit: int, sizes: list[int]) -> None:
        """A page holds as many items as were asked for, the last one the rest; no cursor leads to an empty page."""
        names = fill(7)
        pages = walk(Listing.objects.query("u1"), limit)
        assert [len(page) for page in pages] == sizes
        assert [one.listing_id for page in pages for one in page] == names

    def test_reverse(self) -> None:
        """Pages of a reversed query go backwards, without a gap."""
        names = fill(5)
        pages = walk(Listing.objects.query("u1", reverse=True), 2)
        assert [one.listing_id for page in pages for one in page] == names[::-1]

    def test_index_pages(self) -> None:
        """Pages over an index with another tenant's items between hold only the caller's, all of them."""
        for user in ("u2", "u1", "u3"):
            fill(6, user=user)
        pages = walk(Listing.objects.query_by_mls_number("p", "n", user_id="u1"), 2)
        assert [[one.user_id for one in page] for page in pages] == [["u1", "u1"]] * 3
        everyone = walk(Listing.objects.query_by_mls_number("p", "n", user_id=ALL_USERS), 4)
        assert sorted(one.user_id for page in everyone for one in page) == ["u1"] * 6 + ["u2"] * 6 + ["u3"] * 6

    def test_merged_pages(self) -> None:
        """Pages over the eight partitions of a queue come in one order, each item once, under an end that moves on."""
        for number in range(20):
            MLSConnection.objects.create(f"u{number}", "c", MLSConnectionData(last_synced_at=(number * 7) % 20))
        seen, cursor = [], None
        for turn in range(100):
            due = MLSConnection.objects.due_for_sync(datetime(2024, 1, 1, 0, 0, turn % 60, tzinfo=UTC), user_id=ALL_USERS)
            page = due.page(3, cursor)
            seen += [one.data.last_synced_at for one in page]
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == sorted(one for one in seen if one)
        assert len(seen) == 20

    def test_unreadable_rows_do_not_count(self) -> None:
        """A row that cannot be read takes no place on a page; it stands beside it."""
        names = fill(3)
        put_raw({"PK": {"S": "USER#u1"}, "SK": {"S": "LISTING#l001x"}, "EntityType": {"S": "Listing"}, "Data": {"M": {}}})
        page = Listing.objects.query("u1").page(3)
        assert [one.listing_id for one in page] == names
        assert ([row.key[1] for row in page.unreadable], page.cursor, len(page)) == (["LISTING#l001x"], None, 3)

    def test_empty(self) -> None:
        """No items make one empty page, a first that is None, a count of zero and a false truth value."""
        results = Listing.objects.query("nobody")
        page = results.page()
        assert (page.items, page.cursor, results.first(), results.count(), bool(results)) == ([], None, None, 0, False)

    @pytest.mark.parametrize("limit", [0, -1, 1.5, True, "3"])
    def test_limits_that_are_none(self, limit: Any) -> None:
        """A limit is a whole number above zero."""
        with pytest.raises(ValueError, match="limit"):
            Listing.objects.query("u1").page(limit)


def foreign(user: str, sk: str, **more: Any) -> None:
    """Store an item under the index keys of u1's items, as no writer should and any writer can."""
    kinds = {"LISTING": "Listing", "POST": "SocialPost", "MLS_CONNECTION": "MLSConnection", "SOCIAL": "SocialConnection"}
    names = {name: {"S": value} for name, value in more.items()}
    kind = {"EntityType": {"S": kinds[sk.split("#")[0]]}}
    data = {"status": {"S": "unpublish_pending" if sk.startswith("POST") else "active"}, "expiresAt": {"N": "1"}}
    number = {"mlsProvider": {"S": "p"}, "mlsNumber": {"S": "n"}, "listingId": {"S": "l"}}
    put_raw({"PK": {"S": f"USER#{user}"}, "SK": {"S": sk}, "Data": {"M": data | number}, **kind, **names})


QUEUE_END = datetime(2024, 1, 1, tzinfo=UTC)
OF_ONE_USER: dict[str, Callable[[str], Results[Any]]] = {
    "by status": lambda user: Listing.objects.query_by_status(user, "active"),
    "by status, backwards": lambda user: Listing.objects.query_by_status(user, "active", reverse=True),
    "by status, consistently": lambda user: Listing.objects.query_by_status(user, "active", consistent=True),
    "by number": lambda user: Listing.objects.query_by_mls_number("p", "n", user_id=user),
    "by number and status": lambda user: Listing.objects.query_by_mls_number("p", "n", user_id=user, status="active"),
    "by listing": lambda user: SocialPost.objects.query_by_listing("l", user_id=user),
    "pending": lambda user: SocialPost.objects.pending_unpublish(user_id=user),
    "due": lambda user: MLSConnection.objects.due_for_sync(QUEUE_END, user_id=user),
    "expiring": lambda user: SocialConnection.objects.expiring(QUEUE_END, user_id=user),
}
"""Every query of one user that an index may answer."""


@pytest.mark.usefixtures("table")
class TestOneUser:
    """What is another user's and stands under the very index keys that are read, before, between and behind the user's own."""

    def fill(self, user: str = "u1") -> None:
        """Give u1 items of all queues and indexes, and others the like under u1's index keys."""
        shard = keys.shard(user)
        for stranger, name in (("u0", "0"), ("u11", "5"), ("u1 ", "9")):
            listed, time = (
                {"GSI2PK": f"USER#{user}#STATUS#active", "GSI2SK": f"LISTED#2024-01-0{name}#l"},
                f"000000000000{name}",
            )
            number, post = {"GSI1PK": "MLS#p#n", "GSI1SK": "STATUS#active"}, {"GSI1PK": "LISTING#l", "GSI1SK": f"POST#{name}"}
            foreign(stranger, f"LISTING#{name}", **listed, **number)
            foreign(stranger, f"POST#{name}", **post, GSI2PK=f"UNPUBLISH#{shard}", GSI2SK=f"{time}#{user}#p")
            foreign(stranger, f"MLS_CONNECTION#{name}", GSI2PK=f"MLS_SYNC#{shard}", GSI2SK=f"{time}#{user}#c")
            foreign(stranger, "SOCIAL#X", GSI2PK=f"TOKEN_EXPIRY#{shard}", GSI2SK=f"{time}#{user}#X")
        for day in (3, 7):
            home = HOME.model_copy(update={"list_date": date(2024, 1, day)})
            Listing.objects.save(user, f"l{day}", home)
            waits = {"status": "unpublish_pending", "unpublish_requested_at": day, "listing_id": "l"}
            SocialPost.objects.save(user, f"p{day}", SocialPostData.model_validate(waits))
            MLSConnection.objects.save(user, f"c{day}", MLSConnectionData.model_validate({"last_synced_at": day}))
            SocialConnection.objects.save(user, f"x{day}", SocialConnectionData.model_validate({"expires_at": day}))

    @pytest.mark.parametrize("name", OF_ONE_USER)
    def test_nothing_of_others(self, name: str) -> None:
        """Items, first, count, pages, unreadable rows, cursors and what is read ahead are the user's own, all of them."""
        self.fill()
        query = OF_ONE_USER[name]
        results = query("u1")
        pages = [list(chain.from_iterable(walk(results, limit))) for limit in (1, 2, 9)]
        for found in (list(results), list(results.iterator(prefetch=2)), *pages):
            assert [one.pk for one in found] == ["USER#u1"] * 2
        assert (results.count(), getattr(results.first(), "pk", None), bool(query("nobody"))) == (2, "USER#u1", False)
        page = results.page(1)
        assert (page.unreadable, [one.pk for one in page]) == ([], ["USER#u1"])
        assert page.cursor is not None
        assert json.loads(base64.urlsafe_b64decode(page.cursor + "==")[9:])[0] == "USER#u1"
        assert not any(stranger in str(results.explain()) + repr(results) for stranger in ("u0", "u11", "USER#u1  "))

    @pytest.mark.parametrize("name", OF_ONE_USER)
    def test_a_forged_cursor(self, name: str) -> None:
        """A position at another user's item is refused by every index query of a user, though its checksum is right."""
        results = OF_ONE_USER[name]("u1")
        plan = results._plan
        sort = plan.prefix or "0000000000001"
        for user in ("u11", "u2", "u1 "):
            position = Cursor(f"USER#{user}", "LISTING#l", f"USER#{user}" if plan.index is None else plan.partitions[0], sort)
            with pytest.raises(InvalidCursorError):
                results.page(1, position.encode(plan))

    def test_unreadable_rows_of_others(self, recwarn: pytest.WarningsRecorder) -> None:
        """Another user's row that cannot be read is neither on the page, nor counted, nor named by a warning."""
        index = {"GSI1PK": "MLS#p#n", "GSI1SK": "STATUS#active", "GSI2PK": "USER#u1#STATUS#active", "GSI2SK": "LISTED##x"}
        names = {name: {"S": value} for name, value in index.items()}
        data = {"status": {"S": "active"}, "mlsProvider": {"S": "p"}, "mlsNumber": {"S": "n"}, "price": {"BOOL": True}}
        for user in ("u1", "u2"):
            key = {"PK": {"S": f"USER#{user}"}, "SK": {"S": "LISTING#x"}, "EntityType": {"S": "Listing"}}
            put_raw(key | {"Data": {"M": data}} | names)
        for results in [query("u1") for name, query in OF_ONE_USER.items() if name.startswith("by") and name != "by listing"]:
            assert ([row.key[0] for row in results.page(5).unreadable], results.count()) == (["USER#u1"], 1)
            with pytest.warns(UnreadableItemWarning, match="USER#u1 / LISTING#x"):
                assert list(results) == []
        assert [warning for warning in recwarn if "u2" in str(warning.message)] == []


@pytest.mark.usefixtures("table")
class TestCosts:
    def test_first_is_one_small_request(self) -> None:
        """The first of many is one request."""
        fill(30)
        with recorded() as calls:
            first = Listing.objects.query("u1").first()
            assert first is not None
            assert bool(Listing.objects.query("u1"))
        assert (first.listing_id, len(calls)) == ("l000", 2)

    def test_nothing_is_read_before_it_is_asked_for(self) -> None:
        """Making a query and explaining it sends nothing."""
        with recorded() as calls:
            results = Listing.objects.query("u1")
            results.explain()
            repr(results)
        assert calls == []

    def test_iterating_reads_all_pages(self) -> None:
        """Iterating goes on over DynamoDB's 1 MB pages, and again from the start when iterated again."""
        large = HOME.model_copy(update={"description": "x" * 300_000})
        for number in range(8):
            Listing.objects.save("u1", f"l{number}", large)
        results = Listing.objects.query("u1")
        with recorded() as calls:
            assert len(list(results)) == 8
        assert len(calls) >= 2
        assert [one.listing_id for one in results] == [f"l{number}" for number in range(8)]
        assert results.count() == 8

    def test_pages_ahead(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With prefetch the next pages are asked for while this one is worked on, and no others; the items are the same."""
        names, page = fill(40), 10
        monkeypatch.setattr("mlssocial.results.Plan.request", limited(Plan.request, page))
        monkeypatch.setattr("mlssocial.results.MAX_LIMIT", page)
        for prefetch, started in ((0, 1), (1, 2), (2, 3)):
            with recorded() as calls:
                items = Listing.objects.query("u1").iterator(prefetch=prefetch)
                assert next(items).listing_id == names[0]
                wait_until(partial(has_length, calls, started))
                assert [names[0], *(listing.listing_id for listing in items)] == names
            assert len(calls) in {4, 5}
        with recorded() as calls:
            items = Listing.objects.query("u1").iterator(prefetch=1)
            next(items)
            items.close()  # type: ignore[attr-defined]  # it is a generator
        assert len(calls) <= 2
        for bad in (-1, True, 1.5):
            with pytest.raises(ValueError, match="prefetch: a number of pages is needed"):
                Listing.objects.query("u1").iterator(prefetch=bad)  # type: ignore[arg-type]

    def test_guards_cost_few_requests(self) -> None:
        """Where guards leave out most of what is read, requests grow instead of multiplying."""
        Listing.objects.save_many(Listing(user_id=f"u{number:03}", listing_id="l", data=HOME) for number in range(1_000))
        with recorded() as calls:
            assert Listing.objects.query_by_mls_number("p", "n", user_id="nobody").first() is None
        assert len(calls) <= 5

    def test_count_sends_no_items(self) -> None:
        """A count asks for the count alone, over all partitions of a queue."""
        for number in range(9):
            MLSConnection.objects.create(f"u{number}", "c", MLSConnectionData())
        with recorded() as calls:
            assert MLSConnection.objects.due_for_sync(user_id=ALL_USERS).count() == 9
        assert [call.operation for call in calls] == ["Query"] * 8


@pytest.mark.usefixtures("table")
class TestCursors:
    def test_anothers_keys_are_in_no_cursor(self) -> None:
        """A cursor of one user's index read holds only keys of that user, whatever lies between."""
        for user in ("u0", "u1", "u2"):
            fill(4, user=user)
        results, cursor = Listing.objects.query_by_mls_number("p", "n", user_id="u1"), None
        for _ in range(3):
            cursor = results.page(1, cursor).cursor
            assert cursor is not None
            content = base64.urlsafe_b64decode(cursor + "==")
            assert b"USER#u1" in content
            assert b"USER#u0" not in content
            assert b"USER#u2" not in content

    def test_a_cursor_belongs_to_its_query(self) -> None:
        """A cursor is refused by every other query: another user, order, index, status, entity or range."""
        fill(3)
        fill(3, user="u2")
        for name in ("p1", "p2"):
            SocialPost.objects.save("u1", name, SocialPostData(listing_id="l000"))
        for day in (1, 2, 3):
            PerformanceMetrics.objects.save("u1", "l000", date(2024, 1, day), PerformanceMetricsData())
        queries: list[Results[Any]] = [
            Listing.objects.query("u1"),
            Listing.objects.query("u2"),
            Listing.objects.query("u1", reverse=True),
            Item.objects.query("u1"),
            Listing.objects.query_by_status("u1", "active"),
            Listing.objects.query_by_mls_number("p", "n", user_id="u1"),
            Listing.objects.query_by_mls_number("p", "n", user_id="u2"),
            Listing.objects.query_by_mls_number("p", "n", user_id=ALL_USERS),
            Listing.objects.query_by_mls_number("p", "n", user_id="u1", status="active"),
            SocialPost.objects.query("u1"),
            SocialPost.objects.query_by_listing("l000", user_id="u1"),
            PerformanceMetrics.objects.query("u1", "l000"),
            PerformanceMetrics.objects.query("u1", "l000", since="2024-01-01"),
        ]
        for made in queries:
            cursor = made.page(1).cursor
            for other in queries:
                if other is made:
                    assert len(other.page(1, cursor)) == 1
                else:
                    with pytest.raises(InvalidCursorError, match="another query"):
                        other.page(1, cursor)

    def test_a_cursor_outlives_its_item(self) -> None:
        """A cursor goes on behind an item that was deleted meanwhile."""
        fill(4)
        page = Listing.objects.query("u1").page(2)
        Listing.objects.delete("u1", "l001")
        assert [one.listing_id for one in Listing.objects.query("u1").page(2, page.cursor)] == ["l002", "l003"]

    @pytest.mark.parametrize("keys", [["USER#u1", "LISTING#\ud800"], ["[" * 20_000], ["USER#u1", "LISTING#" + "x" * 20_000]])
    def test_forged_ones(self, keys: list[str]) -> None:
        """A cursor whose checksum somebody worked out is refused for what it holds, by the same error."""
        plan = Listing.objects.query("u1")._plan
        content = (json.dumps(keys) if len(keys) > 1 else keys[0]).encode()
        forged = base64.urlsafe_b64encode(_checksum(plan, content) + content).decode().rstrip("=")
        with pytest.raises(InvalidCursorError):
            Listing.objects.query("u1").page(1, forged)

    def test_a_limit_beyond_dynamodbs(self) -> None:
        """A limit that DynamoDB has no number for reads all there is."""
        fill(3)
        assert len(Listing.objects.query("u1").page(2**40)) == 3

    @pytest.mark.parametrize("bad", ["", "x", "é", "AAAA", "a b", 7, b"x", "[]", "=" * 9])
    def test_what_is_no_cursor(self, bad: Any) -> None:
        """Anything but a cursor of ours is refused before any request."""
        with recorded() as calls, pytest.raises(InvalidCursorError):
            Listing.objects.query("u1").page(1, bad)
        assert calls == []


PLANS = [
    Plan("Listing.objects.query", 1, ("USER#u",), prefix="LISTING#"),
    Plan("Listing.objects.query_by_mls_number", 2, ("MLS#p#n",), index="GSI1", tenant="USER#u"),
    Plan("MLSConnection.objects.due_for_sync", 8, tuple(keys.sync_partitions()), index="GSI2", between=("0", "9"), moving=True),
]
POSITIONS = [
    Cursor("USER#u", "LISTING#l", "USER#u", "LISTING#l"),
    Cursor("USER#u", "LISTING#l", "MLS#p#n", "STATUS#active"),
    Cursor("USER#u", "MLS_CONNECTION#c", "MLS_SYNC#3", "1705363200000#u#c"),
]


class TestCursorText:
    @given(st.sampled_from([0, 1, 2]), st.data())
    def test_every_change_is_refused(self, case: int, data: st.DataObject) -> None:
        """A cursor with any character changed, cut or added is refused."""
        plan, cursor = PLANS[case], POSITIONS[case].encode(PLANS[case])
        assert Cursor.decode(plan, cursor) == POSITIONS[case]
        at = data.draw(st.integers(0, len(cursor) - 1))
        by = data.draw(st.sampled_from("ABCxyz019-_"))
        for changed in (cursor[:at] + by + cursor[at + 1 :], cursor[:at], cursor[:at] + by + cursor[at:]):
            if changed != cursor:
                with pytest.raises(InvalidCursorError):
                    Cursor.decode(plan, changed)

    @given(st.sampled_from([0, 1, 2]), st.lists(st.text(max_size=30), max_size=5))
    def test_a_position_outside_of_the_query(self, case: int, position: list[str]) -> None:
        """A cursor with a right checksum and a position outside of the query or the tenant is refused."""
        content = json.dumps(position).encode()
        forged = base64.urlsafe_b64encode(_checksum(PLANS[case], content) + content).decode().rstrip("=")
        with pytest.raises(InvalidCursorError):
            Cursor.decode(PLANS[case], forged)

    @pytest.mark.parametrize(
        ("case", "position"),
        [
            (0, Cursor("USER#x", "LISTING#l", "USER#x", "LISTING#l")),
            (0, Cursor("USER#u", "POST#p", "USER#u", "POST#p")),
            (1, Cursor("USER#x", "LISTING#l", "MLS#p#n", "STATUS#active")),
            (1, Cursor("USER#u", "LISTING#l", "MLS#p#m", "STATUS#active")),
            (2, Cursor("USER#u", "MLS_CONNECTION#c", "UNPUBLISH#3", "1#u#c")),
        ],
    )
    def test_anothers_position(self, case: int, position: Cursor) -> None:
        """A position in another user's partition, entity or number is refused, though its checksum is right."""
        with pytest.raises(InvalidCursorError):
            Cursor.decode(PLANS[case], position.encode(PLANS[case]))

    @given(st.text(min_size=1, max_size=200))
    def test_fuzz(self, text: str) -> None:
        """No text makes anything but InvalidCursorError."""
        with pytest.raises(InvalidCursorError):
            Cursor.decode(PLANS[0], text)

    def test_safe_in_a_url(self) -> None:
        """A cursor needs no quoting in a URL, whatever the ids are."""
        cursor = Cursor("USER#u", "LISTING#é/?&=+%", "USER#u", "LISTING#é/?&=+%").encode(PLANS[0])
        assert cursor.replace("-", "").replace("_", "").isalnum()
        assert Cursor.decode(PLANS[0], cursor).sk == "LISTING#é/?&=+%"


class TestExplain:
    def test_says_what_answers(self) -> None:
        """An explanation names index, key condition, guards, order and consistency."""
        text = str(Listing.objects.query_by_mls_number("p", "n", user_id="u1", status="sold").explain())
        for part in ("access pattern 3", "GSI1", "GSI1PK = MLS#p#n", "PK = USER#u1", "Data.status = sold", "eventual"):
            assert part in text
        explained = Listing.objects.query_by_status("u1", "sold", consistent=True, reverse=True).explain()
        assert (explained.index, explained.consistent, explained.order) == (None, True, "by SK, descending")
        assert explained.key_condition == "PK = USER#u1 AND SK begins_with LISTING#"
        everyone = MLSConnection.objects.due_for_sync(datetime(2024, 1, 1, tzinfo=UTC), user_id=ALL_USERS).explain()
        assert everyone.partitions == 8
        assert everyone.key_condition == "GSI2PK in MLS_SYNC#0 … MLS_SYNC#7 AND GSI2SK between 0 and 1704067200001"
        assert everyone.guards == ("Data.lastSyncedAt <= 1704067200000 or missing",)

    def test_no_discriminator_filter(self) -> None:
        """A query of one entity filters by its TTL and nothing else: the sort key decides the entity."""
        configure(table_name="homes", endpoint_url="local:")
        request = Listing.objects.query("u1")._plan.request("USER#u1", after=None)
        assert set(request["ExpressionAttributeNames"].values()) == {"PK", "SK", "TTL"}
        assert store().table_name == request["TableName"] == "homes"
