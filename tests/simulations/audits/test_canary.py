"""The audit end to end: real training on tiny platforms with a random encoder."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from shared.errors import ConfigError
from shared.privacy import clipping
from shared.privacy.auditing.bounds import NAMES
from shared.privacy.noise import NoiseSource, noised
from shared.progress import Progress
from simulations.audits import canary, canary_result
from simulations.prepare import prepare
from simulations.recipes import load_recipe
from simulations.run import RunPlan, begin, write_settings
from tests.simulations.audits import runs

USUAL: dict[str, Any] = {
    "data": None,
    "canaries": 100,
    "platform": None,
    "epsilon": None,
    "rounds": None,
    "simulations": 0,
    "seed": 1,
    "quiet": True,
}


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a block of 512 numbers, and one step a round."""
    return runs.federation(
        tmp_path_factory.mktemp("canary") / "federation",
        ("rank = 8", "rank = 32"),
        ("steps_per_round = 2", "steps_per_round = 1"),
        ("rounds = 4", "rounds = 8"),
    )


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDINTEREST_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def result(federation: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDINTEREST_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return canary.run_canary_audit(str(federation), **{**USUAL, "simulations": 20})


def weaker(factor: float) -> Callable[[torch.Tensor, float, NoiseSource], torch.Tensor]:
    """The real noise, `factor` as much of it."""
    return lambda total, stddev, source: noised(total, factor * stddev, source)


def bounds(found: dict[str, Any]) -> dict[str, float]:
    return {one["name"]: one["share"] for one in found["bounds"]}


def test_an_honest_platform_is_found_to_keep_its_promise(result: dict[str, Any]) -> None:
    assert result["ok"] is True
    assert result["findings"] == []
    assert (result["platform"], result["canaries"], result["rounds"]) == ("shop", 100, 8)
    assert result["epsilon"] == 8.0
    assert 30 < result["inserted"] < 70
    measured = result["measured"]
    assert measured["canary_norm_over_clip_norm"] > 0.95
    assert measured["signal"] == pytest.approx(1, abs=4 * measured["signal_to_noise_error"])
    assert measured["noise"] == pytest.approx(1, abs=0.1)
    shares = bounds(result)
    assert 0.7 < shares["Gaussian, coins known"] < 1.2
    assert 0 <= shares["one-run"] <= shares["f-DP"] < shares["Gaussian, coins known"]


def test_each_bound_says_what_it_is(result: dict[str, Any]) -> None:
    kinds = [(one["name"], one["kind"]) for one in result["bounds"]]
    assert kinds == list(
        zip(NAMES, ["proven", "assumption-based", "estimate", "estimate"], strict=True)
    )
    for one in result["bounds"]:
        assert one["confidence"] == 0.95
        assert one["share"] == one["epsilon"] / 8
        assert one["assumes"]
    assert tuple(result["coverage"]["bounds"]) == NAMES
    assert result["coverage"]["simulations"] == 20


def test_the_result_is_plain_json_with_curves_that_can_be_drawn(result: dict[str, Any]) -> None:
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    curve = np.array(result["roc"])
    assert curve[0].tolist() == [0, 0]
    assert curve[-1].tolist() == [1, 1]
    assert (np.diff(curve, axis=0) >= 0).all()
    scores = result["scores"]
    assert len(scores["edges"]) == 41
    assert sum(scores["in"]) == result["inserted"]
    assert sum(scores["out"]) == 100 - result["inserted"]


def test_people_can_read_it(result: dict[str, Any]) -> None:
    shown = io.StringIO()
    canary_result.render(result, Console(file=shown, width=120))
    for words in ("shop: 100 canaries", "proven", "Gaussian, coins unknown", "ok: no more was"):
        assert words in shown.getvalue()


def test_noise_at_half_is_found_and_named(
    federation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The positive control: all that is promised, charged and stated is as it should be."""
    monkeypatch.setattr(clipping, "noised", weaker(0.5))
    found = canary.run_canary_audit(str(federation), **USUAL)
    assert found["ok"] is False
    assert bounds(found)["Gaussian, coins known"] > 1.5
    assert found["measured"]["noise"] == pytest.approx(0.5, abs=0.06)
    (finding, *_) = found["findings"]
    assert finding["cause"] == "more was learned than promised"
    assert finding["epsilon"] > finding["promised"] == 8.0
    assert finding["confidence"] == 0.9999
    assert any(why.startswith("the noise is 0.") for why in finding["looks_like"])
    shown = io.StringIO()
    canary_result.render(found, Console(file=shown, width=120))
    assert "FOUND: more was learned than promised" in shown.getvalue()
    assert "ok:" not in shown.getvalue()


def test_clipping_at_twice_the_norm_is_found_and_named(
    federation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.privacy import factored

    real = factored.clip_factors
    monkeypatch.setattr(factored, "clip_factors", lambda norms, clip: real(norms, 2 * clip))
    found = canary.run_canary_audit(str(federation), **USUAL)
    assert found["ok"] is False
    told = found["findings"][0]["looks_like"]
    assert any(why.endswith("times clip_norm in a step") for why in told)


def test_all_but_coins_and_noise_is_known_exactly(
    federation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With next to no noise what is left of an update is the canaries' clipped gradients."""
    monkeypatch.setattr(clipping, "noised", weaker(1e-3))
    found = canary.run_canary_audit(str(federation), **{**USUAL, "rounds": 2})
    measured = found["measured"]
    assert measured["signal"] == pytest.approx(measured["canary_norm_over_clip_norm"], rel=0.01)
    assert measured["noise"] < 0.02


def test_a_run_folder_is_audited_as_it_is_and_not_touched(federation: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    plan = RunPlan(out=out, seed=3, cache=tmp_path / "cache")
    recipe = load_recipe(str(federation), data=None, world=tmp_path, seed=0)
    begin(plan, recipe)
    with Progress(quiet=True) as progress:
        settings = prepare(recipe.settings, out, cache=plan.cache, unsafe_seed=3, progress=progress)
    write_settings(out, settings)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    asked = {**USUAL, "platform": "films", "epsilon": 2.0, "rounds": 3, "canaries": 40}
    found, again = (canary.run_canary_audit(str(out), **asked) for _ in range(2))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert (found["platform"], found["epsilon"], found["rounds"]) == ("films", 2.0, 3)
    assert found["coverage"] is None
    for one in (found, again):
        del one["seconds"]
    assert found == again


def test_what_cannot_be_audited_is_refused(federation: Path) -> None:
    for change, told in (
        ({"epsilon": float("inf")}, "nothing was promised"),
        ({"platform": "nobody"}, "one of shop, films, news"),
        ({"canaries": 19}, "at least 20 canaries"),
    ):
        with pytest.raises(ConfigError, match=told):
            canary.run_canary_audit(str(federation), **{**USUAL, **change})


DEMO: dict[str, Any] = {**USUAL, "canaries": 1000, "seed": 0}


@pytest.mark.slow
@pytest.mark.parametrize(("epsilon", "white_box"), [(8.0, 0.9), (2.0, 0.75)])
def test_bounds_are_tight_on_the_demo(epsilon: float, white_box: float) -> None:
    found = canary.run_canary_audit("demo", **{**DEMO, "epsilon": epsilon})
    assert found["ok"] is True
    shares = bounds(found)
    assert shares["Gaussian, coins known"] >= white_box
    if epsilon == 8:
        assert shares["f-DP"] >= 0.45


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [8.0, 2.0])
def test_noise_at_half_is_found_on_the_demo(
    epsilon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipping, "noised", weaker(0.5))
    found = canary.run_canary_audit("demo", **{**DEMO, "epsilon": epsilon})
    assert found["ok"] is False
    assert {NAMES[2], NAMES[3]} <= {finding["bound"] for finding in found["findings"]}
