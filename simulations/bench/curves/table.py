"""The curves as tables for a terminal: 80 columns wide, ASCII when piped.

Everything shown comes from `curves.json` (see `summary`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simulations.bench.quality.table import PLAIN

_ROUNDS = (("federated", "systems", "federated"), ("+knn", "systems", "federated+knn"))
_USERS = (
    ("federated", "systems", "federated"),
    ("local", "systems", "local"),
    ("fed / local", "versus", "federated"),
    ("federated\n+knn", "systems", "federated+knn"),
    ("local\n+knn", "systems", "local+knn"),
    ("fed / local\n+knn", "versus", "federated+knn"),
)


def print_curves(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Print `curves.json`: the mean of the platforms at every point."""
    console = console or Console()
    style = box.SIMPLE_HEAD if console.is_terminal else PLAIN
    if result["rounds"]:
        console.print(_table("round", result["rounds"], _ROUNDS, style, wide=True))
        console.print(Text(f"After so many of {result['planned']} rounds.\n", style="dim"))
    if result["users"]:
        console.print(_table("users", result["users"], _USERS, style, wide=False))
    console.print(
        Text(
            "Ratios of mean NDCG@10 to frozen, and with the local head (+knn) to frozen+knn; "
            "\nmeans over platforms, all measured on all users.",
            style="dim",
        )
    )


def rows_of(
    points: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str, str]], *, wide: bool
) -> list[list[str]]:
    """A row of words a point: where it is, and its mean ratios.

    Args:
        columns: (heading, part of the point, system).
        wide: with intervals.
    """
    found = []
    for point in points:
        at = point["at"]
        row = [f"{at:g}" if float(at).is_integer() and at > 1 else f"{100 * at:.3g} %"]
        for _, part, system in columns:
            figure = point[part][system]["mean"]
            if None in figure.values():
                row.append("n/a")
            elif wide:
                row.append(f"{figure['value']:.3f} {figure['low']:.3f}-{figure['high']:.3f}")
            else:
                row.append(f"{figure['value']:.3f}")
        found.append(row)
    return found


def _table(
    first: str,
    points: Sequence[Mapping[str, Any]],
    columns: Sequence[tuple[str, str, str]],
    style: box.Box,
    *,
    wide: bool,
) -> Table:
    table = Table(box=style, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(first, justify="right")
    for heading, _, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows_of(points, columns, wide=wide):
        table.add_row(*row)
    return table
