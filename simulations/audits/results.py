"""Settings, summary and released adapter of a run against the last round on record.

Rule 5 of `agreement`.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from server.app import settings_sha256
from shared.config.federation import PublicSettings
from shared.errors import FedInterestError
from shared.transparency.statement import CoordinatorRound
from simulations.audits.evidence import ADAPTER, FEDERATION, FINISHED, SUMMARY, Evidence
from simulations.audits.story import Rounds, Story, Told


def check_results(
    evidence: Evidence,
    rounds: Rounds,
    told: Mapping[str, Sequence[Told]],
    lines: Sequence[Mapping[str, Any]],
    story: Story,
) -> None:
    """Rule 5 of `agreement`; `lines` are those of rounds.jsonl that are as they were signed."""
    last = rounds[story.last][1] if rounds else None
    settings = evidence.files.get(FEDERATION)
    if settings is None:
        story.wrong("missing: the settings of the run", FEDERATION)
    elif last is not None and _settings(settings) != last.settings:
        story.wrong("other settings than the run was made with", FEDERATION)
    _check_adapter(evidence, last, told, story)
    content = evidence.files.get(SUMMARY)
    if content is None:
        _check_end(evidence, last, story)
        return
    try:
        summary = json.loads(content)
        if last is None:
            return
        said: dict[str, tuple[Any, Any]] = {
            "rounds": (summary["rounds"], story.last),
            "adapter_sha256": (summary["adapter_sha256"], last.adapter_out),
            "private": (summary["private"], last.private),
            "platforms": (sorted(summary["platforms"]), sorted(last.platforms)),
            "settings": (summary["settings"], json.loads(settings or b"null")),
        }
        for name, facts in summary["platforms"].items():
            steps = sum(line["platforms"][name]["steps"] for line in lines if line["round"])
            said[f"platforms.{name}.steps"] = (facts["steps"], steps)
            for _, statement in told.get(name, ())[-1:]:
                for field_ in ("sample_rate", "noise_multiplier", "clip_norm", "delta"):
                    stated = getattr(statement, field_)
                    if field_ == "clip_norm" and not statement.private:
                        stated = None
                    said[f"platforms.{name}.{field_}"] = (facts[field_], stated)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        story.wrong(f"not a summary ({type(error).__name__})", SUMMARY)
        return
    for name, (claim, fact) in said.items():
        if claim != fact:
            story.wrong(f"another {name} than the record's", SUMMARY, None, story.last)


def _check_end(evidence: Evidence, last: CoordinatorRound | None, story: Story) -> None:
    """What a coordinator's run says of its end; a simulation's has a summary in its place."""
    content = evidence.files.get(FINISHED)
    if content is None:
        story.wrong("missing: the run is not finished; go on with --resume", SUMMARY)
        return
    try:
        end = json.loads(content)
        said = {
            "rounds": (end["rounds"], story.last),
            "adapter_sha256": (end["adapter_sha256"], None if last is None else last.adapter_out),
            "private": (end["private"], None if last is None else last.private),
            "whitening": (end["whitening"], None if last is None else last.base),
        }
    except (ValueError, KeyError, TypeError) as error:
        story.wrong(f"does not say how the run ended ({type(error).__name__})", FINISHED)
        return
    for name, (claim, fact) in said.items():
        if claim != fact:
            story.wrong(f"another {name} than the record's", FINISHED, None, story.last)


def _check_adapter(
    evidence: Evidence,
    last: CoordinatorRound | None,
    told: Mapping[str, Sequence[Told]],
    story: Story,
) -> None:
    found = evidence.adapter
    if found is None:
        story.wrong("missing: the run is not finished; go on with --resume", ADAPTER)
    elif isinstance(found, str):
        story.wrong(f"damaged: {found}", ADAPTER)
    elif last is not None:
        if found.sha256 != last.adapter_out:
            story.wrong("not the adapter of the last round", ADAPTER, None, story.last)
        if found.base["whitening"] != last.base:
            story.wrong("says another whitening than the record", ADAPTER)
        encoders = {one.encoder for each in told.values() for _, one in each} - {""}
        if encoders and encoders != {found.base["encoder"]}:
            story.wrong("says another encoder than the platforms' statements", ADAPTER)


@lru_cache(maxsize=8)
def _settings(content: bytes) -> str:
    """Hash of the settings that `content` holds; "" if it holds none."""
    try:
        return settings_sha256(PublicSettings.published(json.loads(content), where=FEDERATION))
    except (ValueError, TypeError, FedInterestError):
        return ""
