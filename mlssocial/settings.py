"""Where the table is and how to reach it: :class:`Settings`, from the environment or from :func:`configure`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from threading import Lock
from typing import Any

from .exceptions import ConfigurationError

ENVIRONMENT_PREFIX = "MLSSOCIAL_"
LOCAL_PREFIX = "local:"

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
        max_input_bytes: How large JSON for one payload may be: see :meth:`Payload.from_json`.
        max_file_bytes: How much of a file is held at once: a line of a feed, the whole of one that is not one record a line,
            unzipped, or an audit's checkpoint.
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
    max_input_bytes: int = 1024 * 1024
    max_file_bytes: int = 64 * 1024 * 1024
    max_input_depth: int = 64
    max_input_digits: int = 400
    max_input_string: int = 400 * 1024
    max_input_entries: int = 100_000

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the setting."""
        for name in ("deadline", "connect_timeout", "read_timeout", "max_pool_connections"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ConfigurationError(f"{name}: a number above zero is needed, not {value!r}")
        if not isinstance(self.max_pool_connections, int):
            raise ConfigurationError(f"max_pool_connections: a whole number is needed, not {self.max_pool_connections!r}")
        for name in INPUT_LIMITS:
            _check_limit(name, getattr(self, name))
        for name in ("table_name", "region", "endpoint_url", "profile"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name == "table_name"):
                raise ConfigurationError(f"{name}: a string is needed, not {type(value).__name__}")
        if self.endpoint_url and ":" not in self.endpoint_url:
            raise ConfigurationError(f"endpoint_url: a URL is needed, or local: or local:PATH, not {self.endpoint_url!r}")
        if self.transport not in {"direct", "botocore"}:
            raise ConfigurationError(f"transport: 'direct' or 'botocore' is needed, not {self.transport!r}")
        if self.is_local and not self.table_name:
            object.__setattr__(self, "table_name", "mlssocial")

    @property
    def is_local(self) -> bool:
        """Whether the table is in the embedded engine."""
        return (self.endpoint_url or "").startswith(LOCAL_PREFIX)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read ``MLSSOCIAL_*``; an unknown name is refused, so that a typo is not a silent default."""
        known = {f"{ENVIRONMENT_PREFIX}{field.name.upper()}": field for field in fields(cls)}
        given = {name: value for name, value in environ.items() if name.startswith(ENVIRONMENT_PREFIX) and value}
        if unknown := sorted(given.keys() - known.keys() - _OTHERS):
            raise ConfigurationError(f"{', '.join(unknown)}: no such setting; there are {', '.join(sorted(known))}")
        return cls(**{known[name].name: _parsed(name, value) for name, value in given.items() if name in known})


# Environment variables of this project that are no settings of the table.
_OTHERS = frozenset({"MLSSOCIAL_TEST_ENDPOINT_URL"})
_NUMBERS: Mapping[str, Callable[[str], float]] = {
    "MLSSOCIAL_DEADLINE": float,
    "MLSSOCIAL_CONNECT_TIMEOUT": float,
    "MLSSOCIAL_READ_TIMEOUT": float,
    "MLSSOCIAL_MAX_POOL_CONNECTIONS": int,
    **{f"{ENVIRONMENT_PREFIX}{name.upper()}": int for name in INPUT_LIMITS},
}


def _parsed(name: str, value: str) -> Any:
    try:
        return _NUMBERS.get(name, str)(value)
    except ValueError:
        raise ConfigurationError(f"{name}: a number is needed, not {value!r}") from None


def _check_limit(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name}: a whole number above zero is needed, not {value!r}")


_lock = Lock()
_settings: Settings | None = None


def configure(settings: Settings | None = None, **changes: Any) -> Settings:
    """
    Set where the table is, for every model of this process, at once.

    Args:
        settings: A whole Settings to take over; without it the start is the environment (``MLSSOCIAL_*``).
        **changes: Fields of Settings, such as ``table_name="homes", region="us-west-2"``.

    Raises:
        ConfigurationError: A setting is unknown, of the wrong type or impossible.
    """
    global _settings
    known = {field.name for field in fields(Settings)}
    if unknown := sorted(changes.keys() - known):
        raise ConfigurationError(f"{', '.join(unknown)}: no such setting; there are {', '.join(sorted(known))}")
    made = replace(settings or Settings.from_env(), **changes)
    with _lock:
        _settings = made
    return made


def current() -> Settings:
    """Give the settings in force; the environment's where nothing was configured."""
    return _settings or configure()


def table_settings() -> Settings:
    """Give the settings in force, or ConfigurationError where they name no table."""
    settings = current()
    if not settings.table_name:
        raise ConfigurationError(
            "no table is configured: mlssocial.configure(table_name=..., region=...), or set MLSSOCIAL_TABLE_NAME; "
            "endpoint_url='local:' tries things out without AWS"
        )
    return settings
