"""Figures over time, by platform: drawn in the terminal, and with matplotlib as PNG or SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from mlssocial.exceptions import ConfigurationError
from mlssocial.rollups import FIGURES, TOTAL, MetricsRow, Period, series

from .items import text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ROWS = 3
_COLOURS = {TOTAL: "bold", "facebook": "blue", "instagram": "magenta", "linkedin": "cyan", "twitter": "white"}


def terminal(rows: Sequence[MetricsRow], by: Period) -> Iterator[Text]:
    """Draw the figures in blocks, a column a period, every line of one figure to the same scale."""
    lines = {figure: series(rows, figure) for figure in FIGURES}
    width = max(len(name) for found in lines.values() for name in found)
    for figure, found in lines.items():
        top = max(map(max, found.values()))
        yield Text(f"{figure} by {by}, {rows[0].start} to {rows[-1].end}, at most {top:,.0f}", style="bold")
        for name, values in found.items():
            drawn = list(blocks(values, top))
            for line in filter(str.strip, drawn[:-1]):
                yield Text.assemble(" " * (width + 3), (line, _COLOURS.get(name, "")))
            total = f"  {sum(values):,.0f}"
            yield Text.assemble(f"  {text(name):<{width}} ", (drawn[-1], _COLOURS.get(name, "")), total)
        yield Text()


def blocks(values: Sequence[float], top: float, rows: int = _ROWS) -> Iterator[str]:
    """Draw values as columns of *rows* characters, from the upper row to the lowest; any value above zero can be seen."""
    steps = len(_BLOCKS) - 1
    heights = [0 if value <= 0 or top <= 0 else max(1, round(value / top * steps * rows)) for value in values]
    for row in reversed(range(rows)):
        yield "".join(_BLOCKS[min(steps, max(0, height - row * steps))] for height in heights)


def save(rows: Sequence[MetricsRow], by: Period, title: str, path: Path) -> None:
    """Draw the figures into a PNG or SVG file; ConfigurationError if matplotlib is not there, or the file cannot be written."""
    try:
        drawn = _figure(rows, by, title)
        drawn.savefig(path, format=path.suffix[1:].lower(), dpi=150)
    except ImportError:
        raise ConfigurationError(f"{path}: matplotlib is not installed: pip install 'mlssocial[plot]'") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: it cannot be written: {error.strerror}") from error


def _figure(rows: Sequence[MetricsRow], by: Period, title: str) -> Figure:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 7), layout="constrained")
    figure.suptitle(_literal(title))
    days = [row.start for row in rows]
    for axes, name in zip(figure.subplots(len(FIGURES), 1, sharex=True), FIGURES, strict=True):
        for platform, values in series(rows, name).items():
            style = {"color": "0.6", "linestyle": "--"} if platform == TOTAL else {}
            axes.plot(days, values, label=_literal(platform), marker="o", markersize=3, **style)
        axes.set_ylabel(f"{name} a {by}")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.grid(visible=True, alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    return figure


def _literal(name: str) -> str:
    """Give text that matplotlib draws as it is: no formula, and nothing that it hides from the legend."""
    shown = text(name).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown
