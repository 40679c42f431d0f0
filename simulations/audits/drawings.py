"""The report's figures as charts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from simulations.audits.curves import Curve, CurveChart, curve_chart
from simulations.audits.figures import RATES, Json, high, low
from simulations.report import charts, words

_ALIKE = 0.012
"""Curves that differ by less than this share of the scale are drawn as one."""


@dataclass(frozen=True)
class Drawn:
    """A figure as the page shows it: a chart, and what its numbers are."""

    title: str
    chart: Markup
    note: str
    source: Json


def draw_by_round(points: Mapping[str, Sequence[Json]], promise: float | None) -> Markup | None:
    """Epsilon by round; platforms whose curves coincide share a line."""
    if not points:
        return None
    curves = {
        name: ((0, 0.0), *((one["round"], one["epsilon"]) for one in rows))
        for name, rows in points.items()
    }
    top = max([promise or 0.0, *(curve[-1][1] for curve in curves.values())])
    groups: list[list[str]] = []
    for name, curve in curves.items():
        for group in groups:
            other = curves[group[0]]
            if [r for r, _ in other] == [r for r, _ in curve] and all(
                abs(a - b) <= _ALIKE * top for (_, a), (_, b) in zip(other, curve, strict=True)
            ):
                group.append(name)
                break
        else:
            groups.append([name])
    lines = [] if promise is None else [charts.Line("promised", "budget", level=promise)]
    for group in groups:
        label = group[0] if len(group) == 1 else f"all {len(group)}"
        if 1 < len(group) < len(curves):
            label = f"{charts.shorten(group[0], 11)} +{len(group) - 1}"
        lines.append(charts.Line(label, "spent", points=curves[group[0]]))
    said = ", ".join(f"{name} {words.epsilon(curve[-1][1])}" for name, curve in curves.items())
    return charts.line_chart(
        charts.LineChart(
            lines=tuple(lines),
            rounds=max(curve[-1][0] for curve in curves.values()),
            description=f"Epsilon spent by round; after the last round: {said}.",
            write=words.epsilon,
            low=0.0,
        )
    )


_BARS = {
    "promise": "budget",
    "claim": "budget",
    "upper bound": "spent",
    "proven": "knn",
    "assumption-based": "federated",
    "estimate": "federated-knn",
    "attack": "popularity",
}


def draw_claimed(rows: Sequence[Json]) -> list[Json]:
    """Bars by platform, on one scale."""
    numbers = [row["epsilon"] for row in rows if isinstance(row["epsilon"], float | int)]
    whole = max(numbers, default=1.0) * 1.02 or 1.0
    drawn: dict[str, list[Json]] = {}
    for row in rows:
        lower = row["kind"] not in ("promise", "claim", "upper bound")
        value = row["epsilon"]
        finite = isinstance(value, float | int)
        written = "∞" if not finite else low(value) if lower else high(value)
        css = _BARS.get(row["kind"], "popularity")
        drawn.setdefault(row["platform"], []).append(
            {
                **row,
                "written": f"≥ {written}" if lower else written,
                "bar": charts.bar([(css, float(value))] if finite else [], whole),
                "lower": lower,
            }
        )
    groups = [
        {"platform": name, "rows": own, "shown": any(row["lower"] for row in own)}
        for name, own in drawn.items()
    ]
    return sorted(groups, key=lambda group: not group["shown"])


def draw_roc(found: Json) -> Drawn:
    """One audit's curves, with what is permitted drawn in."""
    lines = [
        Curve("promise permits", "budget dashed", _points(found["promise"])),
        Curve("mechanism permits", "bad", _points(found["mechanism"]), wall=True),
        Curve("guessing", "popularity dotted", tuple((rate, rate) for rate in RATES)),
    ]
    colours = {True: ("federated", "knn", "federated-knn"), False: ("federated", "knn")}
    count = {True: 0, False: 0}
    for curve in found["curves"]:
        mine = colours[curve["privacy"]]
        css = mine[count[curve["privacy"]] % len(mine)]
        count[curve["privacy"]] += 1
        lines.append(
            Curve(
                curve["name"],
                css if curve["privacy"] else f"{css} dashed",
                _points(curve["points"]),
            )
        )
    said = ", ".join(
        f"{curve['name']} {_at(curve['points'], 0.1):.0%}" for curve in found["curves"]
    )
    description = f"True positive rate at 10 % false positives: {said}."
    title = "Canary users" if found["audit"] == "canary" else "Membership attacks"
    return Drawn(
        title=f"{title} on {found['platform']}",
        chart=curve_chart(CurveChart(tuple(lines), description)),
        note=description,
        source=found["source"],
    )


def _points(pairs: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    return tuple((pair[0], pair[1]) for pair in pairs)


def _at(points: Sequence[Sequence[float]], rate: float) -> float:
    """The true positive rate at the last point up to `rate`."""
    return max((tpr for fpr, tpr in points if fpr <= rate), default=0.0)
