"""What ``mlssocial migrations new`` writes: an empty migration, and those that are shipped."""

from __future__ import annotations

_EMPTY = '''\
"""Say here what changes, and why."""

from mlssocial import DELETE  # noqa: F401

entities = ["Listing"]


def where(item):
    """Choose items; without this function, all of these entities."""
    return True


def transform(item):
    """
    Give the item as it is to be, None to leave it alone, or DELETE.

    item is a dict: PK, SK, EntityType, Data, CreatedAt, UpdatedAt and whatever else it has, with numbers as Decimal. This may
    be called more than once for an item, and on what it has made: it gives the same again.
    """
    return None


# def down(item):
#     """Undo it."""
#     return None
'''

_INDEXES = '''\
"""Put items that another application made into the indexes: GSI2 has the keys that their data gives."""

entities = ["Listing", "MLSConnection", "SocialConnection", "SocialPost"]


def transform(item):
    """Give the item as it is: its index keys are made anew with every write, and nothing is written where they are right."""
    return item


def down(item):
    """There is nothing to undo."""
    return None
'''

_ZIP = '''\
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
'''

_TOKENS = '''\
"""Seal the tokens of connections that lie in clear text."""

entities = ["MLSConnection", "SocialConnection"]


def transform(item):
    """Give the item as it is: every write seals its tokens, and nothing is written where they are sealed."""
    return item


def down(item):
    """Sealed tokens stay sealed."""
    return None
'''

TEMPLATES = {"empty": _EMPTY, "index-keys": _INDEXES, "zip": _ZIP, "seal-tokens": _TOKENS}
"""By the names under which ``migrations new --template`` has them."""
