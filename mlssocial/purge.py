"""
Erasing: what came by a connection or an originating system, or all of a user's, and a report that says so.

An MLS contract ends with the deletion of its listings and of what was made of them. What is deleted is found anew whenever it
is asked for, and what refers to a listing goes before it, so that an erasure that was interrupted finds what is left.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

from . import batch, keys, rawwrites
from .codec import utc_text
from .connection import pages, store
from .exceptions import ConfigurationError, InvalidKeyError
from .expressions import Expression
from .files import read_as, replace_whole
from .operations import operation
from .scans import Page, Scan, ScanReport, scan
from .schema import (
    DATA,
    ENTITIES,
    ENTITY_TYPE,
    LISTING,
    MLS_CONNECTION,
    OPERATION,
    PERFORMANCE_METRICS,
    PK,
    SK,
    SOCIAL_POST,
    entity_type,
    key_of,
)
from .wire import Row, decode_row

_OURS = frozenset({*ENTITIES, OPERATION.name})
_LAST = (LISTING.name, MLS_CONNECTION.name)
"""These go after all others: by them the others are found."""

_CONNECTION, _SYSTEM, _LISTING_ID = "mlsConnectionId", "originatingSystemName", "listingId"
_BEGUN, _COMPLETE = "begun", "complete"


@dataclass(frozen=True, slots=True)
class PurgeScope:
    """
    What is to be erased: one of three; ``str`` of it is what has to be typed to confirm it.

    Attributes:
        user_id: Everything of ours in this user's partition; with *connection_id*, what came by that connection.
        connection_id: An MLS connection of the user's: it, its listings, and their posts and figures.
        originating_system: Every user's listings of this originating system, and their posts and figures.
    """

    user_id: str | None = None
    connection_id: str | None = None
    originating_system: str | None = None

    def __post_init__(self) -> None:
        """Refuse what names none of the three, or two."""
        if (self.user_id is None) == (self.originating_system is None) or (self.connection_id and self.user_id is None):
            raise ConfigurationError("purge: name a user, a user's connection, or an originating system")
        if self.user_id is not None:
            keys.user_partition(self.user_id)
        if self.user_id is not None and self.connection_id is not None:
            keys.mls_connection_keys(self.user_id, self.connection_id)

    def __str__(self) -> str:
        if self.originating_system is not None:
            return self.originating_system
        return str(self.user_id) if self.connection_id is None else f"{self.user_id}/{self.connection_id}"

    @property
    def mark(self) -> tuple[str, str] | None:
        """The field by which a listing is in the scope, and its value; None where every item is."""
        if self.originating_system is not None:
            return _SYSTEM, self.originating_system
        return None if self.connection_id is None else (_CONNECTION, self.connection_id)

    def as_dict(self) -> dict[str, str]:
        """Give what is named."""
        named = ("user_id", "connection_id", "originating_system")
        return {name: value for name in named if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True)
class Doomed:
    """An item that is to be deleted: its key, its EntityType, and a field of Data that has to be as it was."""

    key: tuple[str, str]
    entity: str
    field: tuple[str, str] | None = None

    @property
    def hash(self) -> str:
        """The SHA-256 of PK, a line feed, and SK."""
        return hashlib.sha256("\n".join(self.key).encode()).hexdigest()

    def delete(self) -> bool:
        """Delete it if it is still what was found; False if it is gone, or another now."""
        expression = Expression()
        condition = expression.same((ENTITY_TYPE,), {"S": self.entity})
        if self.field is not None:
            condition += f" AND {expression.same((DATA, self.field[0]), {'S': self.field[1]})}"
        return rawwrites.delete("purge", self.key, expression, condition)


@dataclass(slots=True)
class PurgePlan:
    """
    What an erasure would delete, as it was found; ``str`` of it is a summary.

    Attributes:
        scope: What is to be erased.
        items: What would be deleted, in the order in which it would be.
        others: How many items of other applications lie in the partitions that were read; they stay.
        read_units: What it cost to find out.
    """

    scope: PurgeScope
    items: list[Doomed] = field(default_factory=list)
    others: int = 0
    read_units: float = 0.0

    @property
    def counts(self) -> dict[str, int]:
        """How many items of each entity would be deleted."""
        return dict(sorted(Counter(item.entity for item in self.items).items()))

    def as_dict(self) -> dict[str, Any]:
        """Give the plan as what JSON can hold."""
        found = {"counts": self.counts, "others": self.others, "read_units": self.read_units}
        return {"scope": self.scope.as_dict(), "dry_run": True, "items": len(self.items), **found}

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {name}" for name, count in self.counts.items()) or "nothing"
        left = f"; {self.others:,} items of other applications stay" if self.others else ""
        return f"{self.scope}: {counts} to delete{left} (found for {self.read_units:,} read units)"


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """
    What was deleted, signed off: the content of the report's file.

    Attributes:
        state: ``begun``, or ``complete`` once the table was looked through again.
        table: The table's name.
        scope: What was to be erased.
        began: When, ISO 8601 in UTC.
        signed_by: Who did it.
        items: EntityType by the SHA-256 of PK, a line feed, and SK: of what is to be deleted, and in the end was.
        ended: When it was complete.
        counts: How many items of each entity were deleted.
        left: How many were found when all was done: written meanwhile, or changed.
        others: How many items of other applications stay.
        digest: The SHA-256 of this report's JSON with an empty digest, to notice a change by accident; it is no signature.
    """

    state: str
    table: str
    scope: dict[str, str]
    began: str
    signed_by: str
    items: dict[str, str]
    ended: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    left: int = 0
    others: int = 0
    digest: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Give the report as what JSON can hold."""
        made: dict[str, Any] = msgspec.to_builtins(self)
        return made

    def signed(self) -> PurgeReport:
        """Give it with its digest."""
        plain = msgspec.json.encode(replace(self, digest=""))
        return replace(self, digest=hashlib.sha256(plain).hexdigest())

    def write(self, path: Path) -> None:
        """Write its file, whole or not at all."""
        try:
            replace_whole(path, msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
        except OSError as error:
            raise ConfigurationError(f"{path}: the report cannot be written: {error.strerror}") from error

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {name}" for name, count in self.counts.items()) or "nothing"
        left = f"; {self.left:,} ITEMS ARE LEFT, purge again" if self.left else ""
        return f"{counts} deleted between {self.began} and {self.ended}{left}"


@operation
def plan_purge(
    scope: PurgeScope,
    *,
    segments: int = 1,
    max_read_units: float | None = None,
    progress: Callable[[ScanReport], None] | None = None,
) -> PurgePlan:
    """
    Find what is to be erased, and delete nothing: the dry run.

    For a user or a connection it reads the user's partition, consistently. For an originating system it reads the whole table
    first, consistently, for the users that have its listings. The plan is held in memory, about 0.5 KB an item.

    Raises:
        ConfigurationError: *segments* or *max_read_units* cannot be.
        StoreError: DynamoDB refused, or could not be reached before the deadline.
    """
    plan = PurgePlan(scope)
    if scope.user_id is not None:
        users: Iterable[str] = [scope.user_id]
    else:
        users = _users(plan, segments, max_read_units, progress)
    for user in users:
        plan.items += _found(plan, user)
    plan.items.sort(key=_turn)
    return plan


@operation
def purge_items(
    plan: PurgePlan,
    *,
    confirm: str,
    report: str | Path,
    signed_by: str,
    progress: Callable[[int], None] | None = None,
) -> PurgeReport:
    """
    Delete what a plan found, look again, and write the report.

    Each delete is conditional on the item's EntityType, and of a listing or a post on the field by which it was found, so
    that nothing else is ever deleted. The report's file is written before the first delete and again at the end; after an
    interruption, plan and purge again with the same file, and the report has what both have deleted. One request an item, a
    few at a time.

    Args:
        plan: What :func:`plan_purge` has found.
        confirm: ``str(plan.scope)``, so that nothing is erased by mistake.
        report: The report's file.
        signed_by: Who answers for it.
        progress: Is given how many items are done.

    Raises:
        ConfigurationError: *confirm* is not the scope; the file is there and is another erasure's, or complete, or cannot be
            written. Nothing was deleted.
        OutcomeUnknownError: Answers were lost until the deadline. Purge again to go on.
        StoreError: DynamoDB refused, or could not be reached before the deadline. Purge again to go on.
    """
    if confirm != str(plan.scope):
        raise ConfigurationError(f"purge: {plan.scope!s} is to be confirmed, and not {confirm!r}; nothing was deleted")
    path = Path(report)
    begun = _begun(path, plan, signed_by)
    begun.write(path)
    done = 0
    for _, group in groupby(plan.items, key=_turn):  # one after the other: what refers to a listing goes before it
        with closing(batch.at_once(Doomed.delete, group, Event())) as deletes:
            for _ in deletes:
                done += 1
                if progress is not None:
                    progress(done)
    now = plan_purge(plan.scope)
    left = {item.hash for item in now.items}
    items = {name: entity for name, entity in begun.items.items() if name not in left}
    counts = dict(sorted(Counter(items.values()).items()))
    ended = replace(
        begun, state=_COMPLETE, items=items, ended=utc_text(datetime.now(UTC)), counts=counts, left=len(left), others=now.others
    ).signed()
    ended.write(path)
    return ended


def _turn(item: Doomed) -> int:
    """Give when an item has its turn."""
    return _LAST.index(item.entity) if item.entity in _LAST else -1


def _begun(path: Path, plan: PurgePlan, signed_by: str) -> PurgeReport:
    """Give the report to begin with: a fresh one, or the one that an interrupted erasure has left."""
    table, items = store().table_name, {item.hash: item.entity for item in plan.items}
    fresh = PurgeReport(_BEGUN, table, plan.scope.as_dict(), utc_text(datetime.now(UTC)), signed_by, items)
    try:
        found = read_as(path.read_bytes(), PurgeReport)
    except FileNotFoundError:
        return fresh
    except OSError as error:
        raise ConfigurationError(f"{path}: the report cannot be read: {error.strerror}") from error
    except ValueError:
        raise ConfigurationError(f"{path}: it is no report of an erasure; name another file") from None
    if (found.state, found.table, found.scope) != (_BEGUN, fresh.table, fresh.scope):
        raise ConfigurationError(f"{path}: it is the report of an erasure that is complete, or of another; name another file")
    return replace(found, items=found.items | items)


# --- Finding ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Of:
    """Gives a listing's user where a field of it has a value."""

    field: str
    value: str

    def __call__(self, row: Row) -> str | None:
        return row[PK].S if _text(row, self.field) == self.value else None


def _users(
    plan: PurgePlan, segments: int, max_read_units: float | None, progress: Callable[[ScanReport], None] | None
) -> list[str]:
    """Find the users that have listings of the scope's originating system."""
    found: set[str] = set()

    def take(report: ScanReport, page: Page[str]) -> None:
        report.count(page)
        found.update(page.found)

    step = Scan(
        _Of(_SYSTEM, plan.scope.originating_system or ""), (LISTING.name,), segments, consistent=True, with_expired=True
    )
    how: dict[str, Any] = {"max_read_units": max_read_units, "progress": progress}
    plan.read_units += scan("purge", step, ScanReport(), take, options={}, **how).read_units
    return [keys.parse_user(pk) for pk in sorted(found)]


def _found(plan: PurgePlan, user: str) -> Iterator[Doomed]:
    """Find what is to be deleted in a user's partition."""
    mark, connection = plan.scope.mark, _connection(plan.scope)
    listings: set[str] = set()
    others: list[tuple[str, Row]] = []
    for row in _partition(plan, user):
        kind = entity_type(row) or ""
        if kind not in _OURS:
            plan.others += 1
        elif mark is None:
            yield Doomed(key_of(row), kind)
        elif kind == LISTING.name:
            if _text(row, mark[0]) == mark[1]:
                listings.add(_listing_id(row))
                yield Doomed(key_of(row), kind, mark)
        else:
            others.append((kind, row))
    listings.discard("")
    for kind, row in others:
        listing_id = _listing_id(row)
        if kind == SOCIAL_POST.name and listing_id in listings:
            yield Doomed(key_of(row), kind, (_LISTING_ID, listing_id))
        elif (kind == PERFORMANCE_METRICS.name and listing_id in listings) or key_of(row) == connection:
            yield Doomed(key_of(row), kind)


def _connection(scope: PurgeScope) -> tuple[str, str] | None:
    if scope.user_id is None or scope.connection_id is None:
        return None
    return keys.mls_connection_keys(scope.user_id, scope.connection_id)[:2]


def _partition(plan: PurgePlan, user: str) -> Iterator[Row]:
    """Read a user's partition, consistently, and of each item what decides."""
    expression = Expression()
    wanted = [(PK,), (SK,), (ENTITY_TYPE,), *((DATA, name) for name in (_CONNECTION, _SYSTEM, _LISTING_ID))]
    condition = expression.same((PK,), {"S": keys.user_partition(user)})
    request = {
        "TableName": store().table_name,
        "KeyConditionExpression": condition,
        "ProjectionExpression": ", ".join(map(expression.path, wanted)),
        "ConsistentRead": True,
        "ReturnConsumedCapacity": "TOTAL",
        **expression.request(),
    }
    for answer in pages(request):
        plan.read_units += float(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0))
        yield from map(decode_row, answer.get("Items", ()))


def _listing_id(row: Row) -> str:
    """Give the listing that an item is, or is about; empty where its key or its data does not say."""
    try:
        if entity_type(row) == LISTING.name:
            return keys.parse_listing_keys(*key_of(row)).listing_id
        if entity_type(row) == PERFORMANCE_METRICS.name:
            return keys.parse_performance_metrics_keys(*key_of(row)).listing_id
    except InvalidKeyError:
        return ""
    return _text(row, _LISTING_ID) or ""


def _text(row: Row, name: str) -> str | None:
    data = row[DATA].M if DATA in row else None
    return data[name].S if data is not None and name in data else None
