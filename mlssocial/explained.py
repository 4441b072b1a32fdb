"""How a query is answered, and the most that it can cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import notebook

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html
MAX_PAGE_BYTES = 1024 * 1024
MAX_ITEM_BYTES = 400 * 1024
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html: all that a query has read
# is one read, rounded up to the next 4 KB; a unit is 4 KB consistently, or 8 KB eventually consistently.
READ_UNIT_BYTES = 4 * 1024


def max_read_units(*, consistent: bool, rows: int | None = None) -> float:
    """Give the most that a request costs in read units: that reads a page of 1 MB, or no more than so many rows."""
    size = MAX_PAGE_BYTES if rows is None else min(MAX_PAGE_BYTES, rows * MAX_ITEM_BYTES)
    units = -(-size // READ_UNIT_BYTES)
    return units * (1.0 if consistent else 0.5)


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """
    How a query is answered; it reads well where it is printed, or stands at a prompt.

    Attributes:
        query: The method.
        access_pattern: Its number in docs/access-patterns.md, 0 for what has none.
        index: GSI1, GSI2, or None for the table.
        key_condition: What decides which items are read.
        partitions: How many partitions are read side by side.
        guards: What DynamoDB checks of an item after it has read it: what they leave out is paid for.
        order: By which key, and how.
        consistent: Whether the read is strongly consistent.
        max_read_units: The most that a page of each partition costs, 1 MB or what a limit lets be read. DynamoDB ends a page
            behind the item that passes 1 MB, so that this item's size may come on top. It is the price of one request for each
            partition: where guards leave items out, a page of results may take several.
    """

    query: str
    access_pattern: int
    index: str | None
    key_condition: str
    partitions: int
    guards: tuple[str, ...]
    order: str
    consistent: bool
    max_read_units: float

    def __str__(self) -> str:
        return "\n".join([self._title, *(f"  {name:<13}  {value}" for name, value in self._lines())])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return notebook.fields(self._title, self._lines())

    @property
    def _title(self) -> str:
        return f"{self.query} (access pattern {self.access_pattern})" if self.access_pattern else self.query

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "reads", self.index or "the table"
        yield "key condition", self.key_condition
        yield "order", self.order
        yield "guards", "; ".join(self.guards) or "none"
        yield "consistency", "strong" if self.consistent else "eventual"
        each = f", {self.partitions} partitions together" if self.partitions > 1 else ""
        yield "costs", f"up to {self.max_read_units:,g} read units a page of DynamoDB's{each}"
