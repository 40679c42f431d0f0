"""`fedinterest`: simulate a federation, recommend from it, measure it.

Only what parses arguments is imported at the top: `--help` must be instant.
"""

import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
import typer.core

from shared.errors import ConfigError
from shared.guard import guarded
from simulations.audits.cli import audit
from simulations.bench.cli import bench, joined, number

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
            epsilon=None if epsilon is None else number(epsilon),
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


def main() -> None:
    """Entry point of `fedinterest`."""
    app(joined(sys.argv[1:]))


if __name__ == "__main__":
    main()
