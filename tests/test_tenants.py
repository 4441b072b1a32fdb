"""One user's managers: what they give, what they refuse, and that no call ever shows or touches another user's item."""

from __future__ import annotations

import base64
import inspect
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

import pytest

from mlssocial import (
    ALL_USERS,
    BatchIncompleteError,
    InvalidCursorError,
    InvalidItemError,
    InvalidKeyError,
    Item,
    Listing,
    ListingData,
    MLSConnection,
    MLSConnectionData,
    MLSSocialError,
    PerformanceMetrics,
    PerformanceMetricsData,
    Results,
    SocialConnection,
    SocialConnectionData,
    SocialPost,
    SocialPostData,
    UserManagers,
    for_user,
    keys,
)
from mlssocial.connection import recorded, store
from mlssocial.entities import Payload
from mlssocial.managers import Manager
from mlssocial.results import Guard, Plan
from mlssocial.wire import decode_row, plain_row

from .conftest import Tally, get_raw, put_raw
from .doors import CALLS, DAY, FIGURES, HOME, LATE, MANAGERS, fill, finished, methods
from .test_results import limited

ELSEWHERE: dict[str, str] = {}
"""Methods of the managers that the door does not have, and why; there are none."""

IN_ITEMS = {
    "get_many": "each of the ids begins with its user",
    "delete_many": "each of the ids begins with its user",
    "save_many": "each item is made with its user",
    "create_many": "each item is made with its user",
    "claim": "an item that was read under its user",
    "claim_each": "items that were read under their users",
    "complete": "an item that was read under its user",
    "extend": "an item that was read under its user",
    "release": "an item that was read under its user",
    "refresh_tokens": "an item that was read under its user",
}
"""Methods that take their user neither in first place nor by name, and where it is."""

EVERY = [f"{door}.{name}" for door in MANAGERS for name in sorted(methods(MANAGERS[door]))]


def on_the_door(name: str, user: str = "u1") -> Any:
    door, method = name.split(".")
    return getattr(getattr(for_user(user), door), method)


def of_the_manager(name: str) -> Any:
    door, method = name.split(".")
    return getattr(type(MANAGERS[door]), method)


def versions() -> dict[tuple[str, str], str | None]:
    """Give the nonce of each item of the strangers."""
    found = [one for user in ("u11", "u1 ") for one in Item.objects.query(user, consistent=True)]
    return {(one.pk, one.sk): one.write_id for one in found}


def refused(error: type[Exception], call: Callable[[], Any], match: str | None = None) -> None:
    """Check that a call is refused, and has sent nothing."""
    with recorded() as calls, pytest.raises(error, match=match):
        finished(call())
    assert calls == []


class TestManagers:
    """The promise about users that the managers themselves give."""

    @pytest.mark.parametrize("name", EVERY)
    def test_the_user_is_in_first_place_or_by_name(self, name: str) -> None:
        """Every manager method takes its user in first place, or by name and never by default, or in its items."""
        parameters = list(inspect.signature(of_the_manager(name)).parameters.values())[1:]
        named = {one.name: one for one in parameters}
        if "user_id" not in named:
            assert name.split(".")[1] in IN_ITEMS
        elif named["user_id"].kind is inspect.Parameter.KEYWORD_ONLY:
            assert named["user_id"].default is inspect.Parameter.empty
        else:
            assert parameters[0].name == "user_id"
            assert parameters[0].annotation == "str"

    @pytest.mark.usefixtures("table")
    @pytest.mark.parametrize("whose", [ALL_USERS, None, "", "#", "u1#"])
    def test_users_are_crossed_by_name_alone(self, whose: Any) -> None:
        """Nothing but the index queries that take ALL_USERS by name takes anything for several users."""
        for call in (
            lambda: Listing.objects.get(whose, "l"),
            lambda: Listing.objects.query(whose),
            lambda: Listing.objects.query_by_status(whose, "active"),
            lambda: Listing.objects.update(whose, "l", price=1),
            lambda: Listing.objects.delete(whose, "l"),
            lambda: Listing.objects.get_many([(whose, "l")]),
            lambda: Listing.objects.delete_many([(whose, "l")]),
            lambda: Listing.objects.create_many([Listing(user_id=whose, listing_id="l", data=HOME)]),
            lambda: MANAGERS["metrics"].rollup(whose, "l", DAY, DAY),
            lambda: Item.objects.query(whose),
        ):
            refused(InvalidKeyError, call)
        if whose is not ALL_USERS:
            refused(InvalidKeyError, lambda: Listing.objects.query_by_mls_number("p", "n", user_id=whose))
            refused(InvalidKeyError, lambda: SocialPost.objects.query_by_listing("l", user_id=whose))
            refused(InvalidKeyError, lambda: Listing.objects.propagate_status("p", "n", "sold", user_id=whose))


