"""Faults in what one user may add to a step's sum.

Sources: Ponomareva et al. 2023, "How to DP-fy ML", section 5.6, on micro-batches; Opacus issue 202
on clipping by layer; Andrew et al. 2021 on what adaptive clipping has to pay for.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from shared import training
from shared.events import Sequences
from shared.privacy import clipping, factored
from shared.privacy.clipping import ClippedSum, PrivateOptimizer
from shared.privacy.factored import Factors
from simulations.audits.checks import Cause
from simulations.audits.faults.fault import Fault, Swap

Clip = Callable[[Sequence[Factors], float], ClippedSum]


def _clip(made: Callable[[Clip], Clip]) -> tuple[Swap, ...]:
    return (Swap(factored, "factored_sum", made),)


def _users(factors: Sequence[Factors]) -> int:
    return len(factors[0][0])


def _norms(factors: Sequence[Factors]) -> torch.Tensor:
    formed = [torch.einsum("bto,bti->boi", g.double(), a.double()) for a, g in factors]
    return torch.stack([one.flatten(1).norm(dim=1) for one in formed]).norm(dim=0)


def _mean_first(original: Clip) -> Clip:
    """The batch's mean gradient is clipped, and stands for each of its users."""

    def clip(factors: Sequence[Factors], clip_norm: float) -> ClippedSum:
        whole = original(factors, float("inf"))
        users = max(1, _users(factors))
        norm = float(torch.stack([total.norm() for total in whole.sums]).norm()) / users
        factor = min(1.0, clip_norm / max(norm, 1e-12))
        return replace(whole, sums=tuple(total * factor for total in whole.sums))

    return clip


def _sum_only(original: Clip) -> Clip:
    """The batch's summed gradient is clipped, not its users' gradients."""

    def clip(factors: Sequence[Factors], clip_norm: float) -> ClippedSum:
        whole = original(factors, float("inf"))
        norm = float(torch.stack([total.norm() for total in whole.sums]).norm())
        factor = min(1.0, clip_norm / max(norm, 1e-12))
        return replace(whole, sums=tuple(total * factor for total in whole.sums))

    return clip


def _adaptive(original: Clip) -> Clip:
    """The bound is the batch's median norm (Andrew et al. 2021 charge for it; this does not)."""

    def clip(factors: Sequence[Factors], clip_norm: float) -> ClippedSum:
        if not _users(factors):
            return original(factors, clip_norm)
        return original(factors, max(min(clip_norm, float(_norms(factors).median())), 1e-6))

    return clip


def _following(original: Callable[..., None]) -> Callable[..., None]:
    """The bound of a step is the median norm of the step before, which nobody pays for."""

    def accumulate(self: PrivateOptimizer, factors: Any) -> None:
        self._median = float(_norms(factors).median()) if _users(factors) else 0.0
        original(self, factors)

    return accumulate


def _bound_moved(original: Callable[..., None]) -> Callable[..., None]:
    def add_noise(self: PrivateOptimizer) -> None:
        original(self)
        median = getattr(self, "_median", 0.0)
        if median:
            self.max_grad_norm = min(self.max_grad_norm, median)

    return add_noise


def _not_cleared(original: Callable[..., None]) -> Callable[..., None]:
    """`zero_grad` is forgotten: what was summed is summed again in the next step."""

    def add_noise(self: PrivateOptimizer) -> None:
        kept = [None if p.summed_grad is None else p.summed_grad.clone() for p in self.params]
        original(self)
        for p, total in zip(self.params, kept, strict=True):
            p.summed_grad = total

    return add_noise


def _rows(original: Clip) -> Clip:
    """Each of a user's rows is clipped, then they are summed."""

    def clip(factors: Sequence[Factors], clip_norm: float) -> ClippedSum:
        split = [(a.flatten(0, 1)[:, None], g.flatten(0, 1)[:, None]) for a, g in factors]
        return original(split, clip_norm)

    return clip


