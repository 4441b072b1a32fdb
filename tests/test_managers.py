"""Every documented method, on every engine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from mlssocial import (
    ALL_USERS,
    Address,
    InvalidItemError,
    InvalidKeyError,
    Item,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    Listing,
    ListingData,
    ListingStatus,
    MLSConnection,
    MLSConnectionData,
    PerformanceMetrics,
    PerformanceMetricsData,
    Platform,
    PlatformMetrics,
    PostStatus,
    SocialConnection,
    SocialConnectionData,
    SocialPost,
    SocialPostData,
    StaleItemError,
    UnreadableItemWarning,
    WrongEntityError,
    for_user,
)
from mlssocial.connection import recorded

from .conftest import get_raw, put_raw

pytestmark = pytest.mark.usefixtures("table")

HOME = ListingData(
    status=ListingStatus.ACTIVE,
    mls_provider="flexmls",
    mls_number="MLS-456",
    price=Decimal(500000),
    list_date=date(2024, 1, 15),
)
DAY = date(2024, 1, 15)


def stored(entity: str, sk: str, data: dict[str, Any], *, user: str = "u1", **attributes: Any) -> dict[str, Any]:
    """Make an item as another application would store it."""
    item: dict[str, Any] = {
        "PK": {"S": f"USER#{user}"},
        "SK": {"S": sk},
        "EntityType": {"S": entity},
        "Data": {"M": data},
        "CreatedAt": {"N": "1"},
        "UpdatedAt": {"N": "2"},
    }
    return item | {name: {"S": value} if isinstance(value, str) else value for name, value in attributes.items()}


class TestSevenVerbs:
    """Each entity has get, find, create, save, update, delete and query, by its own ids."""

    CASES: ClassVar[list[Any]] = [
        (Listing, ("l1",), HOME, {"price": Decimal("550000.5")}),
        (MLSConnection, ("c1",), MLSConnectionData(provider="flexmls", access_token="at"), {"agent_id": "a"}),
        (SocialConnection, ("facebook",), SocialConnectionData(access_token="at"), {"platform_username": "Agent"}),
        (SocialPost, ("p1",), SocialPostData(content="hi", platform="facebook"), {"status": PostStatus.UNPUBLISHED}),
        (PerformanceMetrics, ("l1", DAY), PerformanceMetricsData(views=1), {"views": 2}),
    ]

    @pytest.mark.parametrize(("model", "ids", "data", "change"), CASES, ids=lambda v: getattr(v, "__name__", ""))
    def test_life_of_an_item(self, model: Any, ids: tuple[Any, ...], data: Any, change: dict[str, Any]) -> None:
        """An item is created once, found, changed in part, overwritten, queried and deleted once."""
        manager = model.objects
        assert manager.find("u1", *ids) is None
        with pytest.raises(model.DoesNotExist):
            manager.get("u1", *ids, consistent=True)
        with pytest.raises(model.DoesNotExist, match="create"):
            manager.update("u1", *ids, **change)

        created = manager.create("u1", *ids, data)
        assert isinstance(created, model)
        with pytest.raises(ItemAlreadyExistsError, match="it exists already"):
            manager.create("u1", *ids, data)
        read = manager.get("u1", *ids, consistent=True)
        assert (read.data, read.created_at, read.user_id) == (created.data, created.created_at, "u1")

        changed = manager.update("u1", *ids, **change)
        ((field, value),) = change.items()
        assert getattr(changed.data, field) == value
        assert changed.data.model_fields_set == created.data.model_fields_set | {field}
        assert manager.find("u1", *ids, consistent=True).data == changed.data
        assert changed.created_at == created.created_at

        saved = manager.save("u1", *ids, data)
        assert (saved.data, saved.created_at) == (created.data, created.created_at)

        listing = ids[:1] if model is PerformanceMetrics else ()
        assert [(i.pk, i.sk) for i in manager.query("u1", *listing, consistent=True)] == [(read.pk, read.sk)]
        assert list(manager.query("u2", *listing)) == []
        assert (manager.delete("u1", *ids), manager.delete("u1", *ids)) == (True, False)
        assert manager.find("u1", *ids, consistent=True) is None

    @pytest.mark.parametrize(("model", "ids", "data", "change"), CASES, ids=lambda v: getattr(v, "__name__", ""))
    def test_another_entity_under_the_key(self, model: Any, ids: tuple[Any, ...], data: Any, change: dict[str, Any]) -> None:
        """No verb reads, changes or deletes an item of another EntityType, and each says what it found."""
        item = model(user_id="u1", **dict(zip(model.entity.id_names[1:], ids, strict=True)))
        pk, sk = item.pk, item.sk
        foreign = stored("Task", sk, {"status": {"S": "open"}})
        put_raw(foreign)
        calls: list[Callable[[], Any]] = [
            lambda: model.objects.get("u1", *ids),
            lambda: model.objects.find("u1", *ids),
            lambda: model.objects.save("u1", *ids, data),
            lambda: model.objects.update("u1", *ids, **change),
            lambda: model.objects.delete("u1", *ids),
        ]
        for call in calls:
            with pytest.raises(WrongEntityError, match="Task") as caught:
                call()
            assert (caught.value.found, caught.value.key) == ("Task", (pk, sk))
        with pytest.raises(ItemAlreadyExistsError):
            model.objects.create("u1", *ids, data)
        assert get_raw(pk, sk) == foreign

    @pytest.mark.parametrize("bad", ["", "a#b", "a\x00"])
    def test_unfit_ids_send_nothing(self, bad: str) -> None:
        """An id that cannot go into a key is refused by every method, before any request."""
        with recorded() as calls:
            for call in (
                lambda: Listing.objects.get(bad, "l"),
                lambda: Listing.objects.find("u", bad),
                lambda: Listing.objects.create("u", bad, HOME),
                lambda: Listing.objects.save(bad, "l", HOME),
                lambda: Listing.objects.update("u", bad, price=1),
                lambda: Listing.objects.delete("u", bad),
                lambda: Listing.objects.query(bad),
                lambda: Listing.objects.query_by_status(bad, "active"),
                lambda: Listing.objects.query_by_mls_number(bad, "n", user_id="u"),
                lambda: Listing.objects.query_by_mls_number("p", bad, user_id="u"),
                lambda: Listing.objects.query_by_mls_number("p", "n", user_id=bad),
                lambda: SocialPost.objects.query_by_listing(bad, user_id="u"),
                lambda: SocialConnection.objects.get("u", bad),
                lambda: PerformanceMetrics.objects.increment("u", "l", DAY, bad, views=1),
                lambda: PerformanceMetrics.objects.query("u", bad),
                lambda: MLSConnection.objects.due_for_sync(user_id=bad),
                lambda: Item.objects.query(bad),
            ):
                with pytest.raises(InvalidKeyError):
                    call()
        assert calls == []


class TestCreate:
    def test_key_fields_default_from_the_key(self) -> None:
        """Fields that repeat the key are filled in, and the caller's payload stays as it was."""
        data = SocialConnectionData(access_token="t")
        assert SocialConnection.objects.create("u1", "FaceBook", data).data.platform is Platform.FACEBOOK
        assert data.platform is None
        assert MLSConnection.objects.create("u1", "c1", MLSConnectionData()).data.id == "c1"
        day = PerformanceMetrics.objects.create("u1", "l1", "2024-01-15", PerformanceMetricsData())
        assert (day.data.listing_id, day.data.date, day.date) == ("l1", DAY, DAY)

    @pytest.mark.parametrize(
        ("call", "field"),
        [
            (lambda: MLSConnection.objects.create("u1", "c1", MLSConnectionData(id="c2")), "id"),
            (lambda: MLSConnection.objects.save("u1", "c1", MLSConnectionData(user_id="u2")), "userId"),
            (lambda: SocialConnection.objects.create("u1", "facebook", SocialConnectionData(platform="x")), "platform"),
            (lambda: SocialPost.objects.create("u1", "p1", SocialPostData(post_id="P1")), "postId"),
            (lambda: PerformanceMetrics.objects.save("u1", "l1", DAY, PerformanceMetricsData(date="2024-01-16")), "date"),
        ],
    )
    def test_a_payload_that_contradicts_the_key(self, call: Any, field: str) -> None:
        """A payload whose fields say another key than the one it is written under is refused, and nothing is sent."""
        with recorded() as calls, pytest.raises(InvalidItemError, match=field) as caught:
            call()
        assert (caught.value.fields, calls) == ((field,), [])

    def test_another_entitys_payload(self) -> None:
        """A payload of another entity is refused."""
        with pytest.raises(InvalidItemError, match="ListingData is needed, not SocialPostData"):
            Listing.objects.create("u1", "l1", SocialPostData())  # type: ignore[arg-type]

    def test_too_large(self) -> None:
        """An item of more than 400 KB is refused before it is sent, naming its largest field."""
        with recorded() as calls, pytest.raises(InvalidItemError, match="largest field is description") as caught:
            Listing.objects.create("u1", "l1", HOME.model_copy(update={"description": "x" * 410_000}))
        assert (caught.value.fields, calls) == (("description",), [])

    def test_index_keys(self) -> None:
        """A created item carries the index keys of its data."""
        made = Listing.objects.create("u1", "l1", HOME)
        assert (made.gsi1pk, made.gsi1sk) == ("MLS#flexmls#MLS-456", "STATUS#active")
        assert (made.gsi2pk, made.gsi2sk) == ("USER#u1#STATUS#active", "LISTED#2024-01-15#l1")

    def test_unfit_mls_number(self) -> None:
        """A number that no key can hold is refused from a caller."""
        with pytest.raises(InvalidKeyError, match="mls_number"):
            Listing.objects.create("u1", "l1", ListingData(status="active", mls_provider="p", mls_number="A#1"))
        past = ListingData(status="active", mls_provider="p").model_copy(update={"mls_number": b"A1"})
        with pytest.raises(InvalidKeyError, match="mls_number: a string is needed, not bytes"):
            Listing.objects.create("u1", "l1", past)


