"""Compiled loaders and dumpers, and the wire form below them: the same as the slow path, for every item there can be."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import botocore.session
import pytest
from botocore.parsers import JSONParser
from botocore.serialize import create_serializer
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, field_validator

from mlssocial import (
    Address,
    ListingData,
    ListingStatus,
    MLSConnectionData,
    PerformanceMetricsData,
    Photo,
    Platform,
    PlatformMetrics,
    PostStatus,
    SocialConnectionData,
    SocialPostData,
    Token,
    codec,
    compiled,
)
from mlssocial.codec import CodecError, wire_name
from mlssocial.components import DataParser
from mlssocial.entities import AnyPlatform, Day, Flag, Moment, Number, Payload, Whole
from mlssocial.masked import MaskedText
from mlssocial.schema import SOCIAL_POST
from mlssocial.tokens import MASK
from mlssocial.wire import (
    AttributeValue,
    decode_answer,
    decode_row,
    encode_request,
    encoded,
    plain,
    plain_row,
    row_of,
)

from .test_codec import names, number_texts, scalars, texts, values

PAYLOADS: list[type[Payload]] = [
    ListingData,
    MLSConnectionData,
    SocialConnectionData,
    SocialPostData,
    PerformanceMetricsData,
]

Strategy = st.SearchStrategy[Any]

# --- Attribute maps --------------------------------------------------------------------------------------------------

GOOD_NUMBERS = ["0", "1", "-1", "007", "12.50", "0.1", "-0.25", "1E2", "1e-3", "9" * 38, "1" + "0" * 60, "1E+125", "1E-130"]
ODD_NUMBERS = [
    "-0", "-0.0", "+5", ".5", "5.", "1.0", "1E400", "1E+1000000", "1_000", " 1", "1 ", "", "-", "NaN", "-Infinity", "sNaN",
    "\N{ARABIC-INDIC DIGIT THREE}", "\N{FULLWIDTH DIGIT ONE}2", "\N{SUPERSCRIPT TWO}", "9" * 39, "0" * 39, "0" * 500,
    "1" + "0" * 38, "1E126", "1E-131", "0x10", "1.5", "-7", "1,5",
]  # fmt: skip
DAYS = ["2024-01-15", "0001-01-01", "9999-12-31", "2024-02-29", ""]
ODD_DAYS = [
    "2024-W03-1", "20240115", "2024-02-30", "2024-1-15", "2024-01-15T00:00:00", "0000-01-01", " ",
    "2024-01-1\N{FULLWIDTH DIGIT FIVE}", "\N{ARABIC-INDIC DIGIT TWO}024-01-15",
]  # fmt: skip
MILLIS = ["0", "1705363200000", "1", "-1", "253402300799999", "-62135596800000", "1E3", "1705363200000.0"]
ODD_MILLIS = ["253402300800000", "-62135596800001", "1.5", "9" * 38]


def either(good: list[str], odd: list[str]) -> tuple[Strategy, Strategy]:
    """Give strategies for what fits a field and for what may not."""
    return st.sampled_from(good), st.sampled_from(odd + ODD_NUMBERS)


def members(kind: type[Enum]) -> tuple[Strategy, Strategy]:
    """Give strategies for the values of an enum and for text that is none of them."""
    return st.sampled_from([member.value for member in kind]), texts | st.sampled_from(
        ["Active", " active", "withdrawn", "ACTIVE"]
    )


SCALARS: list[tuple[Any, str, tuple[Strategy, Strategy]]] = [
    (str, "S", (texts, st.sampled_from(["", MASK, "\U0001f3e1"]))),
    (Number, "N", (st.sampled_from(GOOD_NUMBERS) | number_texts, st.sampled_from(ODD_NUMBERS))),
    (Whole, "N", either(["0", "7", "1987", "-5", "1E2", "3.0", "9" * 38], [])),
    (Moment, "N", either(MILLIS, ODD_MILLIS)),
    (Day, "S", (st.sampled_from(DAYS) | st.dates().map(str), st.sampled_from(ODD_DAYS))),
    (Flag, "BOOL", (st.booleans(), st.booleans())),
    (AnyPlatform, "S", (members(Platform)[0] | texts, st.sampled_from(["Facebook", "facebook ", "tiktok", ""]))),
    (Token, "S", (texts.filter(lambda text: text != MASK), st.just(MASK))),
]


def tagged(kind: str, contents: Strategy) -> Strategy:
    """Make attribute values of contents."""
    return contents.map(lambda content: {kind: content})


@cache
def known(annotation: Any) -> tuple[Strategy, Strategy]:
    """Give strategies for a field's attribute value: what fits, and what may not though its type is right."""
    if get_origin(annotation) in {Union, UnionType} and annotation != AnyPlatform:
        (annotation,) = (option for option in get_args(annotation) if option is not type(None))
    for scalar, kind, contents in SCALARS:
        if annotation == scalar:
            return tagged(kind, contents[0]), tagged(kind, contents[1])
    if get_origin(annotation) is Annotated:
        return known(get_args(annotation)[0])
    if get_origin(annotation) is list:
        inside, odd = known(get_args(annotation)[0])
        return tagged("L", st.lists(inside, max_size=3)), tagged("L", st.lists(inside | odd | scalars, max_size=3))
    if get_origin(annotation) is dict:
        inside, odd = (values, values) if get_args(annotation)[1] is Any else known(get_args(annotation)[1])
        keys = st.sampled_from([platform.value for platform in Platform]) | names
        mixed = st.dictionaries(keys | st.just(""), inside | odd | scalars, max_size=3)
        return tagged("M", st.dictionaries(keys, inside, max_size=3)), tagged("M", mixed)
    if issubclass(annotation, Enum):
        fits, odd = members(annotation)
        return tagged("S", fits), tagged("S", odd)
    return tagged("M", maps(annotation, odd=False)), tagged("M", maps(annotation, odd=True))


