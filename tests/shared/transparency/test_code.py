"""The hash of the code: every byte of every file, and nothing else."""

from pathlib import Path

import pytest

from shared.errors import RunError
from shared.transparency.code import COORDINATOR_CODE, PLATFORM_CODE, code_sha256


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


FILES = {"one/__init__.py": "", "one/a.py": "a = 1\n", "one/deep/b.py": "", "two/c.py": "c"}


def test_every_file_counts_by_name_and_content(tmp_path: Path) -> None:
    before = code_sha256("one", "two", root=write(tmp_path / "0", FILES))
    assert code_sha256("two", "one", root=tmp_path / "0") == before
    assert code_sha256("one", root=tmp_path / "0") != before
    changes = [
        {**FILES, "one/a.py": "a = 2\n"},
        {**FILES, "one/new.py": ""},
        {("one/z.py" if name == "one/a.py" else name): text for name, text in FILES.items()},
    ]
    found = {
        code_sha256("one", "two", root=write(tmp_path / f"{n}", c))
        for n, c in enumerate(changes, 1)
    }
    assert len(found | {before}) == 4
    same = write(tmp_path / "same", {**FILES, "one/__pycache__/a.pyc": "x", "one/page.html": "y"})
    assert code_sha256("one", "two", root=same) == before
    with pytest.raises(RunError, match="the source of three"):
        code_sha256("three", root=tmp_path)


def test_the_installed_code_has_a_hash() -> None:
    platform, coordinator = code_sha256(*PLATFORM_CODE), code_sha256(*COORDINATOR_CODE)
    assert len(platform) == len(coordinator) == 64
    assert platform != coordinator