class TestMethods:
    """The door has the managers' methods, and no way past it."""

    def test_all_of_them(self) -> None:
        """Every public method of every manager is on the door, or has a reason not to be; and the door has no others."""
        agent = for_user("u1")
        for door, manager in MANAGERS.items():
            missing = {name for name in methods(manager) if f"{door}.{name}" in ELSEWHERE}
            assert methods(getattr(agent, door)) == methods(manager) - missing
        assert CALLS.keys() == set(EVERY)

    @pytest.mark.parametrize("name", EVERY)
    def test_signatures(self, name: str) -> None:
        """A method has the manager's parameters without the user, which is refused by name and as one more in first place."""
        theirs, mine = inspect.signature(of_the_manager(name)), inspect.signature(on_the_door(name))
        expected = [one for one in theirs.parameters.values() if one.name not in {"self", "user_id"}]
        found = list(mine.parameters.values())
        assert [(one.name, one.kind, one.default) for one in found] == [(one.name, one.kind, one.default) for one in expected]
        if "user_id" in theirs.parameters:
            assert found == expected
            needed = {one.name: "x" for one in expected if one.default is one.empty and one.kind is not one.VAR_KEYWORD}
            refused(TypeError, lambda: on_the_door(name)(**needed, user_id="u2"), "user_id")

    @pytest.mark.parametrize("name", EVERY)
    def test_docstrings(self, name: str) -> None:
        """A method has the manager's docstring; one that takes ids without the user has its own."""
        theirs, mine = of_the_manager(name).__doc__, on_the_door(name).__doc__
        assert mine
        assert (mine == theirs) is not name.endswith(("get_many", "delete_many"))

    def test_no_manager_in_reach(self) -> None:
        """No public attribute of the door leads to a manager, and none of them can be set."""
        agent = for_user("u1")
        for door in MANAGERS:
            one = getattr(agent, door)
            values = [getattr(one, name) for name in dir(one) if not name.startswith("_")]
            assert not any(isinstance(value, Manager | type) for value in values)
            assert all(value.__self__ is one for value in values)
            with pytest.raises(AttributeError):
                setattr(agent, door, getattr(for_user("u2"), door))
            with pytest.raises(AttributeError):
                one.user_id = "u2"

    def test_shows_whose(self) -> None:
        """A door says whose it is."""
        assert (repr(for_user("u1")), repr(for_user("u1").posts)) == ("<UserManagers of u1>", "<UserPosts of u1>")
        assert for_user("u1").user_id == "u1"

    @pytest.mark.parametrize("user", ["", "#", "u1#LISTING", "a\x00", "x" * 2_100, None, 7, ALL_USERS, b"u1", ("u1",)])
    def test_no_user(self, user: Any) -> None:
        """What is no user's id is refused when the door is asked for."""
        with pytest.raises(InvalidKeyError, match=r"user_id|PK"):
            for_user(user)


