"""What an auditor is handed of a run: the files that are on record, as bytes, read once.

Nothing is judged here; a file that is missing is missing.  The private folders `platforms/` are not
looked at: the audit works on a copy of a run without them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.adapters import TENSOR_FILE, adapter_sha256, load_peft
from shared.errors import AdapterError, LedgerError
from shared.privacy.record import Head, Record, reconcile

RECORD, LEDGER = "record", "ledger"
KEYS = f"{RECORD}/keys.json"
ROUNDS, SUMMARY, FEDERATION = "rounds.jsonl", "summary.json", "federation.json"
FINISHED = "finished.json"  # a coordinator's run has this in the place of a summary
ADAPTER = f"adapter/{TENSOR_FILE}"


@dataclass(frozen=True)
class Released:
    """The released adapter: its hash, and the base that it says it sits on."""

    sha256: str
    base: Mapping[str, str]


@dataclass(frozen=True)
class Evidence:
    """The files of a run that the record speaks of.

    Args:
        files: path in the run folder -> content.
        adapter: the released adapter, why it cannot be read, or None where there is none.
    """

    files: Mapping[str, bytes]
    adapter: Released | str | None

    @classmethod
    def read(cls, run: Path) -> "Evidence":
        """Whatever is there of it."""
        found: dict[str, bytes] = {}
        for path in (
            *(run / name for name in (ROUNDS, SUMMARY, FINISHED, FEDERATION)),
            *sorted((run / RECORD).glob("*")),
            *sorted((run / LEDGER).glob("*")),
        ):
            if path.is_file():
                found[path.relative_to(run).as_posix()] = path.read_bytes()
        return cls(found, _released(run / "adapter"))

    def logs(self, folder: str) -> list[str]:
        """Names of the logs (`NAME.jsonl`, with or without its head) in `folder`."""
        names = set()
        for path in self.files:
            place, _, name = path.partition("/")
            if place == folder and name.endswith((".jsonl", ".jsonl.head")):
                names.add(name.removesuffix(".head").removesuffix(".jsonl"))
        return sorted(names)

    @property
    def finished(self) -> bool:
        """Whether the run says that it came to its end."""
        return SUMMARY in self.files or FINISHED in self.files

    def log(self, folder: str, name: str) -> tuple[bytes | None, bytes | None]:
        """Content and head of a log."""
        path = f"{folder}/{name}.jsonl"
        return self.files.get(path), self.files.get(f"{path}.head")


def _released(folder: Path) -> Released | str | None:
    if not (folder / TENSOR_FILE).is_file():
        return None
    try:
        adapter, _ = load_peft(folder, base={})
        content = (folder / TENSOR_FILE).read_bytes()
        head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        said: dict[str, Any] = json.loads(head["__metadata__"]["fedinterest"])
    except AdapterError as error:
        return str(error)
    base = {name: str(said.get(name)) for name in ("encoder", "whitening")}
    return Released(adapter_sha256(adapter), base)


@dataclass(frozen=True)
class Spending:
    """A platform's ledger, checked.

    Args:
        record: promise and charges.
        heads: hash of every line, the promise's first: `heads[n]` is the head after n charges.
        torn: the first line, from 0, that is not wholly in the file but known from its head; None
            where all are in it.
    """

    record: Record
    heads: tuple[str, ...]
    torn: int | None


def read_spending(content: bytes, head: bytes | None, path: str) -> Spending:
    """The ledger whose two files read `content` and `head`.

    Raises:
        LedgerError: it is damaged; `where` ends in the line, from 1, where that is known.
    """
    known = None if head is None else _ledger_head(head, path)
    found = reconcile(content, known, Path(path))
    raw, torn = content, None
    if found.torn and known is not None:
        raw = content[: known.size] + known.pending
        torn = known.lines + known.pending[: _alike(known.pending, content[known.size :])].count(
            b"\n"
        )
    heads = tuple(line[-66:-2].decode() for line in raw.split(b"\n")[:-1])  # `..."hash":"HEX"}`
    return Spending(found.record, heads, torn)


def _alike(one: bytes, two: bytes) -> int:
    """With how many equal bytes `one` and `two` begin."""
    pairs = enumerate(zip(one, two, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(two)))


def _ledger_head(content: bytes, path: str) -> Head:
    try:
        values = json.loads(content)
        pending = "".join(line + "\n" for line in values["pending"])
        return Head(
            int(values["lines"]), int(values["size"]), str(values["last"]), pending.encode()
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(
            expected="a ledger's head", got="something else", where=f"{path}.head"
        ) from error
