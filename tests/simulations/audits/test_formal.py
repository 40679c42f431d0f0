"""`audit epsilon` on real small runs: what is printed, what is withheld, what is found."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from shared.errors import ConfigError, RunError
from shared.privacy.accountant import Charge, composed_epsilon, epsilon
from shared.privacy.record import read_ledger
from simulations.audits.formal import recompute, render
from simulations.audits.verify import verify
from simulations.cli import app
from tests.simulations.audits.runs import audited, federation, simulated

NAMES = ["shop", "films", "news"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three runs of one tiny federation: `first`, `second`, and `seeded`; and one not private."""
    toml = federation(tmp_path_factory.mktemp("formal") / "federation")
    folder = toml.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDINTEREST_CACHE", str(folder / "cache"))
        simulated(
            toml,
            first=(),
            second=("--rounds", "2"),
            seeded=("--seed", "3", "--rounds", "2"),
            open=("--epsilon", "inf", "--rounds", "1"),
        )
        audited(folder / "cache")
        yield folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "first", tmp_path / "run")
    return tmp_path / "run"


def edit(path: Path, change: Any) -> None:
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def said(result: dict[str, Any]) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        render(result, console)
    return console.export_text()


def numbers(value: Any) -> list[float]:
    """Every float in a result."""
    if isinstance(value, dict):
        return [one for part in value.values() for one in numbers(part)]
    if isinstance(value, list):
        return [one for part in value for one in numbers(part)]
    return [value] if isinstance(value, float) else []


def test_an_honest_run_ends_with_epsilons(made: Path) -> None:
    result = recompute(made / "first", others=[])
    assert result["ok"]
    assert result["missing"] == result["findings"] == []
    assert list(result["platforms"]) == NAMES
    summary = json.loads((made / "first" / "summary.json").read_text())
    for name, entry in result["platforms"].items():
        ledger = read_ledger(made / "first" / "ledger" / f"{name}.jsonl")
        (charge,) = ledger.charges()
        assert (entry["steps"], entry["rounds"]) == (8, [1, 2, 3, 4])
        assert entry["sample_rates"] == [0.5]
        assert entry["noise_multipliers"] == [charge.noise_multiplier]
        assert entry["clip_norms"] == [2.0]
        assert entry["epsilon"] == ledger.spent() == entry["by_round"][-1]
        assert entry["epsilon"] == summary["platforms"][name]["epsilon"] == entry["claimed"]
        assert entry["epsilon"] <= entry["promised"] == 8.0
        assert entry["by_round"] == pytest.approx(
            [
                epsilon([Charge(0.5, charge.noise_multiplier, 2 * n)], ledger.delta)
                for n in (1, 2, 3, 4)
            ]
        )
        cells = entry["accountants"]
        assert cells["prv"]["low"] <= entry["epsilon"] <= cells["prv"]["high"] + 1e-3
        assert entry["epsilon"] < cells["rdp"]["epsilon"]
        assert cells["exact"]["epsilon"] is None
        relations = entry["relations"]
        assert relations["add_remove"] == entry["epsilon"] < relations["replace_one"]
    together = result["composed"]["across_platforms"]
    assert together["over"] == NAMES
    assert together["epsilon"] == summary["composed"]["epsilon"] > result["epsilon"]
    assert result["composed"]["everything"] is None
    text = said(result)
    assert f"{result['epsilon']:.4f}" in text
    assert "spent as claimed" in text
    json.dumps(result, allow_nan=False)


def test_the_command_keeps_the_result(copy: Path) -> None:
    got = CliRunner().invoke(app, ["audit", "epsilon", str(copy), "--json"])
    assert got.exit_code == 0
    assert json.loads(got.stdout) == json.loads((copy / "audit" / "epsilon.json").read_text())


