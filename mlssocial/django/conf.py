"""The one setting, ``MLSSOCIAL``: the fields of :class:`mlssocial.Settings`, in upper case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

import mlssocial

NAMES = {field.name.upper(): field.name for field in fields(mlssocial.Settings)}
"""The keys of the setting, and what they set."""


def configure() -> mlssocial.Settings:
    """
    Put ``settings.MLSSOCIAL`` in force for the process, over the environment's ``MLSSOCIAL_*``.

    Raises:
        ImproperlyConfigured: It is no dict, has an unknown key, or cannot work.
    """
    # What was given is bound to no name here: a debug page shows the locals of every frame, and there may be keys in it.
    if not isinstance(_given(), Mapping):
        raise ImproperlyConfigured(f"MLSSOCIAL: a dict is needed, not {type(_given()).__name__}")
    if unknown := sorted(str(name) for name in _given() if name not in NAMES):
        raise ImproperlyConfigured(f"MLSSOCIAL: {', '.join(unknown)}: no such key; there are {', '.join(sorted(NAMES))}")
    try:
        return mlssocial.configure(**{NAMES[name]: value for name, value in _given().items()})
    except mlssocial.ConfigurationError as error:
        raise ImproperlyConfigured(f"MLSSOCIAL: {error}") from error


def follow(*, setting: str, **_: Any) -> None:
    """Take over what ``override_settings`` says, and what it goes back to."""
    if setting == "MLSSOCIAL":
        configure()


def _given() -> Any:
    given = getattr(settings, "MLSSOCIAL", None)
    return {} if given is None else given
