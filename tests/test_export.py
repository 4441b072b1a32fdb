"""Exports and restores: every item as it was, whatever interrupts them, and no token in clear text unasked."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import mlssocial
from mlssocial import (
    ConfigurationError,
    Conflict,
    InvalidExportError,
    ItemAlreadyExistsError,
    Listing,
    ListingData,
    ListingStatus,
    MLSConnection,
    MLSConnectionData,
    PerformanceMetrics,
    SocialConnection,
    SocialConnectionData,
    export_table,
    restore_table,
)
from mlssocial.connection import READS, recorded, store
from mlssocial.export import ExportReport
from mlssocial.flat import guarded
from mlssocial.rawwrites import key_of, same
from mlssocial.settings import current
from mlssocial.wire import decode_row

from .conftest import get_raw, put_raw

CANARY = "canary-EAAB-7f3a9c"
FOREIGN = {"PK": {"S": "USER#u1"}, "SK": {"S": "PROFILE"}, "EntityType": {"S": "UserProfile"}, "Avatar": {"B": b"\x00\xff"}}
CLEAR = {
    "PK": {"S": "USER#u1"},
    "SK": {"S": "SOCIAL#FACEBOOK"},
    "EntityType": {"S": "SocialConnection"},
    "Data": {"M": {"accessToken": {"S": CANARY}, "refreshToken": {"S": ""}}},
}


def everything() -> dict[tuple[str, str], Any]:
    """Read the whole table, as rows."""
    answer = store().call("Scan", {"TableName": store().table_name, "ConsistentRead": True})
    assert "LastEvaluatedKey" not in answer
    return {key_of(row): row for row in map(decode_row, answer.get("Items", ()))}


def lines(folder: Path) -> list[dict[str, Any]]:
    """Read an export's lines, as any reader of gzip and JSON does."""
    return [json.loads(line) for path in sorted((folder / "data").iterdir()) for line in gzip.open(path)]


def fill(count: int) -> None:
    """Store listings, and an item of another application."""
    for number in range(count):
        Listing.objects.create("u1", f"l{number}", ListingData(status=ListingStatus.ACTIVE))
    put_raw(FOREIGN)