@pytest.mark.usefixtures("table")
class TestDoor:
    @pytest.fixture(autouse=True)
    def _three(self, table: str) -> None:  # noqa: ARG002  it comes first
        """Fill the table for three users whose ids begin alike."""
        for user in ("u1", "u11", "u1 "):
            fill(user)

    @pytest.mark.parametrize("door", MANAGERS)
    def test_is_the_manager(self, door: str) -> None:
        """Every method does its work in its user's partition, and leaves everybody else's items as they are."""
        before = versions()
        for name in sorted(methods(MANAGERS[door])):
            fill("u1")
            for found in items_in(finished(CALLS[f"{door}.{name}"](for_user("u1")))):
                assert found.pk == "USER#u1"
            assert versions() == before
            for item in Item.objects.query("u1", consistent=True):
                if isinstance(item, Listing | SocialPost | MLSConnection | SocialConnection | PerformanceMetrics):
                    item.delete()

    def test_reads_what_managers_wrote(self) -> None:
        """The door and the managers meet on the same items."""
        agent = for_user("u1")
        assert agent.listings.get("l").data == Listing.objects.get("u1", "l").data
        agent.listings.update("l", price=7)
        assert Listing.objects.get("u1", "l", consistent=True).data.price == 7
        assert [one.pk for one in agent.listings.query_by_mls_number("p", "n")] == ["USER#u1"]
        assert len(list(Listing.objects.query_by_mls_number("p", "n", user_id=ALL_USERS))) == 3
        with pytest.raises(Listing.DoesNotExist):
            agent.listings.get("nowhere")

    @pytest.mark.parametrize("method", ["claim", "complete", "extend", "release"])
    def test_anothers_item(self, method: str) -> None:
        """Another user's item is refused by every method that takes one, by place and by name, before anything is sent."""
        for stranger in ("u11", "u1 "):
            theirs = SocialPost.objects.claim(SocialPost.objects.get(stranger, "w"), seconds=60)
            assert theirs is not None
            call = getattr(for_user("u1").posts, method)
            more: dict[str, Any] = {"seconds": 60} if method in {"claim", "extend"} else {}
            more |= {"status": "unpublished"} if method == "complete" else {}
            name = next(iter(inspect.signature(call).parameters))
            refused(InvalidItemError, lambda: call(theirs, **more), f"{method} SocialPost USER#{stranger} / POST#w: .*another")  # noqa: B023
            refused(InvalidItemError, lambda: call(**{name: theirs}, **more), "another user's")  # noqa: B023

    def test_anothers_connection(self) -> None:
        """Tokens of another user's connection are not refreshed."""
        for door in ("mls_connections", "social_connections"):
            (theirs,) = MANAGERS[door].query("u11")
            call = getattr(for_user("u1"), door).refresh_tokens
            refused(InvalidItemError, lambda: call(theirs, access_token="x", expires_at=LATE), "another user's")  # noqa: B023

    def test_another_kind_of_item(self) -> None:
        """What is no item of the door's entity is refused as the manager does."""
        agent = for_user("u1")
        mine: Any = agent.listings.get("l")
        refused(InvalidItemError, lambda: agent.posts.claim(mine, seconds=60), "a SocialPost is needed, not Listing")
        refused(InvalidItemError, lambda: agent.posts.claim(None, seconds=60), "not NoneType")  # type: ignore[arg-type]
        refused(TypeError, lambda: agent.posts.claim(seconds=60), "item")  # type: ignore[call-arg]

    def test_a_queue_of_several_users(self) -> None:
        """Of a queue that others' items are in, those before the first of them are claimed, and no other is touched."""
        queue = [SocialPost.objects.get(user, "w") for user in ("u1", "u11", "u1")]
        claimed = for_user("u1").posts.claim_each(queue, seconds=60)
        assert next(claimed).pk == "USER#u1"
        refused(InvalidItemError, lambda: next(claimed), "another user's")
        assert SocialPost.objects.get("u11", "w", consistent=True).lease_id is None

    def test_anothers_version(self) -> None:
        """An update on the version of another user's item is refused before anything is sent."""
        theirs = Listing.objects.get("u11", "l")
        agent = for_user("u1")
        refused(InvalidItemError, lambda: agent.listings.update("l", price=1, if_unchanged_since=theirs), "not the Listing")

    def test_a_payload_that_names_another(self) -> None:
        """A payload or a field that says another user is refused before anything is sent."""
        agent = for_user("u1")
        payload = MANAGERS["mls_connections"].get("u11", "c").data
        refused(InvalidItemError, lambda: agent.mls_connections.save("c", payload), "userId")
        lease = agent.mls_connections.claim(agent.mls_connections.get("c"), seconds=60)
        assert lease is not None
        refused(InvalidItemError, lambda: agent.mls_connections.complete(lease, user_id="u11"), "part of the key")

    def test_anothers_cursor(self) -> None:
        """A cursor of another user's query is refused by the same query of this one."""
        for user in ("u1", "u11"):
            Listing.objects.save(user, "l2", HOME)
        queries: list[Callable[[Any], Any]] = [
            lambda agent: agent.listings.query(),
            lambda agent: agent.listings.query_by_status("active"),
            lambda agent: agent.listings.query_by_mls_number("p", "n"),
            lambda agent: agent.items.query(),
        ]
        for query in queries:
            cursor = query(for_user("u11")).page(1).cursor
            assert cursor is not None
            refused(InvalidCursorError, lambda: query(for_user("u1")).page(1, cursor))  # noqa: B023

    def test_ids_in_bulk(self) -> None:
        """Ids are given without the user, answers have them as they were given, and a BatchResult has them whole."""
        agent = for_user("u1")
        assert agent.listings.get_many(["l", "nowhere"]).keys() == {"l"}
        assert agent.social_connections.get_many(["Facebook"])["Facebook"].pk == "USER#u1"
        day = agent.metrics.get_many([("l", DAY), ("l", "2024-01-15")])
        assert list(day) == [("l", DAY), ("l", "2024-01-15")]
        assert agent.metrics.delete_many([("l", DAY)]).written == (("u1", "l", DAY),)
        assert agent.listings.delete_many(["l", "x"]).written == (("u1", "l"), ("u1", "x"))
        assert Listing.objects.find("u11", "l", consistent=True) is not None

    @pytest.mark.parametrize("ids", [("u11", "l"), ("l",), (), None, 7, ["l"], "a#b", "", "u11#LISTING"])
    def test_ids_that_are_none(self, ids: Any) -> None:
        """Ids that name another user, or cannot go into a key, are refused in bulk, and nothing is sent."""
        agent = for_user("u1")
        refused(InvalidKeyError, lambda: agent.listings.get_many(["l", ids]))
        refused(InvalidKeyError, lambda: agent.listings.delete_many(["l", ids]))

    @pytest.mark.parametrize("ids", [("u11", "l", DAY), ("l",), "l", ["l", DAY], ("l", None), (DAY, "l"), ("l", "1.1.2024")])
    def test_ids_of_days_that_are_none(self, ids: Any) -> None:
        """The same where an item has two ids beside its user."""
        agent = for_user("u1")
        refused(InvalidKeyError, lambda: agent.metrics.get_many([("l", DAY), ids]))
        refused(InvalidKeyError, lambda: agent.metrics.delete_many([("l", DAY), ids]))

    @pytest.mark.parametrize("method", ["save_many", "create_many"])
    def test_anothers_items_in_bulk(self, method: str) -> None:
        """A list with another user's item is refused whole; of an iterator what comes before it is written, and no more."""
        mine = [Listing(user_id="u1", listing_id=f"n{number}", data=HOME.model_copy()) for number in range(110)]
        theirs = Listing(user_id="u11", listing_id="n", data=ListingData.model_validate({"status": "sold"}))
        write = getattr(for_user("u1").listings, method)
        refused(InvalidItemError, lambda: write([*mine, theirs]), f"{method} Listing USER#u11 / LISTING#n: .*another user's")
        assert Listing.objects.find("u1", "n0", consistent=True) is None
        with pytest.raises(BatchIncompleteError, match="the next one is unfit") as caught:
            write(iter([*mine, theirs, mine[0]]))
        assert caught.value.unprocessed == (theirs,)
        assert Listing.objects.find("u1", "n109", consistent=True) is not None
        assert Listing.objects.find("u11", "n", consistent=True) is None

    def test_unfit_ids_of_an_iterator(self) -> None:
        """What is left of a batch of ids is given back as it was given."""
        with pytest.raises(BatchIncompleteError) as caught:
            for_user("u1").listings.delete_many(iter(["l", *(f"n{number}" for number in range(110)), "a#b", "x"]))
        assert caught.value.unprocessed == ("a#b",)
        assert get_raw("USER#u1", "LISTING#l") is None

    def test_a_status_reaches_ones_own(self) -> None:
        """A status that is propagated through the door reaches the user's copies and posts, and no other user's."""
        done = for_user("u1").listings.propagate_status("p", "n", "sold")
        assert {pk for pk, _ in (*done.changed, *done.unchanged)} == {"USER#u1"}
        assert Listing.objects.get("u11", "l", consistent=True).data.status == "active"
        assert SocialPost.objects.get("u1 ", "p", consistent=True).data.status == "published"

    def test_of_the_same_id_twice(self) -> None:
        """Two doors stand side by side, each with its own user."""
        doors = {user: for_user(user) for user in ("u1", "u11")}
        for user, agent in doors.items():
            agent.metrics.save("l", DAY, FIGURES.model_copy(update={"views": len(user)}))
        assert [agent.metrics.get("l", DAY, consistent=True).data.views for agent in doors.values()] == [2, 3]
        assert [agent.posts.create("n", SocialPostData()).pk for agent in doors.values()] == ["USER#u1", "USER#u11"]


