"""Which categories and title phrases tell some items from the rest of a catalogue.

A name is good when it is frequent in the group and rare in the catalogue (tf-idf), and honest when
it covers enough of the group.  No stop-word lists: what is common in the catalogue is common,
in any language.  Shapes: V items, R items of a group.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_TOKEN = re.compile(r"\w(?:[\w'’-]*\w)?")
_LONGEST_PHRASE = 4
_LONGER_IS_CLEARER = 0.15  # added to the score per further word: "Call of Duty", not "Duty"
_EDGE_RARITY = log(20)  # a phrase neither begins nor ends with a word of every 20th title
_CATEGORY_SCORE = log(1.5)  # a category that two in three items have says nothing
_COVERAGE = 0.5  # share of the group that a name must cover, if any name does
_NEAR_COVERAGE = 0.2  # share of the neighbours that must have a phrase of only one item


class Named(Protocol):
    """What of a catalogue is read here."""

    @property
    def titles(self) -> Sequence[str]:
        """V short names."""
        ...

    @property
    def categories(self) -> Sequence[tuple[str, ...]]:
        """V category paths."""
        ...


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What has been counted before.

    Args:
        categories: name -> items.
        categorised: items with any category.
        phrases: title phrase -> titles, see `phrases_of`; 0 for one of fewer than two titles.
    """

    categories: Mapping[str, int]
    categorised: int
    phrases: Mapping[str, int]


class CatalogueWords:
    """Frequencies of categories and title phrases: built once per catalogue, used per user.

    Args:
        catalogue: the items.
        counted: saves counting them.
    """

    def __init__(self, catalogue: Named, counted: Counted | None = None) -> None:
        self.titles = catalogue.titles
        self._paths = catalogue.categories
        self._counted = counted
        if counted is None:
            names = Counter(name for path in self._paths for name in set(path))
            categorised = sum(1 for path in self._paths if path)
            counted = Counted(categories=names, categorised=categorised, phrases={})
        self._category_count, self._categorised = counted.categories, counted.categorised

    def with_more(self, whole: Named, more: Named) -> "CatalogueWords":
        """The same with further items behind the others.

        What is frequent among titles stays as it was counted: a few items do not change that.

        Args:
            whole: all of them.
            more: the further ones.
        """
        found = copy(self)
        found.titles, found._paths = whole.titles, whole.categories
        names = Counter(self._category_count)
        names.update(name for path in more.categories for name in set(path))
        found._category_count = names
        found._categorised += sum(1 for path in more.categories if path)
        return found

    def categories(self, row: int) -> tuple[str, ...]:
        """The distinct category names of an item, outermost first."""
        return tuple(dict.fromkeys(self._paths[row]))

    def category_rarity(self, name: str) -> float:
        """log(items with any category / items with this one): 0 for one that all of them have."""
        return log(self._categorised / self._category_count[name])

    def category_label(self, rows: NDArray[np.integer], parts: NDArray[np.float64]) -> str | None:
        """The category that best names (R,) items whose `parts` sum to 1; None if none does."""
        covered: defaultdict[str, float] = defaultdict(float)
        for row, part in zip(rows, parts, strict=True):
            for name in self.categories(int(row)):
                covered[name] += float(part)
        score = {name: share * self.category_rarity(name) for name, share in covered.items()}
        wide = {name: score[name] for name in score if covered[name] >= _COVERAGE - 1e-9}
        for candidates in (wide, score):
            best = min(candidates, key=lambda name: (-candidates[name], name), default=None)
            if best is not None and candidates[best] >= _CATEGORY_SCORE:
                return best
        return None

    def phrase_label(
        self,
        rows: NDArray[np.integer],
        parts: NDArray[np.float64],
        near: Callable[[], NDArray[np.integer]],
    ) -> str | None:
        """The phrase of up to 4 words that best names the items; None if none covers enough.

        Args:
            rows: (R,) the group's items.
            parts: (R,) their weights, summing to 1.
            near: finds catalogue items like them, and is called where there is a phrase to choose:
                one that only one item of the group has must be theirs too, or a single item would
                be named by any odd word of its title.
        """
        covered: defaultdict[str, float] = defaultdict(float)
        around: defaultdict[str, float] = defaultdict(float)
        support: Counter[str] = Counter()
        written: dict[str, str] = {}
        for row, part in zip(rows, parts, strict=True):
            for phrase, text in dict(reversed(_spans(self.titles[int(row)]))).items():
                covered[phrase] += float(part)
                support[phrase] += 1
                written.setdefault(phrase, text)
        wide = {
            phrase: share
            for phrase, share in covered.items()
            if share >= _COVERAGE - 1e-9 and self._could_name(phrase)
        }
        neighbours = near() if wide else ()
        for row in neighbours:
            title = _words(self.titles[int(row)])
            for phrase in wide:
                if f" {phrase} " in title:
                    around[phrase] += 1 / len(neighbours)
        score = {
            phrase: (share + around[phrase]) * self._phrase_rarity(phrase) * _clarity(phrase)
            for phrase, share in wide.items()
            if support[phrase] > 1 or around[phrase] >= _NEAR_COVERAGE - 1e-9
        }
        best = min(score, key=lambda phrase: (-score[phrase], -len(phrase), phrase), default=None)
        return None if best is None else written[best]

    @cached_property
    def _phrase_count(self) -> Mapping[str, int]:
        """Titles per phrase, for phrases of at least two titles."""
        if self._counted is not None:
            return self._counted.phrases
        count: Counter[str] = Counter()
        for title in self.titles:
            count.update(phrases_of(title))
        return Counter({phrase: n for phrase, n in count.items() if n > 1})

    def _phrase_rarity(self, phrase: str) -> float:
        return log(len(self.titles) / self._phrase_count[phrase])

    def _could_name(self, phrase: str) -> bool:
        words = phrase.split(" ")
        return (
            any(character.isalpha() for character in phrase)
            and self._phrase_count[phrase] > 1
            and all(self._edge_fits(word) for word in (words[0], words[-1]))
        )

    def _edge_fits(self, word: str) -> bool:
        count = max(1, self._phrase_count[word])
        return word.isdigit() or log(len(self.titles) / count) >= _EDGE_RARITY


def phrases_of(title: str) -> set[str]:
    """Every phrase of a title, as they are counted."""
    return {phrase for phrase, _ in _spans(title)}


def _clarity(phrase: str) -> float:
    return 1.0 + _LONGER_IS_CLEARER * phrase.count(" ")


def _words(title: str) -> str:
    """The words of a title as phrases have them, each between blanks."""
    found = " ".join(token.group().lower().replace("’", "'") for token in _TOKEN.finditer(title))
    return f" {found} "


def _spans(title: str) -> list[tuple[str, str]]:
    """Every run of 1 to 4 words: (lower case with plain apostrophes, as written)."""
    places = [token.span() for token in _TOKEN.finditer(title)]
    words = [title[start:end].lower().replace("’", "'") for start, end in places]
    return [
        (" ".join(words[first : last + 1]), title[start : places[last][1]])
        for first, (start, _) in enumerate(places)
        for last in range(first, min(first + _LONGEST_PHRASE, len(places)))
    ]
