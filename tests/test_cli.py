"""The command line, as a user calls it."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import mlssocial
from mlssocial import (
    Address,
    Listing,
    ListingData,
    MLSConnection,
    MLSConnectionData,
    PerformanceMetrics,
    SocialConnection,
    SocialConnectionData,
    SocialPost,
    SocialPostData,
    Token,
)
from mlssocial.cli import jsontext
from mlssocial.cli.app import COMMANDS, LazyGroup, cli
from mlssocial.cli.patterns import PATTERNS
from mlssocial.connection import store
from mlssocial.results import Results
from mlssocial.settings import current

from .conftest import put_raw

CANARY = "canary-4711"
Run = Callable[..., Result]


def invoke(*arguments: str, code: int = 0, stdin: bytes | None = None) -> Result:
    """Call the command line, and see that it ends with that code."""
    result = CliRunner().invoke(cli, arguments, input=stdin)
    unexpected = result.exception is not None and not isinstance(result.exception, SystemExit)
    assert not unexpected, result.exception
    assert (result.exit_code, result.output) == (code, result.output)
    return result


def where() -> list[str]:
    """Give the global options that name the table in force."""
    settings = current()
    named = {"--table": settings.table_name, "--region": settings.region, "--endpoint": settings.endpoint_url}
    return [word for name, value in named.items() if value for word in (name, value)]


@pytest.fixture
def run(table: str) -> Run:
    """Call the command line on the test's table."""
    options = where()
    return lambda *arguments, **how: invoke(*options, *arguments, **how)


@pytest.fixture
def homes(table: str) -> None:
    """Fill the test's table: three listings, and one of everything else."""
    for number, status in enumerate(("active", "sold", "active"), 1):
        data = ListingData(
            status=mlssocial.ListingStatus(status),
            price=Decimal("1234567.50"),
            bathrooms=Decimal("2.5"),
            list_date=date(2024, 1, number),
            mls_provider="flexmls",
            mls_number=f"MLS-{number}",
            address=Address(street=f"{number} Main St", city="Reno", state="NV", zip="89501"),
        )
        Listing.objects.create("u1", f"l{number}", data)
    Listing.objects.create("u2", "l1", Listing.objects.get("u1", "l1").data)
    MLSConnection.objects.create("u1", "c1", MLSConnectionData(provider="flexmls", access_token=Token(CANARY)))
    account: Any = SocialConnectionData(
        access_token=Token(CANARY),
        refresh_token=Token(CANARY),
        expires_at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        platform_username="reno.homes",
        metadata={"pages": [{"id": CANARY, "accessToken": CANARY}], "primary": True},
        pageToken=CANARY,
    )
    SocialConnection.objects.create("u1", "facebook", account)
    SocialPost.objects.create(
        "u1",
        "p1",
        SocialPostData(listing_id="l1", platform="facebook", status=mlssocial.PostStatus.PUBLISHED, content="For sale"),
    )
    SocialPost.objects.create(
        "u1", "p2", SocialPostData(platform="twitter", status=mlssocial.PostStatus.FAILED, error="too long")
    )
    for day in (1, 2, 3):
        PerformanceMetrics.objects.increment("u1", "l1", date(2024, 5, day), "facebook", views=1000 * day)
    put_raw(
        {
            "PK": {"S": "USER#u1"},
            "SK": {"S": "PROFILE"},
            "EntityType": {"S": "UserProfile"},
            "Data": {"M": {"apiKey": {"S": CANARY}, "tasks": {"L": [{"S": CANARY}]}, "age": {"N": "4711"}}},
        }
    )


def ids(result: Result, name: str = "listingId") -> list[str]:
    """Give an id of every item that was printed as JSON."""
    return [item[name] for item in json.loads(result.stdout)["items"]]


