"""One platform's local work in a round: weights and sequences in, a noised update out.

A pure function of its arguments.  Privacy unit: one user with all their events; neighbouring data
sets differ by one user added or removed.

1. A step's users are a Poisson sample with a public rate; it may be empty, and then only noise is
   added.
2. A user's loss is the mean, over at most `targets_per_user` positions of their own history, of
   -<q, y> + w/2 * D * mean over the catalogue of <q, v>**2: the interest q should meet the next
   item y and no item of the public catalogue in particular (the implicit-feedback square loss
   over all items, Hu, Koren & Volinsky 2008; Rendle et al. 2022, eq. 4, with w as the unobserved
   weight).  It needs no drawn negatives, and depends on the user's own events, on public vectors
   and on coins tossed per user: on nobody else's data.
3. Opacus takes the gradient of each user's loss; it is clipped to `clip_norm` over all tensors,
   summed, noised once, and divided by the public constant sample_rate * population.
4. Every step starts from public or already noised values, so the update is post-processing of the
   noised sums.

Shapes: `U` users, `B` users of a micro-batch, `T` positions, `L` history, `D` width,
`F` features, `V` items.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from shared.adapters import Adapter, difference, extract
from shared.errors import DataError
from shared.events import Sequences
from shared.model import InterestModel
from shared.privacy.clipping import PrivateOptimizer
from shared.privacy.factored import FactoredGradSampleModule
from shared.privacy.noise import CryptographicNoise
from shared.privacy.randomness import RoundSecret
from shared.privacy.sampling import poisson_sample


@dataclass(frozen=True, kw_only=True)
class LocalPlan:
    """Public constants of a platform's work in a round.

    Args:
        steps: DP-SGD steps.
        learning_rate, targets_per_user, unobserved_weight: see `TrainingSettings`.
        sample_rate, clip_norm, noise_multiplier: see `PrivacySettings`; a noise multiplier of 0
            with `private` False takes exact sums.
        population: declared number of users: the denominators' constant.
        private: False for a run without any guarantee.
        micro_batch: users whose gradients are in memory at once; changes rounding only.
    """

    steps: int
    learning_rate: float
    targets_per_user: int
    unobserved_weight: float
    sample_rate: float
    clip_norm: float
    noise_multiplier: float
    population: int
    private: bool = True
    micro_batch: int = 256


@dataclass(frozen=True)
class Ground:
    """What a platform trains on besides its users: public, fixed for the round.

    Args:
        vectors: (V, D) float32 unit item vectors.
        place: (D,) float32, see `Whitening.place`.
    """

    vectors: torch.Tensor
    place: torch.Tensor

    @cached_property
    def spread(self) -> torch.Tensor:
        """(D, D) second moment of the catalogue's vectors, times D: near the identity."""
        items, width = self.vectors.shape
        return self.vectors.T @ self.vectors * (width / items)


def local_round(
    model: InterestModel,
    ground: Ground,
    sequences: Sequences,
    plan: LocalPlan,
    secret: RoundSecret,
    progress: Callable[[int, int], None] | None = None,
) -> Adapter:
    """The update of one round: what `plan.steps` steps change in `model`'s adapter.

    The caller has charged all steps before calling (`shared.privacy.ledger`).

    Args:
        model: with the round's adapter loaded; it is changed in place.
        ground: public vectors.
        sequences: the private events; may be empty.
        plan: public constants.
        secret: root of all randomness.
        progress: called with (steps done, steps).

    Raises:
        DataError: an event names an item outside the catalogue.
    """
    items = sequences.items
    if len(items) and not 0 <= items.min() <= items.max() < len(ground.vectors):
        raise DataError(
            expected=f"items 0 to {len(ground.vectors) - 1}",
            got="an item outside the catalogue",
            where="training sequences",
        )
    before = extract(model)
    steps = Steps(model, ground, sequences, plan)
    try:
        for step in range(plan.steps):
            steps.take(step, secret)
            if progress is not None:
                progress(step + 1, plan.steps)
    finally:
        steps.close()
    return difference(extract(model), before)


