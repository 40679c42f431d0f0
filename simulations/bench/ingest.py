"""How fast, and in how much memory, a platform's log is read, cleaned and pseudonymised.

The log is written to disk first (not timed): CSV in order of time, skewed users and items, and
the usual dirt.  It is then ingested by a fresh process, whose clock and peak memory are reported.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shared.config.federation import PlatformSettings
from shared.errors import RunError
from shared.files import storage_error

_EVENTS_PER_USER = 50
_NOW = 1_767_225_600  # 2026-01-01
_SPAN_S = 2 * 365 * 86_400
_CHUNK = 500_000


def run_ingest_bench(
    events: int = 10_000_000,
    folder: Path | None = None,
    *,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Write a log of `events` rows, ingest it in a fresh process, and report.

    Args:
        folder: where the log is written (about 50 bytes per event) and left; None is a temporary
            folder that is removed.

    Returns:
        `events`, `log_mib`, `seconds` (of the call of `ingest`), `process_seconds` (with start-up
        and imports), `events_per_s`, `cpu_seconds`, `peak_rss_mib`, `users`, `items`, `kept`,
        `dropped`.

    Raises:
        StorageError: no room for the log.
        RunError: the process failed.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="fedinterest-bench-") as temporary:
            return run_ingest_bench(events, Path(temporary), seed=seed, progress=progress)
    say = progress or (lambda _: None)
    say(f"writing a log of {events:,} events")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_log(folder, events, np.random.default_rng(seed))
    except OSError as error:
        raise storage_error(error, folder) from error
    say("ingesting it in a fresh process")
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "simulations.bench.ingest", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    process_seconds = time.perf_counter() - begin
    if done.returncode != 0:
        raise RunError(
            expected="the ingesting process to finish",
            got=f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}",
            where="bench ingest",
        )
    report = json.loads(done.stdout)
    return {
        "events": events,
        "log_mib": round((folder / "events.csv").stat().st_size / 2**20, 1),
        "events_per_s": round(events / report["seconds"]),
        "process_seconds": round(process_seconds, 2),
        **report,
    }


def bench_settings(folder: Path) -> dict[str, Any]:
    """How the log that `write_log` left in `folder` is to be read (as in a federation.toml)."""
    return {
        "events": {
            "path": str(folder / "events.csv"),
            "user": "customer",
            "item": "sku",
            "time": "ts",
            "action": "action",
            "actions": ["view", "buy"],
            "quantity": "qty",
        },
        "items": {"path": str(folder / "items.csv"), "item": "sku", "title": "name"},
        "cleaning": {"opt_out": str(folder / "opt_out.txt")},
    }


def write_log(folder: Path, events: int, rng: np.random.Generator) -> None:
    """Write events.csv, items.csv and opt_out.txt: per thousand rows about 10 without a user, 5
    without an item, 5 on unknown items, 3 with a broken time, 2 from the future, 5 returns, 20
    other actions, 10 written twice, and one user in two thousand a bot.
    """
    users = max(2, events // _EVENTS_PER_USER)
    items = max(2, min(50_000, events // 20))
    activity = rng.lognormal(0.0, 1.0, users)
    shares = np.cumsum(activity / activity.sum())
    popularity = np.cumsum(1.0 / np.arange(1, items + 1) ** 0.8)
    popularity /= popularity[-1]
    names = rng.permutation(users) + 10_000_000
    pl.DataFrame(
        {"sku": [f"SKU-{k:06d}" for k in range(items)], "name": [f"Item {k}" for k in range(items)]}
    ).write_csv(folder / "items.csv")
    (folder / "opt_out.txt").write_text(
        "".join(f"cust-{name}\n" for name in names[: max(1, users // 1000)])
    )
    bots = rng.choice(users, max(1, users // 2000), replace=False)
    step = max(1, _SPAN_S * _CHUNK // max(events, _CHUNK))
    with open(folder / "events.csv", "wb") as log:
        log.write(b"customer,sku,action,ts,qty\n")
        for number, begin in enumerate(range(0, events, _CHUNK)):
            size = min(_CHUNK, events - begin)
            user = np.searchsorted(shares, rng.random(size))
            start = _NOW - _SPAN_S + number * step
            when = np.sort(rng.integers(start, start + step, size))
            if number % 4 == 0:  # a burst: bots click through one second
                burst = slice(0, min(size, 600 * len(bots) // 8))
                user[burst] = rng.choice(bots[: max(1, len(bots) // 8)], burst.stop)
                when[burst] = when[0]
            item = np.searchsorted(popularity, rng.random(size))
            _write_rows(log, names[user], item, when, rng)


def _write_rows(
    log: Any,
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    when: NDArray[np.int64],
    rng: np.random.Generator,
) -> None:
    size = len(user)
    luck = rng.random(size)
    twice = np.flatnonzero(rng.random(size) < 0.01)
    twice = twice[twice > 0]
    for column in (user, item, when, luck):
        column[twice] = column[twice - 1]
    frame = pl.DataFrame({"user": user, "item": item, "when": when, "luck": luck})
    kind = pl.col("luck")
    customer = pl.format("cust-{}", "user")
    sku = pl.format("SKU-{}", pl.col("item").cast(pl.String).str.zfill(6))
    frame.select(
        pl.when(kind >= 0.01).then(customer),
        pl.when(kind.is_between(0.010, 0.015))
        .then(pl.lit(None))
        .when(kind.is_between(0.015, 0.020))
        .then(pl.lit("SKU-gone"))
        .otherwise(sku)
        .alias("sku"),
        pl.when(kind > 0.98)
        .then(pl.lit("impression"))
        .when(kind > 0.85)
        .then(pl.lit("buy"))
        .otherwise(pl.lit("view"))
        .alias("action"),
        pl.when(kind.is_between(0.020, 0.023))
        .then(pl.lit("n/a"))
        .when(kind.is_between(0.023, 0.025))
        .then(pl.lit("4102444800"))
        .otherwise(pl.col("when").cast(pl.String))
        .alias("ts"),
        pl.when(kind.is_between(0.025, 0.030)).then(-1).otherwise(1).alias("qty"),
    ).write_csv(log, include_header=False)


def _ingest(folder: Path) -> dict[str, Any]:
    """What the fresh process does."""
    from clients.sources.ingest import ingest

    settings = PlatformSettings.load(bench_settings(folder), where=str(folder))
    begin, cpu = time.perf_counter(), time.process_time()
    result = ingest(settings, bytes(range(32)), now=float(_NOW))
    seconds = time.perf_counter() - begin
    return {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "peak_rss_mib": round(_peak_rss_mib(), 1),
        "users": result.users,
        "items": result.items,
        "kept": result.events,
        "dropped": result.dropped,
    }


def _peak_rss_mib() -> float:
    """Of this process alone: `ru_maxrss` would begin with what the parent had."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


if __name__ == "__main__":
    print(json.dumps(_ingest(Path(sys.argv[1]))))
