"""
Lazy query results: a plan of what is read, and the pages, cursors and counts that come of it.

A plan is one or more partitions of the table or of an index, a range of sort keys, and guards. Guards are conditions that no
key can decide: the tenant of an index that all share, and the data behind index keys that another writer may have left behind.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import json
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Generic, TypeVar

import msgspec

from . import notebook, operations
from .codec import WireMap
from .connection import pages, store
from .exceptions import InvalidCursorError, InvalidItemError, InvalidKeyError, UnreadableItemWarning, shown
from .explained import Explanation, max_read_units
from .expressions import Expression
from .keys import MAX_PARTITION_KEY_BYTES, MAX_SORT_KEY_BYTES
from .schema import PK, SK, key_of, now_millis
from .wire import Row, decode_row, invalid_answer

T = TypeVar("T")

MIN_FILTERED_PAGE = 25
"""How many rows a request reads at the least where a guard may leave some of them out."""

_SHOWN = 5  # of a page's items

MAX_LIMIT = 100_000
"""How many rows a request asks for at the most; a page of DynamoDB's ends at 1 MB long before."""


class Guard(msgspec.Struct, frozen=True):
    """A condition on the item itself: ``path operator value``; where *or_no_number*, anything but a number will do too."""

    path: tuple[str, ...]
    operator: str
    value: dict[str, Any]
    or_no_number: bool = False

    def expression(self, expression: Expression) -> str:
        """Give the filter expression."""
        path = expression.path(self.path)
        test = f"{path} {self.operator} {expression.value(self.value)}"
        return f"(NOT {expression.of_type(self.path, 'N')} OR {test})" if self.or_no_number else test

    def __str__(self) -> str:
        text = f"{'.'.join(self.path)} {self.operator} {next(iter(self.value.values()))}"
        return f"{text} or missing" if self.or_no_number else text


class Plan(msgspec.Struct, frozen=True):
    """
    What a query reads.

    Attributes:
        name: The method, such as ``Listing.objects.query``.
        pattern: The access pattern's number in docs/access-patterns.md, 0 for what has none.
        partitions: Partition keys; several are merged in sort-key order.
        index: GSI1, GSI2, or None for the table.
        prefix: Sort keys begin with it.
        between: Sort keys lie between these two, both included.
        guards: What the items themselves have to say, checked by DynamoDB after it has read them.
        tenant: The partition key that every item must have, where the index is shared.
        moving: The range ends at a time that moves from call to call: a cursor may go on under a later end.
    """

    name: str
    pattern: int
    partitions: tuple[str, ...]
    index: str | None = None
    prefix: str | None = None
    between: tuple[str, str] | None = None
    guards: tuple[Guard, ...] = ()
    tenant: str | None = None
    reverse: bool = False
    consistent: bool = False
    moving: bool = False

    @property
    def partition_key(self) -> str:
        """The partition key attribute that is read."""
        return f"{self.index}PK" if self.index else PK

    @property
    def sort_key(self) -> str:
        """The sort key attribute that is read."""
        return f"{self.index}SK" if self.index else SK

    @property
    def key_condition(self) -> str:
        """The key condition, with its values."""
        keys = self.partitions
        partition = f"{self.partition_key} = {keys[0]}" if len(keys) == 1 else f"{self.partition_key} in {keys[0]} … {keys[-1]}"
        if self.prefix is not None:
            return f"{partition} AND {self.sort_key} begins_with {self.prefix}"
        if self.between is not None:
            return f"{partition} AND {self.sort_key} between {self.between[0]} and {self.between[1]}"
        return partition

    def request(self, partition: str, *, after: Cursor | None) -> dict[str, Any]:
        """Build the request for one partition, starting behind *after*."""
        expression = Expression()
        keys = [f"{expression.path((self.partition_key,))} = {expression.value({'S': partition})}"]
        start = after.start_key(self, partition) if after else None
        between = self.between
        if after is not None and start is None:  # another partition's last item: this one goes on at the same sort key
            between = self._rest(after)
        sort = expression.path((self.sort_key,)) if between or self.prefix is not None else ""
        if between is not None:
            low, high = (expression.value({"S": bound}) for bound in between)
            keys.append(f"{sort} BETWEEN {low} AND {high}")
        elif self.prefix is not None:
            keys.append(f"begins_with({sort}, {expression.value({'S': self.prefix})})")
        tenant = () if self.tenant is None else (Guard((PK,), "=", {"S": self.tenant}),)
        filters = [guard.expression(expression) for guard in (*tenant, *self.guards)]
        request: dict[str, Any] = {
            "TableName": store().table_name,
            "KeyConditionExpression": " AND ".join(keys),
            "FilterExpression": " AND ".join([*filters, expression.not_expired(now_millis())]),
            "ScanIndexForward": not self.reverse,
            "ConsistentRead": self.consistent,
            **expression.request(),
        }
        if self.index:
            request["IndexName"] = self.index
        if start:
            request["ExclusiveStartKey"] = start
        return request

    def _rest(self, after: Cursor) -> tuple[str, str]:
        low, high = self.between or ("0", "\U0010ffff")
        return (low, after.sort) if self.reverse else (after.sort, high)

    def holds(self, cursor: Cursor) -> bool:
        """Tell whether a position lies inside this query and this tenant."""
        if cursor.partition not in self.partitions or (self.tenant is not None and cursor.pk != self.tenant):
            return False
        if self.prefix is not None and not cursor.sort.startswith(self.prefix):
            return False
        return self.between is None or self.between[0] <= cursor.sort <= self.between[1]

    def fingerprint(self) -> bytes:
        """Tell this query from others, so that a cursor goes on only where it came from."""
        guards = () if self.moving else tuple(map(str, self.guards))
        between = None if self.moving else self.between
        parts = (self.name, self.partitions, self.index, self.prefix, between, guards, self.tenant, self.reverse)
        return repr(parts).encode()


