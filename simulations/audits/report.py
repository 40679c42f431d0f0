"""`fedinterest audit report`: all that was audited, on one page for people and in one JSON.

Record and epsilons are audited anew (seconds); canaries, attacks and code are never run here: a
part that was not audited says so, and how to do it.  The JSON's shape is published beside this
file, in report.schema.json.
"""

import os
import shutil
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from shared.errors import ConfigError, StorageError
from shared.files import replacing, write_json, write_text
from shared.progress import Progress
from simulations.audits.dossier import AUDIT, Dossier, read_dossier
from simulations.audits.figures import figures
from simulations.audits.impact import impact
from simulations.audits.nist import nist
from simulations.audits.page import render_page
from simulations.audits.questions import headline, questions, word

SCHEMA = "urn:fedinterest:audit-report:v1"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PRINT_TIMEOUT_S = 120


def write_audit_report(run: Path, *, pdf: bool, quiet: bool) -> dict[str, Any]:
    """Audit what takes seconds, gather the rest, and write RUN/audit/report.html and .json.

    Args:
        pdf: also print the page to report.pdf, with a Chromium of this machine.
        quiet: show no progress.

    Returns:
        The report as JSON.  `ok`: the record verifies, what was spent is known and as claimed, and
        no other audit found anything.

    Raises:
        RunError: not a run folder, or one of another version.
        ConfigError: `pdf`, and no Chromium on the PATH.
        StorageError: the disk refused, or the page could not be printed.
    """
    started = time.monotonic()
    browser = find_browser() if pdf else ""
    folder = run / AUDIT
    with Progress(quiet=quiet) as progress:
        dossier = read_dossier(run, progress)
        progress.say("writing the page")
        result = report(dossier, pdf=pdf)
        write_text(folder / "report.html", render_page(dossier, result))
        if pdf:
            progress.say("printing")
            print_page(browser, folder / "report.html", folder / "report.pdf")
        else:
            (folder / "report.pdf").unlink(missing_ok=True)  # of another report than this one
    result["seconds"] = round(time.monotonic() - started, 2)
    write_json(folder / "report.json", result)
    return result


def report(dossier: Dossier, *, pdf: bool = False) -> dict[str, Any]:
    """The report as JSON, without the time that it took."""
    states = {name: part.state for name, part in dossier.parts.items()}
    sound = states["verify"] == "ok" and states["epsilon"] == "ok"
    return {
        "schema": SCHEMA,
        "version": version("fedinterest"),
        "ok": sound and "found" not in states.values(),
        "run": str(dossier.run),
        "recipe": dossier.about.get("recipe"),
        "private": dossier.private,
        "seeded": dossier.seeded,
        "epsilon": dossier.recomputed["epsilon"],
        "missing": dossier.missing,
        "headline": headline(dossier),
        "questions": questions(dossier),
        "parts": {name: part.row() for name, part in dossier.parts.items()},
        "nist": nist(dossier),
        "impact": impact(dossier),
        "figures": figures(dossier),
        "logs": dossier.verified["logs"],
        "findings": [
            {"part": name, "what": what}
            for name, part in dossier.parts.items()
            for what in part.findings
        ],
        "files": {
            "html": "audit/report.html",
            "json": "audit/report.json",
            "pdf": "audit/report.pdf" if pdf else None,
        },
        "seconds": 0.0,
    }


def find_browser() -> str:
    """The first of `BROWSERS` on the PATH.

    Raises:
        ConfigError: there is none.
    """
    for name in BROWSERS:
        if (found := shutil.which(name)) is not None:
            return found
    raise ConfigError(
        expected=f"one of {', '.join(BROWSERS)} on the PATH",
        got="none",
        where="--pdf",
        remedy="Install Chromium, or leave --pdf out and print report.html from any browser.",
    )


def print_page(browser: str, page: Path, path: Path) -> None:
    """Print `page` to `path`; an older one is kept if that fails.

    Raises:
        StorageError: the browser made no PDF.
    """
    with tempfile.TemporaryDirectory(prefix="fedinterest-print-") as scratch:
        printed = Path(scratch) / "report.pdf"
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={scratch}/profile",
            "--no-pdf-header-footer",
            f"--print-to-pdf={printed}",
        ]
        if os.geteuid() == 0:  # Chromium has no sandbox for root
            command.append("--no-sandbox")
        command.append(page.resolve().as_uri())
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=_PRINT_TIMEOUT_S, check=False
            )
            got = f"exit code {done.returncode}"
        except (OSError, subprocess.TimeoutExpired) as error:
            got = type(error).__name__
        if not printed.is_file() or not (content := printed.read_bytes()).startswith(b"%PDF-"):
            raise StorageError(
                expected=f"a PDF from {browser}",
                got=got,
                where=str(path),
                remedy="Print report.html from any browser instead; it is written.",
            )
        with replacing(path) as temporary:
            temporary.write_bytes(content)


def render(result: dict[str, Any], console: Console) -> None:
    """The answers, what each audit came to, and where the page is."""
    console.print(result["headline"], highlight=False, markup=False)
    console.print()
    answers = Table(box=None, pad_edge=False, show_header=False)
    for one in result["questions"]:
        answers.add_row(one["question"], word(one["verdict"]).upper(), one["answer"])
    console.print(answers, markup=False, highlight=False)
    console.print()
    parts = Table("audit", "", "why", box=None, pad_edge=False)
    for name, part in result["parts"].items():
        why = part["why"]
        if part["state"] == "not audited":
            why = f"{why} -> {part['command']}"
        parts.add_row(name, word(part["state"]).upper(), why)
    console.print(parts, markup=False, highlight=False)
    for finding in result["findings"]:
        console.print(f"FOUND  {finding['part']}: {finding['what']}", markup=False, highlight=False)
    console.print()
    for file in result["files"].values():
        if file is not None:
            console.print(f"{result['run']}/{file}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{result['seconds']:.1f} s", highlight=False)