class TestUpdate:
    def test_index_keys_follow(self) -> None:
        """A changed status, date, number or provider moves the item in its indexes; a removed one takes it out."""
        Listing.objects.create("u1", "l1", HOME)
        sold = Listing.objects.update("u1", "l1", status="sold")
        assert (sold.gsi1sk, sold.gsi2pk) == ("STATUS#sold", "USER#u1#STATUS#sold")
        assert sold.gsi2sk == "LISTED#2024-01-15#l1"
        moved = Listing.objects.update("u1", "l1", list_date="2024-02-01", mls_number="N2")
        assert (moved.gsi1pk, moved.gsi2sk) == ("MLS#flexmls#N2", "LISTED#2024-02-01#l1")
        gone = Listing.objects.update("u1", "l1", remove=["mls_number"], list_date=None)
        assert (gone.gsi1pk, gone.gsi1sk, gone.gsi2sk) == (None, None, "LISTED##l1")
        raw = get_raw("USER#u1", "LISTING#l1")
        assert raw is not None
        assert not raw.keys() & {"GSI1PK", "GSI1SK"}
        assert raw["Data"]["M"]["listDate"] == {"NULL": True}

    def test_queues_follow(self) -> None:
        """Connections and posts enter, move in and leave their queues with the fields that the queues are ordered by."""
        MLSConnection.objects.create("u1", "c1", MLSConnectionData())
        synced = MLSConnection.objects.update("u1", "c1", last_synced_at=datetime(2024, 1, 1, tzinfo=UTC))
        assert synced.gsi2sk == "1704067200000#u1#c1"
        SocialConnection.objects.create("u1", "twitter", SocialConnectionData())
        assert SocialConnection.objects.update("u1", "twitter", expires_at=5).gsi2sk == "0000000000005#u1#TWITTER"
        assert SocialConnection.objects.update("u1", "twitter", remove=["expires_at"]).gsi2pk is None
        SocialPost.objects.create("u1", "p1", SocialPostData(listing_id="l1", status="published"))
        waiting = SocialPost.objects.update("u1", "p1", status="unpublish_pending", unpublish_requested_at=7)
        assert (waiting.gsi1pk, waiting.gsi2sk) == ("LISTING#l1", "0000000000007#u1#p1")
        assert SocialPost.objects.update("u1", "p1", status="unpublished").gsi2pk is None

    def test_if_unchanged_since(self) -> None:
        """An update on a version that has passed is refused and shows the item as it is; on the present one it is written."""
        seen = Listing.objects.create("u1", "l1", HOME)
        now = Listing.objects.update("u1", "l1", price=Decimal(1))
        for change in ({"price": Decimal(2)}, {"status": "sold"}, {"status": "sold", "list_date": None}):
            with pytest.raises(StaleItemError, match="changed since it was read") as caught:
                Listing.objects.update("u1", "l1", if_unchanged_since=seen, **change)
            assert isinstance(caught.value.item, Listing)
            assert (caught.value.item.data.price, caught.value.item.write_id) == (Decimal(1), now.write_id)
        sold = Listing.objects.update("u1", "l1", if_unchanged_since=now, status="sold")
        assert (sold.data.price, sold.gsi1sk) == (Decimal(1), "STATUS#sold")
        with pytest.raises(InvalidItemError, match="is not the Listing that is meant"):
            Listing.objects.update("u1", "l2", if_unchanged_since=sold, price=Decimal(3))
        with pytest.raises(InvalidItemError, match="no version to compare with"):
            Listing.objects.update("u1", "l1", if_unchanged_since=Listing(user_id="u1", listing_id="l1", data=HOME), price=3)

    def test_if_unchanged_since_sees_the_other_application(self) -> None:
        """The other application moves UpdatedAt and knows no WriteId; the lock sees it."""
        seen = Listing.objects.create("u1", "l1", HOME)
        raw = get_raw("USER#u1", "LISTING#l1")
        assert raw is not None
        put_raw(raw | {"UpdatedAt": {"N": "9999999999999"}})
        with pytest.raises(StaleItemError):
            Listing.objects.update("u1", "l1", if_unchanged_since=seen, price=Decimal(2))

    def test_costs(self) -> None:
        """A plain update is one request; one that moves index keys reads first."""
        Listing.objects.create("u1", "l1", HOME)
        with recorded() as calls:
            Listing.objects.update("u1", "l1", price=1)
        assert [call.operation for call in calls] == ["UpdateItem"]
        with recorded() as calls:
            Listing.objects.update("u1", "l1", status="pending")
        assert [call.operation for call in calls] == ["GetItem", "UpdateItem"]

    def test_nested_fields(self) -> None:
        """A nested field changes alone; a parent that is missing or null is made on the way."""
        Listing.objects.create("u1", "l1", HOME)
        assert Listing.objects.update("u1", "l1", address__city="Reno", address__zip="89501").data.address == Address(
            city="Reno", zip="89501"
        )
        assert Listing.objects.update("u1", "l1", address__city="Elko").data.address == Address(city="Elko", zip="89501")
        assert Listing.objects.update("u1", "l1", remove=["address__zip"]).data.address == Address(city="Elko")
        Listing.objects.update("u1", "l1", address=None)
        assert Listing.objects.update("u1", "l1", remove=["address__zip"], price=3).data.address is None
        assert Listing.objects.update("u1", "l1", address__state="NV").data.address == Address(state="NV")

    def test_open_maps(self) -> None:
        """Entries of open maps are fields too: a platform's figures, a connection's metadata."""
        PerformanceMetrics.objects.save("u1", "l1", DAY, PerformanceMetricsData(views=1))
        day = PerformanceMetrics.objects.update("u1", "l1", DAY, platforms__facebook__views=61)
        assert day.data.platforms == {"facebook": PlatformMetrics(views=61)}
        day = PerformanceMetrics.objects.update("u1", "l1", DAY, platforms__tiktok={"views": 1, "saves": 2})
        assert day.data.platforms is not None
        assert day.data.platforms["tiktok"].model_extra == {"saves": Decimal(2)}
        SocialConnection.objects.save("u1", "facebook", SocialConnectionData(metadata={"pageId": "p"}))
        connection = SocialConnection.objects.update("u1", "facebook", metadata__page__name="Homes")
        assert connection.data.metadata == {"pageId": "p", "page": {"name": "Homes"}}

    def test_none_is_null_and_removed_is_absent(self) -> None:
        """None writes null, removing leaves nothing: two states that come back as they were made."""
        Listing.objects.create("u1", "l1", HOME)
        changed = Listing.objects.update("u1", "l1", price=None, remove=["mls_number"])
        assert (changed.data.price, "price" in changed.data.model_fields_set) == (None, True)
        assert "mls_number" not in changed.data.model_fields_set

    def test_what_is_not_named_stays(self) -> None:
        """Fields and attributes that this project does not know survive an update, whatever their types."""
        odd = {
            "status": {"S": "active"},
            "set": {"SS": ["a", "b"]},
            "numbers": {"NS": ["1", "2.5"]},
            "binary": {"B": b"\x00\xff"},
            "x[0].y": {"L": [{"NULL": True}, {"S": ""}, {"M": {"price": {"N": "12345678901234567890.123"}}}]},
        }
        item = stored("Listing", "LISTING#l1", odd, Foreign="yes")
        put_raw(item)
        Listing.objects.update("u1", "l1", price=Decimal("7.25"))
        after = get_raw("USER#u1", "LISTING#l1")
        assert after is not None
        assert after["Data"]["M"] == odd | {"price": {"N": "7.25"}}
        assert (after["Foreign"], after["CreatedAt"]) == (item["Foreign"], item["CreatedAt"])
        assert after["UpdatedAt"] != item["UpdatedAt"]

    def test_a_stored_number_that_no_key_can_hold(self) -> None:
        """What another writer stored and no key can hold leaves its index empty, and the item can be written."""
        put_raw(
            stored(
                "Listing",
                "LISTING#l1",
                {"status": {"S": "active"}, "mlsProvider": {"S": "p"}, "mlsNumber": {"S": "A#1"}},
                GSI1PK="MLS#p#A#1",
                GSI1SK="STATUS#active",
            )
        )
        sold = Listing.objects.update("u1", "l1", status="sold")
        assert (sold.gsi1pk, sold.gsi1sk, sold.gsi2pk) == (None, None, "USER#u1#STATUS#sold")
        sold.save()
        with pytest.raises(InvalidKeyError, match="mls_number"):
            Listing.objects.update("u1", "l1", mls_number="B#1")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"prise": 1}, "did you mean price"),
            ({"zzz": 1}, "ListingData has no field zzz; it has status, mls_id"),
            ({"price": "many"}, "price: .*not a decimal number"),
            ({"price": 1.5}, "binary float"),
            ({"address__town": "Reno"}, "Address has no field town"),
            ({"price__x": 1}, "price has no fields of its own"),
            ({"photos__0__caption": "x"}, "photos has no fields of its own; set it whole"),
            ({"address__city": "a", "address": None}, "changed together"),
            ({"remove": ["price"], "price": 1}, "changed together"),
            ({"remove": ["status"]}, "cannot be removed"),
            ({"remove": "nope"}, "no field nope"),
            ({"remove": [5]}, "remove: names of fields are needed, not int"),
            ({}, "nothing to change"),
            ({"description": "\ud800"}, "lone surrogate"),
        ],
    )
    def test_refusals(self, arguments: dict[str, Any], message: str) -> None:
        """What cannot be changed so is refused by name, and nothing is sent."""
        with recorded() as calls, pytest.raises(InvalidItemError, match=message):
            Listing.objects.update("u1", "l1", **arguments)
        assert calls == []

    def test_key_fields_cannot_change(self) -> None:
        """A field that repeats the key cannot be changed or removed."""
        with pytest.raises(InvalidItemError, match="id: part of the key"):
            MLSConnection.objects.update("u1", "c1", id="c2")
        with pytest.raises(InvalidItemError, match="platform: part of the key"):
            SocialConnection.objects.update("u1", "facebook", remove=["platform"])

    @pytest.mark.parametrize("name", ["metadata__", "metadata____x", "metadata__\ud800"])
    def test_names_that_no_map_holds(self, name: str) -> None:
        """A name in an open map that is empty, or no UTF-8 can hold, is refused before anything is sent."""
        with recorded() as calls, pytest.raises(InvalidItemError, match="metadata: a field's name is"):
            SocialConnection.objects.update("u1", "facebook", **{name: "x"})  # type: ignore[arg-type]
        assert calls == []

    @pytest.mark.parametrize("data", [None, {"S": "odd"}, {"NULL": True}])
    @pytest.mark.parametrize("change", [{"status": "sold"}, {"price": 1}, {"address__city": "Reno"}])
    def test_data_that_is_no_map(self, data: dict[str, Any] | None, change: dict[str, Any]) -> None:
        """An item without a map in Data is refused by name, and stays as it is."""
        item = stored("Listing", "LISTING#l1", {})
        item = {name: value for name, value in item.items() if name != "Data"} | ({"Data": data} if data else {})
        put_raw(item)
        with pytest.raises(InvalidItemError, match="Data is no map"):
            Listing.objects.update("u1", "l1", **change)
        assert get_raw("USER#u1", "LISTING#l1") == item

    def test_an_item_that_cannot_be_read(self) -> None:
        """Where the changed item cannot be read, the error says that the change was written."""
        put_raw(stored("Listing", "LISTING#l1", {"status": {"S": "sold"}, "price": {"S": "many"}}))
        with pytest.raises(InvalidItemError, match=r"update Listing .*the change was written; the item cannot be read: price"):
            Listing.objects.update("u1", "l1", bedrooms=3)
        raw = get_raw("USER#u1", "LISTING#l1")
        assert raw is not None
        assert raw["Data"]["M"]["bedrooms"] == {"N": "3"}

    def test_stored_values_are_in_no_error(self) -> None:
        """An error about what is stored names its type: the value may be another application's token."""
        SocialConnection.objects.save("u1", "facebook", SocialConnectionData(metadata={"pageToken": "CANARY"}))
        with pytest.raises(InvalidItemError, match=r"metadata\.pageToken is stored as text") as caught:
            SocialConnection.objects.update("u1", "facebook", metadata__pageToken__x=1)
        assert "CANARY" not in str(caught.value)

    def test_fields_of_errors_are_wire_names(self) -> None:
        """The fields of an error are named as they are on the wire, nested ones by dots."""
        with pytest.raises(InvalidItemError) as caught:
            Listing.objects.update("u1", "l1", address__zip_code=5)
        assert caught.value.fields == ("address.zipCode",)

    def test_a_parent_that_is_no_map(self) -> None:
        """A nested change under something that has no fields is refused, and names it."""
        put_raw(stored("SocialConnection", "SOCIAL#FACEBOOK", {"metadata": {"S": "odd"}}))
        with pytest.raises(InvalidItemError, match="metadata is stored as text, which has no fields"):
            SocialConnection.objects.update("u1", "facebook", metadata__page="p")


