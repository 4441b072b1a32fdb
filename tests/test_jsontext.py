"""JSON from outside: what it says, exactly, or where and why it was refused."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mlssocial import ConfigurationError, Settings
from mlssocial.entities import parse_number
from mlssocial.jsontext import InputError, parse, parse_each

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.decimals("-1e20", "1e20", places=4) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
SMALL = Settings(max_input_bytes=100, max_input_depth=3, max_input_digits=4, max_input_string=5, max_input_entries=3)


def written(value: Any, *, escaped: bool) -> str:
    """Write JSON with exact numbers."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{written(k, escaped=escaped)}: {written(v, escaped=escaped)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + " , ".join(written(entry, escaped=escaped) for entry in value) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=escaped)


def no_constant(_: str) -> None:
    """Refuse NaN and Infinity."""
    raise ValueError


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object whose names differ."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError
    return made


def read(body: object, limits: Settings | None = None) -> Any:
    """Parse a body as a payload's JSON is parsed."""
    return parse(body, limits or Settings(), parse_number)


def refused(body: object, limits: Settings | None = None) -> str:
    """Give why a body is refused."""
    with pytest.raises(InputError) as caught:
        read(body, limits)
    return str(caught.value)


class TestValues:
    @given(values, st.booleans(), st.sampled_from([str, str.encode, lambda text: bytearray(text.encode("utf-8-sig"))]))
    def test_what_it_says(self, value: Any, escaped: bool, encoded: Callable[[str], object]) -> None:
        """Any JSON, as text or as bytes, gives what was written, number for number and digit for digit."""
        assert read(encoded(written(value, escaped=escaped))) == value

    @given(values)
    def test_without_a_number(self, value: Any) -> None:
        """Without a way to make numbers, they stay the text that they are."""
        (found,) = parse_each(written({"v": value, "n": [Decimal("1.50"), 7]}, escaped=False), Settings())
        assert found["n"] == ["1.50", "7"]

    @example("NaN")
    @example('{"a": 1, "a": 1}')
    @example('"\\ud800"')
    @given(st.text(alphabet='{}[]",:\\u\n 01e-.truefalsnN\ud800\x00', max_size=30) | st.text(max_size=30))
    def test_agrees_with_the_standard_library(self, text: str) -> None:
        """What is no JSON to the standard library is refused, and what is, is read alike; but for NaN, twins and surrogates."""
        assume("\ufeff" not in text)  # a byte order mark is blank to us
        try:
            expected = json.loads(
                text, parse_int=parse_number, parse_float=parse_number, parse_constant=no_constant, object_pairs_hook=once
            )
            written(expected, escaped=False).encode()
        except ValueError:
            refused(text)
        else:
            assert read(text) == expected

    @given(st.binary(max_size=40))
    def test_any_bytes(self, body: bytes) -> None:
        """Whatever bytes arrive, they are a value or an InputError."""
        try:
            read(body)
        except InputError as error:
            assert str(error).startswith(f"line {error.line}, column ")  # noqa: PT017  one of two outcomes

    @pytest.mark.parametrize("body", [None, 7, ["x"], {"a": 1}, memoryview(b"{}")])
    def test_no_text(self, body: object) -> None:
        """What is neither text nor bytes is refused by its type."""
        assert refused(body).endswith(f"text or bytes are needed, not {type(body).__name__}")


