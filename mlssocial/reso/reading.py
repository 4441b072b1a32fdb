"""
A feed's file into records: RESO Web API pages, Spark bodies, arrays, single records and NDJSON, each also gzipped.

Numbers stay the text that they are in the file, so that none is rounded, and none is expensive. However long a feed is, no more
of it is in memory than its largest line or record, and a megabyte; those are held to the settings ``max_file_bytes`` and
``max_input_*``.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mlssocial.exceptions import FeedError, clipped
from mlssocial.jsontext import InputError, parse_each
from mlssocial.settings import Settings, current

from .streaming import WHOLE, Text, too_long

STDIN = "-"
"""The path that stands for standard input."""

_GZIP = b"\x1f\x8b"
_SHOWN = 10_000
_BLANKS = " \t\r\n\ufeff"


@dataclass(frozen=True, slots=True)
class Record:
    """
    One record of a feed.

    Attributes:
        fields: Its fields; of a Spark record the StandardFields, with its Id as ListingKey where they have none.
        source: Where it came from: a path, or a stream's name.
        position: Its line where records come one a line, else its number in the source; both begin at 1.
        problem: Why it has no fields, where it is no record at all.
        text: The line of such a one, where records come one a line; the beginning, if it is long.
    """

    fields: Mapping[str, Any]
    source: str = ""
    position: int = 0
    problem: str | None = None
    text: str | None = None


def read_records(
    source: str | os.PathLike[str] | BinaryIO, *, name: str | None = None, notes: dict[str, Any] | None = None
) -> Iterator[Record]:
    """
    Read the records of a feed's file, as they are asked for.

    Args:
        source: A path, ``-`` for standard input, or a file that is open in binary mode; that one stays open.
        name: What it is called in records and errors; its own name if None.
        notes: Is given what pages say of themselves, such as ``@odata.nextLink``.

    Raises:
        FeedError: It cannot be opened, is damaged, is not JSON, passes a limit of the settings, or is a server's error answer.
            A single line that is broken or passes a limit, or a record that is no object, is none: it comes as a Record with a
            *problem*.
    """
    name = name or _name(source)
    try:
        with _opened(source) as file:
            yield from _records(file, name, {} if notes is None else notes)
    except (OSError, EOFError, zlib.error) as error:
        raise FeedError(f"{name}: it cannot be read: {error}") from error


def demo_page() -> Path:
    """Give the path of the shipped feed: 932 sales in Sacramento as one RESO Web API page; its note says what is made up."""
    return Path(str(files("mlssocial").joinpath("demo", "sacramento.json")))


# --- The file --------------------------------------------------------------------------------------------------------


def _name(source: str | os.PathLike[str] | BinaryIO) -> str:
    if isinstance(source, str | os.PathLike):
        return "standard input" if source == STDIN else os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "a stream"


@contextmanager
def _opened(source: str | os.PathLike[str] | BinaryIO) -> Iterator[BinaryIO]:
    """Open a feed, unzipped; what the caller opened stays open."""
    with ExitStack() as closing:
        if source == STDIN:
            source = sys.stdin.buffer
        elif isinstance(source, str | os.PathLike):
            source = closing.enter_context(Path(source).open("rb"))
        raw: Any = source
        if isinstance(raw, io.TextIOBase):
            raise FeedError("a feed that is open as text cannot be read; open it in binary mode")
        if not hasattr(raw, "peek"):
            raw = io.BufferedReader(raw)
            closing.callback(raw.detach)
        if raw.peek(2).startswith(_GZIP):
            raw = closing.enter_context(io.BufferedReader(closing.enter_context(gzip.GzipFile(fileobj=raw))))
        yield raw


def _records(file: BinaryIO, name: str, notes: dict[str, Any]) -> Iterator[Record]:
    count = 0
    for value, line, problem in _values(file, name, current()):
        if isinstance(value, dict) and _wrapped(value):
            notes |= {noted: said for noted, said in value.items() if noted.startswith("@odata.")}
        for fields in [None] if problem else _unwrapped(value, name):
            count += 1
            position = line if line and _is_record(value) else count
            if isinstance(fields, dict):
                yield Record(fields, name, position)
            elif problem:
                yield Record({}, name, position, problem.reason, value)
            else:
                yield Record({}, name, position, "a JSON object is needed")


# --- JSON ------------------------------------------------------------------------------------------------------------


class _Value(NamedTuple):
    """A JSON value of a file; its line, where each has one of its own; what is wrong with a line, whose text is the value."""

    value: Any
    line: int | None = None
    problem: InputError | None = None


def _values(file: BinaryIO, name: str, limits: Settings) -> Iterator[_Value]:
    """
    Read the values of a file.

    A first line that is JSON by itself means that each line is; so does one that no further line can mend, if the next is an
    object. Else the file is one text.
    """
    first = min(WHOLE, limits.max_file_bytes)
    numbered = _lines(file, first, limits.max_file_bytes)
    number, line = next(numbered, (1, b""))
    if len(line) > first and not line.endswith(b"\n"):
        yield from _text(Text(line, file, number, limits), name)
        return
    found = _line(number, line, limits)
    if found and (broken := found[-1].problem):
        after, second = next(numbered, (0, b"")) if broken.at < len(_decoded(line)) else (0, b"")
        following = _line(after, second, limits)
        if not following or following[-1].problem or not isinstance(following[0].value, dict):
            yield from _text(Text(line + second, file, number, limits), name)
            return
        found += following
    yield from found
    for number, line in numbered:
        yield from _line(number, line, limits)


def _lines(file: BinaryIO, first: int, most: int) -> Iterator[tuple[int, bytes]]:
    """Give the lines that are not blank, with their numbers; of one that has more bytes than it may have, its beginning."""
    number = 0
    while line := file.readline((most if number else first) + 1):
        number += 1
        if line.strip():
            yield number, line
        while not line.endswith(b"\n") and (line := file.readline(most + 1)):
            pass


def _text(text: Text, name: str) -> Iterator[_Value]:
    """Read the values of one text."""
    try:
        yield from map(_Value, text.documents())
    except InputError as error:
        raise FeedError(f"{name}: line {text.line + error.line - 1}: {error.reason}") from None


def _line(number: int, line: bytes, limits: Settings) -> list[_Value]:
    """Read the values of one line; what is broken comes last."""
    found: list[_Value] = []
    try:
        for value in parse_each(_decoded(_held(line, limits)), limits):
            found.append(_Value(value, number))  # noqa: PERF401  what stands before a broken value is kept
    except InputError as error:
        found.append(_Value(_decoded(line[:_SHOWN]), number, error))
    return found


def _held(content: bytes, limits: Settings) -> bytes:
    if len(content) > limits.max_file_bytes:
        raise InputError(too_long(limits), at=len(content))  # at its end: what follows a first line need not be looked for
    return content


def _decoded(content: bytes) -> str:
    # Bytes that are no UTF-8 spoil the field that they are in, and no other.
    return content.decode(errors="surrogateescape").rstrip(_BLANKS)


# --- What a server wraps records in ----------------------------------------------------------------------------------


def _is_record(value: Any) -> bool:
    return not isinstance(value, list) and not (isinstance(value, dict) and _wrapped(value))


def _wrapped(value: dict[str, Any]) -> bool:
    return isinstance(value.get("value"), list) or isinstance(value.get("D"), dict)


def _unwrapped(value: Any, name: str) -> Iterator[Any]:
    """Give the records in a value: of an OData page, a Spark body, an array of either or of records, or the one that it is."""
    if isinstance(value, list):
        for entry in value:
            yield from [entry] if isinstance(entry, list) else _unwrapped(entry, name)
    elif not isinstance(value, dict):
        yield value
    elif isinstance(value.get("value"), list):
        yield from map(_fields, value["value"])
    elif isinstance(body := value.get("D"), dict):
        if body.get("Success") is False:
            raise FeedError(f"{name}: the server's answer is an error: {clipped(body.get('Message'), 200)}")
        results = body.get("Results")
        yield from map(_fields, results if isinstance(results, list) else [])
    elif isinstance(error := value.get("error"), dict):
        raise FeedError(f"{name}: the server's answer is an error: {clipped(error.get('message'), 200)}")
    else:
        yield _fields(value)


def _fields(record: Any) -> Any:
    """Give a Spark record's StandardFields, with its Id for a key where they have none; any other record as it is."""
    fields = record.get("StandardFields") if isinstance(record, dict) else None
    if not isinstance(fields, dict):
        return record
    return fields if fields.get("ListingKey") else {**fields, "ListingKey": record.get("Id")}
