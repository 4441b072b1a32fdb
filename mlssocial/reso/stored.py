"""
What is stored of the listings that a feed's records are about, and how a record differs from it.

A listing is known by provider and ListingKey among the user's own, whatever its id is and whoever made it. One that an import
made has an id that follows from the two, and is read by it; those that another application made are looked up once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from threading import Lock
from typing import Any
from urllib.parse import quote

import msgspec

from mlssocial import batch, keys, schema
from mlssocial.changes import Path
from mlssocial.codec import AttributeValue, WireMap
from mlssocial.connection import pages, store
from mlssocial.entities import ListingData
from mlssocial.exceptions import InvalidItemError, InvalidKeyError, ItemError, WrongEntityError
from mlssocial.expressions import Expression
from mlssocial.wire import Row, decode_row

from .mapping import ADDRESS, FIELDS

MAX_ID_LENGTH = keys.MAX_SORT_KEY_BYTES // 2
"""A longer id would not leave room for the other parts of the keys that it goes into."""

MARK = "removedAt"
"""Beside a listing's own fields, when an import marked it as removed: epoch milliseconds."""


def listing_id(provider: str, listing_key: str) -> str:
    """
    Give the id of a listing that an import creates: ``flexmls-20060725224713296297000000``.

    Both parts are percent-encoded, the provider's hyphens too, so that two different pairs never give one id. One that would
    be too long is replaced by its hash.
    """
    made = f"{quote(provider, safe='').replace('-', '%2D')}-{quote(listing_key, safe='')}"
    # quote() never leaves a "%" in front of a hyphen: the hash of one pair is no other's id.
    return made if len(made) <= MAX_ID_LENGTH else f"%-{sha256(made.encode()).hexdigest()}"


# --- What an import owns ---------------------------------------------------------------------------------------------


def _wire_path(name: str) -> Path:
    known = ListingData.model_fields.get(name)
    return ((known.alias if known else None) or name,)


OWNED: Mapping[Path, str] = {
    **{_wire_path(name): name for name in ("status", "mls_provider", "mls_connection_id", *FIELDS) if name != "address"},
    **{("address", part): "address" for part in ADDRESS},
}
"""The paths inside Data that an import writes, with their top-level field's name; all else in a listing is not its own."""

_NULL = {"NULL": True}


def at(data: WireMap, path: Path) -> AttributeValue | None:
    """Give what stands at one of the paths that an import owns, None where there is nothing."""
    found = data.get(path[0])
    return found if len(path) == 1 or found is None else found.get("M", {}).get(path[1])


def fingerprint(value: AttributeValue) -> int:
    """Tell a value from others by 64 bits."""
    return hash(json.dumps(value, sort_keys=True, default=repr))


def instant(timestamp: str | None) -> datetime | None:
    """Read a timestamp of 0 to 9 fraction digits, with Z or an offset; without one it is taken as UTC."""
    try:
        found = datetime.fromisoformat(timestamp or "")
    except ValueError:
        return None
    return found if found.utcoffset() is not None else found.replace(tzinfo=UTC)


@dataclass(slots=True, eq=False)
class Known:
    """
    A stored listing; in a dry run also what one would be.

    Attributes:
        row: The item as it was read; None for one that a dry run would have written.
        values: What stands at the paths that an import owns, or of a dry run's a fingerprint of it.
        problem: Why nothing may be done to it: it cannot be read, or is another listing.
    """

    listing_id: str
    row: Row | None
    data: WireMap
    values: dict[Path, Any]
    provider: str | None = None
    number: str | None = None
    modified: datetime | None = None
    problem: ItemError | None = None

    def differences(self, given: WireMap) -> dict[Path, AttributeValue]:
        """Give what the feed says, and is not what is stored; missing and null are one."""
        mark = _same if self.row is not None else fingerprint
        found = ((path, at(given, path)) for path in OWNED)
        return {
            path: value
            for path, value in found
            if value is not None and self.values.get(path) != (None if value == _NULL else mark(value))
        }


def _same(value: AttributeValue) -> Any:
    return value


def known(row: Row, provider: str, key: str) -> Known:
    """Look at a stored listing that is to be the one of a ListingKey."""
    pk, sk = schema.key_of(row)
    found = Known(keys.parse_listing_keys(pk, sk).listing_id, row, {}, {})
    try:
        if schema.entity_type(row) != schema.LISTING.name:
            raise WrongEntityError("import Listing", (pk, sk), found=schema.entity_type(row))
        data = schema.LISTING.decode("read Listing", row)
    except (InvalidItemError, WrongEntityError) as error:
        found.problem = error
        return found
    if data.mls_provider != provider or data.mls_id != key:
        reason = "it exists already, and is the listing of another provider or ListingKey; delete it, or give it another id"
        found.problem = InvalidItemError("import Listing", (pk, sk), reason)
    found.data = msgspec.to_builtins(row[schema.DATA].M, builtin_types=(bytes,))
    found.values = {path: value for path in OWNED if (value := at(found.data, path)) is not None and value != _NULL}
    found.provider, found.number, found.modified = data.mls_provider, data.mls_number, instant(data.modification_timestamp)
    return found


