"""`fedinterest bench serving`: the real service, a load from another process, and a plain rival.

What is measured, in this order, on one made-up platform:

1. Recommend, Interests and Explain at the rate, after a minute of them that does not count:
   latency; memory before and after, when nothing is asked.
2. Recall of Recommend against all scores.
3. A reload under load: errors, and which snapshots answered.
4. SIGKILL under posted events: time until it answers again, events that were accepted and are gone.
5. The rival: Recommend at the same rate, and both of them one call after the other.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clients.serving.answers import PostedEvent, Recommended, Who
from clients.serving.heap import EVERY_S
from clients.serving.service.client import ServingClient
from shared.errors import ConfigError
from shared.files import write_json
from simulations.bench.serving.load import CALLS, Load
from simulations.bench.serving.processes import Service, result, start
from simulations.bench.serving.vectors import Progress
from simulations.bench.serving.world import Plan, World, exact_best, made

K = 10
_WARM_S = 20.0  # of each kind of call
_LOADED = 5_000  # users that loads ask about, in turn
_REST_S = EVERY_S + 1.0
_CLIENT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class ServingPlan:
    """What to measure.

    Args:
        world: the platform.
        rate: calls a second.
        seconds: of each load; the rival's lasts a third of it, for it may fall behind.
        asked: users whose answers recall is taken over; the first load asks about up to 5,000.
        rival: whether to measure it too.
        out: folder of the platform and of serving.json.
    """

    world: Plan
    rate: float = 100.0
    seconds: float = 30.0
    asked: int = 300
    rival: bool = True
    out: Path

    def __post_init__(self) -> None:
        if self.world.items < 100 or self.rate <= 0 or self.seconds <= 0 or self.asked < 1:
            raise ConfigError(
                expected="100 items or more; a rate, seconds and users over 0",
                got=f"{self.world.items}, {self.rate:g}, {self.seconds:g}, {self.asked}",
                where="bench serving",
            )


def run_serving_bench(plan: ServingPlan, progress: Progress | None = None) -> dict[str, Any]:
    """Measure it all, and keep it as OUT/serving.json.

    Raises:
        DataError: nothing to grow the catalogue from.
        RunError: a process failed; its words are in the message.
        StorageError: the disk refused.
    """

    def say(what: str, done: int) -> None:
        if progress:
            progress(what, done, 6)

    world = made(plan.out / "world", plan.world, progress)
    for path in world.folder.glob("live.db*"):
        path.unlink()
    say("loading the service", 0)
    users = _users(world, plan, plan.asked)
    with Service("ours", world) as service:
        found = _loaded(service, world, plan, users)
        say("reloading under load", 2)
        found |= {"reload": _reloaded(service, world, plan, users)}
        say("one call at a time", 3)
        found["recommend_alone"] = _alone(service, plan, users)
        say("killing it", 4)
        found |= {"killed": _killed(service, world, users)}
    if plan.rival:
        say("loading the rival", 5)
        found["rival"] = _rival(world, plan, users)
    say("done", 6)
    write_json(plan.out / "serving.json", found)
    return found


def _users(world: World, plan: ServingPlan, most: int) -> tuple[str, ...]:
    count = len(world.newest().sequences)
    some = np.random.default_rng(plan.world.seed).permutation(count)[:most]
    return tuple(f"u{number}" for number in some.tolist())


def _loaded(
    service: Service, world: World, plan: ServingPlan, users: tuple[str, ...]
) -> dict[str, Any]:
    with ServingClient(service.address, deadline_s=_CLIENT_S) as client:
        answers = [client.recommend(Who(user_id=user), k=K) for user in users]
        exact = client.status().exact
    items = tuple(one.items[0].item.item_id for one in answers)
    told = _told(world, users, answers)
    many = _users(world, plan, max(_LOADED, plan.asked))
    items = tuple(items[number % len(items)] for number in range(len(many)))
    for call in CALLS:
        _load(service, call, plan, many, items, seconds=min(_WARM_S, plan.seconds))
    before = _at_rest(service, plan)
    loads = {
        call.lower(): _load(service, call, plan, many, items, seconds=plan.seconds)
        for call in CALLS
    }
    after = _at_rest(service, plan)
    return {
        **told,
        "catalogue": "clusters" if plan.world.catalogue is None else "grown from a run's items",
        "exact": exact,
        "rate": plan.rate,
        "seconds": plan.seconds,
        "ready_s": round(service.ready_s, 2),
        **loads,
        "memory_before_mib": before,
        "memory_mib": after,
        "memory_over_vectors": round(after["pss"] / told["vectors_mib"], 3),
        # Of resident memory: how much of a library is ours alone changes with who else runs.
        "memory_growth": round((after["rss"] - before["rss"]) / before["pss"], 4),
    }


def _told(world: World, users: tuple[str, ...], answers: Sequence[Recommended]) -> dict[str, Any]:
    """Of the platform, and recall.  Nothing of it is mapped here afterwards: the service would be
    counted for half of what both have.
    """
    snapshot = world.newest()
    histories = [snapshot.sequences[int(user[1:])].astype(np.int64) for user in users]
    row_of, hits = snapshot.catalogue.row_of, 0
    for answer, truth in zip(answers, exact_best(snapshot, histories, K), strict=True):
        hits += len({row_of[one.item.item_id] for one in answer.items} & set(truth.tolist()))
    return {
        "items": len(snapshot.catalogue),
        "width": snapshot.items.shape[1],
        "users": len(snapshot.sequences),
        "recall": round(hits / (K * len(users)), 4),
        "vectors_mib": round(snapshot.items.nbytes / 2**20, 1),
    }


def _at_rest(service: Service, plan: ServingPlan) -> dict[str, float]:
    """Memory, once what the last calls left has been given back."""
    time.sleep(min(_REST_S, plan.seconds))
    return service.memory()


def _load(
    service: Service,
    call: str,
    plan: ServingPlan,
    users: tuple[str, ...],
    items: tuple[str, ...] = (),
    *,
    seconds: float,
    rate: float | None = None,
) -> dict[str, Any]:
    return result(
        start(
            Load(
                address=service.address,
                call=call,
                rate=plan.rate if rate is None else rate,
                seconds=seconds,
                users=users,
                items=items,
            )
        )
    )


def _alone(service: Service, plan: ServingPlan, users: tuple[str, ...]) -> dict[str, Any]:
    return _load(service, "Recommend", plan, users, seconds=plan.seconds / 3, rate=0)


def _reloaded(
    service: Service, world: World, plan: ServingPlan, users: tuple[str, ...]
) -> dict[str, Any]:
    load = Load(
        address=service.address,
        call="Recommend",
        rate=plan.rate,
        seconds=max(3.0, plan.seconds / 3),
        users=users,
    )
    before = world.newest().meta.id
    renewed = world.renewed(world.newest().meta.round + 1)
    child = start(load)
    with ServingClient(service.address, deadline_s=_CLIENT_S) as client:
        while client.status().snapshot == before:
            _until_half(child, load)
            client.reload()
    found = result(child)
    answered = found.pop("snapshots")
    return found | {"before": answered.get(before, 0), "after": answered.get(renewed, 0)}


def _until_half(child: Any, load: Load) -> None:
    """Wait until the load is well under way."""
    import subprocess
    from contextlib import suppress

    with suppress(subprocess.TimeoutExpired):
        child.wait(timeout=1.0 + load.seconds / 2)  # a second for its start


def _killed(service: Service, world: World, users: tuple[str, ...]) -> dict[str, Any]:
    """Events are posted one call after the other until the service is killed."""
    import threading

    accepted = 0
    item = world.newest().catalogue.ids[0]
    enough = threading.Event()

    def post() -> None:
        nonlocal accepted
        from shared.errors import FedInterestError

        try:
            with ServingClient(service.address, deadline_s=2.0) as client:
                while True:
                    event = PostedEvent(user_id=users[0], item_id=item, time=1.0 + accepted)
                    accepted += client.post_events([event]).accepted
                    if accepted >= 50:
                        enough.set()
        except FedInterestError:
            enough.set()

    with ServingClient(service.address, deadline_s=_CLIENT_S) as client:
        known = client.status().events
    poster = threading.Thread(target=post)
    poster.start()
    enough.wait()
    service.kill()
    poster.join()
    with Service("ours", world) as again:
        with ServingClient(again.address, deadline_s=_CLIENT_S) as client:
            kept = client.status().events - known
            answered = len(client.recommend(Who(user_id=users[0]), k=K).items)
        return {
            "ready_s": round(again.ready_s, 2),
            "accepted": accepted,
            # one more may be on disk whose answer was cut off
            "lost": max(0, accepted - kept),
            "answered": answered,
        }


def _rival(world: World, plan: ServingPlan, users: tuple[str, ...]) -> dict[str, Any]:
    with Service("rival", world) as service:
        alone = _alone(service, plan, users)
        loaded = _load(service, "Recommend", plan, users, seconds=plan.seconds / 3)
        return {
            "recommend": loaded,
            "recommend_alone": alone,
            "memory_mib": service.memory(),
            "ready_s": round(service.ready_s, 2),
        }


def lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The result for people: (what, value)."""

    def times(one: Mapping[str, Any]) -> str:
        errors = sum(one["errors"].values())
        told = f"p50 {one['p50_ms']:g} ms, p99 {one['p99_ms']:g} ms, {one['calls']:,} calls"
        return f"{told}, {errors} errors" if errors else told

    size = f"{found['items']:,} items x {found['width']}, {found['users']:,} users"
    search = "exact" if found["exact"] else "by lists"
    reload, killed = found["reload"], found["killed"]
    shown = [
        ("platform", f"{size}, {found['catalogue']}; searched {search}"),
        *((call, times(found[call.lower()])) for call in CALLS),
        ("Recommend, one at a time", times(found["recommend_alone"])),
        (f"recall@{K}", f"{found['recall']:.4f}"),
        (
            "memory",
            f"{found['memory_mib']['pss']:g} MiB, {found['memory_over_vectors']:g} of the vectors'"
            f" {found['vectors_mib']:g}; grew {found['memory_growth']:.1%} under load",
        ),
        (
            "reload under load",
            f"{sum(reload['errors'].values())} errors in {reload['calls']:,} calls, "
            f"{reload['before']:,} answered before, {reload['after']:,} after; "
            f"p99 {reload['p99_ms']:g} ms",
        ),
        (
            "SIGKILL",
            f"answers after {killed['ready_s']:g} s; {killed['lost']} of {killed['accepted']} "
            "accepted events lost",
        ),
    ]
    if "rival" in found:
        rival = found["rival"]
        shown += [
            ("rival: Recommend", times(rival["recommend"])),
            ("rival: one at a time", times(rival["recommend_alone"])),
            ("rival: memory", f"{rival['memory_mib']['pss']:g} MiB"),
        ]
    return shown