class Cursor(msgspec.Struct, frozen=True):
    """The keys of the last item that the caller was given."""

    pk: str
    sk: str
    partition: str
    sort: str

    @classmethod
    def of(cls, plan: Plan, row: Row) -> Cursor:
        """Take the position of a row."""
        return cls(*(row[name].S or "" for name in (PK, SK, plan.partition_key, plan.sort_key)))

    def start_key(self, plan: Plan, partition: str) -> WireMap | None:
        """Give the ExclusiveStartKey for this partition, None where the position is in another one."""
        if partition != self.partition:
            return None
        key = {PK: {"S": self.pk}, SK: {"S": self.sk}}
        return key | {plan.partition_key: {"S": self.partition}, plan.sort_key: {"S": self.sort}}

    def encode(self, plan: Plan) -> str:
        """Write the cursor as opaque text, safe in a URL."""
        keys = [self.pk, self.sk] + ([self.partition, self.sort] if plan.index else [])
        content = json.dumps(keys, separators=(",", ":"), ensure_ascii=False).encode()
        return base64.urlsafe_b64encode(_checksum(plan, content) + content).decode().rstrip("=")

    @classmethod
    def decode(cls, plan: Plan, text: object) -> Cursor:
        """Read a cursor back; InvalidCursorError if it was cut or altered, or is another query's or user's."""
        if not isinstance(text, str) or len(text) > _MAX_CURSOR:
            raise InvalidCursorError(f"cursor: text of up to {_MAX_CURSOR:,} characters is needed, as an earlier page gave it")
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            content = raw[_CHECKSUM_BYTES:]
            intact = _checksum(plan, content) == raw[:_CHECKSUM_BYTES]
            keys = json.loads(content) if intact else []
            fits = isinstance(keys, list) and len(keys) == (4 if plan.index else 2)
            fits = fits and all(
                isinstance(key, str) and 0 < len(key.encode()) <= most for key, most in zip(keys, _LONGEST * 2, strict=False)
            )
        except (binascii.Error, ValueError, RecursionError):
            fits = False
        if fits:
            cursor = cls(*keys) if plan.index else cls(*keys, *keys)
            if plan.holds(cursor) and base64.urlsafe_b64encode(raw).decode().rstrip("=") == text:
                return cursor
        raise InvalidCursorError(
            f"cursor: it was cut or altered, or belongs to another query than this {plan.name}; start without a cursor"
        )


