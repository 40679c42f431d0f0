import numpy as np
import pytest
import torch

from shared.errors import DataError
from simulations.baselines.bert_class import BertClass, BertClassScorer
from simulations.baselines.popularity import Popularity

pytestmark = pytest.mark.usefixtures("generators_left_alone")

SMALL = {"steps": 250, "learning_rate": 2e-3, "head_rate": 1e-2, "max_tokens": 16}


@pytest.fixture(scope="module")
def trained(tiny_bert, texts, circle, vectors) -> BertClassScorer:
    return BertClass(texts=texts, encoder=tiny_bert, seed=1, **SMALL).fit(circle, vectors)


def test_it_learns_what_follows(trained, circle, vectors, share_found) -> None:
    assert share_found(trained) >= 0.95
    assert share_found(Popularity().fit(circle, vectors)) < 0.15


def test_it_starts_as_popularity(tiny_bert, texts, circle, vectors, walks) -> None:
    start = BertClass(texts=texts, encoder=tiny_bert, seed=1, steps=0).fit(circle, vectors)
    said = start.scores(walks).softmax(dim=1)
    counts = np.bincount(circle.items, minlength=24) + 1
    np.testing.assert_allclose(said[0], counts / counts.sum(), rtol=1e-5)
    assert torch.equal(said[0].expand(24, 24), said)


def test_one_seed_gives_one_result(tiny_bert, texts, circle, vectors, walks) -> None:
    def scores(seed: int) -> torch.Tensor:
        system = BertClass(texts=texts, encoder=tiny_bert, seed=seed, **{**SMALL, "steps": 12})
        return system.fit(circle, vectors).scores(walks)

    first = scores(1)
    assert torch.equal(scores(1), first)
    assert not torch.equal(scores(2), first)


def test_a_users_scores_are_their_own(trained, walks) -> None:
    together = trained.scores([*walks, np.arange(20, dtype=np.int32)])
    for row, walk in enumerate(walks):
        torch.testing.assert_close(trained.scores([walk])[0], together[row], rtol=1e-4, atol=1e-3)


def test_the_smallest_worlds(pack, tiny_bert) -> None:
    one = BertClass(texts=["w0"], encoder=tiny_bert, seed=0, steps=2)
    scorer = one.fit(pack([0, 0], [0]), np.zeros((1, 1), np.float32))
    assert scorer.scores([np.array([0], np.int32)]).shape == (1, 1)
    two = BertClass(texts=["w0", "", "w2"], encoder=tiny_bert, seed=0, steps=2)
    scorer = two.fit(pack([0, 1]), np.zeros((3, 1), np.float32))
    scores = scorer.scores([np.array([], np.int32), np.array([1], np.int32)])
    assert scores[0].tolist() == [0, 0, 0]
    assert torch.isfinite(scores).all()
    assert scorer.scores([np.array([], np.int32)]).tolist() == [[0, 0, 0]]


def test_what_is_refused(pack, tiny_bert, texts) -> None:
    with pytest.raises(DataError, match="one for each item"):
        BertClass(texts=texts, encoder=tiny_bert, seed=0).fit(pack([0, 1]), np.zeros((2, 1)))
    with pytest.raises(DataError, match="two training events"):
        BertClass(texts=["a"], encoder=tiny_bert, seed=0).fit(pack([0]), np.zeros((1, 1)))
