"""`fedinterest bench`: what is measured, on the command line.

Only what parses arguments is imported at the top: `--help` must be instant.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.errors import ConfigError
from shared.guard import fail, guarded

bench = typer.Typer(
    help="Measure quality, and speed on this machine.", no_args_is_help=True, rich_markup_mode=None
)

Recipe = Annotated[str, typer.Option(help="As for simulate [default: demo].", show_default=False)]
Data = Annotated[
    Path | None, typer.Option(help="Folder of the benchmark data [env: FEDINTEREST_DATA].")
]
Epsilon = Annotated[
    str, typer.Option(help="Budget of every user [default: 8].", show_default=False)
]
Seed = Annotated[
    int,
    typer.Option(min=0, help="Makes everything repeatable [default: 0].", show_default=False),
]
Rounds = Annotated[int | None, typer.Option(help="Federation rounds.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, quietly.")]

# \b keeps click from filling the lines of a paragraph.
QUALITY_EXAMPLES = """\b
Examples:
  fedinterest bench quality                       the demo federation
  fedinterest bench quality --recipe storefronts --data DIR \\
      --systems frozen knn ease federated --epsilon 1 3 8 inf --seeds 3
"""
NEWCOMER_EXAMPLES = """\b
Examples:
  fedinterest bench newcomer                      the demo federation
  fedinterest bench newcomer --recipe storefronts --data DIR --users 500
"""
CURVES_EXAMPLES = """\b
Examples:
  fedinterest bench curves                        the demo federation
  fedinterest bench curves --recipe storefronts --data DIR --along rounds
  fedinterest bench curves --along users --shares 0.1 0.3 1 --out runs/mine
"""
SERVING_EXAMPLES = """\b
Examples:
  fedinterest bench serving                       100,000 items
  fedinterest bench serving --items 1000000 --catalogue runs/storefronts
"""


@bench.command("dp-step")
def dp_step(
    steps: Annotated[
        int, typer.Option(help="Steps of each kind [default: 30].", show_default=False)
    ] = 30,
    users: Annotated[
        int, typer.Option(help="Users in a step [default: 1024].", show_default=False)
    ] = 1024,
    as_json: AsJson = False,
) -> None:
    """Time a private training step against a non-private one, interleaved."""

    def work() -> None:
        from simulations.bench.dp_step import run_dp_step_bench

        _report(run_dp_step_bench(steps=steps, users=users), as_json)

    guarded(work)


@bench.command("ingest")
def ingest(
    events: Annotated[
        int, typer.Option(help="Events in the log [default: 10000000].", show_default=False)
    ] = 10_000_000,
    as_json: AsJson = False,
) -> None:
    """Time the ingestion of a generated, dirty log, and its memory."""

    def work() -> None:
        from simulations.bench.ingest import run_ingest_bench

        _report(run_ingest_bench(events), as_json)

    guarded(work)


@bench.command("round")
def round_(
    rounds: Annotated[
        int, typer.Option(help="Rounds to train [default: 25].", show_default=False)
    ] = 25,
    as_json: AsJson = False,
) -> None:
    """Time the rounds of a deployment on this machine that has hardly anything to train."""

    def work() -> None:
        from simulations.bench.round import run_round_bench

        _report(run_round_bench(rounds), as_json)

    guarded(work)


@bench.command("serving", epilog=SERVING_EXAMPLES)
def serving(
    items: Annotated[
        int, typer.Option(help="Items of the platform [default: 100000].", show_default=False)
    ] = 100_000,
    rate: Annotated[
        float, typer.Option(help="Calls a second [default: 100].", show_default=False)
    ] = 100.0,
    seconds: Annotated[
        float, typer.Option(help="How long each load lasts [default: 30].", show_default=False)
    ] = 30.0,
    catalogue: Annotated[
        Path | None,
        typer.Option(help="Run folder whose items the catalogue grows from [default: made up]."),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Makes the platform [default: 0].", show_default=False)
    ] = 0,
    no_rival: Annotated[
        bool, typer.Option("--no-rival", help="Leave out the plain service.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the platform, which is made once, and of serving.json "
            "[default: runs/serving-ITEMS]."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Load the recommendation service of a made-up platform: latency, recall, memory, crashes."""

    def work() -> None:
        from simulations.bench import commands

        commands.serving(
            items=items,
            rate=rate,
            seconds=seconds,
            catalogue=catalogue,
            seed=seed,
            rival=not no_rival,
            out=out,
            as_json=as_json,
        )

    guarded(work)


