"""dynantic: pydantic models over boto3's client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from dynantic import DynamoModel, Key, SortKey

from benchmarks import item

from . import base, payload

if TYPE_CHECKING:
    from benchmarks.item import Ids, View


class Listing(DynamoModel):
    """A listing, under the table's own names."""

    class Meta:
        table_name = item.TABLE

    PK: str = Key()
    SK: str = SortKey()
    EntityType: str
    Data: payload.ListingData
    CreatedAt: int
    UpdatedAt: int
    WriteId: str
    GSI1PK: str
    GSI1SK: str
    GSI2PK: str
    GSI2SK: str


class Peer(base.Peer):
    """The model."""

    def connect(self) -> None:
        Listing.set_client(boto3.client("dynamodb", region_name=base.REGION, endpoint_url=self.target.endpoint))
        Listing._meta.table_name = self.target.table  # noqa: SLF001  Meta is read when the class is made, and never again

    def ready(self, number: int) -> Listing:
        return Listing.model_validate(self.item(number))

    def get(self, ids: Ids) -> Any:
        return Listing.get(ids.pk, ids.sk)

    def put(self, ready: Listing) -> None:
        ready.save()

    def query(self, ids: Ids) -> list[Listing]:
        return list(Listing.query(ids.pk).starts_with("LISTING#"))

    def batch_write(self, ready: list[Listing]) -> None:
        Listing.batch_save(ready)

    def batch_get(self, ids: list[Ids]) -> list[Listing]:
        return Listing.batch_get([{"PK": each.pk, "SK": each.sk} for each in ids])

    def view(self, found: Listing) -> View:
        return base.payload_view(found.SK, found.Data)
