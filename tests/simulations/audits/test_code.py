"""`fedinterest audit code`: what it returns, keeps, shows and exits with."""

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from shared.errors import ConfigError
from shared.transparency.code import code_sha256
from simulations.audits.checks import CHECKS, Cause, Check, Outcome
from simulations.audits.code import FILE, named, render, run_check, run_code_audit
from simulations.audits.faults import FAULTS, planted
from simulations.cli import app

BY_NAME = {fault.name: fault for fault in FAULTS}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDINTEREST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def shown(result: dict[str, object]) -> str:
    console = Console(file=io.StringIO(), width=200)
    render(result, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_clean_code_is_clean_and_the_result_is_kept(cache: Path) -> None:
    result = run_code_audit(self_test=False, only=[], clean=2, seed=5, quiet=True)
    assert [one["cause"] for one in result["checks"]] == [None] * len(CHECKS)
    assert result["ok"] is True
    assert result["clean"] == {"runs": 2, "alarms": []}
    assert "faults" not in result
    assert result["code_sha256"] == code_sha256("shared", "clients", "server")
    assert result["codes"]["platform"] == code_sha256("shared", "clients")
    covered = {what for one in result["checks"] if one["ok"] for what in one["covers"]}
    assert covered == {"sampling", "adjacency", "noise", "clipping", "accounting", "release"}
    assert json.loads((cache / FILE).read_text(encoding="utf-8")) == result
    text = shown(result)
    assert "0 of 2 runs raised an alarm" in text
    assert "clean: code" in text
    assert all(check.name in text for check in CHECKS)


def test_faults_are_planted_on_request(cache: Path) -> None:
    names = ["clipping 5 % too loose", "one stream for all purposes"]
    only = [*names, "clipping", "streams"]
    result = run_code_audit(self_test=True, only=only, clean=1, seed=0, quiet=True)
    assert [one["name"] for one in result["checks"]] == ["clipping", "streams"]
    found = {one["name"]: one for one in result["faults"]}
    assert set(found) == set(names)
    for name in names:
        assert (found[name]["caught"], found[name]["right"]) == (True, True)
        assert found[name]["cause"] == found[name]["expected"] == BY_NAME[name].cause
    assert found["clipping 5 % too loose"]["by"] == "clipping"
    assert result["controls"] == {"placebo": True, "afterwards": True}
    assert result["ok"] is True
    text = shown(result)
    assert "2 of 2 faults caught, right cause named" in text
    assert "control placebo: clean" in text
    assert not (cache / FILE).exists()  # a part is no audit


def test_a_fault_that_nobody_knows_of_is_found_by_the_command_line() -> None:
    runner = CliRunner()
    arguments = ["audit", "code", "--only", "sampling", "--only", "streams"]
    with planted(BY_NAME["fixed batch size accounted as Poisson"]):
        result = runner.invoke(app, [*arguments, "--json"])
        told = json.loads(result.stdout)
        plain = runner.invoke(app, arguments)
    assert result.exit_code == plain.exit_code == 12
    assert told["ok"] is False
    assert [one["cause"] for one in told["checks"]] == ["sampling is not Poisson", None]
    assert "NOT CLEAN" in plain.stdout
    assert runner.invoke(app, arguments).exit_code == 0


def test_a_fault_that_is_missed_is_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    import simulations.audits.code as module

    idle = Check("idle", ("noise",), lambda seed: Outcome())
    monkeypatch.setattr(module, "CHECKS", (idle,))
    result = run_code_audit(self_test=True, only=["no noise"], clean=1, seed=0, quiet=True)
    (missed,) = result["faults"]
    assert (missed["caught"], missed["by"], missed["cause"]) == (False, None, None)
    assert result["ok"] is False
    assert "nobody" in shown(result)


def test_a_check_that_fires_on_any_patch_is_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    """It catches every fault, and says nothing: the placebo shows it."""
    import simulations.audits.code as module
    from shared.privacy import clipping

    real = clipping.noised
    suspicious = Check(
        "suspicious",
        ("noise",),
        lambda seed: Outcome(None if clipping.noised is real else Cause.NOISE_MISSING),
    )
    monkeypatch.setattr(module, "CHECKS", (suspicious,))
    only = ["no noise", "suspicious"]
    result = run_code_audit(self_test=True, only=only, clean=1, seed=0, quiet=True)
    assert result["faults"][0]["right"] is True
    assert result["controls"] == {"placebo": False, "afterwards": True}
    assert result["ok"] is False
    assert "control placebo: NOT CLEAN" in shown(result)


def test_the_self_test_tells_how_sure_it_is() -> None:
    only = ["noise 1 % short"]
    result = run_code_audit(self_test=True, only=only, clean=1, seed=0, quiet=True)
    (short,) = result["faults"]
    assert (short["by"], short["right"]) == ("noise", True)
    assert 0 < short["p_value"] < 1e-6


def test_a_false_alarm_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    import simulations.audits.code as module

    nervous = Check(
        "nervous", ("noise",), lambda seed: Outcome(Cause.NOISE_SCALE if seed == 7 else None)
    )
    slow = Check("slow", ("noise",), lambda seed: Outcome(Cause.GDP if seed else None), fast=False)
    monkeypatch.setattr(module, "CHECKS", (nervous, slow))
    result = run_code_audit(self_test=False, only=[], clean=10, seed=0, quiet=True)
    assert [(one["seed"], one["name"]) for one in result["clean"]["alarms"]] == [(7, "nervous")]
    assert result["ok"] is False
    assert "1 of 10 runs raised an alarm" in shown(result)


def test_a_named_cause_counts_for_more_than_a_vague_one() -> None:
    def crash(seed: int) -> Outcome:
        print("noise on standard output")
        raise KeyError("user-17")

    vague = run_check(Check("a", (), crash), 0)
    assert vague.outcome.cause is Cause.RAISED
    clear = run_check(Check("b", (), lambda seed: Outcome(Cause.INVALID)), 0)
    fine = run_check(Check("c", (), lambda seed: Outcome()), 0)
    assert named([fine]) is None
    assert named([fine, vague]) is vague
    assert named([vague, fine, clear]) is clear


def test_unknown_names_and_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="noise 1 % short"):
        run_code_audit(self_test=True, only=["noise 1% short"], clean=1, seed=0, quiet=True)
    with pytest.raises(ConfigError, match="clean"):
        run_code_audit(self_test=False, only=[], clean=0, seed=0, quiet=True)


@pytest.mark.slow
def test_the_self_test_catches_all() -> None:
    begun = time.process_time()
    result = run_code_audit(self_test=True, only=[], clean=1, seed=0, quiet=True)
    assert [one["name"] for one in result["faults"] if not one["right"]] == []
    assert result["ok"] is True
    assert time.process_time() - begun < 300


@pytest.mark.slow
def test_a_thousand_clean_runs_raise_at_most_one_alarm() -> None:
    result = run_code_audit(self_test=False, only=[], clean=1000, seed=10_000, quiet=True)
    assert len({one["seed"] for one in result["clean"]["alarms"]}) <= 1
