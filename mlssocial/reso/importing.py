"""
Records into a user's listings: created where they are new, changed where they differ, and left alone where they do not.

What a listing has is kept small while a feed runs: its id and one number a field, by which a change is known. A field that the
feed says nothing about is left as it is, one that the feed has as null becomes null, and what an import does not own is kept.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain
from typing import Any, NamedTuple, Required, TypedDict, Unpack
from urllib.parse import quote

from mlssocial import keys, prepare, schema, writes
from mlssocial.changes import Changes, Path
from mlssocial.codec import AttributeValue, CodecError, WireMap, dump
from mlssocial.entities import ListingData, ListingStatus
from mlssocial.exceptions import (
    InvalidItemError,
    InvalidKeyError,
    InvalidRecordError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    SkippedRecordError,
    StaleItemError,
    StoreError,
    UnreadableItemWarning,
    WrongEntityError,
)
from mlssocial.models import Listing
from mlssocial.results import Unreadable

from .mapping import ADDRESS, FIELDS, map_listing
from .reading import Record, read_records

MAX_REJECTED_KEPT = 100
"""How many rejected records a report names; it counts them all."""

MAX_ID_LENGTH = keys.MAX_SORT_KEY_BYTES // 2
"""A longer id would not leave room for the other parts of the keys that it goes into."""


def listing_id(provider: str, listing_key: str) -> str:
    """
    Give the id of a listing that an import creates: ``flexmls-20060725224713296297000000``.

    Both parts are percent-encoded, the provider's hyphens too, so that two different pairs never give one id. One that would
    be too long is replaced by its hash.
    """
    made = f"{quote(provider, safe='').replace('-', '%2D')}-{quote(listing_key, safe='')}"
    # quote() never leaves a "%" in front of a hyphen: the hash of one pair is no other's id.
    return made if len(made) <= MAX_ID_LENGTH else f"%-{sha256(made.encode()).hexdigest()}"


class RejectedRecord(NamedTuple):
    """A record that could not be imported: where it stands, its ListingKey if it has one, and why."""

    source: str
    position: int
    key: str | None
    reason: str

    def __str__(self) -> str:
        key = "" if self.key is None else f" (ListingKey {self.key})"
        where = f"{self.source}:{self.position}" if self.source else "a record"
        return f"{where}{key}: {self.reason}"


@dataclass(slots=True)
class ImportReport:
    """
    What an import did, or in a dry run would have done.

    Attributes:
        skipped: How many records have no place among the listings, by reason.
        rejected: The first records that could not be imported; *rejected_count* counts them all.
        elapsed: Seconds.
    """

    dry_run: bool = False
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    rejected: list[RejectedRecord] = field(default_factory=list)
    rejected_count: int = 0
    elapsed: float = 0.0

    @property
    def skipped_count(self) -> int:
        """How many records were skipped, for whatever reason."""
        return sum(self.skipped.values())

    @property
    def total(self) -> int:
        """How many records came."""
        return self.created + self.updated + self.unchanged + self.skipped_count + self.rejected_count

    def as_dict(self) -> dict[str, Any]:
        """Give the report as what JSON can hold."""
        return {
            "dry_run": self.dry_run,
            "total": self.total,
            "created": self.created,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "skipped": dict(self.skipped),
            "rejected_count": self.rejected_count,
            "rejected": [record._asdict() for record in self.rejected],
            "elapsed": round(self.elapsed, 3),
        }

    def __str__(self) -> str:
        counts = (
            f"{self.total:,} records in {self.elapsed:.1f} s: {self.created:,} created, {self.updated:,} updated, "
            f"{self.unchanged:,} unchanged, {self.skipped_count:,} skipped, {self.rejected_count:,} rejected"
        )
        lines = [f"dry run, nothing was written: {counts}" if self.dry_run else counts]
        lines += [f"  skipped {count:,}: {reason}" for reason, count in sorted(self.skipped.items())]
        lines += [f"  rejected {record}" for record in self.rejected]
        if self.rejected_count > len(self.rejected):
            lines.append(f"  rejected {self.rejected_count - len(self.rejected):,} more")
        return "\n".join(lines)

    def skip(self, reason: str) -> None:
        """Count a record that has no place among the listings."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def reject(self, record: Record, reason: str) -> None:
        """Count a record that could not be imported, and keep the first ones."""
        self.rejected_count += 1
        if len(self.rejected) < MAX_REJECTED_KEPT:
            key = record.fields.get("ListingKey")
            named = key[:255] if isinstance(key, str) else None
            self.rejected.append(RejectedRecord(record.source, record.position, named, reason))


