"""The documentation names what there is: no name, command, option, setting or error is left out, and none is made up."""

from __future__ import annotations

import dataclasses
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

import mlssocial
from mlssocial import Settings, exceptions, fastapi, flask, reso
from mlssocial.cli.app import COMMANDS, cli
from mlssocial.settings import ENVIRONMENT_PREFIX

from .test_iam import FOR_WORKERS

ROOT = Path(__file__).parents[1]
FILES = {
    path.name if path.parent == ROOT else str(path.relative_to(ROOT / "docs")): path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
}
PAGES = {name: path.read_text() for name, path in FILES.items()}
EVERYTHING = "\n".join(PAGES.values())


@pytest.mark.parametrize("name", mlssocial.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    """Every name of the door stands in the reference, and has its docstring in a page below it."""
    assert re.search(rf"\b{name}\b", PAGES["reference.md"])
    api = "\n".join(page for name, page in PAGES.items() if name.startswith("api/"))
    assert re.search(rf"^\.\. auto\w+:: mlssocial\.{name}$", api, re.MULTILINE)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_documented(command: str) -> None:
    """Every command stands in the page about the command line."""
    assert f"`mlssocial {command}" in PAGES["command-line.md"]


@pytest.mark.skipif(not (ROOT / "tools").is_dir(), reason="the tools are not there")
def test_every_option_is_documented() -> None:
    """The page of options is what the commands say: ``make options`` writes it."""
    written = runpy.run_path(str(ROOT / "tools" / "write_options.py"))["page"]()
    assert written == PAGES["options.md"]
    assert not re.search(r"\|  \|$", written, re.MULTILINE)


@pytest.mark.parametrize("setting", [field.name for field in dataclasses.fields(Settings)])
def test_every_setting_is_documented(setting: str) -> None:
    """Every setting has its line in the table, with its environment variable where it has one."""
    (line,) = re.findall(rf"^\| `{setting}` \|.*$", PAGES["usage.md"], re.MULTILINE)
    assert f"`{ENVIRONMENT_PREFIX}{setting.upper()}`" in line or setting == "key_provider"


ERRORS = [
    name
    for name, kind in vars(exceptions).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and hasattr(mlssocial, name)
]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_has_a_remedy(error: str) -> None:
    """Every error has a section in the catalogue, which says what to do; only the base has none."""
    (section,) = re.findall(rf"^## {error}\n(.*?)(?=^## |\Z)", PAGES["errors.md"], re.MULTILINE | re.DOTALL)
    assert "**Remedy:**" in section or error == "MLSSocialError"


def test_every_error_of_the_catalogue_exists() -> None:
    """The catalogue has no error that is not there."""
    assert sorted(re.findall(r"^## (\w+)$", PAGES["errors.md"], re.MULTILINE)) == sorted(ERRORS)


def command_lines() -> Iterator[tuple[str, str]]:
    """Give each line of a page that calls the command, in a block or indented, with its page."""
    for page, text in PAGES.items():
        blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        shell = "\n".join([*blocks, *re.findall(r"^ {4}(mlssocial .*)$", text, re.MULTILINE)]).replace("\\\n", " ")
        for line in re.findall(r"^(?:\$ )?(mlssocial [a-z-].*)$", shell, re.MULTILINE):
            for part in line.partition(" # ")[0].split("&&"):
                yield page, part.strip()


@pytest.mark.parametrize(("page", "line"), sorted(set(command_lines())))
def test_every_command_line_can_be_called(page: str, line: str) -> None:
    """Each command that a page calls is one, and knows the options that it is given."""
    words = [word for word in shlex.split(line.replace("...", "")) if word != "…"]
    command: click.Command = cli
    known = {name for one in cli.params for name in one.opts}
    for word in words[1:]:
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(click.Context(command), word)
            if found is None:
                assert command is cli, (page, line)  # what an option of the group takes
                continue
            command = found
            known |= {name for one in command.params for name in one.opts}
    assert not isinstance(command, click.Group), line
    assert {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"} - known - {"--help"} == set()


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
