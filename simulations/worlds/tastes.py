"""People of the demo world: what they are into, and what they therefore choose.

A person has one to three tastes and a style.  What somebody did last says most about what they
do next: they stay with a taste, move on to what it leads to, return to an old taste, or pick
something out of the blue.  Where a taste leads is the same on every platform, and that is the
knowledge a federation can pool.  Nothing here knows about text vectors.

Shapes: U users, V items, T tastes, S styles, L longest history.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.worlds.titles import Items
from simulations.worlds.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How people choose.  Probabilities of a step; what is left of 1 is out of the blue.

    Args:
        stay, move, back: keep to the taste, go to what it leads to, return to an old one.
        second_path: share of moves that take the less likely path.
        quirk: share of moves that go anywhere instead (differs by platform).
        style_shift: chance that the style moves on to what it grows into.
        style_pull, thing_pull: log-odds of an item in one's style, about the same thing as before.
    """

    stay: float = 0.32
    move: float = 0.42
    back: float = 0.12
    second_path: float = 0.2
    quirk: float = 0.1
    style_shift: float = 0.1
    style_pull: float = 1.1
    thing_pull: float = 0.7


@dataclass(frozen=True, kw_only=True)
class People:
    """(U, 3) int64 old tastes, repeated where there are fewer, and (U,) int64 styles."""

    tastes: NDArray[np.int64]
    style: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.style)


def make_people(count: int, vocabulary: Vocabulary, rng: np.random.Generator) -> People:
    """Draw people: the first taste by fashion, the others anywhere."""
    total = len(vocabulary.tastes)
    fashion = rng.dirichlet(np.full(total, 20.0))
    tastes = rng.integers(0, total, (count, 3))
    tastes[:, 0] = rng.choice(total, count, p=fashion)
    how_many = rng.choice([1, 2, 3], count, p=[0.35, 0.4, 0.25])
    for column in (1, 2):
        tastes[:, column] = np.where(how_many > column, tastes[:, column], tastes[:, 0])
    return People(tastes=tastes, style=rng.integers(0, len(vocabulary.styles), count))


def make_histories(
    people: People,
    items: Items,
    lengths: NDArray[np.int64],
    vocabulary: Vocabulary,
    rng: np.random.Generator,
    behaviour: Behaviour | None = None,
) -> NDArray[np.int64]:
    """(U, L) int64 item numbers in order of time, no item twice for a user, -1 after the end."""
    how = behaviour or Behaviour()
    users, longest = len(people), int(lengths.max())
    leads = np.array([taste.leads_to for taste in vocabulary.tastes])
    grows = np.array([style.leads_to for style in vocabulary.styles])
    appeal = np.array([style.appeal for style in vocabulary.styles])
    base = items.quality + appeal[items.style]
    present = [np.flatnonzero(items.taste == taste) for taste in range(len(leads))]
    everywhere = np.arange(len(items.titles))

    old, style = people.tastes.copy(), people.style.copy()
    taste, thing = old[:, 0].copy(), np.full(users, -1)
    seen = np.zeros((users, len(items.titles)), dtype=bool)
    history = np.full((users, longest), -1, dtype=np.int64)
    for step in range(longest):
        active = np.flatnonzero(lengths > step)
        roll = rng.random(users)
        moves = (roll >= how.stay) & (roll < how.stay + how.move)
        backs = (roll >= how.stay + how.move) & (roll < how.stay + how.move + how.back)
        blue = roll >= how.stay + how.move + how.back
        if step:
            path = leads[taste, (rng.random(users) < how.second_path).astype(np.int64)]
            anywhere = rng.integers(0, len(leads), users)
            path = np.where(rng.random(users) < how.quirk, anywhere, path)
            # What one moved to becomes one of one's tastes: interests drift.
            old[moves, 2] = path[moves]
            taste = np.where(moves, path, taste)
            taste = np.where(backs, old[np.arange(users), rng.integers(0, 3, users)], taste)
            thing = np.where(moves | backs, -1, thing)
        style = np.where(rng.random(users) < how.style_shift, grows[style], style)
        for number, pool in [*enumerate(present), (-1, everywhere)]:
            chosen_by = active[
                blue[active] if number < 0 else (taste[active] == number) & ~blue[active]
            ]
            if not len(chosen_by) or not len(pool):
                continue
            odds = base[pool][None, :] + rng.gumbel(size=(len(chosen_by), len(pool)))
            if number >= 0:
                odds += how.style_pull * (items.style[pool][None, :] == style[chosen_by][:, None])
                odds += how.thing_pull * (items.thing[pool][None, :] == thing[chosen_by][:, None])
            odds[seen[np.ix_(chosen_by, pool)]] -= 1e6  # only when all else is seen
            choice = pool[odds.argmax(1)]
            fresh = ~seen[chosen_by, choice]
            history[chosen_by[fresh], step] = choice[fresh]
            seen[chosen_by, choice] = True
            if number >= 0:
                thing[chosen_by] = items.thing[choice]
    return history
