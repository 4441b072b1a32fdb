"""
What the table must hold: a plain dict model of it, written from the contract of the table and not from the package.

Nothing here asks the package how an item is encoded or keyed; only :func:`shown` looks at what it gave out.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from mlssocial import (
    Listing,
    ListingData,
    MLSConnection,
    MLSConnectionData,
    PerformanceMetrics,
    PerformanceMetricsData,
    SocialConnection,
    SocialConnectionData,
    SocialPost,
    SocialPostData,
    Token,
)

Wire = dict[str, Any]
Key = tuple[str, str]
Ids = tuple[str, ...]

NULL = {"NULL": True}
INDEX_ATTRIBUTES = ("GSI1PK", "GSI1SK", "GSI2PK", "GSI2SK")
OWN_ATTRIBUTES = ("PK", "SK", "EntityType", "Data", "CreatedAt", "UpdatedAt", "WriteId", *INDEX_ATTRIBUTES)
TOTALS = ("views", "shares", "inquiries")


def wire(value: Any) -> Wire:
    """Give a value's attribute value."""
    if value is None:
        return NULL
    if isinstance(value, Token):
        return {"S": value.reveal()}
    if isinstance(value, str):
        return {"S": str(value)}
    if isinstance(value, datetime):
        return {"N": str(round(value.timestamp() * 1000))}
    if isinstance(value, date):
        return {"S": value.isoformat()}
    if isinstance(value, int | Decimal):
        return {"N": str(value)}
    if isinstance(value, BaseModel):
        return {"M": {name: wire(value) for name, value in value.model_dump(exclude_unset=True, by_alias=True).items()}}
    if isinstance(value, dict):
        return {"M": {name: wire(entry) for name, entry in value.items()}}
    return {"L": [wire(entry) for entry in value]}


def shard(user: str) -> int:
    """Give the partition of a work queue that a user's entries are in."""
    return zlib.crc32(user.encode()) % 8


# --- Index keys, by TABLE.md -----------------------------------------------------------------------------------------


def _text(data: Wire, name: str) -> str:
    """Give a field's text where a key can hold it, else nothing."""
    text = str(data.get(name, {}).get("S", ""))
    return "" if "#" in text else text


def _time(data: Wire, name: str) -> str | None:
    millis = data.get(name, {}).get("N")
    return None if millis is None else f"{int(millis):013d}"


def _pairs(first: tuple[str, str] | None, second: tuple[str, str] | None) -> Wire:
    keys = (*(first or (None, None)), *(second or (None, None)))
    return {name: {"S": key} for name, key in zip(INDEX_ATTRIBUTES, keys, strict=True) if key is not None}


def _listing_index(ids: Ids, data: Wire) -> Wire:
    user, listing = ids
    provider, number, status = (_text(data, name) for name in ("mlsProvider", "mlsNumber", "status"))
    return _pairs(
        (f"MLS#{provider}#{number}", f"STATUS#{status}") if provider and number else None,
        (f"USER#{user}#STATUS#{status}", f"LISTED#{_text(data, 'listDate')}#{listing}") if status else None,
    )


def _mls_connection_index(ids: Ids, data: Wire) -> Wire:
    user, connection = ids
    return _pairs(None, (f"MLS_SYNC#{shard(user)}", f"{_time(data, 'lastSyncedAt') or '0' * 13}#{user}#{connection}"))


def _social_connection_index(ids: Ids, data: Wire) -> Wire:
    user, platform = ids
    expires = _time(data, "expiresAt")
    return _pairs(None, (f"TOKEN_EXPIRY#{shard(user)}", f"{expires}#{user}#{platform.upper()}") if expires else None)


def _post_index(ids: Ids, data: Wire) -> Wire:
    user, post = ids
    listing, waits = _text(data, "listingId"), _text(data, "status") == "unpublish_pending"
    requested = f"{_time(data, 'unpublishRequestedAt') or '0' * 13}#{user}#{post}"
    return _pairs(
        (f"LISTING#{listing}", f"POST#{post}") if listing else None, (f"UNPUBLISH#{shard(user)}", requested) if waits else None
    )


