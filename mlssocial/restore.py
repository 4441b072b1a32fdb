"""
Restoring an export: each item as it was, attribute by attribute, into the table that is configured.

It is a job whose segments are the export's files, and a step is a page as it was exported. Items are put as they were, index
keys included; what another application had left behind comes back, and the audit finds it as before.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

from . import batch, segments
from .connection import RefusedError
from .exceptions import ConfigurationError, InvalidExportError, ItemAlreadyExistsError
from .manifests import DYNAMODB_JSON, Manifest, read_manifest
from .operations import operation
from .rawwrites import put, same
from .schema import entity_type, expired, key_of, now_millis
from .wire import Row
from .workers import Done, Position

MAX_AT_ONCE = 16
"""How many files are restored at once, at the most."""


class Conflict(StrEnum):
    """What is done where another item stands under the key of one that is restored."""

    FAIL = "fail"
    """The restore ends."""
    SKIP = "skip"
    """It is left as it is."""
    OVERWRITE = "overwrite"
    """It is replaced."""


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    Item: Row


_line = msgspec.json.Decoder(_Line)


@dataclass(slots=True)
class RestoreReport:
    """
    What a restore wrote; ``str`` of it is a summary.

    Attributes:
        dry_run: Whether nothing was to be written.
        items: How many items the export has, by EntityType.
        written: How many were written, or would be: there was none, or one whose TTL had passed.
        unchanged: How many stood there as they were exported.
        overwritten: How many replaced another, or would.
        skipped: How many were left out, since another stood there.
        conflicts: In a dry run that would fail: how many others stand there.
        elapsed: Seconds, of all runs where a checkpoint went on.
    """

    dry_run: bool = False
    items: dict[str, int] = field(default_factory=dict)
    written: int = 0
    unchanged: int = 0
    overwritten: int = 0
    skipped: int = 0
    conflicts: int = 0
    elapsed: float = 0.0

    @property
    def total(self) -> int:
        """How many items were looked at."""
        return self.written + self.unchanged + self.overwritten + self.skipped + self.conflicts

    def as_dict(self) -> dict[str, Any]:
        """Give the report as what JSON can hold."""
        named = ("dry_run", "items", "written", "unchanged", "overwritten", "skipped", "conflicts")
        return {name: getattr(self, name) for name in named} | {"elapsed": round(self.elapsed, 3)}

    def __str__(self) -> str:
        named = ("written", "unchanged", "overwritten", "skipped", "conflicts")
        done = ", ".join(f"{getattr(self, name):,} {name}" for name in named if getattr(self, name)) or "nothing to restore"
        return f"{self.total:,} items in {self.elapsed:.1f} s: {'dry run, would be: ' if self.dry_run else ''}{done}"


@operation
def restore_table(
    folder: str | Path,
    *,
    conflict: Conflict | str = Conflict.FAIL,
    dry_run: bool = False,
    checkpoint: str | Path | None = None,
    executor: Executor | str | None = None,
    progress: Callable[[RestoreReport], None] | None = None,
    verifying: Callable[[int], None] | None = None,
) -> RestoreReport:
    """
    Put every item of an export into the table, as it was, whatever the table's name.

    First every file is compared with the manifest, and nothing is written if one was altered. An item is written where there is
    none under its key; one that stands there as it was exported costs no write, so that to restore again, after an interruption
    or not, is safe. One request an item, a few at a time for each file; with *dry_run* a consistent read of 100 at a time.

    Args:
        folder: An export in DynamoDB JSON.
        conflict: What is done where another item stands under a key: ``fail`` at the first, ``skip`` it, or ``overwrite``.
        dry_run: Write nothing, and count what would be done.
        checkpoint: A file that says how far each file is, as :func:`audit_table` has one.
        executor: Where files are restored: threads; an executor of yours; or ``dask://HOST:PORT``, whose workers read the same
            folder under the same path.
        progress: Is given the report after each page.
        verifying: Is given how many bytes have been compared with the manifest.

    Raises:
        InvalidExportError: A file was altered, is missing, or is no export in DynamoDB JSON. Nothing was written.
        ItemAlreadyExistsError: Another item stands under a key, and *conflict* is ``fail``. What was written before it stays.
        ConfigurationError: The checkpoint is another restore's, or in use; *conflict* is no such choice.
        OutcomeUnknownError: An answer was lost, and so were those to the same write again. Call it again to go on.
        StoreError: DynamoDB refused, or could not be reached before the deadline. Call it again to go on.
    """
    policy, place = _policy(conflict), Path(folder).resolve()
    manifest = read_manifest(place)
    if manifest.format != DYNAMODB_JSON:
        raise InvalidExportError(
            str(folder), f"it is {manifest.format}, which leaves things out; restore takes {DYNAMODB_JSON}"
        )
    manifest.verify(place, verifying)
    step = _Restore(place, tuple(file.name for file in manifest.files), policy, dry_run)
    options = {"folder": str(place), "began": manifest.began, "dry_run": dry_run}
    job = segments.Job("restore", len(manifest.files), step, RestoreReport(dry_run, dict(manifest.items)), options)
    at_once = max(1, min(MAX_AT_ONCE, len(manifest.files)))
    report = segments.run(job, _take, at_once=at_once, checkpoint=checkpoint, executor=executor, progress=progress)
    _all_there(place, manifest, report)
    return report


def _policy(conflict: str) -> Conflict:
    try:
        return Conflict(conflict)
    except ValueError:
        raise ConfigurationError(f"conflict: one of {', '.join(Conflict)} is needed, not {conflict!r}") from None


def _take(report: RestoreReport, counts: dict[str, int]) -> None:
    for name, count in counts.items():
        setattr(report, name, getattr(report, name) + count)


def _all_there(folder: Path, manifest: Manifest, report: RestoreReport) -> None:
    wanted = sum(file.items for file in manifest.files)
    if report.total != wanted:
        raise InvalidExportError(str(folder), f"its files have {report.total:,} items, and its manifest says {wanted:,}")


# --- One page --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Restore:
    """A step: reads the next gzip member of a file, which is a page as it was exported, and writes its items."""

    folder: Path
    names: tuple[str, ...]
    conflict: Conflict
    dry_run: bool

    def __call__(self, segment: int, at: Position) -> Done[dict[str, int]]:
        rows, after = self._read(self.folder / self.names[segment], at or 0)
        look = self._compared if self.dry_run else self._put
        return Done(dict(Counter(look(rows))), after)

    def _read(self, path: Path, at: int) -> tuple[list[Row], int | None]:
        """Give the items of the member that begins at an offset, and where the next one does; None at the end."""
        member, length = zlib.decompressobj(zlib.MAX_WBITS | 16), 0
        content = bytearray()
        try:
            with path.open("rb") as file:
                file.seek(at)
                while not member.eof and (chunk := file.read(1 << 16)):
                    content += member.decompress(chunk)
                    length += len(chunk)
            if length and not member.eof:
                raise InvalidExportError(str(path), "it ends amid a page")
            after = at + length - len(member.unused_data)
            return [_line.decode(line).Item for line in content.splitlines()], after if after < path.stat().st_size else None
        except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidExportError(str(path), f"it has no DynamoDB JSON ({type(error).__name__})") from None
        except OSError as error:
            raise InvalidExportError(str(path), f"it cannot be read: {error.strerror}") from error

    def _compared(self, rows: list[Row]) -> list[str]:
        """Say what would become of items."""
        now = now_millis()
        found = batch.read(map(key_of, rows), consistent=True)
        there = {key_of(row): row for row in found if not expired(row, now)}  # what has expired is replaced
        return [self._met(row, there.get(key_of(row))) for row in rows]

    def _met(self, row: Row, there: Row | None) -> str:
        named = {Conflict.FAIL: "conflicts", Conflict.SKIP: "skipped", Conflict.OVERWRITE: "overwritten"}
        if there is None:
            return "written"
        return "unchanged" if same(row, there) else named[self.conflict]

    def _put(self, rows: list[Row]) -> list[str]:
        with closing(batch.at_once(self._put_one, rows, Event())) as done:
            return list(done)

    def _put_one(self, row: Row) -> str:
        try:
            return "written" if put("restore", row) else "unchanged"
        except RefusedError as refused:
            met = self._met(row, refused.item)
            if met == "conflicts":
                kind = entity_type(refused.item or {}) or "row without EntityType"
                reason = f"another {kind} stands there; go on with conflict skip or overwrite"
                raise ItemAlreadyExistsError("restore", key_of(row), reason) from None
            if met == "overwritten":
                put("restore", row, anyway=True)
            return met
