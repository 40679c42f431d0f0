"""What the run's own results claim was spent, held against what its ledgers cost.

Claims are read from `summary.json`, `rounds.jsonl` and the model card; `report.html` is drawn from
the first two.  A claim below the recomputed number is a finding; one above it is not (it promises
less than was kept).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.privacy.accountant import Charge
from simulations.audits.kind import deployed
from simulations.audits.spending import Spending, read_json

_ROUNDING = 1e-6
"""A claim made with other versions of numpy and scipy may differ by less than this share."""

_MIXED_GRID = 1e-4
"""Where constants differ from step to step, `course` and `epsilon` use different grids."""

_CARD_ROW = re.compile(r"^\| (?P<name>[^|*]+?) \|.*\| epsilon (?P<epsilon>[\d.]+), delta ", re.M)
_CARD_UNIT = 0.005


@dataclass(frozen=True)
class Claims:
    """What a run claims of each platform, and of a person on all of them.

    Args:
        platforms: name -> its entry of summary.json.
        composed: that of summary.json.
        rounds: (name, round) -> (steps answered so far, epsilon) of rounds.jsonl.
        card: name -> epsilon as printed in the model card, to two digits.
        deployed: a coordinator's run, which has no summary.
    """

    platforms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    composed: Mapping[str, Any] = field(default_factory=dict)
    rounds: Mapping[tuple[str, int], tuple[int, float]] = field(default_factory=dict)
    card: Mapping[str, float] = field(default_factory=dict)
    deployed: bool = False

    @classmethod
    def read(cls, run: Path) -> "Claims":
        """What can be read; a file that is missing or spoilt claims nothing."""
        summary = _table(read_json(run / "summary.json"))
        try:
            card = (run / "adapter" / "README.md").read_text(encoding="utf-8")
        except (OSError, ValueError):
            card = ""
        return cls(
            platforms={
                name: _table(entry) for name, entry in _table(summary.get("platforms")).items()
            },
            composed=_table(summary.get("composed")),
            rounds=_rounds(run / "rounds.jsonl"),
            card={row["name"]: float(row["epsilon"]) for row in _CARD_ROW.finditer(card)},
            deployed=deployed(run),
        )

    def epsilon(self, platform: str) -> float | str | None:
        """The epsilon that summary.json gives for a platform: a number, "inf", or None."""
        value = self.platforms.get(platform, {}).get("epsilon")
        return value if _number(value) is not None or value == "inf" else None


def against_platform(claims: Claims, spending: Spending, spent: float) -> list[str]:
    """In words, where a platform's claims are below what its ledger costs.

    Args:
        spent: recomputed epsilon, all charges.
    """
    name, ledger, said = spending.platform, spending.ledger, []
    if ledger is None:
        return []
    entry = claims.platforms.get(name)
    if claims.deployed:
        pass  # its rounds are its claims
    elif entry is None:
        said.append("summary.json says nothing of it")
    else:
        claimed = _number(claims.epsilon(name))
        if claimed is None and claims.epsilon(name) != "inf":
            said.append("summary.json gives no epsilon")
        elif claimed is not None and below(claimed, spent):
            said.append("summary.json claims a smaller epsilon than its ledger costs")
        if entry.get("delta") != ledger.delta:
            said.append("summary.json gives another delta than the ledger promises")
        said += _constants(entry, spending)
    if name in claims.card and claims.card[name] + _CARD_UNIT < spent * (1 - _ROUNDING):
        said.append("the model card claims a smaller epsilon than its ledger costs")
    if below(ledger.epsilon, spent):
        said.append("more was spent than its ledger promises")
    return said


def against_rounds(
    claims: Claims, spending: Spending, stages: list[tuple[int, list[Charge]]], course: list[float]
) -> list[str]:
    """In words, which rounds of rounds.jsonl claim less than the ledger costs up to there.

    A round is compared where the answered steps are all that was charged by then; a charge that no
    answer came for (a crash) is known to the ledger alone.

    Args:
        stages, course: charges and recomputed epsilon after them, in the order of the ledger.
    """
    said, steps = [], 0
    mixed = len(spending.charges) > 1
    for (round_, charges), spent in zip(stages, course, strict=True):
        steps += sum(charge.steps for charge in charges)
        answered, claimed = claims.rounds.get((spending.platform, round_), (None, 0.0))
        if answered == steps and below(claimed, spent * (1 - _MIXED_GRID * mixed)):
            said.append(f"rounds.jsonl claims a smaller epsilon after round {round_}")
    return said


def below(claimed: float, spent: float) -> bool:
    """Whether a claim is smaller than what was spent, rounding aside."""
    return claimed < spent * (1 - _ROUNDING)


def _constants(entry: Mapping[str, Any], spending: Spending) -> list[str]:
    """Constants in the summary that are not those of the ledger, or not those that were signed."""
    rates = {charge.sample_rate for charge in spending.charges}
    noises = {charge.noise_multiplier for charge in spending.charges}
    norms = {statement.clip_norm for statement in spending.statements}
    pairs = (("sample_rate", rates), ("noise_multiplier", noises), ("clip_norm", norms))
    return [
        f"summary.json gives another {name} than was charged"
        for name, charged in pairs
        if charged and charged != {entry.get(name)}
    ]


def _rounds(path: Path) -> dict[tuple[str, int], tuple[int, float]]:
    from server.rounds.log import RoundLog
    from shared.errors import FedInterestError

    found: dict[tuple[str, int], tuple[int, float]] = {}
    steps: dict[str, int] = {}
    try:
        for line in RoundLog(path).lines():
            for name, entry in line["platforms"].items():
                steps[name] = steps.get(name, 0) + int(entry["steps"])
                claimed = _number(entry.get("epsilon"))
                if claimed is not None:
                    found[name, line["round"]] = (steps[name], claimed)
    except (FedInterestError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return found
    return found


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) else None


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
