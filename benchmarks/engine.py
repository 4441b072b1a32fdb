"""Tables on a real engine: a table a peer, made and filled with the thousand items, and removed at the end."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import item
from .peers.base import REGION, WRITE_LIMIT, chunks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KEYS = {None: ("PK", "SK"), "GSI1": ("GSI1PK", "GSI1SK"), "GSI2": ("GSI2PK", "GSI2SK")}


@contextmanager
def tables(endpoint: str, peers: Iterable[str], *, unknown_fields: bool) -> Iterator[dict[str, str]]:
    """Make a filled table for each peer, and give their names; they are gone when the block ends."""
    client = _client(endpoint)
    run = secrets.token_hex(4)
    made: dict[str, str] = {}
    try:
        for peer in peers:
            made[peer] = f"{item.TABLE}-{run}-{peer}"
            _create(client, made[peer])
            _fill(client, made[peer], unknown_fields=unknown_fields)
        yield made
    finally:
        for name in made.values():
            _delete(client, name)


def _client(endpoint: str) -> Any:
    import boto3

    # Made-up credentials on purpose: a mistyped endpoint must not make tables in somebody's account.
    session = boto3.Session(aws_access_key_id="benchmark", aws_secret_access_key="benchmark", region_name=REGION)
    return session.client("dynamodb", endpoint_url=endpoint)


def _create(client: Any, name: str) -> None:
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=_key_schema(None),
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for keys in KEYS.values() for key in keys],
        GlobalSecondaryIndexes=[
            {"IndexName": index, "KeySchema": _key_schema(index), "Projection": {"ProjectionType": "ALL"}}
            for index in KEYS
            if index is not None
        ],
    )
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def _fill(client: Any, name: str, *, unknown_fields: bool) -> None:
    for numbers in chunks(range(item.COUNT), WRITE_LIMIT):
        items = (item.wire_map(item.item(number, unknown_fields=unknown_fields)) for number in numbers)
        pending: Any = {name: [{"PutRequest": {"Item": made}} for made in items]}
        while pending:
            pending = client.batch_write_item(RequestItems=pending)["UnprocessedItems"]


def _delete(client: Any, name: str) -> None:
    try:
        client.delete_table(TableName=name)
    except client.exceptions.ResourceNotFoundException:
        return


def _key_schema(index: str | None) -> list[dict[str, str]]:
    return [{"AttributeName": key, "KeyType": kind} for key, kind in zip(KEYS[index], ("HASH", "RANGE"), strict=True)]
