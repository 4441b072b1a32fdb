"""
Jobs over more than one request can do: independent segments, worked through step by step, side by side, and resumed.

A step is a page of a segment's work. It runs wherever the executor has it run: in a thread, in a process, on another machine.
What came of it is taken over in the caller's thread, which alone calls back and writes the checkpoint, once the step's writes
were acknowledged. So a checkpoint never runs ahead of the table, and a step may be done again: after an interruption, or by
another worker in the place of one that died. Memory holds one step's result for each segment that is under way.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from . import checkpoints, workers
from .connection import store
from .exceptions import ConfigurationError, ExecutorError, MLSSocialError
from .files import read_as
from .settings import table_settings, using
from .workers import Done, Position, Step, Task

R = TypeVar("R")

_FORMAT = 2


class Report(Protocol):
    """What a job tells at its end; msgspec writes it into the checkpoint and reads it again."""

    elapsed: float


T = TypeVar("T", bound=Report)


@dataclass(frozen=True, slots=True)
class Job(Generic[R, T]):
    """
    What is to be done.

    Attributes:
        name: What it is called, such as ``audit``.
        segments: How many there are.
        step: Does one step of a segment. It pickles and may be done more than once.
        report: A fresh one.
        options: What a run that goes on has to have in common with the one that began, beside name, table and segments.
    """

    name: str
    segments: int
    step: Step[R]
    report: T
    options: Mapping[str, Any] = field(default_factory=dict)


def run(
    job: Job[R, T],
    take: Callable[[T, R], None],
    *,
    at_once: int,
    checkpoint: str | Path | None = None,
    executor: Executor | str | None = None,
    rate: float | None = None,
    progress: Callable[[T], None] | None = None,
) -> T:
    """
    Do a job, from where its checkpoint says, and give its report.

    An error in one segment ends the job when the steps that are under way are done and in the checkpoint. Whatever else ends
    it, such as Ctrl-C, ends those steps too.

    Args:
        job: What is to be done.
        take: Takes a step's result over into the report.
        at_once: How many segments are under way at the most.
        checkpoint: A file that is written after each step and removed at the end; where it is there, the job goes on.
        executor: Where steps are run: any executor, which is not shut down; ``dask://HOST:PORT``; threads of its own if None.
        rate: How many units a second are spent, on average.
        progress: Is given the report after each step.

    Raises:
        ConfigurationError: The checkpoint is another job's, in use, or no file can be written there; the executor cannot be.
        ExecutorError: The executor lost a step.
    """
    with using(table_settings()), ExitStack() as stack:
        file = None if checkpoint is None else stack.enter_context(checkpoints.held(Path(checkpoint)))
        state = _begun(job, file)
        report: T = state.report
        pool, task = stack.enter_context(workers.opened(executor, at_once)), stack.enter_context(workers.at_hand(job.step))
        started = time.monotonic() - report.elapsed
        work = _Work(pool, task, state.left(), at_once, rate)
        for segment, done in stack.enter_context(closing(work.outcomes())):
            take(report, done.result)
            report.elapsed = time.monotonic() - started
            state.positions[segment] = done.after
            _write(file, state)
            if progress is not None:
                progress(report)
        if file is not None:
            file.remove()
        return report


# --- Steps -----------------------------------------------------------------------------------------------------------


class _Turn(NamedTuple):
    """A segment's next step, and when it may begin; without a segment, how long its place stays empty."""

    at: float
    segment: int | None
    position: Position


