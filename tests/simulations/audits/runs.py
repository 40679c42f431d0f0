"""Real small runs on disk for the tests of audits, and an audit of the code as if it had run."""

import json
import runpy
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from shared.transparency.code import COORDINATOR_CODE, PLATFORM_CODE, code_sha256
from simulations.audits.parts import TOPICS
from simulations.cli import app

TINY = Path(__file__).parents[2] / "scenarios" / "tiny_world.py"


def call(*arguments: object) -> Any:
    """`fedinterest` in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def federation(folder: Path, *edits: tuple[str, str]) -> Path:
    """The path of federation.toml of a tiny federation in `folder`, its text edited."""
    runpy.run_path(str(TINY))["write_federation"](folder)
    toml = folder / "federation.toml"
    text = toml.read_text(encoding="utf-8")
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    toml.write_text(text, encoding="utf-8")
    return toml


def simulated(toml: Path, **runs: tuple[str, ...]) -> None:
    """Runs beside `toml`, by name; each has more options."""
    for name, more in runs.items():
        assert call("simulate", toml, "--out", toml.with_name(name), *more).exit_code == 0


def audited(cache: Path, **changes: Any) -> None:
    """As if `audit code` had been run on this machine; the real one is in the slow tests."""
    cache.mkdir(exist_ok=True)
    checks = [{"name": f"of {topic}", "ok": True, "covers": [topic]} for topic in TOPICS]
    codes = {
        "platform": code_sha256(*PLATFORM_CODE),
        "coordinator": code_sha256(*COORDINATOR_CODE),
    }
    found = {"ok": True, "codes": codes, "checks": checks}
    (cache / "audit-code.json").write_text(json.dumps(found | changes))
