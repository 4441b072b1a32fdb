"""
Exports: every item of the table in files, as DynamoDB JSON or, one entity at a time, as CSV.

It is a job over all items, whose step is a page: see :mod:`scans`. A page leaves the step's process as the bytes that its file
gets: in DynamoDB JSON a gzip member of its own, so that a file grows page by page and is one gzip file all the same.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from . import flat, manifests, segments
from .codec import utc_text
from .crypto import Place, key_provider
from .exceptions import ConfigurationError, InvalidItemError
from .manifests import CSV, DATA_FOLDER, DYNAMODB_JSON, MANIFEST, DataFile, Manifest, Part
from .operations import operation
from .scans import Page, Scan, ScanReport, check
from .schema import DATA, ENTITIES, Entity, entity_type, key_of
from .settings import table_settings
from .tokens import MASK, Secret, is_sealed
from .wire import AttributeValue, Row
from .workers import Done, Position

CHECKPOINT = "checkpoint.json"
_SUFFIXES = {DYNAMODB_JSON: "json.gz", CSV: "csv"}

SEALED, SEALED_FOR_EXPORT, CLEAR = "sealed", "sealed_for_export", "clear"
"""How a token lies in an export: as in the table; sealed in the export alone; in clear text, since that was asked for."""


@dataclass(slots=True)
class ExportReport(ScanReport):
    """
    What an export wrote; ``str`` of it is a summary.

    Attributes:
        scanned: How many items were read, of whatever kind.
        others: How many of them are of other entities than those that were asked for.
        expired: How many have a TTL that has passed and are left out, in CSV alone.
        read_units: What the scan cost.
        elapsed: Seconds, of all runs where a checkpoint went on.
        began: When it began, ISO 8601 in UTC.
        items: How many items were written, by EntityType; under an empty name those without one.
        tokens: How many tokens were written, by how they lie: ``sealed``, ``sealed_for_export``, ``clear``.
        unreadable: How many items could not be read as their entity and are left out, in CSV alone.
        parts: The files, by name.
        ended: How many segments are done.
    """

    began: str = ""
    items: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    unreadable: int = 0
    parts: dict[str, Part] = field(default_factory=dict)
    ended: int = 0

    @property
    def total(self) -> int:
        """How many items were written."""
        return sum(self.items.values())

    @property
    def size(self) -> int:
        """How many bytes the files have."""
        return sum(part.size for part in self.parts.values())

    def as_dict(self) -> dict[str, Any]:
        """Give the report as what JSON can hold."""
        named = ("scanned", "others", "expired", "unreadable", "items", "tokens", "read_units", "began")
        files = [part.name for part in self.parts.values()]
        return {name: getattr(self, name) for name in named} | {"files": files, "elapsed": round(self.elapsed, 3)}

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {name or 'without EntityType'}" for name, count in sorted(self.items.items()))
        cost = f"in {self.elapsed:.1f} s for {self.read_units:,} read units"
        lines = [
            f"{self.total:,} items in {len(self.parts):,} files, {self.size:,} bytes, {cost}",
            counts or "nothing to export",
        ]
        if sealed := self.tokens.get(SEALED_FOR_EXPORT):
            lines.append(f"{sealed:,} tokens lie in clear text in the table, and sealed in the export")
        if clear := self.tokens.get(CLEAR):
            lines.append(f"{clear:,} TOKENS ARE IN CLEAR TEXT in the export: keep it as you keep passwords")
        if self.unreadable:
            lines.append(
                f"{self.unreadable:,} items cannot be read as their entity and are left out; 'mlssocial audit' names them"
            )
        return "\n".join(lines)


@operation
def export_table(
    folder: str | Path,
    *,
    format: str = DYNAMODB_JSON,  # noqa: A002  what everybody calls it
    entity: str | None = None,
    reveal: bool = False,
    consistent: bool = False,
    segments: int = 1,
    max_read_units: float | None = None,
    executor: Executor | str | None = None,
    progress: Callable[[ExportReport], None] | None = None,
) -> ExportReport:
    """
    Write the table's items into a folder, where :func:`restore_table` finds them.

    It reads the whole table, at half a read unit for each 4 KB, twice that with *consistent*. In DynamoDB JSON every item of
    every application is there with every attribute, those whose TTL has passed too; ``data/`` is what DynamoDB's own import
    from S3 takes. CSV has one entity's fields, flat, for people who analyse them, and cannot be restored.

    A token is in an export as it lies in the table, sealed. One that lies in clear text, another application's, is sealed for
    the export under the current key, and opens where the export is restored. Other attributes are as they are: the folder is
    its user's alone, and needs to be kept as the table is.

    An export that was interrupted goes on when it is called again with the same folder; a folder in which one has ended is
    refused. It is no snapshot: what is written meanwhile may be in it or not.

    Args:
        folder: Made unless it is there.
        format: ``dynamodb-json`` or ``csv``.
        entity: The one EntityType that is wanted, such as ``Listing``; CSV needs it.
        reveal: Leave tokens that lie in clear text as they lie. Sealed ones stay sealed.
        consistent: See every write before it.
        segments: How many parts of the table are read at once, 1 to 64, each into a file of its own.
        max_read_units: How many read units a second are spent, on average.
        executor: Where the parts are read: threads; an executor of yours; or ``dask://HOST:PORT``. Files are written here.
        progress: Is given the report after each page.

    Raises:
        ConfigurationError: A token lies in clear text, and there is no key to seal it with; the folder has an export, or
            another one's beginning, or cannot be written; an argument cannot be.
        ExecutorError: The executor lost a page.
        StoreError: DynamoDB refused, or could not be reached before the deadline. Call it again to go on.
    """
    check(segments, max_read_units)
    chosen = _entity(format, entity)
    place = _prepared(Path(folder))
    look = _Row(chosen if format == CSV else None, reveal=reveal, can_seal=key_provider() is not None)
    scan = Scan(look, None if chosen is None else (chosen.name,), segments, consistent, with_expired=format == DYNAMODB_JSON)
    return _run(
        _Pages(scan, chosen if format == CSV else None),
        place,
        {"format": format, "entity": entity, "reveal": reveal},
        max_read_units=max_read_units,
        executor=executor,
        progress=progress,
    )


def _entity(format: str, entity: str | None) -> Entity[Any] | None:  # noqa: A002
    """Give the entity that is meant; ConfigurationError where it or the format is none."""
    if format not in _SUFFIXES:
        raise ConfigurationError(f"format: one of {', '.join(_SUFFIXES)} is needed, not {format!r}")
    if entity is None and format == CSV:
        raise ConfigurationError(f"entity: CSV is of one; name one of {', '.join(ENTITIES)}")
    if entity is not None and entity not in ENTITIES:
        raise ConfigurationError(f"entity: one of {', '.join(ENTITIES)} is needed, not {entity!r}")
    return None if entity is None else ENTITIES[entity]


def _prepared(folder: Path) -> Path:
    """Make the folder, and see that nothing of another export is in it."""
    try:
        (folder / DATA_FOLDER).mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(folder.glob(f"{DATA_FOLDER}/*")):
            folder.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(f"{folder}: the export cannot be written: {error.strerror}") from error
    if (folder / MANIFEST).exists():
        raise ConfigurationError(f"{folder}: there is an export in it; name another folder")
    if any(folder.glob(f"{DATA_FOLDER}/*")) and not (folder / CHECKPOINT).exists():
        raise ConfigurationError(f"{folder}: there are files in {DATA_FOLDER} and no {CHECKPOINT} to go on with; name another")
    return folder


def _run(step: _Pages, folder: Path, options: Mapping[str, Any], *, max_read_units: float | None, **how: Any) -> ExportReport:
    suffix = _SUFFIXES[options["format"]]

    def take(report: ExportReport, written: _Written) -> None:
        report.count(written.page)
        report.unreadable += written.unreadable
        for counts, more in ((report.items, written.items), (report.tokens, written.tokens)):
            for name, count in more.items():
                counts[name] = counts.get(name, 0) + count
        if written.content:
            name = f"{DATA_FOLDER}/{written.segment:05d}.{suffix}"
            manifests.append(folder, report.parts.setdefault(name, Part(name)), written.content, sum(written.items.values()))
        report.ended += written.last
        if report.ended == step.scan.segments:  # before the checkpoint goes: there is one of the two at any moment
            _finish(folder, options["format"], report)

    job = segments.Job("export", step.scan.segments, step, ExportReport(began=utc_text(datetime.now(UTC))), options)
    return segments.run(job, take, at_once=step.scan.segments, checkpoint=folder / CHECKPOINT, rate=max_read_units, **how)


def _finish(folder: Path, format: str, report: ExportReport) -> None:  # noqa: A002
    """Read the files back, compare them with what was written, and write the manifest."""
    files = []
    for _, part in sorted(report.parts.items()):
        path = folder / part.name
        manifests.append(folder, part, b"", 0)  # a segment whose last page was empty has not cut it off yet
        files.append(DataFile(part.name, part.items, part.size, manifests.digest(path)))
    table = table_settings().table_name
    Manifest(format, table, report.began, utc_text(datetime.now(UTC)), report.items, report.tokens, files).write(folder)


# --- One page --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Line:
    """An item as it is written: its EntityType, its bytes, and how each of its tokens lies in them."""

    entity: str
    content: bytes
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Written:
    """A page as its file gets it."""

    segment: int
    page: Page[_Line]
    content: bytes
    items: dict[str, int]
    tokens: dict[str, int]
    unreadable: int
    last: bool


@dataclass(frozen=True, slots=True)
class _Pages:
    """A step: reads a page, and makes the bytes of it that its segment's file gets. In CSV, the first one has a header."""

    scan: Scan[_Line]
    flat: Entity[Any] | None

    def __call__(self, segment: int, after: Position) -> Done[_Written]:
        done = self.scan(segment, after)
        lines = [line for line in done.result.found if line.content]
        content = b"".join(line.content for line in lines)
        if self.flat is None:
            content = gzip.compress(content, 6) if content else b""
        elif after is None:
            content = flat.header(self.flat) + content
        items = dict(Counter(line.entity for line in lines))
        tokens = dict(Counter(token for line in lines for token in line.tokens))
        unreadable = len(done.result.found) - len(lines)
        page = replace(done.result, found=[])
        written = _Written(segment, page, content, items, tokens, unreadable, last=done.after is None)
        return Done(written, done.after, done.units)


