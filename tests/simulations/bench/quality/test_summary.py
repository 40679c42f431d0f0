import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared.errors import ConfigError
from simulations.bench.quality import measures, statistics
from simulations.bench.quality.summary import summarise


def _by_label(summary: dict[str, Any], label: str) -> dict[str, Any]:
    return next(system for system in summary["systems"] if system["label"] == label)


def test_is_json_of_the_documented_shape(summary: dict[str, Any]) -> None:
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert list(summary["platforms"]) == ["beauty", "books"]
    names = [*measures.PER_USER, "coverage@10"]
    assert summary["measures"] == names
    for system in summary["systems"]:
        assert list(system["mean"]) == names
        for own in system["platforms"].values():
            assert list(own) == names
            for name, figure in own.items():
                assert set(figure) == {"value", "low", "high", "seed_stddev"}
                if name == "coverage@10":
                    assert figure["low"] is None
                    continue
                assert figure["low"] <= figure["value"] <= figure["high"]
                assert (figure["seed_stddev"] is None) == (not system["seeds"])
        assert (system["versus"] is None) == (system["label"] == "frozen")
    assert [s["epsilon"] for s in summary["systems"][-4:]] == [1, 3, 8, "inf"]
    assert {s["family"] for s in summary["systems"][-4:]} == {"federated"}
    assert [quote["quoted"] for quote in summary["quoted"]] == [True, True]


def test_means_are_plain_ones(bench: Any, summary: dict[str, Any]) -> None:
    entries, facts, _ = bench
    for entry in entries:
        system = _by_label(summary, entry.label)
        for name in measures.PER_USER:
            by_seed = [
                [measures.per_user(o, facts[p])[name].mean() for o in entry.outcomes[p]]
                for p in facts
            ]
            for platform, seeds in zip(facts, by_seed, strict=True):
                figure = system["platforms"][platform][name]
                assert figure["value"] == pytest.approx(np.mean(seeds), abs=1e-6)
            assert system["mean"][name]["value"] == pytest.approx(np.mean(by_seed), abs=1e-6)
            if entry.seeds:
                stddev = np.std(np.mean(by_seed, axis=0), ddof=1)
                assert system["mean"][name]["seed_stddev"] == pytest.approx(stddev, abs=1e-6)
        shares = [[measures.coverage(o) for o in entry.outcomes[p]] for p in facts]
        assert system["mean"]["coverage@10"]["value"] == pytest.approx(np.mean(shares), abs=1e-6)


def test_statistics_are_those_of_the_pair_alone(bench: Any, summary: dict[str, Any]) -> None:
    """Drawing all systems side by side gives what drawing two of them would."""
    entries, facts, plan = bench
    by_label = {entry.label: entry for entry in entries}

    def ndcg(label: str) -> list[Any]:
        outcomes = by_label[label].outcomes
        return [np.mean([measures.ndcg(o) for o in outcomes[p]], axis=0) for p in facts]

    sure = {"seed": plan.seed, "resamples": plan.resamples}
    for label in ("knn", "federated eps 8"):
        system = _by_label(summary, label)
        ours = statistics.mean_interval(ndcg(label), **sure)
        figure = system["mean"]["ndcg@10"]
        expected = (ours.value, ours.low, ours.high)
        assert (figure["value"], figure["low"], figure["high"]) == pytest.approx(expected, abs=1e-6)
        pair = statistics.compare(ndcg(label), ndcg("frozen"), flips=plan.flips, **sure)
        found = system["versus"]["mean"]
        assert found["ratio"]["low"] == pytest.approx(pair.ratio.low, abs=1e-6)
        assert found["ratio"]["high"] == pytest.approx(pair.ratio.high, abs=1e-6)
        assert found["difference"]["value"] == pytest.approx(pair.difference.value, abs=1e-6)
        assert found["p_value"] == pytest.approx(pair.p_value, abs=1e-6)
        alone = statistics.compare(ndcg(label)[:1], ndcg("frozen")[:1], flips=plan.flips, **sure)
        first = system["versus"]["platforms"]["beauty"]
        assert first["ratio"]["low"] == pytest.approx(alone.ratio.low, abs=1e-6)


def test_groups_are_of_their_members(bench: Any, summary: dict[str, Any]) -> None:
    entries, facts, _ = bench
    for group in measures.GROUPS:
        members = {name: own.groups()[group] for name, own in facts.items()}
        counts = {name: int(who.sum()) for name, who in members.items() if who.any()}
        assert {name: summary["platforms"][name][group] for name in counts} == counts
        for entry in entries:
            own = _by_label(summary, entry.label)["groups"].get(group)
            if not counts:
                assert own is None
                continue
            assert own["users"] == sum(counts.values())
            means = [
                np.mean([measures.hit(o)[members[name]].mean() for o in entry.outcomes[name]])
                for name in counts
            ]
            assert own["mean"]["hit@10"]["value"] == pytest.approx(np.mean(means), abs=1e-6)
    assert summary["platforms"]["beauty"]["cold_users"] > 0


def test_a_ratio_to_nothing_is_null(bench: Any) -> None:
    entries, facts, plan = bench
    base = entries[1]
    lost = {
        name: [replace(o, ranks=np.full_like(o.ranks, o.items)) for o in outcomes]
        for name, outcomes in base.outcomes.items()
    }
    found = summarise([replace(base, outcomes=lost), entries[2]], facts, "x", plan)
    versus = found["systems"][1]["versus"]["mean"]
    assert versus["ratio"] == {"value": None, "low": None, "high": None}
    assert versus["difference"]["low"] > 0
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    "wrong", ["twice", "family twice", "no base", "no outcome", "one seed short"]
)
def test_what_does_not_add_up_is_refused(bench: Any, wrong: str) -> None:
    entries, facts, plan = bench
    if wrong == "twice":
        entries = [*entries, entries[0]]
    elif wrong == "family twice":
        entries = [*entries, replace(entries[-1], label="another")]
    elif wrong == "no base":
        plan = replace(plan, base="nobody")
    elif wrong == "no outcome":
        entries = [*entries[:2], replace(entries[2], outcomes={})]
    else:
        entries = [*entries[:2], replace(entries[-1], seeds=(0, 1, 2))]
    with pytest.raises(ConfigError):
        summarise(entries, facts, "x", plan)
