"""
One record of a feed into a ListingData: which field goes where. No I/O.

RESO Web API records and the StandardFields of Spark records are read by the same table, since Spark's names differ in a few
fields only. A field that the feed does not have, has empty or has masked is left unset; one that is null is None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mlssocial import keys
from mlssocial.entities import ListingData, ListingStatus
from mlssocial.exceptions import InvalidKeyError, InvalidRecordError, SkippedRecordError, shown

from .photos import photos
from .values import (
    ABSENT,
    Fields,
    Reader,
    area,
    converted,
    day,
    first,
    flag,
    joined,
    merged,
    number,
    pick,
    stripped,
    text,
    whole,
)

# The locked list of StandardStatus, without blanks and in lower case, as an older spelling has it.
STATUSES: Mapping[str, ListingStatus] = {
    "active": ListingStatus.ACTIVE,
    "activeundercontract": ListingStatus.PENDING,
    "pending": ListingStatus.PENDING,
    "closed": ListingStatus.SOLD,
    "expired": ListingStatus.EXPIRED,
    "withdrawn": ListingStatus.EXPIRED,
    "canceled": ListingStatus.EXPIRED,
}
PLACELESS: Mapping[str, str] = {
    "comingsoon": "Coming Soon has no place among the four statuses",
    "hold": "Hold has no place among the four statuses",
    "incomplete": "Incomplete has no place among the four statuses",
    "delete": "Delete asks for removal",
}


_BATHROOMS = first(number, "BathsTotal", "BathroomsTotalInteger")
_BATHROOM_PARTS = {
    "BathroomsFull": Decimal(1),
    "BathroomsThreeQuarter": Decimal("0.75"),
    "BathroomsHalf": Decimal("0.5"),
    "BathroomsOneQuarter": Decimal("0.25"),
}


def _bathrooms(fields: Fields) -> Any:
    """
    Count bathrooms with their fractions.

    BathroomsTotalInteger counts a half bath as one. Where the parts are given and add up to it, they say what it hides.
    """
    total = _BATHROOMS(fields)
    parts = {size: first(number, name)(fields) for name, size in _BATHROOM_PARTS.items()}
    known = {size: count for size, count in parts.items() if count is not None and count is not ABSENT}
    if pick(fields, "BathsTotal")[1] in (None, ABSENT) and known and sum(known.values()) == total:
        return sum((size * count for size, count in known.items()), Decimal(0))
    return total


def _street(fields: Fields) -> Any:
    """Read the street: of an UnparsedAddress what stands before the city, or the parts."""
    whole_address = first(text, "UnparsedFirstLineAddress", "UnparsedAddress")(fields)
    if whole_address is None or whole_address is ABSENT:
        return _street_of_parts(fields) if pick(fields, "StreetName")[1] not in (None, ABSENT) else whole_address
    city = first(text, "City")(fields)
    if city is None or city is ABSENT:
        return whole_address.strip()
    street = re.split(rf",\s*{re.escape(city.strip())}(?!\w)", whole_address, maxsplit=1, flags=re.IGNORECASE)[0]
    return (street.strip() or whole_address).strip()


def _unit(value: Any) -> str:
    unit = stripped(value)
    return f"#{unit}" if unit.isalnum() else unit


_street_of_parts = joined(
    " ",
    *(first(stripped, name) for name in ("StreetNumber", "StreetDirPrefix", "StreetName", "StreetSuffix", "StreetDirSuffix")),
    first(_unit, "UnitNumber"),
)

ADDRESS: Mapping[str, Reader] = {
    "street": _street,
    "city": first(text, "City"),
    "state": first(text, "StateOrProvince"),
    "zip": first(text, "PostalCode"),
    "country": first(text, "Country"),
}


def _address(fields: Fields) -> Any:
    return _read(ADDRESS, fields) or ABSENT


FIELDS: Mapping[str, Reader] = {
    "mls_id": first(text, "ListingKey"),
    "mls_number": first(text, "ListingId"),
    "standard_status": first(text, "StandardStatus"),
    "mls_status": first(text, "MlsStatus"),
    "price": first(number, "ListPrice"),
    "bedrooms": first(number, "BedroomsTotal", "BedsTotal"),
    "bathrooms": _bathrooms,
    "square_feet": area(
        "Square Feet",
        Decimal("0.01"),
        ("LivingArea", "LivingAreaUnits", "Square Feet"),
        ("BuildingAreaTotal", "BuildingAreaUnits", "Square Feet"),
    ),
    "lot_size": area(
        "Acres",
        Decimal("0.0001"),
        ("LotSizeAcres", None, "Acres"),
        ("LotSizeArea", "LotSizeUnits", None),
        ("LotSizeSquareFeet", None, "Square Feet"),
    ),
    "property_type": joined(" / ", first(text, "PropertyTypeLabel", "PropertyType"), first(text, "PropertySubType")),
    "list_date": first(day, "ListingContractDate", "OnMarketDate"),
    "year_built": first(whole, "YearBuilt"),
    "description": first(text, "PublicRemarks"),
    "address": _address,
    "photos": photos,
    "features": merged(
        "InteriorFeatures",
        "ExteriorFeatures",
        "Appliances",
        "PoolFeatures",
        "SpaFeatures",
        "FireplaceFeatures",
        "PatioAndPorchFeatures",
        "LotFeatures",
        "WaterfrontFeatures",
        "View",
        "SecurityFeatures",
        "CommunityFeatures",
        "AssociationAmenities",
    ),
    "heating": merged("Heating"),
    "cooling": merged("Cooling"),
    "flooring": merged("Flooring"),
    "parking": merged("ParkingFeatures"),
    "appliances": merged("Appliances"),
    "modification_timestamp": first(text, "ModificationTimestamp"),
    "status_change_timestamp": first(text, "StatusChangeTimestamp"),
    "photos_change_timestamp": first(text, "PhotosChangeTimestamp"),
    "originating_system_name": first(text, "OriginatingSystemName"),
    "list_agent_key": first(text, "ListAgentKey", "ListAgentId"),
    "list_office_key": first(text, "ListOfficeKey", "ListOfficeId"),
    "list_office_name": first(text, "ListOfficeName"),
    "internet_entire_listing_display_yn": first(flag, "InternetEntireListingDisplayYN"),
    "internet_address_display_yn": first(flag, "InternetAddressDisplayYN"),
}
"""Our fields, and what reads each out of a record. Money and measures are exact; lot_size is in acres."""


def map_listing(record: Mapping[str, Any], *, provider: str, default_status: ListingStatus | str | None = None) -> ListingData:
    """
    Make a ListingData of one record, a RESO Web API one or the StandardFields of a Spark one.

    Args:
        record: Its fields. Numbers may be text, int or Decimal; a binary float is refused.
        provider: The feed; it becomes mls_provider.
        default_status: For feeds that have no status at all. A status that is there and unknown is never replaced by it.

    Raises:
        SkippedRecordError: It has no place among the listings: no key, no status, one that is none of the four, or the feed
            asks for its removal.
        InvalidRecordError: A value cannot be what its field says; *field* names it.
        InvalidKeyError: *provider* cannot go into a key.
    """
    listing_key(record)
    status = _status(record, default_status)
    data = ListingData.model_validate({"status": status, "mls_provider": provider, **_read(FIELDS, record)})
    try:
        keys.mls_number_partition(provider, data.mls_number or "none")
    except InvalidKeyError as error:
        if error.part != "mls_number":
            raise
        raise InvalidRecordError("ListingId", error.reason) from None
    return data


def listing_key(record: Fields) -> str:
    """Give a record's ListingKey, by which its listing is known; SkippedRecordError where it has none."""
    key = first(text, "ListingKey")(record)
    if key is None or key is ABSENT:
        raise SkippedRecordError("no ListingKey")
    return str(key)


