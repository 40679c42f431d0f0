"""Per-user clipping and the private optimiser step, against loops, autograd and Opacus itself."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from scipy import stats
from torch import nn

from shared.errors import ConfigError, PrivacyError
from shared.privacy.clipping import PrivateOptimizer, clip_factors, clipped_sum, user_norms
from shared.privacy.noise import UnsafeSeededNoise

SHAPES = [(3, 5), (130,), (), (2, 64)]


def gradients(users: int, seed: int = 0, scale: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn((users, *shape), generator=generator) * scale for shape in SHAPES]


def slow_sum(samples: Sequence[torch.Tensor], clip_norm: float) -> list[torch.Tensor]:
    """The plain twin: one user at a time, in float64, as the paper has it (Abadi et al. 2016)."""
    totals = [torch.zeros(sample.shape[1:], dtype=torch.float64) for sample in samples]
    for user in range(len(samples[0])):
        parts = [sample[user].double() for sample in samples]
        norm = math.sqrt(sum(float(part.square().sum()) for part in parts))
        if not math.isfinite(norm):
            continue
        for total, part in zip(totals, parts, strict=True):
            total += part / max(1.0, norm / clip_norm)
    return totals


def total_norm(tensors: Sequence[torch.Tensor]) -> float:
    return float(torch.cat([t.double().flatten() for t in tensors]).norm())


# --- clipped sums ----------------------------------------------------------------------------


@pytest.mark.parametrize("users", [0, 1, 2, 33])
@pytest.mark.parametrize("clip_norm", [0.01, 1.0, 20.0, 1e6])
def test_equals_the_loop(users: int, clip_norm: float) -> None:
    samples = gradients(users)
    result = clipped_sum(samples, clip_norm)
    for got, want in zip(result.sums, slow_sum(samples, clip_norm), strict=True):
        assert got.shape == want.shape
        assert torch.allclose(got.double(), want, rtol=2e-4, atol=2e-5 * min(clip_norm, 100))
    assert result.invalid == 0
    assert result.clipped == sum(float(n) > clip_norm for n in user_norms(samples))


def test_norms_go_over_all_tensors() -> None:
    samples = [torch.tensor([[3.0], [0.0]]), torch.tensor([[[4.0]], [[0.0]]]), torch.zeros(2)]
    assert user_norms(samples).tolist() == pytest.approx([5.0, 0.0])
    assert clip_factors(user_norms(samples), 1.0).tolist() == pytest.approx([0.2, 1.0], rel=1e-4)


def test_only_too_large_gradients_are_scaled() -> None:
    samples = [torch.tensor([[0.3, 0.4], [30.0, 40.0]])]
    assert clipped_sum([samples[0][:1]], 1.0).sums[0].tolist() == samples[0][0].tolist()
    assert clipped_sum(samples, 1.0).clipped == 1


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
anything = st.floats(width=32)


@settings(max_examples=200, deadline=None)
@given(
    gradient=hnp.arrays(np.float32, st.integers(1, 200), elements=anything),
    clip_norm=st.floats(1e-20, 1e20),
)
@example(np.full(200, 3.4e38, np.float32), 1.0)
@example(np.full(200, 1e-45, np.float32), 1.0)
@example(np.full(64, 1e-22, np.float32), 1e-22)
@example(np.zeros(1, np.float32), 1.0)
@example(np.array([np.nan, 1.0], np.float32), 1.0)
@example(np.array([-np.inf, np.nan], np.float32), 1.0)
def test_no_user_exceeds_the_clip_norm(gradient: np.ndarray, clip_norm: float) -> None:
    sample = torch.from_numpy(gradient)[None]
    half = len(gradient) // 2
    result = clipped_sum([sample[:, :half], sample[:, half:]], clip_norm)
    contribution = total_norm(result.sums)
    assert contribution <= clip_norm
    norm = float(np.linalg.norm(gradient.astype(np.float64)))
    if not math.isfinite(norm):
        assert contribution == 0.0
        assert result.invalid == 1
    elif norm < clip_norm * 0.9999 and norm > 1e-30:
        assert contribution == pytest.approx(norm, rel=1e-6)
    elif 1e-20 < norm < 1e30:
        assert contribution == pytest.approx(clip_norm, rel=1e-3)


@settings(max_examples=50, deadline=None)
@given(
    bad=st.lists(st.sampled_from([math.nan, math.inf, -math.inf]), min_size=1, max_size=4),
    users=st.integers(4, 9),
    where=st.integers(0, len(SHAPES) - 1),
)
def test_invalid_users_are_exactly_zero(bad: list[float], users: int, where: int) -> None:
    samples = gradients(users)
    before = [sample.clone() for sample in samples]
    for user, value in enumerate(bad):
        samples[where][user] = value
    result = clipped_sum(samples, 1.0)
    without = clipped_sum([sample[len(bad) :] for sample in before], 1.0)
    assert result.invalid == len(bad)
    assert all(torch.equal(a, b) for a, b in zip(result.sums, without.sums, strict=True))


@given(user=st.integers(0, 11), scale=st.sampled_from([0.0, 1e-3, 1.0, 1e3, math.nan]))
@settings(max_examples=40, deadline=None)
def test_changing_one_user_changes_only_their_term(user: int, scale: float) -> None:
    samples, changed = gradients(12), gradients(12)
    for sample in changed:
        sample[user] *= scale
    one, two = clipped_sum(samples, 1.0).sums, clipped_sum(changed, 1.0).sums
    alone = clipped_sum([sample[user : user + 1] for sample in samples], 1.0).sums
    alone_changed = clipped_sum([sample[user : user + 1] for sample in changed], 1.0).sums
    for a, b, c, d in zip(one, two, alone, alone_changed, strict=True):
        assert torch.allclose(a - b, c - d, atol=1e-6)
    assert total_norm([a - b for a, b in zip(one, two, strict=True)]) <= 2.0 + 1e-5


def test_inputs_are_not_changed_and_half_precision_is_summed_in_float32() -> None:
    samples = gradients(5)
    samples[0][0] = math.nan
    before = [sample.clone() for sample in samples]
    clipped_sum(samples, 1.0)
    assert all(
        torch.equal(a, b, ) or torch.isnan(a).any() for a, b in zip(samples, before, strict=True)
    )  # fmt: skip
    assert clipped_sum([torch.ones(3, 4, dtype=torch.bfloat16)], 1.0).sums[0].dtype == torch.float32


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, math.nan])
def test_bad_clip_norms(clip_norm: float) -> None:
    with pytest.raises(PrivacyError, match="clip_norm"):
        clipped_sum(gradients(2), clip_norm)


def test_tensors_must_agree_on_the_users() -> None:
    for samples in ([], [torch.zeros(2, 1), torch.zeros(3, 1)]):
        with pytest.raises(PrivacyError, match="same users"):
            clipped_sum(samples, 1.0)


# --- the optimiser ---------------------------------------------------------------------------


class Tower(nn.Module):
    """Two small layers: enough for several tensors and a nonlinearity."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


