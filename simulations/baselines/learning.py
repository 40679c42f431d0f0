"""What the trained baselines have in common: seeds, what is held back, when to stop.

Everything here reads training events alone.  For early stopping the last training event of some
users is held back: it is predicted by nobody's loss, and says when more epochs no longer help.

Shapes: `B` users of a batch, `L` longest history of the batch, `V` items.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shared.errors import ConfigError, DataError
from shared.events import Sequences
from shared.metrics import Excluded, ranks
from simulations.baselines.base import Scorer

Progress = Callable[[int, int], None]
History = NDArray[np.int32]

_POOL = 16  # batches whose users are sorted by length together


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's generators (weights, dropout) start at `seed` inside, and are put back after: the
    CPU's, and the current GPU's where there is one."""
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed(seed)
        yield


def require_settings(baseline: Any, **bounds: tuple[float, float]) -> None:
    """Check fields of a baseline, name=(least, most); None passes.

    Raises:
        ConfigError: one is out of its bounds.
    """
    for name, (least, most) in bounds.items():
        value = getattr(baseline, name)
        if value is not None and not least <= value <= most:
            raise ConfigError(
                expected=f"{least:g} to {most:g}",
                got=f"{name} = {value}",
                where=f"baseline {type(baseline).__name__}",
            )


def require_items(train: Sequences, items: int) -> None:
    """Check that every event is about one of the catalogue's V items.

    Raises:
        DataError: there are no items, or an event names one outside the catalogue.
    """
    lowest, highest = train.items.min(initial=0), train.items.max(initial=0)
    if items < 1 or lowest < 0 or highest >= items:
        raise DataError(
            expected=f"items 0 to {items - 1}",
            got="an empty catalogue" if items < 1 else "an item outside the catalogue",
            where="training sequences",
            remedy="Fit the baseline with the catalogue the events were read with.",
        )


def long_enough(train: Sequences) -> NDArray[np.int64]:
    """Rows of the users with an event and one after it.

    Raises:
        DataError: there is none.
    """
    rows = np.flatnonzero(train.lengths >= 2)
    if not len(rows):
        raise DataError(
            expected="at least one user with two training events",
            got=f"none among {len(train)} users",
            where="training sequences",
            remedy="Nothing can be learned about what comes next; give more of the log.",
        )
    return rows


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What is learned from, and what is held back.

    Args:
        sequences: events of each user, two or more, oldest first.
        held: histories of the users whose last event is held back.
        targets: those events.
    """

    sequences: list[History]
    held: list[History]
    targets: NDArray[np.int64]

    @classmethod
    def of(cls, train: Sequences, *, share: float, longest: int, seed: int) -> "Lesson":
        """Hold back the last event of `share` of the users, rounded down.

        Args:
            longest: most events of a history that are read: a sequence is one longer.

        Raises:
            DataError: nobody has two events.
        """
        rows = long_enough(train)
        rng = np.random.default_rng((seed, 0))
        chosen = set(rng.choice(rows, size=int(share * len(rows)), replace=False).tolist())
        kept = [train[row][:-1] if row in chosen else train[row] for row in rows.tolist()]
        held = sorted(chosen)
        return cls(
            sequences=[events[-longest - 1 :] for events in kept if len(events) >= 2],
            held=[train[row][:-1][-longest:] for row in held],
            targets=np.array([train[row][-1] for row in held], np.int64),
        )


def rectangle(histories: Sequence[History]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, L) int64 items, oldest first and 0 after the newest, and (B,) int64 sizes.

    Padding comes last, where a network that reads forwards never meets it.
    """
    sizes = torch.tensor([len(history) for history in histories], dtype=torch.int64)
    items = np.zeros((len(histories), max(1, *map(len, histories), 1)), np.int64)
    for row, history in enumerate(histories):
        items[row, : len(history)] = history
    return torch.from_numpy(items), sizes


def shuffled_batches(
    sequences: Sequence[History], size: int, rng: np.random.Generator
) -> Iterator[list[History]]:
    """All users once, in batches of similar length: little of a batch is padding."""
    order = rng.permutation(len(sequences))
    batches = []
    for start in range(0, len(order), size * _POOL):
        pool = order[start : start + size * _POOL].tolist()
        pool.sort(key=lambda row: len(sequences[row]))
        batches += [pool[at : at + size] for at in range(0, len(pool), size)]
    for number in rng.permutation(len(batches)):
        yield [sequences[row] for row in batches[number]]


def draw_examples(
    train: Sequences, count: int, longest: int, rng: np.random.Generator
) -> list[tuple[History, int]]:
    """`count` times a user, and one of their events after the first, both uniformly, repeats
    allowed: (the at most `longest` events before it, it).

    Raises:
        DataError: nobody has two events.
    """
    users = rng.choice(long_enough(train), size=count)
    places = rng.integers(1, train.lengths[users])
    events = (train[user] for user in users.tolist())
    return [
        (items[max(0, place - longest) : place], int(items[place]))
        for items, place in zip(events, places.tolist(), strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long is learned.

    Args:
        epochs: most passes over the users.
        patience: epochs without a better figure on what is held back before it stops.
        batch: users of a step.
        max_s: seconds after which no further step is made; None is no limit.  A run that the
            clock has cut is not repeatable.
        seed: of the order of users.
    """

    epochs: int
    patience: int
    batch: int
    max_s: float | None
    seed: int


def learn(
    network: nn.Module,
    step: Callable[[list[History]], None],
    scorer: Scorer,
    lesson: Lesson,
    schedule: Schedule,
    progress: Progress | None = None,
) -> None:
    """Train until the held-back events are predicted no better; the best epoch's weights stay.

    Without anything held back (few users) all epochs are run and the last one's weights stay.

    Args:
        network: what `step` changes and `scorer` scores with; left in evaluation mode.
        step: one optimiser step on the sequences of a batch.
        progress: called with (steps done, most steps).
    """
    rng = np.random.default_rng((schedule.seed, 1))
    began, done, waited, best = time.monotonic(), 0, 0, -math.inf
    total = schedule.epochs * -(-len(lesson.sequences) // schedule.batch)
    state = copy.deepcopy(network.state_dict())
    late = False
    for _ in range(schedule.epochs):
        network.train()
        for batch in shuffled_batches(lesson.sequences, schedule.batch, rng):
            step(batch)
            done += 1
            late = schedule.max_s is not None and time.monotonic() - began > schedule.max_s
            if progress is not None:
                progress(done, total)
            if late:
                break
        network.eval()
        reached = _quality(scorer, lesson, schedule.batch)
        waited = 0 if reached > best else waited + 1
        if waited == 0 or not lesson.held:
            best, state = reached, copy.deepcopy(network.state_dict())
        if late or (lesson.held and waited >= schedule.patience):
            break
    network.load_state_dict(state)
    network.eval()
    if progress is not None and done < total:
        progress(total, total)


@torch.inference_mode()
def _quality(scorer: Scorer, lesson: Lesson, batch: int) -> float:
    """Mean of 1 / log2(rank + 2) over the held-back events: NDCG without a cut.

    With a cut it would be 0, and so no guide, for as long as few are among the first ten.
    """
    total = 0.0
    for start in range(0, len(lesson.held), batch):
        histories = lesson.held[start : start + batch]
        targets = torch.from_numpy(lesson.targets[start : start + batch])
        found = ranks(scorer.scores(histories), targets, Excluded.of(histories))
        total += float((1 / torch.log2(found.to(torch.float64) + 2)).sum())
    return total / max(1, len(lesson.held))
