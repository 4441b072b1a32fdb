"""The command line. It delegates to the managers, and nothing imports it."""

from __future__ import annotations

from importlib.util import find_spec


def main() -> None:
    """Run the command line; exit 1 and say so where click or rich is missing."""
    if find_spec("click") is None or find_spec("rich") is None:
        raise SystemExit("the command line needs click and rich: pip install 'mlssocial[cli]'")
    from .app import cli

    cli(prog_name="mlssocial")
