"""Gradient inversion: which items did the users of one update touch?

The attacker sits in the coordinator's seat: they see one platform's update of one round and know
the adapter it began with, the catalogue and the settings.  A user's gradient in the block is

    sum over events t, each times p_y ^ q, of
    (d -log p_y / d m_t) b(m_t)' + x_t (softmax mean of b - (1 - p_y) b(y_t))'

(`shared.objective`).  b(m_t) is a mix of the columns b(i) of the items before t, and x_t of their
vectors v(i): the row space of a batch's update holds b(i), and its column space v(i), for *every*
item of every history, as long as the batch has fewer terms than the block has columns.  So an item
was there if and only if its columns lie in that space.  This is the span check of DAGER (Petrov et
al. 2024, arXiv 2405.15586) and, in array processing, MUSIC (Schmidt 1986); nothing is optimised
and nothing is guessed, and in exact arithmetic it does not fail.

Which directions belong to the space is told from the noise: a D x R matrix of independent entries
of deviation s has no singular value above s (sqrt(D) + sqrt(R)), nearly.  Without privacy s is
that of rounding to the wire's format, with it that of the privacy noise.  With nothing above it
the largest direction alone is taken.

Shapes: `D` width, `R` columns of the block, `V` items.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from shared.adapters import initial_adapter
from shared.model import InterestModel
from shared.objective import windows
from shared.privacy.randomness import UnsafeSeed
from shared.privacy.sampling import poisson_sample
from shared.training import LocalPlan, local_round
from simulations.attacks.victim import Victim, subset

_ROUND = 1
_TINY = 1e-12


@dataclass(frozen=True)
class Seen:
    """One update as the coordinator sees it, and what the referee knows.

    Args:
        gradient: (D, R) float64, the batch's sum: the update without its public factors.
        noise_stddev: of each entry, rounding or privacy.
        truth: (V,) bool, the items in the batch's windows.
    """

    gradient: NDArray[np.float64]
    noise_stddev: float
    truth: NDArray[np.bool_]


@dataclass(frozen=True)
class Frame:
    """What items look like in a block.

    Args:
        columns: (V, R) float64 unit rows.
        vectors: (V, D) float64 unit rows.
    """

    columns: NDArray[np.float64]
    vectors: NDArray[np.float64]


def frame(victim: Victim) -> Frame:
    """The items as the first round's block sees them."""
    model = InterestModel(victim.model, victim.width)
    columns = victim.ground.features[:, model.block(model.names[0]).columns]
    return Frame(_unit(columns.numpy()), _unit(victim.ground.vectors.numpy()))


def batch_plan(plan: LocalPlan, users: int) -> LocalPlan:
    """`plan` over a batch of exactly `users` users: all take part, with the noise as it is."""
    return dataclasses.replace(plan, sample_rate=1.0, population=users, steps=1)


def observe(
    victim: Victim, users: NDArray[np.int64], plan: LocalPlan, *, seed: int, label: str
) -> Seen:
    """One step of the first round by the real code, and what was in it: in half precision, which
    says more than the two bits a number that travel.

    Args:
        users: those the platform has; who takes part is drawn by `plan.sample_rate`.
        label: names the observation; another label, other randomness.
    """
    adapter = initial_adapter(victim.model, victim.width)
    name = next(iter(adapter))
    own = subset(victim.sequences, users)
    secret = UnsafeSeed(seed).open(platform=label, round=_ROUND, request="", data="")
    model = InterestModel(victim.model, victim.width).load(adapter)
    plan = dataclasses.replace(plan, trained=name, steps=1)
    sent = local_round(model, victim.ground, own, plan, secret)[name].astype(np.float16)
    factor = plan.sample_rate * plan.population / plan.learning_rate
    gradient = -sent.astype(np.float64) * factor
    if plan.private:
        noise = plan.noise_multiplier * plan.clip_norm
    else:  # to nearest: an error of at most half a unit in the last place, evenly spread
        units = np.spacing(np.abs(sent)).astype(np.float64) * factor
        noise = float(np.sqrt(np.square(units).mean() / 12))
    part = poisson_sample(len(own), plan.sample_rate, secret.stream("sampling", 0))
    coins = secret.stream("positions", 0).uniform(len(own))
    batch = windows(own, part, coins[part], plan.targets_per_user + 1)
    truth = np.zeros(len(victim.ground.vectors), dtype=bool)
    first, later = batch.items[:, 0].numpy(), batch.items[:, 1:].numpy()
    truth[first[own.lengths[part] > 0]] = True
    truth[later[batch.real.numpy() > 0]] = True
    return Seen(gradient, noise, truth)


