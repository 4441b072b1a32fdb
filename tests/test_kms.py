"""Data keys of AWS KMS: on moto where KMS does its work, and over HTTP where it refuses, is silent or says nonsense."""

from __future__ import annotations

import base64
import json
import logging
import os
import pickle
import pprint
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import botocore.session
import pytest
from moto import mock_aws
from rich.pretty import pretty_repr
from rich.traceback import Traceback

import mlssocial
from mlssocial import ConfigurationError, DecryptionError, SocialConnection, SocialConnectionData, StoreError, Token
from mlssocial.kms import KMSKeys
from mlssocial.masked import MaskedBytes

from .conftest import get_raw

CONTEXT = {"mlssocial:token_context": "mlssocial"}
OTHER = {"mlssocial:token_context": "staging"}
ARN = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


# --- Two kinds of KMS ------------------------------------------------------------------------------------------------


class KMS:
    """moto's KMS, with a count of what it was asked."""

    def __init__(self) -> None:
        self.client = botocore.session.Session().create_client("kms", region_name="eu-west-1")
        self.asked: Counter[str] = Counter()

    def make(self) -> str:
        """Make a key and give its ARN."""
        arn: str = self.client.create_key()["KeyMetadata"]["Arn"]
        return arn

    def watch(self, keys: KMSKeys) -> KMSKeys:
        """Count the requests of these keys."""
        client = keys._client(ARN)
        client.meta.events.register("before-call.kms", lambda model, **_: self.asked.update([model.name]))
        return keys


@pytest.fixture
def kms() -> Iterator[KMS]:
    """Give a KMS without keys."""
    with mock_aws():
        yield KMS()


Answers = Callable[[str, dict[str, Any]], tuple[int, bytes]]