def items_in(answer: Any) -> Iterator[Item]:
    """Find the items in whatever a method has given."""
    if isinstance(answer, Item):
        yield answer
    elif isinstance(answer, dict):
        yield from items_in(list(answer.values()))
    elif isinstance(answer, list | tuple) or hasattr(answer, "items"):
        for one in getattr(answer, "items", answer):
            yield from items_in(one)


# --- Tenants, interleaved --------------------------------------------------------------------------------------------


def beside(user: str) -> str:
    """Give an id that begins as another does, and whose work lies in the same partition of every queue."""
    return next(one for n in range(1_000) if keys.shard(one := f"{user}{n}") == keys.shard(user))


POPULATIONS = [
    ("u1", beside("u1"), "u1 "),
    ("u", "u1", "U1"),
    ("é", "e\u0301", beside("é")),
    ("*", "u*", beside("*")),
    ("USER", beside("USER"), "USER "),
    ("0", "00", beside("0")),
]
"""Users whose ids are easily taken for each other's."""

STATUSES = ("active", "pending", "sold", "expired")
DAYS = ("2024-01-01", "2024-01-02", "2024-02-01")
KEYS: dict[str, list[Any]] = {
    "listings": ["l", "l1", "l11", "u", "u1", "U1"],
    "mls_connections": ["c", "u1"],
    "social_connections": ["facebook", "U1"],
    "posts": ["p", "p1", "p11", "u", "u1", "U1"],
    "metrics": [(listing, day) for listing in ("l", "u1") for day in DAYS],
}
"""The ids that each user's items may have, the same for all of them."""

PAYLOADS: dict[str, type[Payload]] = {
    "listings": ListingData,
    "mls_connections": MLSConnectionData,
    "social_connections": SocialConnectionData,
    "posts": SocialPostData,
    "metrics": PerformanceMetricsData,
}
CHANGES: dict[str, dict[str, Any]] = {
    "listings": {"price": 1},
    "mls_connections": {"agent_id": "a"},
    "social_connections": {"platform_username": "a"},
    "posts": {"content": "a"},
    "metrics": {"views": 1},
}
WORK: dict[str, dict[str, Any]] = {
    "claim": {"seconds": 0.01},
    "extend": {"seconds": 0.01},
    "release": {},
    "complete": {},
    "refresh_tokens": {"access_token": "t", "expires_at": LATE},
}
"""What the methods of queues take beside an item."""


