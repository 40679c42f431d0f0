"""ROC charts as inline SVG: false positive rate on a logarithmic axis, true positive rate upwards.

Drawn like `simulations.report.charts`: type keeps its size, lines lie in a nested SVG that
stretches.  What lies above a wall (the bound) is shaded: no attack may be there.
"""

import math
from dataclasses import dataclass

from markupsafe import Markup

from simulations.report.scale import Scale

_TOP, _BOTTOM, _FOOT = 14, 254, 30  # pixels
_HEIGHT = _BOTTOM + _FOOT
_LOWEST = 1e-3
"""Smallest false positive rate that is drawn."""
_TICKS = ((0.001, "0.1 %"), (0.01, "1 %"), (0.1, "10 %"), (1.0, "100 %"))


@dataclass(frozen=True)
class Curve:
    """A curve of (false positive rate, true positive rate); above a `wall` nothing may lie."""

    label: str
    css: str
    points: tuple[tuple[float, float], ...]
    wall: bool = False


@dataclass(frozen=True)
class CurveChart:
    """Curves, the last on top, and the chart in a sentence for people who do not see it."""

    curves: tuple[Curve, ...]
    description: str


def curve_chart(chart: CurveChart) -> Markup:
    """Draw it, with its legend."""
    across = Scale(math.log(_LOWEST), 0.0, 2.0, 98.0)
    down = Scale(0.0, 1.0, _BOTTOM, _TOP)
    keys = Markup("").join(
        Markup('<span><i class="key {}"></i>{}</span>').format(curve.css, curve.label)
        for curve in reversed(chart.curves)
    )
    return Markup(
        '<div class="curve" role="img" aria-label="{}">{}{}</div>'
        '<p class="xname" aria-hidden="true">false positives (logarithmic)</p>'
        '<p class="legend">{}</p>'
    ).format(chart.description, _axis(down), _field(chart, across, down), keys)


def _axis(down: Scale) -> Markup:
    texts = [
        Markup('<text x="40" y="{:.1f}" dy="0.32em">{}</text>').format(down(share), f"{share:.0%}")
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    return Markup('<svg class="axis" aria-hidden="true" width="46" height="{}">{}</svg>').format(
        _HEIGHT, Markup("").join(texts)
    )


def _field(chart: CurveChart, across: Scale, down: Scale) -> Markup:
    parts = [
        Markup('<line class="grid" x1="0" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>').format(
            down(share)
        )
        for share in (0.25, 0.5, 0.75, 1.0)
    ]
    paths = [_wall(curve, across, down) for curve in chart.curves if curve.wall]
    paths += [
        Markup('<path class="line {}" d="M{}"><title>{}</title></path>').format(
            curve.css, _path(curve, across, down), curve.label
        )
        for curve in chart.curves
    ]
    parts.append(
        Markup(
            '<svg class="lines" x="0" y="0" width="100%" height="{0}" viewBox="0 0 100 {0}" '
            'preserveAspectRatio="none">{1}</svg>'
        ).format(_HEIGHT, Markup("").join(paths))
    )
    parts.append(Markup('<line class="base" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(_BOTTOM))
    for rate, label in _TICKS:
        place = across(math.log(rate))
        anchor = "first" if rate == _LOWEST else "last" if rate == 1.0 else "middle"
        parts.append(
            Markup('<text class="tick {}" x="{:.2f}%" y="{}">{}</text>').format(
                anchor, place, _BOTTOM + 20, label
            )
        )
    return Markup('<svg class="field" aria-hidden="true" width="100%" height="{}">{}</svg>').format(
        _HEIGHT, Markup("").join(parts)
    )


def _seen(curve: Curve) -> list[tuple[float, float]]:
    """Its points from the lowest rate drawn: what came before stands at that rate."""
    before = [tpr for fpr, tpr in curve.points if fpr <= _LOWEST]
    seen = [(fpr, tpr) for fpr, tpr in curve.points if fpr > _LOWEST]
    return [(_LOWEST, before[-1] if before else 0.0), *seen]


def _path(curve: Curve, across: Scale, down: Scale) -> str:
    return "L".join(f"{across(math.log(fpr)):.3f} {down(tpr):.2f}" for fpr, tpr in _seen(curve))


def _wall(curve: Curve, across: Scale, down: Scale) -> Markup:
    return Markup('<path class="wall" d="M{}L{} {}L{} {}Z"/>').format(
        _path(curve, across, down), across(0.0), _TOP, across(math.log(_LOWEST)), _TOP
    )
