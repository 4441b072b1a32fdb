"""Sealed tokens: what lies in the table, what opens it, and what does not, on every engine."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlssocial
from mlssocial import (
    ConfigurationError,
    DataKey,
    DecryptionError,
    InvalidItemError,
    MLSConnection,
    MLSConnectionData,
    PlaintextTokensWarning,
    SocialConnection,
    SocialConnectionData,
    Token,
    new_token_key,
)
from mlssocial.crypto import Place, key_id_of, seal
from mlssocial.tokens import MASK

from .conftest import TOKEN_KEY, Tally, get_raw, put_raw

KEY = ("USER#u1", "SOCIAL#FACEBOOK")
PLACE = Place("mlssocial", *KEY, "accessToken")


def stored(pk: str = "USER#u1", sk: str = "SOCIAL#FACEBOOK", name: str = "accessToken") -> str:
    """Give what lies in a token's attribute."""
    item = get_raw(pk, sk)
    assert item is not None
    text: str = item["Data"]["M"][name]["S"]
    return text


def change_stored(text: str, name: str = "accessToken") -> None:
    """Put something else into a token's attribute, as another writer would."""
    item = get_raw(*KEY)
    assert item is not None
    item["Data"]["M"][name] = {"S": text}
    put_raw(item)


@pytest.fixture
def embedded() -> None:
    """Configure an engine that nothing is asked of, with a key."""
    mlssocial.configure(endpoint_url="local:")


class TestAtRest:
    @pytest.mark.parametrize("way", ["create", "save", "update", "item", "save_many", "create_many", "transaction", "refresh"])
    @pytest.mark.usefixtures("table")
    def test_every_write_seals(self, way: str) -> None:
        """Whichever call writes a token, the table holds it sealed, and a reader reveals it."""
        manager, data = SocialConnection.objects, SocialConnectionData(access_token="EAAB-1", refresh_token="r-1")
        item = SocialConnection(user_id="u1", platform="facebook", data=data)
        if way == "create":
            manager.create("u1", "facebook", data)
        elif way == "save":
            manager.save("u1", "facebook", data)
        elif way == "item":
            item.save()
        elif way == "save_many":
            manager.save_many([item])
        elif way == "create_many":
            manager.create_many([item])
        elif way == "transaction":
            with mlssocial.transaction() as t:
                t.create(SocialConnection, "u1", "facebook", data)
        else:
            read = manager.create("u1", "facebook", SocialConnectionData(access_token="old"))
            if way == "update":
                manager.update("u1", "facebook", access_token="EAAB-1", refresh_token=Token("r-1"))
            else:
                manager.refresh_tokens(read, access_token="EAAB-1", refresh_token="r-1", expires_at=None)
        for name in ("accessToken", "refreshToken"):
            assert stored(name=name).startswith("enc:v1:test::")
        found = manager.get("u1", "facebook", consistent=True).data
        assert found.access_token is not None
        assert found.refresh_token is not None
        assert (found.access_token.reveal(), found.refresh_token.reveal()) == ("EAAB-1", "r-1")
        assert found.access_token.sealed

    @pytest.mark.usefixtures("table")
    def test_unchanged_ciphertext_is_written_verbatim(self) -> None:
        """An item that is read and saved keeps its ciphertexts, even where no key is at hand any more."""
        SocialConnection.objects.create("u1", "facebook", SocialConnectionData(access_token="t", refresh_token="r"))
        before = stored(), stored(name="refreshToken")
        found = SocialConnection.objects.get("u1", "facebook", consistent=True)
        mlssocial.configure(**asdict(mlssocial.settings.current()) | {"token_keys": {}, "current_token_key": None})
        found.data.scope = ["pages"]
        found.save()
        assert (stored(), stored(name="refreshToken")) == before
        SocialConnection.objects.update("u1", "facebook", scope=["all"])
        assert stored() == before[0]

    @pytest.mark.usefixtures("table")
    def test_a_token_that_goes_elsewhere_is_sealed_anew(self) -> None:
        """A token that is taken from one item into another, or into another field, opens there."""
        first = SocialConnection.objects.create("u1", "facebook", SocialConnectionData(access_token="t"))
        again = SocialConnectionData(access_token=first.data.access_token, refresh_token=first.data.access_token)
        other = SocialConnection.objects.create("u2", "facebook", again)
        assert stored("USER#u2") not in {stored(), stored("USER#u2", name="refreshToken")}
        for token in (other.data.access_token, other.data.refresh_token):
            assert token is not None
            assert token.reveal() == "t"

    @pytest.mark.usefixtures("table")
    def test_clear_tokens_of_the_other_application_are_read(self) -> None:
        """What the other application stored in clear text is read; written again, it is sealed."""
        SocialConnection.objects.create("u1", "facebook", SocialConnectionData(access_token="t", refresh_token=""))
        change_stored("clear")
        found = SocialConnection.objects.get("u1", "facebook", consistent=True)
        assert found.data.access_token is not None
        assert not found.data.access_token.sealed
        assert found.data.access_token.reveal() == "clear"
        item = get_raw(*KEY)
        assert item is not None
        SocialConnection.objects.save("u1", "facebook", found.data)
        assert stored().startswith("enc:v1:test::")

    @pytest.mark.usefixtures("table")
    def test_an_empty_refresh_token_stays_empty(self) -> None:
        """The empty text that stands for no token is no secret."""
        SocialConnection.objects.create("u1", "facebook", SocialConnectionData(access_token="t", refresh_token=""))
        assert stored(name="refreshToken") == ""

    @pytest.mark.usefixtures("table")
    def test_the_same_operation_is_the_same_with_other_ciphertexts(self) -> None:
        """A repeat under an operation_id is known for one, though its tokens are sealed anew."""
        for applied in (True, False):
            with mlssocial.transaction(operation_id="op1") as t:
                t.save(SocialConnection, "u1", "facebook", SocialConnectionData(access_token="t"))
            assert t.applied is applied

    @pytest.mark.usefixtures("table")
    def test_checks_refuse_tokens(self) -> None:
        """A transaction cannot be held to a token's value: what is sealed is never the same twice."""
        with (
            pytest.raises(InvalidItemError, match="access_token: sealed tokens cannot be compared"),
            mlssocial.transaction() as t,
        ):
            t.check(SocialConnection, "u1", "facebook", access_token="t")

    @pytest.mark.usefixtures("table")
    def test_claims_need_no_key(self) -> None:
        """A queue of connections can be worked where no key is configured."""
        read = MLSConnection.objects.create("u1", "c1", MLSConnectionData(provider="flexmls", access_token="t"))
        mlssocial.configure(**asdict(mlssocial.settings.current()) | {"token_keys": {}, "current_token_key": None})
        assert MLSConnection.objects.claim(read, seconds=60) is not None


class TestWithoutAKey:
    @pytest.fixture(autouse=True)
    def no_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the tests' key away."""
        monkeypatch.delenv("MLSSOCIAL_TOKEN_KEYS")

    @pytest.mark.usefixtures("table")
    def test_tokens_are_refused(self) -> None:
        """Without a key a token is not written, and the error says what to do; all else is."""
        message = r"accessToken of USER#u1 / SOCIAL#FACEBOOK.*token_keys"
        with pytest.raises(ConfigurationError, match=message) as caught:
            SocialConnection.objects.create("u1", "facebook", SocialConnectionData(access_token="canary"))
        assert "canary" not in str(caught.value)
        with pytest.raises(ConfigurationError, match=message):
            SocialConnection.objects.update("u1", "facebook", access_token="canary")
        assert get_raw(*KEY) is None
        SocialConnection.objects.create("u1", "facebook", SocialConnectionData(refresh_token="", scope=["pages"]))
        assert stored(name="refreshToken") == ""

    @pytest.mark.usefixtures("table")
    def test_clear_text_has_to_be_allowed_and_warns(self) -> None:
        """allow_plaintext_tokens writes clear text, and warns where it is configured."""
        with pytest.warns(PlaintextTokensWarning, match="clear text"):
            mlssocial.configure(**asdict(mlssocial.settings.current()) | {"allow_plaintext_tokens": True})
        SocialConnection.objects.create("u1", "facebook", SocialConnectionData(access_token="clear"))
        assert stored() == "clear"
        SocialConnection.objects.update("u1", "facebook", access_token="other")
        assert stored() == "other"

    @pytest.mark.usefixtures("table")
    def test_sealed_tokens_do_not_open(self) -> None:
        """A reader without keys gets the item, and an error that names the key id and the item where it reveals."""
        here = asdict(mlssocial.settings.current())
        mlssocial.configure(**here | {"token_keys": {"k1": new_token_key()}})
        SocialConnection.objects.create("u1", "facebook", SocialConnectionData(access_token="canary"))
        text = stored()
        mlssocial.configure(**here)
        token = SocialConnection.objects.get("u1", "facebook", consistent=True).data.access_token
        assert token is not None
        with pytest.raises(DecryptionError, match=r"reveal accessToken USER#u1 / SOCIAL#FACEBOOK: no key") as caught:
            token.reveal()
        assert caught.value.key_id == "k1"
        assert text not in str(caught.value)


class TestRotation:
    @pytest.mark.usefixtures("table")
    def test_old_keys_open_and_the_current_one_seals(self) -> None:
        """With a new current key what the old one sealed still opens, and what is written is under the new one."""
        here = asdict(mlssocial.settings.current())
        old, new = new_token_key(), new_token_key()
        mlssocial.configure(**here | {"token_keys": {"k1": old}, "current_token_key": None})
        SocialConnection.objects.create("u1", "facebook", SocialConnectionData(access_token="t", refresh_token="r"))
        mlssocial.configure(**here | {"token_keys": {"k1": old, "k2": new}, "current_token_key": "k2"})
        found = SocialConnection.objects.update("u1", "facebook", access_token="t2")
        assert found.data.access_token is not None
        assert found.data.refresh_token is not None
        assert (key_id_of(found.data.access_token), key_id_of(found.data.refresh_token)) == ("k2", "k1")
        assert (found.data.access_token.reveal(), found.data.refresh_token.reveal()) == ("t2", "r")
        mlssocial.configure(**here | {"token_keys": {"k2": new}, "current_token_key": "k2"})
        with pytest.raises(DecryptionError, match="key k1 is not among those that are configured") as caught:
            found.data.refresh_token.reveal()
        assert caught.value.key_id == "k1"

    @pytest.mark.usefixtures("embedded")
    def test_another_key_of_the_same_name_does_not_open(self) -> None:
        """A key that was replaced under its id does not open what the first one sealed."""
        sealed = seal(Token("t"), PLACE)
        mlssocial.configure(endpoint_url="local:", token_keys={"test": new_token_key()})
        with pytest.raises(DecryptionError, match="altered, or sealed for another"):
            sealed.reveal()

    @pytest.mark.usefixtures("embedded")
    def test_a_provider_of_ones_own(self) -> None:
        """Anything that gives keys can be configured, with what it wraps beside the token."""

        class Vault:
            def new_data_key(self, key_id: str, context: Mapping[str, str]) -> DataKey:
                assert key_id == "v1"
                assert context == {"mlssocial:token_context": "mine"}
                return DataKey(b"k" * 32, "d3JhcHBlZA==")

            def data_key(self, key_id: str, wrapped: str, context: Mapping[str, str]) -> bytes:
                if key_id != "v1":
                    raise LookupError(key_id)
                if wrapped != "d3JhcHBlZA==":
                    raise ValueError("not mine")
                return self.new_data_key(key_id, context).key

        mlssocial.configure(
            endpoint_url="local:", key_provider=Vault(), current_token_key="v1", token_context="mine", token_keys={}
        )
        place = Place.of(KEY, "accessToken")
        sealed = seal(Token("t"), place)
        assert sealed.stored is not None
        assert sealed.stored.startswith("enc:v1:v1:d3JhcHBlZA==:")
        assert sealed.reveal() == "t"
        with pytest.raises(DecryptionError, match="did not wrap"):
            place.open(sealed.stored.replace("d3JhcHBlZA==", "b3RoZXI="))
        with pytest.raises(DecryptionError, match="key v2 is not among"):
            place.open(sealed.stored.replace(":v1:d3", ":v2:d3"))


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="#"), min_size=1, max_size=12)


