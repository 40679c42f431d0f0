"""The numbers of the report's figures, each with where it comes from.

Epsilons are shown rounded up and lower bounds rounded down: neither may look better than it is.
"""

import math
from typing import Any

import numpy as np

from simulations.attacks.roc import permitted, profile
from simulations.audits.dossier import Dossier, Link

Json = dict[str, Any]
RATES = tuple(float(rate) for rate in np.geomspace(0.001, 1.0, 61))
ATTACKS = {"lira": "LiRA", "rmia": "RMIA"}


def figures(dossier: Dossier) -> Json:
    """All numbers that are drawn, as JSON."""
    return {
        "epsilon_by_round": _by_round(dossier),
        "claimed_and_found": _claimed_and_found(dossier),
        "roc": _rocs(dossier),
    }


def _by_round(dossier: Dossier) -> Json:
    """platform -> points; none where no epsilon may be printed."""
    found: Json = {}
    for name, entry in dossier.recomputed["platforms"].items():
        if entry["by_round"] is None:
            continue
        links = dossier.links.get(name, {})
        found[name] = [
            {"round": round_, "epsilon": spent, "source": _source(links.get(round_))}
            for round_, spent in zip(entry["rounds"], entry["by_round"], strict=True)
        ]
    return found


def _claimed_and_found(dossier: Dossier) -> list[Json]:
    """What was promised, claimed and recomputed by platform, and what was shown from outside."""
    rows: list[Json] = []
    for name, entry in dossier.recomputed["platforms"].items():
        signed = _source(dossier.last(name))
        if entry["promised"] is not None:
            rows.append(_row(name, "promised", "promise", entry["promised"], signed))
        if entry["epsilon"] is not None:
            if isinstance(entry["claimed"], int | float):
                rows.append(_row(name, "claimed", "claim", entry["claimed"], _file("summary.json")))
            rows.append(_row(name, "spent (PLD)", "upper bound", entry["epsilon"], signed))
        rows += _shown(dossier, name)
    return rows


def _shown(dossier: Dossier, platform: str) -> list[Json]:
    """Lower bounds on epsilon, from canaries and attacks on a platform."""
    rows = []
    if (canary := dossier.canary) is not None and canary.platform == platform:
        source = _left(dossier, "canary")
        rows += [
            _row(platform, f"canaries, {one.name}", one.kind, one.epsilon, source)
            for one in canary.bounds
        ]
    if (attack := dossier.attack) is not None and attack.platform == platform:
        source = _left(dossier, "attack")
        rows += [
            _row(
                platform,
                f"{ATTACKS.get(name, name)}, with privacy",
                "attack",
                one.private.epsilon_low,
                source,
            )
            for name, one in attack.membership.items()
        ]
    return rows


def _row(platform: str, what: str, kind: str, epsilon: float, source: Json) -> Json:
    shown = epsilon if math.isfinite(epsilon) else "inf"
    return {
        "platform": platform,
        "what": what,
        "kind": kind,
        "epsilon": shown,
        "source": source,
    }


def _rocs(dossier: Dossier) -> list[Json]:
    """One chart an audit: curves of [false positive rate, true positive rate]."""
    found: list[Json] = []
    if (attack := dossier.attack) is not None:
        curves = [
            {
                "name": f"{ATTACKS.get(name, name)}, {said}",
                "privacy": kind == "private",
                "points": [[fpr, tpr] for fpr, tpr, _, _ in getattr(both, kind).roc],
            }
            for kind, said in (("private", "with privacy"), ("control", "without"))
            for name, both in attack.membership.items()
        ]
        found.append(
            {
                "audit": "attack",
                "platform": attack.platform,
                "curves": curves,
                "promise": [list(point) for point in attack.bound],
                "mechanism": [list(point) for point in attack.profile_bound],
                "source": _left(dossier, "attack"),
            }
        )
    if (canary := dossier.canary) is not None and len(canary.roc) > 1:
        steps = canary.rounds * canary.steps_per_round
        kept = profile(canary.sample_rate, canary.noise_multiplier, steps)
        rates = np.array([0.0, *RATES])
        found.append(
            {
                "audit": "canary",
                "platform": canary.platform,
                "curves": [
                    {
                        "name": "canaries, with privacy",
                        "privacy": True,
                        "points": [list(point) for point in canary.roc],
                    }
                ],
                "promise": _pairs(rates, permitted(rates, [(canary.epsilon, canary.delta)])),
                "mechanism": _pairs(rates, permitted(rates, kept)),
                "source": _left(dossier, "canary"),
            }
        )
    return found


def _pairs(rates: Any, heights: Any) -> list[list[float]]:
    return [[float(rate), float(height)] for rate, height in zip(rates, heights, strict=True)]


def _source(link: Link | None) -> Json:
    """A signed log entry; all empty where the log cannot be read."""
    entry = None if link is None else link.row()
    return {"entry": entry, "file": None, "sha256": None}


def _file(name: str, sha256: str | None = None, link: Link | None = None) -> Json:
    return {"entry": None if link is None else link.row(), "file": name, "sha256": sha256}


def _left(dossier: Dossier, audit: str) -> Json:
    """A result in RUN/audit, with the entry that signs the mechanism it was made at."""
    part = dossier.parts[audit]
    found = dossier.canary if audit == "canary" else dossier.attack
    link = None if found is None else dossier.last(found.platform)
    return _file(str(part.file), part.sha256, link)


def high(value: float) -> str:
    """An upper bound, rounded up, in as many digits as tell it from a promise."""
    return f"{math.ceil(value * 1e4 - 1e-6) / 1e4:.4f}"


def low(value: float) -> str:
    """A lower bound, rounded down."""
    return f"{math.floor(max(0.0, value) * 100 + 1e-9) / 100:.2f}"