class Server(ThreadingHTTPServer):
    """Something at KMS's place, over HTTP, that answers as it is told."""

    def __init__(self, answers: Answers) -> None:
        super().__init__(("127.0.0.1", 0), Talk)
        self.answers = answers
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Talk(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        self.server.asked.append(operation)
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, body = self.server.answers(operation, request)
        self.send_response(status)
        self.send_header("x-amzn-RequestId", "REQUEST")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def refuses(code: str, status: int = 400) -> Answers:
    """Answer with an error."""
    return lambda *_: (status, json.dumps({"__type": code, "message": "because"}).encode())


def gives(key: bytes) -> Answers:
    """Answer with a data key, the same one always."""

    def answer(operation: str, request: dict[str, Any]) -> tuple[int, bytes]:
        made = {"KeyId": request["KeyId"], "Plaintext": base64.b64encode(key).decode()}
        return 200, json.dumps(made | {"CiphertextBlob": base64.b64encode(b"wrapped").decode()}).encode()

    return answer


def over_http(server: Server, **options: Any) -> KMSKeys:
    """Give keys that are asked for there."""
    return KMSKeys({"k1": ARN}, endpoint_url=server.url, **options)


# --- Tests -----------------------------------------------------------------------------------------------------------


class TestDataKeys:
    def test_open_again(self, kms: KMS) -> None:
        """A wrapped key opens to the key that it is, in another process too, and goes into a sealed token as it is."""
        arn = kms.make()
        made = KMSKeys({"k1": arn}).new_data_key("k1", CONTEXT)
        assert len(made.key) == 32
        assert made.wrapped.isascii()
        assert ":" not in made.wrapped
        assert KMSKeys({"k1": arn}).data_key("k1", made.wrapped, CONTEXT) == made.key

    def test_by_an_alias(self, kms: KMS) -> None:
        """An alias's ARN stands for its key."""
        arn = kms.make()
        kms.client.create_alias(AliasName="alias/tokens", TargetKeyId=arn)
        alias = arn.rpartition(":")[0] + ":alias/tokens"
        made = KMSKeys({"k1": alias}).new_data_key("k1", CONTEXT)
        assert KMSKeys({"k1": arn}).data_key("k1", made.wrapped, CONTEXT) == made.key

    def test_of_several_keys(self, kms: KMS) -> None:
        """Each name is its own key: what one has wrapped, no other opens."""
        keys = KMSKeys({"k1": kms.make(), "k2": kms.make()})
        one, two = keys.new_data_key("k1", CONTEXT), keys.new_data_key("k2", CONTEXT)
        assert keys.data_key("k1", one.wrapped, CONTEXT) == one.key
        assert keys.data_key("k2", two.wrapped, CONTEXT) == two.key
        with pytest.raises(StoreError) as caught:  # moto's word for it; KMS says IncorrectKeyException
            keys.data_key("k2", one.wrapped, CONTEXT)
        assert caught.value.code == "AccessDeniedException"

    def test_in_another_region(self, kms: KMS) -> None:
        """KMS is asked where the key is, or where region says."""
        made = KMSKeys({"k1": kms.make()}).new_data_key("k1", CONTEXT)  # in eu-west-1, and AWS_REGION is not set
        assert len(made.key) == 32
        keys = KMSKeys({"k1": kms.make()}, region="us-east-1")
        with pytest.raises(StoreError, match="no such key or alias in that account and region"):
            keys.new_data_key("k1", CONTEXT)


class TestRefusals:
    @pytest.mark.parametrize("context", [OTHER, {}, CONTEXT | {"more": "x"}])
    def test_another_context(self, kms: KMS, context: dict[str, str]) -> None:
        """A key that was wrapped in one context does not open in another one, and a key that is kept is of its own context."""
        keys = KMSKeys({"k1": kms.make()})
        made = keys.new_data_key("k1", CONTEXT)
        assert keys.data_key("k1", made.wrapped, CONTEXT) == made.key
        with pytest.raises(ValueError, match="altered, or wrapped by another key or in another context"):
            keys.data_key("k1", made.wrapped, context)

    @pytest.mark.parametrize("wrapped", ["", "!", "AAAA" * 3000, "AAA", "ключ", base64.b64encode(b"nonsense").decode()])
    def test_what_is_no_wrapped_key(self, kms: KMS, wrapped: str) -> None:
        """Text that KMS has not wrapped cannot be opened; most of it is not even asked for."""
        keys = KMSKeys({"k1": kms.make()})
        with pytest.raises(ValueError, match=r"not a data key that KMS has wrapped|KMS does not open it"):
            keys.data_key("k1", wrapped, CONTEXT)

    def test_an_altered_one(self, kms: KMS) -> None:
        """A wrapped key that was altered does not open."""
        keys = KMSKeys({"k1": kms.make()})
        blob = bytearray(base64.b64decode(keys.new_data_key("k1", CONTEXT).wrapped))
        blob[-1] ^= 1
        with pytest.raises(ValueError, match="KMS does not open it"):
            keys.data_key("k1", base64.b64encode(blob).decode(), CONTEXT)

    def test_an_unknown_name(self, kms: KMS) -> None:
        """A name that there is no key of is a LookupError with the names that there are."""
        keys = KMSKeys({"k1": kms.make()})
        for ask in (lambda: keys.new_data_key("k2", CONTEXT), lambda: keys.data_key("k2", "AAAA", CONTEXT)):
            with pytest.raises(LookupError, match="there is no key k2, but k1"):
                ask()

    @pytest.mark.parametrize(
        ("code", "remedy"),
        [
            ("AccessDeniedException", "kms:GenerateDataKey and kms:Decrypt"),
            ("NotFoundException", "no such key or alias"),
            ("DisabledException", "the key is disabled"),
            ("KMSInvalidStateException", "a deletion that is pending"),
            ("InvalidKeyUsageException", "a symmetric key"),
            ("ExpiredTokenException", "the AWS credentials have expired"),
        ],
    )
    def test_of_kms(self, code: str, remedy: str) -> None:
        """What KMS refuses is a StoreError with its code, the request's id, the key's name and ARN, and what helps."""
        with Server(refuses(code)) as server:
            keys = over_http(server)
            for ask in (lambda: keys.new_data_key("k1", CONTEXT), lambda: keys.data_key("k1", "AAAA", CONTEXT)):
                with pytest.raises(StoreError, match=remedy) as caught:
                    ask()
                assert (caught.value.code, caught.value.request_id) == (code, "REQUEST")
                assert f"with key k1, {ARN}: {code}: because" in str(caught.value)
            assert server.asked == ["GenerateDataKey", "Decrypt"]  # what is refused is not asked again

    @pytest.mark.parametrize("code", ["InvalidCiphertextException", "IncorrectKeyException"])
    def test_of_what_is_wrapped(self, code: str) -> None:
        """What KMS says of the wrapped key itself is a ValueError, with which a sealed token cannot be opened."""
        with Server(refuses(code)) as server, pytest.raises(ValueError, match="KMS does not open it") as caught:
            over_http(server).data_key("k1", "AAAA", CONTEXT)
        assert not isinstance(caught.value, StoreError)

    @pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"Plaintext": "AAAA"}', b'{"Plaintext": 1}', b"[]", b"\xff"])
    def test_what_is_no_answer(self, body: bytes) -> None:
        """An answer that is not KMS's gives no key."""
        with Server(lambda *_: (200, body)) as server:
            keys = over_http(server)
            with pytest.raises(StoreError, match="not KMS's"):
                keys.new_data_key("k1", CONTEXT)
            with pytest.raises((StoreError, ValueError), match=r"not KMS's|no key of 32 bytes"):
                keys.data_key("k1", "AAAA", CONTEXT)

    def test_nothing_answers(self) -> None:
        """Where nothing answers, it is a StoreError that says where nothing answered."""
        with Server(refuses("x")) as server:
            keys = over_http(server)
        with pytest.raises(StoreError, match="nothing answers at the endpoint") as caught:
            keys.new_data_key("k1", CONTEXT)
        assert caught.value.code == "EndpointConnectionError"

    def test_a_short_failure(self) -> None:
        """A failure that passes is asked again, and not told."""
        left = [refuses("KMSInternalException", 500)]
        with Server(lambda *asked: (left.pop() if left else gives(b"k" * 32))(*asked)) as server:
            assert over_http(server).new_data_key("k1", CONTEXT).key == b"k" * 32
            assert server.asked == ["GenerateDataKey"] * 2

    def test_silence(self) -> None:
        """A KMS that is silent is waited for no longer than it was told."""
        released = threading.Event()

        def answer(*_: object) -> tuple[int, bytes]:
            released.wait(10)
            return 500, b""

        started = time.monotonic()
        with Server(answer) as server:
            with pytest.raises(StoreError, match="ReadTimeoutError"):
                over_http(server, read_timeout=0.1).new_data_key("k1", CONTEXT)
            released.set()
        assert time.monotonic() - started < 6  # three attempts, and standard pauses of a second at the most between

    def test_a_failure_is_not_kept(self) -> None:
        """After a failure the next call asks anew."""
        answers = [refuses("DisabledException"), gives(b"k" * 32)]
        with Server(lambda *asked: answers.pop(0)(*asked)) as server:
            keys = over_http(server)
            with pytest.raises(StoreError):
                keys.new_data_key("k1", CONTEXT)
            assert keys.new_data_key("k1", CONTEXT).key == b"k" * 32


