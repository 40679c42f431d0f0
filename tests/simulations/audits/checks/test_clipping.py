"""What the clipping check measures, on the real optimiser."""

import numpy as np
import pytest
import torch

from simulations.audits.checks.check import Cause
from simulations.audits.checks.clipping import CLIP_NORM, INPUTS, OUTPUTS, check, summed
from simulations.audits.faults import Fault, Swap, planted


def pair(rows: int, size: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn((1, rows, INPUTS), generator=generator)
    return a, size * torch.randn((1, rows, OUTPUTS), generator=generator)


def test_a_small_gradient_passes_and_a_large_one_has_the_norm_of_the_bound() -> None:
    a, g = pair(2, 1e-3)
    plain = torch.einsum("bto,bti->boi", g, a).double().numpy().ravel()
    np.testing.assert_allclose(summed([(a, g)]), plain, atol=1e-6)
    for factors in ([pair(3, 50.0)], [pair(1, 9.0), pair(2, 5.0, 1)]):
        for formed in (False, True):
            norm = np.linalg.norm(summed(factors, formed=formed))
            assert norm == pytest.approx(CLIP_NORM, rel=1e-3)
            assert norm <= CLIP_NORM * (1 + 1e-6)


def test_the_formed_way_is_watched_too() -> None:
    """Opacus' hooks and the factored way share no code for the norms."""
    from shared.privacy import clipping

    fault = Fault(
        "formed gradients not clipped",
        Cause.OVER_BOUND,
        (Swap(clipping, "clipped_sum", lambda real: lambda g, c: real(g, 2 * c)),),
    )
    with planted(fault):
        assert check(0).cause is Cause.OVER_BOUND
    assert check(0).cause is None