@contextmanager
def another_table() -> Iterator[None]:
    """Configure a fresh table of another name, for a while."""
    before = current()
    mlssocial.configure(before, table_name=f"restored-{uuid.uuid4().hex[:12]}")
    mlssocial.create_table()
    try:
        yield
    finally:
        store().call("DeleteTable", {"TableName": store().table_name})
        mlssocial.configure(before)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a few items a page."""
    monkeypatch.setattr("mlssocial.scans.PAGE_ITEMS", 3)


# --- Round trip ------------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)
NUMBERS = st.integers(-(10**15), 10**15).map(str) | st.decimals(-1000, 1000, places=3).map(lambda n: f"{n.normalize():f}")
SCALARS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=20).map(lambda text: {"S": text}),
    NUMBERS.map(lambda number: {"N": number}),
    st.binary(max_size=12).map(lambda content: {"B": content}),
    st.booleans().map(lambda value: {"BOOL": value}),
    st.just({"NULL": True}),
    st.sets(NAMES, min_size=1, max_size=3).map(lambda texts: {"SS": sorted(texts)}),
    st.sets(st.integers(-50, 50), min_size=1, max_size=3).map(lambda numbers: {"NS": [str(number) for number in numbers]}),
    st.sets(st.binary(min_size=1, max_size=4), min_size=1, max_size=3).map(lambda contents: {"BS": sorted(contents)}),
)
VALUES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: {"L": values})
        | st.dictionaries(NAMES, inner, max_size=3).map(lambda values: {"M": values})
    ),
    max_leaves=8,
)
RESERVED = {"PK", "SK", "EntityType", "TTL", "GSI1PK", "GSI1SK", "GSI2PK", "GSI2SK"}
ITEMS = st.builds(
    lambda attributes, kind, ttl: attributes | ({"EntityType": {"S": kind}} if kind else {}) | ({"TTL": ttl} if ttl else {}),
    st.dictionaries(NAMES.filter(lambda name: name not in RESERVED), VALUES, max_size=4),
    st.sampled_from(["", "UserProfile", "Listing", "SocialPost", "Operation"]),
    st.sampled_from([None, {"N": "1000000000"}, {"N": "9999999999"}, {"S": "never"}]),
)


@pytest.mark.usefixtures("table", "small_pages")
class TestRoundTrip:
    @settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(items=st.lists(ITEMS, max_size=9), segments=st.integers(1, 4))
    def test_is_the_identity(self, tmp_path: Path, items: list[dict[str, Any]], segments: int) -> None:
        """Any items, with any attributes, of anybody: what is restored into another table is what was exported."""
        folder = tmp_path / uuid.uuid4().hex
        with another_table():
            for number, item in enumerate(items):
                put_raw({"PK": {"S": f"USER#{number}"}, "SK": {"S": "ANY"}, **item})
            before = everything()
            report = export_table(folder, segments=segments)
        assert (report.total, report.expired) == (len(items), 0)
        with another_table():
            assert restore_table(folder).written == len(items)
            after = everything()
            assert before.keys() == after.keys()
            assert all(same(row, after[key]) for key, row in before.items())
            assert restore_table(folder).unchanged == sum(
                "TTL" not in item or item["TTL"] != {"N": "1000000000"} for item in items
            )

    def test_the_golden_items(self, golden: list[dict[str, Any]], tmp_path: Path) -> None:
        """The other application's items come back as they were, but for tokens in clear text, which come back sealed."""
        for item in golden:
            put_raw(item)
        before = everything()
        report = export_table(tmp_path / "export")
        with another_table():
            restore_table(tmp_path / "export")
            after = everything()
            changed = {key for key in before if not same(before[key], after[key])}
            assert {before[key]["EntityType"].S for key in changed} <= {"MLSConnection", "SocialConnection"}
            assert len(changed) <= report.tokens["sealed_for_export"]
            for user, platform in [("user-123", "facebook")]:
                stored = before["USER#user-123", "SOCIAL#FACEBOOK"]["Data"].M or {}
                restored = SocialConnection.objects.get(user, platform).data.access_token
                assert restored is not None
                assert (restored.sealed, restored.reveal()) == (True, stored["accessToken"].S)

    def test_index_keys_and_versions_stay(self, tmp_path: Path) -> None:
        """Indexes find what was restored, and its version and times are what they were."""
        fill(4)
        version = get_raw("USER#u1", "LISTING#l1")
        export_table(tmp_path / "export")
        with another_table():
            restore_table(tmp_path / "export")
            assert get_raw("USER#u1", "LISTING#l1") == version
            found = Listing.objects.query_by_status("u1", ListingStatus.ACTIVE)
            assert [listing.listing_id for listing in found] == ["l0", "l1", "l2", "l3"]

    def test_an_empty_table(self, tmp_path: Path) -> None:
        """An empty table has an export without files, and restores to nothing."""
        assert str(export_table(tmp_path / "export", segments=2)).startswith("0 items in 0 files")
        assert restore_table(tmp_path / "export").total == 0


@pytest.mark.usefixtures("table", "small_pages")
class TestFiles:
    def test_are_what_dynamodb_imports(self, tmp_path: Path) -> None:
        """data/ has nothing but gzip files of lines, each one object with the member Item in DynamoDB JSON."""
        fill(10)
        report = export_table(tmp_path / "export", segments=3)
        found = lines(tmp_path / "export")
        assert {tuple(line) for line in found} == {("Item",)}
        assert sorted(line["Item"]["SK"]["S"] for line in found) == sorted([*(f"LISTING#l{n}" for n in range(10)), "PROFILE"])
        (profile,) = [line["Item"] for line in found if line["Item"]["SK"]["S"] == "PROFILE"]
        assert profile["Avatar"] == {"B": base64.b64encode(b"\x00\xff").decode()}
        assert report.items == {"Listing": 10, "UserProfile": 1}
        assert sorted(path.name for path in (tmp_path / "export").iterdir()) == ["data", "manifest.json"]
        assert {path.suffixes[-2:] == [".json", ".gz"] for path in (tmp_path / "export" / "data").iterdir()} == {True}

    def test_are_their_users_alone(self, tmp_path: Path) -> None:
        """Nobody else may read an export."""
        fill(1)
        export_table(tmp_path / "export")
        modes = {path: path.stat().st_mode & 0o077 for path in (tmp_path / "export").rglob("*")}
        assert set(modes.values()) == {0}
        assert (tmp_path / "export").stat().st_mode & 0o077 == 0

    def test_one_entity(self, tmp_path: Path) -> None:
        """One entity alone can be exported."""
        fill(4)
        PerformanceMetrics.objects.increment("u1", "l1", "2024-01-01", "facebook", views=1)
        report = export_table(tmp_path / "export", entity="PerformanceMetrics")
        assert (report.items, report.others) == ({"PerformanceMetrics": 1}, 5)
        assert [line["Item"]["SK"]["S"] for line in lines(tmp_path / "export")] == ["METRICS#l1#2024-01-01"]

    def test_what_cannot_be_asked_for(self, tmp_path: Path) -> None:
        """A format, an entity or segments that cannot be are refused before anything is written."""
        for wrong, message in [
            ({"format": "xml"}, "format: one of"),
            ({"format": "csv"}, "entity: CSV is of one"),
            ({"entity": "House"}, "entity: one of"),
            ({"segments": 0}, "segments: "),
        ]:
            with pytest.raises(ConfigurationError, match=message):
                export_table(tmp_path / "export", **wrong)  # type: ignore[arg-type]
        assert not (tmp_path / "export").exists()


