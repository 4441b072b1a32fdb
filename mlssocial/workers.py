"""
Where the steps of a job run: threads of this process, another executor's workers, or a Dask cluster's.

A step is sent as a function that pickles, with the settings that say which table it is about. In this process it runs in its
job's context; a worker's process has credentials and keys of its own environment, so that no secret is ever sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from threading import Event
from typing import Any, Generic, TypeVar
from uuid import uuid4

from .connection import store
from .exceptions import ConfigurationError
from .settings import LOCAL_PREFIX, Settings, current, using

R = TypeVar("R")

DASK_PREFIX = "dask://"

Position = Any
"""Where a segment goes on: what JSON can hold. None before its first step, and after its last."""


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """
    What came of a step.

    Attributes:
        result: What the caller's thread takes over.
        after: Where the segment goes on, None at its end.
        units: What it cost of what the job's rate is in, such as read units.
    """

    result: R
    after: Position
    units: float = 0.0


Step = Callable[[int, Position], Done[R]]
"""
Does one step of a segment, from a position on.

It asks :func:`stopping` now and then whether to end early; what it gives then is not looked at.
"""

_here: dict[str, Context] = {}
"""The contexts of the jobs of this process. A forked child has them too, with its parent's settings."""
_stopped: ContextVar[Event | None] = ContextVar("mlssocial_stopped", default=None)


def stopping() -> bool:
    """Tell a step whether its job has ended early. What runs in another process is not told, and runs to its end."""
    stopped = _stopped.get()
    return stopped is not None and stopped.is_set()


@dataclass(frozen=True, slots=True)
class Task(Generic[R]):
    """A step as it is sent to where it runs."""

    job: str
    step: Step[R]
    settings: tuple[tuple[str, Any], ...]

    def __call__(self, segment: int, position: Position) -> Done[R]:
        """Do a step, under the settings of its job."""
        context = _here.get(self.job)
        if context is not None:
            return context.copy().run(self.step, segment, position)
        with using(_adopted(self.settings)):
            return self.step(segment, position)

    def stop(self) -> None:
        """Tell the steps that run in this process to end."""
        stopped = _here[self.job][_stopped]
        if stopped is not None:
            stopped.set()


@contextmanager
def at_hand(step: Step[R]) -> Iterator[Task[R]]:
    """Give a step as a task of this context."""
    job, context = uuid4().hex, copy_context()
    context.run(_stopped.set, Event())
    _here[job] = context
    try:
        yield Task(job, step, tuple(_told().items()))
    finally:
        del _here[job]


@contextmanager
def opened(executor: Executor | str | None, threads: int) -> Iterator[Executor]:
    """Give the executor that is meant, threads for None, and close it if it was made here."""
    if executor is None:
        with ThreadPoolExecutor(threads, thread_name_prefix="mlssocial") as pool:
            yield pool
    elif isinstance(executor, str):
        with _dask(executor) as pool:
            yield pool
    else:
        yield executor


def _told() -> dict[str, Any]:
    """Give the settings that a step is sent with: the table as it is called from anywhere."""
    held = store()
    told = held.settings.shared() | {"region": held.client.meta.region_name}
    if held.settings.is_local and held.settings.endpoint_url != LOCAL_PREFIX:
        path = Path((held.settings.endpoint_url or "").removeprefix(LOCAL_PREFIX)).expanduser().resolve()
        told["endpoint_url"] = f"{LOCAL_PREFIX}{path}"
    return told


@lru_cache(8)
def _adopted(told: tuple[tuple[str, Any], ...]) -> Settings:
    """Make the settings of a worker's process: what it was told, over its own environment."""
    settings = replace(Settings.from_env(), **dict(told))
    if settings.endpoint_url == LOCAL_PREFIX:
        reason = "it is in memory, and in one process alone; use local:PATH, or threads"
        raise ConfigurationError(f"a worker's process cannot reach the embedded engine: {reason}")
    return settings


@contextmanager
def _dask(url: str) -> Iterator[Executor]:
    """Connect to the scheduler of a Dask cluster."""
    if not url.startswith(DASK_PREFIX):
        raise ConfigurationError(f"executor: an Executor or {DASK_PREFIX}HOST:PORT is needed, not {url!r}")
    try:
        from distributed import Client
    except ImportError:
        raise ConfigurationError(f"{url}: Dask is not installed: pip install 'mlssocial[dask]'") from None
    try:
        client = Client(f"tcp://{url.removeprefix(DASK_PREFIX)}", set_as_default=False, timeout=current().deadline)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{url}: no scheduler of Dask's answers there: {error}") from error
    with client:
        yield client.get_executor(pure=False)  # a step is done for what it writes
