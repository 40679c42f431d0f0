"""What is promised to every user.  These settings change the guarantee; none is a speed knob."""

import math

from pydantic import Field, field_validator

from shared.config.base import Settings


class PrivacySettings(Settings):
    """User-level (epsilon, delta)-DP of one platform's whole run; add or remove one user.

    Args:
        epsilon: the budget for the whole run; `inf` switches clipping and noise off, loudly.
        delta: chance that the bound fails; None means 1 / population ** 1.1.
        clip_norm: L2 bound on what one user adds to a step's sum.
        sample_rate: public probability with which a user takes part in a step (Poisson).
        steps_per_round: DP-SGD steps each platform takes in a round.
    """

    epsilon: float = Field(default=8.0, gt=0)
    delta: float | None = Field(default=None, gt=0, lt=1)
    clip_norm: float = Field(default=2.0, gt=0, allow_inf_nan=False)
    sample_rate: float = Field(default=0.5, gt=0, le=1)
    steps_per_round: int = Field(default=1, ge=1)

    @field_validator("epsilon")
    @classmethod
    def _not_nan(cls, value: float) -> float:
        if math.isnan(value):
            raise ValueError("expected a positive number or inf")
        return value

    @property
    def private(self) -> bool:
        """False when epsilon is infinite: no clipping, no noise, no guarantee."""
        return math.isfinite(self.epsilon)

    def delta_for(self, population: int) -> float:
        """The delta to use for a platform of `population` users (its public, declared size)."""
        return self.delta if self.delta is not None else population**-1.1
