"""curves.json: figures against hand and formula, and what is read back."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import RunError
from shared.privacy.accountant import Charge, epsilon
from simulations.bench.curves.points import Point
from simulations.bench.curves.summary import read_curves, sealed, summarise
from tests.simulations.bench.curves.conftest import USERS, subject_of


def level(shop: float, films: float) -> dict[str, Any]:
    return {
        name: np.full(users, value)
        for (name, users), value in zip(USERS.items(), (shop, films), strict=True)
    }


def test_ratios_are_of_means_and_platforms_count_alike() -> None:
    base = {"frozen": level(0.2, 0.1), "frozen+knn": level(0.4, 0.2)}
    ours = {
        "federated": level(0.3, 0.3),
        "federated+knn": level(0.4, 0.5),
        "local": level(0.3, 0.2),
        "local+knn": level(0.5, 0.5),
    }
    (point,) = summarise(subject_of(), "users", base, [Point(at=0.5, systems=ours)])
    mean = {name: one["mean"]["value"] for name, one in point["systems"].items()}
    assert mean == pytest.approx(
        {"federated": 2.0, "federated+knn": 1.5, "local": 5 / 3, "local+knn": 5 / 3}, abs=1e-6
    )
    assert point["systems"]["federated"]["platforms"]["films"] == {
        "ndcg": 0.3,
        "value": pytest.approx(3.0),
        "low": pytest.approx(3.0),  # all users alike: nothing to be unsure of
        "high": pytest.approx(3.0),
    }
    over = {name: one["mean"]["value"] for name, one in point["versus"].items()}
    assert over == pytest.approx({"federated": 1.2, "federated+knn": 0.9}, abs=1e-6)


def test_a_ratio_to_nothing_is_none() -> None:
    base = {"frozen": level(0.0, 0.1), "frozen+knn": level(0.1, 0.1)}
    ours = {"federated": level(0.3, 0.3), "federated+knn": level(0.4, 0.5)}
    (point,) = summarise(subject_of(), "rounds", base, [Point(at=16, systems=ours)])
    shop = point["systems"]["federated"]["platforms"]["shop"]
    assert (shop["value"], shop["low"], shop["high"]) == (None, None, None)
    assert point["systems"]["federated"]["mean"]["value"] == pytest.approx(6.0)
    assert "versus" not in point


def test_who_was_trained_on_and_the_noise(curves: dict[str, Any]) -> None:
    """The noise of a promise to an eighth, half and all of 900 and 400 declared users."""
    points = {point["at"]: point for point in curves["users"]}
    assert points[0.125]["trained"] == {"shop": 12, "films": 5}
    assert points[1.0]["trained"] == USERS
    for at, populations in ((0.125, (120, 50)), (0.5, (450, 200)), (1.0, (900, 400))):
        for population, (_, noise) in zip(populations, points[at]["noise"].items(), strict=True):
            noise_multiplier = noise * 0.5 * population / 2.0  # sample_rate, clip_norm
            spent = epsilon([Charge(0.5, noise_multiplier, 16)], population**-1.1)
            assert spent == pytest.approx(8.0, rel=3e-3)


def test_spending_is_of_the_whole_promise(curves: dict[str, Any]) -> None:
    halfway, end = (point["spent"] for point in curves["rounds"])
    assert 7.98 < end <= 8.0
    assert 8 / 2 < halfway < 8 / math.sqrt(2) + 0.5


def test_without_privacy_nothing_is_spent() -> None:
    subject = subject_of(math.inf)
    base = {"frozen": level(0.2, 0.1), "frozen+knn": level(0.4, 0.2)}
    ours = {"federated": level(0.3, 0.3), "federated+knn": level(0.4, 0.5)}
    (point,) = summarise(subject, "rounds", base, [Point(at=16, systems=ours)])
    assert point["spent"] is None
    ours |= {"local": ours["federated"], "local+knn": ours["federated+knn"]}
    (point,) = summarise(subject, "users", base, [Point(at=1.0, systems=ours)])
    assert point["noise"] == {"shop": 0.0, "films": 0.0}
    assert subject.head()["epsilon"] == "inf"
    json.dumps(sealed(subject.head()), allow_nan=False)


def test_read_back(curves: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "curves.json"
    path.write_text(json.dumps(curves))
    assert read_curves(path) == curves


@pytest.mark.parametrize("case", ["missing", "cut", "changed", "version", "more"])
def test_what_is_not_whole_is_refused(curves: dict[str, Any], tmp_path: Path, case: str) -> None:
    path = tmp_path / "curves.json"
    text = json.dumps(curves)
    if case == "cut":
        text = text[:-40]
    if case == "changed":
        text = text.replace('"seed": 0', '"seed": 1')
    if case == "version":
        text = json.dumps(sealed(curves | {"format": 2}))
    if case == "more":
        text = json.dumps(sealed(curves | {"added": 1}))
    if case != "missing":
        path.write_text(text)
    with pytest.raises(RunError, match="expected curves, format 1"):
        read_curves(path)
