"""
JSON from outside into plain values, within limits.

One walk over the text's tokens holds the limits before anything is parsed: what passes one is never built, nor recursed into.
Then the standard library's decoder parses it, and has the last word on what is JSON. Both take time in proportion to the text.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from .exceptions import clipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .settings import Settings

    Number = Callable[[str], Any]

# Strings and words, which are numbers, names, or nothing. A string that does not end is one token: else each of its quotes
# would be tried anew, to the end of the text.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_WORD = r'[^\s"\[\]{},:]++'
_TOKEN = re.compile(rf"{_STRING}|{_WORD}|[\[\]{{}},]", re.DOTALL)
_MARK = re.compile(rf'(?:[^"\[\]{{}},]++|{_STRING})*+([\[\]{{}},]|\Z)', re.DOTALL)
"""What structure is made of, behind all that stands between two of it."""
_SURROGATE = "a lone surrogate, which no UTF-8 can hold"
_BLANKS = re.compile("[ \t\r\n\ufeff]*+")


class InputError(ValueError):
    """
    Text is no JSON, or passes a limit. It never shows the text, but for the names of fields.

    Attributes:
        reason: What is wrong; where it is a limit, with the name of its setting.
        at: Where, in characters from the beginning; of bytes that are no text, in bytes.
        line: The line of that place, from 1.
    """

    def __init__(self, reason: str, text: str | bytes = "", at: int = 0) -> None:
        newline: Any = b"\n" if isinstance(text, bytes) else "\n"
        self.line = text.count(newline, 0, at) + 1
        super().__init__(f"line {self.line}, column {at - text.rfind(newline, 0, at)}: {reason}")
        self.reason = reason
        self.at = at


def parse(body: object, limits: Settings, number: Number) -> Any:
    """
    Parse the one value of a body, text or bytes in UTF-8; *number* makes a number of its text, or raises ValueError.

    Raises:
        InputError: It is no JSON, or passes a limit of the settings, or has a name twice in one object, text that is no UTF-8,
            or a number that *number* refuses.
    """
    text = _text(body, limits.max_input_bytes)
    values = list(islice(parse_each(text, limits, number), 2))
    if len(values) != 1:
        raise InputError("not JSON: one value is needed, and there is " + ("a second one" if values else "none"))
    if "\\u" in text:
        _check_escapes(text)
    return values[0]


def parse_each(text: str, limits: Settings, number: Number = str) -> Iterator[Any]:
    """
    Parse the values that stand one after the other in a text, whatever its size and whatever its characters.

    Unless *number* makes something else of them, numbers stay text. InputError as for :func:`parse`.
    """
    _check(text, limits)
    at = 0
    while (at := after_blanks(text, at)) < len(text):
        value, at = _value(text, at, number)
        yield value


def parse_at(text: str, at: int, limits: Settings, number: Number = str) -> tuple[Any, int]:
    """Parse the value that begins at a place in a text, and say where it ends; what stands behind it is not looked at."""
    _check(text, limits, at, one=True)
    return _value(text, at, number)


def _value(text: str, at: int, number: Number) -> tuple[Any, int]:
    try:
        return _decoder(number).raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg}", text, error.pos) from None
    except _TwiceError as error:
        raise InputError(f"{error} is given twice in one object", text, _second(text, at, error.name)) from None
    except RecursionError:
        raise InputError("nested deeper than there is room for on the stack", text, at) from None
    except ValueError as error:
        raise InputError(str(error), text, _refused(text, at, number)) from None


def _text(body: object, most: int) -> str:
    if not isinstance(body, str | bytes | bytearray):
        raise InputError(f"text or bytes are needed, not {type(body).__name__}")
    content = b""
    if len(body) <= most:  # in characters, which are no more than its bytes
        try:
            content = body.encode() if isinstance(body, str) else bytes(body)
            text = content.decode()
        except UnicodeEncodeError as error:
            raise InputError(_SURROGATE, error.object, error.start) from None
        except UnicodeDecodeError as error:
            raise InputError("bytes that are no UTF-8", content, error.start) from None
    if len(body) > most or len(content) > most:
        raise InputError(f"more than {most:,} bytes (max_input_bytes)")
    return text


def after_blanks(text: str, at: int) -> int:
    """Give the place of the next character that is no blank."""
    found = _BLANKS.match(text, at)
    return found.end() if found else at


# --- Limits ----------------------------------------------------------------------------------------------------------


def _check(text: str, limits: Settings, start: int = 0, *, one: bool = False) -> None:
    """Walk over a text, or over one value of it, from one mark of its structure to the next, as far as the decoder can come."""
    if not one and _is_harmless(text, limits):
        return
    short = min(limits.max_input_digits, limits.max_input_string)  # nothing in so little text passes a limit
    deepest, most = limits.max_input_depth, limits.max_input_entries
    outer: list[int] = []  # how many commas there were in the lists and objects around this one
    commas, last = 0, start
    for token in _MARK.finditer(text, start):
        if token.end() - last > short:
            _check_between(text, last, token.end(), limits)
        last, mark = token.end(), token[1]
        if mark and mark in "[{":
            outer.append(commas)
            commas = 0
            if len(outer) > deepest:
                raise InputError(f"nested deeper than {deepest:,} levels (max_input_depth)", text, last - 1)
        elif not outer:  # the end, or no JSON
            return
        elif mark == ",":
            commas += 1
            if commas >= most:
                raise InputError(f"a list or object of more than {most:,} entries (max_input_entries)", text, last - 1)
        else:
            commas = outer.pop()
            if one and not outer:
                return


def _is_harmless(text: str, limits: Settings) -> bool:
    """Tell at a glance whether nothing in a text can pass a limit, as of nearly every record: a fraction of the walk's cost."""
    return (
        len(text) <= limits.max_input_string
        and text.count("[") + text.count("{") <= limits.max_input_depth
        and text.count(",") < limits.max_input_entries
        and b"0" * (limits.max_input_digits + 1) not in text.encode("ascii", "replace").translate(_NUMERIC)
    )


