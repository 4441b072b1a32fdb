"""What comes from outside: ids, cursors, names, values and bodies, each of which is taken for what it is or refused at once."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlssocial
from mlssocial import (
    ALL_USERS,
    InvalidCursorError,
    InvalidItemError,
    InvalidKeyError,
    Item,
    Listing,
    ListingData,
    MLSConnection,
    MLSConnectionData,
    MLSSocialError,
    PerformanceMetrics,
    PerformanceMetricsData,
    PlatformMetrics,
    SocialConnection,
    SocialConnectionData,
    SocialPost,
    SocialPostData,
    configure,
    keys,
)
from mlssocial.codec import decode
from mlssocial.connection import recorded
from mlssocial.entities import Payload
from mlssocial.results import Cursor, Plan, Results, _checksum
from mlssocial.schema import ENTITIES, OPERATION, SOCIAL_CONNECTION, Entity

from .conftest import Tally, get_raw

P = TypeVar("P", bound=Payload)
T = TypeVar("T")

CANARY = "canary-4711"
DAY = "2024-01-15"


@pytest.fixture
def nowhere() -> None:
    """Configure an engine that has no table: nothing may be sent."""
    configure(table_name="homes", endpoint_url="local:")


def nested(levels: int, inside: Any = 1) -> Any:
    """Nest maps."""
    for _ in range(levels):
        inside = {"a": inside}
    return inside


# --- Bodies of requests ----------------------------------------------------------------------------------------------


PAYLOADS = [ListingData, MLSConnectionData, SocialConnectionData, SocialPostData, PerformanceMetricsData]
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False).map(str)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


class TestBodies:
    def test_a_payload(self) -> None:
        """A body is a payload with exact numbers, known fields by either name, and unknown ones as they came."""
        body = (
            b'{"status": "active", "price": 550000.10, "list_date": "2024-01-15", "address": {"zipCode": "89501"}, '
            b'"syncedAt": 1705312800000, "x[0]": {"a.b": 1.50}, "__class__": "x", "model_config": [1]}'
        )
        data = ListingData.from_json(body)
        assert data == ListingData.model_validate(
            {
                "status": "active",
                "price": Decimal("550000.10"),
                "listDate": "2024-01-15",
                "address": {"zipCode": "89501"},
                "syncedAt": 1705312800000,
                "x[0]": {"a.b": Decimal("1.50")},
                "__class__": "x",
                "model_config": [Decimal(1)],
            }
        )
        assert type(data) is ListingData

    def test_tokens_are_hidden(self) -> None:
        """A token of a body is a token, and does not show."""
        data = MLSConnectionData.from_json(json.dumps({"accessToken": CANARY}))
        assert data.access_token is not None
        assert data.access_token.reveal() == CANARY
        assert CANARY not in repr(data)

    @pytest.mark.parametrize(
        ("kind", "body", "fields", "reason"),
        [
            (ListingData, {"status": CANARY}, ("status",), "'active', 'pending'"),
            (ListingData, {"status": "sold", "price": CANARY, "listDate": CANARY}, ("price", "listDate"), "not a date"),
            (ListingData, {"status": "sold", "photos": [{}, {"order": CANARY}]}, ("photos.1.order",), "not a decimal"),
            (ListingData, {"status": "sold", "features": [CANARY, 1, CANARY]}, ("features.1",), "valid string"),
            (ListingData, {"status": "sold", "address": [CANARY]}, ("address",), "dictionary"),
            (MLSConnectionData, {"accessToken": [CANARY]}, ("accessToken",), "not a token's text"),
            (SocialConnectionData, {"metadata": CANARY}, ("metadata",), "valid dictionary"),
            (SocialPostData, {"publishedAt": CANARY}, ("publishedAt",), "ISO 8601"),
            (PerformanceMetricsData, {"platforms": {"x": {"views": CANARY}}}, ("platforms.x.views",), "not a decimal"),
            (ListingData, [CANARY], (), "a JSON object is needed"),
            (ListingData, CANARY, (), "a JSON object is needed"),
        ],
    )
    def test_no_payload(self, kind: type[Payload], body: Any, fields: tuple[str, ...], reason: str) -> None:
        """What is no payload is refused with its fields' names, and nothing of it is in the error, nor behind it."""
        with pytest.raises(InvalidItemError, match=f"^read {kind.__name__}: .*{reason}") as caught:
            kind.from_json(json.dumps(body))
        assert caught.value.fields == fields
        assert CANARY not in str(caught.value) + repr(vars(caught.value))
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ('{"status": "active", "status": "sold"}', "status is given twice in one object"),
            ('{"price": NaN}', "NaN is no number"),
            ('{"price": 1e9999}', "not a decimal number of up to 38 digits"),
            ('{"price": ' + "9" * 401 + "}", r"more than 400 digits \(max_input_digits\)"),
            ('{"x": ' + "[" * 64 + "]" * 64 + "}", r"64 levels \(max_input_depth\)"),
            ('{"x": "\\ud800"}', "a lone surrogate"),
            (b"\xff", "no UTF-8"),
            ('{"status": "active"', "not JSON"),
            ("", "not JSON"),
        ],
    )
    def test_no_json(self, body: str | bytes, reason: str) -> None:
        """What is no JSON, or passes a limit, is refused with its place."""
        with pytest.raises(InvalidItemError, match=f"^read ListingData: line 1, column .*{reason}"):
            ListingData.from_json(body)

    def test_limits_are_settings(self) -> None:
        """A limit that is raised lets more in, and one that is lowered less."""
        body = json.dumps({"status": "active", "deep": nested(70)})
        with pytest.raises(InvalidItemError, match="max_input_depth"):
            ListingData.from_json(body)
        configure(max_input_depth=100)
        assert ListingData.from_json(body).model_extra == {"deep": nested(70)}
        configure(max_input_bytes=10)
        with pytest.raises(InvalidItemError, match="more than 10 bytes"):
            ListingData.from_json(body)

    def test_many_problems(self) -> None:
        """Of many problems the first ten are named, and the others are counted."""
        body = {"platforms": {f"p{number}" + "x" * 1000: {"views": CANARY} for number in range(500)}}
        with pytest.raises(InvalidItemError, match=r"and 490 more$") as caught:
            PerformanceMetricsData.from_json(json.dumps(body))
        assert (len(caught.value.fields), len(str(caught.value)) < 3000) == (10, True)

    @given(st.sampled_from(PAYLOADS), st.dictionaries(st.text(max_size=9), json_values, max_size=5), st.data())
    def test_any_body(self, kind: type[Payload], body: dict[str, Any], data: st.DataObject) -> None:
        """Any JSON object is a payload or an InvalidItemError, known fields with values of any kind among it."""
        known = [name for field, info in kind.model_fields.items() for name in (field, info.alias or field)]
        body |= data.draw(st.dictionaries(st.sampled_from(known), json_values, max_size=5))
        try:
            made = kind.from_json(json.dumps(body))
        except InvalidItemError:
            return
        assert type(made) is kind

    @given(st.sampled_from(PAYLOADS), st.binary(max_size=60) | st.text(max_size=60))
    def test_anything(self, kind: type[Payload], body: bytes | str) -> None:
        """Whatever a body holds, it is a payload or an InvalidItemError."""
        try:
            made = kind.from_json(body)
        except InvalidItemError:
            return
        assert type(made) is kind


