"""aiodynamo over aiohttp: dicts, with floats for numbers. A query fetches the next page while it hands out this one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
from aiodynamo.client import Client
from aiodynamo.credentials import Key, StaticCredentials
from aiodynamo.expressions import HashKey, RangeKey
from aiodynamo.http.aiohttp import AIOHTTP
from aiodynamo.models import BatchGetRequest, BatchWriteRequest
from yarl import URL

from benchmarks.item import View, fields_view

from . import base

if TYPE_CHECKING:
    from benchmarks.item import Ids


class Peer(base.Peer):
    """The client and its table, one call after the other on one event loop."""

    def connect(self) -> None:
        self.run = asyncio.Runner().run
        self.run(self._open())

    async def _open(self) -> None:
        credentials = StaticCredentials(Key("benchmark", "benchmark"))
        session = AIOHTTP(aiohttp.ClientSession())
        self.client = Client(session, credentials, base.REGION, endpoint=URL(self.target.endpoint))
        self.table = self.client.table(self.target.table)

    def ready(self, number: int) -> dict[str, Any]:
        return self.item(number)

    async def get(self, ids: Ids) -> dict[str, Any]:
        return await self.table.get_item(_key(ids))

    async def put(self, ready: dict[str, Any]) -> None:
        await self.table.put_item(ready)

    async def query(self, ids: Ids) -> list[dict[str, Any]]:
        condition = HashKey("PK", ids.pk) & RangeKey("SK").begins_with("LISTING#")
        return [found async for found in self.table.query(condition)]

    async def batch_write(self, ready: list[dict[str, Any]]) -> None:
        for chunk in base.chunks(ready, base.WRITE_LIMIT):
            pending = list(chunk)
            while pending:
                answer = await self.client.batch_write({self.target.table: BatchWriteRequest(items_to_put=pending)})
                pending = answer[self.target.table].unput_items if answer else []

    async def batch_get(self, ids: list[Ids]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for chunk in base.chunks(ids, base.GET_LIMIT):
            pending = [_key(each) for each in chunk]
            while pending:
                answer = await self.client.batch_get({self.target.table: BatchGetRequest(pending)})
                found += answer.items[self.target.table]
                pending = answer.unprocessed_keys.get(self.target.table, [])
        return found

    def view(self, found: dict[str, Any]) -> View:
        return fields_view(base.listing_id(found["SK"]), found["Data"])


def _key(ids: Ids) -> dict[str, Any]:
    return {"PK": ids.pk, "SK": ids.sk}
