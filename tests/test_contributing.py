"""CONTRIBUTING.md: its steps, followed in a copy of the package, make an entity; and its commands are there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mlssocial

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "CONTRIBUTING.md"

USE = """
import mlssocial
from mlssocial import ALL_USERS, Item, Note, NoteData
from mlssocial.connection import store

mlssocial.configure(endpoint_url="local:")
mlssocial.create_table()
made = Note.objects.create("u1", "n1", NoteData(listing_id="l1", text="By the park"))
assert made.data == Note.objects.get("u1", "n1").data and made.data.note_id == made.note_id == "n1"
assert (made.sk, made.gsi1pk, made.gsi1sk) == ("NOTE#n1", "LISTING#l1", "NOTE#n1")
assert [note.data for note in Note.objects.query_by_listing("l1", user_id="u1")] == [made.data]
assert list(Note.objects.query_by_listing("l1", user_id="u2")) == []
assert Note.objects.update("u1", "n1", listing_id="l2", text="By the river").gsi1pk == "LISTING#l2"
assert [type(item) for item in Item.objects.query("u1")] == [Note]
assert Note.objects.save_many(Note(user_id="u1", note_id=f"m{n}", data=NoteData()) for n in range(30)).written
assert Note.objects.query("u1").count() == 31
with mlssocial.transaction() as t:
    t.delete(Note, "u1", "m0")
key = {"PK": {"S": "USER#u1"}, "SK": {"S": "NOTE#n1"}}
store().client.update_item(TableName=store().table_name, Key=key, UpdateExpression="REMOVE GSI1PK")
assert mlssocial.audit_table(repair=True).counts == {"Note": {"half": 1}}
assert [note.note_id for note in Note.objects.query_by_listing("l2", user_id=ALL_USERS)] == ["n1"]
assert mlssocial.export_table("backup").items == {"Note": 30}
print(Note.objects.get("u1", "n1").data.text)
"""


def blocks(kind: str) -> list[str]:
    """Give the guide's fenced blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def apply(diff: str, home: Path) -> None:
    """Make the changes of a diff without line numbers: each piece of old lines stands once in its file."""
    for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        name, *hunks = part.split("@@\n")
        path = home / name.strip()
        text = path.read_text() if path.exists() else ""
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            assert text.count(old) == 1 or not text, f"{name.strip()}: {old}"
            text = text.replace(old, new) if text else new
        path.write_text(text)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a copy of the package, changed as the guide says."""
    home = tmp_path_factory.mktemp("copy")
    shutil.copytree(Path(mlssocial.__file__).parent, home / "mlssocial", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", home)
    for diff in blocks("diff"):
        apply(diff, home)
    return home


def test_the_steps_make_an_entity(copy: Path) -> None:
    """An entity that is added by the guide's steps is saved, read, found by its index, audited and exported."""
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, "-c", USE], cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "By the river\n"), done.stderr


def test_the_steps_are_in_style(copy: Path) -> None:
    """What the steps write passes the linter."""
    ruff = Path(sys.executable).with_name("ruff")
    command = [str(ruff), "check", "--no-cache", "mlssocial"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_its_commands_are_there() -> None:
    """Every make target that the guide names is one."""
    makefile = (ROOT / "Makefile").read_text()
    named = {word for words in re.findall(r"`make ([a-z ]+)`", GUIDE.read_text()) for word in words.split()}
    assert len(named) > 8
    assert [name for name in sorted(named) if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []
