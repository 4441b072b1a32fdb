"""Payloads: what they take, what they refuse, what they never show."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

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
)
from mlssocial.codec import wire_name
from mlssocial.entities import check_number, parse_number

CANARY = "s3cr3t-canary"


def _digits(number: Decimal) -> int:
    return len("".join(map(str, number.as_tuple().digits)).strip("0"))


numbers = st.decimals(allow_nan=False, allow_infinity=False).filter(lambda number: _digits(number) <= 38)


class TestNames:
    WIRE: ClassVar[dict[Any, str]] = {
        ListingData: (
            "mlsId mlsNumber mlsProvider status price bedrooms bathrooms squareFeet propertyType listDate description address "
            "photos features syncedAt lotSize yearBuilt standardStatus mlsStatus modificationTimestamp statusChangeTimestamp "
            "photosChangeTimestamp originatingSystemName listAgentKey listOfficeKey listOfficeName mlsConnectionId "
            "internetEntireListingDisplayYN internetAddressDisplayYN"
        ),
        Address: "street city state zip zipCode country",
        Photo: "url caption order",
        MLSConnectionData: ("id userId provider agentId brokerageId accessToken refreshToken expiresAt createdAt lastSyncedAt"),
        SocialConnectionData: (
            "id userId platform accessToken refreshToken expiresAt scope platformUserId platformUsername metadata createdAt "
            "updatedAt"
        ),
        SocialPostData: (
            "postId listingId platform platformPostId platformPostUrl content images hashtags status unpublishRequestedAt "
            "publishedAt error createdAt updatedAt"
        ),
        PerformanceMetricsData: "listingId date views shares inquiries platforms updatedAt",
        PlatformMetrics: "views shares inquiries clicks engagement",
    }

    @pytest.mark.parametrize("payload", WIRE, ids=lambda p: p.__name__)
    def test_wire_names(self, payload: Any) -> None:
        """Every field of the contract is there under its wire name, and no other."""
        assert {wire_name(payload, name) for name in payload.model_fields} == set(self.WIRE[payload].split())

    def test_both_names_are_taken(self) -> None:
        """A payload is made with Python's names or with the wire's."""
        assert ListingData(status="sold", list_date="2024-01-15") == ListingData.model_validate(
            {"status": "sold", "listDate": "2024-01-15"}
        )

    def test_unknown_fields_are_kept(self) -> None:
        """A field that no model knows is kept, at the top and inside."""
        data = ListingData.model_validate({"status": "active", "virtualTour": {"x": 1}, "address": {"county": "Washoe"}})
        assert data.model_extra == {"virtualTour": {"x": 1}}
        assert data.address is not None
        assert data.address.model_extra == {"county": "Washoe"}

    def test_only_the_status_is_needed(self) -> None:
        """Every field but a listing's status may be missing."""
        for payload in (MLSConnectionData, SocialConnectionData, SocialPostData, PerformanceMetricsData, Address, Photo):
            assert payload().model_fields_set == set()
        with pytest.raises(ValidationError, match="status"):
            ListingData()  # type: ignore[call-arg]


