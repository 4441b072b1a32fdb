"""A feed of any length is read in little memory, and is the same as if it had been read whole."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlssocial import configure
from mlssocial.reso import FeedError, read_records

RECORDS = [{"ListingKey": f"K{number}", "ListPrice": number, "PublicRemarks": "By the park. " * 40} for number in range(3_000)]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
records = st.dictionaries(st.sampled_from(["ListingKey", "value", "D", '\\u"', "x"]), values, max_size=4)
wrapped = st.one_of(
    st.lists(records, max_size=6),
    st.fixed_dictionaries({"@odata.context": st.text(max_size=5), "value": st.lists(records | values, max_size=6)}),
    st.fixed_dictionaries({"value": st.lists(records, max_size=6), "@odata.nextLink": st.text(max_size=5)}),
    st.fixed_dictionaries({"D": st.fixed_dictionaries({"Success": st.just(True), "Results": st.lists(records, max_size=6)})}),
    st.lists(st.fixed_dictionaries({"value": st.lists(records, max_size=3)}), max_size=3),
    records,
)


def read(content: bytes) -> list[tuple[Any, str | None]]:
    """Read a feed out of memory."""
    return [(record.fields, record.problem) for record in read_records(io.BytesIO(content))]


@contextmanager
def in_pieces() -> Iterator[None]:
    """Take a few characters for much."""
    with patch.multiple("mlssocial.reso.streaming", WHOLE=24, _CHUNK=5), patch("mlssocial.reso.reading.WHOLE", 24):
        yield


def read_in_pieces(content: bytes) -> list[tuple[Any, str | None]]:
    """Read it as if a few characters were much."""
    with in_pieces():
        return read(content)


class TestPieces:
    @given(st.lists(wrapped, min_size=1, max_size=3), st.sampled_from([None, 1, 3]), st.booleans())
    def test_the_same_as_whole(self, documents: list[Any], indent: int | None, escaped: bool) -> None:
        """Whatever a feed holds, its records are those that reading it whole gives, or its error."""
        text = "\n".join(json.dumps(document, indent=indent, ensure_ascii=escaped) for document in documents)
        content = text.encode("utf-8", "surrogatepass")
        try:
            expected = read(content)
        except FeedError:
            with pytest.raises(FeedError):
                read_in_pieces(content)
            return
        assert read_in_pieces(content) == expected

    @given(wrapped, st.data())
    def test_a_feed_that_was_cut_off(self, document: Any, data: st.DataObject) -> None:
        """A feed that was cut off ends in an error that says so, and what came before is what came before."""
        content = json.dumps(document, indent=1).encode()
        cut = data.draw(st.integers(1, len(content) - 1))
        whole = read(content)
        found = []
        try:
            with in_pieces():
                for record in read_records(io.BytesIO(content[:cut])):
                    found.append((record.fields, record.problem))  # noqa: PERF401  what was given before the error counts
        except FeedError as error:
            assert "not JSON" in str(error)  # noqa: PT017  there need not be an error: "[]\n" may lose its end
        assert found[:-1] == whole[: len(found) - 1] or not found[:-1]

    @pytest.mark.parametrize("number", ["12345678901234567890", "-1.5e-10", "0.25"])
    def test_a_number_on_the_edge(self, number: str) -> None:
        """A number that goes on in the next piece is one number."""
        for blanks in range(30):
            content = f'[{" " * blanks}{{"n": {number}}}, {number}]'.encode()
            assert read_in_pieces(content)[0][0] == {"n": number}

    def test_the_line_of_an_error(self) -> None:
        """The line in an error is the file's, however much of it has been dropped by then."""
        text = json.dumps({"value": RECORDS}, indent=1)
        lines = text.splitlines()
        lines[9_000] = lines[9_000].replace(":", "")
        with pytest.raises(FeedError, match=r"line 9001: not JSON: Expecting ':' delimiter"):
            list(read_records(io.BytesIO("\n".join(lines).encode())))

    def test_what_came_before_an_error(self) -> None:
        """Records before the place where a long page breaks are given, and then the error."""
        text = json.dumps({"value": RECORDS})
        records = read_records(io.BytesIO(text[:-300].encode()))
        assert [next(records).fields["ListingKey"] for _ in RECORDS[:-1]] == [record["ListingKey"] for record in RECORDS[:-1]]
        with pytest.raises(FeedError, match="not JSON"):
            next(records)

    def test_an_error_behind_the_records(self) -> None:
        """A Spark body that says at its end that it failed is an error all the same."""
        body = {"D": {"Results": [{"StandardFields": record} for record in RECORDS], "Success": False, "Message": "no"}}
        with pytest.raises(FeedError, match="the server's answer is an error: no"):
            list(read_records(io.BytesIO(json.dumps(body).encode())))

    def test_a_record_that_is_too_long(self) -> None:
        """No record is held that passes the limit, be it of one long text or of many fields; the error names the setting."""
        configure(max_file_bytes=1_000_000)
        for fields in ({"PublicRemarks": "x" * 390_000, "Notes": "x" * 390_000, "More": "x" * 390_000}, {"x": "y" * 2_000_000}):
            for document in ([fields], {"value": [fields]}, {**fields, "value": [1] * 90_000}):
                with pytest.raises(FeedError, match=r"more than 1,000,000 bytes at once|max_input_string"):
                    list(read_records(io.BytesIO(json.dumps(document).encode())))

    def test_limits_within(self) -> None:
        """A record of a long page is held to the limits that a line is held to."""
        configure(max_input_depth=5)
        good = json.dumps(RECORDS)[1:-1]
        with pytest.raises(FeedError, match=r"line 1: nested deeper than 5 levels \(max_input_depth\)"):
            list(read_records(io.BytesIO(f"[{good}, {'[' * 6}{']' * 6}]".encode())))
        with pytest.raises(FeedError, match="line 1: ListPrice is given twice in one object"):
            list(read_records(io.BytesIO(f'[{good}, {{"a": [1], "ListPrice": 1, "ListPrice": 2}}]'.encode())))
        with pytest.raises(FeedError, match="NaN is no number"):
            list(read_records(io.BytesIO(f'[{good}, {{"ListPrice": NaN}}]'.encode())))


