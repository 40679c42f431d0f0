import numpy as np
import pytest
import torch

from shared.errors import DataError
from simulations.baselines.learning import (
    Lesson,
    Schedule,
    draw_examples,
    learn,
    rectangle,
    seeded,
    shuffled_batches,
)

pytestmark = pytest.mark.usefixtures("generators_left_alone")


def test_the_last_event_of_a_tenth_is_held_back_and_never_learned(pack) -> None:
    # user u has items 10u, 10u + 1, ...: every event is known by its number
    train = pack(*([10 * user + event for event in range(2 + user % 4)] for user in range(60)), [7])
    lesson = Lesson.of(train, share=0.1, longest=50, seed=3)
    assert len(lesson.held) == len(lesson.targets) == 6
    learned = {item for events in lesson.sequences for item in events.tolist()}
    for history, target in zip(lesson.held, lesson.targets.tolist(), strict=True):
        assert target == history[-1] + 1
        assert target not in learned
    assert all(len(events) >= 2 for events in lesson.sequences)
    # who has two events and loses one teaches nothing; the others are all there
    short = sum(len(history) == 1 for history in lesson.held)
    assert len(lesson.sequences) == 60 - short
    again = Lesson.of(train, share=0.1, longest=50, seed=3)
    assert lesson.targets.tolist() == again.targets.tolist()
    assert (
        lesson.targets.tolist() != Lesson.of(train, share=0.1, longest=50, seed=4).targets.tolist()
    )


def test_histories_are_cut_to_the_newest(pack) -> None:
    lesson = Lesson.of(pack(*[list(range(9))] * 10), share=0.1, longest=3, seed=0)
    assert lesson.held[0].tolist() == [5, 6, 7]
    assert sorted({tuple(events.tolist()) for events in lesson.sequences}) == [
        (4, 5, 6, 7),
        (5, 6, 7, 8),
    ]


def test_nothing_to_learn(pack) -> None:
    with pytest.raises(DataError, match="two training events, got none among 2 users"):
        Lesson.of(pack([1], []), share=0.1, longest=5, seed=0)


def test_batches_hold_everybody_once_and_neighbours_in_length() -> None:
    rng = np.random.default_rng(0)
    users = [np.full(size, number, np.int32) for number, size in enumerate(rng.integers(2, 40, 90))]
    batches = list(shuffled_batches(users, 8, np.random.default_rng(1)))
    assert sorted(int(user[0]) for batch in batches for user in batch) == list(range(90))
    spread = [max(map(len, batch)) - min(map(len, batch)) for batch in batches]
    assert max(spread) <= 12
    firsts = [int(batch[0][0]) for batch in batches]
    assert firsts != [
        int(batch[0][0]) for batch in shuffled_batches(users, 8, np.random.default_rng(2))
    ]


def test_examples_are_an_event_and_what_precedes_it(pack) -> None:
    train = pack([3], [10, 11, 12, 13, 14], [20, 21])
    drawn = draw_examples(train, 400, 2, np.random.default_rng(0))
    seen = {(tuple(history.tolist()), item) for history, item in drawn}
    assert seen == {((10,), 11), ((10, 11), 12), ((11, 12), 13), ((12, 13), 14), ((20,), 21)}
    of_the_short = sum(item == 21 for _, item in drawn)
    assert 160 < of_the_short < 240  # users alike, however many events they have


def test_rectangles_are_padded_after_the_newest() -> None:
    items, sizes = rectangle([np.array([4, 5], np.int32), np.array([], np.int32)])
    assert items.tolist() == [[4, 5], [0, 0]]
    assert sizes.tolist() == [2, 0]
    assert rectangle([])[0].shape == (0, 1)


def test_a_seed_inside_changes_nothing_outside() -> None:
    before = torch.get_rng_state()
    with seeded(4):
        first = torch.rand(3)
    with seeded(4):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before)


class _Counter(torch.nn.Module):
    """Scores that find the target (item 1) first in one epoch, and a rank lower for each off it."""

    def __init__(self, best: int) -> None:
        super().__init__()
        self.best = best
        self.epoch = torch.nn.Parameter(torch.zeros(()))

    def scores(self, histories: list[np.ndarray]) -> torch.Tensor:
        distance = -abs(self.epoch.item() - self.best)
        scores = torch.linspace(1.5, -7.5, 10).repeat(len(histories), 1)
        scores[:, 1] = distance
        return scores


def _learn(best: int, **changes: object) -> tuple[_Counter, list[tuple[int, int]]]:
    network, calls = _Counter(best), []
    lesson = Lesson(
        sequences=[np.array([0, 1], np.int32)] * 5,
        held=[np.array([0], np.int32)],
        targets=np.array([1]),
    )

    def step(batch: list[np.ndarray]) -> None:
        with torch.no_grad():
            network.epoch += len(batch) / 5

    plan = {"epochs": 20, "patience": 2, "batch": 5, "max_s": None, "seed": 0, **changes}
    learn(network, step, network, lesson, Schedule(**plan), lambda *call: calls.append(call))
    return network, calls


def test_the_best_epochs_weights_stay_and_patience_ends_it() -> None:
    network, calls = _learn(best=4)
    assert network.epoch.item() == 4
    assert not network.training
    assert calls == [(n, 20) for n in (1, 2, 3, 4, 5, 6, 20)]


def test_the_clock_and_the_number_of_epochs_end_it() -> None:
    network, calls = _learn(best=100, max_s=0.0)
    assert network.epoch.item() == 1
    assert calls == [(1, 20), (20, 20)]
    network, calls = _learn(best=10, epochs=7)
    assert network.epoch.item() == 7
    assert calls[-1] == (7, 7)