# --- Values in writes ------------------------------------------------------------------------------------------------


def cyclic() -> dict[str, Any]:
    """Make a map that holds itself."""
    made: dict[str, Any] = {}
    made["a"] = made
    return made


ABSURD: dict[str, Callable[[], Any]] = {
    "a deep map": lambda: nested(100_000),
    "a map just too deep": lambda: nested(32),
    "a deep list": lambda: json.loads("[" * 900 + "]" * 900),
    "a map of itself": cyclic,
    "a number of a million digits": lambda: 10**1_000_000,
    "a decimal of many digits": lambda: Decimal("1" * 100_000),
    "a huge exponent": lambda: Decimal("1e999999999"),
    "not a number": lambda: Decimal("sNaN"),
    "a float": lambda: float("inf"),
    "a long text": lambda: CANARY * 1_000_000,
    "a long list": lambda: [CANARY] * 3_000_000,
    "a list of nothing": lambda: [None] * 409_601,
    "a list of one long list": lambda: [[0] * 1000] * 10_000,
    "a list of empty maps": lambda: [{}] * 102_400,
    "a large map": lambda: dict.fromkeys(map(str, range(500_000)), 0),
    "a large set": lambda: set(range(500_000)),
    "a long name": lambda: {"n" * 65_536: CANARY},
    "a long name of few characters": lambda: {"\U0001f600" * 16_384: CANARY},
    "an empty name": lambda: {"": CANARY},
    "a name with a lone surrogate": lambda: {"\ud800": CANARY},
    "a lone surrogate": lambda: CANARY + "\ud800",
    "an object": lambda: object(),
    "a function": lambda: nested,
}


def with_metadata(value: Any) -> SocialConnectionData:
    """Make a payload whose metadata holds a value."""
    return SocialConnectionData(metadata={"a": value})


def with_extra(value: Any) -> ListingData:
    """Make a payload with an unknown field."""
    return listing(extra=value)


