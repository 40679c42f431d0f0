"""Canary users, and what an attacker in the coordinator's seat sees of them.

A canary user has a short history of items drawn at random from the public catalogue.  Nothing else
is special: the real code samples them, takes their gradients, clips and adds noise.  Their
gradients are long (clipped to the full norm) and nearly at right angles to each other and to
everybody else's, because a block of the adapter has tens of thousands of numbers
(docs/decisions/0008-canary-users.md).

The attacker sees every request and every reply of the platform, and knows all that differential
privacy lets it know: every user's history but which canaries are in; the public negatives; which of
the other users were sampled.  It knows neither the canaries' coins nor the noise.  What it knows it
works out from the round's secret, which is why the audit trains under a seed.

Shapes: `M` canaries, `T` outer products of a gradient, `R` columns of the block, `D` width.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from flwr.app import Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from scipy.special import expit

from clients.platform import Platform
from clients.released import interpolated
from clients.train_plan import interpolation
from shared.errors import ProtocolError
from shared.events import Sequences
from shared.model import InterestModel
from shared.privacy.auditing.game import Filter, Played, contrast, likelihood_ratios
from shared.privacy.clipping import clip_factors
from shared.privacy.factored import factored_sum
from shared.privacy.randomness import UnsafeSeed
from shared.privacy.sampling import poisson_sample
from shared.protocol import TRAIN, TrainReply, TrainRequest
from shared.training import LocalPlan, Steps, by_length
from shared.whitening import Whitening
from simulations.audits.overheard import Overheard
from simulations.engines.inprocess import InProcessGrid

LENGTH = 2
"""Events of a canary: one predicted event.  More of them average out to shorter gradients."""
_PASSES = 4


@dataclass(frozen=True)
class Crew:
    """The canary users.

    Args:
        histories: (M, L) int32 catalogue rows.
        members: (M,) bool, who is in the training data.
    """

    histories: NDArray[np.int32]
    members: NDArray[np.bool_]

    @classmethod
    def drawn(cls, canaries: int, items: int, longest: int, rng: np.random.Generator) -> "Crew":
        """Random histories without repeats, and a fair coin each.

        Args:
            items: in the catalogue.
            longest: most events that a step looks at: a canary's are all used, whatever the coins.
        """
        length = max(1, min(LENGTH, longest, items))
        rows = [rng.choice(items, length, replace=False) for _ in range(canaries)]
        return cls(np.array(rows, np.int32), rng.random(canaries) < 0.5)

    def alone(self) -> Sequences:
        """All canaries, in or out."""
        return _packed(self.histories)

    def joined(self, others: Sequences) -> Sequences:
        """`others`, then the canaries that are in."""
        own = _packed(self.histories[self.members])
        return Sequences(
            users=(*others.users, *own.users),
            items=np.concatenate([others.items, own.items]),
            offsets=np.concatenate([others.offsets, others.offsets[-1] + own.offsets[1:]]),
        )


def _packed(histories: NDArray[np.int32]) -> Sequences:
    count, length = histories.shape
    return Sequences(
        users=tuple(f"canary {number}" for number in range(count)),
        items=histories.ravel(),
        offsets=np.arange(count + 1, dtype=np.int64) * length,
    )


class WatchedGrid(InProcessGrid):
    """The in-process grid, with somebody listening to what the coordinator hears.

    Args:
        watch: called with each train request and the platform's reply to it.
    """

    def __init__(
        self,
        app: ClientApp,
        platforms: Mapping[str, Path],
        *,
        run_folder: Path,
        threads: int,
        watch: Callable[[TrainRequest, TrainReply], None],
    ) -> None:
        super().__init__(app, platforms, run_folder=run_folder, threads=threads)
        self._watch = watch

    def _execute_all(self, messages: Sequence[Message]) -> Iterable[Message]:
        replies = super()._execute_all(messages)
        for message, reply in zip(messages, replies, strict=True):
            if message.metadata.message_type == TRAIN:
                try:
                    answer = TrainReply.from_records(reply.content)
                except ProtocolError:
                    pass  # a refusal; the coordinator stops the run and says why
                else:
                    self._watch(TrainRequest.from_records(message.content), answer)
            yield reply


@dataclass(frozen=True)
class Sighting:
    """What the attacker makes of one round, in standard deviations of the promised noise.

    Args:
        rest: (D, R) the released sum without the users who are no canaries.
        inputs, outputs: (M, T, R) and (M, T, D) factors of the canaries' directions, unit length.
        size: (M,) what one step adds along the own direction: the clipped norm.
        taken: (M,) steps each canary really took part in: for the auditor, not for the attacker.
    """

    rest: torch.Tensor
    inputs: torch.Tensor
    outputs: torch.Tensor
    size: NDArray[np.float64]
    taken: NDArray[np.int64]

    def along(self, matrix: torch.Tensor) -> NDArray[np.float64]:
        """(M,) inner products of `matrix` with the directions."""
        met = ((self.outputs @ matrix) * self.inputs).sum(dim=(1, 2))
        return met.double().numpy()

    def together(self, weights: NDArray[np.float64]) -> torch.Tensor:
        """(D, R) the directions' sum, weighted."""
        weighted = self.outputs * torch.from_numpy(weights).float()[:, None, None]
        return weighted.flatten(0, 1).T @ self.inputs.flatten(0, 1)

    def seen(self, expected: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M,) the release along each direction, without what the *other* canaries should add."""
        return self.along(self.rest - self.together(expected)) + expected


@dataclass
class Witness:
    """Watches a platform's rounds.

    Args:
        platform: its folder, canaries included.
        others: how many of its users are no canaries; they come first.
        crew: the canaries.
        seed: of the platform's randomness.
        heard: what it noised.
    """

    platform: Platform
    others: int
    crew: Crew
    seed: int
    heard: Overheard
    sightings: list[Sighting] = field(default_factory=list)
    released: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __call__(self, request: TrainRequest, reply: TrainReply) -> None:
        """Take down one round."""
        record, asked = self.platform.record, request.settings
        plan = LocalPlan(
            trained=request.trained[0],
            steps=int(asked["steps"]),
            learning_rate=float(asked["learning_rate"]),
            targets_per_user=int(asked["targets_per_user"]),
            negatives=int(asked["negatives"]),
            temperature=float(asked["temperature"]),
            gce_q=float(asked["gce_q"]),
            sample_rate=record.sample_rate,
            clip_norm=record.clip_norm,
            noise_multiplier=record.noise_multiplier,
            population=record.population,
            micro_batch=record.micro_batch,
        )
        ground = self.platform.ground(Whitening.from_arrays(request.base))
        model = InterestModel(record.model, ground.vectors.shape[1]).load(self._start(request))
        secret = UnsafeSeed(self.seed).open(
            platform=record.name, round=request.round, request=request.digest, data=""
        )
        sequences = self.platform.sequences
        steps = Steps(model, ground, sequences, plan)
        released = reply.update[plan.trained].astype(np.float32)
        self.released[plan.trained] = self.released.get(plan.trained, np.float32(0)) + released
        # SGD moved the weights by minus the learning rate times the noised sum over a constant
        scale = -plan.sample_rate * plan.population / plan.learning_rate
        rest = (
            torch.from_numpy((self.heard.of(reply) or reply.update)[plan.trained]).double() * scale
        )
        taken = np.zeros(len(sequences), np.int64)
        for step in range(plan.steps):
            users = poisson_sample(
                len(sequences), plan.sample_rate, secret.stream("sampling", step)
            )
            taken[users] += 1
            coins = secret.stream("positions", step).uniform(len(sequences))
            table = steps.table(secret.stream("negatives", step))
            known = by_length(sequences, users[users < self.others])
            for start in range(0, len(known), plan.micro_batch):
                rows = known[start : start + plan.micro_batch]
                pair = steps.factors(table, rows, coins[rows])
                rest -= factored_sum([pair], plan.clip_norm).sums[0]
        own = np.zeros(len(self.crew.members), np.int64)
        own[self.crew.members] = taken[self.others :]
        # what the canaries' gradients are, in or out: the real code's, in the round's first step
        alone = Steps(model, ground, self.crew.alone(), plan)
        everyone = np.arange(len(own))
        table = alone.table(secret.stream("negatives", 0))
        pair = alone.factors(table, everyone, np.zeros(len(own)))
        noise = plan.noise_multiplier * plan.clip_norm * plan.steps**0.5
        self.sightings.append(_sighting(pair, rest / noise, plan.clip_norm, noise, own))

    def _start(self, request: TrainRequest) -> dict[str, NDArray[np.float32]]:
        """Where the platform's gradients were taken: its own model, of released parts only."""
        return interpolated(
            request.adapter, self.released, interpolation(request, self.platform.name)
        )


