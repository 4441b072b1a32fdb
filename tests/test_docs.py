"""The documentation names what there is: no name and no command is left out, and none is made up."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

import mlssocial
from mlssocial import fastapi, flask, reso
from mlssocial.cli.app import COMMANDS

from .test_iam import FOR_WORKERS

ROOT = Path(__file__).parents[1]
FILES = {
    path.name if path.parent == ROOT else str(path.relative_to(ROOT / "docs")): path
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
}
PAGES = {name: path.read_text() for name, path in FILES.items()}
EVERYTHING = "\n".join(PAGES.values())


@pytest.mark.parametrize("name", mlssocial.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    """Every name of the door stands in the reference."""
    assert re.search(rf"\b{name}\b", PAGES["reference.md"])


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_documented(command: str) -> None:
    """Every command stands in the page about the command line."""
    assert f"`mlssocial {command}" in PAGES["command-line.md"]


@pytest.mark.parametrize("call", sorted(set(re.findall(r"\b([A-Z]\w+)\.objects\.(\w+)", EVERYTHING))))
def test_every_method_that_is_named_exists(call: tuple[str, str]) -> None:
    """Every Model.objects.method in the documentation is there."""
    model, method = call
    assert callable(getattr(getattr(mlssocial, model if hasattr(mlssocial, model) else "Listing").objects, method))


@pytest.mark.parametrize("function", sorted(set(re.findall(r"`keys\.(\w+)`", EVERYTHING))))
def test_every_key_function_that_is_named_exists(function: str) -> None:
    """Every keys.function in the documentation is there."""
    assert callable(getattr(mlssocial.keys, function))


def test_the_importers_names_exist() -> None:
    """The names of mlssocial.reso in the reference are its own."""
    (line,) = [line for line in PAGES["reference.md"].splitlines() if line.startswith("`mlssocial.reso`")]
    assert all(hasattr(reso, name) for name in re.findall(r"`(\w+)`", line))


@pytest.mark.parametrize("module", [fastapi, flask], ids=["fastapi", "flask"])
def test_every_name_of_an_integration_is_documented(module: ModuleType) -> None:
    """Every public name of the web frameworks' modules stands in the reference, in their lines."""
    (line,) = [line for line in PAGES["reference.md"].splitlines() if line.startswith(f"`{module.__name__}`")]
    assert all(f"`{name}" in line for name in module.__all__)


@pytest.mark.parametrize("method", sorted(FOR_WORKERS))
def test_what_the_app_role_may_not_is_documented(method: str) -> None:
    """Each method that needs the worker role stands in the page about security."""
    assert f"`{method}`" in PAGES["security.md"]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_somewhere(page: str) -> None:
    """Links between the pages lead to files that are there."""
    home = FILES[page].parent
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGES[page]):
        assert target.startswith("http") or (home / target).exists(), target
