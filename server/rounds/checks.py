"""What an update must be before it is averaged.  Each failure is an UpdateRejected that says why.

Rules, in the order they are checked:
1. It comes from the platform that was asked, for this round and this very request.
2. It has the tensors that were asked for: names in order, shapes, float32.
3. Every number is finite.
4. Its L2 norm over all tensors is at most `max_update_norm`.
5. It comes with a statement of it, signed with the platform's known key, that says the same:
   platform, round, request, adapter and base it started from, update, constants; and those are
   the ones that were asked for.
"""

import math

import numpy as np

from shared.errors import ProtocolError, UpdateRejected
from shared.protocol import CONSTANTS, TrainReply, TrainRequest, update_sha256
from shared.transparency.keys import PublicKey
from shared.transparency.statement import PlatformRound, parse_statement

_ASKED = ("steps", "sample_rate", "clip_norm", "private")


def check_update(
    reply: TrainReply, *, request: TrainRequest, platform: str, max_update_norm: float
) -> float:
    """The update's L2 norm, if it passes rules 1 to 4.

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


def check_statement(
    reply: TrainReply, *, request: TrainRequest, key: PublicKey, adapter_in: str, base: str
) -> PlatformRound:
    """The platform's own statement of its update, if it passes rule 5.

    Args:
        key: the platform's, as it was known before.
        adapter_in, base: SHA-256 of the request's adapter and whitening.

    Raises:
        UpdateRejected: it does not.
    """
    if reply.envelope is None:
        raise _rejected("a signed statement", "none", "statement")
    if not reply.envelope.is_signed_by(key):
        raise _rejected(f"one signed with key {key.id[:12]}", "another signature", "statement")
    try:
        found = parse_statement(reply.envelope.payload)
    except ProtocolError as error:
        raise _rejected(error.expected, error.got, "statement") from error
    if not isinstance(found, PlatformRound):
        raise _rejected("a platform's statement", "another", "statement")
    said: list[tuple[str, object]] = [
        ("platform", reply.platform),
        ("round", reply.round),
        ("request", reply.request_digest),
        ("adapter_in", adapter_in),
        ("base", base),
        ("update", update_sha256(reply.update, reply.version)),
        *((name, reply.constants[name]) for name in CONSTANTS),
        *((name, request.settings[name]) for name in _ASKED if name in request.settings),
    ]
    for name, value in said:
        if getattr(found, name) != value:
            raise _rejected(f"a statement of this update's {name}", "another", "statement")
    return found


def _rejected(expected: str, got: str, what: str) -> UpdateRejected:
    return UpdateRejected(expected=expected, got=got, where=f"update, {what}")
