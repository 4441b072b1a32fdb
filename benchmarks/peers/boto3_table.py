"""boto3's resource and its Table: Python values with Decimals, in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from boto3.dynamodb.conditions import Key

from benchmarks.item import View, fields_view

from . import base

if TYPE_CHECKING:
    from benchmarks.item import Ids


class Peer(base.Peer):
    """The Table, and the resource for batch gets."""

    def connect(self) -> None:
        self.resource = boto3.resource("dynamodb", region_name=base.REGION, endpoint_url=self.target.endpoint)
        self.table = self.resource.Table(self.target.table)

    def ready(self, number: int) -> dict[str, Any]:
        return self.item(number)

    def get(self, ids: Ids) -> dict[str, Any]:
        found: dict[str, Any] = self.table.get_item(Key=_key(ids))["Item"]
        return found

    def put(self, ready: dict[str, Any]) -> None:
        self.table.put_item(Item=ready)

    def query(self, ids: Ids) -> list[dict[str, Any]]:
        request: dict[str, Any] = {"KeyConditionExpression": Key("PK").eq(ids.pk) & Key("SK").begins_with("LISTING#")}
        found: list[dict[str, Any]] = []
        while True:
            answer = self.table.query(**request)
            found += answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return found
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def batch_write(self, ready: list[dict[str, Any]]) -> None:
        with self.table.batch_writer() as batch:
            for made in ready:
                batch.put_item(Item=made)

    def batch_get(self, ids: list[Ids]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for chunk in base.chunks(ids, base.GET_LIMIT):
            pending: Any = {self.target.table: {"Keys": [_key(each) for each in chunk]}}
            while pending:
                answer = self.resource.batch_get_item(RequestItems=pending)
                found += answer["Responses"][self.target.table]
                pending = answer["UnprocessedKeys"]
        return found

    def view(self, found: dict[str, Any]) -> View:
        return fields_view(base.listing_id(found["SK"]), found["Data"])


def _key(ids: Ids) -> dict[str, str]:
    return {"PK": ids.pk, "SK": ids.sk}
