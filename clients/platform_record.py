"""What a platform has agreed to: the promise to its users, and the settings it was made for."""

import numpy as np

from shared.config.base import Settings
from shared.config.privacy import PrivacySettings
from shared.config.training import ModelSettings
from shared.privacy.accountant import calibrate


class PlatformRecord(Settings):
    """`platform.json`: what the platform has agreed to and published about itself.

    Args:
        name, kind: for people.
        population: declared public number of users.
        epsilon, delta: the promise to its users for the whole run; epsilon may be infinite.
        noise_multiplier: of every step; 0 without privacy.
        steps: DP-SGD steps the promise was calibrated for.
        sample_rate, clip_norm: what it was calibrated with.
        model: the base model's settings.
        ledger: path of the ledger, relative to the folder.
        journals: folder of its signed log NAME.jsonl, relative to the folder.
        encoder: identity of the text encoder that the states come from; "" if not known.
        micro_batch: users whose gradients are in memory at once.
        unsafe_seed: makes all randomness repeatable; for tests and seeded simulations only.
    """

    name: str
    kind: str
    population: int
    epsilon: float
    delta: float
    noise_multiplier: float
    steps: int
    sample_rate: float
    clip_norm: float
    model: ModelSettings
    ledger: str = "ledger.jsonl"
    journals: str = "record"
    encoder: str = ""
    micro_batch: int = 256
    unsafe_seed: int | None = None

    @property
    def private(self) -> bool:
        """Whether there is a guarantee."""
        return bool(np.isfinite(self.epsilon))


def promise(privacy: PrivacySettings, population: int, rounds: int) -> tuple[float, float]:
    """(delta, noise_multiplier) for a platform of `population` users over a whole run.

    Raises:
        AccountantError: no noise multiplier reaches the budget.
    """
    delta = privacy.delta_for(population)
    if not privacy.private:
        return delta, 0.0
    steps = rounds * privacy.steps_per_round
    return delta, calibrate(privacy.epsilon, delta, privacy.sample_rate, steps)
