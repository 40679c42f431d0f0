"""What a check of the privacy code is, what it may find, and how unlikely chance must be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

P_VALUE = 1e-7
"""A test statistic less likely than this under correct code is a finding.  With fewer than ten
random checks in a run, one run in a million raises a false alarm."""


class Cause(StrEnum):
    """All that a check can name as the reason for a failure."""

    NOT_POISSON = "sampling is not Poisson"
    WRONG_RATE = "users are sampled at another rate"
    CARRIED = "a step's sum is carried into later steps"
    LOSS_READS_OTHERS = "a user's loss reads other users"
    DENOMINATOR = "a denominator moves with the private data"
    CLIPPING_DEPENDS = "clipping depends on other users"
    OVER_BOUND = "a user can exceed clip_norm"
    COORDINATES_MISSED = "the norm misses part of the gradient"
    ROWS_CLIPPED = "rows are clipped before the per-user sum"
    TENSORS_APART = "each tensor is clipped at the full clip_norm"
    SEVERAL_ROWS = "one user counts as several"
    INVALID = "a user's NaN or infinity reaches the sum"
    EMPTY_BATCH = "an empty batch adds no noise"
    NOISE_MISSING = "noise is missing"
    NOISE_REPEATED = "noise is used more than once"
    NOISE_SHAPE = "noise is not Gaussian"
    NOISE_SCALE = "noise has another scale than is accounted for"
    NOISE_BITS = "low-order bits show through the noise"
    STREAMS_SHARED = "two purposes share one random stream"
    PREDICTABLE = "noise follows from a generator that can be seeded"
    CHOICE = "a choice made on private data is not charged"
    PRIVATE_STATISTICS = "private data shape what is taken for public"
    WEIGHTS = "aggregation weights are not public constants"
    UNDERSTATED = "epsilon is understated"
    GDP = "epsilon is a central-limit estimate, not a bound"
    ADJACENCY = "another adjacency than add or remove one user"
    CALIBRATION = "the noise does not keep the promise for the whole run"
    CHARGED_LATE = "gradients are computed before their charge is on disk"
    NOT_CHARGED = "a step is not charged"
    OTHER_TERMS = "a step is charged on other terms than it is taken"
    FORGOTTEN = "the ledger forgets what was spent"
    NOT_ENFORCED = "spending goes on beyond the budget"
    OVERRIDDEN = "a request overrides the promise or the policy"
    STARTS_ELSEWHERE = "a round starts from more than what was released"
    MORE_SENT = "more than the noised update and constants is sent"
    IDS_TOLD = "user ids are told"
    REASON_TOLD = "the text of a private error is sent"
    # Last, for these say only that something is wrong:
    UNREADABLE = "the released numbers are not what the code says they are"
    RAISED = "the code raised an error"


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Args:
        cause: None when nothing is wrong.
        p_value: of the check's tests together, for checks that test statistically; uniform on
            correct code.
        detail: numbers, for people.
    """

    cause: Cause | None = None
    p_value: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Check:
    """One check of the installed code.

    Args:
        name: unique.
        covers: the assumptions of a guarantee that it tests.
        run: takes the seed of the check's own choices.
        fast: part of the runs that are repeated to count false alarms; a check that ignores its
            seed need not be.
    """

    name: str
    covers: tuple[str, ...]
    run: Callable[[int], Outcome]
    fast: bool = True


def together(p_values: Sequence[float]) -> float:
    """One p-value for several independent tests (Šidák 1967): uniform where each of them is."""
    least = min(p_values)
    return 1 - (1 - least) ** len(p_values) if least > 1e-9 else least * len(p_values)


def two_sided(below: float, above: float) -> float:
    """A two-sided p-value from the chance of a value as low, and of one as high."""
    return min(1.0, 2 * min(below, above))
