"""Files, folders, globs and streams are read in their order, resumed where they were left, and what is rejected is kept."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

import mlssocial
from mlssocial import ConfigurationError, FeedError, Listing, StoreError
from mlssocial.connection import recorded, store
from mlssocial.reso import ImportReport, Record, import_feed
from mlssocial.reso.sources import feeds

from .test_reso_importing import WRITES, counts, house, stored

NAMES: dict[str, Any] = {"user_id": "u1", "provider": "flexmls"}


@pytest.fixture(autouse=True)
def memory() -> None:
    """Have a table, in memory: what is proved here is no engine's doing."""
    mlssocial.configure(endpoint_url="local:", table_name="homes")
    mlssocial.local.forget()
    mlssocial.create_table()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder for feeds, beside which checkpoints may lie."""
    (tmp_path / "feeds").mkdir()
    return tmp_path / "feeds"


def write(path: Path, *records: Any, wrap: Callable[[list[Any]], Any] | None = None) -> Path:
    """Write a feed's file: records one a line, or wrapped; gzipped if it is called so."""
    text = "\n".join(map(json.dumps, records)) if wrap is None else json.dumps(wrap(list(records)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def houses(*numbers: int, **changes: Any) -> list[dict[str, Any]]:
    """Make records with keys of their own."""
    return [house(ListingKey=f"K{number}", ListingId=f"N{number}", **changes) for number in numbers]


def names(*sources: Any) -> list[str]:
    """Give the names of the files that are meant."""
    return [Path(feed.name).name for feed in feeds(sources)]


def load(*sources: Any, **options: Any) -> ImportReport:
    """Import for u1."""
    return import_feed(*sources, **NAMES, **options)


class TestPaths:
    @pytest.fixture(autouse=True)
    def files(self, folder: Path) -> None:
        """Fill the folder."""
        shown = ("b.json", "a.ndjson", "c.JSONL.gz", "deep/er/d.json.gz", "deep/e.jsonl")
        for name in (*shown, "notes.txt", ".hidden.json", ".x/f.json"):
            write(folder / name)

    def test_a_folder(self, folder: Path) -> None:
        """Of a folder all files are read that look like a feed's, however deep, in the order of their paths."""
        assert names(folder) == ["a.ndjson", "b.json", "c.JSONL.gz", "e.jsonl", "d.json.gz"]
        assert names(str(folder / "deep")) == ["e.jsonl", "d.json.gz"]

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("*.json", ["b.json"]),
            ("[ab].*", ["a.ndjson", "b.json"]),
            ("**/*.gz", ["c.JSONL.gz", "d.json.gz"]),
            ("notes.*", ["notes.txt"]),
        ],
    )
    def test_a_glob(self, folder: Path, pattern: str, expected: list[str]) -> None:
        """Of a glob all files are read that fit, in the order of their paths."""
        assert names(f"{folder}/{pattern}") == expected

    def test_a_name_like_a_glob(self, folder: Path) -> None:
        """A file that is called like a glob is that file."""
        write(folder / "b[1].json")
        assert names(f"{folder}/b[1].json") == ["b[1].json"]

    def test_each_once(self, folder: Path) -> None:
        """A file that is named twice, by whatever way, is read once, where it was named first."""
        os.chdir(folder)
        (folder / "link.json").symlink_to(folder / "b.json")
        assert names("b.json", folder / "deep" / ".." / "b.json", str(folder), "link.json")[:2] == ["b.json", "a.ndjson"]
        assert len(names("b.json", folder)) == 5

    def test_nothing(self, folder: Path) -> None:
        """A folder without feeds, a glob that fits nothing, and a file that is not there are errors."""
        (folder / "empty").mkdir()
        with pytest.raises(FeedError, match=r"empty: the folder has no file that ends with .json"):
            load(folder / "empty")
        with pytest.raises(FeedError, match="no file fits"):
            load(f"{folder}/*.xml")
        with pytest.raises(FeedError, match="cannot be read"):
            load(folder / "missing.json")

    @pytest.mark.parametrize("odd", [None, 5, b"path", {"ListingKey": "x"}, Record({})])
    def test_what_is_no_source(self, odd: Any) -> None:
        """What a feed cannot come from is refused."""
        with pytest.raises(ConfigurationError, match="a feed comes from a path"):
            load(odd)


