"""Guesses from scores."""

import numpy as np
import pytest

from shared.privacy.auditing.guessing import correct, guesses


@pytest.mark.parametrize(("canaries", "each"), [(2, 1), (20, 2), (60, 5), (1000, 80)])
def test_a_fixed_share_is_guessed_on_each_side(canaries: int, each: int) -> None:
    assert guesses(canaries) == each


def test_the_highest_are_in_and_the_lowest_out() -> None:
    scores = np.array([0.1, 3.0, -2.0, 0.2, -1.0, 2.0])
    members = np.array([True, True, False, False, True, False])
    assert correct(scores, members, 1) == 2
    assert correct(scores, members, 2) == 2  # 5 and 4 are wrong
    assert correct(scores, members, 3) == 2  # and so are 3 and 0
    assert correct(-scores, members, 3) == 4


def test_equal_scores_are_guessed_by_number_alone() -> None:
    members = np.array([True, False, True, False])
    assert correct(np.zeros(4), members, 1) == 2
    assert correct(np.zeros(4), ~members, 1) == 0
