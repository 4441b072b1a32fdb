"""The site: it builds without a warning and without a network, and its pages load nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytest.importorskip("furo", reason="the extra docs is not installed")

WITHOUT_NETWORK = """
import socket, sys

def refused(*_, **__):
    raise OSError("this build asks no network")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refused
from sphinx.cmd.build import main
sys.exit(main(sys.argv[1:]))
"""


class Assets(HTMLParser):
    """What a page has the browser load: scripts, styles, images, fonts, frames."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the addresses that a tag loads by itself."""
        given = dict(attrs)
        loads = {"link": "href", "object": "data"}.get(tag, "src")
        if address := given.get(loads):
            self.found.add(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the site, as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("site")
    (options,) = re.findall(r"-m sphinx (.*) docs docs/_build/html", (ROOT / "Makefile").read_text())
    command = [
        sys.executable,
        "-c",
        WITHOUT_NETWORK,
        *options.split(),
        "-d",
        str(folder / "trees"),
        "docs",
        str(folder / "html"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_every_page_is_there(site: Path) -> None:
    """Each page of docs/ is one of the site, the frameworks' pages too."""
    wanted = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert wanted == {path for path in wanted if (site / path).exists()}


def test_nothing_comes_from_elsewhere(site: Path) -> None:
    """Pages and styles load nothing from other hosts: no fonts, no scripts, no badges."""
    assets = Assets()
    for page in site.rglob("*.html"):
        assets.feed(page.read_text())
    for style in site.rglob("*.css"):
        assets.found |= set(re.findall(r"(?:url\(|@import\s+)[\"']?([^\"')\s]+)", style.read_text()))
    assert len(assets.found) > 10
    assert [address for address in sorted(assets.found) if re.match(r"(\w+:)?//", address)] == []


def test_hidden_code_is_not_shown(site: Path) -> None:
    """What a page runs to set itself up does not stand in its source."""
    assert [page for page in site.rglob("*.html") if "invisible-code-block" in page.read_text()] == []


def test_docstrings_are_shown(site: Path) -> None:
    """The reference is made of docstrings: methods with their arguments and errors."""
    page = (site / "api" / "managers.html").read_text()
    assert "mlssocial.managers.ListingManager.query_by_status" in page
    assert "InvalidKeyError" in page
    assert re.search(r"<dt[^>]*>Parameters", page)
