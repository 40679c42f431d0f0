"""What is shared by gRPC and JSON: deadlines, counting, where a defect was."""

import grpc
import pytest

from clients.serving.service.calls import CALLS
from clients.serving.service.measures import DESCRIBED, WITHIN_S, Measures, Tally
from clients.serving.service.servicer import Servicer
from clients.serving.service.status import Refused
from clients.serving.wire import serving_pb2 as pb
from tests.clients.serving.service.world import World

ANN = pb.RecommendRequest(user_id="ann")
TEA = pb.AudienceRequest(interest="tea", size=10)


def test_work_past_the_deadline_is_not_begun() -> None:
    world, tally = World(), Tally()
    servicer = Servicer(world, tally)
    for left in (0.0, -1.0):
        with pytest.raises(Refused) as caught:
            servicer.reply(CALLS["Recommend"], ANN, lambda left=left: left)
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert world.calls == []
    assert tally.ended == {("Recommend", "DEADLINE_EXCEEDED"): 2}
    for far in (None, 0.001):
        assert servicer.reply(CALLS["Recommend"], ANN, lambda far=far: far)
    assert len(world.calls) == 2
    assert tally.in_flight == 0


def test_a_stream_stops_at_the_deadline() -> None:
    tally, left = Tally(), iter([3.0, 2.0, 1.0, 0.0])
    stream = Servicer(World(), tally).replies(CALLS["Audience"], TEA, lambda: next(left))
    assert [next(stream).score, next(stream).score] == [0.0, -1.0]  # type: ignore[attr-defined]
    with pytest.raises(Refused):
        next(stream)
    assert tally.ended == {("Audience", "DEADLINE_EXCEEDED"): 1}


def test_a_stream_that_is_left_is_counted_as_such() -> None:
    tally = Tally()
    stream = Servicer(World(), tally).replies(CALLS["Audience"], TEA, lambda: None)
    next(stream)
    assert tally.in_flight == 1
    stream.close()  # type: ignore[attr-defined]
    assert (tally.in_flight, dict(tally.ended)) == (0, {("Audience", "CANCELLED"): 1})


def test_times_are_counted_from_below() -> None:
    tally = Tally()
    for seconds in (0.0005, 0.0099, 2.0):
        tally.begin()
        tally.end("Recommend", "OK", seconds)
    counted = [tally.within["Recommend", f"{one:g}"] for one in WITHIN_S]
    assert counted == [1, 1, 1, 2, 2, 2, 2, 2, 2, 2]
    assert tally.seconds["Recommend",] == pytest.approx(2.0104)


def test_every_measure_that_is_described_is_told_and_no_other() -> None:
    tally = Tally()
    made = Measures(World(), tally, ready=lambda: True, draining=lambda: False)
    assert set(made.read()) == {one.name for one in DESCRIBED}
    assert b"fedinterest_serving_memory_mib" in made.text()
