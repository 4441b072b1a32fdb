"""Writes three listings of an older shape, as another application left them."""

from mlssocial import Listing, ListingData

OLDER = {
    "l1": {
        "status": "active",
        "address": {"city": "Reno", "zipCode": "89501"},
        "photos": [{"url": "https://example.com/1.jpg"}],
    },
    "l2": {"status": "sold", "address": {"city": "Reno", "zipCode": "89502"}},
    "l3": {"status": "active", "address": {"city": "Sparks", "zip": "89431"}},
}

for listing_id, data in OLDER.items():
    Listing.objects.save("ann", listing_id, ListingData.model_validate(data))
print(f"{len(OLDER)} listings of an older shape")
