"""Performance metrics: access pattern 5."""

from __future__ import annotations

from datetime import date as Date  # noqa: N812  a parameter is called date
from typing import TYPE_CHECKING, Any

from mlssocial import atomic, changes, keys, prepare, writes
from mlssocial.codec import CodecError
from mlssocial.entities import PerformanceMetricsData
from mlssocial.exceptions import InvalidItemError, InvalidKeyError, ItemNotFoundError, OutcomeUnknownError, StoreError
from mlssocial.operations import running
from mlssocial.results import Results
from mlssocial.rollups import check_length, check_period, rollup

from .base import EntityManager

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from mlssocial.models import PerformanceMetrics
    from mlssocial.rollups import MetricsRow, Period
    from mlssocial.schema import Content


class PerformanceMetricsManager(EntityManager["PerformanceMetrics", PerformanceMetricsData]):
    """The access to a listing's daily figures, at ``PerformanceMetrics.objects``; days are dates or ``YYYY-MM-DD``."""

    def get(self, user_id: str, listing_id: str, date: Date | str, *, consistent: bool = False) -> PerformanceMetrics:
        """Read a day; PerformanceMetrics.DoesNotExist (an ItemNotFoundError) if it is not there. One request."""
        return self._get(user_id, listing_id, date, consistent=consistent)

    def find(self, user_id: str, listing_id: str, date: Date | str, *, consistent: bool = False) -> PerformanceMetrics | None:
        """Read a day, None if it is not there. One request."""
        return self._find(user_id, listing_id, date, consistent=consistent)

    def create(self, user_id: str, listing_id: str, date: Date | str, data: PerformanceMetricsData) -> PerformanceMetrics:
        """Write a new day; ItemAlreadyExistsError if it is there. One request."""
        return self._create(user_id, listing_id, date, data=data)

    def save(self, user_id: str, listing_id: str, date: Date | str, data: PerformanceMetricsData) -> PerformanceMetrics:
        """Write a day whole, over what was there, as a platform's snapshot wants it. One request."""
        return self._save(user_id, listing_id, date, data=data)

    def update(
        self,
        user_id: str,
        listing_id: str,
        date: Date | str,
        *,
        remove: Iterable[str] = (),
        if_unchanged_since: PerformanceMetrics | None = None,
        **fields: Any,
    ) -> PerformanceMetrics:
        """
        Change some figures of a day, and give it as it is now: ``platforms__facebook__views=61`` is one of a platform.

        One request. To count an event use :meth:`increment`: a figure that was read, added to and written loses others' counts.

        With *if_unchanged_since*, the item as it was read, it is StaleItemError if anybody has written it since.

        Raises:
            PerformanceMetrics.DoesNotExist: It is not there.
            StaleItemError: It has changed since it was read; *item* is what it is now.
            WrongEntityError: Another entity is stored under its key.
            InvalidItemError: A field is unknown or its value is not valid. Nothing was sent.
        """
        return self._update(user_id, listing_id, date, values=fields, remove=remove, seen=if_unchanged_since)

    def increment(
        self,
        user_id: str,
        listing_id: str,
        date: Date | str,
        platform: str,
        *,
        operation_id: str | None = None,
        **counters: int | Decimal,
    ) -> PerformanceMetrics:
        """
        Add to a day's counters, atomically, and give the day as it is now.

        ``increment("u1", "l1", date.today(), "facebook", views=1, clicks=1)``. Views, shares and inquiries are added to the
        totals too. One request once the day and the platform are there, else one or two more.

        Args:
            user_id: Whose listing.
            listing_id: Which.
            date: The day.
            platform: Where it was seen, shared or asked about.
            operation_id: Makes it count once, however often it is sent with the same id within 30 days: the change goes in a
                transaction with the ledger's item, which costs four times the capacity, and the day is read again.
            counters: What to add to each; any name but those of this method's arguments.

        Raises:
            InvalidItemError: A counter is no number, or none was given, or the operation_id was used for something else.
            OutcomeUnknownError: The answer was lost, or with an operation_id the day could not be read after it; safe to send
                again with an operation_id.
        """
        ids = (user_id, listing_id, date)
        operation = f"increment {self.entity.name}"
        try:
            change = changes.increments(keys.platform_part(platform).lower(), counters)
        except CodecError as error:
            raise InvalidItemError(operation, self.entity.keys(ids), str(error), fields=error.fields) from None

        def first() -> Content:
            day = change.resolve({})
            counted = {path[0]: value for path, value in {**day.adds, **day.sets}.items()}
            return self.entity.content(self._encoded("increment", ids, PerformanceMetricsData()).plain() | counted)

        prepared = prepare.update(self.entity, ids, change, verb="increment", otherwise=first)
        if operation_id is None:
            return self._told("increment", self._written("increment", ids, writes.apply(prepared)))
        with running(operation):
            applied = atomic.apply_as_one([atomic.Operation("increment", prepared, change.asked(), self.model)], operation_id)
            try:
                day = self._get(*ids, consistent=True)
            except (StoreError, ItemNotFoundError) as error:
                reason = (
                    f"it was counted, and the day could not be read then ({error}); send it again with the same operation_id"
                )
                raise OutcomeUnknownError(operation, self.entity.keys(ids), reason) from error
        return self._told("increment", day) if applied else day

    def delete(self, user_id: str, listing_id: str, date: Date | str) -> bool:
        """Delete a day; True if it was there. One request."""
        return self._delete(user_id, listing_id, date)

    def query(
        self,
        user_id: str,
        listing_id: str,
        *,
        since: Date | str | None = None,
        until: Date | str | None = None,
        reverse: bool = False,
        consistent: bool = False,
    ) -> Results[PerformanceMetrics]:
        """
        Find a listing's days, oldest first, or between two days, both included. Days without figures are not there.

        Access pattern 5. ``PK = USER#<user_id>``, ``SK begins_with METRICS#<listing_id>#``, or between two dates.

        Raises:
            InvalidKeyError: An id or a day cannot go into a key, or *since* is after *until*.
        """
        how: dict[str, Any] = {"reverse": reverse, "consistent": consistent}
        if since is None and until is None:
            how["prefix"] = keys.metrics_prefix(listing_id)
        else:
            how["between"] = keys.metrics_range(listing_id, since, until)
        return self._results("query", 5, keys.user_partition(user_id), **how)

    def rollup(
        self,
        user_id: str,
        listing_id: str,
        since: Date | str,
        until: Date | str,
        *,
        by: Period = "day",
        consistent: bool = False,
    ) -> list[MetricsRow]:
        """
        Sum a listing's figures between two days, both included, by day, ISO week (from Monday) or calendar month.

        One row a period in the order of time, with zeros where there are no figures; the first and the last are cut to *since*
        and *until*, as their start and end say. Totals are the days' own totals, and not the platforms' sum. Null counts as
        nothing. Engagement is a rate: the mean of the days', weighted by views. Access pattern 5: one range query, a request a
        1 MB page. A day that cannot be read is left out with an UnreadableItemWarning.

        Raises:
            InvalidKeyError: An id or a day cannot go into a key, *since* is after *until*, *by* is no period, or it would be
                more than 40,000 rows.
        """
        period = check_period(by)
        for part, day in (("since", since), ("until", until)):
            if day is None:  # which a query takes for no end
                raise InvalidKeyError(part, "a date is needed")
        days = self.query(user_id, listing_id, since=since, until=until, consistent=consistent)
        check_length(_day(since), _day(until), period)
        found = [(item.date, item.data) for item in days]
        return rollup(found, _day(since), _day(until), period)


def _day(day: Date | str) -> Date:
    return Date.fromisoformat(day) if isinstance(day, str) else day