def test_without_an_audit_of_the_code_no_epsilon_is_printed(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDINTEREST_CACHE", str(tmp_path))
    result = recompute(made / "first", others=[])
    assert not result["ok"]
    assert result["missing"] == ["sampling", "clipping", "adjacency", "secure noise", "accounting"]
    assert result["epsilon"] is None
    for entry in result["platforms"].values():
        assert entry["epsilon"] is entry["relations"] is entry["by_round"] is None
        assert entry["accountants"] is None
    assert result["composed"]["across_platforms"]["epsilon"] is None
    assert result["if_the_noise_had_been_secret"] is None
    text = said(result)
    assert "not checked: sampling, clipping" in text
    assert "fedinterest audit code" in text
    spent = [read_ledger(made / "first" / "ledger" / f"{name}.jsonl").spent() for name in NAMES]
    assert not any(f"{value:.2f}" in text for value in spent)


def test_an_audit_that_came_with_the_run_is_not_believed(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDINTEREST_CACHE", str(tmp_path / "empty"))
    audited(copy / "audit")
    shutil.copy(copy / "audit" / "audit-code.json", copy / "audit" / "code.json")
    assert "sampling" in recompute(copy, others=[])["missing"]


def test_a_seeded_run_prints_no_epsilon_but_under_a_heading(made: Path) -> None:
    result = recompute(made / "seeded", others=[])
    assert not result["ok"]
    assert result["missing"] == ["secure noise"]
    assert result["findings"] == []
    assert {entry["epsilon"] for entry in result["platforms"].values()} == {None}
    hypothetical = result["if_the_noise_had_been_secret"]["platforms"]
    assert all(0 < entry["epsilon"] <= 8 for entry in hypothetical.values())
    before, heading, after = said(result).partition("IF THE NOISE HAD BEEN SECRET")
    assert "seed 3" in before
    assert heading
    number = f"{hypothetical['shop']['epsilon']:.4f}"
    assert number in after
    assert number not in before


def test_a_seed_taken_out_of_run_json_is_found(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "seeded", tmp_path / "run")
    edit(tmp_path / "run" / "run.json", lambda run: run.update(seed=None))
    shutil.rmtree(tmp_path / "run" / "platforms")
    result = recompute(tmp_path / "run", others=[])
    assert "secure noise" in result["missing"]


def test_a_run_without_privacy_has_no_epsilon(made: Path) -> None:
    result = recompute(made / "open", others=[])
    assert not result["ok"]
    assert "adjacency" in result["missing"]
    assert numbers([entry["epsilon"] for entry in result["platforms"].values()]) == []
    assert [entry["claimed"] for entry in result["platforms"].values()] == ["inf"] * 3
    assert {one["what"] for one in result["findings"]} == {"NOT PRIVATE: no guarantee"}
    said(result)


def lower(summary: dict[str, Any]) -> None:
    summary["platforms"]["shop"]["epsilon"] *= 0.99


def lower_composed(summary: dict[str, Any]) -> None:
    summary["composed"]["epsilon"] *= 0.99


def larger_delta(summary: dict[str, Any]) -> None:
    summary["platforms"]["shop"]["delta"] *= 2


def more_noise(summary: dict[str, Any]) -> None:
    summary["platforms"]["shop"]["noise_multiplier"] += 1


def left_out(summary: dict[str, Any]) -> None:
    del summary["platforms"]["shop"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lower, "smaller epsilon than its ledger costs"),
        (lower_composed, "smaller composed epsilon"),
        (larger_delta, "another delta"),
        (more_noise, "another noise_multiplier"),
        (left_out, "says nothing of it"),
    ],
)
def test_an_edited_summary_is_found(copy: Path, change: Any, words: str) -> None:
    edit(copy / "summary.json", change)
    result = recompute(copy, others=[])
    assert not result["ok"]
    assert any(words in one["what"] for one in result["findings"])


def test_an_edited_model_card_is_found(copy: Path) -> None:
    card = copy / "adapter" / "README.md"
    text = card.read_text()
    assert "| epsilon " in text
    head, _, tail = text.partition("| epsilon ")
    card.write_text(f"{head}| epsilon 1.00{tail[4:]}")
    result = recompute(copy, others=[])
    assert any("model card" in one["what"] for one in result["findings"])


def test_edited_rounds_are_found(copy: Path) -> None:
    path = copy / "rounds.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[2]["platforms"]["news"]["epsilon"] *= 0.9
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = recompute(copy, others=[])
    assert {"platform": "news", "run": str(copy)} | {
        "what": "rounds.jsonl claims a smaller epsilon after round 2"
    } in result["findings"]


def test_an_edited_ledger_withholds_everything(copy: Path) -> None:
    path = copy / "ledger" / "shop.jsonl"
    content = path.read_text()
    path.write_text(content.replace('"round":2', '"round":3', 1))
    result = recompute(copy, others=[])
    assert not result["ok"]
    assert "record" in result["missing"]
    assert any("ledger cannot be read" in one["what"] for one in result["findings"])
    assert result["epsilon"] is None
    said(result)


def test_a_missing_ledger_is_found(copy: Path) -> None:
    for path in (copy / "ledger").glob("shop.jsonl*"):
        path.unlink()
    result = recompute(copy, others=[])
    whats = [one["what"] for one in result["findings"] if one["platform"] == "shop"]
    assert any("claims an epsilon that no readable ledger bears out" in what for what in whats)
    assert result["composed"]["across_platforms"]["epsilon"] is None


