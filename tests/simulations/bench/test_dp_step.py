import dataclasses

import numpy as np
import pytest
import torch

from shared.config.training import ModelSettings
from shared.errors import ConfigError
from shared.model import InterestModel
from shared.privacy.randomness import UnsafeSeed
from shared.training import LocalPlan, Steps
from simulations.bench.dp_step import PlainSteps, made_up, run_dp_step_bench

PLAN = LocalPlan(
    steps=1,
    learning_rate=1.0,
    trained="blocks.000.lora_B",
    targets_per_user=4,
    negatives=30,
    temperature=0.1,
    gce_q=0.1,
    sample_rate=1.0,
    clip_norm=1e3,
    noise_multiplier=1e-9,
    population=40,
    micro_batch=16,
)


def test_the_report() -> None:
    found = run_dp_step_bench(steps=3, users=20, items=50, width=16)
    assert found["steps"] == 3
    assert found["users"] == 20
    assert found["events"] >= 20 * 5
    assert found["private_seconds"] > 0
    assert found["plain_seconds"] > 0
    assert found["pairwise_ratio"] > 0
    quotient = found["private_seconds"] / found["plain_seconds"]
    assert found["ratio"] == pytest.approx(quotient, rel=0.02)  # the seconds are rounded
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__


@pytest.mark.parametrize(("steps", "users"), [(0, 5), (5, 0)])
def test_nothing_to_time(steps: int, users: int) -> None:
    with pytest.raises(ConfigError, match="at least one step and one user"):
        run_dp_step_bench(steps=steps, users=users)


def _step(kind: type[Steps] | type[PlainSteps], plan: LocalPlan) -> np.ndarray:
    ground, sequences = made_up(40, 60, 24)
    model = InterestModel(ModelSettings(rank=20), 24)
    secret = UnsafeSeed(3).open(platform="p", round=1, request="", data="")
    steps = kind(model, ground, sequences, plan)
    for step in range(2):  # the second starts from other weights, so all terms carry gradient
        steps.take(step, secret)
    return model.block(plan.trained).lora_B.weight.detach().numpy().ravel()


def test_without_noise_and_clipping_both_take_the_same_step() -> None:
    private, plain = _step(Steps, PLAN), _step(PlainSteps, PLAN)
    size = np.linalg.norm(plain)
    assert size > 1e-2
    assert np.linalg.norm(private - plain) < 1e-5 * size
    clipped = _step(Steps, dataclasses.replace(PLAN, clip_norm=0.3, noise_multiplier=1e-6))
    assert np.linalg.norm(clipped - plain) > 1e-2 * size
