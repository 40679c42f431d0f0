"""Catalogues of the demo world: distinct titles that read like real ones.

Shapes: V items.
"""

import html
import re
import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.worlds.vocabulary import Vocabulary

_PLAIN_SHARE = 0.3  # of all items; the other styles share the rest evenly
_ODD_SHARE = 0.03  # titles written as only real catalogues write them


@dataclass(frozen=True, kw_only=True)
class Items:
    """A platform's catalogue and what is behind it (which no platform knows).

    Args:
        titles, categories: V texts; a category is "" where the platform has none.
        taste, style, thing: (V,) int64 latent numbers; `thing` counts within its taste.
        quality: (V,) float64 log-odds of being chosen that no text explains.
    """

    titles: tuple[str, ...]
    categories: tuple[str, ...]
    taste: NDArray[np.int64]
    style: NDArray[np.int64]
    thing: NDArray[np.int64]
    quality: NDArray[np.float64]


def make_items(
    kind: str, count: int, vocabulary: Vocabulary, taken: set[str], rng: np.random.Generator
) -> Items:
    """Compose `count` items of a `kind` of platform.

    Args:
        taken: folded titles that other platforms have; this call adds its own to it.
    """
    tastes, styles = vocabulary.tastes, vocabulary.styles
    # Every taste is present everywhere, but not equally: a platform has its own leaning.
    leaning = rng.dirichlet(np.full(len(tastes), 25.0))
    taste = np.concatenate(
        [
            np.arange(min(count, len(tastes))),
            rng.choice(len(tastes), max(0, count - len(tastes)), p=leaning),
        ]
    )
    shares = np.full(len(styles), (1 - _PLAIN_SHARE) / (len(styles) - 1))
    shares[0] = _PLAIN_SHARE
    style = rng.choice(len(styles), count, p=shares)
    titles, things, categories = [], [], []
    for t, s in zip(taste, style, strict=True):
        title, thing = _compose(kind, vocabulary, int(t), int(s), taken, rng)
        titles.append(title)
        things.append(thing)
        categories.append(tastes[t].categories[kind])
    order = rng.permutation(count)
    return Items(
        titles=tuple(
            _odd(titles[i], rng) if rng.random() < _ODD_SHARE else titles[i] for i in order
        ),
        categories=tuple(categories[i] for i in order),
        taste=taste[order],
        style=style[order],
        thing=np.array(things, dtype=np.int64)[order],
        quality=rng.normal(0.0, 0.4, count),
    )


def fold(title: str) -> str:
    """What two titles have in common if a reader would call them the same."""
    plain = unicodedata.normalize("NFKC", html.unescape(title)).replace("’", "'")
    return " ".join(plain.casefold().split())


def _compose(
    kind: str,
    vocabulary: Vocabulary,
    taste: int,
    style: int,
    taken: set[str],
    rng: np.random.Generator,
) -> tuple[str, int]:
    """Draw titles until one is new: there are hundreds of each, and some end in a drawn detail."""
    things = vocabulary.tastes[taste].things[kind]
    patterns = vocabulary.styles[style].patterns[kind]
    while True:
        thing = int(rng.integers(len(things)))
        pattern = patterns[rng.integers(len(patterns))]
        # A headline counts as "about the same thing" as others with the same subject.
        name = things[thing]
        place = vocabulary.places[rng.integers(len(vocabulary.places))]
        title = pattern.format(N=name, P=name, H=name, W=place)
        if kind == "shop":
            title += vocabulary.details[rng.integers(len(vocabulary.details))]
        elif kind == "film":
            title += f" ({_year(style, rng)})"
        title = re.sub(r"\b([Aa]) (?=[AEIOUaeiou])", r"\1n ", title)
        title = title[0].upper() + title[1:]
        if fold(title) not in taken:
            taken.add(fold(title))
            return title, thing // 6 if kind == "news" else thing


def _year(style: int, rng: np.random.Generator) -> int:
    return int(rng.integers(1934, 2024)) if style != 3 else int(rng.integers(1931, 1972))


def _odd(title: str, rng: np.random.Generator) -> str:
    """The title as a careless export leaves it: still the same title to a reader."""
    ways = (
        html.escape(title, quote=True),  # &amp; and &#x27;
        title.replace("'", "’"),
        title.replace(" ", "\u00a0", 1),
        f" {title} ",
        title.upper(),
        unicodedata.normalize("NFD", title),
        title.replace(" ", "  ", 1),
    )
    changed = [way for way in ways if way != title]
    return changed[rng.integers(len(changed))]
