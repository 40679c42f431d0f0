"""The audit's page in a real headless Chromium: quiet, self-contained, readable, and printed."""

import json
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shared.transparency.code import COORDINATOR_CODE, PLATFORM_CODE, code_sha256
from simulations.audits.parts import TOPICS
from simulations.audits.report import BROWSERS, write_audit_report
from simulations.cli import app

pytest.importorskip("selenium.webdriver")
_LOOK = runpy.run_path(str(Path(__file__).parents[1] / "report" / "test_browser.py"))
browser = _LOOK["browser"]

_SPILLED = """
return [...document.querySelectorAll(".curve text, .card dd, .card td, .card li, .card p")]
  .filter((e) => e.checkVisibility() && !e.closest(".scroll")).filter((e) => {
    const [inner, outer] = [e, e.closest(".card")].map((one) => one.getBoundingClientRect());
    return inner.width && (inner.right > outer.right + 1 || inner.left < outer.left - 1);
  }).map((e) => e.textContent.trim());
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A run that was attacked; one seeded; one not private; one whose record is damaged."""
    folder = tmp_path_factory.mktemp("page") / "federation"
    world = Path(__file__).parents[2] / "scenarios" / "tiny_world.py"
    runpy.run_path(str(world))["write_federation"](folder)
    toml = str(folder / "federation.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDINTEREST_CACHE", str(folder / "cache"))
        for name, more in (
            ("whole", ("--rounds", "2")),
            ("seeded", ("--rounds", "1", "--seed", "3")),
            ("open", ("--rounds", "1", "--epsilon", "inf")),
        ):
            out = str(folder / name)
            assert CliRunner().invoke(app, ["simulate", toml, "--out", out, *more]).exit_code == 0
        checks = [{"name": f"of {topic}", "ok": True, "covers": [topic]} for topic in TOPICS]
        codes = {
            "platform": code_sha256(*PLATFORM_CODE),
            "coordinator": code_sha256(*COORDINATOR_CODE),
        }
        found = {"ok": True, "codes": codes, "checks": checks}
        (folder / "cache" / "audit-code.json").write_text(json.dumps(found))
        shutil.copytree(folder / "whole", folder / "damaged")
        (folder / "damaged" / "record" / "films.jsonl").write_bytes(b"x\n")
        # so few rounds leak little: the control may fail, which the page then has to show
        for audit in (["attack", "--seed", "1"], ["canary", "--canaries", "40"]):
            more = ["--simulations", "2"] if audit[0] == "canary" else []
            got = CliRunner().invoke(
                app, ["audit", *audit[:1], str(folder / "whole"), *audit[1:], *more]
            )
            assert got.exit_code in (0, 12)
        for name in ("whole", "seeded", "open", "damaged"):
            write_audit_report(folder / name, pdf=False, quiet=True)
        yield {name: folder / name for name in ("whole", "seeded", "open", "damaged")}


@pytest.mark.parametrize("name", ["whole", "seeded", "open", "damaged"])
def test_quiet_and_readable_everywhere(name: str, runs: dict[str, Path], browser: Any) -> None:
    page = runs[name] / "audit" / "report.html"
    for width in (1280, 390):
        for scheme in ("light", "dark"):
            _LOOK["_open"](browser, page, width, scheme)
            browser.execute_script(
                "for (const part of document.querySelectorAll('details')) part.open = true"
            )
            where = f"{name}, {width} px, {scheme}"
            wide = browser.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width, where
            assert browser.execute_script(_LOOK["_CONTRAST"]) == [], where
            assert browser.execute_script(_LOOK["_CUT_OFF"]) == [], where
            assert browser.execute_script(_SPILLED) == [], where
            assert _LOOK["_requests"](browser) == {page.as_uri()}, where
            assert browser.get_log("browser") == [], where


def test_a_number_leads_to_its_log_entry(runs: dict[str, Path], browser: Any) -> None:
    _LOOK["_open"](browser, runs["whole"] / "audit" / "report.html")
    browser.execute_script("document.querySelector(\"details td a[href^='#e']\").click()")
    row = browser.execute_script("return document.querySelector('tr:target').innerText")
    report = json.loads((runs["whole"] / "audit" / "report.json").read_text())
    first = report["figures"]["epsilon_by_round"]["shop"][0]
    assert first["source"]["entry"]["leaf"] in row
    assert row.startswith("record/shop.jsonl")


def test_a_pdf_is_printed_from_the_page(runs: dict[str, Path]) -> None:
    if not any(shutil.which(name) for name in BROWSERS):
        pytest.skip("no Chromium is installed")
    result = write_audit_report(runs["seeded"], pdf=True, quiet=True)
    content = (runs["seeded"] / "audit" / "report.pdf").read_bytes()
    assert result["files"]["pdf"] == "audit/report.pdf"
    assert content.startswith(b"%PDF-")
    assert len(content) > 20_000
    write_audit_report(runs["seeded"], pdf=False, quiet=True)
    assert not (runs["seeded"] / "audit" / "report.pdf").exists()
