"""Leases of work queues, and tokens that are refreshed once, on every engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

import mlssocial
from mlssocial import (
    ALL_USERS,
    InvalidItemError,
    ItemNotFoundError,
    MLSConnection,
    MLSConnectionData,
    OutcomeUnknownError,
    PostStatus,
    SocialConnection,
    SocialConnectionData,
    SocialPost,
    SocialPostData,
    StaleItemError,
    Token,
    WrongEntityError,
)
from mlssocial.connection import recorded, store

from .conftest import get_raw, put_raw
from .test_connection import answer, breaks, inject  # noqa: F401  a fixture

posts = SocialPost.objects
WAITS = SocialPostData(status=PostStatus.UNPUBLISH_PENDING, unpublish_requested_at=1000)
PAST = {"N": "1000"}


def waiting(post_id: str = "p", user_id: str = "u1") -> SocialPost:
    """Make a post that waits to be unpublished."""
    return posts.create(user_id, post_id, WAITS)


def claimed(post: SocialPost, seconds: float = 60) -> SocialPost:
    """Claim a post that is free."""
    lease = posts.claim(post, seconds=seconds)
    assert lease is not None
    return lease


def run_out(item: Any) -> None:
    """Let an item's lease run out, whatever the clock says."""
    raw = get_raw(item.pk, item.sk)
    assert raw is not None
    put_raw(raw | {"LeaseUntil": PAST})


def together(work: Callable[[int], Any], workers: int) -> list[Any]:
    """Do the work in as many threads, which begin at once."""
    begin = Barrier(workers)

    def one(number: int) -> Any:
        begin.wait()
        return work(number)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(workers)))


def skip_moto(engine: str) -> None:
    """Skip what threads do on moto."""
    if engine == "moto":
        pytest.skip("moto loses conditional updates under threads")


