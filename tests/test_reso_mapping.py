"""One record of a feed becomes a ListingData, or says why not."""

from __future__ import annotations

import json
import pickle
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlssocial import InvalidKeyError, ListingData, ListingStatus
from mlssocial.codec import dump
from mlssocial.reso import FeedError, InvalidRecordError, SkippedRecordError, map_listing, read_records

from .conftest import SHARED

SPARK = SHARED / "data" / "spark_api"
MINIMAL: dict[str, Any] = {"ListingKey": "K1", "StandardStatus": "Active"}


def mapped(**fields: Any) -> ListingData:
    """Map a record that has those fields beside a key and a status."""
    return map_listing({**MINIMAL, **fields}, provider="flexmls")


def refused(**fields: Any) -> str:
    """Give the field that a record is refused for."""
    with pytest.raises(InvalidRecordError) as caught:
        mapped(**fields)
    return caught.value.field


class TestStatus:
    """StandardStatus, and MlsStatus where that is all there is."""

    @pytest.mark.parametrize(
        ("standard", "ours"),
        [
            ("Active", ListingStatus.ACTIVE),
            ("Active Under Contract", ListingStatus.PENDING),
            ("ActiveUnderContract", ListingStatus.PENDING),
            ("Pending", ListingStatus.PENDING),
            ("Closed", ListingStatus.SOLD),
            ("Expired", ListingStatus.EXPIRED),
            ("Withdrawn", ListingStatus.EXPIRED),
            ("Canceled", ListingStatus.EXPIRED),
        ],
    )
    @pytest.mark.parametrize("spelled", [str, str.upper, str.lower, lambda status: f"  {status} "])
    def test_the_seven(self, standard: str, ours: ListingStatus, spelled: Any) -> None:
        """Seven of RESO's statuses become one of ours, in any case and with or without blanks, and are kept as they came."""
        data = mapped(StandardStatus=spelled(standard), MlsStatus="Whatever")
        assert (ours, spelled(standard), "Whatever") == (data.status, data.standard_status, data.mls_status)

    @pytest.mark.parametrize("status", ["Coming Soon", "ComingSoon", "Hold", "Incomplete", "Delete"])
    @pytest.mark.parametrize("field", ["StandardStatus", "MlsStatus"])
    def test_the_placeless(self, status: str, field: str) -> None:
        """What has no place among the four is skipped with a reason, whatever default there is."""
        with pytest.raises(SkippedRecordError, match=f"{field} {status[:6]}"):
            map_listing({"ListingKey": "K1", field: status}, provider="p", default_status="active")

    @given(st.text())
    def test_nothing_unknown_becomes_active(self, status: str) -> None:
        """No text becomes active but the word itself."""
        try:
            data = map_listing({"ListingKey": "K1", "StandardStatus": status}, provider="p")
        except FeedError:
            return
        assert (data.status is ListingStatus.ACTIVE) == ("".join(status.split()).casefold() == "active")

    def test_mls_status_stands_in(self) -> None:
        """Without a StandardStatus, an MlsStatus that is spelled like one decides."""
        data = map_listing({"ListingKey": "K1", "StandardStatus": "", "MlsStatus": "Pending"}, provider="p")
        assert data.status is ListingStatus.PENDING

    def test_standard_status_decides(self) -> None:
        """Where the two differ, StandardStatus decides, and an unknown one is not overruled."""
        assert ListingStatus.SOLD is mapped(StandardStatus="Closed", MlsStatus="Active").status
        with pytest.raises(SkippedRecordError, match="'Contingent' is none of"):
            mapped(StandardStatus="Contingent", MlsStatus="Active")

    @pytest.mark.parametrize("fields", [{}, {"StandardStatus": None}, {"StandardStatus": " ", "MlsStatus": "********"}])
    def test_none_at_all(self, fields: dict[str, Any]) -> None:
        """A record without a status is skipped, unless the caller names the one that such a feed means."""
        with pytest.raises(SkippedRecordError, match="default_status"):
            map_listing({"ListingKey": "K1", **fields}, provider="p")
        data = map_listing({"ListingKey": "K1", **fields}, provider="p", default_status="active")
        assert data.status is ListingStatus.ACTIVE
        assert not data.standard_status

    @pytest.mark.parametrize("value", [False, "false", "N", "0"])
    def test_removal(self, value: Any) -> None:
        """MlgCanView=false asks for removal, and is no listing."""
        with pytest.raises(SkippedRecordError, match="MlgCanView"):
            mapped(MlgCanView=value)


