"""What goes into a summary: the measured systems, quoted figures, and how sure to be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulations.bench.quality import statistics
from simulations.bench.quality.outcome import Outcome
from simulations.evaluation import Which


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One system of the benchmark, measured.

    Args:
        label: unique among the entries.
        family: entries of one family differ in epsilon alone; the label where there is no family.
        outcomes: platform -> one outcome per seed; the same number on every platform.
        epsilon: the budget it was trained with; inf without privacy, None where none applies.
        seeds: of the training; empty where nothing is drawn.
    """

    label: str
    outcomes: Mapping[str, Sequence[Outcome]]
    family: str = ""
    epsilon: float | None = None
    seeds: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class Quoted:
    """A published figure, not measured here."""

    name: str
    source: str
    platform: str
    hr: float | None
    ndcg: float | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How sure the figures are to be made.

    Args:
        base: label of the entry that the others are compared with.
        seed: of resamples and flips.
    """

    base: str
    seed: int
    resamples: int = statistics.RESAMPLES
    flips: int = statistics.FLIPS
    level: float = statistics.LEVEL
    which: Which = "test"
    quoted: Sequence[Quoted] = ()
