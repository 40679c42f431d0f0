"""Training W = B A by a method of the field (`simulations.bench.quality.methods`).

Shapes: `D` width, `F` features, `r` rank of the pair.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clients.platform_record import promise
from server.rounds.aggregation import ServerOptimiser, mean_update
from shared.adapters import Adapter
from shared.config.federation import FederationSettings
from shared.config.training import ServerSettings
from shared.errors import ConfigError
from shared.events import Sequences
from shared.ground import Ground
from shared.model import scales
from shared.objective import Table, factors, windows
from shared.privacy.clipping import PrivateOptimizer
from shared.privacy.noise import CryptographicNoise
from shared.privacy.randomness import RoundSecret, UnsafeSeed
from shared.privacy.sampling import poisson_sample
from shared.training import by_length, draw_negatives
from simulations.bench.quality.methods import HALVES, Method, Part


@dataclass(frozen=True, kw_only=True)
class Member:
    """A platform of the federation, as a method sees it.

    Args:
        ground: its public items.
        sequences: its private events.
        population, weight: public constants.
    """

    ground: Ground
    sequences: Sequences
    population: int
    weight: float


@dataclass(frozen=True, kw_only=True)
class Pair:
    """W = B A.

    Args:
        A: (r, F) float32.
        B: (D, r) float32.
    """

    A: NDArray[np.float32]
    B: NDArray[np.float32]

    @property
    def weight(self) -> NDArray[np.float32]:
        """(D, F) W."""
        return self.B @ self.A

    def moved(self, update: Adapter) -> "Pair":
        """With an update added."""
        return Pair(A=self.A + update.get("A", 0), B=self.B + update.get("B", 0))

    def refactored(self) -> "Pair":
        """The same W, with rows of A that are orthogonal and as long as before in the mean."""
        if not self.B.any():
            return self
        left, values, right = np.linalg.svd(self.weight.astype(np.float64), full_matrices=False)
        rank = len(self.A)
        length = float(np.sqrt(np.square(self.A, dtype=np.float64).sum() / rank))
        return Pair(
            A=(right[:rank] * length).astype(np.float32),
            B=(left[:, :rank] * values[:rank] / length).astype(np.float32),
        )


def first_pair(width: int, features: int, rank: int, blocks: int, seed: int) -> Pair:
    """B zero, A Gaussian, its image of a feature vector as long as a block of ours in the mean."""
    drawn = np.random.default_rng(seed).standard_normal((rank, features))
    return Pair(
        A=(drawn / np.sqrt(rank * blocks)).astype(np.float32),
        B=np.zeros((width, rank), np.float32),
    )


def train_method(
    method: Method,
    members: Mapping[str, Member],
    settings: FederationSettings,
    *,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """(D, F) W of each platform after the whole run; the same for all unless personal.

    Args:
        settings: model, privacy and training, as for our own model.
        seed: of everything random, the noise too.
        progress: called with (rounds done, rounds).

    Raises:
        ConfigError: fewer rounds than one local round has steps.
    """
    rounds = settings.training.rounds // method.local_steps
    if rounds < 1:
        raise ConfigError(
            expected=f"at least {method.local_steps} rounds for {method.name}",
            got=str(settings.training.rounds),
            where="--rounds",
        )
    ground = next(iter(members.values())).ground
    width, features = ground.vectors.shape[1], ground.features.shape[1]
    most = max(1, settings.model.rank // HALVES)
    rank = method.rank(most, width, features)
    pair = first_pair(width, features, rank, -(-features // most), seed)
    clients = {
        name: _Client(method=method, member=member, settings=settings, rounds=rounds)
        for name, member in members.items()
    }
    weights = {name: member.weight for name, member in members.items()}
    server = ServerOptimiser(
        settings=ServerSettings(optimiser=method.optimiser, learning_rate=method.server_rate)
    )
    state = server.init({"A": pair.A, "B": pair.B})
    own = dict.fromkeys(members, pair)
    for round_ in range(1, rounds + 1):
        parts = method.trained[(round_ - 1) % len(method.trained)]
        if method.personal is not None:
            middle = mean_update({name: {"B": one.B} for name, one in own.items()}, weights)["B"]
            own = {
                name: replace(
                    one, B=(one.B + method.personal * (middle - one.B)).astype(np.float32)
                )
                for name, one in own.items()
            }
        updates = {}
        for name, client in clients.items():
            secret = UnsafeSeed(seed).open(platform=name, round=round_, request="", data="")
            updates[name] = client.round(own[name], parts, secret)
        if method.personal is not None:
            own = {name: one.moved(updates[name]) for name, one in own.items()}
        else:
            adapter, state = server.apply(
                state, {"A": pair.A, "B": pair.B}, mean_update(updates, weights)
            )
            pair = Pair(A=adapter["A"], B=adapter["B"])
            pair = pair.refactored() if method.refactor else pair
            own = dict.fromkeys(members, pair)
        if progress is not None:
            progress(round_, rounds)
    return {name: one.weight for name, one in own.items()}


@dataclass(frozen=True, kw_only=True)
class _Client:
    """One platform's side of a method."""

    method: Method
    member: Member
    settings: FederationSettings
    rounds: int

    def round(self, pair: Pair, parts: tuple[Part, ...], secret: RoundSecret) -> Adapter:
        """The update of one round."""
        privacy, training, member = self.settings.privacy, self.settings.training, self.member
        steps = self.rounds * self.method.local_steps
        noise = promise(privacy.replace(steps_per_round=1), member.population, steps)[1]
        moving = {
            part: nn.Parameter(torch.from_numpy(getattr(pair, part).copy())) for part in parts
        }
        everybody = sum(own.population or 1 for own in self.settings.platforms.values())
        rate = self.method.rate(training.learning_rate, everybody)
        optimiser = PrivateOptimizer(
            torch.optim.SGD(list(moving.values()), lr=rate),
            noise=CryptographicNoise() if privacy.private else None,
            noise_multiplier=noise,
            clip_norm=privacy.clip_norm if privacy.private else float("inf"),
            sample_rate=privacy.sample_rate,
            population=member.population,
            private=privacy.private,
        )
        for step in range(self.method.local_steps):
            self._step(optimiser, pair, moving, secret, step)
            if self.method.proximal:
                with torch.no_grad():
                    for part, tensor in moving.items():
                        start = torch.from_numpy(getattr(pair, part))
                        tensor.add_(start - tensor, alpha=self.method.proximal)
        return {
            part: tensor.detach().numpy() - getattr(pair, part) for part, tensor in moving.items()
        }

    @torch.no_grad()
    def _step(
        self,
        optimiser: PrivateOptimizer,
        pair: Pair,
        moving: dict[Part, nn.Parameter],
        secret: RoundSecret,
        step: int,
    ) -> None:
        privacy, training, model = (
            self.settings.privacy,
            self.settings.training,
            self.settings.model,
        )
        ground, sequences = self.member.ground, self.member.sequences
        A = moving.get("A", torch.from_numpy(pair.A))
        B = moving.get("B", torch.from_numpy(pair.B))
        moved = ground.vectors + (ground.features @ A.T) @ B.T
        scale = scales(ground, moved)
        drawn = draw_negatives(len(moved), training.negatives, secret.stream("negatives", step))
        columns = ground.features if "A" in moving else ground.features @ A.T
        table = Table(
            adapted=moved * scale,
            columns=columns * scale,
            negatives=torch.from_numpy(drawn),
            decay=model.decay,
            temperature=training.temperature,
            gce_q=0.0,  # as published: cross-entropy
        )
        users = by_length(
            sequences,
            poisson_sample(len(sequences), privacy.sample_rate, secret.stream("sampling", step)),
        )
        coins = secret.stream("positions", step).uniform(len(sequences))
        for start in range(0, len(users), self.settings.speed.train_batch):
            rows = users[start : start + self.settings.speed.train_batch]
            inputs, outputs = factors(
                table, windows(sequences, rows, coins[rows], training.targets_per_user + 1)
            )
            found = {
                "B": (inputs @ A.T if "A" in moving else inputs, outputs),
                "A": (inputs, outputs @ B),
            }
            optimiser.accumulate_factors([found[part] for part in moving])
        if privacy.private:
            optimiser.noise = secret.stream("noise", step)
        optimiser.step()