@pytest.mark.usefixtures("table")
class TestClaim:
    def test_one_has_it(self) -> None:
        """A claimed item carries its lease, is found as before, and cannot be claimed until the lease has run out."""
        post = waiting()
        before = datetime.now(UTC)
        lease = claimed(post)
        assert lease.lease_until is not None
        assert timedelta(seconds=59) < lease.lease_until - before < timedelta(seconds=61)
        assert posts.claim(post, seconds=60) is None
        assert posts.claim(lease, seconds=60) is None
        assert [one.lease_id for one in posts.pending_unpublish(user_id=ALL_USERS)] == [lease.lease_id]
        run_out(post)
        again = posts.claim(post, seconds=60)
        assert again is not None
        assert again.lease_id != lease.lease_id

    def test_a_moment_of_lease(self) -> None:
        """A lease runs out by itself."""
        post = waiting()
        claimed(post, seconds=0.001)
        while (again := posts.claim(post, seconds=60)) is None:
            pass
        assert again.lease_id is not None

    @pytest.mark.parametrize(
        ("manager", "ids", "data", "done"),
        [
            (MLSConnection.objects, ("u1", "c"), MLSConnectionData(), {"last_synced_at": 9000}),
            (MLSConnection.objects, ("u1", "c"), MLSConnectionData(last_synced_at=None), {"last_synced_at": 9000}),
            (MLSConnection.objects, ("u1", "c"), MLSConnectionData(last_synced_at=5), {"last_synced_at": 9000}),
            (SocialConnection.objects, ("u1", "x"), SocialConnectionData(expires_at=5), {"expires_at": 9000}),
            (posts, ("u1", "p"), WAITS, {"status": "unpublished"}),
        ],
    )
    def test_each_queue(self, manager: Any, ids: tuple[str, str], data: Any, done: dict[str, Any]) -> None:
        """Each of the three is claimed, and once its place in the queue has changed, what was read before claims nothing."""
        item = manager.create(*ids, data)
        lease = manager.claim(item, seconds=60)
        finished = manager.complete(lease, **done)
        assert (finished.lease_id, finished.lease_until) == (None, None)
        assert manager.claim(item, seconds=60) is None
        raw = get_raw(item.pk, item.sk)
        assert raw is not None
        assert raw.keys().isdisjoint({"LeaseId", "LeaseUntil"})

    def test_what_else_has_changed(self) -> None:
        """A change that leaves the item where it is in the queue hinders no claim, and the claimed item shows it."""
        post = waiting()
        posts.update("u1", "p", content="new")
        assert claimed(post).data.content == "new"

    def test_what_is_in_no_queue(self) -> None:
        """An item that was in no queue when it was read is not claimed, and nothing is sent."""
        post = posts.create("u1", "p", SocialPostData(status="published"))
        forever = SocialConnection.objects.create("u1", "x", SocialConnectionData())
        with recorded() as calls:
            assert posts.claim(post, seconds=60) is None
            assert SocialConnection.objects.claim(forever, seconds=60) is None
        assert calls == []

    def test_what_is_gone(self) -> None:
        """An item that is gone, by deletion or TTL, is not claimed, and is not made again."""
        post, other = waiting(), waiting("p2")
        posts.delete("u1", "p")
        raw = get_raw(other.pk, other.sk)
        assert raw is not None
        put_raw(raw | {"TTL": {"N": "1000"}})
        assert (posts.claim(post, seconds=60), posts.claim(other, seconds=60)) == (None, None)
        assert get_raw(post.pk, post.sk) is None

    def test_another_entity(self) -> None:
        """Another entity's item under the key is neither claimed nor changed."""
        post = waiting()
        raw = get_raw(post.pk, post.sk)
        assert raw is not None
        put_raw(foreign := raw | {"EntityType": {"S": "Task"}})
        with pytest.raises(WrongEntityError):
            posts.claim(post, seconds=60)
        assert get_raw(post.pk, post.sk) == foreign

    def test_is_a_write(self) -> None:
        """A claim moves the version: saving what was read before it is refused, so that it cannot undo the lease."""
        post = waiting()
        claimed(post)
        with pytest.raises(StaleItemError):
            post.save()

    @pytest.mark.parametrize("seconds", [0, -1, True, "60", None, float("nan"), float("inf"), 10**9])
    def test_seconds(self, seconds: Any) -> None:
        """How long a lease lasts is a number above zero and up to a week; anything else is refused before it is sent."""
        lease = claimed(waiting())
        with recorded() as calls:
            for call in (posts.claim, posts.extend):
                with pytest.raises(InvalidItemError, match="seconds"):
                    call(lease, seconds=seconds)
        assert calls == []

    def test_what_cannot_be_claimed(self) -> None:
        """Another model's item, and one that was not read, are refused before anything is sent."""
        connection = MLSConnection.objects.create("u1", "c", MLSConnectionData())
        made = SocialPost(user_id="u1", post_id="p", data=WAITS)
        with recorded() as calls:
            with pytest.raises(InvalidItemError, match="a SocialPost is needed, not MLSConnection"):
                posts.claim(connection, seconds=60)  # type: ignore[arg-type]
            with pytest.raises(InvalidItemError, match="a SocialPost is needed, not str"):
                next(posts.claim_each(["p"], seconds=60))  # type: ignore[list-item]
            with pytest.raises(InvalidItemError, match="not read whole"):
                posts.claim(made, seconds=60)
        assert calls == []