class TestImport:
    def test_all_kinds_together(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Files of every shape, an open one, standard input and records are imported one after the other."""
        write(folder / "a.json", *houses(1, 2), wrap=lambda found: {"value": found})
        write(folder / "b.ndjson.gz", *houses(3, 4))
        write(folder / "c.json", *houses(5), wrap=lambda found: {"D": {"Results": [{"StandardFields": one} for one in found]}})
        stdin = io.TextIOWrapper(io.BytesIO(json.dumps(houses(6)).encode()))
        monkeypatch.setattr(sys, "stdin", stdin)
        report = load(folder, "-", io.BytesIO(json.dumps(houses(7)[0]).encode()), map(Record, houses(8, 1, ListPrice="3")))
        assert counts(report) == (8, 1, 0, 0, 0)
        assert stored("flexmls-K1").price == 3

    def test_a_second_time(self, folder: Path) -> None:
        """A second import of the same feed writes nothing."""
        write(folder / "a.json", *houses(*range(250)), wrap=lambda found: {"value": found})
        assert counts(load(folder)) == (250, 0, 0, 0, 0)
        with recorded() as calls:
            assert counts(load(folder)) == (0, 0, 250, 0, 0)
        assert WRITES.isdisjoint(call.operation for call in calls)

    @pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
    def test_executors(self, kind: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Windows may be written by another executor's threads, or by processes, and the checkpoint is as ever."""
        for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}.items():
            monkeypatch.setenv(name, value)
        mlssocial.configure(endpoint_url=f"local:{tmp_path / 'homes.db'}", table_name="homes")
        mlssocial.create_table()
        write(folder / "a.ndjson", *houses(*range(250)), house(ListPrice="x"))
        with kind(2) as pool:
            report = load(folder, executor=pool, checkpoint=tmp_path / "c.json", workers=2)
            assert counts(report) == (250, 0, 0, 0, 1)
            assert load(folder, executor=pool, checkpoint=tmp_path / "c.json").total == 0
        assert Listing.objects.query("u1", consistent=True).count() == 250


