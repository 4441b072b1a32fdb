"""
Where a feed comes from: files, folders, globs, streams, records of one's own, and servers, each as steps that can be resumed.

A step is a record and the place behind it. Of a file that is its count of records, and holds for as long as the file is the
same; of a server the time of the last change that was seen.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import msgspec

from mlssocial.exceptions import ConfigurationError, FeedError

from .reading import STDIN, Record, read_records

SUFFIXES = (".json", ".ndjson", ".jsonl", ".json.gz", ".ndjson.gz", ".jsonl.gz")
"""What a folder's files are called that are taken for a feed's."""

_HEAD = 1 << 16


class FileMark(msgspec.Struct, frozen=True, tag="file"):
    """How far a file was read: how many records, None for all of them, and which file it was."""

    identity: str
    position: int | None


class ServerMark(msgspec.Struct, frozen=True, tag="server"):
    """The last change of a server that was taken over: its ModificationTimestamp, as it came, and ListingKey."""

    timestamp: str
    key: str


Mark = FileMark | ServerMark


class Step(NamedTuple):
    """A record, or none where only the place has changed, and where its source goes on behind it."""

    record: Record | None
    source: str
    mark: Mark | None


class Ledger(NamedTuple):
    """How many requests were sent to servers, by the hour, and what keeps that."""

    requests: dict[str, int]
    save: Callable[[], None]


class Feed(Protocol):
    """A source that is read from a mark on, if it can be found again: what a pipe gave is gone."""

    @property
    def name(self) -> str:
        """What it is called in the checkpoint."""
        ...

    @property
    def resumable(self) -> bool:
        """Whether it can be found again."""
        ...

    def steps(self, mark: Mark | None, ledger: Ledger) -> Iterator[Step]:
        """Read on behind a mark, from the beginning where there is none."""
        ...


Source = str | os.PathLike[str] | BinaryIO | Feed | Iterable[Record]
"""What :func:`import_feed` takes: a path, a glob, ``-`` for standard input, an open binary file, a server, or records."""


@dataclass(slots=True)
class FileFeed:
    """A feed's file."""

    path: Path
    resumable: bool = True

    @property
    def name(self) -> str:
        """The path, as it stands in the checkpoint."""
        return str(self.path.absolute())

    def steps(self, mark: Mark | None, ledger: Ledger) -> Iterator[Step]:  # noqa: ARG002  no server's
        """Read the file; what was read of it before is passed over, if it is the same file still."""
        identity, done = self._identity(), 0
        if isinstance(mark, FileMark) and mark.identity == identity:
            if mark.position is None:
                return
            done = mark.position
        for position, record in enumerate(islice(read_records(self.path), done, None), done + 1):
            yield Step(record, self.name, FileMark(identity, position))
        yield Step(None, self.name, FileMark(identity, None))

    def _identity(self) -> str:
        """Tell this file from any other that may lie under its name."""
        try:
            with self.path.open("rb") as file:
                stat, head = os.fstat(file.fileno()), file.read(_HEAD)
        except OSError as error:
            raise FeedError(f"{self.path}: it cannot be read: {error}") from error
        return f"{stat.st_size}-{stat.st_mtime_ns}-{blake2b(head, digest_size=16).hexdigest()}"


@dataclass(slots=True)
class RecordFeed:
    """What can be read once: standard input, an open file, records of the caller's."""

    records: Iterable[Record]
    name: str = ""
    resumable: bool = False

    def steps(self, mark: Mark | None, ledger: Ledger) -> Iterator[Step]:  # noqa: ARG002  it has neither
        """Give each record."""
        return (Step(record, self.name, None) for record in self.records)


def feeds(sources: Iterable[Source]) -> list[Feed]:
    """
    Tell what is meant, folders and globs as their files by name, each file once.

    Raises:
        FeedError: A folder has no feed's file in it, or a glob fits none.
        ConfigurationError: Something is none of what a feed may come from.
    """
    found: list[Feed] = []
    seen: set[Path] = set()
    for source in sources:
        for feed in _feeds(source):
            if isinstance(feed, FileFeed):
                whole = feed.path.resolve()
                if whole in seen:
                    continue
                seen.add(whole)
            found.append(feed)
    return found


def _feeds(source: Any) -> Iterator[Feed]:
    if isinstance(source, str) and source == STDIN:
        yield RecordFeed(read_records(STDIN), "standard input")
    elif isinstance(source, str | os.PathLike):
        yield from map(FileFeed, _files(os.fspath(source)))
    elif hasattr(source, "steps"):
        yield source
    elif hasattr(source, "read"):
        yield RecordFeed(read_records(source))
    elif isinstance(source, Iterable) and not isinstance(source, bytes | Mapping | Record):
        yield RecordFeed(source)
    else:
        raise ConfigurationError(
            f"a feed comes from a path, an open binary file, a Server or an iterable of Records, not {type(source).__name__}"
        )


def _files(name: str) -> Iterator[Path]:
    path = Path(name)
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file() and file.name.lower().endswith(SUFFIXES)]
        files = [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
        if not files:
            raise FeedError(f"{name}: the folder has no file that ends with {', '.join(SUFFIXES)}")
        yield from sorted(files)
    elif not path.exists() and glob.has_magic(name):
        matched = [file for file in map(Path, glob.glob(name, recursive=True)) if file.is_file()]  # noqa: PTH207  any path
        if not matched:
            raise FeedError(f"{name}: no file fits")
        yield from sorted(matched)
    else:
        yield path
