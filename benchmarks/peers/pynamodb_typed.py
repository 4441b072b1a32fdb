"""PynamoDB with Data as a typed MapAttribute. Its numbers are floats, and fields that it does not know are lost."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from pynamodb.attributes import ListAttribute, MapAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from benchmarks import item

from . import base

if TYPE_CHECKING:
    from benchmarks.item import Ids, View


class Address(MapAttribute[str, Any]):
    """A listing's address."""

    street = UnicodeAttribute(null=True)
    city = UnicodeAttribute(null=True)
    state = UnicodeAttribute(null=True)
    zip = UnicodeAttribute(null=True)
    country = UnicodeAttribute(null=True)


class Photo(MapAttribute[str, Any]):
    """One photo."""

    url = UnicodeAttribute(null=True)
    caption = UnicodeAttribute(null=True)
    order = NumberAttribute(null=True)


class ListingData(MapAttribute[str, Any]):
    """A listing's fields."""

    status = UnicodeAttribute()
    mls_id = UnicodeAttribute(attr_name="mlsId", null=True)
    mls_number = UnicodeAttribute(attr_name="mlsNumber", null=True)
    mls_provider = UnicodeAttribute(attr_name="mlsProvider", null=True)
    price = NumberAttribute(null=True)
    bedrooms = NumberAttribute(null=True)
    bathrooms = NumberAttribute(null=True)
    square_feet = NumberAttribute(attr_name="squareFeet", null=True)
    property_type = UnicodeAttribute(attr_name="propertyType", null=True)
    list_date = UnicodeAttribute(attr_name="listDate", null=True)
    description = UnicodeAttribute(null=True)
    address = Address(null=True)
    photos: ListAttribute[Photo] = ListAttribute(of=Photo, null=True)
    features: ListAttribute[UnicodeAttribute] = ListAttribute(of=UnicodeAttribute, null=True)
    synced_at = NumberAttribute(attr_name="syncedAt", null=True)
    lot_size = NumberAttribute(attr_name="lotSize", null=True)
    year_built = NumberAttribute(attr_name="yearBuilt", null=True)
    standard_status = UnicodeAttribute(attr_name="standardStatus", null=True)
    mls_status = UnicodeAttribute(attr_name="mlsStatus", null=True)
    modification_timestamp = UnicodeAttribute(attr_name="modificationTimestamp", null=True)


class Row(Model):
    """The table's own attributes."""

    class Meta:
        table_name = item.TABLE
        region = base.REGION
        host: str | None = None

    pk = UnicodeAttribute(hash_key=True, attr_name="PK")
    sk = UnicodeAttribute(range_key=True, attr_name="SK")
    entity_type = UnicodeAttribute(attr_name="EntityType")
    created_at = NumberAttribute(attr_name="CreatedAt")
    updated_at = NumberAttribute(attr_name="UpdatedAt")
    write_id = UnicodeAttribute(attr_name="WriteId", null=True)
    gsi1pk = UnicodeAttribute(attr_name="GSI1PK", null=True)
    gsi1sk = UnicodeAttribute(attr_name="GSI1SK", null=True)
    gsi2pk = UnicodeAttribute(attr_name="GSI2PK", null=True)
    gsi2sk = UnicodeAttribute(attr_name="GSI2SK", null=True)


class Listing(Row):
    """A listing."""

    class Meta(Row.Meta):
        pass

    data = ListingData(attr_name="Data")


class Peer(base.Peer):
    """The model."""

    model: ClassVar[type[Row]] = Listing
    keeps_unknown: ClassVar[bool] = False

    def connect(self) -> None:
        self.model.Meta.table_name, self.model.Meta.host = self.target.table, self.target.endpoint
        connection = self.model._get_connection().connection  # noqa: SLF001  there is no public way without a request
        _ = connection.client  # made when it is first asked for

    def ready(self, number: int) -> Any:
        made = item.item(number)
        fields = made.pop("Data")
        return self.model(**named(Row, made), data=_data(fields))

    def get(self, ids: Ids) -> Any:
        return self.model.get(ids.pk, ids.sk)

    def put(self, ready: Any) -> None:
        ready.save()

    def query(self, ids: Ids) -> list[Any]:
        return list(self.model.query(ids.pk, self.model.sk.startswith("LISTING#")))

    def batch_write(self, ready: list[Any]) -> None:
        with self.model.batch_write() as batch:
            for made in ready:
                batch.save(made)

    def batch_get(self, ids: list[Ids]) -> list[Any]:
        return list(self.model.batch_get([(each.pk, each.sk) for each in ids]))

    def view(self, found: Any) -> View:
        return base.payload_view(found.sk, found.data)


def named(container: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Go from the table's names to the attributes' own, and from Decimals to floats, which PynamoDB's numbers are."""
    names = {attribute.attr_name: name for name, attribute in container.get_attributes().items()}
    return {names[name]: float(value) if isinstance(value, Decimal) else value for name, value in values.items()}


def _data(fields: dict[str, Any]) -> ListingData:
    values = named(ListingData, fields)
    values["address"] = Address(**values["address"])
    values["photos"] = [Photo(**photo) for photo in values["photos"]]
    return ListingData(**values)
