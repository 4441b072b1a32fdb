"""
The table's keys: pure functions, and the only place that knows ``#``.

``*_keys`` make all keys of an item from its ids and the fields its indexes are made of, ``parse_*`` go the way back, and the
rest names the partitions and sort-key ranges that queries read. Every id is checked where it enters: two different ids never
give one key, and no id reaches into another entity's or user's range.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

from .exceptions import InvalidKeyError, shown

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-partition-sort-keys
MAX_PARTITION_KEY_BYTES = 2048
MAX_SORT_KEY_BYTES = 1024

SHARDS = 8
"""How many partitions each work queue is spread over."""

UNPUBLISH_PENDING = "unpublish_pending"
"""The status in which a post waits in the unpublish queue."""

_USER, _LISTING, _MLS_CONNECTION, _SOCIAL, _POST, _METRICS, _OPERATION, _MIGRATION = (
    "USER#", "LISTING#", "MLS_CONNECTION#", "SOCIAL#", "POST#", "METRICS#", "OP#", "MIGRATION#",
)  # fmt: skip
_MLS, _STATUS, _LISTED = "MLS#", "STATUS#", "LISTED#"
_MLS_SYNC, _TOKEN_EXPIRY, _UNPUBLISH = "MLS_SYNC#", "TOKEN_EXPIRY#", "UNPUBLISH#"

_LATEST_MILLIS = 9_999_999_999_999  # 13 digits, the year 2286
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_REFUSED = re.compile("[#\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class Keys(NamedTuple):
    """All keys of one item. Both keys of an index are there, or neither (None)."""

    pk: str
    sk: str
    gsi1pk: str | None = None
    gsi1sk: str | None = None
    gsi2pk: str | None = None
    gsi2sk: str | None = None


class ListingKey(NamedTuple):
    """The ids in a Listing's key."""

    user_id: str
    listing_id: str


class MLSConnectionKey(NamedTuple):
    """The ids in an MLSConnection's key."""

    user_id: str
    connection_id: str


class SocialConnectionKey(NamedTuple):
    """The ids in a SocialConnection's key; the platform in upper case, as it is stored."""

    user_id: str
    platform: str


class SocialPostKey(NamedTuple):
    """The ids in a SocialPost's key."""

    user_id: str
    post_id: str


class OperationKey(NamedTuple):
    """The ids in the key of an operation's ledger item."""

    user_id: str
    operation_id: str


class PerformanceMetricsKey(NamedTuple):
    """The ids and the day in a PerformanceMetrics item's key."""

    user_id: str
    listing_id: str
    date: date


# --- All keys of an item ---------------------------------------------------------------------------------------------


def listing_keys(
    user_id: str,
    listing_id: str,
    mls_provider: str | None = None,
    mls_number: str | None = None,
    status: str | None = None,
    list_date: date | str | None = None,
) -> Keys:
    """
    Make a Listing's keys.

    GSI1 needs provider and number, GSI2 needs the status. A listing without a status sorts under the bare ``STATUS#`` in
    GSI1, since a partition key without a sort key would leave the item out of the index.
    """
    pk, listing_id = _USER + _id("user_id", user_id), _id("listing_id", listing_id)
    status = None if status is None else _id("status", status)
    by_number = None
    if mls_provider is not None and mls_number is not None:
        by_number = f"{_MLS}{_id('mls_provider', mls_provider)}#{_id('mls_number', mls_number)}"
    listed = "" if list_date is None else _day("list_date", list_date)
    return _held(
        Keys(
            pk,
            _LISTING + listing_id,
            by_number,
            by_number and _STATUS + (status or ""),
            status and f"{pk}#{_STATUS}{status}",
            status and f"{_LISTED}{listed}#{listing_id}",
        )
    )


def mls_connection_keys(user_id: str, connection_id: str, last_synced_at: datetime | int | None = None) -> Keys:
    """Make an MLSConnection's keys. One that was never synced comes first in the queue of syncs."""
    connection_id = _id("connection_id", connection_id)
    return _held(
        Keys(
            user_partition(user_id),
            _MLS_CONNECTION + connection_id,
            gsi2pk=_shard(_MLS_SYNC, user_id),
            gsi2sk=f"{_time('last_synced_at', 0 if last_synced_at is None else last_synced_at)}#{user_id}#{connection_id}",
        )
    )