class TestKeys:
    """What a listing is known by."""

    def test_identity(self) -> None:
        """ListingKey, ListingId and the feed's name are kept as they came."""
        data = mapped(ListingKey="20060725224713296297000000", ListingId="06-9395", OriginatingSystemName="North")
        assert (
            data.mls_id,
            data.mls_number,
            data.mls_provider,
            data.originating_system_name,
        ) == ("20060725224713296297000000", "06-9395", "flexmls", "North")

    @pytest.mark.parametrize("key", [None, "", "  ", "********"])
    def test_no_key(self, key: str | None) -> None:
        """A record without a key is skipped."""
        with pytest.raises(SkippedRecordError, match="no ListingKey"):
            mapped(ListingKey=key)

    @pytest.mark.parametrize("number", ["06#9395", "\x00", "a\nb"])
    def test_a_number_that_fits_no_key(self, number: str) -> None:
        """An MLS number that cannot go into a key rejects the record."""
        assert refused(ListingId=number) == "ListingId"

    def test_a_provider_that_fits_no_key(self) -> None:
        """A provider that cannot go into a key is the caller's error."""
        with pytest.raises(InvalidKeyError, match="mls_provider"):
            map_listing(MINIMAL, provider="flex#mls")

    def test_a_key_that_is_a_number(self) -> None:
        """A key that a server sends as a number is its digits."""
        assert mapped(ListingKey=20060725224713296297000000).mls_id == "20060725224713296297000000"


class TestNumbers:
    """Money and measures are exact, and checked before they are converted."""

    @pytest.mark.parametrize(
        ("ours", "field"),
        [
            ("price", "ListPrice"),
            ("bedrooms", "BedroomsTotal"),
            ("bedrooms", "BedsTotal"),
            ("bathrooms", "BathsTotal"),
            ("bathrooms", "BathroomsTotalInteger"),
            ("square_feet", "LivingArea"),
            ("square_feet", "BuildingAreaTotal"),
            ("lot_size", "LotSizeAcres"),
        ],
    )
    @pytest.mark.parametrize("value", ["50000.25", " 50000.25", "5000025E-2", Decimal("50000.25")])
    def test_forms(self, ours: str, field: str, value: Any) -> None:
        """A number may be text, with blanks around it, or a Decimal."""
        assert Decimal("50000.25") == getattr(mapped(**{field: value}), ours)

    @pytest.mark.parametrize(
        "value", ["1E+1000000", "9" * 5000, "NaN", "Infinity", "$5", "1,000", "0x1", "\u0661", True, 1.5, [], {}]
    )
    @pytest.mark.parametrize("field", ["ListPrice", "BedroomsTotal", "BathsTotal", "LivingArea", "LotSizeAcres", "YearBuilt"])
    def test_no_number(self, field: str, value: Any) -> None:
        """What is no number that DynamoDB can hold rejects the record, and the field is named."""
        assert field == refused(**{field: value})

    def test_a_number_of_thousands_of_digits(self) -> None:
        """A huge int is refused as a huge text is, where a number is needed and where text is."""
        assert refused(PublicRemarks=10**5000) == "PublicRemarks"
        assert refused(ListPrice=10**5000) == "ListPrice"

    @given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=0, max_value=10**12))
    def test_exact(self, price: Decimal) -> None:
        """No price is rounded, in whatever form it comes."""
        assert price == mapped(ListPrice=f" {price}").price == mapped(ListPrice=price).price

    @given(st.text(alphabet="0123456789.eE+- ", max_size=30) | st.text(max_size=10))
    def test_any_text(self, value: str) -> None:
        """Any text is a number, nothing, or a rejected record; nothing else comes of it."""
        try:
            price = mapped(ListPrice=value).price
        except InvalidRecordError:
            return
        assert (price is None) == (not value.strip())

    def test_whole(self) -> None:
        """A year is a whole number, though it may be written as a decimal."""
        assert mapped(YearBuilt="1977.0").year_built == 1977
        assert refused(YearBuilt="1977.5") == "YearBuilt"


