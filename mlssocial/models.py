"""
The shared table as PynamoDB models: the base :class:`Item`, five entities, and the index classes.

Reads work as PynamoDB's do; writes go through the write engine, and what would go past it is refused. Nearly everything is
better asked of ``Model.objects``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, ClassVar, NoReturn, Self, cast

import msgspec
from pynamodb.attributes import UnicodeAttribute
from pynamodb.connection.base import MetaTable
from pynamodb.connection.table import TableConnection
from pynamodb.exceptions import DoesNotExist as PynamoDoesNotExist
from pynamodb.models import Model

from . import atomic, keys, notebook, notices, prepare, schema, table, writes
from .attributes import DataAttribute, EntityTypeAttribute, MomentAttribute, SecondsAttribute, TextAttribute, moment
from .codec import WireMap, epoch_millis
from .connection import PartialRow, PynamoTable
from .entities import Payload, Platform
from .exceptions import (
    ConfigurationError,
    InvalidItemError,
    ItemNotFoundError,
    MLSSocialError,
    StaleItemError,
    WrongEntityError,
)
from .head import Head
from .indexes import ListingPostIndex, MLSNumberIndex, StatusIndex, SyncQueueIndex, TokenExpiryIndex, UnpublishQueueIndex
from .managers import (
    ItemManager,
    ListingManager,
    MLSConnectionManager,
    PerformanceMetricsManager,
    SocialConnectionManager,
    SocialPostManager,
)
from .managers.base import own_errors
from .operations import operation
from .schema import Entity, entity_type
from .settings import table_settings
from .wire import AttributeValue, Row, plain, row_of


class _Configured(type):
    """Meta.table_name follows the settings in force, for the places in PynamoDB that read it."""

    @property
    def table_name(cls) -> str:
        return table_settings().table_name


class ItemDoesNotExist(ItemNotFoundError, PynamoDoesNotExist):  # noqa: N818  Django's and PynamoDB's name
    """What ``Model.DoesNotExist`` is made of: our error, and PynamoDB's for those who catch that."""

    def __init__(self, operation: str = "get", key: tuple[str, str] | None = None, reason: str = "it does not exist") -> None:
        ItemNotFoundError.__init__(self, operation, key, reason)
        self.msg, self.cause = str(self), None


_Seen = tuple[AttributeValue | None, AttributeValue | None]
"""The version of an item as it was read, UpdatedAt and WriteId: a dict for each of many would take four times the memory."""


