"""Items as the command line shows them: their main facts in columns, and all fields as plain values, with secrets masked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from pydantic.alias_generators import to_camel

from mlssocial.models import Item, MLSConnection, SocialConnection
from mlssocial.tokens import MASK


@dataclass(frozen=True, slots=True)
class Column:
    """
    One fact of an item.

    Attributes:
        title: The column's heading.
        value: Takes the fact from the item.
        right: Aligned to the right, as figures are.
        cut: May be cut off where the terminal is too narrow, as ids may not.
    """

    title: str
    value: Callable[[Any], object]
    right: bool = False
    cut: bool = False

    def shown(self, item: Any) -> str:
        """Give the fact as text; figures have separators."""
        value = self.value(item)
        return f"{Decimal(value):,f}" if self.right and isinstance(value, int | Decimal) else text(value)


_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), " ")


def _data(name: str) -> Callable[[Any], object]:
    return lambda item: getattr(item.data, name)


def _address(item: Any) -> str:
    address = item.data.address
    if address is None:
        return ""
    region = " ".join(filter(None, (address.state, address.zip or address.zip_code)))
    return ", ".join(filter(None, (address.street, address.city, region)))


def _published(item: Any) -> date | None:
    """Give the day; a post that failed says 1970."""
    published = item.data.published_at
    return published.date() if published and published.timestamp() else None


def _views_by_platform(item: Any) -> str:
    platforms = item.data.platforms or {}
    return ", ".join(f"{name} {text(figures.views)}" for name, figures in sorted(platforms.items()))


LISTING_COLUMNS = (
    Column("listing", lambda item: item.listing_id),
    Column("status", _data("status")),
    Column("price", _data("price"), right=True),
    Column("bd", _data("bedrooms"), right=True),
    Column("ba", _data("bathrooms"), right=True),
    Column("sq ft", _data("square_feet"), right=True),
    Column("listed", _data("list_date")),
    Column("MLS no.", _data("mls_number")),
    Column("address", _address, cut=True),
)
MLS_CONNECTION_COLUMNS = (
    Column("connection", lambda item: item.connection_id),
    Column("provider", _data("provider")),
    Column("agent", _data("agent_id"), cut=True),
    Column("synced (UTC)", _data("last_synced_at")),
    Column("expires (UTC)", _data("expires_at")),
)
SOCIAL_CONNECTION_COLUMNS = (
    Column("platform", lambda item: item.platform),
    Column("account", _data("platform_username")),
    Column("scope", _data("scope"), cut=True),
    Column("expires (UTC)", _data("expires_at")),
)
POST_COLUMNS = (
    Column("post", lambda item: item.post_id),
    Column("listing", _data("listing_id")),
    Column("platform", _data("platform")),
    Column("status", _data("status")),
    Column("published", _published),
    Column("content", lambda item: item.data.error or item.data.content, cut=True),
)
METRICS_COLUMNS = (
    Column("listing", lambda item: item.listing_id),
    Column("day", lambda item: item.date),
    Column("views", _data("views"), right=True),
    Column("shares", _data("shares"), right=True),
    Column("inquiries", _data("inquiries"), right=True),
    Column("views by platform", _views_by_platform, cut=True),
)
COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "Listing": LISTING_COLUMNS,
    "MLSConnection": MLS_CONNECTION_COLUMNS,
    "SocialConnection": SOCIAL_CONNECTION_COLUMNS,
    "SocialPost": POST_COLUMNS,
    "PerformanceMetrics": METRICS_COLUMNS,
}
"""The columns of each entity, by EntityType."""

USER_COLUMN = Column("user", lambda item: item.user_id)
ITEM_COLUMNS = (
    Column("type", lambda item: item.entity_type),
    Column("key", lambda item: item.sk),
    Column("facts", lambda item: facts(item), cut=True),
)
"""The columns of items of any kind."""


def facts(item: Item) -> str:
    """Give an item's main facts on one line, but for its ids, which its key says."""
    if item.entity is None:
        return "another application's"
    columns = COLUMNS[item.entity.name][len(item.entity.id_names) - 1 :]
    return " · ".join(f"{column.title} {fact}" for column in columns if (fact := column.shown(item)))


def text(value: object) -> str:
    """Write a value for people, on one line: moments to the minute, and no control characters."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal | int):
        return f"{Decimal(value):f}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"
    if isinstance(value, list | set | tuple):
        return ", ".join(sorted(map(text, value)) if isinstance(value, set) else map(text, value))
    return str(value).translate(_CONTROLS)


def plain(item: Item) -> dict[str, Any]:
    """
    Give an item as plain values, its payload's fields by wire name.

    Tokens are masked, and so is what a connection holds beside its declared fields: other writers keep tokens there too. Of
    another application's item only the outline is given.
    """
    ids = ("user_id",) if item.entity is None else item.entity.id_names
    shown: dict[str, Any] = {"type": item.entity_type, "key": item.sk}
    shown |= {to_camel(name): getattr(item, name) for name in ids}
    shown |= {"createdAt": item.created_at, "updatedAt": item.updated_at}
    if item.entity is None:
        return shown | {"outline": {name: _outline(value) for name, value in sorted(item.raw.items())}}
    return shown | {"data": _fields(item)}


def keys_of(item: Item) -> dict[str, str | int]:
    """Give the key attributes that an item carries, and when it expires."""
    named = {
        "PK": item.pk,
        "SK": item.sk,
        "GSI1PK": item.gsi1pk,
        "GSI1SK": item.gsi1sk,
        "GSI2PK": item.gsi2pk,
        "GSI2SK": item.gsi2sk,
        "TTL": item.ttl,
    }
    return {name: value for name, value in named.items() if value is not None}


def _fields(item: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = item.data.model_dump(by_alias=True, exclude_unset=True)
    if not isinstance(item, MLSConnection | SocialConnection):
        return dumped
    declared = {field.alias for field in type(item.data).model_fields.values()} - {"metadata"}
    return {name: value if name in declared else _masked(value) for name, value in dumped.items()}


def _masked(value: Any) -> Any:
    """Keep the shape of an open value and hide what it says."""
    if isinstance(value, dict):
        return {name: _masked(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_masked(entry) for entry in value]
    return value if value is None or isinstance(value, bool | date) else MASK


_KINDS = {"S": "text", "N": "number", "BOOL": "yes or no", "NULL": "null", "B": "binary", "SS": "texts", "NS": "numbers"}


def _outline(value: Mapping[str, Any]) -> Any:
    """Give the shape of an attribute value, without what it says."""
    ((kind, content),) = value.items()
    if kind == "M":
        return {name: _outline(entry) for name, entry in content.items()}
    return f"list of {len(content)}" if kind == "L" else _KINDS.get(kind, "binaries")