def import_listings(
    records: Iterable[Record],
    *,
    user_id: str,
    provider: str,
    connection_id: str | None = None,
    default_status: ListingStatus | str | None = None,
    dry_run: bool = False,
    progress: Callable[[ImportReport], None] | None = None,
) -> ImportReport:
    """
    Write a feed's records as a user's listings.

    A listing is known again by its provider and mls_id among the user's own, whatever its id is and whoever made it. Importing
    the same feed again writes nothing. A record that is older than what is stored, by ModificationTimestamp, is skipped; of
    records with the same key that cannot be told apart so, the last one stands. Reads all of the user's listings once; then one
    write for each that is new or has changed.

    Args:
        records: From :func:`read_records`, or ``Record(fields)`` of your own.
        user_id: Whose listings they become.
        provider: The feed's name, such as ``flexmls``; it becomes mls_provider.
        connection_id: The MLSConnection that they came by; it becomes mls_connection_id.
        default_status: For feeds that have no status at all; see :func:`map_listing`.
        dry_run: Read and compare, and write nothing.
        progress: Is called after each record with the report as it is then.

    Raises:
        InvalidKeyError: *user_id*, *provider* or *connection_id* cannot go into a key.
        FeedError: The feed cannot be read on.
        StoreError: DynamoDB refused. What was written stays written; importing again goes on from there.
        OutcomeUnknownError: Nobody can tell whether the last write was applied; importing again settles it.
    """
    running = _Import(user_id, provider, connection_id, default_status, ImportReport(dry_run=dry_run))
    started = time.monotonic()
    running.remember()
    for record in records:
        running.take(record)
        running.report.elapsed = time.monotonic() - started
        if progress is not None:
            progress(running.report)
    running.report.elapsed = time.monotonic() - started
    return running.report


class ImportOptions(TypedDict, total=False):
    """The options of :func:`import_listings`."""

    user_id: Required[str]
    provider: Required[str]
    connection_id: str | None
    default_status: ListingStatus | str | None
    dry_run: bool
    progress: Callable[[ImportReport], None] | None


def import_files(paths: Iterable[str | os.PathLike[str]], **options: Unpack[ImportOptions]) -> ImportReport:
    """Import files one after the other, ``-`` for standard input; *options* are those of :func:`import_listings`."""
    return import_listings(chain.from_iterable(map(read_records, paths)), **options)


# --- What an import owns, and how a change of it is known ------------------------------------------------------------


def _wire_path(name: str) -> Path:
    known = ListingData.model_fields.get(name)
    return ((known.alias if known else None) or name,)


_OWNED: Mapping[Path, str] = {
    **{_wire_path(name): name for name in ("status", "mls_provider", "mls_connection_id", *FIELDS) if name != "address"},
    **{("address", part): "address" for part in ADDRESS},
}
"""The paths inside Data that an import writes, with their top-level field's name; all else in a listing is not its own."""

_PATHS = tuple(_OWNED)
_NULL = {"NULL": True}


def _at(data: WireMap, path: Path) -> AttributeValue | None:
    found = data.get(path[0])
    return found if len(path) == 1 or found is None else found.get("M", {}).get(path[1])


def _print(value: AttributeValue | None) -> int:
    """Tell a value from others by 64 bits; missing and null are one, since an import takes neither for the other's change."""
    return 0 if value is None or value == _NULL else hash(json.dumps(value, sort_keys=True, default=repr))


def _prints(data: WireMap) -> array[int]:
    return array("q", [_print(_at(data, path)) for path in _PATHS])


@dataclass(slots=True)
class _Known:
    """What is remembered of a stored listing."""

    listing_id: str
    mls_number: str | None
    modified: datetime | None
    prints: array[int]

    @classmethod
    def of(cls, listing_id: str, data: ListingData, wire: WireMap) -> _Known:
        return cls(listing_id, data.mls_number, _instant(data.modification_timestamp), _prints(wire))

    def differences(self, wire: WireMap) -> dict[Path, AttributeValue]:
        """Give what the feed says, and is not what is stored."""
        given = ((path, _at(wire, path), stored) for path, stored in zip(_PATHS, self.prints, strict=True))
        return {path: value for path, value, stored in given if value is not None and _print(value) != stored}

    def take(self, data: ListingData, changed: Mapping[Path, AttributeValue]) -> None:
        """Remember what was written."""
        self.mls_number = data.mls_number or self.mls_number
        self.modified = _instant(data.modification_timestamp) or self.modified
        for path, value in changed.items():
            self.prints[_PATHS.index(path)] = _print(value)


def _instant(timestamp: str | None) -> datetime | None:
    """Read a timestamp of 0 to 9 fraction digits, with Z or an offset; without one it is taken as UTC."""
    try:
        found = datetime.fromisoformat(timestamp or "")
    except ValueError:
        return None
    return found if found.utcoffset() is not None else found.replace(tzinfo=UTC)


