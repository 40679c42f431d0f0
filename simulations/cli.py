"""`fedinterest`: simulate a federation, recommend from it, measure it.

Only what parses arguments is imported at the top: `--help` must be instant.
"""

import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from shared.errors import ConfigError
from shared.guard import fail, guarded
from simulations.audits.cli import audit

# Plain help: typer with rich loads slowly, and escapes the brackets of "[required]" even when
# it prints without it.
typer.core.HAS_RICH = False

app = typer.Typer(
    name="fedinterest",
    help="Learn one interest model across platforms, under user-level differential privacy.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bench = typer.Typer(
    help="Measure quality, and speed on this machine.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(bench, name="bench")
app.add_typer(audit, name="audit")


class Engine(str, Enum):  # noqa: UP042 - typer shows str-enums best
    """Who calls the client apps."""

    inprocess = "inprocess"
    ray = "ray"


# \b keeps click from filling the lines of a paragraph.
SIMULATE_EXAMPLES = """\b
Examples:
  fedinterest simulate                            five made-up platforms
  fedinterest simulate storefronts --data DIR     four shops' reviews
  fedinterest simulate federation.toml --epsilon 3 --out runs/mine
  fedinterest simulate --out runs/mine --resume   after Ctrl-C or a crash
"""
RECOMMEND_EXAMPLES = """\b
Examples:
  fedinterest recommend --run runs/demo --platform arcade --user u-17
  fedinterest recommend --run runs/demo --platform reel \\
      --history 101 --history "Grandma's Designer (1998)" --explain
"""
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
INIT_EXAMPLE = """\b
Example:
  fedinterest init && $EDITOR federation.toml
"""


@app.command(epilog=SIMULATE_EXAMPLES)
def simulate(
    recipe: Annotated[
        str,
        typer.Argument(show_default=False),
    ] = "demo",
    data: Annotated[
        Path | None, typer.Option(help="Folder of the benchmark data [env: FEDINTEREST_DATA].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder [default: runs/RECIPE, the next free one].")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Federation rounds.")] = None,
    epsilon: Annotated[
        str | None, typer.Option(help="Budget of every user for the whole run; inf = NOT PRIVATE.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Make everything repeatable, the noise too (unsafe for real users). "
            "Without it the noise comes from the operating system."
        ),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(help="Who calls the client apps [default: inprocess].", show_default=False),
    ] = Engine.inprocess,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write OUT/tensorboard too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json, quietly.")] = False,
) -> None:
    """Train a federation on this machine; show what each platform gained and what it cost.

    RECIPE is demo (the default), a benchmark (storefronts, retail, films, steam), or the
    path of a federation.toml.
    """
    from simulations.commands import simulate as run

    guarded(
        lambda: run(
            recipe,
            data=data,
            out=out,
            rounds=rounds,
            epsilon=_epsilon(epsilon),
            seed=seed,
            engine=engine.value,
            resume=resume,
            tensorboard=tensorboard,
            as_json=as_json,
        )
    )


@app.command(epilog=RECOMMEND_EXAMPLES)
def recommend(
    run: Annotated[Path, typer.Option(help="Run folder of a finished simulation.")],
    platform: Annotated[str, typer.Option(help="Platform's name.")],
    user: Annotated[str | None, typer.Option(help="Raw id of one of its users.")] = None,
    history: Annotated[
        list[str] | None,
        typer.Option(help="Item id or exact title, oldest first; give it once for each item."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many [default: 10].", show_default=False)] = 10,
    explain: Annotated[bool, typer.Option("--explain", help="Say what carried each.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recommend items to a user, or to a history, with the trained model and the local head."""

    def work() -> None:
        if (user is None) == (not history):
            raise ConfigError(
                expected="either --user or --history",
                got="both" if user is not None else "neither",
                where="fedinterest recommend",
            )
        from rich.console import Console

        from simulations.recommend import recommend as find

        found = find(run, platform, user=user, history=history, k=k, explain=explain)
        if as_json:
            print(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
        else:
            found.render(Console())

    guarded(work)


@app.command(epilog=INIT_EXAMPLE)
def init(
    path: Annotated[Path | None, typer.Argument(show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="Write the demo platforms' raw logs into folder PATH.")
    ] = False,
) -> None:
    """Write a commented federation.toml to start from, at PATH [default: federation.toml].

    With --demo: raw logs of five platforms to try things on, and the federation.toml that reads
    them, in the folder PATH [default: demo].
    """

    def work() -> None:
        from simulations.commands import init as write
        from simulations.commands import init_demo

        if demo:
            init_demo(path or Path("demo"))
        else:
            write(path or Path("federation.toml"), force=force)

    guarded(work)


@bench.command("dp-step")
def dp_step(
    steps: Annotated[
        int, typer.Option(help="Steps of each kind [default: 30].", show_default=False)
    ] = 30,
    users: Annotated[
        int, typer.Option(help="Users in a step [default: 1024].", show_default=False)
    ] = 1024,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print serving.json, quietly.")] = False,
) -> None:
    """Load the recommendation service of a made-up platform: latency, recall, memory, crashes."""
    from simulations.commands import serving as run

    guarded(
        lambda: run(
            items=items,
            rate=rate,
            seconds=seconds,
            catalogue=catalogue,
            seed=seed,
            rival=not no_rival,
            out=out,
            as_json=as_json,
        )
    )


@bench.command("quality", epilog=QUALITY_EXAMPLES)
def quality(
    recipe: Annotated[
        str, typer.Option(help="As for simulate [default: demo].", show_default=False)
    ] = "demo",
    data: Annotated[
        Path | None, typer.Option(help="Folder of the benchmark data [env: FEDINTEREST_DATA].")
    ] = None,
    systems: Annotated[
        str | None,
        typer.Option(help="Which, separated by blanks or commas [default: all light ones]."),
    ] = None,
    epsilon: Annotated[
        str,
        typer.Option(help="Budgets of our own model [default: 8].", show_default=False),
    ] = "8",
    seeds: Annotated[
        int, typer.Option(min=1, help="How many seeds [default: 1].", show_default=False)
    ] = 1,
    base: Annotated[
        str, typer.Option(help="Whom to compare with [default: frozen].", show_default=False)
    ] = "frozen",
    rounds: Annotated[int | None, typer.Option(help="Federation rounds.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results [default: runs/quality-RECIPE]; what it holds "
            "already is not run again."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print quality.json, quietly.")] = False,
) -> None:
    """Compare systems on all platforms: quality with confidence intervals, and their price.

    Light systems: popularity, frozen, knn, ease, sasrec, lstm, federated, local, pooled. The
    field's federated adapter methods: fedavg-ab, ffa, fedsvd, alternating, mr-mtl, fedprox,
    fedadam. Text models that take hours on a CPU: bert-pair, bert-class; they use a GPU where
    there is one. frozen and what is federated, local or pooled is also measured with the local
    head: as NAME+knn with fixed weights, as NAME+tuned with weights that each platform chose on
    its own training events.
    """
    from simulations.commands import quality as run

    guarded(
        lambda: run(
            recipe,
            data=data,
            systems=_listed(systems) if systems is not None else None,
            epsilons=[_number(text) for text in _listed(epsilon)],
            seeds=seeds,
            base=base,
            rounds=rounds,
            out=out,
            as_json=as_json,
        )
    )


@bench.command("newcomer", epilog=NEWCOMER_EXAMPLES)
def newcomer(
    recipe: Annotated[
        str, typer.Option(help="As for simulate [default: demo].", show_default=False)
    ] = "demo",
    data: Annotated[
        Path | None, typer.Option(help="Folder of the benchmark data [env: FEDINTEREST_DATA].")
    ] = None,
    users: Annotated[
        int, typer.Option(min=2, help="Users it has [default: 500].", show_default=False)
    ] = 500,
    groups: Annotated[
        int, typer.Option(min=1, help="Groups to average over [default: 10].", show_default=False)
    ] = 10,
    epsilon: Annotated[
        str, typer.Option(help="Budget of every user [default: 8].", show_default=False)
    ] = "8",
    rounds: Annotated[
        int, typer.Option(min=1, help="Of its own training [default: 8].", show_default=False)
    ] = 8,
    seed: Annotated[
        int, typer.Option(help="Makes everything repeatable [default: 0].", show_default=False)
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results [default: runs/newcomer-RECIPE]."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print newcomer.json, quietly.")] = False,
) -> None:
    """Leave each platform out of training, let it join with few users, and see what it gains."""
    from simulations.commands import newcomer as run

    guarded(
        lambda: run(
            recipe,
            data=data,
            users=users,
            groups=groups,
            epsilon=_number(epsilon),
            rounds=rounds,
            seed=seed,
            out=out,
            as_json=as_json,
        )
    )


@bench.command("curves", epilog=CURVES_EXAMPLES)
def curves(
    recipe: Annotated[
        str, typer.Option(help="As for simulate [default: demo].", show_default=False)
    ] = "demo",
    data: Annotated[
        Path | None, typer.Option(help="Folder of the benchmark data [env: FEDINTEREST_DATA].")
    ] = None,
    along: Annotated[
        str, typer.Option(help="Which curves [default: rounds users].", show_default=False)
    ] = "rounds users",
    epsilon: Annotated[
        str, typer.Option(help="Budget of every user [default: 8].", show_default=False)
    ] = "8",
    seed: Annotated[
        int,
        typer.Option(min=0, help="Makes everything repeatable [default: 0].", show_default=False),
    ] = 0,
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
    rounds: Annotated[int | None, typer.Option(help="Federation rounds.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results [default: runs/curves-RECIPE]; one of bench quality will "
            "do. What it holds already is not run again."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print curves.json, quietly.")] = False,
) -> None:
    """Show where quality comes from: what it is by rounds of training, and by users.

    Along rounds, one training is measured on its way. Along users, the federation, and each
    platform alone, are trained with a share of every platform's users and measured on all of
    them: what more users would give, and how much the platforms give each other.
    """
    from simulations.commands import curves as run

    guarded(
        lambda: run(
            recipe,
            data=data,
            along=_listed(along),
            epsilon=_number(epsilon),
            seed=seed,
            shares=[_number(text, "--shares") for text in _listed(shares)],
            every=every,
            rounds=rounds,
            out=out,
            as_json=as_json,
        )
    )


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


def _epsilon(text: str | None) -> float | None:
    return None if text is None else _number(text)


def _number(text: str, where: str = "--epsilon") -> float:
    try:
        return float(text)
    except ValueError:
        expected = "a positive number or inf" if where == "--epsilon" else "numbers"
        fail(ConfigError(expected=expected, got=repr(text), where=where))


def _listed(text: str) -> list[str]:
    return text.replace(",", " ").split()


SEVERAL = ("--systems", "--epsilon", "--along", "--shares")


def joined(arguments: list[str]) -> list[str]:
    """`--epsilon 1 3 8` as `--epsilon 1,3,8`: several values after one option, as people type."""
    found: list[str] = []
    for argument in arguments:
        several = len(found) > 1 and found[-2] in SEVERAL
        if several and not argument.startswith("-"):
            found[-1] += f",{argument}"
        else:
            found.append(argument)
    return found


def main() -> None:
    """Entry point of `fedinterest`."""
    arguments = sys.argv[1:]
    several = arguments[:1] == ["bench"] and arguments[1:2] in (["quality"], ["curves"])
    app(joined(arguments) if several else arguments)


if __name__ == "__main__":
    main()
