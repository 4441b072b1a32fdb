"""examples/migration, as its README says: plan, up, status and down on the embedded engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

import pytest

import mlssocial
from mlssocial import Item, Listing

EXAMPLE = Path(__file__).parents[1] / "examples" / "migration"
PROGRAMS = {"mlssocial": [sys.executable, "-m", "mlssocial.cli"], "python": [sys.executable]}

pytestmark = pytest.mark.skipif(not EXAMPLE.is_dir(), reason="the examples are not there")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a copy of the example."""
    return shutil.copytree(
        EXAMPLE, tmp_path / "migration", ignore=shutil.ignore_patterns("*.db*", "__pycache__", "*.checkpoint")
    )


def run(command: str, project: Path) -> str:
    """Run one command of the README in the project's folder, in a process of its own."""
    words = command.split()
    environment = {**os.environ, "MLSSOCIAL_ENDPOINT_URL": "local:homes.db"}
    words = [*PROGRAMS[words[0]], *words[1:]]
    done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def test_runs_as_its_readme_says(project: Path) -> None:
    """Every command of the README prints what stands below it, from the first to the last."""
    blocks = re.findall(r"^```console\n(.*?)^```$", (project / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    steps = [step.partition("\n") for block in blocks for step in ("\n" + block).split("\n$ ")[1:]]
    assert steps[0][0] == "export MLSSOCIAL_ENDPOINT_URL=local:homes.db"
    assert len(steps) == 9
    for command, _, wanted in steps[1:]:
        found = run(command, project)
        assert OutputChecker().check_output(wanted.rstrip() + "\n", found, ELLIPSIS), (command, found)


def test_the_items_have_their_shape(project: Path) -> None:
    """What up has written is there, down takes back its own alone, and nothing else has changed."""
    run("mlssocial init", project)
    run("python seed.py", project)
    mlssocial.configure(endpoint_url=f"local:{project / 'homes.db'}")
    before = {item.sk: item.created_at for item in Item.objects.query("ann")}
    run("mlssocial migrations up --yes", project)
    listings = list(Listing.objects.query("ann"))
    assert [one.data.address and one.data.address.zip for one in listings] == ["89501", "89502", "89431"]
    assert [(one.data.model_extra or {})["photoCount"] for one in listings] == [1, 0, 0]
    assert {one.sk: one.created_at for one in listings} == before
    run("mlssocial migrations down --yes", project)
    assert [one.data.model_extra for one in Listing.objects.query("ann")] == [{}, {}, {}]
