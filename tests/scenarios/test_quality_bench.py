"""A data scientist compares systems: on their own data, in several sittings."""

import json
from pathlib import Path
from typing import Any

import pytest

from simulations.bench.cli import joined


def bench(place: Any, *more: object) -> Any:
    found = place.call(
        "bench",
        "quality",
        "--recipe",
        place.toml,
        "--rounds",
        2,
        "--out",
        place.folder / "q",
        *more,
    )
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def made(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.iterdir()}


def trainings(out: Path) -> set[str]:
    """What was trained, by the names of the models that are kept."""
    return {path.name.split(".")[0] for path in (out / "models").iterdir()}


def test_systems_are_compared_and_nothing_is_run_twice(place: Any) -> None:
    place.without("news")
    first = bench(place, "--systems", "frozen,federated", "--epsilon", "8,inf", "--json")
    assert first.exit_code == 0, first.stderr
    summary = json.loads(first.stdout)
    assert json.loads((place.folder / "q" / "quality.json").read_text()) == summary
    assert (place.folder / "q" / "quality.html").stat().st_size > 10_000
    labels = [system["label"] for system in summary["systems"]]
    assert labels == [
        *("frozen", "frozen+knn", "frozen+tuned"),
        *("federated e=8", "federated+knn e=8", "federated+tuned e=8"),
        *("federated e=inf", "federated+knn e=inf", "federated+tuned e=inf"),
    ]
    rows, models = made(place.folder / "q" / "rows"), made(place.folder / "q" / "models")
    assert len(trainings(place.folder / "q")) == 2
    assert len(models) == 2 * 3  # the shared adapter, and what each platform adds
    assert not list((place.folder / "q" / "trainings").iterdir())  # what is kept is in models/

    # another sitting: two systems more, the others from the cache, and the same figures
    again = bench(
        place, "--systems", "popularity,frozen,federated,local", "--epsilon", "8", "--json"
    )
    assert again.exit_code == 0, again.stderr
    for path, when in (rows | models).items():
        assert Path(path).stat().st_mtime_ns == when
    more = json.loads(again.stdout)
    before = {one["label"]: one["mean"] for one in summary["systems"]}
    after = {one["label"]: one["mean"] for one in more["systems"]}
    assert set(after) - set(before) == {
        *("popularity", "local e=8", "local+knn e=8", "local+tuned e=8")
    }
    for label in set(after) & set(before):
        value, known = (found[label]["ndcg@10"]["value"] for found in (after, before))
        assert value == pytest.approx(known, abs=1e-9)
    alone = [name for name in trainings(place.folder / "q") if name.startswith("local-epsilon-8")]
    assert len(alone) == 2  # one a platform

    # other settings are other rows
    third = bench(place, "--systems", "federated", "--epsilon", "4", "--json")
    assert third.exit_code == 0, third.stderr
    assert len(trainings(place.folder / "q")) == 5


def test_the_frozen_row_is_the_one_of_simulate(place: Any) -> None:
    place.without("news")
    simulated = place.simulate("run", "--rounds", 2, "--seed", 0, "--json")
    assert simulated.exit_code == 0, simulated.stderr
    measured = bench(place, "--systems", "frozen,knn,federated", "--json")
    assert measured.exit_code == 0, measured.stderr
    systems = {one["label"]: one for one in json.loads(measured.stdout)["systems"]}
    for name, platform in json.loads(simulated.stdout)["platforms"].items():
        for system, label in (
            ("frozen", "frozen"),
            ("knn", "knn"),
            ("frozen+knn", "frozen+knn"),
            ("federated", "federated e=8"),
            ("federated+knn", "federated+knn e=8"),
        ):
            found = systems[label]["platforms"][name]["ndcg@10"]["value"]
            assert found == pytest.approx(platform["systems"][system]["ndcg@10"], abs=1e-6)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--systems", "frozn"), "expected systems among popularity, frozen"),
        (("--systems", "frozen", "--base", "federated"), "the base"),
        (("--epsilon", "much"), "a positive number or inf"),
    ],
)
def test_a_question_that_cannot_be_answered(place: Any, more: tuple[str, ...], words: str) -> None:
    place.without("films", "news")
    found = bench(place, *more)
    assert found.exit_code == 2
    assert words in " ".join(found.stderr.split())
    assert not (place.folder / "q" / "quality.json").exists()


def test_several_values_after_one_option() -> None:
    front, back = ["bench", "quality"], ["--seeds", "3", "--json"]
    epsilons, systems = ["1", "3", "8", "inf"], ["frozen", "knn"]
    typed = [*front, "--epsilon", *epsilons, "--systems", *systems, *back]
    want = [*front, "--epsilon", "1,3,8,inf", "--systems", "frozen,knn", *back]
    assert joined(typed) == want
    assert joined(want) == want
    assert joined([]) == []


def test_a_platform_joins_late(place: Any) -> None:
    def join() -> Any:
        return place.call(
            *("bench", "newcomer", "--recipe", place.toml, "--users", 30, "--groups", 2),
            *("--rounds", 2, "--out", place.folder / "n", "--json"),
        )

    first = join()
    assert first.exit_code == 0, first.stderr
    result = json.loads(first.stdout)
    assert set(result["platforms"]) == {"shop", "films", "news"}
    for platform in result["platforms"].values():
        assert platform["users"] == 30
        assert platform["groups"] == 2
        assert all(0 <= one["ndcg@10"] <= 1 for one in platform["systems"].values())
    models = made(place.folder / "n" / "models")
    assert len(trainings(place.folder / "n")) == 3  # one without each
    again = join()
    assert json.loads(again.stdout) == result
    assert made(place.folder / "n" / "models") == models
