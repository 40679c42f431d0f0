"""Cached vectors: whole or refused; every flipped bit and every cut is found."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import CacheError
from shared.vector_cache import cache_path, read_vectors, vector_key, write_vectors

KEY = vector_key("model", "mean", 64, "texts")
VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3) / 7


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_vectors(folder, KEY, VECTORS)
    return folder


def test_what_was_written_is_read(cached: Path) -> None:
    found = read_vectors(cached, KEY, rows=4)
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, VECTORS)
    found[0, 0] = 1.0  # the caller owns it


def test_the_file_is_an_ordinary_npy(cached: Path) -> None:
    np.testing.assert_array_equal(np.load(cache_path(cached, KEY)), VECTORS)


def test_nothing_stored_is_none(tmp_path: Path) -> None:
    assert read_vectors(tmp_path / "no folder", KEY, rows=4) is None


@given(st.data())
def test_every_flipped_bit_is_found(cached: Path, data: st.DataObject) -> None:
    content = bytearray(cache_path(cached, KEY).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    broken = cached / "broken"
    broken.mkdir(exist_ok=True)
    cache_path(broken, KEY).write_bytes(content)
    with pytest.raises(CacheError, match="checksum"):
        read_vectors(broken, KEY, rows=4)


def test_every_cut_is_found(cached: Path, tmp_path: Path) -> None:
    content = cache_path(cached, KEY).read_bytes()
    for length in range(len(content)):
        cache_path(tmp_path, KEY).write_bytes(content[:length])
        with pytest.raises(CacheError) as caught:
            read_vectors(tmp_path, KEY, rows=4)
    assert caught.value.exit_code == 5
    assert "Delete the file" in str(caught.value)


def test_a_whole_file_under_another_key_is_found(cached: Path, tmp_path: Path) -> None:
    other = vector_key("model", "mean", 64, "other texts")
    cache_path(tmp_path, other).write_bytes(cache_path(cached, KEY).read_bytes())
    with pytest.raises(CacheError, match="checksum"):
        read_vectors(tmp_path, other, rows=4)


def test_another_number_of_items_is_refused(cached: Path) -> None:
    with pytest.raises(CacheError, match=r"\(4, 3\) for 5 items"):
        read_vectors(cached, KEY, rows=5)


def test_an_unreadable_file_is_a_cache_error(tmp_path: Path) -> None:
    cache_path(tmp_path, KEY).mkdir()
    with pytest.raises(CacheError, match="directory"):
        read_vectors(tmp_path, KEY, rows=4)


def test_keys_tell_their_parts_apart() -> None:
    assert (
        len({KEY, vector_key("model", "mean", 6, "4texts"), vector_key("modelmean", 64, "")}) == 3
    )