_NUMERIC = bytes(ord("0" if chr(code) in "0123456789.eE+-" else " ") for code in range(256))
"""Makes one digit of all that a number is written with, and a blank of all else."""


def _check_between(text: str, start: int, end: int, limits: Settings) -> None:
    """Check the strings and numbers between two marks."""
    longest, most = limits.max_input_string, limits.max_input_digits
    for token in _TOKEN.finditer(text, start, end):
        word = token[0]
        if word[0] == '"':
            if len(word) - 2 > longest:
                reason = f"a string of more than {longest:,} characters (max_input_string)"
                raise InputError(reason, text, token.start())
        elif len(word) > most and sum(map(str.isdigit, word)) > most:
            raise InputError(f"a number of more than {most:,} digits (max_input_digits)", text, token.start())


def _check_escapes(text: str) -> None:
    """Refuse the escape of one half of a surrogate pair, which the decoder takes and no UTF-8 can hold."""
    for token in _TOKEN.finditer(text):
        if "\\u" in token[0]:
            try:
                json.loads(token[0]).encode()
            except UnicodeEncodeError:
                raise InputError(_SURROGATE, text, token.start()) from None


# --- What the decoder refuses, and where ------------------------------------------------------------------------------


class _TwiceError(ValueError):
    def __init__(self, name: str) -> None:
        super().__init__(clipped(name))
        self.name = name


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise _TwiceError(name)
    return made


def _second(text: str, start: int, name: str) -> int:
    """Find where a name is given for the second time in one object; there is such a place."""
    given: list[set[str]] = []
    for token in _TOKEN.finditer(text, start):
        if token[0] in "[{":
            given.append(set())
        elif token[0] in "]}":
            given.pop()
        elif token[0][0] == '"' and text[after_blanks(text, token.end())] == ":" and json.loads(token[0]) == name:
            if name in given[-1]:
                break
            given[-1].add(name)
    return token.start()


def _constant(word: str) -> Any:
    raise ValueError(f"not JSON: {word.removeprefix('-')} is no number")


def _refused(text: str, start: int, number: Number) -> int:
    """Find the first number that is refused; there is one."""
    for token in _TOKEN.finditer(text, start):
        word = token[0]
        try:
            if word.removeprefix("-").startswith(("NaN", "Infinity")):
                break
            if word[0] in "-0123456789":
                number(word)
        except ValueError:
            break
    return token.start()


@cache
def _decoder(number: Number) -> json.JSONDecoder:
    return json.JSONDecoder(parse_float=number, parse_int=number, parse_constant=_constant, object_pairs_hook=_object)