# --- The five entities -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Kind:
    """
    One of the five entities, as the contract has it.

    Attributes:
        sort_key: SK of the ids.
        fields: Its fields by their Python names, with their wire names and values to try.
        needed: Those that every payload has.
        indexed: Those that index keys are made of.
        index: The index keys of ids and Data.
        repeats: What Data repeats of the key.
    """

    name: str
    model: Any
    payload: Any
    sort_key: Callable[[Ids], str]
    fields: Mapping[str, tuple[str, tuple[Any, ...]]]
    indexed: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()
    index: Callable[[Ids, Wire], Wire] = lambda _ids, _data: {}
    repeats: Callable[[Ids], Wire] = lambda _ids: {}

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """Show it in hypothesis's report of a failure in one word."""
        printer.text(self.name)

    def key(self, ids: Ids) -> Key:
        """Give PK and SK."""
        return f"USER#{ids[0]}", self.sort_key(ids)

    def data(self, fields: Mapping[str, Any]) -> Wire:
        """Give the Data of a payload's fields."""
        return {self.fields[name][0]: wire(value) for name, value in fields.items()}

    def filled(self, ids: Ids, data: Wire) -> Wire:
        """Give Data with what it repeats of the key, where that is missing or null."""
        return data | {name: value for name, value in self.repeats(ids).items() if data.get(name, NULL) == NULL}


_MOMENTS = (None, 1_000, 2_000, 3_000)

LISTING = Kind(
    "Listing",
    Listing,
    ListingData,
    lambda ids: f"LISTING#{ids[1]}",
    {
        "status": ("status", ("active", "pending", "sold", "expired")),
        "mls_provider": ("mlsProvider", ("flexmls", "spark", None)),
        "mls_number": ("mlsNumber", ("M1", "M2", "", None)),
        "list_date": ("listDate", (None, "", "2024-01-15", "2024-02-01")),
        "price": ("price", (None, 1, Decimal("2.5"))),
        "description": ("description", (None, "", "on a hill")),
        "address": ("address", (None, {"city": "Reno"}, {"street": "1 Main St", "zip": "89501"})),
        "modification_timestamp": ("modificationTimestamp", ("2024-01-01T00:00:00Z",)),
    },
    indexed=frozenset({"status", "mls_provider", "mls_number", "list_date"}),
    needed=frozenset({"status"}),
    index=_listing_index,
)
MLS_CONNECTION = Kind(
    "MLSConnection",
    MLSConnection,
    MLSConnectionData,
    lambda ids: f"MLS_CONNECTION#{ids[1]}",
    {
        "provider": ("provider", (None, "flexmls")),
        "access_token": ("accessToken", ("at", "")),
        "last_synced_at": ("lastSyncedAt", _MOMENTS),
        "expires_at": ("expiresAt", _MOMENTS),
    },
    indexed=frozenset({"last_synced_at"}),
    index=_mls_connection_index,
    repeats=lambda ids: {"userId": wire(ids[0]), "id": wire(ids[1])},
)
SOCIAL_CONNECTION = Kind(
    "SocialConnection",
    SocialConnection,
    SocialConnectionData,
    lambda ids: f"SOCIAL#{ids[1].upper()}",
    {
        "access_token": ("accessToken", ("at", "")),
        "refresh_token": ("refreshToken", (None, "rt")),
        "expires_at": ("expiresAt", _MOMENTS),
        "scope": ("scope", (None, [], ["pages", "posts"])),
        "metadata": ("metadata", (None, {}, {"page": {"id": "7", "deep": [1, None]}})),
    },
    indexed=frozenset({"expires_at"}),
    index=_social_connection_index,
    repeats=lambda ids: {"userId": wire(ids[0]), "platform": wire(ids[1].lower())},
)
SOCIAL_POST = Kind(
    "SocialPost",
    SocialPost,
    SocialPostData,
    lambda ids: f"POST#{ids[1]}",
    {
        "listing_id": ("listingId", (None, "", "a", "b")),
        "status": ("status", (None, "published", "unpublish_pending", "unpublished")),
        "unpublish_requested_at": ("unpublishRequestedAt", _MOMENTS),
        "content": ("content", ("Just listed", "")),
        "platform": ("platform", ("facebook", "a new one")),
    },
    indexed=frozenset({"listing_id", "status", "unpublish_requested_at"}),
    index=_post_index,
    repeats=lambda ids: {"postId": wire(ids[1])},
)
PERFORMANCE_METRICS = Kind(
    "PerformanceMetrics",
    PerformanceMetrics,
    PerformanceMetricsData,
    lambda ids: f"METRICS#{ids[1]}#{ids[2]}",
    {
        "views": ("views", (None, 0, 5)),
        "shares": ("shares", (None, 3)),
        "platforms": ("platforms", (None, {}, {"facebook": {"views": 2, "saves": 1}}, {"twitter": {"clicks": None}})),
    },
    repeats=lambda ids: {"listingId": wire(ids[1]), "date": wire(ids[2])},
)
KINDS = (LISTING, MLS_CONNECTION, SOCIAL_CONNECTION, SOCIAL_POST, PERFORMANCE_METRICS)


