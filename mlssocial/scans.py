"""Jobs that look at every item of the table: a segmented, paginated Scan, whose step is a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from . import segments as jobs
from .codec import WireMap
from .connection import store
from .exceptions import ConfigurationError
from .expressions import Expression
from .schema import ENTITY_TYPE, expired, now_millis
from .wire import Row, decode_row, plain_row
from .workers import Done, stopping

F = TypeVar("F")

PAGE_ITEMS = 1_000
"""How many items a request reads at the most: a page's writes are made before the checkpoint says so."""

MAX_SEGMENTS = 64
"""How many segments there may be, each with a thread where no other executor is given."""


@dataclass(frozen=True, slots=True)
class Page(Generic[F]):
    """What came of a page: how many items were read, were another application's or had expired, and what was found."""

    scanned: int
    others: int
    expired: int
    found: list[F]
    read_units: float


@dataclass(slots=True)
class ScanReport:
    """
    What a job that looks at every item tells.

    Attributes:
        scanned: How many items were read, of whatever kind.
        others: How many of them are not what the job is about, which were left alone.
        expired: How many have a TTL that has passed, which were left alone.
        read_units: What the scan cost.
        elapsed: Seconds, of all runs where a checkpoint went on.
    """

    scanned: int = 0
    others: int = 0
    expired: int = 0
    read_units: float = 0.0
    elapsed: float = 0.0

    def count(self, page: Page[Any]) -> None:
        """Count what was read for a page."""
        self.scanned += page.scanned
        self.others += page.others
        self.expired += page.expired
        self.read_units += page.read_units


T = TypeVar("T", bound=ScanReport)


@dataclass(frozen=True, slots=True)
class Scan(Generic[F]):
    """
    A step: reads a page of a segment, and looks at each of its items.

    Attributes:
        look: Does what is to be done about an item, and gives what is worth telling, or None. It pickles.
        entities: The EntityTypes that it is about, all items if None; others do not travel, though they cost the same.
        segments: How many there are.
        consistent: Sees every write before it, for twice the read units.
        with_expired: Looks at items whose TTL has passed, too.
        limit: How many items a page has at the most.
    """

    look: Callable[[Row], F | None]
    entities: tuple[str, ...] | None
    segments: int
    consistent: bool = False
    with_expired: bool = False
    limit: int = field(default_factory=lambda: PAGE_ITEMS)

    def __call__(self, segment: int, after: WireMap | None) -> Done[Page[F]]:
        """Read the page behind *after*, and look at its items."""
        now, found, gone = now_millis(), [], 0
        answer = store().call("Scan", self._request(segment, after))
        for row in map(decode_row, answer.get("Items", ())):
            if stopping():
                break
            if not self.with_expired and expired(row, now):
                gone += 1
            elif (seen := self.look(row)) is not None:
                found.append(seen)
        scanned, last = answer["ScannedCount"], answer.get("LastEvaluatedKey")
        units = float(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0))
        page = Page(scanned, scanned - answer["Count"], gone, found, units)
        return Done(page, plain_row(last) if last else None, units)

    def _request(self, segment: int, after: WireMap | None) -> dict[str, Any]:
        request: dict[str, Any] = {
            "TableName": store().table_name,
            "Segment": segment,
            "TotalSegments": self.segments,
            "Limit": self.limit,
            "ConsistentRead": self.consistent,
            "ReturnConsumedCapacity": "TOTAL",
        }
        if self.entities is not None:
            expression, names = Expression(), [{"S": name} for name in self.entities]
            request |= {"FilterExpression": expression.one_of((ENTITY_TYPE,), names), **expression.request()}
        return request if after is None else request | {"ExclusiveStartKey": after}


def scan(
    name: str,
    step: Scan[F],
    report: T,
    take: Callable[[T, Page[F]], None],
    *,
    options: Mapping[str, Any],
    max_read_units: float | None = None,
    checkpoint: str | Path | None = None,
    executor: Executor | str | None = None,
    progress: Callable[[T], None] | None = None,
) -> T:
    """Do a job whose step is a scan, as :func:`segments.run` says; ConfigurationError for segments or a rate that cannot be."""
    check(step.segments, max_read_units)
    job = jobs.Job(name, step.segments, step, report, options)
    return jobs.run(
        job,
        take,
        at_once=step.segments,
        checkpoint=checkpoint,
        executor=executor,
        rate=max_read_units,
        progress=progress,
    )


def check(segments: object, max_read_units: object) -> None:
    """Refuse segments or a rate that cannot be; ConfigurationError says which."""
    if isinstance(segments, bool) or not isinstance(segments, int) or not 1 <= segments <= MAX_SEGMENTS:
        raise ConfigurationError(f"segments: a whole number from 1 to {MAX_SEGMENTS} is needed, not {segments!r}")
    if max_read_units is None:
        return
    if isinstance(max_read_units, bool) or not isinstance(max_read_units, int | float) or not 0 < max_read_units < float("inf"):
        raise ConfigurationError(f"max_read_units: a number above zero is needed, not {max_read_units!r}")
