"""The audit end to end, on tiny platforms with a random encoder."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from shared.adapters import Adapter
from shared.errors import ConfigError
from shared.events import Sequences
from shared.ground import Ground
from shared.model import InterestModel
from shared.privacy.randomness import RoundSecret
from shared.progress import Progress
from shared.training import LocalPlan, local_round
from simulations.attacks import game, inversion
from simulations.attacks.roc import roc
from simulations.attacks.verdict import judge_inversion, judge_membership
from simulations.attacks.victim import unprotected
from simulations.audits import attack
from simulations.prepare import prepare
from simulations.recipes import load_recipe
from simulations.run import RunPlan, begin, write_settings
from tests.simulations.audits import runs

QUIET: dict[str, Any] = {"data": None, "seed": 1, "quiet": True}


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.federation(
        tmp_path_factory.mktemp("attack") / "federation",
        ("rank = 8", "rank = 32"),
        ("rounds = 4", "rounds = 8\nlearning_rate = 20.0\ngce_q = 0.0"),
    )


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDINTEREST_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def result(federation: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDINTEREST_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return attack.run_attacks(
            str(federation), platform=None, references=8, epsilon=None, rounds=None, **QUIET
        )


def test_attacks_succeed_without_privacy_and_not_with_it(result: dict[str, Any]) -> None:
    assert result["findings"] == []
    assert result["ok"] is True
    assert result["platform"] == "news"  # the smallest
    assert result["epsilon"] == 8.0
    for one in result["membership"].values():
        assert one["control"]["auc"] > one["private"]["auc"]
        assert one["control"]["p"] < 1e-3
    inverted = result["inversion"]
    assert inverted["users"][0] == 1
    assert inverted["control"]["precision"][0] > 0.8
    assert inverted["private"]["precision"][0] < 0.5


def test_the_result_is_plain_json(result: dict[str, Any]) -> None:
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    curve = result["membership"]["lira"]["private"]["roc"]
    assert [row[0] for row in curve] == [row[0] for row in result["bound"]]
    for row, (_, promised), (_, kept) in zip(
        curve, result["bound"], result["profile_bound"], strict=True
    ):
        assert kept <= promised
        assert row[2] <= row[1] <= row[3]


def test_people_can_read_it(result: dict[str, Any]) -> None:
    shown = io.StringIO()
    attack.render({**result, "ok": False, "findings": ["lira: too much"]}, Console(file=shown))
    for word in ("news", "lira, with privacy", "rmia, without", "1 user", "FINDING lira: too much"):
        assert word in shown.getvalue()


def test_a_run_folder_is_attacked_as_it_is_and_not_touched(
    federation: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    plan = RunPlan(out=out, seed=3, cache=tmp_path / "cache")
    recipe = load_recipe(str(federation), data=None, world=tmp_path, seed=0)
    begin(plan, recipe)
    with Progress(quiet=True) as progress:
        settings = prepare(recipe.settings, out, cache=plan.cache, unsafe_seed=3, progress=progress)
    write_settings(out, settings)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    found = attack.run_attacks(
        str(out), platform="films", references=4, epsilon=2.0, rounds=1, **QUIET
    )
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert (found["platform"], found["epsilon"], found["rounds"]) == ("films", 2.0, 1)
    assert found["users"] == 80


def test_nothing_promised_is_nothing_to_test(federation: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is promised"):
        attack.run_attacks(
            str(federation), platform=None, references=4, epsilon=float("inf"), rounds=1, **QUIET
        )
    with pytest.raises(ConfigError, match="one of shop, films, news"):
        attack.run_attacks(
            str(federation), platform="nobody", references=4, epsilon=None, rounds=1, **QUIET
        )


def test_a_platform_that_only_says_it_is_private_is_found(
    federation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The promise is made and the noise calibrated; training then does without."""
    for module in (game, inversion):
        monkeypatch.setattr(module, "local_round", forgetful)
    found = attack.run_attacks(
        str(federation), platform="news", references=8, epsilon=0.1, rounds=None, **QUIET
    )
    assert found["ok"] is False
    told = " ".join(found["findings"])
    assert "lira: TPR is at least" in told
    assert "rmia: TPR is at least" in told
    assert "inversion, 1 user: with privacy it beats chance" in told


def forgetful(
    model: InterestModel, ground: Ground, sequences: Sequences, plan: LocalPlan, secret: RoundSecret
) -> Adapter:
    return local_round(model, ground, sequences, unprotected(plan), secret)


def test_a_control_that_fails_is_a_finding() -> None:
    rng = np.random.default_rng(0)
    blind = roc(rng.random(400), rng.random(400) < 0.5)
    curves = {kind: {"lira": blind} for kind in ("private", "control")}
    (told,) = judge_membership(curves, ((8.0, 0.01),), ((8.0, 0.01),))
    assert "lira: without privacy AUC is" in told
    assert "proves nothing" in told
    lost = inversion.Outcome(items=5, precision=0.1, others=0.1, auc=0.5, chance=0.1, p=0.4)
    (told,) = judge_inversion({"private": {"1": lost}, "control": {"1": lost}})
    assert "inversion, 1 user: without privacy it finds 10% of the items" in told
