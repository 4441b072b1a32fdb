"""The models: PynamoDB's own interface stays right, and what would leave index keys behind is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pynamodb.exceptions
import pytest
from pynamodb.connection import Connection
from pynamodb.transactions import TransactGet, TransactWrite

from mlssocial import (
    ConfigurationError,
    InvalidItemError,
    Item,
    ItemNotFoundError,
    Listing,
    ListingData,
    MLSConnection,
    MLSConnectionData,
    PerformanceMetrics,
    SocialConnection,
    SocialPost,
    SocialPostData,
    StaleItemError,
    StoreError,
    configure,
    create_table,
)
from mlssocial.connection import PynamoConnection, recorded
from mlssocial.indexes import (
    GSI1,
    GSI2,
    ListingPostIndex,
    MLSNumberIndex,
    StatusIndex,
    SyncQueueIndex,
    TokenExpiryIndex,
    UnpublishQueueIndex,
)
from mlssocial.settings import current

from .conftest import get_raw, put_raw

HOME = ListingData(status="active", mls_provider="p", mls_number="n", price=Decimal(5))


class TestDeclaration:
    def test_one_table(self) -> None:
        """One base model declares the shared table: its keys and two indexes, all of them strings."""
        declared = Item.declaration()
        assert {key["AttributeName"]: key["KeyType"] for key in declared["key_schema"]} == {"PK": "HASH", "SK": "RANGE"}
        assert sorted(index["index_name"] for index in declared["global_secondary_indexes"]) == ["GSI1", "GSI2"]
        assert {a["AttributeType"] for a in declared["attribute_definitions"]} == {"S"}

    def test_entity_types_are_discriminators(self) -> None:
        """The five entities inherit from it, told apart by EntityType."""
        models = {m.__name__: m for m in (Listing, MLSConnection, SocialConnection, SocialPost, PerformanceMetrics)}
        discriminator = Item.get_attributes()["entity_type"]
        assert {name: discriminator.deserialize(name) for name in models} == models
        assert discriminator.deserialize("UserProfile") is None

    def test_index_classes_state_their_keys(self) -> None:
        """Each index class stands on its index and says in its docstring which keys it reads."""
        for index, base in (
            (MLSNumberIndex, GSI1),
            (ListingPostIndex, GSI1),
            (StatusIndex, GSI2),
            (SyncQueueIndex, GSI2),
            (TokenExpiryIndex, GSI2),
            (UnpublishQueueIndex, GSI2),
        ):
            assert issubclass(index, base)
            assert f"{base.__name__}PK = " in str(index.__doc__)
            assert f"{base.__name__}SK = " in str(index.__doc__)


@pytest.mark.usefixtures("table")
class TestInstances:
    def test_by_ids(self) -> None:
        """A model is made of ids by name, or of PK and SK as in PynamoDB."""
        item = Listing(user_id="u1", listing_id="l1", data=HOME)
        assert (item.pk, item.sk, item.listing_id) == ("USER#u1", "LISTING#l1", "l1")
        assert Listing("USER#u1", "LISTING#l1").listing_id == "l1"
        with pytest.raises(TypeError, match="listing_id is missing beside user_id"):
            Listing(user_id="u1")

    def test_save_and_refresh(self) -> None:
        """save() writes through the engine, with index keys and times; refresh() reads what is there."""
        item = Listing(user_id="u1", listing_id="l1", data=HOME)
        item.save()
        assert (item.gsi1pk, item.gsi2pk) == ("MLS#p#n", "USER#u1#STATUS#active")
        assert abs(item.updated_at - datetime.now(UTC)).total_seconds() < 60
        Listing.objects.update("u1", "l1", price=6)
        item.refresh(consistent_read=True)
        assert item.data.price == 6
        item.data.price = Decimal(7)
        item.save()
        assert Listing.objects.get("u1", "l1").data.price == 7

    def test_save_notices_another_writer(self) -> None:
        """An item that was read is saved only if nobody has changed it: neither this project nor the other application."""
        Listing.objects.create("u1", "l1", HOME)
        ours, other = Listing.objects.get("u1", "l1"), Listing.objects.get("u1", "l1")
        other.save()
        with pytest.raises(StaleItemError, match="has changed since it was read"):
            ours.save()
        ours.refresh()
        raw = get_raw("USER#u1", "LISTING#l1")
        assert raw is not None
        put_raw(raw | {"UpdatedAt": {"N": "99"}})
        with pytest.raises(StaleItemError):
            ours.save()

    def test_save_of_what_is_gone(self) -> None:
        """An item that was read and is gone is not made again."""
        item = Listing.objects.create("u1", "l1", HOME)
        Listing.objects.delete("u1", "l1")
        with pytest.raises(ItemNotFoundError):
            item.save()
        with pytest.raises(Listing.DoesNotExist):
            item.refresh()

    def test_save_keeps_what_it_does_not_know(self) -> None:
        """CreatedAt, unknown attributes and unknown fields stay through save()."""
        stored = {
            "PK": {"S": "USER#u1"},
            "SK": {"S": "LISTING#l1"},
            "EntityType": {"S": "Listing"},
            "Data": {"M": {"status": {"S": "active"}, "tour": {"SS": ["a"]}}},
            "CreatedAt": {"N": "1"},
            "UpdatedAt": {"N": "2"},
            "Foreign": {"B": b"\x00"},
            "GSI4PK": {"S": "x"},
        }
        put_raw(stored)
        item = Listing.objects.get("u1", "l1")
        item.data.status = "sold"  # type: ignore[assignment]
        item.save()
        after = get_raw("USER#u1", "LISTING#l1")
        assert after is not None
        assert {name: after[name] for name in ("CreatedAt", "Foreign", "GSI4PK")} == {
            name: stored[name] for name in ("CreatedAt", "Foreign", "GSI4PK")
        }
        assert after["Data"]["M"] == {"status": {"S": "sold"}, "tour": {"SS": ["a"]}}
        assert after["GSI2PK"] == {"S": "USER#u1#STATUS#sold"}

    def test_delete(self) -> None:
        """delete() says whether the item was there, and refuses one that has changed since it was read."""
        item = Listing.objects.create("u1", "l1", HOME)
        Listing.objects.update("u1", "l1", price=6)
        with pytest.raises(StaleItemError):
            item.delete()
        item.refresh()
        assert (item.delete(), item.delete()) == (True, False)

    def test_save_fills_in_the_key_fields(self) -> None:
        """A new connection that is saved has the fields that repeat its key, as it has when it is read."""
        item = MLSConnection(user_id="u1", connection_id="c1", data=MLSConnectionData())
        item.save()
        assert (item.data.id, item.data.user_id) == ("c1", "u1")
        assert item.data == MLSConnection.objects.get("u1", "c1").data
        item.data.agent_id = "a"
        item.save()

    def test_a_field_that_was_set_by_its_wire_name(self) -> None:
        """What is assigned under a wire name is what is written, and index keys follow from what is written."""
        data = ListingData(status="active", mls_provider="p", mls_number="n")
        data.mlsNumber = "other"  # type: ignore[attr-defined]  # pydantic takes it for an unknown field
        listing = Listing.objects.create("u1", "l1", data)
        assert (listing.data.mls_number, listing.gsi1pk) == ("other", "MLS#p#other")
        copied = listing.data.model_copy(update={"mlsProvider": "q"})
        assert Listing.objects.save("u1", "l1", copied).gsi1pk == "MLS#q#other"
        post = SocialPostData()
        post.postId = "another"  # type: ignore[attr-defined]
        with pytest.raises(InvalidItemError, match="postId is 'another' in the payload; the key says 'p1'"):
            SocialPost.objects.create("u1", "p1", post)

    def test_a_field_that_was_deleted(self) -> None:
        """A field that was deleted from a payload is not written, nor its index keys; one that repeats the key comes back."""
        post = SocialPost.objects.create("u1", "p1", SocialPostData(listing_id="l1", content="c", platform="facebook"))
        del post.data.content, post.data.listing_id, post.data.post_id
        post.save()
        stored = SocialPost.objects.get("u1", "p1")
        assert stored.data == SocialPostData(post_id="p1", platform="facebook")
        assert (stored.gsi1pk, post.gsi1pk, post.data.post_id) == (None, None, "p1")
        listing = Listing.objects.create("u1", "l1", HOME)
        del listing.data.status
        with pytest.raises(InvalidItemError, match="status: Field required"):
            listing.save()

    def test_save_over_an_older_item(self) -> None:
        """A new instance that is saved over an item takes over when that was created; its TTL is written if it has one."""
        created = Listing.objects.create("u1", "l1", HOME).created_at
        item = Listing(user_id="u1", listing_id="l1", data=HOME, ttl=99999999999)
        item.save()
        assert item.created_at == created
        read = Listing.objects.get("u1", "l1")
        assert (read.created_at, read.ttl, read.write_id) == (created, 99999999999, item.write_id)

    def test_save_over_an_expired_item(self) -> None:
        """A new instance that is saved over an item whose TTL has passed has its own TTL, or none."""
        for ttl in (99999999999, None):
            put_raw(
                {
                    "PK": {"S": "USER#u1"},
                    "SK": {"S": "LISTING#l1"},
                    "EntityType": {"S": "Listing"},
                    "Data": {"M": {"status": {"S": "sold"}}},
                    "TTL": {"N": "1"},
                }
            )
            item = Listing(user_id="u1", listing_id="l1", data=HOME, ttl=ttl)
            item.save()
            assert (item.ttl, Listing.objects.get("u1", "l1").ttl) == (ttl, ttl)

    def test_repr_shows_keys_only(self) -> None:
        """The repr of a model shows its key, and nothing that stands in Data."""
        item = MLSConnection.objects.create("u1", "c1", MLSConnectionData(access_token="canary", agent_id="canary"))
        assert repr(item) == "<MLSConnection USER#u1 / MLS_CONNECTION#c1>"
        assert "canary" not in f"{item!r}{item}{[item]}"

    def test_a_partial_read_is_not_saved(self) -> None:
        """An item of which only some attributes were read can be neither saved over the whole nor deleted."""
        Listing.objects.create("u1", "l1", HOME)
        for part in (
            Listing.get("USER#u1", "LISTING#l1", attributes_to_get=["PK", "SK", "EntityType"]),
            next(iter(Listing.query("USER#u1", attributes_to_get=["PK", "SK", "EntityType", "Data"]))),
        ):
            for write in (part.save, part.delete):
                with pytest.raises(InvalidItemError, match="read in part"):
                    write()
            part.refresh()
            part.save()


@pytest.mark.usefixtures("table")
def test_a_ttl_that_is_cleared_is_removed() -> None:
    """A TTL that was set to None is gone from the table after a save; a lease and another application's attribute stay."""
    Listing.objects.create("u1", "l1", ListingData(status="active"))
    raw = get_raw("USER#u1", "LISTING#l1")
    assert raw is not None
    put_raw({**raw, "TTL": {"N": "4102444800"}, "LeaseId": {"S": "a"}, "Foreign": {"S": "f"}})
    item = Listing.objects.get("u1", "l1")
    item.ttl = None
    item.save()
    after = get_raw("USER#u1", "LISTING#l1")
    assert after is not None
    assert {name for name in ("TTL", "LeaseId", "Foreign") if name in after} == {"LeaseId", "Foreign"}
    assert (item.ttl, item.lease_id, item.raw) == (None, "a", {"Foreign": {"S": "f"}})