@cache
def maps(payload: type[BaseModel], *, odd: bool) -> Strategy:
    """Build what may stand in a model's map: fields that fit, or null; where *odd*, some that may not; and unknown ones."""
    hints = get_type_hints(payload, include_extras=True)
    fields = {wire_name(payload, name): known(hints[name]) for name in payload.model_fields}
    required = {wire_name(payload, name) for name, field in payload.model_fields.items() if field.is_required()}
    null = st.just({"NULL": True})
    fits = st.fixed_dictionaries(
        {name: fields[name][0] for name in required},
        optional={name: field[0] | null for name, field in fields.items() if name not in required},
    )
    pythons = st.sampled_from([*payload.model_fields, "self", "copy", "__class__", "model_fields"])
    unknown = st.dictionaries((names | pythons).filter(lambda name: name not in fields), values, max_size=2)
    sound = st.builds(lambda some, more: more | some, fits, unknown)
    if not odd:
        return sound
    one_odd = st.sampled_from(sorted(fields)).flatmap(
        lambda name: st.fixed_dictionaries({name: fields[name][1] | values | st.just({}) | st.just({"NULL": False})})
    )
    gone = st.sets(st.sampled_from(sorted(fields)), max_size=2)
    return st.builds(
        lambda some, first, second, without: {k: v for k, v in (some | first | second).items() if k not in without},
        sound,
        one_odd,
        one_odd | st.just({}),
        gone | st.just(set()),
    )


def loaded_both_ways(payload: type[Payload], data: dict[str, Any]) -> tuple[Any, Any]:
    """Load by the compiled loader and by the codec."""
    return outcome(lambda: compiled.load(payload, row_of(copy.deepcopy(data)))), outcome(lambda: codec.load(payload, data))


def dumped_both_ways(payload: Payload) -> tuple[Any, Any]:
    """Dump by the compiled dumper and by the codec."""
    return outcome(lambda: compiled.dump(payload)), outcome(lambda: codec.dump(payload))


@dataclass(frozen=True)
class Refusal:
    """A CodecError, as something to compare."""

    fields: tuple[str, ...]
    message: str


def outcome(call: Callable[[], Any]) -> Any:
    """Give what a call gives, or its refusal; no other error is one."""
    try:
        return call()
    except CodecError as error:
        return Refusal(error.fields, str(error))


