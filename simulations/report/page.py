"""Renders `report.html` of a run folder: one file, nothing fetched, readable without JavaScript.

The page's own Content-Security-Policy allows its one style sheet and its one script, by hash, and
nothing else: even a hostile platform name that got past the escaping could load or run nothing.
"""

import base64
import hashlib
import json
import math
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from shared.files import write_text
from simulations.report import charts, words
from simulations.report.record import (
    SYSTEMS,
    TRAINED,
    PlatformRecord,
    RunRecord,
    read_run,
)

_CSS = {
    "popularity": "popularity",
    "frozen": "frozen",
    "knn": "knn",
    "frozen+knn": "frozen-knn",
    "federated": "federated",
    "federated+knn": "federated-knn",
}


def write_report(run_folder: Path) -> Path:
    """Write `run_folder/report.html` from its summary.json and rounds.jsonl; returns its path.

    Raises:
        RunError: the run folder is incomplete or damaged.
        StorageError: the page cannot be written; an older one is left as it was.
    """
    page = render(read_run(run_folder))
    path = run_folder / "report.html"
    write_text(path, page)
    return path


def render(run: RunRecord) -> str:
    """The page as a string."""
    environment = _environment()
    style, script = _asset("style.css"), _asset("page.js")
    return environment.get_template("page.html").render(
        run=run,
        words=words,
        style=Markup(style),  # our own files
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        css=_CSS,
        systems=[name for name in SYSTEMS if any(name in p.test for p in run.platforms)],
        learning=[_learning(platform, run) for platform in run.platforms],
        table=_test_table(run),
        gains=_gains(run),
        cost=_cost(run),
        left=_left(run),
        quality=_quality(run),
        refusals=[(p.name, answer) for p in run.platforms for answer in p.refusals],
        settings=json.dumps(
            words.redacted(run.settings), indent=2, ensure_ascii=False, default=str
        ),
        small_deltas=all(p.delta and p.delta * p.users < 1 for p in run.platforms),
        assumed_population=_assumed_population(run),
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("simulations.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    return resources.files("simulations.report").joinpath("templates", name).read_text("utf-8")


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _learning(platform: PlatformRecord, run: RunRecord) -> dict[str, Any]:
    """One platform's learning curve with the baselines as levels, and the same as a table."""
    lines = []
    for system in SYSTEMS:
        points = tuple(
            (index, score.ndcg) for index, score in platform.curves.get(system, ()) if index >= 0
        )
        if points:
            lines.append(charts.Line(system, _CSS[system], points=points))
        elif system in platform.validation and system not in TRAINED:
            level = platform.validation[system].ndcg
            lines.append(charts.Line(system, _CSS[system], level=level))
    curves = {line.label: dict(line.points) for line in lines if line.points}
    if not curves:
        return {"platform": platform, "chart": None, "curves": {}, "levels": [], "last": None}
    rounds = max(max(points) for points in curves.values())
    rounds = max([rounds, run.rounds, *(answer.round for answer in platform.answers)])
    marks = tuple((answer.round, answer.reason or "no answer") for answer in platform.refusals)
    chart = charts.LineChart(
        lines=tuple(lines),
        rounds=rounds,
        marks=marks,
        description=_describe(platform, lines, rounds),
    )
    levels = [(line.label, line.last) for line in lines if not line.points]
    return {
        "platform": platform,
        "chart": charts.line_chart(chart),
        "curves": curves,
        "levels": levels,
        "last": rounds,
    }


def _describe(platform: PlatformRecord, lines: list[charts.Line], rounds: int) -> str:
    said = [
        f"{line.label} from {line.points[0][1]:.4f} to {line.last:.4f}"
        if line.points
        else f"{line.label} at {line.last:.4f}"
        for line in lines
    ]
    return f"Validation NDCG@10 on {platform.name} over {rounds} rounds: {', '.join(said)}."


def _test_table(run: RunRecord) -> list[dict[str, Any]]:
    entries = [(p.name, p.kind, p.test) for p in run.platforms]
    if run.mean and len(run.platforms) > 1:
        entries.append(("Mean", "unweighted", run.mean))
    return [
        {
            "name": name,
            "kind": kind,
            "scores": scores,
            "mean": scores is run.mean,
            "best_ndcg": max((score.ndcg for score in scores.values()), default=None),
            "best_hit": max((score.hit for score in scores.values()), default=None),
            "gain": words.gain(scores),
            "gain_knn": words.gain(scores, "federated+knn"),
        }
        for name, kind, scores in entries
    ]


def _gains(run: RunRecord) -> list[dict[str, Any]]:
    """Gains of the trained systems over their untrained twins, as bars on one scale."""
    found: list[dict[str, Any]] = []
    for platform in run.platforms:
        gains = {
            system: change
            for system in TRAINED
            if (change := words.gain(platform.test, system)) is not None
        }
        if gains:
            found.append({"name": platform.name, "gains": gains})
    every = [change for row in found for change in row["gains"].values()]
    for row in found:
        bars = [(_CSS[system], change) for system, change in row["gains"].items()]
        row["bar"] = charts.gain_bar(bars, min(every), max(every))
    return found


def _cost(run: RunRecord) -> dict[str, Any]:
    """Epsilon spent by round; platforms whose curves coincide share a line and a label."""
    if not run.private:
        return {"chart": None, "curves": {}, "rounds": []}
    curves = {
        platform.name: {
            answer.round: answer.epsilon
            for answer in platform.answers
            if answer.epsilon is not None
        }
        for platform in run.platforms
    }
    curves = {name: {0: 0.0, **points} for name, points in curves.items() if points}
    rounds = sorted({index for points in curves.values() for index in points})
    if not curves:
        return {"chart": None, "curves": {}, "rounds": []}
    top = max(
        [run.budget or 0.0, *(value for points in curves.values() for value in points.values())]
    )
    groups: list[list[str]] = []
    for name, points in curves.items():
        for group in groups:
            if _alike(curves[group[0]], points, 0.012 * top):
                group.append(name)
                break
        else:
            groups.append([name])
    lines = []
    if run.budget is not None:
        lines.append(charts.Line("budget", "budget", level=run.budget))
    for group in groups:
        lines.append(
            charts.Line(_group_name(group, len(curves)), "spent", _points(curves[group[0]]))
        )
    described = ", ".join(f"{name} {max(points.values()):.2f}" for name, points in curves.items())
    chart = charts.LineChart(
        lines=tuple(lines),
        rounds=max(rounds[-1], 1),
        description=f"Epsilon spent by round; after the last round: {described}.",
        write=words.epsilon,
        low=0.0,
    )
    return {"chart": charts.line_chart(chart), "curves": curves, "rounds": rounds}


def _points(values: dict[int, float]) -> tuple[tuple[int, float], ...]:
    return tuple(sorted(values.items()))


def _alike(one: dict[int, float], other: dict[int, float], tolerance: float) -> bool:
    return one.keys() == other.keys() and all(
        abs(one[index] - other[index]) <= tolerance for index in one
    )


def _group_name(group: list[str], every: int) -> str:
    if len(group) == 1:
        return group[0]
    return (
        f"all {every}"
        if len(group) == every
        else f"{charts.shorten(group[0], 11)} +{len(group) - 1}"
    )


def _left(run: RunRecord) -> list[dict[str, Any]]:
    """Bytes by kind that went out of each platform."""
    rows: list[dict[str, Any]] = []
    for platform in run.platforms:
        rows.append(
            {
                "platform": platform,
                "setup": platform.setup_bytes,
                "updates": platform.uplink_bytes,
                "sent": len(platform.sent),
                "each": platform.update_bytes
                or max((answer.uplink_bytes for answer in platform.sent), default=0),
                "total": platform.setup_bytes + platform.uplink_bytes,
            }
        )
    whole = max((row["total"] for row in rows), default=0)
    for row in rows:
        row["bar"] = charts.bar([("setup", row["setup"]), ("updates", row["updates"])], whole)
    return rows


def _quality(run: RunRecord) -> list[dict[str, Any]]:
    """Rows of each platform's log that were not believed, by reason, the most frequent first."""
    found = []
    for platform in run.platforms:
        dropped = sorted(platform.dropped.items(), key=lambda item: (-item[1], item[0]))
        dropped = [(reason, count) for reason, count in dropped if count > 0]
        total = sum(count for _, count in dropped)
        most = max((count for _, count in dropped), default=0)
        found.append(
            {
                "platform": platform,
                "dropped": total,
                "share": total / (total + platform.events) if total + platform.events else 0.0,
                "reasons": [
                    {
                        "words": words.reason_words(reason),
                        "count": count,
                        "share": count / (total + platform.events),
                        "bar": charts.bar([("drop", count)], most),
                    }
                    for reason, count in dropped
                ],
            }
        )
    return found


def _assumed_population(run: RunRecord) -> bool:
    """True when some platform declared no population, so the simulation took it from the data."""
    platforms = run.settings.get("platforms") or {}
    return any(
        isinstance(values, dict) and values.get("population") is None
        for values in platforms.values()
    ) and not math.isinf(words.worst_epsilon(run))
