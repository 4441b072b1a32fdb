"""boto3's client: DynamoDB's attribute values as dicts, in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3

from benchmarks.item import View, wire_map

from . import base

if TYPE_CHECKING:
    from benchmarks.item import Ids


class Peer(base.Peer):
    """The client, with its paginator."""

    def connect(self) -> None:
        self.client = boto3.client("dynamodb", region_name=base.REGION, endpoint_url=self.target.endpoint)
        self.pages = self.client.get_paginator("query")

    def ready(self, number: int) -> dict[str, Any]:
        return wire_map(self.item(number))

    def get(self, ids: Ids) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get_item(TableName=self.target.table, Key=_key(ids))["Item"]
        return found

    def put(self, ready: dict[str, Any]) -> None:
        self.client.put_item(TableName=self.target.table, Item=ready)

    def query(self, ids: Ids) -> list[dict[str, Any]]:
        pages = self.pages.paginate(
            TableName=self.target.table,
            KeyConditionExpression="PK = :pk AND begins_with(SK, :prefix)",
            ExpressionAttributeValues={":pk": {"S": ids.pk}, ":prefix": {"S": "LISTING#"}},
        )
        return [found for page in pages for found in page["Items"]]

    def batch_write(self, ready: list[dict[str, Any]]) -> None:
        for chunk in base.chunks(ready, base.WRITE_LIMIT):
            pending: Any = {self.target.table: [{"PutRequest": {"Item": made}} for made in chunk]}
            while pending:
                pending = self.client.batch_write_item(RequestItems=pending)["UnprocessedItems"]

    def batch_get(self, ids: list[Ids]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for chunk in base.chunks(ids, base.GET_LIMIT):
            pending: Any = {self.target.table: {"Keys": [_key(each) for each in chunk]}}
            while pending:
                answer = self.client.batch_get_item(RequestItems=pending)
                found += answer["Responses"][self.target.table]
                pending = answer["UnprocessedKeys"]
        return found

    def view(self, found: dict[str, Any]) -> View:
        fields = found["Data"]["M"]
        photos = [photo["M"]["url"]["S"] for photo in fields["photos"]["L"]]
        unknown = (fields["heating"]["S"], int(fields["parking"]["M"]["spaces"]["N"])) if "heating" in fields else ()
        features = [feature["S"] for feature in fields["features"]["L"]]
        listing_id = base.listing_id(found["SK"]["S"])
        return View(listing_id, float(fields["price"]["N"]), float(fields["bathrooms"]["N"]), photos, features, unknown)


def _key(ids: Ids) -> dict[str, Any]:
    return {"PK": {"S": ids.pk}, "SK": {"S": ids.sk}}
