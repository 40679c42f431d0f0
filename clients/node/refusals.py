"""What was asked of this platform and refused: `state/refusals.jsonl`, one JSON object a line.

It holds what the coordinator asked and which of the partner's settings stood against it; nothing
about users, and nothing of it is sent.
"""

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.errors import FedInterestError
from shared.files import storage_error
from shared.protocol import Refusal

_PARTS = re.compile(r"expected (?P<expected>.*?), got (?P<asked>.*) \((?P<where>[^()]*)\)", re.S)
_KEPT_BYTES = 4 * 1024**2
_LONGEST = 500


class Refusals:
    """The file.

    Args:
        path: made at the first refusal; beyond 4 MiB it is set aside as `.1`.
        now: the time.
    """

    def __init__(self, path: Path, now: Callable[[], datetime] | None = None) -> None:
        self.path = path
        self._now = now or (lambda: datetime.now(UTC))

    def note(self, error: FedInterestError, *, message: str, run: int | None = None) -> None:
        """Record what the node itself refused.

        Args:
            message: type of what was asked ("train").
            run: Flower's number of the run.

        Raises:
            StorageError: the disk refused.
        """
        self._add(
            type(error).__name__, error.where, error.expected, error.got, message=message, run=run
        )

    def note_answer(self, refusal: Refusal, *, message: str, run: int | None = None) -> None:
        """Record what the platform's app refused.

        Raises:
            StorageError: the disk refused.
        """
        found = _PARTS.match(refusal.message)
        where, expected, asked = (
            (found["where"], found["expected"], found["asked"])
            if found
            else ("", "", refusal.message)
        )
        self._add(refusal.kind, where, expected, asked, message=message, run=run)

    def lines(self) -> list[dict[str, Any]]:
        """All that is in the file, oldest first; a torn last line is passed over."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except OSError:
            return []
        found = []
        for line in text.splitlines():
            try:
                found.append(dict(json.loads(line)))
            except (ValueError, TypeError):
                continue
        return found

    def _add(self, kind: str, where: str, expected: str, asked: str, **more: object) -> None:
        entry = {
            "time": self._now().isoformat(timespec="seconds"),
            "kind": kind,
            "setting": where.removeprefix("policy, "),
            "expected": expected[:_LONGEST],
            "asked": asked[:_LONGEST],
            **more,
        }
        line = json.dumps(entry, ensure_ascii=True).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_file() and self.path.stat().st_size > _KEPT_BYTES:
                os.replace(self.path, self.path.with_suffix(".jsonl.1"))
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(handle, line)
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise storage_error(error, self.path) from error
