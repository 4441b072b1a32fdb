"""Between payloads and attribute values: nothing is lost, changed or guessed."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlssocial import ListingData, Photo, SocialConnectionData, Token
from mlssocial.codec import CodecError, check_bounds, decode, dump, encode, item_size, load, number_text
from mlssocial.schema import (
    LISTING,
    MLS_CONNECTION,
    PERFORMANCE_METRICS,
    SOCIAL_CONNECTION,
    SOCIAL_POST,
)
from mlssocial.wire import row_of

ENTITIES = {e.name: e for e in (LISTING, MLS_CONNECTION, SOCIAL_CONNECTION, SOCIAL_POST, PERFORMANCE_METRICS)}

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
number_texts = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**20), max_value=10**20).map(
    number_text
)
scalars = st.one_of(
    texts.map(lambda v: {"S": v}),
    number_texts.map(lambda v: {"N": v}),
    st.booleans().map(lambda v: {"BOOL": v}),
    st.just({"NULL": True}),
    st.binary(max_size=8).map(lambda v: {"B": v}),
    st.sets(texts.filter(bool), min_size=1, max_size=3).map(lambda v: {"SS": sorted(v)}),
    st.sets(number_texts, min_size=1, max_size=3).map(lambda v: {"NS": sorted(v)}),
    st.sets(st.binary(min_size=1, max_size=4), min_size=1, max_size=3).map(lambda v: {"BS": sorted(v)}),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda v: {"L": v}) | st.dictionaries(names, inner, max_size=3).map(lambda v: {"M": v})
    ),
    max_leaves=8,
)
KNOWN = {
    "S": ["mlsId", "description", "standardStatus"],
    "N": ["price", "bathrooms", "lotSize"],
    "BOOL": ["internetAddressDisplayYN"],
}


class TestGolden:
    def test_round_trip(self, golden: list[dict[str, Any]]) -> None:
        """Every item of the other application decodes, and encodes back to the same Data, attribute for attribute."""
        for item in golden:
            entity = ENTITIES[item["EntityType"]["S"]]
            assert dump(entity.decode("read", row_of(copy.deepcopy(item)))) == item["Data"]["M"], item["SK"]

    def test_index_keys(self, golden: list[dict[str, Any]]) -> None:
        """The index keys that follow from the golden items are the stored ones, but where the other writer left drift."""
        drift = {}
        for item in golden:
            entity = ENTITIES[item["EntityType"]["S"]]
            key = (item["PK"]["S"], item["SK"]["S"])
            made = entity.index_keys(entity.parse(*key), item["Data"]["M"])
            ours = {name: value["S"] for name, value in made.items() if name.startswith("GSI1")}
            theirs = {name: value["S"] for name, value in item.items() if name.startswith("GSI1")}
            if ours != theirs:
                drift[key[1]] = (theirs, ours)
        assert drift == {
            "LISTING#draft-1": ({"GSI1SK": "STATUS#active"}, {}),
            "LISTING#listing-2": (
                {"GSI1PK": "MLS#flexmls#MLS-457", "GSI1SK": "STATUS#pending"},
                {"GSI1PK": "MLS#flexmls#MLS-457", "GSI1SK": "STATUS#sold"},
            ),
        }


class TestRoundTrip:
    @given(values)
    def test_attribute_values(self, value: dict[str, Any]) -> None:
        """Any attribute value decodes, and encodes back to itself; sets in sorted order."""
        assert encode(decode(value)) == _sorted_sets(value)

    @given(st.dictionaries(names.filter(lambda n: n not in ListingData.model_json_schema()["properties"]), values, max_size=4))
    def test_unknown_fields(self, unknown: dict[str, Any]) -> None:
        """Whatever stands in fields that no model knows comes back as it was, and fields of any name at all."""
        data = {"status": {"S": "sold"}, "address": {"M": dict(unknown)}, **unknown}
        if unknown.keys() & {"street", "city", "state", "zip", "zipCode", "country"}:
            return
        assert dump(load(ListingData, data)) == _sorted_sets({"M": data})["M"]

    @given(st.data())
    def test_known_fields(self, data: st.DataObject) -> None:
        """Known fields of the right type, null or missing, come back as they were."""
        item: dict[str, Any] = {"status": {"S": "active"}}
        for kind, fields in KNOWN.items():
            for name in fields:
                contents: st.SearchStrategy[Any] = {"S": texts, "N": number_texts, "BOOL": st.booleans()}[kind]
                content = data.draw(st.none() | contents)
                made = data.draw(st.sampled_from([None, {"NULL": True}, {kind: content} if content is not None else None]))
                if made is not None:
                    item[name] = made
        assert dump(load(ListingData, item)) == item

    @pytest.mark.parametrize(
        "name", ["list_date", "self", "copy", "model_fields", "_private", "__class__", "x[0]", "a.b", "#n0", ":v0"]
    )
    def test_names_that_mean_something_in_python(self, name: str) -> None:
        """A stored field may have any name: Python's own, ours in the other spelling, or DynamoDB's syntax."""
        data = {"status": {"S": "sold"}, "listDate": {"S": "2024-01-15"}, name: {"S": "kept"}}
        assert dump(load(ListingData, data)) == data

    def test_three_states(self) -> None:
        """Absent, null and empty are three states."""
        states: list[dict[str, Any]] = [{}, {"description": {"NULL": True}}, {"description": {"S": ""}}]
        for state in states:
            data = {"status": {"S": "sold"}, **state}
            assert dump(load(ListingData, data)) == data


class TestReading:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("price", {"S": "5"}),
            ("price", {"BOOL": True}),
            ("status", {"S": "withdrawn"}),
            ("status", {"NULL": True}),
            ("mlsId", {"N": "5"}),
            ("listDate", {"S": "soon"}),
            ("listDate", {"N": "1705276800"}),
            ("listDate", {"B": b"2024-01-15"}),
            ("yearBuilt", {"N": "1987.5"}),
            ("syncedAt", {"S": "2024-01-01T00:00:00Z"}),
            ("syncedAt", {"N": "1.5"}),
            ("syncedAt", {"N": "99999999999999999"}),
            ("features", {"SS": ["a"]}),
            ("features", {"L": [{"N": "1"}]}),
            ("photos", {"L": [{"S": "url"}]}),
            ("address", {"S": "here"}),
            ("internetAddressDisplayYN", {"S": "true"}),
        ],
    )
    def test_a_known_field_of_another_type(self, field: str, value: dict[str, Any]) -> None:
        """A known field of another type is named and not coerced: writing it back would change it."""
        with pytest.raises(CodecError, match=field) as caught:
            load(ListingData, {"status": {"S": "sold"}, field: value})
        assert caught.value.fields[0].split(".")[0] == field

    @pytest.mark.parametrize(
        "value",
        [
            {},
            {"S": "a", "N": "1"},
            {"X": 1},
            {"S": 7},
            {"N": "1E+1000000"},
            {"N": "NaN"},
            {"BOOL": 1},
            {"B": "x"},
            "text",
            None,
        ],
    )
    def test_what_is_no_attribute_value(self, value: Any) -> None:
        """What DynamoDB would never send is refused with the field's name."""
        with pytest.raises(CodecError, match="odd"):
            load(ListingData, {"status": {"S": "sold"}, "odd": value})

    def test_tokens_are_in_no_error(self) -> None:
        """An error about a connection shows no stored token."""
        with pytest.raises(CodecError) as caught:
            load(SocialConnectionData, {"accessToken": {"L": [{"S": "canary"}]}, "scope": {"S": "canary"}})
        assert "canary" not in str(caught.value)