def social_connection_keys(user_id: str, platform: str, expires_at: datetime | int | None = None) -> Keys:
    """Make a SocialConnection's keys. The platform is upper-cased; a token without expiry is in no queue."""
    platform = platform_part(platform)
    pk = user_partition(user_id)
    if expires_at is None:
        return _held(Keys(pk, _SOCIAL + platform))
    return _held(
        Keys(
            pk,
            _SOCIAL + platform,
            gsi2pk=_shard(_TOKEN_EXPIRY, user_id),
            gsi2sk=f"{_time('expires_at', expires_at)}#{user_id}#{platform}",
        )
    )


def social_post_keys(
    user_id: str,
    post_id: str,
    listing_id: str | None = None,
    status: str | None = None,
    unpublish_requested_at: datetime | int | None = None,
) -> Keys:
    """Make a SocialPost's keys. Only a post that waits to be unpublished is in GSI2, oldest request first."""
    pk, post_id = user_partition(user_id), _id("post_id", post_id)
    by_listing = None if listing_id is None else listing_partition(listing_id)
    waits, requested = status == UNPUBLISH_PENDING, 0 if unpublish_requested_at is None else unpublish_requested_at
    return _held(
        Keys(
            pk,
            _POST + post_id,
            gsi1pk=by_listing,
            gsi1sk=by_listing and _POST + post_id,
            gsi2pk=_shard(_UNPUBLISH, user_id) if waits else None,
            gsi2sk=f"{_time('unpublish_requested_at', requested)}#{user_id}#{post_id}" if waits else None,
        )
    )


def performance_metrics_keys(user_id: str, listing_id: str, date: date | str) -> Keys:
    """Make a PerformanceMetrics item's keys; *date* is a date or ``YYYY-MM-DD``."""
    return _held(Keys(user_partition(user_id), f"{metrics_prefix(listing_id)}{_day('date', date)}"))


def operation_keys(user_id: str, operation_id: str) -> Keys:
    """Make the keys of the ledger item that says that an operation was applied."""
    return _held(Keys(user_partition(user_id), _OPERATION + _id("operation_id", operation_id)))


def migration_keys(name: str) -> Keys:
    """Make the keys of the record that says that a migration was applied."""
    return _held(Keys(MIGRATIONS, _MIGRATION + _id("migration", name)))


# --- The way back ----------------------------------------------------------------------------------------------------


def parse_listing_keys(pk: str, sk: str) -> ListingKey:
    """Take a Listing's ids out of its key; InvalidKeyError if it is no Listing's."""
    return ListingKey(parse_user(pk), _rest("listing_id", sk, _LISTING))


def parse_mls_connection_keys(pk: str, sk: str) -> MLSConnectionKey:
    """Take an MLSConnection's ids out of its key; InvalidKeyError if it is no MLSConnection's."""
    return MLSConnectionKey(parse_user(pk), _rest("connection_id", sk, _MLS_CONNECTION))


def parse_social_connection_keys(pk: str, sk: str) -> SocialConnectionKey:
    """Take a SocialConnection's user and platform (upper case) out of its key; InvalidKeyError if it is none's."""
    platform = _rest("platform", sk, _SOCIAL)
    if platform != platform_part(platform):
        raise InvalidKeyError("platform", f"{shown(platform)} is not in upper case")
    return SocialConnectionKey(parse_user(pk), platform)


def parse_social_post_keys(pk: str, sk: str) -> SocialPostKey:
    """Take a SocialPost's ids out of its key; InvalidKeyError if it is no SocialPost's."""
    return SocialPostKey(parse_user(pk), _rest("post_id", sk, _POST))