class TestNumbers:
    @given(numbers)
    def test_decimals_are_exact(self, number: Decimal) -> None:
        """A number of up to 38 digits in DynamoDB's range is taken exactly, from a Decimal or its text; others are refused."""
        fits = not number or -130 <= number.adjusted() <= 125
        if fits:
            assert ListingData(status="sold", price=number).price == number
            assert parse_number(str(number)) == number
        else:
            with pytest.raises(ValueError, match="outside"):
                check_number(number)

    @pytest.mark.parametrize(
        "text",
        ["1E+1000000", "1E-1000000", "9" * 39, "1." + "1" * 38, "9" * 100_000, "", " 1", "1_000", "0x10", "NaN", "٣", "1E126"],
    )
    def test_what_is_no_number(self, text: str) -> None:
        """Text that is no number, or none that DynamoDB keeps, is refused before it is converted, and fast."""
        with pytest.raises(ValidationError, match="price"):
            ListingData(status="sold", price=text)

    @pytest.mark.parametrize(
        "bad", [1.5, float("nan"), True, Decimal("NaN"), Decimal("Infinity"), 10**2000, [1], None.__class__]
    )
    def test_what_is_not_exact(self, bad: Any) -> None:
        """Binary floats, booleans and what is not finite are refused."""
        with pytest.raises(ValidationError, match="price"):
            ListingData(status="sold", price=bad)

    def test_zeros_cost_no_digits(self) -> None:
        """Zeros before and behind do not count as digits."""
        assert ListingData(status="sold", price="0001.0" + "0" * 60).price == 1
        assert ListingData(status="sold", price=10**100).price == 10**100

    def test_counts_are_whole(self) -> None:
        """A count takes whole numbers in any form and nothing between."""
        for whole in (3, "3", "3.0", Decimal("3E0")):
            assert PerformanceMetricsData(views=whole).views == 3
        with pytest.raises(ValidationError, match="whole"):
            PerformanceMetricsData(views="2.5")