def _apart(original: Clip) -> Clip:
    def clip(factors: Sequence[Factors], clip_norm: float) -> ClippedSum:
        sums = [original([pair], clip_norm) for pair in factors]
        return replace(sums[0], sums=tuple(one.sums[0] for one in sums))

    return clip


def _at(factor: float) -> Callable[[Clip], Clip]:
    return lambda original: lambda factors, clip_norm: original(factors, clip_norm * factor)


def _missed(original: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The norm is taken over half of the inputs only."""
    return lambda rows: original(rows[..., : rows.shape[-1] // 2])


def _micro_batch_mean(original: Clip) -> Clip:
    """loss_reduction="mean" within each micro-batch."""

    def clip(factors: Sequence[Factors], clip_norm: float) -> ClippedSum:
        found = original(factors, clip_norm)
        return replace(found, sums=tuple(s / max(1, _users(factors)) for s in found.sums))

    return clip


def _invalid_kept(_original: Any) -> Any:
    """NaN is multiplied by a factor of zero, and stays NaN."""

    def clipped_sum(grad_samples: Sequence[torch.Tensor], clip_norm: float) -> ClippedSum:
        factors = clipping.clip_factors(clipping.user_norms(grad_samples), clip_norm)
        sums = tuple(
            torch.einsum("b,b...->...", factors.to(one.dtype), one.detach()) for one in grad_samples
        )
        return ClippedSum(sums=sums, clipped=0, invalid=0)

    return clipped_sum


def _sessions(original: Callable[..., Any]) -> Callable[..., Any]:
    """A long history becomes several, each clipped by itself."""

    def local_round(model: Any, ground: Any, sequences: Sequences, plan: Any, *rest: Any) -> Any:
        size = plan.targets_per_user + 1
        cuts = [
            place
            for start, end in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
            for place in (range(int(start), int(end), size) if end > start else [int(start)])
        ]
        cut = Sequences(
            users=tuple(f"session-{number}" for number in range(len(cuts))),
            items=sequences.items,
            offsets=np.array([*cuts, len(sequences.items)], np.int64),
        )
        return original(model, ground, cut, plan, *rest)

    return local_round


FAULTS = (
    Fault("mean before clipping", Cause.CLIPPING_DEPENDS, _clip(_mean_first)),
    Fault("the batch's sum clipped, not its users", Cause.CLIPPING_DEPENDS, _clip(_sum_only)),
    Fault("adaptive clipping not charged", Cause.CLIPPING_DEPENDS, _clip(_adaptive)),
    Fault(
        "the clipping bound follows the last step",
        Cause.CLIPPING_DEPENDS,
        (
            Swap(PrivateOptimizer, "accumulate_factors", _following),
            Swap(PrivateOptimizer, "add_noise", _bound_moved),
        ),
    ),
    Fault(
        "the sum not cleared after a step",
        Cause.CARRIED,
        (Swap(PrivateOptimizer, "add_noise", _not_cleared),),
    ),
    Fault("clipping before the per-user sum", Cause.ROWS_CLIPPED, _clip(_rows)),
    Fault("per-tensor clipping at the full clip_norm", Cause.TENSORS_APART, _clip(_apart)),
    Fault("no clipping", Cause.OVER_BOUND, _clip(_at(float("inf")))),
    Fault("clipping 5 % too loose", Cause.OVER_BOUND, _clip(_at(1.05))),
    Fault(
        "parameters missed by the norm",
        Cause.COORDINATES_MISSED,
        (Swap(factored, "_gram", _missed),),
    ),
    Fault("micro-batch mean", Cause.DENOMINATOR, _clip(_micro_batch_mean)),
    Fault(
        "NaN multiplied by zero",
        Cause.INVALID,
        (
            Swap(clipping, "clipped_sum", _invalid_kept),
            Swap(factored, "clipped_sum", _invalid_kept),
        ),
    ),
    Fault(
        "a user's sessions clipped as users",
        Cause.SEVERAL_ROWS,
        (Swap(training, "local_round", _sessions),),
    ),
)
