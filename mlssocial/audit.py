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
from .operations import operation
from .scans import Met, Page, Scan, TokenReport, insist, scan, sealed_under
from .schema import ENTITIES, entity_type
from .wire import Row


@dataclass(slots=True)
class AuditReport(TokenReport):
    """
    What an audit found, and did about it; ``str`` of it is a summary.

    Attributes:
        scanned: How many items were read, of whatever kind.
        others: How many of them are another application's, which were left alone.
        expired: How many of ours have a TTL that has passed, which were left alone.
        read_units: What the scan cost. Repairs cost write units beside: the item's size, once more for each index it is in.
        elapsed: Seconds, of all runs where a checkpoint went on.
        clear_tokens: How many tokens lie in clear text.
        sealed_tokens: How many lie sealed, by the key's id; under ``?`` what does not say its key in a form of ours.
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

    def take(self, page: Page[Looked], *, keep: int) -> list[Finding]:
        """Count what came of a page, keep its findings as long as there are no more than *keep*, and give all of them."""
        self.count(page)
        findings = [item.finding for item in page.found if item.finding is not None]
        for item in page.found:
            self.count_tokens(item.tokens)
        for finding in findings:
            kinds = self.counts.setdefault(finding.entity, {})
            for kind in finding.kinds:
                kinds[kind.value] = kinds.get(kind.value, 0) + 1
            if finding.drifted:
                outcome = finding.outcome.value
                self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.findings += findings[: max(0, keep - len(self.findings))]
        return findings

    def as_dict(self) -> dict[str, Any]:
        """Give the report as what JSON can hold."""
        return {
            "repair": self.repair,
            "scanned": self.scanned,
            "others": self.others,
            "expired": self.expired,
            "drifted": self.drifted,
            "left": self.left,
            "clear_tokens": self.clear_tokens,
            "sealed_tokens": self.sealed_tokens,
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
        lines = list(filter(None, (f"{cost}; {alone}", drift, self.tokens())))
        for entity, kinds in sorted(self.counts.items()):
            lines.append(f"  {entity}: " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items())))
        return "\n".join(lines)


@operation
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
    passed, are left alone. To repeat it, or to run it beside other writers or itself, is safe. Tokens are counted by the key
    that they are sealed under, and those in clear text are findings, which :func:`reseal_tokens` is for.

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

    def take(report: AuditReport, page: Page[Looked]) -> None:
        for finding in report.take(page, keep=keep):
            if on_finding is not None:
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


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of an item: what was found, and what its tokens are sealed under."""

    finding: Finding | None
    tokens: tuple[str | None, ...]


def _looked_at(row: Row, *, repair: bool) -> Looked | None:
    finding = examine(row)
    if finding is not None and repair and finding.drifted:
        finding = _repaired(finding, row)
    tokens = ENTITIES[entity_type(row) or ""].stored_tokens(row).values()
    return Looked(finding, tuple(map(sealed_under, tokens))) if finding is not None or tokens else None


def _repaired(finding: Finding, row: Row) -> Finding:
    finding, met = insist(finding, row, act=repair_drift, reread=reread, look=_drifted)
    if met is Met.CHANGING:
        return replace(finding, outcome=Outcome.FAILED, notes=(*finding.notes, "other writers kept changing it; audit again"))
    return replace(finding, outcome=Outcome.SETTLED) if met is Met.SETTLED else finding


def _drifted(row: Row) -> Finding | None:
    finding = examine(row)
    return finding if finding is not None and finding.drifted else None