def summed_loss(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    # Full backward hooks (Opacus) warn when no input of a layer needs a gradient.
    return model(x.detach().requires_grad_()).square().sum()


def wrapped(model: nn.Module) -> GradSampleModule:
    return GradSampleModule(model, loss_reduction="sum")


def private(model: nn.Module, **changes: Any) -> PrivateOptimizer:
    settings_: dict[str, Any] = {
        "noise": UnsafeSeededNoise(5),
        "noise_multiplier": 1.0,
        "clip_norm": 0.5,
        "sample_rate": 0.1,
        "population": 200,
    }
    return PrivateOptimizer(torch.optim.SGD(model.parameters(), lr=1.0), **settings_ | changes)


def users(n: int) -> torch.Tensor:
    return torch.randn((n, 6), generator=torch.Generator().manual_seed(3))


def gradient_of(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_per_user_gradients_equal_looped_autograd_and_clipping_the_loop() -> None:
    model, x = Tower(), users(7)
    model_dp = wrapped(model)
    summed_loss(model_dp, x).backward()
    samples = [p.grad_sample for p in model.parameters()]
    looped: list[list[torch.Tensor]] = []
    for row in x:
        twin = Tower()
        summed_loss(twin, row[None]).backward()
        looped.append([p.grad for p in twin.parameters()])  # type: ignore[misc]
    by_tensor = [torch.stack(column) for column in zip(*looped, strict=True)]
    for got, want in zip(samples, by_tensor, strict=True):
        assert float((got - want).norm() / want.norm()) < 2e-6
    for got, want in zip(clipped_sum(samples, 0.5).sums, slow_sum(by_tensor, 0.5), strict=True):
        assert torch.allclose(got.double(), want, rtol=1e-4, atol=1e-6)


def test_without_noise_it_is_opacus() -> None:
    ours, theirs, x = Tower(), Tower(), users(9)
    summed_loss(wrapped(ours), x).backward()
    summed_loss(wrapped(theirs), x).backward()
    mine = private(ours)
    mine.accumulate()
    reference = DPOptimizer(
        torch.optim.SGD(theirs.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=0.5,
        expected_batch_size=20,
    )
    reference.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(p.summed_grad.float() / 20, q.grad, atol=1e-6)


def test_step_is_sum_plus_noise_over_the_public_denominator() -> None:
    model, x = Tower(), users(9)
    optimizer = private(model)
    summed_loss(wrapped(model), x).backward()
    sums = clipped_sum([p.grad_sample for p in model.parameters()], 0.5).sums
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    noise = UnsafeSeededNoise(5)
    for p, total, old in zip(model.parameters(), sums, before, strict=True):
        want = (total + noise.gaussian(total.shape, 0.5)) / 20
        assert torch.allclose(p.grad, want, atol=1e-6)
        assert torch.allclose(p, old - want, atol=1e-6)


def test_micro_batches_add_up_and_noise_comes_once() -> None:
    results = []
    for cuts in ([9], [4, 5], [1, 0, 8], [3, 3, 3]):
        model = Tower()
        optimizer, dp = private(model), wrapped(model)
        for part in users(9).split(cuts):
            if len(part):
                summed_loss(dp, part).backward()
            optimizer.accumulate()
        optimizer.step()
        results.append(gradient_of(model))
    for other in results[1:]:
        assert torch.allclose(results[0], other, atol=1e-6)


def test_opacus_ways_of_accumulating_work_too() -> None:
    want, lists, skips = Tower(), Tower(), Tower()
    optimizer = private(want)
    summed_loss(wrapped(want), users(9)).backward()
    optimizer.step()

    optimizer, dp = private(lists), wrapped(lists)
    for part in users(9).split(4):
        summed_loss(dp, part).backward()
    optimizer.step()

    optimizer, dp = private(skips), wrapped(skips)
    for i, part in enumerate(users(9).split(5)):
        optimizer.signal_skip_step(i == 0)
        optimizer.zero_grad()
        summed_loss(dp, part).backward()
        optimizer.step()
    for model in (lists, skips):
        assert torch.allclose(gradient_of(want), gradient_of(model), atol=1e-6)


def test_an_empty_batch_is_noise_of_the_right_scale() -> None:
    model = nn.Linear(100, 100)
    optimizer = private(model, noise_multiplier=1.3)
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    optimizer.step()
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    scaled = gradient_of(model).double() * 20 / (1.3 * 0.5)
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], scaled.numel())
    assert low < float(scaled.square().sum()) < high
    assert bool((scaled != 0).all())
    assert not torch.equal(before, after)


@pytest.mark.parametrize("batch", [0, 1, 40])
def test_noise_scale_does_not_depend_on_the_batch(batch: int) -> None:
    """Chi-square at p < 1e-6 over whole steps, the clipped sum taken away."""
    squares, count = 0.0, 0
    for step in range(60):
        model = Tower()
        optimizer = private(model, noise=UnsafeSeededNoise(11, batch, step), noise_multiplier=2.0)
        sums = [torch.zeros_like(p) for p in model.parameters()]
        if batch:
            summed_loss(wrapped(model), users(batch)).backward()
            sums = list(clipped_sum([p.grad_sample for p in model.parameters()], 0.5).sums)
        optimizer.step()
        for p, total in zip(model.parameters(), sums, strict=True):
            noise = (p.grad.double() * 20 - total.double()) / (2.0 * 0.5)
            squares, count = squares + float(noise.square().sum()), count + noise.numel()
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], count)
    assert low < squares < high