class TestLimits:
    @pytest.mark.parametrize(
        ("setting", "fits", "passes", "place"),
        [
            ("max_input_bytes", " " * 99 + "1", " " * 100 + "1", "line 1, column 1"),
            ("max_input_bytes", '["é"]' + " " * 94, '["é"]' + " " * 95, "line 1, column 1"),
            ("max_input_depth", "[[[]]]", "[[{\n\n\n[", "line 4, column 1"),
            ("max_input_depth", '[[[]],[[]],{"a":[]}]', '[[[]],{"a":[{}]}]', "line 1, column 13"),
            ("max_input_digits", '[1234,-12.3,"12345"]', "[12,\n 12345]", "line 2, column 2"),
            ("max_input_digits", "-0.0e+12", "-0.0e+123", "line 1, column 1"),
            ("max_input_string", '["12345","\\\\1\\""]', '["1","123456"]', "line 1, column 6"),
            ("max_input_string", '{"12345":1}', '{"a":1,\n"123456":1}', "line 2, column 1"),
            ("max_input_entries", "[1,[1,2,3],[4,5,6]]", "[1,[1,2,3],[4,5,6],7]", "line 1, column 19"),
            ("max_input_entries", '{"a":1,"b":2,"c":3}', '{"a":1,"b":2,"c":3,"d":4}', "line 1, column 19"),
            ("max_input_entries", '[{"a":1,"b":2,"c":3},[1]]', '[{"a":1},\n[1,2,3,4]]', "line 2, column 7"),
        ],
    )
    def test_the_last_that_fits(self, setting: str, fits: str, passes: str, place: str) -> None:
        """As much as a limit says is read; more is refused, with the place and the setting that allows it."""
        read(fits, SMALL)
        read(fits.encode(), SMALL)
        for body in (passes, passes.encode()):
            assert refused(body, SMALL).startswith(place)
            assert refused(body, SMALL).endswith(f"({setting})")

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ('{"a": 1, "b": 2,\n "a": 3}', "line 2, column 2: a is given twice in one object"),
            ('[{"a": {"b": 1}}, {"b": 1, "\\u0062": 2}]', "line 1, column 28: b is given twice in one object"),
            ('{"a": {"a": 1}, "b": "a", "a": 1}', "line 1, column 27: a is given twice in one object"),
            ('{"\\u001b[2J": 1, "\\u001b[2J": 2}', "line 1, column 18: \\x1b[2J is given twice in one object"),
            ("[1,\nNaNNaN]", "line 2, column 1: not JSON: NaN is no number"),
            ('{"a":-Infinity}', "line 1, column 6: not JSON: Infinity is no number"),
            ('["a", "\\ud800"]', "line 1, column 7: a lone surrogate, which no UTF-8 can hold"),
            ('{"\\udc00\\ud800": 1}', "line 1, column 2: a lone surrogate, which no UTF-8 can hold"),
            ('["a",\n"\ud800"]', "line 2, column 2: a lone surrogate, which no UTF-8 can hold"),
            (b'["a",\n"\xff"]', "line 2, column 2: bytes that are no UTF-8"),
            (b'"\xed\xa0\x80"', "line 1, column 2: bytes that are no UTF-8"),
            ("1E+1000000", "line 1, column 1: not a decimal number of up to 38 digits"),
            ("[1e126]", "line 1, column 2: outside of DynamoDB's range, 1E-130 to 9.99E+125"),
            (f"[{'7' * 39}]", "line 1, column 2: 39 significant digits, and DynamoDB keeps 38"),
            ("", "line 1, column 1: not JSON: one value is needed, and there is none"),
            ("1 2", "line 1, column 1: not JSON: one value is needed, and there is a second one"),
            ('{"a" 1}', "line 1, column 6: not JSON: Expecting ':' delimiter"),
            ('["a\nb"]', "line 1, column 4: not JSON: Invalid control character at"),
            ('"' + '\\"' * 9, "line 1, column 1: not JSON: Unterminated string starting at"),
            ("]]", "line 1, column 1: not JSON: Expecting value"),
        ],
    )
    def test_refusals(self, body: object, reason: str) -> None:
        """What is wrong is said with its place."""
        assert refused(body) == reason

    @pytest.mark.parametrize("body", ['{"NaN": "Infinity", "a": {"a": {"a": 1}}}', '["\\ud83d\\ude00", "\\\\ud800", "é"]'])
    def test_what_only_looks_wrong(self, body: str) -> None:
        """NaN in a text, one name on several levels, a pair of surrogates and an escaped escape are nothing wrong."""
        assert read(body) == json.loads(body, parse_int=Decimal)

    def test_a_stack_with_no_room(self) -> None:
        """Where a setting allows more levels than the stack has room for, that is said and nothing overflows."""
        deep = Settings(max_input_depth=10**9)
        assert "nested deeper than there is room for" in refused("[" * 100_000 + "]" * 100_000, deep)

    @pytest.mark.parametrize("setting", ["max_input_bytes", "max_file_bytes", "max_input_depth", "max_input_entries"])
    @pytest.mark.parametrize("value", [0, -1, True, 1.5, "10"])
    def test_settings(self, setting: str, value: Any) -> None:
        """A limit is a whole number above zero."""
        with pytest.raises(ConfigurationError, match=f"{setting}: a whole number above zero is needed"):
            Settings(**{setting: value})


HOSTILE = {
    "open lists": "[" * 1_000_000,
    "open objects": '{"a":' * 200_000,
    "empty lists": "[" + "[]," * 99_999 + "[]]",
    "a list of lists": "[" + ",".join(["[" + "0," * 9_999 + "0]"] * 50) + "]",
    "names": "{" + ",".join(f'"{n}":0' for n in range(90_000)) + "}",
    "a name twice at the end": "{" + ",".join(f'"{n}":0' for n in range(90_000)) + ',"0":1}',
    "quotes": '"' * 1_000_000,
    "escaped quotes": '"' + '\\"' * 500_000,
    "quotes behind backslashes": '"\\' * 500_000,
    "escapes": '"' + "\\u0041" * 60_000 + '"',
    "texts with escapes": "[" + '"\\u0041",' * 90_000 + "0]",
    "a long number": "1" * 1_000_000,
    "exponents": "[" + "1e400," * 90_000 + "0]",
    "words": "a " * 500_000,
    "one word": "a" * 1_000_000,
    "commas": "," * 1_000_000,
    "closed lists": "]" * 1_000_000,
    "blanks": " " * 1_000_000,
    "values": "1 " * 500_000,
}


class TestCosts:
    @pytest.mark.parametrize("kind", HOSTILE)
    def test_time(self, kind: str) -> None:
        """A million characters of whatever kind are read or refused in a second or two: no cost grows faster than the text."""
        started = time.process_time()
        try:
            read(HOSTILE[kind])
        except InputError as error:
            assert len(str(error)) < 200  # noqa: PT017  one of two outcomes
        assert time.process_time() - started < 4

    @pytest.mark.parametrize(
        "kind", ["open lists", "open objects", "a long number", "escaped quotes", "commas", "closed lists"]
    )
    def test_memory(self, kind: str) -> None:
        """What is refused is not built first."""
        tracemalloc.start()
        refused(HOSTILE[kind])
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert held < 5_000_000

    def test_larger_than_the_limit(self) -> None:
        """A body that is too large is not even decoded."""
        body = b"[" + b" " * 50_000_000
        started = time.process_time()
        assert refused(body).endswith("more than 1,048,576 bytes (max_input_bytes)")
        assert time.process_time() - started < 0.1