class TestIncrement:
    def test_counts(self) -> None:
        """Totals and the platform's figures are added to in step; a day and a platform are made where they are missing."""
        count = PerformanceMetrics.objects.increment
        assert count("u1", "l1", DAY, "Facebook", views=1, clicks=2).data.model_dump(exclude_unset=True) == {
            "listing_id": "l1",
            "date": DAY,
            "views": 1,
            "platforms": {"facebook": {"views": 1, "clicks": 2}},
        }
        count("u1", "l1", "2024-01-15", "facebook", views=2, saves=Decimal("1.5"))
        data = count("u1", "l1", DAY, "instagram", shares=1).data
        assert data.platforms is not None
        assert (data.views, data.shares) == (3, 1)
        assert data.platforms["facebook"].model_dump(exclude_unset=True) == {"views": 3, "clicks": 2, "saves": Decimal("1.5")}

    def test_one_request_once_the_day_is_there(self) -> None:
        """Counting costs one request once the day and the platform are there."""
        PerformanceMetrics.objects.increment("u1", "l1", DAY, "facebook", views=1)
        with recorded() as calls:
            PerformanceMetrics.objects.increment("u1", "l1", DAY, "facebook", views=1, inquiries=1)
        assert [call.operation for call in calls] == ["UpdateItem"]

    def test_null_counters(self) -> None:
        """A counter or map that is stored as null begins at the first count."""
        put_raw(
            stored(
                "PerformanceMetrics",
                "METRICS#l1#2024-01-15",
                {"views": {"NULL": True}, "platforms": {"M": {"facebook": {"NULL": True}}}},
            )
        )
        data = PerformanceMetrics.objects.increment("u1", "l1", DAY, "facebook", views=2).data
        assert (data.views, data.platforms) == (2, {"facebook": PlatformMetrics(views=2)})

    def test_what_is_no_number(self) -> None:
        """A stored text is not added to, and a counter is a number: the error names the field."""
        put_raw(stored("PerformanceMetrics", "METRICS#l1#2024-01-15", {"views": {"S": "many"}}))
        with pytest.raises(InvalidItemError, match="views is stored as text, which is no number"):
            PerformanceMetrics.objects.increment("u1", "l1", DAY, "facebook", views=1)
        for bad in (
            {},
            {"": 1},
            {"\ud800": 1},
            {"views": 1.5},
            {"views": True},
            {"views": Decimal("1.5")},
            {"clicks": Decimal("0.1")},
        ):
            with pytest.raises(InvalidItemError):
                PerformanceMetrics.objects.increment("u1", "l1", DAY, "facebook", **bad)


