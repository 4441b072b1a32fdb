"""
A long JSON text, read piece by piece: a page or an array of any length in the memory that its largest record needs.

What comes out are small documents that mean the same: of a page with a thousand records a thousand pages with one, and a last
one with what stood beside them.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from mlssocial.jsontext import InputError, after_blanks, parse_at
from mlssocial.settings import Settings

WHOLE = 1 << 20
"""How many characters are read before a document that has not ended is taken apart."""

_CHUNK = 1 << 16
# Where less than this is left behind an error's place, more text may mend it: "-Infinit" and "\u12" are the longest beginnings.
_TAIL = 9


def too_long(limits: Settings) -> str:
    """Say that a line, or a record, is longer than what is held at once."""
    return f"more than {limits.max_file_bytes:,} bytes at once (max_file_bytes)"


class Text:
    """
    A text that is held from where it is read on.

    Attributes:
        line: The line at which *held* begins; an InputError counts from there.
    """

    def __init__(self, head: bytes, rest: BinaryIO, line: int, limits: Settings) -> None:
        self.line = line
        # Bytes that are no UTF-8 spoil the field that they are in, and no other.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.held = self._decoder.decode(head)
        self._rest = rest
        self._limits = limits
        self._most = limits.max_file_bytes
        self._at = self._gone = 0

    def documents(self) -> Iterator[Any]:
        """Read what the text holds, value after value; InputError where it cannot be read on."""
        while char := self._peek():
            if char == "[":
                yield from ([element] for element in self._elements())
            elif char == "{":
                yield from self._object()
            else:
                yield self._value(self._most)

    def _object(self) -> Iterator[Any]:
        """Read an object, whole if it is short."""
        rest: dict[str, Any] = {}
        try:
            rest = self._value(min(WHOLE, self._most))
        except _TooLongError:
            yield from self._members(rest, "value", lambda one: {"value": [one]})
        yield rest

    def _members(self, rest: dict[str, Any], streamed: str, wrap: Callable[[Any], Any]) -> Iterator[Any]:
        """Read an object's members: an array of records element by element, and all else into *rest*."""
        size = 0
        self._take("{")
        while self._peek() != "}":
            if rest:
                self._take(",")
            begun, name = self._gone + self._at, self._name()
            self._take(":")
            opens = self._peek()
            if name == streamed and opens == "[":
                rest[name] = []
                yield from map(wrap, self._elements())
            elif name == "D" and opens == "{" and streamed == "value":
                rest[name] = {}
                yield from self._members(rest[name], "Results", lambda one: {"D": {"Results": [one]}})
            else:
                rest[name] = self._value(self._most)
                size += self._gone + self._at - begun
                if size > self._most:
                    raise self._too_long()
        self._take("}")

    def _elements(self) -> Iterator[Any]:
        self._take("[")
        more = self._peek() != "]"
        while more:
            yield self._value(self._most)
            more = self._peek() == ","
            if more:
                self._take(",")
        self._take("]")

    def _name(self) -> str:
        if self._peek() != '"':
            raise InputError("not JSON: Expecting property name enclosed in double quotes", self.held, self._at)
        name: str = self._value(self._most)
        return name

    def _value(self, most: int) -> Any:
        """Decode one value, reading on for as long as it has not ended."""
        self._peek()
        self._let_go()
        while True:
            try:
                value, end = parse_at(self.held, self._at, self._limits)
            except InputError as error:
                if not self._may_be_mended(error) or not self._more(most):
                    raise
            else:
                if end - self._at > self._most:
                    raise self._too_long()
                if not self._may_go_on(value, end) or not self._more(most):
                    self._at = end
                    return value

    def _may_go_on(self, value: Any, end: int) -> bool:
        """Tell whether it is a number, which is text here, that ends where the held text does."""
        return isinstance(value, str) and end >= len(self.held) - _TAIL and self.held[end - 1] != '"'

    def _may_be_mended(self, error: InputError) -> bool:
        return error.at >= len(self.held) - _TAIL or "Unterminated string" in error.reason

    def _peek(self) -> str:
        """Give the next character that is no blank, nothing at the end."""
        blanks = 0
        while True:
            begun, self._at = self._at, after_blanks(self.held, self._at)
            if self._at < len(self.held):
                return self.held[self._at]
            blanks += self._at - begun
            if blanks > self._most:
                raise self._too_long()
            self._let_go()
            if not self._more(self._most):
                return ""

    def _take(self, char: str) -> None:
        if self._peek() != char:
            raise InputError(f"not JSON: Expecting {char!r}", self.held, self._at)
        self._at += 1

    def _more(self, most: int) -> bool:
        """Read on, as much again as is held, so that a long value is not decoded for each piece of it; False at the end."""
        held = len(self.held) - self._at
        if held > most:
            raise self._too_long()
        piece = ""
        while not piece:
            raw = self._rest.read(min(max(_CHUNK, held), most + 1 - held))
            piece = self._decoder.decode(raw, final=not raw)
            if not raw:
                break
        self.held += piece
        return bool(piece)

    def _let_go(self) -> None:
        """Drop what was read, a good deal at a time."""
        if self._at >= _CHUNK:
            self.line += self.held.count("\n", 0, self._at)
            self._gone += self._at
            self.held, self._at = self.held[self._at :], 0

    def _too_long(self) -> InputError:
        return _TooLongError(too_long(self._limits), self.held, self._at)


class _TooLongError(InputError):
    """A value that is longer than it may be."""
