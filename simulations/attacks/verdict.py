"""What the attacks' results mean: more leaks than is permitted, or an attack proves nothing."""

from simulations.attacks.inversion import Outcome
from simulations.attacks.roc import Pairs, Roc

ALARM = 1e-3
"""An inversion that beats chance at this level, over all sizes together, is a finding."""
_LEAKS_AUC, _LEAKS_P = 0.6, 1e-3  # what a membership control must reach, at least
_RECOVERS = 0.5  # of the items of one user: what an inversion's control must reach, at least


def judge_membership(
    curves: dict[str, dict[str, Roc]],
    promised: Pairs,
    kept: Pairs,
) -> list[str]:
    """What is wrong with membership, in words; nothing if it is within bounds.

    Args:
        curves: "private" and "control" -> attack -> curve.
        promised: the (epsilon, delta) of the promise.
        kept: the mechanism's privacy profile.
    """
    findings = []
    for name, curve in curves["private"].items():
        for what, pairs in (("the promise", promised), ("the mechanism's profile", kept)):
            if (excess := curve.excess(pairs)) > 0:
                findings.append(
                    f"{name}: TPR is at least {excess:.4f} above what {what} permits: "
                    "more leaks than is accounted for"
                )
    for name, curve in curves["control"].items():
        if curve.auc < _LEAKS_AUC or curve.p > _LEAKS_P:
            findings.append(
                f"{name}: without privacy AUC is {curve.auc:.3f} (p {curve.p:.2g}): the control "
                "fails, so this attack proves nothing"
            )
    return findings


def judge_inversion(found: dict[str, dict[str, Outcome]]) -> list[str]:
    """What is wrong with inversion, in words.

    Args:
        found: "private" and "control" -> batch -> outcome, the smallest batch first.
    """
    findings = []
    level = ALARM / len(found["private"])
    for name, result in found["private"].items():
        if result.p < level:
            findings.append(
                f"inversion, {batch_name(name)}: with privacy it beats chance "
                f"(AUC {result.auc:.3f}, p {result.p:.2g})"
            )
    smallest = next(iter(found["control"]))
    control = found["control"][smallest]
    if control.precision < _RECOVERS or control.p > ALARM:
        findings.append(
            f"inversion, {batch_name(smallest)}: without privacy it finds "
            f"{control.precision:.0%} of the items (p {control.p:.2g}): "
            "the control fails, so this attack proves nothing"
        )
    return findings


def batch_name(name: str) -> str:
    """A batch, for people."""
    if name == "platform":
        return "a round's batch"
    return "1 user" if name == "1" else f"{name} users"
