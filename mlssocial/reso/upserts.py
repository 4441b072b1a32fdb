"""
What a feed's records do to the listings: one after the other for one listing, and each write on the item as it was read.

A record's last write is the one that says it was done: a status reaches all copies and posts before the listing itself shows
the feed's status fields, and posts wait to be unpublished before their listing is deleted. So a run that was killed anywhere in
between finds, by reading, what is left to do.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import Any, TypeVar

import msgspec

from mlssocial import keys, prepare, schema, writes
from mlssocial.changes import Changes, Path
from mlssocial.codec import MAX_ITEM_BYTES, AttributeValue, CodecError, WireMap, epoch_millis
from mlssocial.compiled import dump, write
from mlssocial.entities import ListingData, ListingStatus
from mlssocial.exceptions import (
    InvalidItemError,
    InvalidKeyError,
    InvalidRecordError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    MLSSocialError,
    OutcomeUnknownError,
    SkippedRecordError,
    StaleItemError,
    StoreError,
    TransactionCanceledError,
    WrongEntityError,
)
from mlssocial.managers.listings import copies_of
from mlssocial.models import Listing
from mlssocial.propagation import Change
from mlssocial.results import Results
from mlssocial.wire import Row
from mlssocial.workers import stopping

from .fitting import RESERVE, how_many, merged, room
from .mapping import is_removal, listing_key, map_listing, map_removal
from .reading import Record
from .stored import MARK, OWNED, Known, Shelf, at, imagined, instant, listing_id
from .targets import Action, Outcome, Target

T = TypeVar("T")

BUSY_SECONDS = 300.0
"""How long a table that is too busy is waited for, beyond the deadline of each call."""

_ATTEMPTS = 8
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
_STATUS = (("status",), ("standardStatus",), ("mlsStatus",))
_THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "UnprocessedKeys",
        "ProvisionedThroughputExceeded",  # these three are a transaction's reasons
        "ThrottlingError",
        "TransactionConflict",
    }
)
_Now = Known | Row | None
"""A listing as a record has left it."""
_MOVED = (StaleItemError, ItemNotFoundError, ItemAlreadyExistsError, OutcomeUnknownError)
"""Errors of a write that a new look at the item settles: each is conditional, so that none is applied twice."""

_REJECTING = (
    CodecError,
    InvalidRecordError,
    InvalidItemError,
    InvalidKeyError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    StaleItemError,
    WrongEntityError,
)
"""Errors of one record: the others go on."""


@dataclass(slots=True)
class _Given:
    """
    A record on its way.

    Attributes:
        wire: Data as the feed has it; of a record that asks for removal its status and times only.
        size: Bytes of that as JSON, which are no fewer than DynamoDB counts.
    """

    key: str
    data: ListingData
    wire: WireMap
    size: int
    removal: bool = False
    propagated: bool = False
    photos: tuple[int, int] | None = None

    def keep(self, photos: list[AttributeValue], room: int) -> AttributeValue:
        """Give the first of the photos, as many as there is room for, and take note of how many those are."""
        kept = how_many(photos, room)
        self.photos = (kept, len(photos)) if kept < len(photos) else None
        return {"L": photos[:kept]}


class Upserts:
    """Records into listings. Its methods run in several threads at once, never for the same ListingKey."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._shelf = Shelf(target.user_id, target.provider, adopts=target.adopt)
        self._lock = Lock()
        self._imagined: dict[str, Known | None] = {}  # by a listing's id: what a dry run would have left of it

    def work(self, records: Iterable[Record]) -> list[Outcome]:
        """Import some records, and say what became of each; an error of the store ends it."""
        given = [self._given(record) for record in records]
        wanted = Counter(one.key for one in given if isinstance(one, _Given))
        stored = self._patiently(lambda: self._shelf.read(wanted)) if wanted else {}
        return [self._outcome(one, stored, again=wanted[one.key] > 1) if isinstance(one, _Given) else one for one in given]

    def _given(self, record: Record) -> _Given | Outcome:
        try:
            if record.problem is not None:
                return Outcome(Action.REJECTED, reason=record.problem)
            key = listing_key(record.fields)
            if self.target.removals != "skip" and is_removal(record.fields):
                said = {"mls_id": key, "mls_provider": self.target.provider, "status": ListingStatus.EXPIRED}
                data = ListingData.model_validate(said | map_removal(record.fields))
                wire = {name: value for name, value in dump(data).items() if name not in {"mlsId", "mlsProvider"}}
                return _Given(key, data, wire, 0, removal=True)
            data = map_listing(record.fields, provider=self.target.provider, default_status=self.target.default_status)
            if self.target.connection_id is not None:
                data.mls_connection_id = self.target.connection_id
            content = write(data)
            return _Given(key, data, msgspec.json.decode(content), len(content))
        except SkippedRecordError as skipped:
            return Outcome(Action.SKIPPED, reason=skipped.reason)
        except _REJECTING as error:
            return Outcome(Action.REJECTED, reason=str(error))

    def _outcome(self, given: _Given, stored: dict[str, list[Known]], *, again: bool) -> Outcome:
        if stopping():
            return Outcome(Action.SKIPPED, reason="the import has ended")  # which nobody looks at
        try:
            outcome = self._patiently(partial(self._settled, given, stored, again=again))
        except SkippedRecordError as skipped:
            return Outcome(Action.SKIPPED, key=given.key, reason=skipped.reason)
        except _REJECTING as error:
            return Outcome(Action.REJECTED, key=given.key, reason=str(error))
        except StoreError as error:
            if error.code != "ValidationException":  # a limit that this package does not know
                raise
            return Outcome(Action.REJECTED, key=given.key, reason=str(error))
        outcome.key, outcome.propagated, outcome.photos = given.key, given.propagated, given.photos
        return outcome

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do what may meet a table that is too busy, and try again for as long as is sensible."""
        until, pause = time.monotonic() + BUSY_SECONDS, _FIRST_PAUSE
        while True:
            try:
                return work()
            except StoreError as error:
                if error.code not in _THROTTLED or time.monotonic() + pause > until or stopping():
                    raise
            time.sleep(random.uniform(0, pause))  # noqa: S311  full jitter is no secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    # --- One record --------------------------------------------------------------------------------------------------

    def _settled(self, given: _Given, stored: dict[str, list[Known]], *, again: bool) -> Outcome:
        """
        Bring a record to its listing; one that others write meanwhile is looked at again.

        *again* says that other records of the listing follow, which have to know what it is by then.
        """
        shelf = stored.setdefault(given.key, [])
        for attempt in range(_ATTEMPTS):
            found = self._find(given, shelf)
            try:
                outcome, now = self._removed(given, found) if given.removal else self._upserted(given, found)
            except _MOVED:
                if attempt == _ATTEMPTS - 1:
                    raise
                _replace(shelf, found, self._reread(given, found))
            else:
                if again:
                    _replace(shelf, found, self._shelf.look(now, given.key) if isinstance(now, dict) else now)
                return outcome
        raise AssertionError  # the last attempt returns or raises

    def _find(self, given: _Given, shelf: list[Known]) -> Known | None:
        """Find the stored listing; where several have one key, as the other application left some, the one with that number."""
        if self.target.dry_run:
            made = listing_id(self.target.provider, given.key)
            with self._lock:
                seen = [self._imagined.get(one.listing_id, one) for one in shelf]
                seen += [self._imagined.get(made)] if all(one.listing_id != made for one in shelf) else []
            shelf = [one for one in seen if one is not None]
        shelf = sorted(shelf, key=lambda one: one.listing_id)
        found = next((one for one in shelf if one.number == given.data.mls_number), shelf[0] if shelf else None)
        if found is not None and found.problem is not None:
            problem = found.problem
            unreadable = isinstance(problem, InvalidItemError) and not found.data
            raise InvalidRecordError(
                "ListingKey", f"it is stored already, and cannot be read: {problem}" if unreadable else str(problem)
            )
        if found is not None and found.modified is not None:
            modified = instant(given.data.modification_timestamp)
            if modified is not None and modified < found.modified:
                raise SkippedRecordError("older than what is stored, by ModificationTimestamp")
        return found

    def _reread(self, given: _Given, found: Known | None) -> Known | None:
        one = listing_id(self.target.provider, given.key) if found is None else found.listing_id
        return self._shelf.reread(one, given.key)

    def _upserted(self, given: _Given, found: Known | None) -> tuple[Outcome, _Now]:
        if found is None:
            return self._created(given)
        changed = self._changed(given, found)
        if not changed and MARK not in found.data:
            return Outcome(Action.UNCHANGED, found.listing_id), found
        if found.row is None or self.target.dry_run:
            return self._imagine(given, found, changed)
        outcome = Outcome(Action.UPDATED, found.listing_id, fields=_compared(found, changed))
        if self._is_due(given, changed):
            found = self._propagated(given, found, given.data.status)
            changed = self._changed(given, found)
        removes = frozenset({(MARK,)} if MARK in found.data else ())
        return outcome, self._update(found, changed, removes)

    def _created(self, given: _Given) -> tuple[Outcome, _Now]:
        made = listing_id(self.target.provider, given.key)
        said = _without_nothing(given.wire) | {"syncedAt": _now()}  # null clears what is there, and here is nothing
        if "photos" in said and given.size > MAX_ITEM_BYTES - RESERVE:
            said["photos"] = given.keep(said["photos"]["L"], room(said, {}))
        if self.target.dry_run:
            return self._imagine(given, None, said, made)
        prepared = prepare.create(schema.LISTING, (self.target.user_id, made), schema.LISTING.content(said))
        return Outcome(Action.CREATED, made), writes.apply(prepared)

    def _removed(self, given: _Given, found: Known | None) -> tuple[Outcome, _Now]:
        if found is None:
            raise SkippedRecordError("the feed asks for removal of a listing that is not stored")
        marks = self.target.removals == "mark"
        changed = found.differences(given.wire)
        if marks and not changed and MARK in found.data:
            return Outcome(Action.UNCHANGED, found.listing_id), found
        if found.row is None or self.target.dry_run:
            return self._imagine(given, found, changed)
        outcome = Outcome(Action.MARKED if marks else Action.REMOVED, found.listing_id, fields=_compared(found, changed))
        if self._is_due(given, changed) or not marks:
            found = self._propagated(given, found, ListingStatus.EXPIRED)
        if not marks:
            writes.delete(schema.LISTING, (self.target.user_id, found.listing_id), seen=found.row)
            return outcome, None
        changed = found.differences(given.wire) | {(MARK,): found.data.get(MARK) or _now()}
        return outcome, self._update(found, changed, frozenset())

    def _imagine(self, given: _Given, found: Known | None, changed: Mapping[Any, Any], made: str = "") -> tuple[Outcome, _Now]:
        """Say what a dry run would do, and remember what it would leave, for the next record of the same listing."""
        one = made if found is None else found.listing_id
        gone = given.removal and self.target.removals == "delete"
        action = Action.CREATED if found is None else Action.UPDATED
        if given.removal:
            action = Action.REMOVED if gone else Action.MARKED
        elif found is not None:
            given.propagated = ("status",) in changed
        wire = given.wire if found is not None else dict(changed)
        left = None if gone else imagined(one, found, given.data, wire, marked=given.removal)
        with self._lock:
            self._imagined[one] = left
        fields = {} if found is None or found.row is None else _compared(found, changed)
        return Outcome(action, one, fields=fields), found

    # --- Its parts ---------------------------------------------------------------------------------------------------

    def _changed(self, given: _Given, found: Known) -> dict[Path, AttributeValue]:
        """Give what is to be written, with no more photos than the item will hold."""
        changed = found.differences(given.wire)
        photos = changed.get(("photos",), {}).get("L")
        if photos and found.row is not None:
            fitted = given.keep(photos, room(merged(found.data, changed), found.row))
            if fitted == found.values.get(("photos",)):
                del changed["photos",]
            else:
                changed["photos",] = fitted
        return changed

    def _update(self, found: Known, changed: Mapping[Path, AttributeValue], removes: frozenset[Path]) -> Row:
        """Change those paths and no others, if the item is as it was read."""
        changes = Changes(
            sets={**changed, ("syncedAt",): _now()},
            removes=removes,
            fields=frozenset(OWNED[path] for path in changed if path in OWNED),
        )
        ids = self.target.user_id, found.listing_id
        row = found.row or {}
        return writes.apply(prepare.update(schema.LISTING, ids, changes, seen=row).anew(row))

    def _is_due(self, given: _Given, changed: Mapping[Path, Any]) -> bool:
        """
        Tell whether a status has to be brought about.

        The listing's own status may be there already, since a run that was killed has set it; what the feed calls it is written
        last of all.
        """
        return ("status",) in changed or (not given.propagated and any(path in changed for path in _STATUS))

    def _propagated(self, given: _Given, found: Known, status: ListingStatus) -> Known:
        """Bring a status to the listing and its posts, and to the other copies of its MLS number; give it as it is then."""
        own = Change(self.target.provider, found.number, status, None, Listing.class_of)
        _check(own.propagate([found.row or {}]).failed.values())
        number = given.data.mls_number or found.number
        if number and _is_fit(self.target.provider, number):
            others = Change(self.target.provider, number, status, None, Listing.class_of)
            _check(others.propagate(self._copies(given, number)).failed.values())
        given.propagated = True
        now = self._reread(given, found)
        if now is None or ("status",) in now.differences({"status": {"S": status.value}}):
            raise StaleItemError("import Listing", None, "its status was changed again meanwhile")
        return now

    def _copies(self, given: _Given, number: str) -> Iterator[Row]:
        """Find the copies of an MLS number, without those that a newer record has reached already."""
        whose = self.target.propagate_to or self.target.user_id
        modified = instant(given.data.modification_timestamp)
        for row in Results(copies_of("import", self.target.provider, number, whose), lambda row: row):
            data = row[schema.DATA].M if schema.DATA in row else None
            theirs = instant(data["modificationTimestamp"].S if data and "modificationTimestamp" in data else None)
            if modified is None or theirs is None or theirs <= modified:
                yield row


_runs: dict[str, Upserts] = {}
_MOST_RUNS = 8
_lock = Lock()


def upsert(target: Target, records: Iterable[Record]) -> list[Outcome]:
    """Import some records, none of whose listings is another call's meanwhile, and say what became of each."""
    with _lock:
        if target.run not in _runs:
            while len(_runs) >= _MOST_RUNS:  # in a worker's process, which is not told of an import's end
                del _runs[next(iter(_runs))]
            _runs[target.run] = Upserts(target)
        run = _runs[target.run]
    return run.work(records)


