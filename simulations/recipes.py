"""What to simulate: the embedded demo, a benchmark on public data, or a federation.toml."""

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from shared.config.federation import FederationSettings, read_federation, read_toml, resolve_paths
from shared.errors import ConfigError, SourceError

DATA_VARIABLE = "FEDINTEREST_DATA"
DEMO = "demo"
BENCHMARKS = {
    "storefronts": ("storefronts", "beauty.interactions.tsv"),
    "retail": ("online_retail", "online_retail.parquet"),
    "films": ("movietweetings", "ratings.dat"),
    "steam": ("steam", "game_purchase.dat"),
}
"""Recipe -> its folder below the data folder, and a file that must be in it."""


@dataclass(frozen=True)
class Recipe:
    """A federation to simulate.

    Args:
        name: `demo`, a benchmark's name, or the stem of the TOML file.
        settings: with absolute data paths.
    """

    name: str
    settings: FederationSettings

    def changed(self, rounds: int | None, epsilon: float | None) -> "Recipe":
        """This recipe with the command line's wishes.

        Raises:
            ConfigError: they are no settings.
        """
        changes: dict[str, object] = {}
        if rounds is not None:
            changes["training"] = {**self.settings.training.model_dump(), "rounds": rounds}
        if epsilon is not None:
            changes["privacy"] = {**self.settings.privacy.model_dump(), "epsilon": epsilon}
        if not changes:
            return self
        values = {**self.settings.model_dump(), **changes}
        return Recipe(self.name, FederationSettings.load(values, where="command line"))


def load_recipe(recipe: str, *, data: Path | None, world: Path, seed: int) -> Recipe:
    """Find or make what `recipe` names.

    Args:
        data: folder of the benchmark data; None looks at FEDINTEREST_DATA.
        world: where the demo world is written, if it is the demo.
        seed: of the demo world.

    Raises:
        ConfigError: no such recipe, or no data folder for a benchmark.
        SourceError: the file is missing or unreadable.
    """
    if recipe == DEMO:
        from simulations.worlds import write_demo_world

        made = write_demo_world(world, seed=seed)
        return Recipe(DEMO, made)
    if recipe in BENCHMARKS:
        return Recipe(recipe, _benchmark(recipe, _data_folder(recipe, data)))
    path = Path(recipe)
    if path.suffix != ".toml" and not path.exists():
        raise ConfigError(
            expected=f"{DEMO}, {', '.join(BENCHMARKS)}, or the path of a federation.toml",
            got=repr(recipe),
            where="RECIPE",
            remedy="`fedinterest init` writes a federation.toml to start from.",
        )
    return Recipe(path.stem, read_federation(path))


def _data_folder(recipe: str, data: Path | None) -> Path:
    inside, needed = BENCHMARKS[recipe]
    named = data or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if named is None:
        raise ConfigError(
            expected="a data folder",
            got="none",
            where="--data",
            remedy=f"Give --data DIR or set {DATA_VARIABLE}; DIR holds {inside}/{needed}.",
        )
    folder = named / inside if (named / inside).is_dir() else named
    if not (folder / needed).is_file():
        raise SourceError(
            expected=f"{inside}/{needed}",
            got="no such file",
            where=str(named),
            remedy=f"Point --data or {DATA_VARIABLE} at the folder that holds `{inside}`.",
        )
    return folder


def _benchmark(recipe: str, folder: Path) -> FederationSettings:
    template = resources.files("simulations") / f"{recipe}.toml"
    with resources.as_file(template) as path:
        values = read_toml(path)
    settings = FederationSettings.load(values, where=f"{recipe} recipe")
    return resolve_paths(settings, folder.resolve())