def is_removal(record: Fields) -> bool:
    """Tell whether a record asks for its listing's removal: its status is Delete, or MlgCanView is false."""
    if first(flag, "MlgCanView")(record) is False:
        return True
    name, value = pick(record, "StandardStatus", "MlsStatus")
    return isinstance(value, str) and _spelled(name, value) == "delete"


def map_removal(record: Fields) -> dict[str, Any]:
    """Give what a record that asks for removal says of it, as fields of ListingData."""
    return _read({name: FIELDS[name] for name in REMOVAL_FIELDS}, record)


REMOVAL_FIELDS = ("standard_status", "mls_status", "modification_timestamp", "status_change_timestamp")


def _read(readers: Mapping[str, Reader], fields: Fields) -> dict[str, Any]:
    return {name: value for name, read in readers.items() if (value := read(fields)) is not ABSENT}


def _status(fields: Fields, default: ListingStatus | str | None) -> ListingStatus:
    if first(flag, "MlgCanView")(fields) is False:
        raise SkippedRecordError("MlgCanView is false and asks for removal")
    name, value = pick(fields, "StandardStatus", "MlsStatus")
    if value is None or value is ABSENT:
        if default is None:
            raise SkippedRecordError("no StandardStatus and no MlsStatus; default_status can give one to a feed without")
        return ListingStatus(default)
    spelled = _spelled(name, value)
    if spelled in PLACELESS:
        raise SkippedRecordError(f"{name} {PLACELESS[spelled]}")
    if spelled not in STATUSES:
        raise SkippedRecordError(f"{name} {shown(value)} is none of RESO's eleven, and is not guessed at")
    return STATUSES[spelled]


def _spelled(name: str, value: Any) -> str:
    """Give a status without blanks and in lower case."""
    return "".join(converted(text, name, value).split()).casefold()
