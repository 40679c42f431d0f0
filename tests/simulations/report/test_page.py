"""What the page says, and what it must not say."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from shared.errors import RunError, StorageError
from simulations.report import write_report
from simulations.report.page import render
from simulations.report.record import read_run


def _text(page: Path) -> str:
    """The page's words: no tags, no style, no script, single spaces."""
    html = page.read_text(encoding="utf-8")
    html = re.sub(r"<(style|script)>.*?</\1>", " ", html, flags=re.DOTALL)
    html = re.sub(r"</?(b|strong|sup|i)\b[^>]*>", "", html)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)).replace("\u202f", " "))


def test_one_file_with_headline_and_numbers(make_run: Any) -> None:
    run = make_run()
    page = write_report(run)
    assert page == run / "report.html"
    assert sorted(path.name for path in run.iterdir()) == [
        "report.html",
        "rounds.jsonl",
        "summary.json",
    ]
    said = _text(page)
    # mean federated / mean frozen: (0.051156+0.058941+0.035937+0.032562) / (4 x 0.0378) = 1.1812
    assert (
        "Four platforms trained one interest model together and recommend 18 % better for it, "
        "at a privacy cost of ε = 7.94 per user." in said
    )
    assert "77 find the very item they chose next" in said  # 1.72 x 0.0446 of 1,000
    assert "the budget is 8" in said
    assert "4 of 4" in said
    assert "10 × 111 KB" in said
    assert "in production they never leave the platform" in said
    assert "ε = 21.38" in said
    assert "PLD" in said
    assert "Poisson sampling" in said
    assert "One user of one platform, with all their events" in said
    assert "same item again by the same user" in said
    assert "NOT PRIVATE" not in said
    assert "Seeded noise" not in said
    assert "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" in said


def test_nothing_is_loaded_from_anywhere(make_run: Any) -> None:
    html = write_report(make_run()).read_text(encoding="utf-8")
    linked = re.findall(r"""(?:src|href|action)\s*=\s*["']?([^"' >]+)""", html)
    assert linked
    assert all(link.startswith(("#", "data:")) for link in linked)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", html)
    assert "default-src 'none'" in html
    assert " style=" not in html  # the policy would refuse it


def test_not_private_is_loud_and_promises_nothing(make_run: Any) -> None:
    page = write_report(make_run(epsilon="inf"))
    html = page.read_text(encoding="utf-8")
    assert '<div class="banner" role="alert">' in html.split("<header")[0]
    said = _text(page)
    assert said.count("NOT PRIVATE") >= 3  # title, banner, section
    assert "recommend 18 % better for it, with no privacy at all." in said
    for claim in (
        "What is promised",
        "privacy cost",
        "privacy spent",
        "Who is protected",
        "Poisson",
        "PLD",
        "noise added",
        "ε spent",
        "budget of",
        "δ",
    ):
        assert claim not in said, claim
    assert "without clipping and without noise" in said


