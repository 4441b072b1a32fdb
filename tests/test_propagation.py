"""A status reaches every copy and every post, whatever comes between; a post of a listing off the market is not published."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

import mlssocial
from mlssocial import (
    ALL_USERS,
    BatchIncompleteError,
    InvalidItemError,
    InvalidKeyError,
    ItemAlreadyExistsError,
    Listing,
    ListingData,
    ListingStatus,
    OutcomeUnknownError,
    PostStatus,
    SocialPost,
    SocialPostData,
    StaleItemError,
    StoreError,
    transaction,
)
from mlssocial.connection import recorded, store
from mlssocial.propagation import Propagation

from .conftest import get_raw, put_raw

LISTING_KEY = ("USER#u1", "LISTING#l1")


def create(user_id: str = "u1", listing_id: str = "l1", *, status: str = "active", posts: int = 0) -> Listing:
    """Create a copy of the property, with published posts."""
    data = ListingData.model_validate(
        {"status": status, "mlsProvider": "p", "mlsNumber": "1", "listDate": "2024-01-15", "price": 5}
    )
    listing = Listing.objects.create(user_id, listing_id, data)
    for number in range(posts):
        post(f"{listing_id}-p{number:03d}", user_id=user_id, listing_id=listing_id)
    return listing


def post(post_id: str, *, user_id: str = "u1", listing_id: str = "l1", status: str = "published") -> None:
    """Store a post as the other application does, which asks no listing."""
    data = {"listingId": {"S": listing_id}, "status": {"S": status}, "postId": {"S": post_id}}
    put_raw(
        {
            "PK": {"S": f"USER#{user_id}"},
            "SK": {"S": f"POST#{post_id}"},
            "EntityType": {"S": "SocialPost"},
            "Data": {"M": data},
            "UpdatedAt": {"N": "1"},
        }
    )


def sweep(status: str = "sold", *, operation_id: str | None = None, user_id: Any = "u1") -> Propagation:
    """Bring a status to the property's copies."""
    return Listing.objects.propagate_status("p", "1", status, user_id=user_id, operation_id=operation_id)


def states(user_id: str = "u1") -> dict[str, str | None]:
    """Give the status of each of a user's posts."""
    return {found.post_id: found.data.status for found in SocialPost.objects.query(user_id, consistent=True)}


def meanwhile(act: Callable[[], Any]) -> None:
    """Let another writer act right before the next transaction is sent."""
    store().client.meta.events.register_first("before-call.dynamodb.TransactWriteItems", _once(act))


