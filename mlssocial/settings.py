"""Where the table is and how to reach it: :class:`Settings`, from the environment or from :func:`configure`."""

from __future__ import annotations

import base64
import binascii
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from .exceptions import ConfigurationError, PlaintextTokensWarning
from .masked import MaskedText
from .tokens import Secret

if TYPE_CHECKING:
    from .crypto import KeyProvider

ENVIRONMENT_PREFIX = "MLSSOCIAL_"
LOCAL_PREFIX = "local:"
KEY_BYTES = 32
"""How long a key of ``token_keys`` is: AES-256."""

INPUT_LIMITS = (
    "max_input_bytes",
    "max_file_bytes",
    "max_input_depth",
    "max_input_digits",
    "max_input_string",
    "max_input_entries",
)
"""The settings that hold JSON from outside within limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    All that can be configured. Times are in seconds.

    Attributes:
        table_name: The table. Needed, but for the embedded engine, where it is ``mlssocial`` unless said otherwise.
        region: AWS region; botocore's own sources (AWS_REGION, the profile) where None.
        endpoint_url: Another endpoint than AWS's: ``http://localhost:8000``, or ``local:`` and ``local:PATH`` for the
            embedded engine, in memory and in a file.
        profile: Profile of AWS's shared configuration.
        deadline: How long a call may take in all: every attempt, the reads that a write needs, and the pauses between. A page
            of a query is a call; a batch's deadline begins anew whenever something got through. Two things may pass it: the
            system's look-up of the endpoint's name, and, by a twentieth, the look at what became of a write that was cut off.
        connect_timeout: How long one attempt may take to connect, for each of the endpoint's addresses.
        read_timeout: How long one attempt may wait for the next piece of an answer.
        max_pool_connections: How many connections are kept; set it to the number of threads.
        transport: ``direct``, this project's own way for data operations, or ``botocore``.
        token_keys: The keys that tokens are sealed with, by id: the base64 of 32 bytes, or the ARN of a key or an alias in AWS
            KMS. Held as :class:`Secret`. In the environment ``k1=<base64>,k2=arn:aws:kms:...``.
        current_token_key: The id of the one that seals; the others open what they have sealed. Not needed where there is one.
        token_context: What all tokens are bound to beside their place; a token of another context does not open. It is not the
            table's name, which a restored backup changes.
        key_provider: Another source of keys, instead of *token_keys*.
        allow_plaintext_tokens: Without a key, write tokens in clear text, and warn; otherwise that is refused.
        max_input_bytes: How large JSON for one payload may be: see :meth:`Payload.from_json`.
        max_file_bytes: How much of a file is held at once: a line or a record of a feed, unzipped, or a job's checkpoint.
        max_input_depth: How deep lists and objects of JSON from outside may be nested.
        max_input_digits: How many digits a number of it may have.
        max_input_string: How many characters a text of it may have, as they are written.
        max_input_entries: How many entries a list or object of it may have.
    """

    table_name: str = ""
    region: str | None = None
    endpoint_url: str | None = None
    profile: str | None = None
    deadline: float = 10.0
    connect_timeout: float = 2.0
    read_timeout: float = 5.0
    max_pool_connections: int = 16
    transport: str = "direct"
    token_keys: Mapping[str, Any] = field(default_factory=dict, hash=False)
    current_token_key: str | None = None
    token_context: str = "mlssocial"  # noqa: S105  a name that all who share the table know
    key_provider: KeyProvider | None = field(default=None, hash=False)
    allow_plaintext_tokens: bool = False
    max_input_bytes: int = 1024 * 1024
    max_file_bytes: int = 64 * 1024 * 1024
    max_input_depth: int = 64
    max_input_digits: int = 400
    max_input_string: int = 400 * 1024
    max_input_entries: int = 100_000

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the setting."""
        object.__setattr__(self, "token_keys", _hidden(self.token_keys))
        self._check_numbers()
        for name in ("table_name", "region", "endpoint_url", "profile", "current_token_key", "token_context"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name in {"table_name", "token_context"}):
                raise ConfigurationError(f"{name}: a string is needed, not {type(value).__name__}")
        if self.endpoint_url and ":" not in self.endpoint_url:
            raise ConfigurationError(f"endpoint_url: a URL is needed, or local: or local:PATH, not {self.endpoint_url!r}")
        if self.transport not in {"direct", "botocore"}:
            raise ConfigurationError(f"transport: 'direct' or 'botocore' is needed, not {self.transport!r}")
        if not isinstance(self.allow_plaintext_tokens, bool):
            raise ConfigurationError(f"allow_plaintext_tokens: True or False is needed, not {self.allow_plaintext_tokens!r}")
        if self.is_local and not self.table_name:
            object.__setattr__(self, "table_name", "mlssocial")
        self._take_keys()

    def _check_numbers(self) -> None:
        for name in ("deadline", "connect_timeout", "read_timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ConfigurationError(f"{name}: a number above zero is needed, not {value!r}")
        for name in ("max_pool_connections", *INPUT_LIMITS):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name}: a whole number above zero is needed, not {value!r}")

    def _take_keys(self) -> None:
        """Check the keys."""
        if not isinstance(self.token_keys, Mapping):
            raise ConfigurationError("token_keys: a mapping of key ids to keys is needed")
        if self.token_keys and self.key_provider is not None:
            raise ConfigurationError("token_keys and key_provider: give one of them")
        for key_id, key in self.token_keys.items():
            _check_key(_key_id("token_keys", key_id), key)
        current = self.current_token_key
        if self.sealing_key is None and (self.token_keys or self.key_provider is not None):
            raise ConfigurationError("current_token_key: name the key that tokens are sealed with")
        if current is not None and current not in self.token_keys and self.key_provider is None:
            raise ConfigurationError(f"current_token_key: {current!r} is not among token_keys")
        if current is not None:
            _key_id("current_token_key", current)

    @property
    def is_local(self) -> bool:
        """Whether the table is in the embedded engine."""
        return (self.endpoint_url or "").startswith(LOCAL_PREFIX)

    def shared(self) -> dict[str, Any]:
        """Give what another process has to be told to work on the same table: no secret, and nothing of who this one is."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _OWN}

    @property
    def sealing_key(self) -> str | None:
        """The id of the key that seals tokens, None where there is none."""
        only = next(iter(self.token_keys)) if len(self.token_keys) == 1 else None
        return self.current_token_key or only

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read ``MLSSOCIAL_*``; an unknown name is refused, so that a typo is not a silent default."""
        known = {f"{ENVIRONMENT_PREFIX}{field.name.upper()}": field for field in fields(cls)}
        given = {
            name: MaskedText(value) if name in _SECRETS else value
            for name, value in environ.items()
            if name.startswith(ENVIRONMENT_PREFIX) and value
        }
        del environ  # a traceback with locals would show all of it, AWS's credentials too
        if unknown := sorted(given.keys() - known.keys() - _OTHERS):
            raise ConfigurationError(f"{', '.join(unknown)}: no such setting; there are {', '.join(sorted(known))}")
        return cls(**{known[name].name: _parsed(name, value) for name, value in given.items() if name in known})


# A process has these of its own environment: credentials, and what opens tokens.
_OWN = frozenset({"profile", "token_keys", "current_token_key", "key_provider"})
_SECRETS = frozenset({"MLSSOCIAL_TOKEN_KEYS", "MLSSOCIAL_RESO_CLIENT_SECRET", "MLSSOCIAL_RESO_TOKEN"})
# Environment variables of this project that are no settings of the table.
_OTHERS = frozenset({"MLSSOCIAL_RESO_CLIENT_SECRET", "MLSSOCIAL_RESO_TOKEN", "MLSSOCIAL_TEST_ENDPOINT_URL"})
_NUMBERS: Mapping[str, Callable[[str], float]] = {
    "MLSSOCIAL_DEADLINE": float,
    "MLSSOCIAL_CONNECT_TIMEOUT": float,
    "MLSSOCIAL_READ_TIMEOUT": float,
    "MLSSOCIAL_MAX_POOL_CONNECTIONS": int,
    **{f"{ENVIRONMENT_PREFIX}{name.upper()}": int for name in INPUT_LIMITS},
}
_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _parsed(name: str, value: str) -> Any:
    if name == "MLSSOCIAL_TOKEN_KEYS":
        return _keys_of(value)
    if name == "MLSSOCIAL_ALLOW_PLAINTEXT_TOKENS":
        if value.lower() not in _FLAGS:
            raise ConfigurationError(f"{name}: true or false is needed, not {value!r}")
        return _FLAGS[value.lower()]
    if name == "MLSSOCIAL_KEY_PROVIDER":
        raise ConfigurationError(f"{name}: a provider is an object; configure(key_provider=...)")
    try:
        return _NUMBERS.get(name, str)(value)
    except ValueError:
        raise ConfigurationError(f"{name}: a number is needed, not {value!r}") from None


def _typed(name: str, value: Any) -> Any:
    """Give a setting's value of what a framework's configuration has for it."""
    if isinstance(value, int) and not isinstance(value, bool) and name not in _NUMBERS:
        value = str(value)
    return _parsed(name, value) if isinstance(value, str) else value


def _keys_of(text: str) -> dict[str, Secret]:
    """Read ``k1=<base64>,k2=arn:aws:kms:...``; an error shows nothing of it, nor does its frame."""
    pairs = [_pair(part) for part in text.split(",") if part.strip()]
    if not all(key for _, key in pairs):
        raise ConfigurationError("MLSSOCIAL_TOKEN_KEYS: key ids and keys are needed, as in k1=<base64>,k2=<ARN>")
    keys = {key_id.reveal(): key for key_id, key in pairs}
    if len(keys) < len(pairs):
        raise ConfigurationError("MLSSOCIAL_TOKEN_KEYS: a key id is given twice")
    return keys


def _pair(text: str) -> tuple[Secret, Secret]:
    """Take a key id and its key apart; an empty key where one of them is missing."""
    key_id, _, key = text.strip().partition("=")
    return Secret(key_id), Secret(key if key_id else "")


_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_KMS_KEY = re.compile(r"arn:[a-z0-9-]+:kms:[a-z0-9-]+:\d{12}:(key|alias)/[A-Za-z0-9/_-]+", re.ASCII)


def is_kms_key(key: str) -> bool:
    """Tell whether a key of ``token_keys`` is one of AWS KMS."""
    return _KMS_KEY.fullmatch(key) is not None


def _key_id(name: str, key_id: object) -> str:
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise ConfigurationError(f"{name}: a key id is 1 to 64 letters, digits, '_', '.' and '-'")
    return key_id


def _hidden(keys: object) -> Any:
    """Hide keys before anything is found wrong with them; what is no mapping stays none."""
    if not isinstance(keys, Mapping):
        return Secret("")
    return {
        key_id: key if isinstance(key, Secret) else Secret(key if isinstance(key, str) else "") for key_id, key in keys.items()
    }


def hide_keys(keys: object) -> Any:
    """Give token keys so that they do not show, of a mapping or of the text that the environment would have."""
    if isinstance(keys, str):
        keys = MaskedText(keys)
        return _keys_of(keys)
    return _hidden(keys)


def _check_key(key_id: str, key: Secret) -> None:
    if not _is_key(key.reveal()):
        wanted = f"neither the base64 of {KEY_BYTES} bytes ('mlssocial token-key' makes one) nor a KMS key's ARN"
        raise ConfigurationError(f"token_keys: {key_id} is {wanted}")


def _is_key(text: str) -> bool:
    try:
        return is_kms_key(text) or len(base64.b64decode(text, validate=True)) == KEY_BYTES
    except (binascii.Error, ValueError):
        return False


_lock = Lock()
_settings: Settings | None = None
_scope: ContextVar[Settings | None] = ContextVar("mlssocial_settings", default=None)


def configure(settings: Settings | None = None, **changes: Any) -> Settings:
    """
    Set where the table is, for every model of this process, at once.

    Args:
        settings: A whole Settings to take over; without it the start is the environment (``MLSSOCIAL_*``).
        **changes: Fields of Settings, such as ``table_name="homes", region="us-west-2"``.

    Warns:
        PlaintextTokensWarning: Tokens will be written in clear text.

    Raises:
        ConfigurationError: A setting is unknown, of the wrong type or impossible.
    """
    global _settings
    if "token_keys" in changes:
        changes["token_keys"] = _hidden(changes["token_keys"])
    made = changed(settings or Settings.from_env(), changes)
    with _lock:
        _settings = made
    return made


def changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    """Give settings with some of them changed, as configure() does, without putting them in force."""
    if "token_keys" in changes:
        changes["token_keys"] = _hidden(changes["token_keys"])
    known = {field.name for field in fields(Settings)}
    if unknown := sorted(changes.keys() - known):
        raise ConfigurationError(f"{', '.join(unknown)}: no such setting; there are {', '.join(sorted(known))}")
    made = replace(settings, **changes)
    if made.allow_plaintext_tokens and made.sealing_key is None:
        message = "tokens are written in clear text, for whoever reads the table; configure(token_keys=...) seals them"
        warnings.warn(message, PlaintextTokensWarning, stacklevel=3)
    return made


def from_config(settings: Settings, config: Mapping[str, Any]) -> Settings:
    """
    Give settings with what a framework's configuration says over them: its keys ``MLSSOCIAL_*``, of which none may be unknown.

    A value is of its setting's type, or the text that the environment would have; what was made of such a text by a parser of
    JSON, as ``123`` of a table's name, is text again. None and empty text leave the setting as it is.
    """
    known = {f"{ENVIRONMENT_PREFIX}{field.name.upper()}": field.name for field in fields(Settings)}
    given = {
        name: hide_keys(value) if name in _SECRETS else value
        for name, value in config.items()
        if name.startswith(ENVIRONMENT_PREFIX) and value is not None and value != ""
    }
    del config  # as the environment
    if unknown := sorted(given.keys() - known.keys()):
        raise ConfigurationError(f"{', '.join(unknown)}: no such setting; there are {', '.join(sorted(known))}")
    return changed(settings, {known[name]: _typed(name, value) for name, value in given.items()})


def current() -> Settings:
    """Give the settings in force; the environment's where nothing was configured."""
    return _scope.get() or _settings or configure()


def scoped() -> Settings | None:
    """Give the settings that are in force for this context alone, None where it has those of the process."""
    return _scope.get()


@contextmanager
def using(settings: Settings) -> Iterator[None]:
    """Put settings in force for this context and its copies alone, whatever configure() says meanwhile."""
    token = _scope.set(settings)
    try:
        yield
    finally:
        _scope.reset(token)


@contextmanager
def restored() -> Iterator[None]:
    """Put the whole process's settings back after a block, whatever it configures: for tests."""
    global _settings
    before = _settings
    try:
        yield
    finally:
        with _lock:
            _settings = before


def are_everyones(settings: Settings) -> bool:
    """Tell whether settings are those of the whole process, and not of one context alone."""
    return settings is _settings


def table_settings() -> Settings:
    """Give the settings in force, or ConfigurationError where they name no table."""
    settings = current()
    if not settings.table_name:
        raise ConfigurationError(
            "no table is configured: mlssocial.configure(table_name=..., region=...), or set MLSSOCIAL_TABLE_NAME; "
            "endpoint_url='local:' tries things out without AWS"
        )
    return settings