class TestMLSNumber:
    def test_tenants(self) -> None:
        """A look-up by number gives one user's copies; everyone's only where ALL_USERS is asked for by name."""
        for user in ("u1", "u2"):
            Listing.objects.create(user, "l1", HOME)
        look_up = Listing.objects.query_by_mls_number
        assert [one.user_id for one in look_up("flexmls", "MLS-456", user_id="u2")] == ["u2"]
        assert {one.user_id for one in look_up("flexmls", "MLS-456", user_id=ALL_USERS)} == {"u1", "u2"}
        with pytest.raises(TypeError):
            look_up("flexmls", "MLS-456")  # type: ignore[call-arg]

    def test_status_is_the_items_own(self) -> None:
        """A status is compared with the item and not with its index key, which another writer may have left behind."""
        put_raw(
            stored(
                "Listing",
                "LISTING#l2",
                {"status": {"S": "sold"}, "mlsProvider": {"S": "p"}, "mlsNumber": {"S": "n"}},
                GSI1PK="MLS#p#n",
                GSI1SK="STATUS#pending",
            )
        )
        by_status = {
            status: [one.listing_id for one in Listing.objects.query_by_mls_number("p", "n", user_id="u1", status=status)]
            for status in ListingStatus
        }
        assert by_status == {"active": [], "pending": [], "sold": ["l2"], "expired": []}

    def test_a_number_that_moved_on(self) -> None:
        """An item whose index key is another number's is not that number's."""
        put_raw(stored("Listing", "LISTING#l", {"status": {"S": "sold"}}, GSI1PK="MLS#p#n", GSI1SK="STATUS#sold"))
        assert list(Listing.objects.query_by_mls_number("p", "n", user_id="u1")) == []


