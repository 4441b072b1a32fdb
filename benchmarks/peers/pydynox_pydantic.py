"""pydynox with pydantic: get and save are its integration's; query and batches, which that has not, go through the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydynox.integrations.pydantic import from_pydantic

from . import base, payload, pydynox_dict

if TYPE_CHECKING:
    from benchmarks.item import Ids, View


class Listing(BaseModel):
    """A listing, under the table's own names."""

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


class Peer(pydynox_dict.Peer):
    """The client, and the model on top."""

    def connect(self) -> None:
        super().connect()
        self.model: Any = from_pydantic(Listing, self.target.table, "PK", "SK", self.client)

    def ready(self, number: int) -> Listing:
        return Listing.model_validate(self.item(number))

    def get(self, ids: Ids) -> Any:
        return self.model.sync_get(PK=ids.pk, SK=ids.sk)

    def put(self, ready: Any) -> None:
        ready.sync_save()

    def query(self, ids: Ids) -> list[Any]:
        return [Listing.model_validate(found) for found in super().query(ids)]

    def batch_write(self, ready: list[Listing]) -> None:
        super().batch_write([made.model_dump() for made in ready])

    def batch_get(self, ids: list[Ids]) -> list[Any]:
        return [Listing.model_validate(found) for found in super().batch_get(ids)]

    def view(self, found: Listing) -> View:
        return base.payload_view(found.SK, found.Data)
