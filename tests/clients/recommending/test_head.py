import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.recommending.head import LocalHead, Mixing
from shared.errors import DataError, RunError
from shared.events import Sequences


def _sequences(users: list[list[int]]) -> Sequences:
    return Sequences(
        users=tuple(f"u{number}" for number in range(len(users))),
        items=np.array([item for user in users for item in user], np.int32),
        offsets=np.cumsum([0, *map(len, users)]).astype(np.int64),
    )


def _history(*items: int) -> np.ndarray:
    return np.array(items, np.int32)


def test_similarity_by_hand() -> None:
    # 1 followed 0 directly, 2 followed 1 directly, 2 followed 0 at distance 2; then 0 followed 1
    head = LocalHead.fit(_sequences([[0, 1, 2], [1, 0]]), 4, window=2, backward=0.5)
    far = 2**-0.6
    counts = np.array(
        [
            [0, 1 + 0.5, far, 0],
            [1 + 0.5, 0, 1, 0],
            [0.5 * far, 0.5, 0, 0],
            [0, 0, 0, 0],
        ]
    )
    out, into = counts.sum(axis=1), counts.sum(axis=0)
    expected = np.zeros((4, 4))
    for i in range(3):
        for j in range(3):
            expected[i, j] = counts[i, j] / math.sqrt(out[i] * into[j])
    np.testing.assert_allclose(head.similarity.toarray(), expected, rtol=1e-6)
    assert expected[0, 1] == pytest.approx(1.5 / math.sqrt((1.5 + far) * 2.0))
    np.testing.assert_allclose(head.popularity, np.log1p([2, 2, 1, 0]), rtol=1e-6)


def test_window_one_sees_neighbours_only() -> None:
    head = LocalHead.fit(_sequences([[0, 1, 2]]), 3, window=1)
    assert head.similarity.toarray()[0, 2] == 0
    assert head.similarity.toarray()[0, 1] > 0


def test_users_never_run_into_each_other() -> None:
    head = LocalHead.fit(_sequences([[0, 1], [], [2, 3]]), 4, window=5)
    rows, columns = head.similarity.nonzero()
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {
        (0, 1),
        (1, 0),
        (2, 3),
        (3, 2),
    }


def test_without_backward_only_what_followed_counts() -> None:
    head = LocalHead.fit(_sequences([[0, 1]]), 2, backward=0.0)
    assert head.similarity.toarray().tolist() == [[0, 1], [0, 0]]


def test_scores_by_hand() -> None:
    # after 0 comes 1 twice and 2 once; out[0] = 3, into[1] = 2 + 0, into[2] = 1, out[1] = 0
    head = LocalHead.fit(_sequences([[0, 1], [0, 1], [0, 2], [3, 2]]), 4, window=1, backward=0.0)
    to_one, to_two = 2 / math.sqrt(3 * 2), 1 / math.sqrt(3 * 2)
    from_three = 1 / math.sqrt(1 * 2)
    # newest event 3 weighs 1, the one before it, 0, weighs .6 (the common 1/1.6 falls out)
    raw = [0, 0.6 * to_one, 0.6 * to_two + from_three, 0]
    expected = [value / max(raw) for value in raw]
    assert head.knn([_history(0, 3)])[0].tolist() == pytest.approx(expected, rel=1e-6)
    mixed = head.scores([_history(0, 3)])[0].tolist()
    logs = [math.log(1 + n) for n in (3, 2, 2, 1)]
    together = [0.6 * k + 0.02 * n for k, n in zip(expected, logs, strict=True)]
    assert mixed == pytest.approx(together, rel=1e-6)


def test_the_best_item_scores_one() -> None:
    rng = np.random.default_rng(0)
    users = [rng.integers(0, 20, size=9).tolist() for _ in range(40)]
    knn = LocalHead.fit(_sequences(users), 20).knn([_history(3), _history(1, 2, 3, 4)])
    assert knn.amax(dim=1).tolist() == [1, 1]
    assert knn.min() >= 0


