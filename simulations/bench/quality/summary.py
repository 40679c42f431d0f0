"""All that was measured, as the content of `quality.json`; table and page are made from it alone.

```
format      1
recipe      name of the data
which       "test" or "validation", the held-out item
base        label of the system that all others are compared with
level, resamples, flips, seed       of the statistics
platforms   name -> {users, items, cold_users, unseen_items}    (users in each group)
measures    the names below, in order
systems     list of {
    label       unique
    family      systems of one family differ in epsilon alone
    epsilon     number, "inf" (trained without privacy), or null (nothing to be private about)
    seeds       of the training; empty where nothing is drawn
    platforms   platform -> measure -> FIGURE
    mean        measure -> FIGURE       unweighted mean over platforms
    groups      "cold_users" | "unseen_items" -> {
                    users       in all
                    platforms   platform -> {users, "ndcg@10": FIGURE, "hit@10": FIGURE}
                    mean        the same without users, over platforms that have such users
                }; a group that no platform has is absent
    versus      null for the base itself, else {
                    platforms   platform -> VERSUS
                    mean        VERSUS
                    groups      group -> VERSUS     over platforms that have such users
                }
}
quoted      list of {name, source, platform, hr, ndcg, quoted: true}: published, not measured here
```

FIGURE is {value, low, high, seed_stddev}: with a bootstrap interval over users (null for coverage,
see `measures.coverage`) and the standard deviation over training seeds (null for fewer than two).
With several seeds `value` is of the users' means over seeds.  VERSUS is about NDCG@10:
{difference: {value, low, high}, ratio: {value, low, high}, p_value}; a ratio to 0 is null.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigError
from simulations.bench.quality import statistics
from simulations.bench.quality.entries import Entry, Plan
from simulations.bench.quality.measures import (
    COVERAGE,
    GROUPS,
    HIT,
    NDCG,
    PER_USER,
    Facts,
    coverage,
    per_user,
)
from simulations.bench.quality.outcome import Outcome
from simulations.bench.quality.samples import Sample

FORMAT = 1


def summarise(
    entries: Sequence[Entry], facts: Mapping[str, Facts], recipe: str, plan: Plan
) -> dict[str, Any]:
    """Compute every figure of `quality.json`.

    Args:
        entries: the systems, in the order they are shown in.
        facts: platform -> its facts; every entry must have outcomes on all of them.

    Raises:
        ConfigError: labels repeat, the base is not among them, or an entry lacks a platform.
        DataError: an outcome is of other users or items than the facts.
    """
    _check(entries, facts, plan)
    samples = {
        name: _sample(entries, name, own, number, plan)
        for number, (name, own) in enumerate(facts.items())
    }
    groups = {group: _group(facts, samples, group, plan) for group in GROUPS}
    whole = Sample.mean(list(samples.values()))
    base = next(n for n, entry in enumerate(entries) if entry.label == plan.base)
    return {
        "format": FORMAT,
        "recipe": recipe,
        "which": plan.which,
        "base": plan.base,
        "level": plan.level,
        "resamples": plan.resamples,
        "flips": plan.flips,
        "seed": plan.seed,
        "platforms": {
            name: {
                "users": len(own.targets),
                "items": len(own.item_events),
                **{group: int(who.sum()) for group, who in own.groups().items()},
            }
            for name, own in facts.items()
        },
        "measures": [*PER_USER, COVERAGE],
        "systems": [
            {
                "label": entry.label,
                "family": entry.family or entry.label,
                "epsilon": _number(entry.epsilon),
                "seeds": list(entry.seeds),
                "platforms": {
                    name: sample.figures(number, PER_USER, plan.level)
                    | {COVERAGE: _coverage([entry.outcomes[name]])}
                    for name, sample in samples.items()
                },
                "mean": whole.figures(number, PER_USER, plan.level)
                | {COVERAGE: _coverage([entry.outcomes[name] for name in facts])},
                "groups": {
                    group: _group_figures(found, number, plan)
                    for group, found in groups.items()
                    if found
                },
                "versus": None
                if number == base
                else {
                    "platforms": {
                        name: _versus({name: sample}, number, base, plan)
                        for name, sample in samples.items()
                    },
                    "mean": _versus(samples, number, base, plan),
                    "groups": {
                        group: _versus(found, number, base, plan)
                        for group, found in groups.items()
                        if found
                    },
                },
            }
            for number, entry in enumerate(entries)
        ],
        "quoted": [asdict(quote) | {"quoted": True} for quote in plan.quoted],
    }


def _check(entries: Sequence[Entry], facts: Mapping[str, Facts], plan: Plan) -> None:
    labels = [entry.label for entry in entries]
    kinds = {(entry.family or entry.label, entry.epsilon) for entry in entries}
    distinct = len(set(labels)) == len(kinds) == len(labels)
    if plan.base not in labels or not distinct or not facts:
        raise ConfigError(
            expected=f"distinct labels, {plan.base} (the base) among them, no two of a family "
            "with the same epsilon, and a platform",
            got=", ".join(labels) or "none",
            where="systems of the benchmark",
        )
    for entry in entries:
        counts = {len(entry.outcomes.get(name, ())) for name in facts}
        if counts != {max(1, len(entry.seeds))}:
            raise ConfigError(
                expected="one outcome per seed on every platform",
                got=f"between {min(counts)} and {max(counts)} for {len(entry.seeds)} seeds",
                where=f"system {entry.label}",
                remedy="Measure it on every platform with every seed.",
            )


def _sample(entries: Sequence[Entry], name: str, facts: Facts, number: int, plan: Plan) -> Sample:
    """Every entry's per-user figures on one platform, resampled together."""
    averaged, seeds = [], []
    for entry in entries:
        total = np.zeros((len(PER_USER), len(facts.targets)))
        means = []
        for outcome in entry.outcomes[name]:
            figures = np.stack(list(per_user(outcome, facts).values()))
            total += figures
            means.append(figures.mean(axis=1))
        averaged.append(total / len(means))
        seeds.append(np.stack(means))
    return Sample.draw(np.stack(averaged), seeds, _stream(plan, number), plan.resamples)


