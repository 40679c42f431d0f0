"""What privacy costs in time: a private training step against a non-private one.

Both steps have the same model, loss, public vectors, users, positions and micro-batches, and
alternate in one run, so that whatever else the machine does falls on both.  The private one is
`shared.training.Steps` as the platforms run it: Poisson sampling (at rate 1, so that every step
has the same users), per-user gradients, clipping, cryptographic noise.  The other is plain
SGD with none of that.
"""

import statistics
import time
from typing import Any

import numpy as np
import torch

from shared.config.privacy import PrivacySettings
from shared.config.training import ModelSettings, SpeedSettings, TrainingSettings
from shared.errors import ConfigError
from shared.events import Sequences
from shared.ground import Ground
from shared.model import InterestModel
from shared.privacy.randomness import RoundSecret, UnsafeSeed
from shared.training import LocalPlan, Steps, by_length

_WARM_UP = 3
_FEWEST, _MEAN, _MOST = 5, 9, 50  # events of a user, about as in the storefronts' logs


class PlainSteps:
    """The non-private twin of `shared.training.Steps`: same arguments, same `take`.

    It has the batch's gradient from the same factors, in one matrix product.
    """

    def __init__(
        self, model: InterestModel, ground: Ground, sequences: Sequences, plan: LocalPlan
    ) -> None:
        self.steps = Steps(model, ground, sequences, plan)
        self.weight = self.steps.block.lora_B.weight
        self.optimiser = torch.optim.SGD([self.weight], lr=plan.learning_rate)

    def take(self, step: int, secret: RoundSecret) -> None:
        """All users, plain gradient, step."""
        steps, plan = self.steps, self.steps.plan
        users = np.arange(len(steps.sequences))
        coins = secret.stream("positions", step).uniform(len(users))
        table = steps.table(secret.stream("negatives", step))
        users = by_length(steps.sequences, users)
        gradient = torch.zeros_like(self.weight)
        for start in range(0, len(users), plan.micro_batch):
            rows = users[start : start + plan.micro_batch]
            inputs, outputs = steps.factors(table, rows, coins[rows])
            gradient += outputs.flatten(0, 1).T @ inputs.flatten(0, 1)
        self.weight.grad = gradient / (plan.sample_rate * plan.population)
        self.optimiser.step()


def run_dp_step_bench(
    steps: int = 30, users: int = 1024, *, items: int = 12_000, width: int = 384
) -> dict[str, Any]:
    """Take `steps` steps of each kind, in turns, after a warm-up.

    Args:
        users: users in each step.
        items, width: size of the made-up catalogue.

    Returns:
        `private_seconds` and `plain_seconds` (medians of a step), `ratio` (of these medians),
        `pairwise_ratio` (median of the ratios of neighbouring steps), and what was timed.

    Raises:
        ConfigError: no steps or no users.
    """
    if steps < 1 or users < 1:
        raise ConfigError(
            expected="at least one step and one user",
            got=f"{steps} steps, {users} users",
            where="bench dp-step",
        )
    ground, sequences = made_up(users, items, width)
    training = TrainingSettings()
    plan = LocalPlan(
        steps=steps,
        learning_rate=1.0,
        trained=InterestModel(ModelSettings(), width).names[0],
        targets_per_user=training.targets_per_user,
        negatives=training.negatives,
        temperature=training.temperature,
        gce_q=training.gce_q,
        sample_rate=1.0,
        clip_norm=PrivacySettings().clip_norm,
        noise_multiplier=1.0,
        population=users,
        micro_batch=SpeedSettings().train_batch,
    )
    secret = UnsafeSeed(0).open(platform="bench", round=1, request="", data="")
    private = Steps(InterestModel(ModelSettings(), width), ground, sequences, plan)
    plain = PlainSteps(InterestModel(ModelSettings(), width), ground, sequences, plan)
    seconds: dict[str, list[float]] = {"private": [], "plain": []}
    for step in range(_WARM_UP + steps):
        for name, kind in (("plain", plain), ("private", private)):
            begin = time.perf_counter()
            kind.take(step, secret)
            if step >= _WARM_UP:
                seconds[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    pairs = zip(seconds["private"], seconds["plain"], strict=True)
    return {
        "steps": steps,
        "users": users,
        "events": len(sequences.items),
        "micro_batch": plan.micro_batch,
        "parameters": plain.weight.numel(),
        "private_seconds": round(medians["private"], 6),
        "plain_seconds": round(medians["plain"], 6),
        "ratio": round(medians["private"] / medians["plain"], 4),
        "pairwise_ratio": round(statistics.median(one / other for one, other in pairs), 4),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }


def made_up(users: int, items: int, width: int, seed: int = 0) -> tuple[Ground, Sequences]:
    """A catalogue of random directions and histories of about nine events, at random."""
    rng = np.random.default_rng(seed)
    vectors = torch.from_numpy(rng.standard_normal((items, width), dtype=np.float32))
    sizes = np.minimum(_FEWEST - 1 + rng.geometric(1 / (_MEAN - _FEWEST + 1), users), _MOST)
    sequences = Sequences(
        users=tuple(f"user-{number}" for number in range(users)),
        items=rng.integers(0, items, int(sizes.sum())).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
    )
    layers = ModelSettings().layers
    features = torch.from_numpy(rng.standard_normal((items, layers * width), dtype=np.float32))
    ground = Ground(
        vectors=torch.nn.functional.normalize(vectors, dim=1),
        features=torch.nn.functional.normalize(features, dim=1),
    )
    return ground, sequences
