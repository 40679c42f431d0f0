"""Can one user add more than clip_norm to a step's sum?

The optimiser is handed per-user gradients as a step hands them, factored and formed: large ones,
in many rows, over two tensors, in a corner of a tensor, at the ends of the floating-point range,
and invalid ones.  Then a whole round with one user of many events.
"""

import numpy as np
import torch
from torch import nn

from shared.errors import PrivacyError
from shared.privacy.clipping import PrivateOptimizer
from shared.privacy.noise import UnsafeSeededNoise
from simulations.audits.checks.check import Cause, Check, Outcome
from simulations.audits.checks.probe import QUIET, Floats, gradients, people, plan, total

CLIP_NORM, INPUTS, OUTPUTS = 0.5, 12, 8
_SLACK = 1 + 1e-4
Factors = list[tuple[torch.Tensor, torch.Tensor]]


def summed(factors: Factors, *, formed: bool = False) -> Floats:
    """What the optimiser's step makes of per-user gradients, flat over all tensors.

    Args:
        factors: one pair (B, T, I), (B, T, O) for each tensor.
        formed: hand them over as per-user gradients, as Opacus' hooks leave them.
    """
    layers = [nn.Linear(a.shape[2], g.shape[2], bias=False) for a, g in factors]
    for layer in layers:
        nn.init.zeros_(layer.weight)
    optimiser = PrivateOptimizer(
        torch.optim.SGD([layer.weight for layer in layers], lr=1.0),
        noise=UnsafeSeededNoise(0),
        noise_multiplier=QUIET,
        clip_norm=CLIP_NORM,
        sample_rate=1.0,
        population=1,
    )
    if formed:
        for layer, (a, g) in zip(layers, factors, strict=True):
            setattr(layer.weight, "grad_sample", torch.einsum("bto,bti->boi", g, a))  # noqa: B010 - Opacus adds the attribute
    else:
        optimiser.accumulate_factors(factors)
    optimiser.step()
    return -np.concatenate([layer.weight.detach().double().numpy().ravel() for layer in layers])


def check(seed: int) -> Outcome:
    """See the module."""
    generator = torch.Generator().manual_seed(seed)

    def pair(rows: int, size: float = 10.0, users: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        a = torch.randn((users, rows, INPUTS), generator=generator)
        return a, size * torch.randn((users, rows, OUTPUTS), generator=generator)

    one = pair(1)
    if _over([one]) or _over([one], formed=True):
        corners = [_corner(one, inputs, outputs) for inputs in (0, 1) for outputs in (0, 1)]
        free = [_over([corner]) for corner in corners]
        missed = any(free) and not all(free)
        return Outcome(
            Cause.COORDINATES_MISSED if missed else Cause.OVER_BOUND, detail=_said([one])
        )
    if _over([pair(6)]):
        return Outcome(Cause.ROWS_CLIPPED, detail=_said([pair(6)]))
    if _over([pair(1), pair(1)]) or _over([pair(1), pair(1)], formed=True):
        return Outcome(Cause.TENSORS_APART, detail=_said([pair(1), pair(1)]))
    for size in (1e-3, 1e12, 1e25, 1e-25):
        if _over([pair(3, size)]):
            return Outcome(Cause.OVER_BOUND, detail=f"a gradient of size {size:g}")
    many = people(1, seed, 20, 20)
    asked = plan(clip_norm=0.25 * float(np.linalg.norm(gradients(people(1, seed), seed)[0])))
    norm = float(np.linalg.norm(total(many, asked, seed)))
    if norm > asked.clip_norm * _SLACK:
        return Outcome(Cause.SEVERAL_ROWS, detail=f"{norm / asked.clip_norm:.3f} clip_norm")
    return _invalid(pair(2, users=3))


def _invalid(three: tuple[torch.Tensor, torch.Tensor]) -> Outcome:
    """The second user of three is broken: the others' sum must be what it is without them."""
    a, g = three
    others = torch.tensor([0, 2])
    wanted = summed([(a[others], g[others])])
    for value in (float("nan"), float("inf"), -float("inf")):
        broken = g.clone()
        broken[1, 0, 0] = value
        for formed in (False, True):
            try:
                found = summed([(a, broken)], formed=formed)
            except PrivacyError as error:  # noise is not added to what is not finite
                return Outcome(Cause.INVALID, detail=str(error))
            if not np.isfinite(found).all() or np.abs(found - wanted).max() > 1e-4 * CLIP_NORM:
                return Outcome(Cause.INVALID, detail=f"a gradient of {value}")
    return Outcome()


def _over(factors: Factors, *, formed: bool = False) -> bool:
    return not float(np.linalg.norm(summed(factors, formed=formed))) <= CLIP_NORM * _SLACK


def _said(factors: Factors) -> str:
    return f"{float(np.linalg.norm(summed(factors))) / CLIP_NORM:.3f} clip_norm from one user"


def _corner(
    pair: tuple[torch.Tensor, torch.Tensor], inputs: int, outputs: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same gradient in one quarter of the tensor only."""
    a, g = pair[0].clone(), pair[1].clone()
    a[..., slice(INPUTS // 2) if inputs else slice(INPUTS // 2, None)] = 0
    g[..., slice(OUTPUTS // 2) if outputs else slice(OUTPUTS // 2, None)] = 0
    return a, g


CHECK = Check("clipping", ("clipping", "adjacency"), check)
