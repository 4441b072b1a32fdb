"""
Feeds into a user's listings: created where they are new, changed where they differ, and left alone where they do not.

Records go in windows of 100 listings, a few at a time, each window to a thread or another worker: one batch read, and then a
write for each listing that is new or has changed. What came of a window is taken over here, in the order in which records came,
and then the checkpoint says so. No two windows with the same listing are under way at once.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from mlssocial import batch, checkpoints
from mlssocial import workers as pools
from mlssocial.codec import AttributeValue, decode
from mlssocial.entities import ListingStatus
from mlssocial.exceptions import ConfigurationError, ExecutorError, MLSSocialError
from mlssocial.managers.base import WhoseItems
from mlssocial.operations import operation
from mlssocial.settings import table_settings, using
from mlssocial.workers import Done, Task

from . import progress as checkpointing
from .progress import Progress
from .reading import Record
from .report import ImportReport, ListingChange, RejectedFile
from .sources import Feed, FileFeed, Ledger, Mark, Source, Step, feeds
from .targets import Action, Outcome, Removals, Target
from .upserts import forget, upsert

MAX_WORKERS = 64

WINDOW = batch.MAX_GET
"""How many records are read, compared and written in one go."""

_CHANGES = frozenset({Action.CREATED, Action.UPDATED, Action.REMOVED, Action.MARKED})


@operation
def import_feed(
    *sources: Source,
    user_id: str,
    provider: str,
    connection_id: str | None = None,
    default_status: ListingStatus | str | None = None,
    removals: Removals = "mark",
    propagate_to: WhoseItems | None = None,
    adopt: bool = True,
    dry_run: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    rejected: str | os.PathLike[str] | None = None,
    workers: int = 8,
    executor: Executor | str | None = None,
    on_change: Callable[[ListingChange], None] | None = None,
    progress: Callable[[ImportReport], None] | None = None,
) -> ImportReport:
    """
    Write feeds' records as a user's listings, one source after the other.

    A listing is known by its provider and ListingKey among the user's own, whatever its id is and whoever made it. Fields that
    the feed does not say, or an import does not own, are kept. Importing the same feed again writes nothing: a record that is
    older than what is stored, by ModificationTimestamp, is skipped, and one that says nothing new is left alone. Of records of
    one listing that cannot be told apart by time the last one stands.

    A changed status is brought to the listing's posts and to its other copies, as ``Listing.objects.propagate_status`` does.
    Photos that an item has no room for are left out, and the report says so. One consistent read for each listing, 100 a
    request; one write for each that is new or has changed, under the condition that nobody has changed it meanwhile.

    Args:
        sources: Paths, folders and globs of RESO Web API pages, Spark bodies, arrays or records one a line, gzipped or not;
            ``-`` for standard input; open binary files; a :class:`Server`; iterables of :class:`Record`.
        user_id: Whose listings they become.
        provider: The feed's name, such as ``flexmls``; it becomes mls_provider.
        connection_id: The MLSConnection that they came by; it becomes mls_connection_id.
        default_status: For feeds that have no status at all; see :func:`map_listing`.
        removals: What becomes of a listing whose status is Delete or whose MlgCanView is false: ``mark`` takes it off the
            market, as expired, with ``removedAt`` among its fields; ``delete`` deletes it; with both its posts wait to be
            unpublished. ``skip`` leaves all as it is.
        propagate_to: ALL_USERS brings a changed status to every user's copies, but for those that a newer record has reached;
            the user's own copies otherwise.
        adopt: Look for listings that another application made of a record under an id of its own: where a record is new, all of
            the user's listings are read once. Without it such a listing is doubled.
        dry_run: Read and compare, and write nothing, the checkpoint included.
        checkpoint: A file that says how far each source is, written when a window's writes are acknowledged. An import that was
            killed goes on there; one that came to its end reads what is new: other files, and what a server has changed since.
        rejected: A file to which records are added that could not be imported, one a line, with where they were and why.
        workers: How many windows are under way at once.
        executor: Where windows are written: any executor, or ``dask://HOST:PORT``; threads if None. A dry run has threads.
        on_change: Is given each change of a listing, in the order of the records.
        progress: Is given the report after each record.

    Raises:
        InvalidKeyError: *user_id*, *provider* or *connection_id* cannot go into a key.
        ConfigurationError: An option cannot be; the checkpoint is another import's, or in use.
        FeedError: A source cannot be read on. What came before it is imported, and the checkpoint says so.
        StoreError: DynamoDB refused, or was too busy for five minutes. What was written stays; the next import goes on.
        OutcomeUnknownError: Nobody can tell whether a write was applied; the next import settles it.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= MAX_WORKERS:
        raise ConfigurationError(f"workers: a whole number from 1 to {MAX_WORKERS} is needed, not {workers!r}")
    status = None if default_status is None else ListingStatus(default_status)
    target = Target(user_id, provider, connection_id, status, removals, propagate_to, adopt, dry_run)
    found = feeds(sources)
    _check_files(found, checkpoint, rejected)
    with using(table_settings()), ExitStack() as stack:
        file = None if checkpoint is None else stack.enter_context(checkpoints.held(Path(checkpoint)))
        state = checkpointing.begun(target, file)
        rejects = None
        if rejected is not None and not dry_run:
            rejects = RejectedFile(Path(rejected), state.rejected)
            stack.callback(rejects.close)
        run = _Run(state, None if dry_run else file, rejects, on_change, progress)
        pool = stack.enter_context(pools.opened(None if dry_run else executor, workers))
        task = stack.enter_context(pools.at_hand(partial(_work, target)))
        stack.callback(forget, target)
        run.go(found, _Workers(pool, task, workers))
        return state.report


