"""Migrations: every item in its new shape, whatever comes between, and nothing of another writer's lost."""

from __future__ import annotations

import json
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import mlssocial
from mlssocial import (
    DELETE,
    ConfigurationError,
    Listing,
    ListingData,
    ListingStatus,
    MigrationLockedError,
    MigrationReport,
    Migrations,
    MLSConnection,
    MLSConnectionData,
    SocialConnection,
    Token,
    audit_table,
    keys,
)
from mlssocial import migration_record as record
from mlssocial.connection import CONTROL, READS, recorded, store
from mlssocial.migration_files import Migration

from .conftest import get_raw, put_raw

UPPER = """
    entities = ["Listing"]

    def transform(item):
        item["Data"]["city"] = item["Data"].pop("town", item["Data"].get("city", "")).upper()
        return item

    def down(item):
        item["Data"]["town"] = item["Data"].pop("city", item["Data"].get("town", "")).lower()
        return item
"""


def write(folder: Path, name: str, source: str) -> None:
    """Write a migration's file."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(dedent(source))


def old(number: int, **more: Any) -> dict[str, Any]:
    """Make a listing as the other application has left it: an older shape, and no keys in the indexes."""
    return {
        "PK": {"S": f"USER#u{number % 3}"},
        "SK": {"S": f"LISTING#l{number}"},
        "EntityType": {"S": "Listing"},
        "CreatedAt": {"N": "1700000000000"},
        "UpdatedAt": {"N": "1700000000000"},
        "Data": {"M": {"status": {"S": "active"}, "town": {"S": "Reno"}, "price": {"N": "100.5"}, **more}},
    }


def data_of(item: dict[str, Any]) -> dict[str, Any]:
    """Give an item's Data as it is stored now."""
    stored = get_raw(item["PK"]["S"], item["SK"]["S"])
    assert stored is not None
    return dict(stored["Data"]["M"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give where the migrations are."""
    return tmp_path / "migrations"


@pytest.mark.usefixtures("table")
class TestUp:
    def test_changes_every_item(self, folder: Path) -> None:
        """Every item of the entity is changed, exactly, index keys follow, and other items are as they were."""
        other = old(7) | {"EntityType": {"S": "Task"}, "SK": {"S": "TASK#1"}}
        for item in (other, *map(old, range(5))):
            put_raw(item)
        write(folder, "0001_upper", UPPER)
        (report,) = Migrations(folder=folder, segments=2).up()
        assert (report.changed, report.failed, report.unverified, report.is_done) == (5, 0, 0, True)
        assert (report.scanned, report.others) == (7, 2)  # the lock is an item, too
        assert get_raw("USER#u1", "TASK#1") == other
        for number in range(5):
            stored = get_raw(f"USER#u{number % 3}", f"LISTING#l{number}")
            assert stored is not None
            assert stored["Data"]["M"] == {"status": {"S": "active"}, "city": {"S": "RENO"}, "price": {"N": "100.5"}}
            assert stored["GSI2PK"] == {"S": f"USER#u{number % 3}#STATUS#active"}
            assert (stored["CreatedAt"], int(stored["UpdatedAt"]["N"]) > 1700000000000) == ({"N": "1700000000000"}, True)
        assert list(folder.glob("*.checkpoint*")) == []

    def test_is_recorded(self, folder: Path) -> None:
        """One that was applied is recorded in a partition of no user's, and is not applied again."""
        put_raw(old(1))
        write(folder, "0001_upper", UPPER)
        migrations = Migrations(folder=folder)
        assert [status.applied for status in migrations.status()] == [None]
        migrations.up()
        (status,) = migrations.status()
        assert status.applied is not None
        assert (status.name, status.is_missing, status.is_altered) == ("0001_upper", False, False)
        stored = get_raw(keys.MIGRATIONS, "MIGRATION#0001_upper")
        assert stored is not None
        assert stored["EntityType"] == {"S": "Migration"}
        with pytest.raises(mlssocial.InvalidKeyError):
            keys.parse_user(stored["PK"]["S"])
        put_raw(old(2))
        assert migrations.up() == []
        assert data_of(old(2)) == old(2)["Data"]["M"]
        assert migrations.lock() is None

    def test_goes_by_number(self, folder: Path) -> None:
        """Pending migrations run in order of their numbers, up to the one that is named."""
        put_raw(old(1))
        for name in ("10000_d", "0003_c", "0002_b", "0001_a"):
            source = f"""
                entities = ["Listing"]
                def transform(item):
                    if "{name}" not in item["Data"].get("done", []):
                        item["Data"].setdefault("done", []).append("{name}")
                    return item
            """
            write(folder, name, source)
        migrations = Migrations(folder=folder)
        assert [report.migration for report in migrations.up(to="0002_b")] == ["0001_a", "0002_b"]
        assert [report.migration for report in migrations.up()] == ["0003_c", "10000_d"]
        assert [done["S"] for done in data_of(old(1))["done"]["L"]] == ["0001_a", "0002_b", "0003_c", "10000_d"]
        with pytest.raises(ConfigurationError, match="has no migration 0009"):
            migrations.up(to="0009")

    def test_deletes_and_leaves_alone(self, folder: Path) -> None:
        """DELETE deletes an item, None leaves one alone, and the filter leaves out the others."""
        for number in range(4):
            put_raw(old(number))
        source = """
            from mlssocial import DELETE
            entities = ["Listing"]
            def where(item):
                return item["SK"] != "LISTING#l3"
            def transform(item):
                return {"LISTING#l0": DELETE, "LISTING#l1": None}.get(item["SK"], item | {"TTL": 4102444800})
        """
        write(folder, "0001_some", source)
        (report,) = Migrations(folder=folder).up()
        assert (report.changed, report.deleted, report.is_done) == (1, 1, True)
        stored = [get_raw(f"USER#u{number % 3}", f"LISTING#l{number}") for number in range(4)]
        assert stored[0] is None
        assert (stored[1], stored[3]) == (old(1), old(3))
        assert stored[2] is not None
        assert stored[2]["TTL"] == {"N": "4102444800"}

    def test_what_fails_is_named_and_the_rest_goes_on(self, folder: Path) -> None:
        """An item that cannot be migrated is as it was, named in the report and the file; a later run does what is left."""
        for number in range(4):
            put_raw(old(number))
        put_raw(old(9, town={"N": "5"}))
        put_raw(old(8) | {"Data": {"S": "no map"}})
        put_raw(old(6) | {"SK": {"S": "LISTNG#6"}})
        write(folder, "0001_upper", UPPER)
        migrations = Migrations(folder=folder)
        for _ in range(2):
            (report,) = migrations.up()
            assert (report.failed, report.unverified, report.is_done) == (3, None, False)
            assert {failure.key[1] for failure in report.failures} == {"LISTING#l9", "LISTING#l8", "LISTNG#6"}
            lines = [json.loads(line) for line in (folder / "0001_upper.failed.ndjson").read_text().splitlines()]
            assert sorted(line["key"][1] for line in lines) == ["LISTING#l8", "LISTING#l9", "LISTNG#6"]
            assert any("AttributeError in line 5 of transform()" in line["reason"] for line in lines)
            assert migrations.status()[0].applied is None
        assert report.changed == 0
        assert [data_of(old(number))["city"] for number in range(4)] == [{"S": "RENO"}] * 4
        assert data_of(old(9))["town"] == {"N": "5"}
        for item in (old(9), old(8), old(6) | {"SK": {"S": "LISTNG#6"}}):
            store().call("DeleteItem", {"TableName": store().table_name, "Key": {k: item[k] for k in ("PK", "SK")}})
        (report,) = migrations.up()
        assert report.is_done
        assert list(folder.glob("*.ndjson")) == []

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ("item['Data']['price'] *= 2; return item", "not idempotent"),
            ("item['Data']['n'] = 1.5; return item", "binary float"),
            ("item['SK'] = 'LISTING#other'; return item", "changed SK"),
            ("item['GSI2PK'] = 'x'; return item", "gave GSI2PK"),
            ("item['Data'].update(mlsProvider='a#b', mlsNumber='1'); return item", "separates the parts of a key"),
            ("item['Data']['description'] = 'x' * 420_000; return item", "DynamoDB takes 409,600"),
            ("item['Data'] = 5; return item", "Data is no map"),
            ("return 5", "gave a int"),
            ("raise ValueError('why')", "ValueError in line 3 of transform(): why"),
        ],
    )
    def test_refuses_what_cannot_be_stored(self, folder: Path, body: str, reason: str) -> None:
        """What a transform may not do fails with a reason, in the dry run already, and nothing is written."""
        put_raw(old(1))
        write(folder, "0001_bad", f"entities = ['Listing']\ndef transform(item):\n    {body}\n")
        migrations = Migrations(folder=folder)
        for report in (*migrations.plan(), *migrations.up()):
            assert report.failed == 1
            assert reason in report.failures[0].reason
        assert get_raw("USER#u1", "LISTING#l1") == old(1)

    def test_writes_only_what_changes(self, folder: Path) -> None:
        """An item that is right already is not written, and keeps its version."""
        Listing.objects.create("u1", "l1", ListingData.model_validate({"status": "active", "city": "RENO"}))
        before = get_raw("USER#u1", "LISTING#l1")
        write(folder, "0001_upper", UPPER)
        with recorded() as calls:
            (report,) = Migrations(folder=folder).up()
        assert (report.changed, report.write_units) == (0, 0)
        assert get_raw("USER#u1", "LISTING#l1") == before
        written = [call.operation for call in calls if call.operation not in READS | CONTROL]
        assert written == ["PutItem", "TransactWriteItems", "DeleteItem"]  # the lock, the record, the lock

    def test_expired_items_are_left_alone(self, folder: Path) -> None:
        """An item whose TTL has passed is gone, and not brought back."""
        put_raw(old(1) | {"TTL": {"N": "1"}})
        write(folder, "0001_upper", UPPER)
        (report,) = Migrations(folder=folder).up()
        assert (report.changed, report.expired) == (0, 1)

    def test_left_behind_by_other_writers(self, folder: Path) -> None:
        """Where the second look finds an older shape again, the migration is not recorded; without a second look it is."""
        put_raw(old(1))
        write(folder, "0001_upper", UPPER)

        def writes_again(report: MigrationReport) -> None:
            if not report.dry_run:
                put_raw(old(1))

        (report,) = Migrations(folder=folder, progress=writes_again).up()
        assert (report.changed, report.unverified, report.is_done) == (1, 1, False)
        migrations = Migrations(folder=folder, progress=writes_again, verify=False)
        assert migrations.status()[0].applied is None
        (report,) = migrations.up()
        assert (report.unverified, report.is_done) == (None, True)
        assert migrations.status()[0].applied is not None

    def test_rates(self, folder: Path) -> None:
        """Write units a second are held to, on average, and a page is no longer than a second's writes."""
        for number in range(30):
            put_raw(old(number))
        write(folder, "0001_upper", UPPER)
        (report,) = Migrations(folder=folder, segments=2, max_write_units=20, verify=False).up()
        assert report.write_units >= 60
        assert report.elapsed >= (report.write_units - 40) / 20  # behind a segment's last page nothing waits

    def test_another_process(self, folder: Path, tmp_path: Path, table: str) -> None:
        """Steps run in other processes, which need the migration's file no more than its text."""
        if table != "embedded":
            pytest.skip("one engine that several processes reach is enough")
        mlssocial.configure(endpoint_url=f"local:{tmp_path / 'homes.db'}")
        mlssocial.create_table()
        for number in range(6):
            put_raw(old(number))
        write(folder, "0001_upper", UPPER)
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            (report,) = Migrations(folder=folder, segments=2, executor=pool).up()
        assert (report.changed, report.is_done) == (6, True)


