"""One run at a time, and another only when something is different; what measures say of them."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from server.app import enrolled_keys, read_settings
from server.membership.enrolment import init
from server.membership.partners import Partner, Partners
from server.running.measures import DESCRIBED, OUTCOMES, PHASES, PREFIX, Measures, summed
from server.running.runs import next_run, runs
from server.running.status import render, status
from server.settings import ServerFolder
from shared.certificates import new_node_key, public_pem
from shared.errors import ConfigError
from shared.files import write_json, write_text
from shared.operations.metrics import Metrics
from shared.transparency.keys import SigningKey

pytestmark = pytest.mark.usefixtures("nginx")


@pytest.fixture
def folder(tmp_path: Path) -> ServerFolder:
    path = tmp_path / "coordinator"
    init(path, name="toys", address="127.0.0.1:9443", now=datetime.now(UTC))
    for name in ("shop", "films"):
        enrol(path, name)
    return ServerFolder(path)


def enrol(path: Path, name: str) -> Partner:
    partner = Partner(
        name=name,
        kind="toy",
        population=100,
        serial="01",
        not_after="2030-01-01T00:00:00+00:00",
        node_key_pem=public_pem(new_node_key().public_key()),
        statement_key=SigningKey.unsafe(0, name).public.hex,
    )
    Partners(path).add(partner)
    return partner


def finish(folder: ServerFolder) -> None:
    write_json(runs(folder)[-1].path / "finished.json", {"rounds": 48})


def test_the_first_run_is_what_server_toml_and_the_partners_say(folder: ServerFolder) -> None:
    run = next_run(folder, rounds=7)
    assert run is not None
    assert run.name == "0001"
    settings = read_settings(run.path)
    assert list(settings.platforms) == ["films", "shop"]
    assert settings.training.rounds == 7
    assert settings.platforms["shop"].population == 100
    assert enrolled_keys(run.path, settings) == {
        name: SigningKey.unsafe(0, name).public.hex for name in ("films", "shop")
    }
    assert (run.path / "coordinator.key").read_bytes() == folder.coordinator_key.read_bytes()
    assert (run.path / "coordinator.key").stat().st_mode & 0o777 == 0o600


def test_a_run_that_is_not_finished_goes_on_whatever_has_changed(folder: ServerFolder) -> None:
    first = next_run(folder)
    enrol(folder.path, "news")
    assert next_run(folder, rounds=3) == first
    assert list(read_settings(first.path).platforms) == ["films", "shop"]  # type: ignore[union-attr]


@pytest.mark.parametrize("change", ["nothing", "partner", "revoked", "key", "settings", "rounds"])
def test_after_a_finished_run_another_begins_only_for_a_reason(
    folder: ServerFolder, change: str
) -> None:
    next_run(folder)
    finish(folder)
    rounds = None
    partners = Partners(folder.path)
    if change == "partner":
        enrol(folder.path, "news")
    elif change == "revoked":
        partners.revoke("shop")
    elif change == "key":
        key = SigningKey.unsafe(1, "shop").public.hex
        partners.add(replace(partners.get("shop"), statement_key=key))
    elif change == "settings":
        toml = folder.path / "server.toml"
        text = toml.read_text()
        assert "epsilon = 8.0" in text
        write_text(toml, text.replace("epsilon = 8.0", "epsilon = 4.0"))
    elif change == "rounds":
        rounds = 3
    following = next_run(ServerFolder(folder.path), rounds=rounds)
    assert (following is not None and following.name) == (change != "nothing" and "0002")


def test_with_nobody_enrolled_there_is_no_run(folder: ServerFolder) -> None:
    for name in ("shop", "films"):
        Partners(folder.path).revoke(name)
    with pytest.raises(ConfigError, match="enrol NAME REQUEST"):
        next_run(folder)


def entry(**changes: Any) -> dict[str, Any]:
    values = {"answered": True, "outcome": "accepted", "reason": None, "update_norm": 2.0}
    sizes = {"uplink_bytes": 10, "downlink_bytes": 100, "steps": 2, "epsilon": 1.5}
    return values | sizes | changes


LINES: list[dict[str, Any]] = [
    {
        "round": 0,
        "seconds": 9.0,
        "platforms": {
            "films": entry(steps=0, downlink_bytes=0, update_norm=None, epsilon=0.0),
            "shop": entry(steps=0, downlink_bytes=0, update_norm=None, epsilon=0.0),
        },
    },
    {"round": 1, "seconds": 2.0, "platforms": {"films": entry(), "shop": entry()}},
    {
        "round": 2,
        "seconds": 3.0,
        "platforms": {
            "films": entry(epsilon="inf", update_norm=4.0),
            "shop": entry(
                answered=False,
                outcome="refused",
                reason="PolicyRefusal: expected rounds in a window",
                update_norm=None,
                steps=0,
            ),
        },
    },
    {
        "round": 3,
        "seconds": 1.0,
        "platforms": {
            "films": entry(epsilon=None),
            "shop": entry(
                answered=False, outcome="refused", reason='user-4711",x="', update_norm=None
            ),
        },
    },
]


def test_what_the_lines_of_a_run_add_up_to() -> None:
    found = summed(LINES)
    assert found["run_rounds_done"] == 3
    assert found["run_rounds_seconds_total"] == 6.0
    assert (found["run_round_seconds"], found["run_round_answers"]) == (1.0, 1)
    assert found["run_answers_total"] == {
        ("films", "accepted"): 3,
        ("shop", "accepted"): 1,
        ("shop", "refused"): 2,
    }
    # A partner makes no labels up.
    assert found["run_refusals_total"] == {("shop", "PolicyRefusal"): 1, ("shop", "other"): 1}
    assert found["run_uplink_bytes_total"] == {("films",): 40, ("shop",): 40}
    assert found["run_downlink_bytes_total"] == {("films",): 300, ("shop",): 300}
    assert found["run_steps_total"] == {("films",): 6, ("shop",): 4}
    assert found["run_epsilon"] == {("films",): float("inf"), ("shop",): 1.5}
    assert found["run_update_norm"] == {("films",): 2.0, ("shop",): 2.0}


def test_every_measure_is_described_and_has_a_value(folder: ServerFolder) -> None:
    run = next_run(folder)
    assert run is not None
    write_text(run.path / "rounds.jsonl", "".join(f"{as_json(line)}\n" for line in LINES))
    told = {"run": "0001", "phase": "training", "retries": 2, "at": 5.0}
    write_json(folder.state / "conductor.json", told)
    measures = Measures(folder, 7.0, lambda: {"gateway": (True, 3)}, lambda: ["shop"])
    text = Metrics(DESCRIBED, measures.read).text().decode()
    assert len(DESCRIBED) >= 25
    for metric in DESCRIBED:
        assert f"\n{metric.name}" in text, metric.name
    for line in (
        'child_restarts_total{child="gateway"} 3.0',
        'partner_connected{partner="films"} 0.0',
        'partner_connected{partner="shop"} 1.0',
        'run_phase{phase="training"} 1.0',
        'run_phase{phase="finished"} 0.0',
        "run_retries_total 2.0",
        "run_rounds_done 3.0",
    ):
        assert f"\n{PREFIX}{line}\n" in text
    assert "4711" not in text


def as_json(line: dict[str, Any]) -> str:
    import json

    return json.dumps(line)


def test_the_words_are_those_that_are_used(folder: ServerFolder) -> None:
    from server.rounds.round import new_entry

    assert new_entry()["outcome"] in OUTCOMES
    assert new_entry(answered=True)["outcome"] in OUTCOMES
    source = (
        Path(__file__).resolve().parents[3] / "server" / "running" / "conductor.py"
    ).read_text()
    assert all(f'"{phase}"' in source for phase in PHASES)


def test_status_of_a_coordinator_that_is_not_running(
    folder: ServerFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    found = status(folder.path)
    assert (found["running"], found["ok"], found["run"]) == (False, False, None)
    assert found["partners"]["shop"]["connected"] is False
    run = next_run(folder)
    assert run is not None
    lines = [line | {"adapter_sha256": "00"} for line in LINES]
    write_text(run.path / "rounds.jsonl", "".join(f"{as_json(line)}\n" for line in lines))
    found = status(folder.path)
    assert found["run"]["round"] == 3
    assert found["run"]["epsilon"] == {"films": "inf", "shop": 1.5}
    assert as_json(found)
    render(found, Console())
    assert "round 3 of 48" in capsys.readouterr().out
