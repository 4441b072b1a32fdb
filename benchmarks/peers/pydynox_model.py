"""pydynox's own models: the table's attributes are declared, and Data is a map, as its models know no typed ones."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pydynox import DynamoDBClient, Model, ModelConfig, SyncBatchWriter
from pydynox.attributes import MapAttribute, NumberAttribute, StringAttribute

from benchmarks.item import View, fields_view

from . import base

if TYPE_CHECKING:
    from benchmarks.item import Ids

NAMES = {
    "PK": "pk", "SK": "sk", "EntityType": "entity_type", "Data": "data", "CreatedAt": "created_at", "UpdatedAt": "updated_at",
    "WriteId": "write_id", "GSI1PK": "gsi1pk", "GSI1SK": "gsi1sk", "GSI2PK": "gsi2pk", "GSI2SK": "gsi2sk",
}  # fmt: skip


class Listing(Model):
    """A listing."""

    pk = StringAttribute(partition_key=True, alias="PK")
    sk = StringAttribute(sort_key=True, alias="SK")
    entity_type = StringAttribute(alias="EntityType")
    data = MapAttribute(alias="Data")
    created_at = NumberAttribute(alias="CreatedAt")
    updated_at = NumberAttribute(alias="UpdatedAt")
    write_id = StringAttribute(alias="WriteId")
    gsi1pk = StringAttribute(alias="GSI1PK")
    gsi1sk = StringAttribute(alias="GSI1SK")
    gsi2pk = StringAttribute(alias="GSI2PK")
    gsi2sk = StringAttribute(alias="GSI2SK")


class Peer(base.Peer):
    """The model's ``sync_`` methods."""

    def connect(self) -> None:
        logging.getLogger("pydynox").setLevel(logging.ERROR)  # it warns of queries that took 100 ms
        self.client = DynamoDBClient(region=base.REGION, endpoint_url=self.target.endpoint)
        Listing.model_config = ModelConfig(self.target.table, self.client)

    def ready(self, number: int) -> Listing:
        return Listing(**{NAMES[name]: value for name, value in self.item(number).items()})

    def get(self, ids: Ids) -> Any:
        return Listing.sync_get(pk=ids.pk, sk=ids.sk)

    def put(self, ready: Listing) -> None:
        ready.sync_save()

    def query(self, ids: Ids) -> list[Any]:
        return list(Listing.sync_query(ids.pk, sort_key_condition=Listing.sk.begins_with("LISTING#")))

    def batch_write(self, ready: list[Listing]) -> None:
        with SyncBatchWriter(self.client, self.target.table) as batch:
            for made in ready:
                batch.put(made.to_dict())

    def batch_get(self, ids: list[Ids]) -> list[Any]:
        return Listing.sync_batch_get([{"pk": each.pk, "sk": each.sk} for each in ids])

    def view(self, found: Any) -> View:
        return fields_view(base.listing_id(found.sk), found.data)