class TestCache:
    def test_uses(self, kms: KMS) -> None:
        """A data key encrypts as often as it may, and no oftener; then there is a fresh one."""
        keys = kms.watch(KMSKeys({"k1": kms.make()}, max_uses=3))
        made = [keys.new_data_key("k1", CONTEXT) for _ in range(7)]
        assert [made.index(one) for one in made] == [0, 0, 0, 3, 3, 3, 6]
        assert kms.asked == {"GenerateDataKey": 3}

    def test_time(self, kms: KMS) -> None:
        """A data key is used for its time, and no longer; so is one that was opened."""
        keys = kms.watch(KMSKeys({"k1": kms.make()}, max_seconds=0.4))
        first = keys.new_data_key("k1", CONTEXT)
        assert keys.new_data_key("k1", CONTEXT) == first
        assert keys.data_key("k1", first.wrapped, CONTEXT) == first.key
        assert kms.asked == {"GenerateDataKey": 1}  # what was just wrapped need not be opened
        time.sleep(0.45)
        assert keys.new_data_key("k1", CONTEXT) != first
        assert [keys.data_key("k1", first.wrapped, CONTEXT) for _ in range(3)] == [first.key] * 3
        assert kms.asked == {"GenerateDataKey": 2, "Decrypt": 1}

    def test_contexts_and_names_do_not_share(self, kms: KMS) -> None:
        """Each name and context has a data key of its own."""
        arn = kms.make()
        keys = KMSKeys({"k1": arn, "k2": arn})
        made = [keys.new_data_key(name, context) for name in ("k1", "k2") for context in (CONTEXT, OTHER, {})]
        assert len({one.wrapped for one in made}) == len({bytes(one.key) for one in made}) == 6

    def test_is_bounded(self, kms: KMS) -> None:
        """Of keys that were opened, the thousand that were used last are kept, and no more."""
        keys = KMSKeys({"k1": kms.make()}, max_uses=1)
        made = [keys.new_data_key("k1", CONTEXT) for _ in range(1000)]
        assert keys.data_key("k1", made[0].wrapped, CONTEXT) == made[0].key  # the oldest one, used last
        made += [keys.new_data_key("k1", CONTEXT) for _ in range(5)]
        assert len(keys._opened._ones) == 1000
        kms.watch(keys)
        assert all(keys.data_key("k1", made[n].wrapped, CONTEXT) == made[n].key for n in (0, 6, 500, 1004, 5))
        assert kms.asked == {"Decrypt": 1}  # of the five the last one alone had to be opened

    def test_forget(self, kms: KMS) -> None:
        """After forget() nothing is kept."""
        keys = KMSKeys({"k1": kms.make()})
        made = keys.new_data_key("k1", CONTEXT)
        keys.forget()
        kms.watch(keys)
        assert keys.data_key("k1", made.wrapped, CONTEXT) == made.key
        assert keys.new_data_key("k1", CONTEXT) != made
        assert kms.asked == {"GenerateDataKey": 1, "Decrypt": 1}