class TestSealing:
    @given(token=texts, user=ids, platform=ids, context=texts)
    def test_what_is_sealed_opens_at_its_place(self, token: str, user: str, platform: str, context: str) -> None:
        """Any token comes back from its place, and what lies there has nothing of it."""
        mlssocial.configure(endpoint_url="local:")
        place = Place(context, f"USER#{user}", f"SOCIAL#{platform}", "accessToken")
        if token == MASK or token.startswith("enc:"):
            return
        sealed = seal(Token(token), place)
        assert sealed.reveal() == token
        assert sealed.stored is not None
        assert base64.b64encode(token.encode()).decode() not in sealed.stored
        assert seal(sealed, place) is sealed
        assert seal(Token(token), place).stored != sealed.stored

    @pytest.mark.usefixtures("embedded")
    def test_flips_and_swaps_are_refused(self, soak: bool, tally: Tally) -> None:
        """No sealed token that was altered in any way, or moved to another place, opens: 200,000 in a soak."""
        dice = random.Random(5)  # noqa: S311  no secret
        places = [
            Place(context, f"USER#{user}", sk, attribute)
            for context in ("mlssocial", "mlssocialU")
            for user in ("u1", "u11", "u2")
            for sk in ("SOCIAL#FACEBOOK", "SOCIAL#FACEBOOKa", "MLS_CONNECTION#c1")
            for attribute in ("accessToken", "refreshToken")
        ]
        sealed = {place: [seal(Token(f"{place.pk}{n}" * (n + 1)), place).stored or "" for n in range(4)] for place in places}
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=:.-_ \n\u00e9"
        tries = 200_000 if soak else 2_000
        for _ in range(tries):
            place = dice.choice(places)
            text = dice.choice(sealed[place])
            altered = _altered(dice, text, alphabet, [other for entries in sealed.values() for other in entries])
            elsewhere = dice.choice(places)
            if (altered, elsewhere) == (text, place) or altered in sealed[elsewhere]:
                continue
            with pytest.raises(DecryptionError):
                elsewhere.open(altered)
        tally(alterations=tries)

    @pytest.mark.usefixtures("embedded")
    def test_a_later_format_is_named(self) -> None:
        """What a later release sealed is no clear text, and is said to be of another format."""
        token = Token.at_rest("enc:v2:k:abc", PLACE)
        assert token.sealed
        with pytest.raises(DecryptionError, match="not sealed as enc:v1 is"):
            token.reveal()

    def test_parts_cannot_trade_places(self) -> None:
        """The length before each part keeps one place from being read as another."""
        assert Place("c", "USER#a", "bS", "x").bound_to("k", "") != Place("c", "USER#ab", "S", "x").bound_to("k", "")

    @pytest.mark.usefixtures("embedded")
    def test_other_languages_can_open_it(self) -> None:
        """The format is AES-256-GCM over length-prefixed parts, as docs/security.md shows for other languages."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        stored = seal(Token("EAAB"), PLACE).stored
        assert stored is not None
        _, version, key_id, wrapped, content = stored.split(":")
        parts = [part.encode() for part in (version, key_id, wrapped, "mlssocial", *KEY, "accessToken")]
        bound_to = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        raw = base64.b64decode(content)
        assert AESGCM(base64.b64decode(TOKEN_KEY)).decrypt(raw[:12], raw[12:], bound_to) == b"EAAB"


@pytest.mark.skipif(shutil.which("node") is None, reason="node runs the documented lines, and is not there")
@pytest.mark.usefixtures("embedded")
def test_the_documented_lines_open_it() -> None:
    """The lines of docs/security.md open what was sealed, and leave clear text as it is."""
    page = (Path(__file__).parents[1] / "docs" / "security.md").read_text()
    lines = page.split("```js\n")[1].split("```")[0]
    stored = seal(Token("EAAB-é"), PLACE).stored
    keys = f"{{test: Buffer.from({TOKEN_KEY!r}, 'base64')}}"
    calls = [f"openToken({text!r}, {keys}, {KEY[0]!r}, {KEY[1]!r}, 'accessToken')" for text in (stored, "clear")]
    code = f"{lines}\nconsole.log(JSON.stringify([{', '.join(calls)}]))"
    ran = subprocess.run(["node", "-e", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(ran.stdout) == ["EAAB-é", "clear"]


def _altered(dice: Any, text: str, alphabet: str, others: list[str]) -> str:
    """Alter a sealed token: a character, a bit of its content, a part of another's, a cut, or not at all."""
    kind, at = dice.randrange(6), dice.randrange(4, len(text))
    if kind == 0:
        return str(text[:at] + dice.choice(alphabet) + text[at + 1 :])
    if kind == 1:
        head, _, content = text.rpartition(":")
        raw = bytearray(base64.b64decode(content))
        raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
        return f"{head}:{base64.b64encode(raw).decode()}"
    if kind == 2:
        mine, theirs = text.split(":"), dice.choice(others).split(":")
        number = dice.randrange(1, len(mine))
        return ":".join([*mine[:number], theirs[number], *mine[number + 1 :]])
    if kind == 3:
        return text[:at]
    return str(text[:at] + dice.choice(alphabet) + text[at:]) if kind == 4 else text


