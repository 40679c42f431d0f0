from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.errors import DataError, RunError
from shared.metrics import Excluded, ranks
from simulations.baselines.base import Sum
from simulations.bench.quality.outcome import NOTHING, Outcome, best_items, observe
from simulations.evaluation import evaluate_many

ITEMS = 30


class _Scored:
    """Scores that depend on the history alone: distinct, or with many ties."""

    def __init__(self, seed: int, levels: int = 0, items: int = ITEMS) -> None:
        self.seed, self.levels, self.items, self.calls = seed, levels, items, 0

    def scores(self, histories: list[NDArray[np.int32]]) -> torch.Tensor:
        self.calls += 1
        rows = []
        for history in histories:
            rng = np.random.default_rng([self.seed, *history.tolist()])
            if self.levels:
                rows.append(rng.integers(0, self.levels, self.items))
            else:
                rows.append(rng.permutation(self.items))
        return torch.from_numpy(np.stack(rows).astype(np.float32))


def _slow_top(split: Any, user: int, which: str, scorer: _Scored) -> list[int]:
    history = split.histories(which, user, user + 1)[0]
    score = scorer.scores([history])[0].tolist()
    free = [item for item in range(scorer.items) if item not in history.tolist()]
    best = sorted(free, key=lambda item: -score[item])[:10]
    return best + [NOTHING] * (10 - len(best))


@pytest.mark.parametrize("which", ["test", "validation"])
def test_lists_and_ranks_against_a_loop(make_split: Any, which: Any) -> None:
    cut = make_split(0)
    scorer = _Scored(1)
    found = observe({"a": scorer}, cut, which, score_batch=7)["a"]
    targets = cut.targets(which)
    for user in range(len(cut)):
        best = _slow_top(cut, user, which, scorer)
        assert found.top[user].tolist() == best
        assert found.ranked[user] == ITEMS - len(set(cut.histories(which, user, user + 1)[0]))
        rank = found.ranks[user]
        assert (targets[user] in best) == (rank < 10)
        if rank < 10:
            assert best[rank] == targets[user]
    assert (found.ranks < 10).any()
    assert (found.ranks >= 10).any()


def test_ranks_are_those_of_the_evaluation(make_split: Any) -> None:
    cut = make_split(3)
    one, other = _Scored(1), _Scored(2, levels=4)
    systems = {"one": one, "sum": Sum((one, other))}
    told: list[tuple[int, int]] = []
    observed = observe(
        systems, cut, history_length=3, score_batch=16, progress=lambda *at: told.append(at)
    )
    assert one.calls == 3  # shared between the systems, once for each of three batches
    assert told == [(16, 40), (32, 40), (40, 40)]
    evaluated = evaluate_many(systems, cut, history_length=3)
    for name in systems:
        assert np.array_equal(observed[name].ranks, evaluated[name].ranks)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(1, 6))
def test_with_ties_a_target_of_a_low_rank_is_still_shown(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.integers(0, levels, (5, 25)).astype(np.float32))
    histories = [rng.integers(0, 25, rng.integers(0, 24)).astype(np.int32) for _ in range(5)]
    targets = rng.integers(0, 25, 5)
    before = scores.clone()
    exclude = Excluded.of(histories)
    best = best_items(scores, exclude)
    assert torch.equal(scores, before)
    for user, rank in enumerate(ranks(scores, torch.from_numpy(targets), exclude).tolist()):
        shown = [item for item in best[user].tolist() if item != NOTHING]
        assert len(set(shown)) == len(shown) == min(10, 25 - len(set(histories[user].tolist())))
        assert not set(shown) & set(histories[user].tolist())
        if rank < 10:
            assert targets[user] in shown


def test_what_has_no_score_is_not_shown() -> None:
    scores = torch.tensor([[torch.nan, 1.0, -torch.inf, torch.inf, 5.0]])
    best = best_items(scores, Excluded.of([np.array([4], np.int32)]))
    assert best.tolist() == [[3, 1, NOTHING, NOTHING, NOTHING]]


def test_a_system_of_other_items_is_named(make_split: Any) -> None:
    with pytest.raises(DataError, match="system short"):
        observe({"long": _Scored(0), "short": _Scored(0, items=29)}, make_split(0))


def test_parts_that_do_not_belong_together() -> None:
    with pytest.raises(DataError, match=r"\(2, 10\)"):
        Outcome(
            ranks=np.zeros(2, np.int32),
            top=np.zeros((3, 10), np.int32),
            ranked=np.zeros(2, np.int32),
            items=4,
        )


def test_saved_and_loaded(tmp_path: Path, outcome: Outcome) -> None:
    path = tmp_path / "rows" / "one.npz"
    outcome.save(path)
    again = Outcome.load(path)
    for part in ("ranks", "top", "ranked"):
        assert np.array_equal(getattr(again, part), getattr(outcome, part))
        assert getattr(again, part).dtype == np.int32
    assert again.items == outcome.items


def test_damage_is_said(tmp_path: Path, outcome: Outcome) -> None:
    path = tmp_path / "one.npz"
    with pytest.raises(RunError, match="no file"):
        Outcome.load(path)
    outcome.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="damaged"):
        Outcome.load(path)
    path.write_bytes(whole)
    with np.load(path) as stored:
        parts = dict(stored)
    parts["ranks"] = parts["ranks"] + 1
    np.savez(path, **parts)
    with pytest.raises(RunError, match="checksum"):
        Outcome.load(path)
    parts["format"] = np.int64(99)
    np.savez(path, **parts)
    with pytest.raises(RunError, match="format 99"):
        Outcome.load(path)
