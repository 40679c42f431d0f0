"""What the coordinator puts on record: one signed statement a round, in its own log.

A statement is made from what is on disk already: the round's line in rounds.jsonl, the line before
it, and the checkpoint.  Rules:
1. The statement comes after the checkpoint of its round.  One that a crash has lost is made when
   the run goes on, and is what it would have been.
2. The log is never cut back.  Where the newest checkpoint was lost and its round is done again, the
   second statement of that round follows the first, and says by its numbers that it does.
3. A log that lacks more than the newest round is damage, and nothing is added to it.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from server.rounds.checkpoint import Checkpoint
from shared.config.federation import PublicSettings
from shared.errors import RunError
from shared.files import sha256
from shared.transparency.canonical import canonical
from shared.transparency.code import COORDINATOR_CODE, code_sha256
from shared.transparency.journal import Journal
from shared.transparency.keys import SigningKey, write_keys
from shared.transparency.statement import COORDINATOR, Answer, CoordinatorRound
from shared.whitening import Whitening

Line = Mapping[str, Any]


def line_sha256(line: Line) -> str:
    """Hex SHA-256 of a line of rounds.jsonl as first written: without what was noted later."""
    return sha256(canonical({name: value for name, value in line.items() if name != "validation"}))


def known_keys(lines: Sequence[Line]) -> dict[str, str]:
    """platform -> the first key that it showed in this run."""
    keys: dict[str, str] = {}
    for line in lines:
        for name, entry in line["platforms"].items():
            if entry.get("key") is not None:
                keys.setdefault(name, entry["key"])
    return keys


class Record:
    """The coordinator's log in the run folder `folder`.

    Its signing key lies beside `record/`, which is what is handed to an auditor, and not in it.
    """

    def __init__(self, folder: Path, settings: PublicSettings, settings_sha256: str) -> None:
        self.settings, self.settings_sha256 = settings, settings_sha256
        self.path = folder / "record" / f"{COORDINATOR}.jsonl"
        self._key_path = folder / "coordinator.key"

    @cached_property
    def key(self) -> SigningKey:
        """What the statements are signed with; made at the first use."""
        return SigningKey.kept(self._key_path)

    def complete(self, lines: Sequence[Line], state: Checkpoint) -> None:
        """State the round that `state` has finished, unless it is stated already.

        Args:
            lines: of rounds.jsonl, from round 0 to that of `state`.

        Raises:
            RunError: the log is damaged, or lacks earlier rounds.
            StorageError: the disk refused; the run can be resumed.
        """
        write_keys(
            self.path.with_name("keys.json"),
            {**known_keys(lines), COORDINATOR: self.key.public.hex},
        )
        line = lines[state.round]
        with Journal(self.path, name=COORDINATOR, key=self.key) as journal:
            stated = [one.statement for one in journal.entries]
            rounds = [one for one in stated if isinstance(one, CoordinatorRound)]
            for known in reversed(rounds):
                if known.round == state.round:
                    if known.line == line_sha256(line):
                        return
                    break
            if (rounds[-1].round if rounds else -1) < state.round - 1:
                raise RunError(
                    expected=f"a record of the rounds before round {state.round}",
                    got=f"{len(rounds)} statements",
                    where=str(self.path),
                    remedy="Restore the record folder; a run begun without one cannot go on.",
                )

            def placed(index: int, root: str) -> CoordinatorRound:
                return self._statement(lines, state, index, root)

            journal.append(placed)

    def _statement(
        self, lines: Sequence[Line], state: Checkpoint, index: int, root: str
    ) -> CoordinatorRound:
        line, privacy = lines[state.round], self.settings.privacy
        return CoordinatorRound(
            index=index,
            root=root,
            round=state.round,
            request=line["request"],
            settings=self.settings_sha256,
            base=Whitening.from_arrays(state.base).sha256,
            adapter_in=lines[state.round - 1]["adapter_sha256"] if state.round else None,
            adapter_out=line["adapter_sha256"],
            code=code_sha256(*COORDINATOR_CODE),
            line=line_sha256(line),
            steps=privacy.steps_per_round,
            sample_rate=privacy.sample_rate,
            clip_norm=privacy.clip_norm,
            private=privacy.private,
            platforms={
                name: Answer(
                    outcome=entry["outcome"],
                    weight=self.settings.platforms[name].public_weight,
                    key=entry["key"],
                    envelope=entry["envelope"],
                )
                for name, entry in line["platforms"].items()
            },
        )
