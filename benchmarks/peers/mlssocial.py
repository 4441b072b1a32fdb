"""mlssocial itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlssocial
from mlssocial import Listing, ListingData
from mlssocial.connection import store

from benchmarks import item

from . import base

if TYPE_CHECKING:
    from benchmarks.item import Ids, View


class Peer(base.Peer):
    """``Listing.objects``, and ``save`` of a listing that is ready."""

    def missing(self, operation: str) -> str | None:
        name = {"batch_write": "save_many", "batch_get": "get_many"}.get(operation)
        return None if name is None or hasattr(Listing.objects, name) else f"Listing.objects.{name} is not there yet"

    def connect(self) -> None:
        mlssocial.configure(table_name=self.target.table, region=base.REGION, endpoint_url=self.target.endpoint)
        _ = store().client  # made when it is first asked for

    def ready(self, number: int) -> Listing:
        """Make a new listing: one that was read or saved before would be saved under the condition that it has not changed."""
        data = ListingData.model_validate(self.item(number)["Data"])
        return Listing(**item.ids(number)._asdict(), data=data)

    def get(self, ids: Ids) -> Listing:
        return Listing.objects.get(ids.user_id, ids.listing_id)

    def put(self, ready: Listing) -> None:
        ready.save()

    def query(self, ids: Ids) -> list[Listing]:
        return list(Listing.objects.query(ids.user_id))

    def batch_write(self, ready: list[Listing]) -> Any:
        return Listing.objects.save_many(ready)

    def batch_get(self, ids: list[Ids]) -> list[Listing]:
        return list(Listing.objects.get_many(ids).values())

    def view(self, found: Listing) -> View:
        return base.payload_view(found.sk, found.data)
