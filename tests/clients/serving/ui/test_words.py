"""Sentences say what was measured, bad news too."""

import pytest

from clients.serving.fairness import Fairness
from clients.serving.ui import words
from shared.bootstrap import Interval
from shared.groups.figures import Figures, Spread

FLAT = Spread(coverage=1.0, gini=0.0)


def group(kind: str, name: str, low: float, high: float) -> Figures:
    middle = (low + high) / 2
    return Figures(
        kind=kind,
        name=name,
        note="",
        users=40,
        ndcg=Interval(value=0.1 + middle, low=0.0, high=1.0),
        before=Interval(value=0.1, low=0.0, high=1.0),
        change=Interval(value=middle, low=low, high=high),
        history_popularity=0.2,
        shown_popularity=0.3,
        shown_before=0.1,
    )


def told(*groups: Figures) -> str:
    return words.fair(Fairness(groups=groups, model=(), before=FLAT, now=FLAT, users=40, of=40))


def test_who_gained_and_who_lost() -> None:
    every = group("everybody", "everybody", 0.01, 0.02)
    up, level = group("activity", "many", 0.01, 0.02), group("activity", "some", -0.01, 0.01)
    down = group("popularity", "tail", -0.02, -0.01)
    better = "served clearly better than by the frozen model"
    assert told(every, up, level) == f"Of 2 groups, 1 is {better}, and none clearly worse."
    assert told(every, level, down) == (
        f"Of 2 groups, none is {better}, and 1 clearly worse: "
        "users whose next item was of the “tail”."
    )
    assert told(every, level).startswith("In none of 1 groups can the change")
    assert told(every).startswith("There are too few users")


def test_numbers_as_people_write_them() -> None:
    assert words.epsilon(7.991) == "8"  # rounded up: never less than was spent
    assert words.epsilon(1.2301) == "1.24"
    assert words.epsilon(0.0) == "0"
    assert (words.epsilon(7.9851), words.left(8 - 7.9851)) == ("7.99", "0.01")  # 8 together
    assert words.percent(0.001) == "under 1\u202f%"
    assert words.percent(0.0) == "0\u202f%"
    assert words.signed(-0.104) == "−10\u202f%"
    assert words.lift(None) == "–"


def test_commands_are_set_apart_and_nothing_else_is_markup() -> None:
    assert words.coded("Run `a <b>` & <i>") == "Run <code>a &lt;b&gt;</code> &amp; &lt;i&gt;"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.2, "better"), (-0.2, -0.1, "worse"), (-0.1, 0.1, "no clear change")],
)
def test_verdicts(low: float, high: float, verdict: str) -> None:
    assert words.verdict(group("activity", "some", low, high)) == verdict


def test_popularity_bias_in_a_sentence() -> None:
    assert words.bias(group("everybody", "everybody", 0, 0)) == (
        "What is shown is 50\u202f% more popular than what the users themselves chose; "
        "under the frozen model it was −50\u202f%."
    )