class TestStatus:
    def test_order(self) -> None:
        """Listings of a status come by list date, and newest first on request."""
        for day, name in ((3, "c"), (1, "a"), (2, "b")):
            Listing.objects.create("u1", name, ListingData(status="active", list_date=date(2024, 1, day)))
        Listing.objects.create("u1", "d", ListingData(status="sold"))
        Listing.objects.create("u2", "e", ListingData(status="active"))
        names = [one.listing_id for one in Listing.objects.query_by_status("u1", ListingStatus.ACTIVE)]
        assert names == ["a", "b", "c"]
        newest = Listing.objects.query_by_status("u1", "active", reverse=True)
        assert [one.listing_id for one in newest] == names[::-1]

    def test_consistent_needs_no_index(self) -> None:
        """A consistent look-up finds what another application stored without GSI2 keys."""
        put_raw(stored("Listing", "LISTING#theirs", {"status": {"S": "active"}}))
        Listing.objects.create("u1", "ours", HOME)
        ask = Listing.objects.query_by_status
        assert [one.listing_id for one in ask("u1", "active")] == ["ours"]
        assert [one.listing_id for one in ask("u1", "active", consistent=True)] == ["ours", "theirs"]

    def test_index_keys_left_behind(self) -> None:
        """A listing whose status moved on without its index keys does not answer for the old status."""
        put_raw(stored("Listing", "LISTING#l", {"status": {"S": "sold"}}, GSI2PK="USER#u1#STATUS#active", GSI2SK="LISTED##l"))
        assert list(Listing.objects.query_by_status("u1", "active")) == []

    def test_no_such_status(self) -> None:
        """Another word than the four is refused."""
        with pytest.raises(InvalidKeyError, match="status: one of active, pending, sold, expired is needed"):
            Listing.objects.query_by_status("u1", "withdrawn")
        with pytest.raises(InvalidKeyError, match="status: one of active, pending, sold, expired is needed"):
            Listing.objects.query_by_status("u1", ["active"])  # type: ignore[arg-type]