class TestToken:
    @pytest.mark.usefixtures("embedded")
    def test_sealed_tokens_are_equal_by_value(self) -> None:
        """Tokens are equal by what they reveal, however they are sealed; the same ciphertext needs no key."""
        first, again = seal(Token("t"), PLACE), seal(Token("t"), PLACE)
        assert first == again == Token("t")
        assert first != seal(Token("u"), PLACE)
        mlssocial.configure(endpoint_url="local:", token_keys={"k9": new_token_key()})
        assert first == Token.at_rest(first.stored or "", PLACE)

    def test_what_is_sealed_or_masked_is_no_token_to_give(self) -> None:
        """Neither a ciphertext nor the mask can be given as a token, so neither is ever sealed or stored for one."""
        for text in ("enc:v1:k1::AAAA", "enc:v7:x", MASK):
            with pytest.raises(ValueError, match="not a token"):
                Token(text)
            with pytest.raises(ValueError, match="access_token"):
                SocialConnectionData(access_token=text)
        with pytest.raises(ValueError, match="mask"):
            Token.at_rest(MASK)

    def test_out_of_its_item_it_does_not_open(self) -> None:
        """A ciphertext by itself has no place, and says so."""
        with pytest.raises(DecryptionError, match=r"get\(\) the item"):
            Token.at_rest("enc:v1:k1::AAAA").reveal()

    @pytest.mark.usefixtures("embedded")
    def test_a_lone_surrogate(self) -> None:
        """A token that no UTF-8 can hold is refused before anything is sent."""
        with pytest.raises(InvalidItemError, match="accessToken: text with a lone surrogate"):
            SocialConnection.objects.save("u1", "facebook", SocialConnectionData(access_token="\ud800"))

    def test_what_was_given_is_written_by_managers_alone(self) -> None:
        """A token that is not sealed yet is written by nothing below the managers: no dump has it in clear text."""
        item = SocialConnection(user_id="u1", platform="facebook", data=SocialConnectionData(access_token="canary"))
        for dumped in (item.to_simple_dict(), item.to_dynamodb_dict(), item.serialize()):
            assert "canary" not in repr(dumped)
            assert MASK in repr(dumped)