def with_photo(value: Any) -> ListingData:
    """Make a payload with a photo that has an unknown field."""
    return listing(photos=[{"extra": value}])


def listing(**fields: Any) -> ListingData:
    """Make a payload with any fields."""
    return ListingData.model_validate({"status": "sold", **fields})


def named(payload: P, where: str, name: str) -> P:
    """Put a name into a map of a payload, past validation."""
    getattr(payload, where)[name] = PlatformMetrics()
    return payload


def in_transaction(verb: str, *args: Any, **kwargs: Any) -> None:
    """Do an operation in a transaction."""
    with mlssocial.transaction() as t:
        getattr(t, verb)(*args, **kwargs)


def update(*ids: str, **changes: Any) -> SocialConnection:
    """Update a connection, with any names of fields."""
    return SocialConnection.objects.update(*ids, **changes)


def increment(platform: str, **counters: Any) -> PerformanceMetrics:
    """Count, under any names."""
    return PerformanceMetrics.objects.increment("u1", "l1", DAY, platform, **counters)


WRITES: dict[str, Callable[[Any], Any]] = {
    "update": lambda value: update("u1", "facebook", metadata={"a": value}),
    "update a nested field": lambda value: update("u1", "facebook", metadata__a=value),
    "create": lambda value: SocialConnection.objects.create("u1", "twitter", with_metadata(value)),
    "create with an unknown field": lambda value: Listing.objects.create("u1", "l1", with_extra(value)),
    "create with an unknown nested field": lambda value: Listing.objects.create("u1", "l1", with_photo(value)),
    "save": lambda value: SocialConnection.objects.save("u1", "facebook", with_metadata(value)),
    "save an item": lambda value: SocialConnection(user_id="u1", platform="facebook", data=with_metadata(value)).save(),
    "save many": lambda value: SocialConnection.objects.save_many(
        [SocialConnection(user_id="u1", platform="facebook", data=with_metadata(value))]
    ),
    "create many": lambda value: SocialConnection.objects.create_many(
        [SocialConnection(user_id="u1", platform="twitter", data=with_metadata(value))]
    ),
    "transaction create": lambda value: in_transaction("create", SocialConnection, "u1", "twitter", with_metadata(value)),
    "transaction update": lambda value: in_transaction("update", SocialConnection, "u1", "facebook", metadata__a=value),
    "transaction check": lambda value: in_transaction("check", SocialConnection, "u1", "facebook", metadata__a=value),
}
FIELDS = ("price", "year_built", "list_date", "synced_at", "status", "features", "photos", "address", "mls_id")


@pytest.mark.usefixtures("nowhere")
class TestValues:
    @pytest.mark.parametrize("what", ABSURD)
    def test_no_item_holds_it(self, what: str) -> None:
        """Every kind of write refuses what no item can hold, at once, before it is sent, and without showing it."""
        value = ABSURD[what]()
        for name, write in WRITES.items():
            if what == "a long list" and name == "create with an unknown nested field":
                continue  # pydantic itself walks over what stands in a list of models
            started = time.process_time()
            with recorded() as calls, pytest.raises(MLSSocialError) as caught:
                write(value)
            assert calls == [], name
            assert isinstance(caught.value, InvalidItemError), name
            assert len(str(caught.value)) < 500, name
            assert CANARY not in str(caught.value), name
            assert time.process_time() - started < 2, name

    @pytest.mark.parametrize("what", ABSURD)
    def test_in_known_fields(self, what: str) -> None:
        """A known field refuses it as well, whatever the field's kind."""
        value = ABSURD[what]()
        for field in FIELDS:
            started = time.process_time()
            with recorded() as calls, pytest.raises(InvalidItemError) as caught:
                Listing.objects.update("u1", "l1", **{field: value})
            assert calls == [], field
            assert len(str(caught.value)) < 500, field
            assert CANARY not in str(caught.value), field
            assert time.process_time() - started < 2, field

    @pytest.mark.parametrize(
        "what", ["a number of a million digits", "a huge exponent", "not a number", "a float", "an object"]
    )
    def test_in_counters(self, what: str) -> None:
        """A counter, known or not, is a number that an item can hold."""
        for counter in ("views", "saves"):
            with recorded() as calls, pytest.raises(InvalidItemError):
                increment("facebook", **{counter: ABSURD[what]()})
            assert calls == []

    def test_as_large_as_an_item_is(self) -> None:
        """What an item can just hold is not refused: 32 levels, a name of 65,535 bytes, and 400,000 entries."""
        for metadata in (nested(30), {"n" * 65_535: 1}, {"many": [""] * 400_000}):
            content = SOCIAL_CONNECTION.encode("save", ("u1", "facebook"), SocialConnectionData(metadata=metadata))
            assert decode({"M": content.plain()})["metadata"] == metadata

    @pytest.mark.parametrize("number", [-1, -(10**5000), True, 1.5, "1", None, nested(9), CANARY * 99], ids=range(8))
    def test_numbers_of_a_query(self, number: Any) -> None:
        """A page's limit that is none is our error, and so is a number of pages to read ahead; a long one is not repeated."""
        query = Listing.objects.query("u1")
        for part, call in (("limit", lambda: query.page(number)), ("prefetch", lambda: query.iterator(prefetch=number))):
            with recorded() as calls, pytest.raises(InvalidKeyError, match=f"^{part}: .* is needed") as caught:
                call()
            assert (calls, len(str(caught.value)) < 120) == ([], True)


