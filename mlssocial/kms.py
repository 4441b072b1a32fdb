"""
Data keys from AWS KMS: made by GenerateDataKey, opened by Decrypt, and kept for a while.

KMS holds the keys that are named here and never gives them out. What it gives is a data key, in clear and wrapped: the clear
one encrypts and is forgotten, the wrapped one lies beside what it encrypted, and KMS alone can open it.
"""

from __future__ import annotations

import base64
import binascii
import math
import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import CancelledError, Future
from threading import Lock
from typing import Any
from weakref import WeakSet

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound
from botocore.parsers import ResponseParserFactory

from .exceptions import ConfigurationError, StoreError, store_error
from .masked import MaskedBytes
from .tokens import DataKey

KEY_BYTES = 32

# https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html: CiphertextBlob
_MAX_WRAPPED_BYTES = 6144
_MAX_KEPT = 1000
_ATTEMPTS = 3
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_ARN = re.compile(r"arn:[a-z0-9-]+:kms:([a-z0-9-]+):\d{12}:(key|alias)/[\w/-]+", re.ASCII)

# What KMS says of a wrapped key that was altered, or wrapped by another key or in another context.
_UNFIT = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_REMEDIES = {
    "AccessDeniedException": "the credentials in use need kms:GenerateDataKey and kms:Decrypt on this key",
    "NotFoundException": "there is no such key or alias in that account and region",
    "DisabledException": "the key is disabled: enable it, and tokens under it can be read again",
    "KMSInvalidStateException": "the key cannot be used as it is: see its state; a deletion that is pending can be cancelled",
    "InvalidKeyUsageException": "a symmetric key for encryption and decryption is needed",
    "ThrottlingException": "KMS is throttled; try again later, or keep data keys for longer",
    "KeyUnavailableException": "try again later",
    "DependencyTimeoutException": "try again later",
    "KMSInternalException": "try again later",
}