@pytest.mark.usefixtures("table")
class TestLease:
    def test_complete(self) -> None:
        """Completing writes the fields, takes the item out of the queue and ends the lease, in one write."""
        lease = claimed(waiting())
        with recorded() as calls:
            done = posts.complete(lease, status="unpublished", remove=["unpublish_requested_at"])
        assert [call.operation for call in calls] == ["GetItem", "UpdateItem"]  # listing id, for the index keys
        assert (done.data.status, done.data.unpublish_requested_at) == (PostStatus.UNPUBLISHED, None)
        assert [name for name in ("gsi2pk", "gsi2sk", "lease_id", "lease_until") if getattr(done, name) is not None] == []
        assert list(posts.pending_unpublish(user_id=ALL_USERS)) == []

    def test_lost(self) -> None:
        """Once another worker has the item, the first can neither complete, extend nor release it, and sees the other's."""
        first = claimed(waiting())
        run_out(first)
        second = claimed(first)
        calls: list[Callable[[], Any]] = [
            lambda: posts.complete(first, status="unpublished"),
            lambda: posts.extend(first, seconds=60),
        ]
        for call in calls:
            with pytest.raises(StaleItemError, match="lease was lost") as caught:
                call()
            assert caught.value.item.lease_id == second.lease_id
        assert posts.release(first) is False
        assert posts.complete(second, status="unpublished").data.status is PostStatus.UNPUBLISHED
        with pytest.raises(StaleItemError, match="lease was lost"):
            posts.complete(second, status="unpublish_failed")

    def test_lost_where_nothing_is_read(self) -> None:
        """A completion that needs no read asks for the lease in its one write, and is refused by it."""
        first = MLSConnection.objects.claim(MLSConnection.objects.create("u1", "c", MLSConnectionData()), seconds=60)
        assert first is not None
        run_out(first)
        assert MLSConnection.objects.claim(first, seconds=60) is not None
        with recorded() as calls, pytest.raises(StaleItemError, match="lease was lost"):
            MLSConnection.objects.complete(first, last_synced_at=9000)
        assert [call.operation for call in calls] == ["UpdateItem"]
        assert MLSConnection.objects.get("u1", "c", consistent=True).data.last_synced_at is None

    def test_run_out_but_not_taken(self) -> None:
        """A lease that has run out and was not taken still completes: nobody else did the work."""
        lease = claimed(waiting())
        run_out(lease)
        assert posts.complete(lease, status="unpublished").data.status is PostStatus.UNPUBLISHED

    def test_written_anew(self) -> None:
        """An item that another application wrote whole has no lease any more."""
        lease = claimed(waiting())
        raw = get_raw(lease.pk, lease.sk)
        assert raw is not None
        put_raw({name: value for name, value in raw.items() if name not in {"LeaseId", "LeaseUntil"}})
        with pytest.raises(StaleItemError, match="lease was lost"):
            posts.complete(lease, status="unpublished")

    def test_changes_of_others(self) -> None:
        """What others write to a claimed item neither ends its lease nor is lost when it is completed."""
        lease = claimed(waiting())
        posts.update("u1", "p", content="new")
        posts.save("u1", "p", WAITS.model_copy(update={"content": "newer"}))
        done = posts.complete(lease, status="unpublished")
        assert (done.data.content, done.data.status) == ("newer", PostStatus.UNPUBLISHED)

    def test_release(self) -> None:
        """A released item can be claimed at once; releasing twice is no error."""
        lease = claimed(waiting())
        assert (posts.release(lease), posts.release(lease)) == (True, False)
        assert claimed(lease).lease_id != lease.lease_id

    def test_extend(self) -> None:
        """An extended lease lasts that long from now, and keeps its id."""
        lease = claimed(waiting(), seconds=1)
        longer = posts.extend(lease, seconds=1000)
        assert longer.lease_id == lease.lease_id
        assert longer.lease_until is not None
        assert longer.lease_until > datetime.now(UTC) + timedelta(seconds=900)
        assert posts.complete(lease, status="unpublished").lease_id is None

    def test_what_is_gone(self) -> None:
        """What was deleted meanwhile is not there for complete and extend, and release has nothing to give back."""
        lease = claimed(waiting())
        posts.delete("u1", "p")
        calls: list[Callable[[], Any]] = [
            lambda: posts.complete(lease, status="unpublished"),
            lambda: posts.extend(lease, seconds=60),
        ]
        for call in calls:
            with pytest.raises(SocialPost.DoesNotExist):
                call()
        assert posts.release(lease) is False

    def test_refusals(self) -> None:
        """What was not claimed, and a completion that changes nothing or what is no field, are refused before they are sent."""
        post = waiting()
        lease = claimed(post)
        cases: list[tuple[str, Callable[[], Any]]] = [
            ("complete SocialPost .* has no lease", lambda: posts.complete(post, status="unpublished")),
            ("extend SocialPost .* has no lease", lambda: posts.extend(post, seconds=1)),
            ("release SocialPost .* has no lease", lambda: posts.release(post)),
            ("complete SocialPost .* nothing to change", lambda: posts.complete(lease)),
            ("complete SocialPost .* no field states", lambda: posts.complete(lease, states="unpublished")),
        ]
        with recorded() as calls:
            for message, call in cases:
                with pytest.raises(InvalidItemError, match=message):
                    call()
        assert calls == []


@pytest.mark.usefixtures("table")
class TestClaimEach:
    def test_passes_by_what_is_leased(self) -> None:
        """A walk gives what is free, oldest first, and asks nothing for what the queue shows as leased."""
        for number in range(6):
            waiting(f"p{number}")
        for post in list(posts.pending_unpublish(user_id=ALL_USERS))[:3]:
            claimed(post)
        with recorded() as calls:
            found = [lease.post_id for lease in posts.claim_each(posts.pending_unpublish(user_id=ALL_USERS), seconds=60)]
        assert found == ["p3", "p4", "p5"]
        assert Counter(call.operation for call in calls) == {"Query": 8, "UpdateItem": 3}

    def test_claims_when_asked(self) -> None:
        """An item is claimed when it is asked for and not before."""
        waiting("p0"), waiting("p1")
        walk = posts.claim_each(posts.pending_unpublish(user_id="u1"), seconds=60)
        assert next(walk).post_id == "p0"
        assert posts.get("u1", "p1", consistent=True).lease_id is None

    def test_walks_on_past_a_race(self) -> None:
        """What another worker takes between the query and the claim is passed by, and the walk goes on."""
        for number in range(4):
            waiting(f"p{number}")
        seen = list(posts.pending_unpublish(user_id="u1"))
        posts.complete(claimed(seen[0]), status="unpublished")
        claimed(seen[1])
        posts.delete("u1", "p2")
        assert [lease.post_id for lease in posts.claim_each(seen, seconds=60)] == ["p3"]