@pytest.mark.usefixtures("table", "small_pages")
class TestInterruptions:
    @settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @example(pages=[3, 4], segments=1, rest=b"\0")  # interrupted with nothing left to write
    @given(pages=st.lists(st.integers(1, 4), max_size=4), segments=st.integers(1, 3), rest=st.binary(max_size=40))
    def test_no_item_is_lost_and_none_is_there_twice(
        self, tmp_path: Path, pages: list[int], segments: int, rest: bytes
    ) -> None:
        """Interrupted after any pages, and amid the writing of any, an export goes on, and has each item once."""
        if not Listing.objects.query("u1").first():
            fill(20)
        folder = tmp_path / uuid.uuid4().hex
        for left in pages:
            if self.interrupted(folder, segments, left):
                break
            for path in (folder / "data").iterdir():  # as a page is that was cut off
                path.write_bytes(path.read_bytes() + rest)
        else:
            export_table(folder, segments=segments)
        assert sorted(line["Item"]["SK"]["S"] for line in lines(folder)) == sorted(
            [*(f"LISTING#l{number}" for number in range(20)), "PROFILE"]
        )
        assert restore_table(folder).unchanged == 21
        assert not (folder / "checkpoint.json").exists()

    def interrupted(self, folder: Path, segments: int, after: int) -> bool:
        """Interrupt an export after some pages; True if it had ended by then."""

        def interrupt(report: ExportReport) -> None:
            nonlocal after
            after -= 1
            if not after and report.ended < segments:
                raise KeyboardInterrupt

        try:
            export_table(folder, segments=segments, progress=interrupt)
        except KeyboardInterrupt:
            return False
        return True

    def test_one_that_has_ended_is_not_overwritten(self, tmp_path: Path) -> None:
        """An export is never written over, and what is no beginning of one is not gone on with."""
        fill(1)
        export_table(tmp_path / "export")
        with pytest.raises(ConfigurationError, match="there is an export in it"):
            export_table(tmp_path / "export")
        (tmp_path / "export" / "manifest.json").unlink()
        with pytest.raises(ConfigurationError, match=r"files in data and no checkpoint\.json"):
            export_table(tmp_path / "export")

    def test_goes_on_as_it_began(self, tmp_path: Path) -> None:
        """An export that was interrupted does not go on as another, nor with a file that has been cut."""
        fill(20)
        assert not self.interrupted(tmp_path / "export", 1, 2)
        with pytest.raises(ConfigurationError, match="with reveal False and not True"):
            export_table(tmp_path / "export", reveal=True)
        (path,) = (tmp_path / "export" / "data").iterdir()
        path.write_bytes(path.read_bytes()[:10])
        with pytest.raises(InvalidExportError, match="shorter than its checkpoint says"):
            export_table(tmp_path / "export")


