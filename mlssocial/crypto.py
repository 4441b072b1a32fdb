"""
Tokens at rest: AES-256-GCM, each sealed for the one place that it lies at.

A sealed token is one string, ``enc:v1:<key id>:<wrapped data key or nothing>:<base64 of nonce and ciphertext>``. What it is
bound to, and does not hold, is its place: a context, the item's key and the attribute. Moved elsewhere it does not open.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

import msgspec

from . import settings
from .exceptions import ConfigurationError, DecryptionError
from .masked import MaskedBytes
from .tokens import DataKey, Secret, Token

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from .settings import Settings

PREFIX, VERSION = "enc", "v1"
_NONCE_BYTES = 12  # what NIST SP 800-38D recommends, 8.2


class KeyProvider(Protocol):
    """
    Where keys come from: the setting ``token_keys``, :class:`mlssocial.kms.KMSKeys`, or one of your own.

    Both methods raise LookupError where there is no key of that id. *context* has to be the same both times.
    """

    def new_data_key(self, key_id: str, context: Mapping[str, str]) -> DataKey:
        """Give a key to seal with."""

    def data_key(self, key_id: str, wrapped: str, context: Mapping[str, str]) -> bytes:
        """Give the key of a sealed token again; ValueError if *wrapped* is not one that this key wrapped."""


class StaticKeys:
    """Keys that the configuration holds, by id: the base64 of 32 random bytes each, as :func:`new_token_key` makes them."""

    def __init__(self, keys: Mapping[str, Secret]) -> None:
        self._keys = dict(keys)

    def new_data_key(self, key_id: str, context: Mapping[str, str]) -> DataKey:  # noqa: ARG002  bound by the token's place
        """Give a key to seal with."""
        return DataKey(MaskedBytes(base64.b64decode(self._keys[key_id].reveal())), "")

    def data_key(self, key_id: str, wrapped: str, context: Mapping[str, str]) -> bytes:
        """Give a key again."""
        if wrapped:
            raise ValueError("a static key wraps no other")
        return self.new_data_key(key_id, context).key


class _Ring:
    """The keys of ``token_keys``, each with its own provider."""

    def __init__(self, providers: Mapping[str, KeyProvider]) -> None:
        self._providers = providers

    def new_data_key(self, key_id: str, context: Mapping[str, str]) -> DataKey:
        return self._providers[key_id].new_data_key(key_id, context)

    def data_key(self, key_id: str, wrapped: str, context: Mapping[str, str]) -> bytes:
        return self._providers[key_id].data_key(key_id, wrapped, context)


def new_token_key() -> str:
    """Make a key for ``token_keys``: the base64 of 32 random bytes. Keep it where secrets are kept."""
    return base64.b64encode(secrets.token_bytes(settings.KEY_BYTES)).decode()


class Place(msgspec.Struct, frozen=True):
    """Where a token lies: what it is sealed for, and opened with."""

    context: str
    pk: str
    sk: str
    attribute: str

    @classmethod
    def of(cls, key: tuple[str, str], attribute: str) -> Place:
        """Give a place in the table that is configured."""
        return cls(settings.current().token_context, *key, attribute)

    def open(self, stored: str) -> str:
        """Give the token that was sealed for this place; DecryptionError if it was not, or its key is gone."""
        sealed = _Sealed.parse(stored)
        if sealed is None:
            self._fail(f"it is not sealed as {PREFIX}:{VERSION} is; a later release may have written it", None)
        keys = key_provider()
        if keys is None:
            self._fail("no key is configured; configure(token_keys=...) or set MLSSOCIAL_TOKEN_KEYS", sealed.key_id)
        try:
            key = MaskedBytes(keys.data_key(sealed.key_id, sealed.wrapped, self.key_context))
        except LookupError:
            self._fail(f"key {sealed.key_id} is not among those that are configured; add it to token_keys", sealed.key_id)
        except ValueError:
            self._fail(f"key {sealed.key_id} did not wrap its data key, or not under this token_context", sealed.key_id)
        return self._decrypted(sealed, key)

    def _decrypted(self, sealed: _Sealed, key: bytes) -> str:
        cipher = _cipher(key)
        from cryptography.exceptions import InvalidTag

        nonce, ciphertext = sealed.content[:_NONCE_BYTES], sealed.content[_NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, ciphertext, self.bound_to(sealed.key_id, sealed.wrapped)).decode()
        except (InvalidTag, ValueError):
            reason = f"it was altered, or sealed for another item, attribute or token_context than {self.context}"
            self._fail(reason, sealed.key_id)

    def seal(self, token: Secret) -> str:
        """Seal a token for this place, under the current key. What it is in clear text is in no variable here."""
        keys, key_id = key_provider(), settings.current().sealing_key
        if keys is None or key_id is None:
            raise ConfigurationError(
                "no key is configured to seal tokens with: configure(token_keys=..., current_token_key=...)"
            )
        try:
            key = keys.new_data_key(key_id, self.key_context)
        except LookupError:
            raise ConfigurationError(f"current_token_key: there is no key {key_id}") from None
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = _cipher(key.key).encrypt(nonce, token.reveal().encode(), self.bound_to(key_id, key.wrapped))
        return ":".join((PREFIX, VERSION, key_id, key.wrapped, base64.b64encode(nonce + ciphertext).decode()))

    @property
    def key_context(self) -> dict[str, str]:
        """What a data key is bound to: AWS KMS calls it the encryption context, and logs it."""
        return {"mlssocial:token_context": self.context}

    def bound_to(self, key_id: str, wrapped: str) -> bytes:
        """Give the associated data: the header and the place, each part with its length in bytes before it."""
        parts = (VERSION, key_id, wrapped, self.context, self.pk, self.sk, self.attribute)
        return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)

    def _fail(self, reason: str, key_id: str | None) -> NoReturn:
        raise DecryptionError(f"reveal {self.attribute}", (self.pk, self.sk), reason, key_id=key_id) from None


class _Sealed(NamedTuple):
    """The parts of a sealed token."""

    key_id: str
    wrapped: str
    content: bytes

    @classmethod
    def parse(cls, stored: str) -> _Sealed | None:
        """Take a sealed token apart; None if it is none of this format. There is one way to write it, and no other."""
        prefix, _, rest = stored.partition(":")
        version, *parts = rest.split(":")
        if (prefix, version) != (PREFIX, VERSION) or len(parts) != 3:
            return None
        try:
            content = base64.b64decode(parts[2], validate=True)
        except (binascii.Error, ValueError):
            return None
        canonical = base64.b64encode(content).decode() == parts[2]
        return cls(parts[0], parts[1], content) if canonical and len(content) > _NONCE_BYTES else None


def key_id_of(token: Token) -> str | None:
    """Give the id of the key that a token is sealed under, None where it is not sealed."""
    sealed = _Sealed.parse(token.stored) if token.sealed and token.stored is not None else None
    return None if sealed is None else sealed.key_id


def seal(token: Token, place: Place) -> Token:
    """
    Give a token as it is to lie at a place: sealed under the current key, and verbatim where it lies sealed there already.

    Raises:
        ConfigurationError: There is no key, and clear text is not allowed.
        DecryptionError: It was sealed for another place, and cannot be opened there.
        ValueError: It is not text that UTF-8 can hold.
    """
    if token.sealed and token.opener == place:
        return token
    if key_provider() is not None:
        return Token.at_rest(place.seal(token), place) if token else Token.at_rest("")
    if token and not settings.current().allow_plaintext_tokens:
        raise ConfigurationError(
            f"{place.attribute} of {place.pk} / {place.sk} would lie in clear text: configure(token_keys={{'k1': ...}}, "
            "current_token_key='k1') seals tokens, 'mlssocial token-key' makes a key; allow_plaintext_tokens=True goes without"
        )
    return Token.at_rest(token.reveal())


_lock = Lock()
_held: tuple[Settings, KeyProvider | None] | None = None


def key_provider() -> KeyProvider | None:
    """Give the provider of the settings in force, None where no key is configured."""
    global _held
    found, held = settings.current(), _held
    if held is None or held[0] is not found:
        with _lock:
            held = _held = (found, _made(found))
    return held[1]


def _made(found: Settings) -> KeyProvider | None:
    if found.key_provider is not None:
        provider: KeyProvider = found.key_provider
        return provider
    if not found.token_keys:
        return None
    services = {key_id: key.reveal() for key_id, key in found.token_keys.items() if settings.is_kms_key(key.reveal())}
    static = StaticKeys({key_id: key for key_id, key in found.token_keys.items() if key_id not in services})
    providers: dict[str, Any] = dict.fromkeys(found.token_keys, static)
    if services:
        from .kms import KMSKeys

        providers |= dict.fromkeys(services, KMSKeys(services, profile=found.profile))
    return _Ring(providers)


def _cipher(key: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise ConfigurationError("sealed tokens need the package cryptography: pip install 'mlssocial[crypto]'") from None
    return AESGCM(key)
