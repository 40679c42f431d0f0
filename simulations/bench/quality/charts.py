"""Two charts the run report does not have: dots with intervals, and curves with intervals.

As in `simulations.report.charts`: inline SVG, x in percent and y in pixels, so that type keeps
its size at any width; colours are classes; all text passes through `Markup.format`, which escapes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from simulations.report.charts import shorten
from simulations.report.scale import Scale, nice_ticks, spread

_ROW = 22  # pixels, height of a row of dots
_TOP, _BOTTOM, _HEIGHT = 14, 222, 252
_LEFT, _RIGHT = 4.0, 96.0  # percent, where the smallest and the largest epsilon lie
_BREAK = 0.82  # of that range is for finite epsilons where infinity is there too
_GAP = 16  # pixels between two labels


@dataclass(frozen=True)
class Point:
    """A value with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A family of systems by epsilon or another number, or a level (`at` is empty).

    `whiskers` are its intervals; without them they are in the titles only.  `nudge` moves them
    aside, in pixels, where two curves have points at the same numbers.
    """

    label: str
    css: str
    at: tuple[float, ...]
    points: tuple[Point, ...]
    whiskers: bool = True
    nudge: int = 0

    @property
    def ends(self) -> list[float]:
        """All values that have to be on the chart."""
        if not self.whiskers:
            return [point.value for point in self.points]
        return [end for point in self.points for end in (point.low, point.high)]


@dataclass(frozen=True)
class Axis:
    """Where the numbers that curves go by lie across, and how they are written.

    Args:
        places: number -> percent.
        write: as it stands below the axis.
        say: the same with what it is.
    """

    places: dict[float, float]
    write: Callable[[float], str]
    say: Callable[[float], str]


def dots_scale(points: Sequence[Point]) -> Scale:
    """The common scale of rows of dots, in percent; it need not begin at zero."""
    low, high = min(point.low for point in points), max(point.high for point in points)
    margin = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(max(0.0, low - margin), high + margin, 1, 99)


def dot(point: Point, css: str, scale: Scale, base: float | None) -> Markup:
    """One row: the interval as a line, the value as a dot, the base's value as a thin line."""
    parts = []
    if base is not None:
        parts.append(
            # beyond the row, so that the line is whole where a name needs two lines
            Markup('<line class="basis" x1="{0:.2f}%" x2="{0:.2f}%" y1="-8" y2="{1}"/>').format(
                scale(base), _ROW + 8
            )
        )
    parts.append(
        Markup(
            '<line class="span {0}" x1="{1:.2f}%" x2="{2:.2f}%" y1="{3}" y2="{3}"/>'
            '<circle class="mid {0}" cx="{4:.2f}%" cy="{3}" r="4.5"/>'
        ).format(css, scale(point.low), scale(point.high), _ROW / 2, scale(point.value))
    )
    return Markup('<svg class="dots" aria-hidden="true" width="100%" height="{}">{}</svg>').format(
        _ROW, Markup("").join(parts)
    )


def dots_axis(scale: Scale, write: Callable[[float], str]) -> Markup:
    """Ticks below the rows."""
    parts = [
        Markup(
            '<line class="base" x1="{0:.2f}%" x2="{0:.2f}%" y1="0" y2="4"/>'
            '<text x="{0:.2f}%" y="17">{1}</text>'
        ).format(scale(tick), write(tick))
        for tick in nice_ticks(scale.low, scale.high, most=4)
    ]
    return Markup('<svg class="dots" aria-hidden="true" width="100%" height="20">{}</svg>').format(
        Markup('<line class="base" x1="0" x2="100%" y1="0.5" y2="0.5"/>') + Markup("").join(parts)
    )


def epsilon_chart(curves: Sequence[Curve], description: str) -> Markup:
    """Values by epsilon on a logarithmic axis, with infinity (no privacy) set apart at its end."""
    places = logarithmic(sorted({at for curve in curves for at in curve.at}))
    return curve_chart(
        curves, description, Axis(places, _written, lambda at: f"ε = {_written(at)}")
    )


def curve_chart(curves: Sequence[Curve], description: str, axis: Axis) -> Markup:
    """Values by the numbers of an axis, the more important curves last."""
    ends = [end for curve in curves for end in curve.ends]
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or 0.05
    down = Scale(low - margin, high + margin, _BOTTOM, _TOP)
    return Markup('<div class="plot" role="img" aria-label="{}">{}{}{}</div>').format(
        description, _axis(down), _field(curves, axis, down), _labels(curves, down)
    )


def linear(places: Sequence[float]) -> dict[float, float]:
    """Number -> percent, evenly from the first to the last of them."""
    scale = Scale(places[0], places[-1], _LEFT, _RIGHT)
    return {place: scale(place) for place in places}