@pytest.mark.usefixtures("table")
class TestTokens:
    def contents(self, folder: Path) -> bytes:
        """Give all that an export's files hold, unpacked."""
        whole = b""
        for path in folder.rglob("*"):
            if path.is_file():
                whole += gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return whole

    def test_no_token_is_in_an_export(self, tmp_path: Path) -> None:
        """Sealed tokens are exported as they lie, and clear ones sealed: no token in clear text, nor as base64."""
        put_raw(CLEAR)
        MLSConnection.objects.create("u1", "c1", MLSConnectionData.model_validate({"access_token": f"{CANARY}-2"}))
        sealed = get_raw("USER#u1", "MLS_CONNECTION#c1")
        report = export_table(tmp_path / "export")
        assert report.tokens == {"sealed": 1, "sealed_for_export": 1}
        assert "1 tokens lie in clear text in the table, and sealed in the export" in str(report)
        whole = self.contents(tmp_path / "export")
        assert CANARY.encode() not in whole
        assert base64.b64encode(CANARY.encode())[:16] not in whole
        found = {line["Item"]["SK"]["S"]: line["Item"] for line in lines(tmp_path / "export")}
        assert found["MLS_CONNECTION#c1"] == sealed
        assert found["SOCIAL#FACEBOOK"]["Data"]["M"]["refreshToken"] == {"S": ""}
        assert get_raw("USER#u1", "SOCIAL#FACEBOOK") == CLEAR
        with another_table():
            restore_table(tmp_path / "export")
            for connection in (SocialConnection.objects.get("u1", "facebook"), MLSConnection.objects.get("u1", "c1")):
                token = connection.data.access_token
                assert token is not None
                assert (token.sealed, token.reveal()[: len(CANARY)]) == (True, CANARY)

    def test_without_a_key_clear_text_is_refused(self, tmp_path: Path) -> None:
        """Where no key seals, a token in clear text ends the export, and the error names its place and not the token."""
        put_raw(CLEAR)
        mlssocial.configure(current(), token_keys={}, current_token_key=None)
        with pytest.raises(ConfigurationError, match=r"accessToken of USER#u1 / SOCIAL#FACEBOOK lies in clear text") as raised:
            export_table(tmp_path / "export")
        assert CANARY not in str(raised.value)
        assert CANARY.encode() not in self.contents(tmp_path / "export")

    def test_revealed(self, tmp_path: Path) -> None:
        """Revealed, clear text stays as it lies, is counted aloud, and comes back exactly; sealed tokens stay sealed."""
        put_raw(CLEAR)
        MLSConnection.objects.create("u1", "c1", MLSConnectionData.model_validate({"access_token": "another"}))
        before = everything()
        mlssocial.configure(current(), token_keys={}, current_token_key=None)
        report = export_table(tmp_path / "export", reveal=True)
        assert (report.tokens, "1 TOKENS ARE IN CLEAR TEXT" in str(report)) == ({"sealed": 1, "clear": 1}, True)
        assert b"another" not in self.contents(tmp_path / "export")
        with another_table():
            restore_table(tmp_path / "export")
            assert all(same(row, before[key]) for key, row in everything().items())

    def test_a_token_that_is_no_text(self, tmp_path: Path) -> None:
        """What stands in a token's place and cannot be sealed ends the export, unless it is revealed."""
        put_raw(CLEAR | {"Data": {"M": {"accessToken": {"M": {"secret": {"S": CANARY}}}}}})
        with pytest.raises(ConfigurationError, match="it is no text"):
            export_table(tmp_path / "export")
        assert export_table(tmp_path / "other", reveal=True).tokens == {"clear": 1}


# --- Restore ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def exported(table: str, small_pages: None, tmp_path: Path) -> Path:
    """Give an export of seven items."""
    fill(6)
    export_table(tmp_path / "export")
    return tmp_path / "export"


def change() -> dict[str, Any]:
    """Change one of the items since."""
    Listing.objects.update("u1", "l2", status=ListingStatus.SOLD)
    Listing.objects.delete("u1", "l3")
    changed = get_raw("USER#u1", "LISTING#l2")
    assert changed is not None
    return changed


