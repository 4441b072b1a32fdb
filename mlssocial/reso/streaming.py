"""
A long JSON text, read piece by piece: a page or an array of any length in the memory that its largest record needs.

What comes out are small documents that mean the same: of a page with a thousand records a thousand pages with one, and a last
one with what stood beside them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TextIO

BLANKS = " \t\r\n\ufeff"

WHOLE = 1 << 20
"""How many characters are read before a document that has not ended is taken apart."""

MAX_VALUE = 16 << 20
"""How many characters one record may have; a listing's item takes no more than 400 KB."""

_CHUNK = 1 << 16
# Where less than this is left behind an error's place, more text may mend it: "-Infinit" and "\u12" are the longest beginnings.
_TAIL = 9

Decode = Callable[[str, int], tuple[Any, int]]
"""Decodes the value that begins there, and says where it ends: as ``json.JSONDecoder.raw_decode`` does."""


class BrokenError(ValueError):
    """Text that is not JSON; *at* is where."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.at = at


def decode_at(decode: Decode, text: str, at: int) -> tuple[Any, int]:
    """Decode one value; BrokenError where there is none, or one is nested too deep."""
    try:
        return decode(text, at)
    except json.JSONDecodeError as error:
        raise BrokenError(error.msg, error.pos) from None
    except RecursionError:
        raise BrokenError("nested too deep", at) from None
    except ValueError as error:
        raise BrokenError(str(error), at) from None


def skip_blanks(text: str, at: int) -> int:
    """Give the place of the next character that is no blank."""
    while at < len(text) and text[at] in BLANKS:
        at += 1
    return at


class Text:
    """
    A text that is held from where it is read on.

    Attributes:
        line: The line at which *held* begins.
    """

    def __init__(self, head: str, rest: TextIO, line: int, decode: Decode) -> None:
        self.held = head
        self.line = line
        self._rest = rest
        self._decode = decode
        self._at = 0

    def documents(self) -> Iterator[Any]:
        """Read what the text holds, value after value; BrokenError, whose *at* is a line here, where it cannot be read on."""
        try:
            while char := self._peek():
                if char == "[":
                    yield from ([element] for element in self._elements())
                elif char == "{":
                    yield from self._object()
                else:
                    yield self._value()
        except BrokenError as error:
            raise BrokenError(str(error), self.line + self.held.count("\n", 0, error.at)) from None

    def _object(self) -> Iterator[Any]:
        """Read an object, whole if it is short."""
        rest: dict[str, Any] = {}
        try:
            rest = self._value(WHOLE)
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
            name = self._name()
            self._take(":")
            opens = self._peek()
            if name == streamed and opens == "[":
                rest[name] = []
                yield from map(wrap, self._elements())
            elif name == "D" and opens == "{" and streamed == "value":
                rest[name] = {}
                yield from self._members(rest[name], "Results", lambda one: {"D": {"Results": [one]}})
            else:
                begun = self._at
                rest[name] = self._value()
                size += max(0, self._at - begun)
                if size > MAX_VALUE:
                    raise _TooLongError(self._at)
        self._take("}")

    def _elements(self) -> Iterator[Any]:
        self._take("[")
        more = self._peek() != "]"
        while more:
            yield self._value()
            more = self._peek() == ","
            if more:
                self._take(",")
        self._take("]")

    def _name(self) -> str:
        if self._peek() != '"':
            raise BrokenError("Expecting property name enclosed in double quotes", self._at)
        name: str = self._value()
        return name

    def _value(self, most: int = MAX_VALUE) -> Any:
        """Decode one value, reading on for as long as it has not ended."""
        self._peek()
        self._let_go()
        while True:
            try:
                value, end = decode_at(self._decode, self.held, self._at)
            except BrokenError as error:
                if not self._may_be_mended(error) or not self._more(most):
                    raise
            else:
                if end - self._at > MAX_VALUE:
                    raise _TooLongError(self._at)
                if not self._may_go_on(value, end) or not self._more(most):
                    self._at = end
                    return value

    def _may_go_on(self, value: Any, end: int) -> bool:
        """Tell whether it is a number, which is text here, that ends where the held text does."""
        return isinstance(value, str) and end >= len(self.held) - _TAIL and self.held[end - 1] != '"'

    def _may_be_mended(self, error: BrokenError) -> bool:
        return error.at >= len(self.held) - _TAIL or str(error).startswith("Unterminated string")

    def _peek(self) -> str:
        """Give the next character that is no blank, nothing at the end."""
        while True:
            self._at = skip_blanks(self.held, self._at)
            if self._at < len(self.held):
                return self.held[self._at]
            self._let_go()
            if not self._more(MAX_VALUE):
                return ""

    def _take(self, char: str) -> None:
        if self._peek() != char:
            raise BrokenError(f"Expecting {char!r}", self._at)
        self._at += 1

    def _more(self, most: int) -> bool:
        """Read on, as much again as is held, so that a long value is not decoded for each piece of it; False at the end."""
        held = len(self.held) - self._at
        piece = self._rest.read(max(_CHUNK, held))
        if piece and held >= most:
            self.held += piece
            raise _TooLongError(self._at)
        self.held += piece
        return bool(piece)

    def _let_go(self) -> None:
        """Drop what was read, a good deal at a time."""
        if self._at >= _CHUNK:
            self.line += self.held.count("\n", 0, self._at)
            self.held, self._at = self.held[self._at :], 0


class _TooLongError(BrokenError):
    """A value that is longer than it may be."""

    def __init__(self, at: int) -> None:
        super().__init__(f"a value of more than {MAX_VALUE:,} characters", at)
