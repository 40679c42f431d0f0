"""The cleaning rules against a slow twin that reads like the documentation."""

import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clients.sources import cleaning
from clients.sources.ingest import ingest
from clients.sources.ordering import first_of_each, sortable, stable_order
from clients.sources.pseudonyms import pseudonym
from shared.config.federation import PlatformSettings
from shared.errors import DataError

SECRET = b"k" * 32
NOW = 1_000_000.0
OLDEST = 864_000  # 1970-01-11
LIMIT = 4
ITEMS = ["a", "b", "c"]
Row = tuple[str, str, str, str, str]


def plain(rows: list[Row], opt_out: set[str]) -> tuple[dict[str, list[str]], Counter[str]]:
    """Row by row, as docs/data-sources.md says it."""
    dropped: Counter[str] = Counter()
    left = []
    for number, (user, item, time, quantity, action) in enumerate(rows):
        user, item = user.strip(), item.strip()
        try:
            when = float(time)
        except ValueError:
            when = float("nan")
        if user in opt_out:
            dropped["opt_out"] += 1
        elif user in ("", "NULL"):
            dropped["missing_user"] += 1
        elif not item:
            dropped["missing_item"] += 1
        elif item not in ITEMS:
            dropped["unknown_item"] += 1
        elif when != when:
            dropped["bad_time"] += 1
        elif when > NOW:
            dropped["future_time"] += 1
        elif when < OLDEST:
            dropped["too_old"] += 1
        elif quantity and float(quantity) <= 0:
            dropped["return"] += 1
        elif action.strip() not in ("view", "buy"):
            dropped["other_action"] += 1
        else:
            left.append((when, number, user, item, action.strip()))
    left.sort()
    said = set()
    distinct = []
    for when, number, user, item, action in left:
        if (user, item, action, when) in said:
            dropped["duplicate"] += 1
        else:
            said.add((user, item, action, when))
            distinct.append((when, number, user, item))
    days = Counter((user, int(when // 86_400)) for when, _, user, _ in distinct)
    bots = {user for (user, _), count in days.items() if count > LIMIT}
    histories: dict[str, list[str]] = defaultdict(list)
    for _, _, user, item in distinct:
        if user in bots:
            dropped["bot"] += 1
        elif item in histories[user]:
            dropped["repeat"] += 1
        else:
            histories[user].append(item)
    return {user: items for user, items in histories.items() if items}, dropped


USERS = st.sampled_from(["u", "v", " u", "w", "out", "", "NULL", "  "])
TIMES = st.one_of(
    st.sampled_from(["", "x", "inf", "nan", "1000001", "999999", "900000", "900000", "5", "-1"]),
    st.integers(OLDEST - 2, OLDEST + 100_000).map(str),
)
ROWS = st.tuples(
    USERS,
    st.sampled_from([*ITEMS, *ITEMS, "zz", "", "b "]),
    TIMES,
    st.sampled_from(["", "1", "2", "1", "0", "-3"]),
    st.sampled_from(["view", "view", "buy", "hover", ""]),
)


SLOW = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("part_rows", [1, 5, 1_000_000])
@SLOW
@given(rows=st.lists(ROWS, max_size=60))
def test_every_row_has_one_fate_and_the_right_one(
    rows: list[Row], part_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "PART_ROWS", part_rows)
    # "inf" is not a time: the twin must see it as the reader does
    rows = [(u, i, "nan" if t == "inf" else t, q, a) for u, i, t, q, a in rows]
    expected, dropped = plain(rows, {"out"})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame = pl.DataFrame(rows, schema=["u", "i", "t", "q", "act"], orient="row")
        frame.cast(pl.String).write_parquet(folder / "log.parquet")
        (folder / "items.csv").write_text("id,name\n" + "".join(f"{i},{i}\n" for i in ITEMS))
        (folder / "out").write_text("out\n")
        platform = PlatformSettings.load(
            {
                "events": {
                    "path": folder / "log.parquet",
                    **{"user": "u", "item": "i", "time": "t", "quantity": "q", "action": "act"},
                    "actions": ["view", "buy"],
                },
                "items": {"path": folder / "items.csv", "item": "id", "title": "name"},
                "cleaning": {
                    "opt_out": folder / "out",
                    "min_time": "1970-01-11",
                    "max_events_per_user_day": LIMIT,
                },
            },
            where="test",
        )
        if not any(len(items) > 1 for items in expected.values()):
            with pytest.raises(DataError):
                ingest(platform, SECRET, NOW)
            return
        result = ingest(platform, SECRET, NOW)
    assert result.dropped == dict(dropped)
    assert result.events + sum(result.dropped.values()) == len(rows) == result.read
    found = {
        user: [ITEMS[row] for row in result.sequences[k]]
        for k, user in enumerate(result.sequences.users)
    }
    assert found == {pseudonym(SECRET, user): items for user, items in expected.items()}


KEY = hnp.arrays(np.uint64, st.shared(st.integers(1, 40), key="n")) | hnp.arrays(
    np.int64, st.shared(st.integers(1, 40), key="n"), elements=st.integers(-3, 3)
).map(lambda values: sortable(values * 1_000_000))


@given(keys=st.lists(KEY, min_size=1, max_size=3))
def test_order_is_lexicographic_and_stable(keys: list[np.ndarray]) -> None:
    assert stable_order(keys).tolist() == np.lexsort(keys[::-1]).tolist()
    seen: set[tuple[int, ...]] = set()
    expected = []
    for row in zip(*(key.tolist() for key in keys), strict=True):
        expected.append(row not in seen)
        seen.add(row)
    assert first_of_each(keys).tolist() == expected


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=2))
def test_sortable_floats_compare_as_floats(pair: list[float]) -> None:
    low, high = sortable(np.array(pair))
    assert (low < high, low == high) == (pair[0] < pair[1], pair[0] == pair[1])


def test_order_of_many_rows() -> None:
    rng = np.random.default_rng(0)
    keys = [rng.integers(0, 1000, 300_000).astype(np.uint64) for _ in range(2)]
    keys.append(rng.integers(0, 2**63, 300_000, dtype=np.uint64) >> np.uint64(8))
    assert np.array_equal(stable_order(keys), np.lexsort(keys[::-1]))
    assert len(stable_order([np.zeros(0, dtype=np.uint64)])) == 0