class TestBathrooms:
    """RESO counts halves as one, Spark does not."""

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"BathsTotal": "4.5", "BathroomsTotalInteger": 5}, "4.5"),
            ({"BathroomsTotalInteger": 3}, "3"),
            ({"BathroomsTotalInteger": 3, "BathroomsFull": 2, "BathroomsHalf": 1}, "2.5"),
            ({"BathroomsTotalInteger": 2, "BathroomsFull": 1, "BathroomsThreeQuarter": 1, "BathroomsHalf": 0}, "1.75"),
            ({"BathroomsTotalInteger": 3, "BathroomsFull": 2, "BathroomsHalf": None}, "3"),
            ({"BathroomsTotalInteger": 2, "BathroomsFull": 2}, "2"),
        ],
    )
    def test_fractions(self, fields: dict[str, Any], expected: str) -> None:
        """A fraction comes of Spark's total, or of the parts where they add up to RESO's."""
        assert Decimal(expected) == mapped(**fields).bathrooms

    def test_null(self) -> None:
        """Land has none."""
        assert mapped(BathroomsTotalInteger=None, BedroomsTotal=None).bathrooms is None


class TestAreas:
    """Square feet and acres."""

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"LivingArea": "924.0"}, "924"),
            ({"LivingArea": "924.123", "LivingAreaUnits": "Square Feet"}, "924.123"),
            ({"LivingArea": "100", "LivingAreaUnits": "Square Meters"}, "1076.39"),
            ({"LivingArea": "100", "LivingAreaUnits": "SquareMeters"}, "1076.39"),
            ({"LivingArea": "9.290304", "LivingAreaUnits": "square metres"}, "100"),
            ({"LivingArea": None, "BuildingAreaTotal": "924.0"}, "924"),
            ({"BuildingAreaTotal": "100", "BuildingAreaUnits": "Square Meters"}, "1076.39"),
        ],
    )
    def test_square_feet(self, fields: dict[str, Any], expected: str) -> None:
        """A living area is in square feet, metres converted exactly and rounded to two places."""
        assert Decimal(expected) == mapped(**fields).square_feet

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"LotSizeAcres": "0.25", "LotSizeArea": "10890", "LotSizeUnits": "Square Feet"}, "0.25"),
            ({"LotSizeArea": "10890", "LotSizeUnits": "Square Feet"}, "0.25"),
            ({"LotSizeArea": "1", "LotSizeUnits": "Hectares"}, "2.4711"),
            ({"LotSizeArea": "0.3", "LotSizeUnits": "Acres"}, "0.3"),
            ({"LotSizeSquareFeet": "43560"}, "1"),
        ],
    )
    def test_lot_size(self, fields: dict[str, Any], expected: str) -> None:
        """A lot is in acres."""
        assert Decimal(expected) == mapped(**fields).lot_size

    def test_a_lot_of_nobody_knows_what(self) -> None:
        """A lot's size without a unit is left out, since nobody can tell acres from square feet."""
        assert "lot_size" not in mapped(LotSizeArea="8712").model_fields_set

    def test_an_unknown_unit(self) -> None:
        """A unit that is not known rejects the record: the number means nothing."""
        assert refused(LivingArea="5", LivingAreaUnits="Tatami") == "LivingAreaUnits"

    def test_the_largest_number(self) -> None:
        """A number that is too large once converted rejects the record."""
        assert refused(LivingArea="9.87654321E+120", LivingAreaUnits="Square Meters") == "LivingArea"


