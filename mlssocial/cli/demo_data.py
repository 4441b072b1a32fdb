"""What the demo puts into its table: 932 real sales, and made-up users, connections, posts and figures around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from typing import Any

from mlssocial.entities import (
    MLSConnectionData,
    PerformanceMetricsData,
    PlatformMetrics,
    PostStatus,
    SocialConnectionData,
    SocialPostData,
)
from mlssocial.models import Listing, MLSConnection, PerformanceMetrics, SocialConnection, SocialPost
from mlssocial.reso import demo_page, import_feed
from mlssocial.tokens import Token

from .progress import progress_bar

MADE_UP = (
    "The figures of the homes are 932 real sales of May 2008 in and around Sacramento. Their numbers, states and dates, and "
    "all users, connections, tokens, posts and metrics are made up."
)
ANNA, BEN = "anna", "ben"
PROVIDER, CONNECTION = "demo", "demo-feed"
LISTING, SECOND_LISTING, NUMBER = "demo-SAC-0001", "demo-SAC-0002", "08-0001"
DAYS = 30

Write = Callable[[], object]


def fill() -> int:
    """Write everything, one call after the other; give the number of items and changes."""
    with progress_bar("importing 932 sales", 932) as progress:
        report = import_feed(
            demo_page(),
            user_id=ANNA,
            provider=PROVIDER,
            connection_id=CONNECTION,
            progress=lambda report: progress(report.total),
        )
    writes = [*_feeds(), *_accounts(), *_copies(), *_posts(), *_figures(), *_changes()]
    with progress_bar("making up the rest", len(writes)) as progress:
        for done, write in enumerate(writes, 1):
            write()
            progress(done)
    return report.total + len(writes)


def _feeds() -> Iterator[Write]:
    """Connect both to MLS feeds: one was just synced, one never, and ben's two hours ago."""
    now = datetime.now(UTC)
    for user, connection, synced in (
        (ANNA, CONNECTION, now - timedelta(minutes=5)),
        (ANNA, "second-feed", None),
        (BEN, CONNECTION, now - timedelta(hours=2)),
    ):
        data = MLSConnectionData(
            provider=PROVIDER,
            agent_id=f"agent-{user}",
            access_token=_token(),
            expires_at=now + timedelta(days=90),
            last_synced_at=synced,
        )
        yield partial(MLSConnection.objects.create, user, connection, data)


def _accounts() -> Iterator[Write]:
    """Connect both to platforms; anna's LinkedIn token has expired."""
    now = datetime.now(UTC)
    for user, platform, left in (
        (ANNA, "facebook", timedelta(days=45)),
        (ANNA, "instagram", timedelta(days=3)),
        (ANNA, "linkedin", timedelta(days=-1)),
        (ANNA, "twitter", timedelta(minutes=90)),
        (BEN, "facebook", timedelta(days=5)),
    ):
        data = SocialConnectionData(
            platform_username=f"{user}.homes",
            access_token=_token(),
            scope=["read", "publish"],
            expires_at=now + left,
        )
        yield partial(SocialConnection.objects.create, user, platform, data)


def _copies() -> Iterator[Write]:
    """Give ben copies of anna's first listings, under the same ids."""
    for listing in Listing.objects.query(ANNA).page(5):
        yield partial(Listing.objects.create, BEN, listing.listing_id, listing.data)


def _posts() -> Iterator[Write]:
    """Keep what was posted before the sales: anna's first listings on two platforms, some failed, and one of ben's copies."""
    homes = Listing.objects.query(ANNA).page(10).items
    for number, (home, platform) in enumerate(product(homes, ("facebook", "instagram")), 1):
        data = _failed(home, platform) if number % 8 == 0 else _published(home, platform, number)
        yield partial(SocialPost.objects.save, ANNA, f"post-{number:02}", data)
    yield partial(SocialPost.objects.save, BEN, "post-01", _published(homes[0], "facebook", 0))


def _published(home: Listing, platform: str, number: int) -> SocialPostData:
    return SocialPostData(
        listing_id=home.listing_id,
        platform=platform,
        content=home.data.description,
        hashtags=["sacramento", "demo"],
        status=PostStatus.PUBLISHED,
        platform_post_id=f"{platform}-{number}",
        platform_post_url=f"https://example.com/{platform}/{number}",
        published_at=datetime.now(UTC) - timedelta(days=2, minutes=number),
    )


def _failed(home: Listing, platform: str) -> SocialPostData:
    return SocialPostData(
        listing_id=home.listing_id,
        platform=platform,
        content=home.data.description,
        status=PostStatus.FAILED,
        platform_post_id="",
        platform_post_url="",
        published_at=datetime.fromtimestamp(0, UTC),
        error="the platform did not take the image",
    )


def _figures() -> Iterator[Write]:
    """Count events on one listing, and save the platforms' snapshots of another, for 30 days up to today."""
    today = datetime.now(UTC).date()
    for age in reversed(range(DAYS)):
        day, views = today - timedelta(days=age), 40 + age * 7 % 23
        for platform, seen in (("facebook", views), ("instagram", 15 + (DAYS - age) // 2 + age * 5 % 11)):
            event: dict[str, Any] = {"views": seen, "shares": seen % 5, "inquiries": seen % 3, "clicks": seen // 4}
            yield partial(PerformanceMetrics.objects.increment, ANNA, LISTING, day, platform, **event)
        snapshot = PerformanceMetricsData(
            views=2 * views,
            shares=age % 4,
            inquiries=age % 2,
            platforms={"facebook": PlatformMetrics(views=2 * views, shares=age % 4, inquiries=age % 2, clicks=views // 3)},
        )
        yield partial(PerformanceMetrics.objects.save, ANNA, SECOND_LISTING, day, snapshot)


def _changes() -> Iterator[Write]:
    """Sell anna's first listing, and ask for its posts and one more to be taken off: the index keys follow."""
    asked = datetime.now(UTC)
    yield partial(Listing.objects.update, ANNA, LISTING, status="sold")
    for number in (1, 2, 5):
        requested = asked - timedelta(minutes=10 - number)
        yield partial(
            SocialPost.objects.update,
            ANNA,
            f"post-{number:02}",
            status=PostStatus.UNPUBLISH_PENDING,
            unpublish_requested_at=requested,
        )


def _token() -> Token:
    return Token("made up, and opens nothing")
