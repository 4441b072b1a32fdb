"""PynamoDB with pydantic on top: Data is an untyped MapAttribute, whose dict the pydantic payload validates."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import field_serializer
from pynamodb.attributes import MapAttribute

from . import base, payload, pynamodb_typed

if TYPE_CHECKING:
    from benchmarks.item import Ids, View


class ListingData(payload.ListingData):
    """The payload, written as what an untyped MapAttribute takes: no Decimal, and no enum."""

    @field_serializer("status")
    def _value(self, value: payload.Status) -> str:
        return value.value

    @field_serializer("price", "bedrooms", "bathrooms", "square_feet", "lot_size")
    def _plain(self, value: Decimal | None) -> int | float | None:
        if value is None:
            return None
        return int(value) if value == value.to_integral_value() else float(value)


class Row(pynamodb_typed.Row):
    """The table's own attributes, and Data as whatever stands there."""

    class Meta(pynamodb_typed.Row.Meta):
        pass

    data: MapAttribute[str, Any] = MapAttribute(attr_name="Data")


class Listing(NamedTuple):
    """What the application has: the row's own attributes, and a validated payload."""

    attributes: dict[str, Any]
    data: ListingData


class Peer(pynamodb_typed.Peer):
    """The model, and the payload on top."""

    model: ClassVar[type[pynamodb_typed.Row]] = Row
    keeps_unknown: ClassVar[bool] = True

    def ready(self, number: int) -> Listing:
        made = self.item(number)
        data = ListingData.model_validate(made.pop("Data"))
        return Listing(pynamodb_typed.named(pynamodb_typed.Row, made), data)

    def get(self, ids: Ids) -> Listing:
        return _listing(Row.get(ids.pk, ids.sk))

    def put(self, ready: Listing) -> None:
        _row(ready).save()

    def query(self, ids: Ids) -> list[Listing]:
        return [_listing(row) for row in Row.query(ids.pk, Row.sk.startswith("LISTING#"))]

    def batch_write(self, ready: list[Listing]) -> None:
        with Row.batch_write() as batch:
            for made in ready:
                batch.save(_row(made))

    def batch_get(self, ids: list[Ids]) -> list[Listing]:
        return [_listing(row) for row in Row.batch_get([(each.pk, each.sk) for each in ids])]

    def view(self, found: Listing) -> View:
        return base.payload_view(found.attributes["sk"], found.data)


def _row(listing: Listing) -> Row:
    return Row(**listing.attributes, data=listing.data.model_dump(exclude_none=True))


def _listing(row: Row) -> Listing:
    attributes = dict(row.attribute_values)
    return Listing(attributes, ListingData.model_validate(attributes.pop("data").as_dict()))
