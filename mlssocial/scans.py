"""Jobs that look at every item of the table: a segmented, paginated Scan, whose step is a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Generic, TypeVar

from . import segments as jobs
from .codec import WireMap
from .connection import store
from .crypto import key_id_of
from .exceptions import ConfigurationError, ItemNotFoundError, OutcomeUnknownError, StaleItemError, WrongEntityError
from .expressions import Expression
from .schema import ENTITY_TYPE, expired, now_millis
from .tokens import Token
from .wire import Row, decode_row, plain_row
from .workers import Done, stopping

F = TypeVar("F")

PAGE_ITEMS = 1_000
"""How many items a request reads at the most: a page's writes are made before the checkpoint says so."""

MAX_SEGMENTS = 64
"""How many segments there may be, each with a thread where no other executor is given."""


_ATTEMPTS = 5
"""How often an item that other writers change meanwhile is looked at again."""


class Met(Enum):
    """How an item was met by what was to be done about it."""

    AS_READ = "it was as it was read, or as it was read again"
    SETTLED = "another writer came first, and left nothing to do"
    CHANGING = "other writers kept changing it"


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


@dataclass(slots=True)
class TokenReport(ScanReport):
    """
    What a job that looks at tokens tells beside.

    Attributes:
        clear_tokens: How many tokens were found in clear text.
        sealed_tokens: How many were found sealed, by the key's id; under ``?`` what does not say its key in a form of ours.
    """

    clear_tokens: int = 0
    sealed_tokens: dict[str, int] = field(default_factory=dict)

    def count_tokens(self, found: Iterable[str | None]) -> None:
        """Count tokens, given what each is sealed under, as :func:`sealed_under` says."""
        for key_id in found:
            if key_id is None:
                self.clear_tokens += 1
            else:
                self.sealed_tokens[key_id] = self.sealed_tokens.get(key_id, 0) + 1

    def tokens(self) -> str:
        """Say how tokens lie, on one line; nothing where there are none."""
        under = [f"{count:,} under key {key_id}" for key_id, count in sorted(self.sealed_tokens.items())]
        clear = [f"{self.clear_tokens:,} in clear text"] if self.clear_tokens else []
        return f"tokens: {', '.join([*clear, *under])}" if clear or under else ""


def sealed_under(token: Token) -> str | None:
    """Give what a stored token is sealed under: a key's id, ``?`` if it does not say, None where it lies in clear text."""
    return (key_id_of(token) or "?") if token.sealed else None


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


def insist(
    found: F, row: Row, *, act: Callable[[F, Row], F], reread: Callable[[F], Row | None], look: Callable[[Row], F | None]
) -> tuple[F, Met]:
    """
    Act on what was found on an item; where another writer has changed it since, on what is found on it now, a few times.

    Args:
        found: What was found.
        row: The item as it was read.
        act: Writes under the condition that the item is that one still, and gives what came of it.
        reread: Reads the item as it is now, None where it is gone.
        look: Gives what is found on an item, None where nothing is left to do.
    """
    for _ in range(_ATTEMPTS):
        try:
            try:
                return act(found, row), Met.AS_READ
            except StaleItemError as stale:
                now = stale.item
            except OutcomeUnknownError:  # to send it again does no harm: its condition lets it apply once
                now = reread(found)
        except (ItemNotFoundError, WrongEntityError):
            now = None
        again = None if now is None else look(now)
        if now is None or again is None:
            return found, Met.SETTLED
        found, row = again, now
    return found, Met.CHANGING


def check(segments: object, max_read_units: object) -> None:
    """Refuse segments or a rate that cannot be; ConfigurationError says which."""
    if isinstance(segments, bool) or not isinstance(segments, int) or not 1 <= segments <= MAX_SEGMENTS:
        raise ConfigurationError(f"segments: a whole number from 1 to {MAX_SEGMENTS} is needed, not {segments!r}")
    if max_read_units is None:
        return
    if isinstance(max_read_units, bool) or not isinstance(max_read_units, int | float) or not 0 < max_read_units < float("inf"):
        raise ConfigurationError(f"max_read_units: a number above zero is needed, not {max_read_units!r}")