class TestConflicts:
    def test_again_makes_no_write(self, exported: Path) -> None:
        """What stands there as it was exported is left, whatever is to be done about others."""
        before = everything()
        for conflict in Conflict:
            report = restore_table(exported, conflict=conflict)
            assert (report.unchanged, report.total) == (7, 7)
        assert everything() == before

    def test_fail(self, exported: Path) -> None:
        """Another item under a key ends the restore, and is named; it stays as it is."""
        changed = change()
        with pytest.raises(ItemAlreadyExistsError, match=r"restore USER#u1 / LISTING#l2: another Listing stands there"):
            restore_table(exported)
        assert get_raw("USER#u1", "LISTING#l2") == changed

    def test_skip(self, exported: Path) -> None:
        """What is missing is written, and another item left as it is."""
        changed = change()
        report = restore_table(exported, conflict="skip")
        assert (report.written, report.unchanged, report.skipped) == (1, 5, 1)
        assert get_raw("USER#u1", "LISTING#l2") == changed
        assert Listing.objects.get("u1", "l3").data.status is ListingStatus.ACTIVE

    def test_overwrite(self, exported: Path) -> None:
        """Another item is replaced by the one that was exported."""
        before = get_raw("USER#u1", "LISTING#l2")
        change()
        report = restore_table(exported, conflict=Conflict.OVERWRITE)
        assert (report.written, report.unchanged, report.overwritten) == (1, 5, 1)
        assert get_raw("USER#u1", "LISTING#l2") == before

    @pytest.mark.parametrize(("conflict", "name"), [("fail", "conflicts"), ("skip", "skipped"), ("overwrite", "overwritten")])
    def test_a_dry_run(self, exported: Path, conflict: str, name: str) -> None:
        """A dry run counts what would be done, and sends no write."""
        change()
        before = everything()
        with recorded() as calls:
            report = restore_table(exported, conflict=conflict, dry_run=True)
        assert (report.written, report.unchanged, getattr(report, name)) == (1, 5, 1)
        assert {call.operation for call in calls} <= READS
        assert everything() == before

    def test_no_such_choice(self, exported: Path) -> None:
        """A choice that there is not is refused."""
        with pytest.raises(ConfigurationError, match="one of fail, skip, overwrite"):
            restore_table(exported, conflict="perhaps")


def damage(path: Path) -> None:
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class TestVerifying:
    @pytest.mark.parametrize(
        ("act", "message"),
        [
            (damage, "it was altered or cut"),
            (lambda path: path.write_bytes(path.read_bytes()[:-1]), "it was altered or cut"),
            (lambda path: path.unlink(), "the manifest names it, and it is not there"),
            (lambda path: (path.parents[1] / "manifest.json").unlink(), "it has not ended"),
            (lambda path: (path.parents[1] / "manifest.json").write_text("{}"), "it is no manifest"),
        ],
    )
    def test_what_is_not_whole_is_refused(self, exported: Path, act: Callable[[Path], None], message: str) -> None:
        """One byte altered, a file cut or missing, and no manifest: nothing is written."""
        Listing.objects.delete("u1", "l3")
        (path,) = (exported / "data").iterdir()
        act(path)
        with pytest.raises(InvalidExportError, match=message):
            restore_table(exported)
        assert Listing.objects.find("u1", "l3") is None

    def test_no_file_outside(self, exported: Path) -> None:
        """A manifest cannot name a file that lies elsewhere."""
        shutil.copy(next((exported / "data").iterdir()), exported.parent / "outside.json.gz")
        manifest = exported / "manifest.json"
        manifest.write_text(manifest.read_text().replace("data/00000.json.gz", "data/../../outside.json.gz"))
        with pytest.raises(InvalidExportError, match="it is not there"):
            restore_table(exported)

    @pytest.mark.parametrize("change", [{"version": 9}, {"items": {}}, {"format": "csv"}])
    def test_another_release_or_format(self, exported: Path, change: dict[str, Any]) -> None:
        """A manifest of another version or format is refused; counts by entity are only told."""
        manifest = exported / "manifest.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
        if "items" in change:
            assert restore_table(exported).unchanged == 7
        else:
            with pytest.raises(InvalidExportError, match=r"of version 9|it is csv"):
                restore_table(exported)


def test_interrupted_restores_go_on(exported: Path, tmp_path: Path) -> None:
    """A restore that is interrupted page after page goes on with its checkpoint, and writes each item once."""
    checkpoint = tmp_path / "restore.json"

    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    with another_table():
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                restore_table(exported, checkpoint=checkpoint, progress=interrupt)
        report = restore_table(exported, checkpoint=checkpoint)
        assert (report.written, report.unchanged, len(everything())) == (7, 0, 7)
    assert not checkpoint.exists()


def test_a_lost_answer_is_no_conflict(exported: Path) -> None:
    """A put whose answer was lost is sent again, finds itself, and counts as written."""
    with another_table():
        left = [True]

        def lose(**_: Any) -> None:
            if left:
                left.pop()
                raise ReadTimeoutError(endpoint_url="test")

        store().client.meta.events.register_last("after-call.dynamodb.PutItem", lose)
        report = restore_table(exported)
        assert (report.written, left) == (7, [])