@pytest.mark.usefixtures("homes")
class TestListings:
    def test_prints_a_line_for_each_listing(self, run: Run) -> None:
        """A listing is one line, with its id, status, exact price with separators, and address."""
        lines = run("listings", "--user", "u1").stdout.splitlines()
        assert len(lines) == 5
        assert re.split(r"\s{2,}", lines[2].strip()) == [
            "l1",
            "active",
            "1,234,567.5",
            "2.5",
            "2024-01-01",
            "MLS-1",
            "1 Main St, Reno, NV 89501",
        ]

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ([], ["l1", "l2", "l3"]),
            (["--reverse"], ["l3", "l2", "l1"]),
            (["--consistent"], ["l1", "l2", "l3"]),
            (["--status", "active"], ["l1", "l3"]),
            (["--status", "active", "--reverse"], ["l3", "l1"]),
            (["--status", "active", "--consistent"], ["l1", "l3"]),
            (["--mls-number", "flexmls", "MLS-2"], ["l2"]),
            (["--mls-number", "flexmls", "MLS-2", "--status", "active"], []),
        ],
    )
    def test_gives_what_the_manager_gives(self, run: Run, options: list[str], expected: list[str]) -> None:
        """Each option is the manager's own."""
        assert ids(run("listings", "--user", "u1", *options, "--json")) == expected

    def test_goes_on_at_the_cursor(self, run: Run) -> None:
        """The hint's cursor gives the rest, and the last page has no hint."""
        first = run("listings", "--user", "u1", "--limit", "2").stdout
        found = re.search(r"^there is more; go on with --cursor (\S+)$", first, re.MULTILINE)
        assert found
        rest = run("listings", "--user", "u1", "--limit", "2", "--cursor", found[1]).stdout
        assert ("l1" in first, "l3" in first) == (True, False)
        assert ("l1 " in rest, "l3" in rest, "cursor" in rest) == (False, True, False)

    def test_gives_the_cursor_as_json(self, run: Run) -> None:
        """JSON pages put together are the whole, each listing once."""
        found, cursor = [], None
        while True:
            page = run("listings", "--user", "u1", "--limit", "1", "--json", *(["--cursor", cursor] if cursor else []))
            found += ids(page)
            if (cursor := json.loads(page.stdout)["cursor"]) is None:
                break
        assert found == ["l1", "l2", "l3"]

    def test_numbers_are_exact(self, run: Run) -> None:
        """A price of 38 digits comes out digit for digit."""
        price = Decimal("123456789012345678901234567890.12345678")
        Listing.objects.create("u3", "l1", ListingData(status=mlssocial.ListingStatus.ACTIVE, price=price))
        (item,) = json.loads(run("listings", "--user", "u3", "--json").stdout, parse_float=Decimal)["items"]
        assert item["data"]["price"] == price

    def test_json_has_ids_moments_and_wire_names(self, run: Run) -> None:
        """An item says its type, key and ids, when it was made, and its payload as it is named in the table."""
        item = json.loads(run("listings", "--user", "u1", "--limit", "1", "--json").stdout)["items"][0]
        created = datetime.fromisoformat(item.pop("createdAt"))
        assert created == Listing.objects.get("u1", "l1").created_at
        del item["updatedAt"]
        assert item == {
            "type": "Listing",
            "key": "LISTING#l1",
            "userId": "u1",
            "listingId": "l1",
            "data": {
                "status": "active",
                "price": 1234567.5,
                "bathrooms": 2.5,
                "listDate": "2024-01-01",
                "mlsProvider": "flexmls",
                "mlsNumber": "MLS-1",
                "address": {"street": "1 Main St", "city": "Reno", "state": "NV", "zip": "89501"},
            },
        }

    def test_says_that_there_are_none(self, run: Run) -> None:
        """Nothing found is said in words, and is no error."""
        assert run("listings", "--user", "nobody").stdout == "no such listings of nobody\n"

    def test_says_what_it_left_out(self, run: Run) -> None:
        """A row that cannot be read is named on stderr, and listed in JSON."""
        put_raw({"PK": {"S": "USER#u1"}, "SK": {"S": "LISTING#l0"}, "EntityType": {"S": "Listing"}, "Data": {"S": CANARY}})
        shown = run("listings", "--user", "u1")
        assert shown.stderr == "left out: read Listing USER#u1 / LISTING#l0: Data is no map\n"
        document = json.loads(run("listings", "--user", "u1", "--json").stdout)
        assert document["unreadable"] == [{"key": "LISTING#l0", "reason": "Data is no map"}]
        assert len(document["items"]) == 3

    @pytest.mark.parametrize("choice", ["--reverse", "--consistent"])
    def test_refuses_what_an_index_cannot(self, choice: str) -> None:
        """A choice that a query by MLS number does not have is a usage error, and not ignored."""
        result = invoke("listings", "--user", "u1", "--mls-number", "flexmls", "MLS-1", choice, code=2)
        assert f"{choice} cannot stand beside --mls-number" in result.stderr

    def test_text_from_the_table_cannot_steer_the_terminal(self, run: Run) -> None:
        """Control characters, markup and line ends in a payload are text like any other."""
        data = ListingData(status=mlssocial.ListingStatus.ACTIVE, address=Address(street="\x1b[31m[bold]1 Main\nSt"))
        Listing.objects.create("u3", "l1", data)
        for arguments in (["listings", "--user", "u3"], ["show", "u3", "LISTING#l1"]):
            assert " [31m[bold]1 Main St" in run(*arguments).stdout


