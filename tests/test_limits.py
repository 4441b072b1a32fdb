"""DynamoDB's limits on updates: refused before they are sent where that can be told, and in our words where it cannot."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from mlssocial import (
    InvalidItemError,
    Listing,
    ListingData,
    PerformanceMetrics,
    SocialConnection,
    SocialConnectionData,
    StoreError,
)
from mlssocial.connection import recorded
from mlssocial.limits import MAX_EXPRESSION_BYTES, broken, check_expressions

from .conftest import get_raw

KEY = ("USER#u1", "SOCIAL#FACEBOOK")


def update(*ids: str, **changes: Any) -> SocialConnection:
    """Update a connection, with any names of fields."""
    return SocialConnection.objects.update(*ids, **changes)


@pytest.fixture
def metadata(table: str) -> str:
    """Give the engine's name, with a connection in its table that has an open map."""
    SocialConnection.objects.create("u1", "facebook", SocialConnectionData(metadata={"page": "p"}))
    return table


@pytest.mark.usefixtures("metadata")
class TestExpressions:
    def test_hundreds_of_fields(self) -> None:
        """An update of more fields than an expression holds is not sent, and says which limit, by how much, and what to do."""
        with recorded() as calls, pytest.raises(InvalidItemError, match="save\\(\\) the item") as caught:
            update("u1", "facebook", **{f"metadata__k{number}": 1 for number in range(300)})
        assert (caught.value.key, calls) == (KEY, [])
        assert "update expression has 6,716 bytes, 2,620 more than the 4,096 that DynamoDB takes" in str(caught.value)

    def test_many_parents(self) -> None:
        """The condition is held to its length too: every parent map that is taken for granted stands in it."""
        with recorded() as calls, pytest.raises(InvalidItemError, match="condition expression has"):
            update("u1", "facebook", **{f"metadata__k{number}__x": 1 for number in range(130)})
        assert calls == []

    def test_as_many_as_fit(self, table: str) -> None:
        """What fits is sent, and DynamoDB takes it."""
        if table == "moto":
            pytest.skip("moto walks an expression recursively, and not far")
        update("u1", "facebook", **{f"metadata__k{number}": 1 for number in range(180)})
        stored: Any = get_raw(*KEY)
        assert len(stored["Data"]["M"]["metadata"]["M"]) == 181

    def test_the_last_byte(self) -> None:
        """4,096 bytes are taken, and one more is too many."""
        check_expressions("update X", KEY, update="x" * MAX_EXPRESSION_BYTES)
        with pytest.raises(InvalidItemError, match="4,097 bytes, 1 more"):
            check_expressions("update X", KEY, condition="", update="x" * (MAX_EXPRESSION_BYTES + 1))


@pytest.mark.usefixtures("metadata")
class TestSize:
    def test_values_that_no_item_holds(self) -> None:
        """Values of more than 400 KB together are not sent; the error names the largest, and by how much it is too much."""
        with recorded() as calls, pytest.raises(InvalidItemError, match=r"10,402 more than the 409,600") as caught:
            update("u1", "facebook", metadata__y="y" * 300_000, metadata__z="z" * 120_000)
        assert (caught.value.fields, calls) == (("metadata.y",), [])

    def test_an_item_that_would_grow_too_large(self, metadata: str) -> None:
        """Where the item's own size decides, DynamoDB's refusal is an InvalidItemError, and nothing has changed."""
        update("u1", "facebook", metadata__x="x" * 300_000)
        with pytest.raises(InvalidItemError, match="would pass the 409,600 bytes") as caught:
            update("u1", "facebook", metadata__y="y" * 200_000)
        assert caught.value.key == KEY
        assert isinstance(caught.value.__cause__, StoreError)
        if metadata != "moto":  # which refuses what it has changed already
            stored: Any = get_raw(*KEY)
            assert stored["Data"]["M"]["metadata"]["M"].keys() == {"page", "x"}


@pytest.mark.usefixtures("metadata")
class TestNesting:
    @pytest.mark.parametrize(("depth", "value"), [(31, 1), (30, {"a": 1}), (29, {"a": {"a": 1}}), (30, {}), (30, [1])])
    def test_32_levels(self, depth: int, value: Any) -> None:
        """A nested field is set on DynamoDB's last level, Data being the first: the path and the value count together."""
        update("u1", "facebook", **{"__".join(["metadata"] + ["a"] * (depth - 1)): value})

    @pytest.mark.parametrize(("depth", "value"), [(32, 1), (31, {"a": 1}), (30, {"a": {"a": 1}}), (31, {}), (31, []), (60, 1)])
    def test_33_levels(self, depth: int, value: Any) -> None:
        """One level more is not sent, and the error names the field."""
        with recorded() as calls, pytest.raises(InvalidItemError, match=r"metadata\.a\.a: nested .*32") as caught:
            update("u1", "facebook", **{"__".join(["metadata"] + ["a"] * (depth - 1)): value})
        assert (caught.value.fields, calls) == (("metadata.a.a",), [])

    def test_removal(self) -> None:
        """What lies deeper than any item is not asked to be removed."""
        with recorded() as calls, pytest.raises(InvalidItemError, match="deeper than 32 levels"):
            update("u1", "facebook", remove=["__".join(["metadata"] + ["a"] * 31)])
        assert calls == []


class TestNumbers:
    def test_a_sum_of_too_many_digits(self, table: str) -> None:
        """A sum that DynamoDB cannot hold exactly is refused in our words, and the counter is as it was."""
        if table == "moto":
            pytest.skip("moto rounds where DynamoDB refuses")
        count = PerformanceMetrics.objects.increment
        count("u1", "l1", "2024-01-01", "facebook", saves=10**38 - 1)
        with pytest.raises(InvalidItemError, match="more than the 38 digits"):
            count("u1", "l1", "2024-01-01", "facebook", saves=Decimal("0.1"))


class TestRefusals:
    @pytest.mark.parametrize(
        ("code", "message", "kind"),
        [
            ("ValidationException", "Item size has exceeded the maximum allowed size", InvalidItemError),
            ("ValidationException", "Nesting Levels have exceeded supported limits", InvalidItemError),
            ("ValidationException", "Number overflow. Attempting to store a number with magnitude …", InvalidItemError),
            ("ValidationException", "The provided key element does not match the schema", type(None)),
            ("AccessDeniedException", "Item size", type(None)),
        ],
    )
    def test_limits_are_told_from_others(self, code: str, message: str, kind: type[object]) -> None:
        """DynamoDB's refusals for a limit are ours; no other is."""
        error = StoreError(f"UpdateItem on homes: {code}: {message}", code=code)
        assert isinstance(broken("update X", KEY, error), kind)

    def test_create(self, table: str) -> None:
        """An item that is nested as deep as DynamoDB takes can be created."""
        nest: Any = 1
        for _ in range(30):
            nest = {"a": nest}
        Listing.objects.create("u1", table, ListingData.model_validate({"status": "sold", "deep": nest}))
