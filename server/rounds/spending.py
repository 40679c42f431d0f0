"""What each platform has spent, as far as the coordinator can tell from the answers it saw.

The platform's own ledger is what counts: it also knows steps whose answers never arrived.
"""

import logging
import math
from typing import Literal

from shared.config.federation import PublicSettings
from shared.errors import AccountantError
from shared.privacy.accountant import Charge, epsilon

log = logging.getLogger("fedinterest.server")


def spent_epsilon(
    settings: PublicSettings, platform: str, spent: list[tuple[float, float, int]]
) -> float | Literal["inf"] | None:
    """Epsilon of `spent`, each (sample_rate, noise_multiplier, steps).

    Returns:
        0.0 where nothing was spent, "inf" where there was no noise (JSON has no infinity), None
        where the platform's population, and so its delta, is not declared, or the claim is
        absurd.
    """
    if not spent:
        return 0.0
    population = settings.platforms[platform].population
    if population is None and settings.privacy.delta is None:
        return None
    if any(noise == 0 for _, noise, _ in spent):
        return "inf"
    delta = settings.privacy.delta_for(population or 2)
    try:
        value = epsilon([Charge(*charge) for charge in spent], delta)
    except AccountantError as error:  # constants that nobody can account for: a stranger's claim
        log.warning("%s: %s", platform, error)
        return None
    return value if math.isfinite(value) else "inf"
