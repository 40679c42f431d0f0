"""A record made in memory, with the real statements, envelopes and trees."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from server.app import settings_sha256
from server.rounds.record import line_sha256
from server.rounds.round import new_entry
from shared.config.federation import FederationSettings
from shared.transparency.envelope import Envelope
from shared.transparency.keys import SigningKey, keys_text
from shared.transparency.statement import (
    COORDINATOR,
    Answer,
    Charge,
    CoordinatorRound,
    PlatformRound,
    Statement,
    parse_statement,
)
from simulations.audits.evidence import FEDERATION, KEYS, ROUNDS, SUMMARY, Evidence, Released
from tests.simulations.audits.made_logs import (
    NOISE,
    RATE,
    STEPS,
    Log,
    digest,
    ledger_bodies,
    ledger_files,
)

CLIP = 2.0
SOURCE = {"path": "gone.csv"}


@dataclass
class Made:
    """A run's evidence, what made it, and every head its logs ever had."""

    evidence: Evidence
    keys: dict[str, SigningKey]
    heads: dict[str, list[bytes]]

    @property
    def files(self) -> dict[str, bytes]:
        return dict(self.evidence.files)

    def changed(self, **files: bytes | None) -> Evidence:
        """With other files; None takes one away."""
        found = self.files
        for path, content in files.items():
            if content is None:
                del found[path]
            else:
                found[path] = content
        return replace(self.evidence, files=found)

    def statements(self, name: str) -> list[Statement]:
        lines = self.files[f"record/{name}.jsonl"].splitlines()
        return [parse_statement(Envelope.from_bytes(line, "").payload) for line in lines]

    def log_files(
        self, name: str, statements: Iterable[Statement], key: SigningKey | None = None
    ) -> dict[str, bytes]:
        """The log `name` made anew of `statements`, by its own key or another."""
        log = Log(name, key or self.keys[name], keep_heads=False)
        for one in statements:
            log.add(lambda index, root, one=one: replace(one, index=index, root=root))
        return log.files()

    def write(self, folder: Path) -> None:
        for path, content in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


@dataclass
class Maker:
    """What the statements of one made record have in common."""

    seed: int
    settings: str
    adapters: Sequence[str]

    def request(self, round_: int) -> str | None:
        return digest(f"request {self.seed} {round_}") if round_ else None

    def platform_round(
        self, name: str, round_: int, head: str, index: int, root: str
    ) -> PlatformRound:
        return PlatformRound(
            platform=name,
            index=index,
            root=root,
            round=round_,
            request=digest(f"request {self.seed} {round_}"),
            adapter_in=self.adapters[round_ - 1],
            update=digest(f"update {name} {round_}"),
            base=digest("base"),
            encoder=digest("encoder"),
            code=digest("code"),
            policy=digest("policy"),
            steps=STEPS,
            sample_rate=RATE,
            noise_multiplier=NOISE,
            clip_norm=CLIP,
            epsilon=8.0,
            delta=1e-5,
            unsafe_seed=False,
            charge=Charge(first=(round_ - 1) * STEPS, entries=round_ * STEPS, head=head),
        )

    def coordinator_round(self, line: dict[str, Any], index: int, root: str) -> CoordinatorRound:
        number = line["round"]
        return CoordinatorRound(
            index=index,
            root=root,
            round=number,
            request=line["request"],
            settings=self.settings,
            base=digest("base"),
            adapter_in=self.adapters[number - 1] if number else None,
            adapter_out=self.adapters[number],
            code=digest("code"),
            line=line_sha256(line),
            steps=STEPS,
            sample_rate=RATE,
            clip_norm=CLIP,
            private=True,
            platforms={
                name: Answer(
                    outcome=entry["outcome"],
                    weight=1.0,
                    key=entry["key"],
                    envelope=entry["envelope"],
                )
                for name, entry in line["platforms"].items()
            },
        )


def settings_of(rounds: int, names: Sequence[str]) -> dict[str, Any]:
    return {
        "platforms": {
            name: {"population": 100, "events": SOURCE, "items": SOURCE} for name in names
        },
        "training": {"rounds": rounds},
        "privacy": {"sample_rate": RATE, "clip_norm": CLIP, "steps_per_round": STEPS},
    }


def summary_of(settings: dict[str, Any], adapter: str) -> dict[str, Any]:
    rounds = settings["training"]["rounds"]
    facts = {
        "steps": rounds * STEPS,
        "sample_rate": RATE,
        "noise_multiplier": NOISE,
        "clip_norm": CLIP,
        "delta": 1e-5,
    }
    return {
        "rounds": rounds,
        "adapter_sha256": adapter,
        "private": True,
        "settings": settings,
        "platforms": dict.fromkeys(settings["platforms"], facts),
    }


def made_record(
    rounds: int = 4, names: Sequence[str] = ("shop", "films"), seed: int = 0, heads: bool = True
) -> Made:
    """A whole run; `heads`: keep every head that its logs had."""
    settings = settings_of(rounds, names)
    adapters = [digest(f"adapter {seed} {round_}") for round_ in range(rounds + 1)]
    loaded = FederationSettings.load(settings, where="test")
    maker = Maker(seed, settings_sha256(loaded), adapters)
    keys = {name: SigningKey.unsafe(seed, name) for name in (*names, COORDINATOR)}
    logs = {name: Log(name, key, keep_heads=heads) for name, key in keys.items()}
    files = {FEDERATION: json.dumps(settings).encode()}
    files[KEYS] = keys_text({name: key.public.hex for name, key in keys.items()}).encode()
    ledger_heads = {}
    for name in names:
        files |= ledger_files(name, ledger_bodies(name, rounds))
        found = files[f"ledger/{name}.jsonl"].splitlines()
        ledger_heads[name] = [line[-66:-2].decode() for line in found]
    lines = []
    for round_ in range(rounds + 1):
        entries = {}
        for name in names:
            entry = new_entry(answered=True, reason=None)
            entry |= {"key": keys[name].public.hex, "epsilon": 1.5}
            if round_:
                head = ledger_heads[name][round_ * STEPS]
                stated = partial(maker.platform_round, name, round_, head)
                entry |= {"steps": STEPS, "envelope": logs[name].add(stated)}
            entries[name] = entry
        line = {
            "round": round_,
            "seconds": 0.25,
            "adapter_sha256": adapters[round_],
            "request": maker.request(round_),
            "platforms": entries,
        }
        lines.append(line)
        logs[COORDINATOR].add(partial(maker.coordinator_round, line))
    for log in logs.values():
        files |= log.files()
    files[ROUNDS] = "".join(json.dumps({**line, "validation": 1}) + "\n" for line in lines).encode()
    files[SUMMARY] = json.dumps(summary_of(settings, adapters[-1])).encode()
    released = Released(adapters[-1], {"encoder": digest("encoder"), "whitening": digest("base")})
    kept = {name: log.heads for name, log in logs.items()}
    return Made(Evidence(files, released), keys, kept)