@bench.command("quality", epilog=QUALITY_EXAMPLES)
def quality(
    recipe: Recipe = "demo",
    data: Data = None,
    systems: Annotated[
        str | None,
        typer.Option(help="Which, separated by blanks or commas [default: all light ones]."),
    ] = None,
    epsilon: Annotated[
        str, typer.Option(help="Budgets of our own model [default: 8].", show_default=False)
    ] = "8",
    seeds: Annotated[
        int, typer.Option(min=1, help="How many seeds [default: 1].", show_default=False)
    ] = 1,
    base: Annotated[
        str, typer.Option(help="Whom to compare with [default: frozen].", show_default=False)
    ] = "frozen",
    rounds: Rounds = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results [default: runs/quality-RECIPE]; what it holds "
            "already is not run again."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare systems on all platforms: quality with confidence intervals, and their price.

    Light systems: popularity, frozen, knn, ease, sasrec, lstm, federated, local, pooled. The
    field's federated adapter methods: fedavg-ab, ffa, fedsvd, alternating, mr-mtl, fedprox,
    fedadam. Text models that take hours on a CPU: bert-pair, bert-class; they use a GPU where
    there is one. frozen and what is federated, local or pooled is also measured with the local
    head: as NAME+knn with fixed weights, as NAME+tuned with weights that each platform chose on
    its own training events.
    """

    def work() -> None:
        from simulations.bench import commands

        commands.quality(
            commands.Subject("quality", recipe, data=data, out=out, rounds=rounds),
            systems=None if systems is None else _listed(systems),
            epsilons=[number(text) for text in _listed(epsilon)],
            seeds=seeds,
            base=base,
            as_json=as_json,
        )

    guarded(work)


@bench.command("newcomer", epilog=NEWCOMER_EXAMPLES)
def newcomer(
    recipe: Recipe = "demo",
    data: Data = None,
    users: Annotated[
        int, typer.Option(min=2, help="Users it has [default: 500].", show_default=False)
    ] = 500,
    groups: Annotated[
        int, typer.Option(min=1, help="Groups to average over [default: 10].", show_default=False)
    ] = 10,
    epsilon: Epsilon = "8",
    rounds: Annotated[
        int, typer.Option(min=1, help="Of its own training [default: 8].", show_default=False)
    ] = 8,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results [default: runs/newcomer-RECIPE]."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Leave each platform out of training, let it join with few users, and see what it gains."""

    def work() -> None:
        from simulations.bench import commands

        commands.newcomer(
            commands.Subject("newcomer", recipe, data=data, out=out, epsilon=number(epsilon)),
            users=users,
            groups=groups,
            rounds=rounds,
            seed=seed,
            as_json=as_json,
        )

    guarded(work)


@bench.command("curves", epilog=CURVES_EXAMPLES)
def curves(
    recipe: Recipe = "demo",
    data: Data = None,
    along: Annotated[
        str, typer.Option(help="Which curves [default: rounds users].", show_default=False)
    ] = "rounds users",
    epsilon: Epsilon = "8",
    seed: Seed = 0,
    shares: Annotated[
        str,
        typer.Option(
            help="Shares of the users, along users [default: 0.125 0.25 0.5 1].",
            show_default=False,
        ),
    ] = "0.125 0.25 0.5 1",
    every: Annotated[
        int | None,
        typer.Option(
            min=1, help="Rounds between points, along rounds [default: 8].", show_default=False
        ),
    ] = None,
    rounds: Rounds = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results [default: runs/curves-RECIPE]; one of bench quality will "
            "do. What it holds already is not run again."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show where quality comes from: what it is by rounds of training, and by users.

    Along rounds, one training is measured on its way. Along users, the federation, and each
    platform alone, are trained with a share of every platform's users and measured on all of
    them: what more users would give, and how much the platforms give each other.
    """

    def work() -> None:
        from simulations.bench import commands

        commands.curves(
            commands.Subject(
                "curves", recipe, data=data, out=out, rounds=rounds, epsilon=number(epsilon)
            ),
            along=_listed(along),
            seed=seed,
            shares=[number(text, "--shares") for text in _listed(shares)],
            every=every,
            as_json=as_json,
        )

    guarded(work)


def _report(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(values, indent=2))
        return
    width = max(len(name) for name in values)
    for name, value in values.items():
        print(
            f"{name:<{width}}  {value:,.3f}"
            if isinstance(value, float)
            else f"{name:<{width}}  {value}"
        )


def number(text: str, where: str = "--epsilon") -> float:
    """A number that was typed; where it is none, say so and end."""
    try:
        return float(text)
    except ValueError:
        expected = "a positive number or inf" if where == "--epsilon" else "numbers"
        fail(ConfigError(expected=expected, got=repr(text), where=where))


def _listed(text: str) -> list[str]:
    return text.replace(",", " ").split()


SEVERAL = {
    "quality": ("--systems", "--epsilon"),
    "curves": ("--along", "--shares"),
}
"""Options that take several values, as people type them."""


def joined(arguments: list[str]) -> list[str]:
    """`bench quality --epsilon 1 3 8` as `--epsilon 1,3,8`; all else as it is."""
    options = SEVERAL.get(arguments[1], ()) if arguments[:1] == ["bench"] and arguments[1:] else ()
    found: list[str] = []
    for argument in arguments:
        if len(found) > 1 and found[-2] in options and not argument.startswith("-"):
            found[-1] += f",{argument}"
        else:
            found.append(argument)
    return found
