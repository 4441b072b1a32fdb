"""``mlssocial encrypt-tokens`` and ``mlssocial rotate-keys``, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlssocial.cli.app import cli
from mlssocial.connection import CONTROL, READS, recorded
from mlssocial.settings import current

from .conftest import get_raw, put_raw
from .test_reseal import CANARY, FACEBOOK, KEYS, connection, sealed, stored, tokens, use

OTHER = ("USER#u2", "SOCIAL#X")


def call(command: str, *arguments: str, keys: str = "k2", code: int = 0, answer: str | None = None) -> Result:
    """Call a command on the test's table with these keys, the first one current, and see that it ends with that code."""
    where, names = current(), keys.split()
    options = {"--table": where.table_name, "--region": where.region, "--endpoint": where.endpoint_url}
    named = [word for name, value in options.items() if value for word in (name, value)]
    environment = {
        "MLSSOCIAL_TOKEN_KEYS": ",".join(f"{name}={KEYS[name]}" for name in names),
        "MLSSOCIAL_CURRENT_TOKEN_KEY": names[0] if names else "",
    }
    result = CliRunner().invoke(cli, [*named, command, *arguments], input=answer, env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.output) == (code, result.output)
    assert CANARY not in result.output
    return result


@pytest.mark.usefixtures("table")
class TestEncryptTokens:
    def test_seals_what_is_clear(self, tmp_path: Path) -> None:
        """Clear tokens are sealed, in segments and with a checkpoint, and an audit says so before and after."""
        put_raw(connection(accessToken=CANARY))
        assert "seal the tokens in clear text with 'mlssocial encrypt-tokens'" in call("audit", code=1).stdout
        path = tmp_path / "tokens.json"
        arguments = ("--yes", "--segments", "2", "--checkpoint", str(path), "--max-read-units", "1000")
        shown = call("encrypt-tokens", *arguments).stdout.splitlines()
        assert shown[1:] == ["tokens: 1 in clear text", "1 to seal under key k2: 1 sealed"]
        assert not path.exists()
        use("k2")
        assert tokens() == {"accessToken": ("k2", CANARY)}
        assert "tokens: 1 under key k2" in call("audit", "--repair", "--yes").stdout

    def test_asks_before_it_writes(self) -> None:
        """Without --yes it asks, on stderr, naming table and key, and writes only if the answer is yes."""
        put_raw(connection(accessToken=CANARY))
        table = current().table_name
        refused = call("encrypt-tokens", code=1, answer="n\n")
        assert f"seal the tokens in clear text in {table}, under key k2?" in refused.stderr
        assert stored() == CANARY
        assert "1 sealed" in call("encrypt-tokens", answer="y\n").stdout

    def test_a_dry_run(self) -> None:
        """With --dry-run nothing is asked and nothing written, and the code is 0."""
        put_raw(item := connection(accessToken=CANARY))
        with recorded() as calls:
            shown = call("encrypt-tokens", "--dry-run")
        assert "1 to seal under key k2: dry run, nothing was written" in shown.stdout
        assert {one.operation for one in calls} <= READS | CONTROL
        assert get_raw(*FACEBOOK) == item

    def test_without_a_key(self) -> None:
        """Without a key it says what to configure, asks nothing and writes nothing."""
        put_raw(connection(accessToken=CANARY))
        shown = call("encrypt-tokens", "--yes", keys="", code=1)
        assert shown.stderr.startswith("error: no key is configured to seal tokens with")
        assert stored() == CANARY
        assert "under key" not in call("encrypt-tokens", keys="", code=1).stderr


@pytest.mark.usefixtures("table")
class TestRotateKeys:
    def test_seals_what_is_under_other_keys(self) -> None:
        """Tokens under the old key and in clear text come under the current one, and the code is 0."""
        put_raw(connection(accessToken=CANARY, refreshToken=sealed("r", "k1", name="refreshToken")))
        shown = call("rotate-keys", "--yes", keys="k2 k1").stdout
        assert "tokens: 1 in clear text, 1 under key k1" in shown
        assert "2 to seal under key k2: 2 sealed" in shown
        use("k2")
        assert tokens() == {"accessToken": ("k2", CANARY), "refreshToken": ("k2", "r")}

    def test_a_key_that_is_gone(self) -> None:
        """A token whose key is gone is named with item and key, the rest is sealed, and the code is 1."""
        put_raw(connection(accessToken=sealed(CANARY, "k1")))
        put_raw(connection(OTHER, accessToken="x"))
        shown = call("rotate-keys", "--yes", code=1).stdout.splitlines()
        assert shown[2] == "2 to seal under key k2: 1 sealed, 1 failed"
        assert shown[3].startswith("SocialConnection USER#u1 / SOCIAL#FACEBOOK: accessToken: key k1 is not among those")
        assert "1 failed" in call("rotate-keys", "--dry-run", code=1).stdout
        assert len(call("rotate-keys", "--dry-run", "--limit", "0", code=1).stdout.splitlines()) == 3

    def test_json(self) -> None:
        """JSON has the counts and the failures, and no token; the code says the same."""
        put_raw(connection(accessToken=sealed(CANARY, "k1"), refreshToken=CANARY))
        document = json.loads(call("rotate-keys", "--yes", "--json", code=1).stdout)
        assert {name: document[name] for name in ("key_id", "rotate", "wanted", "resealed", "settled", "failed")} == {
            "key_id": "k2",
            "rotate": True,
            "wanted": 2,
            "resealed": 1,
            "settled": 0,
            "failed": 1,
        }
        assert (document["clear_tokens"], document["sealed_tokens"]) == (1, {"k1": 1})
        (failure,) = document["failures"]
        assert (failure["key"], failure["attribute"], failure["key_id"]) == (list(FACEBOOK), "accessToken", "k1")