class TestRaces:
    def test_no_item_is_claimed_twice(self, table: str) -> None:
        """Of eight workers that walk one queue, every item is claimed by exactly one, and all are."""
        skip_moto(table)
        for number in range(24):
            waiting("p", user_id=f"u{number}")

        def work(_: int) -> list[str]:
            done = []
            for lease in posts.claim_each(posts.pending_unpublish(user_id=ALL_USERS), seconds=600):
                done.append(lease.user_id)
                posts.complete(lease, status="unpublished")
            return done

        taken = Counter(user for done in together(work, 8) for user in done)
        assert taken == {f"u{number}": 1 for number in range(24)}

    def test_one_winner(self, table: str) -> None:
        """Of sixteen workers that claim one item at the same time, one has it; when its lease has run out, one other."""
        skip_moto(table)
        post = waiting()
        for _ in range(3):
            claims = together(lambda _: posts.claim(post, seconds=600), 16)
            assert sum(lease is not None for lease in claims) == 1
            run_out(post)

    def test_refreshing_tokens(self, table: str) -> None:
        """Of eight workers that refresh one connection, one wins, and all have the winner's tokens."""
        skip_moto(table)
        connection = SocialConnection.objects.create("u1", "twitter", SocialConnectionData(access_token="old"))

        def work(number: int) -> Any:
            return SocialConnection.objects.refresh_tokens(
                connection, access_token=f"new{number}", refresh_token=f"r{number}", expires_at=None
            )

        results = together(work, 8)
        assert sum(result.won for result in results) == 1
        (winner,) = [number for number, result in enumerate(results) if result.won]
        assert all(result.connection.data.access_token == Token(f"new{winner}") for result in results)


class TestLostAnswers:
    @pytest.mark.parametrize(
        "write",
        [
            lambda _: posts.claim(posts.get("u1", "free"), seconds=60),
            lambda lease: posts.extend(lease, seconds=60),
            lambda lease: posts.complete(lease, status="unpublished"),
            posts.release,
        ],
    )
    def test_are_looked_up(self, inject: Any, write: Callable[[SocialPost], Any]) -> None:  # noqa: F811
        """A write whose answer was lost is known by its WriteId, looked up or in a refusal: a claim is ours, an end done."""
        waiting("free")
        lease = claimed(waiting())
        inject(breaks(ConnectionClosedError(endpoint_url="x")), times=1, operation="UpdateItem", after=True)
        with recorded() as calls:
            assert write(lease)
        assert [call.operation for call in calls][-2:] in (["UpdateItem", "GetItem"], ["UpdateItem", "UpdateItem"])

    def test_unknown(self, inject: Any) -> None:  # noqa: F811
        """A claim that nobody can tell of is said to be so, and is neither None nor a lease."""
        post = waiting()
        inject(answer("InternalServerError", 500), times=1, operation="UpdateItem")
        with pytest.raises(OutcomeUnknownError, match="claim SocialPost"):
            posts.claim(post, seconds=60)