class TestThreads:
    def test_one_request(self) -> None:
        """Threads that ask for one key at once wait for one request, to encrypt and to decrypt."""

        def slow(*asked: Any) -> tuple[int, bytes]:
            time.sleep(0.2)
            return gives(b"k" * 32)(*asked)

        with Server(slow) as server, ThreadPoolExecutor(16) as pool:
            keys = over_http(server)
            made = list(pool.map(lambda _: keys.new_data_key("k1", CONTEXT), range(64)))
            assert len({one.wrapped for one in made}) == 1
            assert server.asked == ["GenerateDataKey"]
            keys.forget()
            opened = list(pool.map(lambda _: keys.data_key("k1", made[0].wrapped, CONTEXT), range(64)))
            assert set(opened) == {b"k" * 32}
            assert server.asked == ["GenerateDataKey", "Decrypt"]

    def test_never_more_uses(self, kms: KMS) -> None:
        """However many threads there are, no data key is used oftener than it may be, and none is thrown away."""
        keys = kms.watch(KMSKeys({"k1": kms.make()}, max_uses=10))
        with ThreadPoolExecutor(16) as pool:
            made = list(pool.map(lambda _: keys.new_data_key("k1", CONTEXT).wrapped, range(1000)))
        assert set(Counter(made).values()) == {10}
        assert kms.asked == {"GenerateDataKey": 100}

    def test_a_failure_is_shared(self) -> None:
        """Threads that wait for one request are told its failure, and do not each wait for one of their own."""

        def slow(*asked: Any) -> tuple[int, bytes]:
            time.sleep(0.5)
            return refuses("DisabledException")(*asked)

        def ask(_: int) -> str:
            with pytest.raises(StoreError) as caught:
                keys.new_data_key("k1", CONTEXT)
            return caught.value.code

        with Server(slow) as server, ThreadPoolExecutor(8) as pool:
            keys = over_http(server)
            assert set(pool.map(ask, range(8))) == {"DisabledException"}
            assert server.asked == ["GenerateDataKey"]

    def test_an_interrupt_is_not_shared(self) -> None:
        """A thread that waits for one that was interrupted asks by itself."""
        arrived, answers = threading.Event(), [refuses("DisabledException"), gives(b"k" * 32)]

        def interrupt(**_: Any) -> None:
            if not arrived.is_set():
                arrived.set()
                time.sleep(0.3)
                raise KeyboardInterrupt

        def interrupted() -> None:
            with pytest.raises(KeyboardInterrupt):
                keys.new_data_key("k1", CONTEXT)

        with Server(lambda *asked: answers[1](*asked)) as server, ThreadPoolExecutor(2) as pool:
            keys = over_http(server)
            keys._client(ARN).meta.events.register("before-call.kms", interrupt)
            first = pool.submit(interrupted)
            assert arrived.wait(5)
            second = pool.submit(keys.new_data_key, "k1", CONTEXT)
            first.result()
            assert second.result().key == b"k" * 32

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    def test_a_fork_shares_nothing(self) -> None:
        """A forked child asks for keys of its own, even where its parent was asking at that moment."""
        script = """
import os, sys, threading
from mlssocial.kms import KMSKeys
from tests.test_kms import ARN, CONTEXT, Server, gives
go, waiting = threading.Event(), threading.Event()
def answer(*asked):
    if len(server.asked) == 2:
        waiting.set()
        go.wait(10)
    return gives(bytes([len(server.asked)]) * 32)(*asked)
with Server(answer) as server:
    keys = KMSKeys({"k1": ARN}, endpoint_url=server.url, max_uses=1)
    assert keys.new_data_key("k1", CONTEXT).key == b"\\1" * 32
    thread = threading.Thread(target=keys.new_data_key, args=("k1", CONTEXT))
    thread.start()
    waiting.wait(10)
    child = os.fork()
    if child == 0:
        os._exit(0 if keys.new_data_key("k1", CONTEXT).key == b"\\3" * 32 else 1)
    _, status = os.waitpid(child, 0)
    go.set()
    thread.join()
    print(os.waitstatus_to_exitcode(status), server.asked)
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout == "0 ['GenerateDataKey', 'GenerateDataKey', 'GenerateDataKey']\n"


class TestSealedTokens:
    @pytest.fixture(autouse=True)
    def _unset(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("MLSSOCIAL_TOKEN_KEYS")

    def configure(self, **settings: Any) -> None:
        """Point the project at moto's table, in another region than the key's."""
        mlssocial.configure(table_name="homes", region="us-east-1", **settings)

    def test_end_to_end(self, kms: KMS) -> None:
        """With a KMS key's ARN for a key, tokens are sealed under a data key of KMS's, and open in another process."""
        arn = kms.make()
        self.configure(token_keys={"k1": arn})
        mlssocial.create_table()
        SocialConnection.objects.create("u1", "facebook", SocialConnectionData(access_token="EAAB", refresh_token="r"))
        stored = get_raw("USER#u1", "SOCIAL#FACEBOOK")
        assert stored is not None
        sealed = stored["Data"]["M"]["accessToken"]["S"]
        prefix, version, key_id, wrapped, _ = sealed.split(":")
        assert (prefix, version, key_id) == ("enc", "v1", "k1")
        self.configure(token_keys={"k1": arn})  # a provider of its own, that has no data key yet
        data = SocialConnection.objects.get("u1", "facebook", consistent=True).data
        assert (revealed(data.access_token), revealed(data.refresh_token)) == ("EAAB", "r")
        opened = kms.client.decrypt(CiphertextBlob=base64.b64decode(wrapped), KeyId=arn, EncryptionContext=CONTEXT)
        assert len(opened["Plaintext"]) == 32

    def test_rotation(self, kms: KMS) -> None:
        """Static keys and KMS's stand beside each other: a new current key seals, and the others open what they sealed."""
        static, arn = base64.b64encode(b"s" * 32).decode(), kms.make()
        self.configure(token_keys={"old": static})
        mlssocial.create_table()
        SocialConnection.objects.create("u1", "facebook", SocialConnectionData(access_token="1", refresh_token="2"))
        self.configure(token_keys={"old": static, "k1": arn}, current_token_key="k1")
        item = SocialConnection.objects.update("u1", "facebook", access_token="3")
        assert (revealed(item.data.access_token), revealed(item.data.refresh_token)) == ("3", "2")
        self.configure(token_keys={"k1": arn})
        item = SocialConnection.objects.get("u1", "facebook", consistent=True)
        assert revealed(item.data.access_token) == "3"
        with pytest.raises(DecryptionError, match="key old is not among those that are configured"):
            revealed(item.data.refresh_token)

    def test_one_data_key_seals_many(self, kms: KMS) -> None:
        """A batch of connections costs one request to KMS, and reading them all back elsewhere another."""
        self.configure(key_provider=kms.watch(KMSKeys({"k1": kms.make()})), current_token_key="k1")
        mlssocial.create_table()
        SocialConnection.objects.save_many([connection(number) for number in range(60)])
        assert kms.asked == {"GenerateDataKey": 1}
        keys = mlssocial.settings.current().key_provider
        assert isinstance(keys, KMSKeys)
        keys.forget()
        kms.watch(keys)
        found = SocialConnection.objects.query("u1")
        assert sorted(revealed(one.data.access_token) for one in found) == sorted(f"t{number}" for number in range(60))
        assert kms.asked == {"GenerateDataKey": 1, "Decrypt": 1}

    def test_another_context(self, kms: KMS) -> None:
        """What was sealed in one context does not open in another one, and the error says which key and item."""
        arn = kms.make()
        self.configure(token_keys={"k1": arn})
        mlssocial.create_table()
        SocialConnection.objects.create("u1", "facebook", SocialConnectionData(access_token="t"))
        self.configure(token_keys={"k1": arn}, token_context="staging")
        found = SocialConnection.objects.get("u1", "facebook", consistent=True)
        with pytest.raises(DecryptionError, match="not under this token_context") as caught:
            revealed(found.data.access_token)
        assert (caught.value.key_id, caught.value.key) == ("k1", ("USER#u1", "SOCIAL#FACEBOOK"))

    def test_kms_refuses(self) -> None:
        """What KMS refuses is its own error, for a write before anything is written, and for a read where it is revealed."""
        with Server(refuses("DisabledException")) as server:
            mlssocial.configure(endpoint_url="local:", key_provider=over_http(server), current_token_key="k1")
            mlssocial.create_table()
            with pytest.raises(StoreError, match="the key is disabled"):
                SocialConnection.objects.create("u1", "facebook", SocialConnectionData(access_token="t"))
            assert SocialConnection.objects.find("u1", "facebook", consistent=True) is None
            server.answers = gives(b"k" * 32)
            SocialConnection.objects.create("u1", "facebook", SocialConnectionData(access_token="t"))
            mlssocial.configure(endpoint_url="local:", key_provider=over_http(server), current_token_key="k1")
            server.answers = refuses("AccessDeniedException")
            found = SocialConnection.objects.get("u1", "facebook", consistent=True)
            with pytest.raises(StoreError, match="kms:GenerateDataKey and kms:Decrypt"):
                revealed(found.data.access_token)
            server.answers = refuses("InvalidCiphertextException")
            with pytest.raises(DecryptionError, match="key k1 did not wrap its data key"):
                revealed(found.data.access_token)
            SocialConnection.objects.update("u1", "facebook", scope=["pages"])  # takes no key