def test_runs_on_the_same_data_compose(made: Path) -> None:
    first, second = made / "first", made / "second"
    result = recompute(first, others=[second])
    assert result["ok"]
    ledgers = {
        run: {name: read_ledger(run / "ledger" / f"{name}.jsonl") for name in NAMES}
        for run in (first, second)
    }
    for name, entry in result["composed"]["across_runs"].items():
        parts = [ledgers[run][name] for run in (first, second)]
        expected = composed_epsilon([one.charges() for one in parts], parts[0].delta)
        assert entry["epsilon"] == expected
        assert entry["epsilon"] > max(one.spent() for one in parts)
        assert entry["relations"]["replace_one"] > entry["epsilon"]
    everything = result["composed"]["everything"]
    assert len(everything["over"]) == 6
    assert everything["epsilon"] > result["composed"]["across_platforms"]["epsilon"]
    assert "over all runs" in said(result)


def test_another_run_that_lacks_a_check_withholds_the_composition_only(made: Path) -> None:
    result = recompute(made / "first", others=[made / "seeded"])
    assert not result["ok"]
    assert result["missing"] == ["secure noise"]
    assert result["epsilon"] is not None
    assert result["composed"]["across_platforms"]["epsilon"] is not None
    assert result["composed"]["everything"]["epsilon"] is None
    assert {one["epsilon"] for one in result["composed"]["across_runs"].values()} == {None}


def test_a_run_given_twice_is_refused(made: Path, copy: Path, tmp_path: Path) -> None:
    for other in (made / "first", copy):
        with pytest.raises(ConfigError, match="every run once"):
            recompute(made / "first", others=[other])
    with pytest.raises(RunError):
        recompute(tmp_path / "nowhere", others=[])


@pytest.mark.slow
def test_simulate_audit_code_audit_epsilon(
    made: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a user does, with the real audit of the code."""
    monkeypatch.setenv("FEDINTEREST_CACHE", str(tmp_path / "own"))
    assert CliRunner().invoke(app, ["audit", "epsilon", str(copy)]).exit_code == 12
    assert CliRunner().invoke(app, ["audit", "code"]).exit_code == 0
    got = CliRunner().invoke(app, ["audit", "epsilon", str(copy)])
    assert got.exit_code == 0
    assert "spent as claimed" in got.stdout


def as_deployed(run: Path) -> None:
    """The same run as a coordinator's folder would hold it, with the partners' logs beside."""
    summary = json.loads((run / "summary.json").read_text())
    adapter = (run / "adapter" / "adapter_model.safetensors").read_bytes()
    head = json.loads(adapter[8 : 8 + int.from_bytes(adapter[:8], "little")])
    base = json.loads(head["__metadata__"]["fedinterest"])
    end = {
        "rounds": summary["rounds"],
        "adapter_sha256": summary["adapter_sha256"],
        "private": True,
        "whitening": base["whitening"],
    }
    settings = json.loads((run / "federation.json").read_text())
    del settings["speed"]
    for own in settings["platforms"].values():
        for private in ("events", "items", "cleaning"):
            del own[private]
    (run / "federation.json").write_text(json.dumps(settings))
    (run / "finished.json").write_text(json.dumps(end))
    (run / "members.json").write_text("{}")
    for name in ("run.json", "summary.json"):
        (run / name).unlink()
    shutil.rmtree(run / "platforms")


def test_a_coordinators_run_with_the_partners_logs_is_audited_as_well(copy: Path) -> None:
    before = recompute(copy, others=[])
    as_deployed(copy)
    assert verify(copy)["findings"] == []
    after = recompute(copy, others=[])
    assert (after["ok"], after["missing"]) == (True, [])
    assert after["epsilon"] == before["epsilon"] > 0
    assert after["composed"]["across_platforms"]["claimed"] is None


def test_a_coordinators_run_alone_says_what_to_ask_for(copy: Path) -> None:
    as_deployed(copy)
    names = sorted(json.loads((copy / "federation.json").read_text())["platforms"])
    for name in names:
        for folder in ("record", "ledger"):
            for path in (copy / folder).glob(f"{name}.*"):
                path.unlink()
    found = verify(copy)
    assert [one["log"] for one in found["findings"]] == names
    assert all("ask the platform" in one["what"] for one in found["findings"])
    assert recompute(copy, others=[])["epsilon"] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("rounds", 7), ("adapter_sha256", "0" * 64), ("private", False), ("whitening", "0" * 64)],
)
def test_what_a_coordinator_says_of_the_end_is_held_against_the_record(
    copy: Path, name: str, value: Any
) -> None:
    as_deployed(copy)
    edit(copy / "finished.json", lambda end: end.update({name: value}))
    (finding,) = verify(copy)["findings"]
    assert (finding["log"], finding["what"]) == (
        "finished.json",
        f"another {name} than the record's",
    )
    (copy / "finished.json").write_text("[]")
    (finding,) = verify(copy)["findings"]
    assert finding["what"].startswith("does not say how the run ended")
