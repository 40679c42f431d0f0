"""`audit attack`: what could be learned from a released adapter, and from a single update.

Each attack is run twice, on the real code: with the privacy that is promised, and without any.
The second is the positive control: if it fails, the attack is too weak to say anything, and the
audit fails with it.

- Membership (`simulations.attacks.lira`, `rmia`): who was trained on?  The attacker sees the last
  adapter of a platform that trains alone.  TPR must stay within what the promise permits, and
  within what the mechanism's whole privacy profile permits, at every FPR.
- Inversion (`simulations.attacks.inversion`): which items are in an update?  The attacker sees
  one update of a small batch; the same batch with clipping and noise must tell nothing.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from shared.progress import Progress
from shared.training import LocalPlan
from simulations.attacks import inversion, lira, rmia
from simulations.attacks.game import Game, play
from simulations.attacks.inversion import Outcome
from simulations.attacks.roc import CONFIDENCE, SHOWN, Roc, permitted, profile, roc
from simulations.attacks.verdict import batch_name, judge_inversion, judge_membership
from simulations.attacks.victim import Victim, open_victim, unprotected

ATTACKS = {"lira": lira.scores, "rmia": rmia.scores}
BATCHES = 24
SIZES = (1, 4, 16, 32)
"""Users of a batch that is inverted."""
THREAT = {
    "membership": "The attacker sees the last adapter of a platform that trains alone, knows all "
    "settings, the catalogue and every candidate's whole history, and trains reference models "
    "with the same code. It does not know who was in, nor the noise.",
    "inversion": "The attacker is the coordinator: it sees one update of the first round and "
    "knows the adapter, the settings, the catalogue and how many items there were. It does not "
    "know any history, nor the noise.",
}


def run_attacks(
    target: str,
    *,
    data: Path | None,
    platform: str | None,
    references: int,
    epsilon: float | None,
    rounds: int | None,
    seed: int,
    quiet: bool,
) -> dict[str, Any]:
    """Attack one platform of a run folder or a recipe, with and without its privacy.

    Args:
        target: a run folder (only read), or a recipe.
        data: folder of the benchmark data, for a recipe that needs it.
        platform: whom; None means the smallest.
        references: the attacker's own trainings; as many targets are attacked.
        epsilon, rounds: None means the target's own.
        seed: of everything random, noise included: nobody's real data is protected here.

    Raises:
        ConfigError: no such platform, too few references, or no promise to test.
        FedInterestError: see `simulations.attacks.victim.open_victim`.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, Progress(quiet=quiet) as progress:
        victim = open_victim(
            target,
            data=data,
            platform=platform,
            epsilon=epsilon,
            rounds=rounds,
            seed=seed,
            scratch=Path(scratch),
            progress=progress,
        )
        curves = {
            kind: _curves(_game(victim, kind, plan, references, seed, progress))
            for kind, plan in _plans(victim).items()
        }
        inverted = _invert(victim, seed, progress)
    plan = victim.plan
    promised = ((victim.epsilon, victim.delta),)
    kept = profile(plan.sample_rate, plan.noise_multiplier, victim.rounds * plan.steps)
    findings = [*judge_membership(curves, promised, kept), *judge_inversion(inverted)]
    rates = np.array([0.0, *SHOWN, 1.0])
    return {
        "ok": not findings,
        "target": target,
        "platform": victim.name,
        "users": len(victim.sequences),
        "epsilon": victim.epsilon,
        "delta": victim.delta,
        "noise_multiplier": plan.noise_multiplier,
        "sample_rate": plan.sample_rate,
        "rounds": victim.rounds,
        "references": references,
        "targets": references,
        "confidence": CONFIDENCE,
        "threat": THREAT,
        "membership": {
            name: {
                kind: {
                    **curves[kind][name].told(),
                    "epsilon_low": curves[kind][name].epsilon_low(victim.delta),
                }
                for kind in curves
            }
            for name in ATTACKS
        },
        "bound": np.column_stack([rates, permitted(rates, promised)]).tolist(),
        "profile_bound": np.column_stack([rates, permitted(rates, kept)]).tolist(),
        "inversion": _told(inverted),
        "findings": findings,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
    }


def _plans(victim: Victim) -> dict[str, LocalPlan]:
    return {"private": victim.plan, "control": unprotected(victim.plan)}


def _game(
    victim: Victim, kind: str, plan: LocalPlan, references: int, seed: int, progress: Progress
) -> Game:
    return play(
        victim,
        plan,
        references=references,
        targets=references,
        seed=seed,
        progress=lambda done, total: progress(f"training, {kind}", done, total),
    )


def _curves(game: Game) -> dict[str, Roc]:
    return {name: roc(attack(game), game.truth) for name, attack in ATTACKS.items()}


