"""README.md and docs/ run as tests: each page from its top, on an empty embedded engine."""

from __future__ import annotations

import os
from doctest import ELLIPSIS
from typing import Any

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

import mlssocial.settings
from mlssocial import local

_environment: dict[str, str] = {}


def _setup(namespace: dict[str, Any]) -> None:  # noqa: ARG001  sybil's signature
    _environment.update(os.environ)
    for name in [name for name in os.environ if name.startswith(("AWS_", "MLSSOCIAL_"))]:
        del os.environ[name]
    local.forget()


def _teardown(namespace: dict[str, Any]) -> None:  # noqa: ARG001
    os.environ.update(_environment)
    mlssocial.settings._settings = None  # noqa: SLF001


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS)],
    patterns=["*.md"],
    setup=_setup,
    teardown=_teardown,
).pytest()
