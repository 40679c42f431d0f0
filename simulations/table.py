"""The results as a table for a terminal: readable in colour, piped, and 80 columns wide.

ASCII only (a pipe's encoding may be anything); the best system of a row is bold and starred.
"""

import math
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from simulations.report import words
from simulations.report.record import SYSTEMS, RunRecord, Score, parse_run

_HEADINGS = {
    "popularity": "popu-\nlarity",
    "frozen": "frozen",
    "knn": "knn",
    "frozen+knn": "frozen\n+knn",
    "federated": "feder-\nated",
    "federated+knn": "fed.\n+knn",
}
_BANNER = (
    "NOT PRIVATE\n"
    "epsilon = inf: no clipping, no noise, no guarantee. "
    "Updates of this run can reveal individual users."
)


def print_results(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a run's summary (as in summary.json) as a table.

    Raises:
        RunError: `summary` is not a run's summary.
    """
    (console or Console()).print(results(summary))


def results(summary: Mapping[str, Any]) -> RenderableType:
    """Platforms and their mean as rows, systems as columns, NDCG@10 above HR@10."""
    run = parse_run(dict(summary))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("platform\n[dim]NDCG@10, HR@10[/dim]", overflow="fold", min_width=10)
    shown = [name for name in SYSTEMS if name in run.mean or _anywhere(run, name)]
    for name in shown:
        table.add_column(_HEADINGS[name], justify="right", no_wrap=True)
    table.add_column("gain", justify="right", no_wrap=True)
    table.add_column("epsilon", justify="right", no_wrap=True)
    for platform in run.platforms:
        spent = _epsilon(platform.epsilon)
        _add(table, platform.name, platform.test, shown, spent)
    table.add_section()
    worst = max((platform.epsilon for platform in run.platforms), default=0.0)
    _add(table, "mean", run.mean, shown, _epsilon(worst) if run.private else "inf")
    notes = [
        Text(
            "* best of its row; gain: federated over frozen; mean: the largest epsilon.",
            style="dim",
        )
    ]
    if run.composed is not None and run.private:
        notes.append(
            Text(
                f"A user of all {len(run.composed.platforms)} platforms together: "
                f"epsilon {_epsilon(run.composed.epsilon)}.",
                style="dim",
            )
        )
    if run.unsafe_seed and run.private:
        notes.append(Text("Seeded noise is reproducible: for simulation only.", style="yellow"))
    parts: list[RenderableType] = [table, *notes]
    if not run.private:
        parts.insert(
            0, Panel(Text(_BANNER, justify="center"), box=box.HEAVY, style="bold white on red")
        )
    return Group(*parts)


def _epsilon(value: float) -> str:
    return words.epsilon(value) if math.isfinite(value) else "inf"


def _anywhere(run: RunRecord, system: str) -> bool:
    return any(system in platform.test for platform in run.platforms)


def _add(
    table: Table, name: str, scores: Mapping[str, Score], shown: list[str], spent: str
) -> None:
    for label, last, values in (
        (Text(name, style="bold"), spent, {key: score.ndcg for key, score in scores.items()}),
        (Text("  HR@10", style="dim"), "", {key: score.hit for key, score in scores.items()}),
    ):
        best = max(values.values(), default=math.nan)
        cells = [_cell(values.get(system), best) for system in shown]
        table.add_row(label, *cells, _gain(values.get("federated"), values.get("frozen")), last)


def _cell(value: float | None, best: float) -> Text:
    if value is None:
        return Text("- ", style="dim")
    written = f"{value:.4f}".removeprefix("0")
    return Text(f"{written}*", style="bold") if value == best else Text(f"{written} ")


def _gain(value: float | None, base: float | None) -> Text:
    if value is None or not base:
        return Text("n/a", style="dim")
    gain = 100 * (value / base - 1)
    return Text(f"{gain:+.1f}%", style="green" if gain > 0 else "red" if gain < 0 else "")
