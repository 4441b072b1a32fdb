"""How many photos an item has room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlssocial import schema
from mlssocial.changes import Path
from mlssocial.codec import MAX_ITEM_BYTES, AttributeValue, WireMap, item_size
from mlssocial.wire import Row, plain

from .stored import MARK

RESERVE = 10_240
"""Bytes of an item that are left to its keys, which may be long, its times, and a lease."""

_HEAD = frozenset(
    {
        schema.PK,
        schema.SK,
        schema.ENTITY_TYPE,
        schema.DATA,
        schema.CREATED_AT,
        schema.UPDATED_AT,
        schema.WRITE_ID,
        schema.LEASE_ID,
        schema.LEASE_UNTIL,
        *schema.INDEX_ATTRIBUTES.values(),
    }
)


def merged(data: WireMap, changed: Mapping[Path, AttributeValue]) -> WireMap:
    """Give Data as it will be, without the mark, which goes when a record comes."""
    made = {name: value for name, value in data.items() if name != MARK}
    for path, value in changed.items():
        inner = made.get(path[0], {}).get("M", {})
        made[path[0]] = value if len(path) == 1 else {"M": inner | {path[1]: value}}
    return made


def room(data: WireMap, row: Row) -> int:
    """
    Give the bytes that an item has for its photos, beside Data as it will be and what another application keeps in it.

    It counts what the next record of the same listing finds, and nothing else: so that one gives the same photos.
    """
    beside = {name: plain(value) for name, value in row.items() if name not in _HEAD}
    others = {name: value for name, value in data.items() if name != "photos"}
    return MAX_ITEM_BYTES - RESERVE - item_size({schema.DATA: {"M": others | {"photos": {"L": []}}}, **beside})


def how_many(photos: Sequence[AttributeValue], room: int) -> int:
    """Tell how many of the photos, from the first on, fit."""
    for kept, photo in enumerate(photos):
        room -= item_size({"": photo}) + 1
        if room < 0:
            return kept
    return len(photos)