class KMSKeys:
    """
    The keys that seal tokens, each a key of AWS KMS under a short name of yours.

    The name is what a sealed token says, so it stays with its key for good: to rotate, add another name, and make that the
    current one. KMS's own yearly rotation needs nothing of this. An alias can be pointed to another key, and what was sealed
    before is then refused: name keys by their own ARN.

    Args:
        keys: ARNs of symmetric KMS keys, or of aliases, by name: up to 64 letters, digits, ``_``, ``.`` and ``-``.
        region: Where KMS is asked, for keys that are there in several regions; the region in each ARN where None.
        profile: Profile of AWS's shared configuration.
        endpoint_url: Another endpoint than AWS's.
        max_seconds: How long a data key is kept, the ones that encrypt and the ones that were opened.
        max_uses: How many tokens a data key encrypts at the most.
        connect_timeout: How long one of three attempts may take to connect, in seconds.
        read_timeout: How long it may wait for the answer.

    Raises:
        ConfigurationError: What is given cannot work.
    """

    def __init__(
        self,
        keys: Mapping[str, str],
        *,
        region: str | None = None,
        profile: str | None = None,
        endpoint_url: str | None = None,
        max_seconds: float = 300,
        max_uses: int = 1000,
        connect_timeout: float = 2.0,
        read_timeout: float = 5.0,
    ) -> None:
        self._arns = {_checked_name(name): _checked_arn(name, arn) for name, arn in keys.items()}
        if not self._arns:
            raise ConfigurationError("keys: at least one KMS key is needed: {'k1': 'arn:aws:kms:...'}")
        if isinstance(max_seconds, bool) or not isinstance(max_seconds, int | float) or not 0 < max_seconds < math.inf:
            raise ConfigurationError(f"max_seconds: a number above zero is needed, not {max_seconds!r}")
        if isinstance(max_uses, bool) or not isinstance(max_uses, int) or max_uses < 1:
            raise ConfigurationError(f"max_uses: a whole number above zero is needed, not {max_uses!r}")
        self._region, self._profile, self._endpoint_url = region, profile, endpoint_url
        self._max_seconds, self._max_uses = max_seconds, max_uses
        self._config = Config(
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            user_agent_extra="mlssocial",
        )
        self.forget()
        _living.add(self)

    def forget(self) -> None:
        """Forget the data keys that are kept, and the connections; the next use asks KMS anew."""
        self._lock = Lock()
        self._clients: dict[str | None, Any] = {}
        self._new = _Kept(self._max_seconds, self._max_uses)
        self._opened = _Kept(self._max_seconds, math.inf)

    def new_data_key(self, key_id: str, context: Mapping[str, str]) -> DataKey:
        """
        Give a data key to encrypt with: a fresh one, or one that is kept for this key and context.

        Args:
            key_id: The name of a key.
            context: KMS's encryption context. It is not secret, and stands in CloudTrail; to open the key takes the same.

        Raises:
            LookupError: There is no key of that name.
            StoreError: KMS refused, or could not be reached.
        """
        arn, name = self._arn(key_id), (key_id, frozenset(context.items()))

        def make() -> DataKey:
            made = self._generate(key_id, arn, context)
            return self._opened.get(
                (key_id, made.wrapped, name[1]), lambda: made
            )  # what was just sealed is read back for nothing

        return self._new.get(name, make)

    def data_key(self, key_id: str, wrapped: str, context: Mapping[str, str]) -> bytes:
        """
        Give the key that a wrapped one is: opened by KMS, or one that is kept.

        Raises:
            LookupError: There is no key of that name.
            ValueError: KMS does not open it: it was altered, or wrapped by another key or in another context.
            StoreError: KMS refused, or could not be reached.
        """
        arn = self._arn(key_id)
        name = key_id, wrapped, frozenset(context.items())
        return self._opened.get(name, lambda: DataKey(self._decrypt(key_id, arn, wrapped, context), wrapped)).key

    def __repr__(self) -> str:
        return f"<KMSKeys {', '.join(self._arns)}>"

    def _arn(self, key_id: str) -> str:
        try:
            return self._arns[key_id]
        except KeyError:
            raise LookupError(f"there is no key {key_id}, but {', '.join(self._arns)}") from None

    def _generate(self, key_id: str, arn: str, context: Mapping[str, str]) -> DataKey:
        request = {"KeyId": arn, "KeySpec": "AES_256", "EncryptionContext": dict(context)}
        answer = self._ask("GenerateDataKey", key_id, arn, request)
        key, wrapped = answer.get("Plaintext", b""), answer.get("CiphertextBlob", b"")
        if len(key) != KEY_BYTES or not wrapped:
            raise StoreError(f"GenerateDataKey with key {key_id}: the answer is not KMS's; ask again", code="InvalidAnswer")
        return DataKey(key, base64.b64encode(wrapped).decode())

    def _decrypt(self, key_id: str, arn: str, wrapped: str, context: Mapping[str, str]) -> bytes:
        request = {"KeyId": arn, "CiphertextBlob": _unwrapped_text(wrapped), "EncryptionContext": dict(context)}
        key: bytes = self._ask("Decrypt", key_id, arn, request).get("Plaintext", b"")
        if len(key) != KEY_BYTES:
            raise ValueError(f"what is wrapped is no key of {KEY_BYTES} bytes")
        return key

    def _ask(self, operation: str, key_id: str, arn: str, request: dict[str, Any]) -> dict[str, Any]:
        method = {"GenerateDataKey": "generate_data_key", "Decrypt": "decrypt"}[operation]
        try:
            answer: dict[str, Any] = getattr(self._client(arn), method)(**request)
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") in _UNFIT:
                raise ValueError(
                    "KMS does not open it: it was altered, or wrapped by another key or in another context"
                ) from None
            raise store_error(f"{operation} with key {key_id}, {arn}", error, remedies=_REMEDIES) from error
        return answer

    def _client(self, arn: str) -> Any:
        """Give the client of a key's region, made at first use."""
        region = self._region or arn.split(":")[3]
        with self._lock:  # botocore's client creation is not thread-safe
            if region not in self._clients:
                self._clients[region] = self._make_client(region)
            return self._clients[region]

    def _make_client(self, region: str) -> Any:
        session = botocore.session.Session(profile=self._profile)
        session.register_component("response_parser_factory", _ParserFactory())
        try:
            return session.create_client("kms", region_name=region, endpoint_url=self._endpoint_url, config=self._config)
        except (ProfileNotFound, ValueError) as error:
            raise ConfigurationError(f"no client of KMS can be made: {error}") from error


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not _KEY_ID.fullmatch(name):
        raise ConfigurationError(f"keys: a name of 1 to 64 letters, digits, '_', '.' and '-' is needed, not {name!r}")
    return name


