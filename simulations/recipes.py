"""What to simulate: the embedded demo, the storefronts benchmark, or a federation.toml."""

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from shared.config.federation import FederationSettings, read_federation, read_toml, resolve_paths
from shared.errors import ConfigError, SourceError

DATA_VARIABLE = "FEDINTEREST_DATA"
DEMO, STOREFRONTS = "demo", "storefronts"


@dataclass(frozen=True)
class Recipe:
    """A federation to simulate.

    Args:
        name: `demo`, `storefronts`, or the stem of the TOML file.
        settings: with absolute data paths.
    """

    name: str
    settings: FederationSettings


def load_recipe(recipe: str, *, data: Path | None, world: Path, seed: int) -> Recipe:
    """Find or make what `recipe` names.

    Args:
        data: folder of the benchmark data; None looks at FEDINTEREST_DATA.
        world: where the demo world is written, if it is the demo.
        seed: of the demo world.

    Raises:
        ConfigError: no such recipe, or no data folder for the storefronts.
        SourceError: the file is missing or unreadable.
    """
    if recipe == DEMO:
        from simulations.worlds import write_demo_world

        made = write_demo_world(world, seed=seed)
        return Recipe(DEMO, made)
    if recipe == STOREFRONTS:
        return Recipe(STOREFRONTS, _storefronts(_data_folder(data)))
    path = Path(recipe)
    if path.suffix != ".toml" and not path.exists():
        raise ConfigError(
            expected=f"`{DEMO}`, `{STOREFRONTS}` or the path of a federation.toml",
            got=repr(recipe),
            where="RECIPE",
            remedy="`fedinterest init` writes a federation.toml to start from.",
        )
    return Recipe(path.stem, read_federation(path))


def _data_folder(data: Path | None) -> Path:
    named = data or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if named is None:
        raise ConfigError(
            expected="a data folder",
            got="none",
            where="--data",
            remedy=f"Give --data DIR or set {DATA_VARIABLE}; DIR holds storefronts/*.tsv.",
        )
    folder = named / "storefronts" if (named / "storefronts").is_dir() else named
    if not any(folder.glob("*.interactions.tsv")):
        raise SourceError(
            expected="storefronts/NAME.interactions.tsv and NAME.items.tsv",
            got="no such files",
            where=str(named),
            remedy=f"Point --data or {DATA_VARIABLE} at the folder that holds `storefronts`.",
        )
    return folder


def _storefronts(folder: Path) -> FederationSettings:
    template = resources.files("simulations") / "storefronts.toml"
    with resources.as_file(template) as path:
        values = read_toml(path)
    settings = FederationSettings.load(values, where="storefronts recipe")
    return resolve_paths(settings, folder.resolve())
