"""Valid payloads and items of every entity, made up and the same ones in each run."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from mlssocial.entities import (
    Address,
    ListingData,
    ListingStatus,
    MLSConnectionData,
    PerformanceMetricsData,
    Photo,
    PlatformMetrics,
    PostStatus,
    SocialConnectionData,
    SocialPostData,
)
from mlssocial.models import Listing, MLSConnection, PerformanceMetrics, SocialConnection, SocialPost
from mlssocial.tokens import Token

USER = "user-1"
_FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
_FAR = datetime(2100, 1, 1, tzinfo=UTC)


class Factory:
    """
    Makes payloads (``listing_data``) and items that are not written yet (``listing``), each a little different from the last.

    ``Listing.objects.create("u1", "l1", factory.listing_data(price=Decimal(1)))``, ``factory.listing(user_id="u1").save()``,
    ``Listing.objects.save_many([factory.listing() for _ in range(50)])``. Keyword arguments are fields, in Python's names. The
    first of a factory is always the same, and so is the second.
    """

    def __init__(self) -> None:
        self._numbers = {
            model: count(1) for model in (Listing, MLSConnection, SocialConnection, SocialPost, PerformanceMetrics)
        }

    def listing_data(self, **fields: Any) -> ListingData:
        """Make an active listing with an address and a photo."""
        return self._listing_data(next(self._numbers[Listing]), fields)

    def listing(self, *, user_id: str = USER, listing_id: str | None = None, **fields: Any) -> Listing:
        """Make a listing: ``listing-1`` is the first."""
        number = next(self._numbers[Listing])
        data = self._listing_data(number, fields)
        return Listing(user_id=user_id, listing_id=listing_id or f"listing-{number}", data=data)

    def mls_connection_data(self, **fields: Any) -> MLSConnectionData:
        """Make an MLS connection with made-up tokens."""
        return self._mls_connection_data(next(self._numbers[MLSConnection]), fields)

    def mls_connection(self, *, user_id: str = USER, connection_id: str | None = None, **fields: Any) -> MLSConnection:
        """Make an MLS connection: ``connection-1`` is the first."""
        number = next(self._numbers[MLSConnection])
        data = self._mls_connection_data(number, fields)
        return MLSConnection(user_id=user_id, connection_id=connection_id or f"connection-{number}", data=data)

    def social_connection_data(self, **fields: Any) -> SocialConnectionData:
        """Make a social connection with made-up tokens."""
        return self._social_connection_data(next(self._numbers[SocialConnection]), fields)

    def social_connection(self, *, user_id: str = USER, platform: str = "facebook", **fields: Any) -> SocialConnection:
        """Make a social connection, to Facebook unless said otherwise."""
        data = self._social_connection_data(next(self._numbers[SocialConnection]), fields)
        return SocialConnection(user_id=user_id, platform=platform, data=data)

    def social_post_data(self, **fields: Any) -> SocialPostData:
        """Make a published post."""
        return self._social_post_data(next(self._numbers[SocialPost]), fields)

    def social_post(self, *, user_id: str = USER, post_id: str | None = None, **fields: Any) -> SocialPost:
        """Make a published post: ``post-1`` is the first, of ``listing-1`` unless said otherwise."""
        number = next(self._numbers[SocialPost])
        data = self._social_post_data(number, fields)
        return SocialPost(user_id=user_id, post_id=post_id or f"post-{number}", data=data)

    def performance_metrics_data(self, **fields: Any) -> PerformanceMetricsData:
        """Make a day's figures, all of them Facebook's."""
        return self._performance_metrics_data(next(self._numbers[PerformanceMetrics]), fields)

    def performance_metrics(
        self,
        *,
        user_id: str = USER,
        listing_id: str = "listing-1",
        date: date | str | None = None,
        **fields: Any,
    ) -> PerformanceMetrics:
        """Make a day's figures: 1 January 2024 is the first, and one day comes after the other."""
        number = next(self._numbers[PerformanceMetrics])
        data = self._performance_metrics_data(number, fields)
        day = date or (_FIRST_DAY + timedelta(days=number - 1)).date()
        return PerformanceMetrics(user_id=user_id, listing_id=listing_id, date=day, data=data)

    def _listing_data(self, number: int, fields: dict[str, Any]) -> ListingData:
        made: dict[str, Any] = {
            "status": ListingStatus.ACTIVE,
            "mls_provider": "test",
            "mls_number": f"MLS-{number}",
            "price": Decimal(400_000 + 5_000 * number),
            "bedrooms": 3,
            "bathrooms": Decimal("2.5"),
            "square_feet": 1_500 + 10 * number,
            "property_type": "Residential",
            "list_date": (_FIRST_DAY + timedelta(days=number - 1)).date(),
            "description": f"A made-up home, number {number}",
            "address": Address(street=f"{number} Main Street", city="Reno", state="NV", zip="89501", country="US"),
            "photos": [Photo(url=f"https://example.com/{number}.jpg", caption="Front", order=1)],
            "features": ["garden", "garage"],
        }
        return ListingData(**made | fields)

    def _mls_connection_data(self, number: int, fields: dict[str, Any]) -> MLSConnectionData:
        made: dict[str, Any] = {"provider": "test", "agent_id": f"agent-{number}", "expires_at": _FAR, **_tokens()}
        return MLSConnectionData(**made | fields)

    def _social_connection_data(self, number: int, fields: dict[str, Any]) -> SocialConnectionData:
        made: dict[str, Any] = {"platform_user_id": f"{number}", "platform_username": f"agent.{number}"}
        made |= {"scope": ["read", "publish"], "expires_at": _FAR, **_tokens()}
        return SocialConnectionData(**made | fields)

    def _social_post_data(self, number: int, fields: dict[str, Any]) -> SocialPostData:
        made: dict[str, Any] = {
            "listing_id": "listing-1",
            "platform": "facebook",
            "platform_post_id": f"facebook-{number}",
            "platform_post_url": f"https://example.com/posts/{number}",
            "content": f"A made-up post, number {number}",
            "hashtags": ["test"],
            "status": PostStatus.PUBLISHED,
            "published_at": _FIRST_DAY + timedelta(days=number - 1),
        }
        return SocialPostData(**made | fields)

    def _performance_metrics_data(self, number: int, fields: dict[str, Any]) -> PerformanceMetricsData:
        figures = {"views": 40 + number, "shares": number % 5, "inquiries": number % 3}
        made: dict[str, Any] = {**figures, "platforms": {"facebook": PlatformMetrics(**figures, clicks=10 + number)}}
        return PerformanceMetricsData(**made | fields)


def _tokens() -> dict[str, Token]:
    return {"access_token": Token("made up, and opens nothing"), "refresh_token": Token("made up as well")}
