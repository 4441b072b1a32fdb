"""What an editor knows: these lines are proved by mypy, and need not run."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, assert_type

from mlssocial import (
    ALL_USERS,
    Address,
    BatchResult,
    Item,
    Listing,
    ListingData,
    ListingStatus,
    MLSConnection,
    MLSConnectionData,
    Page,
    PerformanceMetrics,
    Platform,
    Propagation,
    Results,
    SocialConnection,
    SocialPost,
    Token,
    UserManagers,
    for_user,
    transaction,
)

if TYPE_CHECKING:

    def _managers() -> None:
        assert_type(Listing.objects.get("u", "l"), Listing)
        assert_type(Listing.objects.find("u", "l"), Listing | None)
        assert_type(Listing.objects.update("u", "l", price=1), Listing)
        assert_type(Listing.objects.delete("u", "l"), bool)
        assert_type(Listing.objects.query("u"), Results[Listing])
        assert_type(Listing.objects.query("u").page(), Page[Listing])
        assert_type(Listing.objects.query("u").page().items, list[Listing])
        assert_type(Listing.objects.query("u").first(), Listing | None)
        assert_type([one.listing_id for one in Listing.objects.query_by_status("u", "active")], list[str])
        assert_type(MLSConnection.objects.due_for_sync(user_id=ALL_USERS), Results[MLSConnection])
        assert_type(SocialConnection.objects.get("u", "facebook").platform, Platform | str)
        assert_type(SocialPost.objects.query_by_listing("l", user_id="u"), Results[SocialPost])
        assert_type(PerformanceMetrics.objects.increment("u", "l", date.today(), "x", views=1), PerformanceMetrics)
        assert_type(PerformanceMetrics.objects.get("u", "l", "2024-01-01").date, date)
        assert_type(Item.objects.query("u"), Results[Item])
        Listing.objects.query_by_mls_number("p", "n")  # type: ignore[call-arg]  # whose has to be said
        MLSConnection.objects.create("u", "c", ListingData(status=ListingStatus.SOLD))  # type: ignore[arg-type]

    def _of_a_user(agent: UserManagers, listing: Listing, post: SocialPost) -> None:
        assert_type(for_user("u"), UserManagers)
        assert_type(agent.listings.get("l", consistent=True), Listing)
        assert_type(agent.listings.get(listing_id="l"), Listing)
        assert_type(agent.listings.find("l"), Listing | None)
        assert_type(agent.listings.update("l", price=1, if_unchanged_since=listing), Listing)
        assert_type(agent.listings.query(reverse=True), Results[Listing])
        assert_type(agent.listings.query_by_status("active"), Results[Listing])
        assert_type(agent.listings.query_by_mls_number("p", "n"), Results[Listing])
        assert_type(agent.listings.propagate_status("p", "n", "sold"), Propagation)
        assert_type(agent.listings.get_many(["l"]), dict[str, Listing])
        assert_type(agent.listings.save_many([listing]), BatchResult)
        assert_type(agent.mls_connections.due_for_sync(), Results[MLSConnection])
        assert_type(agent.social_connections.expiring(datetime.now(UTC)), Results[SocialConnection])
        assert_type(agent.posts.claim(post, seconds=1), SocialPost | None)
        assert_type(agent.posts.complete(post, status="unpublished"), SocialPost)
        assert_type(list(agent.posts.claim_each([post], seconds=1)), list[SocialPost])
        assert_type(agent.metrics.get_many([("l", "2024-01-01")]), dict[tuple[str, date | str], PerformanceMetrics])
        assert_type(agent.metrics.increment("l", date.today(), "x", views=1), PerformanceMetrics)
        assert_type(agent.items.query(), Results[Item])

    def _no_other_user(agent: UserManagers, listing: Listing) -> None:
        for_user(ALL_USERS)  # type: ignore[arg-type]
        agent.listings.get("u2", "l")  # type: ignore[arg-type, call-arg]
        agent.listings.get("l", user_id="u2")  # type: ignore[call-arg]
        agent.listings.get(ALL_USERS)  # type: ignore[arg-type]
        agent.listings.query("u2")  # type: ignore[call-arg, arg-type]
        agent.listings.query(user_id=ALL_USERS)  # type: ignore[call-arg]
        agent.listings.query_by_status("active", user_id="u2")  # type: ignore[call-arg]
        agent.listings.query_by_mls_number("p", "n", user_id=ALL_USERS)  # type: ignore[call-arg]
        agent.listings.propagate_status("p", "n", "sold", user_id="u2")  # type: ignore[call-arg]
        agent.listings.update("l", user_id="u2", price=1)  # type: ignore[arg-type]
        agent.metrics.increment("l", "2024-01-01", "x", user_id="u2", views=1)  # type: ignore[arg-type]
        agent.listings.get_many([("u2", "l")])  # type: ignore[list-item]
        agent.listings.delete_many([("u2", "l")])  # type: ignore[list-item]
        agent.posts.pending_unpublish(user_id=ALL_USERS)  # type: ignore[call-arg]
        agent.items.query("u2")  # type: ignore[call-arg, arg-type]
        agent.posts.claim(listing, seconds=1)  # type: ignore[arg-type]
        agent.listings.update("l", if_unchanged_since=3)  # type: ignore[arg-type]

    def _transactions(listing: Listing) -> None:
        t = transaction()
        t.create(Listing, "u", "l", ListingData(status=ListingStatus.SOLD))
        t.update(Listing, "u", "l", price=1, if_unchanged_since=listing)
        t.delete(PerformanceMetrics, "u", "l", date.today())
        t.create(SocialPost, "u", "p", ListingData(status=ListingStatus.SOLD))  # type: ignore[arg-type]
        t.update(SocialPost, "u", "p", if_unchanged_since=listing)  # type: ignore[arg-type]
        t.delete(PerformanceMetrics, "u", "l")  # type: ignore[call-arg]
        t.create(Item, "u", "l", ListingData(status=ListingStatus.SOLD))  # type: ignore[arg-type]
        assert_type(Listing.objects.propagate_status("p", "n", "sold", user_id=ALL_USERS), Propagation)

    def _items(listing: Listing, connection: MLSConnection) -> None:
        assert_type(listing.data, ListingData)
        assert_type(listing.data.price, Decimal | None)
        assert_type(listing.data.status, ListingStatus)
        assert_type(listing.data.address, Address | None)
        assert_type(listing.data.list_date, date | Literal[""] | None)
        assert_type(listing.created_at, datetime)
        assert_type(listing.ttl, int | None)
        assert_type(listing.gsi1pk, str | None)
        assert_type(connection.data, MLSConnectionData)
        assert_type(connection.data.access_token, Token | None)


def test_types_are_proved_by_mypy() -> None:
    """The lines above are checked by `make types`; nothing of them runs."""
    assert not TYPE_CHECKING
