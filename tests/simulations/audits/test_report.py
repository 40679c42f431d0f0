"""`audit report` on real small runs: what it says, what it withholds, where its figures lead."""

import dataclasses
import hashlib
import html
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from shared.errors import ConfigError, RunError, StorageError
from shared.transparency.code import COORDINATOR_CODE, PLATFORM_CODE, code_sha256
from simulations.audits import report as report_module
from simulations.audits.curves import Curve, CurveChart, curve_chart
from simulations.audits.figures import high, low
from simulations.audits.formal import recompute
from simulations.audits.parts import TOPICS, attack_part, canary_part, code_part
from simulations.audits.report import print_page, render, write_audit_report
from simulations.audits.spending import read_spending
from tests.simulations.audits.runs import audited, call

SCHEMA = json.loads(
    Path(report_module.__file__).with_name("report.schema.json").read_text(encoding="utf-8")
)
FIELDS = [  # what the issue names of NIST SP 800-226
    "Unit of privacy",
    "Adjacency",
    "Epsilon and delta, with accountant",
    "Composition",
    "Trust model",
    "Sampling",
    "Noise source",
    "Side channels",
    "Data collection",
    "Access control",
]


@pytest.fixture(scope="module")
def made(runs: Path) -> Iterator[Path]:
    """`runs`, with the cache that they were made with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDINTEREST_CACHE", str(runs / "cache"))
        yield runs


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "first", tmp_path / "run")
    return tmp_path / "run"


def written(run: Path) -> tuple[dict[str, Any], str]:
    """The result, held against the published schema and report.json; and the page."""
    result = write_audit_report(run, pdf=False, quiet=True)
    jsonschema.Draft202012Validator(SCHEMA).validate(result)
    assert json.loads((run / "audit" / "report.json").read_text("utf-8")) == result
    page = (run / "audit" / "report.html").read_text("utf-8")
    targets = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= targets
    return result, page


def edit(path: Path, change: Any) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    change(found)
    path.write_text(json.dumps(found), encoding="utf-8")


def states(result: dict[str, Any]) -> dict[str, str]:
    return {name: part["state"] for name, part in result["parts"].items()}


def said(result: dict[str, Any]) -> str:
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        render(result, console)
    return console.export_text()


def text_of(page: str) -> str:
    body = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def test_a_whole_run_is_ok(made: Path) -> None:
    result, page = written(made / "first")
    assert result["ok"] is True
    assert set(states(result).values()) == {"ok"}
    assert [one["verdict"] for one in result["questions"]] == ["ok"] * 4
    assert result["findings"] == result["missing"] == []
    fields = {one["field"]: one for one in result["nist"]}
    assert set(FIELDS) <= set(fields)
    checked = ("Unit of privacy", "Adjacency", "Sampling", "Noise source", "Composition")
    assert all(fields[name]["state"] == "checked" for name in checked)
    topics = [one["topic"] for one in result["impact"]]
    assert topics == [
        "Purpose",
        "Data flow",
        "Retention",
        "Residual risk",
        "Attack results",
        "Limits",
    ]
    text = text_of(page)
    for row in (*result["nist"], *result["questions"]):
        assert " ".join(row["answer"].split()) in text
    assert re.findall(r"https?://[^\s\"']+", page) == ["http://www.w3.org/2000/svg"]
    assert result["headline"] in said(result)
    assert not (made / "first" / "audit" / "report.pdf").exists()


def test_figures_are_those_of_the_audits_and_lead_to_the_log(made: Path) -> None:
    run = made / "first"
    result, _ = written(run)
    fresh = recompute(run, others=[])
    assert result["epsilon"] == fresh["epsilon"]
    points = result["figures"]["epsilon_by_round"]
    assert set(points) == {"shop", "films", "news"}
    for name, rows in points.items():
        entry = fresh["platforms"][name]
        assert [row["round"] for row in rows] == entry["rounds"] == list(range(1, 9))
        assert [row["epsilon"] for row in rows] == entry["by_round"]
        ledger = (run / "ledger" / f"{name}.jsonl").read_bytes().split(b"\n")
        log = (run / "record" / f"{name}.jsonl").read_bytes().split(b"\n")
        for row in rows:
            source = row["source"]["entry"]
            assert source["log"] == f"record/{name}.jsonl"
            line = log[source["entry"]]
            assert hashlib.sha256(b"\0" + line).hexdigest() == source["leaf"]
            first, last = source["lines"]
            assert last == first + 1  # two steps a round
            paid = [json.loads(ledger[number - 1]) for number in (first, last)]
            assert [charge["round"] for charge in paid] == [row["round"]] * 2
    rows = result["figures"]["claimed_and_found"]
    canary = json.loads((run / "audit" / "canary.json").read_text())
    attack = json.loads((run / "audit" / "attack.json").read_text())
    shown = [row for row in rows if row["source"]["file"] == "audit/canary.json"]
    assert [row["epsilon"] for row in shown] == [one["epsilon"] for one in canary["bounds"]]
    assert [row["kind"] for row in shown] == [one["kind"] for one in canary["bounds"]]
    content = (run / "audit" / "canary.json").read_bytes()
    assert {row["source"]["sha256"] for row in shown} == {hashlib.sha256(content).hexdigest()}
    assert {row["source"]["entry"]["log"] for row in shown} == {"record/shop.jsonl"}
    rocs = {one["audit"]: one for one in result["figures"]["roc"]}
    lira = next(one for one in rocs["attack"]["curves"] if one["name"] == "LiRA, with privacy")
    kept = attack["membership"]["lira"]["private"]["roc"]
    assert lira["points"] == [row[:2] for row in kept]
    assert rocs["attack"]["mechanism"] == attack["profile_bound"]
    assert len(rocs["attack"]["curves"]) == 4
    assert rocs["canary"]["curves"][0]["points"] == canary["roc"]


def test_what_was_not_audited_says_so_and_how_to_do_it(copy: Path) -> None:
    shutil.rmtree(copy / "audit")
    result, page = written(copy)
    assert states(result) == {
        "verify": "ok",
        "epsilon": "ok",
        "canary": "not audited",
        "attack": "not audited",
        "code": "ok",
    }
    assert result["ok"] is True
    assert result["questions"][2]["verdict"] == "not audited"
    assert result["figures"]["roc"] == []
    assert "canary and attack are not audited" in result["headline"]
    for name in ("canary", "attack"):
        assert f"fedinterest audit {name} {copy}" in text_of(page)
    assert json.loads((copy / "audit" / "epsilon.json").read_text())["ok"] is True
    assert json.loads((copy / "audit" / "verify.json").read_text())["ok"] is True
    assert "NOT AUDITED" in said(result)


def test_one_of_two_is_in_part(copy: Path) -> None:
    (copy / "audit" / "canary.json").unlink()
    result, _ = written(copy)
    assert result["questions"][2]["verdict"] == "in part"
    assert "Not audited: canary" in result["questions"][2]["answer"]


def test_a_damaged_record_is_not_ok_whatever_was_left_in_audit(copy: Path) -> None:
    written(copy)
    before = (copy / "audit" / "verify.json").read_text()
    log = copy / "record" / "films.jsonl"
    content = bytearray(log.read_bytes())
    lines = content.split(b"\n")
    place = len(lines[0]) + len(lines[1]) + 2 + 60
    content[place] = ord("A") if content[place] != ord("A") else ord("B")
    log.write_bytes(content)
    (copy / "audit" / "verify.json").write_text(before)  # newer than the record, and ok
    got = call("audit", "report", copy, "--json")
    assert got.exit_code == 12
    result = json.loads(got.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(result)
    assert result["ok"] is False
    assert result["parts"]["verify"]["state"] == "found"
    assert any("films, entry 2" in one["what"] for one in result["findings"])
    assert result["epsilon"] is None
    assert result["figures"]["epsilon_by_round"] == {}
    assert [one["verdict"] for one in result["questions"]][::3] == ["found", "found"]
    page = text_of((copy / "audit" / "report.html").read_text("utf-8"))
    assert "films, entry 2" in page
    assert "PROBLEM" in said(result)


@pytest.mark.parametrize("lost", ["record/keys.json", "ledger", "summary.json"])
def test_a_lost_file_is_a_finding_not_a_crash(lost: str, copy: Path) -> None:
    gone = copy / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    result, page = written(copy)
    assert result["ok"] is False
    assert result["parts"]["verify"]["state"] == "found"
    assert lost in json.dumps(result["findings"])
    assert "NOT PRIVATE" not in page
    assert (result["epsilon"] is None) or lost == "summary.json"
    if lost == "ledger":
        assert result["questions"][0]["verdict"] == "not audited"
        assert result["questions"][0]["answer"] == "No ledger can be read, so no promise is known."
    if lost == "record/keys.json":
        assert result["figures"]["roc"] == []  # nothing signs what was attacked
        assert set(states(result).values()) == {"found", "not audited"}


def test_a_seeded_run_prints_no_epsilon(made: Path) -> None:
    result, page = written(made / "seeded")
    assert result["ok"] is False
    assert result["seeded"] is True
    assert result["epsilon"] is None
    assert result["missing"] == ["secure noise (the noise follows from seed 3)"]
    assert result["parts"]["epsilon"]["state"] == "found"
    assert [one["verdict"] for one in result["questions"]] == ["ok", "found", "found", "ok"]
    withheld = recompute(made / "seeded", others=[])["if_the_noise_had_been_secret"]
    numbers = {entry["epsilon"] for entry in withheld["platforms"].values()}
    numbers.add(withheld["composed"]["across_platforms"]["epsilon"])
    everything = json.dumps(result) + page
    assert len(numbers) > 1
    for number in numbers:
        assert f"{number:.3f}"[:-1] not in everything
    assert "Not checked: secure noise" in text_of(page)


def test_a_run_without_privacy_says_not_private(made: Path) -> None:
    result, page = written(made / "open")
    assert result["ok"] is result["private"] is False
    assert result["epsilon"] is None
    assert "NOT PRIVATE" in result["headline"]
    assert 'role="alert"' in page
    verdicts = [one["verdict"] for one in result["questions"]]
    assert verdicts == ["found", "found", "found", "ok"]


def test_without_an_audit_of_the_code_there_is_no_epsilon(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDINTEREST_CACHE", str(tmp_path / "empty"))
    result, page = written(copy)
    assert result["ok"] is False
    assert result["epsilon"] is None
    assert states(result)["epsilon"] == states(result)["code"] == "not audited"
    assert result["questions"][1]["verdict"] == "not audited"
    assert result["missing"][0].startswith("sampling, clipping, adjacency")
    assert "fedinterest audit code" in text_of(page)
    # a result that came with the run is not this machine's
    audited(copy / "audit")
    (copy / "audit" / "audit-code.json").rename(copy / "audit" / "code.json")
    assert states(written(copy)[0])["code"] == "not audited"


def test_runs_that_were_composed_are_composed_again(copy: Path, made: Path) -> None:
    assert call("audit", "epsilon", copy, "--with", made / "seeded").exit_code == 12
    result, _ = written(copy)
    assert result["ok"] is False
    assert any("seed 3" in one for one in result["missing"])
    edit(
        copy / "audit" / "epsilon.json",
        lambda found: [
            row.update(run="/nowhere") for row in found["assumptions"] if "seeded" in row["run"]
        ],
    )
    result, _ = written(copy)
    assert result["parts"]["epsilon"]["state"] == "found"
    assert "/nowhere, which is gone" in result["findings"][0]["what"]


def test_hostile_words_stay_words(copy: Path) -> None:
    evil = "<script>document.title='owned'</script>"
    edit(copy / "audit" / "attack.json", lambda found: found.update(findings=[evil]))
    result, page = written(copy)
    assert result["ok"] is False
    assert page.count("<script") == 1
    assert evil in text_of(page.replace("&lt;script&gt;", "<b></b>&lt;script&gt;"))


def signed(run: Path) -> dict[str, Any]:
    return {name: one.statements[-1] for name, one in read_spending(run).items()}


@pytest.mark.parametrize("name", ["canary", "attack"])
@pytest.mark.parametrize(
    ("change", "state", "words"),
    [
        (lambda found: None, "ok", ""),
        (lambda found: found.update(epsilon=2.0), "not audited", "epsilon 2 there, 8 in"),
        (lambda found: found.update(delta=1e-5), "not audited", "delta"),
        (lambda found: found.update(rounds=2), "not audited", "rounds 2 there, 8 in"),
        (lambda found: found.update(noise_multiplier=0.5), "not audited", "noise_multiplier"),
        (lambda found: found.update(platform="other"), "not audited", "other"),
        (lambda found: found.update(ok=False), "found", ""),
        (lambda found: found.update(findings=["it leaks"]), "found", ""),
        (lambda found: found.update(findings=["it leaks"], epsilon=2.0), "found", ""),
        (lambda found: found.update(ok="yes"), "not audited", "(at ok)"),
        (lambda found: found.pop("ok"), "not audited", "(at ok)"),
        (lambda found: found.pop("findings"), "not audited", "(at findings)"),
        (lambda found: found.update(epsilon=float("nan")), "not audited", "(at epsilon)"),
        (lambda found: found.update(bounds=[], membership={}), "not audited", "no result"),
    ],
)
def test_only_what_is_understood_and_fits_the_record_is_ok(
    name: str, change: Any, state: str, words: str, made: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.json"
    shutil.copy(made / "first" / "audit" / f"{name}.json", path)
    edit(path, change)
    judge = {"canary": canary_part, "attack": attack_part}[name]
    part, _ = judge(path, made / "first", signed(made / "first"), 8)
    assert part.state == state
    assert words in part.why
    assert bool(part.findings) == (state == "found")


def test_a_file_that_is_no_json_was_not_audited(tmp_path: Path) -> None:
    path = tmp_path / "attack.json"
    for content in (b"", b"\xff", b"[]", b'{"ok": true}'):
        path.write_bytes(content)
        part, found = attack_part(path, tmp_path, {}, 8)
        assert (part.state, found) == ("not audited", None)


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({}, "ok", "6 of 6 checks passed"),
        ({"ok": False}, "found", ""),
        ({"checks": [{"name": "a", "ok": True, "covers": list(TOPICS)[1:]}]}, "not audited", ""),
        (
            {"checks": [{"name": "a", "ok": False, "covers": list(TOPICS), "cause": "noise"}]},
            "found",
            "0 of 1",
        ),
        ({"codes": {"platform": "x", "coordinator": "y"}}, "not audited", "other code"),
        ({"checks": []}, "not audited", "no result"),
        ({"faults": [{"name": "f", "right": True}]}, "ok", "1 of 1 planted faults caught"),
        ({"faults": [{"name": "f", "right": False}]}, "found", "0 of 1"),
        ({"clean": {"runs": 9, "alarms": [{"seed": 4}]}}, "found", ""),
    ],
)
def test_the_codes_audit_counts_for_the_code_that_ran(
    changes: dict[str, Any], state: str, words: str, tmp_path: Path
) -> None:
    audited(tmp_path, **changes)
    ran, served = {code_sha256(*PLATFORM_CODE)}, {code_sha256(*COORDINATOR_CODE)}
    part, _ = code_part(tmp_path / "audit-code.json", ran, served)
    assert part.state == state
    assert words in part.why
    assert code_part(tmp_path / "audit-code.json", set(), served)[0].state == "not audited"
    assert code_part(tmp_path / "audit-code.json", ran | {"0"}, served)[0].state == "not audited"


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a run folder"):
        write_audit_report(tmp_path, pdf=False, quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_without_a_browser_there_is_a_remedy_and_nothing_is_written(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(copy / "audit")
    monkeypatch.setenv("PATH", str(copy))
    with pytest.raises(ConfigError, match="Install Chromium") as caught:
        write_audit_report(copy, pdf=True, quiet=True)
    assert caught.value.where == "--pdf"
    assert not (copy / "audit").exists()


def test_a_browser_that_prints_nothing_leaves_the_page(copy: Path) -> None:
    page = copy / "report.html"
    page.write_text("x")
    with pytest.raises(StorageError, match="exit code 0") as caught:
        print_page(shutil.which("true") or "", page, copy / "report.pdf")
    assert "Print report.html" in caught.value.remedy
    assert not (copy / "report.pdf").exists()


def test_points_lie_where_they_should() -> None:
    curve = Curve("attack", "spent", ((0.0, 0.1), (0.0005, 0.2), (0.1, 0.5), (1.0, 1.0)))
    drawn = curve_chart(CurveChart((curve, dataclasses.replace(curve, wall=True)), "said"))
    # 0.001 to 1 lies on 2 to 98 %, 0 to 1 on 254 to 14 px
    assert 'd="M2.000 206.00L66.000 134.00L98.000 14.00"' in drawn
    assert 'class="wall" d="M2.000 206.00L66.000 134.00L98.000 14.00L98.0 14L2.0 14Z"' in drawn
    assert 'aria-label="said"' in drawn


@given(st.floats(0, 1e6))
def test_bounds_never_look_better_than_they_are(value: float) -> None:
    assert float(high(value)) >= value - 1e-9
    assert float(low(value)) <= value + 1e-9
    assert abs(float(high(value)) - value) <= 1.01e-4
    assert abs(float(low(value)) - value) <= 1.01e-2


@pytest.mark.slow
def test_the_whole_chain_with_the_real_audit_of_the_code(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDINTEREST_CACHE", str(tmp_path / "cache"))
    assert call("audit", "code").exit_code == 0
    got = call("audit", "report", copy)
    assert got.exit_code == 0, got.output
    assert set(states(json.loads((copy / "audit" / "report.json").read_text())).values()) == {"ok"}
