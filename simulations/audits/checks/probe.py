"""A small platform without files, and what `local_round` releases on it, step by step.

Everything is read from outside: the weights after each step, through the progress call that a round
makes anyway.  With the public constants the noised sum of each step follows from two neighbouring
weights, and with a noise multiplier of next to nothing that is the sum itself.

Shapes: `V` items, `D` width, `R` columns of the trained block, `K` steps; sums are flat (D * R,).
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from shared import training
from shared.config.training import ModelSettings
from shared.events import Sequences
from shared.ground import Ground
from shared.model import InterestModel
from shared.objective import losses, windows
from shared.privacy.randomness import RoundSecret, UnsafeSeed
from shared.training import LocalPlan

Floats = NDArray[np.float64]
Histories = Sequence[Sequence[int]]

ITEMS, WIDTH = 40, 16
SETTINGS = ModelSettings(history_length=6, rank=16, layers=2)
TRAINED = InterestModel(SETTINGS, WIDTH).names[0]
QUIET = 1e-8
"""A noise multiplier that leaves the sum as good as bare."""

PLAN = LocalPlan(
    trained=TRAINED,
    steps=1,
    learning_rate=1.0,
    targets_per_user=4,
    negatives=ITEMS,  # the whole catalogue: the loss is then the same in every step
    temperature=0.5,
    gce_q=0.1,
    sample_rate=1.0,
    clip_norm=50.0,
    noise_multiplier=QUIET,
    population=64,
)


@dataclass(frozen=True)
class Trace:
    """What a round did, seen from outside.

    Args:
        sums: (K, D * R) float64 the noised sum of each step that was taken.
        released: (D * R,) float64 the update, in units of a sum.
    """

    sums: Floats
    released: Floats


def ground(seed: int, items: int = ITEMS, width: int = WIDTH, layers: int = 2) -> Ground:
    """Random public items."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn((items, width), generator=generator)
    features = torch.randn((items, layers * width), generator=generator)
    return Ground(
        vectors=torch.nn.functional.normalize(vectors, dim=1),
        features=torch.nn.functional.normalize(features, dim=1),
    )


def packed(histories: Histories) -> Sequences:
    """Histories as a platform holds them."""
    return Sequences(
        users=tuple(f"user-{number}" for number in range(len(histories))),
        items=np.array([item for history in histories for item in history], np.int32),
        offsets=np.cumsum([0, *map(len, histories)]).astype(np.int64),
    )


def people(count: int, seed: int, shortest: int = 2, longest: int = 5) -> list[list[int]]:
    """Distinct random histories, by default of 2 to 5 events: these fit into one window."""
    generator = np.random.default_rng([seed, 11])
    found: dict[tuple[int, ...], None] = {}
    while len(found) < count:
        length = int(generator.integers(shortest, longest + 1))
        found[tuple(generator.choice(ITEMS, length, replace=False).tolist())] = None
    return [list(history) for history in found]


def secret(seed: int) -> RoundSecret:
    """The root of a round's randomness, repeatable."""
    return UnsafeSeed(seed).open(platform="audited", round=1, request="00", data="00")


def plan(**changes: object) -> LocalPlan:
    """`PLAN` with changes."""
    return dataclasses.replace(PLAN, **changes)  # type: ignore[arg-type]


def trace(
    histories: Histories,
    asked: LocalPlan,
    seed: int,
    public: Ground | None = None,
    settings: ModelSettings = SETTINGS,
    root: RoundSecret | None = None,
) -> Trace:
    """Run a round on these users and read its sums off the weights.

    Args:
        root: of the round's randomness, in the place of `secret(seed)`.
    """
    public = ground(seed) if public is None else public
    model = InterestModel(settings, public.vectors.shape[1])
    weight = model.block(asked.trained).lora_B.weight
    seen = [weight.detach().double().numpy().ravel().copy()]

    def look(_done: int, _steps: int) -> None:
        seen.append(weight.detach().double().numpy().ravel().copy())

    root = secret(seed) if root is None else root
    update = training.local_round(model, public, packed(histories), asked, root, look)
    scale = -asked.sample_rate * asked.population / asked.learning_rate
    return Trace(
        sums=np.diff(np.stack(seen), axis=0) * scale,
        released=update[asked.trained].astype(np.float64).ravel() * scale,
    )


def total(histories: Histories, asked: LocalPlan, seed: int) -> Floats:
    """(D * R,) the sum of the first step."""
    return trace(histories, asked, seed).sums[0]


def gradients(histories: Histories, seed: int) -> Floats:
    """(U, D * R) each user's gradient at a zero adapter, by autograd through the plain loss.

    An independent oracle: no factors, no hooks, no clipping.
    """
    public, sequences = ground(seed), packed(histories)
    model = InterestModel(SETTINGS, WIDTH)
    users = len(histories)
    batch = windows(sequences, np.arange(users), np.full(users, 0.5), PLAN.targets_per_user + 1)
    each = losses(model, public, batch, torch.arange(ITEMS), PLAN.temperature, PLAN.gce_q)
    weight = model.block(TRAINED).lora_B.weight
    (found,) = torch.autograd.grad(
        each, [weight], grad_outputs=torch.eye(users), is_grads_batched=True
    )
    return found.double().flatten(1).numpy()


def shares(of: Floats, terms: Floats) -> tuple[Floats, float]:
    """How much of each user's term is in a sum, and which part of the sum is of none of them.

    Args:
        of: (D * R,) a sum.
        terms: (U, D * R).
    """
    found: Floats = np.linalg.lstsq(terms.T, of, rcond=None)[0].astype(np.float64)
    rest = float(np.linalg.norm(of - found @ terms))
    return found, rest / max(float(np.linalg.norm(of)), 1e-12)
