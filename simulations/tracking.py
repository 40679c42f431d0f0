"""The quality of a simulation's rounds, in TensorBoard.

All data in a simulation is the user's own, so exact metrics may be shown.  A coordinator never has
them: they lie in RUN/tensorboard/quality, not among what it tracks.
"""

from pathlib import Path

from server.tracking.point import Point
from server.tracking.tensorboard import TensorBoardTracker
from server.tracking.tracker import TENSORBOARD, Guarded
from simulations.assess import Assessment

QUALITY = "quality"
METRICS = ("ndcg@10", "hit@10")


def track_quality(run: Path, assessment: Assessment) -> None:
    """Write what was measured; a disk that refuses is a warning.

    Scalars are called validation/PLATFORM/SYSTEM/METRIC, at the round of each kept checkpoint and
    on some of the users, and test/PLATFORM/SYSTEM/METRIC, at the last round and on all.
    """
    last = max(assessment.curves)
    points = [
        Point(
            round=round_,
            numbers=_numbers("validation", table)
            | (_numbers("test", assessment.test) if round_ == last else {}),
        )
        for round_, table in sorted(assessment.curves.items())
    ]
    Guarded(TensorBoardTracker(run / TENSORBOARD / QUALITY)).write(points)


def _numbers(which: str, table: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    return {
        f"{which}/{platform}/{system}/{metric}": metrics[metric]
        for platform, systems in table.items()
        for system, metrics in systems.items()
        for metric in METRICS
    }
