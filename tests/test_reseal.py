"""Tokens sealed anew: every one that is to be is, nothing else changes, and what cannot be opened is named."""

from __future__ import annotations

import json
import pickle
import uuid
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

import mlssocial
from mlssocial import (
    ConfigurationError,
    MLSConnection,
    MLSConnectionData,
    SocialConnection,
    SocialConnectionData,
    StoreError,
    TokenFailure,
    audit_table,
    new_token_key,
    reseal_tokens,
)
from mlssocial.codec import MAX_ITEM_BYTES, item_size
from mlssocial.connection import recorded, store
from mlssocial.crypto import Place, key_id_of, key_provider
from mlssocial.drift import Kind
from mlssocial.settings import current
from mlssocial.tokens import MASK, Secret, is_sealed

from .conftest import get_raw, put_raw
from .test_audit import before

KEYS = {name: new_token_key() for name in ("k1", "k2", "k3")}
FACEBOOK = ("USER#u1", "SOCIAL#FACEBOOK")
CANARY = "EAAB-canary-in-clear-text"


def use(key: str, *others: str) -> None:
    """Put a key in force, with others that open what they have sealed; of those that are named all are there."""
    keys = {name: KEYS[name] for name in (key, *others)}
    mlssocial.configure(current(), token_keys=keys, current_token_key=key, key_provider=None)


def connection(key: tuple[str, str] = FACEBOOK, **tokens: str) -> dict[str, Any]:
    """Make a connection as another application leaves it, with these texts in the place of its tokens."""
    return {
        "PK": {"S": key[0]},
        "SK": {"S": key[1]},
        "EntityType": {"S": "SocialConnection" if key[1].startswith("SOCIAL") else "MLSConnection"},
        "UpdatedAt": {"N": "1700000000000"},
        "Other": {"S": "kept"},
        "Data": {"M": {name: {"S": text} for name, text in tokens.items()} | {"expiresAt": {"N": "1800000000000"}}},
    }


def sealed(text: str, under: str, key: tuple[str, str] = FACEBOOK, name: str = "accessToken") -> str:
    """Seal a token for its place under a key."""
    held = current()
    use(under)
    try:
        return Place.of(key, name).seal(Secret(text))
    finally:
        mlssocial.configure(held)


def tokens(key: tuple[str, str] = FACEBOOK) -> dict[str, tuple[str | None, str]]:
    """Give an item's tokens: what each is sealed under, and what it reveals."""
    model = SocialConnection if key[1].startswith("SOCIAL") else MLSConnection
    data = model.objects.get(key[0].removeprefix("USER#"), key[1].partition("#")[2], consistent=True).data
    there = {"accessToken": data.access_token, "refreshToken": data.refresh_token}
    return {name: (key_id_of(token), token.reveal()) for name, token in there.items() if token}


def stored(key: tuple[str, str] = FACEBOOK, name: str = "accessToken") -> str:
    """Give what lies in a token's place."""
    item = get_raw(*key)
    assert item is not None
    text: str = item["Data"]["M"][name]["S"]
    return text