def imagined(listing_id: str, before: Known | None, data: ListingData, changed: WireMap, *, marked: bool) -> Known:
    """Give what a dry run would have left of a listing, as fingerprints of its values."""
    values = {} if before is None else dict(before.values)
    if before is not None and before.row is not None:
        values = {path: fingerprint(value) for path, value in values.items()}
    values |= {path: fingerprint(value) for path in OWNED if (value := at(changed, path)) is not None and value != _NULL}
    for path in [path for path in OWNED if at(changed, path) == _NULL]:
        values.pop(path, None)
    made = Known(listing_id, None, {MARK: {"N": "0"}} if marked else {}, values, data.mls_provider)
    made.number = data.mls_number or (before.number if before else None)
    made.modified = instant(data.modification_timestamp) or (before.modified if before else None)
    return made


class Shelf:
    """
    A user's listings of one provider, read as a feed asks for them.

    Attributes:
        adopts: Whether listings under ids that no import gives are looked for.
    """

    def __init__(self, user_id: str, provider: str, *, adopts: bool) -> None:
        self.user_id = user_id
        self.provider = provider
        self.adopts = adopts
        self._lock = Lock()
        self._others: dict[str, list[str]] | None = None

    def read(self, wanted: Iterable[str]) -> dict[str, list[Known]]:
        """Read what is stored of some ListingKeys, consistently: 100 items a request."""
        ids = {listing_id(self.provider, key): key for key in wanted}
        found: dict[str, list[Known]] = {}
        for one, key in self._items(ids):
            found.setdefault(key, []).append(one)
        missing = [key for key in ids.values() if key not in found]
        if missing and self.adopts:
            others = self._adopted()
            theirs = {other: key for key in missing for other in others.get(key, ())}
            for one, key in self._items(theirs):
                found.setdefault(key, []).append(one)
        return found

    def look(self, row: Row, key: str) -> Known:
        """Look at an item that a write gave back."""
        return known(row, self.provider, key)

    def reread(self, listing_id: str, key: str) -> Known | None:
        """Read one listing again; None if it is gone."""
        return next((one for one, _ in self._items({listing_id: key})), None)

    def _items(self, ids: Mapping[str, str]) -> Iterator[tuple[Known, str]]:
        by_key = {schema.LISTING.keys((self.user_id, one)): key for one, key in ids.items() if _is_fit(self.user_id, one)}
        now = schema.now_millis()
        for row in batch.read(by_key, decode_row, consistent=True):
            if not schema.expired(row, now):
                key = by_key[schema.key_of(row)]
                yield known(row, self.provider, key), key

    def _adopted(self) -> dict[str, list[str]]:
        """Give the ids of this provider's listings that no import has made, by ListingKey; reads the user's listings once."""
        with self._lock:
            if self._others is None:
                others: dict[str, list[str]] = {}
                for row in self._outlines():
                    data = row[schema.DATA].M if schema.DATA in row else None
                    key = data["mlsId"].S if data and "mlsId" in data else None
                    one = (row[schema.SK].S or "").removeprefix(keys.LISTINGS)
                    if key and one != listing_id(self.provider, key):
                        others.setdefault(key, []).append(one)
                self._others = others
        return self._others

    def _outlines(self) -> Iterator[Row]:
        expression = Expression()
        path, value = expression.path, expression.value
        partition, prefix = value({"S": keys.user_partition(self.user_id)}), value({"S": keys.LISTINGS})
        request = {
            "TableName": store().table_name,
            "ConsistentRead": True,
            "KeyConditionExpression": f"{path((schema.PK,))} = {partition} AND begins_with({path((schema.SK,))}, {prefix})",
            "FilterExpression": f"{path((schema.DATA, 'mlsProvider'))} = {value({'S': self.provider})}",
            "ProjectionExpression": f"{path((schema.SK,))}, {path((schema.DATA, 'mlsId'))}",
            **expression.request(),
        }
        for answer in pages(request):
            yield from map(decode_row, answer.get("Items", ()))


def _is_fit(user_id: str, listing_id: str) -> bool:
    """Tell whether an id can be that of an item; another application's may not be."""
    try:
        schema.LISTING.keys((user_id, listing_id))
    except InvalidKeyError:
        return False
    return True
