"""
A canary goes through every operation and every failure as a token, and nothing that is shown on the way may have it.

Not in clear text, in base64 or in a URL: in no log at DEBUG, no repr, dump or pickle, no traceback with locals, no output and
no file. The key that seals it is looked for as well. Where the tests use it themselves it stands in no variable of a frame.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import logging
import multiprocessing
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from django.views.debug import ExceptionReporter
from moto import mock_aws
from rich.console import Console
from rich.traceback import Traceback

import mlssocial
from mlssocial import (
    ALL_USERS,
    BatchIncompleteError,
    DecryptionError,
    Item,
    Listing,
    ListingData,
    MLSConnection,
    MLSConnectionData,
    SocialConnection,
    SocialConnectionData,
    StaleItemError,
    Token,
    for_user,
    local,
    reso,
    streams,
)
from mlssocial.cli.app import COMMANDS, cli
from mlssocial.codec import WireMap
from mlssocial.connection import store
from mlssocial.crypto import Place
from mlssocial.kms import KMSKeys
from mlssocial.masked import MaskedMap, MaskedText
from mlssocial.wire import encode_request

from . import test_kms, test_transport
from .conftest import put_raw
from .leaks import CANARY, KEY, REFRESH, Watch, forms, leak_in
from .resoserver import Api, serving
from .test_transport import Fault, Server, clear_the_way, connect, error_body

LATE = datetime(2040, 1, 1, tzinfo=UTC)
ACCOUNTS = SocialConnection.objects
KEYED: dict[str, Any] = {"token_keys": {"k1": KEY}}
MODES: dict[str, dict[str, Any]] = {"sealed": KEYED, "foreign": KEYED, "allowed": {"allow_plaintext_tokens": True}}
"""Tokens are sealed; tokens of the other application lie in clear text beside sealed ones; all are in clear text."""


# --- What is stored, and who looks -----------------------------------------------------------------------------------


def connection(user: str, sort: str, kind: str = "SocialConnection", *, sealed: bool = False, **data: Any) -> WireMap:
    """Make an item as the other application stores it, or with its tokens sealed."""
    tokens = {"accessToken": CANARY, "refreshToken": REFRESH}
    if sealed:
        tokens = {name: Place("mlssocial", f"USER#{user}", sort, name).seal(Token(token)) for name, token in tokens.items()}
    return {
        "PK": {"S": f"USER#{user}"},
        "SK": {"S": sort},
        "EntityType": {"S": kind},
        "CreatedAt": {"N": "1795364542891"},
        "UpdatedAt": {"N": "1795364542891"},
        "GSI2PK": {"S": "TOKEN_EXPIRY#0"},
        "Data": {"M": {**{name: {"S": token} for name, token in tokens.items()}, "expiresAt": {"N": "1705363200000"}, **data}},
    }


def items(*, sealed: bool) -> list[WireMap]:
    """Make what every operation finds: connections that can be read, and in u2 and u3 connections that cannot."""
    found = [
        connection("u1", "SOCIAL#FACEBOOK", sealed=sealed),
        connection("u1", "SOCIAL#LINKEDIN", sealed=sealed),
        connection("u1", "MLS_CONNECTION#c1", "MLSConnection", sealed=sealed, lastSyncedAt={"N": "1705363200000"}),
        connection("u2", "SOCIAL#TWITTER", sealed=sealed, expiresAt={"S": "soon"}),
        connection("u2", "SOCIAL#INSTAGRAM", sealed=sealed, expiresAt={"N": "9" * 20}),
        connection("u2", "SOCIAL#X", sealed=sealed, metadata={"S": "no map"}),
        connection("u3", "SOCIAL#TWITTER", "Listing", sealed=sealed),
        connection("u5", "MLS_CONNECTION#c1", "MLSConnection", sealed=sealed, createdAt={"N": "9" * 20}),
    ]
    if not sealed:  # such tokens nobody can seal
        found.append(connection("u2", "SOCIAL#HUBSPOT", accessToken={"M": {"token": {"S": CANARY}}}))
        found.append(connection("u2", "SOCIAL#CALENDLY", accessToken={"L": [{"B": CANARY.encode()}]}))
    return found


def put(found: list[WireMap], server: Server | None) -> None:
    """Store items, behind a server's faults."""
    for item in found:
        if server is None:
            put_raw(item)
            continue
        with local._lock:
            status, answer = server.engine.answer("PutItem", encode_request({"TableName": "homes", "Item": item}))
        assert status == 200, answer


