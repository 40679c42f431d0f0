"""Where things are drawn: pinned places, and properties under hypothesis."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulations.report.charts import Line, LineChart, bar, gain_bar, line_chart, shorten
from simulations.report.scale import Scale, nice_ticks, round_ticks, spread
from simulations.report.words import epsilon, odds, signed_percent, size


def _chart(*lines: Line, rounds: int = 4) -> str:
    return str(line_chart(LineChart(lines=lines, rounds=rounds, description="d")))


def test_a_line_goes_where_its_values_say() -> None:
    drawn = _chart(Line("federated", "federated", ((0, 1.0), (4, 2.0))))
    # x: 3 to 97 percent; y: 6 % of the range is margin, on 222 (low) to 14 (high) pixels
    # y(1.0) = 222 - 208 * 0.06 / 1.12 = 210.86; y(2.0) = 222 - 208 * 1.06 / 1.12 = 25.14
    assert 'd="M3.000 210.86L97.000 25.14"' in drawn
    ElementTree.fromstring(drawn)


def test_a_baseline_far_below_keeps_its_label_but_not_the_scale() -> None:
    trained = Line("federated", "federated", ((0, 0.30), (4, 0.40)))
    near, far = Line("frozen", "frozen", level=0.28), Line("popularity", "popularity", level=0.01)
    above = Line("frozen+knn", "frozen-knn", level=0.9)
    drawn = _chart(near, far, trained)
    assert drawn.count('class="line level') == 1
    assert "↓ popularity" in re.sub(r"<title>.*?</title>", "", drawn)
    assert _chart(above, trained).count('class="line level') == 1, "a stronger one is always drawn"


def test_marks_carry_their_reason() -> None:
    line = Line("federated", "federated", ((0, 0.1),))
    chart = LineChart((line,), 4, "d", marks=((2, "a <b>"), (2, "c")))
    drawn = str(line_chart(chart))
    assert drawn.count("✕") == 2
    assert "round 2: a &lt;b&gt;" in drawn
    ElementTree.fromstring(drawn)


def test_flat_and_single_values_can_be_drawn() -> None:
    ElementTree.fromstring(_chart(Line("federated", "federated", ((0, 0.0),)), rounds=0))
    ElementTree.fromstring(_chart(Line("federated", "federated", ((0, 0.5), (1, 0.5))), rounds=1))


def test_bars() -> None:
    drawn = str(bar([("a", 1.0), ("b", 3.0)], 8.0))
    assert 'class="a" x="0.00%" width="12.50%"' in drawn
    assert 'class="b" x="12.50%" width="37.50%"' in drawn
    assert 'width="0.60%"' in str(bar([("a", 1e-9)], 1.0))
    assert "<rect" not in str(bar([("a", 0.0)], 0.0))
    drawn = str(gain_bar([("a", -0.1), ("b", 0.3)], -0.1, 0.3))
    assert 'class="a" x="0.00%" y="1" width="25.00%"' in drawn
    assert 'class="b" x="25.00%" y="15" width="75.00%"' in drawn


def test_ticks() -> None:
    assert nice_ticks(0.0, 8.5) == [0, 2, 4, 6, 8]
    assert nice_ticks(0.021, 0.043) == pytest.approx([0.025, 0.03, 0.035, 0.04])
    assert round_ticks(10) == [0, 2, 4, 6, 8, 10]
    assert round_ticks(1) == [0, 1]
    assert round_ticks(0) == [0]
    assert round_ticks(23) == [0, 5, 10, 15, 20, 23]
    assert round_ticks(21) == [0, 5, 10, 15, 21]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_ticks_are_few_and_inside(low: float, width: float, most: int) -> None:
    high = low + width
    ticks = nice_ticks(low, high, most)
    assert len(ticks) <= max(most, 2)
    slack = 1e-6 * max(width, abs(low))
    assert all(low - slack <= tick <= high + slack for tick in ticks)


@given(st.integers(0, 100_000))
def test_round_ticks_reach_from_0_to_the_last(last: int) -> None:
    ticks = round_ticks(last)
    assert ticks[0] == 0
    assert ticks[-1] == last
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 7


@given(st.lists(st.floats(-50, 300), max_size=13))
def test_labels_never_overlap_and_keep_their_order(places: list[float]) -> None:
    moved = spread(places, 16, 14, 218)
    assert len(moved) == len(places)
    order = sorted(range(len(places)), key=lambda index: places[index])
    steps = [moved[b] - moved[a] for a, b in pairwise(order)]
    assert all(step >= 16 - 1e-6 for step in steps)
    assert all(14 - 1e-6 <= place <= 218 + 1e-6 for place in moved)


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([100, 20, 60], 16, 0, 200) == [100, 20, 60]
    assert spread([50, 50], 16, 0, 200) == [42, 58]
    assert spread([0, 0, 0, 0], 16, 0, 30) == [0, 10, 20, 30]


def test_scale_and_names() -> None:
    assert Scale(0, 10, 0, 100)(2.5) == 25
    assert Scale(3, 3, 0, 100)(3) == 50
    assert shorten("federated+knn") == "federated+knn"
    assert shorten("platform-of-the-north") == "platfo…e-north"


def test_numbers_as_people_write_them() -> None:
    assert epsilon(7.9312) == "7.94", "rounded up: never better than it is"
    assert epsilon(8.0) == "8"
    assert epsilon(float("inf")) == "∞"
    assert odds(1.0) == "2.7"
    assert odds(8.0) == "2,981"
    assert signed_percent(-0.0513) == "−5.1\u202f%"
    assert size(110_592) == "111\u202fKB"
    assert size(1_183_752) == "1.2\u202fMB"