@dataclass(frozen=True, eq=False)
class Place:
    """Where an item of an entity can lie."""

    kind: Kind
    ids: Ids

    @property
    def key(self) -> Key:
        """Give PK and SK."""
        return self.kind.key(self.ids)

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """Show it in hypothesis's report of a failure in one line."""
        printer.text(f"<{self.kind.name} {', '.join(self.ids)}>")


USERS = ("u1", "u2")
_IDS: Mapping[Kind, tuple[Ids, ...]] = {
    LISTING: (("a",), ("b",), ("c",)),
    MLS_CONNECTION: (("a",), ("b",)),
    SOCIAL_CONNECTION: (("facebook",), ("LinkedIn",)),
    SOCIAL_POST: (("a",), ("b",), ("c",)),
    PERFORMANCE_METRICS: (("a", "2024-01-01"), ("a", "2024-01-02"), ("b", "2024-01-01")),
}
PLACES = tuple(Place(kind, (user, *rest)) for kind, ids in _IDS.items() for user in USERS for rest in ids)


# --- What writes do to an item ---------------------------------------------------------------------------------------


def expired(item: Wire, now: float) -> bool:
    """Tell whether an item's TTL has passed; one that is no number is none."""
    ttl = item.get("TTL", {}).get("N")
    return ttl is not None and int(ttl) <= now


def indexed(place: Place, item: Wire) -> Wire:
    """Give an item with the index keys that follow from its data, and no other."""
    rest = {name: value for name, value in item.items() if name not in INDEX_ATTRIBUTES}
    return rest | place.kind.index(place.ids, item["Data"]["M"])


def made(place: Place, data: Wire) -> Wire:
    """Give a whole new item, but for its times and nonce."""
    pk, sk = place.key
    item = {"PK": {"S": pk}, "SK": {"S": sk}, "EntityType": {"S": place.kind.name}}
    return indexed(place, item | {"Data": {"M": place.kind.filled(place.ids, data)}})


def changed(place: Place, item: Wire, values: Mapping[str, Any], removes: frozenset[str] = frozenset()) -> Wire:
    """Give an item after an update. Index keys follow if one of their fields is touched, and are as they were if not."""
    after = deepcopy(item)
    for name, value in values.items():
        *parents, last = _path(place.kind, name)
        _inside(after["Data"], parents)[last] = wire(value)
    for name in removes:
        *parents, last = _path(place.kind, name)
        found = after["Data"]
        for parent in parents:
            found = found.get("M", {}).get(parent, {})
        found.get("M", {}).pop(last, None)
    touched = {name.split("__")[0] for name in (*values, *removes)}
    return indexed(place, after) if touched & place.kind.indexed else after


def incremented(item: Wire, platform: str, counters: Mapping[str, int]) -> Wire:
    """Give a day after counters were added to a platform's figures, and to the totals."""
    after = deepcopy(item)
    for name, amount in counters.items():
        for parents in ([], ["platforms", platform]) if name in TOTALS else (["platforms", platform],):
            figures = _inside(after["Data"], parents)
            figures[name] = {"N": str(int(figures.get(name, {}).get("N", 0)) + amount)}
    return after


def _path(kind: Kind, name: str) -> list[str]:
    first, *rest = name.split("__")
    return [kind.fields[first][0], *rest]


def _inside(value: Wire, parents: list[str]) -> Wire:
    """Give the map at a path, made where it is missing or null."""
    for parent in parents:
        if value["M"].get(parent, NULL) == NULL:
            value["M"][parent] = {"M": {}}
        value = value["M"][parent]
    entries: Wire = value["M"]
    return entries


def shown(kind: Kind, item: Any) -> Wire:
    """Give what an item that was read shows of its known fields, in wire names."""
    given = item.data.model_fields_set
    return {name: wire(getattr(item.data, field)) for field, (name, _) in kind.fields.items() if field in given}
