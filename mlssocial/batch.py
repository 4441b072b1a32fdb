"""
Bulk reads and writes: any number of items in DynamoDB's batches, a few requests at a time.

DynamoDB answers a batch in part when it is busy. What it left is sent again, with growing pauses, for as long as something gets
through within the deadline; what is left then is named, never dropped. Items of an iterator are held until their request has
been answered, and no longer.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, islice
from threading import Event
from typing import Any, Generic, TypeVar

import msgspec

from . import connection, operations
from .connection import AnswerLostError, Patience, store
from .exceptions import BatchIncompleteError, ItemError, MLSSocialError, OutcomeUnknownError, StoreError
from .schema import PK, SK, Entity, key_of
from .wire import Row, decode_row, invalid_answer, row_of

T = TypeVar("T")
R = TypeVar("R")
Key = tuple[str, str]
Ids = tuple[Any, ...]
Outcome = dict[Key, MLSSocialError | None]
"""What became of each key: None where it was done, OutcomeUnknownError where nobody can tell, else why it was not."""

# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html, .../API_BatchWriteItem.html
MAX_GET, MAX_WRITE = 100, 25
MAX_WRITE_BYTES = 16_000_000
"""Of a request's items, as JSON: 16 MB, with room for what stands around them."""
CONCURRENCY = 4
"""How many requests are under way at once."""
_MOST_LATE = 2
"""How many parts may be waited for before threads do it; one is an accident."""
IN_VAIN = 8
"""After how many requests in a row of which DynamoDB took nothing a batch gives up."""


@dataclass(frozen=True, repr=False)
class BatchResult:
    """
    What became of a batch, by the ids of its items; it holds the ids of all, and none of the items.

    Attributes:
        refused: What was not written, with the error that says why.
        unknown: What may have been written or not, since its answer was lost; read it consistently before you try again.
    """

    refused: Mapping[Ids, MLSSocialError]
    unknown: Mapping[Ids, OutcomeUnknownError]
    _done: Mapping[Key, Ids | None]
    _ids_of: Callable[[Key], Ids]

    @cached_property
    def written(self) -> tuple[Ids, ...]:
        """What was written, or deleted, in the order in which it was given."""
        return tuple([self._ids_of(key) if ids is None else ids for key, ids in self._done.items()])

    def __repr__(self) -> str:
        return f"<BatchResult {len(self._done):,} written, {len(self.refused):,} refused, {len(self.unknown):,} unknown>"


def read(
    keys: Iterable[Key], decode: Callable[[Any], Row] = decode_row, *, consistent: bool, patience: Patience | None = None
) -> Iterator[Row]:
    """
    Read items by their keys, in no order; those that are not there are left out. StoreError if some cannot be had.

    Each request has a deadline of its own, which begins anew with what it gets; with *patience* that one holds for all.
    """
    asked = dict.fromkeys(keys)
    work = partial(_read_part, consistent=consistent, patience=patience)
    parts = at_once(work, _batched(asked, MAX_GET), Event())
    for row in map(decode, chain.from_iterable(parts)):  # one at a time: a whole answer's tree is dear to the collector
        if PK not in row or SK not in row or (row[PK].S, row[SK].S) not in asked:
            raise invalid_answer("a row of it is none of those that were asked for")
        yield row


def _read_part(part: list[Key], *, consistent: bool, patience: Patience | None = None) -> list[msgspec.Raw]:
    table, deadline = store().table_name, store().settings.deadline
    keys = [{PK: {"S": pk}, SK: {"S": sk}} for pk, sk in part]
    given, patience = patience, patience or Patience(deadline)
    rows: list[msgspec.Raw] = []
    while keys:
        request = {"RequestItems": {table: {"Keys": keys, "ConsistentRead": consistent}}}
        answer = store().call("BatchGetItem", request, patience=patience)
        found = answer.get("Responses", {}).get(table, [])
        rows += found
        keys = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        patience = Patience(deadline) if found and given is None else patience
        if keys and not patience.wait():
            reason = (
                f"BatchGetItem on {table}: {len(keys)} keys were left unprocessed until the deadline; ask for fewer at a time"
            )
            raise StoreError(reason, code="UnprocessedKeys")
    return rows


