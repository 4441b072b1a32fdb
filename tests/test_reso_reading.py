"""A feed's file becomes records, whatever wraps them, and says what is wrong with it."""

from __future__ import annotations

import gzip
import io
import json
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlssocial import ListingStatus, configure
from mlssocial.reso import FeedError, Record, demo_page, map_listing, read_records

from .conftest import SHARED

SPARK = SHARED / "data" / "spark_api"
ROOT = Path(__file__).parents[1]
A, B, C = ({"ListingKey": key, "StandardStatus": "Active"} for key in "ABC")


def read(text: str | bytes) -> list[Record]:
    """Read a feed out of memory."""
    return list(read_records(io.BytesIO(text.encode() if isinstance(text, str) else text)))


def keys(records: list[Record]) -> list[Any]:
    """Give the records' keys."""
    return [record.fields.get("ListingKey") for record in records]


def page(*records: Any) -> dict[str, Any]:
    """Wrap records as a RESO Web API page."""
    return {"@odata.context": "x", "value": list(records), "@odata.nextLink": "https://example.com/?skip=2"}


def spark(*records: dict[str, Any]) -> dict[str, Any]:
    """Wrap records as a Spark body."""
    results = [{"Id": record["ListingKey"], "ResourceUri": "/v1", "StandardFields": record} for record in records]
    return {"D": {"Success": True, "Results": results}}


def pretty(value: Any) -> str:
    """Write JSON over many lines."""
    return json.dumps(value, indent=2)


def lines(*values: Any) -> str:
    """Write JSON values one a line."""
    return "\n".join(map(json.dumps, values))


def with_bom(text: str) -> bytes:
    """Encode text with a byte order mark."""
    return text.encode("utf-8-sig")


def zipped(text: str) -> bytes:
    """Encode and compress text."""
    return gzip.compress(text.encode())


class TestShapes:
    """What a server may wrap records in."""

    @pytest.mark.parametrize(
        "text",
        [
            json.dumps(page(A, B, C)),
            pretty(page(A, B, C)),
            pretty(page(A)) + pretty(page(B, C)),
            json.dumps(page(A)) + json.dumps(page(B, C)),
            lines(page(A), page(B, C)),
            json.dumps([A, B, C]),
            pretty([A, B, C]),
            pretty([page(A), page(B), C]),
            lines(A, B, C),
            pretty(A) + "\n" + pretty(B) + pretty(C),
            lines(A, B) + "\r\n\r\n  " + json.dumps(C) + "\r\n",
            json.dumps(spark(A, B, C)),
            pretty(spark(A, B)) + json.dumps(spark(C)),
            pretty([A, B, C]).replace("\n", "\r\n"),
        ],
    )
    @pytest.mark.parametrize("packed", [str.encode, with_bom, zipped])
    def test_all_of_them(self, text: str, packed: Callable[[str], bytes]) -> None:
        """Pages, Spark bodies, arrays, lines and single records give the same records, also with a BOM and gzipped."""
        assert [dict(record.fields) for record in read(packed(text))] == [A, B, C]

    @pytest.mark.parametrize("text", ["", "\n \r\n", "\ufeff", "[]", '{"value": []}', '{"D": {"Success": true}}'])
    def test_nothing(self, text: str) -> None:
        """An empty feed has no records, and is no error."""
        assert read(text) == []

    def test_spark_id(self) -> None:
        """A Spark record's Id is its key where its fields have none."""
        body = {"D": {"Results": [{"Id": "7", "StandardFields": {"ListingKey": ""}}, {"Id": "8", "StandardFields": {}}]}}
        assert keys(read(json.dumps(body))) == ["7", "8"]

    def test_positions(self) -> None:
        """A record is known by its line where records come one a line, else by its number in the file."""
        assert [record.position for record in read(lines(A, B) + "\n\n" + json.dumps(C))] == [1, 2, 4]
        assert [record.position for record in read(lines(page(A, B), page(C)))] == [1, 2, 3]
        assert [record.position for record in read(pretty([A, B, C]))] == [1, 2, 3]

    @given(st.lists(st.dictionaries(st.text(), st.none() | st.booleans() | st.text()), min_size=1), st.booleans())
    def test_any_text_in_a_line(self, texts: list[dict[str, Any]], escaped: bool) -> None:
        """No text inside of a record ends its line."""
        records = [{"ListingKey": "K", "text": text} for text in texts]
        written = "\n".join(json.dumps(record, ensure_ascii=escaped) for record in records)
        assert [record.fields for record in read(written)] == records