class TestCheckpoint:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Give where the checkpoint is to be."""
        return tmp_path / "import.json"

    def interrupted(self, folder: Path, path: Path, after: int, **options: Any) -> None:
        """Import until so many listings were made."""
        sent: list[int] = []

        def refuse(**_: Any) -> None:
            sent.append(1)
            if len(sent) > after:
                raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "PutItem")

        events = store().client.meta.events
        events.register("before-call.dynamodb.PutItem", refuse)
        try:
            with pytest.raises(StoreError, match="AccessDenied"):
                load(folder, checkpoint=path, **options)
        finally:
            events.unregister("before-call.dynamodb.PutItem", refuse)

    def test_goes_on(self, folder: Path, path: Path) -> None:
        """An import that ended amid a file goes on behind what was acknowledged, and its report counts on."""
        write(folder / "a.json", *houses(*range(350)), wrap=lambda found: {"value": found})
        write(folder / "b.ndjson.gz", *houses(*range(350, 500)))
        self.interrupted(folder, path, 230, workers=1)
        state = json.loads(path.read_text())
        assert state["finished"] is False
        assert state["marks"][str(folder / "a.json")]["position"] == 200
        with recorded() as calls:
            report = load(folder, checkpoint=path)
        assert (report.created, report.unchanged, report.total) == (470, 30, 500)
        assert [call.operation for call in calls].count("PutItem") == 270
        assert Listing.objects.query("u1").count() == 500

    def test_a_window_that_fails_amid_others(self, folder: Path, path: Path) -> None:
        """Where one of several windows under way fails, the checkpoint stays in front of it, though later ones were written."""
        write(folder / "a.ndjson", *houses(*range(750)))

        def refuse(params: dict[str, Any], **_: Any) -> None:
            if b"flexmls-K250" in params["body"] or "flexmls-K250" in str(params["body"]):
                raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "PutItem")

        events = store().client.meta.events
        events.register("before-call.dynamodb.PutItem", refuse)
        with pytest.raises(StoreError, match="AccessDenied"):
            load(folder, checkpoint=path, workers=8)
        events.unregister("before-call.dynamodb.PutItem", refuse)
        assert json.loads(path.read_text())["marks"][str(folder / "a.ndjson")]["position"] == 200
        assert load(folder, checkpoint=path).total == 750
        assert Listing.objects.query("u1").count() == 750

    def test_reads_what_is_new(self, folder: Path, path: Path) -> None:
        """When all is done, the next import with the checkpoint reads new and changed files only."""
        for name in "abc":
            write(folder / f"{name}.json", *houses(ord(name)))
        assert load(folder, checkpoint=path).total == 3
        with recorded() as calls:
            assert load(folder, checkpoint=path).total == 0
        assert calls == []
        write(folder / "b.json", *houses(1, 2))
        write(folder / "d.json", *houses(3))
        (folder / "a.json").unlink()
        report = load(folder, checkpoint=path)
        assert (report.created, report.total) == (3, 3)

    @pytest.mark.parametrize("how", ["rewritten", "appended", "touched"])
    def test_a_file_that_changed(self, folder: Path, path: Path, how: str) -> None:
        """A file that is not the one that was read, be it as long and as old, is read from its beginning."""
        file = write(folder / "a.ndjson", *houses(*range(250)))
        self.interrupted(folder, path, 230, workers=1)
        stat = file.stat()
        if how == "rewritten":
            write(file, *houses(*range(900, 1150)))
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        elif how == "appended":
            file.write_text(file.read_text() + "\n" + json.dumps(houses(999)[0]))
        else:
            os.utime(file, ns=(1, 1))
        created, unchanged = {"rewritten": (250, 0), "appended": (21, 230), "touched": (20, 230)}[how]
        report = load(folder, checkpoint=path)
        assert (report.created - 200, report.unchanged) == (created, unchanged)

    def test_a_broken_file(self, folder: Path, path: Path) -> None:
        """A file that cannot be read on ends the import; when it was mended, the import goes on without the files before it."""
        write(folder / "a.json", *houses(1))
        broken = folder / "b.json"
        broken.write_text("no JSON")
        with pytest.raises(FeedError, match=r"b\.json: line 1"):
            load(folder, checkpoint=path)
        write(broken, *houses(2))
        with recorded() as calls:
            report = load(folder, checkpoint=path)
        assert (report.created, [call.operation for call in calls].count("PutItem")) == (2, 1)

    def test_of_another_import(self, folder: Path, path: Path, tmp_path: Path) -> None:
        """Another user's, provider's or table's checkpoint is refused, and so is what is none."""
        write(folder / "a.json", *houses(1))
        load(folder, checkpoint=path)
        for changed in ({"user_id": "u2"}, {"provider": "crmls"}):
            (name,) = changed
            with pytest.raises(ConfigurationError, match=f"another import, with {name} .* go on as that one began"):
                import_feed(folder, **{**NAMES, **changed}, checkpoint=path)
        mlssocial.configure(endpoint_url="local:", table_name="others")
        mlssocial.create_table()
        with pytest.raises(ConfigurationError, match="another import, with table"):
            load(folder, checkpoint=path)
        for content in (b"", b"{}", b"\xff", b'{"job": "audit", "segments": 1}'):
            (tmp_path / "odd.json").write_bytes(content)
            with pytest.raises(ConfigurationError, match="cannot be read as an import's checkpoint"):
                load(folder, checkpoint=tmp_path / "odd.json")

    def test_is_one_runs(self, folder: Path, path: Path) -> None:
        """Two imports with one checkpoint at the same time are refused."""
        write(folder / "a.json", *houses(1))

        def meanwhile(_: ImportReport) -> None:
            with pytest.raises(ConfigurationError, match="another run goes on with this checkpoint"):
                load(folder, checkpoint=path)

        assert load(folder, checkpoint=path, progress=meanwhile).created == 1

    def test_of_what_cannot_be_found_again(self, path: Path) -> None:
        """Standard input, an open file and records have no checkpoint, and the error says what to do."""
        for source in ("-", io.BytesIO(b""), map(Record, houses(1))):
            with pytest.raises(
                ConfigurationError, match="cannot be found again; import it from a file, or without a checkpoint"
            ):
                load(source, checkpoint=path)
        assert not path.exists()

    def test_that_cannot_be_written(self, folder: Path, tmp_path: Path) -> None:
        """A place where no checkpoint can be is an error before anything is written."""
        write(folder / "a.json", *houses(1))
        with pytest.raises(ConfigurationError, match="the checkpoint cannot be written"):
            load(folder, checkpoint=tmp_path / "nowhere" / "c.json")
        assert not Listing.objects.query("u1")

    def test_never_runs_ahead(self, folder: Path, path: Path) -> None:
        """At each moment, what the checkpoint says was read is in the table."""
        write(folder / "a.ndjson", *houses(*range(450)))
        seen: list[int] = []

        def look(report: ImportReport) -> None:
            if report.total % 25 != 1:
                return
            marks = json.loads(path.read_text())["marks"]
            position = marks[str(folder / "a.ndjson")]["position"] or 450 if marks else 0
            seen.append(position)
            stored = {listing.listing_id for listing in Listing.objects.query("u1", consistent=True)}
            assert {f"flexmls-K{number}" for number in range(position)} <= stored

        load(folder, checkpoint=path, progress=look)
        assert sorted(set(seen)) == [0, 100, 200, 300, 400]


