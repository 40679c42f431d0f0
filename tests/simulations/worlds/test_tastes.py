"""People follow their tastes, and what is learned of them on one platform holds on another."""

import numpy as np
import pytest

from simulations.worlds.tastes import Behaviour, People, make_histories, make_people
from simulations.worlds.titles import fold, make_items
from simulations.worlds.vocabulary import KINDS, load_vocabulary


def test_every_taste_has_words_everywhere_and_leads_somewhere_else():
    vocabulary = load_vocabulary()
    names = [taste.name for taste in vocabulary.tastes]
    assert len(names) == 28
    for number, taste in enumerate(vocabulary.tastes):
        assert set(taste.things) == set(KINDS)
        assert all(len(set(things)) >= 8 for things in taste.things.values())
        assert len({number, *taste.leads_to}) == 3
    # Each taste is the first destination of exactly one other: no taste drains the rest.
    assert sorted(taste.leads_to[0] for taste in vocabulary.tastes) == list(range(28))


def test_articles_agree_and_titles_are_new():
    vocabulary, taken = load_vocabulary(), set()
    for kind in KINDS:
        items = make_items(kind, 500, vocabulary, taken, np.random.default_rng(3))
        text = " ".join(fold(title) for title in items.titles)
        assert not [word for word in (" a a", " a o", " a i") if word in text]
    assert len(taken) == 5 * 500


def test_people_who_only_move_walk_the_first_path():
    vocabulary = load_vocabulary()
    rng = np.random.default_rng(0)
    items = make_items("film", 400, vocabulary, set(), rng)
    people = make_people(50, vocabulary, rng)
    how = Behaviour(stay=0, move=1, back=0, second_path=0, quirk=0)
    histories = make_histories(people, items, np.full(50, 8), vocabulary, rng, how)
    leads = np.array([taste.leads_to[0] for taste in vocabulary.tastes])
    visited = items.taste[histories]
    # The first event has no path behind it; from there on every taste is what the last led to.
    np.testing.assert_array_equal(leads[visited[:, 1:-1]], visited[:, 2:])


def test_people_who_only_stay_keep_their_taste_and_style():
    vocabulary = load_vocabulary()
    rng = np.random.default_rng(0)
    items = make_items("shop", 600, vocabulary, set(), rng)
    people = People(tastes=np.full((300, 3), 4), style=np.full(300, 2))
    how = Behaviour(stay=1, move=0, back=0, style_shift=0, style_pull=3.0)
    histories = make_histories(people, items, np.full(300, 3), vocabulary, rng, how)
    assert set(items.taste[histories].ravel()) == {4}
    pool = items.taste == 4
    chance = (items.style[pool] == 2).mean()
    assert (items.style[histories] == 2).mean() > 2 * chance


def test_nobody_has_an_item_twice_and_lengths_are_kept():
    vocabulary = load_vocabulary()
    rng = np.random.default_rng(1)
    items = make_items("games", 400, vocabulary, set(), rng)
    lengths = rng.integers(1, 20, 200)
    histories = make_histories(make_people(200, vocabulary, rng), items, lengths, vocabulary, rng)
    for row, length in zip(histories, lengths, strict=True):
        kept = row[row >= 0]
        assert len(kept) == len(set(kept.tolist())) <= length
        assert (row[length:] == -1).all()
    assert (histories >= 0).sum() > 0.98 * lengths.sum()


def word_vectors(texts, words):
    """(V, W) unit rows of weighted word counts: an encoder that knows spelling and nothing else."""
    table = np.zeros((len(texts), len(words)))
    for row, text in enumerate(texts):
        for word in fold(text).replace(",", " ").replace(".", " ").split():
            if word in words:
                table[row, words[word]] = 1
    table *= np.log(len(texts) / (1 + table.sum(0))).clip(0.1)
    table -= table.mean(0)
    return table / np.linalg.norm(table, axis=1, keepdims=True).clip(1e-9)


def recent(sequence, vectors):
    weights = 0.6 ** np.arange(len(sequence) - 1, -1, -1)
    return weights @ vectors[sequence] / weights.sum()


def ndcg(sequences, vectors, change):
    gains = []
    for sequence in sequences:
        if len(sequence) < 4:
            continue
        scores = vectors @ (recent(sequence[:-1], vectors) @ change)
        scores[sequence[:-1]] = -np.inf
        rank = int((scores >= scores[sequence[-1]]).sum()) - 1
        gains.append(1 / np.log2(rank + 2) if rank < 10 else 0.0)
    return float(np.mean(gains))


@pytest.mark.parametrize("small", ["arcade"])
def test_what_others_learn_helps_a_platform_with_few_users(small_world, small):
    """A linear map fitted on the other platforms' histories only, over nothing but shared words."""
    read = small_world.read
    counts: dict[str, int] = {}
    for one in read.values():
        for word in {w for text in one.catalogue.texts for w in fold(text).split()}:
            counts[word] = counts.get(word, 0) + 1
    shared = sorted(word for word, platforms in counts.items() if platforms >= 2)
    words = {word: number for number, word in enumerate(shared)}
    vectors = {n: word_vectors(one.catalogue.texts, words) for n, one in read.items()}
    histories = {
        n: [one.sequences[u] for u in range(len(one.sequences))] for n, one in read.items()
    }
    before, after = [], []
    for name in read:
        if name == small:
            continue
        for sequence in histories[name]:
            for cut in range(1, len(sequence) - 2):
                before.append(recent(sequence[:cut], vectors[name]))
                after.append(vectors[name][sequence[cut]])
    x, y = np.array(before), np.array(after)
    gram = x.T @ x
    ridge = np.trace(gram) / len(gram) * np.eye(len(gram))
    keep = np.eye(len(gram)) * np.vdot(x, y) / np.vdot(x, x)
    learned = keep + np.linalg.solve(gram + ridge, x.T @ (y - x @ keep))
    frozen = ndcg(histories[small], vectors[small], np.eye(len(gram)))
    assert ndcg(histories[small], vectors[small], learned) > 1.15 * frozen > 0.03