class TestTimes:
    @given(st.datetimes(timezones=st.timezones()))
    def test_cut_to_the_millisecond(self, moment: datetime) -> None:
        """An aware datetime becomes UTC, cut to the millisecond that the table holds."""
        try:
            utc = moment.astimezone(UTC)
        except OverflowError:
            with pytest.raises(ValidationError, match="outside of the years 1 to 9999"):
                SocialPostData(published_at=moment)
            return
        held = SocialPostData(published_at=moment).published_at
        assert held is not None
        assert held.tzinfo is UTC
        assert timedelta(0) <= utc - held < timedelta(milliseconds=1)

    @pytest.mark.parametrize("past", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00"])
    def test_past_the_calendar(self, past: str) -> None:
        """A time that its zone takes past the calendar is refused as any other value is."""
        with pytest.raises(ValidationError, match="outside of the years 1 to 9999"):
            SocialPostData(published_at=past)

    @pytest.mark.parametrize(
        "given_as", [1705363200000, Decimal(1705363200000), "2024-01-16T00:00:00Z", "2024-01-16T03:00:00+03:00"]
    )
    def test_forms(self, given_as: Any) -> None:
        """Epoch milliseconds and ISO 8601 with a zone are taken."""
        assert SocialPostData(published_at=given_as).published_at == datetime(2024, 1, 16, tzinfo=UTC)

    @pytest.mark.parametrize("bad", [datetime(2024, 1, 1), "2024-01-01T00:00:00", 1.5, True, 10**18, "soon", date(2024, 1, 1)])
    def test_what_is_no_moment(self, bad: Any) -> None:
        """A moment without zone, a float, a date and what no calendar holds are refused."""
        with pytest.raises(ValidationError, match="published_at"):
            SocialPostData(published_at=bad)

    def test_days(self) -> None:
        """A day is a date or YYYY-MM-DD; an empty text is kept as the third state it is."""
        assert ListingData(status="sold", list_date="2024-01-15").list_date == date(2024, 1, 15)
        assert ListingData(status="sold", list_date="").list_date == ""
        for bad in (
            "15.01.2024",
            "2024-01-15T00:00:00",
            datetime(2024, 1, 15, tzinfo=UTC),
            20240115,
            1705276800,
            b"2024-01-15",
        ):
            with pytest.raises(ValidationError, match="list_date"):
                ListingData(status="sold", list_date=bad)


class TestEnums:
    def test_statuses(self) -> None:
        """The four statuses, the five of posts; no others."""
        assert [s.value for s in ListingStatus] == ["active", "pending", "sold", "expired"]
        assert [s.value for s in PostStatus] == [
            "published", "failed", "unpublished", "unpublish_pending", "unpublish_failed",
        ]  # fmt: skip
        with pytest.raises(ValidationError, match="status"):
            ListingData(status="withdrawn")

    def test_unknown_platforms_are_kept(self) -> None:
        """A platform that is known becomes a member, another stays the text it was."""
        assert SocialPostData(platform="facebook").platform is Platform.FACEBOOK
        assert SocialPostData(platform="TikTok").platform == "TikTok"
        assert Platform.named("hubspot") is Platform.HUBSPOT
        assert Platform.named("x") == "x"


class TestAssignments:
    def test_are_validated(self) -> None:
        """A field that is set later is checked as if it had been given at first."""
        data = ListingData(status="active")
        data.price = "7.50"  # type: ignore[assignment]
        assert data.price == Decimal("7.50")
        with pytest.raises(ValidationError, match="price"):
            data.price = 7.5  # type: ignore[assignment]


class TestTokens:
    CONNECTION = MLSConnectionData(access_token=CANARY, refresh_token="")

    def test_only_reveal_gives_it(self) -> None:
        """A token is given by reveal() and by nothing else that shows, formats, lists or dumps."""
        token = self.CONNECTION.access_token
        assert token is not None
        assert token.reveal() == CANARY
        shown: list[Callable[[Any], str]] = [
            repr,
            str,
            lambda x: f"{x}",
            lambda x: f"{x!r:>30}",
            lambda x: str(dir(x)),
            lambda x: "%s" % [x],
        ]
        for show in shown:
            assert CANARY not in show(token)
            assert CANARY not in show(self.CONNECTION)
        assert CANARY not in str(self.CONNECTION.model_dump())
        assert CANARY not in self.CONNECTION.model_dump_json()
        assert not hasattr(token, "__dict__")

    def test_does_not_pickle(self) -> None:
        """A token, and what holds one, does not pickle."""
        for holder in (self.CONNECTION.access_token, self.CONNECTION):
            with pytest.raises(TypeError, match="reveal"):
                pickle.dumps(holder)

    def test_copies_are_the_token(self) -> None:
        """A deep copy of a payload keeps its tokens."""
        assert self.CONNECTION.model_copy(deep=True) == self.CONNECTION

    def test_equality(self) -> None:
        """Tokens are equal by value, and equal to nothing that is no token."""
        assert Token("a") == Token("a")
        assert Token("a") != Token("b")
        assert Token("a") != "a"
        assert Token("é\ud800") == Token("é\ud800")
        with pytest.raises(TypeError):
            hash(Token("a"))

    def test_an_empty_one_is_false(self) -> None:
        """An empty refresh token, as the other application stores it, is there and false."""
        token = self.CONNECTION.refresh_token
        assert token is not None
        assert not token
        assert Token("x")

    @pytest.mark.parametrize("bad", [[CANARY], {"t": CANARY}, CANARY.encode(), 7, "**********"])
    def test_errors_do_not_show_it(self, bad: Any) -> None:
        """What is refused as a token is shown in no form of the error; the mask of a dump is refused too."""
        with pytest.raises(ValidationError, match="access_token") as caught:
            MLSConnectionData(access_token=bad)
        for text in (str(caught.value), repr(caught.value), str(caught.value.errors()), caught.value.json()):
            assert CANARY not in text

    def test_not_of_anything_else(self) -> None:
        """A token is made of text, and not of the mask."""
        with pytest.raises(TypeError, match="int"):
            Token(7)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="mask"):
            Token("*" * 10)

    def test_repr_of_open_maps(self) -> None:
        """Metadata and unknown fields of a connection, where page tokens are kept, are not shown."""
        data = SocialConnectionData.model_validate({"metadata": {"pageToken": CANARY}, "idToken": CANARY})
        assert CANARY not in repr(data)
        assert data.metadata == {"pageToken": CANARY}

    def test_schema(self) -> None:
        """The JSON schema of what is read and of what is written has no tokens, and all other fields."""
        for mode in ("validation", "serialization"):
            schema = MLSConnectionData.model_json_schema(mode=mode)
            fields = {field.alias for name, field in MLSConnectionData.model_fields.items() if not name.endswith("_token")}
            assert schema["properties"].keys() == fields
            assert "oken" not in str(schema)