def test_one_platform_without_budget_makes_the_run_not_private(make_run: Any) -> None:
    run = make_run()
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    summary["platforms"]["tonearm"]["epsilon"] = "inf"
    (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    assert "What is promised" not in _text(write_report(run))


def test_a_seeded_run_says_that_its_noise_can_be_subtracted(make_run: Any) -> None:
    said = _text(write_report(make_run(unsafe_seed=True)))
    assert (
        "Whoever knows the seed can subtract the noise: such a run is for simulation only." in said
    )
    assert "With secret randomness, whatever this training sent out" in said


def test_bad_news_is_said(make_run: Any) -> None:
    said = _text(write_report(make_run(sign=-1)))
    assert "but recommend 18 % worse than without training" in said
    assert "beats the untrained one on 0 of 4 platforms" in said
    assert "−16.0 %" in said
    assert "The best system on average is frozen+knn." in said


def test_rejected_updates_are_marked_and_listed(make_run: Any) -> None:
    reason = "expected a norm of at most 1000, got 1.2e9 (user_tower.B)"
    page = write_report(make_run(rejected={(4, "tonearm"): reason}))
    html = page.read_text(encoding="utf-8")
    assert html.count('<g class="mark">') == 1
    assert f"<td>{reason}" in html
    assert "Rounds without an update" in html
    assert "Rounds without an update" not in _text(write_report(make_run(folder="fine")))


@pytest.mark.parametrize(
    "shape",
    [
        {"names": ["solo"], "rounds": 1},
        {"names": [f"p{i}" for i in range(12)], "rounds": 40},
        {"validation": False},
        {"settings": {}, "composed": None, "version": None, "seed": None},
        {"mean": {}, "uplink_bytes_per_platform_per_round": {"homewares": 5}},
        {"platforms": {}, "mean": {}},
        {"seconds": None, "peak_rss_mib": None, "adapter_sha256": None},
    ],
    ids=lambda shape: "-".join(shape),
)
def test_odd_runs_make_whole_pages(shape: dict[str, Any], make_run: Any) -> None:
    html = write_report(make_run(**shape)).read_text(encoding="utf-8")
    assert html.rstrip().endswith("</html>")
    assert not re.search(
        r"\b(None|nan|NaN|undefined)\b",
        re.sub(r"<pre.*?</pre>|<script>.*?</script>", "", html, flags=re.DOTALL),
    )


def test_a_run_that_was_stopped_before_round_1(make_run: Any) -> None:
    run = make_run()
    first = (run / "rounds.jsonl").read_text(encoding="utf-8").splitlines()[0]
    (run / "rounds.jsonl").write_text(first + '\n{"round": 1, "sec', encoding="utf-8")
    assert len(read_run(run).platforms[0].curves["federated"]) == 1
    assert "round 0" in _text(write_report(run))


def test_a_round_that_was_run_twice_counts_once(make_run: Any) -> None:
    run = make_run()
    lines = (run / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    (run / "rounds.jsonl").write_text("\n".join([*lines, lines[-1]]) + "\n", encoding="utf-8")
    assert read_run(run).platforms[0].uplink_bytes == 10 * 110_592


def test_round_0_is_set_up_and_no_update(make_run: Any) -> None:
    run = make_run(rejected={(4, "tonearm"): "too long"})
    for platform in read_run(run).platforms:
        assert platform.answers[0].round == 0
        assert platform.answers[0].uplink_bytes == platform.setup_bytes == 1_183_752
        assert [answer.round for answer in platform.sent] == list(range(1, 11))
        assert platform.uplink_bytes == 10 * 110_592
        assert platform.downlink_bytes == 10 * 702_464
    said = _text(write_report(run))
    assert "sent per round 111 KB" in said
    assert said.count("1.2 MB 10 × 111 KB 2.3 MB") == 4


def test_hostile_text_is_escaped(make_run: Any) -> None:
    evil = "<script>alert(1)</script>"
    quoted = '" onload="alert(2)'
    run = make_run(names=[evil, quoted], recipe=evil, version=evil, rejected={(1, evil): quoted})
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    summary["platforms"][evil]["kind"] = evil
    summary["platforms"][evil]["dropped"] = {evil: 3}
    summary["settings"]["note"] = "</pre>" + evil
    (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    html = write_report(run).read_text(encoding="utf-8")
    assert evil not in html
    assert quoted not in html
    assert "</pre>&" not in html


def test_database_passwords_are_not_shown(make_run: Any) -> None:
    url = "postgresql://reader:hunter2@db.example:5432/shop?password=hunter3"
    settings = {"platforms": {"homewares": {"events": {"url": url}, "population": 5000}}}
    html = write_report(make_run(settings=settings)).read_text(encoding="utf-8")
    assert "hunter" not in html
    assert "reader" not in html
    assert "db.example:5432/shop" in html


def test_same_run_same_page(make_run: Any) -> None:
    record = read_run(make_run())
    assert render(record) == render(record)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("summary.json", None, "No such file"),
        ("rounds.jsonl", None, "No such file"),
        ("summary.json", b"{", "damage in line 1"),
        ("summary.json", b"\xff\xfe", "not UTF-8"),
        ("summary.json", b"[]", "something else"),
        ("summary.json", b'{"platforms": {"a": {}}}', "users"),
        ("rounds.jsonl", b'{"round": 0}\nnonsense\n{"round": 1}\n', "damage in line 2"),
    ],
)
def test_damaged_folders_are_run_errors(
    name: str, content: bytes | None, says: str, make_run: Any
) -> None:
    run = make_run()
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(content)
    with pytest.raises(RunError, match=says) as caught:
        write_report(run)
    assert caught.value.exit_code == 10
    assert name in str(caught.value)
    assert not (run / "report.html").exists()


def test_a_disk_that_refuses_leaves_the_old_page(make_run: Any, monkeypatch: Any) -> None:
    run = make_run()
    (run / "report.html").write_text("old", encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="full disk"):
        write_report(run)
    assert (run / "report.html").read_text(encoding="utf-8") == "old"
    assert len(list(run.iterdir())) == 3
