"""What a run folder says, read once and leniently: the only thing the page and the table look at.

Read are `summary.json` and `rounds.jsonl`, nothing else.  Lenient means: a run may have stopped
early, lack validation, or hold a platform that never answered; what is missing is None or empty.
A file that is missing or is not what it claims to be is a `RunError`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import RunError

SYSTEMS = ("popularity", "frozen", "knn", "frozen+knn", "federated", "federated+knn")
TRAINED = {"federated": "frozen", "federated+knn": "frozen+knn"}  # and what each is judged against


@dataclass(frozen=True)
class Score:
    """Means over one platform's users, each in [0, 1]."""

    ndcg: float
    hit: float


@dataclass(frozen=True)
class Answer:
    """What one platform did in one round; `epsilon` is what it had spent after it.

    Round 0 is the set-up: what was sent then are the catalogue's statistics, not an update.
    """

    round: int
    answered: bool
    reason: str
    update_norm: float | None
    uplink_bytes: int
    downlink_bytes: int
    steps: int
    epsilon: float | None


@dataclass(frozen=True)
class Group:
    """One group of users: NDCG@10 of frozen+knn and federated+knn, the interval of the difference,
    and how much more popular what is shown is than what they had.
    """

    kind: str
    name: str
    note: str
    users: int
    before: float
    now: float
    low: float
    high: float
    lift_before: float | None
    lift: float | None

    @property
    def verdict(self) -> str:
        """Whether the change can be told from chance."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no clear change"


@dataclass(frozen=True)
class PlatformRecord:
    """One platform's part of the run; `curves` holds (round, score) per system, by round; `gini`
    of what frozen+knn and federated+knn show.
    """

    name: str
    kind: str
    users: int
    items: int
    events: int
    dropped: dict[str, int]
    epsilon: float
    delta: float | None
    noise_multiplier: float | None
    clip_norm: float | None
    sample_rate: float | None
    steps: int
    setup_bytes: int
    update_bytes: int
    test: dict[str, Score]
    validation: dict[str, Score]
    curves: dict[str, tuple[tuple[int, Score], ...]]
    answers: tuple[Answer, ...]
    groups: tuple["Group", ...] = ()
    gini: tuple[float, float] | None = None

    @property
    def sent(self) -> tuple[Answer, ...]:
        """Rounds in which an adapter update left the platform, believed by the server or not."""
        return tuple(answer for answer in self.answers if answer.round and answer.uplink_bytes)

    @property
    def uplink_bytes(self) -> int:
        """All adapter updates this platform sent (without the set-up statistics)."""
        return sum(answer.uplink_bytes for answer in self.sent)

    @property
    def downlink_bytes(self) -> int:
        """All train messages this platform received."""
        return sum(answer.downlink_bytes for answer in self.answers if answer.round)

    @property
    def refusals(self) -> tuple[Answer, ...]:
        """Rounds whose update is missing: rejected, refused or not answered."""
        return tuple(answer for answer in self.answers if not answer.answered or answer.reason)


@dataclass(frozen=True)
class Composed:
    """The guarantee of a person who is a user of all of `platforms`."""

    platforms: tuple[str, ...]
    epsilon: float
    delta: float | None


@dataclass(frozen=True)
class RunRecord:
    """One run; `budget` is the epsilon that was asked for."""

    recipe: str
    version: str
    seed: int | None
    unsafe_seed: bool
    engine: str
    rounds: int
    seconds: float | None
    peak_rss_mib: float | None
    adapter_sha256: str
    private: bool
    budget: float | None
    composed: Composed | None
    platforms: tuple[PlatformRecord, ...]
    mean: dict[str, Score]
    seconds_by_round: dict[int, float]
    settings: dict[str, Any]


def read_run(folder: Path) -> RunRecord:
    """Read a run folder.

    Raises:
        RunError: a file is missing, is not JSON, or lacks what every run has.
    """
    path = folder / "summary.json"
    try:
        summary = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise _run_error("JSON", f"damage in line {error.lineno}", path) from error
    return parse_run(summary, _rounds(folder / "rounds.jsonl"), where=path)


def parse_run(
    summary: Any, rounds: list[dict[str, Any]] | None = None, *, where: Path | str = "summary"
) -> RunRecord:
    """Build the record from the parsed files.

    Raises:
        RunError: `summary` is not a run's summary.
    """
    if not isinstance(summary, dict) or not isinstance(summary.get("platforms"), dict):
        raise _run_error("a run's summary with its platforms", "something else", where)
    ordered = {int(line["round"]): line for line in rounds or []}  # a round run twice: the last
    ordered = dict(sorted(ordered.items()))
    try:
        platforms = tuple(
            _platform(name, values, summary, ordered)
            for name, values in summary["platforms"].items()
        )
        settings = summary.get("settings") or {}
        finite = all(math.isfinite(platform.epsilon) for platform in platforms)
        return RunRecord(
            recipe=str(summary.get("recipe", "")),
            version=str(summary.get("version") or ""),
            seed=summary.get("seed"),
            unsafe_seed=bool(summary.get("unsafe_seed", False)),
            engine=str(summary.get("engine", "")),
            rounds=int(summary.get("rounds") or max(ordered, default=0)),
            seconds=number(summary.get("seconds")),
            peak_rss_mib=number(summary.get("peak_rss_mib")),
            adapter_sha256=str(summary.get("adapter_sha256") or ""),
            private=bool(summary.get("private", True)) and finite,
            budget=number((settings.get("privacy") or {}).get("epsilon")),
            composed=_composed(summary.get("composed")),
            platforms=platforms,
            mean=_scores(summary.get("mean")) or _mean(platforms),
            seconds_by_round={
                index: seconds
                for index, line in ordered.items()
                if (seconds := number(line.get("seconds"))) is not None
            },
            settings=settings,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _run_error("a run's summary", f"{type(error).__name__}: {error}", where) from error


def number(value: Any) -> float | None:
    """A finite number, or None for anything else (missing, NaN, "inf", a word)."""
    try:
        parsed = float(value)
    except (TypeError, ValueError):
        return None
    return parsed if math.isfinite(parsed) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        got = getattr(error, "strerror", None) or "bytes that are not UTF-8"
        raise _run_error("a readable file", got, path) from error


def _run_error(expected: str, got: str, where: Path | str) -> RunError:
    return RunError(
        expected=expected,
        got=got,
        where=str(where),
        remedy="Point at the folder that `fedinterest simulate --out` wrote.",
    )


def _rounds(path: Path) -> list[dict[str, Any]]:
    """Parse the round log; a last line torn by a killed run is left out."""
    lines = _text(path).splitlines()
    parsed = []
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            int(value["round"])
        except (ValueError, KeyError, TypeError) as error:
            if index == len(lines) - 1:
                break
            raise _run_error("a round as JSON", f"damage in line {index + 1}", path) from error
        parsed.append(value)
    return parsed


def _platform(
    name: str, values: Mapping[str, Any], summary: Mapping[str, Any], rounds: Mapping[int, Any]
) -> PlatformRecord:
    curves: dict[str, list[tuple[int, Score]]] = {}
    answers = []
    for index, line in rounds.items():
        for system, score in _scores((line.get("validation") or {}).get(name)).items():
            curves.setdefault(system, []).append((index, score))
        said = (line.get("platforms") or {}).get(name)
        if said is not None:
            answers.append(_answer(index, said))
    epsilon = values.get("epsilon", math.inf)
    return PlatformRecord(
        name=name,
        kind=str(values.get("kind") or "platform"),
        users=int(values["users"]),
        items=int(values["items"]),
        events=int(values["events"]),
        dropped={reason: int(count) for reason, count in (values.get("dropped") or {}).items()},
        epsilon=math.inf if epsilon is None else float(epsilon),
        delta=number(values.get("delta")),
        noise_multiplier=number(values.get("noise_multiplier")),
        clip_norm=number(values.get("clip_norm")),
        sample_rate=number(values.get("sample_rate")),
        steps=int(number(values.get("steps")) or 0),
        setup_bytes=_bytes(summary.get("setup_bytes_per_platform"), name),
        update_bytes=_bytes(summary.get("uplink_bytes_per_platform_per_round"), name),
        test=_scores(values.get("systems")),
        validation=_scores((summary.get("validation") or {}).get(name)),
        curves={system: tuple(points) for system, points in curves.items()},
        answers=tuple(answers),
        **_fairness(values.get("fairness")),
    )


def _fairness(values: Any) -> dict[str, Any]:
    """Groups, and the Gini indices; nothing for a run of a version that had none."""
    if not isinstance(values, dict):
        return {}
    groups = tuple(
        Group(
            kind=str(one["kind"]),
            name=str(one["name"]),
            note=str(one.get("note") or ""),
            users=int(one["users"]),
            before=float(one["before"]["value"]),
            now=float(one["ndcg"]["value"]),
            low=float(one["change"]["low"]),
            high=float(one["change"]["high"]),
            lift_before=number(one.get("lift_before")),
            lift=number(one.get("lift")),
        )
        for one in values.get("groups") or ()
    )
    gini = [number((values.get(name) or {}).get("gini")) for name in ("before", "now")]
    return {"groups": groups, "gini": None if None in gini else tuple(gini)}


def _answer(index: int, said: Mapping[str, Any]) -> Answer:
    return Answer(
        round=index,
        answered=bool(said.get("answered")),
        reason=str(said.get("reason") or ""),
        update_norm=number(said.get("update_norm")),
        uplink_bytes=int(number(said.get("uplink_bytes")) or 0),
        downlink_bytes=int(number(said.get("downlink_bytes")) or 0),
        steps=int(number(said.get("steps")) or 0),
        epsilon=number(said.get("epsilon")),
    )


def _bytes(value: Any, name: str) -> int:
    """The schema allows one number for all platforms or a number for each."""
    return int(number(value.get(name) if isinstance(value, dict) else value) or 0)


def _scores(values: Any) -> dict[str, Score]:
    """Known systems first, in their order; then any others; unusable scores are left out."""
    found = {}
    for system in sorted(values or {}, key=_rank):
        ndcg, hit = number(values[system].get("ndcg@10")), number(values[system].get("hit@10"))
        if ndcg is not None and hit is not None:
            found[system] = Score(ndcg=ndcg, hit=hit)
    return found


def _rank(system: str) -> tuple[int, str]:
    return (SYSTEMS.index(system) if system in SYSTEMS else len(SYSTEMS), system)


def _mean(platforms: tuple[PlatformRecord, ...]) -> dict[str, Score]:
    """Unweighted mean over platforms of the systems that all of them have."""
    common = [
        system
        for system in SYSTEMS
        if platforms and all(system in platform.test for platform in platforms)
    ]
    return {
        system: Score(
            ndcg=sum(platform.test[system].ndcg for platform in platforms) / len(platforms),
            hit=sum(platform.test[system].hit for platform in platforms) / len(platforms),
        )
        for system in common
    }


def _composed(value: Any) -> Composed | None:
    if not isinstance(value, dict) or number(value.get("epsilon")) is None:
        return None
    return Composed(
        platforms=tuple(str(name) for name in value.get("platforms") or ()),
        epsilon=float(value["epsilon"]),
        delta=number(value.get("delta")),
    )
