"""Does a round start from what has left the platform, and from nothing else of it?

A platform's own model is a part of the shared adapter and a part of its earlier updates
(`clients.released`).  Those are free to use because they have been clipped, noised and sent.  The
same sums before the noise would be private data that every later round is computed from.

Three rounds are answered; what the third one's training starts from must follow from the request
and from the two answers, number by number.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from clients import platform
from shared.config.training import OWN, SHARED, Interpolation
from simulations.audits.checks.check import Cause, Check, Outcome
from simulations.audits.checks.site import PLACES, folders, histories, request, site

PARTS = Interpolation(shared=0.25, own=0.5)
_TOLERANCE = 1e-5


def check(seed: int) -> Outcome:
    """See the module."""
    starts: list[dict[str, Any]] = []
    installed = platform.local_round

    def watching(model: Any, *rest: Any, **named: Any) -> Any:
        starts.append(
            {name: model.block(name).lora_B.weight.detach().numpy().copy() for name in model.names}
        )
        return installed(model, *rest, **named)

    # no zeros, as a run's first adapter has: half of them would do as well as a quarter
    shared = {name: value + np.float32(1) for name, value in request().adapter.items()}
    expected = {name: np.float32(PARTS.shared) * value for name, value in shared.items()}
    setattr(platform, "local_round", watching)  # noqa: B010 - a patch
    try:
        with folders() as folder:
            own = site(folder / "own", histories(9, seed), steps=100, epsilon=1e4)
            for round_ in (1, 2, 3):
                said = {SHARED: PARTS.shared, f"{OWN}{PLACES[0].name}": PARTS.own}
                asked = replace(request(round_, **said), adapter=shared)
                update = own.train(asked).update
                if round_ < 3:
                    for name, value in update.items():
                        expected[name] += np.float32(PARTS.own) * value
    finally:
        setattr(platform, "local_round", installed)  # noqa: B010
    off = max(float(np.abs(starts[-1][name] - value).max()) for name, value in expected.items())
    scale = max(float(np.abs(value).max()) for value in expected.values())
    if off > _TOLERANCE * max(scale, 1e-12):
        return Outcome(Cause.STARTS_ELSEWHERE, detail=f"by {off / max(scale, 1e-12):.3f} of it")
    return Outcome()


CHECK = Check("start", ("release", "accounting"), check)