@pytest.mark.usefixtures("homes")
class TestOtherQueries:
    def test_posts(self, run: Run) -> None:
        """Posts come all, or those of a listing."""
        assert ids(run("posts", "--user", "u1", "--json"), "postId") == ["p1", "p2"]
        assert ids(run("posts", "--user", "u1", "--reverse", "--limit", "1", "--json"), "postId") == ["p2"]
        assert ids(run("posts", "--user", "u1", "--listing", "l1", "--json"), "postId") == ["p1"]
        assert ids(run("posts", "--user", "u2", "--listing", "l1", "--json"), "postId") == []
        shown = run("posts", "--user", "u1").stdout
        assert re.search(r"p1 +l1 +facebook +published +For sale", shown)
        assert re.search(r"p2 +twitter +failed +too long", shown)

    def test_posts_of_a_listing_are_never_consistent(self) -> None:
        """An index cannot be read consistently, and the option is refused."""
        assert "--consistent cannot stand beside --listing" in invoke(
            "posts", "--user", "u1", "--listing", "l1", "--consistent", code=2
        ).stderr  # fmt: skip

    def test_metrics(self, run: Run) -> None:
        """Figures come day by day, between two days if so asked."""
        everything = ["metrics", "--user", "u1", "--listing", "l1"]
        assert ids(run(*everything, "--json"), "date") == ["2024-05-01", "2024-05-02", "2024-05-03"]
        between = run(*everything, "--since", "2024-05-02", "--until", "2024-05-02", "--json")
        assert ids(between, "date") == ["2024-05-02"]
        assert re.search(r"l1 +2024-05-03 +3,000 +facebook 3000", run(*everything).stdout)

    def test_connections(self, run: Run) -> None:
        """Connections come both kinds together, or one kind."""
        keys = {
            option: [item["key"] for item in json.loads(run("connections", "--user", "u1", *option, "--json").stdout)["items"]]
            for option in ((), ("--mls",), ("--social",))
        }
        assert keys == {
            (): ["MLS_CONNECTION#c1", "SOCIAL#FACEBOOK"],
            ("--mls",): ["MLS_CONNECTION#c1"],
            ("--social",): ["SOCIAL#FACEBOOK"],
        }
        shown = run("connections", "--user", "u1").stdout
        assert re.search(r"^c1 +flexmls", shown, re.MULTILINE)
        assert re.search(r"^facebook +reno.homes +2026-03-04 05:06", shown, re.MULTILINE)
        assert run("connections", "--user", "u9").stdout == "no such connections of u9\n"


