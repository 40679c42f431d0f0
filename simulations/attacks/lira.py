"""LiRA, the likelihood ratio attack: Carlini et al. 2022, arXiv 2112.03570, with few references.

For each user, two normal distributions of the logit of the model's confidence: under models that
trained on them, and under models that did not.  The score is the log likelihood ratio of what the
target shows (their equation 4; online attack).  With few reference models

- the variance is one for all users and both sides (section VI-B of the paper says the like), and
- a user's shift between the two means is drawn to the mean of all users' shifts by as much as the
  shifts differ by chance alone (empirical Bayes; Efron and Morris 1973).  Four models a side tell
  a user's shift badly: without this the noise of the references would hide what the target shows,
  and the attack would look weaker than it is.

Shapes: `M` models, `T` targets, `U` users.
"""

import numpy as np
from numpy.typing import NDArray

from simulations.attacks.game import Game

_LEAST = 1e-12


def confidence(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(p / (1 - p)), p = exp(-loss): a user's events' geometric mean probability."""
    bounded = np.maximum(losses, _LEAST)
    return -bounded - np.log(-np.expm1(-bounded))


def scores(game: Game) -> NDArray[np.float64]:
    """(T, U) log likelihood ratio of in against out, for each target and user."""
    shown = confidence(game.losses)
    known, members = shown[: game.references], game.members[: game.references]
    inside, outside = members.sum(axis=0), (~members).sum(axis=0)
    with_, without = _mean(known, members), _mean(known, ~members)
    rest = np.where(members, known - with_, known - without)
    variance = np.square(rest).sum() / max(1, rest.size - 2 * members.shape[1])
    shift = shrunk(with_ - without, variance * (1 / inside + 1 / outside))
    middle = (with_ + without) / 2
    found: NDArray[np.float64] = (shown[game.references :] - middle) * shift
    return found / max(variance, _LEAST)


def shrunk(shifts: NDArray[np.float64], noise: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Shifts drawn to their mean; never negative, as training on a user does not repel them.

    Args:
        shifts: (U,) estimated differences of means.
        noise: variance of their estimation.
    """
    spread = float(np.var(shifts, ddof=1))
    kept = max(0.0, 1 - float(np.mean(noise)) / spread) if spread > 0 else 0.0
    # A mean shift that is negative by chance still leaves the sign of the score right.
    centre = max(float(np.mean(shifts)), 1e-3 * float(np.sqrt(np.mean(noise))), _LEAST)
    return np.maximum(centre + kept * (shifts - centre), 0.0)


def _mean(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = (values * mask).sum(axis=0) / mask.sum(axis=0)
    return found
