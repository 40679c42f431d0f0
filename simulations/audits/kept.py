"""What earlier audits left behind, as this version knows it: shapes, strictly read.

A result of another shape is none: what cannot be understood was not audited.  Keys that are not
needed here may be there or not.
"""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Pair = tuple[float, float]
Triple = tuple[float, float, float]
Row = tuple[float, float, float, float]


class _Kept(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class Mechanism(_Kept):
    """What was audited by training anew: to be held against what the run's record signs."""

    ok: bool
    target: str
    platform: str
    epsilon: float = Field(gt=0)
    delta: float = Field(gt=0, lt=1)
    noise_multiplier: float = Field(gt=0)
    sample_rate: float = Field(gt=0, le=1)
    rounds: int = Field(ge=1)
    seconds: float


class Bound(_Kept):
    """A lower bound on epsilon, and what it rests on."""

    name: str
    kind: Literal["proven", "assumption-based", "estimate"]
    epsilon: float
    confidence: float
    assumes: tuple[str, ...] = ()


class Covered(_Kept):
    """How often a bound was too high on paper."""

    share: float
    interval: Pair


class Coverage(_Kept):
    """Of all bounds, over simulated audits."""

    simulations: int
    holds: bool
    bounds: dict[str, Covered]


class CanaryAudit(Mechanism):
    """`audit canary`."""

    canaries: int
    bounds: tuple[Bound, ...] = Field(min_length=1)
    findings: tuple[Any, ...]
    steps_per_round: int = 1
    roc: tuple[Pair, ...] = ()
    coverage: Coverage | None = None
    threat: str = ""


class Curve(_Kept):
    """One membership attack: [fpr, tpr, low, high] a point, [tpr, low, high] at a rate."""

    auc: float
    roc: tuple[Row, ...] = Field(min_length=2)
    tpr_at: dict[str, Triple]
    epsilon_low: float


class Both(_Kept):
    """An attack with the promised privacy, and its control without any."""

    private: Curve
    control: Curve


class Found(_Kept):
    """Share of the items that an inversion found, by size of the batch."""

    precision: tuple[float, ...]
    p: tuple[float, ...]


class Inversion(_Kept):
    """`users` a batch; the share that chance finds; with and without privacy."""

    users: tuple[int, ...]
    chance: tuple[float, ...]
    private: Found
    control: Found


class AttackAudit(Mechanism):
    """`audit attack`."""

    users: int
    references: int
    confidence: float
    membership: dict[str, Both] = Field(min_length=1)
    bound: tuple[Pair, ...] = Field(min_length=2)
    profile_bound: tuple[Pair, ...] = Field(min_length=2)
    inversion: Inversion
    findings: tuple[Any, ...]
    threat: dict[str, str] = Field(default_factory=dict)


class Codes(_Kept):
    """Hashes of the code that was audited."""

    platform: str = Field(min_length=1)
    coordinator: str = Field(min_length=1)


class Check(_Kept):
    """One check of the code."""

    name: str
    ok: bool
    covers: tuple[str, ...]
    cause: str | None = None
    detail: str = ""


class Fault(_Kept):
    """One planted fault."""

    name: str
    right: bool


class Clean(_Kept):
    """Runs on clean code."""

    runs: int
    alarms: tuple[Any, ...]


class CodeAudit(_Kept):
    """`audit code`."""

    ok: bool
    codes: Codes
    checks: tuple[Check, ...] = Field(min_length=1)
    faults: tuple[Fault, ...] | None = None
    clean: Clean | None = None


Kept = TypeVar("Kept", bound=_Kept)


def read_kept(path: Path, shape: type[Kept]) -> tuple[Kept | None, bytes | None, str]:
    """(result, its bytes, why there is none): a result left at `path`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None, None, "no result was left"
    except OSError as error:
        return None, None, f"{path.name} cannot be read: {error.strerror}"
    try:
        return shape.model_validate_json(content), content, ""
    except ValidationError as error:
        place = ".".join(str(step) for step in error.errors()[0]["loc"])
        where = f" (at {place})" if place else ""
        return None, content, f"{path.name} is no result that this version knows{where}"