_CHECKSUM_BYTES = 9
_MAX_CURSOR = 10_000  # four keys of DynamoDB's length in base64
_LONGEST = (MAX_PARTITION_KEY_BYTES, MAX_SORT_KEY_BYTES)


def _checksum(plan: Plan, content: bytes) -> bytes:
    return blake2b(content + b"\0" + plan.fingerprint(), digest_size=_CHECKSUM_BYTES).digest()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """
    A row that cannot be read as its entity: its (PK, SK), why, and the row as it came.

    The row is not shown, and does not pickle: there may be a token in it.
    """

    key: tuple[str, str]
    error: InvalidItemError
    row: Row = field(repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Unreadable, (self.key, self.error, {})


@dataclass(frozen=True, slots=True, repr=False)
class Page(Generic[T]):
    """
    Some items of a query.

    Attributes:
        items: As many as were asked for; fewer only at the end.
        cursor: Where to go on, None at the end. Opaque, and safe in a URL.
        unreadable: Rows that were met on the way and cannot be read.
    """

    items: list[T]
    cursor: str | None
    unreadable: list[Unreadable]

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        shown = [repr(item) for item in self.items[:_SHOWN]] + ["…"] * (len(self.items) > _SHOWN)
        return f"<{self._title}: {', '.join(shown)}>" if shown else f"<{self._title}>"

    def _repr_html_(self) -> str:
        """Show the first items."""
        return notebook.rows(self._title, self.items)

    @property
    def _title(self) -> str:
        unreadable = f", {len(self.unreadable)} unreadable" if self.unreadable else ""
        return f"Page of {len(self.items)}{unreadable}, {'the last one' if self.cursor is None else 'more behind its cursor'}"


class Results(Generic[T]):
    """
    The items of a query, read as they are asked for.

    Iterating reads every item, page after page, one request for each 1 MB; nothing is cut off. Iterating again reads again. A
    row that cannot be read is left out with an UnreadableItemWarning.
    """

    def __init__(
        self, plan: Plan, load: Callable[[Row], T], decode: Callable[[Any], Row] = decode_row, *, prefetch: int = 0
    ) -> None:
        self._plan = plan
        self._load = load
        self._decode = decode
        self._prefetch = prefetch

    def __iter__(self) -> Iterator[T]:
        for row in self._rows(None, None):
            try:
                loaded = self._load(row)
            except InvalidItemError as error:
                warnings.warn(f"left out: {error}", UnreadableItemWarning, stacklevel=2)
            else:
                yield loaded

    def iterator(self, *, prefetch: int = 0) -> Iterator[T]:
        """
        Iterate, reading up to *prefetch* pages ahead in a thread while the items of a page are worked on.

        Pages that were read and not come to are paid for all the same; 1 is enough to hide the wait for the next one. Of a work
        queue that is so many for each of its partitions.
        """
        if isinstance(prefetch, bool) or not isinstance(prefetch, int) or prefetch < 0:
            raise InvalidKeyError("prefetch", f"a number of pages is needed, 0 or more, not {shown(prefetch)}")
        return iter(Results(self._plan, self._load, self._decode, prefetch=prefetch))

    def __bool__(self) -> bool:
        """Tell whether there is any item, by reading one."""
        return self.first() is not None

    def page(self, limit: int = 100, cursor: str | None = None) -> Page[T]:
        """
        Read *limit* items, from the start or from where *cursor*, the one of an earlier page, left off.

        Raises:
            InvalidCursorError: *cursor* was cut or altered, or is another query's.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise InvalidKeyError("limit", f"a whole number above zero is needed, not {shown(limit)}")
        after = None if cursor is None else Cursor.decode(self._plan, cursor)
        page: Page[T] = Page([], None, [])
        last: Row = {}
        for row, loaded in self._loaded(after, limit + 1):
            if len(page.items) == limit:  # there is more: the caller goes on behind what was given out
                return Page(page.items, Cursor.of(self._plan, last).encode(self._plan), page.unreadable)
            if isinstance(loaded, Unreadable):
                page.unreadable.append(loaded)
            else:
                page.items.append(loaded)
                last = row
        return page

    def first(self) -> T | None:
        """Read the first item, None if there is none."""
        return next((found for _, found in self._loaded(None, 1) if not isinstance(found, Unreadable)), None)

    def count(self) -> int:
        """Count the items without reading them over the wire; it costs as much as reading them. Unreadable rows count."""
        plan = self._plan
        requests = [plan.request(partition, after=None) | {"Select": "COUNT"} for partition in plan.partitions]
        with operations.running(plan.name, plan.pattern):
            return sum(answer["Count"] for request in requests for answer in pages(request))

    def explain(self, *, limit: int | None = None) -> Explanation:
        """
        Say which index and key condition answer the query, in which order, how consistently, and at what cost. No request.

        Args:
            limit: What ``page()`` is asked for; None for an iteration.
        """
        plan = self._plan
        rows = None if limit is None else self._most_rows(limit + 1)  # one more shows whether there are any
        return Explanation(
            query=plan.name,
            access_pattern=plan.pattern,
            index=plan.index,
            key_condition=plan.key_condition,
            partitions=len(plan.partitions),
            guards=(*((f"PK = {plan.tenant}",) if plan.tenant else ()), *map(str, plan.guards)),
            order=f"by {plan.sort_key}, {'descending' if plan.reverse else 'ascending'}",
            consistent=plan.consistent,
            max_read_units=max_read_units(consistent=plan.consistent, rows=rows) * len(plan.partitions),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._plan.name}: {self._plan.key_condition}>"

    def _repr_html_(self) -> str:
        """Show the plan: nothing is read to show it."""
        return self.explain()._repr_html_()

    def _most_rows(self, wanted: int) -> int:
        """Give how many rows a request for each partition reads at the most."""
        filtered = self._plan.guards or self._plan.tenant is not None
        return min(max(wanted, MIN_FILTERED_PAGE) if filtered else wanted, MAX_LIMIT)

    def _loaded(self, after: Cursor | None, wanted: int | None) -> Iterator[tuple[Row, T | Unreadable]]:
        for row in self._rows(after, wanted):
            try:
                yield row, self._load(row)
            except InvalidItemError as error:
                yield row, Unreadable(key_of(row), error, row)

    def _rows(self, after: Cursor | None, wanted: int | None) -> Iterator[Row]:
        plan = self._plan
        streams = [self._stream(partition, after, wanted) for partition in plan.partitions]
        rows = streams[0]
        if len(streams) > 1:
            rows = heapq.merge(*streams, key=lambda row: row[plan.sort_key].S or "", reverse=plan.reverse)
        return operations.steps(plan.name, plan.pattern, rows)

    def _stream(self, partition: str, after: Cursor | None, wanted: int | None) -> Iterator[Row]:
        """Read one partition, request by request; *wanted* sizes the requests and ends nothing."""
        plan, name, tenant = self._plan, self._plan.partition_key, self._plan.tenant
        request = plan.request(partition, after=after)
        if wanted is not None:
            request["Limit"] = self._most_rows(wanted)
        for answer in _read_ahead(_pages(request), self._prefetch):
            for content in answer.get("Items", ()):
                row = self._decode(content)
                if name not in row or partition != row[name].S or SK not in row:
                    raise invalid_answer("a row of it is outside of the partition that was asked for")
                if tenant is not None and (PK not in row or tenant != row[PK].S):
                    raise invalid_answer("a row of it is another user's than the one that was asked for")
                yield row


def _pages(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a query's answers."""
    for answer in pages(request):
        yield answer
        if "Limit" in request:  # guards left too much out: read on in larger steps
            request["Limit"] = min(request["Limit"] * 4, MAX_LIMIT)


def _read_ahead(pages: Iterator[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """Give pages as they come, with *count* of them under way or waiting in a thread, one after the other."""
    if not count:
        yield from pages
        return
    with ThreadPoolExecutor(1, thread_name_prefix="mlssocial-prefetch") as thread:
        waiting = deque(thread.submit(copy_context().run, _next, pages) for _ in range(count))
        try:
            while (page := waiting.popleft().result()) is not None:
                waiting.append(thread.submit(copy_context().run, _next, pages))
                yield page
        finally:
            for future in waiting:
                future.cancel()


def _next(pages: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    return next(pages, None)