@pytest.mark.usefixtures("homes")
class TestShow:
    def test_shows_everything_of_a_user(self, run: Run) -> None:
        """Every item is one line with type, key and main facts, another application's too."""
        lines = run("show", "u1").stdout.splitlines()[2:]
        assert [line.split()[1] for line in lines] == [
            "LISTING#l1",
            "LISTING#l2",
            "LISTING#l3",
            "METRICS#l1#2024-05-01",
            "METRICS#l1#2024-05-02",
            "METRICS#l1#2024-05-03",
            "MLS_CONNECTION#c1",
            "POST#p1",
            "POST#p2",
            "PROFILE",
            "SOCIAL#FACEBOOK",
        ]
        assert "status active · price 1,234,567.5 · ba 2.5 · listed 2024-01-01 · MLS no. MLS-1 · address 1 Main St" in lines[0]
        assert lines[9].split() == ["UserProfile", "PROFILE", "another", "application's"]
        assert len(json.loads(run("show", "u1", "--json").stdout)["items"]) == 11

    def test_reads_on_to_the_end(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Everything is everything, over as many pages as it takes."""
        monkeypatch.setattr("mlssocial.cli.output._BATCH", 2)
        assert len(json.loads(run("show", "u1", "--json").stdout)["items"]) == 11

    def test_shows_one_item_whole(self, run: Run) -> None:
        """One item is a tree of all its fields, with the keys it carries."""
        shown = run("show", "u1", "LISTING#l2").stdout
        assert re.search(r"GSI1SK +STATUS#sold", shown)
        assert re.search(r"price +1234567.5\b", shown)
        assert re.search(r"address\n.*street +2 Main St\n", shown)
        document = json.loads(run("show", "u1", "LISTING#l2", "--json").stdout)
        assert document["keys"]["GSI2SK"] == "LISTED#2024-01-02#l2"
        assert document["data"]["address"]["city"] == "Reno"

    def test_shows_what_is_null_or_empty(self, run: Run) -> None:
        """Null, empty and absent are told apart, and lists of maps are numbered."""
        data: Any = ListingData(
            status=mlssocial.ListingStatus.ACTIVE,
            description=None,
            mls_id="",
            internet_address_display_yn=False,
            photos=[mlssocial.Photo(url="https://example.com/1.jpg", order=1)],
            features=["Pool", "Garage"],
            openHouse={},
            colours={"red", "blue"},
        )
        Listing.objects.create("u3", "l1", data)
        lines = [line.strip("│├└─ ") for line in run("show", "u3", "LISTING#l1").stdout.splitlines()]
        shown = [re.sub(" +", " ", line) for line in lines]
        for line in (
            "description null",
            "mlsId empty",
            "internetAddressDisplayYN no",
            "url https://example.com/1.jpg",
            "features Pool, Garage",
            "openHouse {}",
            "colours blue, red",
        ):
            assert line in shown
        assert shown.index("photos") + 1 == shown.index("1")
        assert not any("price" in line for line in shown)

    def test_shows_only_the_outline_of_what_is_not_ours(self, run: Run) -> None:
        """Of another application's item the shape is shown, and no value."""
        shown = run("show", "u1", "PROFILE").stdout
        assert "outline  another application's; its values are not shown" in shown
        assert re.search(r"apiKey +text\n", shown)
        document = json.loads(run("show", "u1", "PROFILE", "--json").stdout)
        assert document["outline"] == {"Data": {"age": "number", "apiKey": "text", "tasks": "list of 1"}}

    def test_shows_a_row_without_type(self, run: Run) -> None:
        """A row that says no EntityType is shown as that."""
        put_raw({"PK": {"S": "USER#u1"}, "SK": {"S": "ODD"}})
        assert run("show", "u1", "ODD").stdout.startswith("row without EntityType  ODD\n")

    def test_says_that_an_item_is_not_there(self, run: Run) -> None:
        """A key that is not there is an error that names it."""
        assert run("show", "u1", "LISTING#l9", code=1).stderr == "error: get Item USER#u1 / LISTING#l9: it does not exist\n"


@pytest.mark.usefixtures("homes")
@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["listings", "--user", "u1"],
        ["posts", "--user", "u1"],
        ["metrics", "--user", "u1", "--listing", "l1"],
        ["connections", "--user", "u1"],
        ["show", "u1"],
        ["show", "u1", "MLS_CONNECTION#c1"],
        ["show", "u1", "SOCIAL#FACEBOOK"],
        ["show", "u1", "PROFILE"],
        ["init"],
    ],
    ids=" ".join,
)
def test_no_output_has_a_token(run: Run, arguments: list[str], as_json: list[str]) -> None:
    """A token is masked wherever a connection holds it: in its fields, its metadata, and what another writer put there."""
    assert CANARY not in run(*arguments, *as_json).output


@pytest.mark.usefixtures("homes")
def test_a_masked_connection_keeps_its_shape(run: Run) -> None:
    """A mask says that there is a token, and what is no secret is shown."""
    data = json.loads(run("show", "u1", "SOCIAL#FACEBOOK", "--json").stdout)["data"]
    mask = "**********"
    assert data == {
        "userId": "u1",
        "platform": "facebook",
        "accessToken": mask,
        "refreshToken": mask,
        "expiresAt": "2026-03-04T05:06:07.000Z",
        "platformUsername": "reno.homes",
        "metadata": {"pages": [{"id": mask, "accessToken": mask}], "primary": True},
        "pageToken": mask,
    }


@pytest.mark.usefixtures("engine")
class TestInit:
    def test_makes_the_table(self) -> None:
        """The first time makes it, the second finds it."""
        name = current().table_name
        assert invoke(*where(), "init").stdout == f"{name}: made; all is well\n"
        assert invoke(*where(), "init").stdout == f"{name}: it stands already; all is well\n"
        document = {"table": name, "created": False, "differences": []}
        assert json.loads(invoke(*where(), "init", "--json").stdout) == document

    def test_names_what_differs(self) -> None:
        """A table that is not ours is left alone, and every difference is named."""
        keys = {"PK": "HASH", "SK": "RANGE"}
        request = {
            "TableName": current().table_name,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
            "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in keys],
        }
        store().call("CreateTable", request)
        shown = invoke(*where(), "init", code=1)
        assert "it stands already; it differs" in shown.stdout
        assert f"differs: {current().table_name} index GSI1 does not exist\n" in shown.stderr
        assert len(json.loads(invoke(*where(), "init", "--json", code=1).stdout)["differences"]) == 2