class TestPostsOfAListing:
    def test_tenants(self) -> None:
        """Posts of a listing are one user's; everyone's of that listing id only by name."""
        for user, post in (("u1", "p1"), ("u1", "p2"), ("u2", "p3")):
            SocialPost.objects.create(user, post, SocialPostData(listing_id="l1"))
        SocialPost.objects.create("u1", "p4", SocialPostData(listing_id="l2"))
        SocialPost.objects.create("u1", "p5", SocialPostData())
        ask = SocialPost.objects.query_by_listing
        assert [one.post_id for one in ask("l1", user_id="u1")] == ["p1", "p2"]
        assert [one.post_id for one in ask("l1", user_id="u1", reverse=True)] == ["p2", "p1"]
        assert [one.post_id for one in ask("l1", user_id=ALL_USERS)] == ["p1", "p2", "p3"]
        assert [one.post_id for one in SocialPost.objects.query("u1")] == ["p1", "p2", "p4", "p5"]


class TestMetricsOverTime:
    def test_range(self) -> None:
        """Days come in order, in one range query with both ends in it, and never another listing's."""
        for day in range(1, 11):
            PerformanceMetrics.objects.save("u1", "l1", date(2024, 1, day), PerformanceMetricsData(views=day))
        PerformanceMetrics.objects.save("u1", "l10", DAY, PerformanceMetricsData())
        ask = PerformanceMetrics.objects.query
        with recorded() as calls:
            days = [one.date.day for one in ask("u1", "l1", since="2024-01-03", until=date(2024, 1, 5))]
        assert (days, [call.operation for call in calls]) == ([3, 4, 5], ["Query"])
        assert [one.date.day for one in ask("u1", "l1")] == list(range(1, 11))
        assert [one.date.day for one in ask("u1", "l1", since="2024-01-09", reverse=True)] == [10, 9]

    def test_another_applications_separator(self) -> None:
        """A row whose listing id holds the separator is reported, and never counted as the shorter listing's."""
        put_raw(stored("PerformanceMetrics", "METRICS#a#b#2024-01-01", {}))
        with pytest.warns(UnreadableItemWarning, match="METRICS#a#b#2024-01-01"):
            assert list(PerformanceMetrics.objects.query("u1", "a")) == []