def _checked_arn(name: str, arn: object) -> str:
    if not isinstance(arn, str) or not _ARN.fullmatch(arn):
        # Whatever else stands there, it may be a static key that was put into the wrong place.
        raise ConfigurationError(f"keys: {name}: the ARN of a KMS key or alias is needed: arn:aws:kms:REGION:ACCOUNT:key/ID")
    return arn


def _unwrapped_text(wrapped: str) -> bytes:
    try:
        blob = base64.b64decode(wrapped, validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    if not 0 < len(blob) <= _MAX_WRAPPED_BYTES:
        raise ValueError("it is not a data key that KMS has wrapped")
    return blob


class _One:
    """A key that is kept, or is being made; *uses* are left until *until*, on the clock of ``time.monotonic()``."""

    __slots__ = ("made", "until", "uses")

    def __init__(self, until: float, uses: float) -> None:
        self.made: Future[DataKey] = Future()
        self.until = until
        self.uses = uses


class _Kept:
    """
    The data keys that were used last, each for a time and a number of uses.

    Threads that want one and the same key at once wait for one request, and share its failure too.
    """

    def __init__(self, seconds: float, uses: float) -> None:
        self._seconds, self._uses = seconds, uses
        self._ones: OrderedDict[Hashable, _One] = OrderedDict()
        self._lock = Lock()

    def get(self, name: Hashable, make: Callable[[], DataKey]) -> DataKey:
        """Give the key of that name, made anew where none is kept."""
        while True:
            one, is_new = self._use(name)
            if is_new:
                self._make(name, one, make)
            try:
                return one.made.result()
            except CancelledError:  # the thread that made it was interrupted
                continue

    def _use(self, name: Hashable) -> tuple[_One, bool]:
        """Take one use of a key, and tell whether it has still to be made; its time runs from then on."""
        now = time.monotonic()
        with self._lock:
            one = self._ones.get(name)
            is_new = one is None or one.uses < 1 or one.until <= now
            if one is None or is_new:
                one = self._ones[name] = _One(now + self._seconds, self._uses)
            one.uses -= 1
            self._ones.move_to_end(name)
            while len(self._ones) > _MAX_KEPT:
                self._ones.popitem(last=False)
        return one, is_new

    def _make(self, name: Hashable, one: _One, make: Callable[[], DataKey]) -> None:
        try:
            one.made.set_result(make())
        except BaseException as error:
            with self._lock:
                if self._ones.get(name) is one:
                    del self._ones[name]
            if isinstance(error, Exception):
                one.made.set_exception(error)
                return
            one.made.cancel()
            raise


class _ParserFactory(ResponseParserFactory):  # type: ignore[misc]  # botocore has no types
    """Gives botocore parsers that keep data keys out of its log."""

    def create_parser(self, protocol_name: str) -> Any:
        """Give the parser for a protocol."""
        return _Parser(super().create_parser(protocol_name))


class _UnreadableError(BotoCoreError):  # type: ignore[misc]
    """What came is no answer of KMS's."""

    fmt = "the answer is not KMS's: its body cannot be read ({reason})"


class _Parser:
    """Reads an answer of KMS's by one of botocore's parsers, which log the body as it is shown."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser

    def parse(self, response: dict[str, Any], shape: Any) -> Any:
        """Read an answer."""
        response["body"] = MaskedBytes(response["body"])
        try:
            parsed = self._parser.parse(response, shape)
        except Exception as error:  # noqa: BLE001  a parser fails in many ways, and what it says may repeat the body
            raise _UnreadableError(reason=type(error).__name__) from None
        if isinstance(parsed, dict) and "Plaintext" in parsed:
            parsed["Plaintext"] = MaskedBytes(parsed["Plaintext"])
        return parsed


_living: WeakSet[KMSKeys] = WeakSet()


def _forget_all() -> None:
    """Let a forked child ask for keys of its own: it may not use up its parent's, nor wait for its parent's threads."""
    for one in list(_living):
        one.forget()


if hasattr(os, "register_at_fork"):  # pragma: no branch  Windows has none, and no fork
    os.register_at_fork(after_in_child=_forget_all)
