"""A round on a copy: all that a real one does, but nothing is sent and nothing is charged.

The copy has a ledger, a log of statements, secrets and a signing key of its own, and is removed
afterwards.  What it computes on is the platform's real data, so it shows time and memory as they
will be.
"""

import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from clients.platform import Platform
from clients.policy import Policy
from clients.settings import policy_values
from shared.adapters import initial_adapter
from shared.config.federation import PublicSettings
from shared.files import write_json
from shared.model import trained_in
from shared.privacy.ledger import read_ledger
from shared.protocol import TrainReply, TrainRequest
from shared.records import size_in_bytes
from shared.whitening import fit_whitening


@dataclass(frozen=True)
class Rehearsed:
    """What a round took.

    Args:
        seconds: of computation.
        steps: charged to the copy's ledger.
        epsilon: what those would have cost.
        update_bytes: what would have been sent.
        peak_mib: most resident memory of this process so far.
    """

    seconds: float
    steps: int
    epsilon: float
    update_bytes: int
    peak_mib: float


def request_for(platform: Platform, federation: PublicSettings) -> TrainRequest:
    """A first round's request, as if this were the only platform.

    Raises:
        DataError: the catalogue has no variance.
    """
    whitening = fit_whitening([platform.moments()])
    adapter = initial_adapter(federation.model, len(whitening.matrix))
    return TrainRequest(
        round=1,
        adapter=adapter,
        trained=trained_in(list(adapter), 1),
        base=whitening.to_arrays(),
        settings=federation.constants(platform.record.population),
    )


def rehearse(
    platform: Platform, federation: PublicSettings, policy: Policy, scratch: Path
) -> Rehearsed:
    """Train one round on a copy of `platform` below `scratch`.

    Raises:
        FedInterestError: what would have gone wrong in a real round.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="rehearsal-") as place:
        record = platform.record.replace(
            ledger="ledger.jsonl",
            journals="record",
            model=platform.record.model,
        )
        copy = Platform.create(
            Path(place), record, platform.catalogue, platform.states, platform.sequences
        )
        # The list of bases is about what a coordinator sends; here nobody has sent one.
        permitted = policy.model_copy(update={"allowed_base": None})
        write_json(Path(place) / "policy.json", policy_values(permitted))
        request = request_for(copy, federation)
        began = time.monotonic()
        permitted.check(request)
        reply: TrainReply = copy.train(request)
        seconds = time.monotonic() - began
        size = size_in_bytes(reply.to_records())
        permitted.check_size(size)
        spent, steps = 0.0, 0
        if record.private:
            ledger = read_ledger(copy.ledger_path)
            spent, steps = ledger.spent(), len(ledger.entries)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Rehearsed(seconds, steps, spent, size, peak)
