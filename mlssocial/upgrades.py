"""How a payload reads an older shape: declared once, and in force for every read of the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from . import codec, compiled
from .entities import Payload
from .exceptions import ConfigurationError
from .schema import ENTITIES

F = TypeVar("F", bound=Callable[[dict[str, Any]], dict[str, Any]])


def upgrade(payload: type[Payload]) -> Callable[[F], F]:
    """
    Declare how *payload* reads items of an older shape, so that both shapes are readable while a migration runs.

    The decorated function is given the fields of Data by their names there, with numbers as Decimal, and gives them as they
    would be today; of what is of today it gives the same. It is called for every item that is read, and for nothing that is
    written: a save() writes the new shape, an update() what it names, and index keys follow from what is stored, so that a
    field of theirs is for a migration to change. Payloads that have none cost what they did.

    Args:
        payload: One of the five entities' payloads, such as ``ListingData``.

    Raises:
        ConfigurationError: It is another payload, or has an upgrade already.
    """
    if payload not in {entity.payload for entity in ENTITIES.values()}:
        raise ConfigurationError(f"upgrade: a payload of an entity is needed, such as ListingData, not {payload!r}")

    def declare(function: F) -> F:
        if payload in codec.upgrades:
            raise ConfigurationError(f"upgrade: {payload.__name__} has one already; let one function call the other")
        codec.upgrades[payload] = function
        _compile_anew()
        return function

    return declare


def forget() -> None:
    """Take back every upgrade that was declared, as tests do."""
    codec.upgrades.clear()
    _compile_anew()


def _compile_anew() -> None:
    compiled.compiled.cache_clear()
    compiled.row_decoder.cache_clear()