@dataclass(frozen=True, slots=True)
class _Row:
    """Gives an item as it is written: a line of DynamoDB JSON, or of CSV where an entity is given; empty if unreadable."""

    flat: Entity[Any] | None
    reveal: bool
    can_seal: bool

    def __call__(self, row: Row) -> _Line:
        kind = entity_type(row) or ""
        if self.flat is not None:
            try:
                return _Line(kind, flat.line(self.flat, row))
            except InvalidItemError:
                return _Line(kind, b"")
        row, tokens = self._for_export(row, ENTITIES.get(kind))
        return _Line(kind, msgspec.json.encode({"Item": row}) + b"\n", tokens)

    def _for_export(self, row: Row, entity: Entity[Any] | None) -> tuple[Row, tuple[str, ...]]:
        """Give a row with its tokens as they are to lie in the export, and how each lies."""
        stored = row[DATA].M if entity is not None and DATA in row else None
        if entity is None or stored is None:
            return row, ()
        data, tokens = dict(stored), []
        for _, wire in entity.token_names:
            if wire not in data or data[wire].NULL or data[wire].S in {"", MASK}:
                continue
            data[wire], how = self._token(data[wire], Place.of(key_of(row), wire))
            tokens.append(how)
        return (row | {DATA: AttributeValue(M=data)}) if SEALED_FOR_EXPORT in tokens else row, tuple(tokens)

    def _token(self, value: AttributeValue, place: Place) -> tuple[AttributeValue, str]:
        if value.S is not None and is_sealed(value.S):
            return value, SEALED
        if self.reveal:
            return value, CLEAR
        if value.S is None or not self.can_seal:
            reason = "it is no text" if value.S is None else "no key is configured to seal it with"
            raise ConfigurationError(
                f"{place.attribute} of {place.pk} / {place.sk} lies in clear text, and {reason}: configure(token_keys=...), or "
                "reveal it (--reveal) and keep the export as you keep passwords"
            )
        return AttributeValue(S=place.seal(Secret(value.S))), SEALED_FOR_EXPORT
