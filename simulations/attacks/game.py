"""The membership game: trainings on random halves of a platform's users, and what they show.

1. Reference models: the attacker's own, in pairs that train on complementary halves, so that each
   user is in one of each pair (Carlini et al. 2022, section V-A).
2. Targets: each user is in with probability 1/2, by coins that the attacker does not see.  Targets
   share no coin and no noise with one another or with the references.
3. The attacker sees each target's released adapter: the last round's, and nothing in between.  The
   signal of a user is the loss of their whole history under it.

The unit is a user.  Every training is `shared.training.local_round`, round by round, its update
rounded as on the wire and applied by the coordinator's optimiser.  A training's denominator is
half of the declared population, a public constant, so that its steps are as long as the run's.

Shapes: `M` models, of which the first `references` are the attacker's, `U` users.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from server.rounds.aggregation import ServerOptimiser
from shared.adapters import initial_adapter
from shared.errors import ConfigError
from shared.model import InterestModel, trained_in
from shared.objective import losses, windows
from shared.privacy.randomness import UnsafeSeed
from shared.protocol import PROTOCOL_VERSION, travelling
from shared.training import LocalPlan, local_round
from simulations.attacks.victim import Victim, subset

FEWEST_REFERENCES = 4  # two a side: below that no spread can be told
_AT_ONCE = 256


@dataclass(frozen=True)
class Game:
    """What was trained, and what the attacker reads off it.

    Args:
        losses: (M, U) float64, each user's loss under each model.
        members: (M, U) bool, who was trained on.  Of the targets only the referee knows it.
        references: how many of the models are the attacker's own.
    """

    losses: NDArray[np.float64]
    members: NDArray[np.bool_]
    references: int

    @property
    def truth(self) -> NDArray[np.bool_]:
        """(T, U) who was in each target: what the attacker is to find."""
        return self.members[self.references :]


def play(
    victim: Victim,
    plan: LocalPlan,
    *,
    references: int,
    targets: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> Game:
    """Train all models of a game and take every user's loss under each.

    Args:
        plan: of a round over all users; private, or the control's.
        seed: of the halves, the coins and all that is random in training.
        progress: called with (trainings done, trainings).

    Raises:
        ConfigError: fewer than 4 references, or no target.
    """
    if references < FEWEST_REFERENCES or targets < 1:
        raise ConfigError(
            expected=f"at least {FEWEST_REFERENCES} reference models and a target",
            got=f"{references} and {targets}",
            where="--references",
        )
    members = drawn_members(len(victim.sequences), references, targets, seed)
    half = dataclasses.replace(plan, population=max(1, round(plan.population / 2)))
    found = []
    for number, row in enumerate(members):
        progress(number, len(members))
        model = train(victim, np.flatnonzero(row), half, UnsafeSeed(seed), f"game {number}")
        found.append(user_losses(victim, model))
    progress(len(members), len(members))
    return Game(np.array(found), members, references)


def drawn_members(users: int, references: int, targets: int, seed: int) -> NDArray[np.bool_]:
    """(references + targets, users) bool: complementary halves, then independent coins."""
    rng = np.random.default_rng(seed)
    rows: list[NDArray[np.bool_]] = []
    while len(rows) < references:
        half = np.zeros(users, dtype=bool)
        half[rng.permutation(users)[: users // 2]] = True
        rows += [half, ~half]
    return np.array(rows[:references] + [rng.random(users) < 0.5 for _ in range(targets)])


def train(
    victim: Victim, users: NDArray[np.int64], plan: LocalPlan, randomness: UnsafeSeed, label: str
) -> InterestModel:
    """The model that `victim.rounds` rounds on these users release.

    Args:
        label: names the training; another label, other randomness.
    """
    adapter = initial_adapter(victim.model, victim.width)
    names, own = list(adapter), subset(victim.sequences, users)
    server = ServerOptimiser(settings=victim.server)
    state = server.init(adapter)
    model = InterestModel(victim.model, victim.width)
    for round_ in range(1, victim.rounds + 1):
        (name,) = trained_in(names, round_)
        secret = randomness.open(platform=label, round=round_, request="", data="")
        update = local_round(
            model.load(adapter),
            victim.ground,
            own,
            dataclasses.replace(plan, trained=name),
            secret,
        )
        seen = {
            key: value.astype(np.float64)
            for key, value in travelling(update, PROTOCOL_VERSION).items()
        }
        adapter, state = server.apply(state, adapter, seen)
    return model.load(adapter)


@torch.no_grad()
def user_losses(victim: Victim, model: InterestModel) -> NDArray[np.float64]:
    """(U,) mean cross-entropy of each user's whole history, told from the whole catalogue."""
    sequences, everything = victim.sequences, torch.arange(len(victim.ground.vectors))
    longest = max(2, int(sequences.lengths.max(initial=0)))
    found = []
    for start in range(0, len(sequences), _AT_ONCE):
        users = np.arange(start, min(start + _AT_ONCE, len(sequences)))
        batch = windows(sequences, users, np.zeros(len(users)), longest)
        found.append(
            # log-likelihoods: the attacker's choice, whatever the model was trained by
            losses(model, victim.ground, batch, everything, victim.plan.temperature, 0.0)
        )
    return torch.cat(found).double().numpy()