def rest(item: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give an item without what a reseal may change."""
    assert item is not None
    data = {name: value for name, value in item["Data"]["M"].items() if name not in {"accessToken", "refreshToken"}}
    return {name: value for name, value in item.items() if name != "WriteId"} | {"Data": data}


@pytest.mark.usefixtures("table")
class TestSealing:
    @pytest.mark.parametrize("rotate", [False, True])
    def test_clear_tokens_are_sealed(self, rotate: bool) -> None:
        """What lies in clear text is sealed, on both kinds of connections; nothing but tokens and WriteId changes."""
        use("k1")
        mls = ("USER#u1", "MLS_CONNECTION#c1")
        put_raw(first := connection(accessToken="a", refreshToken="r"))
        put_raw(second := connection(mls, accessToken="m", refreshToken=""))
        report = reseal_tokens(rotate=rotate)
        assert (report.wanted, report.resealed, report.failed, report.settled) == (3, 3, 0, 0)
        assert (report.clear_tokens, report.sealed_tokens, report.scanned) == (3, {}, 2)
        assert tokens() == {"accessToken": ("k1", "a"), "refreshToken": ("k1", "r")}
        assert tokens(mls) == {"accessToken": ("k1", "m")}
        assert stored(mls, "refreshToken") == ""
        for item in (first, second):
            now = get_raw(item["PK"]["S"], item["SK"]["S"])
            assert rest(now) == rest(item)
            assert now is not None
            assert now["WriteId"]

    def test_other_keys_tokens_are_sealed_by_a_rotation_alone(self) -> None:
        """Tokens under another key are sealed anew with *rotate* alone, and those under the current one keep their texts."""
        use("k2", "k1")
        put_raw(connection(accessToken=sealed("a", "k1"), refreshToken=sealed("r", "k2", name="refreshToken")))
        before_it = stored(), stored(name="refreshToken")
        assert reseal_tokens().wanted == 0
        assert (stored(), stored(name="refreshToken")) == before_it
        report = reseal_tokens(rotate=True)
        assert (report.wanted, report.resealed, report.sealed_tokens) == (1, 1, {"k1": 1, "k2": 1})
        assert tokens() == {"accessToken": ("k2", "a"), "refreshToken": ("k2", "r")}
        assert stored(name="refreshToken") == before_it[1]
        use("k2")  # the old key is taken away
        assert tokens() == {"accessToken": ("k2", "a"), "refreshToken": ("k2", "r")}

    def test_a_second_run_writes_nothing(self) -> None:
        """What is sealed under the current key is not written again."""
        use("k1")
        put_raw(connection(accessToken="a"))
        reseal_tokens(rotate=True)
        now = get_raw(*FACEBOOK)
        with recorded() as calls:
            report = reseal_tokens(rotate=True)
        assert {call.operation for call in calls} == {"Scan"}
        assert (report.wanted, get_raw(*FACEBOOK)) == (0, now)

    def test_a_dry_run_writes_nothing_and_finds_what_cannot_be_opened(self) -> None:
        """A dry run counts what is to be sealed, opens it, names what cannot be, and writes nothing."""
        use("k2", "k1")
        put_raw(item := connection(accessToken=sealed("a", "k1"), refreshToken=sealed("r", "k3", name="refreshToken")))
        with recorded() as calls:
            report = reseal_tokens(rotate=True, dry_run=True)
        assert {call.operation for call in calls} == {"Scan"}
        assert (report.wanted, report.resealed, report.failed) == (2, 0, 1)
        assert get_raw(*FACEBOOK) == item

    def test_what_is_not_ours_is_left_alone(self) -> None:
        """Other entities, other applications' items and expired ones are not written, whatever they hold."""
        use("k1")
        others = [
            connection()
            | {"SK": {"S": "PROFILE"}, "EntityType": {"S": "UserProfile"}, "Data": {"M": {"accessToken": {"S": "x"}}}},
            connection(("USER#u1", "LISTING#l1"))
            | {"EntityType": {"S": "Listing"}, "Data": {"M": {"accessToken": {"S": "x"}}}},
            connection(("USER#u1", "SOCIAL#X"), accessToken="x") | {"TTL": {"N": "1000000000"}},
            connection(("USER#u1", "SOCIAL#Y")) | {"Data": {"M": {"accessToken": {"N": "7"}, "refreshToken": {"NULL": True}}}},
            connection(("USER#u1", "SOCIAL#Z")) | {"Data": {"S": "x"}},
        ]
        for item in others:
            put_raw(item)
        with recorded() as calls:
            report = reseal_tokens(rotate=True)
        assert {call.operation for call in calls} == {"Scan"}
        assert (report.scanned, report.others, report.expired, report.wanted) == (5, 2, 1, 0)
        assert [get_raw(item["PK"]["S"], item["SK"]["S"]) for item in others] == others

    def test_every_mix_of_tokens(self) -> None:
        """Whatever mix of keys and clear text lies there, each token is under the current key, and reveals what it did."""
        text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(
            lambda it: it != MASK and not is_sealed(it)
        )
        under = st.sampled_from([None, "k1", "k2", "k3"])
        places = st.dictionaries(
            st.tuples(
                st.sampled_from(["SOCIAL#FACEBOOK", "SOCIAL#X", "MLS_CONNECTION#c"]),
                st.sampled_from(["accessToken", "refreshToken"]),
            ),
            st.tuples(text, under),
            min_size=1,
        )

        @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(places=places, to=st.sampled_from(["k1", "k2", "k3"]))
        def holds(places: dict[tuple[str, str], tuple[str, str | None]], to: str) -> None:
            user = f"USER#{uuid.uuid4().hex}"
            use(to, *KEYS.keys() - {to})
            for sk in {sk for sk, _ in places}:
                texts = {}
                for (of, name), (clear, key) in places.items():
                    if of == sk:
                        texts[name] = clear if key is None else sealed(clear, key, (user, sk), name)
                put_raw(connection((user, sk), **texts))
            report = reseal_tokens(rotate=True)
            assert (report.failed, report.resealed) == (0, report.wanted)
            use(to)
            found = {(sk, name): there for sk in {sk for sk, _ in places} for name, there in tokens((user, sk)).items()}
            assert found == {place: (to, clear) for place, (clear, _) in places.items()}

        holds()

    def test_needs_a_key(self) -> None:
        """Without a key nothing is read, and the error says what to configure."""
        mlssocial.configure(current(), token_keys={}, current_token_key=None)
        with recorded() as calls, pytest.raises(ConfigurationError, match="no key is configured to seal tokens with"):
            reseal_tokens()
        assert calls == []


@pytest.mark.usefixtures("table")
class TestFailures:
    def test_a_key_that_is_gone(self) -> None:
        """A token whose key is gone is counted and named, by item and key; the item's other token and the rest are sealed."""
        use("k2", "k1")
        lost = sealed("a", "k3")
        put_raw(connection(accessToken=lost, refreshToken="r"))
        other = ("USER#u2", "SOCIAL#X")
        put_raw(connection(other, accessToken=sealed("x", "k1", other)))
        seen: list[TokenFailure] = []
        report = reseal_tokens(rotate=True, on_failure=seen.append)
        assert (report.wanted, report.resealed, report.failed) == (3, 2, 1)
        assert seen == report.failures
        (failure,) = seen
        assert (failure.key, failure.entity, failure.attribute, failure.key_id) == (
            FACEBOOK,
            "SocialConnection",
            "accessToken",
            "k3",
        )
        assert str(failure).startswith(
            "SocialConnection USER#u1 / SOCIAL#FACEBOOK: accessToken: key k3 is not among those that are"
        )
        assert stored() == lost
        use("k2")
        assert tokens(other) == {"accessToken": ("k2", "x")}
        use("k2", "k3")
        assert tokens() == {"accessToken": ("k3", "a"), "refreshToken": ("k2", "r")}
        assert reseal_tokens(rotate=True).resealed == 1  # the key is back

    @pytest.mark.parametrize(
        ("text", "reason", "key_id"),
        [
            ("enc:v2:k1::AAAA", "a later release may have written it", None),
            ("enc:v1:nonsense", "a later release may have written it", None),
            (MASK, "it is the mask that stands for a token in dumps", None),
            ("moved", "it was altered, or sealed for another item", "k1"),
        ],
    )
    def test_what_does_not_open(self, text: str, reason: str, key_id: str | None) -> None:
        """A token of a later release, one that was altered or moved, and a mask are named with the reason, and left."""
        use("k2", "k1")
        text = sealed("t", "k1", ("USER#u9", "SOCIAL#X")) if text == "moved" else text
        put_raw(item := connection(accessToken=text))
        report = reseal_tokens(rotate=True)
        ((failure),) = report.failures
        assert (reason in failure.reason, failure.key_id) == (True, key_id)
        assert get_raw(*FACEBOOK) == item
        assert text == MASK or text not in str(failure)

    def test_an_item_under_no_key_of_its_entity(self) -> None:
        """A token in an item that no reader finds, since its key is not its entity's, is named and not passed over."""
        use("k1")
        put_raw(item := connection(("USER#u1", "SOCIAL#facebook"), accessToken="t"))
        (failure,) = reseal_tokens().failures
        assert "its key is no SocialConnection's" in failure.reason
        assert get_raw("USER#u1", "SOCIAL#facebook") == item

    def test_an_item_that_has_no_room(self, table: str) -> None:
        """An item that would pass 400 KB is named with DynamoDB's reason, and the rest is sealed."""
        if table == "moto":
            pytest.skip("moto takes an update that makes an item larger than 400 KB")
        use("k1")
        item = connection(accessToken="t")
        item["Data"]["M"]["metadata"] = {"S": ""}
        item["Data"]["M"]["metadata"]["S"] = "x" * (MAX_ITEM_BYTES - item_size(item) - 10)
        put_raw(item)
        other = ("USER#u2", "SOCIAL#X")
        put_raw(connection(other, accessToken="x"))
        report = reseal_tokens()
        (failure,) = report.failures
        assert "409,600" in failure.reason
        assert (report.resealed, tokens(other)) == (1, {"accessToken": ("k1", "x")})

    def test_some_are_named_and_all_are_counted(self) -> None:
        """As many failures are kept as were asked for; all of them are counted."""
        use("k1")
        for number in range(5):
            put_raw(connection((f"USER#u{number}", "SOCIAL#X"), accessToken=MASK))
        report = reseal_tokens(keep=2)
        assert (len(report.failures), report.failed) == (2, 5)

    def test_an_error_of_the_tables_ends_it(self) -> None:
        """What is wrong with the table, and not with one token, ends the work."""
        use("k1")
        held = current()
        mlssocial.configure(held, table_name="nowhere")
        with pytest.raises(StoreError, match="ResourceNotFound"):
            reseal_tokens()
        mlssocial.configure(held)


@pytest.mark.usefixtures("table")
class TestBesideOtherWriters:
    def test_a_token_that_changes_in_between_is_the_one_that_is_sealed(self) -> None:
        """A token that another writer stores between read and write, within the same millisecond even, is kept and sealed."""
        use("k1")
        put_raw(connection(accessToken="old", refreshToken="r"))
        before("UpdateItem", lambda: put_raw(connection(accessToken="new", refreshToken="r")))
        report = reseal_tokens()
        assert (report.resealed, report.settled, report.failed) == (2, 0, 0)
        assert tokens() == {"accessToken": ("k1", "new"), "refreshToken": ("k1", "r")}

    @pytest.mark.parametrize(
        "settle",
        [
            lambda: SocialConnection.objects.save("u1", "facebook", SocialConnectionData(access_token="new")),
            lambda: SocialConnection.objects.delete("u1", "facebook"),
            lambda: put_raw(connection() | {"EntityType": {"S": "UserProfile"}}),
        ],
        ids=["sealed", "deleted", "another's"],
    )
    def test_what_another_writer_settles_is_settled(self, settle: Callable[[], Any]) -> None:
        """Where another writer comes first and leaves nothing to seal, nothing is written."""
        use("k1")
        put_raw(connection(accessToken="old"))
        left = []

        def act() -> None:
            settle()
            left.append(get_raw(*FACEBOOK))

        before("UpdateItem", act)
        report = reseal_tokens()
        assert (report.wanted, report.resealed, report.settled, report.failed) == (1, 0, 1, 0)
        assert get_raw(*FACEBOOK) == left[0]

    def test_an_item_that_never_rests_is_named(self) -> None:
        """An item that other writers change without end is a failure, and the rest is sealed."""
        use("k1")
        other = ("USER#u2", "SOCIAL#X")
        put_raw(connection(accessToken="t0"))
        put_raw(connection(other, accessToken="x"))
        numbers = count()

        def interfere(params: dict[str, Any], **_: Any) -> None:
            if json.dumps(FACEBOOK[0]) in params["body"].decode():
                put_raw(
                    connection(accessToken=f"t{next(numbers)}") | {"UpdatedAt": {"N": str(1_800_000_000_000 + next(numbers))}}
                )

        store().client.meta.events.register_first("before-call.dynamodb.UpdateItem", interfere)
        report = reseal_tokens()
        assert (report.resealed, report.failed) == (1, 1)
        assert report.failures[0].reason == "other writers kept changing the item; run it again"
        assert tokens(other) == {"accessToken": ("k1", "x")}

    @pytest.mark.parametrize("applied", [True, False])
    def test_a_lost_answer(self, applied: bool) -> None:
        """A write whose answer was lost is looked up, sent again if it does not show, and never sealed twice."""

        def lose() -> None:
            raise ReadTimeoutError(endpoint_url="injected")

        use("k1")
        put_raw(connection(accessToken="t"))
        before("UpdateItem", lose, after=applied)
        assert reseal_tokens().resealed == 1
        assert tokens() == {"accessToken": ("k1", "t")}

    def test_a_lock_sees_it(self) -> None:
        """Who locks on the version that it read is told that the item has changed, and UpdatedAt does not say so."""
        use("k1")
        put_raw(connection(accessToken="t"))
        read = SocialConnection.objects.get("u1", "facebook", consistent=True)
        reseal_tokens()
        with pytest.raises(mlssocial.StaleItemError):
            SocialConnection.objects.update("u1", "facebook", if_unchanged_since=read, scope=["pages"])
        assert SocialConnection.objects.get("u1", "facebook", consistent=True).updated_at == read.updated_at


@pytest.mark.usefixtures("table")
class TestJob:
    @pytest.fixture(autouse=True)
    def filled(self, table: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG002  it has to be there
        """Fill the table, and read one item a page."""
        monkeypatch.setattr("mlssocial.scans.PAGE_ITEMS", 1)
        use("k2", "k1")
        for number in range(6):
            key = (f"USER#u{number}", "SOCIAL#X")
            put_raw(connection(key, accessToken=f"t{number}" if number % 2 else sealed(f"t{number}", "k1", key)))

    def test_goes_on_after_an_interruption(self, tmp_path: Path) -> None:
        """A rotation that is interrupted goes on where it was, and counts on."""
        path, pages = tmp_path / "rotation.json", count(1)

        def interrupt(_: Any) -> None:
            if next(pages) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            reseal_tokens(rotate=True, checkpoint=path, progress=interrupt)
        report = reseal_tokens(rotate=True, checkpoint=path, segments=1)
        assert (report.scanned, report.wanted, report.resealed) == (6, 6, 6)
        assert [tokens((f"USER#u{number}", "SOCIAL#X"))["accessToken"] for number in range(6)] == [
            ("k2", f"t{number}") for number in range(6)
        ]
        assert not path.exists()

    @pytest.mark.parametrize(
        ("key", "how", "reason"),
        [
            ("k1", {"rotate": True}, "with key k2 and not k1"),
            ("k2", {"rotate": False}, "another rotation of keys, with job rotation of keys and not encryption of tokens"),
            ("k2", {"rotate": True, "dry_run": True}, "with dry_run False and not True"),
        ],
    )
    def test_refuses_another_jobs_checkpoint(self, tmp_path: Path, key: str, how: dict[str, Any], reason: str) -> None:
        """A checkpoint of another key, of the other job, or of a dry run is refused."""
        path = tmp_path / "rotation.json"

        def interrupt(_: Any) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            reseal_tokens(rotate=True, checkpoint=path, progress=interrupt)
        use(key, *{"k1", "k2"} - {key})
        with pytest.raises(ConfigurationError, match=reason):
            reseal_tokens(checkpoint=path, **how)

    @pytest.mark.parametrize("segments", [1, 4])
    def test_in_segments(self, segments: int) -> None:
        """Each token is sealed once, whatever the number of segments."""
        report = reseal_tokens(rotate=True, segments=segments)
        assert (report.scanned, report.resealed, report.clear_tokens, report.sealed_tokens) == (6, 6, 3, {"k1": 3})


class TestReport:
    def test_reads_well(self) -> None:
        """A report says what was read, how tokens were found, and what came of them."""
        report = mlssocial.ResealReport(key_id="k2", rotate=True, scanned=1200, read_units=7.5, elapsed=1.25)
        report.clear_tokens, report.sealed_tokens = 3, {"k2": 5, "k1": 1000}
        report.wanted, report.resealed, report.settled, report.failed = 1003, 1000, 2, 1
        assert str(report).splitlines() == [
            "1,200 items in 1.2 s for 7.5 read units",
            "tokens: 3 in clear text, 1,000 under key k1, 5 under key k2",
            "1,003 to seal under key k2: 1,000 sealed, 2 changed by others first, 1 failed",
        ]
        report.dry_run, report.resealed, report.settled = True, 0, 0
        assert str(report).endswith("1,003 to seal under key k2: dry run, nothing was written, 1 failed")
        empty = mlssocial.ResealReport(key_id="k2")
        assert str(empty).splitlines() == ["0 items in 0.0 s for 0.0 read units", "0 to seal under key k2: nothing to do"]

    @pytest.mark.usefixtures("table")
    def test_shows_no_token(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Neither report, failures, checkpoint nor what a worker sends back holds a token, whatever came of it."""
        use("k1")
        put_raw(connection(accessToken=CANARY, refreshToken=MASK))
        put_raw(connection(("USER#u1", "SOCIAL#facebook"), accessToken=CANARY))
        path, seen = tmp_path / "tokens.json", []

        def look(report: Any) -> None:
            seen.extend([path.read_bytes(), pickle.dumps(report), repr(report).encode(), str(report).encode()])
            seen.append(json.dumps(report.as_dict()).encode())

        reseal_tokens(checkpoint=path, progress=look)
        assert len(seen) == 5
        assert not any(CANARY.encode() in shown for shown in seen)
        assert CANARY not in "".join(capsys.readouterr())


@pytest.mark.usefixtures("table")
class TestAudit:
    def test_counts_tokens_by_what_they_are_sealed_under(self) -> None:
        """An audit counts clear tokens, and sealed ones by key, whether or not a key is configured."""
        use("k2", "k1")
        put_raw(connection(accessToken="t", refreshToken=sealed("r", "k1", name="refreshToken")))
        other = ("USER#u2", "SOCIAL#X")
        put_raw(connection(other, accessToken=sealed("x", "k2", other), refreshToken="enc:v9:later"))
        mlssocial.configure(current(), token_keys={}, current_token_key=None)
        report = audit_table()
        assert (report.clear_tokens, report.sealed_tokens) == (1, {"k1": 1, "k2": 1, "?": 1})
        assert "tokens: 1 in clear text, 1 under key ?, 1 under key k1, 1 under key k2" in str(report)
        assert report.as_dict()["sealed_tokens"] == report.sealed_tokens

    def test_names_items_with_clear_tokens_which_is_no_drift(self) -> None:
        """A token in clear text is a finding with its name and not its text, left by a repair, and makes no audit fail."""
        use("k1")
        put_raw(connection(accessToken=CANARY))
        assert audit_table(repair=True).repaired == 1
        report = audit_table(repair=True)
        (finding,) = report.findings
        assert (finding.kinds, finding.notes) == ((Kind.CLEAR_TOKEN,), ("accessToken: it lies in clear text",))
        assert (report.drifted, report.left, report.counts) == (0, 0, {"SocialConnection": {"clear_token": 1}})
        assert CANARY not in repr(report) + str(finding)
        assert stored() == CANARY
        reseal_tokens()
        assert audit_table().findings == []


class TestKMS:
    KEY = ("USER#u1", "MLS_CONNECTION#c1")

    @pytest.fixture
    def start(self) -> Iterator[mlssocial.Settings]:
        """Have a connection under a static key, and two keys of KMS beside it."""
        with mock_aws():
            client = botocore.session.Session().create_client("kms", region_name="us-east-1")
            arns = {name: client.create_key()["KeyMetadata"]["Arn"] for name in ("m1", "m2")}
            start = mlssocial.configure(table_name="homes", region="us-east-1", token_keys=KEYS | arns, current_token_key="k1")
            mlssocial.create_table()
            MLSConnection.objects.create("u1", "c1", MLSConnectionData(access_token="t"))
            yield start

    @staticmethod
    def refuse(code: str) -> None:
        """Have KMS refuse to open anything, in this process, as it does with a key in a certain state."""
        refusal = {"Error": {"Code": code, "Message": "injected"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        provider: Any = key_provider()
        kms = provider._providers["m1"]
        client = kms._client(kms._arns["m1"])
        client.meta.events.register("before-call.kms.Decrypt", lambda **_: (AWSResponse("", 400, {}, None), refusal))

    def test_to_keys_of_kms_and_back(self, start: mlssocial.Settings) -> None:
        """Tokens move from a static key to one of KMS, from that to another one, and back."""
        for to in ("m1", "m2", "k1"):
            mlssocial.configure(start, current_token_key=to)
            assert reseal_tokens(rotate=True).resealed == 1
            assert tokens(self.KEY) == {"accessToken": (to, "t")}

    @pytest.mark.parametrize("code", ["NotFoundException", "DisabledException", "KMSInvalidStateException"])
    def test_a_key_that_is_gone(self, start: mlssocial.Settings, code: str) -> None:
        """A token under a KMS key that is disabled or deleted is named, and sealed when the key is back."""
        mlssocial.configure(start, current_token_key="m1")
        reseal_tokens(rotate=True)
        mlssocial.configure(start)
        self.refuse(code)
        (failure,) = reseal_tokens(rotate=True).failures
        assert (failure.key_id, code in failure.reason) == ("m1", True)
        mlssocial.configure(start)
        assert reseal_tokens(rotate=True).resealed == 1
        assert tokens(self.KEY) == {"accessToken": ("k1", "t")}

    def test_a_refusal_that_is_no_keys(self, start: mlssocial.Settings, tmp_path: Path) -> None:
        """What KMS refuses for another reason ends the work, and the checkpoint stays."""
        mlssocial.configure(start, current_token_key="m1")
        reseal_tokens(rotate=True)
        mlssocial.configure(start)
        self.refuse("AccessDeniedException")
        with pytest.raises(StoreError, match="AccessDenied"):
            reseal_tokens(rotate=True, checkpoint=tmp_path / "rotation.json")
        assert (tmp_path / "rotation.json").exists()