class Steps:
    """The optimiser and the loss of one round; `take` is one DP-SGD step."""

    def __init__(
        self, model: InterestModel, ground: Ground, sequences: Sequences, plan: LocalPlan
    ) -> None:
        self.model, self.ground, self.sequences, self.plan = model, ground, sequences, plan
        self.wrapped = FactoredGradSampleModule(model, loss_reduction="sum", strict=False)
        # All before `lora_B` is frozen: gradients are asked for up to its input and no further.
        self.cut = model.readout.lora_B.register_forward_pre_hook(self._cut)
        self.inner: list[torch.Tensor] = []
        trainable = [parameter for _, parameter in model.trainable()]
        self.optimiser = PrivateOptimizer(
            torch.optim.SGD(trainable, lr=plan.learning_rate),
            noise=CryptographicNoise() if plan.private else None,
            noise_multiplier=plan.noise_multiplier if plan.private else 0.0,
            clip_norm=plan.clip_norm if plan.private else float("inf"),
            sample_rate=plan.sample_rate,
            population=plan.population,
            private=plan.private,
        )

    def take(self, step: int, secret: RoundSecret) -> None:
        """Sample, clip, noise, step."""
        plan = self.plan
        users = poisson_sample(
            len(self.sequences), plan.sample_rate, secret.stream("sampling", step)
        )
        coins = secret.stream("positions", step).uniform(
            len(self.sequences) * plan.targets_per_user
        )
        coins = coins.reshape(len(self.sequences), plan.targets_per_user)
        users = by_length(self.sequences, users)
        for start in range(0, len(users), plan.micro_batch):
            rows = users[start : start + plan.micro_batch]
            batch = positions(self.sequences, rows, coins[rows], self.model.history_length)
            self.wrapped.factored = True
            # What Opacus' hooks catch is all that is wanted; asking for nothing but the input's
            # gradient leaves the un-clipped gradient of the batch uncomputed.
            self.user_losses(batch).sum().backward(inputs=self.inner)
            self.wrapped.factored = False
            self.optimiser.accumulate()
        if plan.private:
            self.optimiser.noise = secret.stream("noise", step)
        self.optimiser.step()

    def user_losses(self, batch: "Positions") -> torch.Tensor:
        """(B,) one loss a user; 0 for a user with nothing to predict."""
        ground = self.ground
        features = self.model.features(ground.vectors, ground.place, batch.items, batch.present)
        return losses(self.wrapped(features), ground, batch, self.plan.unobserved_weight)

    def close(self) -> None:
        """Take all hooks off the model: Opacus' go on once only."""
        self.cut.remove()
        self.wrapped.to_standard_module()

    def _cut(self, _: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        # Without an input that asks for a gradient the hooks would not run.
        self.inner = [inputs[0].detach().requires_grad_()]
        return (self.inner[0],)


def losses(
    interest: torch.Tensor, ground: Ground, batch: "Positions", unobserved_weight: float
) -> torch.Tensor:
    """(B,) the loss of each user, given their (B, T, D) interests."""
    wanted = (interest * ground.vectors[batch.targets]).sum(-1)
    anybody = (interest * (interest @ ground.spread)).sum(-1)
    each = (unobserved_weight / 2 * anybody - wanted) * batch.real
    return each.sum(-1) / batch.real.sum(-1).clamp_min(1)


def by_length(sequences: Sequences, users: NDArray[np.int64]) -> NDArray[np.int64]:
    """`users`, those with histories of like length together: less padding, and the same sums."""
    return users[np.argsort(sequences.lengths[users], kind="stable")]


@dataclass(frozen=True)
class Positions:
    """What a micro-batch is asked to predict.

    Args:
        items: (B, T, L) int64, each history newest first; 0 where absent.
        present: (B, T, L) bool.
        targets: (B, T) int64; 0 where there is none.
        real: (B, T) float32, 1 where there is something to predict.
    """

    items: torch.Tensor
    present: torch.Tensor
    targets: torch.Tensor
    real: torch.Tensor


def positions(
    sequences: Sequences, users: NDArray[np.int64], coins: NDArray[np.float64], length: int
) -> Positions:
    """Choose up to T positions of each user, without repetition, by the user's own coins.

    Args:
        users: (B,) rows of `sequences`.
        coins: (B, T) uniform numbers, drawn per user.
        length: longest history read.
    """
    wanted = coins.shape[1]
    starts = sequences.offsets[users]
    sizes = sequences.offsets[users + 1] - starts
    choices = np.maximum(sizes - 1, 0)  # positions 1 .. size - 1 have a history
    # Stratified: the t-th of T coins picks within the t-th of T equal parts of the history.
    slots = np.minimum(choices, wanted)
    place = np.arange(wanted)
    real = place < slots[:, None]
    parts = np.maximum(slots, 1)[:, None]
    low = place * choices[:, None] // parts
    high = (place + 1) * choices[:, None] // parts
    at = 1 + low + np.floor(coins * np.maximum(high - low, 1)).astype(np.int64)
    at = np.where(real, at, 0)
    longest = int(min(length, max(1, at.max(initial=1))))
    back = np.arange(longest)
    index = at[..., None] - 1 - back  # (B, T, L) place in the user's sequence, newest first
    present = (index >= 0) & real[..., None]
    items = sequences.items
    if len(items) == 0:
        items = np.zeros(1, np.int32)
    absolute = np.where(present, starts[:, None, None] + index, 0)
    target = np.where(real, starts[:, None] + at, 0)
    return Positions(
        items=torch.from_numpy(np.where(present, items[absolute], 0).astype(np.int64)),
        present=torch.from_numpy(present),
        targets=torch.from_numpy(np.where(real, items[target], 0).astype(np.int64)),
        real=torch.from_numpy(real.astype(np.float32)),
    )
