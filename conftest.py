"""README.md and docs/ run as tests: each page from its top, on an empty embedded engine, in a folder of its own."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

import mlssocial.settings
from mlssocial import local, upgrades
from mlssocial.cli.app import cli

_environment: dict[str, str] = {}
_folders: list[tuple[Path, TemporaryDirectory[str]]] = []


def _setup(namespace: dict[str, Any]) -> None:  # noqa: ARG001  sybil's signature
    _environment.update(os.environ)
    for name in [name for name in os.environ if name.startswith(("AWS_", "MLSSOCIAL_"))]:
        del os.environ[name]
    local.forget()
    folder = TemporaryDirectory()
    _folders.append((Path.cwd(), folder))
    os.chdir(folder.name)


def _teardown(namespace: dict[str, Any]) -> None:  # noqa: ARG001
    for name in os.environ.keys() - _environment.keys():
        del os.environ[name]
    os.environ.update(_environment)
    mlssocial.settings._settings = None  # noqa: SLF001
    upgrades.forget()
    home, folder = _folders.pop()
    os.chdir(home)
    folder.cleanup()


def _console(example: Example) -> str | None:
    """
    Run the commands of a console block, and compare what each prints with what stands below it.

    What the page has as ``https://api.example.com`` is the server that *stand_in* names, where it has one.
    """
    stand_in = example.namespace.get("stand_in", "https://api.example.com")
    for block in ("\n" + example.parsed.replace("\\\n", " ")).split("\n$ ")[1:]:
        command, _, wanted = block.partition("\n")
        words = shlex.split(command.partition(" # ")[0].replace("https://api.example.com", stand_in))
        if words[0] == "export":
            os.environ.update([words[1].split("=", 1)])
            continue
        if words[0] != "mlssocial":
            return f"a page runs no other command than ours: {command}"
        found = CliRunner().invoke(cli, words[1:]).output.replace(stand_in, "https://api.example.com")
        if not OutputChecker().check_output(wanted.rstrip() + "\n" if wanted.strip() else "", found, ELLIPSIS):
            return f"$ {command}\n{found}\nand the page says\n{wanted}"
    return None


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS), CodeBlockParser("console", _console)],
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
