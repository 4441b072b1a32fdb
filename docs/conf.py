"""How the documentation is built: ``make docs``, without a network, and with warnings as errors."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "mlssocial"
release = metadata.version("mlssocial")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = True
smartquotes_action = "D"  # the dashes that Sphinx puts into lists of errors; quotes stay as they are
# Types of attributes and bases that have no page here: other packages', type variables, and classes behind the door.
nitpick_ignore_regex = [
    ("py:(class|obj)", r"(enum|pathlib|collections|datetime|decimal|concurrent|pynamodb|pydantic)\..*"),
    ("py:(class|obj)", r"mlssocial\.\w+(\.\w+)+"),
]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True}
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"mlssocial {release}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_copy_source = False
html_show_sourcelink = False

ROOT = Path(__file__).parents[1]
# Files beside docs/, by the pages that they are here.
BESIDE = {
    "contributing": "CONTRIBUTING.md",
    "changes": "CHANGELOG.md",
    "security-policy": "SECURITY.md",
    "benchmarks": "benchmarks/README.md",
}
# What a page runs as a test and does not show.
HIDDEN = re.compile(r"<!--- invisible-code-block.*?-->\n?", re.DOTALL)


def as_page(app: Sphinx, name: str, content: list[str]) -> None:  # noqa: ARG001  Sphinx's signature
    """Take a page as it is read on a repository's host, and make it one of this site."""
    text = content[0]
    if name in BESIDE:
        text = (ROOT / BESIDE[name]).read_text().replace("](docs/", "](")
    text = HIDDEN.sub("", text).replace("](../README.md", "](index.md")
    for page, path in BESIDE.items():
        text = text.replace(f"](../{path}", f"]({page}.md").replace(f"]({path}", f"]({page}.md")
    content[0] = text


def setup(app: Sphinx) -> None:
    """Register what is ours."""
    app.connect("source-read", as_page)
