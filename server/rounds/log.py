"""What the coordinator tells: events to whoever listens, and one JSON line a round on disk.

`rounds.jsonl` is replaced as a whole, atomically, at every change: it is small, and so it never
holds half a line.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from server.rounds.aggregation import Adapter
from shared.errors import RunError
from shared.files import write_text

Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Event:
    """Something that happened in a run.

    Args:
        kind: "setup" (round 0 is on disk), "round" (a round is on disk), "retry" (a round has no
            quorum and asks again), "resume", "done"; "asked" and "answered" name one platform.
        round, rounds: where the run is, and where it ends.
        platform: for "asked" and "answered".
        message: for people.
        line: the round's line in rounds.jsonl ("setup", "round").
        adapter: the adapter after the round ("setup", "round", "resume", "done").
    """

    kind: Literal["setup", "resume", "asked", "answered", "retry", "round", "done"]
    round: int
    rounds: int
    platform: str = ""
    message: str = ""
    line: Line = field(default_factory=dict)
    adapter: Adapter = field(default_factory=dict)


Listener = Callable[[Event], None]

_LISTENER: ContextVar[Listener | None] = ContextVar("fedinterest_listener", default=None)


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Let `listener` hear the events of a ServerApp that runs in this context.

    Flower calls a ServerApp with a grid and a context of plain values; this is the way past it for
    an engine that runs the app in its own process.
    """
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def tell(event: Event) -> None:
    """Hand `event` to whoever listens."""
    if (listener := _LISTENER.get()) is not None:
        listener(event)


class RoundLog:
    """The lines of `rounds.jsonl`, round 0 first, one for every round."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[Line]:
        """All lines.

        Raises:
            RunError: the file holds something else.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        try:
            lines = [json.loads(line) for line in text.splitlines()]
            if [line["round"] for line in lines] != list(range(len(lines))):
                raise ValueError("rounds out of order")
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                expected="one JSON object a line, rounds in order",
                got=str(error),
                where=str(self.path),
            ) from error
        return lines

    def append(self, line: Line) -> None:
        """Add the line of the next round."""
        self._write([*self.lines(), line])

    def truncate(self, last_round: int) -> None:
        """Drop the lines of rounds after `last_round`."""
        lines = self.lines()
        if len(lines) > last_round + 1:
            self._write(lines[: last_round + 1])

    def annotate(self, round_: int, **fields: Any) -> None:
        """Add `fields` to the line of a round."""
        lines = self.lines()
        if not 0 <= round_ < len(lines):
            raise RunError(
                expected=f"a line of round {round_}",
                got=f"{len(lines)} lines",
                where=str(self.path),
            )
        lines[round_] = {**lines[round_], **fields}
        self._write(lines)

    def _write(self, lines: list[Line]) -> None:
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        write_text(self.path, text)