class TestAddress:
    """One field of RESO's, or its parts."""

    PARTS: dict[str, Any] = {  # noqa: RUF012  it is read only
        "StreetNumber": "12",
        "StreetDirPrefix": "N",
        "StreetName": "Main",
        "StreetSuffix": "St",
        "StreetDirSuffix": None,
        "UnitNumber": "4B",
    }

    @pytest.mark.parametrize(
        ("fields", "street"),
        [
            ({"UnparsedAddress": "12 N Main St"}, "12 N Main St"),
            ({"UnparsedAddress": "12 N Main St, Reno, NV 89501", "City": "Reno"}, "12 N Main St"),
            ({"UnparsedAddress": "12 Reno Ave, RENO NV 89501", "City": "Reno"}, "12 Reno Ave"),
            ({"UnparsedAddress": "12 N Main St, Renovation Row", "City": "Reno"}, "12 N Main St, Renovation Row"),
            ({"UnparsedAddress": ", Reno", "City": "Reno"}, ", Reno"),
            ({"UnparsedAddress": "12 Main St, Reno, NV", "UnparsedFirstLineAddress": "12 Main St"}, "12 Main St"),
            ({"UnparsedAddress": "  ", **PARTS}, "12 N Main St #4B"),
            ({**PARTS, "UnitNumber": "Apt 4"}, "12 N Main St Apt 4"),
            ({"StreetName": "BIRCH", "StreetNumber": "7298"}, "7298 BIRCH"),
        ],
    )
    def test_street(self, fields: dict[str, Any], street: str) -> None:
        """The street is an unparsed address without its city, or the parts in their order."""
        address = mapped(**fields).address
        assert address is not None
        assert street == address.street

    def test_the_rest(self) -> None:
        """City, state, postal code and country are kept; a Canadian code is a code, and one that lost its zero is not ours."""
        data = mapped(City="Toronto", StateOrProvince="ON", PostalCode="M5V 2T6", Country="CA")
        assert data.address is not None
        expected = {"city": "Toronto", "state": "ON", "zip": "M5V 2T6", "country": "CA"}
        assert expected == data.address.model_dump(exclude_unset=True)

    def test_none(self) -> None:
        """A house number without a street is no address."""
        assert "address" not in mapped(StreetNumber="12", City="").model_fields_set


