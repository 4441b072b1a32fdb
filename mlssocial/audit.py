"""
The audit: every item of the table is looked at, and those whose index keys do not follow from their data are named or repaired.

A segmented, paginated Scan. The unit of work is a page: it is read and its repairs are made in a thread, and what came of it is
taken over in the caller's thread, which alone calls back and writes the checkpoint. Memory holds one page a segment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

from .codec import WireMap
from .connection import store
from .drift import Finding, Kind, Outcome, examine, reread
from .drift import repair as repair_drift
from .exceptions import ConfigurationError, ItemNotFoundError, OutcomeUnknownError, StaleItemError, WrongEntityError
from .expressions import Expression
from .schema import ENTITIES, ENTITY_TYPE, expired, now_millis
from .wire import Row, decode_row, plain_row

PAGE_ITEMS = 1_000
"""How many items a request reads at the most: a page's repairs are made before the checkpoint says so."""

MAX_SEGMENTS = 64
"""How many segments there may be; each has a thread."""

_ATTEMPTS = 5
"""How often an item that other writers change meanwhile is looked at again."""

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Page:
    """What came of a page; *after* is where its segment goes on, None at the end."""

    segment: int
    scanned: int
    others: int
    expired: int
    findings: list[Finding]
    read_units: float
    after: WireMap | None


@dataclass(slots=True)
class AuditReport:
    """
    What an audit found, and did about it; ``str`` of it is a summary.

    Attributes:
        repair: Whether drift was repaired; otherwise nothing was written.
        scanned: How many items were read, of whatever kind.
        others: How many of them are another application's, which were left alone.
        expired: How many of ours have a TTL that has passed, which were left alone.
        counts: How many items there are of each kind of finding, by entity; an item of two kinds counts in both.
        outcomes: How many items that have drifted came to each outcome.
        findings: The first findings, as many as were to be kept.
        read_units: What the scan cost. Repairs cost write units beside: the item's size, once more for each index it is in.
        elapsed: Seconds, of all runs where a checkpoint went on.
    """

    repair: bool = False
    scanned: int = 0
    others: int = 0
    expired: int = 0
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    read_units: float = 0.0
    elapsed: float = 0.0

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

    def take(self, page: Page, *, keep: int) -> None:
        """Count what came of a page, and keep its findings as long as there are no more than *keep*."""
        self.scanned += page.scanned
        self.others += page.others
        self.expired += page.expired
        self.read_units += page.read_units
        for finding in page.findings:
            kinds = self.counts.setdefault(finding.entity, {})
            for kind in finding.kinds:
                kinds[kind.value] = kinds.get(kind.value, 0) + 1
            if finding.drifted:
                outcome = finding.outcome.value
                self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.findings += page.findings[: max(0, keep - len(self.findings))]

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
        segments: How many parts of the table are read at once, each in a thread; 1 to 64.
        checkpoint: A JSON file that says how far each segment is, written after each page and removed at the end. Where it is
            there, the audit goes on, and its report counts on; the page that was interrupted is read again.
        max_read_units: How many read units a second are spent, on average.
        keep: How many findings the report names; it counts them all.
        on_finding: Is given each finding, in the caller's thread, when its page is done.
        progress: Is given the report after each page.

    Raises:
        ConfigurationError: The checkpoint is another audit's or cannot be written; *segments* or *max_read_units* cannot be.
        StoreError: DynamoDB refused, or could not be reached before the deadline. With a checkpoint, start again to go on.
    """
    _check(segments, max_read_units)
    path = None if checkpoint is None else Path(checkpoint)
    state = _State(_table(), segments, repair, AuditReport(repair=repair))
    if path is not None:
        state = _resumed(path, state) or state
        _write(path, state)  # a file that cannot be written is known before anything is done
    report = state.report
    started = time.monotonic() - report.elapsed
    scan = _Scan(segments, repair, None if max_read_units is None else max_read_units / segments)
    with closing(scan.pages(state.positions)) as pages:
        for page in pages:
            report.take(page, keep=keep)
            report.elapsed = time.monotonic() - started
            for finding in page.findings:
                if on_finding is not None:
                    on_finding(finding)
            state.positions[page.segment] = page.after
            if path is not None:
                _write(path, state)
            if progress is not None:
                progress(report)
    if path is not None:
        path.unlink(missing_ok=True)
    return report


# --- Pages -----------------------------------------------------------------------------------------------------------


_Position = dict[int, WireMap | None]
"""Where each segment goes on, None where it is done; one that has not begun is not there."""


@dataclass(frozen=True, slots=True)
class _Scan:
    """A segmented scan. *rate* is how many read units a second a segment may spend."""

    segments: int
    repair: bool
    rate: float | None
    stopped: Event = field(default_factory=Event)

    def pages(self, positions: _Position) -> Generator[Page, None, None]:
        """Work through all segments, and give each page as it is done; a segment's next page begins when this one was taken."""
        pending: dict[Future[Page], int] = {}
        with ThreadPoolExecutor(self.segments, thread_name_prefix="mlssocial-audit") as pool:

            def begin(segment: int, after: WireMap | None) -> None:
                pending[pool.submit(copy_context().run, self.page, segment, after)] = segment

            try:
                for segment in range(self.segments):
                    if segment not in positions or positions[segment] is not None:
                        begin(segment, positions.get(segment))
                while pending:
                    for future in wait(pending, return_when=FIRST_COMPLETED).done:
                        segment = pending.pop(future)
                        page = future.result()
                        yield page
                        if page.after is not None:
                            begin(segment, page.after)
            finally:  # whatever ends this early ends the pages that are under way, too
                self.stopped.set()

    def page(self, segment: int, after: WireMap | None) -> Page:
        """Read a page and do what is to be done with it."""
        started, now = time.monotonic(), now_millis()
        answer = store().call("Scan", self._request(segment, after))
        findings, gone = [], 0
        for row in map(decode_row, answer.get("Items", ())):
            if self.stopped.is_set():
                break
            if expired(row, now):
                gone += 1
            elif (finding := examine(row)) is not None:
                findings.append(_repaired(finding, row) if self.repair and finding.drifted else finding)
        scanned, last = answer["ScannedCount"], answer.get("LastEvaluatedKey")
        units = float(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0))
        if self.rate is not None:
            self.stopped.wait(max(0.0, units / self.rate - (time.monotonic() - started)))
        after = plain_row(last) if last else None
        return Page(segment, scanned, scanned - answer["Count"], gone, findings, units, after)

    def _request(self, segment: int, after: WireMap | None) -> dict[str, Any]:
        expression = Expression()
        names = ", ".join(expression.value({"S": name}) for name in ENTITIES)
        request = {
            "TableName": store().table_name,
            "FilterExpression": f"{expression.path((ENTITY_TYPE,))} IN ({names})",  # what is not ours need not travel
            "Segment": segment,
            "TotalSegments": self.segments,
            "Limit": PAGE_ITEMS,
            "ReturnConsumedCapacity": "TOTAL",
            **expression.request(),
        }
        return request if after is None else request | {"ExclusiveStartKey": after}


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


