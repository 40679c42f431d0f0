"""Event files, read back with TensorBoard's own reader."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from server.tracking.point import Point
from server.tracking.tensorboard import TensorBoardTracker
from shared.errors import StorageError

Curves = dict[str, list[tuple[int, float]]]


def reader(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0}).Reload()


def curves_of(found: EventAccumulator) -> Curves:
    return {
        tag: [(one.step, one.value) for one in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def curves(folder: Path) -> Curves:
    return curves_of(reader(folder))


def texts(folder: Path) -> dict[str, list[tuple[int, str]]]:
    found = reader(folder)
    return {
        tag: [(one.step, one.tensor_proto.string_val[0].decode()) for one in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
    }


def same(found: Curves, expected: Curves) -> bool:
    """Equal, as far as TensorBoard's 32 bits go."""
    rounded = {
        tag: [(step, float(np.float32(value))) for step, value in curve]
        for tag, curve in expected.items()
    }
    return found == rounded


def raw(folder: Path) -> list[Any]:
    """Every event of every file, in the order TensorBoard reads them."""
    files = sorted(folder.glob("*tfevents*"))
    return [event for path in files for event in LegacyEventFileLoader(str(path)).Load()]


def some(*values: float) -> list[Point]:
    return [Point(round=step, numbers={"a/b": value}) for step, value in enumerate(values)]


@pytest.fixture
def folder(federation: Any) -> Path:
    return federation.folder / "tensorboard"  # type: ignore[no-any-return]


def test_the_rounds_are_read_back(
    federation: Any, trained: Callable[..., None], expected: Callable[[], Curves], folder: Path
) -> None:
    federation.write(server__min_platforms=2)
    refusing = federation.good

    def news(asked: Any) -> Any:
        if asked.round == 2:
            return refusing("news", asked, round=7).to_records()  # not the round that was asked
        return refusing("news", asked).to_records()

    federation.answers["news"] = news
    trained(TensorBoardTracker(folder))
    wanted = expected()
    assert [step for step, _ in wanted["round/seconds"]] == [0, 1, 2, 3]
    assert wanted["answered/news"] == [(0, 1.0), (1, 1.0), (2, 0.0), (3, 1.0)]
    assert same(curves(folder), wanted)
    said = texts(folder)
    hashes = [(line["round"], f"`{line['adapter_sha256']}`") for line in federation.lines()]
    assert said.pop("round/adapter_sha256") == hashes
    ((step, why),) = said.pop("left_out/news")
    assert (step, why[:10]) == (2, "`rejected:")
    assert said == {}


def test_a_resumed_run_has_each_round_once(
    interrupted: Callable[..., None],
    trained: Callable[..., None],
    expected: Callable[[], Curves],
    folder: Path,
) -> None:
    interrupted(TensorBoardTracker(folder))
    assert same(curves(folder), expected())
    assert len(expected()["round/seconds"]) == 2
    times = {event.step: event.wall_time for event in raw(folder) if event.HasField("summary")}
    trained(TensorBoardTracker(folder, now=lambda: 4e9))
    assert same(curves(folder), expected())
    assert [path.stat().st_size > 0 for path in sorted(folder.iterdir())] == [False, True]
    events = [event for event in raw(folder) if event.HasField("summary")]
    assert [event.step for event in events] == [0, 1, 2, 3]
    assert [event.wall_time for event in events] == [times[0], times[1], 4e9, 4e9]
    # once more, with nothing left to train
    before = curves(folder)
    trained(TensorBoardTracker(folder))
    assert curves(folder) == before
    assert len(list(folder.iterdir())) == 2


def test_a_run_that_was_not_tracked_is_caught_up_with(
    interrupted: Callable[..., None],
    trained: Callable[..., None],
    expected: Callable[[], Curves],
    folder: Path,
) -> None:
    interrupted()
    assert not folder.exists()
    trained(TensorBoardTracker(folder))
    assert same(curves(folder), expected())


def test_a_round_that_was_trained_again_has_its_last_value(tmp_path: Path) -> None:
    """As after a damaged checkpoint: the line of the lost round is another one now."""
    TensorBoardTracker(tmp_path).write(some(0.0, 1.0, 2.0), finished=False)
    watching = reader(tmp_path)
    again = TensorBoardTracker(tmp_path)
    again.write(some(0.0, 1.0), finished=False)
    again.write(some(0.0, 1.0, 5.0), finished=True)
    wanted = {"a/b": [(0, 0.0), (1, 1.0), (2, 5.0)]}
    assert curves(tmp_path) == wanted
    # one that had read the old file forgets it
    assert curves_of(watching.Reload()) == wanted


@given(cut=st.integers(min_value=0, max_value=400), junk=st.binary(max_size=40))
@settings(max_examples=40, deadline=None)
def test_a_crash_anywhere_in_a_file_breaks_nothing(
    tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    TensorBoardTracker(folder, now=lambda: 7.0).write(some(0.0, 1.0, 2.0), finished=False)
    (path,) = folder.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[: min(cut, len(content))] + junk)
    (folder / ".tmp-left").write_bytes(b"half")
    TensorBoardTracker(folder, now=lambda: 9.0).write(some(0.0, 1.0, 2.0, 3.0), finished=False)
    assert [path.stat().st_size > 0 for path in sorted(folder.iterdir())] == [False, True]
    assert curves(folder) == {"a/b": [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]}
    assert {event.wall_time for event in raw(folder)} <= {7.0, 9.0} or junk


def test_others_files_are_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "events.out.tfevents.1.somebody"
    foreign.write_bytes(b"")
    TensorBoardTracker(tmp_path).write(some(1.0), finished=False)
    TensorBoardTracker(tmp_path).write(some(1.0), finished=False)
    assert foreign.exists()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_that_was_taken_away_comes_back_whole(tmp_path: Path) -> None:
    tracker = TensorBoardTracker(tmp_path / "board")
    tracker.write(some(0.0), finished=False)
    for path in (tmp_path / "board").iterdir():
        path.unlink()
    with pytest.raises(StorageError):
        tracker.write(some(0.0, 1.0), finished=False)
    tracker.write(some(0.0, 1.0), finished=False)
    assert curves(tmp_path / "board") == {"a/b": [(0, 0.0), (1, 1.0)]}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_says_so_and_is_made_good(tmp_path: Path) -> None:
    tracker = TensorBoardTracker(tmp_path)
    tracker.write(some(0.0), finished=False)
    (path,) = tmp_path.iterdir()
    kept = path.read_bytes()
    path.unlink()
    path.symlink_to("/dev/full")
    with pytest.raises(StorageError, match="a full disk"):
        tracker.write(some(0.0, 1.0), finished=False)
    path.unlink()
    path.write_bytes(kept + b"\x01half a record")
    tracker.write(some(0.0, 1.0), finished=False)
    assert curves(tmp_path) == {"a/b": [(0, 0.0), (1, 1.0)]}


def test_a_partners_words_are_not_markup(tmp_path: Path) -> None:
    bad = "`</code><img src=x>\n![x](http://x)"
    point = Point(round=0, numbers={}, left_out={"shop": bad})
    TensorBoardTracker(tmp_path).write([point], finished=False)
    ((_, said),) = texts(tmp_path)["left_out/shop"]
    assert said == "`'</code><img src=x>![x](http://x)`"
    counted = Counter(said)
    assert (counted["`"], counted["\n"]) == (2, 0)