# --- The import ------------------------------------------------------------------------------------------------------

_REJECTING = (
    CodecError,
    InvalidRecordError,
    InvalidItemError,
    InvalidKeyError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    StaleItemError,
    WrongEntityError,
)
"""Errors of one record: the others go on."""


class _Import:
    """One run: what is stored, and the report."""

    def __init__(
        self,
        user_id: str,
        provider: str,
        connection_id: str | None,
        default_status: ListingStatus | str | None,
        report: ImportReport,
    ) -> None:
        keys.listing_keys(user_id, "any", provider, "any")
        if connection_id is not None:
            keys.mls_connection_keys(user_id, connection_id)
        self.user_id = user_id
        self.provider = provider
        self.connection_id = connection_id
        self.default_status = None if default_status is None else ListingStatus(default_status)
        self.report = report
        self.known: dict[str, list[_Known]] = {}
        self.unreadable: dict[str, str] = {}

    def remember(self) -> None:
        """Take in what the user has of this provider."""
        stored, cursor = Listing.objects.query(self.user_id, consistent=True), None
        while True:
            page = stored.page(1_000, cursor)
            for listing in page:
                data = listing.data
                if data.mls_provider == self.provider and data.mls_id:
                    self.known.setdefault(data.mls_id, []).append(_Known.of(listing.listing_id, data, dump(data)))
            for row in page.unreadable:
                self._block(row)
            cursor = page.cursor
            if cursor is None:
                return

    def _block(self, row: Unreadable) -> None:
        """Say that a listing cannot be read, and remember it: a second one beside it would double it."""
        warnings.warn(f"left out: {row.error}", UnreadableItemWarning, stacklevel=2)
        data = row.row[schema.DATA].M if schema.DATA in row.row else None
        provider, mls_id = ((data or {}).get(name) for name in ("mlsProvider", "mlsId"))
        if provider is not None and self.provider == provider.S and mls_id is not None and mls_id.S:
            self.unreadable[mls_id.S] = f"it is stored already, and cannot be read: {row.error}"

    def take(self, record: Record) -> None:
        """Import one record, and count what became of it."""
        try:
            if record.problem is not None:
                self.report.reject(record, record.problem)
            else:
                self._upsert(self._mapped(record))
        except SkippedRecordError as skipped:
            self.report.skip(skipped.reason)
        except _REJECTING as error:
            self.report.reject(record, str(error))
        except StoreError as error:
            if error.code != "ValidationException":  # a listing that an update would make larger than an item may be
                raise
            self.report.reject(record, str(error))

    def _mapped(self, record: Record) -> ListingData:
        data = map_listing(record.fields, provider=self.provider, default_status=self.default_status)
        if self.connection_id is not None:
            data.mls_connection_id = self.connection_id
        data.synced_at = datetime.now(UTC)
        return data

    def _upsert(self, data: ListingData) -> None:
        wire = dump(data)
        known = self._find(data)
        if known is None and data.mls_id in self.unreadable:
            raise InvalidRecordError("ListingKey", self.unreadable[data.mls_id])
        if known is None:
            self._create(data, wire)
            return
        modified = _instant(data.modification_timestamp)
        if modified is not None and known.modified is not None and modified < known.modified:
            raise SkippedRecordError("older than what is stored, by ModificationTimestamp")
        changed = known.differences(wire)
        if not changed:
            self.report.unchanged += 1
            return
        if not self.report.dry_run:
            self._update(known.listing_id, wire, changed)
        self.report.updated += 1
        known.take(data, changed)

    def _find(self, data: ListingData) -> _Known | None:
        """Find the stored listing; where several have one key, as the other application left some, the one with that number."""
        found = self.known.get(data.mls_id or "", [])
        return next((known for known in found if known.mls_number == data.mls_number), found[0] if found else None)

    def _create(self, data: ListingData, wire: WireMap) -> None:
        made = listing_id(self.provider, data.mls_id or "")
        if not self.report.dry_run:
            fields = data.model_dump(exclude_unset=True, exclude_none=True)  # null clears what is there, and here is nothing
            said = {name: value for name, value in fields.items() if value != {}}
            Listing.objects.create(self.user_id, made, ListingData.model_validate(said))
        self.report.created += 1
        self.known.setdefault(data.mls_id or "", []).append(_Known.of(made, data, wire))

    def _update(self, known_id: str, wire: WireMap, changed: Mapping[Path, AttributeValue]) -> None:
        """Change those paths and no others; Listing.objects.update() takes no field that the payload does not declare."""
        sets = {**changed, ("syncedAt",): wire["syncedAt"]}
        fields = frozenset(_OWNED[path] for path in changed)
        writes.apply(prepare.update(schema.LISTING, (self.user_id, known_id), Changes(sets=sets, fields=fields)))