class TestQueues:
    def test_due_for_sync(self) -> None:
        """Connections come longest unsynced first over all users, up to a time and that time included; one user's by name."""
        for number in range(12):
            data = MLSConnectionData(last_synced_at=number * 1000 or None)
            MLSConnection.objects.create(f"u{number:02}", "c", data)
        due = MLSConnection.objects.due_for_sync(datetime.fromtimestamp(7, UTC), user_id=ALL_USERS)
        assert [one.user_id for one in due] == [f"u{number:02}" for number in range(8)]
        assert [one.user_id for one in MLSConnection.objects.due_for_sync(user_id="u11")] == ["u11"]

    def test_expiring(self) -> None:
        """Tokens come soonest to expire first; those without expiry never do."""
        for platform, expires in (("twitter", 3000), ("facebook", 1000), ("linkedin", None), ("instagram", 9000)):
            SocialConnection.objects.create("u1", platform, SocialConnectionData(expires_at=expires))
        soon = SocialConnection.objects.expiring(datetime.fromtimestamp(3, UTC), user_id=ALL_USERS)
        assert [one.platform for one in soon] == ["facebook", "twitter"]

    def test_pending_unpublish(self) -> None:
        """Posts that wait come oldest request first, of all users or of one."""
        for number, user in enumerate(["u3", "u1", "u2"]):
            data = SocialPostData(status="unpublish_pending", unpublish_requested_at=number)
            SocialPost.objects.create(user, "p", data)
        SocialPost.objects.create("u1", "other", SocialPostData(status="published"))
        assert [one.user_id for one in SocialPost.objects.pending_unpublish(user_id=ALL_USERS)] == ["u3", "u1", "u2"]
        assert [one.user_id for one in SocialPost.objects.pending_unpublish(user_id="u2")] == ["u2"]

    def test_a_time_that_is_no_number(self) -> None:
        """A connection whose last sync another writer stored as text is reported, and not left out in silence."""
        odd = {"lastSyncedAt": {"S": "yesterday"}}
        put_raw(stored("MLSConnection", "MLS_CONNECTION#c", odd, GSI2PK="MLS_SYNC#0", GSI2SK="0000000000000#u1#c"))
        page = MLSConnection.objects.due_for_sync(user_id=ALL_USERS).page()
        assert [row.key[1] for row in page.unreadable] == ["MLS_CONNECTION#c"]

    def test_entries_left_behind(self) -> None:
        """A queue entry whose item has moved on is not work."""
        put_raw(stored("SocialPost", "POST#p", {"status": {"S": "unpublished"}}, GSI2PK="UNPUBLISH#7", GSI2SK="1#u1#p"))
        for shard in range(8):
            late = {"expiresAt": {"N": "99999999999999"}, "lastSyncedAt": {"N": "99999999999999"}}
            put_raw(stored("SocialConnection", f"SOCIAL#P{shard}", late, GSI2PK=f"TOKEN_EXPIRY#{shard}", GSI2SK="1#u1#P"))
            put_raw(stored("MLSConnection", f"MLS_CONNECTION#{shard}", late, GSI2PK=f"MLS_SYNC#{shard}", GSI2SK="1#u1#P"))
        assert list(SocialPost.objects.pending_unpublish(user_id=ALL_USERS)) == []
        assert list(SocialConnection.objects.expiring(datetime(2030, 1, 1, tzinfo=UTC), user_id=ALL_USERS)) == []
        assert list(MLSConnection.objects.due_for_sync(user_id=ALL_USERS)) == []


class TestEverything:
    def test_each_item_as_its_own_class(self) -> None:
        """One query of a user's partition gives every item as its own class, what is foreign as Item with its attributes."""
        Listing.objects.create("u1", "l1", HOME)
        MLSConnection.objects.create("u1", "c1", MLSConnectionData())
        SocialConnection.objects.create("u1", "facebook", SocialConnectionData())
        SocialPost.objects.create("u1", "p1", SocialPostData())
        PerformanceMetrics.objects.increment("u1", "l1", DAY, "facebook", views=1)
        profile = stored("UserProfile", "PROFILE", {"name": {"S": "Ann"}})
        put_raw(profile)
        bare = {"PK": {"S": "USER#u1"}, "SK": {"S": "ZZZ"}, "CreatedAt": {"S": "yesterday"}}
        put_raw(bare)
        with recorded() as calls:
            found = list(Item.objects.query("u1"))
        assert [call.operation for call in calls] == ["Query"]
        assert [type(item) for item in found] == [
            Listing,
            PerformanceMetrics,
            MLSConnection,
            SocialPost,
            Item,
            SocialConnection,
            Item,
        ]
        assert (found[4].entity_type, found[4].raw) == ("UserProfile", {"Data": profile["Data"]})
        assert (found[6].entity_type, found[6].raw) == (None, {"CreatedAt": {"S": "yesterday"}})
        assert found[6].user_id == "u1"

    def test_foreign_items_cannot_be_written(self) -> None:
        """An item of another application is never written."""
        put_raw(stored("UserProfile", "PROFILE", {}))
        (profile,) = Item.objects.query("u1")
        for call in (profile.save, profile.delete):
            with pytest.raises(WrongEntityError, match="UserProfile"):
                call()
        profile.refresh()
        assert profile.entity_type == "UserProfile"

    def test_unreadable_rows(self) -> None:
        """A row that cannot be read is left out with a warning that names its key and fields, and ends nothing."""
        put_raw(stored("Listing", "LISTING#a", {"price": {"S": "many"}}))
        Listing.objects.create("u1", "b", HOME)
        put_raw(stored("Task", "LISTING#c", {}))
        put_raw({**stored("Listing", "LISTING#d", {}), "Data": {"S": "odd"}})
        with pytest.warns(UnreadableItemWarning) as warned:
            assert [one.listing_id for one in Listing.objects.query("u1")] == ["b"]
        assert [str(w.message).split(": ")[1] for w in warned] == [
            "read Listing USER#u1 / LISTING#a",
            "read Listing USER#u1 / LISTING#c",
            "read Listing USER#u1 / LISTING#d",
        ]
        page = Listing.objects.query("u1").page()
        assert [row.key[1] for row in page.unreadable] == ["LISTING#a", "LISTING#c", "LISTING#d"]
        assert page.unreadable[0].error.fields == ("status", "price")
        with pytest.raises(InvalidItemError, match="status: Field required; price:"):
            Listing.objects.get("u1", "a")


