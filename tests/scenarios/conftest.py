"""A tiny federation, with an encoder built on the spot, and the real command line to run it."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result


@dataclass
class Workplace:
    """A folder with a federation in it, and ways to call `fedinterest` there."""

    folder: Path
    cache: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def toml(self) -> Path:
        return self.folder / "federation.toml"

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace `old` in a file; it must be there."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def without(self, *platforms: str) -> None:
        """Take platforms out of federation.toml: fewer are faster."""
        blocks = self.toml.read_text(encoding="utf-8").split("\n\n")
        kept = [b for b in blocks if not any(f"[platforms.{name}]" in b for name in platforms)]
        self.toml.write_text("\n\n".join(kept), encoding="utf-8")

    def run(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        """The real thing, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "simulations.cli", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def call(self, *arguments: object) -> Result:
        """The same command line in this process: no start-up to wait for."""
        from simulations.cli import app

        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    def refused(self, code: int, *words: str, more: tuple[object, ...] = ()) -> None:
        """Simulate into `run`, and see it refused with `code` and all of `words`."""
        result = self.simulate("run", *more)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception  # a bug
        said = " ".join(result.stderr.split())
        assert result.exit_code == code, said
        assert "error: expected" in said
        for word in words:
            assert word in said
        run = self.folder / "run"
        assert not (run / "summary.json").exists()
        assert not (run / "report.html").exists()
        assert not list(run.rglob(".tmp-*"))
        assert result.stdout == ""

    def simulate(self, out: str, *more: object) -> Result:
        return self.call("simulate", self.toml, "--out", self.folder / out, *more)


class Warm:
    """Processes that start at once; see warm.py."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("warm.py"))],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _ask(self, request: dict[str, Any]) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return int(json.loads(self._server.stdout.readline()))

    def start(self, place: Workplace, *arguments: object, die_at: int = 0) -> int:
        """The process id of a running `fedinterest`; its output goes to stdout.txt, stderr.txt."""
        return self._ask(
            {
                "arguments": [str(argument) for argument in arguments],
                "cwd": str(place.folder),
                "environment": {"FEDINTEREST_CACHE": str(place.cache)},
                "stdout": str(place.folder / "stdout.txt"),
                "stderr": str(place.folder / "stderr.txt"),
                "die_at": die_at,
            }
        )

    def wait(self, process: int) -> int:
        """Its exit code; minus the signal that ended it."""
        return self._ask({"wait": process})

    def account(self, rounds: int, platforms: list[str]) -> None:
        """Have the promises of a run of these platforms worked out once, for all processes."""
        self._ask({"account": {"rounds": rounds, "platforms": platforms}})

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(60)
        self._server.stdout.close()


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Path:
    # `warm` is asked for here so that it starts beside the first tests, on another core
    folder = tmp_path_factory.mktemp("template") / "federation"
    tiny = runpy.run_path(str(Path(__file__).with_name("tiny_world.py")))
    tiny["write_federation"](folder)
    return folder


def _environment(cache: Path) -> dict[str, str]:
    return {
        **os.environ,
        "FEDINTEREST_CACHE": str(cache),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }


def _place(template: Path, folder: Path) -> Workplace:
    shutil.copytree(template, folder)
    toml = folder / "federation.toml"
    toml.write_text(toml.read_text("utf-8").replace(str(template), str(folder)), "utf-8")
    cache = folder / "cache"
    return Workplace(folder, cache, _environment(cache))


@pytest.fixture
def place(_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A federation of one's own to spoil."""
    made = _place(_template, tmp_path / "place")
    monkeypatch.setenv("FEDINTEREST_CACHE", str(made.cache))
    monkeypatch.chdir(made.folder)
    return made


@pytest.fixture(scope="module")
def shared_place(_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A federation for a whole module, not to be spoilt."""
    return _place(_template, tmp_path_factory.mktemp("shared") / "place")


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    made = Warm(_environment(tmp_path_factory.mktemp("warm")))
    yield made
    made.close()