def parse_performance_metrics_keys(pk: str, sk: str) -> PerformanceMetricsKey:
    """Take the ids and the day out of a PerformanceMetrics item's key; InvalidKeyError if it is none's."""
    listing_id, separator, day = sk.removeprefix(_METRICS).partition("#") if isinstance(sk, str) else ("", "", "")
    if not separator or not sk.startswith(_METRICS):
        raise InvalidKeyError("SK", f"{shown(sk)} is not METRICS#<listingId>#<YYYY-MM-DD>")
    return PerformanceMetricsKey(parse_user(pk), _id("listing_id", listing_id), date.fromisoformat(_day("date", day)))


def parse_migration_keys(pk: str, sk: str) -> str:
    """Take a migration's name out of the key of its record; InvalidKeyError if it is none's."""
    if pk != MIGRATIONS:
        raise InvalidKeyError("PK", f"{pk!r} is not {MIGRATIONS}")
    return _rest("migration", sk, _MIGRATION)


def parse_operation_keys(pk: str, sk: str) -> OperationKey:
    """Take the ids out of the key of an operation's ledger item; InvalidKeyError if it is none's."""
    return OperationKey(parse_user(pk), _rest("operation_id", sk, _OPERATION))


def parse_user(pk: str) -> str:
    """Take the user id out of a partition key; InvalidKeyError if it is no user's."""
    return _user(pk if isinstance(pk, str) else None)


# --- Partitions and ranges that queries read -------------------------------------------------------------------------

MIGRATIONS, MIGRATION_LOCK = "MLSSOCIAL#MIGRATIONS", "LOCK"
"""The partition of the record of migrations, which is no user's, and the sort key of its lock."""

LISTINGS, MLS_CONNECTIONS, SOCIAL_CONNECTIONS, SOCIAL_POSTS = _LISTING, _MLS_CONNECTION, _SOCIAL, _POST
"""Sort-key prefixes of the entities inside a user's partition; every one ends with the separator."""


def user_partition(user_id: str) -> str:
    """Name a user's partition of the table."""
    return _fitting("PK", _USER + _id("user_id", user_id))


def mls_number_partition(mls_provider: str, mls_number: str) -> str:
    """Name the partition of GSI1 that holds every copy of an MLS number."""
    return _fitting("GSI1PK", f"{_MLS}{_id('mls_provider', mls_provider)}#{_id('mls_number', mls_number)}")


def listing_partition(listing_id: str) -> str:
    """Name the partition of GSI1 that holds a listing's posts."""
    return _fitting("GSI1PK", _LISTING + _id("listing_id", listing_id))


def status_partition(user_id: str, status: str) -> str:
    """Name the partition of GSI2 that holds a user's listings of one status."""
    return _fitting("GSI2PK", f"{user_partition(user_id)}#{_STATUS}{_id('status', status)}")


def metrics_prefix(listing_id: str) -> str:
    """Give the sort-key prefix of a listing's metrics."""
    return _fitting("SK", f"{_METRICS}{_id('listing_id', listing_id)}#")


def metrics_range(listing_id: str, since: date | str | None, until: date | str | None) -> tuple[str, str]:
    """Give the first and last sort key of a listing's metrics between two days, both included."""
    prefix = metrics_prefix(listing_id)
    first = prefix + (_day("since", since) if since is not None else "0000-01-01")
    last = prefix + (_day("until", until) if until is not None else "9999-12-31")
    if first > last:
        raise InvalidKeyError("since", f"{since} is after until, {until}")
    return first, last


def sync_partitions(user_id: str | None = None) -> list[str]:
    """Name the partitions of GSI2 that hold MLS connections by their last sync: all eight, or the one user's."""
    return _shards(_MLS_SYNC, user_id)


def expiry_partitions(user_id: str | None = None) -> list[str]:
    """Name the partitions of GSI2 that hold social connections by their expiry: all eight, or the one user's."""
    return _shards(_TOKEN_EXPIRY, user_id)


def unpublish_partitions(user_id: str | None = None) -> list[str]:
    """Name the partitions of GSI2 that hold posts waiting to be unpublished: all eight, or the one user's."""
    return _shards(_UNPUBLISH, user_id)


QUEUE_START = "0"
"""Sorts before every entry of a work queue."""