class TestSources:
    """Where a feed may come from."""

    def test_a_path(self, tmp_path: Path) -> None:
        """A path may be text or a Path, gzipped whatever it is called, and names the records' source."""
        path = tmp_path / "feed.json"
        path.write_bytes(gzip.compress(lines(A, B).encode()))
        assert keys(list(read_records(path))) == keys(list(read_records(str(path)))) == ["A", "B"]
        assert {record.source for record in read_records(path)} == {str(path)}

    def test_an_open_file(self, tmp_path: Path) -> None:
        """An open file is read, buffered or not, and stays open."""
        path = tmp_path / "feed.json"
        path.write_text(lines(A, B))
        for buffering in (-1, 0):
            with path.open("rb", buffering=buffering) as file:
                assert keys(list(read_records(file))) == ["A", "B"]
                assert not file.closed

    def test_a_stream_without_a_name(self) -> None:
        """A stream out of memory stays open too, and has no name of its own."""
        stream = io.BytesIO(json.dumps(A).encode())
        assert [record.source for record in read_records(stream)] == ["a stream"]
        assert not stream.closed

    def test_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A hyphen is standard input."""
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines(A, B).encode())))
        assert [(record.source, record.position) for record in read_records("-")] == [
            ("standard input", 1),
            ("standard input", 2),
        ]

    def test_lazily(self) -> None:
        """Lines are read as they are asked for: a feed may be larger than memory."""
        stream = Endless((json.dumps(A) + "\n").encode())
        records = read_records(stream)
        assert [next(records).position for _ in range(1000)] == list(range(1, 1001))

    @pytest.mark.parametrize("name", ["missing.json", ""])
    def test_no_file(self, tmp_path: Path, name: str) -> None:
        """What cannot be opened, a missing file or a folder, is a FeedError that names it."""
        with pytest.raises(FeedError, match=tmp_path.name) as caught:
            list(read_records(tmp_path / name))
        assert isinstance(caught.value.__cause__, OSError)

    def test_text_mode(self) -> None:
        """A file that is open as text is refused: its encoding was guessed already."""
        text: Any = io.StringIO(json.dumps(A))
        with pytest.raises(FeedError, match="binary mode"):
            list(read_records(text))


class Endless(io.RawIOBase, BinaryIO):
    """A file that never ends."""

    def __init__(self, line: bytes) -> None:
        self.line = line
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), len(self.line))
        buffer[:size] = self.line[:size]
        self.line = self.line[size:] + self.line[:size]
        self.given += size
        return size


class TestNumbers:
    """Numbers stay text, so that none is rounded and none is expensive."""

    @given(st.decimals(allow_nan=False, allow_infinity=False, places=2) | st.integers())
    def test_as_they_came(self, number: Any) -> None:
        """A number is the text that it is in the file."""
        (record,) = read(f'{{"ListPrice": {number}}}')
        assert record.fields["ListPrice"] == str(number)

    @pytest.mark.parametrize("bomb", ["1E+1000000", "1e999999999", "-0." + "1" * 399])
    def test_bombs(self, bomb: str) -> None:
        """A number that is short to write and long to convert is read at once."""
        started = time.monotonic()
        (record,) = read(f'{{"ListPrice": {bomb}}}')
        assert record.fields["ListPrice"] == bomb
        assert time.monotonic() - started < 1

    @pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
    def test_no_numbers(self, constant: str) -> None:
        """NaN and infinity are no JSON."""
        (record, _) = read(f'{{"ListPrice": {constant}}}\n{json.dumps(A)}')
        assert record.problem is not None
        assert constant.strip("-") in record.problem


class TestDamage:
    """What is wrong is said, and the rest goes on."""

    @pytest.mark.parametrize("broken", ['{"ListingKey": "X', "{]", "not JSON", '{"a": tru}', "[1, 2"])
    @pytest.mark.parametrize("line", [2, 3])
    def test_a_broken_line(self, broken: str, line: int) -> None:
        """A broken line is reported with its number, and the others are read."""
        texts = [json.dumps(A), json.dumps(B)]
        texts.insert(line - 1, broken)
        records = read("\n".join(texts))
        assert [record.fields["ListingKey"] for record in records if "ListingKey" in record.fields] == ["A", "B"]
        assert [record.position for record in records if record.problem] == [line]

    def test_a_line_that_breaks_off(self) -> None:
        """What stands in a line before it breaks is read."""
        records = read(lines(A) + "\n" + json.dumps(B) + " {\n" + lines(C))
        assert keys(records) == ["A", "B", None, "C"]
        assert [record.position for record in records] == [1, 2, 2, 3]

    def test_a_broken_first_line(self) -> None:
        """A first line that nothing can mend is reported, if the second one is a record."""
        records = read('{"ListingKey": "X\n' + lines(A, B))
        assert [(record.position, record.problem is None) for record in records] == [(1, False), (2, True), (3, True)]

    @pytest.mark.parametrize("odd", [1, "x", None, True, [1]])
    def test_a_record_that_is_none(self, odd: Any) -> None:
        """What is no object is reported, in a page, an array or a line."""
        for text in (json.dumps(page(A, odd, B)), json.dumps([A, odd, B]), lines(A, odd, B)):
            records = read(text)
            assert [record.problem is None for record in records] == [True, False, True]
            assert keys(records) == ["A", None, "B"]

    @pytest.mark.parametrize(
        "text",
        [
            "no JSON",
            "ListingKey,ListPrice\nA,1\n",
            "<html>\n</html>",
            pretty(page(A, B))[:-20],
            json.dumps(page(A))[:-1],
            "{",
            '"',
        ],
    )
    def test_no_json(self, text: str) -> None:
        """A file that is no JSON, or was cut off, is one error with the line."""
        with pytest.raises(FeedError, match=r"a stream: line \d+: not JSON"):
            read(text)

    def test_where(self) -> None:
        """The line in the error is the file's."""
        with pytest.raises(FeedError, match="line 5: not JSON"):
            read('\n\n{\n"value":\n[}\n')

    def test_nesting(self) -> None:
        """A record that is nested too deep is no more than a broken one, and one that is only deep is a record."""
        nested = ['{"a":' * depth + "1" + "}" * depth for depth in (64, 1_000_000)]
        records = read("\n".join([*nested, json.dumps(A)]))
        assert [record.problem for record in records] == [None, "nested deeper than 64 levels (max_input_depth)", None]
        with pytest.raises(FeedError, match="line 1: nested deeper than 64 levels"):
            read("[" * 1_000_000)

    def test_bytes_that_are_no_utf8(self) -> None:
        """Bytes that are no UTF-8 spoil the field that they are in, and no other."""
        broken = json.dumps({**B, "PublicRemarks": "caf"}).encode().replace(b"caf", b"caf\xe9")
        records = read(json.dumps(A).encode() + b"\n" + broken + b"\n" + json.dumps(C).encode())
        assert keys(records) == ["A", "B", "C"]
        with pytest.raises(FeedError, match="PublicRemarks"):
            map_listing(records[1].fields, provider="p")

    @pytest.mark.parametrize("cut", [10, 30, -1])
    def test_a_damaged_archive(self, cut: int) -> None:
        """An archive that was cut off or damaged is one error."""
        packed = gzip.compress("".join(f"{json.dumps({'ListingKey': str(number)})}\n" for number in range(1000)).encode())
        with pytest.raises(FeedError, match="cannot be read"):
            read(packed[:cut])
        with pytest.raises(FeedError, match="cannot be read"):
            read(packed[:20] + bytes(200) + packed[220:])

    @pytest.mark.parametrize(
        "answer",
        [
            {"D": {"Success": False, "Code": 1000, "Message": "Invalid API key"}},
            {"error": {"code": "401", "message": "Invalid API key"}},
        ],
    )
    def test_a_servers_error(self, answer: dict[str, Any]) -> None:
        """A server's error answer is not an empty feed."""
        with pytest.raises(FeedError, match="Invalid API key"):
            read(json.dumps(answer))

    @pytest.mark.parametrize(
        ("setting", "limit", "text"),
        [
            ("max_input_digits", 5, '{"ListPrice": 123456}'),
            ("max_input_string", 5, '{"123456": 1}'),
            ("max_input_entries", 2, '{"a": 1, "b": 2, "c": 3}'),
            ("max_input_depth", 2, '{"a": {"b": {}}}'),
        ],
    )
    @pytest.mark.parametrize("line", [1, 2, 3])
    def test_limits_of_a_line(self, setting: str, limit: Any, text: str, line: int) -> None:
        """A line that passes a limit is reported with the limit's setting, and the others are read."""
        configure(**{setting: limit})
        texts = ['{"k": 1}', '{"k": 2}']
        texts.insert(line - 1, text)
        records = read("\n".join(texts))
        assert [record.fields for record in records if not record.problem] == [{"k": "1"}, {"k": "2"}]
        assert [(record.position, setting in str(record.problem)) for record in records if record.problem] == [(line, True)]

    @pytest.mark.parametrize("packed", [bytes, gzip.compress])
    def test_a_long_line(self, packed: Callable[[bytes], bytes]) -> None:
        """A line that passes the limit on what is held at once is passed over, and reported; so no line is held whole."""
        configure(max_file_bytes=100)
        texts = [
            b'{"k": 1}',
            b'"' + b"x" * 10_000_000,
            b'{"k": 2}',
            b'"' + b"x" * 97 + b'"',
            b'"' + b"x" * 98 + b'"',
            b'{"k": 3}',
        ]
        content = packed(b"\n".join(texts))
        tracemalloc.start()
        records = read(content)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        long, none = "more than 100 bytes at once (max_file_bytes)", "a JSON object is needed"
        assert [(record.position, record.problem) for record in records] == [
            (1, None), (2, long), (3, None), (4, none), (5, long), (6, None),
        ]  # fmt: skip
        assert held < 1_000_000

    def test_a_page_without_end(self) -> None:
        """A first line that does not end, and a page that does not, are read no further than what is wrong with them."""
        configure(max_file_bytes=10_000)
        assert len(read(pretty(page(*[{"ListingKey": f"{number:03d}"} for number in range(2_000)])))) == 2_000
        for line in (b'{"value": [\n', b"["):
            feed = Endless(line)
            with pytest.raises(FeedError, match=r"a stream: line \d+: nested deeper than 64 levels"):
                list(read_records(feed))
            assert feed.given < 30_000

    def test_a_bomb(self) -> None:
        """What is small when it is zipped and large when it is not takes no more memory than the limit."""
        configure(max_file_bytes=1_000_000)
        packed = gzip.compress(b"[" + b" " * 100_000_000)
        tracemalloc.start()
        with pytest.raises(FeedError, match="max_file_bytes"):
            read(packed)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(packed) < 200_000
        assert held < 5_000_000

    def test_a_name_twice(self) -> None:
        """A name that stands twice in one object is not decided by which comes last."""
        (record, _) = read('{"ListPrice": 1, "ListPrice": 2}\n' + json.dumps(A))
        assert record.problem == "ListPrice is given twice in one object"

    def test_a_long_servers_error(self) -> None:
        """A server's error answer is shown as far as a line holds, and without control characters."""
        with pytest.raises(FeedError) as caught:
            read(json.dumps({"error": {"message": "\x1b[31m" + "x" * 10_000}}))
        assert len(str(caught.value)) < 300
        assert "\x1b" not in str(caught.value)

    @given(st.binary(max_size=60) | st.text(alphabet='{}[]",:1\n ae', max_size=60).map(str.encode))
    def test_whatever_a_file_holds(self, content: bytes) -> None:
        """Any bytes are records, broken ones, or a FeedError."""
        try:
            records = read(content)
        except FeedError:
            return
        assert all(isinstance(record.fields, dict) for record in records)


