"""From `init` to recommendations, as a newcomer would go."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.adapters import adapter_sha256, load_peft
from shared.config.federation import read_federation

SYSTEMS = {"popularity", "frozen", "knn", "frozen+knn", "federated", "federated+knn"}
TOP = {
    *("recipe", "seed", "engine", "rounds", "seconds", "peak_rss_mib", "adapter_sha256"),
    *("uplink_bytes_per_platform_per_round", "platforms", "mean"),
}
FACTS = {
    *("users", "items", "events", "dropped", "epsilon", "delta", "noise_multiplier"),
    *("clip_norm", "sample_rate", "steps", "systems"),
}


def summary_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def simulated(shared_place: Any) -> Any:
    """The real command in a process of its own, its output piped."""
    return shared_place.run("simulate", "federation.toml", "--out", "run")


@pytest.fixture(scope="module")
def run(simulated: Any, shared_place: Any) -> Path:
    assert simulated.returncode == 0, simulated.stderr
    folder: Path = shared_place.folder / "run"
    return folder


@pytest.fixture(scope="module")
def not_private(shared_place: Any, warm: Any) -> tuple[Path, str, str]:
    folder = shared_place.folder / "open"
    process = warm.start(
        shared_place, "simulate", "federation.toml", "--epsilon", "inf", "--out", folder
    )
    said = shared_place.folder / "stderr.txt"
    assert warm.wait(process) == 0, said.read_text()
    return folder, (shared_place.folder / "stdout.txt").read_text(), said.read_text()


def test_init_writes_a_file_to_start_from(place) -> None:
    made = place.folder / "mine.toml"
    assert place.call("init", made).exit_code == 0
    settings = read_federation(made)  # the data it names is looked for later
    assert set(settings.platforms) == {"shop", "films"}
    again = place.call("init", made)
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert place.call("init", made, "--force").exit_code == 0
    # As it stands, it misses the newcomer's data, and says so.
    missing = place.call("simulate", made, "--out", place.folder / "run")
    assert missing.exit_code == 3
    assert "shop" in missing.stderr


def test_init_can_write_the_demo_platforms_logs(place) -> None:
    folder = place.folder / "world"
    assert place.call("init", "--demo", folder).exit_code == 0
    settings = read_federation(folder / "federation.toml")
    assert all(one.events.path.is_file() for one in settings.platforms.values())
    before = sorted(path.name for path in folder.iterdir())
    again = place.call("init", "--demo", folder)
    assert again.exit_code == 2
    assert "empty" in again.stderr
    assert sorted(path.name for path in folder.iterdir()) == before


def test_init_then_own_data(place) -> None:
    made = place.folder / "mine.toml"
    assert place.call("init", made).exit_code == 0
    text = made.read_text(encoding="utf-8")
    for old, new in (
        ("shop/orders.csv", "shop.csv"),
        ('"ordered_at"', '"at"'),
        ("shop/products.csv", "shop-items.csv"),
        ("films/ratings.dat", "films.dat"),
        ("films/films.jsonl", "films-items.jsonl"),
        ('encoder = "embedded"', f"encoder = {json.dumps(str(place.folder / 'encoder'))}"),
        ("[model]", "[training]\nrounds = 2\n[model]\nrank = 8\nlayers = 2"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    made.write_text(text, encoding="utf-8")
    result = place.call("simulate", made, "--out", place.folder / "run")
    assert result.exit_code == 0, result.stderr
    assert summary_of(place.folder / "run")["recipe"] == "mine"


def test_every_promised_file_is_there(run: Path) -> None:
    promised = ["summary.json", "report.html", "rounds.jsonl"]
    promised += [f"ledger/{name}.jsonl" for name in ("shop", "films", "news")]
    promised += [
        f"adapter/{name}" for name in ("adapter_config.json", "adapter_model.safetensors")
    ] + ["adapter/README.md"]
    for name in promised:
        assert (run / name).stat().st_size > 0, name
    rounds = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
    assert [line["round"] for line in rounds] == [0, 1, 2, 3, 4]
    assert all(set(line["validation"]) == {"shop", "films", "news"} for line in rounds)


def test_the_summary_keeps_its_promise(run: Path) -> None:
    summary = summary_of(run)
    assert set(summary) >= TOP
    assert summary["recipe"] == "federation"
    assert summary["seed"] is None
    assert summary["engine"] == "inprocess"
    assert summary["rounds"] == 4
    assert summary["private"] is True
    assert 0 < summary["uplink_bytes_per_platform_per_round"] <= 150_000
    assert {name: facts["users"] for name, facts in summary["platforms"].items()} == {
        "shop": 120,
        "films": 80,
        "news": 60,
    }
    for facts in summary["platforms"].values():
        assert set(facts) >= FACTS
        assert facts["items"] == 40
        assert 0 < facts["epsilon"] <= 8
        assert facts["delta"] <= facts["users"] ** -1.1
        assert set(facts["systems"]) == SYSTEMS
        for metrics in facts["systems"].values():
            assert set(metrics) >= {"ndcg@10", "hit@10"}
            assert 0 <= metrics["ndcg@10"] <= metrics["hit@10"] <= 1
    for system in SYSTEMS:
        each = [facts["systems"][system]["ndcg@10"] for facts in summary["platforms"].values()]
        assert summary["mean"][system]["ndcg@10"] == pytest.approx(sum(each) / 3)


def test_the_adapter_is_the_one_that_was_reported(run: Path) -> None:
    adapter, settings = load_peft(run / "adapter", base={})
    assert adapter_sha256(adapter) == summary_of(run)["adapter_sha256"]
    assert settings.rank == 8


def test_piped_output_is_plain(simulated: Any, run: Path) -> None:
    assert "\x1b" not in simulated.stdout + simulated.stderr
    assert "\r" not in simulated.stdout + simulated.stderr
    lines = simulated.stderr.splitlines()
    assert "reading shop" in lines
    assert any(line.startswith("training ") for line in lines)
    assert len(lines) < 60
    assert all(len(line) <= 80 for line in simulated.stdout.splitlines())
    assert "report   run/report.html" in simulated.stdout
    assert "NOT PRIVATE" not in simulated.stdout + simulated.stderr


def test_without_privacy_every_output_says_so(not_private: tuple[Path, str, str]) -> None:
    run, out, err = not_private
    assert "NOT PRIVATE" in out
    assert "NOT PRIVATE" in err
    assert "NOT PRIVATE" in (run / "report.html").read_text(encoding="utf-8").upper()
    assert "NOT PRIVATE" in (run / "adapter" / "README.md").read_text(encoding="utf-8")
    summary = summary_of(run)
    assert summary["private"] is False
    for facts in summary["platforms"].values():
        assert facts["epsilon"] == "inf"
        assert facts["noise_multiplier"] == 0
    assert summary["composed"]["epsilon"] == "inf"


def test_json_is_all_there_is_on_stdout(place) -> None:
    result = place.simulate("run", "--rounds", 1, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == summary_of(place.folder / "run")
    assert result.stderr == ""


@pytest.mark.parametrize(
    "whom",
    [
        ("shop", "--user", "c3"),
        ("films", "--history", "3", "--history", "7"),
        ("news", "--user", "r1"),
    ],
)
def test_recommendations(whom: tuple[str, ...], run: Path, shared_place) -> None:
    asked = ("recommend", "--run", run, "--platform", *whom, "-k", 4, "--explain")
    shown = shared_place.call(*asked)
    assert shown.exit_code == 0, shown.stderr
    assert "events:" in shown.stdout
    assert "interests:" in shown.stdout
    assert "\x1b" not in shown.stdout
    found = shared_place.call(*asked, "--json")
    assert found.exit_code == 0, found.stderr
    values = json.loads(found.stdout)
    assert values["platform"] == whom[0]
    assert [entry["rank"] for entry in values["recommendations"]] == [1, 2, 3, 4]
    assert all(entry["explanation"]["events"] for entry in values["recommendations"])
    read = {item["item_id"] for item in values["history"]["read"]}
    assert not read & {entry["item_id"] for entry in values["recommendations"]}
    if "--history" in whom:
        assert read == {"3", "7"}
    else:
        assert whom[-1] not in found.stdout  # no user id is repeated


def test_recommend_says_what_is_wrong(run: Path, shared_place) -> None:
    for arguments, code, word in (
        (("--platform", "shopp", "--user", "c3"), 2, "Did you mean 'shop'?"),
        (("--platform", "shop"), 2, "neither"),
        (("--platform", "shop", "--user", "nobody"), 4, "user"),
        (("--platform", "shop", "--history", "nothing"), 4, "item"),
    ):
        result = shared_place.call("recommend", "--run", run, *arguments)
        assert result.exit_code == code, result.stderr
        assert word in result.stderr
        assert "nobody" not in result.stderr
