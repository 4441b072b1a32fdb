"""Daily figures by day, week and month: the arithmetic against a plain model, and the query on every engine."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlssocial import (
    InvalidKeyError,
    MetricsRow,
    PerformanceMetrics,
    PerformanceMetricsData,
    PlatformMetrics,
    UnreadableItemWarning,
)
from mlssocial.connection import recorded
from mlssocial.rollups import Period, periods, rollup

from .conftest import put_raw

BY: list[Period] = ["day", "week", "month"]


def figures(**counters: Any) -> PlatformMetrics:
    """Make a platform's figures."""
    return PlatformMetrics.model_validate(counters)


class TestPeriods:
    @pytest.mark.parametrize(
        ("by", "expected"),
        [
            ("day", [("2024-01-30", "2024-01-30"), ("2024-01-31", "2024-01-31"), ("2024-02-01", "2024-02-01")]),
            ("week", [("2024-01-30", "2024-02-01")]),
            ("month", [("2024-01-30", "2024-01-31"), ("2024-02-01", "2024-02-01")]),
        ],
    )
    def test_are_cut_at_the_ends(self, by: Period, expected: list[tuple[str, str]]) -> None:
        """The first and the last period begin and end with the range."""
        found = periods(date(2024, 1, 30), date(2024, 2, 1), by)
        assert [(start.isoformat(), end.isoformat()) for start, end in found] == expected

    def test_weeks_begin_on_monday(self) -> None:
        """A week is ISO's, over the end of a year too."""
        found = list(periods(date(2024, 12, 29), date(2025, 1, 7), "week"))
        assert found == [
            (date(2024, 12, 29), date(2024, 12, 29)),
            (date(2024, 12, 30), date(2025, 1, 5)),
            (date(2025, 1, 6), date(2025, 1, 7)),
        ]

    @given(st.dates(), st.integers(0, 1000), st.sampled_from(BY))
    def test_cover_every_day_once(self, since: date, length: int, by: Period) -> None:
        """Periods follow on each other without gap or overlap, from the first day to the last, at the ends of time too."""
        until = date.fromordinal(min(since.toordinal() + length, date.max.toordinal()))
        found = list(periods(since, until, by))
        covered = [start + timedelta(days=n) for start, end in found for n in range((end - start).days + 1)]
        assert covered == [since + timedelta(days=n) for n in range((until - since).days + 1)]


COUNTERS = st.none() | st.integers(0, 10**6)
PLATFORM = st.fixed_dictionaries(
    {},
    optional={
        "views": COUNTERS,
        "clicks": COUNTERS,
        "engagement": st.none() | st.decimals(0, 1, places=2),
        "saves": COUNTERS | st.decimals(0, 100, places=3) | st.booleans() | st.just("many"),
    },
)
DAY = st.fixed_dictionaries(
    {},
    optional={
        "views": COUNTERS,
        "shares": COUNTERS,
        "platforms": st.dictionaries(st.sampled_from(["facebook", "twitter"]), PLATFORM),
    },
)
SINCE, UNTIL = date(2024, 1, 20), date(2024, 3, 10)
DAYS = st.dictionaries(st.dates(SINCE, UNTIL), DAY, max_size=8)
LABELS = {"day": "%Y-%m-%d", "week": "%G-%V", "month": "%Y-%m"}


def is_number(value: Any) -> bool:
    """Tell what counts."""
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def modelled(days: Iterable[dict[str, Any]], platform: str, name: str) -> Any:
    """Work out a platform's figure the plain way."""
    rows = [day["platforms"][platform] for day in days if platform in day.get("platforms", {})]
    rows = [row for row in rows if is_number(row.get(name))]
    if name != "engagement":
        return sum((Fraction(row[name]) for row in rows), Fraction(0))
    if not rows:
        return None
    weights = [row.get("views") or 0 for row in rows]
    weights = weights if any(weights) else [1] * len(rows)
    return sum(Fraction(row[name]) * weight for row, weight in zip(rows, weights, strict=True)) / sum(weights)


