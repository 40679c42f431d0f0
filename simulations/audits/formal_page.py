"""The result of `audit epsilon` for people."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_RELATIONS = (
    "epsilon: upper bound (PLD) for one user more or less, what was promised.  replaced: for one "
    "user who is another, whose part of the sum moves by up to twice clip_norm."
)
_COMPOSED = (
    "Composed: PLD over all charges, at the largest delta.  It bounds what is released together; "
    "choices made by looking at exact metrics are not in it."
)


def render(result: dict[str, Any], console: Console) -> None:
    """Show a result of `simulations.audits.formal.recompute`."""
    _assumptions(result, console)
    if result["missing"]:
        names = ", ".join(result["missing"])
        console.print(f"\nNo epsilon is printed: not checked: {names}.", highlight=False)
    if any(entry["epsilon"] is not None for entry in result["platforms"].values()):
        _numbers(result["platforms"], result["composed"], console)
    hypothetical = result["if_the_noise_had_been_secret"]
    if hypothetical is not None:
        console.print(
            "\nIF THE NOISE HAD BEEN SECRET, and it was not: what the same charges would have cost",
            highlight=False,
        )
        _numbers(hypothetical["platforms"], hypothetical["composed"], console)
    for finding in result["findings"]:
        where = finding["platform"] or finding["run"]
        console.print(f"FOUND  {where}: {finding['what']}", markup=False, highlight=False)
    verdict = "spent as claimed" if result["ok"] else "NOT BORNE OUT"
    console.print(f"\n{verdict}; {result['seconds']:.1f} s", highlight=False)


def _assumptions(result: dict[str, Any], console: Console) -> None:
    several = len({row["run"] for row in result["assumptions"]}) > 1
    table = Table("rests on", "", "evidence", box=None, pad_edge=False)
    for row in result["assumptions"]:
        evidence = row["evidence"] if row["checked"] else f"{row['evidence']} -> {row['remedy']}"
        name = f"{row['run']}: {row['name']}" if several else row["name"]
        table.add_row(name, "checked" if row["checked"] else "NOT CHECKED", evidence)
    console.print(table, markup=False, highlight=False)


def _numbers(platforms: Mapping[str, Any], composed: Mapping[str, Any], console: Console) -> None:
    columns = ("platform", "epsilon", "claimed", "PRV", "RDP", "exact", "replaced", "delta")
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name == "platform" else "right", no_wrap=True)
    for name, entry in platforms.items():
        if entry["epsilon"] is None:
            continue
        others = [entry["accountants"][key]["epsilon"] for key in ("prv", "rdp", "exact")]
        table.add_row(
            name,
            *map(_four, (entry["epsilon"], entry["claimed"], *others)),
            _four(entry["relations"]["replace_one"]),
            f"{entry['delta']:.3g}",
        )
    console.print()
    console.print(table)
    for key, said in _silent(platforms).items():
        console.print(f"{key.upper()} -: {said}", markup=False, highlight=False)
    console.print(_RELATIONS, highlight=False)
    lines = [("a user of all platforms", composed["across_platforms"])]
    lines += [(f"{name}, over all runs", one) for name, one in composed["across_runs"].items()]
    lines.append(("all platforms, all runs", composed["everything"]))
    shown = [(what, one) for what, one in lines if one is not None and one["epsilon"] is not None]
    for what, one in shown:
        console.print(
            f"{what}: epsilon {one['epsilon']:.4f}, replaced "
            f"{one['relations']['replace_one']:.4f}, delta {one['delta']:.3g}",
            markup=False,
            highlight=False,
        )
    if shown:
        console.print(_COMPOSED, highlight=False)


def _silent(platforms: Mapping[str, Any]) -> dict[str, str]:
    """Why an accountant gave no number, once each."""
    found: dict[str, str] = {}
    for entry in platforms.values():
        for key, cell in (entry["accountants"] or {}).items():
            if cell["epsilon"] is None:
                found.setdefault(key, cell["note"])
    return found


def _four(value: float | str | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.4f}"