@pytest.mark.usefixtures("table")
def test_rows_of_a_rollup() -> None:
    """Days from outside cannot ask for millions of rows; a hundred years are fine."""
    with recorded() as calls, pytest.raises(InvalidKeyError, match="about 3,652,059 rows by day"):
        PerformanceMetrics.objects.rollup("u1", "l1", "0001-01-01", "9999-12-31")
    assert calls == []
    assert len(PerformanceMetrics.objects.rollup("u1", "l1", "1924-01-01", "2024-01-01")) == 36_526
    assert len(PerformanceMetrics.objects.rollup("u1", "l1", "1024-01-01", "2024-01-01", by="month")) == 12_001


# --- Names of fields -------------------------------------------------------------------------------------------------


SYNTAX = [
    "x[0]", "x[0].b", "a.b", "a", "#x", "#n0", "#n1", ":v", ":v0", "size", "size(a)", "name", "status", "Data", "PK", "SET",
    "REMOVE", "AND", "attribute_exists(PK)", "x = :v0", "a, b", " ", "  a", "-", "0", "'", '"', "`", "\\", "$ne", "*", "%",
    "\x00", "\n", "\u202e", "\ufeff", "é", "e\u0301", "日本", "\U0001f600", "NULL", "n" * 65_535, "\U0001f600" * 16_383,
]  # fmt: skip
"""Names that are syntax somewhere: in expressions, as placeholders, as reserved words; and the longest."""

BYSTANDERS = {"x": ["keep", "keep"], "a_": {"b": "keep"}, "b": "keep", "x[1]": "keep"}
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: "__" not in f"_{name}_" and name not in MLSConnectionData.model_fields
)


def stored_metadata() -> dict[str, Any]:
    """Give the metadata as it is stored."""
    raw = get_raw("USER#u1", "SOCIAL#FACEBOOK")
    assert raw is not None
    metadata: dict[str, Any] = raw["Data"]["M"]["metadata"]["M"]
    return metadata


def check_name(name: str) -> None:
    """Set, change, check and remove a field of this name in an open map, by every way there is, and look at what is stored."""
    whole = SocialConnectionData(metadata={**BYSTANDERS, name: "first"})
    SocialConnection.objects.save("u1", "facebook", whole)
    others = {key: value for key, value in stored_metadata().items() if key != name}
    assert stored_metadata()[name] == {"S": "first"}

    update("u1", "facebook", **{f"metadata__{name}": "second"})
    assert stored_metadata() == others | {name: {"S": "second"}}
    third: dict[str, Any] = {f"metadata__{name}": {name: "third"}}
    with mlssocial.transaction() as t:
        t.update(SocialConnection, "u1", "facebook", **third)
    with mlssocial.transaction() as t:
        t.check(SocialConnection, "u1", "facebook", **third)
        t.save(MLSConnection, "u1", "c1", MLSConnectionData.model_validate({name: {name: 1}}))
    assert stored_metadata() == others | {name: {"M": {name: {"S": "third"}}}}
    update("u1", "facebook", **{f"metadata__{name}__{name}": 4})
    assert stored_metadata() == others | {name: {"M": {name: {"N": "4"}}}}
    found = SocialConnection.objects.get("u1", "facebook").data.metadata
    assert found == {key: value for key, value in BYSTANDERS.items() if key != name} | {name: {name: 4}}
    update("u1", "facebook", remove=[f"metadata__{name}__{name}"])
    assert stored_metadata() == others | {name: {"M": {}}}
    update("u1", "facebook", remove=[f"metadata__{name}"])
    assert stored_metadata() == others
    update("u1", "facebook", **{f"metadata__{name}__{name}": 5})
    assert stored_metadata() == others | {name: {"M": {name: {"N": "5"}}}}
    assert MLSConnection.objects.get("u1", "c1").data.model_extra == {name: {name: 1}}