class TestTexts:
    """Dates, text, yes and no, and lists."""

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"ListingContractDate": "2024-01-15"}, date(2024, 1, 15)),
            ({"ListingContractDate": " 2024-01-15T23:59:59.123456789-08:00"}, date(2024, 1, 15)),
            ({"ListingContractDate": None, "OnMarketDate": "2024-01-16"}, date(2024, 1, 16)),
        ],
    )
    def test_list_date(self, fields: dict[str, Any], expected: date) -> None:
        """The list date is a date, or the date of a timestamp."""
        assert expected == mapped(**fields).list_date

    @pytest.mark.parametrize("value", ["01/15/2024", "2024-02-30", "20240115", "2024-01-15x", 20240115, True])
    def test_no_date(self, value: Any) -> None:
        """What is no date rejects the record."""
        assert refused(ListingContractDate=value) == "ListingContractDate"

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"PropertyType": "Residential"}, "Residential"),
            ({"PropertyType": "Residential Lease", "PropertySubType": "Condominium"}, "Residential Lease / Condominium"),
            ({"PropertyType": "Land", "PropertySubType": "Land"}, "Land"),
            ({"PropertyType": "A", "PropertyTypeLabel": "Residential", "PropertySubType": ""}, "Residential"),
        ],
    )
    def test_property_type(self, fields: dict[str, Any], expected: str) -> None:
        """Type and subtype stand together: a lease is no sale, whatever is leased."""
        assert expected == mapped(**fields).property_type

    @pytest.mark.parametrize(
        ("value", "expected"),
        [(True, True), ("true", True), ("Y", True), ("1", True), (False, False), (" no ", False), (0, False)],
    )
    def test_flags(self, value: Any, expected: bool) -> None:
        """Yes and no may be text."""
        data = mapped(InternetEntireListingDisplayYN=value, InternetAddressDisplayYN=value)
        assert (expected, expected) == (data.internet_entire_listing_display_yn, data.internet_address_display_yn)

    def test_no_flag(self) -> None:
        """What is neither yes nor no rejects the record: nobody may guess whether a listing is to be hidden."""
        assert refused(InternetEntireListingDisplayYN="perhaps") == "InternetEntireListingDisplayYN"

    def test_kept_as_they_came(self) -> None:
        """Timestamps, names and keys are text, as they came."""
        fields = {
            "ModificationTimestamp": "2024-01-15T10:00:00.123456789Z",
            "StatusChangeTimestamp": "2024-01-15T10:00:00+00:00",
            "PhotosChangeTimestamp": "2024-01-15T10:00:00Z",
            "ListAgentKey": "A1",
            "ListOfficeKey": "O1",
            "ListOfficeName": "Century 21",
            "PublicRemarks": " Bright.\n",
        }
        data = mapped(**fields)
        assert list(fields.values()) == [
            data.modification_timestamp,
            data.status_change_timestamp,
            data.photos_change_timestamp,
            data.list_agent_key,
            data.list_office_key,
            data.list_office_name,
            data.description,
        ]

    def test_features(self) -> None:
        """Features come of many fields, arrays, texts with commas and Spark's choices, in order and each once."""
        data = mapped(
            InteriorFeatures=["Vaulted Ceilings", "Pantry, large", None, " "],
            Appliances="Dishwasher, Oven,,Pantry",
            PoolFeatures={"In Ground": True, "Heated": False, "********": True},
            View=["Mountains", "Dishwasher"],
        )
        expected = ["Vaulted Ceilings", "Pantry, large", "Dishwasher", "Oven", "Pantry", "In Ground", "Mountains"]
        assert expected == data.features

    def test_extras(self) -> None:
        """Heating, cooling, flooring, parking and appliances are lists beside the declared fields."""
        data = mapped(
            Heating=["Gas"], Cooling="None", Flooring="Tile,Wood", ParkingFeatures={"Garage": True}, Appliances=["Oven"]
        )
        expected = {"heating": ["Gas"], "cooling": ["None"], "flooring": ["Tile", "Wood"], "parking": ["Garage"]}
        assert {**expected, "appliances": ["Oven"]} == data.model_extra

    @pytest.mark.parametrize(("value", "expected"), [([], []), (None, None)])
    def test_empty_lists(self, value: Any, expected: Any) -> None:
        """An empty list is an empty list, and null is null."""
        data = mapped(InteriorFeatures=value)
        assert expected == data.features
        assert "features" in data.model_fields_set

    @pytest.mark.parametrize("value", [5, True, [["Gas"]], [{"Gas": True}]])
    def test_no_list(self, value: Any) -> None:
        """What is no list of texts rejects the record."""
        assert refused(Heating=value) == "Heating"

    @pytest.mark.parametrize("value", [["x"], {"x": 1}, True, 1.5, "\udcff"])
    def test_no_text(self, value: Any) -> None:
        """What is no text rejects the record, and so do bytes that are no UTF-8."""
        assert refused(PublicRemarks=value) == "PublicRemarks"

    @pytest.mark.parametrize("value", ["", "   ", "********"])
    def test_empty_is_absent(self, value: str) -> None:
        """Empty and masked text is left unset, in every kind of field."""
        fields = (
            "PublicRemarks",
            "ListPrice",
            "YearBuilt",
            "ListingContractDate",
            "Heating",
            "Media",
            "InternetAddressDisplayYN",
        )
        data = mapped(**dict.fromkeys(fields, value))
        assert {"status", "mls_id", "mls_provider", "standard_status"} == data.model_fields_set

    def test_null_is_null(self) -> None:
        """Null is None: the feed says that there is no value, which is more than saying nothing."""
        data = mapped(PublicRemarks=None, ListPrice=None, Media=None)
        assert {"description", "price", "photos"} <= data.model_fields_set
        assert (data.description, data.price, data.photos) == (None, None, None)


