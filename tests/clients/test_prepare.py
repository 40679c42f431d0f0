"""A partner's folder is what a simulation makes of the same log, when it holds the same apart."""

import json
from pathlib import Path

import numpy as np

from clients.home import Home
from clients.joining.start import write_request
from clients.platform import Platform
from clients.prepare import without
from shared.config.federation import read_federation
from shared.events import Sequences
from simulations.prepare import prepare
from tests.clients.partners import enrolled, new_home, no_progress, public


def test_the_same_histories_as_in_a_simulation(
    tmp_path: Path, world: Path, surroundings: None
) -> None:
    settings = read_federation(world / "federation.toml")
    shop = settings.platforms["shop"].replace(population=200)
    federation = public(world)
    alone = settings.model_copy(
        update={
            "platforms": {"shop": shop},
            "privacy": federation.privacy,
            "training": federation.training,
            "model": federation.model,
        }
    )
    prepare(alone, tmp_path / "run", cache=tmp_path / "c", unsafe_seed=3, progress=no_progress)
    simulated = Platform.open(tmp_path / "run" / "platforms" / "shop")

    home = new_home(tmp_path / "shop", world, seed=3)
    text = home.folder.toml.read_text().replace("hold_out = false", "hold_out = true")
    home.folder.toml.write_text(text)
    home = Home.open(home.folder.path)
    enrolled_home(home, world)
    made = home.prepare(no_progress)
    same = {"ledger": "", "journals": ""}
    assert made.record.replace(**same, model=made.record.model) == simulated.record.replace(
        **same, model=simulated.record.model
    )
    assert np.array_equal(made.sequences.items, simulated.sequences.items)
    assert np.array_equal(made.sequences.offsets, simulated.sequences.offsets)
    assert np.array_equal(made.states, simulated.states)
    with (
        np.load(made.folder / "heldout.npz") as mine,
        np.load(simulated.folder / "heldout.npz") as other,
    ):
        assert {name: mine[name].tolist() for name in mine} == {
            name: other[name].tolist() for name in other
        }
    facts = [json.loads((one.folder / "facts.json").read_text()) for one in (made, simulated)]
    assert facts[0] == facts[1]
    assert made.key.public.hex == simulated.key.public.hex


def enrolled_home(home: Home, world: Path) -> None:
    write_request(home)  # the statement key follows from the seed
    enrolled(home, world)


def test_without_holding_out_all_events_are_learned_from(home: Home) -> None:
    made = Platform.open(home.folder.platform)
    facts = json.loads((home.folder.platform / "facts.json").read_text())
    assert facts["events"] == len(made.sequences.items) == 800
    assert facts["users"] == len(made.sequences) == 120
    assert not (made.folder / "heldout.npz").exists()


def test_users_are_left_out_in_place() -> None:
    sequences = Sequences(
        users=("a", "b", "c"),
        items=np.array([1, 2, 3, 4, 5, 6], dtype=np.int32),
        offsets=np.array([0, 2, 3, 6]),
    )
    left = without(sequences, {"b", "z"})
    assert left.users == ("a", "c")
    assert left.items.tolist() == [1, 2, 4, 5, 6]
    assert left.offsets.tolist() == [0, 2, 5]
    assert without(sequences, set()).items.tolist() == sequences.items.tolist()