CONNECTIONS: list[Any] = [
    (MLSConnection.objects, ("u1", "c"), MLSConnectionData),
    (SocialConnection.objects, ("u1", "twitter"), SocialConnectionData),
]


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(("manager", "ids", "payload"), CONNECTIONS)
class TestRefreshTokens:
    def test_wins(self, manager: Any, ids: tuple[str, str], payload: Any) -> None:
        """New tokens are stored in one request where the old ones are still there, and the queue follows."""
        read = manager.create(*ids, payload(access_token="a1", refresh_token="r1", expires_at=1000))
        with recorded() as calls:
            fresh, won = manager.refresh_tokens(read, access_token="a2", refresh_token=Token("r2"), expires_at=None)
        assert (won, [call.operation for call in calls]) == (True, ["UpdateItem"])
        assert (fresh.data.access_token, fresh.data.refresh_token) == (Token("a2"), Token("r2"))
        assert (fresh.data.expires_at, "expires_at" in fresh.data.model_fields_set) == (None, True)
        assert manager is not SocialConnection.objects or fresh.gsi2pk is None

    def test_loses(self, manager: Any, ids: tuple[str, str], payload: Any) -> None:
        """Where another worker was first nothing is written, and its tokens are given back."""
        read = manager.create(*ids, payload(access_token="a1", refresh_token="r1"))
        manager.refresh_tokens(read, access_token="a2", refresh_token="r2", expires_at=None)
        fresh, won = manager.refresh_tokens(read, access_token="a3", refresh_token="r3", expires_at=None)
        assert (won, fresh.data.access_token, fresh.data.refresh_token) == (False, Token("a2"), Token("r2"))
        assert manager.get(*ids, consistent=True).data.access_token == Token("a2")

    @pytest.mark.parametrize("changed", [{"access_token": "other"}, {"refresh_token": "other"}])
    def test_either_token_counts(self, manager: Any, ids: tuple[str, str], payload: Any, changed: Any) -> None:
        """A change of either token, by update or by the other application, is another's refresh."""
        read = manager.create(*ids, payload(access_token="a1", refresh_token="r1"))
        manager.update(*ids, **changed)
        assert not manager.refresh_tokens(read, access_token="a2", expires_at=None).won

    def test_unrelated_changes(self, manager: Any, ids: tuple[str, str], payload: Any) -> None:
        """Changes beside the tokens, ours and the other application's, are no loss and are kept."""
        read = manager.create(*ids, payload(access_token="a1", refresh_token="r1"))
        manager.update(*ids, created_at=5000)
        raw = get_raw(read.pk, read.sk)
        assert raw is not None
        raw["Data"]["M"]["theirs"] = {"S": "kept"}
        put_raw(raw | {"UpdatedAt": {"N": "77"}})
        fresh, won = manager.refresh_tokens(read, access_token="a2", expires_at=datetime(2030, 1, 1, tzinfo=UTC))
        assert (won, fresh.data.access_token, fresh.data.refresh_token) == (True, Token("a2"), Token("r1"))
        assert (fresh.data.model_extra, fresh.data.created_at) == ({"theirs": "kept"}, datetime.fromtimestamp(5, UTC))

    def test_gone(self, manager: Any, ids: tuple[str, str], payload: Any) -> None:
        """A connection that was deleted meanwhile is not made again."""
        read = manager.create(*ids, payload(access_token="a1"))
        manager.delete(*ids)
        with pytest.raises(ItemNotFoundError):
            manager.refresh_tokens(read, access_token="a2", expires_at=None)

    def test_what_cannot_be_read(self, manager: Any, ids: tuple[str, str], payload: Any) -> None:
        """A connection that has changed to what cannot be read is stale: nobody can tell whose its tokens are."""
        read = manager.create(*ids, payload(access_token="a1"))
        raw = get_raw(read.pk, read.sk)
        assert raw is not None
        raw["Data"]["M"]["expiresAt"] = {"S": "soon"}
        put_raw(raw | {"UpdatedAt": {"N": "77"}})
        with pytest.raises(StaleItemError) as caught:
            manager.refresh_tokens(read, access_token="a2-secret", expires_at=None)
        assert caught.value.item is None
        assert "secret" not in str(caught.value)

    def test_others_without_end(self, manager: Any, ids: tuple[str, str], payload: Any) -> None:
        """Where others keep changing the item until the deadline, it is stale, and nothing was written."""
        read = manager.create(*ids, payload(access_token="a1"))
        settings = store().settings
        mlssocial.configure(**{**asdict(settings), "deadline": 0.3})
        raw = get_raw(read.pk, read.sk)
        assert raw is not None

        def meddle(**_: Any) -> None:
            store().client.meta.events.unregister("before-call.dynamodb.UpdateItem", meddle)
            raw["UpdatedAt"] = {"N": str(int(raw["UpdatedAt"]["N"]) + 1)}
            put_raw(raw)
            store().client.meta.events.register("before-call.dynamodb.UpdateItem", meddle)

        store().client.meta.events.register("before-call.dynamodb.UpdateItem", meddle)
        with pytest.raises(StaleItemError):
            manager.refresh_tokens(read, access_token="a2", expires_at=None)
        assert manager.get(*ids, consistent=True).data.access_token == Token("a1")