class TestKeys:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"token_keys": {"k1": "canary"}}, "k1 is neither"),
            ({"token_keys": {"k1": base64.b64encode(b"canary").decode()}}, "k1 is neither"),
            ({"token_keys": {"k:1": TOKEN_KEY}}, "a key id is"),
            ({"token_keys": {"k1": TOKEN_KEY, "k2": TOKEN_KEY}}, "current_token_key: name"),
            ({"token_keys": {"k1": TOKEN_KEY}, "current_token_key": "k2"}, "'k2' is not among"),
            ({"token_keys": {}, "current_token_key": "k2"}, "'k2' is not among"),
            ({"token_keys": TOKEN_KEY}, "a mapping"),
            ({"token_keys": {"k1": TOKEN_KEY}, "key_provider": object()}, "give one of them"),
            ({"token_keys": {}, "key_provider": object()}, "current_token_key: name"),
            ({"token_context": None}, "token_context: a string"),
            ({"allow_plaintext_tokens": "yes"}, "allow_plaintext_tokens: True or False"),
        ],
    )
    def test_refusals(self, given: dict[str, Any], message: str) -> None:
        """Keys that cannot work are refused where they are configured, and never shown."""
        with pytest.raises(ConfigurationError, match=message) as caught:
            mlssocial.configure(**given)
        assert "canary" not in str(caught.value)
        assert TOKEN_KEY not in str(caught.value)

    def test_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Keys, the current one, the context and the permission come from the environment too."""
        other = new_token_key()
        monkeypatch.setenv("MLSSOCIAL_TOKEN_KEYS", f"k1={TOKEN_KEY}, k2={other}")
        monkeypatch.setenv("MLSSOCIAL_CURRENT_TOKEN_KEY", "k2")
        monkeypatch.setenv("MLSSOCIAL_TOKEN_CONTEXT", "prod")
        monkeypatch.setenv("MLSSOCIAL_ALLOW_PLAINTEXT_TOKENS", "no")
        found = mlssocial.configure()
        assert {name: key.reveal() for name, key in found.token_keys.items()} == {"k1": TOKEN_KEY, "k2": other}
        assert (found.current_token_key, found.token_context, found.allow_plaintext_tokens) == ("k2", "prod", False)
        for name, value in {
            "MLSSOCIAL_TOKEN_KEYS": "canary",
            "MLSSOCIAL_ALLOW_PLAINTEXT_TOKENS": "perhaps",
            "MLSSOCIAL_KEY_PROVIDER": "x",
        }.items():
            with monkeypatch.context() as inner:
                inner.setenv(name, value)
                with pytest.raises(ConfigurationError, match=name) as caught:
                    mlssocial.configure()
                assert "canary" not in str(caught.value)
        monkeypatch.setenv("MLSSOCIAL_TOKEN_KEYS", f"k1={TOKEN_KEY},k1={other}")
        with pytest.raises(ConfigurationError, match="twice"):
            mlssocial.configure()

    def test_settings_do_not_show_them(self) -> None:
        """No way to show, dump or copy settings shows a key, and they do not pickle."""
        found = mlssocial.configure(endpoint_url="local:")
        for shown in (repr(found), str(found), f"{found}", repr(asdict(found)), repr(copy.deepcopy(found.token_keys))):
            assert TOKEN_KEY not in shown
        assert TOKEN_KEY not in json.dumps(asdict(found), default=str)
        with pytest.raises(TypeError, match="does not pickle"):
            pickle.dumps(found)
        assert TOKEN_KEY not in repr(DataKey(base64.b64decode(TOKEN_KEY), ""))

    def test_new_keys(self) -> None:
        """A new key is 32 bytes, and another one each time."""
        first, second = new_token_key(), new_token_key()
        assert first != second
        assert len(base64.b64decode(first)) == 32

    def test_nothing_of_it_is_imported_unused(self) -> None:
        """Who seals no token does not pay for the cipher's import, and without the package is told what to install."""
        code = (
            "import sys; sys.modules['cryptography'] = None\n"
            "import mlssocial\n"
            "from mlssocial import *\n"
            "mlssocial.configure(endpoint_url='local:', token_keys={'k1': mlssocial.new_token_key()})\n"
            "mlssocial.create_table()\n"
            "Listing.objects.save('u1', 'l1', ListingData(status='active'))\n"
            "try:\n    SocialConnection.objects.save('u1', 'facebook', SocialConnectionData(access_token='t'))\n"
            "except ConfigurationError as error:\n    print(error)\n"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert "pip install 'mlssocial[crypto]'" in ran.stdout
