"""A data scientist asks where the quality comes from: rounds, or users."""

import json
from pathlib import Path
from typing import Any

import pytest

from clients.platform import Platform
from clients.recommending.scorer import InterestScorer
from server.rounds import checkpoint as checkpoints
from shared.config.federation import run_federation
from shared.whitening import Whitening
from simulations.bench.cli import joined
from simulations.bench.curves.summary import read_curves
from simulations.draw import Draw
from simulations.evaluation import evaluate
from simulations.prepare import open_prepared, prepare


def bench(place: Any, *more: object) -> Any:
    found = place.call(
        *("bench", "curves", "--recipe", place.toml, "--every", 2, "--shares", "0.25,1"),
        *("--out", place.folder / "c"),
        *more,
    )
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def made(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.iterdir()}


def test_both_curves_in_two_sittings(place: Any) -> None:
    place.without("news")
    out = place.folder / "c"
    first = bench(place, "--along", "rounds", "--json")
    assert first.exit_code == 0, first.stderr
    rounds = json.loads(first.stdout)
    assert [point["at"] for point in rounds["rounds"]] == [2, 4]
    assert rounds["users"] is None
    assert read_curves(out / "curves.json") == rounds
    models, rows = made(out / "models"), made(out / "rows")

    # what is on the way is what a simulation of the same seed serves there
    simulated = place.simulate("run", "--seed", 0, "--epsilon", 8, "--json")
    assert simulated.exit_code == 0, simulated.stderr
    assert_same(place.folder / "run", rounds)

    second = bench(place, "--along", "users")
    assert second.exit_code == 0, second.stderr
    assert "fed / local" in second.stdout
    both = read_curves(out / "curves.json")
    assert both["rounds"] == rounds["rounds"]  # the other sitting's
    few, whole = both["users"]
    assert few["trained"] == {"shop": 30, "films": 20}
    assert whole["trained"] == both["platforms"] == {"shop": 120, "films": 80}
    # all users after all rounds is one point of both curves, and was trained once
    for system in ("federated", "federated+knn"):
        assert whole["systems"][system] == rounds["rounds"][-1]["systems"][system]
        assert few["systems"][system] != whole["systems"][system]
    for path, when in (models | rows).items():
        assert Path(path).stat().st_mtime_ns == when
    names = {path.name.split(".safetensors")[0] for path in (out / "models").iterdir()}
    assert sum("share-0.25" in name and "." not in name.split("0.25")[1] for name in names) == 3
    assert (out / "curves.html").read_text().count("<figure") == 4 + 1 + 2

    # a third finds everything; other points of the same training are not trained again
    models, rows = made(out / "models"), made(out / "rows")
    third = bench(place, "--json")
    assert json.loads(third.stdout) == both
    assert (made(out / "models"), made(out / "rows")) == (models, rows)
    finer = bench(place, "--along", "rounds", "--every", 1, "--json")
    assert [point["at"] for point in json.loads(finer.stdout)["rounds"]] == [1, 2, 3, 4]
    assert made(out / "models") == models

    # a damaged file is made again from the rows
    (out / "curves.json").write_text("{}")
    again = bench(place, "--json")
    assert json.loads(again.stdout) == both


def assert_same(run: Path, curves: dict[str, Any]) -> None:
    """The federated points of the curve, from a run's own checkpoints and releases."""
    settings = run_federation(run)
    for point in curves["rounds"]:
        kept = checkpoints.load(checkpoints.path_of(run / "checkpoints", point["at"]))
        for name in settings.platforms:
            prepared = open_prepared(run, name)
            own = prepared.platform.own_adapter(
                kept.adapter, point["at"], settings.interpolation(name)
            )
            ground = prepared.platform.ground(Whitening.from_arrays(kept.base))
            scorer = InterestScorer.of(settings.model, own, ground)
            found = evaluate(scorer, prepared.split, history_length=settings.model.history_length)
            measured = point["systems"]["federated"]["platforms"][name]["ndcg"]
            assert measured == pytest.approx(found.metrics["ndcg@10"], abs=1e-6)


def test_a_share_is_all_that_a_platform_has(shared_place: Any, tmp_path: Path) -> None:
    """What is prepared with a draw holds the drawn users alone, in memory and on disk."""
    from simulations.recipes import load_recipe

    settings = load_recipe(str(shared_place.toml), data=None, world=tmp_path, seed=0).settings
    folders = {}
    for label, draw in (("all", None), ("few", Draw(share=0.25, seed=0))):
        folders[label] = tmp_path / label
        found = prepare(
            settings,
            folders[label],
            cache=shared_place.cache,
            unsafe_seed=0,
            progress=lambda *_: None,
            draw=draw,
        )
    assert {name: own.population for name, own in found.platforms.items()} == {
        **{"shop": 30, "films": 20, "news": 15}
    }
    whole, few = (
        Platform.open(folders[label] / "platforms" / "shop").sequences for label in ("all", "few")
    )
    rows = Draw(share=0.25, seed=0).rows("shop", 120)
    assert few.users == tuple(whole.users[int(row)] for row in rows)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--along", "seeds"), "expected rounds or users, got seeds"),
        (("--shares", "0.5 1.5"), "expected shares of the users above 0, up to 1, got 1.5"),
        (("--shares", "half"), "--shares"),
        (("--rounds", "48", "--every", "6"), "a multiple of 4"),
    ],
)
def test_a_question_that_cannot_be_answered(place: Any, more: tuple[str, ...], words: str) -> None:
    place.without("films", "news")
    found = bench(place, *more)
    assert found.exit_code == 2
    assert words in " ".join(found.stderr.split())
    assert not (place.folder / "c").exists()


def test_several_values_after_one_option() -> None:
    typed = ["bench", "curves", "--along", "rounds", "users", "--shares", "0.5", "1", "--json"]
    assert joined(typed) == [
        *("bench", "curves", "--along", "rounds,users", "--shares", "0.5,1", "--json")
    ]
