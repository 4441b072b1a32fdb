"""The newcomer's path: in a clean checkout the README's commands, its tour, the tutorial and the examples work as written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEFTOVERS = (".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info", "build", "dist", "_build", "*.db*")
PAGES = ["README.md", "docs/tutorial.md"]


def commands() -> list[str]:
    """Give the commands of the README's section of two."""
    (section,) = re.findall(r"^## Two commands\n(.*?)^## ", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return re.findall(r"^    (make \w+)", section, re.MULTILINE)


def test_two_commands() -> None:
    """The README begins with two commands, and the makefile has both."""
    assert commands() == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{command.split()[1]}:", makefile, re.MULTILINE) for command in commands())


def test_every_page_is_led_to() -> None:
    """Each page of docs/ is linked from the README or from the site's first page."""
    first = (ROOT / "README.md").read_text() + (ROOT / "docs" / "index.md").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert re.search(rf"\b{re.escape(path.stem)}\b", first), path


def test_path_from_a_clean_checkout(tmp_path: Path, soak: bool) -> None:
    """In a copy where nothing is made, ``make demo`` sets all up; then the tour, the tutorial and the examples run there."""
    if not soak:
        pytest.skip("setting all up takes minutes: make wheels")
    checkout = shutil.copytree(ROOT, tmp_path / "mlssocial", ignore=shutil.ignore_patterns(*LEFTOVERS))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLSSOCIAL_", "PYTHON"))}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout[-3000:], done.stderr[-3000:])
        return done.stdout

    python = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    assert "12 questions" in run("make", "demo", f"PYTHON={python}")
    examples = [str(path.relative_to(checkout)) for path in (checkout / "tests").glob("test_example*.py")]
    assert " passed" in run(".venv/bin/pytest", "-q", "-n0", "--no-cov", *PAGES, *examples)
    run(".venv/bin/mlssocial", "--version")
