"""The demo world: five platforms' raw logs on disk, and the settings that read them.

    write_demo_world(folder) -> folder/federation.toml, folder/world.json, folder/PLATFORM/...

The catalogues are disjoint and the user ids are each platform's own.  What the platforms share is
behind them: tastes, where tastes lead, styles, and some of the people.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.config.federation import FederationSettings, read_federation
from shared.errors import ConfigError
from shared.files import write_json, write_text
from simulations.worlds.dirt import soil
from simulations.worlds.formats import WRITERS
from simulations.worlds.tastes import Behaviour, People, make_histories, make_people
from simulations.worlds.titles import Items, make_items
from simulations.worlds.vocabulary import Vocabulary, load_vocabulary

_START = 1_704_067_200  # 2024-01-01
_SPAN = 460 * 86_400  # the last log line is written in the spring of 2025
_TYPICAL_LENGTH = 9.0


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Size of a platform at scale 1, its own noise, and whose people it shares."""

    kind: str
    users: int
    items: int
    quirk: float
    shares_with: str | None = None
    shared: float = 0.0  # of the smaller platform's users
    bot: bool = False


_PLANS = {
    "bazaar": _Plan(kind="shop", users=4000, items=620, quirk=0.08, bot=True),
    "reel": _Plan(kind="film", users=3200, items=540, quirk=0.08, shares_with="bazaar", shared=0.1),
    "tempo": _Plan(kind="music", users=3000, items=520, quirk=0.1, bot=True),
    "herald": _Plan(
        kind="news", users=2400, items=480, quirk=0.12, shares_with="tempo", shared=0.1
    ),
    "arcade": _Plan(
        kind="games", users=400, items=400, quirk=0.1, shares_with="herald", shared=0.2
    ),
}


def write_demo_world(folder: Path, *, seed: int = 0, scale: float = 1.0) -> FederationSettings:
    """Write the demo platforms' files below `folder` and return the settings that read them.

    Args:
        folder: gets `federation.toml`, `world.json` (what is behind the data, for checks) and one
            folder per platform.
        seed: the same seed and scale give the same bytes.
        scale: of the numbers of users; catalogues shrink with its root (they never grow).

    Raises:
        ConfigError: scale is not in (0, 10].
        StorageError: the disk refused.
    """
    if not 0 < scale <= 10:
        raise ConfigError(expected="a scale in (0, 10]", got=f"{scale}", where="write_demo_world")
    vocabulary = load_vocabulary()
    taken: set[str] = set()
    people: dict[str, People] = {}
    facts: dict[str, object] = {}
    for number, (name, plan) in enumerate(_PLANS.items()):
        rng = np.random.default_rng([seed, number])
        items = make_items(plan.kind, _scaled_items(plan, scale), vocabulary, taken, rng)
        crowd = make_people(_scaled_users(plan, scale), vocabulary, rng)
        shared = {}
        if plan.shares_with is not None:
            theirs = people[plan.shares_with]
            shared[plan.shares_with] = round(min(len(crowd), len(theirs)) * plan.shared)
            crowd = _with_shared(crowd, theirs, shared[plan.shares_with])
        people[name] = crowd
        true = _write_platform(folder / name, name, plan, items, crowd, vocabulary, rng)
        facts[name] = {**true, "persons_shared": shared}
    populations = {name: _declared(len(crowd)) for name, crowd in people.items()}
    template = (Path(__file__).parent / "demo.toml").read_text(encoding="utf-8")
    for name, population in populations.items():
        template = template.replace(f"{{{name}}}", str(population))
    write_text(folder / "federation.toml", template)
    write_json(folder / "world.json", {"seed": seed, "scale": scale, "platforms": facts})
    return read_federation(folder / "federation.toml")


def _write_platform(
    folder: Path,
    name: str,
    plan: _Plan,
    items: Items,
    people: People,
    vocabulary: Vocabulary,
    rng: np.random.Generator,
) -> dict[str, object]:
    """Live, log, soil, write; returns what is true of the files."""
    drawn = rng.lognormal(np.log(_TYPICAL_LENGTH), 0.45, len(people)).round().astype(np.int64)
    histories = make_histories(
        people, items, np.clip(drawn, 1, 40), vocabulary, rng, Behaviour(quirk=plan.quirk)
    )
    present = histories >= 0
    user = np.nonzero(present)[0]
    time = _times(present, rng)
    log = soil(
        user,
        histories[present],
        time,
        users=len(people),
        items=len(items.titles),
        returns=plan.kind == "shop",
        other_actions=plan.kind == "music",
        bot=plan.bot,
        rng=rng,
    )
    folder.mkdir(parents=True, exist_ok=True)
    WRITERS[name](folder, items, log, rng)
    clean = len(user) - log.counts["opt_out"]
    return {
        "users": len(people) - len(log.opted_out),
        "items": len(items.titles),
        "rows": len(log.user),
        "clean_events": clean,
        "dirt": log.counts,
    }


def _times(present: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """(N,) seconds, rising strictly for each user: minutes within a visit, days between visits."""
    users, longest = present.shape
    between = rng.random((users, longest)) < 0.4
    gaps = np.where(
        between,
        rng.exponential(6 * 86_400, present.shape),
        rng.exponential(900, present.shape) + 40,
    )
    elapsed = np.cumsum(np.minimum(gaps, 40 * 86_400), axis=1)
    # Nobody's story may run past the end of the log.
    elapsed *= np.minimum(1.0, 0.9 * _SPAN / elapsed[:, -1:])
    room = _SPAN - elapsed[:, -1]
    begin = _START + (rng.random(users) * room).astype(np.int64)
    # Scaling may bring two events into one second: the order is kept by counting up.
    seconds = begin[:, None] + elapsed.astype(np.int64) + np.arange(longest)
    return seconds[present]


def _with_shared(mine: People, theirs: People, count: int) -> People:
    """`mine`, the first `count` of them replaced by the last of `theirs`: the same persons.

    The first of one and the last of another: nobody is on three platforms.
    """
    start = len(theirs) - count
    return People(
        tastes=np.concatenate([theirs.tastes[start:], mine.tastes[count:]]),
        style=np.concatenate([theirs.style[start:], mine.style[count:]]),
    )


def _scaled_users(plan: _Plan, scale: float) -> int:
    return max(40, round(plan.users * scale))


def _scaled_items(plan: _Plan, scale: float) -> int:
    return max(60, round(plan.items * min(1.0, scale**0.5)))


def _declared(users: int) -> int:
    """A public population: the count rounded up to two digits, as a partner would declare it."""
    unit = 10 ** max(0, len(str(users)) - 2)
    return -(-users // unit) * unit
