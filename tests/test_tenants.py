"""One user's managers: what they give, what they refuse, and that no call ever shows or touches another user's item."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
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
    PerformanceMetrics,
    SocialConnection,
    SocialPost,
    SocialPostData,
    for_user,
)
from mlssocial.connection import recorded
from mlssocial.managers import Manager

from .conftest import get_raw
from .doors import CALLS, DAY, FIGURES, HOME, LATE, MANAGERS, fill, finished, methods

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