@pytest.mark.usefixtures("table")
class TestPynamoReads:
    def test_get(self) -> None:
        """PynamoDB's get takes PK and SK, and its DoesNotExist is Django's, PynamoDB's and ours."""
        Listing.objects.create("u1", "l1", HOME)
        assert Listing.get("USER#u1", "LISTING#l1", consistent_read=True).data == HOME
        for error in (Listing.DoesNotExist, ItemNotFoundError, LookupError, pynamodb.exceptions.DoesNotExist):
            with pytest.raises(error, match="LISTING#none"):
                Listing.get("USER#u1", "LISTING#none")
        with pytest.raises(InvalidItemError, match="the item there is a Listing"):
            SocialPost.get("USER#u1", "LISTING#l1")

    def test_queries(self) -> None:
        """PynamoDB's query, count, scan, batch_get and index queries work on the models."""
        for name in ("a", "b"):
            Listing.objects.create("u1", name, HOME)
        MLSConnection.objects.create("u1", "c", MLSConnectionData())
        assert [one.listing_id for one in Listing.query("USER#u1", Listing.sk.startswith("LISTING#"))] == ["a", "b"]
        assert Listing.count("USER#u1") == 2
        assert len(list(Listing.scan())) == 2
        found = Listing.batch_get([("USER#u1", "LISTING#a"), ("USER#u1", "LISTING#x")])
        assert [one.listing_id for one in found] == ["a"]
        assert len(list(Listing.mls_number_index.query("MLS#p#n"))) == 2
        assert len(list(Listing.status_index.query("USER#u1#STATUS#active"))) == 2
        with TransactGet(connection=_over_store()) as transaction:
            future = transaction.get(Listing, "USER#u1", "LISTING#b")
        assert future.get().listing_id == "b"

    def test_a_missing_table(self) -> None:
        """What DynamoDB refuses is a StoreError that names the operation and the remedy, from PynamoDB's reads too."""
        there = current()
        configure(table_name="no-such-table", endpoint_url="local:")
        reads: list[Callable[[], Any]] = [lambda: Listing.get("USER#u", "LISTING#l"), lambda: Listing.objects.find("u", "l")]
        for read in reads:
            with pytest.raises(StoreError, match=r"GetItem on no-such-table: ResourceNotFound.*create_table") as caught:
                read()
            assert caught.value.code == "ResourceNotFoundException"
        configure(there)


