"""For whom training was good: the figures by group that a platform's own page shows, for a run.

Compared are `frozen+knn` and `federated+knn`, on test: what users would be shown.
"""

from typing import Any

import numpy as np

from shared.groups.figures import Lists, People, figures, spread, to_json
from simulations.baselines.base import Scorer
from simulations.bench.quality.outcome import observe
from simulations.prepare import Prepared


def by_group(
    before: Scorer,
    now: Scorer,
    prepared: Prepared,
    *,
    history_length: int,
    score_batch: int,
    seed: int = 0,
) -> dict[str, Any]:
    """`groups`: see `shared.groups.figures.to_json`; `before`, `now`: coverage and Gini index.

    Args:
        seed: of the resamples behind the intervals.
    """
    split, items = prepared.split, len(prepared.platform.catalogue)
    found = observe(
        {"before": before, "now": now},
        split,
        history_length=history_length,
        score_batch=score_batch,
    )
    people = People(
        histories=split.histories("test", 0, len(split)),
        targets=split.test.astype(np.int64),
        item_users=np.bincount(split.train.items, minlength=items),
        users=len(split),
        categories=prepared.platform.catalogue.categories,
    )
    old, new = (Lists(ranks=found[name].ranks, top=found[name].top) for name in ("before", "now"))
    groups = figures(people, old, new, np.random.default_rng(seed))
    return {
        "groups": to_json(groups),
        "before": vars(spread(old.top, items)),
        "now": vars(spread(new.top, items)),
    }
