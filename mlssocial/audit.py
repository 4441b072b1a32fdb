"""
The audit: every item of the table is looked at, and those whose index keys do not follow from their data are named or repaired.

It is a job over all items, whose step is a page: see :mod:`scans`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from .drift import Finding, Kind, Outcome, examine, reread
from .drift import repair as repair_drift
from .exceptions import ItemNotFoundError, OutcomeUnknownError, StaleItemError, WrongEntityError
from .scans import MAX_SEGMENTS as MAX_SEGMENTS
from .scans import Page, Scan, ScanReport, scan
from .schema import ENTITIES
from .wire import Row

_ATTEMPTS = 5
"""How often an item that other writers change meanwhile is looked at again."""


@dataclass(slots=True)
class AuditReport(ScanReport):
    """
    What an audit found, and did about it; ``str`` of it is a summary.

    Attributes:
        scanned: How many items were read, of whatever kind.
        others: How many of them are another application's, which were left alone.
        expired: How many of ours have a TTL that has passed, which were left alone.
        read_units: What the scan cost. Repairs cost write units beside: the item's size, once more for each index it is in.
        elapsed: Seconds, of all runs where a checkpoint went on.
        repair: Whether drift was repaired; otherwise nothing was written.
        counts: How many items there are of each kind of finding, by entity; an item of two kinds counts in both.
        outcomes: How many items that have drifted came to each outcome.
        findings: The first findings, as many as were to be kept.
    """

    repair: bool = False
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def drifted(self) -> int:
        """How many items have drifted, or had."""
        return sum(self.outcomes.values())

    @property
    def repaired(self) -> int:
        """How many items were repaired."""
        return self.outcomes.get(Outcome.REPAIRED, 0)

    @property
    def left(self) -> int:
        """How many items are as wrong as they were: drift that was not repaired, and what cannot be read."""
        unrepaired = self.outcomes.get(Outcome.FOUND, 0) + self.outcomes.get(Outcome.FAILED, 0)
        return unrepaired + sum(kinds.get(Kind.UNREADABLE, 0) for kinds in self.counts.values())

    def take(self, page: Page[Finding], *, keep: int) -> None:
        """Count what came of a page, and keep its findings as long as there are no more than *keep*."""
        self.count(page)
        for finding in page.found:
            kinds = self.counts.setdefault(finding.entity, {})
            for kind in finding.kinds:
                kinds[kind.value] = kinds.get(kind.value, 0) + 1
            if finding.drifted:
                outcome = finding.outcome.value
                self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.findings += page.found[: max(0, keep - len(self.findings))]

    def as_dict(self) -> dict[str, Any]:
        """Give the report as what JSON can hold."""
        return {
            "repair": self.repair,
            "scanned": self.scanned,
            "others": self.others,
            "expired": self.expired,
            "drifted": self.drifted,
            "left": self.left,
            "counts": self.counts,
            "outcomes": self.outcomes,
            "findings": [finding.as_dict() for finding in self.findings],
            "read_units": self.read_units,
            "elapsed": round(self.elapsed, 3),
        }

    def __str__(self) -> str:
        cost = f"{self.scanned:,} items in {self.elapsed:.1f} s for {self.read_units:,} read units"
        alone = f"left alone: {self.others:,} of other applications and {self.expired:,} expired"
        done = ", ".join(f"{count:,} {name}" for name, count in sorted(self.outcomes.items())) or "nothing to repair"
        drift = f"{self.drifted:,} drifted: {done if self.repair else 'dry run, nothing was written'}"
        lines = [f"{cost}; {alone}", drift]
        for entity, kinds in sorted(self.counts.items()):
            lines.append(f"  {entity}: " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items())))
        return "\n".join(lines)


def audit_table(
    *,
    repair: bool = False,
    segments: int = 1,
    checkpoint: str | Path | None = None,
    max_read_units: float | None = None,
    executor: Executor | str | None = None,
    keep: int = 100,
    on_finding: Callable[[Finding], None] | None = None,
    progress: Callable[[AuditReport], None] | None = None,
) -> AuditReport:
    """
    Find the items whose index keys do not follow from their data, and with *repair* make them follow.

    It reads the whole table, at half a read unit for each 4 KB; the reads are eventually consistent. Without *repair* nothing
    is written. A repair changes index attributes and WriteId only, under the condition that the item is still what was read;
    one that another writer has changed meanwhile is looked at again. Items of other applications, and those whose TTL has
    passed, are left alone. To repeat it, or to run it beside other writers or itself, is safe.

    Args:
        repair: Repair drift.
        segments: How many parts of the table are read at once, 1 to 64.
        checkpoint: A JSON file that says how far each segment is, written after each page and removed at the end. Where it is
            there, the audit goes on, and its report counts on; the page that was interrupted is read again. One run has it
            at a time.
        max_read_units: How many read units a second are spent, on average.
        executor: Where the parts are read: threads; an executor of yours, which is not shut down; or ``dask://HOST:PORT``, the
            scheduler of a Dask cluster. A worker in another process is told the table, and has AWS credentials of its own.
        keep: How many findings the report names; it counts them all.
        on_finding: Is given each finding, in the caller's thread, when its page is done.
        progress: Is given the report after each page.

    Raises:
        ConfigurationError: The checkpoint is another audit's, in use, or cannot be written; *segments*, *max_read_units* or
            *executor* cannot be.
        ExecutorError: The executor lost a page.
        StoreError: DynamoDB refused, or could not be reached before the deadline. With a checkpoint, start again to go on.
    """
    step = Scan(partial(_looked_at, repair=repair), tuple(ENTITIES), segments)

    def take(report: AuditReport, page: Page[Finding]) -> None:
        report.take(page, keep=keep)
        if on_finding is not None:
            for finding in page.found:
                on_finding(finding)

    return scan(
        "audit",
        step,
        AuditReport(repair=repair),
        take,
        options={"repair": repair},
        max_read_units=max_read_units,
        checkpoint=checkpoint,
        executor=executor,
        progress=progress,
    )


def _looked_at(row: Row, *, repair: bool) -> Finding | None:
    finding = examine(row)
    return _repaired(finding, row) if finding is not None and repair and finding.drifted else finding


def _repaired(finding: Finding, row: Row) -> Finding:
    """Repair an item; where it has changed since it was read, look at what it is now, a few times."""
    for _ in range(_ATTEMPTS):
        try:
            try:
                return repair_drift(finding, row)
            except StaleItemError as stale:
                now = stale.item
            except OutcomeUnknownError:  # to send it again does no harm: its condition lets it apply once
                now = reread(finding)
        except (ItemNotFoundError, WrongEntityError):
            now = None
        again = None if now is None else examine(now)
        if now is None or again is None or not again.drifted:
            return replace(finding, outcome=Outcome.SETTLED)
        finding, row = again, now
    return replace(finding, outcome=Outcome.FAILED, notes=(*finding.notes, "other writers kept changing it; audit again"))
