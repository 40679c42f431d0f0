"""The streams check reads what a round really opens."""

import numpy as np

from simulations.audits.checks.probe import people, plan, secret, trace
from simulations.audits.checks.streams import Watched, check


def test_a_watched_round_is_the_same_round_and_all_its_streams_are_seen() -> None:
    plain = secret(3)
    root = Watched(key=plain.key, charge_key=plain.charge_key)
    asked = plan(steps=2, noise_multiplier=1.0, negatives=8)
    watched = trace(people(6, 3), asked, 3, root=root)
    np.testing.assert_array_equal(watched.released, trace(people(6, 3), asked, 3).released)
    opened = [(purpose, step) for purpose, step, _ in root.opened]
    purposes = ("sampling", "positions", "negatives", "noise")
    assert opened == [(purpose, step) for step in (0, 1) for purpose in purposes]
    for purpose, step, head in root.opened:
        np.testing.assert_array_equal(head, plain.stream(purpose, step).uniform(64))
    assert check(3).cause is None
