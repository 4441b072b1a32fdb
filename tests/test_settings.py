"""Configuration: from the environment, from configure(), and what is refused."""

from __future__ import annotations

from contextvars import copy_context
from threading import Thread
from typing import Any

import pytest

from mlssocial import ConfigurationError, Listing, Settings, configure
from mlssocial.connection import store
from mlssocial.settings import current, table_settings, using


class TestEnvironment:
    def test_all_settings(self) -> None:
        """Every setting can come from the environment."""
        environment = {
            "MLSSOCIAL_TABLE_NAME": "homes",
            "MLSSOCIAL_REGION": "us-west-2",
            "MLSSOCIAL_ENDPOINT_URL": "http://localhost:8000",
            "MLSSOCIAL_PROFILE": "dev",
            "MLSSOCIAL_DEADLINE": "2.5",
            "MLSSOCIAL_CONNECT_TIMEOUT": "1",
            "MLSSOCIAL_READ_TIMEOUT": "3",
            "MLSSOCIAL_MAX_POOL_CONNECTIONS": "4",
            "PATH": "/bin",
        }
        assert Settings.from_env(environment) == Settings(
            table_name="homes",
            region="us-west-2",
            endpoint_url="http://localhost:8000",
            profile="dev",
            deadline=2.5,
            connect_timeout=1.0,
            read_timeout=3.0,
            max_pool_connections=4,
        )

    def test_an_empty_variable_is_none(self) -> None:
        """A variable that is set to nothing is as good as not set."""
        assert Settings.from_env({"MLSSOCIAL_TABLE_NAME": "", "MLSSOCIAL_REGION": ""}) == Settings()

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("MLSSOCIAL_TABEL_NAME", "x", "no such setting; there are .*MLSSOCIAL_TABLE_NAME"),
            ("MLSSOCIAL_DEADLINE", "soon", "MLSSOCIAL_DEADLINE: a number"),
            ("MLSSOCIAL_MAX_POOL_CONNECTIONS", "1.5", "a number"),
            ("MLSSOCIAL_READ_TIMEOUT", "-1", "read_timeout: a number above zero"),
        ],
    )
    def test_refusals(self, name: str, value: str, message: str) -> None:
        """An unknown variable and a value that is no number are refused by name."""
        with pytest.raises(ConfigurationError, match=message):
            Settings.from_env({name: value})

    def test_is_the_start_of_configure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """configure() changes what the environment says, and nothing else."""
        monkeypatch.setenv("MLSSOCIAL_TABLE_NAME", "from-env")
        monkeypatch.setenv("MLSSOCIAL_REGION", "eu-west-1")
        assert current().table_name == "from-env"
        made = configure(table_name="homes")
        assert (made.table_name, made.region, current()) == ("homes", "eu-west-1", made)


class TestConfigure:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"tabel_name": "x"}, "tabel_name: no such setting; there are allow_plaintext_tokens, connect_timeout"),
            ({"deadline": 0}, "deadline"),
            ({"deadline": "10"}, "deadline"),
            ({"max_pool_connections": True}, "max_pool_connections"),
            ({"read_timeout": float("inf")}, "read_timeout"),
            ({"region": 7}, "region: a string"),
            ({"table_name": None}, "table_name: a string"),
            ({"max_pool_connections": 1.5}, "max_pool_connections: a whole number"),
            ({"endpoint_url": "local"}, "local: or local:PATH"),
            ({"transport": "pigeon"}, "'direct' or 'botocore'"),
        ],
    )
    def test_refusals(self, changes: dict[str, Any], message: str) -> None:
        """What cannot work is refused by name, and what was in force stays."""
        configure(table_name="before")
        with pytest.raises(ConfigurationError, match=message):
            configure(**changes)
        assert current().table_name == "before"

    def test_a_whole_settings(self) -> None:
        """A Settings object can be taken over, with changes."""
        assert configure(Settings(table_name="a", region="r"), region="s") == Settings(table_name="a", region="s")

    def test_nothing_configured(self) -> None:
        """Without a table every use says what to do."""
        with pytest.raises(ConfigurationError, match=r"mlssocial\.configure\(table_name=.*MLSSOCIAL_TABLE_NAME.*local:"):
            Listing.objects.find("u", "l")

    def test_the_embedded_engine_needs_no_name(self) -> None:
        """The embedded engine's table is called mlssocial unless it is named."""
        configure(endpoint_url="local:")
        assert table_settings().table_name == "mlssocial"
        assert configure(endpoint_url="local:x", table_name="homes").table_name == "homes"

    def test_takes_effect_at_once(self) -> None:
        """Each configuration has a connection of its own; the same one keeps it."""
        configure(table_name="a", endpoint_url="local:")
        first = store()
        assert store() is first
        configure(table_name="a", endpoint_url="local:")
        assert store() is not first


class TestOfOneContext:
    def test_are_no_others(self) -> None:
        """Settings of one context are in force there and in its copies, and nowhere else."""
        everyones, own = configure(table_name="a", endpoint_url="local:"), Settings(table_name="b", endpoint_url="local:")
        seen: list[Settings] = []
        with using(own):
            thread = Thread(target=lambda: seen.append(current()))
            thread.start()
            thread.join()
            assert (current(), copy_context().run(current), seen) == (own, own, [everyones])
        assert current() is everyones

    def test_have_a_connection_of_their_own(self) -> None:
        """Their connection is beside everyone's, is kept for the next time, and closes neither."""
        everyones = configure(table_name="a", endpoint_url="local:")
        before, own = store(), Settings(table_name="b", endpoint_url="local:")
        with using(own):
            apart = store()
            assert (apart.table_name, store()) == ("b", apart)
        assert store() is before
        with using(own):
            assert store() is apart
        with using(everyones):
            assert store() is before

    def test_no_number_of_them_is_too_large(self) -> None:
        """Of many connections that are apart the oldest are closed, and made again where they are needed."""
        configure(table_name="a", endpoint_url="local:")
        made = [Settings(table_name=f"t{number}", endpoint_url="local:") for number in range(20)]
        for settings in [*made, *made]:
            with using(settings):
                assert store().settings is settings
                assert store().table_name == settings.table_name

    def test_tell_others_neither_who_one_is_nor_a_secret(self) -> None:
        """What another process is told holds what leads to the table, and no profile."""
        told = Settings(table_name="a", region="r", profile="me", deadline=2.5).shared()
        assert (told["table_name"], told["region"], told["deadline"]) == ("a", "r", 2.5)
        assert told.keys().isdisjoint({"profile", "token_keys", "current_token_key", "key_provider"})


class TestIsLocal:
    @pytest.mark.parametrize(
        ("endpoint_url", "expected"),
        [("local:", True), ("local:homes.db", True), ("http://localhost:8000", False), ("", False), (None, False)],
    )
    def test_the_prefix_decides(self, endpoint_url: str | None, expected: bool) -> None:
        """An embedded engine is what starts with "local:"."""
        assert Settings(table_name="x", endpoint_url=endpoint_url).is_local is expected
