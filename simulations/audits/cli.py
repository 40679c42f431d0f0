"""`fedinterest audit`: what was promised, what was spent, what an attacker could have learned.

Only what parses arguments is imported at the top: `--help` must be instant.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

FOUND = 12
"""Exit code of an audit that found something."""

audit = typer.Typer(
    help="Check a run, or this installation, without trusting it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Run = Annotated[Path, typer.Argument(help="Run folder.", show_default=False)]
Target = Annotated[str, typer.Argument(help="Run folder, or a recipe.", show_default=False)]
Data = Annotated[
    Path | None, typer.Option(help="Folder of the benchmark data [env: FEDINTEREST_DATA].")
]
Out = Annotated[Path | None, typer.Option(help="Folder of the result [default: RUN/audit].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, quietly.")]
Seed = Annotated[int, typer.Option(help="Of the audit's own choices [default: 0].")]

EXAMPLES = """\b
Examples:
  fedinterest audit verify runs/demo
  fedinterest audit epsilon runs/demo
  fedinterest audit code --self-test
  fedinterest audit report runs/demo --pdf
"""


@audit.command("verify", epilog=EXAMPLES)
def verify(run: Run, as_json: AsJson = False) -> None:
    """Check a run's record: signatures, Merkle proofs, ledgers against rounds.  Offline."""

    def work() -> tuple[dict[str, Any], Callable[..., None]]:
        from simulations.audits.verify import render
        from simulations.audits.verify import verify as check

        return check(run), render

    _finish(work, "verify", run / "audit", as_json)


@audit.command("epsilon")
def epsilon(
    run: Run,
    others: Annotated[
        list[Path] | None,
        typer.Option("--with", help="Another run on the same users; give it once for each."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every epsilon from the record, with independent accountants."""

    def work() -> tuple[dict[str, Any], Callable[..., None]]:
        from simulations.audits.formal import recompute, render

        return recompute(run, others=others or []), render

    _finish(work, "epsilon", run / "audit", as_json)


@audit.command("canary")
def canary(
    target: Target,
    data: Data = None,
    canaries: Annotated[
        int, typer.Option(help="Users to insert [default: 1000].", show_default=False)
    ] = 1000,
    platform: Annotated[
        str | None, typer.Option(help="Where [default: the largest platform].")
    ] = None,
    epsilon: Annotated[float | None, typer.Option(help="Budget [default: the recipe's].")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds [default: the recipe's].")] = None,
    simulations: Annotated[
        int,
        typer.Option(help="Simulated audits for coverage [default: 1000].", show_default=False),
    ] = 1000,
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Train with canary users, and bound epsilon from below by what they show."""

    def work() -> tuple[dict[str, Any], Callable[..., None]]:
        from simulations.audits.canary import run_canary_audit
        from simulations.audits.canary_result import render

        return (
            run_canary_audit(
                target,
                data=data,
                canaries=canaries,
                platform=platform,
                epsilon=epsilon,
                rounds=rounds,
                simulations=simulations,
                seed=seed,
                quiet=as_json,
            ),
            render,
        )

    _finish(work, "canary", out or _folder(target), as_json)


@audit.command("attack")
def attack(
    target: Target,
    data: Data = None,
    platform: Annotated[
        str | None, typer.Option(help="Whom to attack [default: the smallest platform].")
    ] = None,
    references: Annotated[
        int, typer.Option(help="Reference models [default: 8].", show_default=False)
    ] = 8,
    epsilon: Annotated[float | None, typer.Option(help="Budget [default: the recipe's].")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds [default: the recipe's].")] = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Attack released adapters and a single update, with positive controls."""

    def work() -> tuple[dict[str, Any], Callable[..., None]]:
        from simulations.audits.attack import render, run_attacks

        return (
            run_attacks(
                target,
                data=data,
                platform=platform,
                references=references,
                epsilon=epsilon,
                rounds=rounds,
                seed=seed,
                quiet=as_json,
            ),
            render,
        )

    _finish(work, "attack", out or _folder(target), as_json)


@audit.command("code")
def code(
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Plant every known fault; each must be caught.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this fault or check; give it once for each.")
    ] = None,
    clean: Annotated[
        int, typer.Option(help="Runs on clean code [default: 1].", show_default=False)
    ] = 1,
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Test the privacy code of this installation: neighbour replay, noise, accounting."""

    def work() -> tuple[dict[str, Any], Callable[..., None]]:
        from simulations.audits.code import render, run_code_audit

        return (
            run_code_audit(
                self_test=self_test, only=only or [], clean=clean, seed=seed, quiet=as_json
            ),
            render,
        )

    _finish(work, "code", out, as_json)


@audit.command("report")
def report(
    run: Run,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also print a PDF (needs Chromium).")] = False,
    as_json: AsJson = False,
) -> None:
    """One page for people and one JSON for machines, from all that was audited so far."""

    def work() -> tuple[dict[str, Any], Callable[..., None]]:
        from simulations.audits.report import render, write_audit_report

        return write_audit_report(run, pdf=pdf, quiet=as_json), render

    _finish(work, "report", None, as_json)


def _folder(target: str) -> Path | None:
    """The audit folder of a run; None for a recipe."""
    folder = Path(target)
    known = ("run.json", "members.json")  # see `simulations.audits.kind`, which is slow to import
    return folder / "audit" if any((folder / name).is_file() for name in known) else None


def _finish(
    work: Callable[[], tuple[dict[str, Any], Callable[..., None]]],
    name: str,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Do the work, keep its result, show it, and say by the exit code whether it is clean."""
    from shared.guard import guarded

    def kept() -> None:
        from shared.files import write_json

        result, render = work()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / f"{name}.json", result)
        if as_json:
            print(json.dumps(result, indent=2, allow_nan=False))
        else:
            from rich.console import Console

            render(result, Console())
        if not result["ok"]:
            raise typer.Exit(FOUND)

    guarded(kept)