class Tenants:
    """
    Users on one table, each of whose calls is looked at for anything of another's.

    Every item says in its data whose it is. Calls go by the door or by the manager, and iterations of one user go on while
    others call. Another application puts items of one user under another's index keys.
    """

    def __init__(self, users: tuple[str, ...], seed: int, *, prefetch: bool) -> None:
        self.users = users
        self.random = Random(seed)  # noqa: S311  no secret
        self.prefetch = 2 if prefetch else 0
        self.held: dict[str, list[Any]] = {user: [] for user in users}
        self.cursors: dict[str, list[tuple[str, str, dict[str, Any], str]]] = {user: [] for user in users}
        self.open: list[tuple[str, Iterator[Any]]] = []
        self.tried: Counter[str] = Counter()
        for user in users:
            for door, ids in KEYS.items():
                MANAGERS[door].save_many([self.item(user, door, one) for one in ids])

    def run(self, calls: int) -> None:
        """Let the users call in turn, as chance has it."""
        actions = (
            [self.write] * 6 + [self.read] * 2 + [self.query] * 8 + [self.attack] * 3 + [self.go_on] * 3 + [self.meddle] * 3
        )
        for number in range(calls):
            user, action = self.random.choice(self.users), self.random.choice(actions)
            try:
                action(user)
            except BaseException as error:
                error.add_note(f"call {number} of {user!r}, one of {self.users}: {action.__name__}")
                raise
        self.tried["calls"] += calls
        for row in self.scan():  # all of it is whose it says; the next ones begin anew
            key = {name: row[name] for name in ("PK", "SK")}
            store().call("DeleteItem", {"TableName": store().table_name, "Key": key})

    # What is called, and how

    def call(self, user: str, door: str, method: str, *args: Any, **named: Any) -> Any:
        """Call a method by the door or by the manager; an error may name nobody else."""
        by_door = self.random.random() < 0.6
        if by_door:
            bound = getattr(getattr(for_user(user), door), method)
        else:
            bound = getattr(MANAGERS[door], method)
            parameters = inspect.signature(bound).parameters
            if "user_id" in parameters and parameters["user_id"].kind is inspect.Parameter.KEYWORD_ONLY:
                named["user_id"] = user
            elif "user_id" in parameters:
                args = (user, *args)
            elif method in {"get_many", "delete_many"}:
                args = ([(user, *(one if isinstance(one, tuple) else (one,))) for one in args[0]],)
        with self.heard(user):
            try:
                return bound(*args, **named)
            except MLSSocialError as error:
                self.names_nobody_else(user, str(error))
                self.look(user, [getattr(error, "item", None)])
                self.tried["refused"] += 1
                return None

    @contextmanager
    def heard(self, user: str) -> Iterator[None]:
        """Check that warnings name nobody else."""
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield
        for warning in warned:
            self.names_nobody_else(user, str(warning.message))

    def look(self, user: str, answer: Any) -> None:
        """Check that all items of an answer are the user's, by their keys and by what their data says."""
        for item in items_in(answer):
            assert item.pk == f"USER#{user}"
            if isinstance(data := getattr(item, "data", None), Payload):
                assert (data.model_extra or {}).get("mark", user) == user
                self.held[user] = [*self.held[user][-30:], item]
            self.tried["items"] += 1

    def names_nobody_else(self, user: str, text: str) -> None:
        """Check that a message names no other user's key."""
        assert not [one for one in self.users if one != user and f"USER#{one} /" in text]

    def payload(self, user: str, door: str) -> Any:
        """Make a payload that says whose it is."""
        some = self.random.choice
        fields: dict[str, dict[str, Any]] = {
            "listings": {"status": some(STATUSES), "mls_provider": "p", "mls_number": some("nm"), "list_date": some(DAYS)},
            "mls_connections": {"last_synced_at": some([1, 2, 3, None])},
            "social_connections": {"expires_at": some([1, 2, 3, None])},
            "posts": {
                "listing_id": some(KEYS["listings"]),
                "status": some(["published", "failed", "unpublish_pending"]),
                "unpublish_requested_at": some([1, 2, 3]),
            },
            "metrics": {"views": some([1, 2, 3])},
        }
        return PAYLOADS[door].model_validate({**fields[door], "mark": user})

    def item(self, user: str, door: str, ids: Any) -> Any:
        """Make an item."""
        manager = MANAGERS[door]
        whole = (user, *(ids if isinstance(ids, tuple) else (ids,)))
        return manager.model(**dict(zip(manager.entity.id_names, whole, strict=True)), data=self.payload(user, door))

    def ids(self, door: str) -> tuple[Any, ...]:
        """Choose an item's ids beside its user."""
        one = self.random.choice(KEYS[door])
        return one if isinstance(one, tuple) else (one,)

    # The actions

    def write(self, user: str) -> None:
        """Write something by any of the ways that there are; now and then see that nobody else's items have changed."""
        watched = self.random.random() < 0.1
        before = [row for row in self.scan() if row["PK"]["S"] != f"USER#{user}"] if watched else None
        self.look(user, self.written(user, self.random.choice(list(KEYS))))
        if before is not None:
            assert [row for row in self.scan() if row["PK"]["S"] != f"USER#{user}"] == before
            self.tried["comparisons"] += 1

    def written(self, user: str, door: str) -> Any:
        """Choose a write and do it."""
        way = self.random.choice(["create", "save", "save", "update", "delete", "many", "own"])
        ids, data = self.ids(door), self.payload(user, door)
        if way in {"create", "save"}:
            return self.call(user, door, way, *ids, data)
        if way == "update":
            seen = [item for item in self.held[user] if isinstance(item, MANAGERS[door].model)]
            version = {"if_unchanged_since": self.random.choice(seen)} if seen and self.random.random() < 0.2 else {}
            fields = {name: getattr(data, name) for name in data.model_fields_set - {"mark"}}
            return self.call(user, door, "update", *ids, **fields, **version)
        if way == "delete":
            return self.call(user, door, "delete", *ids)
        return self.in_bulk(user, door) if way == "many" else self.own_way(user, door)

    def in_bulk(self, user: str, door: str) -> Any:
        """Write or delete several."""
        chosen = self.random.sample(KEYS[door], 2)
        if self.random.random() < 0.3:
            done = self.call(user, door, "delete_many", chosen)
        else:
            items = [self.item(user, door, one) for one in chosen]
            done = self.call(user, door, self.random.choice(["save_many", "create_many"]), items)
        assert done is None or {ids[0] for ids in done.written} <= {user}
        return done

    def own_way(self, user: str, door: str) -> Any:
        """Write in a way that the entity alone has."""
        if door == "listings":
            operation = self.random.choice([None, "o1", "o2"])
            args = ("p", self.random.choice("nm"), self.random.choice(STATUSES))
            done = self.call(user, door, "propagate_status", *args, operation_id=operation)
            assert done is None or {pk for pk, _ in (*done.changed, *done.unchanged, *done.failed)} <= {f"USER#{user}"}
            return None
        if door == "metrics":
            operation = self.random.choice([None, None, "o3"])
            return self.call(user, door, "increment", *self.ids(door), "facebook", views=1, operation_id=operation)
        items = [item for item in self.held[user] if isinstance(item, MANAGERS[door].model)]
        if not items:
            return None
        way = self.random.choice([*WORK][: 4 if door == "posts" else 5])
        if self.random.random() < 0.2:
            with self.heard(user):
                return list(self.call(user, door, "claim_each", items[-3:], seconds=0.01) or ())
        more = CHANGES[door] if way == "complete" else WORK[way]
        return self.call(user, door, way, self.random.choice(items), **more)

    def read(self, user: str) -> None:
        """Read by keys, and sum figures."""
        door = self.random.choice(list(KEYS))
        way = self.random.choice(["get", "find", "get_many", "rollup"])
        if way == "get_many":
            found = self.call(user, door, "get_many", KEYS[door])
            self.look(user, found)
        elif way != "rollup":
            self.look(user, self.call(user, door, way, *self.ids(door)))
        else:
            rows = self.call(user, "metrics", "rollup", "l", DAYS[0], DAYS[2], by="month")
            mine = [row for row in self.scan() if row["PK"]["S"] == f"USER#{user}" and row["SK"]["S"].startswith("METRICS#l#")]
            views = [row["Data"]["M"].get("views", {}).get("N", 0) for row in mine]
            assert sum(row.views for row in rows) == sum(map(int, views))

    def query(self, user: str) -> None:
        """Ask one of the queries, and look at what it gives in one of the ways that there are."""
        door, method, named = self.question()
        results = self.call(user, door, method, **named)
        look = self.random.choice([self.whole, self.counted, self.paged, self.paged, self.started])
        with self.heard(user):
            look(user, results, (door, method, named))

    def question(self) -> tuple[str, str, dict[str, Any]]:
        """Choose a query."""
        some, reverse = self.random.choice, self.random.random() < 0.5
        asked: list[tuple[str, str, dict[str, Any]]] = [
            ("items", "query", {"reverse": reverse}),
            (some(["listings", "mls_connections", "social_connections", "posts"]), "query", {"reverse": reverse}),
            ("metrics", "query", {"listing_id": some(["l", "u1"]), "since": some([None, DAYS[1]])}),
            ("listings", "query_by_status", {"status": some(STATUSES), "reverse": reverse, "consistent": some([True, False])}),
            ("listings", "query_by_status", {"status": some(STATUSES), "reverse": reverse}),
            (
                "listings",
                "query_by_mls_number",
                {"mls_provider": "p", "mls_number": some("nm"), "status": some([None, "sold"])},
            ),
            ("posts", "query_by_listing", {"listing_id": some(KEYS["listings"]), "reverse": reverse}),
            ("posts", "pending_unpublish", {}),
            ("mls_connections", "due_for_sync", {"before": LATE}),
            ("social_connections", "expiring", {"before": LATE}),
        ]
        return some(asked)

    def whole(self, user: str, results: Results[Any], _: Any) -> None:
        """Read all of it, and compare it with the table."""
        found = list(results.iterator(prefetch=self.random.choice([0, self.prefetch])))
        self.look(user, found)
        rows = [row for row in self.expected(user, results) if not is_broken(row)]
        assert sorted((one.pk, one.sk) for one in found) == [(row["PK"]["S"], row["SK"]["S"]) for row in rows]
        self.look(user, [results.first()])
        self.tried["queries"] += 1

    def counted(self, user: str, results: Results[Any], _: Any) -> None:
        """Count it, and compare the count with the table."""
        assert results.count() == len(self.expected(user, results))
        self.tried["counts"] += 1

    def paged(self, user: str, results: Results[Any], asked: tuple[str, str, dict[str, Any]]) -> None:
        """Walk its pages, and look at the keys in each cursor."""
        limit, cursor, seen = self.random.choice([1, 2, 3]), None, 0
        while True:
            page = results.page(limit, cursor)
            self.look(user, page)
            assert {row.key[0] for row in page.unreadable} <= {f"USER#{user}"}
            seen += len(page.items)
            if (cursor := page.cursor) is None:
                break
            self.look_into(cursor, user, results)
            self.cursors[user] = [*self.cursors[user][-9:], (*asked, cursor)]
        assert seen == sum(not is_broken(row) for row in self.expected(user, results))

    def look_into(self, cursor: str, user: str, results: Results[Any]) -> None:
        """Check that the keys in a cursor are those of the user's own item."""
        pk, _, *index = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[9:])
        assert pk == f"USER#{user}"
        assert not index or index[0] in results._plan.partitions
        if index and re.match(r"\d{13}#", index[1]):  # of a queue, which names its users
            assert index[1].split("#")[1] == user
        self.tried["cursors"] += 1

    def started(self, user: str, results: Results[Any], _: Any) -> None:
        """Begin to iterate; others call before it goes on."""
        self.open = [*self.open[-5:], (user, results.iterator(prefetch=self.random.choice([0, self.prefetch])))]

    def go_on(self, _: str) -> None:
        """Let each iteration under way go on by one item."""
        for owner, iterator in list(self.open):
            with self.heard(owner):
                item = next(iterator, None)
            self.look(owner, [item])
            if item is None:
                self.open.remove((owner, iterator))

    def attack(self, user: str) -> None:
        """Come to the door with what is another user's: it is refused, and nothing is sent."""
        stranger = self.random.choice([one for one in self.users if one != user])
        agent = for_user(user)
        chances: list[tuple[type[Exception], str, Callable[[], Any]]] = [
            (InvalidKeyError, "listing_id", lambda: agent.listings.get_many([(stranger, "l")])),  # type: ignore[list-item]
            (InvalidKeyError, "post_id", lambda: agent.posts.delete_many([(stranger, "p")])),  # type: ignore[list-item]
            (TypeError, "user_id", lambda: agent.listings.update("l", user_id=stranger, price=1)),  # type: ignore[arg-type]
            (TypeError, "user_id", lambda: agent.posts.pending_unpublish(user_id=stranger)),  # type: ignore[call-arg]
        ]
        if self.held[stranger]:
            chances += self.attacks_with(self.random.choice(self.held[stranger]), agent) * 2
        if self.cursors[stranger]:
            door, method, named, cursor = self.random.choice(self.cursors[stranger])
            results = getattr(getattr(agent, door), method)(**named)
            chances += [(InvalidCursorError, "another query", lambda: results.page(2, cursor))] * 4
        error, match, call = self.random.choice(chances)
        refused(error, call, match)
        self.tried["attacks"] += 1

    def attacks_with(self, item: Any, agent: UserManagers) -> list[tuple[type[Exception], str, Callable[[], Any]]]:
        """Give the calls that take an item, with one of another user's."""
        door = next(name for name, manager in MANAGERS.items() if type(item) is manager.model)
        of, ids, change = getattr(agent, door), item.entity.parse(item.pk, item.sk)[1:], CHANGES[door]
        calls: list[Callable[[], Any]] = [lambda: of.save_many([item]), lambda: of.create_many([item])]
        if door not in {"listings", "metrics"}:
            ways = [way for way in WORK if hasattr(of, way)]
            calls += [partial(getattr(of, way), item, **change if way == "complete" else WORK[way]) for way in ways]
            calls += [lambda: of.claim_each([item], seconds=1)]
        stale = (InvalidItemError, "is not the .* that is meant", lambda: of.update(*ids, if_unchanged_since=item, **change))
        return [*[(InvalidItemError, "it is another user's", call) for call in calls], stale]

    def meddle(self, user: str) -> None:
        """Let another application put an item of anybody's under this user's index keys, readable or not."""
        owner, shard = self.random.choice(self.users), keys.shard(user)
        late = f"0000000000002#{owner}#x"
        kind, sk, index = self.random.choice(
            [
                ("Listing", "LISTING#x", {"GSI2PK": f"USER#{user}#STATUS#sold", "GSI2SK": f"LISTED#{DAYS[1]}#x"}),
                ("Listing", "LISTING#y", {"GSI1PK": "MLS#p#n", "GSI1SK": "STATUS#sold"}),
                ("SocialPost", "POST#x", {"GSI2PK": f"UNPUBLISH#{shard}", "GSI2SK": late}),
                ("SocialPost", "POST#y", {"GSI1PK": "LISTING#l", "GSI1SK": "POST#y"}),
                ("MLSConnection", "MLS_CONNECTION#x", {"GSI2PK": f"MLS_SYNC#{shard}", "GSI2SK": late}),
                ("SocialConnection", "SOCIAL#X", {"GSI2PK": f"TOKEN_EXPIRY#{shard}", "GSI2SK": late}),
            ]
        )
        status = "sold" if kind == "Listing" else "unpublish_pending"
        data: dict[str, Any] = {
            "status": {"S": status},
            "mlsProvider": {"S": "p"},
            "mlsNumber": {"S": "n"},
            "listingId": {"S": "l"},
        }
        data |= {"expiresAt": {"N": "2"}, "mark": {"S": owner}}
        if kind == "Listing" and self.random.random() < 0.3:
            data |= {"price": {"BOOL": True}}
        names = {name: {"S": value} for name, value in index.items()}
        key = {"PK": {"S": f"USER#{owner}"}, "SK": {"S": sk}, "EntityType": {"S": kind}}
        put_raw({**key, **names, "Data": {"M": data}})
        self.tried["meddled"] += 1

    # The table, as it is

    def scan(self) -> list[dict[str, Any]]:
        """Read the table past everything that is tried here, and check that each item is whose its data says."""
        request: dict[str, Any] = {"TableName": store().table_name, "ConsistentRead": True}
        rows: list[dict[str, Any]] = []
        while True:
            answer = store().call("Scan", request)
            rows += [plain_row(decode_row(row)) for row in answer.get("Items", ())]
            if not answer.get("LastEvaluatedKey"):
                break
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        for row in rows:
            owner = row["PK"]["S"].removeprefix("USER#")
            assert owner in self.users
            assert row["Data"]["M"].get("mark", {"S": owner}) == {"S": owner}
        return sorted(rows, key=lambda row: (row["PK"]["S"], row["SK"]["S"]))

    def expected(self, user: str, results: Results[Any]) -> list[dict[str, Any]]:
        """Give the rows of the table that a query of this user has to find, and no others."""
        plan = results._plan

        def is_found(row: dict[str, Any]) -> bool:
            partition, sort = (row.get(name, {}).get("S", "") for name in (plan.partition_key, plan.sort_key))
            low, high = plan.between or (plan.prefix or "", (plan.prefix or "") + "\U0010ffff")
            mine = row["PK"]["S"] == f"USER#{user}" and partition in plan.partitions and bool(sort)
            return mine and low <= sort <= high and all(passes(guard, row) for guard in plan.guards)

        return [row for row in self.scan() if is_found(row)]


