"""Figures over time as lines of an SVG: where everything stands, for a template that draws it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from mlssocial.rollups import FIGURES, RATE, TOTAL, MetricsRow, Period, Series, series

from .shown import day, text

WIDE, HALF, NARROW = 960, 470, 350
"""Widths that charts are drawn for: text is scaled with a drawing, so a telephone gets one of its own."""

STYLES = 6
"""How many lines differ in colour, dashes and marks; further ones begin anew."""

_HEIGHT = 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 26, 12, 30
_MARK = 3.4


@dataclass(frozen=True, slots=True)
class Line:
    """One line: the total, of style 0, or a platform."""

    name: str
    style: int
    path: str
    marks: str
    total: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis, and what it is called."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Column:
    """A period: the strip that it takes of the drawing, and its values in words."""

    x: float
    width: float
    words: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart of one width."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    lines: list[Line]
    across: list[Tick]
    up: list[Tick]
    columns: list[Column]


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure's lines over time, its drawings, and the same values in words and in rows."""

    figure: str
    title: str
    description: str
    drawings: list[Drawing]
    names: list[str]
    rows: list[tuple[str, list[str]]]


@dataclass(frozen=True, slots=True)
class Totals:
    """What all the time comes to: a row for the total and each platform."""

    figures: list[str]
    rows: list[tuple[str, list[str]]]


def charts(rows: Sequence[MetricsRow], by: Period) -> list[Chart]:
    """Draw each figure twice: views as wide as a page, shares and inquiries half of that, and each for a telephone."""
    return [_chart(rows, figure, by, (WIDE if figure == FIGURES[0] else HALF, NARROW)) for figure in FIGURES]


def totals(rows: Sequence[MetricsRow]) -> Totals:
    """Sum the figures up, but for rates. The total is the days' own, which need not be the platforms' sum."""
    platforms = rows[0].platforms if rows else {}
    names = dict.fromkeys(name for figures in platforms.values() for name in figures if name != RATE)
    figures = [*FIGURES, *(name for name in names if name not in FIGURES)]
    summed = [(TOTAL, [count(sum(getattr(row, name) for row in rows)) if name in FIGURES else "" for name in figures])]
    for platform in platforms:
        values = (sum(row.platforms[platform].get(name, 0) for row in rows) for name in figures)
        summed.append((text(platform), [count(float(value)) for value in values]))
    return Totals([text(name) for name in figures], summed)


def count(value: float) -> str:
    """Write a figure; what is too long to be read is rounded."""
    return f"{value:,.0f}" if abs(value) < 1e12 else f"{value:.3g}"


def _chart(rows: Sequence[MetricsRow], figure: str, by: Period, widths: Sequence[int]) -> Chart:
    found = series(rows, figure)
    labels = [_label(row, by) for row in rows]
    top = max(map(max, found.values()))
    scale = _ceiling(top)
    said = (f"{text(name)}: {count(sum(values))} in all, {count(max(values))} at most" for name, values in found.items())
    return Chart(
        figure=figure,
        title=f"{figure.capitalize()} a {by}",
        description=f"{rows[0].start} to {rows[-1].end}. " + ". ".join(said) + ".",
        drawings=[_drawn(found, labels, scale, width, _styles(rows)) for width in widths],
        names=[text(name) for name in found],
        rows=[(label, [count(values[at]) for values in found.values()]) for at, label in enumerate(labels)],
    )


def _styles(rows: Sequence[MetricsRow]) -> dict[str, int]:
    """Give each platform the same style in every chart."""
    return {TOTAL: 0} | {platform: at % STYLES + 1 for at, platform in enumerate(rows[0].platforms)}


def _drawn(found: Series, labels: Sequence[str], scale: Sequence[float], width: int, styles: dict[str, int]) -> Drawing:
    left, right, bottom = _LEFT, width - _RIGHT, _HEIGHT - _BOTTOM
    band = (right - left) / len(labels)
    across = [left + (at + 0.5) * band for at in range(len(labels))]

    def height(value: float) -> float:
        return bottom - (bottom - _TOP) * max(value, 0) / scale[-1]

    each = max(1, math.ceil(5 * _MARK / band))  # marks that touch are no marks
    lines = [
        Line(text(name), styles[name], *_path(across, map(height, values), styles[name], each), count(sum(values)))
        for name, values in found.items()
    ]
    words = [
        f"{label}: " + ", ".join(f"{text(name)} {count(values[at])}" for name, values in found.items())
        for at, label in enumerate(labels)
    ]
    columns = [Column(round(left + at * band, 1), round(band, 1), said) for at, said in enumerate(words)]
    up = [Tick(round(height(value), 1), _short(value)) for value in scale]
    return Drawing(width, _HEIGHT, left, right, _TOP, bottom, lines, list(_ticks(labels, across, width)), up, columns)


def _path(across: Sequence[float], heights: Iterator[float], style: int, each: int) -> tuple[str, str]:
    points = list(zip(across, heights, strict=True))
    path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    if style == 0:
        return path, ""
    return path, " ".join(mark(style, x, y) for x, y in points[(len(points) - 1) % each :: each])


def mark(style: int, x: float, y: float) -> str:
    """Give the path of a mark: circle, square, triangle, diamond, and two more triangles, by style."""
    return _MARKS[(style - 1) % len(_MARKS)](x, y)


def _polygon(*corners: tuple[float, float]) -> Callable[[float, float], str]:
    return lambda x, y: "M" + " L".join(f"{x + dx * _MARK:.1f} {y + dy * _MARK:.1f}" for dx, dy in corners) + " Z"


def _circle(x: float, y: float) -> str:
    arc = f"a{_MARK} {_MARK} 0 1 0"
    return f"M{x - _MARK:.1f} {y:.1f} {arc} {2 * _MARK} 0 {arc} {-2 * _MARK} 0 Z"


_MARKS = (
    _circle,
    _polygon((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    _polygon((0, -1.2), (1.1, 0.9), (-1.1, 0.9)),
    _polygon((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    _polygon((0, 1.2), (1.1, -0.9), (-1.1, -0.9)),
    _polygon((1.2, 0), (-0.9, 1.1), (-0.9, -1.1)),
)


def _ticks(labels: Sequence[str], across: Sequence[float], width: int) -> Iterator[Tick]:
    """Name as many periods as there is room for, the last one among them."""
    each = max(1, math.ceil(len(labels) * 74 / (width - _LEFT)))
    for at in range((len(labels) - 1) % each, len(labels), each):
        yield Tick(round(across[at], 1), labels[at])


def _ceiling(top: float) -> list[float]:
    """Give round values from zero up to *top* or above, four steps or fewer."""
    least = max(top, 4) / 4
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * 0.999)
    step = step if step >= 10 else math.ceil(step)
    return [step * at for at in range(max(1, math.ceil(top / step)) + 1)]


def _short(value: float) -> str:
    for size, unit in ((1e9, "bn"), (1e6, "m"), (1e4, "k")):
        if size <= value < 1e12:
            return f"{value / (size if unit != 'k' else 1e3):g} {unit}"
    return count(value)


def _label(row: MetricsRow, by: Period) -> str:
    return f"{row.start:%b %Y}" if by == "month" else day(date(row.start.year, row.start.month, row.start.day))
