"""What an editor knows: these lines are proved by mypy, and need not run."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, assert_type

from mlssocial import (
    ALL_USERS,
    Address,
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