@pytest.mark.usefixtures("table")
class TestConcurrentWriters:
    def test_nothing_of_theirs_is_lost(self, table: str, folder: Path, soak: bool) -> None:
        """Other writers count in the items all the while, in both shapes; every count is there, and every item is new."""
        if table == "moto":
            pytest.skip("moto loses conditional updates under threads")
        items = [old(number, views={"N": "0"}) for number in range(8)]
        for item in items:
            put_raw(item)
        write(folder, "0001_upper", UPPER)
        each, running = 60 if soak else 8, threading.Barrier(3)

        def count() -> None:
            running.wait()
            for _ in range(each):
                for item in items:
                    increase(item)

        threads = [threading.Thread(target=count) for _ in range(2)]
        for thread in threads:
            thread.start()
        running.wait()
        for _ in range(20):
            reports = Migrations(folder=folder, segments=2).up()
            if all(report.is_done for report in reports):
                break
        for thread in threads:
            thread.join()
        Migrations(folder=folder).up()
        assert [data_of(item)["views"] for item in items] == [{"N": str(2 * each)}] * len(items)
        assert [data_of(item)["city"] for item in items] == [{"S": "RENO"}] * len(items)

    def test_writes_within_one_millisecond(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A change that moves no version, as of a writer who writes twice in a millisecond, is seen and kept."""
        put_raw(old(1))
        write(folder, "0001_upper", UPPER)
        call = type(store()).call
        changed: list[dict[str, Any]] = []

        def between(self: Any, operation: str, request: dict[str, Any], **more: Any) -> Any:
            if operation == "UpdateItem" and request["Key"]["PK"] == {"S": "USER#u1"} and not changed:
                changed.append(old(1, town={"S": "Elko"}))
                put_raw(changed[0])
            return call(self, operation, request, **more)

        monkeypatch.setattr(type(store()), "call", between)
        (report,) = Migrations(folder=folder).up()
        assert (report.changed, len(changed)) == (1, 1)
        assert data_of(old(1))["city"] == {"S": "ELKO"}


def increase(item: dict[str, Any]) -> None:
    """Count in an item as another application does: it changes UpdatedAt, and no WriteId."""
    store().call(
        "UpdateItem",
        {
            "TableName": store().table_name,
            "Key": {name: item[name] for name in ("PK", "SK")},
            "UpdateExpression": "SET #d.#v = #d.#v + :one, #u = #u + :one",
            "ExpressionAttributeNames": {"#d": "Data", "#v": "views", "#u": "UpdatedAt"},
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        },
    )


@pytest.mark.usefixtures("table")
class TestPlan:
    def test_shows_changes_and_cost(self, folder: Path) -> None:
        """A plan shows what changes, value by value, and what the writes cost, and writes nothing."""
        put_raw(old(1))
        put_raw(old(2, town={"S": "x" * 3000}))
        write(folder, "0001_upper", UPPER)
        with recorded() as calls:
            (report,) = Migrations(folder=folder).plan()
        assert {call.operation for call in calls} <= READS
        assert (report.changed, report.dry_run, report.is_done) == (2, True, False)
        assert report.write_units == 2 + 2 * 4  # the item and its place in GSI2: one of a KB, one of 3.2
        sample = next(sample for sample in report.samples if sample.key[1] == "LISTING#l1")
        assert sample.changes == (
            '- Data.town: "Reno"',
            '+ Data.city: "RENO"',
            '+ GSI2PK: "USER#u1#STATUS#active"',
            '+ GSI2SK: "LISTED##l1"',
        )
        assert "2 to change" in str(report)
        (applied,) = Migrations(folder=folder).up()
        assert applied.write_units == report.write_units

    def test_shows_no_secret(self, folder: Path) -> None:
        """No diff shows a token, sealed or clear, nor what an unknown field of a connection holds."""
        MLSConnection.objects.create("u1", "c1", MLSConnectionData(provider="flexmls", access_token=Token("sealed-secret")))
        put_raw(
            {
                "PK": {"S": "USER#u1"},
                "SK": {"S": "MLS_CONNECTION#c2"},
                "EntityType": {"S": "MLSConnection"},
                "Data": {"M": {"provider": {"S": "a"}, "accessToken": {"S": "clear-secret"}, "page": {"S": "page-secret"}}},
            }
        )
        source = """
            entities = ["MLSConnection"]
            def transform(item):
                data = item["Data"]
                data["older"] = data.get("page", "")
                data["brokerageId"] = data["accessToken"].reveal()
                data["provider"] = "b"
                return item
        """
        write(folder, "0001_careless", source)
        (report,) = Migrations(folder=folder).plan()
        assert (report.changed, len(report.samples)) == (2, 2)
        shown = json.dumps(report.as_dict())
        assert '+ Data.provider: \\"b\\"' in shown
        assert "secret" not in shown
        assert "enc:v1" not in shown

    def test_raised_secrets(self, folder: Path) -> None:
        """What a transform of connections raises is told without its message."""
        MLSConnection.objects.create("u1", "c1", MLSConnectionData(access_token=Token("secret")))
        write(
            folder,
            "0001_bad",
            "entities = ['MLSConnection']\ndef transform(item):\n    raise ValueError(item['Data']['accessToken'].reveal())\n",
        )
        (report,) = Migrations(folder=folder).plan()
        assert report.failures[0].reason == "ValueError in line 3 of transform()"


@pytest.mark.usefixtures("table")
class TestDown:
    def test_undoes_the_last(self, folder: Path) -> None:
        """down undoes what was applied last and forgets that it was; up applies it again."""
        put_raw(old(1))
        write(folder, "0001_upper", UPPER)
        migrations = Migrations(folder=folder)
        with pytest.raises(ConfigurationError, match="none to undo"):
            migrations.down()
        migrations.up()
        report = migrations.down()
        assert (report.direction, report.changed, report.is_done) == ("down", 1, True)
        assert data_of(old(1))["town"] == {"S": "reno"}
        assert migrations.status()[0].applied is None
        assert [report.changed for report in migrations.up()] == [1]

    def test_cannot_always(self, folder: Path) -> None:
        """One without down, and one whose file is gone, cannot be undone; the status says what has changed."""
        write(folder, "0001_one", "entities = ['Listing']\ndef transform(item):\n    return None\n")
        migrations = Migrations(folder=folder)
        migrations.up()
        with pytest.raises(ConfigurationError, match="has no down"):
            migrations.down()
        write(folder, "0001_one", "entities = ['Listing']\ndef transform(item):\n    return item\n")
        assert [status.is_altered for status in migrations.status()] == [True]
        (folder / "0001_one.py").unlink()
        assert [status.is_missing for status in migrations.status()] == [True]
        with pytest.raises(ConfigurationError, match="no file of it"):
            migrations.down()


@pytest.mark.usefixtures("table")
class TestLock:
    def test_one_run_at_a_time(self, folder: Path) -> None:
        """While one run has the lock another is refused, and told who has it."""
        put_raw(old(1))
        write(folder, "0001_upper", UPPER)
        with (
            record.leased(),
            pytest.raises(MigrationLockedError, match=r"another run has the lock: .*process \d+.*unlock") as info,
        ):
            Migrations(folder=folder).up()
        assert info.value.until is not None
        assert data_of(old(1)) == old(1)["Data"]["M"]
        Migrations(folder=folder).up()

    def test_two_at_once(self, table: str, folder: Path) -> None:
        """Of two runs that begin together one migrates, and the other is refused or finds it done."""
        if table == "moto":
            pytest.skip("moto loses conditional updates under threads")
        for number in range(10):
            put_raw(old(number))
        write(folder, "0001_upper", UPPER)
        outcomes: list[Any] = []
        barrier = threading.Barrier(2)

        def run() -> None:
            barrier.wait()
            try:
                outcomes.append(sum(report.changed for report in Migrations(folder=folder).up()))
            except MigrationLockedError:
                outcomes.append("refused")

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes.count(10) == 1
        assert {outcome for outcome in outcomes if outcome != 10} <= {"refused", 0}

    def test_ends_by_itself(self) -> None:
        """A lock whose holder has died ends with its lease."""
        dead = record.Lease(0.05)
        dead.take()
        threading.Event().wait(0.1)
        with pytest.raises(MigrationLockedError, match="lost its lock"):
            dead.check()
        with record.leased() as lease:
            lease.check()

    def test_is_renewed(self) -> None:
        """A run that lasts longer than its lease keeps the lock."""
        with record.leased(2) as lease:
            threading.Event().wait(3)
            lease.check()
            with pytest.raises(MigrationLockedError):
                record.Lease(1).take()
        assert record.lock() is None

    def test_unlock(self, folder: Path) -> None:
        """unlock takes the lock from whoever has it, who ends without a record; it tells who that was."""
        for number in range(6):
            put_raw(old(number))
        write(folder, "0001_upper", UPPER)
        migrations = Migrations(folder=folder)
        assert migrations.unlock() is None

        def take_away(_: MigrationReport) -> None:
            migrations.unlock()

        with pytest.raises(MigrationLockedError, match="lost its lock"):
            Migrations(folder=folder, progress=take_away).up()
        assert migrations.status()[0].applied is None
        migrations.up()
        assert migrations.status()[0].applied is not None


class TestFiles:
    def test_new(self, folder: Path) -> None:
        """A new file has the next number, and every template loads."""
        migrations = Migrations(folder=folder)
        names = ["index-keys", "seal-tokens", "zip", "empty"]
        paths = [migrations.new(f"m{number}", template=name) for number, name in enumerate(names)]
        assert [path.name for path in paths] == ["0001_m0.py", "0002_m1.py", "0003_m2.py", "0004_m3.py"]
        for path in paths:
            Migration(path.stem, str(path), path.read_text()).check()

    @pytest.mark.parametrize("name", ["", "Upper", "a-b", "../a", "1a", "ä"])
    def test_names(self, folder: Path, name: str) -> None:
        """A name that is none is refused, and nothing is written."""
        with pytest.raises(ConfigurationError, match="no migration's name"):
            Migrations(folder=folder).new(name)
        assert not folder.exists()

    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            ("def", "SyntaxError"),
            ("1 / 0", "ZeroDivisionError"),
            ("entities = ['Nothing']\ndef transform(item): ...", "entities: one or more of Listing"),
            ("entities = 'Listing'\ndef transform(item): ...", "entities: one or more of Listing"),
            ("entities = [['Listing']]\ndef transform(item): ...", "entities: one or more of Listing"),
            ("entities = ['Listing']", "has no transform"),
        ],
    )
    @pytest.mark.usefixtures("table")
    def test_that_cannot_be_loaded(self, folder: Path, source: str, reason: str) -> None:
        """A file that cannot be loaded is named before anything is done, even behind others."""
        put_raw(old(1))
        write(folder, "0001_upper", UPPER)
        write(folder, "0002_bad", source)
        with pytest.raises(ConfigurationError, match=reason):
            Migrations(folder=folder).up()
        assert data_of(old(1)) == old(1)["Data"]["M"]

    @pytest.mark.usefixtures("table")
    def test_one_number_twice(self, folder: Path) -> None:
        """Two files of one number are refused."""
        write(folder, "0001_a", UPPER)
        write(folder, "00001_b", UPPER)
        with pytest.raises(ConfigurationError, match="same number"):
            Migrations(folder=folder).status()

    @pytest.mark.usefixtures("table")
    def test_no_folder(self, folder: Path) -> None:
        """A folder that is not there is said to be none."""
        with pytest.raises(ConfigurationError, match="cannot be read"):
            Migrations(folder=folder).up()

    @pytest.mark.parametrize(
        "wrong", [{"segments": 0}, {"segments": True}, {"max_write_units": 0}, {"lease_seconds": float("inf")}]
    )
    def test_options(self, wrong: dict[str, Any]) -> None:
        """Options that cannot be are refused by name."""
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            Migrations(**wrong)

    def test_delete_is_one(self) -> None:
        """DELETE is the same wherever it has been, and shows its name."""
        assert pickle.loads(pickle.dumps(DELETE)) is DELETE  # noqa: S301
        assert repr(DELETE) == "DELETE"


@pytest.mark.usefixtures("table")
class TestShipped:
    def test_index_keys(self, folder: Path) -> None:
        """On a table that another application filled, every item gets its index keys, and UpdatedAt stays."""
        for number in range(5):
            put_raw(old(number))
        migrations = Migrations(folder=folder)
        migrations.new("indexes", template="index-keys")
        assert audit_table().drifted == 5
        (report,) = migrations.up()
        assert (report.changed, report.is_done) == (5, True)
        assert audit_table().drifted == 0
        stored = get_raw("USER#u1", "LISTING#l1")
        assert stored is not None
        assert stored["UpdatedAt"] == old(1)["UpdatedAt"]
        assert [item.listing_id for item in Listing.objects.query_by_status("u1", ListingStatus.ACTIVE)] == ["l1", "l4"]
        assert migrations.down().is_done

    def test_zip(self, folder: Path) -> None:
        """zipCode becomes zip, unless that is filled, and addresses without it are not written."""
        for number, address in enumerate(
            ({"zipCode": "1"}, {"zipCode": "1", "zip": ""}, {"zipCode": "1", "zip": "2"}, {"zip": "3"}, {})
        ):
            put_raw(old(number, address={"M": {name: {"S": value} for name, value in address.items()}}))
        migrations = Migrations(folder=folder)
        migrations.new("zip", template="zip")
        (report,) = migrations.up()
        assert report.changed == 3
        found = [data_of(old(number))["address"]["M"] for number in range(5)]
        assert found == [{"zip": {"S": "1"}}, {"zip": {"S": "1"}}, {"zip": {"S": "2"}}, {"zip": {"S": "3"}}, {}]

    def test_seal_tokens(self, folder: Path) -> None:
        """Tokens in clear text are sealed and open to what they were; sealed ones are not written."""
        SocialConnection.objects.create("u1", "facebook", mlssocial.SocialConnectionData(access_token=Token("one")))
        before = get_raw("USER#u1", "SOCIAL#FACEBOOK")
        clear = {"accessToken": {"S": "two"}, "refreshToken": {"S": ""}}
        put_raw(
            {
                "PK": {"S": "USER#u1"},
                "SK": {"S": "SOCIAL#LINKEDIN"},
                "EntityType": {"S": "SocialConnection"},
                "Data": {"M": clear},
            }
        )
        migrations = Migrations(folder=folder)
        migrations.new("tokens", template="seal-tokens")
        (plan,) = migrations.plan()
        assert (plan.changed, "two" in json.dumps(plan.as_dict())) == (1, False)
        (report,) = migrations.up()
        assert (report.changed, report.is_done) == (1, True)
        assert get_raw("USER#u1", "SOCIAL#FACEBOOK") == before
        sealed = get_raw("USER#u1", "SOCIAL#LINKEDIN")
        assert sealed is not None
        assert sealed["Data"]["M"]["accessToken"]["S"].startswith("enc:v1:")
        token = SocialConnection.objects.get("u1", "linkedin").data.access_token
        assert token is not None
        assert token.reveal() == "two"

    def test_without_a_key(self, folder: Path) -> None:
        """Without a key to seal with, the run ends and says so, and nothing is recorded."""
        put_raw(
            {
                "PK": {"S": "USER#u1"},
                "SK": {"S": "SOCIAL#LINKEDIN"},
                "EntityType": {"S": "SocialConnection"},
                "Data": {"M": {"accessToken": {"S": "two"}}},
            }
        )
        mlssocial.configure(mlssocial.settings.current(), token_keys={})
        migrations = Migrations(folder=folder)
        migrations.new("tokens", template="seal-tokens")
        with pytest.raises(ConfigurationError, match="would lie in clear text"):
            migrations.up()
        assert migrations.status()[0].applied is None