def _invert(victim: Victim, seed: int, progress: Progress) -> dict[str, dict[str, Outcome]]:
    """kind -> batch ("1", "4", ... users, or "platform": a whole round's) -> outcome."""
    rng = np.random.default_rng(seed)
    everybody = len(victim.sequences)
    sizes = [size for size in SIZES if size <= everybody // 2]
    batches: dict[str, list[Any]] = {
        str(size): [rng.choice(everybody, size, replace=False) for _ in range(BATCHES)]
        for size in sizes
    }
    batches["platform"] = [np.arange(everybody)] * BATCHES
    items = inversion.frame(victim)
    found: dict[str, dict[str, Outcome]] = {"private": {}, "control": {}}
    for done, (name, chosen) in enumerate(batches.items()):
        progress("inverting", done, len(batches))
        for kind, plan in _plans(victim).items():
            used = plan if name == "platform" else inversion.batch_plan(plan, int(name))
            seen = [
                inversion.observe(victim, users, used, seed=seed, label=f"batch {name} {number}")
                for number, users in enumerate(chosen)
            ]
            found[kind][name] = inversion.outcome(
                np.array([inversion.scores(one, items) for one in seen]),
                np.array([one.truth for one in seen]),
                rng=rng,
            )
    progress("inverting", len(batches), len(batches))
    return found


def _told(found: dict[str, dict[str, Outcome]]) -> dict[str, Any]:
    """As JSON: lists by batch size, and a whole round's batch by itself."""
    small = [name for name in found["control"] if name != "platform"]

    def listed(kind: str) -> dict[str, list[float]]:
        return {
            field: [getattr(found[kind][name], field) for name in small]
            for field in ("precision", "others", "auc", "p")
        }

    whole = {
        kind: {
            field: getattr(found[kind]["platform"], field)
            for field in ("items", "precision", "others", "auc", "chance", "p")
        }
        for kind in found
    }
    return {
        "users": [int(name) for name in small],
        "items": [found["control"][name].items for name in small],
        "chance": [found["control"][name].chance for name in small],
        "batches": BATCHES,
        "private": listed("private"),
        "control": listed("control"),
        "platform": whole,
    }


def render(result: dict[str, Any], console: Console) -> None:
    """Print the result of `run_attacks` for people."""
    console.print(
        f"{result['platform']}: {result['users']} users, {result['rounds']} rounds, epsilon "
        f"{result['epsilon']:g} at delta {result['delta']:.2g}; {result['references']} reference "
        f"models, {result['targets']} targets, {result['seconds']:.0f} s",
        highlight=False,
    )
    members = Table("membership", "AUC", "TPR at 1 % FPR", "at 10 %", "epsilon seen", box=None)
    bound = dict(result["bound"]), dict(result["profile_bound"])
    for name, attack in result["membership"].items():
        for kind in ("private", "control"):
            one = attack[kind]
            members.add_row(
                f"{name}, {_kind(kind)}",
                f"{one['auc']:.3f}",
                *(_interval(one["tpr_at"][rate]) for rate in ("0.01", "0.1")),
                f">= {one['epsilon_low']:.2f}",
            )
    for words, curve in zip(("promise permits", "mechanism permits"), bound, strict=True):
        members.add_row(words, "", f"{curve[0.01]:.3f}", f"{curve[0.1]:.3f}", "")
    console.print(members)
    inverted = result["inversion"]
    table = Table("inversion", "items", "found", "with privacy", "chance", "p", box=None)
    for row, users in enumerate(inverted["users"]):
        table.add_row(
            batch_name(str(users)),
            f"{inverted['items'][row]:.1f}",
            f"{inverted['control']['precision'][row]:.1%}",
            f"{inverted['private']['precision'][row]:.1%}",
            f"{inverted['chance'][row]:.1%}",
            f"{inverted['private']['p'][row]:.2g}",
        )
    whole = inverted["platform"]
    table.add_row(
        batch_name("platform"),
        f"{whole['control']['items']:.1f}",
        f"{whole['control']['precision']:.1%}",
        f"{whole['private']['precision']:.1%}",
        f"{whole['control']['chance']:.1%}",
        f"{whole['private']['p']:.2g}",
    )
    console.print(table)
    for finding in result["findings"]:
        console.print(f"FINDING {finding}", style="bold red", highlight=False, markup=False)
    if result["ok"]:
        console.print("ok: attacks succeed without privacy, and stay within the bound with it")


def _kind(kind: str) -> str:
    return "with privacy" if kind == "private" else "without"


def _interval(row: list[float]) -> str:
    tpr, low, high = row
    return f"{tpr:.3f} ({low:.3f}-{high:.3f})"
