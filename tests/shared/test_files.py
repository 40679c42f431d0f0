"""Files are replaced whole or not at all, also when the disk or the process gives up."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared import files
from shared.errors import StorageError
from shared.files import (
    replacing,
    sha256,
    storage_error,
    sweep,
    write_bytes,
    write_json,
    write_text,
)

CUT_SHORT = """
import os, sys
from pathlib import Path
from shared.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    os._exit(9)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "file.txt"
    write_text(path, "één")
    assert path.read_bytes() == "één".encode()
    write_bytes(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert names(path.parent) == ["file.txt"]


def test_json_is_readable_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"ε": 8.0})
    assert path.read_text("utf-8") == '{\n  "ε": 8.0\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"ε": float("nan")})
    assert json.loads(path.read_text("utf-8")) == {"ε": 8.0}


def test_an_exception_leaves_the_old_content_and_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text(path, "old")

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_is_said_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a"
    write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, step, full)
    with pytest.raises(StorageError, match=r"got a full disk .*Free some space") as caught:
        write_text(path, "new")
    assert caught.value.exit_code == 11
    assert isinstance(caught.value.__cause__, OSError)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_the_message_for_a_disk_that_is_really_full() -> None:
    with pytest.raises(OSError) as caught, open("/dev/full", "wb", buffering=0) as disk:
        disk.write(b"x")
    assert "a full disk" in str(storage_error(caught.value, Path("summary.json")))


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(StorageError, match="permissions"):
        write_text(tmp_path / "a" / "b", "new")


def test_a_process_that_dies_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text(path, "old")
    root = Path(files.__file__).parent.parent
    died = subprocess.run([sys.executable, "-c", CUT_SHORT, str(path)], cwd=root, check=False)
    assert died.returncode == 9
    assert path.read_text() == "old"
    assert len(names(tmp_path)) == 2
    sweep(tmp_path)
    assert names(tmp_path) == ["a"]
    sweep(tmp_path / "missing")  # nothing to do, no error


def test_sha256_is_the_published_one() -> None:
    # FIPS 180-2, appendix B.1
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
