"""Writes docs/options.md, every option of every command, from the commands themselves: ``make options``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from mlssocial.cli.app import COMMANDS, cli

PAGE = Path(__file__).parents[1] / "docs" / "options.md"
HEAD = """# Every option

As `mlssocial COMMAND --help` prints them; what the commands do is in [command line](command-line.md).
`make options` writes this page, and a test fails where it is not what the commands say. `--json` and
`--verbose` are there for every command, and so are those that say where the table is, before the
command's name or behind it:
"""


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Give a command, or those of a group, by the words that call them."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    for part, inner in command.commands.items():
        yield from commands(inner, f"{name} {part}")


def value_of(kind: click.ParamType) -> str:
    """Name the values that an option takes."""
    if isinstance(kind, click.Choice):
        return "\\|".join(kind.choices)
    return "N" if isinstance(kind, click.types.IntParamType) else kind.name.upper()


def row(option: click.Option) -> str:
    """Write one option as a line of a table."""
    value = "" if option.is_flag else option.metavar or value_of(option.type)
    default = option.default if option.show_default or isinstance(option.default, int) else None
    said = f" Without it: {default}." if default and not option.is_flag else ""
    names = ", ".join(f"`{name}`" for name in option.opts)
    text = re.sub(r"(?<!\S)--[a-z-]+", r"`\g<0>`", option.help or "")
    return f"| {names} | {value} | {text}{said}{' Needed.' if option.required else ''} |"


def table(options: list[click.Option]) -> str:
    """Write the options of a command."""
    return "\n".join(["| option | value | |", "|---|---|---|", *map(row, options)])


def own(command: click.Command, shared: set[str]) -> list[click.Option]:
    """Give the options of a command beside those that all have."""
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    return [one for one in options if one.opts[-1] not in shared]


def page() -> str:
    """Write the whole page."""
    everywhere = own(cli, {"--version"})
    shared = {option.opts[-1] for option in everywhere}
    parts = [HEAD, table(everywhere)]
    context = click.Context(cli)
    for word in COMMANDS:
        found = cli.get_command(context, word)
        for name, command in commands(found, word) if found else ():
            if options := own(command, shared):
                parts += [f"\n## mlssocial {name}\n", table(options)]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
