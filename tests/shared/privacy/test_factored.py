"""Sums from factors against formed per-user gradients."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.errors import PrivacyError
from shared.privacy.clipping import clipped_sum, user_norms
from shared.privacy.factored import factored_sum


def drawn(users: int, positions: int, scale: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    one = torch.randn((users, positions, 7), generator=generator)
    return one, torch.randn((users, positions, 5), generator=generator) * scale


def formed(pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return torch.einsum("bto,bti->boi", pair[1], pair[0])


@settings(deadline=None, max_examples=80)
@given(
    users=st.integers(0, 9),
    positions=st.integers(1, 6),
    scale=st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e4, 1e20, 1e38]),
    clip_norm=st.sampled_from([1e-3, 0.3, 10.0, float("inf")]),
    seed=st.integers(0, 10_000),
)
def test_the_same_as_forming_them(
    users: int, positions: int, scale: float, clip_norm: float, seed: int
) -> None:
    # Unclipped, and then added up, numbers near float32's end overflow: what is then left of the
    # sum depends on its order.
    assume(clip_norm < float("inf") or scale < 1e38)
    pairs = [drawn(users, positions, scale, seed), drawn(users, positions, scale, seed + 1)]
    want = clipped_sum([formed(pair) for pair in pairs], clip_norm)
    found = factored_sum(pairs, clip_norm)
    assert found.invalid == want.invalid
    for one, other in zip(found.sums, want.sums, strict=True):
        size = float(other.double().norm()) + 1e-5 * min(clip_norm, 1e30) * users
        assert float((one.double() - other.double()).norm()) <= 1e-4 * size + 1e-35


@pytest.mark.parametrize("seed", range(20))
def test_a_user_whose_positions_cancel_stays_within_the_clip_norm(seed: int) -> None:
    inputs, outputs = drawn(1, 2, 1e4, seed)
    inputs[:, 1] = inputs[:, 0] * (1 + 10.0 ** -(seed % 8))
    outputs[:, 1] = -outputs[:, 0]
    found = factored_sum([(inputs, outputs)], 0.3)
    assert float(found.sums[0].double().norm()) <= 0.3


@pytest.mark.parametrize("seed", range(20))
def test_terms_are_within_the_clip_norm_and_reach_it(seed: int) -> None:
    pair = drawn(1, 4, 3.0, seed)
    norm = float(factored_sum([pair], 0.3).sums[0].double().norm())
    assert 0.3 * (1 - 1e-4) < norm <= 0.3


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_a_broken_user_adds_nothing_and_harms_nobody(bad: float, which: int) -> None:
    pair = drawn(4, 3, 1.0, 0)
    others = torch.tensor([0, 1, 3])
    want = factored_sum([(pair[0][others], pair[1][others])], 0.3)
    pair[which][2, 1, 0] = bad
    found = factored_sum([pair], 0.3)
    assert found.invalid == 1
    assert torch.allclose(found.sums[0], want.sums[0], atol=1e-6)


def test_clipped_users_are_counted() -> None:
    pair = drawn(6, 3, 1.0, 0)
    middle = float(user_norms([formed(pair)]).median())
    assert factored_sum([pair], middle * 1.001).clipped == 3


def test_refusals() -> None:
    with pytest.raises(PrivacyError):
        factored_sum([drawn(2, 3, 1.0, 0), drawn(3, 3, 1.0, 0)], 1.0)
    with pytest.raises(PrivacyError):
        factored_sum([drawn(2, 3, 1.0, 0)], 0.0)