# --- CSV -------------------------------------------------------------------------------------------------------------


def table_of(folder: Path) -> list[dict[str, str]]:
    """Read an export in CSV."""
    return [
        row
        for path in sorted((folder / "data").iterdir())
        for row in csv.DictReader(io.StringIO(path.read_bytes().decode(), newline=""))
    ]


@pytest.mark.usefixtures("table", "small_pages")
class TestCSV:
    def test_listings(self, tmp_path: Path) -> None:
        """Every listing is a line, fields are columns, numbers are exact and nothing is computed."""
        data = {
            "status": "active",
            "price": "-550000.10",
            "listDate": "2024-01-15",
            "description": '=HYPERLINK("http://x")\nnext, line',
            "address": {"city": "Reno", "unknown": "kept out"},
            "photos": [{"url": "https://x/1", "order": 1}],
            "features": ["pool", "+view"],
            "internetAddressDisplayYN": False,
            "virtualTour": "kept out",
        }
        for number in range(5):
            Listing.objects.create("u1", f"-l{number}", ListingData.model_validate(data))
        put_raw(FOREIGN)
        report = export_table(tmp_path / "export", format="csv", entity="Listing", segments=2)
        rows = table_of(tmp_path / "export")
        assert sorted(row["key.listing_id"] for row in rows) == [f"'-l{number}" for number in range(5)]
        row = rows[0]
        assert (row["price"], row["listDate"], row["address.city"]) == ("-550000.1", "2024-01-15", "Reno")
        assert row["description"] == '\'=HYPERLINK("http://x")\nnext, line'
        assert (row["photos"], row["features"]) == ('[{"url": "https://x/1", "order": 1}]', '["pool", "+view"]')
        assert (row["internetAddressDisplayYN"], row["mlsNumber"]) == ("false", "")
        assert "kept out" not in str(rows)
        assert (report.items, report.unreadable) == ({"Listing": 5}, 0)

    def test_has_no_tokens(self, tmp_path: Path) -> None:
        """No token is in it, sealed or clear, nor what another application keeps beside it; no key is needed."""
        put_raw(CLEAR)
        open_map = {
            "access_token": "sealed",
            "platform_username": "ann",
            "metadata": {"pageToken": CANARY},
            "pageToken": CANARY,
        }
        SocialConnection.objects.create("u1", "linkedin", SocialConnectionData.model_validate(open_map))
        mlssocial.configure(current(), token_keys={}, current_token_key=None)
        export_table(tmp_path / "export", format="csv", entity="SocialConnection")
        (path,) = (tmp_path / "export" / "data").iterdir()
        content = path.read_text()
        assert "ann" in content
        assert CANARY not in content
        assert "enc:" not in content
        assert "Token" not in content.splitlines()[0]

    def test_what_cannot_be_read_is_counted(self, tmp_path: Path) -> None:
        """An item that is not what its entity is, is left out and counted; an expired one is left out."""
        listing = {"PK": {"S": "USER#u1"}, "EntityType": {"S": "Listing"}}
        put_raw({**listing, "SK": {"S": "LISTING#l1"}, "Data": {"S": "none"}})
        put_raw({**listing, "SK": {"S": "LISTING#l2"}, "Data": {"M": {"status": {"S": "sold"}}}, "TTL": {"N": "1000000000"}})
        report = export_table(tmp_path / "export", format="csv", entity="Listing")
        assert (report.unreadable, report.expired, report.total) == (1, 1, 0)
        assert "1 items cannot be read" in str(report)

    @given(text=st.text(st.sampled_from("=+-@\t\r\n \0\uff1da1'")) | st.text())
    def test_no_text_is_a_formula(self, text: str) -> None:
        """No cell begins, after blanks or not, with what a spreadsheet computes; other text is as it was."""
        cell = guarded(text)
        assert cell.lstrip()[:1] not in {"=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"}
        assert cell[:1] not in {"\t", "\r", "\n", "\0"}
        assert cell in {text, f"'{text}"}
        assert cell == text or text.lstrip()[:1] in "=+-@\uff1d\uff0b\uff0d\uff20" or text[0] in "\t\r\n\0"
