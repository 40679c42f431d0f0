"""Load on a service, from a process of its own.

Open loop: a call is sent when its time has come, whether or not those before are answered, and its
latency counts from that time, so that a service that falls behind cannot hide it.

    python -m simulations.bench.serving.load < PLAN, which prints what `measured` gives
"""

import json
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

CALLS = ("Recommend", "Interests", "Explain")
_DEADLINE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is sent.

    Args:
        address: of the service.
        call: one of `CALLS`.
        rate: calls a second; 0 sends the next when the one before is answered.
        seconds: how long.
        users: raw ids, asked for in turn.
        items: item ids, as many as users; for Explain.
    """

    address: str
    call: str
    rate: float
    seconds: float
    users: tuple[str, ...]
    items: tuple[str, ...] = ()


def measured(load: Load) -> dict[str, Any]:
    """Send it all; {"calls", "errors", "snapshots", "p50_ms", "p99_ms", "max_ms"}."""
    import grpc
    import numpy as np

    from clients.serving.wire.serving_pb2_grpc import ServingStub

    took: list[float] = []
    errors: dict[str, int] = {}
    snapshots: dict[str, int] = {}
    left = threading.Semaphore(0)

    def answered(reply: Any, due: float) -> None:
        now = time.perf_counter()
        if reply.code() is grpc.StatusCode.OK:
            took.append(now - due)
            name = reply.result().snapshot
            snapshots[name] = snapshots.get(name, 0) + 1
        else:
            errors[reply.code().name] = errors.get(reply.code().name, 0) + 1
        left.release()

    # Nothing is asked twice: what fails counts.
    with grpc.insecure_channel(load.address, [("grpc.enable_retries", 0)]) as channel:
        grpc.channel_ready_future(channel).result(timeout=_DEADLINE_S)
        ask = getattr(ServingStub(channel), load.call)
        sent, start = 0, time.perf_counter() + 0.05
        while True:
            due = start + sent / load.rate if load.rate else time.perf_counter()
            if due >= start + load.seconds:
                break
            time.sleep(max(0.0, due - time.perf_counter()))
            reply = ask.future(_request(load, sent), timeout=_DEADLINE_S)
            reply.add_done_callback(lambda one, due=due: answered(one, due))
            sent += 1
            if not load.rate:
                left.acquire()
        for _ in range(sent if load.rate else 0):
            left.acquire()
    times = np.array(took) * 1e3
    points = np.quantile(times, [0.5, 0.99, 1.0]) if len(times) else [float("inf")] * 3
    return {
        "calls": sent,
        "errors": errors,
        "snapshots": snapshots,
        **{
            name: round(float(value), 2)
            for name, value in zip(("p50_ms", "p99_ms", "max_ms"), points, strict=True)
        },
    }


def _request(load: Load, number: int) -> Any:
    from clients.serving.wire import serving_pb2 as pb

    user = load.users[number % len(load.users)]
    if load.call == "Recommend":
        return pb.RecommendRequest(user_id=user, k=10)
    if load.call == "Interests":
        return pb.InterestsRequest(user_id=user)
    return pb.ExplainRequest(user_id=user, item_id=load.items[number % len(load.users)])


def as_text(load: Load) -> str:
    """For the other process."""
    return json.dumps(asdict(load))


def main() -> None:
    """What the parent starts."""
    values = json.loads(sys.stdin.read())
    lists = {name: tuple(values[name]) for name in ("users", "items")}
    print(json.dumps(measured(Load(**(values | lists)))))


if __name__ == "__main__":
    main()
