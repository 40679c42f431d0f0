"""Promises about the project as a whole: its layers, its documents, its front door."""

import ast
import os
import re
import resource
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("shared", "clients", "server", "simulations")
SCRIPTS = Path(sys.executable).parent

# Written in halves, so that this file may be searched too.
MACHINE_PATHS = ("/" + "work/", "/" + "root/", "/" + "tmp/exp", "/" + "tmp/CONTRACT")
BESIDE = ".." + "/shared"
MADE = {"build", "dist", "runs", "out", "__pycache__"}  # as in .gitignore


def project_files() -> Iterator[Path]:
    """Every file that is, or may become, part of the project."""
    for folder, inside, names in os.walk(ROOT):
        inside[:] = [
            name
            for name in inside
            if name not in MADE
            and not name.endswith(".egg-info")
            and (name == ".ci" or not name.startswith("."))
        ]
        for name in names:
            if Path(folder) != ROOT or not name.startswith(".") or name == ".gitignore":
                yield Path(folder, name)


def project_lines() -> Iterator[tuple[str, int, str]]:
    """(path in the project, line number, line) of every text file."""
    for path in project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            yield str(path.relative_to(ROOT)), number, line


def test_the_layers_import_downwards_only() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    assert contract["layers"] == ["simulations", "clients | server", "shared"]
    done = subprocess.run(
        [SCRIPTS / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


def test_every_module_says_what_it_is() -> None:
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(modules) > 50
    silent = [
        str(path.relative_to(ROOT))
        for path in modules
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_nothing_depends_on_one_machine() -> None:
    named = [
        f"{path}:{number}: {line.strip()}"
        for path, number, line in project_lines()
        if any(word in line for word in MACHINE_PATHS) or (BESIDE in line and path != ".ci/run")
    ]
    assert named == []


def test_internal_links_of_the_documents_lead_somewhere() -> None:
    documents = [path for path in project_files() if path.suffix == ".md"]
    assert ROOT / "docs" / "privacy.md" in documents
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in documents
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []


def help_blocks() -> list[tuple[str, str]]:
    """(command, what README says it prints) of each fenced block that shows a --help."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(
        r"^```[^\n]*\n\$ (fedinterest[^\n]*--help)[ ]*\n(.*?)^```[ ]*$",
        text,
        re.MULTILINE | re.DOTALL,
    )
    return [(command, body) for command, body in found]


def tidy(text: str) -> list[str]:
    """Lines without trailing blanks, and without empty ones around them."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n").split("\n")


def plain_environment() -> dict[str, str]:
    """An 80-column terminal without colours, whatever surrounds the test."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
    return {**kept, "COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1", "PYTHONUTF8": "1"}


def test_readme_shows_the_real_help() -> None:
    blocks = help_blocks()
    assert blocks, "README.md has no fenced block that begins with `$ fedinterest ... --help`"
    for command, shown in blocks:
        done = subprocess.run(
            [SCRIPTS / "fedinterest", *command.split()[1:]],
            env=plain_environment(),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert tidy(shown) == tidy(done.stdout), command


def test_help_is_quick() -> None:
    best = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [SCRIPTS / "fedinterest", "--help"],
            env=plain_environment(),
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=60,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        best = min(best, spent)
    assert best < 0.5, f"fedinterest --help took {best:.2f} s of CPU time"


@pytest.mark.parametrize("name", ["LICENSE", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_the_documents_are_there(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8")) > 500
