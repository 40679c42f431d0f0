"""Does a platform hold to what it promised, whatever the coordinator asks?"""

from typing import Any

from clients.policy import FILE
from shared.errors import PolicyRefusal
from shared.files import write_json
from simulations.audits.checks.check import Cause, Check, Outcome
from simulations.audits.checks.site import CLIP_NORM, RATE, folders, histories, request, site

REQUESTS: tuple[dict[str, Any], ...] = (
    {"sample_rate": RATE / 2},
    {"sample_rate": 1.0},
    {"clip_norm": 10 * CLIP_NORM},
    {"private": False},
)
POLICIES: tuple[dict[str, Any], ...] = (
    {"max_steps_per_round": 1},
    {"max_epsilon": 1.0},
    {"min_noise_multiplier": 3.0},
    {"allowed_base": ["0" * 64]},
)


def check(seed: int) -> Outcome:
    """See the module."""
    with folders() as folder:
        platform = site(folder, histories(4, seed))
        for changes in REQUESTS:
            try:
                platform.train(request(**changes))
            except PolicyRefusal:
                continue
            return Outcome(Cause.OVERRIDDEN, detail=f"trained with {changes}")
        for policy in POLICIES:
            write_json(folder / FILE, policy)
            try:
                platform.train(request())
            except PolicyRefusal:
                continue
            return Outcome(Cause.OVERRIDDEN, detail=f"trained against the policy {policy}")
    return Outcome()


CHECK = Check("promise", ("accounting",), check)