class TestWriting:
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (1.5, "binary float"),
            (set(), "a set holds"),
            ({1, "a"}, "a set holds"),
            ({None}, "a set holds"),
            (object(), "no type for object"),
            (datetime(2024, 1, 1), "no type for datetime"),
            (Decimal("NaN"), "NaN"),
            ({"": 1}, "name"),
            ({1: 1}, "name"),
            ("\ud800", "surrogate"),
        ],
    )
    def test_what_dynamodb_cannot_hold(self, value: Any, message: str) -> None:
        """What DynamoDB has no place for is refused with the field's name."""
        with pytest.raises(CodecError, match=f"odd.*{message}"):
            dump(ListingData.model_validate({"status": "sold", "odd": value}))

    def test_nesting(self) -> None:
        """Nesting is taken to DynamoDB's 32 levels, Data and the innermost value included, and not deeper."""

        def nested(levels: int) -> Any:
            return {"a": nested(levels - 1)} if levels else 1

        dump(ListingData.model_validate({"status": "sold", "a": nested(30)}))
        with pytest.raises(CodecError, match="deeper than 32"):
            dump(ListingData.model_validate({"status": "sold", "a": nested(31)}))

    def test_changes_past_validation(self) -> None:
        """A list that was changed to what cannot be read back is refused, and not stored."""
        data = ListingData(status="sold", photos=[Photo(url="a")])
        assert data.photos is not None
        data.photos.append("b")  # type: ignore[arg-type]
        with pytest.raises(CodecError, match=r"photos\.1"):
            dump(data)

    def test_other_values(self) -> None:
        """Moments, days, tokens, tuples and byte arrays are written in the table's forms."""
        assert encode((1, bytearray(b"x"))) == {"L": [{"N": "1"}, {"B": b"x"}]}
        assert encode(Token.at_rest("t")) == {"S": "t"}
        extra = ListingData.model_validate({"status": "sold", "seen": datetime(2024, 1, 16, tzinfo=UTC)})
        assert dump(extra)["seen"] == {"N": "1705363200000"}

    @pytest.mark.parametrize(
        ("number", "text"), [("1E+3", "1000"), ("0.50", "0.5"), ("-0", "0"), ("1E-7", "0.0000001"), (0, "0")]
    )
    def test_numbers_are_written_plain(self, number: Any, text: str) -> None:
        """Numbers are written in plain notation, as DynamoDB gives them back."""
        assert number_text(Decimal(number)) == text


class TestSize:
    @given(values)
    def test_bounds_are_no_tighter_than_an_item(self, value: dict[str, Any]) -> None:
        """What fits into an item, to the byte, is within the bounds."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mlssocial.codec.MAX_ITEM_BYTES", item_size({"n": value}) - 1)
            check_bounds(decode(value))

    def test_as_dynamodb_counts(self) -> None:
        """An item is measured as DynamoDB documents it: names, UTF-8 bytes, digits in pairs, three bytes a container."""
        assert item_size({"é": {"S": "é"}}) == 4
        assert item_size({"n": {"N": "-1234.5"}}) == 1 + 5
        assert item_size({"f": {"BOOL": True}, "g": {"NULL": True}}) == 4
        assert item_size({"b": {"B": b"abc"}, "s": {"SS": ["ab", "c"]}}) == 4 + 4
        assert item_size({"m": {"M": {"k": {"L": [{"S": "x"}]}}}}) == 1 + 3 + (1 + 1 + 3 + (1 + 1))


def _sorted_sets(value: dict[str, Any]) -> dict[str, Any]:
    ((kind, content),) = value.items()
    if kind == "M":
        return {"M": {name: _sorted_sets(entry) for name, entry in content.items()}}
    if kind == "L":
        return {"L": [_sorted_sets(entry) for entry in content]}
    return {kind: sorted(content)} if kind in {"SS", "NS", "BS"} else value