def _over_store() -> Connection:
    connection: Connection = PynamoConnection()
    connection.add_meta_table(Listing._get_connection().get_meta_table())
    return connection


@pytest.mark.usefixtures("table")
class TestRefusedWrites:
    def test_each_names_what_to_use(self) -> None:
        """PynamoDB's writes that would go past the engine are refused, name what to use, and send nothing."""
        item = Listing.objects.create("u1", "l1", HOME)
        calls: list[Any] = [
            lambda: item.update([Listing.gsi1pk.set("x")]),
            lambda: item.save(Listing.pk.exists()),  # type: ignore[arg-type]
            lambda: item.save(add_version_condition=False),
            lambda: item.delete(Listing.pk.exists()),  # type: ignore[arg-type]
            Listing.batch_write,
            Item.delete_table,
            lambda: _transact(lambda t: t.save(item)),
            lambda: _transact(lambda t: t.update(item, [Listing.gsi1pk.set("x")])),
            lambda: _transact(lambda t: t.delete(item)),
        ]
        with recorded() as sent:
            for call in calls:
                with pytest.raises(
                    ConfigurationError, match=r"use Model\.objects|use mlssocial\.transaction|use AWS's own tools"
                ):
                    call()
        assert sent == []

    def test_the_connection_too(self) -> None:
        """PynamoDB's connection itself refuses writes."""
        with pytest.raises(StoreError, match="PynamoDB's writes are off"):
            Listing._get_connection().put_item("USER#u", range_key="LISTING#l", attributes={})