def anatomy(value: Any) -> Any:
    """Take a value apart down to types and digits, so that nothing that differs compares equal."""
    if isinstance(value, BaseModel):
        inside = [value.__dict__, value.__pydantic_extra__, value.__pydantic_private__]
        return type(value), value.model_fields_set, [anatomy(part) for part in inside]
    if isinstance(value, dict):
        return type(value), {(type(name), name): anatomy(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [anatomy(entry) for entry in value]
    if isinstance(value, set | frozenset):
        return type(value), {repr(entry) for entry in value}
    if isinstance(value, Decimal):
        return type(value), value.as_tuple()
    if isinstance(value, datetime):
        return type(value), value.tzinfo, value.isoformat()
    if isinstance(value, MaskedText):
        return str, str.__str__(value)
    return type(value), value.reveal() if isinstance(value, Token) else value


any_payload = pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.__name__)


class TestLoad:
    @any_payload
    @given(data=st.data())
    def test_what_fits(self, payload: type[Payload], data: st.DataObject) -> None:
        """An item whose fields fit loads to the object that pydantic makes: its values and their types, what is set, extras."""
        stored = data.draw(maps(payload, odd=False))
        fast, slow = loaded_both_ways(payload, stored)
        assert fast == slow
        assert anatomy(fast) == anatomy(slow)

    @any_payload
    @given(data=st.data())
    def test_what_may_not_fit(self, payload: type[Payload], data: st.DataObject) -> None:
        """An item with odd fields, of the wrong type or missing, loads the same, or is refused in the same words."""
        stored = data.draw(maps(payload, odd=True))
        fast, slow = loaded_both_ways(payload, stored)
        assert anatomy(fast) == anatomy(slow)

    @any_payload
    @given(data=st.data())
    def test_untouched(self, payload: type[Payload], data: st.DataObject) -> None:
        """What was loaded and not looked at is written as pydantic's own is, and looking at it afterwards shows the same."""
        fast, slow = loaded_both_ways(payload, data.draw(maps(payload, odd=False)))
        assert plain_row(decode_row(compiled.write(fast))) == codec.dump(slow)
        assert anatomy(fast) == anatomy(slow)

    @any_payload
    def test_each_odd_value_in_each_field(self, payload: type[Payload]) -> None:
        """Every odd text in every field, as text and as number, loads the same or is refused in the same words."""
        needed = {"status": {"S": "sold"}} if payload is ListingData else {}
        odd = {*GOOD_NUMBERS, *ODD_NUMBERS, *DAYS, *ODD_DAYS, *MILLIS, *ODD_MILLIS, MASK, "active", "facebook", "unpublished"}
        for name in payload.model_fields:
            for text in sorted(odd):
                for kind in "SN":
                    stored = needed | {wire_name(payload, name): {kind: text}}
                    fast, slow = loaded_both_ways(payload, stored)
                    assert anatomy(fast) == anatomy(slow), stored

    def test_the_golden_items(self, golden: list[dict[str, Any]]) -> None:
        """The other application's items load to the same objects, without any help of the codec."""
        payloads = {payload.__name__.removesuffix("Data"): payload for payload in PAYLOADS}
        for item in golden:
            payload, data = payloads[item["EntityType"]["S"]], item["Data"]["M"]
            fast = compiled.compile_payload(payload).load(row_of(data))
            assert anatomy(fast) == anatomy(codec.load(payload, data))
            written = compiled.compile_payload(payload).write(fast)
            assert json.loads(f"{{{written}}}") == data


# --- Payloads to be dumped -------------------------------------------------------------------------------------------


class Text(str):
    """A str of somebody's own."""

    __slots__ = ()


class Count(int):
    """An int of somebody's own."""

    __slots__ = ()


class Snapshot(Photo):
    """A photo of somebody's own, with a field more."""

    taken: str | None = None


class Names(dict[str, Any]):
    """A dict of somebody's own."""


class Moods(StrEnum):
    """An enum of somebody's own, with a value that one of ours has too."""

    ACTIVE = "active"
    GLAD = "glad"


CEST = timezone(timedelta(hours=2))
UNCHECKED_ADDRESS, UNCHECKED_PHOTO = Address(city="Reno"), Photo(order=1)
UNCHECKED_ADDRESS.__dict__["city"] = 5
UNCHECKED_PHOTO.__dict__["order"] = "first"
ODD_VALUES: list[Any] = [
    None, True, False, 0, 7, -7, 10**37, 10**38, -(10**38), 10**130, 1 << 600, 1.5, float("nan"), Count(5),
    Decimal(5), Decimal("-0"), Decimal("-0.00"), Decimal("1.50"), Decimal("1E+3"), Decimal("1E-7"), Decimal("1E+125"),
    Decimal("1E+126"), Decimal("9" * 38), Decimal("9" * 39), Decimal("0." + "1" * 20), Decimal("NaN"), Decimal("Infinity"),
    Decimal(10**19 + 1), "", "text", "active", "facebook", "published", "5", "2024-01-15", "2024-02-30", "é",
    "\ud800", MASK, "a\udfffb", Text("text"), Text("active"), Text("facebook"), Text(""), b"bytes", bytearray(b"x"),
    date(2024, 1, 15), date(1, 1, 1),
    datetime(2024, 1, 15, tzinfo=UTC), datetime(2024, 1, 15, 12, 30, 1, 999_999, tzinfo=UTC),
    datetime(2024, 1, 15, tzinfo=CEST),
    datetime(2024, 1, 15), datetime(1, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), timedelta(1), ListingStatus.SOLD, PostStatus.FAILED,
    Platform.HUBSPOT, Moods.ACTIVE, Moods.GLAD, Token("t"), Token(""), Token("\ud800"), Token(Text("t")),
    Token.at_rest("t"), Token.at_rest("\ud800"), Token.at_rest("enc:v1:k::AA=="),
    [], ["a"], ["a", None], ["\ud800"], [1], [["a"]], ("a",), {"a"}, set(), {1, "a"}, frozenset({b"x"}),
    {}, {"a": 1}, {"": 1}, {1: 1}, {Text("a"): Text("b")}, {"a": {"": 1}}, {"a": {2: 1}}, {"a": 1.5}, {"a": "\ud800"},
    {"a": [None, {"b": set()}]}, Names(a=1), Address(city="Reno"), Photo(url="u"), Snapshot(url="u", taken="now"),
    PlatformMetrics(views=1), [Photo(url="u")], [Snapshot(url="u")], [Photo(url="u"), "b"], [{"url": "u"}],
    {"facebook": PlatformMetrics(views=1)}, {"facebook": {"views": 1}}, {"": PlatformMetrics()}, {"\ud800": PlatformMetrics()},
    UNCHECKED_ADDRESS, UNCHECKED_PHOTO, Photo.model_validate({"order": 1, "more": {"": 1}}), object(),
]  # fmt: skip
odd_values = st.sampled_from(ODD_VALUES).map(copy.deepcopy)  # one that is put into another must not stay there


def models_in(value: Any) -> list[BaseModel]:
    """Give a model and those inside it."""
    if isinstance(value, BaseModel):
        return [value, *(found for entry in value.__dict__.values() for found in models_in(entry))]
    entries = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return [found for entry in entries for found in models_in(entry)]


def collections_in(model: BaseModel) -> list[Any]:
    """Give the lists and dicts that stand in a model."""
    return [value for value in model.__dict__.values() if isinstance(value, list | dict)]


class TestDump:
    @any_payload
    @given(data=st.data())
    def test_what_was_loaded(self, payload: type[Payload], data: st.DataObject) -> None:
        """What was loaded, either way, is dumped to the same attribute values."""
        fast, slow = loaded_both_ways(payload, data.draw(maps(payload, odd=False)))
        assert anatomy(compiled.dump(fast)) == anatomy(codec.dump(fast))
        assert compiled.dump(fast) == compiled.dump(slow)

    @any_payload
    @given(data=st.data())
    def test_what_was_changed_past_validation(self, payload: type[Payload], data: st.DataObject) -> None:
        """A payload in which anything was put anywhere, past validation, dumps the same or is refused in the same words."""
        made = codec.load(payload, data.draw(maps(payload, odd=False)))
        for _ in range(data.draw(st.integers(1, 3))):
            model = data.draw(st.sampled_from(models_in(made)))
            match data.draw(st.sampled_from(["field", "collection", "extra"])):
                case "field":
                    field = data.draw(st.sampled_from(sorted(type(model).model_fields)))
                    model.__dict__[field] = data.draw(odd_values)
                    data.draw(st.sampled_from([model.model_fields_set.add] * 3 + [model.model_fields_set.discard]))(field)
                case "collection":
                    for collection in collections_in(model):
                        value = data.draw(odd_values)
                        if isinstance(collection, list):
                            collection.append(value)
                        else:
                            collection[data.draw(st.sampled_from(["a", "", 1, "\ud800", Text("b"), "facebook"]))] = value
                case _:
                    setattr(model, data.draw(st.sampled_from(["extra", "listing_key", "zip_2"])), data.draw(odd_values))
        fast, slow = dumped_both_ways(made)
        assert anatomy(fast) == anatomy(slow)

    @any_payload
    @given(data=st.data())
    def test_untouched(self, payload: type[Payload], data: st.DataObject) -> None:
        """What was loaded and not looked at is written as pydantic's own is, and looking at it afterwards shows the same."""
        fast, slow = loaded_both_ways(payload, data.draw(maps(payload, odd=False)))
        assert plain_row(decode_row(compiled.write(fast))) == codec.dump(slow)
        assert anatomy(fast) == anatomy(slow)

    @any_payload
    def test_each_odd_value_in_each_field(self, payload: type[Payload]) -> None:
        """Every odd value in every field, and as an extra one, dumps the same or is refused in the same words."""
        needed = {"status": "sold"} if payload is ListingData else {}
        for name in [*payload.model_fields, "extra"]:
            for value in ODD_VALUES:
                made = payload.model_validate(needed)
                if name == "extra":
                    made.extra = value  # type: ignore[attr-defined]  # an unknown field
                else:
                    made.__dict__[name] = value
                    made.model_fields_set.add(name)
                fast, slow = dumped_both_ways(made)
                assert anatomy(fast) == anatomy(slow), (name, value)

    def test_what_is_set(self) -> None:
        """What is written is what is set, also where that was changed by hand and an unknown field was deleted."""
        photo = Photo.model_validate({"url": "u", "caption": "c", "order": 1, "foo": 1})
        del photo.foo  # type: ignore[attr-defined]
        photo.model_fields_set.discard("order")
        made = ListingData(status="sold", photos=[photo])
        fast, slow = dumped_both_ways(made)
        assert anatomy(fast) == anatomy(slow)

    def test_two_that_are_not_as_they_should_be(self) -> None:
        """A field that was set to nothing does not make up for one that has a value and was not set."""
        construct: Any = SocialPostData.model_construct
        unset = SocialPostData(status=None, listing_id="l9")
        unset.model_fields_set.discard("listing_id")
        values = dict.fromkeys(SocialPostData.model_fields) | {"listing_id": "l9"}
        for made in (unset, construct(_fields_set={"status"}, **values)):
            fast, slow = dumped_both_ways(made)
            assert anatomy(fast) == anatomy(slow)
            content = SOCIAL_POST.encode("save SocialPost", ("u1", "p1"), made)
            assert (sorted(content.plain()), content.index_values) == (["postId", "status"], (None, None, None))

    def test_a_required_field_that_is_missing(self) -> None:
        """A payload that was made past validation without a required field is refused, since nobody could read it back."""
        construct: Any = ListingData.model_construct
        unset = ListingData(status="sold")
        unset.model_fields_set.clear()
        for made in (construct(price=Decimal(1)), construct(), unset):
            fast, slow = dumped_both_ways(made)
            assert anatomy(fast) == anatomy(slow)
            assert fast.fields == ("status",)

    @pytest.mark.parametrize("levels", [28, 29, 30, 31, 32, 33])
    @pytest.mark.parametrize("where", ["metadata", "extra", "address", "photo", "platform"])
    def test_nesting(self, levels: int, where: str) -> None:
        """Nesting is taken and refused at the same depth, in an open map, in an unknown field, and in one of a nested model."""
        nest: Any = 1
        for _ in range(levels):
            nest = {"a": nest}
        made: Payload = ListingData(status="sold")
        match where:
            case "metadata":
                made = SocialConnectionData(metadata=nest)
            case "extra":
                made = ListingData.model_validate({"status": "sold", "extra": nest})
            case "address":
                made = ListingData(status="sold", address=Address.model_validate({"extra": nest}))
            case "photo":
                made = ListingData(status="sold", photos=[Photo.model_validate({"extra": nest})])
            case _:
                metrics = PlatformMetrics.model_validate({"extra": nest})
                made = PerformanceMetricsData(platforms={"facebook": metrics})
        fast, slow = dumped_both_ways(made)
        assert anatomy(fast) == anatomy(slow)

    @pytest.mark.parametrize("name", ["\ud800", "a\udfff"])
    def test_names_that_no_request_can_hold(self, name: str) -> None:
        """A name with a lone surrogate, in an open map or deep in an unknown field, is refused and not sent."""
        for made in (
            SocialConnectionData(metadata={name: 1}),
            ListingData.model_validate({"status": "sold", "extra": {"a": [{name: 1}]}}),
        ):
            with pytest.raises(CodecError):
                compiled.dump(made)

    def test_an_unknown_field_by_a_python_name(self) -> None:
        """A stored field that is spelt as a known one is in Python does not bring forth the known one."""
        stored = {"status": {"S": "sold"}, "list_date": {"S": "soon"}}
        assert compiled.dump(compiled.load(ListingData, row_of(stored))) == stored


class TestIsPydantics:
    """What the compiled loader makes is a pydantic model in every respect."""

    STORED: dict[str, Any] = {  # noqa: RUF012  never changed
        "status": {"S": "active"},
        "price": {"N": "550000.5"},
        "address": {"M": {"city": {"S": "Reno"}, "lot": {"N": "7"}}},
        "photos": {"L": [{"M": {"url": {"S": "a"}, "order": {"N": "0"}}}]},
        "heating": {"S": "gas"},
    }

    def load(self) -> tuple[ListingData, ListingData]:
        """Give what the compiled loader makes, without any help of the codec, and what pydantic makes."""
        fast = compiled.compile_payload(ListingData).load(row_of(self.STORED))
        return fast, codec.load(ListingData, self.STORED)

    def test_comparison_and_text(self) -> None:
        """It equals pydantic's own, and is shown and dumped by pydantic in the same way."""
        fast, slow = self.load()
        assert (fast == slow, slow == fast, fast != ListingData(status="active")) == (True, True, True)
        assert (repr(fast), str(fast)) == (repr(slow), str(slow))
        assert fast.model_dump() == slow.model_dump()
        assert fast.model_dump(exclude_unset=True, by_alias=True) == slow.model_dump(exclude_unset=True, by_alias=True)
        assert fast.model_dump_json() == slow.model_dump_json()
        assert ListingData.model_validate(fast) is fast

    def test_assignment(self) -> None:
        """Assignments are validated, in it and in the models inside it, and are seen in what is set."""
        fast, slow = self.load()
        assert fast.address is not None
        with pytest.raises(ValidationError, match="binary float"):
            fast.price = 1.5  # type: ignore[assignment]
        with pytest.raises(ValidationError):
            fast.address.city = 5  # type: ignore[assignment]
        for made in (fast, slow):
            assert made.address is not None
            made.price = "7"  # type: ignore[assignment]
            made.list_date = "2024-01-15"  # type: ignore[assignment]
            made.address.zip = "89501"
        assert anatomy(fast) == anatomy(slow)
        assert (fast.price, fast.list_date, fast.model_fields_set) == (Decimal(7), date(2024, 1, 15), slow.model_fields_set)

    def test_unknown_fields(self) -> None:
        """Unknown fields are attributes, and can be set, changed and deleted as pydantic does it."""
        fast, slow = self.load()
        for made in (fast, slow):
            made.foo = 1  # type: ignore[attr-defined]
            made.heating = "oil"  # type: ignore[attr-defined]
            made.address.lot = 8  # type: ignore[union-attr]
        assert anatomy(fast) == anatomy(slow)
        assert (fast.heating, fast.model_extra) == ("oil", {"heating": "oil", "foo": 1})  # type: ignore[attr-defined]
        del fast.heating  # type: ignore[attr-defined]
        with pytest.raises(AttributeError, match="heating"):
            fast.heating  # type: ignore[attr-defined]  # noqa: B018
        with pytest.raises(AttributeError, match="nonsense"):
            fast.nonsense  # type: ignore[attr-defined]  # noqa: B018

    def test_copies(self) -> None:
        """Copies, shallow, deep, by pydantic and through a pickle, are equal, and a deep one is independent."""
        fast, slow = self.load()
        for duplicate in (copy.copy(fast), copy.deepcopy(fast), fast.model_copy(), pickle.loads(pickle.dumps(fast))):  # noqa: S301
            assert duplicate == fast
            assert anatomy(duplicate) == anatomy(slow)
        assert fast.model_copy(update={"price": Decimal(1)}) == slow.model_copy(update={"price": Decimal(1)})
        deep = fast.model_copy(deep=True)
        assert deep.photos is not None
        deep.photos[0].url = "b"
        deep.foo = 1  # type: ignore[attr-defined]
        assert fast == slow

    @pytest.mark.parametrize("first", ["__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"])
    def test_what_is_kept_beside_the_values(self, first: str) -> None:
        """What pydantic keeps beside the values is there whichever is asked for first, once, and knows what came after."""
        stored: dict[str, Any] = {"status": {"S": "active"}, "price": {"N": "1"}, "listDate": {"NULL": True}}
        fast = compiled.compile_payload(ListingData).load(row_of(stored))
        slow = codec.load(ListingData, stored)
        assert getattr(fast, first) == getattr(slow, first)
        assert getattr(fast, first) is getattr(fast, first)
        for made in (fast, slow):
            made.price = None
            made.model_extra["heating"] = "gas"  # type: ignore[index]
            made.bedrooms = 2
        assert anatomy(fast) == anatomy(slow)
        assert compiled.dump(fast) == codec.dump(slow)

    def test_share_nothing(self) -> None:
        """Two of one item have nothing in common that a change to one could reach the other by."""
        row = row_of(self.STORED)
        first, second = compiled.load(ListingData, row), compiled.load(ListingData, row)
        assert first.photos is not None
        first.photos.append(Photo(url="b"))
        first.foo = 1  # type: ignore[attr-defined]
        first.price = Decimal(1)
        assert second == self.load()[1]
        assert plain_row(row) == self.STORED


# --- New fields ------------------------------------------------------------------------------------------------------


class Heated(ListingData):
    """A listing with fields of every kind that there is already."""

    heating: str | None = None
    rooms: Whole | None = None
    tax: Number | None = None
    opened_on: Day | None = None
    seen_at: Moment | None = None
    pets_yn: Flag | None = None
    mood: Moods | None = None
    secret: Token | None = None
    second_address: Address | None = None
    former_addresses: list[Address] | None = None
    by_room: dict[str, list[Whole]] | None = None
    labels: dict[str, str] | None = None


class WithDefault(ListingData):
    """A field that is something where it is not stored."""

    heating: str = "gas"


class WithFactory(ListingData):
    """A field that is made where it is not stored."""

    labels: list[str] = Field(default_factory=list)


class WithBounds(ListingData):
    """A field with a bound in its annotation."""

    heating: Annotated[str, Field(max_length=3)] | None = None


class WithFieldBounds(ListingData):
    """A field with a bound in its Field."""

    heating: str | None = Field(None, max_length=3)


class WithValidator(ListingData):
    """A field with a validator."""

    heating: str | None = None

    @field_validator("heating")
    @classmethod
    def _shout(cls, value: str | None) -> str | None:
        if value == "coal":
            raise ValueError("no coal")
        return value and value.upper()


class WithPrivate(ListingData):
    """A model with a private attribute."""

    _seen: int = PrivateAttr(default=3)


class Scan(Photo):
    """Another photo, of the same name as the first."""

    pages: Whole | None = None


Scan.__name__ = "Photo"


class Stage(StrEnum):
    """Another enum, of the same name as a listing's status."""

    OPEN = "open"


Stage.__name__ = "ListingStatus"


class WithNamesake(ListingData):
    """A model in which two models of one name stand, and two enums."""

    scan: Scan | None = None
    stage: Stage | None = None


class WithKeys(ListingData):
    """A map whose keys are more than text."""

    by_status: dict[ListingStatus, str] | None = None


def test_rows_of_a_payload_that_only_pydantic_reads() -> None:
    """Rows of a payload with rules of its own are decoded as attribute values of any kind, and load as pydantic says."""
    stored: dict[str, Any] = {"PK": {"S": "USER#u"}, "Data": {"M": {"status": {"S": "sold"}}}}
    row = compiled.RowDecoder(WithDefault)(json.dumps(stored).encode())
    assert plain_row(row) == stored
    loaded = compiled.load(WithDefault, row["Data"].M or {})
    assert anatomy(loaded) == anatomy(codec.load(WithDefault, stored["Data"]["M"]))


class TestNewFields:
    """Adding a field to a payload needs no second edit."""

    @example({"status": {"S": "sold"}, "labels": {"M": {"facebook": {"N": "0"}}}})
    @given(st.booleans().flatmap(lambda odd: maps(Heated, odd=odd)))
    def test_of_every_kind(self, stored: dict[str, Any]) -> None:
        """New fields of any known kind load and dump as pydantic says, with nothing else to be written for them."""
        fast, slow = loaded_both_ways(Heated, stored)
        assert anatomy(fast) == anatomy(slow)
        if isinstance(fast, Heated):
            dumped, expected = dumped_both_ways(fast)
            assert anatomy(dumped) == anatomy(expected)

    @pytest.mark.parametrize(
        "payload", [WithDefault, WithFactory, WithBounds, WithFieldBounds, WithValidator, WithPrivate, WithNamesake, WithKeys]
    )
    @pytest.mark.parametrize(
        "stored",
        [
            {},
            {"heating": {"S": "gas"}, "labels": {"L": [{"S": "a"}]}},
            {"photos": {"L": [{"M": {"url": {"S": "u"}}}]}, "scan": {"M": {"pages": {"N": "3"}}}, "stage": {"S": "open"}},
            {"heating": {"S": "coal"}, "photos": {"L": [{"M": {"url": {"S": "u"}, "pages": {"S": "x"}}}]}},
            {"byStatus": {"M": {"sold": {"S": "a"}}}},
            {"byStatus": {"M": {"withdrawn": {"S": "a"}}}},
            {"heating": {"NULL": True}, "labels": {"NULL": True}, "scan": {"NULL": True}},
        ],
    )
    def test_with_rules_of_their_own(self, payload: type[ListingData], stored: dict[str, Any]) -> None:
        """What a new field says of itself, a default, a bound, a validator, holds for stored items as pydantic has it."""
        fast, slow = loaded_both_ways(payload, {"status": {"S": "sold"}, **stored})
        assert anatomy(fast) == anatomy(slow)
        if isinstance(fast, Payload):
            assert dumped_both_ways(fast)[0] == dumped_both_ways(fast)[1]
            assert getattr(fast, "_seen", 3) == 3

    @pytest.mark.parametrize(
        ("annotation", "named"),
        [
            (float | None, "float"),
            (complex, "complex"),
            (list[bytes] | None, "bytes"),
            (dict[str, float], "float"),
            (int | str | None, r"int \| str"),
            (tuple[str, ...] | None, "tuple"),
        ],
    )
    def test_of_no_known_kind(self, annotation: Any, named: str) -> None:
        """A field of a type that no attribute value is read as is refused with the type's name, when the model is compiled."""
        namespace = {"__annotations__": {"odd": annotation}, "odd": None, "__module__": __name__}
        payload: Any = type("Odd", (ListingData,), namespace)
        with pytest.raises(TypeError, match=named):
            compiled.compile_payload(payload)


# --- The wire --------------------------------------------------------------------------------------------------------

MODEL = botocore.session.Session().get_service_model("dynamodb")
SERIALIZER = create_serializer("json", include_validation=False)
items = st.dictionaries(names, values, max_size=4)
DATA_OPERATIONS = ["GetItem", "Query", "Scan", "PutItem", "UpdateItem", "DeleteItem", "BatchGetItem", "BatchWriteItem"]


class TestWire:
    @given(values)
    def test_attribute_values(self, value: dict[str, Any]) -> None:
        """Any attribute value goes into a row and comes out as it was, from Python and from JSON."""
        row = row_of({"a": value})
        assert plain(row["a"]) == value
        assert decode_row(encoded({"a": value})) == row
        assert decode_row(encode_request(row)) == row

    @given(items)
    def test_rows(self, item: dict[str, Any]) -> None:
        """Any item makes a row and is had back from it; a row is its own row."""
        row = row_of(item)
        assert plain_row(row) == item
        assert row_of(row) is row
        assert all(isinstance(value, AttributeValue) for value in row.values())

    @given(items, items)
    def test_requests_are_botocores(self, item: dict[str, Any], row: dict[str, Any]) -> None:
        """A request says the same as botocore's serializer writes, attribute values in either form, parts ready made."""
        request = {"TableName": "homes", "Item": item, "ConditionExpression": "é", "ExpressionAttributeValues": row}
        botocores = SERIALIZER.serialize_to_request(request, MODEL.operation_model("PutItem"))["body"]
        ours = encode_request({**request, "Item": encoded(item), "ExpressionAttributeValues": row_of(row)})
        assert json.loads(ours) == json.loads(encode_request(request)) == json.loads(botocores)

    @given(st.lists(items, max_size=3), items)
    def test_answers_are_botocores(self, found: list[dict[str, Any]], last: dict[str, Any]) -> None:
        """An answer holds the same as botocore's parser reads in it."""
        answer = {"Items": found, "Count": len(found), "ScannedCount": 7, "LastEvaluatedKey": last}
        body = encode_request(answer)
        response = {"status_code": 200, "headers": {"x-amzn-requestid": "R"}, "body": body}
        shape = MODEL.operation_model("Query").output_shape
        botocores, ours = JSONParser().parse(response, shape), DataParser().parse(response, shape)
        assert [plain_row(decode_row(row)) for row in ours["Items"]] == botocores["Items"] == found
        assert plain_row(ours["LastEvaluatedKey"]) == botocores["LastEvaluatedKey"]
        assert (ours["Count"], ours["ScannedCount"], ours["ResponseMetadata"]["RequestId"]) == (len(found), 7, "R")

    @pytest.mark.parametrize(
        "value",
        ["text", None, 5, [], {"S": 7}, {"N": 5}, {"BOOL": 1}, {"B": "?"}, {"SS": "a"}, {"NS": [5]}, {"M": []}, {"L": {}}],
    )
    def test_no_row_can_be_made_of_it(self, value: Any) -> None:
        """What is no attribute value, at the top or deep inside, makes no row."""
        for item in ({"a": value}, {"a": {"M": {"b": {"L": [value]}}}}):
            with pytest.raises(CodecError, match="not a DynamoDB item"):
                row_of(item)

    @pytest.mark.parametrize("operation", DATA_OPERATIONS)
    @pytest.mark.parametrize(
        "body", [b"", b"<html></html>", b"[]", b"null", b"7", b'"text"', b"{", b"{}x", b'{"Count": 1', b"{}{}"]
    )
    def test_no_answer(self, operation: str, body: bytes) -> None:
        """What is no answer of an operation is a ValueError."""
        with pytest.raises(ValueError):  # noqa: PT011  msgspec's messages are its own
            decode_answer(operation, body)

    @pytest.mark.parametrize(
        ("operation", "body"),
        [
            ("GetItem", b'{"Item": 5}'),
            ("GetItem", b'{"Item": {"a": 5}}'),
            ("GetItem", b'{"Item": {"a": {"S": 5}}}'),
            ("GetItem", b'{"Item": {"a": {"S": "\xff"}}}'),
            ("UpdateItem", b'{"Attributes": []}'),
            ("Query", b'{"Items": {}}'),
            ("Query", b'{"Items": [], "Count": "1"}'),
            ("Query", b'{"Items": [], "LastEvaluatedKey": {"PK": "a"}}'),
            ("BatchGetItem", b'{"Responses": []}'),
            ("BatchWriteItem", b'{"UnprocessedItems": 1}'),
        ],
    )
    def test_an_answer_of_another_shape(self, operation: str, body: bytes) -> None:
        """JSON of another shape than the operation's answer has is a ValueError."""
        with pytest.raises(ValueError):  # noqa: PT011
            decode_answer(operation, body)

    @given(
        st.sampled_from(DATA_OPERATIONS), st.binary(max_size=60) | st.text('{}[]":,aItems0.\\u', max_size=40).map(str.encode)
    )
    def test_any_bytes(self, operation: str, body: bytes) -> None:
        """Whatever bytes arrive, they are an answer or a ValueError."""
        with suppress(ValueError):
            assert isinstance(decode_answer(operation, body), dict)

    def test_what_was_not_sent(self) -> None:
        """What DynamoDB did not send is not in the answer, so that nobody takes it for something."""
        assert decode_answer("GetItem", b"{}") == {}
        assert decode_answer("GetItem", b'{"Item": {}}') == {"Item": {}}
        assert decode_answer("UpdateItem", b'{"ItemCollectionMetrics": {}}') == {}
        assert decode_answer("Query", b'{"Items": [], "Count": 0, "ScannedCount": 3}') == {
            "Items": [],
            "Count": 0,
            "ScannedCount": 3,
        }
