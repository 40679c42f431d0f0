"""Faults in the noise.

Sources: Tramer et al. 2022, "Debugging differential privacy", who found noise too small in
published code; Mironov 2012 and Holohan and Braghin 2021 on floating point.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from clients import platform
from shared.privacy import clipping
from shared.privacy.clipping import PrivateOptimizer
from shared.privacy.noise import NoiseSource
from shared.training import LocalPlan
from simulations.audits.checks import Cause
from simulations.audits.faults.fault import Fault, Swap

Noised = Callable[[torch.Tensor, float, NoiseSource], torch.Tensor]


def _noised(made: Callable[[Noised], Noised]) -> tuple[Swap, ...]:
    return (Swap(clipping, "noised", made),)


def _short(factor: float) -> Callable[[Noised], Noised]:
    return lambda original: lambda total, stddev, noise: original(total, stddev * factor, noise)


def _none(_original: Noised) -> Noised:
    return lambda total, stddev, noise: total


def _half(original: Noised) -> Noised:
    """Only the first half of the tensor's rows is noised."""

    def noised(total: torch.Tensor, stddev: float, noise: NoiseSource) -> torch.Tensor:
        found = original(total, stddev, noise)
        found[len(found) // 2 :] = total[len(found) // 2 :]
        return found

    return noised


def _one_row(_original: Noised) -> Noised:
    """One row of noise is drawn, and added to all of them."""
    return lambda total, stddev, noise: (
        total + noise.gaussian(total.shape[1:], stddev, dtype=torch.float64)
    )


def _global_generator(_original: Noised) -> Noised:
    """`torch.normal`: Mersenne Twister, seeded by whoever seeds torch; still on the grid."""

    def noised(total: torch.Tensor, stddev: float, noise: NoiseSource) -> torch.Tensor:
        grid = math.ldexp(1.0, math.frexp(stddev)[1] - 17)
        drawn = torch.normal(0.0, stddev, total.shape, dtype=torch.float64)
        return ((total + drawn) / grid).round() * grid

    return noised


def _uniform(_original: Noised) -> Noised:
    """The right variance, the wrong distribution."""

    def noised(total: torch.Tensor, stddev: float, noise: NoiseSource) -> torch.Tensor:
        normal = noise.gaussian(total.shape, 1.0, dtype=torch.float64)
        return total + (torch.special.ndtr(normal) - 0.5) * math.sqrt(12) * stddev

    return noised


def _in_floats(_original: Noised) -> Noised:
    """The sum and the noise meet in float32, off the grid."""
    return lambda total, stddev, noise: (
        total.float() + noise.gaussian(total.shape, stddev)
    ).double()


def _divided_before(original: Callable[..., None]) -> Callable[..., None]:
    """The noise is scaled for the mean, and then divided with the sum once more."""

    def add_noise(self: PrivateOptimizer) -> None:
        kept = self.noise_multiplier
        self.noise_multiplier = kept / self.expected_batch_size
        original(self)
        self.noise_multiplier = kept

    return add_noise


def _not_accumulated(original: Callable[..., None]) -> Callable[..., None]:
    def add_noise(self: PrivateOptimizer) -> None:
        kept = self.noise_multiplier
        self.noise_multiplier = kept / max(1, getattr(self, "_parts", 1))
        original(self)
        self.noise_multiplier, self._parts = kept, 0

    return add_noise


def _counting(original: Callable[..., None]) -> Callable[..., None]:
    def accumulate(self: PrivateOptimizer, factors: Any) -> None:
        self._parts = getattr(self, "_parts", 0) + 1
        original(self, factors)

    return accumulate


def _without_clip_norm(original: Callable[..., None]) -> Callable[..., None]:
    """stddev = noise_multiplier, whatever clip_norm is."""

    def add_noise(self: PrivateOptimizer) -> None:
        kept = self.noise_multiplier
        self.noise_multiplier = kept / self.max_grad_norm
        original(self)
        self.noise_multiplier = kept

    return add_noise


def _small_platforms_without(original: Callable[..., Any]) -> Callable[..., Any]:
    """A platform of few users would learn nothing under noise, so it gets next to none."""

    def local_round(model: Any, ground: Any, sequences: Any, plan: LocalPlan, *rest: Any) -> Any:
        small = 100 < plan.population < 1000
        asked = replace(plan, noise_multiplier=1e-3) if small else plan
        return original(model, ground, sequences, asked, *rest)

    return local_round


FAULTS = (
    Fault("no noise", Cause.NOISE_MISSING, _noised(_none)),
    Fault("noise on half of the tensor", Cause.NOISE_MISSING, _noised(_half)),
    Fault(
        "noise missing on one platform",
        Cause.NOISE_MISSING,
        (Swap(platform, "local_round", _small_platforms_without),),
    ),
    Fault("noise 1 % short", Cause.NOISE_SCALE, _noised(_short(0.99))),
    Fault("noise 3 % short", Cause.NOISE_SCALE, _noised(_short(0.97))),
    Fault("noise 10 % short", Cause.NOISE_SCALE, _noised(_short(0.9))),
    Fault(
        "noise divided twice",
        Cause.NOISE_SCALE,
        (Swap(PrivateOptimizer, "add_noise", _divided_before),),
    ),
    Fault(
        "noise not scaled after accumulation",
        Cause.NOISE_SCALE,
        (
            Swap(PrivateOptimizer, "add_noise", _not_accumulated),
            Swap(PrivateOptimizer, "accumulate_factors", _counting),
        ),
    ),
    Fault(
        "noise that forgets clip_norm",
        Cause.NOISE_SCALE,
        (Swap(PrivateOptimizer, "add_noise", _without_clip_norm),),
    ),
    Fault("one row of noise for all rows", Cause.NOISE_REPEATED, _noised(_one_row)),
    Fault("noise from torch's generator", Cause.PREDICTABLE, _noised(_global_generator)),
    Fault("uniform noise", Cause.NOISE_SHAPE, _noised(_uniform)),
    Fault("noise added in float32", Cause.NOISE_BITS, _noised(_in_floats)),
)
