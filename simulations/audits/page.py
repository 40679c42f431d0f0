"""Renders the report for people: one file, nothing fetched, readable without JavaScript.

Style sheet, script and charts are those of a run's own report (`simulations.report`), with a few
rules more; the Content-Security-Policy allows them by hash, and nothing else.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from simulations.audits.dossier import Dossier
from simulations.audits.drawings import draw_by_round, draw_claimed, draw_roc
from simulations.audits.figures import high
from simulations.audits.questions import word
from simulations.report import words


def render_page(dossier: Dossier, result: Mapping[str, Any]) -> str:
    """The page of `result`, which `simulations.audits.report` made of `dossier`."""
    style = _asset("simulations.report", "style.css") + _asset("simulations.audits", "audit.css")
    script = _asset("simulations.report", "page.js")
    promises = [epsilon for epsilon, _ in dossier.promises.values()]
    drawn = result["figures"]
    entries = _entries(dossier, drawn)
    return (
        _environment()
        .get_template("audit.html")
        .render(
            dossier=dossier,
            result=result,
            words=words,
            high=high,
            say=word,
            style=Markup(style),  # our own files
            script=Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
            by_round=draw_by_round(
                drawn["epsilon_by_round"], promises[0] if len(set(promises)) == 1 else None
            ),
            claimed=draw_claimed(drawn["claimed_and_found"]),
            rocs=[draw_roc(one) for one in drawn["roc"]],
            entries=entries,
            several=len({row["run"] for row in dossier.recomputed["assumptions"]}) > 1,
            anchors={(row["log"], row["entry"]): f"e{place}" for place, row in enumerate(entries)},
        )
    )


def _entries(dossier: Dossier, drawn: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The log entries that figures come from, each once, in the order of the logs."""
    sources = [one["source"] for rows in drawn["epsilon_by_round"].values() for one in rows]
    sources += [one["source"] for one in (*drawn["claimed_and_found"], *drawn["roc"])]
    rows = [source["entry"] for source in sources if source["entry"] is not None]
    rows += [link.row() for name in dossier.spending if (link := dossier.last(name)) is not None]
    if dossier.coordinator is not None:
        rows.append(dossier.coordinator.row())
    unique = {(row["log"], row["entry"]): row for row in rows}
    return [unique[key] for key in sorted(unique)]


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("simulations.audits", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(package: str, name: str) -> str:
    return resources.files(package).joinpath("templates", name).read_text("utf-8")


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
