"""The benchmark as a table for a terminal: 80 columns wide, in colour, ASCII when piped.

Everything shown comes from `quality.json` (see `summary`).  The best system of a column is bold
and starred; quoted figures stand apart and never get a star.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from simulations.bench.quality.measures import NDCG
from simulations.report import words

PLAIN = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
_MOST = 4  # platforms side by side


def print_quality(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Print `quality.json` as a table."""
    console = console or Console()
    console.print(quality(summary, ascii_only=not console.is_terminal))


def quality(summary: Mapping[str, Any], *, ascii_only: bool = True) -> RenderableType:
    """Systems as rows, NDCG@10 by platform, mean and ratio to the base with its interval."""
    names = list(summary["platforms"])
    blocks = [names[start : start + _MOST] for start in range(0, len(names), _MOST)]
    parts: list[RenderableType] = []
    for place, block in enumerate(blocks):
        last = place == len(blocks) - 1
        parts.append(_block(summary, block, last=last, ascii_only=ascii_only))
        if not last:
            parts.append(Text())
    level = f"{100 * summary['level']:g}%"
    parts.append(
        Text(
            f"NDCG@10 on {summary['which']}; * best of its column. Mean: unweighted, over "
            f"platforms.\nRatio of means to {summary['base']} with the {level} bootstrap "
            "interval over users.",
            style="dim",
        )
    )
    if summary["quoted"]:
        sources = list(dict.fromkeys(quote["source"] for quote in summary["quoted"]))
        parts.append(Text(f"Quoted, not measured here: {'; '.join(sources)}.", style="dim"))
    return Group(*parts)


def _block(
    summary: Mapping[str, Any], names: Sequence[str], *, last: bool, ascii_only: bool
) -> Table:
    table = Table(
        box=PLAIN if ascii_only else box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    table.add_column("system", overflow="fold", min_width=12)
    table.add_column("eps", justify="right", no_wrap=True)
    for name in names:
        table.add_column(_cut(name), justify="right", no_wrap=True)
    if last:
        table.add_column("mean", justify="right", no_wrap=True)
        table.add_column("ratio, interval", justify="right", no_wrap=True)
    systems = summary["systems"]
    best = {name: max(_value(s["platforms"][name]) for s in systems) for name in names}
    best_mean = max(_value(system["mean"]) for system in systems)
    for system in systems:
        cells = [_cell(_value(system["platforms"][name]), best[name]) for name in names]
        if last:
            cells += [_cell(_value(system["mean"]), best_mean), _ratio(system["versus"])]
        # a family and its epsilon say as much as the label, in less room
        name = system["label"] if system["epsilon"] is None else system["family"]
        table.add_row(Text(name, style="bold"), epsilon(system["epsilon"]), *cells)
    if summary["quoted"]:
        table.add_section()
        for label, scores in quoted_rows(summary).items():
            row = [Text(f"{label} (quoted)", style="dim italic"), Text("-", style="dim")]
            row += [_cell(scores.get(name, {}).get("ndcg"), None) for name in names]
            table.add_row(*row)
    return table


def quoted_rows(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """name -> platform -> quoted figure."""
    rows: dict[str, dict[str, Any]] = {}
    for quote in summary["quoted"]:
        rows.setdefault(quote["name"], {})[quote["platform"]] = quote
    return rows


def epsilon(value: float | str | None) -> str:
    """As the table writes it: rounded up, `inf`, or a dash where none applies."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else words.epsilon(value)


def score(value: float) -> str:
    """A figure in [0, 1] without its leading zero: .0347."""
    return f"{value:.4f}".removeprefix("0")


def _value(figures: Mapping[str, Any]) -> float:
    return float(figures[NDCG]["value"])


def _cell(value: float | None, best: float | None) -> Text:
    if value is None:
        return Text("- ", style="dim")
    if value == best:
        return Text(f"{score(value)}*", style="bold")
    return Text(f"{score(value)} ", style="dim italic" if best is None else "")


def _ratio(versus: Mapping[str, Any] | None) -> Text:
    """`1.040 1.021-1.060`, green or red where the interval is on one side of 1."""
    if versus is None:
        return Text("base", style="dim")
    ratio = versus["mean"]["ratio"]
    if None in ratio.values():
        return Text("n/a", style="dim")
    style = "green" if ratio["low"] > 1 else "red" if ratio["high"] < 1 else ""
    return Text(f"{ratio['value']:.3f} {ratio['low']:.3f}-{ratio['high']:.3f}", style=style)


def _cut(name: str, most: int = 7) -> str:
    """A platform's name short enough for a column."""
    return name if len(name) <= most else f"{name[: most - 1]}."