RECORDS: list[dict[str, Any]] = [
    {"ListingKey": "k1", "ListingId": "n1", "StandardStatus": "Active", "ListPrice": 500000.5},
    {"ListingKey": "k2", "ListingId": "n2", "StandardStatus": "Closed", "ListPrice": 400000},
    {"ListingKey": "k3", "ListingId": "n3", "StandardStatus": "Coming Soon"},
]


class TestImport:
    OPTIONS = ("--user", "u1", "--provider", "flexmls")

    @pytest.fixture
    def page(self, tmp_path: Path) -> str:
        """Write a page of the RESO Web API."""
        path = tmp_path / "page.json"
        path.write_text(json.dumps({"value": RECORDS}))
        return str(path)

    def test_imports_a_file(self, run: Run, page: str) -> None:
        """What is new is created, and a second time nothing is."""
        first = run("import", page, *self.OPTIONS).stdout
        assert "2 created, 0 updated, 0 unchanged, 0 removed, 1 skipped, 0 rejected" in first
        again = json.loads(run("import", page, *self.OPTIONS, "--json").stdout.splitlines()[-1])
        assert (again["created"], again["unchanged"], again["total"]) == (0, 2, 3)
        assert ids(run("listings", "--user", "u1", "--json")) == ["flexmls-k1", "flexmls-k2"]

    def test_reads_standard_input(self, run: Run) -> None:
        """A hyphen is standard input, one record a line."""
        lines = "\n".join(json.dumps(record) for record in RECORDS).encode()
        assert "2 created" in run("import", "-", *self.OPTIONS, "--connection", "c1", stdin=lines).stdout
        assert Listing.objects.get("u1", "flexmls-k1").data.mls_connection_id == "c1"

    def test_tries_without_writing(self, run: Run, page: str) -> None:
        """A dry run says what it would have done, and writes nothing."""
        shown = run("import", page, *self.OPTIONS, "--dry-run").stdout
        assert "dry run, nothing was written: " in shown
        assert not Listing.objects.query("u1")

    def test_takes_a_status_for_feeds_without(self, run: Run, tmp_path: Path) -> None:
        """A feed that has no status takes the one that is given."""
        path = tmp_path / "feed.json"
        path.write_text(json.dumps([{"ListingKey": "k1"}]))
        run("import", str(path), *self.OPTIONS, "--default-status", "active")
        assert Listing.objects.get("u1", "flexmls-k1").data.status == "active"

    def test_ends_with_1_where_a_record_was_rejected(self, run: Run, tmp_path: Path) -> None:
        """A record that cannot be imported is named, the others are imported, and the exit code says that not all is well."""
        path = tmp_path / "feed.json"
        path.write_text(json.dumps([{**RECORDS[0], "ListPrice": "much"}, RECORDS[1]]))
        shown = run("import", str(path), *self.OPTIONS, code=1).stdout
        assert "1 created" in shown
        assert re.search(r"rejected .*feed.json:1 \(ListingKey k1\): ListPrice", shown)

    def test_needs_a_table(self, engine: str, page: str) -> None:
        """Where there is no table the error says how to make one; in memory, where none can be, it is made."""
        name = current().table_name
        if engine == "embedded":
            assert "created" in invoke(*where(), "import", page, *self.OPTIONS).stdout
            return
        error = invoke(*where(), "import", page, *self.OPTIONS, code=1).stderr
        assert error == f"error: the table {name} is not there, or lacks an index; run 'mlssocial init'\n"

    def test_needs_a_file_that_is_there(self) -> None:
        """A file that is not there is a usage error, before anything is touched."""
        assert "does not exist" in invoke("import", "nowhere.json", *self.OPTIONS, code=2).stderr

    def test_says_what_is_no_feed(self, run: Run, tmp_path: Path) -> None:
        """A file that is not JSON is an error of one line."""
        path = tmp_path / "feed.json"
        path.write_text("<html>")
        error = run("import", str(path), *self.OPTIONS, code=1).stderr
        assert error.startswith("error: ")
        assert error.count("\n") == 1