class Feed(io.RawIOBase, BinaryIO):
    """A feed of any length, made as it is read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.held:
            piece = next(self.pieces, None)
            if piece is None:
                return 0
            self.held = piece
        size = min(len(buffer), len(self.held))
        buffer[:size], self.held = self.held[:size], self.held[size:]
        return size


def long_feed(start: str, between: str, end: str, count: int) -> Iterator[bytes]:
    """Make a feed of a number of records of 9 KB each."""
    record = json.dumps({"ListingKey": "K", "PublicRemarks": "x" * 9_000})
    yield start.encode()
    for number in range(count):
        yield ((between if number else "") + record).encode()
    yield end.encode()


class TestMemory:
    @pytest.mark.parametrize(
        ("start", "between", "end"),
        [
            ('{"@odata.context": "x", "value": [', ", ", '], "@odata.nextLink": "y"}'),
            ('{"D": {"Success": true, "Results": [', ",\n", "]}}"),
            ("[\n", ",\n", "\n]\n"),
            ("", "\n", ""),
            ("", " ", ""),
        ],
        ids=["page", "spark", "array", "lines", "one after the other"],
    )
    def test_is_flat(self, start: str, between: str, end: str) -> None:
        """A page, a Spark body, an array or lines of 90 MB are read within 12 MB."""
        tracemalloc.start()
        try:
            count = sum(record.problem is None for record in read_records(Feed(long_feed(start, between, end, 10_000))))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert count == 10_000
        assert peak < 12_000_000

    def test_of_an_archive(self) -> None:
        """That holds for a gzipped page too."""
        packed = gzip.compress(b"".join(long_feed('{"value": [', ",", "]}", 10_000)), 1)
        tracemalloc.start()
        try:
            (last,) = deque(read_records(io.BytesIO(packed)), maxlen=1)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert last.position == 10_000
        assert peak < 12_000_000
