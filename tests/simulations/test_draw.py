"""Some of a platform's users: how many, who, and that a larger share holds a smaller one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.splits import Split, split
from shared.events import Sequences
from simulations.draw import Draw


def people(users: int = 40) -> Split:
    rng = np.random.default_rng(2)
    events = [rng.permutation(30)[: rng.integers(4, 9)] for _ in range(users)]
    return split(
        Sequences(
            users=tuple(f"u{number}" for number in range(users)),
            items=np.concatenate(events).astype(np.int32),
            offsets=np.cumsum([0, *map(len, events)]).astype(np.int64),
        )
    )


@given(
    users=st.integers(1, 3000),
    small=st.floats(0.001, 1),
    large=st.floats(0.001, 1),
    seed=st.integers(0, 5),
)
def test_a_smaller_share_is_part_of_a_larger_one(
    users: int, small: float, large: float, seed: int
) -> None:
    small, large = sorted((small, large))
    few, many = (Draw(share=share, seed=seed).rows("shop", users) for share in (small, large))
    assert set(few) <= set(many) <= set(range(users))
    assert np.all(np.diff(many) > 0)
    assert small * users <= len(few) < small * users + 1


def test_platforms_and_seeds_draw_for_themselves() -> None:
    drawn = [
        tuple(Draw(share=0.25, seed=seed).rows(name, 400))
        for seed in (0, 1)
        for name in ("shop", "films")
    ]
    assert len(set(drawn)) == 4
    # by chance two draws of a quarter share a sixteenth of all users: 25
    assert len(set(drawn[0]) & set(drawn[1])) == pytest.approx(25, abs=15)


def test_users_keep_their_own_events() -> None:
    whole = people()
    draw = Draw(share=0.2, seed=3)
    rows = draw.rows("shop", len(whole))
    few = draw.of("shop", whole)
    assert few.train.users == tuple(f"u{row}" for row in rows)
    assert len(few) == 8
    for place, row in enumerate(rows):
        assert np.array_equal(few.train[place], whole.train[int(row)])
    assert np.array_equal(few.validation, whole.validation[rows])
    assert np.array_equal(few.test, whole.test[rows])


def test_all_is_all() -> None:
    whole = people()
    found = Draw(share=1.0, seed=0).of("shop", whole)
    assert found.train.users == whole.train.users
    assert np.array_equal(found.train.items, whole.train.items)