def logarithmic(places: Sequence[float]) -> dict[float, float]:
    """Number -> percent by its logarithm; infinity is set apart."""
    finite = [place for place in places if math.isfinite(place)]
    endless = len(finite) < len(places)
    right = _LEFT + _BREAK * (_RIGHT - _LEFT) if endless and finite else _RIGHT
    if not finite:
        return {math.inf: (_LEFT + _RIGHT) / 2}
    scale = Scale(math.log(finite[0]), math.log(finite[-1]), _LEFT, right)
    found = {place: scale(math.log(place)) for place in finite}
    return found | {math.inf: _RIGHT} if endless else found


def _axis(down: Scale) -> Markup:
    texts = [
        Markup('<text x="40" y="{:.1f}" dy="0.32em">{}</text>').format(down(tick), f"{tick:.4g}")
        for tick in nice_ticks(down.low, down.high)
    ]
    return Markup('<svg class="axis" aria-hidden="true" width="46" height="{}">{}</svg>').format(
        _HEIGHT, Markup("").join(texts)
    )


def _field(curves: Sequence[Curve], axis: Axis, down: Scale) -> Markup:
    across = axis.places
    parts = [
        Markup('<line class="grid" x1="0" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>').format(down(tick))
        for tick in nice_ticks(down.low, down.high)
    ]
    parts.append(Markup('<line class="base" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(_BOTTOM))
    taken = -math.inf
    for at, place in across.items():
        if place - taken >= 7:  # percent; two numbers closer than this run into each other
            parts.append(
                Markup('<text class="tick" x="{:.2f}%" y="{}">{}</text>').format(
                    place, _BOTTOM + 20, axis.write(at)
                )
            )
            taken = place
    paths = Markup("").join(_path(curve, across, down) for curve in curves)
    parts.append(
        Markup(
            '<svg class="lines" x="0" y="0" width="100%" height="{0}" viewBox="0 0 100 {0}" '
            'preserveAspectRatio="none">{1}</svg>'
        ).format(_HEIGHT, paths)
    )
    for curve in curves:
        for at, point in zip(curve.at, curve.points, strict=False):
            whisker = Markup('<line class="whisker {0}" x1="{1:.2f}%" x2="{1:.2f}%" ').format(
                curve.css, across[at]
            ) + Markup('y1="{:.1f}" y2="{:.1f}" transform="translate({} 0)"/>').format(
                down(point.low), down(point.high), curve.nudge
            )
            parts.append(
                Markup(
                    "<g><title>{1}, {2}: {3:.3f} ({4:.3f} to {5:.3f})</title>{6}"
                    '<circle class="dot {0}" cx="{7:.2f}%" cy="{8:.1f}" r="3.5"/></g>'
                ).format(
                    curve.css,
                    curve.label,
                    axis.say(at),
                    point.value,
                    point.low,
                    point.high,
                    whisker if curve.whiskers else "",
                    across[at],
                    down(point.value),
                )
            )
    return Markup('<svg class="field" aria-hidden="true" width="100%" height="{}">{}</svg>').format(
        _HEIGHT, Markup("").join(parts)
    )


def _path(curve: Curve, across: dict[float, float], down: Scale) -> Markup:
    """A level, or a line through the finite epsilons with a dashed piece to infinity."""
    if not curve.at:
        return Markup('<path class="line level {}" d="M0 {:.2f}H100"/>').format(
            curve.css, down(curve.points[0].value)
        )
    steps = [
        (math.isfinite(at), f"{across[at]:.3f} {down(point.value):.2f}")
        for at, point in zip(curve.at, curve.points, strict=True)
    ]
    finite = [step for private, step in steps if private]
    path = Markup("")
    if len(finite) > 1:
        path += Markup('<path class="line {}" d="M{}"/>').format(curve.css, "L".join(finite))
    if finite and len(finite) < len(steps):
        path += Markup('<path class="line level {}" d="M{}L{}"/>').format(
            curve.css, finite[-1], steps[-1][1]
        )
    return path


def _labels(curves: Sequence[Curve], down: Scale) -> Markup:
    wanted = [down(curve.points[-1].value) for curve in curves]
    places = spread(wanted, _GAP, _TOP, _BOTTOM - 4)
    parts = [
        Markup(
            '<path class="leader {0}" d="M0 {1:.1f}L9 {2:.1f}"/>'
            '<text class="end {0}" x="13" y="{2:.1f}" dy="0.34em"><title>{3}</title>{4}'
            '<tspan class="value" dx="5">{5:.2f}</tspan></text>'
        ).format(curve.css, at, place, curve.label, shorten(curve.label), curve.points[-1].value)
        for curve, at, place in zip(curves, wanted, places, strict=True)
    ]
    return Markup('<svg class="ends" aria-hidden="true" height="{}">{}</svg>').format(
        _HEIGHT, Markup("").join(parts)
    )


def _written(epsilon: float) -> str:
    return f"{epsilon:g}" if math.isfinite(epsilon) else "∞"
