"""`curves.json` as one self-contained web page, in the style of the quality page.

A sentence is built from what was measured, so it can be bad news.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.files import write_text
from simulations.bench.pages import rendered
from simulations.bench.quality import charts, table
from simulations.report import words

_CSS = {
    "federated": "federated",
    "federated+knn": "federated-knn",
    "local": "spent",
    "local+knn": "knn",
}
_PLATFORMS = ("spent", "knn", "federated-knn", "popularity", "other")  # colours, in turn
_THIN = "\u202f"

Point = Mapping[str, Any]


def write_page(result: Mapping[str, Any], path: Path) -> Path:
    """Write the page to `path` (usually OUT/curves.html); returns it.

    Raises:
        StorageError: it cannot be written; an older one is left as it was.
    """
    write_text(path, render(result))
    return path


def render(result: Mapping[str, Any]) -> str:
    """The page as a string."""
    names = list(result["platforms"])
    return rendered(
        "simulations.bench.curves",
        "curves.html",
        title=f"{result['recipe']} · curves",
        curves=result,
        names=names,
        users=_users(result, names) if result["users"] else None,
        rounds=_rounds(result, names) if result["rounds"] else None,
        css=_CSS,
        epsilon="∞" if result["epsilon"] == "inf" else words.epsilon(float(result["epsilon"])),
        level=f"{100 * result['level']:g}",
        ratio=_ratio,
        share=share_words,
        small=lambda value: f"{value:.2g}",
        spent=words.epsilon,
        score=table.score,
    )


def share_words(share: float) -> str:
    """A share of the users as people write it: `12.5 %`."""
    return f"{100 * share:.3g}{_THIN}%"


def _users(result: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    points = result["users"]
    axis = charts.Axis(
        charts.logarithmic([point["at"] for point in points]),
        share_words,
        lambda at: f"{share_words(at)} of the users",
    )
    return {
        "points": points,
        "charts": [
            _over_base(points, axis, ("local", "federated"), "frozen", "by share of the users"),
            _over_base(
                points,
                axis,
                ("local+knn", "federated+knn"),
                "frozen+knn",
                "by share of the users",
            ),
        ],
        "versus": [
            _by_platform(points, axis, names, "federated", "local"),
            _by_platform(points, axis, names, "federated+knn", "local+knn"),
        ],
        "takeaway": _fewer(points),
    }


def _rounds(result: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    points = result["rounds"]
    axis = charts.Axis(
        charts.linear([0, *(point["at"] for point in points)]),
        _plain,
        lambda at: f"round {at:g}",
    )
    systems = ("federated+knn", "federated")

    def figure(name: str | None) -> dict[str, Any]:
        lines = [_line(points, system, name, start=True) for system in systems]
        return {
            "name": name or "mean of the platforms",
            "svg": charts.curve_chart(
                [_one("untrained"), *lines],
                f"NDCG@10 over the untrained model’s by round, {name or 'mean'}: {_said(lines)}.",
                axis,
            ),
        }

    return {
        "points": points,
        "mean": figure(None),
        "platforms": [figure(name) for name in names] if len(names) > 1 else [],
        "takeaway": _longer(points),
        "private": points[-1]["spent"] is not None,
    }


def _over_base(
    points: Sequence[Point], axis: charts.Axis, systems: Sequence[str], base: str, by: str
) -> dict[str, Any]:
    lines = [_line(points, system, None) for system in systems]
    return {
        "base": base,
        "systems": list(reversed(systems)),
        "svg": charts.curve_chart(
            [_one(base), *_drawn(lines)],
            f"Mean NDCG@10 over that of {base} {by}: {_said(lines)}.",
            axis,
        ),
    }


def _by_platform(
    points: Sequence[Point], axis: charts.Axis, names: Sequence[str], ours: str, base: str
) -> dict[str, Any]:
    several = names if len(names) > 1 else ()
    lines = [
        _line(points, ours, name, part="versus", css=_PLATFORMS[place % len(_PLATFORMS)])
        for place, name in enumerate(several)
    ]
    mean = _line(points, ours, None, part="versus", css="federated")
    return {
        "ours": ours,
        "base": base,
        "svg": charts.curve_chart(
            [_one("the same"), *_drawn([*lines, mean])],
            f"NDCG@10 of {ours} over that of {base} by share of the users: "
            f"{_said([*lines, mean])}.",
            axis,
        ),
    }


def _line(
    points: Sequence[Point],
    system: str,
    platform: str | None,
    *,
    part: str = "systems",
    css: str | None = None,
    start: bool = False,
) -> charts.Curve:
    """A system's ratios, of the mean or of one platform; from 1 at round 0 where `start` is."""
    found = [(0, charts.Point(1.0, 1.0, 1.0))] if start else []
    for point in points:
        figures = point[part][system]
        figure = figures["mean"] if platform is None else figures["platforms"][platform]
        if None not in figure.values():
            found.append((point["at"], charts.Point(*(figure[k] for k in _FIGURE))))
    label = system
    if part == "versus":
        label = "mean" if platform is None else platform
    return charts.Curve(
        label,
        css or _CSS[system],
        tuple(at for at, _ in found),
        tuple(point for _, point in found),
        whiskers=part == "systems" or platform is None,
        nudge=_NUDGE.get(label, 0),
    )


_FIGURE = ("value", "low", "high")
_NUDGE = {"local": -2, "federated": 2, "federated+knn": -2, "local+knn": 2}


def _one(label: str) -> charts.Curve:
    return charts.Curve(label, "frozen", (), (charts.Point(1.0, 1.0, 1.0),))


def _drawn(lines: Sequence[charts.Curve]) -> list[charts.Curve]:
    """Those that have points: a line without would be a level."""
    return [line for line in lines if line.points]


def _said(lines: Sequence[charts.Curve]) -> str:
    return "; ".join(
        f"{line.label} {', '.join(f'{point.value:.3f} at {_plain(at)}' for at, point in pairs)}"
        for line in lines
        if (pairs := list(zip(line.at, line.points, strict=True)))
    )


def _plain(at: float) -> str:
    return f"{at:g}"


def _mean(point: Point, part: str, system: str) -> float | None:
    value: float | None = point[part][system]["mean"]["value"]
    return value


def _fewer(points: Sequence[Point]) -> str:
    """What federating gives over training alone, with few users and with many."""
    least, most = points[0], points[-1]
    few, many = (_mean(point, "versus", "federated") for point in (least, most))
    if few is None or many is None:
        return "Nobody’s item was found, so there is nothing to compare."
    where = f"With {share_words(most['at'])} of the users"
    said = f"{where} the federation has {many:.3f} times the NDCG@10 of training alone"
    if least is most:
        return f"{said}."
    said = f"{said}; with {share_words(least['at'])}, {few:.3f} times"
    # more than what another draw of the users would change
    surely = least["versus"]["federated"]["mean"]["low"] > many
    return f"{said}: the fewer users, the more it gives." if surely else f"{said}."


def _longer(points: Sequence[Point]) -> str:
    """Where most of the gain was reached, or that there was none."""
    last = _mean(points[-1], "systems", "federated")
    if last is None or last <= 1:
        return "Training did not help: the last model is not better than the untrained one."
    near = 1 + 0.9 * (last - 1)
    reached = next(p for p in points if (_mean(p, "systems", "federated") or 0) >= near)
    gain = words.signed_percent(last - 1)
    if reached is points[-1]:
        return f"The gain of {gain} was still growing in the last rounds that were measured."
    return f"Of the gain of {gain}, nine tenths were there after round {reached['at']:g}."


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
