"""dyntastic: pydantic models over boto3's Table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from boto3.dynamodb.conditions import Key
from dyntastic import Dyntastic

from benchmarks import item

from . import base, payload

if TYPE_CHECKING:
    from benchmarks.item import Ids, View


class Listing(Dyntastic):
    """A listing, under the table's own names."""

    __table_name__ = item.TABLE
    __table_region__ = base.REGION
    __hash_key__ = "PK"
    __range_key__ = "SK"

    PK: str
    SK: str
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
        Listing.__table_name__, Listing.__table_host__ = self.target.table, self.target.endpoint
        Listing._dynamodb_table()  # noqa: SLF001  there is no public way without a request

    def ready(self, number: int) -> Listing:
        return Listing.model_validate(self.item(number))

    def get(self, ids: Ids) -> Listing:
        return Listing.get(ids.pk, ids.sk)

    def put(self, ready: Listing) -> None:
        ready.save()

    def query(self, ids: Ids) -> list[Listing]:
        return list(Listing.query(ids.pk, range_key_condition=Key("SK").begins_with("LISTING#")))

    def batch_write(self, ready: list[Listing]) -> None:
        with Listing.batch_writer():
            for made in ready:
                made.save()

    def batch_get(self, ids: list[Ids]) -> list[Any]:
        return [
            found
            for chunk in base.chunks(ids, base.GET_LIMIT)
            for found in Listing.batch_get([(each.pk, each.sk) for each in chunk])
        ]

    def view(self, found: Listing) -> View:
        return base.payload_view(found.SK, found.Data)
