"""What moves an update is told from what only rounds it otherwise."""

from simulations.audits.checks.check import Cause
from simulations.audits.checks.public_inputs import ROUNDING, check
from simulations.audits.faults import Fault, Swap, planted


def test_a_number_at_the_next_point_of_the_grid_is_no_finding() -> None:
    """Of the seeds up to 1000 this is one at which a row of zeros more rounds a sum otherwise."""
    assert check(586).cause is None


def test_ten_times_the_rounding_is_one() -> None:
    from clients.platform import Platform
    from shared.protocol import TrainReply, TrainRequest

    def moved(original):  # type: ignore[no-untyped-def]
        def train(self: Platform, request: TrainRequest) -> TrainReply:
            reply = original(self, request)
            for value in reply.update.values():
                value *= 1 + 10 * ROUNDING * (len(self.sequences) % 2)
            return reply

        return train

    fault = Fault("moved", Cause.DENOMINATOR, (Swap(Platform, "train", moved),))
    with planted(fault):
        assert check(0).cause is Cause.DENOMINATOR