def test_a_user_without_history_gets_popularity_only() -> None:
    head = LocalHead.fit(_sequences([[0, 1, 2], [1, 0]]), 4)
    scores = head.scores([_history(), _history(1), _history()])
    np.testing.assert_allclose(scores[0], 0.02 * head.popularity, rtol=1e-6)
    np.testing.assert_allclose(scores[2], 0.02 * head.popularity, rtol=1e-6)
    assert head.knn([_history()]).abs().sum() == 0
    assert head.knn([]).shape == (0, 4)


def test_mixing_is_a_setting() -> None:
    head = LocalHead.fit(_sequences([[0, 1, 2]]), 3, mixing=Mixing(knn=1.0, popularity=0.0))
    history = [_history(0)]
    assert head.scores(history).tolist() == head.knn(history).tolist()


_USERS = st.lists(st.lists(st.integers(0, 6), max_size=9), max_size=6)


@settings(deadline=None)
@given(
    users=_USERS,
    window=st.integers(1, 6),
    backward=st.sampled_from([0.0, 0.5, 1.0]),
    history=st.lists(st.integers(0, 6), max_size=8),
)
def test_the_fast_head_equals_loops(
    users: list[list[int]], window: int, backward: float, history: list[int]
) -> None:
    counts = np.zeros((7, 7))
    for user in users:
        for first, one in enumerate(user):
            for distance, other in enumerate(user[first + 1 : first + 1 + window], start=1):
                if one != other:
                    counts[one, other] += distance**-0.6
                    counts[other, one] += backward * distance**-0.6
    score = np.zeros(7)
    for back, item in enumerate(reversed(history)):
        for other in range(7):
            if counts[item, other]:
                norm = math.sqrt(counts[item].sum() * counts[:, other].sum())
                score[other] += 0.6**back * counts[item, other] / norm
    if score.any():
        score /= score.max()
    head = LocalHead.fit(_sequences(users), 7, window=window, backward=backward)
    np.testing.assert_allclose(head.knn([_history(*history)])[0], score, rtol=1e-5, atol=1e-6)
    # and next to other users of a batch it is the same
    batch = head.knn([_history(3, 2), _history(*history), _history()])
    np.testing.assert_allclose(batch[1], score, rtol=1e-5, atol=1e-6)


def test_an_item_outside_the_catalogue_is_refused() -> None:
    with pytest.raises(DataError, match="expected items 0 to 2, got an item outside the catalogue"):
        LocalHead.fit(_sequences([[0, 1, 3]]), 3)


def _saved(folder: Path) -> tuple[LocalHead, Path]:
    head = LocalHead.fit(
        _sequences([[0, 1, 2], [1, 0]]), 4, decay=0.5, mixing=Mixing(knn=0.3, popularity=0.1)
    )
    path = folder / "head.npz"
    head.save(path)
    return head, path


def test_a_head_comes_back_as_it_was(tmp_path: Path) -> None:
    head, path = _saved(tmp_path)
    again = LocalHead.load(path)
    assert (again.decay, again.mixing) == (0.5, Mixing(knn=0.3, popularity=0.1))
    histories = [_history(0, 2), _history()]
    assert again.scores(histories).tolist() == head.scores(histories).tolist()


def test_a_missing_head_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"got no file .*Build it again") as caught:
        LocalHead.load(tmp_path / "head.npz")
    assert caught.value.exit_code == 10


def test_every_damaged_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    head, path = _saved(tmp_path)
    whole = path.read_bytes()
    histories = [_history(0, 2), _history(1)]
    right = head.scores(histories).tolist()
    noticed = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            assert LocalHead.load(path).scores(histories).tolist() == right
        except RunError:
            noticed += 1
    assert noticed > 20


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_head_is_refused(tmp_path: Path, share: float) -> None:
    _, path = _saved(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(RunError, match="a damaged file"):
        LocalHead.load(path)


def test_contents_that_do_not_match_the_checksum_are_refused(tmp_path: Path) -> None:
    head, path = _saved(tmp_path)
    with np.load(path) as stored:
        parts = {name: stored[name] for name in stored.files}
    parts["popularity"] = parts["popularity"] + 1
    np.savez(path, **parts)
    with pytest.raises(RunError, match="checksum"):
        LocalHead.load(path)
    np.savez(path, **{**parts, "format": np.int64(2)})
    with pytest.raises(RunError, match="got format 2"):
        LocalHead.load(path)
    assert replace(head, decay=0.9).decay == 0.9
