"""
Migrations: the items of a table brought into a new shape while it is in use, resumable, one run at a time.

A migration is a job over all items, whose step is a page: see :mod:`scans`. Its transform is pure and idempotent, and every
write is conditional on what was read, so that a step which is done twice changes nothing the second time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import migration_files, migration_record, scans
from . import segments as jobs
from .codec import WireMap
from .exceptions import ConfigurationError
from .migration_files import Migration
from .migration_record import LEASE_SECONDS, Applied, Lease, Lock
from .operations import operation
from .scans import MAX_SEGMENTS, Page, Scan, ScanReport
from .transforms import Fate, Outcome, Transform, Transformer
from .wire import Row
from .workers import Done

FOLDER = "migrations"


@dataclass(slots=True)
class MigrationReport(ScanReport):
    """
    What became of a migration, or in a dry run would; ``str`` of it is a summary.

    Attributes:
        scanned: How many items were read, of whatever kind.
        others: How many of them are of other entities or other applications, which were left alone.
        expired: How many have a TTL that has passed, which were left alone.
        read_units: What the scan cost.
        elapsed: Seconds, of all runs where a checkpoint went on.
        migration: Its name.
        direction: ``up`` or ``down``.
        dry_run: Whether nothing was to be written.
        changed: How many items changed.
        deleted: How many were deleted.
        settled: How many another writer changed first, so that nothing was left to do.
        failed: How many could not be migrated: they are as they were.
        write_units: What the writes cost, by DynamoDB's rules on sizes and indexes.
        failures: The first items that failed, as many as were to be kept.
        samples: What changes in the first items, in a dry run.
        unverified: How many items a second look would change again; None where there was none.
        failed_bytes: How long the file of failed items is.
    """

    migration: str = ""
    direction: str = "up"
    dry_run: bool = False
    changed: int = 0
    deleted: int = 0
    settled: int = 0
    failed: int = 0
    write_units: int = 0
    failures: list[Outcome] = field(default_factory=list)
    samples: list[Outcome] = field(default_factory=list)
    unverified: int | None = None
    failed_bytes: int = 0

    @property
    def is_done(self) -> bool:
        """Whether every item is as the migration wants it."""
        return not self.dry_run and not self.failed and not self.unverified

    def take(self, page: Page[Outcome], *, keep: int, samples: int) -> list[Outcome]:
        """Count what came of a page, keep its first failures and samples, and give its failures."""
        self.count(page)
        for outcome in page.found:
            self.changed += outcome.fate is Fate.CHANGED
            self.deleted += outcome.fate is Fate.DELETED
            self.settled += outcome.fate is Fate.SETTLED
            self.write_units += outcome.write_units
            if outcome.changes and len(self.samples) < samples:
                self.samples.append(outcome)
        failures = [outcome for outcome in page.found if outcome.fate is Fate.FAILED]
        self.failed += len(failures)
        self.failures += failures[: max(0, keep - len(self.failures))]
        return failures

    def as_dict(self) -> dict[str, Any]:
        """Give the report as what JSON can hold."""
        named = ("migration", "direction", "dry_run", "scanned", "others", "expired", "changed", "deleted", "settled", "failed")
        return {
            **{name: getattr(self, name) for name in (*named, "unverified", "read_units", "write_units")},
            "failures": [outcome.as_dict() for outcome in self.failures],
            "samples": [{"key": list(o.key), "entity": o.entity, "changes": list(o.changes)} for o in self.samples],
            "elapsed": round(self.elapsed, 3),
        }

    def __str__(self) -> str:
        words = ("to change", "to delete") if self.dry_run else ("changed", "deleted")
        counts = dict(zip(words, (self.changed, self.deleted), strict=True))
        counts |= {"changed by others first": self.settled, "failed": self.failed}
        did = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "nothing to change"
        cost = f"{self.scanned:,} items in {self.elapsed:.1f} s for {self.read_units:,} read units"
        cost += f"; its writes cost {self.write_units:,} write units" if self.write_units else ""
        seen = "" if self.unverified is None else f"; verified: {self.unverified or 'nothing'} left to change"
        return f"{self.migration} {self.direction}: {did}{seen}\n{cost}"


@dataclass(frozen=True, slots=True)
class Status:
    """
    A migration, and whether it was applied.

    Attributes:
        name: Its name.
        applied: What the table says of it; None where it is pending.
        is_missing: Whether it was applied and has no file.
        is_altered: Whether its file is another than the one that was applied.
    """

    name: str
    applied: Applied | None
    is_missing: bool = False
    is_altered: bool = False


@dataclass(frozen=True, kw_only=True)
class Migrations:
    """
    The migrations of a folder, and how they are run.

    Attributes:
        folder: Where their files are: ``0001_name.py``, each with ``entities`` and ``transform(item)``.
        segments: How many parts of the table are read at once, 1 to 64.
        max_write_units: How many write units a second are spent, on average.
        max_read_units: The same of read units.
        executor: Where the parts are worked on: threads; an executor of yours; or ``dask://HOST:PORT``. A worker in another
            process has AWS credentials and keys of its own.
        checkpoint: The file that says how far a migration is, removed at its end; beside the migration unless one is named.
        failed: The file of the items that could not be migrated, a line of JSON each; beside the migration unless one is named.
        verify: Look at every item a second time, and find nothing to change.
        lease_seconds: How long the lock stays where its holder has died.
        keep: How many failures and samples a report names; it counts them all.
        progress: Is given the report after each page.
    """

    folder: str | Path = FOLDER
    segments: int = 1
    max_write_units: float | None = None
    max_read_units: float | None = None
    executor: Executor | str | None = None
    checkpoint: str | Path | None = None
    failed: str | Path | None = None
    verify: bool = True
    lease_seconds: float = LEASE_SECONDS
    keep: int = 10
    progress: Callable[[MigrationReport], None] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if isinstance(self.segments, bool) or not isinstance(self.segments, int) or not 1 <= self.segments <= MAX_SEGMENTS:
            raise ConfigurationError(f"segments: a whole number from 1 to {MAX_SEGMENTS} is needed, not {self.segments!r}")
        for name in ("max_write_units", "max_read_units", "lease_seconds"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ConfigurationError(f"{name}: a number above zero is needed, not {value!r}")

    def new(self, name: str, *, template: str = "empty") -> Path:
        """Write a new migration's file, with the next number. Needs no table."""
        return migration_files.made(Path(self.folder), name, template)

    @operation
    def status(self) -> list[Status]:
        """Say of each migration whether it was applied, and of those that were whether their files are still the same."""
        applied, files = migration_record.applied(), {found.name: found for found in self._files()}
        made = []
        for name in sorted({*applied, *files}, key=lambda name: (int(name.partition("_")[0]), name)):
            record, file = applied.get(name), files.get(name)
            altered = record is not None and file is not None and record.checksum != file.checksum
            made.append(Status(name, record, file is None, altered))
        return made

    def lock(self) -> Lock | None:
        """Say who has the lock."""
        return migration_record.lock()

    def unlock(self) -> Lock | None:
        """Take the lock away from whoever has it, such as a run that has died, and say who that was."""
        return migration_record.unlock()

    @operation
    def plan(self) -> list[MigrationReport]:
        """
        Say what each pending migration would do to the items as they are now, with samples and the cost. Nothing is written.

        Raises:
            ConfigurationError: A file cannot be loaded.
            StoreError: DynamoDB refused, or could not be reached.
        """
        return [self._scanned(migration, "up", dry_run=True, samples=self.keep) for migration in self._pending()]

    @operation
    def up(self, *, to: str | None = None) -> list[MigrationReport]:
        """
        Apply the pending migrations, by their numbers, to *to* if it is given; stop behind one that is not done.

        A migration is recorded as applied when no item has failed and a second look finds nothing to change. One that was
        interrupted goes on from its checkpoint. To run it again, and beside other writers, is safe.

        Raises:
            MigrationLockedError: Another run has the lock, or took it.
            ConfigurationError: A file cannot be loaded; a checkpoint is another run's; there is no migration *to*.
            ExecutorError: The executor lost a page. Start again to go on.
            StoreError: DynamoDB refused, or could not be reached. Start again to go on.
        """
        with migration_record.leased(self.lease_seconds) as lease:
            reports = []
            for migration in self._pending(to):
                report = self._run(migration, "up", lease)
                reports.append(report)
                if not report.is_done:
                    break
                lease.record(migration.name, migration.checksum)
            return reports

    @operation
    def down(self) -> MigrationReport:
        """Undo the migration that was applied last, by its number, with its ``down``; errors as :meth:`up`."""
        with migration_record.leased(self.lease_seconds) as lease:
            applied = [status for status in self.status() if status.applied is not None]
            if not applied:
                raise ConfigurationError("no migration was applied, so that there is none to undo")
            files = {found.name: found for found in self._files()}
            migration = files.get(applied[-1].name)
            if migration is None or not migration.goes_down:
                lack = f"{self.folder} has no file of it" if migration is None else "it has no down(item)"
                raise ConfigurationError(f"{applied[-1].name} cannot be undone: {lack}")
            report = self._run(migration, "down", lease)
            if report.is_done:
                lease.forget(migration.name)
            return report

    # --- One migration ---

    def _files(self) -> list[Migration]:
        return migration_files.found(Path(self.folder))

    def _pending(self, to: str | None = None) -> list[Migration]:
        """Give what is pending, all of it loaded: a later file that cannot be is known before anything is done."""
        files, applied = self._files(), migration_record.applied()
        if to is not None and to not in {found.name for found in files}:
            raise ConfigurationError(
                f"{self.folder} has no migration {to}; there are {', '.join(f.name for f in files) or 'none'}"
            )
        last = len(files) if to is None else next(n for n, found in enumerate(files, 1) if found.name == to)
        pending = [found for found in files[:last] if found.name not in applied]
        for found in pending:
            found.check()
        return pending

    def _run(self, migration: Migration, direction: str, lease: Lease) -> MigrationReport:
        """Migrate, and look again."""
        report = self._scanned(migration, direction, lease=lease)
        if self.verify and not report.failed:
            again = self._scanned(migration, direction, dry_run=True, lease=lease)
            report.unverified = again.changed + again.deleted + again.failed
            report.read_units += again.read_units
            report.elapsed += again.elapsed
        return report

    def _scanned(
        self,
        migration: Migration,
        direction: str,
        *,
        dry_run: bool = False,
        lease: Lease | None = None,
        samples: int = 0,
    ) -> MigrationReport:
        """Do a migration, or see what it would do."""
        look = _Look(migration, direction, dry_run=dry_run, with_changes=samples > 0)
        scan = Scan(look, migration.entities, self.segments, consistent=True, limit=self._limit())
        begun = MigrationReport(migration=migration.name, direction=direction, dry_run=dry_run)
        options = {"migration": migration.name, "direction": direction, "text": migration.checksum}
        failed = None if dry_run else self._beside(self.failed, migration, "failed.ndjson")

        def take(report: MigrationReport, page: Page[Outcome]) -> None:
            if lease is not None:
                lease.check()
            found = report.take(page, keep=self.keep, samples=samples)
            if failed is not None:
                report.failed_bytes = _write_failures(failed, report.failed_bytes, found)

        return jobs.run(
            jobs.Job(
                "migration", self.segments, _Step(scan, dry_run, self.max_write_units, self.max_read_units), begun, options
            ),
            take,
            at_once=self.segments,
            checkpoint=None if dry_run else self._beside(self.checkpoint, migration, f"{direction}.checkpoint"),
            executor=self.executor,
            rate=None if self.max_write_units is None and self.max_read_units is None else 1.0,
            progress=self.progress,
        )

    def _limit(self) -> int:
        """Give how many items a page has: no more than are written in about a second."""
        rate = scans.PAGE_ITEMS if self.max_write_units is None else self.max_write_units / self.segments
        return max(1, min(scans.PAGE_ITEMS, int(rate)))

    def _beside(self, named: str | Path | None, migration: Migration, ending: str) -> Path:
        return Path(self.folder) / f"{migration.name}.{ending}" if named is None else Path(named)