def _batched(members: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(members)
    while part := list(islice(iterator, size)):
        yield part


def _key_of(request: dict[str, Any]) -> Key:
    """Take the key out of a PutRequest or DeleteRequest that DynamoDB sent back."""
    (member,) = request.values()
    return key_of(row_of(member.get("Key") or member["Item"]))


def at_once(work: Callable[[T], R], parts: Iterable[T], stopped: Event) -> Generator[R]:
    """
    Do the parts a few at a time, each in the caller's context, and give what comes of them in their order.

    Parts are taken a few ahead of what is done. Where answers come faster than threads can be of use, it is one after the
    other, in the caller's thread: a part is taken when the one before it is done. Whatever ends this early sets *stopped*: no
    further part is begun, and those that are under way in threads are waited for.
    """
    parts, late = iter(parts), None
    try:
        for part in parts:
            if late is None:
                late = 0 if store().is_near else _MOST_LATE
            if late >= _MOST_LATE and (second := list(islice(parts, 1))):
                yield from _in_threads(work, chain([part], second, parts), stopped)
                return
            before = _waited()
            done = work(part)
            late += _waited() - before > connection.NEAR_SECONDS
            yield done
    except BaseException:
        stopped.set()
        raise


def _waited() -> float:
    """Give a clock that stands still while this thread works."""
    return time.perf_counter() - time.thread_time()


def _in_threads(work: Callable[[T], R], parts: Iterable[T], stopped: Event) -> Generator[R]:
    under_way: deque[Future[R]] = deque()
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="mlssocial-batch") as pool:
        try:
            for part in parts:
                under_way.append(pool.submit(copy_context().run, work, part))
                if len(under_way) >= 2 * CONCURRENCY:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except BaseException:
            stopped.set()
            for future in under_way:
                future.cancel()
            raise


# --- Writes ----------------------------------------------------------------------------------------------------------


class Part(msgspec.Struct, Generic[T], eq=False):
    """
    What one thread does in one go: of a batch operation, one request.

    Attributes:
        entries: What was given, and what is sent of it, by key.
        size: The bytes of what is sent.
        after: Earlier parts that write one of these keys too.
        begun: Whether any of it may have been sent.
        outcome: What became of it; None until that is known.
    """

    entries: dict[Key, tuple[T, Any]] = {}
    size: int = 0
    after: list[Part[T]] = []
    begun: bool = False
    outcome: Outcome | None = None
    done: Event = msgspec.field(default_factory=Event)


