"""One platform's users, drawn again and again, with all systems and measures side by side.

Shape legend: `E` systems, `M` measures, `U` users, `R` resamples, `S` training seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.bench.quality import statistics

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Means of every system and measure, with their resampled twins.

    Args:
        values: (E, M, U) per-user figures, means over seeds; empty for a mean over platforms.
        means: (E, M).
        drawn: (R, E, M), the same users drawn for all systems.
        seeds: for each system the (S, M) means of each training seed, or None.
    """

    values: Array
    means: Array
    drawn: Array
    seeds: Sequence[Array] | None

    @property
    def users(self) -> int:
        """U."""
        return int(self.values.shape[2])

    @classmethod
    def draw(
        cls,
        values: Array,
        seeds: Sequence[Array] | None,
        rng: np.random.Generator,
        resamples: int,
    ) -> "Sample":
        """Resample (E, M, U) figures."""
        systems, measures, users = values.shape
        columns = np.ascontiguousarray(values.reshape(-1, users).T)
        drawn = statistics.resampled_means(columns, rng, resamples=resamples)
        return cls(
            values=values,
            means=values.mean(axis=2),
            drawn=drawn.reshape(resamples, systems, measures),
            seeds=seeds,
        )

    @classmethod
    def mean(cls, samples: Sequence["Sample"]) -> "Sample":
        """Unweighted mean over platforms, whose users were drawn independently."""
        seeds = None
        if all(sample.seeds is not None for sample in samples):
            every = [sample.seeds or () for sample in samples]
            seeds = [np.mean(system, axis=0) for system in zip(*every, strict=True)]
        systems, measures = samples[0].means.shape
        return cls(
            values=np.zeros((systems, measures, 0)),
            means=np.mean([sample.means for sample in samples], axis=0),
            drawn=np.mean([sample.drawn for sample in samples], axis=0),
            seeds=seeds,
        )

    def figures(
        self, system: int, names: Sequence[str], level: float
    ) -> dict[str, dict[str, float | None]]:
        """FIGUREs (see `summary`) of one system, by measure."""
        found = {}
        for place, name in enumerate(names):
            sure = statistics.interval(
                self.means[system, place], self.drawn[:, system, place], level
            )
            stddev = None
            if self.seeds is not None:
                stddev = statistics.seed_stddev(self.seeds[system][:, place])
            found[name] = {
                "value": round(sure.value, 6),
                "low": round(sure.low, 6),
                "high": round(sure.high, 6),
                "seed_stddev": None if stddev is None else round(stddev, 6),
            }
        return found