def _work(target: Target, _: int, records: list[Record]) -> Done[list[Outcome]]:
    """Import the records of a window, wherever that is."""
    return Done(upsert(target, records), None)


def _check_files(found: list[Feed], checkpoint: object, rejected: str | os.PathLike[str] | None) -> None:
    """Refuse a checkpoint of what cannot be read again, and a file that would be read while it is written."""
    for feed in found:
        if checkpoint is not None and not feed.resumable:
            name = feed.name or "an open file or records"
            raise ConfigurationError(
                f"checkpoint: {name} cannot be found again; import it from a file, or without a checkpoint"
            )
        if rejected is not None and isinstance(feed, FileFeed) and feed.path.resolve() == Path(rejected).resolve():
            raise ConfigurationError(
                f"{feed.name}: rejected records cannot be added to a file that is imported; name another one"
            )


# --- Windows ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Window:
    """Some records, of no more listings than one request reads, and where their sources go on behind them."""

    records: list[Record] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    marks: dict[str, Mark] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        if step.mark is not None:
            self.marks[step.source] = step.mark
        if step.record is not None:
            self.records.append(step.record)
            self.keys.add(str(step.record.fields.get("ListingKey")))

    @property
    def is_full(self) -> bool:
        return len(self.records) >= WINDOW


@dataclass(slots=True)
class _Workers:
    """Where windows are worked off, and how many at once."""

    pool: Executor
    task: Task[list[Outcome]]
    count: int

    def begin(self, number: int, window: _Window) -> Future[Done[list[Outcome]]]:
        return self.pool.submit(self.task, number, window.records)


@dataclass(slots=True)
class _Run:
    """An import under way. *failure* is what its sources ended with."""

    state: Progress
    file: checkpoints.Checkpoint | None
    rejects: RejectedFile | None
    on_change: Callable[[ListingChange], None] | None
    progress: Callable[[ImportReport], None] | None
    started: float = field(init=False)
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self.started = time.monotonic() - self.state.report.elapsed

    def go(self, found: list[Feed], at: _Workers) -> None:
        """Work off all windows. An error of a source ends it when what came before is in the checkpoint."""
        self.save()  # a file that cannot be written is known before anything is done
        under_way: deque[tuple[int, _Window, Future[Done[list[Outcome]]]]] = deque()
        try:
            for number, window in enumerate(self._windows(found)):
                while under_way and (len(under_way) >= at.count or any(_clash(window, other) for _, other, _ in under_way)):
                    self._settle(*under_way.popleft())
                under_way.append((number, window, at.begin(number, window)))
            while under_way:
                self._settle(*under_way.popleft())
        finally:  # whatever ends this early ends the windows that are under way, too
            at.task.stop()
            wait([future for _, _, future in under_way if not future.cancel()])
        if self.failure is not None:
            raise self.failure
        self.state.finished = True
        self.save()

    def _windows(self, found: list[Feed]) -> Iterator[_Window]:
        """Cut the sources into windows; what came before an error is a window too."""
        window = _Window()
        try:
            for feed in found:
                for step in feed.steps(self.state.marks.get(feed.name), Ledger(self.state.requests, self.save)):
                    window.add(step)
                    if window.is_full:
                        yield window
                        window = _Window()
        except Exception as error:  # noqa: BLE001  it is raised when the windows under way are done
            self.failure = error
        yield window

    def _settle(self, number: int, window: _Window, future: Future[Done[list[Outcome]]]) -> None:
        """Take over what came of a window, when it is done."""
        try:
            outcomes = future.result().result
        except MLSSocialError:
            raise
        except Exception as error:
            raise ExecutorError(number, f"a window was not imported ({type(error).__name__}); import again to go on") from error
        for record, outcome in zip(window.records, outcomes, strict=True):
            self._take(record, outcome)
            self.state.report.elapsed = time.monotonic() - self.started
            if self.progress is not None:
                self.progress(self.state.report)
        self.state.marks |= window.marks
        self.save()

    def save(self) -> None:
        """Write the checkpoint."""
        self.state.report.elapsed = time.monotonic() - self.started
        if self.rejects is not None:
            self.state.rejected = self.rejects.flush()
        if self.file is not None:
            self.file.write(msgspec.json.encode(self.state))

    def _take(self, record: Record, outcome: Outcome) -> None:
        """Count what became of a record."""
        report = self.state.report
        match outcome.action:
            case Action.CREATED:
                report.created += 1
            case Action.UPDATED:
                report.updated += 1
            case Action.UNCHANGED:
                report.unchanged += 1
            case Action.REMOVED | Action.MARKED:
                report.removed += 1
            case Action.SKIPPED:
                report.skip(outcome.reason)
            case Action.REJECTED:
                report.reject(record, outcome.reason)
                if self.rejects is not None:
                    self.rejects.write(record, outcome.reason)
        report.propagated += outcome.propagated
        if outcome.photos is not None:
            report.shorten(record, *outcome.photos)
        if self.on_change is not None and outcome.action in _CHANGES:
            self.on_change(_change(record, outcome))


def _clash(one: _Window, other: _Window) -> bool:
    """Tell whether two windows have a listing in common: of its records the later one is to be written later."""
    return not one.keys.isdisjoint(other.keys)


def _change(record: Record, outcome: Outcome) -> ListingChange:
    fields = {".".join(path): (_native(before), _native(after)) for path, (before, after) in outcome.fields.items()}
    return ListingChange(outcome.action.value, outcome.listing_id, outcome.key, record.source, record.position, fields)


def _native(value: AttributeValue | None) -> object:
    return None if value is None else decode(value)