def passes(guard: Guard, row: dict[str, Any]) -> bool:
    """Evaluate a guard on a stored item."""
    value = row
    for part in guard.path:
        value = value.get(part, {})
        value = value["M"] if part == "Data" else value
    if guard.operator == "=":
        return bool(value == guard.value)
    assert guard.operator == "<="
    if "N" not in value:
        return guard.or_no_number
    return Decimal(value["N"]) <= Decimal(guard.value["N"])


def is_broken(row: dict[str, Any]) -> bool:
    """Tell whether a stored item cannot be read."""
    return bool(row["Data"]["M"].get("price") == {"BOOL": True})


class TestInterleaved:
    def test_nothing_of_others_is_ever_seen(
        self, table: str, soak: bool, tally: Tally, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of users who call in turn none ever gets, counts, changes or finds in a cursor anything of another's."""
        runs, calls = {"moto": (20, 100) if soak else (3, 40)}.get(table, (100, 1_000) if soak else (6, 100))
        whole = Plan.request
        for seed in range(runs):
            page = (2, 3, 1_000)[seed // 2 % 3]  # small pages end at anybody's items
            monkeypatch.setattr("mlssocial.results.Plan.request", limited(whole, page))
            monkeypatch.setattr("mlssocial.results.MAX_LIMIT", page)
            tenants = Tenants(POPULATIONS[seed % len(POPULATIONS)], seed, prefetch=table != "moto")
            tenants.run(calls)
            tally(**tenants.tried)