class TestNames:
    @pytest.mark.usefixtures("table")
    def test_syntax_stays_a_name(self) -> None:
        """A field whose name is syntax somewhere is that field and nothing else, and what it might have meant is left alone."""
        for name in SYNTAX:
            check_name(name)

    @pytest.mark.usefixtures("table")
    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(names)
    def test_any_name(self, name: str) -> None:
        """So is a field of any name."""
        check_name(name)

    @pytest.mark.usefixtures("table")
    @pytest.mark.parametrize("platform", ["a.b", "x[0]", ":v0", "size", "a__b"])
    def test_counters(self, platform: str) -> None:
        """A platform and a counter of any name are counted under it, the first time and again."""
        counters = ["views", "a.b", "x[0]", ":v0", "#n0", "a__b", "é", "n" * 65_535]
        for counter in counters:
            for total in (2, 4):
                day = increment(platform, **{counter: 2})
                assert day.data.platforms is not None
                assert day.data.platforms[platform].model_dump(exclude_unset=True)[counter] == total
        raw = get_raw("USER#u1", f"METRICS#l1#{DAY}") or {}
        counted = {counter: {"N": "4"} for counter in counters}
        assert raw["Data"]["M"]["platforms"] == {"M": {platform: {"M": counted}}}

    @pytest.mark.parametrize("name", ["", "\ud800", "n" * 65_536, "\U0001f600" * 16_384])
    @pytest.mark.usefixtures("nowhere")
    def test_no_name(self, name: str) -> None:
        """A name that no field can have is refused before anything is sent, wherever it stands."""
        day = PerformanceMetricsData(platforms={})
        for call in (
            lambda: update("u1", "facebook", metadata={name: 1}),
            lambda: update("u1", "facebook", **{f"metadata__{name}": 1}),
            lambda: update("u1", "facebook", **{f"metadata__{name}__a": 1}),
            lambda: update("u1", "facebook", remove=[f"metadata__{name}"]),
            lambda: SocialConnection.objects.save("u1", "facebook", named(SocialConnectionData(metadata={}), "metadata", name)),
            lambda: SocialConnection.objects.save("u1", "facebook", with_metadata({"b": {name: 1}})),
            lambda: PerformanceMetrics.objects.save("u1", "l1", DAY, named(day, "platforms", name)),
            lambda: Listing.objects.save("u1", "l1", named(ListingData(status="sold"), "__pydantic_extra__", name)),
            lambda: increment("facebook", **{name: 1}),
        ):
            with recorded() as calls, pytest.raises(InvalidItemError) as caught:
                call()
            assert (calls, len(str(caught.value)) < 400) == ([], True)

    @pytest.mark.usefixtures("nowhere")
    def test_names_that_no_request_holds(self) -> None:
        """Names that each may be, and that together are more than a request takes, are refused before they are sent."""
        many = [f"metadata__{number:02d}{'n' * 65_000}" for number in range(30)]
        with recorded() as calls, pytest.raises(InvalidItemError, match=r"names of its fields have 1,9\d\d,"):
            update("u1", "facebook", remove=many)
        assert calls == []


# --- Ids and cursors, by fuzz ----------------------------------------------------------------------------------------


PIECES = [
    "USER#", "LISTING#", "MLS#", "STATUS#", "METRICS#", "POST#", "SOCIAL#", "MLS_CONNECTION#", "OP#", "LISTED#", "MLS_SYNC#0",
    "#", "%23", "\uff03", "\ufe5f", "\u266f", "u1", "u2", "l1", "a", "A", "0", "9", "-", "_", ".", "/", "..", " ", "\u00a0",
    "\u200b", "\u202e", "\ufeff", "\x00", "\n", "\r", "\t", "\x1f", "\x7f", "\x85", "\ud800", "\udfff", "\uffff", "\U0010ffff",
    "\U0001f600", "\xdf", "SS", "\u0130", "i", "I", "\u0131", "\u212a", "k", "e\u0301", "\xe9", "\u1e9e", "2024-01-15",
    "2024-02-30", "0000-01-01", "9999-12-31", "active", "unpublish_pending", "facebook", "FACEBOOK", "null", "None", "true",
    "{}", "[]", '"', "'", "\\", "$", "*", "",
]  # fmt: skip
NO_TEXTS: list[Any] = [None, 7, -1.5, True, b"u1", [], ["u1"], {}, ("u1",), object(), Decimal(1), float("nan"), 10**5000]


