"""What one round has gathered so far: whose update counts, and why not the others'."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Message

from server.rounds.aggregation import Adapter
from server.rounds.checks import check_statement, check_update
from server.rounds.rollcall import tidy
from shared.adapters import adapter_sha256
from shared.errors import ProtocolError, UpdateRejected
from shared.protocol import Refusal, TrainReply, TrainRequest, kind_of
from shared.records import size_in_bytes
from shared.transparency.keys import PublicKey
from shared.transparency.merkle import leaf_hash
from shared.whitening import Whitening

log = logging.getLogger("fedinterest.server")

# A platform that crashed or whose disk was full may do better when asked again.  A refusal for any
# other reason, and a bad update, would only be repeated: the same request gets the same answer.
_MAY_STILL_ANSWER = {"InternalError", "StorageError"}

Entry = dict[str, Any]


def new_entry(*, answered: bool = False, reason: str | None = "no answer") -> Entry:
    """A platform's part of a round's line in rounds.jsonl.

    `outcome`, `key` and `envelope` are what the record says of it; see `server.rounds.record`.
    """
    return {
        "answered": answered,
        "outcome": "accepted" if answered else "absent",
        "reason": reason,
        "update_norm": None,
        "uplink_bytes": 0,
        "downlink_bytes": 0,
        "steps": 0,
        "epsilon": None,
        "key": None,
        "envelope": None,
    }


@dataclass
class Round:
    """The answers to one request.

    Args:
        request: the same for all, in every attempt.
        platforms: who takes part in the federation.
        max_update_norm: an update with a larger L2 norm is rejected.
    """

    request: TrainRequest
    platforms: Iterable[str]
    max_update_norm: float
    updates: dict[str, Adapter] = field(default_factory=dict)
    charges: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    entries: dict[str, Entry] = field(init=False)
    _final: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.entries = {name: new_entry() for name in self.platforms}
        self.adapter_in = adapter_sha256(self.request.adapter)
        self.base = Whitening.from_arrays(self.request.base).sha256

    def is_open(self, name: str) -> bool:
        """Whether asking `name` (again) could change anything."""
        return name not in self._final

    def can_reach(self, quorum: int) -> bool:
        """Whether there would be a quorum if all who may still answer did so well."""
        return len(self.updates) + len(self.entries) - len(self._final) >= quorum

    def within_reach(self, present: Iterable[str]) -> int:
        """How many good updates there would be if all `present` who are still asked gave one."""
        return len(self.updates) + len(set(present) & self.entries.keys() - self._final)

    def reasons(self) -> str:
        """Why which platform's update is missing, for people."""
        missing = {name: entry["reason"] for name, entry in self.entries.items()}
        return "; ".join(f"{name}: {reason}" for name, reason in missing.items() if reason)

    def asked(self, name: str, size: int) -> None:
        """Note that a request of `size` bytes goes to `name`."""
        self.entries[name]["reason"] = "no answer"
        self.entries[name]["downlink_bytes"] += size

    def absent(self, name: str, why: str) -> None:
        """Note that `name` could not be asked."""
        self.entries[name]["reason"] = why

    def judge(self, name: str, reply: Message, key: PublicKey) -> None:
        """Take or leave the reply of `name`, whose key is `key`, and note why."""
        entry = self.entries[name]
        entry["key"] = key.hex
        if reply.has_error():
            entry["reason"] = f"Flower error {reply.error.code}"  # its text is not ours to repeat
            return
        entry["uplink_bytes"] += size_in_bytes(reply.content)
        self._final.add(name)
        try:
            if kind_of(reply.content) == "refusal":
                refusal = Refusal.from_records(reply.content)
                entry["outcome"], entry["reason"] = "refused", tidy(str(refusal))
                if refusal.kind in _MAY_STILL_ANSWER:
                    self._final.discard(name)
                return
            entry["outcome"] = "rejected"
            self._take(name, TrainReply.from_records(reply.content), entry, key)
        except (ProtocolError, UpdateRejected) as error:
            entry["reason"] = tidy(f"{type(error).__name__}: {error}")
            log.warning("round %d, %s: %s", self.request.round, name, entry["reason"])

    def _take(self, name: str, reply: TrainReply, entry: Entry, key: PublicKey) -> None:
        if reply.envelope is not None and reply.envelope.is_signed_by(key):
            entry["envelope"] = leaf_hash(reply.envelope.to_bytes()).hex()
        constants = reply.constants
        entry["steps"] = steps = int(constants["steps"])
        if steps:  # spent, whether or not the update is any good
            rate, noise = float(constants["sample_rate"]), float(constants["noise_multiplier"])
            self.charges[name] = (rate, noise, steps)
        entry["update_norm"] = check_update(
            reply, request=self.request, platform=name, max_update_norm=self.max_update_norm
        )
        check_statement(
            reply, request=self.request, key=key, adapter_in=self.adapter_in, base=self.base
        )
        entry["answered"], entry["outcome"], entry["reason"] = True, "accepted", None
        self.updates[name] = reply.update