@pytest.fixture(autouse=True)
def _nothing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test says which key there is, and leaves no item behind."""
    monkeypatch.delenv("MLSSOCIAL_TOKEN_KEYS")
    local.forget()
    yield
    local.forget()


@pytest.fixture
def watch(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Look at every logger at DEBUG, every warning and operation, both streams; what was seen in the end must be nothing."""
    made, root = Watch(), logging.getLogger()
    remove = mlssocial.on_operation(lambda told: made.see_value(f"operation {told.name}", told), capacity=True)
    level = root.level
    root.addHandler(made)
    root.setLevel(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", lambda message, *_, **__: made.see_value("warning", message))
        yield made
    remove()
    root.removeHandler(made)
    root.setLevel(level)
    for name, text in zip(("stdout", "stderr"), capfd.readouterr(), strict=True):
        made.see(name, text)
    assert made.looked_at
    assert not made.leaks, "\n".join(f"{what}\n    {found!r}" for what, found in made.leaks.items())


def look(watch: Watch, what: str, operation: Callable[[], Any]) -> Exception | None:
    """Run an operation, look at what comes of it, and give the error that it was."""
    try:
        result = operation()
    except Exception as error:  # noqa: BLE001  whatever it is, it may be shown
        watch.see_error(what, error)
        return error
    watch.see_value(what, result)
    return None


# --- Operations: each one on its own, with no token in a variable ----------------------------------------------------


def account(**more: Any) -> SocialConnectionData:
    return SocialConnectionData(access_token=CANARY, refresh_token=REFRESH, expires_at=LATE, **more)


def read() -> SocialConnection:
    return ACCOUNTS.get("u1", "facebook", consistent=True)


def changed() -> SocialConnection:
    """Give an item that somebody has changed since."""
    one = read()
    ACCOUNTS.update("u1", "facebook", scope=["changed"])
    return one


def transaction(platform: str) -> None:
    with mlssocial.transaction() as t:
        t.create(SocialConnection, "u1", platform, account())
        t.update(SocialConnection, "u1", "linkedin", access_token=CANARY)


def twice() -> None:
    with mlssocial.transaction() as t:
        t.create(SocialConnection, "u1", "x", account())
        t.save(SocialConnection, "u1", "x", account())


def checked(check: Callable[[mlssocial.Transaction], None]) -> None:
    with mlssocial.transaction() as t:
        check(t)


def claimed() -> SocialConnection:
    lease = ACCOUNTS.claim(ACCOUNTS.save("u1", "facebook", account()), seconds=60)
    assert lease is not None
    return lease


OPERATIONS: dict[str, Callable[[], Any]] = {
    "get": read,
    "find": lambda: ACCOUNTS.find("u1", "facebook"),
    "get, of MLS": lambda: MLSConnection.objects.get("u1", "c1"),
    "get what cannot be read": lambda: ACCOUNTS.get("u2", "twitter", consistent=True),
    "get what has no token": lambda: ACCOUNTS.get("u2", "hubspot", consistent=True),
    "get another entity": lambda: ACCOUNTS.get("u3", "twitter"),
    "get_many": lambda: ACCOUNTS.get_many([("u1", "facebook"), ("u2", "twitter"), ("u2", "calendly")]),
    "query": lambda: list(ACCOUNTS.query("u1")),
    "query what cannot be read": lambda: list(ACCOUNTS.query("u2")),
    "page": lambda: ACCOUNTS.query("u1").page(limit=1),
    "page of what cannot be read": lambda: ACCOUNTS.query("u2").page(),
    "page of what fits and cannot be": lambda: MLSConnection.objects.query("u5").page(),
    "cursor": lambda: base64.urlsafe_b64decode(f"{ACCOUNTS.query('u1').page(limit=1).cursor}=="),
    "explain": lambda: ACCOUNTS.expiring(LATE, user_id="u1").explain(),
    "count": lambda: ACCOUNTS.query("u1").count(),
    "expiring": lambda: list(ACCOUNTS.expiring(LATE, user_id=ALL_USERS)),
    "everything": lambda: list(Item.objects.query("u1")),
    "create": lambda: ACCOUNTS.create("u4", "facebook", account()),
    "create again": lambda: ACCOUNTS.create("u1", "facebook", account()),
    "save": lambda: ACCOUNTS.save("u1", "facebook", account()),
    "update": lambda: ACCOUNTS.update("u1", "facebook", access_token=CANARY, refresh_token=Token(REFRESH)),
    "update another field": lambda: ACCOUNTS.update("u1", "facebook", scope=["pages"]),
    "update inside a map": lambda: ACCOUNTS.update("u1", "facebook", metadata__page="p"),
    "update inside what is no map": lambda: ACCOUNTS.update("u2", "x", metadata__page="p"),
    "update what cannot be read": lambda: ACCOUNTS.update("u2", "twitter", access_token=CANARY),
    "update what is missing": lambda: ACCOUNTS.update("u9", "facebook", access_token=CANARY),
    "update since": lambda: ACCOUNTS.update("u1", "facebook", access_token=CANARY, if_unchanged_since=changed()),
    "update to a map": lambda: ACCOUNTS.update("u1", "facebook", access_token={"token": CANARY}),
    "update with another field wrong": lambda: ACCOUNTS.update("u1", "facebook", access_token=CANARY, scope=3),
    "update with a field unknown": lambda: ACCOUNTS.update("u1", "facebook", access_token=CANARY, nonsense=3),
    "update by its name in the table": lambda: ACCOUNTS.update("u1", "facebook", accessToken=CANARY),
    "update with a wrong id": lambda: ACCOUNTS.update("u#1", "facebook", access_token=CANARY),
    "delete": lambda: ACCOUNTS.delete("u1", "facebook"),
    "save_many": lambda: ACCOUNTS.save_many([SocialConnection(user_id="u1", platform="x", data=account())]),
    "create_many": lambda: ACCOUNTS.create_many(
        [SocialConnection(user_id="u1", platform=platform, data=account()) for platform in ("y", "facebook")]
    ),
    "save_many of an iterator": lambda: ACCOUNTS.save_many(
        SocialConnection(user_id="u1", platform=platform, data=account(platform="z")) for platform in ("z", "y")
    ),
    "delete_many": lambda: ACCOUNTS.delete_many([("u1", "x")]),
    "refresh_tokens": lambda: ACCOUNTS.refresh_tokens(read(), access_token=CANARY, refresh_token=REFRESH, expires_at=None),
    "refresh_tokens that lost": lambda: ACCOUNTS.refresh_tokens(changed(), access_token=CANARY, expires_at=None),
    "refresh_tokens of nothing": lambda: ACCOUNTS.refresh_tokens(
        SocialConnection(user_id="u1", platform="x", data=account()), access_token=CANARY, expires_at=None
    ),
    "complete": lambda: ACCOUNTS.complete(claimed(), access_token=CANARY),
    "complete without a lease": lambda: ACCOUNTS.complete(read(), access_token=CANARY),
    "claim, extend, release": lambda: (lease := ACCOUNTS.extend(claimed(), seconds=9), ACCOUNTS.release(lease)),
    "item.save": lambda: read().save(),
    "item.save since": lambda: changed().save(),
    "item.refresh": lambda: read().refresh(),
    "item.delete": lambda: read().delete(),
    "transaction": lambda: transaction("tiktok"),
    "transaction that is refused": lambda: transaction("facebook"),
    "transaction of one item twice": twice,
    "check": lambda: checked(lambda t: t.check(SocialConnection, "u1", "facebook", scope=["never"])),
    "check of a token": lambda: checked(lambda t: t.check(SocialConnection, "u1", "facebook", access_token=CANARY)),
    "PynamoDB's get": lambda: SocialConnection.get("USER#u1", "SOCIAL#FACEBOOK"),
    "PynamoDB's query": lambda: list(SocialConnection.query("USER#u1")),
    "PynamoDB's scan": lambda: list(Item.scan()),
    "PynamoDB's batch_get": lambda: list(SocialConnection.batch_get([("USER#u1", "SOCIAL#FACEBOOK")])),
    "PynamoDB's update": lambda: read().update(actions=[SocialConnection.write_id.set("x")]),
    "for_user": lambda: for_user("u1").social_connections.update("facebook", access_token=CANARY),
    "for_user, refused": lambda: for_user("u1").social_connections.update("none", access_token=CANARY),
    "for_user, of another": lambda: for_user("u2").social_connections.refresh_tokens(
        read(), access_token=CANARY, expires_at=None
    ),
    "a stream's record": lambda: streams.read(record(connection("u1", "SOCIAL#FACEBOOK"))),
    "a stream's record that cannot be read": lambda: streams.read(record(connection("u1", "SOCIAL#X", expiresAt={"S": "x"}))),
    "a stream's record of nonsense": lambda: streams.read(record({**connection("u1", "SOCIAL#X"), "Data": {"Z": CANARY}})),
    "a stream's event": lambda: streams.handler({"Records": [record(connection("u1", "SOCIAL#FACEBOOK"))]}),
    "audit": lambda: mlssocial.audit_table(repair=True),
    "encrypt-tokens": mlssocial.reseal_tokens,
    "status": mlssocial.table_status,
    "purge": lambda: mlssocial.plan_purge(mlssocial.PurgeScope(user_id="u1")),
    "the wrong payload": lambda: MLSConnection.objects.create("u1", "c9", account()),  # type: ignore[arg-type]
    "a payload of another key": lambda: ACCOUNTS.create("u1", "facebook", account(platform="twitter")),
    "a token that is no text": lambda: ACCOUNTS.create("u1", "x", SocialConnectionData(access_token=CANARY + "\ud800")),
}
"""By what they do; those that fail, fail on every engine."""


def record(image: WireMap) -> MaskedMap:
    """Make a stream's record, as somebody's handler has it: its frame is theirs."""
    stream = {"Keys": {name: image[name] for name in ("PK", "SK")}, "NewImage": image, "SequenceNumber": "1"}
    return MaskedMap(eventName="MODIFY", dynamodb=stream)


PAYLOADS: dict[str, Callable[[], Any]] = {
    "another field wrong": lambda: SocialConnectionData(access_token=CANARY, expires_at="soon"),
    "a map": lambda: SocialConnectionData(access_token={"token": CANARY}),
    "bytes": lambda: SocialConnectionData(access_token=CANARY.encode(), refresh_token=[REFRESH]),
    "by its name in the table": lambda: MLSConnectionData.model_validate({"accessToken": CANARY, "createdAt": "then"}),
    "JSON": lambda: SocialConnectionData.model_validate_json(json.dumps({"accessToken": CANARY, "expiresAt": "soon"})),
    "JSON of a map": lambda: SocialConnectionData.model_validate_json(json.dumps({"accessToken": {"token": CANARY}})),
    "JSON cut off": lambda: SocialConnectionData.model_validate_json(json.dumps({"accessToken": CANARY})[:-1]),
    "assigned": lambda: setattr(account(), "access_token", {"token": CANARY}),
    "assigned beside": lambda: setattr(account(), "scope", 3),
    "no text": lambda: Token({"token": CANARY}),  # type: ignore[arg-type]
    "hashed": lambda: hash(Token(CANARY)),
    "formatted": lambda: format(Token(CANARY), "x>100"),
    "equal": lambda: Token(CANARY) == Token(CANARY),
    "in an f-string": lambda: f"{Token(CANARY)} {Token(CANARY)!r} {account()} {account()!r}",
    "as JSON": lambda: account().model_dump_json(),
    "its schema": lambda: SocialConnectionData.model_json_schema(),
}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Give how tokens lie in the table."""
    return str(request.param)


class TestOperations:
    @pytest.mark.parametrize("way", ["moto", "embedded", "direct", "botocore"])
    def test_every_operation(self, way: str, mode: str, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        """No operation shows a token, whether it does or is refused, on any engine and over any way, however tokens lie."""
        how = MODES[mode]
        if way == "moto":
            with mock_aws():
                mlssocial.configure(table_name="homes", region="us-east-1", transport="botocore", **how)
                mlssocial.create_table()
                self.run(way, mode, watch)
            assert {"botocore", "pynamodb"} <= watch.loggers
        elif way == "embedded":
            mlssocial.configure(table_name=f"homes-{mode}", endpoint_url="local:", **how)
            mlssocial.create_table()
            self.run(way, mode, watch)
        else:
            clear_the_way(monkeypatch)
            with Server() as server:
                connect(server, transport=way, **how)
                self.run(way, mode, watch, server)
            assert {"botocore", "pynamodb", "urllib3"} <= watch.loggers

    def run(self, way: str, mode: str, watch: Watch, server: Server | None = None) -> None:
        """Run them all, each on the same items."""
        for name, operation in OPERATIONS.items():
            put(items(sealed=mode == "sealed"), server)
            look(watch, f"{way}, {mode}: {name}", operation)

    def test_golden_items(self, golden: list[WireMap], watch: Watch) -> None:
        """Items exactly as the other application stores them show no token, read, saved or dumped."""
        mlssocial.configure(endpoint_url="local:", **KEYED)
        mlssocial.create_table()
        theirs = [one for one in golden if "accessToken" in one["Data"]["M"]]
        assert theirs
        tokens = MaskedMap(accessToken={"S": CANARY}, refreshToken={"S": REFRESH})
        for one in theirs:
            put_raw({**one, "Data": {"M": {**one["Data"]["M"], **tokens}}})
            stored: Any = Item.get(one["PK"]["S"], one["SK"]["S"])
            for operation in (stored.save, stored.refresh, stored.delete):
                watch.see_value("golden item", stored)
                watch.see_value("golden payload", stored.data)
                look(watch, f"golden item: {operation}", operation)


class TestPayloads:
    def test_every_payload(self, watch: Watch) -> None:
        """No payload shows the token that it is given, whether it takes it or refuses it or something beside it."""
        for name, operation in PAYLOADS.items():
            look(watch, name, operation)


# --- Failures of the wire --------------------------------------------------------------------------------------------


def echoes(exchange: test_transport.Exchange) -> None:
    """Refuse a request with all that it said, as no service should."""
    asked = json.loads(exchange.request.body)
    exchange.send(400, error_body("ValidationException", Item=asked.get("Item"), echo=exchange.request.body.decode()))


def shows(item: Any) -> Fault:
    """Refuse a condition with an item that was not asked for, or is none."""
    reasons = [{"Code": "ConditionalCheckFailed", "Item": item}]
    return lambda exchange: exchange.send(
        400,
        error_body("TransactionCanceledException", CancellationReasons=reasons)
        if exchange.request.operation == "TransactWriteItems"
        else error_body("ConditionalCheckFailedException", Item=item),
    )


def answers_nonsense(exchange: test_transport.Exchange) -> None:
    """Answer with rows that are none."""
    row = {"PK": {"S": "USER#u1"}, "SK": {"S": "SOCIAL#FACEBOOK"}, "Data": {"Z": CANARY}}
    answer = {
        "Item": row,
        "Items": [row],
        "Attributes": row,
        "Responses": {"homes": [row]},
        "UnprocessedItems": {"homes": [row]},
    }
    exchange.send(200, json.dumps(answer).encode())


def leaves_what_has_no_key(exchange: test_transport.Exchange) -> None:
    """Leave unprocessed what nobody can tell from the others."""
    rest = [{"PutRequest": {"Item": {"Data": {"M": {"accessToken": {"S": CANARY}}}}}}]
    exchange.send(200, json.dumps({"UnprocessedItems": {"homes": rest}}).encode())


def answers_no_json(exchange: test_transport.Exchange) -> None:
    """Refuse with what is no JSON, and has a token in it."""
    exchange.send(400, exchange.request.body + CANARY.encode())


FAULTS: dict[str, Fault] = {
    "throttled": test_transport.THROTTLED,
    "lost": test_transport.closes_after,
    "cut": test_transport.cuts_the_body,
    "cut JSON": test_transport.sends_half_the_json,
    "wrong checksum": test_transport.sends_wrong_checksum,
    "failed": test_transport.fails_after,
    "silent": test_transport.is_silent,
    "echo": echoes,
    "another item": shows(connection("u8", "SOCIAL#X")),
    "no item": shows({"Data": {"Z": CANARY}}),
    "nonsense": answers_nonsense,
    "a rest without keys": leaves_what_has_no_key,
    "no JSON": answers_no_json,
}
EVENTS = (
    "provide-client-params",
    "before-parameter-build",
    "before-call",
    "request-created",
    "choose-signer",
    "before-sign",
    "before-send",
    "before-parse",
    "response-received",
    "needs-retry",
    "after-call",
)


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_every_fault(self, fault: str, watch: Watch, soak: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever becomes of an answer, no error shows what was in it or in the request."""
        clear_the_way(monkeypatch)
        for number, (way, mode) in enumerate(product(("direct", "botocore"), ("foreign", "allowed"))):
            with Server() as server:
                connect(server, transport=way, **MODES[mode] | {"deadline": 0.08, "read_timeout": 0.06})
                for place, (name, operation) in enumerate(OPERATIONS.items()):
                    if not soak and (place + number + list(FAULTS).index(fault)) % 4:
                        continue  # each operation meets each fault over one of the four ways
                    server.faults.clear()
                    put(items(sealed=False), server)
                    server.next(*[FAULTS[fault]] * 40)
                    error = look(watch, f"{way}, {mode}, {fault}: {name}", operation)
                    assert error is None or isinstance(error, mlssocial.MLSSocialError)

    @pytest.mark.parametrize("event", EVENTS)
    def test_a_hook_that_fails(self, event: str, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where somebody's hook on botocore's client fails, the frames that it is called from show nothing."""
        clear_the_way(monkeypatch)

        def fail(**_: Any) -> None:
            raise RuntimeError("a hook of somebody's")

        sent = ["get", "query", "get_many", "create again", "save", "update", "save_many", "transaction that is refused"]
        for way, mode in (("direct", "allowed"), ("botocore", "foreign"), ("botocore", "allowed")):
            with Server() as server:
                connect(server, transport=way, **MODES[mode])
                put(items(sealed=False), server)
                store().client.meta.events.register(f"{event}.dynamodb", fail)
                for name in sent:
                    look(watch, f"{way}, {mode}, {event}: {name}", OPERATIONS[name])

    def test_an_alarm(self, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where something else ends the wait for an answer, as a worker's time limit does, the frames show nothing."""
        clear_the_way(monkeypatch)

        def ring(*_: object) -> None:
            raise RuntimeError("a time limit")

        before = signal.signal(signal.SIGALRM, ring)
        for way, mode in product(("direct", "botocore"), ("foreign", "allowed")):
            with Server() as server:
                connect(server, transport=way, **MODES[mode] | {"deadline": 0.5, "read_timeout": 0.4})
                put(items(sealed=False), server)
                for name in ("get", "query", "save", "update", "create_many", "transaction"):
                    server.faults.clear()
                    server.next(*[test_transport.is_silent] * 5)
                    signal.setitimer(signal.ITIMER_REAL, 0.05)
                    look(watch, f"{way}, {mode}: {name}", OPERATIONS[name])
        signal.signal(signal.SIGALRM, before)

    def test_pages_that_people_see(self, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        """rich's traceback as it is printed and Django's debug page as it is sent show no token."""
        clear_the_way(monkeypatch)
        seen = 0
        with Server() as server:
            connect(server, transport="botocore", **MODES["allowed"] | {"deadline": 0.12})
            for name in ("create again", "update since", "transaction that is refused", "get what cannot be read"):
                put(items(sealed=False), server)
                if name == "update since":
                    server.next(*[test_transport.closes_after] * 20, operation="UpdateItem")
                try:
                    OPERATIONS[name]()
                except mlssocial.MLSSocialError as error:
                    made = Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True)
                    Console(file=(out := io.StringIO()), width=150).print(made)
                    watch.see(f"rich: {name}", out.getvalue())
                    page = ExceptionReporter(None, type(error), error, error.__traceback__)
                    watch.see(f"Django: {name}", page.get_traceback_html())
                    watch.see(f"Django's text: {name}", page.get_traceback_text())
                    seen += "Token" in out.getvalue() + page.get_traceback_html()
        assert seen


# --- Keys ------------------------------------------------------------------------------------------------------------


class TestKeys:
    def test_what_does_not_open(self, watch: Watch) -> None:
        """A token whose key is gone, that was altered, or that was moved is told without it, and without the key."""
        mlssocial.configure(endpoint_url="local:", **KEYED)
        mlssocial.create_table()
        put(items(sealed=True), None)
        watch.see_value("settings", mlssocial.settings.current())
        another = {"token_keys": {"k1": mlssocial.new_token_key()}}
        for number, settings in enumerate(({"token_keys": {"k2": KEY}}, KEYED | {"token_context": "another"}, another, {})):
            mlssocial.configure(endpoint_url="local:", **settings)
            del settings
            with pytest.raises(DecryptionError):
                revealed()
            for operation in (revealed, mlssocial.reseal_tokens, lambda: ACCOUNTS.save("u9", "x", read().data)):
                look(watch, f"{number}: {operation}", operation)

    @pytest.mark.parametrize("code", ["DisabledException", "InvalidCiphertextException"])
    def test_a_kms_that_refuses(self, code: str, watch: Watch) -> None:
        """Where KMS does not give the key, neither the write nor the read shows the token."""
        with test_kms.Server(test_kms.gives(base64.b64decode(KEY))) as server:
            for answers in (server.answers, test_kms.refuses(code)):
                keys = KMSKeys({"k1": test_kms.ARN}, endpoint_url=server.url)
                mlssocial.configure(endpoint_url="local:", key_provider=keys, current_token_key="k1")
                mlssocial.create_table()
                server.answers = answers
                for name in ("create", "get", "save", "update", "save_many", "transaction", "refresh_tokens"):
                    look(watch, f"KMS: {name}", OPERATIONS[name])
                look(watch, "KMS: reveal", revealed)
        assert "urllib3" in watch.loggers

    def test_without_the_package(self, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the package is missing that seals, the key shows nowhere, and neither does the token."""
        mlssocial.configure(endpoint_url="local:", **KEYED)
        mlssocial.create_table()
        put(items(sealed=True), None)
        monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
        for operation in (revealed, OPERATIONS["create"], mlssocial.reseal_tokens):
            look(watch, f"{operation}", operation)

    def test_wrong_settings(self, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        """Keys show in no traceback where they, or settings beside them, are wrong, given or in the environment."""
        wrong: list[Callable[[], Any]] = [
            lambda: mlssocial.configure(token_keys={"k1": KEY[:-4]}),
            lambda: mlssocial.configure(token_keys={"k 1": KEY}),
            lambda: mlssocial.configure(token_keys={"k1": KEY.encode()}),
            lambda: mlssocial.configure(token_keys={"k1": KEY, "k2": KEY}),
            lambda: mlssocial.configure(token_keys=[KEY]),
            lambda: mlssocial.configure(token_keys={"k1": KEY}, deadline=-1),
            lambda: mlssocial.configure(token_keys={"k1": KEY}, nonsense=1),
        ]
        for number, operation in enumerate(wrong):
            look(watch, f"wrong settings, {number}", operation)
        watch.see_value("settings", mlssocial.Settings(token_keys={"k1": KEY}))
        for name, value in (
            ("MLSSOCIAL_TOKEN_KEYS", f"k1={KEY},k1={KEY}"),
            ("MLSSOCIAL_TOKEN_KEYS", f"={KEY}"),
            ("MLSSOCIAL_TOKEN_KEYS", f"k1={KEY},k2={KEY[:-2]}"),
            ("MLSSOCIAL_DEADLINE", "long"),
            ("MLSSOCIAL_NONSENSE", "1"),
        ):
            monkeypatch.setenv("MLSSOCIAL_TOKEN_KEYS", f"k1={KEY}")
            monkeypatch.setenv(name, value)
            del value
            with pytest.raises(mlssocial.ConfigurationError):
                mlssocial.configure()
            look(watch, name, mlssocial.configure)
            monkeypatch.delenv(name)


def revealed() -> int:
    """Reveal a token, and give what shows nothing of it."""
    token = ACCOUNTS.get("u1", "facebook", consistent=True).data.access_token
    assert token is not None
    return len(token.reveal())


SERVER_FAULTS: dict[str, Any] = {
    "cut": lambda handler, _: handler.cut(),
    "cut, of a form": lambda handler, asked: handler.send(401, {}) if "authorization" in asked.headers else handler.cut(),
    "unknown client": lambda handler, asked: handler.send(
        401, {"error": "x", "error_description": f"no {handler.api.secret if asked.body else asked.headers}"}
    ),
    "repeats": lambda handler, asked: handler.send(500, {"error": {"message": f"{asked.headers} {asked.body}"}}),
    "redirects": lambda handler, _: handler.send(302, {}, Location=f"/?t={REFRESH[:10]}"),
    "leads nowhere": lambda handler, _: handler.send(302, {}, Location="https://["),
}


class TestServers:
    @pytest.mark.parametrize("fault", ["none", "unauthorised", *SERVER_FAULTS])
    def test_a_server_of_an_mls(self, fault: str, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        """The token for an MLS's server and its client's secret show in nothing that fails on the way there."""
        monkeypatch.setattr("mlssocial.reso.web._FIRST_PAUSE", 0.001)
        mlssocial.configure(endpoint_url="local:", **KEYED)
        mlssocial.create_table()
        with serving(Quiet([{"ListingKey": "K1", "ModificationTimestamp": "2024-01-15T10:00:00Z"}], secret=CANARY)) as api:
            for operation in (fed, fed_by_client, fed_to_a_hook_that_fails):
                api.tokens = {"x"} if operation is not fed or fault == "unauthorised" else {REFRESH}
                api.faults, api.given = [SERVER_FAULTS[fault]] * 99 if fault in SERVER_FAULTS else [], [REFRESH] * 3
                look(watch, f"{fault}: {operation}", lambda: operation(api))  # noqa: B023  called at once
            look(watch, "a token that is no ASCII", lambda: fed(api, token=Token(CANARY)))
            look(watch, "a token of two lines", lambda: fed(api, token=Token(f"{REFRESH}\n")))
        look(watch, "server that is gone", lambda: fed(api))
        assert "httpcore2" in watch.loggers


class Quiet(Api):
    """A server that does not show what it knows, and stands in the tests' own frames."""

    def __repr__(self) -> str:
        return "<Quiet>"


def fed(api: Api, **more: Any) -> Any:
    """Import what the server has."""
    options: dict[str, Any] = {"token": Token(REFRESH), "timeout": 2.0, "patience": 1.0}
    server = reso.Server(url=api.url, **options | more)
    return reso.import_feed(server, user_id="u1", provider="flexmls")


def fed_by_client(api: Api, **more: Any) -> Any:
    """Import it with a token that a client gets itself."""
    client = reso.ClientCredentials(token_url=f"{api.url}/token", client_id="c", client_secret=Token(CANARY))
    return fed(api, credentials=client, **more)


def fed_to_a_hook_that_fails(api: Api) -> Any:
    """Import it where the new token cannot be kept."""

    def fail(*_: Any) -> None:
        raise RuntimeError("a hook of somebody's")

    return fed_by_client(api, on_token=fail)


# --- What crosses processes, and what is left in files ---------------------------------------------------------------


def raise_stale() -> None:
    """Raise, in another process, errors that hold items with tokens."""
    mlssocial.configure(endpoint_url="local:", **KEYED)
    mlssocial.create_table()
    put(items(sealed=False), None)
    OPERATIONS["update since"]()


class TestTravels:
    def test_from_another_process(self) -> None:
        """An error that holds an item with tokens crosses from a worker without it."""
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool, pytest.raises(StaleItemError) as caught:
            pool.submit(raise_stale).result()
        assert caught.value.key == ("USER#u1", "SOCIAL#FACEBOOK")
        assert caught.value.item is None
        assert leak_in(str(caught.value.__cause__)) is None

    def test_what_is_left_behind(self) -> None:
        """Items with tokens stay behind, ids and items without tokens do not, and neither does what is said of them."""
        mlssocial.configure(endpoint_url="local:", **KEYED)
        mlssocial.create_table()
        put(items(sealed=False), None)
        with pytest.raises(BatchIncompleteError) as caught:
            OPERATIONS["create_many"]()
        assert [one.platform for one in caught.value.unprocessed] == ["facebook"]
        back = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  our own bytes
        assert back.unprocessed == ()
        assert back.result.refused.keys() == {("u1", "facebook")}
        listing = Listing.objects.create("u1", "l1", ListingData(status="active"))
        Listing.objects.update("u1", "l1", price=1)
        with pytest.raises(StaleItemError) as stale:
            listing.save()
        assert pickle.loads(pickle.dumps(stale.value)).item.data.price == 1  # noqa: S301

    def test_unreadable_rows(self) -> None:
        """A page that met what it cannot read pickles without those rows, and says which they are."""
        mlssocial.configure(endpoint_url="local:", **KEYED)
        mlssocial.create_table()
        put(items(sealed=False), None)
        page = ACCOUNTS.query("u2").page()
        back = pickle.loads(pickle.dumps(page))  # noqa: S301  our own bytes
        assert {one.key for one in back.unreadable} == {one.key for one in page.unreadable}
        assert [len(one.row) for one in back.unreadable] == [0] * 5


class TestFiles:
    def test_jobs(self, tmp_path: Path, watch: Watch) -> None:
        """Checkpoints, exports, reports and the embedded engine's own file have no token in them, sealed ones aside."""
        where = tmp_path / "homes.db"
        mlssocial.configure(endpoint_url=f"local:{where}", **KEYED)
        mlssocial.create_table()
        put(items(sealed=True), None)
        for name in ("create", "save", "update", "transaction", "refresh_tokens"):
            OPERATIONS[name]()
        for path in tmp_path.iterdir():
            watch.see_file(path)
        put(items(sealed=False)[:3], None)
        report = mlssocial.export_table(tmp_path / "export")
        assert report.tokens["sealed_for_export"] == 6
        look(watch, "export", lambda: report)
        for path in (tmp_path / "export").rglob("*.*"):
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            watch.see(f"file {path.name}", content.decode("latin-1"))
        for name, job in (("audit", mlssocial.audit_table), ("reseal", mlssocial.reseal_tokens)):
            seen = tmp_path / f"{name}.json"

            def stop(_: Any, seen: Path = seen) -> None:
                watch.see_file(seen)

            look(watch, name, lambda job=job, seen=seen, stop=stop: job(checkpoint=seen, progress=stop))  # type: ignore[misc]
        plan = mlssocial.plan_purge(mlssocial.PurgeScope(user_id="u1"))
        look(
            watch,
            "purge",
            lambda: mlssocial.purge_items(plan, confirm=str(plan.scope), report=tmp_path / "purge.json", signed_by="me"),
        )
        watch.see_file(tmp_path / "purge.json")


# --- The command line ------------------------------------------------------------------------------------------------


class TestCommandLine:
    def test_every_command(self, tmp_path: Path, watch: Watch, mode: str) -> None:
        """No command prints a token, as a table, as JSON, or in an error's traceback."""
        endpoint = f"local:{tmp_path / 'homes.db'}"
        mlssocial.configure(endpoint_url=endpoint, **MODES[mode])
        mlssocial.create_table()
        put(items(sealed=mode == "sealed"), None)
        environment = {"MLSSOCIAL_TOKEN_KEYS": f"k1={KEY}"} if mode != "allowed" else {"MLSSOCIAL_ALLOW_PLAINTEXT_TOKENS": "1"}
        commands = [
            ["connections", "--user", "u1"],
            ["connections", "--user", "u2"],
            ["show", "u1"],
            ["show", "u1", "SOCIAL#FACEBOOK"],
            ["show", "u2", "SOCIAL#TWITTER"],
            ["show", "u2", "SOCIAL#HUBSPOT"],
            ["show", "u9", "SOCIAL#X"],
            ["audit"],
            ["audit", "--repair", "--yes"],
            ["status"],
            ["purge", "--user", "u1"],
            ["export", str(tmp_path / "export")],
            ["export", str(tmp_path / "csv"), "--format", "csv", "--entity", "social-connections"],
            ["encrypt-tokens", "--dry-run"],
            ["rotate-keys", "--yes"],
        ]
        for command in commands:
            for more in (["-v"], ["--json"]):
                arguments = ["--endpoint", endpoint, *more, *command]
                result = CliRunner().invoke(cli, arguments, env=environment)
                assert result.exit_code in {0, 1}, (command, result.output)
                watch.see(f"{mode}: {' '.join([*more, *command])}", result.output)
                if result.exception is not None and not isinstance(result.exception, SystemExit):
                    watch.see_error(" ".join(command), result.exception)

    def test_none_takes_a_secret(self) -> None:
        """No command takes a token or a key in its arguments, where a shell's history and the list of processes have it."""
        seen = 0
        for command in each_command(cli):
            for parameter in command.params:
                seen += 1
                words = {word for name in (*parameter.opts, str(parameter.name)) for word in name.replace("_", "-").split("-")}
                secret = words & {"token", "tokens", "secret", "password", "credential"} and not words & {"url", "context"}
                assert not secret or getattr(parameter, "is_flag", False), (command.name, parameter.opts)
        assert seen > 100


def each_command(command: click.Command) -> Iterator[click.Command]:
    """Give a command, and those inside it."""
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in COMMANDS if command is cli else command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from each_command(found)


# --- The watch itself ------------------------------------------------------------------------------------------------


class TestWatch:
    @pytest.mark.parametrize("form", sorted({*forms(CANARY), *forms(KEY)}))
    def test_sees_every_form(self, form: str) -> None:
        """What looks for a secret finds it in every form, whole or half of it, with anything around it."""
        for text in (form, form[: len(form) // 2 + 6], form[len(form) // 2 - 6 :]):
            assert leak_in(f"before {text} behind") is not None
        assert leak_in("before **********, enc:v1:k1::AAAA, behind") is None

    @pytest.mark.parametrize("shift", range(7))
    def test_sees_through_base64(self, shift: int) -> None:
        """Wherever in what was encoded it stands."""
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            assert leak_in(encode(b"x" * shift + CANARY.encode() + b"yz").decode()) is not None

    def test_sees_what_is_shown(self) -> None:
        """It sees a token in a log, in an object's fields, in a pickle, and in the locals of a frame that failed."""

        def fail(token: str) -> None:
            raise ValueError("why")

        watch = Watch()
        watch.emit(logging.makeLogRecord({"name": "x", "msg": "%s", "args": (CANARY,)}))
        watch.see_value("item", Listing(user_id="u", listing_id="l", data=ListingData(status="active", description=CANARY)))
        with pytest.raises(ValueError, match="why") as caught:
            fail(CANARY)
        watch.see_error("error", caught.value)
        seen = {what.split(": ")[-1] for what in watch.leaks}
        assert seen >= {"%s", "vars", "pickle", "traceback", "rich", "Django", "to_dynamodb_dict", "attribute_values"}

    def test_masked_values(self) -> None:
        """Masked values are what they are, show nothing, and are left behind by a pickle."""
        text, values = MaskedText(CANARY), MaskedMap(token=CANARY)
        assert (text, values, json.dumps(text)) == (CANARY, {"token": CANARY}, json.dumps(CANARY))
        watch = Watch()
        watch.see_value("text", text)
        assert set(watch.leaks) == {"text: json"}  # which is its content
        assert (f"{text}", repr(values)) == ("**********", "<map of token>")
        for masked in (text, values):
            back = pickle.loads(pickle.dumps(masked))  # noqa: S301  our own bytes
            assert repr(back) == "**********"
            assert not isinstance(back, str | dict)