class TestPatterns:
    def test_needs_no_table(self) -> None:
        """The list is printed without settings, table or network."""
        shown = invoke("patterns").stdout
        assert shown.startswith(
            "  1  Which listings does a user have?\n     Listing.objects.query\n     table: PK = USER#<user>"
        )
        assert [entry["number"] for entry in json.loads(invoke("patterns", "--json").stdout)] == [
            pattern.number for pattern in PATTERNS
        ]

    def test_has_every_access_pattern(self) -> None:
        """All ten are there, and everything of a user."""
        assert {pattern.number for pattern in PATTERNS} == set(range(11))

    @pytest.mark.parametrize("pattern", [p for p in PATTERNS if not p.method.endswith(".get")], ids=lambda p: p.method)
    def test_is_what_the_managers_do(self, pattern: Any) -> None:
        """Number, method, index and key condition are those that the query itself explains."""
        from mlssocial.cli.names import names

        namespace: dict[str, Any] = names()
        results: Results[Any] = eval(f"{pattern.method}({pattern.example})", namespace)  # noqa: S307  our own list
        explained = results.explain()
        template = "".join(
            ".+" if part.startswith("<") else re.escape(part) for part in re.split("(<.+?>)", pattern.key_condition)
        )
        assert explained.access_pattern == pattern.number
        assert explained.query == pattern.method
        assert (explained.index or "table") == pattern.index
        assert re.fullmatch(template, explained.key_condition)


class TestSettings:
    @pytest.fixture
    def data_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Give this user's data folder."""
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        return tmp_path

    def test_default_is_the_embedded_engine_in_a_file(self, data_home: Path) -> None:
        """Who configures nothing works in a file of his own, is told so, and needs no init."""
        path = data_home / "mlssocial" / "homes.db"
        told = (
            f"no table is configured: using the embedded engine, local:{path}; --table or MLSSOCIAL_TABLE_NAME for DynamoDB\n"
        )
        shown = invoke("listings", "--user", "u1")
        assert (shown.stdout, shown.stderr) == ("no such listings of u1\n", told)
        assert path.exists()
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert "it stands already" in invoke("init").stdout

    @pytest.mark.usefixtures("data_home")
    def test_data_is_kept_between_runs(self) -> None:
        """What one run imports the next one finds."""
        invoke("import", "-", *TestImport.OPTIONS, stdin=json.dumps(RECORDS[0]).encode())
        assert ids(invoke("listings", "--user", "u1", "--json")) == ["flexmls-k1"]

    def test_home_has_the_data_folder_where_xdg_says_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without XDG_DATA_HOME the file is below ~/.local/share."""
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        invoke("init")
        assert (tmp_path / ".local/share/mlssocial/homes.db").exists()

    def test_data_folder_that_cannot_be_made(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A data folder that cannot be made is an error that says what else to give."""
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
        assert invoke("init", code=1).stderr.endswith("Not a directory; give --table or --endpoint\n")

    @pytest.mark.usefixtures("homes")
    @pytest.mark.parametrize("before", [True, False], ids=["before the command", "behind it"])
    def test_options_stand_before_the_command_or_behind_it(self, before: bool) -> None:
        """Global options mean the same in both places."""
        options = [*where(), "--json"]
        command = ["listings", "--user", "u1"]
        result = invoke(*options, *command) if before else invoke(*command, *options)
        assert ids(result) == ["l1", "l2", "l3"]

    def test_options_come_before_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The environment is taken where no option says otherwise."""
        monkeypatch.setenv("MLSSOCIAL_TABLE_NAME", "from-environment")
        monkeypatch.setenv("MLSSOCIAL_ENDPOINT_URL", "local:")
        tables = [
            json.loads(invoke(*options, "init", "--json").stdout)["table"] for options in ([], ["--table", "from-option"])
        ]
        assert tables == ["from-environment", "from-option"]

    @pytest.mark.parametrize("option", ["--region", "--profile"])
    def test_only_a_table_or_an_endpoint_means_another_engine(self, option: str) -> None:
        """An option that names neither table nor endpoint leaves the embedded engine in its place, and says so."""
        assert "using the embedded engine" in invoke(option, "us-east-1", "listings", "--user", "u1").stderr

    def test_a_profile_that_is_not_there(self) -> None:
        """A wrong profile is an error of one line."""
        error = invoke("--table", "homes", "--profile", "nobody", "init", code=1).stderr
        assert error == "error: no client can be made: The config profile (nobody) could not be found\n"

    def test_an_unknown_variable_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A typo in the environment is an error, and not another table."""
        monkeypatch.setenv("MLSSOCIAL_TABEL_NAME", "homes")
        assert "MLSSOCIAL_TABEL_NAME: no such setting" in invoke("init", code=1).stderr


