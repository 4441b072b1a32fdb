"""
A feed's file into records: RESO Web API pages, Spark bodies, arrays, single records and NDJSON, each also gzipped.

Numbers stay the text that they are in the file, so that none is rounded, and none is expensive. However long a feed is, no more
of it is in memory than its largest record, and a megabyte.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, TextIO

from mlssocial.exceptions import FeedError

from .streaming import BLANKS, MAX_VALUE, WHOLE, BrokenError, Text, decode_at, skip_blanks

STDIN = "-"
"""The path that stands for standard input."""

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 16
_SHOWN = 10_000


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
        FeedError: It cannot be opened, is damaged, is not JSON, or is a server's error answer. A single broken line, or a
            record that is no object, is none: it comes as a Record with a *problem*.
    """
    name = name or _name(source)
    try:
        with _opened(source) as lines:
            yield from _records(lines, name, {} if notes is None else notes)
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
def _opened(source: str | os.PathLike[str] | BinaryIO) -> Iterator[TextIO]:
    """Open a feed as text, unzipped; what the caller opened stays open."""
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
            raw = closing.enter_context(gzip.GzipFile(fileobj=raw))
        # Bytes that are no UTF-8 spoil the record that they are in, and no other.
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape")
        closing.callback(text.detach)
        yield text


def _records(lines: TextIO, name: str, notes: dict[str, Any]) -> Iterator[Record]:
    count = 0
    for value, line, broken in _values(lines, name):
        if isinstance(value, dict):
            notes |= {noted: said for noted, said in value.items() if noted.startswith("@odata.")}
        for fields in [None] if broken else _unwrapped(value, name):
            count += 1
            position = line if line and _is_record(value) else count
            if isinstance(fields, dict):
                yield Record(fields, name, position)
            elif broken:
                yield Record({}, name, position, f"not JSON: {broken}", value)
            else:
                yield Record({}, name, position, "a JSON object is needed")


# --- JSON ------------------------------------------------------------------------------------------------------------


class _Value(NamedTuple):
    """A JSON value of a file; its line, where each has one of its own; what is wrong with a line, whose text is the value."""

    value: Any
    line: int | None = None
    problem: BrokenError | None = None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_refuse)


def _values(lines: TextIO, name: str) -> Iterator[_Value]:
    """
    Read the values of a file.

    A first line that is JSON by itself means that each line is; so does one that no further line can mend, if the next is an
    object. Else the file is one text.
    """
    numbered = ((number, line) for number, line in _numbered(lines) if line.strip(BLANKS))
    number, line = next(numbered, (1, ""))
    if len(line) >= WHOLE and not line.endswith("\n"):
        yield from _text(Text(line, lines, number, _DECODER.raw_decode), name)
        return
    found = _line(number, line)
    if found and (broken := found[-1].problem):
        after, second = next(numbered, (0, "")) if broken.at < len(line.rstrip(BLANKS)) else (0, "")
        following = _line(after, second)
        if not following or following[-1].problem or not isinstance(following[0].value, dict):
            yield from _text(Text(line + second, lines, number, _DECODER.raw_decode), name)
            return
        found += following
    yield from found
    for number, line in numbered:
        yield from _line(number, line)


def _numbered(lines: TextIO) -> Iterator[tuple[int, str]]:
    """Give lines with their numbers; each as long as it may be, the first no longer than it takes to tell it from a page."""
    number, most = 1, WHOLE
    while line := lines.readline(most):
        yield number, line
        while not line.endswith("\n") and (line := lines.readline(_CHUNK)):
            pass  # of a line that is too long the rest is passed over
        number, most = number + 1, MAX_VALUE


def _text(text: Text, name: str) -> Iterator[_Value]:
    """Read the values of one text."""
    try:
        yield from map(_Value, text.documents())
    except BrokenError as error:
        raise FeedError(f"{name}: line {error.at}: not JSON: {error}") from None


def _line(number: int, line: str) -> list[_Value]:
    """Read the values of one line; what is broken comes last."""
    found: list[_Value] = []
    at, text = 0, line.rstrip(BLANKS)
    try:
        while (at := skip_blanks(text, at)) < len(text):
            value, at = decode_at(_DECODER.raw_decode, text, at)
            found.append(_Value(value, number))
    except BrokenError as error:
        found.append(_Value(text[:_SHOWN], number, error))
    return found


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
            raise FeedError(f"{name}: the server's answer is an error: {body.get('Message')}")
        results = body.get("Results")
        yield from map(_fields, results if isinstance(results, list) else [])
    elif isinstance(error := value.get("error"), dict):
        raise FeedError(f"{name}: the server's answer is an error: {error.get('message')}")
    else:
        yield _fields(value)


def _fields(record: Any) -> Any:
    """Give a Spark record's StandardFields, with its Id for a key where they have none; any other record as it is."""
    fields = record.get("StandardFields") if isinstance(record, dict) else None
    if not isinstance(fields, dict):
        return record
    return fields if fields.get("ListingKey") else {**fields, "ListingKey": record.get("Id")}