def test_a_nan_user_leaves_the_step_whole() -> None:
    good, mixed = Tower(), Tower()
    x = users(9)
    summed_loss(wrapped(good), x[1:]).backward()
    spoilt = x.clone()
    spoilt[0] = math.nan
    summed_loss(wrapped(mixed), spoilt).backward()
    one, two = private(good), private(mixed)
    one.step()
    two.step()
    assert torch.allclose(gradient_of(good), gradient_of(mixed), atol=1e-6)
    assert (one.invalid_users, two.invalid_users) == (0, 1)
    assert two.clipped_users == one.clipped_users > 0


def test_gradients_are_used_once_even_without_zero_grad() -> None:
    model = Tower()
    optimizer, dp = private(model), wrapped(model)
    summed_loss(dp, users(9)).backward()
    optimizer.step()
    optimizer.noise = UnsafeSeededNoise(6)
    optimizer.step()  # nothing new: an empty batch
    noise = UnsafeSeededNoise(6)
    for p in model.parameters():
        assert torch.allclose(p.grad, noise.gaussian(p.shape, 0.5) / 20, atol=1e-6)


def test_a_tensor_left_out_of_the_loss_is_an_error() -> None:
    model = nn.ModuleList([nn.Linear(6, 2), nn.Linear(6, 2)])
    optimizer = private(model)
    dp = GradSampleModule(model[0], loss_reduction="sum")
    summed_loss(dp, users(3)).backward()
    with pytest.raises(PrivacyError, match="every trainable tensor"):
        optimizer.step()


def test_the_non_private_mode_has_the_same_denominator() -> None:
    model, twin, x = Tower(), Tower(), users(9)
    optimizer = private(model, noise=None, noise_multiplier=0.0, clip_norm=math.inf, private=False)
    summed_loss(wrapped(model), x).backward()
    optimizer.step()
    summed_loss(twin, x).backward()
    assert torch.allclose(gradient_of(model), gradient_of(twin) / 20, atol=1e-6)
    assert optimizer.clipped_users == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"noise_multiplier": 0.0},
        {"noise_multiplier": math.inf},
        {"noise_multiplier": math.nan},
        {"clip_norm": math.inf},
        {"clip_norm": 0.0},
        {"noise": None},
        {"sample_rate": 0.0},
        {"sample_rate": 1.5},
        {"population": 0},
        {"private": False},
        {"private": False, "noise_multiplier": 0.0},
        {"private": False, "clip_norm": math.inf},
    ],
)
def test_half_private_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        private(Tower(), **changes)
