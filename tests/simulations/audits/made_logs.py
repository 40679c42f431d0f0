"""Logs and ledgers made in memory: the same bytes as on disk, and any heads that one likes."""

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from shared.privacy.record import ADJACENCY, ROOT, UNIT, sealed
from shared.transparency.envelope import STATEMENT, Envelope
from shared.transparency.inspection import TreeHead, head_bytes
from shared.transparency.keys import SigningKey
from shared.transparency.merkle import Tree, leaf_hash
from shared.transparency.statement import Statement

RATE, NOISE, STEPS = 0.5, 0.75, 2


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


class Log:
    """A log in memory, appended to as `Journal` does."""

    def __init__(self, name: str, key: SigningKey, *, keep_heads: bool) -> None:
        self.name, self.key, self.tree, self.lines = name, key, Tree(), []
        self.heads: list[bytes] = []
        self.keep = keep_heads

    def add(self, make: Callable[[int, str], Statement]) -> str:
        statement = make(len(self.tree), self.tree.root().hex())
        line = Envelope.signed(STATEMENT, statement.to_payload(), self.key).to_bytes()
        self.lines.append(line)
        self.tree.append(leaf_hash(line))
        if self.keep:
            self.heads.append(self.head())
        return leaf_hash(line).hex()

    def head(self) -> bytes:
        head = TreeHead(self.name, len(self.tree), self.tree.root().hex())
        return head_bytes(head, self.lines[-1], self.key)

    def files(self) -> dict[str, bytes]:
        path = f"record/{self.name}.jsonl"
        return {path: b"".join(line + b"\n" for line in self.lines), f"{path}.head": self.head()}


def ledger_files(name: str, bodies: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    """A ledger whose last append was the last round's steps."""
    lines, last, heads = [], ROOT, [ROOT]
    for seq, body in enumerate(bodies):
        line, last = sealed({"seq": seq, "prev": last, **body})
        lines.append(line)
        heads.append(last)
    settled = len(lines) - STEPS
    head = {
        "version": 1,
        "lines": settled,
        "size": sum(len(line) + 1 for line in lines[:settled]),
        "last": heads[settled],
        "pending": [line.decode() for line in lines[settled:]],
    }
    path = f"ledger/{name}.jsonl"
    content = b"".join(line + b"\n" for line in lines)
    return {path: content, f"{path}.head": json.dumps(head).encode()}


def ledger_bodies(name: str, rounds: int) -> list[dict[str, Any]]:
    promise = {
        "version": 1,
        "platform": name,
        "epsilon": 8.0,
        "delta": 1e-5,
        "unit": UNIT,
        "adjacency": ADJACENCY,
    }
    charges = [
        {
            "round": round_,
            "step": step,
            "request": digest(f"{name} {round_}"),
            "sample_rate": RATE,
            "noise_multiplier": NOISE,
        }
        for round_ in range(1, rounds + 1)
        for step in range(STEPS)
    ]
    return [promise, *charges]