class TestErrors:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["frobnicate"],
            ["listings"],
            ["listings", "--user", "u1", "--limit", "0"],
            ["listings", "--user", "u1", "--status", "x"],
        ],
        ids=" ".join,
    )
    def test_usage_errors_end_with_2(self, arguments: list[str]) -> None:
        """What was called wrongly is said with the usage."""
        assert invoke(*arguments, code=2).stderr.startswith("Usage: ")

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (["listings", "--user", "a#b"], "user_id: 'a#b' contains '#', which separates the parts of a key"),
            (["listings", "--user", "u1", "--cursor", "cut"], "cursor: it was cut or altered"),
            (["metrics", "--user", "u1", "--listing", "l1", "--since", "yesterday"], "since: "),
            (["show", "", "LISTING#l1"], "user_id: it is empty"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_errors_are_one_line_and_end_with_1(self, run: Run, arguments: list[str], error: str) -> None:
        """What this package refuses is one line on stderr, and nothing on stdout, with --json too."""
        for how in ([], ["--json"]):
            result = run(*arguments, *how, code=1)
            assert result.stdout == ""
            assert result.stderr.startswith(f"error: {error}")
            assert result.stderr.count("\n") == 1

    def test_verbose_shows_the_traceback(self, run: Run) -> None:
        """With -v the traceback comes before the error."""
        error = run("-v", "listings", "--user", "a#b", code=1).stderr
        assert error.startswith("Traceback (most recent call last):\n")
        assert error.splitlines()[-1].startswith("error: user_id: ")


def start(*arguments: str, **how: Any) -> subprocess.Popen[str]:
    """Start the command line as a process of its own."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "mlssocial.cli", *arguments], text=True, **(pipes | how))


class TestProcess:
    @pytest.fixture
    def homes_file(self, tmp_path: Path) -> str:
        """Give the endpoint of a file with three listings."""
        endpoint = f"local:{tmp_path / 'homes.db'}"
        mlssocial.configure(endpoint_url=endpoint)
        mlssocial.create_table()
        for number in range(3):
            Listing.objects.create("u1", "long-" * 30 + str(number), ListingData(status=mlssocial.ListingStatus.ACTIVE))
        return endpoint

    def test_a_pipe_gets_ids_and_cursors_whole_and_no_colours(self, homes_file: str) -> None:
        """What goes into a pipe is not cut off, wrapped or coloured."""
        with start("--endpoint", homes_file, "listings", "--user", "u1", "--limit", "2") as process:
            output, _ = process.communicate(timeout=60)
        lines = output.splitlines()
        assert len(lines) == 5
        assert lines[2].startswith("long-" * 30 + "0  active")
        cursor = lines[4].split()[-1]
        assert Listing.objects.query("u1").page(2, cursor).items[0].listing_id.endswith("2")
        assert "\x1b" not in output

    def test_a_closed_pipe_is_silent(self, homes_file: str) -> None:
        """A reader that goes away, as head does, leads to no message."""
        for how in ([], ["--json"]):
            with start("--endpoint", homes_file, "show", "u1", *how) as process:
                assert process.stdout
                process.stdout.close()
                assert process.stderr
                assert process.stderr.read() == ""

    def test_ctrl_c_ends_with_130_and_what_was_written_stays(self, homes_file: str) -> None:
        """An import that is interrupted says so, and has kept what it had."""
        lines = "".join(
            json.dumps({"ListingKey": f"k{n}", "StandardStatus": "Active", "PublicRemarks": "x" * 1_000}) + "\n"
            for n in range(150)  # a window, and half of one that never fills
        )
        with start("--endpoint", homes_file, "import", "-", *TestImport.OPTIONS) as process:
            assert process.stdin
            process.stdin.write(lines)
            process.stdin.flush()
            until = time.monotonic() + 60
            while not Listing.objects.find("u1", "flexmls-k0"):
                assert time.monotonic() < until
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 130
            assert process.stderr
            assert process.stderr.read() == "interrupted: what was written stays\n"
        assert Listing.objects.find("u1", "flexmls-k0") is not None

    @pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are Unix")
    def test_a_terminal_gets_colours_within_its_width(self, homes_file: str) -> None:
        """On a terminal lines fit, ids are folded and not cut off."""
        import fcntl
        import pty
        import termios

        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
            environment.pop(name, None)
        with start("--endpoint", homes_file, "listings", "--user", "u1", stdout=follower, env=environment):
            os.close(follower)
            output = b""
            try:
                while chunk := os.read(leader, 65536):
                    output += chunk
            except OSError:  # Linux's way to say that the other side is closed
                pass
        os.close(leader)
        assert b"\x1b[" in output
        lines = re.sub(r"\x1b\[[0-9;]*m", "", output.decode()).splitlines()
        assert max(map(len, lines)) <= 80
        assert "".join(line.split(" ")[0] for line in lines).count("…") == 0

    def test_the_shell_has_the_models(self, homes_file: str, tmp_path: Path) -> None:
        """The prompt says where it is, and every public name is there."""
        environment = {**os.environ, "IPYTHONDIR": str(tmp_path)}
        with start("--endpoint", homes_file, "shell", env=environment) as process:
            output, _ = process.communicate(
                "print(Listing.objects.query('u1').count() * Decimal(14), timedelta(1))\n", timeout=60
            )
        assert output.startswith(f"mlssocial: table mlssocial, {homes_file}\n")
        assert "42 1 day, 0:00:00" in output


def test_the_shell_needs_no_ipython(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without IPython the prompt is Python's own."""
    monkeypatch.setitem(sys.modules, "IPython", None)
    shown = run("shell", stdin=b"print(sorted(set(mlssocial.__all__) - set(globals())), ListingStatus('sold'))\n")
    assert "[] sold" in shown.stdout


class TestHelp:
    def test_imports_next_to_nothing(self) -> None:
        """The help loads no library but click, and no command."""
        code = (
            "import sys; sys.argv = ['mlssocial', '--help']\n"
            "from mlssocial.cli import main\n"
            "try:\n    main()\nexcept SystemExit:\n    print(*sys.modules)"
        )
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        loaded = {name.split(".")[0] for name in output.splitlines()[-1].split()}
        assert "click" in loaded
        assert not loaded & {"pydantic", "pynamodb", "botocore", "boto3", "rich", "ministack", "IPython"}
        assert not set(output.split()) & {f"mlssocial.cli.{module}" for module, _ in COMMANDS.values()}

    def test_names_every_command(self) -> None:
        """Each command stands in the help with the first sentence of its own help."""
        shown = invoke("--help").stdout
        assert isinstance(cli, LazyGroup)
        context = cli.make_context("mlssocial", ["patterns"])
        for name, (_, short_help) in COMMANDS.items():
            command = cli.get_command(context, name)
            assert command is not None
            assert command.name == name
            assert (command.help or "").strip().splitlines()[0] == short_help
            assert re.search(rf"^  {name} +{re.escape(short_help)}$", shown, re.MULTILINE)

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_has_help(self, name: str) -> None:
        """Each command explains itself and its options, and takes --json; a group of commands has commands that do."""
        command = cli.get_command(cli.make_context("mlssocial", ["patterns"]), name)
        within = [[name, part] for part in command.commands] if isinstance(command, click.Group) else [[name]]
        assert invoke(name, "--help").stdout.startswith("Usage: ")
        for path in within:
            shown = invoke(*path, "--help").stdout
            assert shown.startswith("Usage: ")
            assert "--json" in shown

    def test_completes_commands(self) -> None:
        """A shell that asks for completions is given the commands."""
        asked = {"_MLSSOCIAL_COMPLETE": "bash_complete", "COMP_WORDS": "mlssocial ", "COMP_CWORD": "1"}
        with start(env={**os.environ, **asked}) as process:
            output, _ = process.communicate(timeout=60)
        assert output.splitlines() == [f"plain,{name}" for name in COMMANDS]

    def test_version(self) -> None:
        """The version is the package's."""
        from importlib.metadata import version

        assert invoke("--version").stdout.split()[-1] == version("mlssocial")

    @pytest.mark.parametrize("missing", ["click", "rich"])
    def test_says_what_to_install(self, missing: str) -> None:
        """Without click or rich the command says what to install, and exits 1."""
        code = f"import sys; sys.modules[{missing!r}] = None\nfrom mlssocial.cli import main\nmain()"
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        told = "the command line needs click and rich: pip install 'mlssocial[cli]'\n"
        assert (process.returncode, process.stdout, process.stderr) == (1, "", told)


class TestJSONText:
    scalars = st.none() | st.booleans() | st.integers() | st.text() | st.decimals(allow_nan=False, allow_infinity=False)

    @given(st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))
    def test_is_json_with_exact_numbers(self, value: object) -> None:
        """What is written reads back as it was, numbers to the last digit."""
        assert json.loads(jsontext.dumps(value), parse_float=Decimal, parse_int=Decimal) == value

    def test_writes_what_json_has_no_type_for(self) -> None:
        """Moments and days are ISO 8601, sets are sorted, bytes are base64."""
        value = [datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC), date(2026, 1, 2), {Decimal(2), Decimal("1.5")}, b"\0\xff"]
        assert json.loads(jsontext.dumps(value)) == ["2026-01-02T03:04:05.678Z", "2026-01-02", [1.5, 2], "AP8="]