def _transact(write: Any) -> None:
    with TransactWrite(connection=_over_store()) as transaction:
        write(transaction)


class TestReconfiguring:
    def test_takes_effect_at_once(self) -> None:
        """A new configuration holds for every model at once, PynamoDB's reads included."""
        for name in ("one", "two"):
            configure(table_name=name, endpoint_url="local:")
            create_table()
            Listing.objects.save("u", name, HOME)
            assert [one.listing_id for one in Listing.objects.query("u")] == [name]
            assert [one.listing_id for one in Listing.query("USER#u")] == [name]
            assert Listing.exists()
            assert Item.Meta.table_name == name
        configure(table_name="three", endpoint_url="local:")
        assert not Listing.exists()

    def test_threads_share_one_client(self) -> None:
        """Threads that start cold make one client."""
        configure(table_name="threads", endpoint_url="local:")
        Listing.create_table()
        barrier, clients = threading.Barrier(8), set()

        def use() -> None:
            from mlssocial.connection import store

            barrier.wait()
            Listing.objects.find("u", "l")
            clients.add(id(store().client))

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(clients) == 1


@pytest.mark.usefixtures("table")
def test_a_creation_time_that_is_text() -> None:
    """An item whose CreatedAt another writer stored as text can be saved, twice: it keeps that, in raw."""
    Listing.objects.create("u1", "l1", ListingData(status="active"))
    stored = get_raw("USER#u1", "LISTING#l1") or {}
    put_raw(stored | {"CreatedAt": {"S": "yesterday"}})
    item = Listing.objects.get("u1", "l1", consistent=True)
    for price in (1, 2):
        item.data.price = Decimal(price)
        item.save()
        assert "created_at" not in item.attribute_values
        assert item.raw == {"CreatedAt": {"S": "yesterday"}}
    assert (get_raw("USER#u1", "LISTING#l1") or {})["CreatedAt"] == {"S": "yesterday"}