class _Work(Generic[R]):
    """The segments that are under way. Each has a place, which is another's when it is done."""

    def __init__(
        self, pool: Executor, task: Task[R], todo: Iterable[tuple[int, Position]], places: int, rate: float | None
    ) -> None:
        self._pool, self._task, self._todo, self._places, self._rate = pool, task, deque(todo), places, rate
        self._running: dict[Future[Done[R]], tuple[int, float]] = {}
        self._resting: list[_Turn] = []
        self._failure: MLSSocialError | None = None

    def outcomes(self) -> Generator[tuple[int, Done[R]], None, None]:
        """Give each step's outcome when it is done; its segment's next step begins when this one was taken over."""
        try:
            while self._begin():
                for future in self._wait():
                    yield from self._collect(future)
            if self._failure is not None:
                raise self._failure
        finally:  # whatever ends this early ends the steps that are under way, too
            self._task.stop()
            wait([future for future in self._running if not future.cancel()])

    def _begin(self) -> bool:
        """Begin the steps whose time has come; False where nothing is left to do."""
        now = time.monotonic()
        due = [(turn.segment, turn.position) for turn in self._resting if turn.at <= now and turn.segment is not None]
        self._resting = [turn for turn in self._resting if turn.at > now]
        while self._todo and len(self._running) + len(self._resting) + len(due) < self._places:
            due.append(self._todo.popleft())
        for segment, position in due:
            self._submit(segment, position, now)
        return bool(self._running or self._resting or self._todo)

    def _submit(self, segment: int, position: Position, now: float) -> None:
        if self._failure is not None:
            return
        try:
            self._running[self._pool.submit(self._task, segment, position)] = segment, now
        except Exception as error:  # noqa: BLE001  an executor's own errors are no one's
            self._fail(segment, error)

    def _wait(self) -> Iterable[Future[Done[R]]]:
        """Wait until a step is done or another one's time has come; give those that are done."""
        rest = min(turn.at for turn in self._resting) - time.monotonic() if self._resting else None
        if self._running:
            return wait(self._running, None if rest is None else max(0.0, rest), FIRST_COMPLETED).done
        time.sleep(max(0.0, rest or 0.0))
        return ()

    def _collect(self, future: Future[Done[R]]) -> Iterator[tuple[int, Done[R]]]:
        segment, begun = self._running.pop(future)
        try:
            done = future.result()
        except Exception as error:  # noqa: BLE001
            self._fail(segment, error)
            return
        yield segment, done
        if self._failure is None:
            at, ended = begun + self._seconds(done.units), done.after is None
            self._resting.append(_Turn(at, None if ended else segment, done.after))

    def _seconds(self, units: float) -> float:
        """Give how long a step has to take: its place has an equal share of the rate."""
        return 0.0 if self._rate is None else units * (len(self._running) + len(self._resting) + 1) / self._rate

    def _fail(self, segment: int, error: Exception) -> None:
        self._todo.clear()
        self._resting.clear()
        if self._failure is None:
            self._failure = error if isinstance(error, MLSSocialError) else _lost(segment, error)


def _lost(segment: int, error: Exception) -> ExecutorError:
    """Say that a step failed by no error of ours; what the other one says may show an item, and is chained."""
    made = ExecutorError(segment, f"its step was not run, or not to its end ({type(error).__name__}); start again to go on")
    made.__cause__ = error
    return made


# --- The checkpoint --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _State:
    """How far a job is: what a checkpoint holds. *positions* has the segments that have begun."""

    job: str
    table: str
    segments: int
    options: dict[str, Any]
    report: Any
    positions: dict[int, Position] = field(default_factory=dict)
    format: int = _FORMAT

    def left(self) -> Iterator[tuple[int, Position]]:
        """Give the segments that are not done, and where each goes on."""
        for segment in range(self.segments):
            if segment not in self.positions or self.positions[segment] is not None:
                yield segment, self.positions.get(segment)

    def identity(self) -> dict[str, Any]:
        """Give what tells this job from others."""
        return {"format": self.format, "job": self.job, "table": self.table, "segments": self.segments, **self.options}


def _begun(job: Job[R, T], file: checkpoints.Checkpoint | None) -> _State:
    """Give the state to go on from; ConfigurationError if the checkpoint is another job's, or cannot be written."""
    state = _State(job.name, _table(), job.segments, dict(job.options), job.report)
    if file is not None:
        content = file.read()
        state = state if content is None else _resumed(file, content, state)
        _write(file, state)  # a file that cannot be written is known before anything is done
    return state


def _resumed(file: checkpoints.Checkpoint, content: bytes, new: _State) -> _State:
    try:
        found = read_as(content, _State)
        report = msgspec.convert(found.report, type(new.report)) if found.job == new.job else None
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigurationError(f"{file.path}: it cannot be read as a checkpoint ({error}); name another file") from None
    theirs, ours = found.identity(), new.identity()
    for name in theirs | ours:
        if theirs.get(name) != ours.get(name):
            reason = f"it is the checkpoint of another {found.job}, with {name} {theirs.get(name)} and not {ours.get(name)}"
            raise ConfigurationError(f"{file.path}: {reason}; go on as that one began, or remove the file to begin anew")
    return replace(found, report=report)


def _write(file: checkpoints.Checkpoint | None, state: _State) -> None:
    if file is not None:
        file.write(msgspec.json.encode(state))


def _table() -> str:
    """Name the table as no other one is named."""
    held = store()
    return " ".join(filter(None, (held.table_name, held.client.meta.region_name, held.settings.endpoint_url)))