@pytest.mark.usefixtures("table")
class TestStatus:
    def test_reaches_a_copy_and_its_posts(self) -> None:
        """Status, time and index keys of the listing change with its published posts, in one transaction, and no others."""
        create(posts=2)
        post("other", listing_id="l2")
        post("failed", status="failed")
        started = datetime.now(UTC)
        with recorded() as calls:
            done = sweep()
        assert done == Propagation((LISTING_KEY, ("USER#u1", "POST#l1-p000"), ("USER#u1", "POST#l1-p001")), (), {})
        assert [call.operation for call in calls].count("TransactWriteItems") == 1
        item = get_raw(*LISTING_KEY)
        assert item is not None
        assert (item["GSI1SK"], item["GSI2PK"]) == ({"S": "STATUS#sold"}, {"S": "USER#u1#STATUS#sold"})
        changed = item["Data"]["M"]["statusChangeTimestamp"]["S"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", changed)
        assert abs((datetime.fromisoformat(changed) - started).total_seconds()) < 60
        expected = {"failed": "failed", "l1-p000": "unpublish_pending", "l1-p001": "unpublish_pending", "other": "published"}
        assert expected == states()
        waiting = list(SocialPost.objects.pending_unpublish(user_id="u1"))
        assert {found.post_id for found in waiting} == {"l1-p000", "l1-p001"}
        assert all(found.data.unpublish_requested_at for found in waiting)

    def test_of_one_user_or_all(self) -> None:
        """One user's copies, or everyone's, and never another number's."""
        for user_id in ("u1", "u2"):
            create(user_id)
        Listing.objects.create("u2", "l9", ListingData(status="active", mls_provider="p", mls_number="2"))
        assert sweep().changed == (LISTING_KEY,)
        everyone = sweep(user_id=ALL_USERS)
        assert (everyone.changed, everyone.unchanged) == ((("USER#u2", "LISTING#l1"),), (LISTING_KEY,))
        assert Listing.objects.get("u2", "l9").data.status == "active"

    def test_is_safe_to_repeat(self) -> None:
        """A second run changes nothing and says that all was so already."""
        create(posts=1)
        sweep()
        before = get_raw(*LISTING_KEY)
        again = sweep()
        assert again == Propagation((), (LISTING_KEY,), {})
        assert before == get_raw(*LISTING_KEY)

    def test_posts_of_a_copy_that_is_so_already(self) -> None:
        """A copy that has the status already keeps it untouched, and its published posts are turned."""
        create(status="expired", posts=1)
        before = get_raw(*LISTING_KEY)
        assert sweep("expired") == Propagation((("USER#u1", "POST#l1-p000"),), (LISTING_KEY,), {})
        assert before == get_raw(*LISTING_KEY)

    @pytest.mark.parametrize("status", ["active", "pending"])
    def test_a_return_to_the_market(self, status: str) -> None:
        """A status that is on the market changes no post."""
        create(status="sold", posts=1)
        assert sweep(status).changed == (LISTING_KEY,)
        assert states() == {"l1-p000": "published"}

    def test_more_posts_than_a_transaction_holds(self) -> None:
        """Posts beyond a transaction's room follow in further ones."""
        create(posts=120)
        with recorded() as calls:
            done = sweep()
        assert [call.operation for call in calls].count("TransactWriteItems") == 2
        assert len(done.changed) == 121
        assert set(states().values()) == {"unpublish_pending"}

    def test_what_cannot_be_a_key(self) -> None:
        """Arguments are checked before anything is sent."""
        with pytest.raises(InvalidKeyError, match="status: one of active, pending, sold, expired"):
            sweep("gone")
        with pytest.raises(InvalidKeyError, match="operation_id"):
            sweep(operation_id="a#b")
        with pytest.raises(InvalidKeyError, match="user_id"):
            sweep(user_id="")


@pytest.mark.usefixtures("table")
class TestOtherWriters:
    def test_a_post_that_is_published_meanwhile(self) -> None:
        """A post that appears while the status is set is found by the next look."""
        create(posts=1)
        meanwhile(lambda: post("late"))
        assert ("USER#u1", "POST#late") in sweep().changed
        assert states() == {"l1-p000": "unpublish_pending", "late": "unpublish_pending"}

    def test_a_post_that_is_unpublished_meanwhile(self) -> None:
        """A post that somebody has unpublished meanwhile stays so."""
        create(posts=1)
        meanwhile(lambda: SocialPost.objects.update("u1", "l1-p000", status="unpublished"))
        assert sweep().changed == (LISTING_KEY,)
        assert states() == {"l1-p000": "unpublished"}

    def test_a_listing_that_changes_meanwhile(self) -> None:
        """Another writer's change of the listing survives, and its index keys follow from both."""
        create()
        meanwhile(lambda: Listing.objects.update("u1", "l1", list_date="2024-02-02"))
        sweep()
        found = Listing.objects.get("u1", "l1", consistent=True)
        assert (found.data.status, found.gsi2sk) == ("sold", "LISTED#2024-02-02#l1")

    def test_a_listing_that_is_gone(self) -> None:
        """A copy that is deleted meanwhile is neither changed nor failed."""
        create()
        meanwhile(lambda: Listing.objects.delete("u1", "l1"))
        assert sweep() == Propagation((), (), {})

    def test_a_listing_of_another_number_by_now(self) -> None:
        """What the index shows is looked at again: a listing that has another number now is no copy."""
        listing = create()
        item = get_raw(*LISTING_KEY)
        assert item is not None
        moved = listing.data.model_copy(update={"mls_number": "2"})
        store().client.meta.events.register_first("before-call.dynamodb.GetItem", _once(lambda: _save(moved)))
        assert sweep() == Propagation((), (), {})

    def test_two_at_once(self, table: str) -> None:
        """Runs side by side turn every post once."""
        if table == "moto":
            pytest.skip("moto loses updates under threads")
        create(posts=30)
        with ThreadPoolExecutor(4) as pool:
            runs = list(pool.map(lambda _: sweep(), range(4)))
        changed = [key for run in runs for key in run.changed]
        assert len(changed) == len(set(changed)) == 31
        assert [run.failed for run in runs] == [{}] * 4


def _once(act: Callable[[], Any]) -> Callable[..., None]:
    left = [act]

    def handle(**_: Any) -> None:
        if left:
            left.pop()()

    return handle


def _save(data: ListingData) -> None:
    Listing.objects.save("u1", "l1", data)


@pytest.mark.usefixtures("table")
class TestFailures:
    def test_one_copy_is_no_hindrance_to_others(self) -> None:
        """A copy that cannot be written is named with the reason, and the others are changed."""
        create("u1")
        create("u2")
        item = get_raw("USER#u1", "LISTING#l1")
        assert item is not None
        put_raw(item | {"EntityType": {"S": "Task"}})
        done = sweep(user_id=ALL_USERS)
        assert done.changed == (("USER#u2", "LISTING#l1"),)
        assert [(key, type(error).__name__) for key, error in done.failed.items()] == [(LISTING_KEY, "WrongEntityError")]

    def test_an_interrupted_run_is_finished(self) -> None:
        """A run that breaks after the first transaction names the copy; the next one turns the posts that are left."""
        create(posts=110)
        sent: list[str] = []

        def fail_second(event_name: str, **_: Any) -> None:
            sent.append(event_name)
            if len(sent) >= 2:
                raise ConnectionClosedError(endpoint_url="x")

        event = "before-call.dynamodb.TransactWriteItems"
        mlssocial.configure(**{**_settings(), "deadline": 0.3})
        store().client.meta.events.register_first(event, fail_second)
        broken = sweep(operation_id="op-1")
        assert [type(error) for error in broken.failed.values()] == [OutcomeUnknownError]
        assert len(broken.changed) == 99
        store().client.meta.events.unregister(event, fail_second)
        done = sweep(operation_id="op-1")
        assert (len(done.changed), done.unchanged, done.failed) == (12, (LISTING_KEY,), {})
        assert set(states().values()) == {"unpublish_pending"}

    def test_one_who_never_stops(self) -> None:
        """A copy that others keep changing until the deadline has failed, and is as they left it."""
        create()
        mlssocial.configure(**{**_settings(), "deadline": 0.3})
        prices = iter(range(10_000))

        def act(**_: Any) -> None:
            Listing.objects.update("u1", "l1", price=next(prices))

        store().client.meta.events.register_first("before-call.dynamodb.TransactWriteItems", act)
        done = sweep()
        assert (done.changed, done.unchanged) == ((), ())
        assert "it has changed since it was read" in str(done.failed[LISTING_KEY])
        assert Listing.objects.get("u1", "l1", consistent=True).data.status == "active"

    def test_copies_that_cannot_be_found(self) -> None:
        """Where the copies cannot be looked up at all, it is an error and no answer."""

        def fail(**_: Any) -> None:
            raise ConnectionClosedError(endpoint_url="x")

        mlssocial.configure(**{**_settings(), "deadline": 0.2})
        store().client.meta.events.register_first("before-call.dynamodb.Query", fail)
        with pytest.raises(StoreError):
            sweep()


def _settings() -> dict[str, Any]:
    settings = store().settings
    return {"table_name": settings.table_name, "region": settings.region, "endpoint_url": settings.endpoint_url}


@pytest.mark.usefixtures("table")
class TestOperationId:
    def test_a_repeat_overrides_nothing_later(self) -> None:
        """Under the same operation_id a status that was set since stays; without it, it would be set again."""
        create(posts=1)
        assert LISTING_KEY in sweep(operation_id="op-1").changed
        Listing.objects.update("u1", "l1", status="active")
        assert sweep(operation_id="op-1") == Propagation((), (LISTING_KEY,), {})
        assert Listing.objects.get("u1", "l1", consistent=True).data.status == "active"
        assert sweep(operation_id="op-2").changed == (LISTING_KEY,)

    def test_is_recorded_for_what_was_so_already(self) -> None:
        """A copy that had the status already counts as reached: what comes later stays there too."""
        create(status="sold")
        assert sweep(operation_id="op-1") == Propagation((), (LISTING_KEY,), {})
        Listing.objects.update("u1", "l1", status="active")
        assert sweep(operation_id="op-1") == Propagation((), (LISTING_KEY,), {})
        assert Listing.objects.get("u1", "l1", consistent=True).data.status == "active"

    def test_each_copy_has_its_own(self) -> None:
        """A copy that was created after the first run is reached by the second, under the same operation_id."""
        create()
        sweep(operation_id="op-1")
        create(listing_id="l2")
        assert sweep(operation_id="op-1") == Propagation((("USER#u1", "LISTING#l2"),), (LISTING_KEY,), {})

    def test_another_status(self) -> None:
        """An operation_id that was used for another status is a failure of each copy."""
        create()
        sweep(operation_id="op-1")
        done = sweep("expired", operation_id="op-1")
        assert [(key, type(error)) for key, error in done.failed.items()] == [(LISTING_KEY, InvalidItemError)]


@pytest.mark.usefixtures("table")
class TestPublishing:
    @pytest.mark.parametrize("status", ["sold", "expired"])
    def test_is_refused_off_the_market(self, status: str) -> None:
        """A post of a listing that has left the market cannot be created as published; any other can."""
        create(status=status)
        with pytest.raises(InvalidItemError, match=f"its listing USER#u1 / LISTING#l1 is {status}") as caught:
            SocialPost.objects.create("u1", "p1", SocialPostData(listing_id="l1", status="published"))
        assert (caught.value.operation, caught.value.key) == ("create SocialPost", ("USER#u1", "POST#p1"))
        assert SocialPost.objects.create("u1", "p1", SocialPostData(listing_id="l1", status="failed")).post_id == "p1"

    @pytest.mark.parametrize("status", ["active", "pending"])
    def test_is_one_request_on_the_market(self, status: str) -> None:
        """A post of a listing on the market is created with its check in one request, and comes back as it is."""
        create(status=status)
        with recorded() as calls:
            made = SocialPost.objects.create("u1", "p1", SocialPostData(listing_id="l1", status="published"))
        assert [call.operation for call in calls] == ["TransactWriteItems"]
        assert made.gsi1pk == "LISTING#l1"
        made.data.content = "x"
        made.save()

    def test_a_listing_that_is_not_here(self) -> None:
        """A listing that this table does not have, or whose TTL has passed, is no hindrance."""
        SocialPost.objects.create("u1", "p1", SocialPostData(listing_id="l1", status="published"))
        create(status="sold")
        item = get_raw(*LISTING_KEY)
        assert item is not None
        put_raw(item | {"TTL": {"N": "1"}})
        SocialPost.objects.create("u1", "p2", SocialPostData(listing_id="l1", status="published"))

    def test_a_post_that_exists(self) -> None:
        """A second create is told as such, as it is without a check."""
        create()
        SocialPost.objects.create("u1", "p1", SocialPostData(listing_id="l1", status="published"))
        with pytest.raises(ItemAlreadyExistsError):
            SocialPost.objects.create("u1", "p1", SocialPostData(listing_id="l1", status="published"))

    def test_inside_a_transaction(self) -> None:
        """A transaction's posts are held to their listings too, with the refusal in the post's place."""
        create(status="sold")
        with pytest.raises(mlssocial.TransactionCanceledError) as caught:
            _together(
                lambda t: t.create(Listing, "u1", "l2", ListingData(status="active")),
                lambda t: t.create(SocialPost, "u1", "p1", SocialPostData(listing_id="l1", status="published")),
            )
        first, second = caught.value.reasons
        assert first is None
        assert isinstance(second, InvalidItemError)
        assert "is sold" in str(second)

    def test_beside_an_operation_that_decides(self) -> None:
        """A listing that the same transaction puts on the market may have a published post, one that it takes off may not."""
        create(status="sold")
        published = SocialPostData(listing_id="l1", status="published")
        with pytest.raises(InvalidItemError, match="is expired"):
            _together(
                lambda t: t.create(SocialPost, "u1", "p1", published),
                lambda t: t.update(Listing, "u1", "l1", status="expired"),
            )
        _together(
            lambda t: t.create(SocialPost, "u1", "p1", published),
            lambda t: t.update(Listing, "u1", "l1", status="active"),
        )
        assert states() == {"p1": "published"}

    @pytest.mark.parametrize("fields", [{"price": 6}, {"list_date": "2024-02-02"}])
    def test_beside_an_operation_that_does_not(self, fields: dict[str, Any]) -> None:
        """An operation on the listing that leaves its status alone is held to a listing on the market."""
        published = SocialPostData(listing_id="l1", status="published")
        create(status="sold")
        acts = [
            lambda t: t.create(SocialPost, "u1", "p1", published),
            lambda t: t.update(Listing, "u1", "l1", **fields),
        ]
        with pytest.raises(mlssocial.TransactionCanceledError, match="a post of a listing off the market cannot be published"):
            _together(*acts)
        Listing.objects.update("u1", "l1", status="pending")
        _together(*acts)
        assert states() == {"p1": "published"}

    def test_beside_a_check(self) -> None:
        """A check of the listing is held to it as well, whatever else it asks."""
        published = SocialPostData(listing_id="l1", status="published")
        create(status="sold")
        acts = [
            lambda t: t.create(SocialPost, "u1", "p1", published),
            lambda t: t.check(Listing, "u1", "l1", price=5),
        ]
        with pytest.raises(mlssocial.TransactionCanceledError, match="off the market cannot be published"):
            _together(*acts)
        Listing.objects.update("u1", "l1", status="active")
        _together(*acts)
        Listing.objects.update("u1", "l1", price=7)
        with pytest.raises(mlssocial.TransactionCanceledError) as caught:
            _together(lambda t: t.create(SocialPost, "u1", "p2", published), acts[1])
        assert [type(reason) for reason in caught.value.reasons] == [type(None), StaleItemError]


def _together(*acts: Callable[[Any], None]) -> None:
    with transaction() as t:
        for act in acts:
            act(t)


@pytest.mark.usefixtures("table")
def test_create_many_asks_for_the_listing_too() -> None:
    """Of many posts that are created as published, those of a listing off the market are refused, and the others written."""
    Listing.objects.create("u1", "sold", ListingData(status=ListingStatus.SOLD))
    Listing.objects.create("u1", "active", ListingData(status=ListingStatus.ACTIVE))
    posts = [
        SocialPost(user_id="u1", post_id=name, data=SocialPostData(listing_id=name, status=PostStatus.PUBLISHED))
        for name in ("sold", "active")
    ]
    with pytest.raises(BatchIncompleteError) as caught:
        SocialPost.objects.create_many(posts)
    assert caught.value.result is not None
    assert caught.value.result.written == (("u1", "active"),)
    assert "off the market" in str(caught.value.result.refused["u1", "sold"])
    assert [post.post_id for post in SocialPost.objects.query("u1")] == ["active"]
