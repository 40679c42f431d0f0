"""What rises and what falls: shares of events in two windows of the same length.

Two proportions are compared with the pooled normal test (Fleiss 1981, section 2.1), with one half
added to each count (Haldane 1956), so that what is new or gone has a finite change too.
"""

from collections.abc import Mapping
from math import sqrt

from clients.serving.answers import Trend

FEWEST = 5
"""Events in both windows together below which nothing is said: the normal test needs some."""


def compared(
    now: Mapping[str, int], before: Mapping[str, int], k: int
) -> tuple[tuple[Trend, ...], tuple[Trend, ...]]:
    """(rising, falling), at most `k` each, the largest |z| first.

    Args:
        now, before: label -> events in the later and in the earlier window.
    """
    total, total_before = sum(now.values()), sum(before.values())
    found = [
        _trend(label, now.get(label, 0), before.get(label, 0), total, total_before)
        for label in sorted({*now, *before})
        if now.get(label, 0) + before.get(label, 0) >= FEWEST and total and total_before
    ]
    rising = sorted((one for one in found if one.z > 0), key=lambda one: (-one.z, one.label))
    falling = sorted((one for one in found if one.z < 0), key=lambda one: (one.z, one.label))
    return tuple(rising[:k]), tuple(falling[:k])


def _trend(label: str, events: int, before: int, total: int, total_before: int) -> Trend:
    share, share_before = (events + 0.5) / (total + 1), (before + 0.5) / (total_before + 1)
    pooled = (events + before + 0.5) / (total + total_before + 1)
    error = sqrt(pooled * (1 - pooled) * (1 / (total + 1) + 1 / (total_before + 1)))
    return Trend(
        label=label,
        events=events,
        before=before,
        change=share / share_before,
        z=(share - share_before) / error,
    )
