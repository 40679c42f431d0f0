import numpy as np
import pytest

from clients.splits import split
from shared.errors import DataError
from shared.events import Sequences


def _sequences(*users: list[int]) -> Sequences:
    return Sequences(
        users=tuple(f"u{number}" for number in range(len(users))),
        items=np.array([item for user in users for item in user], np.int32),
        offsets=np.cumsum([0, *map(len, users)]).astype(np.int64),
    )


def test_last_is_test_the_one_before_validation_the_rest_training() -> None:
    cut = split(_sequences([1, 2, 3], [4, 5, 6, 7], [], [8, 9, 10, 11, 12], [13]))
    assert cut.train.users == ("u1", "u3")
    assert [cut.train[user].tolist() for user in range(2)] == [[4, 5], [8, 9, 10]]
    assert cut.validation.tolist() == [6, 11]
    assert cut.test.tolist() == [7, 12]
    assert cut.dropped == {"short_history": 3}
    assert len(cut) == 2


def test_types() -> None:
    cut = split(_sequences([4, 5, 6, 7]))
    assert cut.train.items.dtype == np.int32
    assert cut.train.offsets.dtype == np.int64
    assert cut.validation.dtype == cut.test.dtype == np.int32
    assert cut.dropped == {"short_history": 0}


def test_history_is_everything_before_the_target() -> None:
    cut = split(_sequences([4, 5, 6, 7], [8, 9, 10, 11, 12]))
    before_test = [history.tolist() for history in cut.histories("test", 0, 2)]
    assert before_test == [[4, 5, 6], [8, 9, 10, 11]]
    assert [history.tolist() for history in cut.histories("validation", 1, 2)] == [[8, 9, 10]]
    assert cut.targets("test").tolist() == [7, 12]
    assert cut.targets("validation").tolist() == [6, 11]


def test_training_never_sees_what_is_held_out() -> None:
    cut = split(_sequences([1, 2, 3, 90], [4, 5, 91, 92], [6, 7, 8, 93, 94]))
    assert set(cut.train.items.tolist()).isdisjoint({3, 90, 91, 92, 93, 94})


def test_nobody_has_enough_events() -> None:
    with pytest.raises(DataError, match="expected at least one user with 4 events, got none"):
        split(_sequences([1, 2, 3], [1]))
