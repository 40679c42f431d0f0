"""Numbers in files are those that were written, and what was touched is given back."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.serving.snapshot.on_disk import OnDisk, Rising, let_go


def saved(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "array.npy", array)
    return folder / "array.npy"


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.float32, np.int64])
def test_it_reads_what_was_written(tmp_path: Path, kind: type) -> None:
    array = np.arange(1000).astype(kind)
    found = OnDisk(saved(tmp_path, array))
    assert len(found) == 1000
    np.testing.assert_array_equal(found.read(3, 7), array[3:7])
    assert found.read(3, 7).dtype == kind
    np.testing.assert_array_equal(found.read(998, 2000), array[998:])
    assert found.content(5, 7) == array[5:7].tobytes()
    assert len(found.read(5, 5)) == 0


def test_an_empty_one_is_empty(tmp_path: Path) -> None:
    path = saved(tmp_path, np.zeros(0, np.uint64))
    assert len(OnDisk(path)) == 0
    assert list(Rising(path).places(np.uint64(7))) == []


def test_one_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, np.arange(1000))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="mmap"):
        OnDisk(path)


def resident(path: Path) -> int:
    """KiB of the file that count as this process's own."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    found = 0
    for line in lines:
        if line.endswith(str(path)):
            found += next(int(one.split()[1]) for one in lines if one.startswith("Rss:"))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_that_were_touched_are_given_back(tmp_path: Path) -> None:
    path = saved(tmp_path, np.arange(1_000_000, dtype=np.uint64))
    found = OnDisk(path)
    assert int(found.read(0, 1_000_000).sum()) == 499_999_500_000
    assert resident(path) > 7_000
    let_go()
    assert resident(path) == 0
    assert found.read(77_777, 77_778).tolist() == [77_777]
    assert 0 < resident(path) < 1_000
    del found
    assert resident(path) == 0
    let_go()  # of those that are left


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 7))
@settings(deadline=None)
def test_equal_numbers_are_found_across_pages(numbers: list[int], page: int) -> None:
    import tempfile

    from clients.serving.snapshot import on_disk

    array = np.sort(np.array(numbers, np.uint64))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_disk, "_PAGE", page)
        found = Rising(saved(Path(folder), array))
        for wanted in range(32):
            expected = np.flatnonzero(array == wanted).tolist()
            assert list(found.places(np.uint64(wanted))) == expected
