"""All that was measured, as the content of `curves.json`; table and page are made from it alone.

```
format      1
recipe      name of the data
data        SHA-256 of the platforms' data and of the settings
epsilon     of every user for the whole training, or "inf"
seed        of training and draws
planned     rounds of a whole training
level, resamples        of the intervals
platforms   name -> users, all of whom every point is measured on
rounds      null, or list of {
    at          round
    spent       epsilon so far, the largest of the platforms; null without privacy
    systems     "federated" | "federated+knn" -> FIGURES, over "frozen" and "frozen+knn"
}
users       null, or list of {
    at          share of the users that were trained on
    trained     platform -> users that were trained on
    noise       platform -> noise_stddev of each number of a step's mean gradient
    systems     the same, and "local" | "local+knn"
    versus      "federated" | "federated+knn" -> FIGURES, over "local" and "local+knn"
}
checksum    SHA-256 of all the rest
```

FIGURES is {platforms: name -> FIGURE, mean: FIGURE}; FIGURE is {ndcg, value, low, high}: NDCG@10,
its ratio to the base and the bootstrap interval of the ratio over users (null where the base is 0).
The mean's is a ratio of means, unweighted over platforms, as in the quality bench.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clients.platform_record import promise
from shared.config.federation import FederationSettings
from shared.errors import RunError
from shared.files import sha256
from shared.privacy.accountant import Charge, epsilon
from simulations.bench.curves.points import Measured, Point
from simulations.bench.quality import statistics
from simulations.bench.quality.arrange import Training
from simulations.bench.quality.samples import Sample
from simulations.draw import Draw

FORMAT = 1
_PARTS = frozenset(
    [
        "format",
        "recipe",
        "data",
        "epsilon",
        "seed",
        "planned",
        "level",
        "resamples",
        "platforms",
        "rounds",
        "users",
    ]
)
_BASES = (
    ("federated", "frozen"),
    ("federated+knn", "frozen+knn"),
    ("local", "frozen"),
    ("local+knn", "frozen+knn"),
)
_VERSUS = (("federated", "local"), ("federated+knn", "local+knn"))


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the curves are of.

    Args:
        recipe: its name.
        settings: with populations filled in, and the budget asked for.
        seed: of training and draws.
        users: platform -> users.
        data: platform -> digest of its data.
    """

    recipe: str
    settings: FederationSettings
    seed: int
    users: Mapping[str, int]
    data: Mapping[str, str]

    def head(self) -> dict[str, Any]:
        """curves.json without a curve."""
        parts = ("model", "training", "server")
        settings = {part: getattr(self.settings, part).model_dump(mode="json") for part in parts}
        privacy = self.settings.privacy
        settings["privacy"] = privacy.model_dump(mode="json", exclude={"epsilon"})
        members = {
            name: [own.population, own.public_weight]
            for name, own in self.settings.platforms.items()
        }
        return {
            "format": FORMAT,
            "recipe": self.recipe,
            "data": sha256(_canonical([dict(self.data), settings, members])),
            "epsilon": privacy.epsilon if privacy.private else "inf",
            "seed": self.seed,
            "planned": self.settings.training.rounds,
            "level": statistics.LEVEL,
            "resamples": statistics.RESAMPLES,
            "platforms": dict(self.users),
            "rounds": None,
            "users": None,
        }


def summarise(
    subject: Subject, along: str, base: Measured, points: Sequence[Point]
) -> list[dict[str, Any]]:
    """The content of `rounds` or `users`.

    Args:
        along: which of them.
        base: "frozen" and "frozen+knn".
        points: in order.
    """
    found = []
    for point in points:
        every = {**base, **point.systems}
        samples = [_sample(every, name, place) for place, name in enumerate(subject.users)]
        labels = list(every)

        def over(
            pairs: Sequence[tuple[str, str]],
            samples: Sequence[Sample] = samples,
            labels: Sequence[str] = labels,
        ) -> dict[str, Any]:
            return {
                ours: {
                    "platforms": {
                        name: _figure(sample, labels.index(ours), labels.index(to))
                        for name, sample in zip(subject.users, samples, strict=True)
                    },
                    "mean": _figure(Sample.mean(samples), labels.index(ours), labels.index(to)),
                }
                for ours, to in pairs
                if ours in labels and to in labels
            }

        facts = (
            {"spent": _spent(subject, int(point.at))}
            if along == "rounds"
            else _people(subject, point.at)
        )
        found.append({"at": point.at, **facts, "systems": over(_BASES), "versus": over(_VERSUS)})
        if along == "rounds":
            del found[-1]["versus"]
    return found


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with its checksum."""
    bare = {key: value for key, value in content.items() if key != "checksum"}
    return bare | {"checksum": sha256(_canonical(bare))}


def read_curves(path: Path) -> dict[str, Any]:
    """What curves.json holds.

    Raises:
        RunError: it is missing, damaged, or of another version.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version, checksum = found["format"], found["checksum"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, type(error).__name__) from error
    if version != FORMAT:
        raise _unreadable(path, f"format {version}")
    if checksum != sealed(found)["checksum"] or set(found) != _PARTS | {"checksum"}:
        raise _unreadable(path, "content that does not match its checksum")
    return dict(found)


def _sample(every: Measured, name: str, place: int) -> Sample:
    values = np.stack([platforms[name] for platforms in every.values()])[:, None]
    # the same draws at every point, so that points differ by what was trained alone
    return Sample.draw(values, None, statistics.generator(0, place), statistics.RESAMPLES)


def _figure(sample: Sample, ours: int, base: int) -> dict[str, float | None]:
    ratio = statistics.ratios(sample.means[[ours], 0], sample.means[[base], 0])[0]
    drawn = statistics.ratios(sample.drawn[:, ours, 0], sample.drawn[:, base, 0])
    sure = statistics.interval(ratio, drawn, statistics.LEVEL)
    return {
        "ndcg": round(float(sample.means[ours, 0]), 6),
        "value": _finite(sure.value),
        "low": _finite(sure.low),
        "high": _finite(sure.high),
    }


def _spent(subject: Subject, rounds: int) -> float | None:
    """The largest epsilon of the platforms after some of the planned rounds."""
    privacy, planned = subject.settings.privacy, subject.settings.training.rounds
    if not privacy.private:
        return None
    found = []
    for own in subject.settings.platforms.values():
        delta, noise_multiplier = promise(privacy, own.population or 1, planned)
        steps = rounds * privacy.steps_per_round
        found.append(epsilon([Charge(privacy.sample_rate, noise_multiplier, steps)], delta))
    return round(max(found), 6)


def _people(subject: Subject, share: float) -> dict[str, Any]:
    """Who was trained on, and what noise that meant."""
    training = Training(
        kind="federated", epsilon=subject.settings.privacy.epsilon, seed=subject.seed, share=share
    )
    settings = training.settings(subject.settings)
    privacy, draw = settings.privacy, Draw(share=share, seed=subject.seed)
    noise = {}
    for name, own in settings.platforms.items():
        population = own.population or 1
        _, noise_multiplier = promise(privacy, population, settings.training.rounds)
        stddev = noise_multiplier * privacy.clip_norm / (privacy.sample_rate * population)
        noise[name] = float(f"{stddev:.4g}")
    return {
        "trained": {name: len(draw.rows(name, users)) for name, users in subject.users.items()},
        "noise": noise,
    }


def _finite(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _unreadable(path: Path, got: str) -> RunError:
    return RunError(
        expected=f"curves, format {FORMAT}",
        got=got,
        where=str(path),
        remedy="Run `fedinterest bench curves` again: what it has measured is kept.",
    )
