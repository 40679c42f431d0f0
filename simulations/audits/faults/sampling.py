"""Faults in who takes part in a step.

Sources: Chua et al. 2024, "How private are DP-SGD implementations?", on shuffled batches that are
accounted as Poisson, and Chua et al. 2024, "Scalable DP-SGD", on batches that are cut; Opacus issue
161 on empty batches.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared import training
from shared.privacy.randomness import RoundSecret, Stream
from shared.privacy.sampling import poisson_sample
from shared.training import Steps
from simulations.audits.checks import Cause
from simulations.audits.faults.fault import Fault, Swap

Sample = Callable[[int, float, Stream], NDArray[np.int64]]


def _sampler(made: Callable[[Sample], Sample]) -> tuple[Swap, ...]:
    return (Swap(training, "poisson_sample", made),)


@contextmanager
def _drawing(sample: Sample) -> Iterator[None]:
    """`sample` draws the users while this lasts."""
    installed = training.poisson_sample
    setattr(training, "poisson_sample", sample)  # noqa: B010 - a patch
    try:
        yield
    finally:
        setattr(training, "poisson_sample", installed)  # noqa: B010


def _shuffled(_original: Sample) -> Sample:
    waiting: dict[int, list[int]] = {}

    def sample(users: int, rate: float, stream: Stream) -> NDArray[np.int64]:
        size = round(rate * users)
        queue = waiting.setdefault(users, [])
        if len(queue) < size:
            queue[:] = stream.permutation(users).tolist()
        taken, queue[:] = queue[:size], queue[size:]
        return np.sort(np.array(taken, np.int64))

    return sample


def _fixed(_original: Sample) -> Sample:
    return lambda users, rate, stream: np.sort(stream.permutation(users)[: round(rate * users)])


def _never_empty(original: Sample) -> Sample:
    def sample(users: int, rate: float, stream: Stream) -> NDArray[np.int64]:
        found = original(users, rate, stream)
        return found if len(found) or not users else np.zeros(1, np.int64)

    return sample


def _cut(original: Sample) -> Sample:
    """A batch has room for the expected number of users, and who is beyond it is left out."""

    def sample(users: int, rate: float, stream: Stream) -> NDArray[np.int64]:
        return original(users, rate, stream)[: max(1, round(rate * users))]

    return sample


def _busier_more_often(original: Callable[..., None]) -> Callable[..., None]:
    """Users with long histories are drawn twice as often as those with short ones."""

    def take(self: Steps, step: int, secret: RoundSecret) -> None:
        lengths = self.sequences.lengths
        chance = np.full(len(lengths), 2 / 3)
        chance[np.argsort(lengths, kind="stable")[len(lengths) // 2 :]] = 4 / 3

        def sample(users: int, rate: float, stream: Stream) -> NDArray[np.int64]:
            return np.flatnonzero(stream.uniform(users) < np.minimum(1.0, rate * chance))

        with _drawing(sample):
            original(self, step, secret)

    return take


def _scaled(factor: float) -> Callable[[Sample], Sample]:
    return lambda original: (
        lambda users, rate, stream: original(users, min(1.0, rate * factor), stream)
    )


def _drop_last(original: Callable[..., None]) -> Callable[..., None]:
    """A micro-batch that is not full is thrown away, as data loaders do with drop_last."""

    def take(self: Steps, step: int, secret: RoundSecret) -> None:
        def sample(users: int, rate: float, stream: Stream) -> NDArray[np.int64]:
            found = poisson_sample(users, rate, stream)
            return found[: len(found) // self.plan.micro_batch * self.plan.micro_batch]

        with _drawing(sample):
            original(self, step, secret)

    return take


def _rate_of_loader(original: Callable[..., None]) -> Callable[..., None]:
    """q = 1 / len(loader): the expected batch over the counted users, not the declared ones."""

    def take(self: Steps, step: int, secret: RoundSecret) -> None:
        batch = self.plan.sample_rate * self.plan.population

        def sample(users: int, rate: float, stream: Stream) -> NDArray[np.int64]:
            loader = max(1, int(users // max(1.0, batch)))
            return poisson_sample(users, 1 / loader, stream)

        with _drawing(sample):
            original(self, step, secret)

    return take


def _same_every_step(original: Callable[..., Stream]) -> Callable[..., Stream]:
    return lambda self, purpose, step: original(self, purpose, 0 if purpose == "sampling" else step)


def _skip_empty(original: Callable[..., None]) -> Callable[..., None]:
    """`if not batch: continue`"""

    def take(self: Steps, step: int, secret: RoundSecret) -> None:
        drawn = training.poisson_sample(
            len(self.sequences), self.plan.sample_rate, secret.stream("sampling", step)
        )
        if len(drawn):
            original(self, step, secret)

    return take


def _step(made: Callable[[Any], Any]) -> tuple[Swap, ...]:
    return (Swap(Steps, "take", made),)


FAULTS = (
    Fault("shuffled epochs accounted as Poisson", Cause.NOT_POISSON, _sampler(_shuffled)),
    Fault("fixed batch size accounted as Poisson", Cause.NOT_POISSON, _sampler(_fixed)),
    Fault("a batch has at least one user", Cause.NOT_POISSON, _sampler(_never_empty)),
    Fault("batches cut at the expected size", Cause.NOT_POISSON, _sampler(_cut)),
    Fault("last incomplete batch dropped", Cause.NOT_POISSON, _step(_drop_last)),
    Fault(
        "the same batch in every step",
        Cause.NOT_POISSON,
        (Swap(RoundSecret, "stream", _same_every_step),),
    ),
    Fault("busy users drawn more often", Cause.NOT_POISSON, _step(_busier_more_often)),
    Fault("users drawn 25 % more often", Cause.WRONG_RATE, _sampler(_scaled(1.25))),
    Fault("sample rate from the length of the loader", Cause.WRONG_RATE, _step(_rate_of_loader)),
    Fault("empty batch skipped", Cause.EMPTY_BATCH, _step(_skip_empty)),
)
