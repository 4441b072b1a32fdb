"""Tables, as plain text for a terminal and as Markdown for the documentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a head, and rows of cells; the first column is text, the others are figures."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def text(self) -> str:
        """Write it for a terminal."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        lines = [_padded(row, widths) for row in (self.head, *self.rows)]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([self.title, "", *lines, *self._notes()])

    def markdown(self) -> str:
        """Write it for the documentation."""
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        lines = [f"| {' | '.join(row)} |" for row in (self.head, rule, *self.rows)]
        return "\n".join([f"### {self.title}", "", *lines, *self._notes()])

    def _notes(self) -> list[str]:
        return ["", *(f"* {note}" for note in self.notes)] if self.notes else []


def text(tables: Sequence[Table]) -> str:
    """Write several tables for a terminal."""
    return "\n\n".join(table.text() for table in tables) + "\n"


def markdown(tables: Sequence[Table], machine: Mapping[str, str]) -> str:
    """Write several tables for the documentation, with the machine that made them."""
    facts = [f"* {name}: {f'`{value}`' if name == 'command' else value}" for name, value in machine.items()]
    return "\n\n".join(["\n".join(facts), *(table.markdown() for table in tables)]) + "\n"


def figure(value: float) -> str:
    """Write a number with three or four digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(value: float) -> str:
    """Write how many times as much something is."""
    return f"{value:.1f}x" if value >= 10 else f"{value:.2f}x" if value >= 0.1 else f"{value:.3f}x"


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))]
    return "  ".join(padded).rstrip()
