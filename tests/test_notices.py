"""``on_write()``: who is told of a write, and of which."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

import mlssocial
from mlssocial import (
    ALL_USERS,
    BatchIncompleteError,
    Item,
    ItemAlreadyExistsError,
    Listing,
    ListingData,
    ListingStatus,
    MLSConnection,
    MLSConnectionData,
    PerformanceMetrics,
    SocialPost,
    SocialPostData,
    TransactionCanceledError,
    for_user,
)

pytestmark = pytest.mark.usefixtures("table")
Told = list[tuple[str, Any]]


@pytest.fixture
def told() -> Iterator[Told]:
    """Collect what a listener is told."""
    heard: Told = []
    end = mlssocial.on_write(lambda verb, item: heard.append((verb, item)))
    yield heard
    end()


def seen(told: Told) -> list[tuple[str, type[Item], str]]:
    """Give verbs, models and sort keys, and forget them."""
    found = [(verb, type(item), item.sk) for verb, item in told]
    told.clear()
    return found


class TestSingleWrites:
    def test_each_is_told_once_with_the_item_as_it_is_now(self, told: Told) -> None:
        """A create, a save and an update are told with what is stored now."""
        Listing.objects.create("u1", "l1", ListingData(status="active", price=1))
        Listing.objects.save("u1", "l1", ListingData(status="active", price=2))
        Listing.objects.update("u1", "l1", price=3)
        assert [(verb, item.data.price) for verb, item in told] == [("create", 1), ("save", 2), ("update", 3)]
        assert {type(item) for _, item in told} == {Listing}
        assert Listing.objects.get("u1", "l1").updated_at == told[-1][1].updated_at

    def test_a_delete_is_told_by_the_key(self, told: Told) -> None:
        """A delete is told where something was there, with an item that has its ids alone."""
        Listing.objects.create("u1", "l1", ListingData(status="active", price=1))
        told.clear()
        assert Listing.objects.delete("u1", "l1")
        assert not Listing.objects.delete("u1", "l1")
        ((verb, item),) = told
        assert (verb, type(item), item.user_id, item.listing_id, item.data) == ("delete", Listing, "u1", "l1", None)
        with pytest.raises(mlssocial.InvalidItemError, match="refresh"):
            item.save()
        with pytest.raises(Listing.DoesNotExist):
            item.refresh()

    def test_items_own_methods(self, told: Told) -> None:
        """An item that saves or deletes itself is what is told."""
        item = Listing(user_id="u1", listing_id="l1", data=ListingData(status="active", price=1))
        item.save()
        assert item.delete()
        assert not item.delete()
        assert [(verb, one is item) for verb, one in told] == [("save", True), ("delete", True)]

    def test_of_other_entities(self, told: Told) -> None:
        """Posts, counted figures and what ends a lease are told too; the lease itself is not."""
        SocialPost.objects.create("u1", "p1", SocialPostData(listing_id="l1", status="published"))
        PerformanceMetrics.objects.increment("u1", "l1", date(2024, 1, 15), "facebook", views=1)
        for _ in range(2):
            PerformanceMetrics.objects.increment("u1", "l1", date(2024, 1, 15), "facebook", views=1, operation_id="once")
        MLSConnection.objects.save("u1", "c1", MLSConnectionData())
        lease = MLSConnection.objects.claim(MLSConnection.objects.get("u1", "c1"), seconds=60)
        assert lease is not None
        MLSConnection.objects.complete(MLSConnection.objects.extend(lease, seconds=90), last_synced_at=lease.updated_at)
        day, connection = "METRICS#l1#2024-01-15", "MLS_CONNECTION#c1"
        assert seen(told) == [
            ("create", SocialPost, "POST#p1"),
            ("increment", PerformanceMetrics, day),
            ("increment", PerformanceMetrics, day),
            ("save", MLSConnection, connection),
            ("complete", MLSConnection, connection),
        ]

    def test_what_failed_is_not_told(self, told: Told) -> None:
        """A write that was refused is not told."""
        Listing.objects.create("u1", "l1", ListingData(status="active"))
        told.clear()
        with pytest.raises(ItemAlreadyExistsError):
            Listing.objects.create("u1", "l1", ListingData(status="active"))
        with pytest.raises(Listing.DoesNotExist):
            Listing.objects.update("u1", "l2", price=1)
        stale = Listing.objects.get("u1", "l1")
        Listing.objects.update("u1", "l1", price=2)
        told.clear()
        with pytest.raises(mlssocial.StaleItemError):
            stale.save()
        assert told == []

    def test_a_users_managers_tell_too(self, told: Told) -> None:
        """What a user's managers write is told."""
        for_user("u1").listings.create("l1", ListingData(status="active"))
        for_user("u1").listings.delete_many(["l1"])
        assert seen(told) == [("create", Listing, "LISTING#l1"), ("delete", Listing, "LISTING#l1")]


