"""
Daily figures summed by day, week or month.

Null is not zero in the table; in a sum it counts as nothing, and so does what is absent or no number. Engagement is a rate
(clicks by views, as the other application stores it), and rates are not summed: a period's is the mean of its days', weighted
by the platform's views.
"""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Context, Decimal
from typing import Literal

from .entities import PerformanceMetricsData, PlatformMetrics
from .exceptions import InvalidKeyError, shown

Period = Literal["day", "week", "month"]
Figures = dict[str, int | Decimal]
Day = tuple[date, PerformanceMetricsData]

RATE = "engagement"
"""The one figure of a platform that is a rate."""

FIGURES = ("views", "shares", "inquiries")
"""The figures that a day has in total, and that are drawn."""

TOTAL = "all"
"""What a plot calls the total, beside the platforms."""

Series = dict[str, list[float]]
"""A figure's values, period by period: of all together, and of each platform that has it."""

_MOST = 60
"""How many periods are drawn at the most where the period is not given."""

MAX_ROWS = 40_000
"""A hundred years of days. Dates that come from outside would else ask for millions of rows of zeros."""

_EXACT = Context(prec=400)  # a sum of what DynamoDB holds needs no more
_RATIO = Context(prec=28)


@dataclass(frozen=True, slots=True)
class MetricsRow:
    """
    A listing's figures of one period.

    Attributes:
        start: Its first day.
        end: Its last day, included.
        platforms: Figures by platform and name. Every row has every platform and figure that any of the rows has, zero where
            there is none; but a rate is left out where no day has it.
    """

    start: date
    end: date
    views: int
    shares: int
    inquiries: int
    platforms: dict[str, Figures]


def check_length(since: date, until: date, by: Period) -> None:
    """InvalidKeyError where two days have more periods between them than are ever shown."""
    periods = ((until - since).days + 1) // {"day": 1, "week": 7, "month": 28}[by]
    if periods > MAX_ROWS:
        reason = f"about {periods:,} rows by {by} until {until}, and {MAX_ROWS:,} are given at the most; take longer periods"
        raise InvalidKeyError("since", reason)


def rollup(days: Iterable[Day], since: date, until: date, by: Period) -> list[MetricsRow]:
    """Sum days, in any order, all of them between *since* and *until*, into one row a period, in the order of time."""
    found: dict[date, list[PerformanceMetricsData]] = defaultdict(list)
    columns: dict[str, dict[str, None]] = {}
    for day, data in days:
        found[_start(day, by)].append(data)
        for platform, figures in _platforms(data):
            columns.setdefault(platform, {}).update(dict.fromkeys(figures))
    return [_row(start, end, found.get(_start(start, by), []), columns) for start, end in periods(since, until, by)]


def periods(since: date, until: date, by: Period) -> Iterator[tuple[date, date]]:
    """Give the days, ISO weeks or calendar months between two days, as first and last day; cut to the two at the ends."""
    start = since
    while True:
        end = min(_end(start, by), until)
        yield start, end
        if end == until:
            return
        start = end + timedelta(days=1)


def period_of(since: date, until: date) -> Period:
    """Give the shortest period of which no more than can be seen lie between two days."""
    days = (until - since) // timedelta(days=1) + 1
    return "day" if days <= _MOST else "week" if days <= 7 * _MOST else "month"


def series(rows: Sequence[MetricsRow], figure: str) -> Series:
    """Take a figure out of the rows for a plot: the totals, and each platform's where that has any."""
    found: Series = {TOTAL: [float(getattr(row, figure)) for row in rows]}
    for platform in rows[0].platforms if rows else ():
        values = [float(Decimal(row.platforms[platform].get(figure, 0))) for row in rows]
        if any(values):
            found[platform] = values
    return found


def check_period(by: object) -> Period:
    """Give *by* back if it is a period, else raise InvalidKeyError."""
    if by == "day" or by == "week" or by == "month":
        return by
    raise InvalidKeyError("by", f"one of day, week, month is needed, not {shown(by)}")


def _start(day: date, by: Period) -> date:
    """Give the first day of the period that a day lies in; a week that began before the year 1 begins with it."""
    if by == "week":
        return date.fromordinal(max(1, day.toordinal() - day.weekday()))
    return day.replace(day=1) if by == "month" else day


def _end(day: date, by: Period) -> date:
    if by == "week":
        return date.fromordinal(min(date.max.toordinal(), day.toordinal() + 6 - day.weekday()))
    return day.replace(day=monthrange(day.year, day.month)[1]) if by == "month" else day


def _row(start: date, end: date, days: list[PerformanceMetricsData], columns: Mapping[str, Iterable[str]]) -> MetricsRow:
    totals = {name: sum(getattr(data, name) or 0 for data in days) for name in ("views", "shares", "inquiries")}
    by_platform: dict[str, list[Figures]] = defaultdict(list)
    for data in days:
        for platform, figures in _platforms(data):
            by_platform[platform].append(figures)
    platforms = {platform: _sums(by_platform[platform], names) for platform, names in sorted(columns.items())}
    return MetricsRow(start, end, **totals, platforms=platforms)


def _sums(days: list[Figures], names: Iterable[str]) -> Figures:
    sums: Figures = {name: _sum(day[name] for day in days if name in day) for name in names if name != RATE}
    rate = _rate([(day[RATE], day.get("views", 0)) for day in days if RATE in day])
    return sums if rate is None else sums | {RATE: rate}


def _sum(numbers: Iterable[int | Decimal]) -> int | Decimal:
    total: int | Decimal = 0
    for number in numbers:
        total = _EXACT.add(total, number) if isinstance(total, Decimal) or isinstance(number, Decimal) else total + number
    return total


def _rate(days: list[tuple[int | Decimal, int | Decimal]]) -> Decimal | None:
    """Give the mean of rates weighted by views; of days without any view, the plain mean."""
    if not any(views > 0 for _, views in days):
        days = [(rate, 1) for rate, _ in days]
    weighted = [(_EXACT.multiply(rate, views), views) for rate, views in days if views > 0]
    if not weighted:
        return None
    return _RATIO.divide(_sum(part for part, _ in weighted), _sum(views for _, views in weighted))


def _platforms(data: PerformanceMetricsData) -> Iterator[tuple[str, Figures]]:
    for platform, metrics in (data.platforms or {}).items():
        yield platform, _figures(metrics)


def _figures(metrics: PlatformMetrics) -> Figures:
    """Give the figures that are numbers."""
    named = {name: getattr(metrics, name) for name in type(metrics).model_fields} | (metrics.model_extra or {})
    return {name: value for name, value in named.items() if isinstance(value, int | Decimal) and not isinstance(value, bool)}
