"""What a canary audit found: its result, the verdict on it, and how it is told.

`ok` is False if more was learned than promised: a bound exceeds the promise.  A tight bound at 95 %
does so by chance in one honest run of forty, so the verdict is taken on bounds at `VERDICT`.
"""

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from shared.privacy.auditing import gaussian
from shared.privacy.auditing.bounds import Bound, all_bounds
from shared.privacy.auditing.game import Played, Rules
from shared.privacy.auditing.guessing import correct, guesses

CONFIDENCE = 0.95
"""Of the bounds that are told."""
VERDICT = 0.9999
"""Of the bounds that the verdict is taken on: four of them, so one false alarm in 2,500 at most."""


def result_of(rules: Rules, played: Played, size: float, promised: float) -> dict[str, Any]:
    """The audit's result, without what the caller knows better."""
    bounds = all_bounds(rules, played, CONFIDENCE)
    exceeding = [one for one in all_bounds(rules, played, VERDICT) if one.epsilon > promised]
    measured = _measured(rules, played, size)
    each = guesses(rules.canaries)
    return {
        "ok": not exceeding,
        "epsilon": promised,
        "delta": rules.delta,
        "confidence": CONFIDENCE,
        "verdict_confidence": VERDICT,
        "canaries": rules.canaries,
        "inserted": int(played.members.sum()),
        "rounds": rules.rounds,
        "steps_per_round": rules.steps,
        "sample_rate": rules.rate,
        "noise_multiplier": rules.noise_multiplier,
        "bounds": [_told(one, promised) for one in bounds],
        "findings": [_finding(one, promised, measured) for one in exceeding],
        "measured": measured,
        "guesses": {
            "in": each,
            "out": each,
            "correct": correct(played.scores, played.members, each),
        },
        "scores": _histogram(played),
        "roc": _roc(played),
        "coverage": None,
    }


def _told(bound: Bound, promised: float) -> dict[str, Any]:
    return {
        "name": bound.name,
        "kind": bound.kind,
        "epsilon": bound.epsilon,
        "confidence": bound.confidence,
        "share": bound.epsilon / promised,
        "assumes": list(bound.assumes),
    }


def _measured(rules: Rules, played: Played, size: float) -> dict[str, float]:
    """Signal, noise and participation, each over what was promised."""
    known = gaussian.by_participation(played.seen, played.taken, played.matched)
    expected = rules.rounds * rules.steps * rules.rate
    unknown = gaussian.by_membership(played.seen, played.members, expected)
    return {
        "canary_norm_over_clip_norm": size / rules.shift,
        "signal": known.signal / rules.shift,
        "noise": known.noise,
        "signal_per_member": unknown.signal / rules.shift,
        "signal_to_noise_error": known.error / rules.shift,
    }


def _finding(bound: Bound, promised: float, measured: dict[str, float]) -> dict[str, Any]:
    """More was learned than promised, and what of the mechanism looks to blame."""
    causes = []
    if measured["noise"] < 0.95:
        causes.append(f"the noise is {measured['noise']:.2f} of what was promised")
    if measured["signal"] > 1.1:
        causes.append(f"a user counts for {measured['signal']:.2f} times clip_norm in a step")
    if measured["signal_per_member"] > 1.15 * max(measured["signal"], 1e-9):
        causes.append("users take part more often than the sampling rate says")
    return {
        "cause": "more was learned than promised",
        "bound": bound.name,
        "kind": bound.kind,
        "epsilon": bound.epsilon,
        "promised": promised,
        "confidence": bound.confidence,
        "looks_like": causes,
    }


def _histogram(played: Played) -> dict[str, list[float]]:
    """Scores of canaries in and out, in 40 bins."""
    edges = np.histogram_bin_edges(played.scores, bins=40)
    counted = {
        name: np.histogram(played.scores[who], bins=edges)[0].tolist()
        for name, who in (("in", played.members), ("out", ~played.members))
    }
    return {"edges": edges.tolist(), **counted}


def _roc(played: Played) -> list[list[float]]:
    """[false, true] positive rates as the threshold falls, at most 201 points."""
    order = np.argsort(-played.scores, kind="stable")
    hits = np.concatenate([[0], np.cumsum(played.members[order])]) / played.members.sum()
    misses = np.concatenate([[0], np.cumsum(~played.members[order])]) / (~played.members).sum()
    kept = np.unique(np.linspace(0, len(hits) - 1, 201).round().astype(int))
    return [[float(misses[point]), float(hits[point])] for point in kept]


def render(result: dict[str, Any], console: Console) -> None:
    """The verdict, the bounds, what was measured, and how often the bounds are wrong on paper."""
    console.print(
        f"{result['platform']}: {result['canaries']} canaries, {result['inserted']} of them in, "
        f"{result['rounds']} rounds; promised epsilon {result['epsilon']:g} "
        f"at delta {result['delta']:.3g}",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("bound", "kind"):
        table.add_column(heading)
    for heading in ("epsilon >=", "of promise", "too high on paper"):
        table.add_column(heading, justify="right")
    covered = (result["coverage"] or {}).get("bounds", {})
    for bound in result["bounds"]:
        paper = covered.get(bound["name"])
        table.add_row(
            bound["name"],
            bound["kind"],
            f"{bound['epsilon']:.2f}",
            f"{bound['share']:.2f}",
            f"{paper['share']:.1%}" if paper else "-",
        )
    console.print(table, highlight=False)
    measured, guessed = result["measured"], result["guesses"]
    console.print(
        f"signal {measured['signal']:.3f} and noise {measured['noise']:.3f} of what was promised; "
        f"{guessed['correct']} of {guessed['in'] + guessed['out']} guesses right; "
        f"bounds at {result['confidence']:.0%}",
        highlight=False,
    )
    if result["ok"]:
        console.print("ok: no more was learned than promised", highlight=False)
    for finding in result["findings"]:
        why = "; ".join(finding["looks_like"])
        console.print(
            f"FOUND: {finding['cause']}: {finding['bound']} ({finding['kind']}) says epsilon >= "
            f"{finding['epsilon']:.2f} at {finding['confidence']:.2%}"
            + (f"; {why}" if why else ""),
            highlight=False,
        )
