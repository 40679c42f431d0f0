import numpy as np
import pytest
import torch

from shared.errors import ConfigError, DataError
from shared.events import Sequences
from simulations.baselines import ease
from simulations.baselines.ease import Ease

pytestmark = pytest.mark.usefixtures("generators_left_alone")


def _nothing(items: int) -> np.ndarray:
    return np.zeros((items, 1), np.float32)


def _random_users(pack, users: int, items: int) -> tuple[Sequences, np.ndarray]:
    rng = np.random.default_rng(1)
    lists = [rng.integers(0, items, size=rng.integers(1, 9)).tolist() for _ in range(users)]
    matrix = np.zeros((users, items))
    for row, user in enumerate(lists):
        matrix[row, user] = 1
    return pack(*lists), matrix


def test_two_items_by_hand(pack) -> None:
    # X'X = [[2, 1], [1, 1]], with lambda 1 [[3, 1], [1, 2]], its inverse [[2, -1], [-1, 3]] / 5
    weights = Ease(regularisation=1.0).fit(pack([0], [0, 1, 0]), _nothing(2)).weights
    np.testing.assert_allclose(weights, [[0, 1 / 3], [1 / 2, 0]], rtol=1e-6)


@pytest.mark.parametrize("at_once", [3, 1024])
def test_every_column_is_the_ridge_regression_on_the_other_items(
    pack, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ease, "_ROWS_AT_ONCE", at_once)
    train, matrix = _random_users(pack, users=60, items=11)
    found = Ease(regularisation=2.5).fit(train, _nothing(11)).weights.numpy()
    for item in range(11):
        others = np.delete(np.arange(11), item)
        # ridge as least squares with sqrt(lambda) I below the design: no normal equations
        design = np.vstack([matrix[:, others], np.sqrt(2.5) * np.eye(10)])
        wanted = np.concatenate([matrix[:, item], np.zeros(10)])
        expected, *_ = np.linalg.lstsq(design, wanted)
        np.testing.assert_allclose(found[others, item], expected, atol=2e-6)
        assert found[item, item] == 0


def test_scores_are_the_binary_history_times_the_weights(pack) -> None:
    train, _ = _random_users(pack, users=60, items=11)
    scorer = Ease(regularisation=3.0).fit(train, _nothing(11))
    histories = [np.array(items, np.int32) for items in ([4, 2, 4, 4], [], [9])]
    binary = np.zeros((3, 11), np.float32)
    binary[0, [2, 4]] = 1
    binary[2, 9] = 1
    scores = scorer.scores(histories)
    assert scores.dtype == torch.float32
    np.testing.assert_allclose(scores, binary @ scorer.weights.numpy(), atol=1e-6)
    for row, history in enumerate(histories):
        assert torch.equal(scorer.scores([history])[0], scores[row])
    assert scorer.scores([]).shape == (0, 11)


def test_what_is_bought_together_comes_first_and_popularity_does_not(pack) -> None:
    # everybody has 0; half of them have 1 and 2, the others 3 and 4
    train = pack(*([[0, 1, 2]] * 20 + [[0, 3, 4]] * 20))
    scores = Ease(regularisation=1.0).fit(train, _nothing(6)).scores([np.array([3], np.int32)])[0]
    assert scores.argmax() == 4
    assert scores[4] > scores[0] > max(scores[1], scores[2])
    assert scores[5] == 0  # nobody has met it


def test_one_item_and_no_events(pack) -> None:
    assert Ease().fit(pack([0, 0]), _nothing(1)).scores([np.array([0], np.int32)]).tolist() == [[0]]
    assert not Ease().fit(pack([]), _nothing(3)).weights.any()


def test_what_is_refused(pack) -> None:
    with pytest.raises(ConfigError, match=r"regularisation = 0.* \(baseline Ease\)"):
        Ease(regularisation=0)
    with pytest.raises(DataError, match="items 0 to 1, got an item outside"):
        Ease().fit(pack([0, 2]), _nothing(2))
    # 100,000 users alike: in float32 nothing is left of the regularisation, and the pivot is 0
    with pytest.raises(DataError, match="Raise the regularisation"):
        Ease(regularisation=1e-3).fit(pack(*[[0, 1]] * 100_000), _nothing(2))
