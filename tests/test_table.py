"""Making the table, and comparing a live one with the declaration."""

from __future__ import annotations

from typing import Any

import pytest

from mlssocial import StoreError, check_table, configure, create_table
from mlssocial.connection import recorded, store

STRING = "S"


def make(indexes: dict[str, Any], *, keys: tuple[str, str] = ("PK", "SK"), kinds: dict[str, str] | None = None) -> None:
    """Make a table by hand."""
    names = {*keys, *(name for index in indexes.values() for name in index["keys"])}
    request: dict[str, Any] = {
        "TableName": store().table_name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": schema(keys),
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": (kinds or {}).get(n, STRING)} for n in sorted(names)],
    }
    if indexes:
        request["GlobalSecondaryIndexes"] = [
            {
                "IndexName": name,
                "KeySchema": schema(index["keys"]),
                "Projection": {"ProjectionType": index.get("projects", "ALL")},
            }
            for name, index in indexes.items()
        ]
    store().call("CreateTable", request)


def schema(keys: tuple[str, ...]) -> list[dict[str, str]]:
    """Give a key schema of a partition key and a sort key."""
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(keys, ("HASH", "RANGE"), strict=True)]


def index(number: int, **more: Any) -> dict[str, Any]:
    """Give one of the overloaded indexes."""
    return {"keys": (f"GSI{number}PK", f"GSI{number}SK"), **more}


@pytest.mark.usefixtures("engine")
class TestTable:
    def test_made_once(self) -> None:
        """create_table() makes the table, TTL and all, and does nothing where it stands."""
        assert check_table() == [f"{store().table_name} does not exist; create_table() makes it"]
        assert create_table() is True
        assert check_table() == []
        with recorded() as calls:
            assert create_table() is False
        assert {call.operation for call in calls} == {"DescribeTable", "DescribeTimeToLive"}

    def test_a_shared_table_is_fine(self) -> None:
        """The live table, with GSI1 to GSI4, is no difference but for its TTL, which create_table() switches on."""
        make({f"GSI{number}": index(number) for number in (1, 2, 3, 4)})
        assert check_table() == [f"{store().table_name} expires items by no attribute, and not by TTL"]
        create_table()
        assert check_table() == []

    def test_each_difference_is_named(self) -> None:
        """Missing indexes, other keys, other types and other projections are named one by one."""
        name = store().table_name
        make(
            {"GSI1": {"keys": ("GSI1PK", "Other"), "projects": "KEYS_ONLY"}},
            keys=("PK", "Sort"),
            kinds={"GSI1PK": "N"},
        )
        assert check_table() == [
            f"{name} has the keys PK, Sort and not PK, SK",
            f"{name} index GSI1 has the keys GSI1PK, Other and not GSI1PK, GSI1SK",
            f"{name} index GSI1 projects KEYS_ONLY, and reads need ALL",
            f"{name} index GSI2 does not exist",
            f"{name} key attribute GSI1PK is of type N and not S",
            f"{name} expires items by no attribute, and not by TTL",
        ]


class TestWaiting:
    def test_a_race_is_no_error(self) -> None:
        """A table that somebody else makes at the same moment is fine."""
        configure(table_name="race", endpoint_url="local:")
        make({f"GSI{number}": index(number) for number in (1, 2)})
        hide: list[bool] = [True]

        def missing_once(**_: Any) -> Any:
            if hide.pop() if hide else False:
                error = {
                    "Error": {"Code": "ResourceNotFoundException", "Message": "x"},
                    "ResponseMetadata": {"HTTPStatusCode": 400},
                }
                return type("Answer", (), {"status_code": 400})(), error
            return None

        store().client.meta.events.register_first("before-call.dynamodb.DescribeTable", missing_once)
        assert create_table() is False
        assert check_table() == []

    def test_a_table_that_never_comes(self) -> None:
        """A table that stays CREATING ends the wait with a StoreError."""
        configure(table_name="slow", endpoint_url="local:")
        create_table()

        def creating(parsed: dict[str, Any], **_: Any) -> None:
            parsed["Table"]["TableStatus"] = "CREATING"

        store().client.meta.events.register("after-call.dynamodb.DescribeTable", creating)
        with pytest.raises(StoreError, match=r"not ready after 0\.1 s") as caught:
            create_table(wait_seconds=0.1)
        assert caught.value.code == "TableNotReady"

    def test_what_is_refused_is_said(self) -> None:
        """What DynamoDB refuses of a table is a StoreError with its code."""
        configure(table_name="?", endpoint_url="local:")
        with pytest.raises(StoreError, match="ValidationException"):
            create_table()