def _sighting(
    pair: tuple[torch.Tensor, torch.Tensor],
    rest: torch.Tensor,
    clip_norm: float,
    noise: float,
    taken: NDArray[np.int64],
) -> Sighting:
    inputs, outputs = pair
    one, other = inputs.double(), outputs.double()
    norms = ((one @ one.mT) * (other @ other.mT)).sum((1, 2)).clamp_min(0).sqrt()
    size = norms * clip_factors(norms, clip_norm).double() / noise
    unit = outputs / norms.clamp_min(1e-12).float()[:, None, None]
    return Sighting(rest.float(), inputs, unit, size.numpy(), taken)


def played(sightings: Sequence[Sighting], crew: Crew, rate: float, steps: int) -> Played:
    """The game as it was played: the attacker's scores, and what the auditor knows on top."""
    own = [sight.taken * sight.size for sight in sightings]
    return Played(
        members=crew.members,
        taken=np.stack([sight.taken for sight in sightings]),
        seen=np.stack([sight.seen(part) for sight, part in zip(sightings, own, strict=True)]),
        scores=decoded(sightings, rate, steps),
        matched=_matched(sightings, steps),
    )


def _matched(sightings: Sequence[Sighting], steps: int) -> Filter:
    rows = []
    for sight in sightings:
        matched = sight.together(contrast(sight.taken, steps)).double()
        whole = sight.together(sight.taken.astype(np.float64)).double()
        rows.append([float((matched * other).sum()) for other in (sight.rest, whole, matched)])
    return Filter(*np.array(rows).T)


def decoded(sightings: Sequence[Sighting], rate: float, steps: int) -> NDArray[np.float64]:
    """(M,) each canary's log-odds of being in, from what the attacker sees.

    Canaries are not quite at right angles: what the others are expected to add is taken out first,
    at their odds so far, a few times over (soft interference cancellation, as in multi-user radio).
    """
    odds = np.zeros(len(sightings[0].size))
    for _ in range(_PASSES):
        chance = expit(odds)
        odds = np.zeros_like(odds)
        for sight in sightings:
            seen = sight.seen(rate * steps * chance * sight.size)
            odds += likelihood_ratios(seen[None], sight.size[None], rate, steps)[0]
    return odds