class TestExpiry:
    """An item whose TTL has passed is gone, though DynamoDB may still return it."""

    GONE: ClassVar[dict[str, Any]] = {"TTL": {"N": "1000"}}

    def test_reads(self) -> None:
        """No read gives an item whose TTL has passed; one whose TTL is to come is there."""
        put_raw(stored("Listing", "LISTING#gone", {"status": {"S": "sold"}}, **self.GONE))
        put_raw(stored("Listing", "LISTING#here", {"status": {"S": "sold"}}, TTL={"N": "99999999999"}))
        assert Listing.objects.find("u1", "gone") is None
        assert list(Listing.objects.get_many([("u1", "gone"), ("u1", "here")])) == [("u1", "here")]
        with pytest.raises(Listing.DoesNotExist):
            Listing.get("USER#u1", "LISTING#gone")
        assert [one.listing_id for one in Listing.objects.query("u1")] == ["here"]
        assert Listing.objects.query("u1").count() == 1
        assert Listing.objects.get("u1", "here").ttl == 99999999999

    @pytest.mark.parametrize("ttl", [{"NULL": True}, {"S": "1000"}, {"L": []}])
    def test_a_ttl_that_is_no_number_is_none(self, ttl: dict[str, Any]) -> None:
        """Every read and every write agree that an item whose TTL is no number is there."""
        put_raw(stored("Listing", "LISTING#l", {"status": {"S": "sold"}}, TTL=ttl))
        assert Listing.objects.get("u1", "l").ttl is None
        assert Listing.objects.query("u1").count() == 1
        with pytest.raises(ItemAlreadyExistsError):
            Listing.objects.create("u1", "l", HOME)
        assert Listing.objects.update("u1", "l", price=1).data.price == 1
        assert Listing.objects.save("u1", "l", HOME).raw == {"TTL": ttl}
        assert Listing.objects.delete("u1", "l") is True

    def test_pynamodbs_reads(self) -> None:
        """PynamoDB's own reads leave it out too."""
        put_raw(stored("Listing", "LISTING#gone", {"status": {"S": "sold"}}, **self.GONE))
        assert list(Listing.query("USER#u1")) == []
        assert list(Listing.scan()) == []
        assert list(Listing.batch_get([("USER#u1", "LISTING#gone")])) == []

    def test_writes(self) -> None:
        """An update or delete does not find it; a create or save replaces it as if it had not been there."""
        item = stored("Listing", "LISTING#l", {"status": {"S": "sold"}}, Foreign="x", **self.GONE)
        put_raw(item)
        with pytest.raises(ItemNotFoundError):
            Listing.objects.update("u1", "l", price=1)
        assert Listing.objects.delete("u1", "l") is False
        created = Listing.objects.create("u1", "l", HOME)
        assert (created.ttl, created.raw) == (None, {})
        put_raw(item)
        saved = Listing.objects.save("u1", "l", HOME)
        assert (saved.ttl, saved.raw) == (None, {})
        assert saved.created_at == saved.updated_at
        assert Listing.objects.get("u1", "l").data == HOME


@pytest.mark.usefixtures("table")
def test_queries_of_ids_that_no_key_holds() -> None:
    """A query for ids that make a longer key than DynamoDB takes is refused before anything is sent."""
    long = "u" * 2048
    queries: list[Callable[[], Any]] = [
        lambda: Listing.objects.query(long),
        lambda: Listing.objects.query_by_status(long, "sold"),
        lambda: Listing.objects.query_by_mls_number("flexmls", long, user_id="u1"),
        lambda: SocialPost.objects.query_by_listing(long, user_id="u1"),
        lambda: PerformanceMetrics.objects.query("u1", "l" * 1024),
        lambda: for_user(long),
    ]
    with recorded() as calls:
        for query in queries:
            with pytest.raises(InvalidKeyError, match="bytes once assembled, and DynamoDB takes"):
                query()
    assert calls == []