class Fuzz:
    """Makes text out of pieces and out of what it has made before, so that much of it is nearly, and some of it just, alike."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  to be the same every time
        self.made = ["u1"]

    def text(self) -> Any:
        """Make an id, or what is none."""
        choice = self.random.random()
        if choice < 0.02:
            return self.random.choice(NO_TEXTS)
        if choice < 0.45:
            made = "".join(self.random.choices(PIECES, k=self.random.randint(1, 5)))
        elif choice < 0.9:
            made = self.altered(self.random.choice(self.made))
        elif choice < 0.99:
            made = "".join(chr(self.random.randrange(0x110000)) for _ in range(self.random.randint(1, 8)))
        else:
            made = self.random.choice(PIECES) * self.random.choice([200, 400, 1100, 3000, 50_000])
        if 0 < len(made) < 3000:
            self.made.append(made)
            del self.made[: max(0, len(self.made) - 500)]
        return made

    def altered(self, text: str) -> str:
        """Change a text in one place."""
        at, piece = self.random.randint(0, len(text)), self.random.choice(PIECES)
        return self.random.choice(
            [
                text[:at] + piece + text[at:],
                text[:at] + text[at + 1 :],
                text[:at] + piece + text[at + 1 :],
                text[:at],
                text + piece,
                text.swapcase(),
                text[at:] + text[:at],
            ]
        )


class Slowest:
    """Calls what is fuzzed; keeps how many calls there were, and how long the slowest took, in seconds."""

    def __init__(self) -> None:
        self.calls, self.seconds = 0, 0.0

    def __call__(self, refusal: type[MLSSocialError], call: Callable[..., T], *args: Any, **named: Any) -> T | None:
        """Call; None where it is refused. Nothing but *refusal* is raised, and that is short."""
        started = time.perf_counter()
        try:
            return call(*args, **named)
        except refusal as error:
            assert len(str(error)) < 600  # noqa: PT017  one of two outcomes
            return None
        finally:
            self.calls += 1
            self.seconds = max(self.seconds, time.perf_counter() - started)


# What a sort key begins with, by the entity. No part of a key holds "#", so it tells the parts apart: no two ids have one key.
KINDS = {
    "Listing": "LISTING",
    "MLSConnection": "MLS_CONNECTION",
    "SocialConnection": "SOCIAL",
    "SocialPost": "POST",
    "PerformanceMetrics": "METRICS",
    "Operation": "OP",
}
PREFIXES = {
    "LISTING": keys.LISTINGS,
    "MLS_CONNECTION": keys.MLS_CONNECTIONS,
    "SOCIAL": keys.SOCIAL_CONNECTIONS,
    "POST": keys.SOCIAL_POSTS,
}


def check_key(entity: Entity[Any], ids: tuple[Any, ...], asked: Slowest) -> tuple[str, str] | None:
    """Make a key of ids; if there is one, it has these ids in it and nothing else, and they come back."""
    key = asked(InvalidKeyError, entity.keys, ids)
    if key is None:
        return None
    user, *others = ids
    parts = [one.upper() for one in others] if entity.name == "SocialConnection" else others
    assert (key[0].split("#"), key[1].split("#")) == (["USER", user], [KINDS[entity.name], *parts])
    assert len(key[0].encode()) <= keys.MAX_PARTITION_KEY_BYTES
    assert len(key[1].encode()) <= keys.MAX_SORT_KEY_BYTES
    back = asked(InvalidKeyError, entity.ids, key)
    assert back is not None
    assert [str(one) for one in back] == [user, *[one.lower() if entity.name == "SocialConnection" else one for one in others]]
    return key


def check_indexes(user: Any, one: Any, other: Any, number: Any, day: Any, asked: Slowest) -> None:
    """Make the keys of indexes; each has its ids in it and nothing else."""
    made = asked(InvalidKeyError, keys.listing_keys, user, one, other, number, "active", day)
    if made is not None:
        there = other is not None and number is not None
        assert (made.gsi1pk, made.gsi1sk) == ((f"MLS#{other}#{number}", "STATUS#active") if there else (None, None))
        assert not there or str(made.gsi1pk).split("#") == ["MLS", other, number]
        assert str(made.gsi2pk).split("#") == ["USER", user, "STATUS", "active"]
        assert str(made.gsi2sk).split("#") == ["LISTED", day or "", one]
    post = asked(InvalidKeyError, keys.social_post_keys, user, one, other, keys.UNPUBLISH_PENDING, 5)
    if post is not None:
        assert other is None or str(post.gsi1pk).split("#") == ["LISTING", other]
        assert (post.gsi1sk, post.gsi1pk is None) == ((None, True) if other is None else (f"POST#{one}", False))
        assert str(post.gsi2sk).split("#") == ["0000000000005", user, one]
        assert [post.gsi2pk] == keys.unpublish_partitions(user)


def check_ranges(key: tuple[str, str], kind: str, user: Any, one: Any, asked: Slowest) -> None:
    """A range of another user, another entity or another listing does not hold a key."""
    partition = asked(InvalidKeyError, keys.user_partition, user)
    assert (key[0] == partition) == (key[0].split("#") == ["USER", user])
    assert [name for name, prefix in PREFIXES.items() if key[1].startswith(prefix)] == [
        name for name in PREFIXES if name == kind
    ]
    prefix = asked(InvalidKeyError, keys.metrics_prefix, one)
    ends = asked(InvalidKeyError, keys.metrics_range, one, None, None)
    if prefix is not None and ends is not None:
        own = kind == "METRICS" and key[1].split("#")[1] == one
        assert (key[1].startswith(prefix), ends[0] <= key[1] <= ends[1]) == (own, own)


class TestIds:
    def test_fuzz(self, soak: bool, tally: Tally) -> None:
        """No two ids give one key, none reaches another's range, and what is no id is an InvalidKeyError, within a second."""
        fuzz, asked, tried, made = Fuzz(4711), Slowest(), 0, 0
        while tried < (600_000 if soak else 5_000):
            user, one, other, number = (fuzz.text() for _ in range(4))
            day = fuzz.text() if fuzz.random.random() < 0.3 else DAY
            tried += 5
            for entity in (*ENTITIES.values(), OPERATION):
                ids = (user, one, day) if entity.name == "PerformanceMetrics" else (user, one)
                key = check_key(entity, ids, asked)
                if key is not None:
                    made += 1
                    check_ranges(key, KINDS[entity.name], other, number, asked)
            check_indexes(user, one, other, number, day, asked)
        assert made > tried / 10
        tally(ids=tried, keys=made, **{"microseconds in the slowest of them": round(asked.seconds * 1e6)})
        assert asked.seconds < 1