class Batch(ABC, Generic[T]):
    """
    One call of ``save_many()`` or the like: what it sends of what it is given, and what has become of that.

    Attributes:
        entity: Whose items they are.
        most: How many make a part.
        replaces: Of several with one key the last one counts; without it each counts for itself.
        past: What is done to an item, in a message.
        operation: Such as ``save_many Listing``.
        stopped: Set once nothing more is to be sent.
    """

    most = MAX_WRITE
    replaces = True
    past = "written"

    def __init__(self, verb: str, entity: Entity[Any]) -> None:
        self.entity = entity
        self.operation = f"{verb} {entity.name}"
        self.stopped = Event()
        self._parts: deque[Part[T]] = deque()  # those that are not settled
        self._done: dict[Key, Ids | None] = {}
        self._failed: dict[Hashable, tuple[Key, T, MLSSocialError]] = {}
        self._unfit: tuple[T, MLSSocialError] | None = None
        self._sending = False
        self._in_vain = 0

    @abstractmethod
    def prepare(self, one: T) -> tuple[Key, T, Any, int]:
        """Give the key of what was given, itself, what is sent of it, and the bytes of that; an error if it is unfit."""

    @abstractmethod
    def send(self, entries: dict[Key, tuple[T, Any]]) -> Outcome:
        """Send a part and say what became of each key. Runs beside other parts; what is put into an entry is taken."""

    def take(self, one: T, sent: Any) -> None:
        """Take note, in the caller's thread, that one was done."""

    def ids(self, one: T) -> Ids | None:
        """Give the ids where they are what was given; elsewhere the key says them."""

    def run(self, given: Iterable[T]) -> BatchResult:
        """
        Do it all; BatchIncompleteError if something was not done.

        What has a length is prepared whole before anything is sent, all else as it is sent: there the first that is unfit ends
        the batch once those before it are done. Any other exception, a generator's or an interrupt, ends it as soon as the
        requests under way are answered, and goes on to the caller with a note of how far the batch came. A request that goes
        out from the caller's own thread, as the only one or to an engine at hand, is cut off by an interrupt, and counts as
        unknown.
        """
        with operations.running(self.operation):
            return self._run(given)

    def _run(self, given: Iterable[T]) -> BatchResult:
        members = self._prepared(given)
        if isinstance(given, Sized):
            checked = list(members)
            members = iter({member[0]: member for member in checked}.values() if self.replaces else checked)
        parts = self._cut(members)
        first = list(islice(parts, CONCURRENCY))
        if first:
            _ = store().client  # a configuration that cannot work is an error of the call, and of no item
        self._sending = True
        try:
            with closing(at_once(self._work, chain(first, parts), self.stopped)) as finished:
                for _ in finished:
                    self._settle(self._parts.popleft())
        except BaseException as error:
            error.add_note(self._how_far())
            raise
        return self._result()

    def _prepared(self, given: Iterable[T]) -> Iterator[tuple[Key, T, Any, int]]:
        for one in given:
            try:
                member = self.prepare(one)
            except MLSSocialError as error:
                if not self._sending:
                    raise
                self._unfit = one, error
                return
            yield member
            if self.stopped.is_set():
                return

    def _cut(self, members: Iterable[tuple[Key, T, Any, int]]) -> Iterator[Part[T]]:
        """Cut into parts that a request can hold."""
        part = self._new_part()
        for key, one, sent, size in members:
            entries = part.entries
            if len(entries) >= self.most or part.size + size > MAX_WRITE_BYTES or (not self.replaces and key in entries):
                yield self._ready(part)
                part = self._new_part()
                entries = part.entries
            entries[key] = one, sent
            part.size += size
        if part.entries:
            yield self._ready(part)

    def _new_part(self) -> Part[T]:
        part: Part[T] = Part()
        self._parts.append(part)
        return part

    def _ready(self, part: Part[T]) -> Part[T]:
        """Let a part wait for those under way that write one of its keys: of two writes the later one is to stand."""
        earlier = (other for other in self._parts if other is not part)
        part.after = [other for other in earlier if not other.entries.keys().isdisjoint(part.entries)]
        return part

    def _work(self, part: Part[T]) -> None:
        try:
            while part.after:
                part.after.pop().done.wait()  # parts are begun in their order, so that one is under way or done
            if not self.stopped.is_set():
                part.begun = True
                part.outcome = self.send(part.entries)
        finally:
            part.done.set()

    def _settle(self, part: Part[T]) -> None:
        """Take in what became of a part; after several of which DynamoDB took nothing, stop."""
        outcome = part.outcome
        if outcome is None:
            outcome = {key: self._cut_short(key) if part.begun else self.not_sent() for key in part.entries}
        for key, (one, sent) in part.entries.items():
            error = outcome[key]
            if error is not None:
                self._fail(key, one, error)
                continue
            self.take(one, sent)
            self._done[key] = self.ids(one)
            if self._failed and self.replaces:
                self._failed.pop(key, None)
        self._in_vain = self._in_vain + 1 if all(map(_is_in_vain, outcome.values())) else 0
        if self._in_vain >= IN_VAIN:
            self.stopped.set()

    def _fail(self, key: Key, one: T, error: MLSSocialError) -> None:
        if self.replaces:
            self._done.pop(key, None)
        self._failed[key if self.replaces else len(self._failed)] = key, one, error

    def not_sent(self) -> StoreError:
        """Make the error for what the batch's end came before."""
        return StoreError(f"{self.operation}: not written, since the batch ended before", code="NotSent")

    def _cut_short(self, key: Key) -> OutcomeUnknownError:
        return OutcomeUnknownError(self.operation, key, "interrupted while it was sent; read it before you try again")

    def _how_far(self) -> str:
        """Say, after an exception, what became of all that was taken."""
        while self._parts:
            self._settle(self._parts.popleft())
        errors = [error for _, _, error in self._failed.values()]
        unsent = [error for error in errors if isinstance(error, StoreError) and error.code == "NotSent"]
        sent = [error for error in errors if error not in unsent]
        unknown = sum(isinstance(error, OutcomeUnknownError) for error in sent)
        said = f"{len(self._done):,} {self.past}, {len(sent) - unknown:,} refused, {unknown:,} unknown"
        first = f"; the first of those that failed: {sent[0]}" if sent else ""
        return f"{self.operation} ended here: {said}, {len(unsent):,} taken and not sent{first}"

    def _so_far(self) -> BatchResult:
        refused: dict[Ids, MLSSocialError] = {}
        unknown: dict[Ids, OutcomeUnknownError] = {}
        for key, one, error in self._failed.values():
            ids = self.ids(one) or self.entity.ids(key)
            if isinstance(error, OutcomeUnknownError):
                unknown[ids] = error
            else:
                refused[ids] = error
        return BatchResult(refused, unknown, self._done, self.entity.ids)

    def _result(self) -> BatchResult:
        result = self._so_far()
        if not self._failed and self._unfit is None:
            return result
        unprocessed = [one for _, one, _ in self._failed.values()]
        all_of = len(self._done) + len(unprocessed)
        message = f"{self.operation}: {len(unprocessed):,} of {all_of:,} items were not {self.past}"
        if unprocessed:
            key, _, error = next(iter(self._failed.values()))
            message += f"; the first is {key[0]} / {key[1]}: {error.reason if isinstance(error, ItemError) else error}"
        if self._unfit is not None:
            unprocessed.append(self._unfit[0])
            message += f"; the next one is unfit, and none was taken after it: {self._unfit[1]}"
        message += "; result says what became of each, unprocessed is what is left to do"
        raise BatchIncompleteError(message, unprocessed, result) from (self._unfit and self._unfit[1])