class TestPhotos:
    """Media, and Spark's Photos."""

    @staticmethod
    def urls(**fields: Any) -> list[str | None]:
        data = mapped(**fields)
        assert data.photos is not None
        assert list(range(len(data.photos))) == [photo.order for photo in data.photos]
        return [photo.url for photo in data.photos]

    @given(st.permutations(range(8)), st.sampled_from([0, 1]), st.sampled_from([str, int, Decimal, " {} ".format]))
    def test_order(self, order: list[int], start: int, form: Any) -> None:
        """Photos are sorted by Order, which starts at 0 or 1 and may be text, and numbered from 0."""
        media = [{"MediaURL": f"u{number}", "Order": form(number + start)} for number in order]
        assert [f"u{number}" for number in range(8)] == self.urls(Media=media)

    @given(st.lists(st.none() | st.just("") | st.text() | st.integers() | st.booleans(), max_size=6))
    def test_any_order(self, orders: list[Any]) -> None:
        """Whatever Order holds, no photo is lost; where it says nothing the feed's order stands."""
        media = [{"MediaURL": f"u{number}", "Order": order} for number, order in enumerate(orders)]
        assert {f"u{number}" for number in range(len(orders))} == set(self.urls(Media=media))
        unordered = [{"MediaURL": f"u{number}"} for number in range(len(orders))]
        assert [f"u{number}" for number in range(len(orders))] == self.urls(Media=unordered)

    def test_only_photos(self) -> None:
        """Videos, plans, documents, and photos of agents are no photos of the property; nor is what has no address."""
        kinds = ["Photo", "image", None, "", "Video", "Floor Plan", "Document", "Agent Photo", "Office Logo"]
        media = [{"MediaURL": f"u{number}", "MediaCategory": kind} for number, kind in enumerate(kinds)]
        assert self.urls(Media=[*media, {"MediaURL": " "}, {"MediaKey": "x"}]) == ["u0", "u1", "u2", "u3"]

    def test_types(self) -> None:
        """What its type says is no picture is none, whatever its category says; nor is one that was deleted."""
        kinds = ["jpeg", "image/png", "JPG", None, "unheard of", "video/mp4", "MP4", "application/pdf", "pdf", "text/html"]
        media: list[dict[str, Any]] = [
            {"MediaURL": f"u{number}", "MediaCategory": "Photo", "MediaType": kind} for number, kind in enumerate(kinds)
        ]
        media += [{"MediaURL": "m", "MimeType": "video/quicktime"}, {"MediaURL": "d", "MediaStatus": "Deleted"}]
        assert self.urls(Media=[*media, {"MediaURL": "c", "MediaStatus": "Complete"}]) == ["u0", "u1", "u2", "u3", "u4", "c"]

    def test_captions(self) -> None:
        """A caption is the short description, else the long one, else none."""
        media = [
            {"MediaURL": "a", "ShortDescription": "Front", "LongDescription": "The front"},
            {"MediaURL": "b", "ShortDescription": "", "LongDescription": "The back"},
            {"MediaURL": "c"},
        ]
        photos = mapped(Media=media).photos or []
        assert [photo.caption for photo in photos] == ["Front", "The back", None]
        assert "caption" not in photos[2].model_fields_set

    def test_spark(self) -> None:
        """Spark's primary photo comes first, each in its largest size, with its caption or its name."""
        entries = [
            {"Uri300": "s300", "Uri1024": "s1024", "Uri640": "s640", "UriThumb": "thumb", "Name": "Kitchen", "Caption": ""},
            {"Uri300": "p300", "UriLarge": "large", "Primary": True, "Caption": "Front", "Name": "House"},
            {"UriThumb": "t", "UriLarge": None},
            {"Name": "no address"},
        ]
        photos = mapped(Photos=entries).photos or []
        expected = [("large", "Front"), ("s1024", "Kitchen"), ("t", None)]
        assert expected == [(photo.url, photo.caption) for photo in photos]

    def test_none(self) -> None:
        """An empty list says that there are no photos; no list says nothing."""
        assert mapped(Media=[]).photos == []
        assert "photos" not in mapped().model_fields_set

    @pytest.mark.parametrize("value", ["x", 1, {"MediaURL": "x"}, ["x"], [None]])
    @pytest.mark.parametrize("field", ["Media", "Photos"])
    def test_no_photos(self, field: str, value: Any) -> None:
        """What is no list of objects rejects the record."""
        assert field == refused(**{field: value})


SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.decimals() | st.floats()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=5
)
FIELDS = """
    ListingKey ListingId StandardStatus MlsStatus MlgCanView ListPrice BedroomsTotal BathsTotal BathroomsFull
    BathroomsTotalInteger LivingArea LivingAreaUnits LotSizeArea LotSizeUnits PropertyType ListingContractDate YearBuilt
    PublicRemarks UnparsedAddress StreetName UnitNumber City PostalCode Media Photos Heating View ModificationTimestamp
    InternetAddressDisplayYN
"""


@given(st.dictionaries(st.sampled_from(FIELDS.split()), JSON | st.sampled_from(["Active", "Square Meters", "12"])))
def test_whatever_a_record_holds(record: dict[str, Any]) -> None:
    """Any JSON becomes a listing that can be stored, or one of the two errors that say why not."""
    try:
        data = map_listing(record, provider="p", default_status="active")
    except (InvalidRecordError, SkippedRecordError):
        return
    assert dump(data)


def test_errors_survive_a_pickle() -> None:
    """The errors keep their parts when they cross to another process."""
    invalid = pickle.loads(pickle.dumps(InvalidRecordError("ListPrice", "bad")))  # noqa: S301  it is our own
    skipped = pickle.loads(pickle.dumps(SkippedRecordError("why")))  # noqa: S301
    assert (invalid.field, invalid.reason, skipped.reason) == ("ListPrice", "bad", "why")
    assert issubclass(FeedError, ValueError)


@pytest.mark.skipif(not SPARK.exists(), reason="the Spark fixtures are not part of the project; ../shared is missing")
class TestSparkFixtures:
    """Real flexmls response bodies."""

    def test_all_thirteen(self) -> None:
        """Every listing of the fixtures is mapped, with its price, its key as text and its fraction of bathrooms."""
        records = [record for path in sorted(SPARK.glob("*.json")) for record in read_records(path)]
        listings = [record.fields for record in records if "ListPrice" in record.fields]
        found = [map_listing(fields, provider="flexmls", default_status="active") for fields in listings]
        assert len(found) == 13
        assert {Decimal(50000), Decimal(2950000)} == {data.price for data in found}
        assert {Decimal(1), Decimal("4.5")} == {data.bathrooms for data in found}
        assert {"20060725224713296297000000", "20060725224713296972000000", "20060813163018826257000000"} == {
            data.mls_id for data in found
        }

    def test_photos(self) -> None:
        """Spark's photos are taken in their largest size, the primary one first."""
        (record,) = read_records(SPARK / "listings_with_photos.json")
        photos = map_listing(record.fields, provider="flexmls", default_status="active").photos or []
        body = json.loads(Path(SPARK / "listings_with_photos.json").read_text())
        entries = body["D"]["Results"][0]["StandardFields"]["Photos"]
        assert [entry["UriLarge"] for entry in entries] == [photo.url for photo in photos]
        assert [photo.caption for photo in photos] == ["House", "kitchen", "kitchen 2", "living", "bath"]
