"""Charts as inline SVG that keeps its type size at any width.

A chart is three SVGs side by side: value axis (fixed width), field (fluid), labels at the line
ends (fixed).  In the field x is in percent and y in pixels; lines, which cannot have percentages,
lie in a nested SVG that stretches while its strokes do not.  Colours are classes (style.css); all
text passes through `Markup.format`, which escapes it.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from shared.drawing import bar as bar
from simulations.report.scale import Scale, nice_ticks, round_ticks, spread

_TOP, _BOTTOM, _FOOT = 14, 222, 30  # pixels: upper and lower end of the field; room for the rounds
_HEIGHT = _BOTTOM + _FOOT
_LEFT, _RIGHT = 3.0, 97.0  # percent: where round 0 and the last round lie
_GAP = 16  # pixels between two labels
_MOST_DOTS = 25  # with more rounds the dots are there (they carry titles) but not seen
_LABEL_CHARACTERS = 14


@dataclass(frozen=True)
class Line:
    """A curve over rounds, or a level (a reference line) when it has a `level` and no points."""

    label: str
    css: str
    points: tuple[tuple[int, float], ...] = ()
    level: float | None = None

    @property
    def values(self) -> tuple[float, ...]:
        """All values the line goes through."""
        return tuple(value for _, value in self.points) or (self.last,)

    @property
    def last(self) -> float:
        """The value the label stands at."""
        return self.points[-1][1] if self.points else float(self.level or 0.0)


@dataclass(frozen=True)
class LineChart:
    """What `line_chart` draws.

    Args:
        lines: drawn in order, the last on top; more important ones last.
        marks: (round, what happened) crosses on the round axis.
        description: the chart in one sentence, for people who do not see it.
        write: how a value is written.
        low: value at which the axis must begin, if any.
    """

    lines: tuple[Line, ...]
    rounds: int
    description: str
    marks: tuple[tuple[int, str], ...] = ()
    write: Callable[[float], str] = "{:.4f}".format
    low: float | None = None


def line_chart(chart: LineChart) -> Markup:
    """Draw a chart of values by round."""
    off = _far_below(chart)
    values = [value for line in chart.lines if line not in off for value in line.values]
    if chart.low is not None:
        values.append(chart.low)
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    low = low if chart.low is not None and chart.low <= low else low - margin
    across = Scale(0, chart.rounds, _LEFT, _RIGHT)
    down = Scale(low, high + margin, _BOTTOM, _TOP)
    return Markup(
        '<div class="plot" role="img" aria-label="{}" data-plot="{}">{}{}{}</div>'
    ).format(
        chart.description,
        _tooltip_data(chart, across),
        _axis(chart, down),
        _field(chart, across, down, off),
        _labels(chart, down, off),
    )


def _far_below(chart: LineChart) -> tuple[Line, ...]:
    """Levels so low that showing them to scale would flatten everything else.

    They keep their label, with an arrow.  Only ever weaker baselines: what lies above the curves
    is always drawn to scale.
    """
    kept, off = list(chart.lines), []
    for line in sorted(
        (line for line in chart.lines if not line.points), key=lambda line: line.last
    ):
        others = [value for other in kept if other is not line for value in other.values]
        if chart.low is not None or not others:
            break
        if min(others) - line.last <= 0.6 * (max(others) - min(others)):
            break
        kept.remove(line)
        off.append(line)
    return tuple(off)


def _tooltip_data(chart: LineChart, across: Scale) -> str:
    """What page.js needs to show all values of the round under the pointer."""
    rows = []
    for line in reversed(chart.lines):
        at = dict(line.points)
        written = [
            chart.write(value) if (value := at.get(index, line.level)) is not None else None
            for index in range(chart.rounds + 1)
        ]
        rows.append([line.label, line.css, written])
    marks: dict[int, str] = {}
    for index, text in chart.marks:
        marks[index] = f"{marks[index]}; {text}" if index in marks else text
    places = [round(across(index), 3) for index in range(chart.rounds + 1)]
    return json.dumps({"x": places, "rows": rows, "marks": marks}, ensure_ascii=False)


def _ticks(down: Scale) -> list[float]:
    return nice_ticks(down.low, down.high, most=5)


def _tick_writer(ticks: Sequence[float]) -> Callable[[float], str]:
    """As many decimals as tell the ticks apart."""
    for decimals in range(5):
        written = [f"{tick:.{decimals}f}" for tick in ticks]
        exact = all(
            abs(float(text) - tick) < 1e-9 for text, tick in zip(written, ticks, strict=True)
        )
        if exact:
            return lambda tick, decimals=decimals: f"{tick:.{decimals}f}"  # type: ignore[misc]
    return "{:.4g}".format


def _axis(chart: LineChart, down: Scale) -> Markup:
    ticks = _ticks(down)
    write = _tick_writer(ticks)
    texts = [
        Markup('<text x="40" y="{:.1f}" dy="0.32em">{}</text>').format(down(tick), write(tick))
        for tick in ticks
    ]
    return Markup('<svg class="axis" aria-hidden="true" width="46" height="{}">{}</svg>').format(
        _HEIGHT, Markup("").join(texts)
    )


def _field(chart: LineChart, across: Scale, down: Scale, off: tuple[Line, ...]) -> Markup:
    parts = [
        Markup('<line class="grid" x1="0" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>').format(down(tick))
        for tick in _ticks(down)
    ]
    parts.append(Markup('<line class="base" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(_BOTTOM))
    for tick in round_ticks(chart.rounds):
        parts.append(
            Markup('<text class="tick" x="{:.2f}%" y="{}">{}</text>').format(
                across(tick), _BOTTOM + 20, tick
            )
        )
    paths = Markup("").join(_path(line, across, down) for line in chart.lines if line not in off)
    parts.append(
        Markup(
            '<svg class="lines" x="0" y="0" width="100%" height="{0}" viewBox="0 0 100 {0}" '
            'preserveAspectRatio="none">{1}</svg>'
        ).format(_HEIGHT, paths)
    )
    for line in chart.lines:
        for index, value in line.points:
            parts.append(
                Markup(
                    '<circle class="dot {}{}" cx="{:.2f}%" cy="{:.1f}" r="{}">'
                    "<title>{}, round {}: {}</title></circle>"
                ).format(
                    line.css,
                    "" if chart.rounds <= _MOST_DOTS else " dense",
                    across(index),
                    down(value),
                    3.5,
                    line.label,
                    index,
                    chart.write(value),
                )
            )
    for index, text in chart.marks:
        parts.append(
            Markup(
                '<g class="mark"><title>round {}: {}</title>'
                '<text x="{:.2f}%" y="{}" dy="0.36em">✕</text></g>'
            ).format(index, text, across(index), _BOTTOM)
        )
    return Markup('<svg class="field" aria-hidden="true" width="100%" height="{}">{}</svg>').format(
        _HEIGHT, Markup("").join(parts)
    )


def _path(line: Line, across: Scale, down: Scale) -> Markup:
    if not line.points:
        return Markup('<path class="line level {}" d="M0 {:.2f}H100"/>').format(
            line.css, down(line.last)
        )
    steps = [f"{across(index):.3f} {down(value):.2f}" for index, value in line.points]
    return Markup('<path class="line {}" d="M{}"/>').format(line.css, "L".join(steps))


def _labels(chart: LineChart, down: Scale, off: tuple[Line, ...]) -> Markup:
    """Names and last values at the line ends, moved apart, with a thin leader to the line."""
    wanted = [
        _BOTTOM + 2.0 * (len(off) - off.index(line)) if line in off else down(line.last)
        for line in chart.lines
    ]
    places = spread(wanted, _GAP, _TOP, _BOTTOM - 4)
    parts = []
    for line, at, place in zip(chart.lines, wanted, places, strict=True):
        if line not in off:
            parts.append(
                Markup('<path class="leader {}" d="M0 {:.1f}L9 {:.1f}"/>').format(
                    line.css, at, place
                )
            )
        parts.append(
            Markup(
                '<text class="end {}" x="13" y="{:.1f}" dy="0.34em"><title>{}</title>{}{}'
                '<tspan class="value" dx="5">{}</tspan></text>'
            ).format(
                line.css,
                place,
                line.label,
                "↓ " if line in off else "",
                shorten(line.label),
                chart.write(line.last),
            )
        )
    return Markup('<svg class="ends" aria-hidden="true" height="{}">{}</svg>').format(
        _HEIGHT, Markup("").join(parts)
    )


def shorten(text: str, most: int = _LABEL_CHARACTERS) -> str:
    """Cut in the middle, so that both ends of a long name can still be told apart."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[-(most - 1 - head) :]}"


def gain_bar(gains: Sequence[tuple[str, float]], low: float, high: float) -> Markup:
    """Bars of (class, gain) that grow from zero to either side, on a scale from low to high."""
    across = Scale(min(low, 0.0), max(high, 0.0) or 1e-9, 0, 100)
    zero = across(0.0)
    height = 14 * len(gains)
    parts = []
    for row, (css, gain) in enumerate(gains):
        parts.append(
            Markup('<rect class="{}" x="{:.2f}%" y="{}" width="{:.2f}%" height="11"/>').format(
                css, min(zero, across(gain)), 14 * row + 1, max(abs(across(gain) - zero), 0.3)
            )
        )
    parts.append(
        Markup('<line class="base" x1="{0:.2f}%" x2="{0:.2f}%" y1="-2" y2="{1}"/>').format(
            zero, height + 2
        )
    )
    return Markup('<svg class="bar" aria-hidden="true" width="100%" height="{}">{}</svg>').format(
        height, Markup("").join(parts)
    )