# --- The checkpoint --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _State:
    """How far an audit is: what the checkpoint holds."""

    table: str
    segments: int
    repair: bool
    report: AuditReport
    positions: _Position = field(default_factory=dict)
    format: int = _FORMAT


def _table() -> str:
    """Name the table as no other one is named."""
    held = store()
    return " ".join(filter(None, (held.table_name, held.client.meta.region_name, held.settings.endpoint_url)))


def _resumed(path: Path, new: _State) -> _State | None:
    """Read the checkpoint, None where there is none; ConfigurationError if it is another audit's than the *new* one."""
    try:
        with path.open("rb") as file:
            found = msgspec.json.decode(file.read(store().settings.max_file_bytes), type=_State)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path}: it cannot be read as an audit's checkpoint ({error}); name another file") from None
    for name in ("format", "table", "segments", "repair"):
        was, now = getattr(found, name), getattr(new, name)
        if was != now:
            reason = f"it is the checkpoint of another audit, with {name} {was} and not {now}"
            raise ConfigurationError(f"{path}: {reason}; go on as that one began, or remove the file to begin anew")
    return found


def _write(path: Path, state: _State) -> None:
    """Write the checkpoint so that the file is there whole, the old one or the new."""
    new = path.with_name(f"{path.name}.new")
    try:
        new.write_bytes(msgspec.json.encode(state))
        new.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: the checkpoint cannot be written: {error.strerror}") from error


def _check(segments: object, max_read_units: object) -> None:
    if isinstance(segments, bool) or not isinstance(segments, int) or not 1 <= segments <= MAX_SEGMENTS:
        raise ConfigurationError(f"segments: a whole number from 1 to {MAX_SEGMENTS} is needed, not {segments!r}")
    if max_read_units is None:
        return
    if isinstance(max_read_units, bool) or not isinstance(max_read_units, int | float) or not 0 < max_read_units < float("inf"):
        raise ConfigurationError(f"max_read_units: a number above zero is needed, not {max_read_units!r}")
