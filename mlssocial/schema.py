"""
How each entity lies in the table: its name, payload, keys, and the fields that its index keys and key fields repeat.

This is the one place from which index keys are computed, for every kind of write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from enum import Enum
from functools import cache, lru_cache
from typing import Any, Generic, TypeVar, get_args

import msgspec

from . import crypto, keys
from .codec import CodecError, WireMap, decode, dump, encode, native, natives, wire_name
from .compiled import RowDecoder, load, row_decoder, written
from .entities import (
    ListingData,
    MLSConnectionData,
    OperationData,
    Payload,
    PerformanceMetricsData,
    Platform,
    SocialConnectionData,
    SocialPostData,
)
from .exceptions import InvalidItemError, InvalidKeyError, shown
from .keys import Keys
from .masked import MaskedMap
from .tokens import MASK, Token, is_sealed
from .wire import Row, decode_row, encoded, plain, plain_row, to_json

D = TypeVar("D", bound=Payload)

PK, SK, ENTITY_TYPE, DATA = "PK", "SK", "EntityType", "Data"
CREATED_AT, UPDATED_AT, TTL, WRITE_ID = "CreatedAt", "UpdatedAt", "TTL", "WriteId"
LEASE_ID, LEASE_UNTIL = "LeaseId", "LeaseUntil"
INDEX_ATTRIBUTES: Mapping[str, str] = {"gsi1pk": "GSI1PK", "gsi1sk": "GSI1SK", "gsi2pk": "GSI2PK", "gsi2sk": "GSI2SK"}
"""The indexes' key attributes, by their names in :class:`keys.Keys`."""


class Content(msgspec.Struct, frozen=True, gc=False):
    """
    An item's Data as it is written.

    Attributes:
        json: The map, as JSON.
        index_values: What index keys are made of, in the order of the entity's index fields.
    """

    json: msgspec.Raw
    index_values: tuple[Any, ...]

    def plain(self) -> WireMap:
        """Give Data as attribute values, of which only the names are shown."""
        return MaskedMap(plain_row(decode_row(self.json)))


