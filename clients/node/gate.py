"""What comes in and what goes out: every rule that a message or an answer is held against here.

In, before any of it reaches the platform:
1. Nothing is answered while the partner has paused.
2. The bundle that the run was submitted with is on the partner's list.
3. The message is one of the protocol's.
And for training:
4. The hour, and the number of rounds today, are permitted.
5. The ledgers are whole, and none is behind its anchor.
6. All runs together, this one in full, stay within the total that is permitted.

Out, before any of it leaves the machine:
7. An answer is exactly one of the protocol's four, under this platform's name, and not too large.
8. The anchor has gone on to what the ledger says.

What a training request itself may ask for is `Policy.check`'s affair, on the platform.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from flwr.app import RecordDict

from clients.node.runtime import Asked as Task
from clients.platform import Platform
from clients.policy import Policy
from clients.spending.anchor import Anchor
from clients.spending.promises import Asked, Promises, total_epsilon
from shared.errors import PolicyRefusal, ProtocolError
from shared.files import write_json
from shared.privacy.accountant import Charge
from shared.protocol import (
    ADAPTER_QUERY,
    CATALOGUE_QUERY,
    TRAIN,
    AdapterReceipt,
    CatalogueReply,
    Refusal,
    TrainReply,
    TrainRequest,
    kind_of,
)
from shared.records import size_in_bytes

_REPLIES: dict[str, type[TrainReply | AdapterReceipt | CatalogueReply]] = {
    "train-reply": TrainReply,
    "adapter-receipt": AdapterReceipt,
}


def _local_now() -> datetime:
    return datetime.now().astimezone()


@dataclass
class Gate:
    """One platform's.

    Args:
        platform: its private folder.
        policy: read afresh for every message.
        promises, anchor: the ledgers, and what they are held against.
        paused: a file that is there while the partner has paused.
        rounds: file with the digests of trained requests, by day.
        now: local time.
    """

    platform: Path
    policy: Callable[[], Policy]
    promises: Promises
    anchor: Anchor
    paused: Path
    rounds: Path
    now: Callable[[], datetime] = _local_now
    _totals: dict[tuple[object, ...], float] = field(default_factory=dict)

    def admit(self, task: Task) -> Policy:
        """Rules 1 to 6; the policy that holds for this message.

        Raises:
            PolicyRefusal, ProtocolError, LedgerError, ConfigError: it is not to be answered.
        """
        policy = self.policy()
        if self.paused.exists():
            raise PolicyRefusal(
                expected="a platform that takes part",
                got="one that its operator has paused",
                where="policy, pause",
                remedy="It goes on after `fedinterest-client resume`.",
            )
        policy.check_bundle(task.bundle_sha256)
        kind = task.message.metadata.message_type
        if task.agent or kind not in (TRAIN, CATALOGUE_QUERY, ADAPTER_QUERY):
            raise ProtocolError(
                expected=f"a message of type {TRAIN}, {CATALOGUE_QUERY} or {ADAPTER_QUERY}",
                got="a task for an AgentApp" if task.agent else repr(kind)[:100],
                where="message",
            )
        if kind == TRAIN:
            digest = TrainRequest.from_records(task.message.content).digest
            today = self._today()
            # The same request again is no further round: it costs nothing, and may be awaited.
            if digest not in today:
                policy.check_day(self.now(), len(today))
            self._check_spending(policy)
        return policy

    def release(self, task: Task, reply: RecordDict, policy: Policy) -> Refusal | None:
        """Rules 7 and 8; the answer may leave when this returns.

        Returns:
            The platform's refusal, where the answer is one.

        Raises:
            ProtocolError, PolicyRefusal, LedgerError: it may not.
            StorageError: the anchor cannot be moved.
        """
        name = self.promises.name
        policy.check_size(size_in_bytes(reply))
        kind = kind_of(reply)
        if kind == "refusal":
            refusal = Refusal.from_records(reply)
            self.anchor.follow(self.promises.folder, self.promises.records())
            return refusal
        parse = _REPLIES.get(kind, CatalogueReply)
        speaks_as = parse.from_records(reply).platform
        if speaks_as != name:
            raise ProtocolError(expected=f"an answer of {name}", got="another name", where="answer")
        if kind == "train-reply":
            self.anchor.follow(self.promises.folder, self.promises.records())
            self._note(TrainRequest.from_records(task.message.content).digest)
        return None

    def _check_spending(self, policy: Policy) -> None:
        records = self.promises.records()
        self.anchor.follow(self.promises.folder, records)
        record = Platform.open(self.platform).record
        if not record.private:
            policy.check_total(float("inf"))
            return
        asked = Asked(
            ledger=Path(record.ledger).name,
            delta=record.delta,
            charge=Charge(record.sample_rate, record.noise_multiplier, record.steps),
        )
        # Composition takes a moment, and does not change while this run spends what it asked for.
        others = tuple((file, one.head) for file, one in records.items() if file != asked.ledger)
        key = (asked, others)
        if key not in self._totals:
            self._totals = {key: total_epsilon(records, asked)}
        policy.check_total(self._totals[key])

    def _today(self) -> set[str]:
        day = self.now().date().isoformat()
        try:
            found = json.loads(self.rounds.read_text(encoding="utf-8"))
            return set(found["digests"]) if found["day"] == day else set()
        except (OSError, ValueError, KeyError, TypeError):
            return set()

    def _note(self, digest: str) -> None:
        today = sorted(self._today() | {digest})
        values = {"day": self.now().date().isoformat(), "digests": today}
        write_json(self.rounds, values)