@dataclass(frozen=True, slots=True)
class _Look:
    """What is done to each item. It pickles."""

    migration: Migration
    direction: str
    dry_run: bool
    with_changes: bool

    def __call__(self, row: Row) -> Outcome | None:
        """Do it."""
        return Transformer(self._transform, self.dry_run, self.with_changes)(row)

    def _transform(self) -> Transform:
        return self.migration.up() if self.direction == "up" else self.migration.down()


@dataclass(frozen=True, slots=True)
class _Step:
    """A page, which says how many seconds it has to take at the rates."""

    scan: Scan[Outcome]
    dry_run: bool
    max_write_units: float | None
    max_read_units: float | None

    def __call__(self, segment: int, after: WireMap | None) -> Done[Page[Outcome]]:
        """Do a page."""
        done = self.scan(segment, after)
        written = 0 if self.dry_run else sum(outcome.write_units for outcome in done.result.found)
        spent = ((written, self.max_write_units), (done.units, self.max_read_units))
        return replace(done, units=max((units / rate for units, rate in spent if rate is not None), default=0.0))


def _write_failures(path: Path, length: int, failures: list[Outcome]) -> int:
    """
    Add items to the file of those that failed, and give how long it is now.

    It is cut to *length*, which the checkpoint knows, so that a page which is done again names no item twice. There is no file
    where nothing has failed.
    """
    try:
        if not length and not failures:
            path.unlink(missing_ok=True)
            return 0
        with path.open("r+b" if length else "wb") as file:
            file.truncate(length)
            file.seek(length)
            file.writelines(json.dumps(outcome.as_dict()).encode() + b"\n" for outcome in failures)
            return file.tell()
    except OSError as error:
        raise ConfigurationError(f"{path}: the items that failed cannot be written there: {error.strerror}") from error