class Entity(msgspec.Struct, Generic[D], frozen=True):
    """
    One of the five entities, or the ledger of operations.

    Attributes:
        name: Its EntityType.
        payload: What stands in its Data.
        make_keys: All keys from the ids and the index fields' values, in their order.
        parse: The ids from PK and SK.
        id_names: The ids' names, in their order.
        index_fields: The payload's fields that index keys are made of; the id-like ones can be unfit for a key.
        key_fields: Payload fields that repeat a part of the key, with that part's name among the ids.
    """

    name: str
    payload: type[D]
    make_keys: Callable[..., Keys]
    parse: Callable[[str, str], tuple[Any, ...]]
    id_names: tuple[str, ...]
    index_fields: tuple[str, ...] = ()
    key_fields: Mapping[str, str] = {}

    def keys(self, ids: tuple[Any, ...]) -> tuple[str, str]:
        """Give PK and SK; InvalidKeyError where an id cannot go into them."""
        try:
            return _primary_key(self.make_keys, *ids)
        except TypeError:  # an id that has no hash is no id, which the function itself says best
            return self.make_keys(*ids)[:2]

    def ids(self, key: tuple[str, str]) -> tuple[Any, ...]:
        """Give the ids in a key as a caller gives them: a plain tuple, a platform in lower case."""
        parts = zip(self.id_names, self.parse(*key), strict=True)
        return tuple([part.lower() if name == "platform" else part for name, part in parts])

    def index_keys(self, ids: tuple[Any, ...], data: WireMap, given: frozenset[str] | None = None) -> WireMap:
        """
        Compute the index attributes that an item has to carry; what is not in the answer it must not carry.

        Args:
            ids: The ids, as :attr:`parse` gives them.
            data: The item's Data as it will be.
            given: The fields that the caller gives, all of them if None. What cannot go into a key is refused there; a value
                that another writer stored leaves its index without keys instead.
        """
        return index_attributes(self.derive(ids, self.index_values(data), given)[0])

    def index_values(self, data: WireMap) -> tuple[Any, ...]:
        """Take the values that index keys are made of out of Data."""
        return tuple([_plain(data.get(wire)) for _, wire in _wire_names(self.payload, self.index_fields)])

    def derive(
        self, ids: tuple[Any, ...], values: tuple[Any, ...], given: frozenset[str] | None = None
    ) -> tuple[Keys, dict[str, str]]:
        """Compute all keys of the index fields' values, and say which stored fields were left out of them, and why."""
        left_out: dict[str, str] = {}
        while True:
            try:
                return self.make_keys(*ids, *values), left_out
            except InvalidKeyError as error:
                unfit = self._unfit(error.part, values)
                if given is None or not unfit or unfit & given:
                    raise
                named = zip(self.index_fields, values, strict=True)
                values = tuple([None if name in unfit else value for name, value in named])
                left_out |= dict.fromkeys((wire_name(self.payload, name) for name in sorted(unfit)), error.reason)

    @property
    def index_names(self) -> list[str]:
        """The fields that index keys are made of, by their names in Data."""
        return [wire for _, wire in _wire_names(self.payload, self.index_fields)]

    def index_data(self, row: Row) -> WireMap:
        """Give the fields of a stored item that its index keys are made of; CodecError if its Data is no map."""
        data = row[DATA].M if DATA in row else None
        if data is None:
            raise CodecError("Data is no map", (DATA,))
        return {wire: plain(data[wire]) for wire in self.index_names if wire in data}

    def _unfit(self, part: str, values: tuple[Any, ...]) -> frozenset[str]:
        """Find the fields to leave out when *part*, an argument or an assembled key, was refused."""
        parts = {"GSI1PK": {"mls_provider", "mls_number", "listing_id"}, "GSI2SK": {"status"}}.get(part, {part})
        named = zip(self.index_fields, values, strict=True)
        return frozenset(name for name, value in named if name in parts and value is not None)

    @property
    def decode_row(self) -> RowDecoder:
        """The decoder of this entity's rows; it reads those of others too."""
        return row_decoder(self.payload)

    def encode(self, operation: str, ids: tuple[Any, ...], payload: object) -> Content:
        """
        Make Data of a caller's payload, with the fields that repeat the key filled in, and tokens sealed.

        InvalidItemError if it is another entity's payload, contradicts the key, or was changed to what cannot be stored.
        """
        key = self.keys(ids)
        if type(payload) is not self.payload and not isinstance(payload, self.payload):  # pydantic's isinstance() is dear
            raise InvalidItemError(operation, key, f"{self.payload.__name__} is needed, not {type(payload).__name__}")
        if self.key_fields:
            payload = self._filled(operation, key, payload)
        if sealed := self._sealed(operation, key, payload):
            payload = payload.model_copy(update=sealed)
        try:
            return self._content(payload)
        except CodecError as error:
            raise InvalidItemError(operation, key, str(error), fields=error.fields) from None

    def _content(self, payload: D) -> Content:
        """Write a payload as it is."""
        json, values = written(payload), payload.__dict__
        if json is None:  # only the codec can write it
            json, extra, there = to_json(dump(payload)), payload.__pydantic_extra__ or {}, payload.model_fields_set
            if not extra.keys().isdisjoint((*self.index_fields, *self.index_names)):
                return self.content(plain_row(decode_row(json)))  # an unknown field may be the one that is written
            values = {name: values.get(name) if name in there else None for name in self.index_fields}
        index_values = [
            value if type(value := values[name]) is str and value else _index_value(value) for name in self.index_fields
        ]
        return Content(msgspec.Raw(json), tuple(index_values))

    def content(self, data: WireMap) -> Content:
        """Make Data of attribute values."""
        return Content(encoded(data), self.index_values(data))

    def _filled(self, operation: str, key: tuple[str, str], payload: D) -> D:
        """Fill in the fields that repeat the key, in a copy."""
        of_key, missing, extra = self.parse(*key), {}, payload.__pydantic_extra__ or {}
        for name, part in self.key_fields.items():
            value = extra.get(wire_name(self.payload, name), getattr(payload, name, None))
            if value is None:
                missing[name] = _as_field(getattr(of_key, part), part)
            elif not _same(value, getattr(of_key, part), part):
                wire = wire_name(self.payload, name)
                in_key = _repeated(getattr(of_key, part), part)
                reason = f"{wire} is {shown(native(value))} in the payload; the key says {shown(in_key)}"
                raise InvalidItemError(operation, key, reason, fields=(wire,))
        return payload.model_copy(update=missing) if missing else payload

    @property
    def token_names(self) -> list[tuple[str, str]]:
        """The payload's tokens, by their names in Python and in Data."""
        return _token_names(self.payload)

    def stored_tokens(self, row: Row) -> dict[str, Token]:
        """Give the tokens of an item as they lie there, by their names in Data; an empty one is none."""
        key, data = key_of(row), (row[DATA].M if DATA in row else None) or {}
        there = {wire: text for _, wire in self.token_names if wire in data and (text := data[wire].S)}
        return {wire: token_at_rest(key, wire, text) for wire, text in there.items()}

    def sealed(self, operation: str, key: tuple[str, str], wire: str, token: Token) -> Token:
        """Give a token as it is to lie in an item; InvalidItemError if no UTF-8 can hold it."""
        try:
            return crypto.seal(token, crypto.Place.of(key, wire))
        except ValueError:
            raise InvalidItemError(operation, key, f"{wire}: text with a lone surrogate", fields=(wire,)) from None

    def _sealed(self, operation: str, key: tuple[str, str], payload: D) -> dict[str, Token]:
        """Give the tokens of a payload as they are to lie in the item."""
        names = _token_names(type(payload))
        if not names:
            return {}
        values = payload.__dict__
        there = [(name, wire) for name, wire in names if type(values.get(name)) is Token]
        return {name: self.sealed(operation, key, wire, values[name]) for name, wire in there}

    def index_map(self, payload: D) -> WireMap:
        """Give the fields of a payload that its item's index keys are made of, as attribute values."""
        values = natives(payload)
        return {wire: encode(values[wire], (wire,)) for wire in self.index_names if wire in values}

    def decode(self, operation: str, row: Row) -> D:
        """Make the payload of a stored item; InvalidItemError if its key or its Data is not this entity's."""
        key = key_of(row)
        try:
            self.parse(*key)
            data = row[DATA].M if DATA in row else None
            if data is None:
                raise CodecError("Data is no map", (DATA,))
            payload = load(self.payload, data)
        except CodecError as error:
            raise InvalidItemError(operation, key, str(error), fields=error.fields) from None
        except InvalidKeyError as error:
            raise InvalidItemError(operation, key, str(error)) from None
        values = payload.__dict__
        for name, wire in _token_names(self.payload):
            token = values.get(name)
            if token is not None and token.sealed:
                values[name] = token_at_rest(key, wire, token.stored)
        return payload


