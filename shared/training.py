"""One platform's local work in a round: weights and sequences in, a noised update out.

A pure function of its arguments.  Privacy unit: one user with all their events; neighbouring data
sets differ by one user added or removed.

1. A step's users are a Poisson sample with a public rate; it may be empty, and then only noise is
   added.
2. A user's loss (`shared.objective`) depends on the user's own events, on public item vectors, on
   coins tossed per user and on negatives drawn from the catalogue: on nobody else's data.
3. Each user's gradient is known in closed form, as factors; Opacus' optimiser, as extended by
   `shared.privacy.clipping`, clips it to `clip_norm`, sums, adds noise once, and divides by the
   public constant sample_rate * population.
4. Every step starts from public or already noised values, so the update is post-processing of the
   noised sums.

Shapes: `U` users, `T` predicted events of a window, `D` width, `R` columns of the block, `V` items.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from shared.adapters import Adapter
from shared.errors import DataError
from shared.events import Sequences
from shared.ground import Ground
from shared.model import InterestModel, scales
from shared.objective import Table, factors, windows
from shared.privacy.clipping import PrivateOptimizer
from shared.privacy.noise import CryptographicNoise
from shared.privacy.randomness import RoundSecret, Stream
from shared.privacy.sampling import poisson_sample


@dataclass(frozen=True, kw_only=True)
class LocalPlan:
    """Public constants of a platform's work in a round.

    Args:
        trained: name of the adapter's tensor that is trained.
        steps: DP-SGD steps.
        learning_rate, targets_per_user, negatives, temperature, gce_q: see `TrainingSettings`.
        sample_rate, clip_norm, noise_multiplier: see `PrivacySettings`; a noise multiplier of 0
            with `private` False takes exact sums.
        population: declared number of users: the denominators' constant.
        private: False for a run without any guarantee.
        micro_batch: users whose gradients are in memory at once; changes rounding only.
    """

    trained: str
    steps: int
    learning_rate: float
    targets_per_user: int
    negatives: int
    temperature: float
    gce_q: float
    sample_rate: float
    clip_norm: float
    noise_multiplier: float
    population: int
    private: bool = True
    micro_batch: int = 256


def local_round(
    model: InterestModel,
    ground: Ground,
    sequences: Sequences,
    plan: LocalPlan,
    secret: RoundSecret,
    progress: Callable[[int, int], None] | None = None,
) -> Adapter:
    """The update of one round: what `plan.steps` steps change in the adapter's trained tensor.

    The caller has charged all steps before calling (`shared.privacy.ledger`).

    Args:
        model: with the round's adapter loaded; it is changed in place.
        ground: public items.
        sequences: the private events; may be empty.
        plan: public constants.
        secret: root of all randomness.
        progress: called with (steps done, steps).

    Raises:
        DataError: an event names an item outside the catalogue.
        AdapterError: the model has no such tensor.
    """
    items = sequences.items
    if len(items) and not 0 <= items.min() <= items.max() < len(ground.vectors):
        raise DataError(
            expected=f"items 0 to {len(ground.vectors) - 1}",
            got="an item outside the catalogue",
            where="training sequences",
        )
    steps = Steps(model, ground, sequences, plan)
    before = steps.weight.numpy().copy()
    for step in range(plan.steps):
        steps.take(step, secret)
        if progress is not None:
            progress(step + 1, plan.steps)
    return {plan.trained: steps.weight.numpy() - before}


class Steps:
    """The optimiser and the loss of one round; `take` is one DP-SGD step."""

    def __init__(
        self, model: InterestModel, ground: Ground, sequences: Sequences, plan: LocalPlan
    ) -> None:
        self.model, self.ground, self.sequences, self.plan = model, ground, sequences, plan
        self.block = model.block(plan.trained)
        self.optimiser = PrivateOptimizer(
            torch.optim.SGD(self.block.lora_B.parameters(), lr=plan.learning_rate),
            noise=CryptographicNoise() if plan.private else None,
            noise_multiplier=plan.noise_multiplier if plan.private else 0.0,
            clip_norm=plan.clip_norm if plan.private else float("inf"),
            sample_rate=plan.sample_rate,
            population=plan.population,
            private=plan.private,
        )

    @property
    def weight(self) -> torch.Tensor:
        """(D, R) the trained tensor as it stands."""
        return self.block.lora_B.weight.detach()

    def take(self, step: int, secret: RoundSecret) -> None:
        """Sample, clip, noise, step."""
        plan = self.plan
        users = poisson_sample(
            len(self.sequences), plan.sample_rate, secret.stream("sampling", step)
        )
        coins = secret.stream("positions", step).uniform(len(self.sequences))
        table = self.table(secret.stream("negatives", step))
        users = by_length(self.sequences, users)
        for start in range(0, len(users), plan.micro_batch):
            rows = users[start : start + plan.micro_batch]
            self.optimiser.accumulate_factors([self.factors(table, rows, coins[rows])])
        if plan.private:
            self.optimiser.noise = secret.stream("noise", step)
        self.optimiser.step()

    def table(self, stream: Stream) -> Table:
        """What all users of a step read: public, or noised in an earlier step."""
        with torch.no_grad():
            moved = self.model.moved(self.ground)
            scale = scales(self.ground, moved)
        drawn = draw_negatives(len(moved), self.plan.negatives, stream)
        return Table(
            adapted=moved * scale,
            columns=self.ground.features[:, self.block.columns] * scale,
            negatives=torch.from_numpy(drawn),
            decay=self.model.decay,
            temperature=self.plan.temperature,
            gce_q=self.plan.gce_q,
        )

    @torch.no_grad()
    def factors(
        self, table: Table, users: NDArray[np.int64], coins: NDArray[np.float64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradient factors of these users' losses; see `shared.objective.factors`."""
        longest = self.plan.targets_per_user + 1
        return factors(table, windows(self.sequences, users, coins, longest))


def draw_negatives(items: int, wanted: int, stream: Stream) -> NDArray[np.int64]:
    """`wanted` catalogue rows, each drawn from all; the whole catalogue where it has no more."""
    if items <= wanted:
        return np.arange(items)
    return stream.integers(wanted, items)


def by_length(sequences: Sequences, users: NDArray[np.int64]) -> NDArray[np.int64]:
    """`users`, those with histories of like length together: less padding, and the same sums."""
    return users[np.argsort(sequences.lengths[users], kind="stable")]