class TestSums:
    @given(DAYS, st.sampled_from(BY))
    def test_against_a_plain_model(self, days: dict[date, dict[str, Any]], by: Period) -> None:
        """Whatever days there are, every total and figure of every period is what adding by hand gives."""
        rows = rollup(((day, PerformanceMetricsData.model_validate(data)) for day, data in days.items()), SINCE, UNTIL, by)
        assert [(row.start, row.end) for row in rows] == list(periods(SINCE, UNTIL, by))
        for row in rows:
            inside = [data for day, data in days.items() if day.strftime(LABELS[by]) == row.start.strftime(LABELS[by])]
            assert row.views == sum(data.get("views") or 0 for data in inside)
            assert row.shares == sum(data.get("shares") or 0 for data in inside)
            for platform in ("facebook", "twitter"):
                found = row.platforms.get(platform, {})
                for name in ("views", "clicks", "engagement", "saves"):
                    wanted = modelled(inside, platform, name)
                    if name in found:
                        assert abs(Fraction(found[name]) - wanted) < Fraction(1, 10**20)
                    else:
                        assert not wanted

    @given(DAYS, st.sampled_from(BY))
    def test_rows_have_one_shape(self, days: dict[date, dict[str, Any]], by: Period) -> None:
        """Every row has the same platforms and counters, a rate aside, so that a chart needs no special case."""
        rows = rollup(((day, PerformanceMetricsData.model_validate(data)) for day, data in days.items()), SINCE, UNTIL, by)
        shapes = [{name: found.keys() - {"engagement"} for name, found in row.platforms.items()} for row in rows]
        assert all(shape == shapes[0] for shape in shapes)

    def test_null_is_nothing(self) -> None:
        """Null, text and absence add nothing, and a figure that is nowhere a number is in no row."""
        day = PerformanceMetricsData(views=None, platforms={"facebook": figures(views=None, saves="many", clicks=2)})
        (row,) = rollup([(SINCE, day)], SINCE, SINCE, "day")
        assert row == MetricsRow(SINCE, SINCE, 0, 0, 0, {"facebook": {"clicks": 2}})

    def test_engagement_is_a_rate(self) -> None:
        """Engagement is the mean of the days' weighted by views, never their sum; without any views it is the plain mean."""
        busy, calm = figures(views=300, engagement=Decimal("0.1")), figures(views=100, engagement=Decimal("0.5"))
        unseen = [figures(engagement=Decimal("0.2")), figures(views=0, engagement=Decimal("0.4"))]
        days = [
            (date(2024, 1, day), PerformanceMetricsData(platforms={"facebook": one}))
            for day, one in enumerate([busy, calm, *unseen], 1)
        ]
        (seen,) = rollup(days[:2], date(2024, 1, 1), date(2024, 1, 31), "month")
        assert seen.platforms["facebook"]["engagement"] == Decimal("0.2")
        (plain,) = rollup(days[2:], date(2024, 1, 1), date(2024, 1, 31), "month")
        assert plain.platforms["facebook"]["engagement"] == Decimal("0.3")

    def test_38_digits(self) -> None:
        """Sums of the longest numbers are exact."""
        large = Decimal("9" * 38)
        days = [(date(2024, 1, day), PerformanceMetricsData(platforms={"x": figures(saves=large)})) for day in (1, 2, 3)]
        (row,) = rollup(days, date(2024, 1, 1), date(2024, 1, 31), "month")
        assert row.platforms["x"]["saves"] == int("9" * 38) * 3


@pytest.mark.usefixtures("table")
class TestRollup:
    def test_one_range_query(self) -> None:
        """A month is one query; days before, after and of other listings are not in it; missing days are zeros."""
        count = PerformanceMetrics.objects.increment
        for day in ("2024-01-31", "2024-02-01", "2024-02-03", "2024-03-01"):
            count("u1", "l1", day, "facebook", views=2, clicks=1)
        count("u1", "l10", "2024-02-02", "facebook", views=100)
        with recorded() as calls:
            rows = PerformanceMetrics.objects.rollup("u1", "l1", "2024-02-01", date(2024, 2, 29))
        assert [call.operation for call in calls] == ["Query"]
        assert [row.views for row in rows] == [2, 0, 2, *[0] * 26]
        assert rows[1] == MetricsRow(date(2024, 2, 2), date(2024, 2, 2), 0, 0, 0, {"facebook": {"views": 0, "clicks": 0}})
        (month,) = PerformanceMetrics.objects.rollup("u1", "l1", "2024-02-01", "2024-02-29", by="month", consistent=True)
        assert (month.views, month.platforms) == (4, {"facebook": {"views": 4, "clicks": 2}})

    def test_nothing(self) -> None:
        """A listing without figures has rows of zeros, for ten years of days too."""
        rows = PerformanceMetrics.objects.rollup("u1", "l1", "2014-01-01", "2023-12-31")
        assert len(rows) == 3652
        assert {(row.views, row.shares, row.inquiries, len(row.platforms)) for row in rows} == {(0, 0, 0, 0)}

    def test_all_pages(self) -> None:
        """Days beyond DynamoDB's first megabyte are in the sum."""
        padding = "x" * 200_000
        for day in range(1, 8):
            data = PerformanceMetricsData.model_validate({"views": 1, "padding": padding})
            PerformanceMetrics.objects.save("u1", "l1", date(2024, 1, day), data)
        (row,) = PerformanceMetrics.objects.rollup("u1", "l1", "2024-01-01", "2024-01-07", by="week")
        assert row.views == 7

    def test_a_day_that_cannot_be_read(self) -> None:
        """A row that cannot be read is left out with a warning."""
        PerformanceMetrics.objects.increment("u1", "l1", "2024-01-02", "facebook", views=2)
        put_raw(
            {
                "PK": {"S": "USER#u1"},
                "SK": {"S": "METRICS#l1#2024-01-01"},
                "EntityType": {"S": "PerformanceMetrics"},
                "Data": {"M": {"views": {"S": "many"}}},
            }
        )
        with pytest.warns(UnreadableItemWarning, match="2024-01-01"):
            rows = PerformanceMetrics.objects.rollup("u1", "l1", "2024-01-01", "2024-01-02")
        assert [row.views for row in rows] == [0, 2]

    @pytest.mark.parametrize(
        ("since", "until", "by", "part"),
        [
            ("2024-01-02", "2024-01-01", "day", "since"),
            ("2024-01-01", "2024-01-02", "year", "by"),
            ("2024-01-01", "2024-01-02", [], "by"),
            ("yesterday", "2024-01-02", "day", "since"),
            ("2024-01-01", None, "day", "until"),
            (None, "2024-01-02", "day", "since"),
        ],
    )
    def test_refusals(self, since: Any, until: Any, by: Any, part: str) -> None:
        """A range that ends before it begins, what is no day and what is no period are refused before any request."""
        with recorded() as calls, pytest.raises(InvalidKeyError) as caught:
            PerformanceMetrics.objects.rollup("u1", "l1", since, until, by=by)
        assert (caught.value.part, calls) == (part, [])
