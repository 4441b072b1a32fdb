"""
The item that everything is measured with: a listing with ten photos and eight features, made from its number alone.

2.4 KB of JSON on the wire, 1.6 KB as DynamoDB counts, so that its 1 MB pages end where :data:`PAGE` says. Needs nothing but the
standard library.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

TABLE = "mlssocial-benchmark"
USER_ID = "user-1"
COUNT = 1_000
PAGE = 646
"""How many of these items DynamoDB puts on a page of 1 MB (seen on DynamoDB Local)."""

PROVIDER = "flexmls"
STATUSES = ("active", "pending", "sold", "expired")
ROOMS = ("Front", "Kitchen", "Living room", "Dining room", "Bedroom", "Bathroom", "Patio", "Garden", "Garage", "Street view")
FEATURES = (
    "Pool", "Garage", "Fireplace", "Hardwood floors", "Granite counters", "Solar panels", "Walk-in closet", "Fenced yard",
)  # fmt: skip
DESCRIPTION = (
    "Bright corner lot in a tranquil street, renovated kitchen with an island, vaulted ceilings, a primary suite on the ground "
    "floor, and a patio that looks over the garden."
)
WRITTEN_AT = 1_716_550_000_000


class Ids(NamedTuple):
    """A listing's ids, and the key that they make."""

    user_id: str
    listing_id: str

    @property
    def pk(self) -> str:
        """The partition key."""
        return f"USER#{self.user_id}"

    @property
    def sk(self) -> str:
        """The sort key."""
        return f"LISTING#{self.listing_id}"


class View(NamedTuple):
    """What a peer has to have decoded; *unknown* is what it kept of the fields that its model does not know."""

    listing_id: str
    price: Any
    bathrooms: Any
    photos: list[str]
    features: list[str]
    unknown: tuple[Any, ...]


def ids(number: int) -> Ids:
    """Give the ids of an item; their order is the numbers' order."""
    return Ids(USER_ID, f"listing-{number:07d}")


def data(number: int, *, unknown_fields: bool = False) -> dict[str, Any]:
    """Make what stands in Data, as Python values: 20 fields that the models know, and on request two that they do not."""
    listed = date(2024, 1, 1) + timedelta(days=number % 366)
    made: dict[str, Any] = {
        "mlsId": f"mls-{number:07d}",
        "mlsNumber": f"MLS-{number:07d}",
        "mlsProvider": PROVIDER,
        "status": STATUSES[number % 4],
        "price": 450_000 + 125 * (number % 4_000),
        "bedrooms": 2 + number % 4,
        "bathrooms": Decimal("2.5"),
        "squareFeet": 1_400 + number % 1_000,
        "propertyType": "Single Family",
        "listDate": listed.isoformat(),
        "description": DESCRIPTION,
        "address": {
            "street": f"{100 + number % 9_000} Main Street",
            "city": "San Francisco",
            "state": "CA",
            "zip": "94102",
            "country": "US",
        },
        "photos": [_photo(number, order) for order in range(10)],
        "features": list(FEATURES),
        "syncedAt": WRITTEN_AT + number,
        "lotSize": Decimal("0.25"),
        "yearBuilt": 1950 + number % 70,
        "standardStatus": "Active",
        "mlsStatus": "Active - No Showings",
        "modificationTimestamp": "2024-05-24T11:26:40.000Z",
    }
    return made | {"heating": "Forced air", "parking": {"spaces": 2, "covered": True}} if unknown_fields else made


def item(number: int, *, unknown_fields: bool = False) -> dict[str, Any]:
    """Make the whole item, as Python values under the table's own names."""
    key, fields = ids(number), data(number, unknown_fields=unknown_fields)
    return {
        "PK": key.pk,
        "SK": key.sk,
        "EntityType": "Listing",
        "Data": fields,
        "CreatedAt": WRITTEN_AT,
        "UpdatedAt": WRITTEN_AT + number,
        "WriteId": f"bench{number:011d}",
        "GSI1PK": f"MLS#{PROVIDER}#{fields['mlsNumber']}",
        "GSI1SK": f"STATUS#{fields['status']}",
        "GSI2PK": f"{key.pk}#STATUS#{fields['status']}",
        "GSI2SK": f"LISTED#{fields['listDate']}#{key.listing_id}",
    }


def view(number: int, *, unknown_fields: bool = False) -> View:
    """Give what a peer has to see in an item."""
    fields = data(number, unknown_fields=unknown_fields)
    return fields_view(ids(number).listing_id, fields)


def fields_view(listing_id: str, fields: dict[str, Any]) -> View:
    """Look at Data where it is a dict under the table's own names."""
    photos = [photo["url"] for photo in fields["photos"]]
    unknown = (fields["heating"], fields["parking"]["spaces"]) if "heating" in fields else ()
    return View(listing_id, fields["price"], fields["bathrooms"], photos, list(fields["features"]), unknown)


def wire(value: Any) -> dict[str, Any]:
    """Write a Python value as a DynamoDB attribute value."""
    match value:
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | Decimal():
            return {"N": str(value)}
        case dict():
            return {"M": wire_map(value)}
        case list():
            return {"L": [wire(entry) for entry in value]}
    raise TypeError(f"no item here holds a {type(value).__name__}")


def wire_map(values: dict[str, Any]) -> dict[str, Any]:
    """Write a whole item, or a map, as DynamoDB attribute values."""
    return {name: wire(value) for name, value in values.items()}


def wire_json(values: dict[str, Any]) -> bytes:
    """Write a whole item as compact JSON, the way that it goes over the wire."""
    return json.dumps(wire_map(values), separators=(",", ":")).encode()


def _photo(number: int, order: int) -> dict[str, Any]:
    return {"url": f"https://photos.example.com/{number:07d}/{order}.jpg", "caption": ROOMS[order], "order": order}
