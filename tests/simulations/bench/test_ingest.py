"""The ingest bench on a small log: it runs the real thing and its counts add up."""

from pathlib import Path

from simulations.bench.ingest import run_ingest_bench


def test_small_bench(tmp_path: Path) -> None:
    said: list[str] = []
    report = run_ingest_bench(30_000, tmp_path, progress=said.append)
    assert report["events"] == 30_000
    assert report["kept"] + sum(report["dropped"].values()) == 30_000
    row_reasons = {"opt_out", "missing_user", "missing_item", "unknown_item", "bad_time"}
    row_reasons |= {"future_time", "return", "other_action", "duplicate", "repeat"}
    assert row_reasons <= set(report["dropped"])
    assert 0 < report["seconds"] <= report["process_seconds"]
    assert report["events_per_s"] > 0
    assert 20 < report["peak_rss_mib"] < 2048
    assert len(said) == 2
