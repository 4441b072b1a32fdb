"""The state of the table in one look: items by entity, drift, tokens in clear text, and what the queues hold."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from . import table
from .codec import utc_text
from .connection import store
from .drift import examine
from .managers import ALL_USERS
from .manifests import read_manifest
from .models import MLSConnection, SocialConnection, SocialPost
from .operations import operation
from .scans import Page, Scan, ScanReport, scan
from .schema import DATA, ENTITIES, entity_type
from .settings import Settings
from .tokens import MASK, is_sealed
from .wire import Row

EXPIRY = timedelta(days=7)
"""How soon a token expires that is counted as expiring."""


@dataclass(slots=True)
class TableStatus(ScanReport):
    """
    How the table stands; ``str`` of it says so on a few lines.

    Attributes:
        scanned: How many items were read; none where an export tells the counts.
        others: None here: every item is counted in *items*.
        expired: How many of them have a TTL that has passed, and wait to be removed.
        read_units: What the pass cost. The queues' entries, which are read beside, cost half a unit for each 4 KB.
        elapsed: Seconds of the pass.
        table: The table's name.
        engine: What holds it.
        state: DynamoDB's word for the table, such as ``ACTIVE``.
        size: Its bytes as DynamoDB last counted them, up to six hours ago.
        items: How many items there are, by EntityType; under an empty name those without one.
        as_of: When they were counted, ISO 8601 in UTC.
        drifted: How many have drifted, as the audit says; None where an export tells the counts.
        clear_tokens: How many tokens of connections lie in clear text; None likewise.
        due_for_sync: How many MLS connections were never synced, or not within *stale_after*.
        expiring: How many social connections' tokens have expired, or will within *within*.
        pending_unpublish: How many posts wait to be unpublished.
    """

    table: str = ""
    engine: str = ""
    state: str = ""
    size: int = 0
    items: dict[str, int] = field(default_factory=dict)
    as_of: str = ""
    drifted: int | None = None
    clear_tokens: int | None = None
    due_for_sync: int = 0
    expiring: int = 0
    pending_unpublish: int = 0

    @property
    def total(self) -> int:
        """How many items there are."""
        return sum(self.items.values())

    def as_dict(self) -> dict[str, Any]:
        """Give the status as what JSON can hold."""
        named = ("table", "engine", "state", "size", "items", "as_of", "expired", "drifted", "clear_tokens")
        counted = ("due_for_sync", "expiring", "pending_unpublish", "read_units")
        return {name: getattr(self, name) for name in (*named, *counted)} | {"elapsed": round(self.elapsed, 3)}

    def __str__(self) -> str:
        lines = [f"{self.table} ({self.engine}): {self.state}, {self.size:,} bytes", f"{self.total:,} items as of {self.as_of}"]
        lines += [f"  {name or 'without EntityType'}: {count:,}" for name, count in sorted(self.items.items())]
        queues = (
            f"{self.due_for_sync:,} to sync, {self.expiring:,} with tokens that expire, {self.pending_unpublish:,} to unpublish"
        )
        lines.append(f"queues: {queues}")
        if self.drifted is not None and self.clear_tokens is not None:
            lines.append(f"{self.drifted:,} drifted, {self.clear_tokens:,} tokens in clear text, {self.expired:,} expired")
            lines.append(f"counted in {self.elapsed:.1f} s for {self.read_units:,} read units")
        return "\n".join(lines)


@operation
def table_status(
    *,
    export: str | Path | None = None,
    within: timedelta = EXPIRY,
    stale_after: timedelta = timedelta(0),
    segments: int = 1,
    max_read_units: float | None = None,
    executor: Executor | str | None = None,
    progress: Callable[[TableStatus], None] | None = None,
) -> TableStatus:
    """
    Say how the table stands.

    It reads the whole table once, at half a read unit for each 4 KB; with *export*, the folder of an export, that one's counts
    are taken and the table is not read. The queues are read from their index either way.

    Args:
        export: An export whose counts are to do.
        within: How soon a token expires that counts as expiring.
        stale_after: How long ago a connection's last sync was that counts as due.
        segments: How many parts of the table are read at once, 1 to 64.
        max_read_units: How many read units a second are spent, on average.
        executor: Where the parts are read, as :func:`audit_table` has it.
        progress: Is given the status after each page.

    Raises:
        InvalidExportError: *export* is none, or of another format.
        ConfigurationError: *segments*, *max_read_units* or *executor* cannot be.
        StoreError: DynamoDB refused, or there is no table.
    """
    status = TableStatus(as_of=utc_text(datetime.now(UTC)))
    if export is not None:
        manifest = read_manifest(Path(export))
        status.items, status.as_of = dict(manifest.items), manifest.ended
    else:
        status.drifted = status.clear_tokens = 0
        step = Scan(_seen, None, segments, with_expired=True)
        how: dict[str, Any] = {"max_read_units": max_read_units, "executor": executor, "progress": progress}
        status = scan("status", step, status, _take, options={}, **how)
    now, held, live = datetime.now(UTC), store(), table.describe() or {}
    status.table, status.engine = held.table_name, _engine(held.settings, held.client.meta.region_name)
    status.state, status.size = live.get("TableStatus", "not there"), live.get("TableSizeBytes", 0)
    status.due_for_sync = MLSConnection.objects.due_for_sync(now - stale_after, user_id=ALL_USERS).count()
    status.expiring = SocialConnection.objects.expiring(now + within, user_id=ALL_USERS).count()
    status.pending_unpublish = SocialPost.objects.pending_unpublish(user_id=ALL_USERS).count()
    return status


def _engine(settings: Settings, region: str) -> str:
    if settings.is_local:
        return f"embedded engine, {settings.endpoint_url}"
    return f"DynamoDB in {region}" if settings.endpoint_url is None else settings.endpoint_url


@dataclass(frozen=True, slots=True)
class _Seen:
    """What an item adds to the counts."""

    entity: str
    drifted: bool
    clear_tokens: int


def _seen(row: Row) -> _Seen:
    kind = entity_type(row) or ""
    finding, entity = examine(row), ENTITIES.get(kind)
    data = (row[DATA].M if DATA in row else None) or {}
    names = [] if entity is None else [wire for _, wire in entity.token_names]
    texts = [data[wire].S for wire in names if wire in data]
    clear = sum(bool(text) and text != MASK and not is_sealed(str(text)) for text in texts)
    return _Seen(kind, finding is not None and finding.drifted, clear)


def _take(status: TableStatus, page: Page[_Seen]) -> None:
    status.count(page)
    for seen in page.found:
        status.items[seen.entity] = status.items.get(seen.entity, 0) + 1
        status.drifted = (status.drifted or 0) + seen.drifted
        status.clear_tokens = (status.clear_tokens or 0) + seen.clear_tokens
