"""The audit's page in a real headless Chromium: quiet, self-contained, readable, and printed."""

import json
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulations.audits.report import BROWSERS, write_audit_report

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
def pages(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A run that was attacked; one seeded; one not private; one damaged, and its attack failed."""
    folder = tmp_path_factory.mktemp("page")
    names = {"whole": "first", "seeded": "seeded", "open": "open", "damaged": "first"}
    for name, run in names.items():
        shutil.copytree(runs / run, folder / name)
    (folder / "damaged" / "record" / "films.jsonl").write_bytes(b"x\n")
    attack = folder / "damaged" / "audit" / "attack.json"
    found = json.loads(attack.read_text())
    told = "lira: without privacy AUC is 0.493 (0.412 to 0.574): the attack proves nothing here"
    attack.write_text(json.dumps(found | {"ok": False, "findings": [told]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDINTEREST_CACHE", str(runs / "cache"))
        for name in names:
            write_audit_report(folder / name, pdf=False, quiet=True)
        yield {name: folder / name for name in names}


@pytest.mark.parametrize("name", ["whole", "seeded", "open", "damaged"])
def test_quiet_and_readable_everywhere(name: str, pages: dict[str, Path], browser: Any) -> None:
    page = pages[name] / "audit" / "report.html"
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


def test_a_number_leads_to_its_log_entry(pages: dict[str, Path], browser: Any) -> None:
    _LOOK["_open"](browser, pages["whole"] / "audit" / "report.html")
    browser.execute_script("document.querySelector(\"details td a[href^='#e']\").click()")
    row = browser.execute_script("return document.querySelector('tr:target').innerText")
    report = json.loads((pages["whole"] / "audit" / "report.json").read_text())
    first = report["figures"]["epsilon_by_round"]["shop"][0]
    assert first["source"]["entry"]["leaf"] in row
    assert row.startswith("record/shop.jsonl")


def test_a_pdf_is_printed_from_the_page(pages: dict[str, Path]) -> None:
    if not any(shutil.which(name) for name in BROWSERS):
        pytest.skip("no Chromium is installed")
    result = write_audit_report(pages["seeded"], pdf=True, quiet=True)
    content = (pages["seeded"] / "audit" / "report.pdf").read_bytes()
    assert result["files"]["pdf"] == "audit/report.pdf"
    assert content.startswith(b"%PDF-")
    assert len(content) > 20_000
    write_audit_report(pages["seeded"], pdf=False, quiet=True)
    assert not (pages["seeded"] / "audit" / "report.pdf").exists()