def queries() -> list[Results[Any]]:
    """Give queries of every kind, of two users and of everyone."""
    made: list[Results[Any]] = []
    for user in ("u1", "u2"):
        made += [
            Item.objects.query(user),
            Listing.objects.query(user),
            Listing.objects.query(user, reverse=True),
            Listing.objects.query_by_status(user, "active"),
            Listing.objects.query_by_status(user, "active", consistent=True),
            Listing.objects.query_by_mls_number("p", "n", user_id=user),
            SocialPost.objects.query_by_listing("l1", user_id=user),
            SocialPost.objects.pending_unpublish(user_id=user),
            MLSConnection.objects.due_for_sync(user_id=user),
            PerformanceMetrics.objects.query(user, "l1", since=DAY),
        ]
    return [
        *made,
        Listing.objects.query_by_mls_number("p", "n", user_id=ALL_USERS),
        SocialConnection.objects.expiring(datetime(2100, 1, 1, tzinfo=UTC), user_id=ALL_USERS),
    ]


class Cursors:
    """Makes cursors of queries, which are known by their numbers, and what nearly is one."""

    def __init__(self, plans: list[Plan], seed: int) -> None:
        self.plans = plans
        self.fuzz = Fuzz(seed)
        self.random = self.fuzz.random
        self.issued = [[self.valid(plan) for _ in range(20)] for plan in plans]

    def valid(self, plan: Plan) -> str:
        """Make a cursor that a page of this query could have given."""
        one, partition = f"l{self.random.randrange(10**6)}", self.random.choice(plan.partitions)
        sort = plan.between[0] if plan.between else (plan.prefix or "LISTING#") + one
        if plan.index is None:
            return Cursor(partition, sort, partition, sort).encode(plan)
        return Cursor(plan.tenant or "USER#u1", f"LISTING#{one}", partition, sort).encode(plan)

    def text(self, number: int) -> Any:
        """Make a cursor for a query, or what is none."""
        choice, mine = self.random.random(), self.random.choice(self.issued[number])
        if choice < 0.05:
            return mine
        if choice < 0.2:
            return self.random.choice(self.random.choice(self.issued))
        if choice < 0.6:
            return self.altered(mine)
        return self.fuzz.text() if choice < 0.7 else self.forged(self.plans[number])

    def altered(self, text: str) -> str:
        """Change a cursor, in one place or as a whole."""
        at, by = self.random.randrange(len(text)), self.random.choice("ABCxyz019-_=+/ \n\xe9\uff21\x00\ud800")
        other = self.random.choice(self.random.choice(self.issued))
        return self.random.choice(
            [
                text[:at] + by + text[at + 1 :],
                text[:at] + by + text[at:],
                text[:at],
                text[at + 1 :],
                text[:at] + other[at:],
                text + other,
                text + "=",
                f" {text}",
                text.swapcase(),
                text[::-1],
                text * self.random.choice([2, 100, 5000]),
                base64.b64encode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))).decode(),
            ]
        )

    def forged(self, plan: Plan) -> str:
        """Write a cursor with the right checksum, as whoever has read this program can, over content of any kind."""
        inside = [plan.tenant or "USER#u1", *plan.partitions, plan.prefix or "LISTING#l1", *(plan.between or ())]
        count = self.random.choice([2, 2, 4, 4, 4, 3, 0])
        parts = [self.random.choice([*inside, "USER#u2", f"{inside[0]}1", self.fuzz.text()]) for _ in range(count)]
        parts = [part if isinstance(part, str) else [7] for part in parts]
        content = json.dumps(parts, ensure_ascii=self.random.random() < 0.5).encode("utf-8", "surrogatepass")
        if self.random.random() < 0.1:
            content = self.random.choice([b"[" * 3000, b"1" * 5000, b"null", b"{}", b"\xff", b"[1,2]", b'["a",[]]', b""])
        return base64.urlsafe_b64encode(_checksum(plan, content) + content).decode().rstrip("=")