def token_at_rest(key: tuple[str, str], wire: str, stored: str) -> Token:
    """Give the token that an item's attribute holds: one that is sealed opens there. A stored mask stands for none."""
    if stored == MASK:
        return Token.masked()
    return Token.at_rest(stored, crypto.Place.of(key, wire) if is_sealed(stored) else None)


def key_of(row: Row) -> tuple[str, str]:
    """Give a row's (PK, SK)."""
    return row[PK].S or "", row[SK].S or ""


def now_millis() -> int:
    """Give the time, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def expired(row: Row, now: int) -> bool:
    """Tell whether an item's TTL has passed; DynamoDB may return it for days after. A TTL that is no number is none."""
    ttl = row[TTL].N if TTL in row else None
    return ttl is not None and Decimal(ttl) <= now // 1000


def entity_type(row: Row) -> str | None:
    """Give an item's EntityType, None where it has none."""
    return row[ENTITY_TYPE].S if ENTITY_TYPE in row else None


_INDEX_NAMES = tuple(INDEX_ATTRIBUTES.values())


def index_attributes(made: Keys) -> WireMap:
    """Give the index attributes among an item's keys."""
    return {attribute: {"S": key} for attribute, key in zip(_INDEX_NAMES, made[2:], strict=True) if key is not None}


