"""Arrays in files are those that were written, and what was touched of them is given back."""

import sys
from pathlib import Path

import numpy as np
import pytest

from clients.serving.snapshot.on_disk import let_go, on_disk


def saved(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "array.npy", array)
    return folder / "array.npy"


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.float32, np.uint64])
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_it_is_what_was_written(tmp_path: Path, kind: type, count: int) -> None:
    array = np.arange(count).astype(kind)
    found = on_disk(saved(tmp_path, array))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == kind
    assert not isinstance(found, np.memmap)
    let_go()
    np.testing.assert_array_equal(found, array)


def test_one_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, np.arange(1000))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="mmap"):
        on_disk(path)


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
    found = on_disk(path)
    assert int(found.sum()) == 499_999_500_000
    assert resident(path) > 7_000
    let_go()
    assert resident(path) == 0
    assert int(found[77_777]) == 77_777
    assert 0 < resident(path) < 1_000
    del found
    assert str(path) not in Path("/proc/self/maps").read_text()
    let_go()  # of those that are left