def check_position(plan: Plan, cursor: Cursor) -> None:
    """Check that a position lies in the query's own partitions, range and tenant, and that DynamoDB takes it."""
    assert cursor.partition in plan.partitions
    assert plan.tenant is None or cursor.pk == plan.tenant
    assert plan.index is not None or (cursor.pk, cursor.sk) == (cursor.partition, cursor.sort)
    assert cursor.sort.startswith(plan.prefix or "")
    assert plan.between is None or plan.between[0] <= cursor.sort <= plan.between[1]
    assert all(0 < len(part.encode()) <= keys.MAX_SORT_KEY_BYTES for part in (cursor.sk, cursor.sort))
    assert 0 < len(cursor.pk.encode()) <= keys.MAX_PARTITION_KEY_BYTES


class TestCursors:
    def test_fuzz(self, soak: bool, tally: Tally) -> None:
        """A cursor is a position in its own query, or an InvalidCursorError, within a second, whatever it is."""
        plans = [query._plan for query in queries()]
        made, asked, accepted = Cursors(plans, 4711), Slowest(), 0
        for _ in range(400_000 if soak else 5_000):
            number = made.random.randrange(len(plans))
            text = made.text(number)
            cursor = asked(InvalidCursorError, Cursor.decode, plans[number], text)
            if cursor is None:
                assert text not in made.issued[number]
            else:
                accepted += 1
                check_position(plans[number], cursor)
        assert accepted > asked.calls / 50
        tally(cursors=asked.calls, positions=accepted, **{"microseconds in the slowest cursor": round(asked.seconds * 1e6)})
        assert asked.seconds < 1

    def test_altered_ones(self) -> None:
        """A cursor that was changed in any way is never a position, not even another one of its query."""
        plans = [query._plan for query in queries()]
        made = Cursors(plans, 815)
        for _ in range(5_000):
            number = made.random.randrange(len(plans))
            text = made.altered(made.random.choice(made.issued[number]))
            if text not in made.issued[number]:
                with pytest.raises(InvalidCursorError):
                    Cursor.decode(plans[number], text)

    @pytest.mark.usefixtures("table")
    def test_pages(self, soak: bool, tally: Tally) -> None:
        """A page under any cursor shows its query's own items, or is an InvalidCursorError: no other error of DynamoDB's."""
        for user in ("u1", "u2"):
            fill(user)
        asked_for = queries()
        made, asked = Cursors([query._plan for query in asked_for], 42), Slowest()
        for _ in range(5_000 if soak else 300):
            number = made.random.randrange(len(asked_for))
            plan = made.plans[number]
            page = asked(InvalidCursorError, asked_for[number].page, 3, made.text(number))
            if page is not None and (plan.tenant or not plan.index):
                assert {item.pk for item in page} <= {plan.tenant or plan.partitions[0]}
        tally(**{"pages under cursors": asked.calls})


def fill(user: str) -> None:
    """Give a user some of everything."""
    for number in range(4):
        Listing.objects.save(user, f"l{number}", ListingData(status="active", mls_provider="p", mls_number="n", list_date=DAY))
        post = SocialPostData(listing_id="l1", status="unpublish_pending", unpublish_requested_at=number)
        SocialPost.objects.save(user, f"p{number}", post)
        MLSConnection.objects.save(user, f"c{number}", MLSConnectionData())
        PerformanceMetrics.objects.save(user, "l1", f"2024-01-{15 + number}", PerformanceMetricsData(views=1))
    SocialConnection.objects.save(user, "facebook", SocialConnectionData(expires_at=5))
