"""`quality.json` as one self-contained web page, in the style of the run report.

A sentence is built from what was measured, so it can be bad news.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.files import write_text
from simulations.bench.pages import rendered
from simulations.bench.quality import charts, table
from simulations.bench.quality.measures import COLD_EVENTS, COLD_USERS, HIT, NDCG, UNSEEN_ITEMS
from simulations.report import words

_CSS = {
    "popularity": "popularity",
    "frozen": "frozen",
    "knn": "knn",
    "frozen+knn": "frozen-knn",
    "federated": "federated",
    "federated+knn": "federated-knn",
}
_SERIES = ("federated", "federated-knn", "knn", "spent")  # colours for families of other names
_NEAR = 0.35  # a level this much of the curves' height away from them is still drawn
_GROUPS = {
    COLD_USERS: (
        "Cold users",
        f"at most {COLD_EVENTS} events to learn from",
    ),
    UNSEEN_ITEMS: ("Unseen items", "the hidden item is in nobody's training events"),
}
_MEASURES = {
    "hit@10": "HR@10",
    "precision@10": "precision@10",
    "f1@10": "F1@10",
    "mrr": "MRR",
    "auc": "AUC",
    "coverage@10": "coverage",
    "diversity@10": "diversity",
    "novelty@10": "novelty, bits",
}


def write_page(summary: Mapping[str, Any], path: Path) -> Path:
    """Write the page to `path` (usually OUT/quality.html); returns it.

    Raises:
        StorageError: it cannot be written; an older one is left as it was.
    """
    write_text(path, render(summary))
    return path


def render(summary: Mapping[str, Any]) -> str:
    """The page as a string."""
    systems = summary["systems"]
    return rendered(
        "simulations.bench.quality",
        "quality.html",
        title=f"{summary['recipe']} · quality",
        quality=summary,
        score=table.score,
        epsilon=_epsilon,
        level=f"{100 * summary['level']:g}",
        shown={system["label"]: _shown(system) for system in systems},
        css={system["label"]: _css(system["family"]) for system in systems},
        names=list(summary["platforms"]),
        best=_best(summary),
        top=_top([system for system in systems if system["epsilon"] != "inf"] or systems),
        exposed=_top([system for system in systems if system["epsilon"] == "inf"]),
        users=sum(platform["users"] for platform in summary["platforms"].values()),
        dots=[_dots(summary, name) for name in summary["platforms"]],
        curve=_curve(summary),
        groups={
            group: text
            for group, text in _GROUPS.items()
            if any(group in system["groups"] for system in systems)
        },
        measures={key: _MEASURES[key] for key in _MEASURES if key in summary["measures"]},
        seeded=any(len(system["seeds"]) > 1 for system in systems),
        quoted=[
            quote | {"here": _best_here(summary, quote["platform"])} for quote in summary["quoted"]
        ],
        NDCG=NDCG,
        HIT=HIT,
        ratio=_ratio,
        p_value=_p_value,
    )


def _css(family: str) -> str:
    return _CSS.get(family, "other")


def _top(systems: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return max(systems, key=lambda system: system["mean"][NDCG]["value"], default=None)


def _dot_css(system: Mapping[str, Any]) -> str:
    return _css(system["family"]) + (" trained" if system["epsilon"] is not None else "")


def _best(summary: Mapping[str, Any]) -> dict[str, float]:
    """platform, or "mean" with a leading blank -> its best NDCG@10."""
    systems = summary["systems"]
    best = {
        name: max(system["platforms"][name][NDCG]["value"] for system in systems)
        for name in summary["platforms"]
    }
    # no platform's name begins with a blank
    return best | {" mean": max(system["mean"][NDCG]["value"] for system in systems)}


def _dots(summary: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One platform's systems as rows of dots on one scale."""
    points = {
        system["label"]: _point(system["platforms"][name][NDCG]) for system in summary["systems"]
    }
    scale = charts.dots_scale(list(points.values()))
    base = points[summary["base"]].value
    rows = [
        {
            "label": _shown(system),
            "svg": charts.dot(points[system["label"]], _dot_css(system), scale, base),
            "point": points[system["label"]],
        }
        for system in summary["systems"]
    ]
    axis = charts.dots_axis(scale, lambda tick: f"{tick:.3g}".removeprefix("0") or "0")
    return {"name": name, "rows": rows, "axis": axis, **summary["platforms"][name]}


def _curve(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Mean ratio to the base by epsilon: families that have one, and near levels without."""
    families: dict[str, list[tuple[float, charts.Point]]] = {}
    levels = []
    for system in summary["systems"]:
        versus = system["versus"]
        found = (
            {"value": 1.0, "low": 1.0, "high": 1.0} if versus is None else versus["mean"]["ratio"]
        )
        if None in found.values():
            continue
        if system["epsilon"] is None:
            levels.append((system["label"], _css(system["family"]), _point(found)))
        else:
            at = math.inf if system["epsilon"] == "inf" else float(system["epsilon"])
            families.setdefault(system["family"], []).append((at, _point(found)))
    if not families:
        return {"chart": None, "rows": []}
    spare = [css for css in _SERIES if css not in {_CSS.get(family) for family in families}]
    lines = []
    for place, (family, found_points) in enumerate(families.items()):
        found_points.sort(key=lambda pair: pair[0])
        css = _CSS.get(family) or (spare[place % len(spare)] if spare else "other")
        epsilons = tuple(pair[0] for pair in found_points)
        points = tuple(pair[1] for pair in found_points)
        lines.append(charts.Curve(family, css, epsilons, points))
    ends = [end for line in lines for point in line.points for end in (point.low, point.high)]
    height = max(ends) - min(ends)
    near = [
        charts.Curve(label, css, (), (point,))
        for label, css, point in levels
        if label == summary["base"]
        or min(ends) - _NEAR * height <= point.value <= max(ends) + _NEAR * height
    ]
    said = "; ".join(
        f"{line.label} {', '.join(_pair(*pair) for pair in zip(line.at, line.points, strict=True))}"
        for line in lines
    )
    description = f"Mean NDCG@10 over that of {summary['base']} by epsilon: {said}."
    rows = [
        (line.label, at, point)
        for line in lines
        for at, point in zip(line.at, line.points, strict=True)
    ]
    return {"chart": charts.epsilon_chart([*near, *lines], description), "rows": rows}


def _pair(at: float, point: charts.Point) -> str:
    return f"{point.value:.3f} at {_epsilon('inf' if math.isinf(at) else at)}"


def _point(figure: Mapping[str, float]) -> charts.Point:
    return charts.Point(figure["value"], figure["low"], figure["high"])


def _best_here(summary: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The best system that was measured on a quoted figure's platform, not without privacy."""
    if name not in summary["platforms"]:
        return None
    systems = [system for system in summary["systems"] if system["epsilon"] != "inf"]
    if not systems:
        return None
    system = max(systems, key=lambda system: system["platforms"][name][NDCG]["value"])
    return {"label": _shown(system), **system["platforms"][name]}


def _shown(system: Mapping[str, Any]) -> str:
    """A family and its epsilon, which say as much as the label in less room."""
    if system["epsilon"] is None:
        return str(system["label"])
    return f"{system['family']} ε\u202f{_epsilon(system['epsilon'])}"


def _epsilon(value: float | str | None) -> str:
    if value is None:
        return "–"
    return "∞" if value in ("inf", math.inf) else words.epsilon(float(value))


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _p_value(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")
