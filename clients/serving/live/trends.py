"""What rises and what falls: shares of events in two windows of time.

A label's share in the later window is held against that in the earlier one: the pooled normal test
of two proportions with Yates' correction for continuity (Yates 1934; Fleiss, "Statistical Methods
for Rates and Proportions", 1981, section 2.2).  The correction keeps small counts from passing for
trends: without it the test calls too many.  Against noise:
- a label is tested where all four expected counts of its table are at least 5 (Cochran 1954):
  below, the normal law is a bad stand-in for the exact one, above all for windows of unlike size;
- of all labels tested, those are told that Holm's procedure (1979) finds at 5 %: where nothing has
  changed, something is told in at most one call of twenty.
What no test of counts can know: events of one user are not independent, so one busy user can make
a trend of a small label.

`change`, the ratio of the shares, has one half added to each count (Haldane 1956), so that it is
finite where a label is new.  It is above 1 where `z` is above 0, and below where `z` is below: the
halves move a share by less than the correction asks of it.
"""

from collections.abc import Mapping
from math import erfc, sqrt

from clients.serving.answers import Trend

ALPHA = 0.05
FEWEST = 5.0
"""Expected events in each cell of a label's table below which nothing is said."""


def trends(
    now: Mapping[str, int], before: Mapping[str, int], k: int
) -> tuple[tuple[Trend, ...], tuple[Trend, ...]]:
    """(rising, falling), at most `k` each, the largest |z| first.

    Args:
        now, before: label -> events in the later and in the earlier window; they need not be of the
            same length, since shares are compared.
    """
    total, total_before = sum(now.values()), sum(before.values())
    if not (total and total_before):
        return (), ()
    tested = [
        _trend(label, now.get(label, 0), before.get(label, 0), total, total_before)
        for label in sorted({*now, *before})
        if _enough(now.get(label, 0) + before.get(label, 0), total, total_before)
    ]
    told = _holm(tested)
    rising, falling = ([one for one in told if sign * one.z > 0] for sign in (1, -1))
    return tuple(rising[:k]), tuple(falling[:k])


def _enough(events: int, total: int, total_before: int) -> bool:
    every = total + total_before
    return min(events, every - events) * min(total, total_before) >= FEWEST * every


def _trend(label: str, events: int, before: int, total: int, total_before: int) -> Trend:
    gap = events / total - before / total_before
    least = (1 / total + 1 / total_before) / 2
    pooled = (events + before) / (total + total_before)
    error = sqrt(pooled * (1 - pooled) * (1 / total + 1 / total_before))
    size = max(0.0, abs(gap) - least) / error
    return Trend(
        label=label,
        events=events,
        before=before,
        change=((events + 0.5) / (total + 1)) / ((before + 0.5) / (total_before + 1)),
        z=size if gap > 0 else -size,
    )


def _holm(tested: list[Trend]) -> list[Trend]:
    """Those whose two-sided tests hold all together, the largest |z| first."""
    ranked = sorted(tested, key=lambda one: (-abs(one.z), one.label))
    for place, one in enumerate(ranked):
        if erfc(abs(one.z) / sqrt(2)) > ALPHA / (len(ranked) - place):
            return ranked[:place]
    return ranked