class TestRejected:
    @pytest.fixture
    def rejected(self, tmp_path: Path) -> Path:
        """Give where rejected records go."""
        return tmp_path / "rejected.ndjson"

    def lines(self, rejected: Path) -> list[dict[str, Any]]:
        """Read them."""
        return [json.loads(line) for line in rejected.read_text().splitlines()]

    def test_say_where_and_why(self, folder: Path, rejected: Path) -> None:
        """Each rejected record stands in the file with its source, line, reason and fields; a broken line with its text."""
        file = folder / "a.ndjson"
        good, bad = houses(1)[0], house(ListingKey="K2", ListPrice="much", PublicRemarks="caf\u00e9")
        file.write_text("\n".join([json.dumps(good), "{broken", json.dumps(bad), json.dumps(houses(3)[0]), "[1]"]))
        report = load(file, rejected=rejected)
        assert counts(report) == (2, 0, 0, 0, 3)
        first, second, third = self.lines(rejected)
        where = {"@mlssocial.source": str(file), "@mlssocial.line": 2}
        assert first == where | {"@mlssocial.reason": first["@mlssocial.reason"], "@mlssocial.text": "{broken"}
        assert first["@mlssocial.reason"].startswith("not JSON: ")
        assert second["@mlssocial.line"] == 3
        assert second["@mlssocial.reason"] == "ListPrice: 'much': not a decimal number of up to 38 digits"
        assert {name: value for name, value in second.items() if not name.startswith("@")} == bad
        assert third["@mlssocial.reason"] == "a JSON object is needed"

    def test_can_be_mended(self, folder: Path, rejected: Path) -> None:
        """The file is a feed: once its records are mended, it can be imported."""
        write(folder / "a.json", *houses(1, 2, ListPrice="much"), wrap=lambda found: {"value": found})
        load(folder, rejected=rejected)
        rejected.write_text(rejected.read_text().replace("much", "5"))
        assert counts(load(rejected)) == (2, 0, 0, 0, 0)
        assert stored("flexmls-K2").price == 5

    def test_without_any(self, folder: Path, rejected: Path) -> None:
        """Where nothing is rejected there is no file."""
        write(folder / "a.json", *houses(1))
        load(folder, rejected=rejected)
        assert not rejected.exists()

    def test_are_added(self, folder: Path, rejected: Path) -> None:
        """A second import adds to the file, and drops nothing."""
        write(folder / "a.json", *houses(1, ListPrice="much"))
        load(folder, rejected=rejected)
        load(folder, rejected=rejected)
        assert len(self.lines(rejected)) == 2

    def test_none_twice(self, folder: Path, rejected: Path, tmp_path: Path) -> None:
        """What an interrupted run wrote behind its checkpoint is not there twice when it goes on."""
        feed = [one for number in range(300) for one in houses(number, ListPrice="5" if number % 3 else "much")]
        write(folder / "a.ndjson", *feed)
        path = tmp_path / "import.json"
        TestCheckpoint().interrupted(folder, path, 150, rejected=rejected, workers=1)
        with rejected.open("a") as file:
            file.write('{"half a line')
        load(folder, rejected=rejected, checkpoint=path)
        assert [line["@mlssocial.line"] for line in self.lines(rejected)] == list(range(1, 301, 3))
        write(folder / "b.ndjson", *houses(500, ListPrice="much"))
        load(folder, rejected=rejected, checkpoint=path)
        assert len(self.lines(rejected)) == 101

    def test_not_in_a_dry_run(self, folder: Path, rejected: Path) -> None:
        """A dry run writes no file either."""
        write(folder / "a.json", *houses(1, ListPrice="much"))
        assert load(folder, rejected=rejected, dry_run=True).rejected_count == 1
        assert not rejected.exists()

    def test_places_that_cannot_be(self, folder: Path, tmp_path: Path) -> None:
        """A file that is imported, or cannot be written, is refused."""
        file = write(folder / "a.json", *houses(1, ListPrice="much"))
        with pytest.raises(ConfigurationError, match="cannot be added to a file that is imported"):
            load(folder, rejected=file)
        with pytest.raises(ConfigurationError, match="rejected records cannot be written there"):
            load(write(folder / "b.json", *houses(1, ListPrice="much")), rejected=tmp_path / "nowhere" / "r.ndjson")

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk to be had")
    @pytest.mark.parametrize("size", [1, 100_000])
    def test_a_full_disk(self, folder: Path, size: int) -> None:
        """A disk that is full is an error of ours, which says which file it was about."""
        file = write(folder / "a.json", *houses(1, ListPrice="much", PublicRemarks="x" * size))
        with pytest.raises(ConfigurationError, match="/dev/full: rejected records cannot be written there: No space left"):
            load(file, rejected="/dev/full")


def endless() -> Iterator[Record]:
    """Give records without an end."""
    number = 0
    while True:
        number += 1
        yield Record(house(ListingKey=f"K{number}"))


def test_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends an import without an end, when the windows under way are done."""

    def interrupt(report: ImportReport) -> None:
        if report.total == 250:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(endless(), progress=interrupt, workers=2)
    made = Listing.objects.query("u1", consistent=True).count()
    assert 250 <= made <= 500
