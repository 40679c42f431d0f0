"""The noise checks: their power, and that chance alone does not set them off."""

import numpy as np
import pytest
from scipy import stats

from simulations.audits.checks import noise as noise_check
from simulations.audits.checks import sampling as sampling_check
from simulations.audits.checks import secrets as secrets_check
from simulations.audits.checks.check import Cause
from simulations.audits.checks.noise import check, noise_of, scale_p_value
from simulations.audits.checks.probe import Floats
from simulations.audits.faults import FAULTS, planted

SHORT = next(fault for fault in FAULTS if fault.name == "noise 1 % short")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_percent_less_noise_is_found_within_ten_steps(seed: int) -> None:
    with planted(SHORT):
        noise = noise_of(seed, steps=10)
        found = check(seed)
    assert noise.shape == (10, 73_728)
    assert 0.987 < np.sqrt(np.square(noise).mean()) < 0.993
    assert scale_p_value(noise) < 1e-6
    assert found.cause is Cause.NOISE_SCALE
    assert scale_p_value(noise_of(seed, steps=10)) > 1e-6  # and it was that


def test_the_scale_s_p_value_is_chi_square_s() -> None:
    """100 numbers whose squares add up to 124.342: the upper 5 % point, so 0.1 of both sides."""
    noise = np.full((4, 25), np.sqrt(1.24342116))
    assert scale_p_value(noise) == pytest.approx(0.1, abs=1e-4)
    assert scale_p_value(np.zeros((2, 50))) < 1e-60


def spoilt(how: str) -> Floats:
    noise = np.random.default_rng(5).normal(size=(10, 384 * 192))
    if how == "two steps alike":
        noise[7] = noise[2]
    elif how == "one column alike":
        noise.reshape(10, 384, 192)[:, :, 3] = noise.reshape(10, 384, 192)[:, :1, 3]
    elif how == "heavier tails":
        noise = np.random.default_rng(5).standard_t(60, size=noise.shape) * np.sqrt(58 / 60)
    elif how == "one step blank":
        noise[4] = 0
    elif how == "0.5 % less":
        noise *= 0.995
    return noise


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("nothing", None),
        ("two steps alike", Cause.NOISE_REPEATED),
        ("one column alike", Cause.NOISE_REPEATED),
        ("heavier tails", Cause.NOISE_SHAPE),
        ("one step blank", Cause.NOISE_MISSING),
        ("0.5 % less", Cause.NOISE_SCALE),
    ],
)
def test_what_is_wrong_with_noise_is_named(
    how: str, cause: Cause | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise_check, "noise_of", lambda seed: spoilt(how))
    assert check(0).cause is cause


def uniform(p_values: list[float | None]) -> float:
    assert len(set(p_values)) > 0.8 * len(p_values)
    return float(stats.kstest([p for p in p_values if p is not None], "uniform").pvalue)


def test_p_values_are_uniform_on_clean_code() -> None:
    for one in (noise_check, sampling_check, secrets_check):
        assert uniform([one.check(seed).p_value for seed in range(100, 112)]) > 1e-5


@pytest.mark.slow
def test_p_values_are_uniform_on_clean_code_in_many_runs() -> None:
    for one in (noise_check, sampling_check, secrets_check):
        assert uniform([one.check(seed).p_value for seed in range(200, 350)]) > 1e-5
