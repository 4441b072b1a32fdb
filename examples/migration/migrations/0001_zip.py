"""Say zip in a listing's address where older items say zipCode."""

entities = ["Listing"]


def transform(item):
    """Move zipCode to zip, unless that is filled already."""
    address = item["Data"].get("address")
    if not isinstance(address, dict) or "zipCode" not in address:
        return None
    older = address.pop("zipCode")
    if not address.get("zip"):
        address["zip"] = older
    return item