class TestDemoPage:
    """The shipped feed."""

    def test_all_of_it(self) -> None:
        """It holds 932 sales, every one of which becomes a listing, in all four statuses, most of them sold."""
        found = [map_listing(record.fields, provider="sacramento") for record in read_records(demo_page())]
        counts = Counter(data.status for data in found)
        assert len(found) == len({data.mls_id for data in found}) == 932
        assert set(counts) == set(ListingStatus)
        assert counts[ListingStatus.SOLD] > 466
        assert {data.bathrooms for data in found} >= {Decimal(1), Decimal("1.5"), Decimal(2), Decimal("2.5"), Decimal("4.5")}
        assert sum(len(data.photos or []) for data in found) == 282

    def test_the_first_row(self) -> None:
        """Its figures are the data set's."""
        data = map_listing(next(read_records(demo_page())).fields, provider="sacramento")
        assert [data.price, data.bedrooms, data.bathrooms, data.square_feet] == list(map(Decimal, (59222, 2, 1, 836)))
        assert data.address is not None
        assert (data.address.city, data.address.state, data.address.zip) == ("Sacramento", "CA", "95838")

    def test_one_record_a_line(self) -> None:
        """It is one page with one record a line, and says what is made up."""
        text = demo_page().read_text(encoding="utf-8")
        body = json.loads(text)
        assert len(text.splitlines()) == 932 + 5
        assert "Made up are ListingKey" in body["@mlssocial.note"]

    def test_the_script_that_makes_it(self) -> None:
        """It is, byte for byte, what the script writes for these figures."""
        spec = spec_from_file_location("make_sacramento", ROOT / "tools" / "make_sacramento.py")
        assert spec is not None
        assert spec.loader is not None
        script = module_from_spec(spec)
        spec.loader.exec_module(script)
        text = demo_page().read_text(encoding="utf-8")
        sales = [sale_of(record) for record in json.loads(text)["value"]]
        assert text == script.page([script.record(number, sale) for number, sale in enumerate(sales, 1)])


def sale_of(record: dict[str, Any]) -> dict[str, Any]:
    """Give a row of the data set back."""
    kinds = {"Residential": "Residential", "Condominium": "Condo", "Multi Family": "Multi_Family"}
    return {
        "price": record["ListPrice"],
        "beds": record["BedroomsTotal"],
        "baths": record["BathroomsFull"] + record["BathroomsHalf"] / 2,
        "sqft": record["LivingArea"],
        "type": kinds[record.get("PropertySubType", "Residential")],
        "city": record["City"].upper().replace(" ", "_"),
        "zip": f"z{record['PostalCode']}",
        "latitude": record["Latitude"],
        "longitude": record["Longitude"],
    }


@pytest.mark.skipif(not SPARK.exists(), reason="the Spark fixtures are not part of the project; ../shared is missing")
def test_spark_fixtures() -> None:
    """Real Spark bodies are read: 13 listings, 33 photos of an index, and none in a list of constraints."""
    counts = {path.name: len(list(read_records(path))) for path in SPARK.glob("*.json")}
    assert counts.pop("listings_photos_index.json") == 33
    assert counts.pop("listings_constraints_with_pagination.json") == 0
    assert sum(counts.values()) == 13
