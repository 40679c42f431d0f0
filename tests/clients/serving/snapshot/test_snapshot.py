"""A snapshot is whole or not there, and made again only when something has changed."""

import json
from pathlib import Path

import pytest

from clients.serving.snapshot.build import newest
from clients.serving.snapshot.snapshot import FILES, FORMAT, META, Snapshot
from shared.config.training import Interpolation
from shared.errors import RunError
from tests.clients.serving.conftest import PARTS, deliver, made_platform


def test_it_is_made_once(tmp_path: Path) -> None:
    platform = made_platform(tmp_path / "shop")
    deliver(platform, 3)
    first = newest(platform, tmp_path / "s", parts=PARTS)
    stamp = (first.folder / META).stat().st_mtime_ns
    again = newest(platform, tmp_path / "s", parts=PARTS)
    assert again.folder == first.folder
    assert (again.folder / META).stat().st_mtime_ns == stamp
    assert Snapshot.open(first.folder, thorough=True).meta == first.meta
    other = newest(
        platform, tmp_path / "s", parts=Interpolation(shared=1.0, own=0.0)
    )  # another model
    assert other.meta.id != first.meta.id
    assert [path.name for path in (tmp_path / "s").iterdir()] == [other.meta.id]
    assert first.items.shape == (60, 16)  # who has the old one mapped keeps it


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_noticed(tmp_path: Path, name: str) -> None:
    platform = made_platform(tmp_path / "shop")
    made = newest(platform, tmp_path / "s", parts=PARTS)
    path = made.folder / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="a whole snapshot"):
        Snapshot.open(made.folder, thorough=True)
    path.unlink()
    with pytest.raises(RunError, match="a whole snapshot"):
        Snapshot.open(made.folder)


def test_half_a_snapshot_is_none(tmp_path: Path) -> None:
    platform = made_platform(tmp_path / "shop")
    made = newest(platform, tmp_path / "s", parts=PARTS)
    (made.folder / META).unlink()
    with pytest.raises(RunError):
        Snapshot.open(made.folder)
    assert newest(platform, tmp_path / "s", parts=PARTS).meta == made.meta


def test_one_of_another_version_is_refused(tmp_path: Path) -> None:
    platform = made_platform(tmp_path / "shop")
    made = newest(platform, tmp_path / "s", parts=PARTS)
    values = json.loads((made.folder / META).read_text())
    assert values["format"] == FORMAT
    (made.folder / META).write_text(json.dumps(values | {"format": FORMAT - 1}))
    with pytest.raises(RunError, match=r"a whole snapshot.*Remove the folder"):
        Snapshot.open(made.folder)
