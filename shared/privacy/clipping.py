"""Per-user clipping, and the optimiser step in which clipped sums meet noise.

Shapes: `B` users in a (micro-)batch.  A grad sample is one tensor's per-user gradients,
(B, *tensor.shape); a user's gradient is all of their slices together, over every tensor.

Guarantee of `clipped_sum`: whatever a user's gradient holds (huge, denormal, NaN), the term added
for them has L2 norm at most `clip_norm`, rounding of the norm and of the product included; and it
depends on nobody else's gradient.  Unit: one user; neighbours: one user added or removed.

(Adding the terms up rounds too: up to about B * 2**-24 of clip_norm, like in every DP-SGD that
adds floats.  Sums of micro-batches are therefore kept in float64.)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from opacus.optimizers import DPOptimizer
from torch.optim import Optimizer

from shared.errors import ConfigError, PrivacyError
from shared.privacy.noise import NoiseSource, noised

_BLOCK = 64
_NORM_SLACK = 2.0**-16
_CAST_SLACK = 2.0**-22


@dataclass(frozen=True)
class ClippedSum:
    """What `clipped_sum` found; the counts are private and stay on the platform.

    Args:
        sums: one tensor per grad sample, summed over users, float32 (float64 for float64 input).
        clipped: users whose gradient was scaled down.
        invalid: users whose gradient held NaN or Inf and who therefore contribute exactly zero.
    """

    sums: tuple[torch.Tensor, ...]
    clipped: int
    invalid: int


def user_norms(grad_samples: Sequence[torch.Tensor]) -> torch.Tensor:
    """(B,) float64: L2 norm of each user's whole gradient; NaN or Inf where an entry is.

    Accurate to 2**-17 relative: float32 over blocks of 64 entries, float64 over blocks, so no
    float64 copy of the gradients is made.  Rows whose squares leave float32 are done again in
    float64, one by one.

    Raises:
        PrivacyError: no grad samples, or they disagree on B.
    """
    users = _batch(grad_samples)
    rows = [_rows(sample) for sample in grad_samples]
    parts = [part for row in rows for part in _block_norms(row)]
    norms = torch.linalg.vector_norm(torch.stack(parts, dim=1), dim=1)
    # Beyond these, squares overflowed or vanished in float32 (or the user is not finite at all).
    doubtful = ~((norms > 1e-12) & (norms < 1e18))
    for user in doubtful.nonzero().flatten().tolist():
        pieces = torch.stack([torch.linalg.vector_norm(row[user].double()) for row in rows])
        norms[user] = torch.linalg.vector_norm(pieces)
    if norms.shape != (users,):
        raise PrivacyError(expected=f"{users} norms", got=str(tuple(norms.shape)), where="clipping")
    return norms


def clip_factors(norms: torch.Tensor, clip_norm: float) -> torch.Tensor:
    """(B,) float32 factors in [0, 1]: at most clip_norm / norm, 0 for NaN and Inf norms.

    Rounded toward zero.  `clip_norm` may be inf (the non-private mode): 1 for every finite norm.
    """
    bounded = norms * (1 + _NORM_SLACK)
    wanted = torch.where(bounded > clip_norm, clip_norm / bounded * (1 - _CAST_SLACK), 1.0)
    wanted = torch.where(torch.isfinite(norms), wanted, 0.0)
    factors = wanted.to(torch.float32)
    return torch.where(
        factors.double() > wanted, torch.nextafter(factors, torch.zeros_like(factors)), factors
    )


def clipped_sum(grad_samples: Sequence[torch.Tensor], clip_norm: float) -> ClippedSum:
    """Sum over users of their gradients, each scaled down to L2 norm `clip_norm` or less.

    Costs one pass for the norms and one for the sums, and no copy of the gradients (of the valid
    users' part only, and only if somebody's gradient is not finite).  B = 0 gives zeros.

    Args:
        grad_samples: one (B, ...) tensor per trainable tensor; not changed.
        clip_norm: > 0; inf switches clipping off.

    Raises:
        PrivacyError: no grad samples, they disagree on B, or clip_norm is not positive.
    """
    if not clip_norm > 0:
        raise PrivacyError(expected="clip_norm > 0", got=repr(clip_norm), where="privacy.clip_norm")
    norms = user_norms(grad_samples)
    factors = clip_factors(norms, clip_norm)
    valid = torch.isfinite(norms)
    invalid = int((~valid).sum())
    # 0 * NaN is NaN: invalid users are left out, not multiplied by zero.
    keep: Callable[[torch.Tensor], torch.Tensor] = (
        (lambda rows: rows[valid]) if invalid else (lambda rows: rows)
    )
    weights = keep(factors)
    sums = tuple(
        (weights.to(rows.dtype) @ keep(rows)).view(sample.shape[1:])
        for sample in grad_samples
        for rows in (_rows(sample),)
    )
    return ClippedSum(sums=sums, clipped=int((weights < 1).sum()), invalid=invalid)


def _batch(grad_samples: Sequence[torch.Tensor]) -> int:
    sizes = {len(sample) for sample in grad_samples}
    if len(sizes) != 1:
        raise PrivacyError(
            expected="per-user gradients of the same users for every tensor",
            got=f"numbers of users {sorted(sizes)}",
            where="clipping",
        )
    return sizes.pop()


def _rows(sample: torch.Tensor) -> torch.Tensor:
    """(B, P) view in float32, or float64 if it is that already."""
    rows = sample.detach().reshape(len(sample), math.prod(sample.shape[1:]))
    return rows if rows.dtype == torch.float64 else rows.to(torch.float32)


def _block_norms(rows: torch.Tensor) -> list[torch.Tensor]:
    """One or two (B,) float64 tensors whose joint L2 norm is that of `rows` (B, P)."""
    width = rows.shape[1]
    whole = width - width % _BLOCK
    parts = []
    if whole:
        blocks = rows[:, :whole].unflatten(1, (whole // _BLOCK, _BLOCK))
        parts.append(torch.linalg.vector_norm(blocks, dim=2).double())
    if whole < width or not whole:
        parts.append(torch.linalg.vector_norm(rows[:, whole:], dim=1, keepdim=True).double())
    return [torch.linalg.vector_norm(part, dim=1) for part in parts]


class PrivateOptimizer(DPOptimizer):
    """Opacus' optimiser with our clipping, our noise, and denominators that are public constants.

    A step, for a Poisson batch cut into any number of micro-batches, none included:

        for micro_batch in micro_batches:
            summed_loss(micro_batch).backward()   # GradSampleModule(..., loss_reduction="sum")
            optimizer.accumulate()                # clips, adds, frees the per-user gradients
        optimizer.step()                          # noise once, divide, step; also when empty

    What it differs in from its parent: an empty batch still adds noise and steps; NaN users count
    as zero; the sum is divided by `sample_rate * population` and nothing else; noise comes from
    `noise` and is added on a grid (`shared.privacy.noise.noised`); gradients used once are gone,
    so nothing is counted twice if `zero_grad` is forgotten.  (`zero_grad` between micro-batches
    throws the sum so far away: call it between steps, or never.)

    Args:
        optimizer: applies the noised mean.
        noise: where this step's noise comes from; assign `optimizer.noise` before each step to
            use a stream per step.  None only when `private` is False.
        noise_multiplier: stddev of the noise on the sum, over clip_norm; > 0 and finite.
        clip_norm: L2 bound on a user's gradient; > 0 and finite.
        sample_rate, population: public constants; the expected batch size is their product.
        private: False takes the exact sum, no clipping, no noise, same denominator.  It has to be
            asked for by name, with noise_multiplier=0 and clip_norm=inf.

    Attributes:
        invalid_users, clipped_users: how many so far.  Private: they never leave the platform.

    Raises:
        ConfigError: settings that do not make a guarantee, or that make one when private=False.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        noise: NoiseSource | None,
        noise_multiplier: float,
        clip_norm: float,
        sample_rate: float,
        population: int,
        private: bool = True,
    ) -> None:
        _check(noise, noise_multiplier, clip_norm, sample_rate, population, private)
        super().__init__(
            optimizer,
            noise_multiplier=noise_multiplier,
            max_grad_norm=clip_norm,
            expected_batch_size=sample_rate * population,
            loss_reduction="mean",
        )
        self.noise = noise
        self.private = private
        self.invalid_users = 0
        self.clipped_users = 0

    def accumulate_factors(self, factors: Sequence[Any]) -> None:
        """Clip and add up per-user gradients that are given as factors, one pair per tensor.

        In the place of a backward pass, for losses whose gradient is known; see
        `shared.privacy.factored`.
        """
        from shared.privacy.factored import factored_sum  # which needs this module

        self._add(factored_sum(factors, self.max_grad_norm))

    def accumulate(self) -> None:
        """Clip the per-user gradients of the last backward pass, add them up and free them.

        Raises:
            PrivacyError: some trainable tensors have per-user gradients and others have none.
        """
        parameters = self.params
        batches = [_as_list(getattr(p, "grad_sample", None)) for p in parameters]
        if len({len(batch) for batch in batches}) > 1:
            raise PrivacyError(
                expected="per-user gradients for every trainable tensor",
                got="none for some of them",
                where="PrivateOptimizer",
                remedy="Let every trainable tensor take part in the loss, or freeze it.",
            )
        for grad_samples in zip(*batches, strict=True):
            self._add(clipped_sum(grad_samples, self.max_grad_norm))
        for p in parameters:
            p.grad_sample = None

    def _add(self, clipped: ClippedSum) -> None:
        self.invalid_users += clipped.invalid
        self.clipped_users += clipped.clipped
        for p, total in zip(self.params, clipped.sums, strict=True):
            if p.summed_grad is None:
                p.summed_grad = total.double()
            else:
                p.summed_grad += total

    def clip_and_accumulate(self) -> None:
        """Opacus' name for `accumulate`."""
        self.accumulate()

    def add_noise(self) -> None:
        """Put the noised sum into `.grad`; the sum is gone afterwards."""
        for p in self.params:
            total = p.summed_grad
            if total is None:  # an empty batch: the sum of no users
                total = torch.zeros_like(p, dtype=torch.float64)
            if self.private:
                if self.noise is None:
                    raise PrivacyError(expected="a noise source", got="None", where="noise")
                total = noised(total, self.noise_multiplier * self.max_grad_norm, self.noise)
            p.grad = total.to(p.dtype).view_as(p)
            p.summed_grad = None

    def scale_grad(self) -> None:
        """Divide by the public constant sample_rate * population."""
        for p in self.params:
            p.grad /= self.expected_batch_size

    def pre_step(self, closure: Callable[[], float] | None = None) -> bool:
        """Clip what is left over, add noise, divide.  True when the step is to be taken."""
        self.accumulate()
        if self._check_skip_next_step():
            self._is_last_step_skipped = True
            return False
        self.add_noise()
        self.scale_grad()
        if self.step_hook:
            self.step_hook(self)
        self._is_last_step_skipped = False
        return True


