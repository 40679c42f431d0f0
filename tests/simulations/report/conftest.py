"""Run folders as `simulate` writes them, made up but plausible, and odd ones."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MakeRun = Callable[..., Path]

_DEMO = {  # kind, users, items, events, frozen, knn, frozen+knn, popularity, gain
    "homewares": ("shop", 4210, 1893, 61250, 0.0441, 0.0481, 0.0622, 0.0098, 0.16),
    "filmclub": ("film", 1822, 950, 40115, 0.0531, 0.0378, 0.0654, 0.0142, 0.11),
    "tonearm": ("music", 2960, 1410, 88920, 0.0297, 0.0514, 0.0578, 0.0061, 0.21),
    "dailyplanet": ("news", 640, 1104, 7031, 0.0243, 0.0188, 0.0319, 0.0119, 0.34),
}
_DROPS = [
    {"repeat": 5120, "duplicate": 801, "unknown_item": 344, "missing_user": 96, "bot": 1200},
    {"repeat": 2210, "bad_time": 17, "future_time": 4},
    {"repeat": 30112, "missing_user": 5120, "opt_out": 211, "return": 3},
    {},
]


def _score(ndcg: float) -> dict[str, float]:
    return {"ndcg@10": round(ndcg, 6), "hit@10": round(ndcg * 1.72, 6)}


def _platforms(names: list[str] | None) -> dict[str, tuple[Any, ...]]:
    if names is None:
        return dict(_DEMO)
    kinds = list(_DEMO.values())
    return {name: kinds[index % len(kinds)] for index, name in enumerate(names)}


def _systems(facts: tuple[Any, ...], progress: float = 1.0) -> dict[str, Any]:
    frozen, knn, both, popularity, gain = facts[4:]
    trained = frozen * (1 + gain * progress)
    return {
        "popularity": _score(popularity),
        "frozen": _score(frozen),
        "knn": _score(knn),
        "frozen+knn": _score(both),
        "federated": _score(trained),
        "federated+knn": _score(both + 0.45 * (trained - frozen)),
    }


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Build a run folder; keywords bend it out of shape."""

    def build(
        *,
        folder: str = "run",
        names: list[str] | None = None,
        rounds: int = 10,
        epsilon: float | str = 8.0,
        validation: bool = True,
        rejected: dict[tuple[int, str], str] | None = None,
        sign: int = 1,
        **changes: Any,
    ) -> Path:
        private = epsilon != "inf"
        every = _platforms(names)
        if sign < 0:
            every = {name: (*facts[:8], -facts[8]) for name, facts in every.items()}
        lines = []
        for index in range(rounds + 1):
            progress = 1.06 * (1 - math.exp(-3.2 * index / max(rounds, 1)))
            line: dict[str, Any] = {
                "round": index,
                "seconds": 0.0 if index == 0 else 7.5 + index % 3,
                "adapter_sha256": f"{index:064x}",
                "platforms": {},
                "validation": {},
            }
            for place, (name, facts) in enumerate(every.items()):
                reason = (rejected or {}).get((index, name))
                spent = 7.9312 * math.sqrt(index / rounds) if private else "inf"
                # Round 0 is the set-up: its uplink are the catalogue's statistics.
                line["platforms"][name] = {
                    "answered": reason is None,
                    "reason": reason,
                    "update_norm": 1.3 + place / 7 if index else None,
                    "uplink_bytes": 110_592 if index else 1_183_752,
                    "downlink_bytes": 702_464 if index else 0,
                    "steps": 10 if index else 0,
                    "epsilon": spent,
                }
                if validation:
                    wave = 0.012 * math.sin(2.3 * index + place) * bool(index)
                    scores = _systems(facts, progress + wave)
                    line["validation"][name] = {
                        key: scores[key] for key in ("federated", "federated+knn")
                    }
            lines.append(json.dumps(line))
        systems = {name: _systems(facts) for name, facts in every.items()}
        summary: dict[str, Any] = {
            "recipe": "demo",
            "seed": 7,
            "unsafe_seed": False,
            "engine": "inprocess",
            "version": "0.1.0",
            "rounds": rounds,
            "seconds": 96.4,
            "peak_rss_mib": 1420.5,
            "adapter_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "uplink_bytes_per_platform_per_round": 110_592,
            "setup_bytes_per_platform": 1_183_752,
            "private": private,
            "platforms": {
                name: {
                    "kind": facts[0],
                    "users": facts[1],
                    "items": facts[2],
                    "events": facts[3],
                    "dropped": _DROPS[index % len(_DROPS)],
                    "epsilon": 7.9312 if private else "inf",
                    "delta": facts[1] ** -1.1,
                    "noise_multiplier": 0.871 if private else 0.0,
                    "clip_norm": 1.0,
                    "sample_rate": 0.05,
                    "steps": 10 * rounds,
                    "systems": systems[name],
                }
                for index, (name, facts) in enumerate(every.items())
            },
            "mean": {
                system: {
                    metric: sum(scores[system][metric] for scores in systems.values()) / len(every)
                    for metric in ("ndcg@10", "hit@10")
                }
                for system in next(iter(systems.values()))
            },
            "composed": {"platforms": list(every), "epsilon": 21.377, "delta": 1.1e-3}
            if private and len(every) > 1
            else None,
            "validation": systems if validation else {},
            "settings": {
                "name": "demo",
                "privacy": {"epsilon": epsilon, "clip_norm": 1.0, "sample_rate": 0.05},
                "platforms": {
                    name: {"kind": facts[0], "population": None} for name, facts in every.items()
                },
            },
        }
        summary.update(changes)
        path = tmp_path / folder
        path.mkdir(parents=True)
        (path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        (path / "rounds.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return build
