"""pydynox's client, written in Rust: dicts, in and out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pydynox import DynamoDBClient

from benchmarks.item import View, fields_view

from . import base

if TYPE_CHECKING:
    from benchmarks.item import Ids


class Peer(base.Peer):
    """The client's ``sync_`` methods."""

    def connect(self) -> None:
        logging.getLogger("pydynox").setLevel(logging.ERROR)  # it warns of queries that took 100 ms
        self.client = DynamoDBClient(region=base.REGION, endpoint_url=self.target.endpoint)

    def ready(self, number: int) -> Any:
        return self.item(number)

    def get(self, ids: Ids) -> Any:
        return self.client.sync_get_item(self.target.table, key(ids))

    def put(self, ready: Any) -> None:
        self.client.sync_put_item(self.target.table, ready)

    def query(self, ids: Ids) -> list[Any]:
        found = self.client.sync_query(
            self.target.table,
            "PK = :pk AND begins_with(SK, :prefix)",
            expression_attribute_values={":pk": ids.pk, ":prefix": "LISTING#"},
        )
        return list(found)

    def batch_write(self, ready: list[Any]) -> None:
        self.client.sync_batch_write(self.target.table, put_items=ready)

    def batch_get(self, ids: list[Ids]) -> list[Any]:
        return self.client.sync_batch_get(self.target.table, [key(each) for each in ids])

    def view(self, found: Any) -> View:
        return fields_view(base.listing_id(found["SK"]), found["Data"])


def key(ids: Ids) -> dict[str, Any]:
    """Give an item's key."""
    return {"PK": ids.pk, "SK": ids.sk}