def revealed(token: Token | None) -> str:
    """Give a token's text."""
    assert token is not None
    return token.reveal()


def connection(number: int) -> SocialConnection:
    """Make a connection of u1."""
    data = SocialConnectionData(access_token=f"t{number}")
    return SocialConnection(user_id="u1", platform=f"platform{number}", data=data)


class TestConfiguration:
    @pytest.mark.parametrize(
        ("keys", "options", "what"),
        [
            ({}, {}, "at least one KMS key"),
            ({"k:1": ARN}, {}, "a name of 1 to 64 letters"),
            ({"": ARN}, {}, "a name of 1 to 64 letters"),
            ({"k" * 65: ARN}, {}, "a name of 1 to 64 letters"),
            ({"k1": "alias/tokens"}, {}, "k1: the ARN of a KMS key or alias"),
            ({"k1": ARN.replace(":kms:", ":s3:")}, {}, "k1: the ARN of a KMS key or alias"),
            ({"k1": ARN}, {"max_seconds": 0}, "max_seconds"),
            ({"k1": ARN}, {"max_seconds": True}, "max_seconds"),
            ({"k1": ARN}, {"max_uses": 0}, "max_uses"),
            ({"k1": ARN}, {"max_uses": 1.5}, "max_uses"),
        ],
    )
    def test_what_cannot_work(self, keys: dict[str, str], options: dict[str, Any], what: str) -> None:
        """What cannot work is refused at once, and named."""
        with pytest.raises(ConfigurationError, match=what):
            KMSKeys(keys, **options)

    def test_a_static_key_in_its_place(self) -> None:
        """What is no ARN is not repeated: it may be a key."""
        with pytest.raises(ConfigurationError) as caught:
            KMSKeys({"k1": "c2VjcmV0IGtleSBvZiAzMiBieXRlcywgaW4gYmFzZTY0"})
        assert "c2VjcmV0" not in str(caught.value)

    def test_an_unknown_profile(self) -> None:
        """A profile that there is not is named."""
        with pytest.raises(ConfigurationError, match="nowhere"):
            KMSKeys({"k1": ARN}, profile="nowhere").new_data_key("k1", CONTEXT)

    def test_no_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without credentials the error says so."""
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(StoreError, match="NoCredentialsError"):
            KMSKeys({"k1": ARN}).new_data_key("k1", CONTEXT)


class TestNothingShows:
    @pytest.mark.parametrize("over", ["moto", "http"])
    def test_no_log_has_a_key(self, over: str, caplog: pytest.LogCaptureFixture) -> None:
        """With every logger at DEBUG no record has a data key in any form: text, base64, hexadecimal or as Python writes it."""
        caplog.set_level(logging.DEBUG)
        with mock_aws(), Server(gives(os.urandom(32))) as server:
            keys = KMSKeys({"k1": KMS().make()}) if over == "moto" else over_http(server)
            made = keys.new_data_key("k1", CONTEXT)
            keys.forget()
            assert keys.data_key("k1", made.wrapped, CONTEXT) == made.key
        seen = "\n".join([f"{record.getMessage()} {vars(record)!r}" for record in caplog.records])
        assert "botocore.parsers" in caplog.text
        assert "Decrypt" in seen
        assert_hidden(made.key, seen)

    def test_no_traceback_has_a_key(self) -> None:
        """Where an answer is refused after it was read, tracebacks with locals do not have it."""
        key = os.urandom(33)
        with Server(gives(key)) as server:
            for ask in (over_http(server).new_data_key, lambda *given: over_http(server).data_key(given[0], "AAAA", given[1])):
                with pytest.raises((StoreError, ValueError)) as caught:
                    ask("k1", CONTEXT)
                assert_hidden(key, shown(caught.value))

    def test_no_representation_has_a_key(self, kms: KMS) -> None:
        """A data key shows nothing of itself, and keys show their names."""
        keys = KMSKeys({"k1": kms.make(), "k2": kms.make()})
        made = keys.new_data_key("k1", CONTEXT)
        texts = [repr(made), str(made), format(made.key), f"{made.key!r:>9}", pprint.pformat(made)]
        texts += [pretty_repr(made, max_string=8), repr(vars(keys)), pprint.pformat(vars(keys)), repr(made.key)]
        assert_hidden(made.key, "\n".join(texts))
        assert repr(keys) == "<KMSKeys k1, k2>"
        with pytest.raises(TypeError):
            pickle.dumps(keys)


class TestMaskedBytes:
    def test_are_bytes(self) -> None:
        """Masked bytes are their bytes to whoever computes with them."""
        masked = MaskedBytes(b"abc")
        assert masked == b"abc"
        assert (masked[1], masked[1:], masked + b"d", len(masked), masked.hex()) == (98, b"bc", b"abcd", 3, "616263")
        assert repr(masked) == str(masked) == f"{masked}" == "<3 bytes **********>"
        assert pretty_repr([masked], max_string=2) == "[MaskedBytes(length=3)]"


def assert_hidden(key: bytes, text: str) -> None:
    """Check that a key is in no form in a text."""
    key = bytes(key)
    assert text
    forms = [key.hex(), repr(key)[2:-1], key.decode("latin-1"), str(list(key))[1:-1]]
    forms += [base64.b64encode(b"\0" * shift + key).decode()[4 if shift else 0 : -4] for shift in range(3)]
    assert [form for form in forms if form in text] == []
    assert [form for form in forms[:2] if form[:16] in text] == []


def shown(error: BaseException) -> str:
    """Give tracebacks with all locals, but for those of the test itself."""
    assert error.__traceback__
    error.__traceback__ = error.__traceback__.tb_next
    plain = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    made = Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True, locals_max_string=10_000)
    return f"{plain}\n{pprint.pformat(made.trace, width=200)}"
