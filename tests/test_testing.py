"""mlssocial.testing: the pytest plugin, the factory and assert_requests, as those who test their own code use them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import mlssocial
from mlssocial import Item, Listing, ListingStatus
from mlssocial.connection import store
from mlssocial.settings import current
from mlssocial.testing import Factory, assert_requests, fresh_table

from .conftest import ENDPOINT

pytest_plugins = ["pytester"]

ROOT = Path(mlssocial.__file__).parents[1]
REGISTERED = bool(entry_points(group="pytest11", name="mlssocial"))
PLUGIN = [] if REGISTERED else ["-p", "mlssocial.testing"]
HEAVY = {"pynamodb", "botocore", "boto3", "pydantic", "msgspec", "moto", "ministack", "httptools", "cryptography"}


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run pytest on what the pytester holds, in a process of its own."""
    pytester._monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return pytester.runpytest_subprocess(*PLUGIN, "-p", "no:xdist", "-p", "no:cov", *options)


class TestPlugin:
    @pytest.mark.parametrize("engine", ["local", "moto", *([ENDPOINT] if ENDPOINT else [])])
    def test_each_test_has_a_fresh_table(self, pytester: pytest.Pytester, engine: str) -> None:
        """Two tests write one key, and neither sees the other's item; the settings of before are in force afterwards."""
        pytester.makeconftest(
            """
            import mlssocial, pytest
            from mlssocial.settings import current

            @pytest.fixture(scope="session", autouse=True)
            def before():
                mlssocial.configure(table_name="before", endpoint_url="local:")
                yield
                assert current().table_name == "before"
            """
        )
        pytester.makepyfile(
            """
            import pytest
            from mlssocial import Listing, SocialConnection, configure, check_table

            @pytest.mark.parametrize("time", [1, 2])
            def test_it(mlssocial_table, mlssocial_factory, time):
                assert check_table() == []
                assert mlssocial_table.table_name.startswith("mlssocial-test-")
                created = Listing.objects.create("u1", "l1", mlssocial_factory.listing_data())
                assert created.data.mls_number == "MLS-1"
                SocialConnection.objects.create("u1", "facebook", mlssocial_factory.social_connection_data())
                configure(table_name="nonsense")
            """
        )
        run(pytester, f"--mlssocial-engine={engine}").assert_outcomes(passed=2)

    def test_the_engine_can_stand_in_the_ini_file(self, pytester: pytest.Pytester) -> None:
        """mlssocial_engine of the ini file is the engine where no option says otherwise, and fixtures add settings."""
        pytester.makeini("[pytest]\nmlssocial_engine = moto\n")
        pytester.makepyfile(
            """
            import pytest

            @pytest.fixture
            def mlssocial_settings():
                return {"deadline": 3.5}

            def test_it(mlssocial_table):
                assert mlssocial_table.endpoint_url is None
                assert mlssocial_table.deadline == 3.5
            """
        )
        run(pytester).assert_outcomes(passed=1)

    def test_a_wrong_engine_is_named(self, pytester: pytest.Pytester) -> None:
        """What is no engine is refused with what there is."""
        pytester.makepyfile("def test_it(mlssocial_table): ...")
        result = run(pytester, "--mlssocial-engine=sqlite")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*engine: 'local', 'moto' or an endpoint's URL is needed, not 'sqlite'"])

    def test_it_costs_nothing_to_others(self, pytester: pytest.Pytester) -> None:
        """A run in which nobody asks for a fixture loads nothing heavy, of mlssocial's and of others'."""
        pytester.makepyfile("import sys\ndef test_it(): print('loaded', *sorted(sys.modules))")
        result = run(pytester, "-s", "-p", "no:hypothesispytest", "-p", "no:anyio")
        result.assert_outcomes(passed=1)
        loaded = {name for line in result.outlines if "loaded" in line for name in line.split()}
        assert "mlssocial.testing.plugin" in loaded
        assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
        ours = {name for name in loaded if name.startswith("mlssocial.")}
        light = {"exceptions", "operations", "testing", "testing.plugin", "testing.requests"}
        assert ours == {f"mlssocial.{name}" for name in light}

    def test_it_needs_no_pytest(self) -> None:
        """The helpers can be had without pytest, as a unittest's."""
        script = (
            "import sys; sys.modules['pytest'] = None\n"
            "from mlssocial import Item\n"
            "from mlssocial.testing import Factory, assert_requests, fresh_table\n"
            "with fresh_table(), assert_requests(exactly=1):\n"
            "    Factory().listing(user_id='u1').save()\n"
        )
        subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


