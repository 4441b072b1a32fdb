"""One item of a migration: what is not changed is exact, and what is secret is not shown."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlssocial
from mlssocial import codec
from mlssocial.crypto import Place
from mlssocial.schema import SOCIAL_CONNECTION
from mlssocial.tokens import Secret
from mlssocial.transforms import DELETE, Fate, Transformer, view
from mlssocial.wire import plain_row, row_of

numbers = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**30), max_value=10**30)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
scalars = (
    st.text(st.characters(codec="utf-8"), max_size=12)
    | numbers
    | st.booleans()
    | st.none()
    | st.binary(max_size=8)
    | st.sets(st.text(st.characters(codec="utf-8"), min_size=1, max_size=4), min_size=1, max_size=3)
    | st.sets(numbers, min_size=1, max_size=3)
    | st.sets(st.binary(min_size=1, max_size=4), min_size=1, max_size=3)
)
values = st.recursive(
    scalars, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(names, inside, max_size=3), max_leaves=8
)
data = st.dictionaries(names.filter(lambda name: name not in {"new", "status", "mlsNumber", "mlsProvider", "listDate"}), values)


def listing(fields: dict[str, Any]) -> dict[str, Any]:
    """Make a listing as it is stored, with these fields."""
    return {
        "PK": {"S": "USER#u1"},
        "SK": {"S": "LISTING#l1"},
        "EntityType": {"S": "Listing"},
        "UpdatedAt": {"N": "1700000000000"},
        "GSI2PK": {"S": "USER#u1#STATUS#sold"},
        "GSI2SK": {"S": "LISTED##l1"},
        "Data": codec.encode({"status": "sold", **fields}),
    }


def connection(**fields: str) -> dict[str, Any]:
    """Make a connection as it is stored."""
    stored = {name: {"S": text} for name, text in fields.items()}
    key = {"PK": {"S": "USER#u1"}, "SK": {"S": "SOCIAL#LINKEDIN"}, "EntityType": {"S": "SocialConnection"}}
    return {**key, "Data": {"M": stored}}


class TestExactness:
    @given(data)
    def test_what_is_given_back_is_no_change(self, fields: dict[str, Any]) -> None:
        """An item that a transform gives back as it got it is not written, whatever is in it."""
        assert Transformer(lambda: lambda item: item).change(row_of(listing(fields))) is None

    @given(data, values)
    def test_what_is_not_changed_is_exact(self, fields: dict[str, Any], value: Any) -> None:
        """A field that is added is the only difference; all others are written as DynamoDB writes them."""

        def transform(item: dict[str, Any]) -> dict[str, Any]:
            item["Data"]["new"] = value
            return item

        stored = listing(fields)
        change = Transformer(lambda: transform).change(row_of(stored))
        assert change is not None
        assert change.new is not None
        assert change.new["Data"]["M"] == {**stored["Data"]["M"], "new": codec.encode(value)}
        assert {name: change.new[name] for name in ("PK", "SK", "UpdatedAt")} == {
            n: stored[n] for n in ("PK", "SK", "UpdatedAt")
        }
        assert change.index == {name: stored[name] for name in ("GSI2PK", "GSI2SK")}

    def test_numbers_of_another_form(self) -> None:
        """A number that another writer's engine keeps with zeros behind it is no change."""
        stored = listing({})
        stored["Data"]["M"]["price"] = {"N": "100.50"}
        assert Transformer(lambda: lambda item: item).change(row_of(stored)) is None

    def test_what_a_transform_sees(self) -> None:
        """It sees all but what the mapper makes itself, and a dict of its own each time."""
        stored = listing({"price": Decimal("1.5")}) | {"WriteId": {"S": "w"}, "LeaseId": {"S": "l"}, "Other": {"S": "o"}}
        seen: list[Any] = []

        def transform(item: dict[str, Any]) -> None:
            seen.append(set(item))
            item["Data"].clear()

        assert Transformer(lambda: transform).change(row_of(stored)) is None
        assert seen == [{"PK", "SK", "EntityType", "UpdatedAt", "Data", "Other"}]


class TestCost:
    @pytest.mark.parametrize(
        ("size", "field", "units"),
        [(0, "new", 2), (1500, "new", 4), (0, "status", 3), (1500, "status", 6)],
    )
    def test_by_the_rules(self, size: int, field: str, units: int) -> None:
        """A write costs its size by the KB for the table and for each index it is in, and twice where it moves in one."""

        def transform(item: dict[str, Any]) -> dict[str, Any]:
            item["Data"][field] = "active"
            return item

        change = Transformer(lambda: transform).change(row_of(listing({"description": "x" * size})))
        assert change is not None
        assert change.write_units() == units

    def test_of_a_delete(self) -> None:
        """A delete costs the item's size, in the table and in its indexes."""
        change = Transformer(lambda: lambda _: DELETE).change(row_of(listing({"description": "x" * 1500})))
        assert change is not None
        assert change.write_units() == 4


class TestSecrets:
    @given(st.text(st.characters(codec="ascii", categories=["L"]), min_size=6, max_size=20), st.booleans(), st.booleans())
    def test_no_token_is_shown(self, letters: str, sealed: bool, nested: bool) -> None:
        """Wherever a transform puts a token, no line of what changes shows it."""
        token = f"~{letters}"  # a field may have the name of any letters
        key = ("USER#u1", "SOCIAL#LINKEDIN")
        lies = Place.of(key, "accessToken").seal(Secret(token)) if sealed else token
        stored = connection(accessToken=lies, platformUsername="ann")

        def transform(item: dict[str, Any]) -> dict[str, Any]:
            found = item["Data"]["accessToken"].reveal()
            item["Data"]["platformUsername"] = f"-{found}-"
            item["Data"]["scope"] = [found, lies]
            item["Data"]["metadata"] = {"page": found} if nested else found
            item["Data"]["unknown"] = found[:5]
            return item

        outcome = Transformer(lambda: transform, dry_run=False, with_changes=True)
        change = outcome.change(row_of(stored))
        assert change is not None
        shown = "\n".join(change.lines())
        assert token not in shown
        assert token[:5] not in shown.replace("unknown", "")
        assert "enc:" not in shown
        assert "+ Data.platformUsername: **********" in shown

    def test_of_reprs(self) -> None:
        """A change and what a transform sees show no token."""
        stored = row_of(connection(accessToken="canary"))
        seen = view(SOCIAL_CONNECTION, ("USER#u1", "SOCIAL#LINKEDIN"), plain_row(stored))
        assert "canary" not in repr(seen)
        change = Transformer(lambda: lambda item: item).change(stored)
        assert change is not None
        assert "canary" not in repr(change)


def test_an_expected_fate() -> None:
    """A dry run of one item tells what would become of it, and needs no table but its name."""
    mlssocial.configure(table_name="homes", endpoint_url="local:")
    outcome = Transformer(lambda: lambda _: DELETE, dry_run=True, with_changes=True)(row_of(listing({})))
    assert outcome is not None
    assert (outcome.fate, outcome.changes, str(outcome)) == (
        Fate.DELETED,
        ("the item is deleted",),
        "Listing USER#u1 / LISTING#l1: deleted",
    )
