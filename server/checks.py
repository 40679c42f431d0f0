"""What an update must be before it is averaged.  Each failure is an UpdateRejected that says why.

Rules, in the order they are checked:
1. It comes from the platform that was asked, for this round and this very request.
2. It has the tensors that were asked for: names in order, shapes, float32.
3. Every number is finite.
4. Its L2 norm over all tensors is at most `max_update_norm`.
"""

import math

import numpy as np

from shared.errors import UpdateRejected
from shared.protocol import TrainReply, TrainRequest


def check_update(
    reply: TrainReply, *, request: TrainRequest, platform: str, max_update_norm: float
) -> float:
    """The update's L2 norm, if it passes every rule above.

    Raises:
        UpdateRejected: it does not.
    """
    if reply.platform != platform:
        raise _rejected(f"an update from {platform}", repr(reply.platform), "platform")
    if reply.round != request.round:
        raise _rejected(f"an update for round {request.round}", f"round {reply.round}", "round")
    if reply.request_digest != request.digest:
        raise _rejected(
            f"an answer to request {request.digest[:12]}", reply.request_digest[:12], "digest"
        )
    names = list(request.trained)
    if list(reply.update) != names:
        raise _rejected(f"tensors {names}", f"{list(reply.update)[:16]}", "names")
    total = 0.0
    for name in names:
        base, update = request.adapter[name], reply.update[name]
        if update.shape != base.shape:
            raise _rejected(f"shape {base.shape}", f"{update.shape}", name)
        if update.dtype != np.float32:
            raise _rejected("float32", str(update.dtype), name)
        if not np.isfinite(update).all():
            raise _rejected("finite numbers", "NaN or infinity", name)
        total += float(np.sum(np.square(update, dtype=np.float64)))
    norm = math.sqrt(total)
    if norm > max_update_norm:
        raise _rejected(f"an L2 norm of at most {max_update_norm:g}", f"{norm:.6g}", "norm")
    return norm


def _rejected(expected: str, got: str, what: str) -> UpdateRejected:
    return UpdateRejected(expected=expected, got=got, where=f"update, {what}")
