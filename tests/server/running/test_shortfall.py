"""A run that needs a partner that was shut out stops, says so, and goes on once it may."""

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.cli import app
from server.membership.partners import Partners
from server.rounds.log import RoundLog
from server.running.conductor import FINAL, STATE
from server.running.runs import Run, next_run
from server.running.shortfall import SHORT, PartnersLost, require_quorum, shortfall
from shared.config.federation import FEDERATION
from shared.errors import RunError
from shared.files import write_json
from shared.processes import Supervisor
from shared.transparency.keys import SigningKey
from tests.server.running.test_conductor import NAMES, Deployment

pytestmark = pytest.mark.usefixtures("nginx")


@pytest.fixture
def place(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "coordinator")


@pytest.fixture
def run(place: Deployment) -> Run:
    found = next_run(place.folder)
    assert found is not None
    return found


def set_quorum(run: Run, quorum: int) -> None:
    values = json.loads((run.path / FEDERATION).read_text())
    values["server"]["min_platforms"] = quorum
    write_json(run.path / FEDERATION, values)


def test_as_long_as_all_may_answer_nothing_is_lacking(place: Deployment, run: Run) -> None:
    assert shortfall(place.folder, run) is None
    require_quorum(place.folder, run)


def test_who_was_revoked_is_lacking_by_name(place: Deployment, run: Run) -> None:
    Partners(place.path).revoke("films")
    found = shortfall(place.folder, run)
    assert found is not None
    assert (found.run, found.quorum, found.left) == ("0001", 3, ("news", "shop"))
    assert found.lost == {"films": "revoked"}
    with pytest.raises(PartnersLost, match=r"expected 3 platforms, got 2 \(films: revoked\)"):
        require_quorum(place.folder, run)
    set_quorum(run, 2)
    assert shortfall(place.folder, run) is None
    Partners(place.path).revoke("shop")
    found = shortfall(place.folder, run)
    assert found is not None
    assert found.lost == {"films": "revoked", "shop": "revoked"}


def test_settings_at_work_count_and_not_those_on_disk(place: Deployment, run: Run) -> None:
    before = run.settings
    Partners(place.path).revoke("films")
    set_quorum(run, 2)
    require_quorum(place.folder, run)
    with pytest.raises(PartnersLost):
        require_quorum(place.folder, run, before)


def test_who_comes_back_is_wanted_with_the_key_it_had(place: Deployment, run: Run) -> None:
    partners = Partners(place.path)
    films = partners.get("films")
    partners.revoke("films")
    other = SigningKey.unsafe(5, "films").public.hex
    partners.add(replace(films, statement_key=other))
    found = shortfall(place.folder, run)
    assert found is not None
    assert found.lost == {"films": "enrolled again with another statement key"}
    partners.add(replace(films, serial="02"))
    assert shortfall(place.folder, run) is None


def test_one_that_is_not_in_the_run_is_not_missed(place: Deployment, run: Run) -> None:
    place.enrol("garden")
    Partners(place.path).revoke("garden")
    assert shortfall(place.folder, run) is None


@pytest.mark.parametrize("text", ["", "[]", '{"films": {}}'])
def test_a_damaged_run_is_an_error(place: Deployment, run: Run, text: str) -> None:
    (run.path / "members.json").write_text(text)
    with pytest.raises(RunError, match=r"members\.json"):
        shortfall(place.folder, run)


def test_revoke_says_which_run_stops_and_what_to_do(place: Deployment, run: Run) -> None:
    done = CliRunner().invoke(app, ["revoke", "films", "--dir", str(place.path)])
    assert done.exit_code == 0
    said = " ".join(done.stdout.split())
    assert "Run 0001 needs 3 platforms and has 2 left: it stops." in said
    assert "set server.min_platforms in runs/0001/federation.json" in said
    done = CliRunner().invoke(app, ["revoke", "shop", "--dir", str(place.path), "--json"])
    assert json.loads(done.stdout)["stops"] == {"run": "0001", "quorum": 3, "left": ["news"]}
    set_quorum(run, 1)
    done = CliRunner().invoke(app, ["revoke", "films", "--dir", str(place.path), "--json"])
    assert "stops" not in json.loads(done.stdout)
    (run.path / "members.json").unlink()
    done = CliRunner().invoke(app, ["revoke", "films", "--dir", str(place.path)])
    assert done.exit_code == 0  # whatever the run's state
    write_json(run.path / "finished.json", {})
    set_quorum(run, 3)
    done = CliRunner().invoke(app, ["revoke", "films", "--dir", str(place.path), "--json"])
    assert "stops" not in json.loads(done.stdout)


@pytest.mark.slow
def test_a_run_stops_at_once_and_goes_on_from_there(tmp_path: Path) -> None:
    place = Deployment(tmp_path / "coordinator", slow_s=1.0, timeout_s=30)
    run = next_run(place.folder)
    assert run is not None
    nodes = [place.node(name) for name in NAMES]
    children = [place.superlink(), *nodes, place.conductor(run)]
    supervisor = Supervisor(children, place.path / "state" / "processes.json")
    log, told = RoundLog(run.path / "rounds.jsonl"), place.path / "state" / STATE
    end, revoked, stopped = time.monotonic() + 240, False, False
    try:
        while (code := supervisor.poll()) is None:
            assert time.monotonic() < end, place.logs()
            if not revoked and len(log.lines()) == 2:  # round 2 is in hand
                revoked = True
                os.kill(supervisor.pid("films") or 0, signal.SIGSTOP)
                Partners(place.path).revoke("films")
                del place.keys["films"]
                assert place.up()  # its node is not known any more
            if not stopped and supervisor.states["conductor"] == "pausing":
                stopped = True
                assert supervisor.exit_codes["conductor"] == SHORT, place.logs()
                said = json.loads(told.read_text())
                assert said["phase"] == "waiting"
                assert "films: revoked" in said["message"]
                assert len(log.lines()) == 2
                assert "retry" not in (place.path / "log" / "conductor.jsonl").read_text()
                set_quorum(run, 2)
            time.sleep(0.05)
    finally:
        if pid := supervisor.pid("films"):
            os.kill(pid, signal.SIGCONT)
        supervisor.stop()
    assert (stopped, code) == (True, 0), place.logs()
    assert SHORT not in FINAL
    lines = log.lines()
    assert [line["round"] for line in lines] == [0, 1, 2, 3]
    for line in lines[2:]:
        assert not line["platforms"]["films"]["answered"]
        assert line["platforms"]["shop"]["answered"]
    assert run.finished is not None