def _as_list(grad_sample: Any) -> list[torch.Tensor]:
    """Opacus keeps None, a tensor, or a list with one tensor for each backward pass."""
    if grad_sample is None:
        return []
    return list(grad_sample) if isinstance(grad_sample, list) else [grad_sample]


def _check(
    noise: NoiseSource | None,
    noise_multiplier: float,
    clip_norm: float,
    sample_rate: float,
    population: int,
    private: bool,
) -> None:
    def refuse(expected: str, got: str, where: str) -> ConfigError:
        return ConfigError(expected=expected, got=got, where=where)

    if not 0 < sample_rate <= 1:
        raise refuse("0 < sample_rate <= 1", repr(sample_rate), "privacy.sample_rate")
    if population < 1:
        raise refuse("population >= 1", repr(population), "population")
    if private:
        if not 0 < noise_multiplier < math.inf:
            raise refuse("noise_multiplier > 0", repr(noise_multiplier), "noise_multiplier")
        if not 0 < clip_norm < math.inf:
            raise refuse("clip_norm > 0, finite", repr(clip_norm), "privacy.clip_norm")
        if noise is None:
            raise refuse("a noise source", "None", "noise")
    elif noise_multiplier != 0 or clip_norm != math.inf:
        raise refuse(
            "noise_multiplier=0 and clip_norm=inf with private=False",
            f"noise_multiplier={noise_multiplier!r}, clip_norm={clip_norm!r}",
            "PrivateOptimizer",
        )