def _group(
    facts: Mapping[str, Facts], samples: Mapping[str, Sample], group: str, plan: Plan
) -> dict[str, Sample]:
    """The group's users on each platform that has some; NDCG and HR only."""
    found = {}
    kept = [PER_USER.index(NDCG), PER_USER.index(HIT)]
    for number, (name, own) in enumerate(facts.items()):
        members = own.groups()[group]
        if members.any():
            values = samples[name].values[:, kept][:, :, members]
            rng = _stream(plan, number)
            found[name] = Sample.draw(values, None, rng, plan.resamples)
    return found


def _group_figures(found: Mapping[str, Sample], number: int, plan: Plan) -> dict[str, Any]:
    names = (NDCG, HIT)
    return {
        "users": sum(sample.users for sample in found.values()),
        "platforms": {
            name: {"users": sample.users, **sample.figures(number, names, plan.level)}
            for name, sample in found.items()
        },
        "mean": Sample.mean(list(found.values())).figures(number, names, plan.level),
    }


def _versus(samples: Mapping[str, Sample], ours: int, base: int, plan: Plan) -> dict[str, Any]:
    """NDCG@10 (the first measure of every sample) of one entry against the base."""
    every = list(samples.values())
    whole = Sample.mean(every)
    pair = [ours, base]
    p_value = statistics.sign_flip_p_value(
        [sample.values[ours, 0] - sample.values[base, 0] for sample in every],
        seed=plan.seed,
        flips=plan.flips,
    )
    found = statistics.comparison(
        whole.means[pair, 0], whole.drawn[:, pair, 0], p_value, plan.level
    )
    return {
        "difference": {key: _number(value) for key, value in asdict(found.difference).items()},
        "ratio": {key: _finite(value) for key, value in asdict(found.ratio).items()},
        "p_value": _number(p_value),
    }


def _coverage(outcomes: Sequence[Sequence[Outcome]]) -> dict[str, float | None]:
    """FIGURE of the coverage, mean over the platforms whose outcomes (one per seed) are given."""
    shares: NDArray[np.float64] = np.array([[coverage(o) for o in seeds] for seeds in outcomes])
    by_seed = shares.mean(axis=0)
    return {
        "value": round(float(by_seed.mean()), 6),
        "low": None,
        "high": None,
        "seed_stddev": _finite(statistics.seed_stddev(by_seed)),
    }


def _stream(plan: Plan, number: int) -> np.random.Generator:
    return statistics.generator(plan.seed, number)


def _number(value: float | None) -> float | str | None:
    if value is None:
        return None
    return "inf" if math.isinf(value) else round(float(value), 6)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 6)
