"""Checkpoints: whole or absent, and never a silent restart."""

import logging
from pathlib import Path

import numpy as np
import pytest

from server.rounds import checkpoint as checkpoints
from server.rounds.checkpoint import (
    Checkpoint,
    DamagedCheckpoint,
    latest,
    load,
    path_of,
    save,
    thin,
)
from shared.errors import RunError, StorageError


def a_checkpoint(round_: int, settings: str = "s") -> Checkpoint:
    rng = np.random.default_rng(round_)
    adapter = {
        name: rng.normal(size=(3, 2)).astype(np.float32) for name in ("tower.b", "tower.a", "z")
    }
    return Checkpoint(
        round=round_,
        adapter=adapter,
        optimiser={"momentum": {name: value.astype(float) for name, value in adapter.items()}},
        base={"whitening": np.eye(2, dtype=np.float32)},
        settings_sha256=settings,
        spent={"films": [(0.05, 1.1, 10)] * round_},
    )


def test_everything_comes_back(tmp_path: Path) -> None:
    before = a_checkpoint(2)
    after = load(save(tmp_path, before))
    assert list(after.adapter) == ["tower.b", "tower.a", "z"]  # in order
    for left, right in [
        (before.adapter, after.adapter),
        (before.optimiser["momentum"], after.optimiser["momentum"]),
        (before.base, after.base),
    ]:
        assert list(left) == list(right)
        for name in left:
            assert left[name].dtype == right[name].dtype
            assert left[name].tobytes() == right[name].tobytes()
    assert after.round == 2
    assert after.settings_sha256 == "s"
    assert after.spent == before.spent
    assert [path.name for path in tmp_path.iterdir()] == ["round-000002.safetensors"]


def test_latest_of_none_is_none(tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    assert latest(tmp_path / "nowhere") is None


def test_latest_goes_by_number(tmp_path: Path) -> None:
    for round_ in (2, 10, 9):
        save(tmp_path, a_checkpoint(round_))
    found = latest(tmp_path)
    assert found is not None
    assert found.round == 10


@pytest.mark.parametrize("damage", ["cut", "empty", "flip a tensor bit", "flip a header bit"])
def test_a_damaged_newest_is_passed_over_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, a_checkpoint(0))
    save(tmp_path, a_checkpoint(1))
    path = save(tmp_path, a_checkpoint(2))
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    elif damage == "flip a tensor bit":
        content[-3] ^= 1
    else:
        content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpoint):
        load(path)
    with caplog.at_level(logging.WARNING):
        found = latest(tmp_path)
    assert found is not None
    assert found.round == 1
    assert "checkpoint of round 2 is passed over" in caplog.text


def test_every_byte_counts(tmp_path: Path) -> None:
    """No single flipped byte goes unnoticed: neither in the header nor in a tensor."""
    path = save(tmp_path, a_checkpoint(1))
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(bytes(damaged))
        with pytest.raises(RunError):
            load(path)


def test_all_damaged_stops_the_run(tmp_path: Path) -> None:
    for round_ in range(3):
        path_of(tmp_path, round_).write_bytes(b"junk")
    with pytest.raises(RunError, match="expected a whole checkpoint, got 3 damaged"):
        latest(tmp_path)


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, a_checkpoint(0))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "VERSION", 7)
        save(tmp_path, a_checkpoint(1))
    with pytest.raises(RunError, match=r"version 1, got version 7.*new run") as caught:
        latest(tmp_path)
    assert caught.value.exit_code == 10


def test_other_settings_are_refused(tmp_path: Path) -> None:
    save(tmp_path, a_checkpoint(1, "one"))
    assert latest(tmp_path, settings_sha256="one") is not None
    with pytest.raises(RunError, match="settings"):
        latest(tmp_path, settings_sha256="two")


def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, a_checkpoint(1))

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="full disk") as caught:
        save(tmp_path, a_checkpoint(2))
    monkeypatch.undo()
    assert caught.value.exit_code == 11
    assert [path.name for path in tmp_path.iterdir()] == ["round-000001.safetensors"]
    assert latest(tmp_path) is not None


def test_thinning_keeps_the_curve_and_the_newest_two(tmp_path: Path) -> None:
    for round_ in range(12):
        save(tmp_path, a_checkpoint(round_))
        thin(tmp_path, every=4)
        found = checkpoints.rounds(tmp_path)
        assert found == [n for n in range(round_ + 1) if n % 4 == 0 or n > round_ - 2]
    path_of(tmp_path, 11).write_bytes(b"junk")
    newest = latest(tmp_path)
    assert newest is not None
    assert newest.round == 10
    thin(tmp_path / "nowhere", every=3)