@lru_cache(4096, typed=True)
def _primary_key(make_keys: Callable[..., Keys], *ids: Any) -> tuple[str, str]:
    made = make_keys(*ids)
    return made.pk, made.sk


@cache
def _wire_names(payload: type[Payload], names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, wire_name(payload, name)) for name in names]


@cache
def _token_names(payload: type[Payload]) -> list[tuple[str, str]]:
    fields = payload.model_fields.items()
    return [
        (name, wire_name(payload, name)) for name, field in fields if Token in (field.annotation, *get_args(field.annotation))
    ]


def _plain(value: dict[str, Any] | None) -> Any:
    """Give a scalar of Data as Python; null, empty text and what no key can be made of as None."""
    if value is not None and "S" in value:
        return value["S"] or None
    if value is None or not (value.keys() & {"S", "N"}):
        return None
    plain = decode(value)
    return int(plain) if "N" in value else plain or None


def _index_value(value: Any) -> Any:
    """Give a payload's value as a key is made of it; empty text as None."""
    if isinstance(value, Enum):
        return value._value_  # as value.value, which is looked up in Python
    return int(value) if isinstance(value, Decimal) else None if value == "" else value


def _repeated(part: Any, name: str) -> str:
    """Write a part of the key as Data repeats it: platforms in lower case."""
    return part.isoformat() if isinstance(part, date) else part.lower() if name == "platform" else str(part)


def _as_field(part: Any, name: str) -> Any:
    """Give a part of the key as a payload's field has it."""
    return Platform.named(part.lower()) if name == "platform" else part


def _same(value: Any, part: Any, name: str) -> bool:
    return isinstance(value, str | date) and _repeated(value, name) == _repeated(part, name)


LISTING = Entity(
    "Listing",
    ListingData,
    keys.listing_keys,
    keys.parse_listing_keys,
    keys.ListingKey._fields,
    index_fields=("mls_provider", "mls_number", "status", "list_date"),
)
MLS_CONNECTION = Entity(
    "MLSConnection",
    MLSConnectionData,
    keys.mls_connection_keys,
    keys.parse_mls_connection_keys,
    keys.MLSConnectionKey._fields,
    index_fields=("last_synced_at",),
    key_fields={"id": "connection_id", "user_id": "user_id"},
)
SOCIAL_CONNECTION = Entity(
    "SocialConnection",
    SocialConnectionData,
    keys.social_connection_keys,
    keys.parse_social_connection_keys,
    keys.SocialConnectionKey._fields,
    index_fields=("expires_at",),
    key_fields={"platform": "platform", "user_id": "user_id"},
)
SOCIAL_POST = Entity(
    "SocialPost",
    SocialPostData,
    keys.social_post_keys,
    keys.parse_social_post_keys,
    keys.SocialPostKey._fields,
    index_fields=("listing_id", "status", "unpublish_requested_at"),
    key_fields={"post_id": "post_id"},
)
PERFORMANCE_METRICS = Entity(
    "PerformanceMetrics",
    PerformanceMetricsData,
    keys.performance_metrics_keys,
    keys.parse_performance_metrics_keys,
    keys.PerformanceMetricsKey._fields,
    key_fields={"listing_id": "listing_id", "date": "date"},
)
OPERATION = Entity(
    "Operation",
    OperationData,
    keys.operation_keys,
    keys.parse_operation_keys,
    keys.OperationKey._fields,
)

ENTITIES: Mapping[str, Entity[Any]] = {
    entity.name: entity for entity in (LISTING, MLS_CONNECTION, SOCIAL_CONNECTION, SOCIAL_POST, PERFORMANCE_METRICS)
}
"""The five, by EntityType."""