def forget(target: Target) -> None:
    """Drop what is remembered of an import."""
    with _lock:
        _runs.pop(target.run, None)


def _replace(shelf: list[Known], old: Known | None, new: Known | None) -> None:
    if old in shelf:
        shelf.remove(old)
    if new is not None:
        shelf.append(new)


def _is_fit(provider: str, number: str) -> bool:
    """Tell whether an MLS number can be in an index; another application's may not be."""
    try:
        keys.mls_number_partition(provider, number)
    except InvalidKeyError:
        return False
    return True


def _compared(found: Known, changed: Mapping[Path, AttributeValue]) -> dict[Path, tuple[AttributeValue | None, AttributeValue]]:
    return {path: (at(found.data, path), value) for path, value in changed.items()}


def _without_nothing(wire: WireMap) -> WireMap:
    """Leave out what is null, and maps in which nothing is left."""
    made: WireMap = {}
    for name, value in wire.items():
        kept = {"M": _without_nothing(value["M"])} if "M" in value else value
        if kept not in ({"NULL": True}, {"M": {}}):
            made[name] = kept
    return made


def _now() -> AttributeValue:
    return {"N": str(epoch_millis(datetime.now(UTC)))}


def _check(errors: Iterable[MLSSocialError]) -> None:
    """Raise the first error of a propagation: of a transaction the first reason."""
    for error in errors:
        if isinstance(error, TransactionCanceledError):
            raise next(filter(None, error.reasons), error) from error
        raise error
