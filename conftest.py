"""README.md and docs/ run as tests: each page from its top, on an empty embedded engine."""

from __future__ import annotations

import os
from collections import Counter
from doctest import ELLIPSIS
from typing import Any

import pytest
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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --soak; it stands here since pytest wants its options before it looks at tests/."""
    parser.addoption("--soak", action="store_true", help="run the proofs at large size, for minutes or hours: see make soak")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how much the proofs have tried."""
    total: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                total.update(dict(report.user_properties).get("tally", {}))
    if total:
        terminalreporter.line("tried: " + ", ".join(f"{count:,} {name}" for name, count in total.items()))
