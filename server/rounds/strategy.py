"""The coordinator's rounds: Flower's Strategy, told how this project trains.

One round: the same TrainRequest goes to every platform; each answer is checked by itself, and one
that fails is left out by name, with its reason, without losing the round; what passes is averaged
with public weights.  Rules:
1. A round needs `quorum` good updates.  If it has fewer, only those who may still answer (no reply,
   a crash) are asked again, the very same request; after `max_attempts` the run stops, resumable.
2. A round's line in rounds.jsonl is written first, its checkpoint second, both atomically, and its
   signed statement last: after a crash the lines are cut back to the newest whole checkpoint and
   the round is asked again; a statement that is missing then is made from the line.  The record
   itself is never cut back (`server.rounds.record`).
3. The same answers give the same adapter, bit for bit, in whatever order they came.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from server.rounds import checkpoint as checkpoints
from server.rounds.aggregation import Adapter, ServerOptimiser, State, mean_update
from server.rounds.checkpoint import Checkpoint, Spending
from server.rounds.constants import constants_of
from server.rounds.delivery import deliver
from server.rounds.log import Event, RoundLog, tell
from server.rounds.record import Record, known_keys
from server.rounds.rollcall import Roll, call_roll
from server.rounds.round import Round, new_entry
from server.rounds.spending import spent_epsilon
from shared.adapters import adapter_sha256, initial_adapter
from shared.config.federation import PublicSettings
from shared.errors import ProtocolError, QuorumError, RunError
from shared.model import trained_in
from shared.protocol import TRAIN, TrainRequest
from shared.records import from_array_record, size_in_bytes, to_array_record
from shared.whitening import fit_whitening

log = logging.getLogger("fedinterest.server")

KEPT = 12
"""About how many checkpoints of a run are kept: enough for a curve, on a bounded disk."""


class InterestStrategy(Strategy):
    """Trains the shared adapter over the platforms of `settings`, in the run folder `folder`.

    Args:
        settings: the federation's.
        folder: holds `checkpoints/`, `rounds.jsonl` and `record/`; training resumes from what is
            there.
        settings_sha256: a checkpoint of other settings is refused.
        keys: platform -> the public key it was enrolled with; without one, the first key that a
            platform shows in this run is its key.
    """

    def __init__(
        self,
        settings: PublicSettings,
        folder: Path,
        *,
        settings_sha256: str,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = settings
        self.enrolled = dict(keys or {})
        self.settings_sha256 = settings_sha256
        self.folder = folder / "checkpoints"
        self.rounds = RoundLog(folder / "rounds.jsonl")
        self.record = Record(folder, settings, settings_sha256)
        self.quorum = settings.server.min_platforms or len(settings.platforms)
        self.optimiser = ServerOptimiser(settings=settings.server)
        self.roll = Roll()
        self._state: Checkpoint | None = None
        self._round: Round | None = None
        self._next: tuple[Adapter, State] | None = None

    @property
    def state(self) -> Checkpoint:
        """Where the run is.

        Raises:
            RunError: `set_up` has not been called.
        """
        if self._state is None:
            raise RunError(expected="a run that is set up", got="none", where=str(self.folder))
        return self._state

    def set_up(self, grid: Grid) -> ArrayRecord:
        """Find the platforms; then resume, or fit the whitening and begin at round 0.

        Returns:
            The adapter to start from.

        Raises:
            QuorumError: too few platforms came.
            RunError: what lies in the folder cannot be resumed.
        """
        start = time.monotonic()
        server = self.settings.server
        found = checkpoints.latest(self.folder, settings_sha256=self.settings_sha256)
        self._check_log(found)
        for attempt in range(1, server.max_attempts + 1):
            self._call_roll(grid, server.round_timeout_s)
            if len(self.roll.nodes) >= self.quorum:
                break
            message = f"{self._missing()}; attempt {attempt} of {server.max_attempts}"
            self._tell("retry", found.round if found else 0, message=message)
        else:
            raise self._no_quorum("set-up", len(self.roll.nodes), self._missing())
        for who, why in self.roll.problems.items():
            log.warning("%s takes no part: %s", who, why)
        if found is not None:
            self._state = found
            self.rounds.truncate(found.round)
            self.record.complete(self.rounds.lines(), found)
            self._tell("resume", found.round, adapter=found.adapter)
        else:
            self._begin(time.monotonic() - start)
        return to_array_record(self.state.adapter)

    def _call_roll(self, grid: Grid, timeout_s: float) -> None:
        self.roll = call_roll(
            grid,
            self.settings.platforms,
            quorum=self.quorum,
            timeout_s=timeout_s,
            known=self.roll,
            keys=known_keys(self.rounds.lines()) | self.enrolled,
        )

    def _check_log(self, found: Checkpoint | None) -> None:
        """The log has at least the checkpoint's rounds, and no rounds where nothing is kept."""
        lines = len(self.rounds.lines())
        if (found is None and lines > 1) or (found is not None and lines < found.round + 1):
            kept = "none" if found is None else f"round {found.round}"
            raise RunError(
                expected="checkpoints and rounds.jsonl of one run",
                got=f"checkpoint: {kept}, {lines} lines",
                where=str(self.rounds.path),
                remedy="Restore the missing files, or start a new run folder.",
            )

    def _begin(self, seconds: float) -> None:
        whitening = fit_whitening([reply.moments for reply in self.roll.replies.values()])
        adapter = initial_adapter(self.settings.model, len(whitening.matrix))
        self._state = Checkpoint(
            round=0,
            adapter=adapter,
            optimiser=self.optimiser.init(adapter),
            base=whitening.to_arrays(),
            settings_sha256=self.settings_sha256,
        )
        platforms = {
            name: new_entry(answered=True, reason=None)
            | {"uplink_bytes": self.roll.uplink_bytes[name], "key": self.roll.key(name).hex}
            if name in self.roll.nodes
            else new_entry(reason=self._why(name))
            for name in self.settings.platforms
        }
        self.rounds.truncate(-1)
        self._keep("setup", seconds, platforms)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The round's request, to every platform that has not given its final answer yet.

        Args:
            config: the request's settings; where it is empty the federation's (`constants_of`).
        """
        names = list(arrays.keys())
        version = self._version(server_round)
        decoded = from_array_record(arrays, np.float32, names, "adapter")
        request = TrainRequest(
            round=server_round,
            adapter={name: value.astype(np.float32) for name, value in decoded.items()},
            trained=trained_in(names, server_round),
            base=self.state.base,
            settings=dict(config) or constants_of(self.settings, version),  # type: ignore[arg-type]
            protocol_version=version,
        )
        if self._round is None or self._round.request.digest != request.digest:
            limit = self.settings.server.max_update_norm
            self._round = Round(request, self.settings.platforms, limit)
        current = self._round
        if set(grid.get_node_ids()) != self.roll.heard:  # somebody went, came or came back
            self._call_roll(grid, 0)
        if current.within_reach(self.roll.nodes) < self.quorum:
            self._call_roll(grid, self.settings.server.round_timeout_s)
        records = request.to_records()
        size = size_in_bytes(records)
        messages = []
        for name in self.settings.platforms:
            if not current.is_open(name):
                continue
            if name not in self.roll.nodes:
                current.absent(name, self._why(name))
                continue
            current.asked(name, size)
            timeout = self.settings.server.round_timeout_s
            node = self.roll.nodes[name]
            messages.append(Message(records, node, TRAIN, ttl=timeout, group_id=str(server_round)))
        return messages

    def _version(self, round_: int) -> int:
        """Of a round's request: asked again, it must be the very same, whoever has come since."""
        current = self._round
        if current is not None and current.request.round == round_:
            return current.request.protocol_version
        return self.roll.version

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Check each reply; with a quorum of good ones, the next adapter, else (None, None)."""
        current = self._current
        if current.request.round != server_round:
            raise ProtocolError(
                expected="replies to the round that was asked", got=str(server_round), where="round"
            )
        by_node = {node: name for name, node in self.roll.nodes.items()}
        for reply in replies:
            if (name := by_node.get(reply.metadata.src_node_id)) is not None:
                current.judge(name, reply, self.roll.key(name))
        if len(current.updates) < self.quorum:
            return None, None
        weights = {name: self.settings.platforms[name].public_weight for name in current.updates}
        mean = mean_update(current.updates, weights)
        state = self.state
        self._next = self.optimiser.apply(state.optimiser, current.request.adapter, mean)
        metrics = MetricRecord({"platforms": len(current.updates)})
        return to_array_record(self._next[0]), metrics

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Any = None,
    ) -> Result:
        """Run the rounds after the one `state` is at, up to `num_rounds`.

        Flower's own `start` always begins at round 1 and keeps the old weights silently when a
        round fails; this one resumes, retries and stops.  Nothing is evaluated here: exact metrics
        do not leave a platform, so `evaluate_config` and `evaluate_fn` are not used.

        Raises:
            QuorumError: a round got too few good updates, `max_attempts` times.
        """
        result = Result()
        result.arrays = arrays = initial_arrays
        config = train_config or ConfigRecord()
        for round_ in range(self.state.round + 1, num_rounds + 1):
            begun = time.monotonic()
            arrays, metrics = self._one_round(grid, round_, arrays, config, timeout)
            self._finish(time.monotonic() - begun)
            result.arrays = arrays
            result.train_metrics_clientapp[round_] = metrics
        if self.state.round:
            deliver(grid, self.roll, self.state)
        self._tell("done", self.state.round, adapter=self.state.adapter)
        return result

    def _one_round(
        self, grid: Grid, round_: int, arrays: ArrayRecord, config: ConfigRecord, timeout: float
    ) -> tuple[ArrayRecord, MetricRecord]:
        self._round = None
        attempts = self.settings.server.max_attempts
        for attempt in range(1, attempts + 1):
            messages = self.configure_train(round_, arrays, config, grid)
            replies = grid.send_and_receive(messages, timeout=timeout)
            following, metrics = self.aggregate_train(round_, replies)
            if following is not None and metrics is not None:
                return following, metrics
            current = self._current
            if not current.can_reach(self.quorum) or attempt == attempts:
                break
            message = f"{current.reasons()}; attempt {attempt} of {attempts}"
            self._tell("retry", round_, message=message)
        updates, why = len(self._current.updates), self._current.reasons()
        raise self._no_quorum(f"round {round_}", updates, why)

    @property
    def _current(self) -> Round:
        if self._round is None:
            raise RunError(expected="a round that was asked", got="none", where=str(self.folder))
        return self._round

    def _finish(self, seconds: float) -> None:
        """Put the round on disk: its line first, its checkpoint second."""
        current, following, state = self._current, self._next, self.state
        if following is None:
            raise RunError(expected="a finished round", got="none", where=str(self.folder))
        spent: Spending = {name: list(charges) for name, charges in state.spent.items()}
        for name, charge in current.charges.items():
            spent.setdefault(name, []).append(charge)
        self._state = Checkpoint(
            round=current.request.round,
            adapter=following[0],
            optimiser=following[1],
            base=state.base,
            settings_sha256=self.settings_sha256,
            spent=spent,
        )
        self._keep("round", seconds, current.entries)

    def _keep(self, kind: Any, seconds: float, platforms: dict[str, dict[str, Any]]) -> None:
        state = self.state
        for name, entry in platforms.items():
            entry["epsilon"] = spent_epsilon(self.settings, name, state.spent.get(name, []))
        line = {
            "round": state.round,
            "seconds": round(seconds, 3),
            "adapter_sha256": adapter_sha256(state.adapter),
            "request": None if kind == "setup" else self._current.request.digest,
            "platforms": platforms,
        }
        self.rounds.append(line)
        checkpoints.save(self.folder, state)
        self.record.complete(self.rounds.lines(), state)
        checkpoints.thin(self.folder, every=max(1, self.settings.training.rounds // KEPT))
        self._tell(kind, state.round, line=line, adapter=state.adapter)

    def _tell(self, kind: Any, round_: int, **fields: Any) -> None:
        tell(Event(kind=kind, round=round_, rounds=self.settings.training.rounds, **fields))

    def _why(self, name: str) -> str:
        return self.roll.problems.get(name, "not connected")

    def _missing(self) -> str:
        absent = [name for name in self.settings.platforms if name not in self.roll.nodes]
        told = [f"{name}: {self._why(name)}" for name in absent]
        strangers = [
            f"{who}: {why}" for who, why in self.roll.problems.items() if who not in absent
        ]
        return "; ".join(told + strangers)

    def _no_quorum(self, where: str, got: int, why: str) -> QuorumError:
        return QuorumError(
            expected=f"{self.quorum} platforms",
            got=f"{got} ({why})",
            where=where,
            remedy="What was learned is kept: run again with --resume once they can answer.",
        )

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Nothing: exact metrics do not leave a platform."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> None:
        """Nothing."""

    def summary(self) -> None:
        """Say what is trained with whom."""
        log.info(
            "%s over %d platforms, quorum %d",
            self.settings.server.optimiser,
            len(self.settings.platforms),
            self.quorum,
        )
