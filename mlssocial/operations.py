"""
What the library does, for whoever looks on: a record of each operation, and of each request that it sends.

An operation is what a caller asks for: a manager's method, an iteration of results or one page of them, a transaction, a bulk
job. What it calls on its way is part of it. A request outside of any is an operation by itself, under DynamoDB's name. Where
nobody looks on, all of this is one check. No record has a value, a key or a token in it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, Token
from dataclasses import asdict, dataclass, field
from functools import wraps
from threading import Lock
from time import perf_counter
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from .exceptions import MLSSocialError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_log = logging.getLogger("mlssocial")

# The access patterns that are answered by an item's key; those of queries stand in their plans.
_PATTERNS = {"SocialConnection.objects.get": 6, "SocialConnection.objects.find": 6}


@dataclass(frozen=True, slots=True)
class Call:
    """
    One request that was sent, answered or not. Never a value.

    Attributes:
        operation: DynamoDB's, such as ``Query``.
        index: GSI1, GSI2, or None for the table.
        seconds: Until the answer was there.
        name: What it was sent for, such as ``Listing.objects.query``.
        access_pattern: That one's number in docs/access-patterns.md, 0 for what has none.
    """

    operation: str
    index: str | None
    seconds: float
    name: str = ""
    access_pattern: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """
    One operation that has ended. What was refused before anything was sent is none.

    Attributes:
        name: What was called, such as ``Listing.objects.query_by_status``.
        access_pattern: Its number in docs/access-patterns.md, 0 for what has none.
        table: The table.
        index: The index that was read, None for the table.
        requests: How many requests were sent, those that were sent again among them.
        read_units: What they consumed, as DynamoDB told; None where it did not, which it does where somebody counts.
        write_units: The same of writes.
        seconds: How long it took; of an iteration, without what its consumer did meanwhile.
        outcome: ``ok``, or the name of the error's class.
    """

    name: str
    access_pattern: int
    table: str
    index: str | None
    requests: int
    read_units: float | None
    write_units: float | None
    seconds: float
    outcome: str


@dataclass(slots=True)
class Units:
    """Capacity that was consumed, in read and write units."""

    read_units: float = 0.0
    write_units: float = 0.0

    def _add(self, units: float, *, read: bool) -> None:
        if read:
            self.read_units += units
        else:
            self.write_units += units


@dataclass(slots=True)
class Capacity(Units):
    """
    The capacity that the requests of a block consumed, as DynamoDB told with each answer.

    Attributes:
        by_access_pattern: The same by access pattern; under 0 what has none.
        by_operation: The same by the operation's name.
    """

    by_access_pattern: dict[int, Units] = field(default_factory=dict)
    by_operation: dict[str, Units] = field(default_factory=dict)
    _lock: Any = field(default_factory=Lock, repr=False, compare=False)

    def count(self, name: str, access_pattern: int, units: float, *, read: bool) -> None:
        """Count what one request consumed; the threads of a batch share one counter."""
        with self._lock:
            pattern, operation = self.by_access_pattern.setdefault(access_pattern, Units()), self.by_operation
            for counter in (self, pattern, operation.setdefault(name, Units())):
                counter._add(units, read=read)  # noqa: SLF001  its own class


class _Listener:
    """A callback that is told of operations, and whether it has failed."""

    def __init__(self, callback: Callable[[Operation], object], *, capacity: bool) -> None:
        self.callback = callback
        self.capacity = capacity
        self.failed = False


_lock = Lock()
_watchers = 0
"""How many look on, in whatever context."""
_listeners: tuple[_Listener, ...] = ()
_records: tuple[list[Call], ...] = ()  # of every thread
_calls: ContextVar[list[Call] | None] = ContextVar("mlssocial_calls", default=None)
_counters: ContextVar[tuple[Capacity, ...]] = ContextVar("mlssocial_counters", default=())
_in_hand: ContextVar[_Running | None] = ContextVar("mlssocial_operation", default=None)


def is_watched() -> bool:
    """Tell whether anybody looks on."""
    return _watchers > 0 or _log.isEnabledFor(logging.DEBUG)


# --- Looking on ------------------------------------------------------------------------------------------------------


def on_operation(callback: Callable[[Operation], object], *, capacity: bool = False) -> Callable[[], None]:
    """
    Have *callback* told of each operation of this process as it ends, in the thread that ran it.

    It is given an :class:`Operation`. One that raises does no harm to the operation: the first time it is logged. What it asks
    of this library itself is not told.

    Args:
        callback: What is told.
        capacity: Ask DynamoDB with each request what it consumes; it costs nothing but a few bytes in the answer.

    Returns:
        What takes the callback back. Calling it again does nothing.
    """
    global _listeners
    listener = _Listener(callback, capacity=capacity)
    with _lock:
        _listeners = (*_listeners, listener)
    _watch(1)

    def remove() -> None:
        global _listeners
        with _lock:
            was = len(_listeners)
            _listeners = tuple([one for one in _listeners if one is not listener])
            gone = len(_listeners) < was
        _watch(-int(gone))

    return remove


@contextmanager
def count_capacity() -> Iterator[Capacity]:
    """
    Count the capacity that a block's requests consume: ``with mlssocial.count_capacity() as used: ...``.

    Of this context and of the threads that the library starts for it, so that requests served side by side are counted apart.
    A write that was refused by its condition consumes capacity, and DynamoDB does not tell how much.
    """
    counter = Capacity()
    token = _counters.set((*_counters.get(), counter))
    _watch(1)
    try:
        yield counter
    finally:
        _watch(-1)
        _counters.reset(token)


@contextmanager
def recorded(*, everywhere: bool = False) -> Iterator[list[Call]]:
    """Collect the requests that this context sends; with *everywhere* those of every thread."""
    global _records
    calls: list[Call] = []
    token = None if everywhere else _calls.set(calls)
    with _lock:
        _records = (*_records, calls) if everywhere else _records
    _watch(1)
    try:
        yield calls
    finally:
        _watch(-1)
        with _lock:
            _records = tuple([one for one in _records if one is not calls])
        if token is not None:
            _calls.reset(token)


def _watch(change: int) -> None:
    global _watchers
    with _lock:
        _watchers += change


# --- What is looked at -----------------------------------------------------------------------------------------------


def running(name: str, access_pattern: int = 0) -> AbstractContextManager[object]:
    """
    Make what a block sends one operation, unless it is part of one already.

    *name* is the method, or the operation as errors have it: ``create Listing`` stands for ``Listing.objects.create``.
    """
    return _Running(name, access_pattern) if is_watched() and _in_hand.get() is None else _NOTHING


def operation(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function of the public door one operation, under its name."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with running(function.__qualname__):
            return function(*args, **kwargs)

    return run


def steps(name: str, access_pattern: int, items: Iterator[T]) -> Iterator[T]:
    """Make what an iterator sends one operation: in hand while it works, and not while its consumer does."""
    if not is_watched() or _in_hand.get() is not None:
        return items
    return _stepped(_Running(name, access_pattern), items)


def asked(request: dict[str, Any]) -> dict[str, Any]:
    """Give a request that asks what it consumes, if anybody wants to know."""
    wanted = _counters.get() or any(listener.capacity for listener in _listeners)
    return {"ReturnConsumedCapacity": "TOTAL", **request} if wanted else request


def sent(operation: str, table: str, index: str | None, seconds: float) -> None:
    """Take note of a request that was sent."""
    if (running := _in_hand.get()) is not None:
        running.sent(operation, table, index, seconds)


def consumed(answer: Mapping[str, Any], *, read: bool) -> None:
    """Take note of what an answer says that its request consumed."""
    running, units = _in_hand.get(), _units(answer.get("ConsumedCapacity"))
    if running is None or units is None:
        return
    running.consumed(units, read=read)
    for counter in _counters.get():
        counter.count(running.name, running.access_pattern, units, read=read)


_NOTHING = nullcontext()
_END: Any = object()


class _Running:
    """An operation under way; its requests may come from several threads."""

    __slots__ = (
        "_lock",
        "_started",
        "_token",
        "access_pattern",
        "index",
        "name",
        "read",
        "requests",
        "seconds",
        "table",
        "write",
    )

    def __init__(self, name: str, access_pattern: int = 0) -> None:
        verb, _, entity = name.partition(" ")
        self.name = f"{entity}.objects.{verb}" if entity else name
        self.access_pattern = access_pattern or _PATTERNS.get(self.name, 0)
        self.table = ""
        self.index: str | None = None
        self.requests, self.seconds = 0, 0.0
        self.read: float | None = None
        self.write: float | None = None
        self._lock = Lock()
        self._started = 0.0
        self._token: Token[_Running | None]

    def __enter__(self) -> None:
        self.go_on()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.pause()
        self.end(error)

    def go_on(self) -> None:
        """Take it in hand."""
        self._token, self._started = _in_hand.set(self), perf_counter()

    def pause(self) -> None:
        """Lay it aside."""
        self.seconds += perf_counter() - self._started
        _in_hand.reset(self._token)

    def sent(self, operation: str, table: str, index: str | None, seconds: float) -> None:
        """Count a request."""
        with self._lock:
            self.requests += 1
            self.table, self.index = table, self.index or index
        call, calls = Call(operation, index, seconds, self.name, self.access_pattern), _calls.get()
        for record in _records if calls is None else (*_records, calls):
            record.append(call)

    def consumed(self, units: float, *, read: bool) -> None:
        """Count capacity."""
        with self._lock:
            if read:
                self.read = (self.read or 0.0) + units
            else:
                self.write = (self.write or 0.0) + units

    def end(self, error: BaseException | None) -> None:
        """Tell of it, if it has sent anything."""
        if not self.requests:
            return
        told = Operation(
            name=self.name,
            access_pattern=self.access_pattern,
            table=self.table,
            index=self.index,
            requests=self.requests,
            read_units=self.read,
            write_units=self.write,
            seconds=self.seconds,
            outcome=_outcome(error),
        )
        token = _in_hand.set(self)  # what is asked of the library meanwhile is not told
        try:
            for listener in _listeners:
                _tell(listener, told)
            if _log.isEnabledFor(logging.DEBUG):
                _log_operation(told)
        finally:
            _in_hand.reset(token)


def _stepped(running: _Running, items: Iterator[T]) -> Iterator[T]:
    error: BaseException | None = None
    try:
        while True:
            running.go_on()
            try:
                item = next(items, _END)
            except BaseException as failed:
                error = failed
                raise
            finally:
                running.pause()
            if item is _END:
                return
            yield item
    finally:
        running.end(error)


def _units(told: Any) -> float | None:
    """Sum what an answer tells; None where it tells nothing that can be read, for the operation was done all the same."""
    try:
        return sum(float(one["CapacityUnits"]) for one in (told if isinstance(told, list) else [told])) if told else None
    except (TypeError, ValueError, LookupError, OverflowError):
        return None


def _outcome(error: BaseException | None) -> str:
    """Name an error by the class of :mod:`.exceptions` that it is."""
    if error is None:
        return "ok"
    named = (kind.__name__ for kind in type(error).__mro__ if kind.__module__ == MLSSocialError.__module__)
    return next(named, type(error).__name__)


def _tell(listener: _Listener, told: Operation) -> None:
    try:
        listener.callback(told)
    except Exception:  # noqa: BLE001  whatever somebody's callback does, the operation has ended as it has
        if not listener.failed:
            listener.failed = True
            _log.warning("a callback of on_operation() failed, and may go on to; this is logged once", exc_info=True)


def _log_operation(told: Operation) -> None:
    fields = asdict(told)
    fields["operation"] = fields.pop("name")  # a LogRecord's name is the logger's
    _log.debug("%s: %s, %d requests, %.1f ms", told.name, told.outcome, told.requests, told.seconds * 1000, extra=fields)
