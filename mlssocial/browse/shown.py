"""Items as the pages show them: facts as text, made here so that the templates only lay them out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from mlssocial.crypto import key_id_of
from mlssocial.entities import Photo
from mlssocial.models import Listing, MLSConnection, SocialConnection, SocialPost
from mlssocial.status import EXPIRY
from mlssocial.tokens import Token

from .links import site, web_address

_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), " ")
_STEPS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time, exactly and as people say it."""

    iso: str
    exact: str
    ago: str

    @classmethod
    def of(cls, moment: datetime | None) -> Moment | None:
        """Show a moment; 1970, which stands for none on a post that failed, is none."""
        if moment is None or not moment.timestamp():
            return None
        return cls(moment.isoformat(), f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC", ago(datetime.now(UTC) - moment))


@dataclass(frozen=True, slots=True)
class Badge:
    """A state in a word; *tone* is good, warn, bad or calm, and says nothing that the word does not."""

    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A photo: where it is, on which site, what it shows, and whether a page may load it."""

    url: str
    site: str
    caption: str
    loadable: bool


@dataclass(frozen=True, slots=True)
class Home:
    """A listing."""

    id: str
    title: str
    place: str
    status: Badge
    price: str
    size: str
    number: str
    provider: str
    listed: str
    kind: str
    drawing: str
    tone: int
    pictures: list[Picture]
    description: str
    features: list[str]
    facts: list[tuple[str, str]]

    @classmethod
    def of(cls, listing: Listing) -> Home:
        """Show a listing."""
        data, address = listing.data, listing.data.address
        region = (address.state, address.zip or address.zip_code) if address else ()
        city = ", ".join(filter(None, (address.city if address else "", " ".join(filter(None, region)))))
        street = (address.street if address else "") or ""
        return cls(
            id=listing.listing_id,
            title=text(street or city or "No address"),
            place=text(city if street else ""),
            status=_LISTING[data.status.value],
            price=money(data.price),
            size=_size(data),
            number=text(data.mls_number),
            provider=text(data.mls_provider),
            listed=text(data.list_date),
            kind=text(data.property_type),
            drawing=_drawing(text(data.property_type).lower()),
            tone=sum(listing.listing_id.encode()) % 6,
            pictures=list(_pictures(data.photos or [])),
            description=text(data.description),
            features=[text(feature) for feature in data.features or []],
            facts=list(_facts(listing)),
        )


@dataclass(frozen=True, slots=True)
class Post:
    """A social post."""

    id: str
    user: str
    listing_id: str
    platform: str
    status: Badge
    published: Moment | None
    asked: Moment | None
    claimed: Moment | None
    content: str
    hashtags: list[str]
    error: str
    url: str | None

    @classmethod
    def of(cls, post: SocialPost) -> Post:
        """Show a post."""
        data = post.data
        return cls(
            id=post.post_id,
            user=post.user_id,
            listing_id=data.listing_id or "",
            platform=text(data.platform),
            status=_POST.get(str(data.status), Badge("No status", "calm")),
            published=Moment.of(data.published_at),
            asked=Moment.of(data.unpublish_requested_at),
            claimed=_claimed(post),
            content=text(data.content),
            hashtags=[text(tag) for tag in data.hashtags or []],
            error=text(data.error),
            url=web_address(data.platform_post_url),
        )


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection to an MLS feed or a platform. Of its tokens it has where and how they lie, and nothing that they say."""

    user: str
    name: str
    account: str
    scope: list[str]
    health: Badge
    expires: Moment | None
    synced: Moment | None
    access_token: str
    refresh_token: str
    claimed: Moment | None

    @classmethod
    def of(cls, item: MLSConnection | SocialConnection) -> Connection:
        """Show a connection."""
        data = item.data
        is_feed = isinstance(item, MLSConnection)
        feed: Any = data if is_feed else None
        account: Any = None if is_feed else data
        return cls(
            user=item.user_id,
            name=item.connection_id if isinstance(item, MLSConnection) else text(item.platform),
            account=text(" ".join(filter(None, (feed.provider, feed.agent_id))) if feed else account.platform_username),
            scope=[] if account is None else [text(one) for one in account.scope or []],
            health=_health(item),
            expires=Moment.of(data.expires_at),
            synced=Moment.of(feed.last_synced_at) if feed else None,
            access_token=_at_rest(data.access_token),
            refresh_token=_at_rest(data.refresh_token),
            claimed=_claimed(item),
        )


_LISTING = {
    "active": Badge("Active", "good"),
    "pending": Badge("Pending", "warn"),
    "sold": Badge("Sold", "calm"),
    "expired": Badge("Expired", "bad"),
}
_POST = {
    "published": Badge("Published", "good"),
    "failed": Badge("Failed", "bad"),
    "unpublished": Badge("Unpublished", "calm"),
    "unpublish_pending": Badge("To be unpublished", "warn"),
    "unpublish_failed": Badge("Unpublishing failed", "bad"),
}


def text(value: object) -> str:
    """Write a value as text without control characters, which HTML cannot hold."""
    return "" if value is None else str(value).translate(_CONTROLS)


def money(price: Decimal | None) -> str:
    """Write a price; cents only where there are any."""
    if price is None:
        return "No price"
    return f"${price:,.0f}" if price == price.to_integral_value() else f"${price:,.2f}"


def measure(number: Decimal | int | None, unit: str) -> str:
    """Write a measure with its unit, and nothing where there is none."""
    return "" if number is None else f"{Decimal(number).normalize():,f} {unit}"


def ago(passed: timedelta) -> str:
    """Say how long ago, or in how long, in the largest unit that fits."""
    seconds = abs(passed.total_seconds())
    for size, unit in _STEPS:
        count = int(seconds // size)
        if count:
            said = f"{count:,} {unit}{'s' if count > 1 else ''}"
            return f"{said} ago" if passed > timedelta(0) else f"in {said}"
    return "just now" if passed >= timedelta(0) else "in less than a minute"


def day(moment: date) -> str:
    """Write a day as an axis has it."""
    return f"{moment:%b} {moment.day}"


def _size(data: Any) -> str:
    parts = (measure(data.bedrooms, "bd"), measure(data.bathrooms, "ba"), measure(data.square_feet, "sq ft"))
    return " · ".join(filter(None, parts))


def _drawing(kind: str) -> str:
    """Name the drawing that stands where there is no photo."""
    if "land" in kind or "lot" in kind:
        return "land"
    return "flats" if any(word in kind for word in ("condo", "multi", "income", "apartment", "town")) else "house"


def _pictures(photos: list[Photo]) -> Iterator[Picture]:
    for photo in sorted(photos, key=lambda photo: (photo.order is None, photo.order or 0)):
        if url := web_address(photo.url):
            yield Picture(url, site(url), text(photo.caption), url.lower().startswith("https:"))


def _facts(listing: Listing) -> Iterator[tuple[str, str]]:
    data = listing.data
    hidden = data.internet_address_display_yn is False or data.internet_entire_listing_display_yn is False
    facts = {
        "Bedrooms": measure(data.bedrooms, ""),
        "Bathrooms": measure(data.bathrooms, ""),
        "Living area": measure(data.square_feet, "sq ft"),
        "Lot size": measure(data.lot_size, ""),
        "Built": text(data.year_built),
        "Type": text(data.property_type),
        "Listed": text(data.list_date),
        "MLS number": text(data.mls_number),
        "MLS provider": text(data.mls_provider),
        "Status at the MLS": text(data.mls_status or data.standard_status),
        "Source system": text(data.originating_system_name),
        "Office": text(data.list_office_name),
        "Display": "not all of it may be shown to the public" if hidden else "",
        "Listing id": listing.listing_id,
    }
    yield from ((name, value.strip()) for name, value in facts.items() if value.strip())


def _health(item: MLSConnection | SocialConnection) -> Badge:
    data, now = item.data, datetime.now(UTC)
    if not data.access_token:
        return Badge("No token", "bad")
    if data.expires_at is not None and data.expires_at <= now:
        return Badge("Expired", "bad")
    if data.expires_at is not None and data.expires_at <= now + EXPIRY:
        return Badge("Expires soon", "warn")
    if isinstance(item, MLSConnection) and item.data.last_synced_at is None:
        return Badge("Never synced", "warn")
    return Badge("Healthy", "good")


def _at_rest(token: Token | None) -> str:
    if not token:
        return "none"
    key = key_id_of(token)
    return f"sealed under {key}" if key else "sealed" if token.sealed else "clear text"


def _claimed(item: Any) -> Moment | None:
    """Say until when a worker has an item of a queue, None where nobody has it."""
    until = item.lease_until
    return Moment.of(until) if until is not None and until > datetime.now(UTC) else None