class TestFreshTable:
    def test_puts_back_what_was_configured(self) -> None:
        """The settings of before are in force again, also where the block has failed, and the table is gone."""
        before = mlssocial.configure(table_name="mine", endpoint_url="local:")
        with pytest.raises(ZeroDivisionError), fresh_table() as settings:
            _ = 1 / 0
        assert current() is before
        assert settings.table_name not in store().call("ListTables", {})["TableNames"]

    def test_is_in_force_in_every_thread(self) -> None:
        """A server's thread sees the table too."""
        with fresh_table() as settings, ThreadPoolExecutor(1) as pool:
            assert pool.submit(current).result() is settings

    def test_may_have_been_dropped(self) -> None:
        """A test that drops the table itself is no failure."""
        with fresh_table() as settings:
            store().call("DeleteTable", {"TableName": settings.table_name})

    def test_without_what_was_configured(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The environment's settings are not taken over: a test never meets the real table."""
        monkeypatch.setenv("MLSSOCIAL_TABLE_NAME", "production")
        monkeypatch.setenv("MLSSOCIAL_ENDPOINT_URL", "http://production.invalid")
        with fresh_table() as settings:
            assert (settings.endpoint_url, settings.table_name != "production") == ("local:", True)


class TestFactory:
    @pytest.mark.usefixtures("table")
    def test_items_of_every_entity_can_be_written(self) -> None:
        """What is made is valid: it is stored and read back, and items made one after the other do not clash."""
        factory = Factory()
        makes: list[Any] = [factory.listing, factory.mls_connection, factory.social_post, factory.performance_metrics]
        items = [make(user_id="u1") for make in makes for _ in range(3)]
        items += [factory.social_connection(user_id="u1", platform=platform) for platform in ("facebook", "instagram")]
        for item in items:
            item.save()
        stored: list[Any] = list(Item.objects.query("u1"))
        assert {item.sk: item.data for item in stored} == {item.sk: item.data for item in items}

    def test_it_is_deterministic(self) -> None:
        """Two factories make the same, in Data and in keys."""
        for name in ("listing", "mls_connection", "social_connection", "social_post", "performance_metrics"):
            one, other = (getattr(Factory(), name)() for _ in range(2))
            assert (one.pk, one.sk) == (other.pk, other.sk)
            assert one.data == other.data
            payloads = [getattr(Factory(), f"{name}_data")() for _ in range(2)]
            assert payloads[0] == payloads[1]

    def test_fields_can_be_given(self) -> None:
        """Keyword arguments are fields, and the rest stays valid."""
        made = Factory().listing(user_id="u2", listing_id="l9", status="sold")
        assert (made.user_id, made.listing_id, made.data.status) == ("u2", "l9", ListingStatus.SOLD)


@pytest.mark.usefixtures("table")
class TestAssertRequests:
    def test_shows_every_request(self) -> None:
        """A failure has each request with its operation, index, method and access pattern."""

        def send() -> None:
            Listing.objects.find("u1", "l1")
            list(Listing.objects.query_by_status("u1", ListingStatus.ACTIVE))
            mlssocial.check_table()

        with pytest.raises(AssertionError) as failed, assert_requests(max=1):
            send()
        assert str(failed.value) == (
            "requests: at most 1 wanted, 4 sent:\n"
            "    1  GetItem on the table, for Listing.objects.find\n"
            "    2  Query on GSI2, for Listing.objects.query_by_status, access pattern 3\n"
            "    3  DescribeTable on the table, for check_table\n"
            "    4  DescribeTimeToLive on the table, for check_table"
        )

    @pytest.mark.parametrize(
        ("asked", "fits"),
        [
            ({}, True),
            ({"max": 0}, False),
            ({"exactly": 1}, True),
            ({"exactly": 2}, False),
            ({"pattern": 3}, True),
            ({"pattern": 1}, False),
            ({"pattern": "Listing.objects.query_by_status", "exactly": 1}, True),
            ({"pattern": "Listing.objects.query"}, False),
        ],
    )
    def test_holds_to_what_is_asked(self, asked: dict[str, Any], fits: bool) -> None:
        """It fails where there are more requests than there may be, others than there have to be, or another pattern's."""
        query = Listing.objects.query_by_status("u1", "active")
        if fits:
            with assert_requests(**asked) as calls:
                query.page(5)
            assert len(calls) == 1
        else:
            with pytest.raises(AssertionError, match="wanted, 1 sent"), assert_requests(**asked):
                query.page(5)

    def test_a_pattern_wants_a_request(self) -> None:
        """A block that sends nothing serves no access pattern."""
        wanted = re.escape("at most 1, each for access pattern 1 wanted, 0 sent: none")
        with pytest.raises(AssertionError, match=wanted), assert_requests(pattern=1):
            Listing.objects.query("u1")

    def test_sees_other_threads(self) -> None:
        """What another thread sends counts, as where a server runs in one."""
        with assert_requests(exactly=2), ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda one: Listing.objects.find("u1", one), ["l1", "l2"]))

    def test_the_blocks_own_error_goes_before(self) -> None:
        """A failure inside the block is not covered by the count."""
        with pytest.raises(Listing.DoesNotExist), assert_requests(max=0):
            Listing.objects.get("u1", "l1")