class TestManyWrites:
    def test_batches(self, told: Told) -> None:
        """Every item of a batch is told, and of one that was done in part those that were done."""
        items = [Listing(user_id="u1", listing_id=f"l{number}", data=ListingData(status="active")) for number in range(30)]
        Listing.objects.save_many(items[:28])
        assert sorted(item.sk for _, item in told) == sorted(item.sk for item in items[:28])
        told.clear()
        with pytest.raises(BatchIncompleteError):
            Listing.objects.create_many(items[27:])
        assert sorted(seen(told)) == [("create", Listing, "LISTING#l28"), ("create", Listing, "LISTING#l29")]
        Listing.objects.delete_many([("u1", "l0"), ("u1", "l1")])
        assert sorted(seen(told)) == [("delete", Listing, "LISTING#l0"), ("delete", Listing, "LISTING#l1")]

    def test_transactions(self, told: Told) -> None:
        """A transaction tells what it wrote, once it was applied, and nothing where it was refused or applied before."""
        Listing.objects.create("u1", "l0", ListingData(status="active", price=1))
        told.clear()
        for _ in range(2):
            with mlssocial.transaction("once") as t:
                t.create(Listing, "u1", "l1", ListingData(status="active", price=2))
                t.update(Listing, "u1", "l0", price=3)
                assert told == []
            first = list(told)
            if t.applied:
                assert seen(told) == [("create", Listing, "LISTING#l1"), ("update", Listing, "LISTING#l0")]
                first[0][1].refresh()
                assert first[0][1].data.price == 2
        assert told == []
        with pytest.raises(TransactionCanceledError), mlssocial.transaction() as t:
            t.create(Listing, "u1", "l1", ListingData(status="active"))
        with mlssocial.transaction() as t:
            t.check(Listing, "u1", "l0", price=3)
            t.delete(Listing, "u1", "l1")
        assert seen(told) == [("delete", Listing, "LISTING#l1")]

    def test_a_status_that_is_propagated(self, told: Told) -> None:
        """Each copy and each post that a status reaches is told."""
        for user in ("u1", "u2"):
            Listing.objects.create(user, "l1", ListingData(mls_provider="flexmls", mls_number="7", status="active"))
        SocialPost.objects.create("u1", "p1", SocialPostData(listing_id="l1", status="published"))
        told.clear()
        Listing.objects.propagate_status("flexmls", "7", ListingStatus.SOLD, user_id=ALL_USERS)
        updates = sorted(("update", item.user_id, item.sk) for _, item in told)
        assert updates == [("update", "u1", "LISTING#l1"), ("update", "u1", "POST#p1"), ("update", "u2", "LISTING#l1")]


class TestListeners:
    def test_an_error_of_one_goes_no_further(self, caplog: pytest.LogCaptureFixture) -> None:
        """A listener that fails is logged; the write stands, and the others are told."""

        def fails(*_: Any) -> None:
            raise ZeroDivisionError

        end, heard = mlssocial.on_write(fails), []
        end_second = mlssocial.on_write(lambda verb, _: heard.append(verb))
        with caplog.at_level(logging.ERROR, "mlssocial.notices"):
            assert Listing.objects.create("u1", "l1", ListingData(status="active")).listing_id == "l1"
        end()
        end_second()
        assert heard == ["create"]
        assert "create <Listing USER#u1 / LISTING#l1>, which stands" in caplog.text
        assert "ZeroDivisionError" in caplog.text

    def test_it_ends(self) -> None:
        """What on_write() gives back ends it, for that listener alone, and twice does no harm."""
        first: list[str] = []
        second: list[str] = []
        end = mlssocial.on_write(lambda verb, _: first.append(verb))
        end_second = mlssocial.on_write(lambda verb, _: second.append(verb))
        end()
        end()
        Listing.objects.save("u1", "l1", ListingData(status="active"))
        end_second()
        Listing.objects.save("u1", "l1", ListingData(status="active"))
        assert (first, second) == ([], ["save"])
