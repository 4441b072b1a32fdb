"""What became of a feed: the report, single changes of listings, and the file of records that were rejected."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mlssocial.exceptions import ConfigurationError

from .reading import Record

MAX_NAMED = 100
"""How many rejected or shortened records a report names; it counts them all."""


class RejectedRecord(NamedTuple):
    """A record that could not be imported: where it stands, its ListingKey if it has one, and why."""

    source: str
    position: int
    key: str | None
    reason: str

    def __str__(self) -> str:
        return f"{_place(self.source, self.position, self.key)}: {self.reason}"


class ShortenedRecord(NamedTuple):
    """A record whose photos an item could not hold in full: where it stands, and how many of them are kept."""

    source: str
    position: int
    key: str | None
    kept: int
    photos: int

    def __str__(self) -> str:
        where = _place(self.source, self.position, self.key)
        return f"{where}: {self.kept} of {self.photos} photos kept, since an item holds 400 KB"


class ListingChange(NamedTuple):
    """
    What a record did to a listing, or in a dry run would have done.

    Attributes:
        action: ``created``, ``updated``, ``removed`` or ``marked``.
        fields: What changed of a listing that was there, by names in ``Data``: what it was, None for nothing, and what it is.
    """

    action: str
    listing_id: str
    key: str
    source: str
    position: int
    fields: dict[str, tuple[Any, Any]]


@dataclass(slots=True)
class ImportReport:
    """
    What an import did, or in a dry run would have done; ``str`` of it is a summary.

    Attributes:
        removed: How many listings were deleted or marked, because the feed asked for their removal.
        propagated: How many changes of a status were brought to all copies of a listing and to its posts.
        shortened: The first listings that keep fewer photos than the feed has; *shortened_count* counts them all.
        skipped: How many records have no place among the listings, by reason.
        rejected: The first records that could not be imported; *rejected_count* counts them all.
        elapsed: Seconds, of all runs where a checkpoint went on.
    """

    dry_run: bool = False
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    propagated: int = 0
    shortened: list[ShortenedRecord] = field(default_factory=list)
    shortened_count: int = 0
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
        return self.created + self.updated + self.unchanged + self.removed + self.skipped_count + self.rejected_count

    def as_dict(self) -> dict[str, Any]:
        """Give the report as what JSON can hold."""
        return {
            "dry_run": self.dry_run,
            "total": self.total,
            "created": self.created,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "propagated": self.propagated,
            "shortened_count": self.shortened_count,
            "shortened": [record._asdict() for record in self.shortened],
            "skipped": dict(self.skipped),
            "rejected_count": self.rejected_count,
            "rejected": [record._asdict() for record in self.rejected],
            "elapsed": round(self.elapsed, 3),
        }

    def __str__(self) -> str:
        counts = (
            f"{self.total:,} records in {self.elapsed:.1f} s: {self.created:,} created, {self.updated:,} updated, "
            f"{self.unchanged:,} unchanged, {self.removed:,} removed, {self.skipped_count:,} skipped, "
            f"{self.rejected_count:,} rejected"
        )
        lines = [f"dry run, nothing was written: {counts}" if self.dry_run else counts]
        if self.propagated:
            lines.append(f"  status brought to all copies and posts: {self.propagated:,}")
        lines += [f"  skipped {count:,}: {reason}" for reason, count in sorted(self.skipped.items())]
        lines += _named("shortened", self.shortened, self.shortened_count)
        lines += _named("rejected", self.rejected, self.rejected_count)
        return "\n".join(lines)

    def skip(self, reason: str) -> None:
        """Count a record that has no place among the listings."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def reject(self, record: Record, reason: str) -> None:
        """Count a record that could not be imported, and keep the first ones."""
        self.rejected_count += 1
        if len(self.rejected) < MAX_NAMED:
            self.rejected.append(RejectedRecord(record.source, record.position, _key(record), reason))

    def shorten(self, record: Record, kept: int, photos: int) -> None:
        """Count a listing that keeps some of its photos only, and keep the first ones."""
        self.shortened_count += 1
        if len(self.shortened) < MAX_NAMED:
            self.shortened.append(ShortenedRecord(record.source, record.position, _key(record), kept, photos))


class RejectedFile:
    """
    The file of rejected records, one a line: a feed that can be mended and imported again.

    Beside a record's own fields stand where it was and why it was rejected, under names that no feed uses. It is made with its
    first record. *size* is how long it may be trusted to be; what an interrupted run has written behind that is dropped.
    """

    def __init__(self, path: Path, size: int | None) -> None:
        self.path = path
        self._size = size
        self._file: BinaryIO | None = None
        if size is not None and path.exists():
            self._opened()

    def write(self, record: Record, reason: str) -> None:
        """Add a record."""
        why = {"@mlssocial.source": record.source, "@mlssocial.line": record.position, "@mlssocial.reason": reason}
        text = {} if record.text is None else {"@mlssocial.text": record.text}
        line = json.dumps(why | text | {name: value for name, value in record.fields.items() if name not in why})
        try:
            self._opened().write(line.encode() + b"\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def flush(self) -> int | None:
        """See to it that all of it is in the file, and give its length; None where there is none."""
        if self._file is None:
            return self._size
        try:
            self._file.flush()
            return self._file.tell()
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Close the file; what could not be written has been said."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            try:
                file = self._file = self.path.open("ab")
                if self._size is not None:
                    file.truncate(self._size)
                    file.seek(0, os.SEEK_END)
            except OSError as error:
                raise self._unwritable(error) from error
        return self._file

    def _unwritable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(f"{self.path}: rejected records cannot be written there: {error.strerror}")


def _key(record: Record) -> str | None:
    key = record.fields.get("ListingKey")
    return key[:255] if isinstance(key, str) else None


def _place(source: str, position: int, key: str | None) -> str:
    named = "" if key is None else f" (ListingKey {key})"
    return (f"{source}:{position}" if source else "a record") + named


def _named(what: str, records: list[Any], count: int) -> list[str]:
    lines = [f"  {what} {record}" for record in records]
    return [*lines, f"  {what} {count - len(records):,} more"] if count > len(records) else lines
