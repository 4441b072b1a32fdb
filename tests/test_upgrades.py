"""Older shapes that a payload reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlssocial import (
    Address,
    ConfigurationError,
    InvalidItemError,
    Listing,
    ListingData,
    ListingStatus,
    SocialPostData,
    codec,
    compiled,
    upgrade,
)
from mlssocial.upgrades import forget
from mlssocial.wire import row_of

from .conftest import get_raw, put_raw
from .test_migrations import old


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    """Take back what a test declares."""
    yield
    forget()


def from_town(data: dict[str, Any]) -> dict[str, Any]:
    """Read a listing that says town."""
    if "town" in data:
        data["address"] = {"city": data.pop("town"), **data.get("address", {})}
    return data


@pytest.mark.usefixtures("table")
class TestUpgrade:
    def test_both_shapes_are_readable(self) -> None:
        """Get and query give items of both shapes in the new one, and reading writes nothing."""
        put_raw(old(1))
        Listing.objects.create("u1", "l2", ListingData(status=ListingStatus.ACTIVE, address=Address(city="Elko")))
        assert Listing.objects.get("u1", "l1").data.address is None
        upgrade(ListingData)(from_town)
        cities = [listing.data.address.city for listing in Listing.objects.query("u1") if listing.data.address]
        assert cities == ["Reno", "Elko"]
        assert get_raw("USER#u1", "LISTING#l1") == old(1)

    def test_a_save_writes_the_new_shape(self) -> None:
        """What was read of an older shape and is saved lies in the new one; an update changes what it names, and no more."""
        put_raw(old(1))
        upgrade(ListingData)(from_town)
        Listing.objects.update("u1", "l1", bedrooms=3)
        stored = get_raw("USER#u1", "LISTING#l1")
        assert stored is not None
        assert stored["Data"]["M"]["town"] == {"S": "Reno"}
        Listing.objects.get("u1", "l1").save()
        stored = get_raw("USER#u1", "LISTING#l1")
        assert stored is not None
        assert "town" not in stored["Data"]["M"]
        assert stored["Data"]["M"]["address"] == {"M": {"city": {"S": "Reno"}}}

    @pytest.mark.parametrize("wrong", [lambda data: data["secret"], lambda _: None])
    def test_that_fails(self, wrong: Any) -> None:
        """An upgrade that fails leaves the item unreadable, and its message shows nothing of the data."""
        put_raw(old(1))
        upgrade(ListingData)(wrong)
        with pytest.raises(InvalidItemError, match=r"its upgrade (failed with KeyError|gave a NoneType)") as info:
            Listing.objects.get("u1", "l1")
        assert "secret" not in str(info.value)


class TestDeclaring:
    def test_what_cannot_be(self) -> None:
        """Only an entity's payload has an upgrade, and one at the most."""
        with pytest.raises(ConfigurationError, match="such as ListingData"):
            upgrade(Address)
        upgrade(ListingData)(from_town)
        with pytest.raises(ConfigurationError, match="has one already"):
            upgrade(ListingData)(from_town)

    def test_those_without_pay_nothing(self) -> None:
        """The compiled codec of a payload without an upgrade is what it would be if there were no upgrades."""
        upgrade(ListingData)(from_town)
        fresh = compiled.compile_payload(SocialPostData)
        assert compiled.compiled(SocialPostData).load.__code__ == fresh.load.__code__
        assert compiled.compiled(SocialPostData).shape is not None
        assert compiled.compiled(ListingData).load.__code__ != compiled.compile_payload(ListingData).load.__code__

    @given(st.dictionaries(st.sampled_from(["town", "description", "mlsId", "other"]), st.text(), max_size=4))
    def test_both_codecs_say_the_same(self, texts: dict[str, str]) -> None:
        """The compiled loader and the codec upgrade alike, whatever is there."""
        stored = {name: {"S": text} for name, text in texts.items()} | {"status": {"S": "sold"}}
        if ListingData not in codec.upgrades:
            upgrade(ListingData)(from_town)
        fast, slow = compiled.load(ListingData, row_of(stored)), codec.load(ListingData, stored)
        assert codec.dump(fast) == codec.dump(slow)
        assert fast.model_fields_set == slow.model_fields_set
