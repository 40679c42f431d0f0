"""All bounds of one game, each with what it rests on."""

from dataclasses import dataclass
from typing import Literal

from shared.privacy.auditing import f_dp, gaussian, one_run
from shared.privacy.auditing.game import Played, Rules
from shared.privacy.auditing.guessing import correct, guesses

Kind = Literal["proven", "assumption-based", "estimate"]

FAMILY = "Gaussian noise, Poisson sampling at the public rate, the public number of steps"
STEADY = "signal and noise alike in all rounds"
FIRST = "gradients of a round's later steps are like those of its first"


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A lower bound on epsilon.

    Args:
        name: which; one of `NAMES`.
        kind: what sort of truth it is.
        epsilon: the bound.
        confidence: with which it holds.
        assumes: what has to be so, in words.
    """

    name: str
    kind: Kind
    epsilon: float
    confidence: float
    assumes: tuple[str, ...]


NAMES = ("one-run", "f-DP", "Gaussian, coins known", "Gaussian, coins unknown")


def all_bounds(rules: Rules, played: Played, confidence: float) -> list[Bound]:
    """The four bounds of `NAMES`, in that order, each by itself at `confidence`.

    Raises:
        DataError: too few canaries in or out.
    """
    each, steps = guesses(rules.canaries), rules.rounds * rules.steps
    right = correct(played.scores, played.members, each)
    coins = ("canaries are in by independent fair coins",)
    white_box = (FAMILY, STEADY) if rules.steps == 1 else (FAMILY, STEADY, FIRST)
    blind = gaussian.by_membership(played.seen, played.members, steps * rules.rate)
    open_ = gaussian.by_participation(played.seen, played.taken, played.matched)

    def epsilon_of(shift: gaussian.Shift) -> float:
        return gaussian.epsilon_of(
            shift.lower(confidence),
            rate=rules.rate,
            steps=rules.steps,
            rounds=rules.rounds,
            delta=rules.delta,
        )

    return [
        Bound(
            name=NAMES[0],
            kind="proven",
            epsilon=one_run.epsilon_bound(rules.canaries, 2 * each, right, rules.delta, confidence),
            confidence=confidence,
            assumes=coins,
        ),
        Bound(
            name=NAMES[1],
            kind="assumption-based",
            epsilon=f_dp.epsilon_bound(
                rules.canaries,
                2 * each,
                right,
                rate=rules.rate,
                steps=steps,
                delta=rules.delta,
                confidence=confidence,
            ),
            confidence=confidence,
            assumes=(*coins, FAMILY),
        ),
        Bound(
            name=NAMES[2],
            kind="estimate",
            epsilon=epsilon_of(open_),
            confidence=confidence,
            assumes=(*white_box, "the sampling coins are known"),
        ),
        Bound(
            name=NAMES[3],
            kind="estimate",
            epsilon=epsilon_of(blind),
            confidence=confidence,
            assumes=white_box,
        ),
    ]
