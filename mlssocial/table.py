"""The table itself: making it, and comparing a live one with what the models declare."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .connection import store
from .exceptions import StoreError
from .schema import TTL

if TYPE_CHECKING:
    from collections.abc import Mapping

_POLL_SECONDS = 0.5


def create(declared: Mapping[str, Any], *, wait_seconds: float) -> bool:
    """Make the declared table unless it stands, wait for it, and switch TTL on. True if it was made."""
    made = describe() is None and _make(declared)
    deadline = time.monotonic() + wait_seconds
    while (live := describe()) is None or live["TableStatus"] == "CREATING":
        if time.monotonic() > deadline:
            reason = f"not ready after {wait_seconds} s; it may become so, and check_table() tells"
            raise StoreError(f"create_table {store().table_name}: {reason}", code="TableNotReady")
        time.sleep(_POLL_SECONDS)
    if _ttl_attribute() is None:
        specification = {"Enabled": True, "AttributeName": TTL}
        store().call("UpdateTimeToLive", {"TableName": store().table_name, "TimeToLiveSpecification": specification})
    return made


def differences(declared: Mapping[str, Any]) -> list[str]:
    """Name each difference between the live table and the declared one."""
    name, live = store().table_name, describe()
    if live is None:
        return [f"{name} does not exist; create_table() makes it"]
    found = _key_differences(name, declared["key_schema"], live)
    indexes = {index["IndexName"]: index for index in live.get("GlobalSecondaryIndexes", [])}
    for index in declared["global_secondary_indexes"]:
        where = f"{name} index {index['index_name']}"
        if (stands := indexes.get(index["index_name"])) is None:
            found.append(f"{where} does not exist")
            continue
        found += _key_differences(where, index["key_schema"], stands)
        if (projection := stands.get("Projection", {}).get("ProjectionType")) != "ALL":
            found.append(f"{where} projects {projection}, and reads need ALL")
        if (status := stands.get("IndexStatus", "ACTIVE")) != "ACTIVE":
            found.append(f"{where} is {status}")
    found += _type_differences(name, declared, live)
    if (attribute := _ttl_attribute()) != TTL:
        found.append(f"{name} expires items by {attribute or 'no attribute'}, and not by {TTL}")
    return found


def describe() -> dict[str, Any] | None:
    """Describe the live table; None if there is none. One request."""
    try:
        described: dict[str, Any] | None = store().call("DescribeTable", {"TableName": store().table_name}).get("Table")
    except StoreError as error:
        if error.code == "ResourceNotFoundException":
            return None
        raise
    if described is None:
        raise StoreError(f"DescribeTable on {store().table_name}: what answers is not DynamoDB", code="InvalidAnswer")
    return described


def _make(declared: Mapping[str, Any]) -> bool:
    attributes = {a["AttributeName"]: a["AttributeType"] for a in declared["attribute_definitions"]}
    request = {
        "TableName": store().table_name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": _ordered(declared["key_schema"]),
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": t} for n, t in sorted(attributes.items())],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": index["index_name"],
                "KeySchema": _ordered(index["key_schema"]),
                "Projection": {"ProjectionType": "ALL"},
            }
            for index in declared["global_secondary_indexes"]
        ],
    }
    try:
        store().call("CreateTable", request)
    except StoreError as error:
        if error.code == "ResourceInUseException":  # somebody else was faster
            return False
        raise
    return True


def _ordered(key_schema: Any) -> list[dict[str, str]]:
    return sorted(key_schema, key=lambda key: key["KeyType"])  # HASH before RANGE, as DynamoDB wants it


def _key_differences(where: str, declared: Any, live: Mapping[str, Any]) -> list[str]:
    wanted, found = ([key["AttributeName"] for key in _ordered(schema)] for schema in (declared, live["KeySchema"]))
    return [] if wanted == found else [f"{where} has the keys {', '.join(found)} and not {', '.join(wanted)}"]


def _type_differences(name: str, declared: Mapping[str, Any], live: Mapping[str, Any]) -> list[str]:
    types = {a["AttributeName"]: a["AttributeType"] for a in live["AttributeDefinitions"]}
    wanted = {a["AttributeName"]: a["AttributeType"] for a in declared["attribute_definitions"]}
    return [
        f"{name} key attribute {attribute} is of type {types[attribute]} and not {kind}"
        for attribute, kind in sorted(wanted.items())
        if types.get(attribute, kind) != kind
    ]


def _ttl_attribute() -> str | None:
    description = store().call("DescribeTimeToLive", {"TableName": store().table_name})["TimeToLiveDescription"]
    enabled = description.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
    return description.get("AttributeName") if enabled else None
