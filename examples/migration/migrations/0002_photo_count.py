"""Count a listing's photos into a field of its own, for lists that show no photo."""

entities = ["Listing"]


def transform(item):
    """Set photoCount to what is there."""
    item["Data"]["photoCount"] = len(item["Data"].get("photos") or [])
    return item


def down(item):
    """Take it away."""
    item["Data"].pop("photoCount", None)
    return item