def queue_time(before: datetime | int) -> str:
    """Give a time as the epoch milliseconds that work queues are ordered by."""
    return str(_millis("before", before))


def queue_end(before: datetime | int) -> str:
    """Give the sort key of a work queue that lies behind every entry up to *before*, that millisecond included."""
    return f"{min(_millis('before', before) + 1, _LATEST_MILLIS):013d}"


def shard(user_id: str) -> int:
    """Give the queue partition, 0 to 7, of a user: crc32 of the UTF-8 bytes, modulo 8."""
    return crc32(_id("user_id", user_id).encode()) % SHARDS


def platform_part(platform: str) -> str:
    """Upper-case a platform for its key; it must be ASCII, or two spellings could meet in one key."""
    platform = _id("platform", platform)
    if not platform.isascii():
        raise InvalidKeyError("platform", f"{shown(platform)} is not ASCII")
    return platform.upper()


# --- Checks ----------------------------------------------------------------------------------------------------------


def _held(made: Keys) -> Keys:
    """Hold every key to DynamoDB's length."""
    for value in made:
        if value and len(value) > MAX_SORT_KEY_BYTES // 4:  # a character takes four bytes at the most
            break
    else:
        return made
    for name, value in zip(made._fields, made, strict=True):
        if value is not None:
            _fitting(name.upper(), value)
    return made


def _fitting(name: str, value: str) -> str:
    """Hold one key to DynamoDB's length."""
    limit = MAX_PARTITION_KEY_BYTES if name.endswith("PK") else MAX_SORT_KEY_BYTES
    if len(value) > limit // 4 and (size := len(value.encode())) > limit:
        raise InvalidKeyError(name, f"{size} bytes once assembled, and DynamoDB takes {limit}; shorten the ids")
    return value


def _id(part: str, value: object) -> str:
    # By far the most ids: what can be printed is neither a control character nor a lone surrogate.
    if type(value) is str and value and "#" not in value and value.isprintable():
        return value
    if not isinstance(value, str):
        raise InvalidKeyError(part, f"a string is needed, not {type(value).__name__}")
    if not value:
        raise InvalidKeyError(part, "it is empty")
    if found := _REFUSED.search(value):
        reason = "separates the parts of a key" if found[0] == "#" else "is a control character or a lone surrogate"
        raise InvalidKeyError(part, f"{shown(value)} contains {found[0]!a}, which {reason}")
    return str.__str__(value)  # an enum member's text, in every Python


def _day(part: str, value: object) -> str:
    if isinstance(value, datetime):
        raise InvalidKeyError(part, "a date is needed, not a datetime: the time of day and its zone have no place in the key")
    if isinstance(value, date):
        return value.isoformat()
    text = _id(part, value)
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass  # falls through to the one message for text that is no day
    raise InvalidKeyError(part, f"{shown(text)} is no date of the form YYYY-MM-DD")


def _millis(part: str, value: object) -> int:
    """Epoch milliseconds, held between 1970 and 2286 so that 13 digits sort as time."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise InvalidKeyError(part, f"{value} has no time zone; give an aware datetime")
        value = (value - _EPOCH) // _MILLISECOND
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidKeyError(part, f"an aware datetime or epoch milliseconds are needed, not {type(value).__name__}")
    return min(max(value, 0), _LATEST_MILLIS)


def _time(part: str, value: object) -> str:
    return f"{_millis(part, value):013d}"


def _shard(queue: str, user_id: str) -> str:
    return f"{queue}{shard(user_id)}"


def _shards(queue: str, user_id: str | None) -> list[str]:
    return [f"{queue}{number}" for number in range(SHARDS)] if user_id is None else [_shard(queue, user_id)]


@lru_cache(256)
def _user(pk: str | None) -> str:
    return _rest("user_id", pk, _USER, name="PK")


def _rest(part: str, key: str | None, prefix: str, *, name: str = "SK") -> str:
    if not isinstance(key, str) or not key.startswith(prefix):
        raise InvalidKeyError(name, f"{shown(key)} does not begin with {prefix}")
    return _id(part, key[len(prefix) :])
