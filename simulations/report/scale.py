"""Arithmetic of charts: where values, ticks and labels go."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] linearly to [start, end]; an empty range maps to the middle."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        if self.high <= self.low:
            return (self.start + self.end) / 2
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most `most` round numbers inside [low, high], in steps of 1, 2, 2.5 or 5 times 10^n."""
    if not high > low:
        return [low]
    exponent = math.floor(math.log10((high - low) / most))
    for power in (exponent, exponent + 1):
        for factor in (1.0, 2.0, 2.5, 5.0):
            step = factor * 10.0**power
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            if last - first + 1 <= most:
                return [index * step for index in range(first, last + 1)]
    return [low, high]


def round_ticks(last: int, most: int = 6) -> list[int]:
    """Round numbers to write below a chart: 0, the last one, and even steps between."""
    if last <= 0:
        return [0]
    step = next(
        base * 10**power
        for power in range(10)
        for base in (1, 2, 5)
        if last / (base * 10**power) <= most - 1
    )
    ticks = list(range(0, last + 1, step))
    if ticks[-1] != last:
        if last - ticks[-1] < 0.6 * step:
            ticks.pop()
        ticks.append(last)
    return ticks


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move label places apart to at least `gap`, staying in [low, high] where they fit.

    The order is kept; labels move as little as a sweep down and a sweep up make them.  When they
    cannot fit, they are spaced evenly over [low, high].
    """
    if not places:
        return []
    order = sorted(range(len(places)), key=lambda index: places[index])
    if len(places) > 1 and gap * (len(places) - 1) > high - low:
        even = (high - low) / (len(places) - 1)
        moved = [low + even * position for position in range(len(places))]
    else:
        moved = [min(max(places[index], low), high) for index in order]
        moved = _relax(moved, gap)
        for position in range(len(moved)):
            floor = low if position == 0 else moved[position - 1] + gap
            moved[position] = max(moved[position], floor)
        moved[-1] = min(moved[-1], high)
        for position in range(len(moved) - 2, -1, -1):
            moved[position] = min(moved[position], moved[position + 1] - gap)
    result = [0.0] * len(places)
    for position, index in enumerate(order):
        result[index] = moved[position]
    return result


def _relax(places: list[float], gap: float) -> list[float]:
    """Group overlapping labels and centre each group on its members' mean place."""
    groups: list[list[float]] = []  # each: the wanted places of one group
    for place in places:
        groups.append([place])
        while len(groups) > 1:
            above, below = groups[-2], groups[-1]
            bottom = sum(above) / len(above) + gap * (len(above) - 1) / 2
            top = sum(below) / len(below) - gap * (len(below) - 1) / 2
            if top - bottom >= gap:
                break
            groups[-2:] = [above + below]
    moved = []
    for group in groups:
        centre = sum(group) / len(group)
        moved += [centre + gap * (index - (len(group) - 1) / 2) for index in range(len(group))]
    return moved
