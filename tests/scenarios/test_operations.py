"""What an operator is given beside the programs: the page of metrics, the units, the wheelhouse."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clients.node.measures import DESCRIBED as PARTNER
from server.running.measures import DESCRIBED as COORDINATOR
from shared.operations.metrics import Metric, table

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs" / "deployment"
UNITS = sorted((DOCS / "systemd").glob("*.service"))
PROGRAMS = ("fedinterest", "fedinterest-client", "fedinterest-server")


@pytest.mark.parametrize("described", [PARTNER, COORDINATOR], ids=["partner", "coordinator"])
def test_the_page_of_metrics_is_what_the_code_says(described: tuple[Metric, ...]) -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert table(described) in page
    assert len(described) >= 25


def test_units_start_what_is_installed() -> None:
    assert [unit.stem for unit in UNITS] == ["fedinterest-client", "fedinterest-server"]
    for unit in UNITS:
        parsed = configparser.ConfigParser(strict=False, interpolation=None)
        parsed.optionxform = str  # type: ignore[assignment]
        parsed.read(unit)
        program, command, *_ = parsed["Service"]["ExecStart"].split()
        assert Path(program).name == unit.stem
        module = {"fedinterest-client": "clients.cli", "fedinterest-server": "server.cli"}
        said = subprocess.run(
            [sys.executable, "-m", module[unit.stem], command, "--help"], capture_output=True
        )
        assert said.returncode == 0
        assert parsed["Service"]["NoNewPrivileges"] == "yes"


def test_a_stop_of_the_coordinator_may_take_as_long_as_it_waits_for_a_round() -> None:
    from server.running.up import GRACE_S

    text = (DOCS / "systemd" / "fedinterest-server.service").read_text()
    found = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert found is not None
    assert int(found[1]) > GRACE_S


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_the_units(unit: Path, tmp_path: Path) -> None:
    program = tmp_path / unit.stem
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(f"/opt/fedinterest/bin/{unit.stem}", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True
    )
    said = [line for line in done.stderr.splitlines() if copy.name in line]
    assert said == []


def _no_network(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["unshare", "--net", *command], capture_output=True, text=True)


@pytest.mark.slow
def test_a_wheelhouse_installs_where_there_is_no_network(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or _no_network(["true"]).returncode:
        pytest.skip("this kernel or user may not make a network namespace")
    house = tmp_path / "wheelhouse"
    subprocess.run(["make", "wheelhouse", f"WHEELHOUSE={house}"], cwd=PROJECT, check=True)
    locked = (house / "requirements.txt").read_text().splitlines()
    assert len(locked) == len(list(house.glob("*.whl")))
    assert all(re.fullmatch(r"[\w.-]+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in locked)
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    install = [str(place / "bin" / "python"), "-m", "pip", "install", "--no-index", "--quiet"]
    install += ["--find-links", str(house), "--require-hashes"]
    done = _no_network([*install, "-r", str(house / "requirements.txt")])
    assert done.returncode == 0, done.stderr
    for program in PROGRAMS:
        said = _no_network([str(place / "bin" / program), "--help"])
        assert said.returncode == 0, said.stderr
    made = _no_network([str(place / "bin" / "fedinterest-server"), "init", str(tmp_path / "co")])
    assert made.returncode == 0, made.stderr  # its templates are in the wheel
    world = _no_network(
        [str(place / "bin" / "fedinterest"), "init", "--demo", str(tmp_path / "world")]
    )
    assert world.returncode == 0, world.stderr