def _is_in_vain(error: MLSSocialError | None) -> bool:
    """Tell whether a request, and not what it asked for, is at fault."""
    return isinstance(error, OutcomeUnknownError) or (isinstance(error, StoreError) and error.code != "ValidationException")


class WholeBatch(Batch[T]):
    """A batch of whole items by BatchWriteItem, which takes no conditions."""

    @abstractmethod
    def request(self, key: Key, sent: Any) -> dict[str, Any]:
        """Make a PutRequest or DeleteRequest."""

    @abstractmethod
    def is_done(self, sent: Any, row: Row | None) -> bool:
        """Tell, after an answer was lost, whether what is stored now shows that this was done."""

    def send(self, entries: dict[Key, tuple[T, Any]]) -> Outcome:
        """Send a request again and again until DynamoDB has taken or refused every member, or leaves all until the deadline."""
        left, outcome = entries, Outcome()
        patience = store().patience()
        while left:
            try:
                unprocessed = self._send_once(left, patience)
            except AnswerLostError as lost:
                return outcome | self._looked_up(left, lost, patience.to_look())
            except StoreError as error:
                return outcome | self._refused(left, error)
            outcome |= dict.fromkeys([key for key in left if key not in unprocessed] if unprocessed else left)
            patience = store().patience() if len(unprocessed) < len(left) else patience
            left = {key: entry for key, entry in left.items() if key in unprocessed}
            if left and self.stopped.is_set():
                return outcome | dict.fromkeys(left, self.not_sent())
            if left and not patience.wait():
                reason = f"{self.operation}: unprocessed until the deadline; try again later or fewer at a time"
                return outcome | dict.fromkeys(left, StoreError(reason, code="UnprocessedItems"))
        return outcome

    def _send_once(self, entries: dict[Key, tuple[T, Any]], patience: Patience) -> set[Key]:
        """Send one request, and give the keys that DynamoDB left."""
        table = store().table_name
        requests = [self.request(key, sent) for key, (_, sent) in entries.items()]
        answer = store().call("BatchWriteItem", {"RequestItems": {table: requests}}, patience=patience)
        try:
            return {_key_of(request) for request in answer.get("UnprocessedItems", {}).get(table, [])}
        except (ValueError, LookupError):
            raise AnswerLostError("what is left unprocessed cannot be read") from None

    def _refused(self, entries: dict[Key, tuple[T, Any]], error: StoreError) -> Outcome:
        """Find which of a request are at fault: DynamoDB refuses all for one that is not valid, and does not say which."""
        members = list(entries.items())
        if error.code != "ValidationException" or len(members) == 1:
            return dict.fromkeys(entries, error)
        middle = len(members) // 2
        return self.send(dict(members[:middle])) | self.send(dict(members[middle:]))

    def _looked_up(self, entries: dict[Key, tuple[T, Any]], lost: AnswerLostError, patience: Patience) -> Outcome:
        """Find out by a consistent read which of a request whose answer was lost were done."""
        found: dict[Key, Row] = {}
        reason = f"the answer was lost ({lost}), and the item does not show this write; read it before you try again"
        try:
            for row in map(decode_row, _read_part(list(entries), consistent=True, patience=patience)):
                found[key_of(row)] = row
        except MLSSocialError as error:
            reason = f"the answer was lost ({lost}), and so was a look at the item ({error}); read it before you try again"
            return {key: OutcomeUnknownError(self.operation, key, reason) for key in entries}
        return {
            key: None if self.is_done(sent, found.get(key)) else OutcomeUnknownError(self.operation, key, reason)
            for key, (_, sent) in entries.items()
        }