class Item(Model):
    """
    One item of the shared table, of any kind.

    An item of another application's EntityType is an instance of this class itself: what the class declares can be read, all
    else stands in *raw*, and it cannot be written.

    Attributes:
        raw: Attributes that the class does not declare, as DynamoDB attribute values. Every write keeps them.
    """

    class Meta(metaclass=_Configured):
        pass

    class DoesNotExist(ItemDoesNotExist):
        """The item is not there."""

    pk = UnicodeAttribute(hash_key=True, attr_name=schema.PK)
    sk = UnicodeAttribute(range_key=True, attr_name=schema.SK)
    entity_type = EntityTypeAttribute(attr_name=schema.ENTITY_TYPE)
    created_at = MomentAttribute(attr_name=schema.CREATED_AT, null=True)
    updated_at = MomentAttribute(attr_name=schema.UPDATED_AT, null=True)
    gsi1pk = TextAttribute(attr_name="GSI1PK", null=True)
    gsi1sk = TextAttribute(attr_name="GSI1SK", null=True)
    gsi2pk = TextAttribute(attr_name="GSI2PK", null=True)
    gsi2sk = TextAttribute(attr_name="GSI2SK", null=True)
    ttl = SecondsAttribute(attr_name=schema.TTL, null=True)
    lease_id = TextAttribute(attr_name=schema.LEASE_ID, null=True)
    lease_until = MomentAttribute(attr_name=schema.LEASE_UNTIL, null=True)
    write_id = TextAttribute(attr_name=schema.WRITE_ID, null=True)

    entity: ClassVar[Entity[Any] | None] = None
    objects: ClassVar[ItemManager] = ItemManager()
    raw: WireMap

    def __init__(self, hash_key: Any = None, range_key: Any = None, **attributes: Any) -> None:
        """Take PK and SK as PynamoDB does, or the ids by name: ``Listing(user_id=..., listing_id=..., data=...)``."""
        self.raw = {}
        self._seen: _Seen | None = None
        self._partial = False
        names = () if self.entity is None else self.entity.id_names
        ids = {name: attributes.pop(name) for name in names if name in attributes}
        if ids and self.entity is not None:
            if missing := [name for name in names if name not in ids]:
                raise TypeError(f"{type(self).__name__}: {', '.join(missing)} is missing beside {', '.join(ids)}")
            hash_key, range_key = self.entity.keys(tuple(ids[name] for name in names))
        super().__init__(hash_key, range_key, **attributes)

    @property
    def user_id(self) -> str:
        """The user, out of the partition key."""
        return keys.parse_user(self.pk)

    def save(self, condition: None = None, *, add_version_condition: bool = True) -> Any:  # type: ignore[override]
        """
        Write this item whole, and take over what is stored then.

        An item that was read is written only if nobody has changed it since; a new one overwrites. CreatedAt and attributes
        that no model declares are kept. One request.

        Raises:
            StaleItemError: It has changed since it was read; ``refresh()`` it and try again.
            ItemNotFoundError: It was read, and is gone.
        """
        if condition is not None or not add_version_condition:
            _refuse("save() with a condition of its own", "Model.objects.update()")
        entity, ids = self._writable("save")
        data = entity.encode(f"save {entity.name}", ids, self.attribute_values.get("data"))
        with own_errors(type(self)):
            head, left = writes.save_head(entity, ids, data, others=self._others(), gone=self._cleared(), seen=self._version())
        self.take_head(head)
        self._take_beside(left)  # the CreatedAt of an item that was there, in the place of the write's
        notices.tell("save", self)

    def _others(self) -> WireMap:
        """Give the attributes beside keys, Data, times and index keys that the class declares and the item has."""
        there = [name for name in _BESIDE if name in self.attribute_values]
        attributes = self.get_attributes() if there else {}
        return {
            attributes[name].attr_name: {attributes[name].attr_type: attributes[name].serialize(value)}
            for name in there
            if (value := self.attribute_values[name]) is not None
        }

    def _cleared(self) -> frozenset[str]:
        """Give those of them that were set to None."""
        names = [name for name in _BESIDE if self.attribute_values.get(name, "") is None]
        return frozenset(self.get_attributes()[name].attr_name for name in names)

    def replacement(self, write_id: str) -> tuple[msgspec.Raw, Head]:
        """Give the JSON of the whole item as a batch writes it over what is stored, and the head that it will have."""
        entity, ids = self._writable("save")
        data = entity.encode(f"save {entity.name}", ids, self.attribute_values.get("data"))
        created = None if self._seen is None else self.created_at
        others = {**self.raw, **self._others()}
        return prepare.replacement(
            entity,
            ids,
            data,
            write_id=write_id,
            created_at=None if created is None else epoch_millis(created),
            others=others,
        )

    def creation(self) -> Callable[[], Row]:
        """Check this item as a new one, and give what writes it if there is none and returns the row that is stored then."""
        entity, ids = self._writable("create")
        data = entity.encode(f"create {entity.name}", ids, self.attribute_values.get("data"))
        return atomic.creation(entity, ids, data, others=self.raw | self._others())

    def delete(self, condition: None = None, *, add_version_condition: bool = True) -> bool:  # type: ignore[override]
        """Delete this item; False if it was not there, StaleItemError if it has changed since it was read. One request."""
        if condition is not None or not add_version_condition:
            _refuse("delete() with a condition of its own", "Model.objects.delete()")
        entity, ids = self._writable("delete")
        with own_errors(type(self)):
            was_there = writes.delete(entity, ids, seen=self._version())
        if was_there:
            notices.tell("delete", self)
        return was_there

    @classmethod
    def version_of(cls, operation: str, key: tuple[str, str], item: Item | None) -> Row | None:
        """Give the version of *item*, None for none; InvalidItemError if it is not the one under *key*, or was never read."""
        if item is None:
            return None
        if not isinstance(item, cls) or (item.pk, item.sk) != key:
            raise InvalidItemError(operation, key, f"if_unchanged_since: {item!r} is not the {cls.__name__} that is meant")
        return item.version(operation)

    @classmethod
    def class_of(cls, entity: Entity[Any]) -> type[Item]:
        """Give the model of an entity."""
        return _CLASSES[entity.name]

    @classmethod
    def own_error(cls, error: MLSSocialError) -> MLSSocialError:
        """Make an error of the write engine the model's: its DoesNotExist, and its instance of an item that has changed."""
        if isinstance(error, ItemNotFoundError):
            return cls.DoesNotExist(error.operation, error.key, error.reason)
        if isinstance(error, StaleItemError) and error.item is not None:
            try:
                error.item = cls.from_row(error.item)
            except InvalidItemError:
                error.item = None
        return error

    def version(self, operation: str) -> Row:
        """Give the version that was read, the pair (UpdatedAt, WriteId); InvalidItemError for an item that never was."""
        seen = self._version()
        if seen is None or self._partial:
            reason = "it was not read whole, so it has no version to compare with; get() it first"
            raise InvalidItemError(operation, (self.pk, self.sk), reason)
        return seen

    def _version(self) -> Row | None:
        """Give the version that was read, as attributes of a row; None where none was."""
        if self._seen is None:
            return None
        names = (schema.UPDATED_AT, schema.WRITE_ID)
        return {name: value for name, value in zip(names, self._seen, strict=True) if value is not None}

    def refresh(self, consistent_read: bool = False) -> None:  # noqa: FBT001, FBT002  PynamoDB's signature
        """Read this item again; DoesNotExist if it is gone. One request."""
        fresh = type(self).get(self.pk, self.sk, consistent_read)
        self.attribute_values, self.raw = fresh.attribute_values, fresh.raw
        self._seen, self._partial = fresh._seen, False  # noqa: SLF001  its own class

    @classmethod
    def get(
        cls,
        hash_key: Any,
        range_key: Any = None,
        consistent_read: bool = False,  # noqa: FBT001, FBT002  PynamoDB's signature
        attributes_to_get: Sequence[str] | None = None,
    ) -> Self:
        """Read by PK and SK, as PynamoDB does; ``Model.objects.get()`` takes the ids."""
        try:
            found = super().get(hash_key, range_key, consistent_read, attributes_to_get)
        except PynamoDoesNotExist:
            found = None
        if found is None or (found.ttl is not None and found.ttl <= time.time()):  # expired is gone, though it may be there
            raise cls.DoesNotExist(f"get {cls.__name__}", (hash_key, range_key))
        return found

    def __repr__(self) -> str:
        """Show the keys, and never what stands in Data."""
        name = type(self).__name__ if self.entity else f"Item {self.entity_type}"
        return f"<{name} {self.pk} / {self.sk}>"

    def _repr_html_(self) -> str:
        """Show a notebook the fields; a token shows as its mask."""
        return notebook.fields(repr(self)[1:-1], self.shown())

    def shown(self) -> Iterator[tuple[str, object]]:
        """Give what is shown of this item: its ids, what is set of its payload, and when it was written."""
        values = self.attribute_values
        ids = self.entity.id_names if self.entity else ("entity_type", "pk", "sk")
        yield from ((name, getattr(self, name)) for name in ids)
        if isinstance(data := values.get("data"), Payload):
            yield from ((str(name), value) for name, value in data.__repr_args__() if name not in ids)
        yield from ((name, values[name]) for name in ("created_at", "updated_at") if name in values)

    # What goes past the write engine is refused: it would leave index keys behind, and the version as it was.

    def update(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: ``Model.objects.update(...)`` changes fields, and keeps the index keys right."""
        _refuse("update() with actions", "Model.objects.update(..., field=value)")

    @classmethod
    def batch_write(cls, *_: Any, **__: Any) -> NoReturn:
        """Refuse: PynamoDB's batches drop what DynamoDB left unprocessed."""
        _refuse("batch_write()", "Model.objects.save_many()")

    def get_save_kwargs_from_instance(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse PynamoDB's transactions."""
        _refuse("a PynamoDB transaction's save()", "mlssocial.transaction()")

    def get_update_kwargs_from_instance(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse PynamoDB's transactions."""
        _refuse("a PynamoDB transaction's update()", "mlssocial.transaction()")

    def get_delete_kwargs_from_instance(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse PynamoDB's transactions."""
        _refuse("a PynamoDB transaction's delete()", "mlssocial.transaction()")

    # The table

    @classmethod
    def delete_table(cls, *_: Any, **__: Any) -> NoReturn:
        """Refuse: the table is shared, and other applications' items are in it."""
        raise ConfigurationError("delete_table() would drop other applications' items too; use AWS's own tools for that")

    @classmethod
    def create_table(cls, *_: Any, **__: Any) -> Any:
        """Make the shared table, as :func:`mlssocial.create_table` does."""
        return create_table()

    @classmethod
    def declaration(cls) -> Mapping[str, Any]:
        """Give what the models declare of the table: keys, attribute types and indexes."""
        return cast("Mapping[str, Any]", cls._get_schema())

    @classmethod
    def exists(cls) -> bool:
        """Tell whether the table is there."""
        return table.describe() is not None

    @classmethod
    def _get_connection(cls) -> TableConnection:
        definition = cls.declaration()
        return PynamoTable(
            MetaTable(
                {
                    "TableName": cls.Meta.table_name,
                    "KeySchema": definition["key_schema"],
                    "AttributeDefinitions": definition["attribute_definitions"],
                    "GlobalSecondaryIndexes": [
                        {"IndexName": index["index_name"], "KeySchema": index["key_schema"]}
                        for index in definition["global_secondary_indexes"]
                    ],
                }
            )
        )

    # Between rows and instances

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Make an item of a row that was read: of its own class, or an Item where that is another application's."""
        kind = entity_type(row)
        found = _CLASSES.get(kind, Item)
        if found is not cls and not issubclass(found, cls):
            key = (str(row[schema.PK].S), str(row[schema.SK].S))
            reason = f"the item there is a {kind or 'row without EntityType'}"
            raise InvalidItemError(f"read {cls.__name__}", key, reason)
        item = found.__new__(found)
        item._take(row)  # noqa: SLF001  its own class
        return item

    @classmethod
    def unread(cls, key: tuple[str, str]) -> Self:
        """Make an item of which the key alone is known: it has its ids, can be refreshed, and not be written."""
        item = cls(*key)
        item._partial = True
        return item

    @classmethod
    def _instantiate(cls, attribute_values: WireMap | Row) -> Self:
        """Make an item of a row, in whichever form PynamoDB has it."""
        return cls.from_row(row_of(attribute_values))

    def _take(self, row: Row) -> None:
        """Take over a stored row. What the class does not declare, or not with that type, stays as it came in *raw*."""
        self.attribute_values, self.raw = self._read(row)  # before what can fail: a traceback shows this instance by its key
        self._partial, entity = type(row) is PartialRow, self.entity
        if entity is not None and not self._partial:
            self.attribute_values["data"] = entity.decode(f"read {entity.name}", row)
        self._seen = _seen_in(row)

    def take_head(self, head: Head) -> None:
        """Take over what a write of the whole item gave it beside Data."""
        values = self.attribute_values
        for name, key in zip(schema.INDEX_ATTRIBUTES, head.keys[2:], strict=True):
            if key is not None:
                values[name] = key
            elif name in values:
                del values[name]
        values["entity_type"], values["write_id"] = head.entity_type, head.write_id
        values["created_at"], values["updated_at"] = moment(head.created_at), moment(head.updated_at)
        self._take_key_fields()
        self._seen = AttributeValue(N=str(head.updated_at)), AttributeValue(S=head.write_id)

    def take_row(self, row: Row) -> None:
        """Take over what a write of this item's payload has left of it in the table."""
        for name in schema.INDEX_ATTRIBUTES:
            self.attribute_values.pop(name, None)
        self._take_beside(row)
        self._take_key_fields()
        self._seen = _seen_in(row)

    def _take_beside(self, row: Row) -> None:
        """Take over a row's attributes beside Data; what cannot be read of them is *raw* alone."""
        values, self.raw = self._read(row)
        for name in self.raw.keys() & _NUMBERS.keys():
            self.attribute_values.pop(_NUMBERS[name][0], None)
        self.attribute_values |= values

    def _take_key_fields(self) -> None:
        """Fill in the payload's fields that repeat the key, as what was written has them."""
        for name, part in (self.entity.key_fields if self.entity else {}).items():
            if getattr(self.attribute_values["data"], name, None) is None:
                setattr(self.attribute_values["data"], name, getattr(self, part))

    def _read(self, row: Row) -> tuple[dict[str, Any], WireMap]:
        """Read the attributes that the class declares, by their Python names; and give the others as they came."""
        values: dict[str, Any] = {}
        raw: WireMap = {}
        for name, value in row.items():
            if (text := value.S) is not None and name in _TEXTS:
                values[_TEXTS[name]] = text
            elif (number := value.N) is not None and name in _NUMBERS:
                declared, read = _NUMBERS[name]
                try:
                    values[declared] = read(number)
                except (ValueError, OverflowError):
                    raw[name] = plain(value)
            elif name != schema.DATA or self.entity is None:
                raw[name] = plain(value)
        return values, raw

    def _writable(self, verb: str) -> tuple[Entity[Any], tuple[Any, ...]]:
        key = (self.attribute_values["pk"], self.attribute_values["sk"])  # PynamoDB's attribute look-up costs more
        if self.entity is None:
            raise WrongEntityError(f"{verb} item", key, found=self.entity_type)
        if self._partial:
            reason = "it was read in part, and without its version and the rest it can only be read; refresh() it first"
            raise InvalidItemError(f"{verb} {self.entity.name}", key, reason)
        return self.entity, self.entity.parse(*key)


def _seen_in(row: Row) -> _Seen:
    return row.get(schema.UPDATED_AT), row.get(schema.WRITE_ID)


_BESIDE = ("ttl", "lease_id", "lease_until")
_TEXTS = {a.attr_name: name for name, a in Item.get_attributes().items() if a.attr_type == "S"}
_NUMBERS = {a.attr_name: (name, a.deserialize) for name, a in Item.get_attributes().items() if a.attr_type == "N"}


class Listing(Item, discriminator=schema.LISTING.name):
    """A property, as its MLS describes it. Access patterns 1, 2 and 3."""

    class DoesNotExist(ItemDoesNotExist):
        """The listing is not there."""

    entity = schema.LISTING
    data = DataAttribute(schema.LISTING)
    mls_number_index = MLSNumberIndex()
    status_index = StatusIndex()
    objects: ClassVar[ListingManager] = ListingManager()  # type: ignore[assignment]  # each entity has its own methods

    @property
    def listing_id(self) -> str:
        """The listing's id, out of the sort key."""
        return keys.parse_listing_keys(self.pk, self.sk).listing_id


class MLSConnection(Item, discriminator=schema.MLS_CONNECTION.name):
    """A user's access to an MLS feed. Access patterns 7 and 8."""

    class DoesNotExist(ItemDoesNotExist):
        """The connection is not there."""

    entity = schema.MLS_CONNECTION
    data = DataAttribute(schema.MLS_CONNECTION)
    sync_queue_index = SyncQueueIndex()
    objects: ClassVar[MLSConnectionManager] = MLSConnectionManager()  # type: ignore[assignment]  # each entity has its own methods

    @property
    def connection_id(self) -> str:
        """The connection's id, out of the sort key."""
        return keys.parse_mls_connection_keys(self.pk, self.sk).connection_id


class SocialConnection(Item, discriminator=schema.SOCIAL_CONNECTION.name):
    """A user's access to a social platform, one a platform. Access patterns 6 and 9."""

    class DoesNotExist(ItemDoesNotExist):
        """The connection is not there."""

    entity = schema.SOCIAL_CONNECTION
    data = DataAttribute(schema.SOCIAL_CONNECTION)
    token_expiry_index = TokenExpiryIndex()
    objects: ClassVar[SocialConnectionManager] = SocialConnectionManager()  # type: ignore[assignment]  # each entity has its own methods

    @property
    def platform(self) -> Platform | str:
        """The platform in lower case, out of the sort key."""
        return Platform.named(keys.parse_social_connection_keys(self.pk, self.sk).platform.lower())


class SocialPost(Item, discriminator=schema.SOCIAL_POST.name):
    """A post on a platform, of a listing or of none. Access patterns 4 and 10."""

    class DoesNotExist(ItemDoesNotExist):
        """The post is not there."""

    entity = schema.SOCIAL_POST
    data = DataAttribute(schema.SOCIAL_POST)
    listing_post_index = ListingPostIndex()
    unpublish_queue_index = UnpublishQueueIndex()
    objects: ClassVar[SocialPostManager] = SocialPostManager()  # type: ignore[assignment]  # each entity has its own methods

    @property
    def post_id(self) -> str:
        """The post's id, out of the sort key."""
        return keys.parse_social_post_keys(self.pk, self.sk).post_id


class PerformanceMetrics(Item, discriminator=schema.PERFORMANCE_METRICS.name):
    """A listing's figures of one day. Access pattern 5."""

    class DoesNotExist(ItemDoesNotExist):
        """There are no figures of that day."""

    entity = schema.PERFORMANCE_METRICS
    data = DataAttribute(schema.PERFORMANCE_METRICS)
    objects: ClassVar[PerformanceMetricsManager] = PerformanceMetricsManager()  # type: ignore[assignment]  # each entity has its own methods

    @property
    def listing_id(self) -> str:
        """The listing's id, out of the sort key."""
        return keys.parse_performance_metrics_keys(self.pk, self.sk).listing_id

    @property
    def date(self) -> date:
        """The day, out of the sort key."""
        return keys.parse_performance_metrics_keys(self.pk, self.sk).date


_CLASSES: dict[str | None, type[Item]] = {
    model.entity.name: model for model in (Listing, MLSConnection, SocialConnection, SocialPost, PerformanceMetrics)
}


@operation
def create_table(*, wait_seconds: float = 60) -> bool:
    """
    Make the shared table with GSI1, GSI2 and TTL, on demand, and wait until it can be used.

    Does nothing where it stands, but for switching TTL on. True if it was made.

    Raises:
        StoreError: DynamoDB refused, or the table was not ready after *wait_seconds*.
    """
    return table.create(Item.declaration(), wait_seconds=wait_seconds)


@operation
def check_table() -> list[str]:
    """
    Compare the live table with the declaration, and name each difference; an empty list means that all is well.

    Further indexes are fine: the table is shared. Two control-plane requests, no capacity.
    """
    return table.differences(Item.declaration())


def _refuse(what: str, instead: str) -> NoReturn:
    raise ConfigurationError(f"{what} would leave index keys behind; use {instead}")