def scores(seen: Seen, items: Frame) -> NDArray[np.float64]:
    """(V,) how sure the attacker is that an item was in the batch.

    The log likelihood of lying so near to both spaces, up to constants: an item that was there
    has next to nothing outside of them.
    """
    left, sizes, right = np.linalg.svd(seen.gradient, full_matrices=False)
    depth, width = seen.gradient.shape
    edge = seen.noise_stddev * (np.sqrt(depth) + np.sqrt(width))
    rank = max(1, int((sizes > edge).sum()))
    rows = np.square(items.columns @ right[:rank].T).sum(axis=1)
    columns = np.square(items.vectors @ left[:, :rank]).sum(axis=1)
    outside_rows, outside_columns = (np.maximum(1 - part, _TINY) for part in (rows, columns))
    # A space that fills everything tells nothing; what is outside of it is rounding.
    found = np.zeros(len(items.columns))
    if rank < width:
        found -= (width - rank) * np.log(outside_rows)
    if rank < depth:
        found -= (depth - rank) * np.log(outside_columns)
    return found


def precision(found: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Share of right ones among as many items as there really were: precision, and recall too."""
    count = int(truth.sum())
    best = np.argsort(-found, kind="stable")[:count]
    return float(truth[best].mean()) if count else 0.0


def auc(found: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Probability that an item of the batch is ranked over one that was not there; ties half."""
    count = int(truth.sum())
    rest = len(truth) - count
    if not count or not rest:
        return 0.5
    ranks = stats.rankdata(found)
    return float((ranks[truth].sum() - count * (count + 1) / 2) / (count * rest))


@dataclass(frozen=True)
class Outcome:
    """What an inversion came to, over batches of one size.

    Args:
        items: mean number of distinct items in a batch.
        precision: mean share of them found among as many guesses.
        others: the same, held against other batches' items.
        auc: mean probability that an item of the batch is ranked above another.
        chance: what guessing items at random would find.
        p: that what is said of a batch fits it no better than other batches.
    """

    items: float
    precision: float
    others: float
    auc: float
    chance: float
    p: float


def outcome(
    found: NDArray[np.float64],
    truths: NDArray[np.bool_],
    *,
    rng: np.random.Generator,
    permutations: int = 19_999,
) -> Outcome:
    """Judge scores (N, V) of N batches against what was in them (N, V).

    The test permutes which batch a ranking is held against.  Items that are popular, or that
    noise happens to favour, are so in every batch: only what an update says of its own batch
    counts.  The statistic is the mean AUC.
    """
    fits = np.array([[auc(row, truth) for truth in truths] for row in found])
    hits = np.array([[precision(row, truth) for truth in truths] for row in found])
    count = len(found)
    own = float(fits.trace())
    shuffled = rng.permuted(np.tile(np.arange(count), (permutations, 1)), axis=1)
    sums = fits[np.arange(count), shuffled].sum(axis=1)
    # Sums in another order differ in the last bits; an equal one counts against the attack.
    beaten = int((sums >= own - 1e-9).sum())
    return Outcome(
        items=float(truths.sum(axis=1).mean()),
        precision=float(hits.trace() / count),
        others=float((hits.sum() - hits.trace()) / max(1, count * (count - 1))),
        auc=own / count,
        chance=float(truths.mean()),
        p=(1 + beaten) / (1 + permutations),
    )


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), _TINY)
