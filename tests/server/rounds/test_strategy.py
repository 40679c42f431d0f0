"""Rounds over toy platforms: what counts, what is left out, what is asked again, what is kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from server.rounds import checkpoint as checkpoints
from server.rounds.checkpoint import latest, path_of
from server.rounds.record import line_sha256
from shared.errors import ConfigError, QuorumError, RunError
from shared.privacy.accountant import Charge, epsilon
from shared.protocol import Refusal, TrainRequest
from shared.transparency.journal import Journal, read
from shared.transparency.keys import read_keys
from shared.transparency.merkle import leaf_hash
from shared.transparency.statement import CoordinatorRound
from shared.whitening import Whitening

NAMES = ["shop", "films", "news"]


def raising(error: type[BaseException]) -> Callable[[TrainRequest], RecordDict]:
    def answer(_: TrainRequest) -> RecordDict:
        raise error("stopped")

    return answer


def refusing(kind: str, times: int = 10**6) -> Callable[[TrainRequest], RecordDict | None]:
    left = [times]

    def answer(_: TrainRequest) -> RecordDict | None:
        left[0] -= 1
        if left[0] < 0:
            return None
        return Refusal(platform="", code=8, kind=kind, message="no\nmore").to_records()

    return answer


def signed(federation: Any) -> list[CoordinatorRound]:
    """The coordinator's record, verified."""
    record = federation.folder / "record"
    keys = read_keys(record / "keys.json")
    found = [entry.statement for entry in read(record / "coordinator.jsonl", keys["coordinator"])]
    assert all(isinstance(one, CoordinatorRound) for one in found)
    return found


def final(federation: Any) -> dict[str, np.ndarray]:
    found = latest(federation.folder / "checkpoints")
    assert found is not None
    return found.adapter


def test_three_rounds_by_hand(federation: Any) -> None:
    """Targets 4, 5 and 4: each round halves the way to their mean, 13/3."""
    federation.run()
    expected = np.float32(0)
    for _ in range(3):
        mean = sum((np.float32(len(name)) - expected) / 2 for name in sorted(NAMES)) / 3
        expected = np.float32(expected + mean)
    for value in final(federation).values():
        np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert float(expected) == pytest.approx(13 / 3 * (1 - 0.5**3), rel=1e-6)
    assert federation.kinds() == ["setup", "round", "round", "round", "done"]


def test_everybody_gets_the_same_request(federation: Any) -> None:
    federation.run()
    for round_ in (1, 2, 3):
        asked = [(n, r) for n, r in federation.requests if r.round == round_]
        assert [name for name, _ in asked] == NAMES
        assert len({request.digest for _, request in asked}) == 1
    first = federation.requests[0][1]
    assert first.settings["steps"] == 2
    assert first.settings["total_rounds"] == 3
    assert not any("epsilon" in key or "noise" in key for key in first.settings)
    assert Whitening.from_arrays(first.base).matrix.shape == (4, 4)


def test_the_lines_say_what_happened(federation: Any) -> None:
    federation.run()
    lines = federation.lines()
    assert [line["round"] for line in lines] == [0, 1, 2, 3]
    assert set(lines[2]) == {"round", "seconds", "adapter_sha256", "request", "platforms"}
    assert len({line["adapter_sha256"] for line in lines}) == 4
    for name in NAMES:
        entry = lines[2]["platforms"][name]
        assert entry["answered"] is True
        assert entry["reason"] is None
        assert entry["steps"] == 2
        assert entry["epsilon"] == epsilon([Charge(0.1, 1.0, 4)], 100**-1.1)
        size = sum(value.nbytes for value in final(federation).values())
        assert size < entry["uplink_bytes"] < size + 2500  # with the signed statement
        assert entry["downlink_bytes"] > size + 64
    assert lines[0]["platforms"]["films"]["epsilon"] == 0.0
    assert lines[0]["platforms"]["films"]["uplink_bytes"] > 5 * 4 * 8


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"round": 77}, "UpdateRejected: expected an update for round"),
        ({"request_digest": "0" * 64}, "digest"),
        ({"platform": "shop"}, "got 'shop'"),
        ({"update": {}}, "names"),
        ({"constants": {"steps": 2}}, "ProtocolError"),
        ({"envelope": None}, "a signed statement, got none"),
    ],
)
def test_a_bad_update_is_left_out_by_name(
    federation: Any, change: dict[str, object], reason: str
) -> None:
    federation.write(server__min_platforms=2)
    federation.answers["films"] = lambda asked: federation.good(
        "films", asked, **change
    ).to_records()
    federation.run()
    for line in federation.lines()[1:]:
        entries = line["platforms"]
        assert entries["films"]["answered"] is False
        assert reason in entries["films"]["reason"]
        assert entries["shop"]["answered"] is entries["news"]["answered"] is True
    for value in final(federation).values():  # shop and news: both pull to 4
        np.testing.assert_allclose(value, 4 * (1 - 0.5**3), rtol=1e-6)


@pytest.mark.parametrize(
    ("giant", "reason"),
    [(3e4, "L2 norm of at most 100"), (1e30, "L2 norm of at most 100")],
)
def test_nan_and_giants_are_left_out(federation: Any, giant: float, reason: str) -> None:
    federation.write(server__min_platforms=1, server__max_update_norm=100.0)

    def spoiled(name: str, value: float) -> Callable[[TrainRequest], RecordDict]:
        def answer(asked: TrainRequest) -> RecordDict:
            update = {k: np.full_like(v, value) for k, v in asked.adapter.items()}
            return federation.good(name, asked, update=update).to_records()

        return answer

    federation.answers |= {"films": spoiled("films", np.nan), "shop": spoiled("shop", giant)}
    federation.run()
    entries = federation.lines()[1]["platforms"]
    assert "finite" in entries["films"]["reason"]
    assert reason in entries["shop"]["reason"]
    assert entries["films"]["steps"] == 2  # spent, whether or not the update is any good
    assert entries["films"]["epsilon"] > 0
    for value in final(federation).values():
        np.testing.assert_allclose(value, 4 * (1 - 0.5**3), rtol=1e-6)


def test_junk_for_a_reply_is_left_out(federation: Any) -> None:
    federation.write(server__min_platforms=2)
    federation.answers["news"] = lambda _: RecordDict({"x": ConfigRecord({"kind": 3})})
    federation.run()
    assert "ProtocolError" in federation.lines()[3]["platforms"]["news"]["reason"]


def test_a_platform_without_budget_stops_the_run_at_once(federation: Any) -> None:
    federation.answers["news"] = refusing("BudgetExhausted")
    with pytest.raises(QuorumError, match=r"3 platforms.*news: BudgetExhausted: no more.*round 1"):
        federation.run()
    assert [name for name, _ in federation.requests] == NAMES  # nobody was asked twice
    assert "retry" not in federation.kinds()


def test_only_who_failed_is_asked_again_and_the_same(federation: Any) -> None:
    flaky = refusing("InternalError", times=2)
    federation.answers["news"] = lambda asked: (
        flaky(asked) or federation.good("news", asked).to_records()
    )
    federation.run()
    asked = [(name, request.digest) for name, request in federation.requests[:5]]
    assert [name for name, _ in asked] == ["shop", "films", "news", "news", "news"]
    assert len({digest for _, digest in asked}) == 1
    assert federation.kinds() == ["setup", "retry", "retry", "round", "round", "round", "done"]
    line = federation.lines()[1]["platforms"]
    assert line["news"]["downlink_bytes"] == 3 * line["shop"]["downlink_bytes"]


def test_attempts_end_and_the_run_resumes(federation: Any) -> None:
    """No quorum in round 2: what was learned is kept, and the result is an unbroken run's."""
    reference = type(federation)(federation.folder.parent / "reference")
    reference.write()
    reference.run()

    def films(asked: TrainRequest) -> RecordDict:
        if asked.round == 2 and not healed:
            return Refusal(platform="", code=1, kind="InternalError", message="").to_records()
        return federation.good("films", asked).to_records()

    healed: list[bool] = []
    federation.answers["films"] = films
    with pytest.raises(QuorumError, match=r"got 2 \(films: InternalError.*--resume"):
        federation.run()
    assert [line["round"] for line in federation.lines()] == [0, 1]
    assert len([1 for name, r in federation.requests if (name, r.round) == ("films", 2)]) == 3
    healed.append(True)
    federation.run()
    assert federation.kinds()[-4:] == ["resume", "round", "round", "done"]
    same(federation, reference)


def same(left: Any, right: Any) -> None:
    """Same adapter bits, same log but for the seconds."""
    for name, value in final(right).items():
        assert final(left)[name].tobytes() == value.tobytes()
    strip = [[{**line, "seconds": 0} for line in one.lines()] for one in (left, right)]
    assert strip[0] == strip[1]


@pytest.mark.parametrize("optimiser", ["fedavg", "fedavgm", "fedadam"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_resumes_to_the_same_bits(
    federation: Any, optimiser: str, error: type[BaseException]
) -> None:
    reference = type(federation)(federation.folder.parent / "reference")
    for one in (federation, reference):
        one.write(server__optimiser=optimiser)
    reference.run()

    def films(asked: TrainRequest) -> RecordDict:
        if asked.round == 3 and len(federation.requests) < 10:
            raise error
        return federation.good("films", asked).to_records()

    federation.answers["films"] = films
    with pytest.raises(error):
        federation.run()
    federation.run()
    assert federation.events[-1].kind == "done"
    same(federation, reference)


def test_a_crash_at_every_write_resumes_to_the_same_bits(
    federation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies before or after each file that the coordinator puts on disk."""
    import server.rounds.log as log_module
    import shared.transparency.journal as journal_module
    import shared.transparency.keys as keys_module

    reference = type(federation)(federation.folder.parent / "reference")
    reference.write()
    reference.run()
    count = [0]
    stop_at = [0]

    class Died(BaseException):
        pass

    def dying(real: Callable[..., None]) -> Callable[..., None]:
        def write(*args: Any) -> None:
            count[0] += 1
            if count[0] == stop_at[0]:
                raise Died
            real(*args)
            if count[0] == -stop_at[0]:
                raise Died

        return write

    monkeypatch.setattr(log_module, "write_text", dying(log_module.write_text))
    monkeypatch.setattr(checkpoints, "write_bytes", dying(checkpoints.write_bytes))
    monkeypatch.setattr(keys_module, "write_text", dying(keys_module.write_text))
    monkeypatch.setattr(keys_module, "write_bytes", dying(keys_module.write_bytes))
    monkeypatch.setattr(journal_module, "write_bytes", dying(journal_module.write_bytes))
    monkeypatch.setattr(Journal, "_put", dying(Journal._put))
    # 4 lines, 4 checkpoints, 4 heads and 4 statements, a key and the keys' names; a stop before (+)
    # or after (-) each of the 18 writes
    for number in [sign * place for place in range(1, 19) for sign in (1, -1)]:
        broken = type(federation)(federation.folder.parent / f"broken{number}")
        broken.write()
        count[0], stop_at[0] = 0, number
        with pytest.raises(Died):
            broken.run()
        stop_at[0] = 0
        broken.run()
        same(broken, reference)
        assert [one.round for one in signed(broken)] == [0, 1, 2, 3]


def test_a_finished_run_is_left_alone(federation: Any) -> None:
    federation.run()
    before = len(federation.requests)
    federation.run()
    assert len(federation.requests) == before
    assert federation.kinds()[-2:] == ["resume", "done"]


def test_a_damaged_newest_checkpoint_costs_one_round(federation: Any) -> None:
    reference = type(federation)(federation.folder.parent / "reference")
    reference.write()
    reference.run()
    federation.run()
    path_of(federation.folder / "checkpoints", 3).write_bytes(b"junk")
    federation.run()
    assert [request.round for _, request in federation.requests[-3:]] == [3, 3, 3]
    same(federation, reference)
    # the record is never cut back: it says that the round was done twice, unless both times
    # gave the same line, to the millisecond
    stated = signed(federation)
    assert [one.round for one in stated[:4]] == [0, 1, 2, 3]
    again = stated[4:]
    assert [one.round for one in again] in ([], [3])
    assert stated[-1].line == line_sha256(federation.lines()[3])
    assert stated[-1].adapter_out == stated[3].adapter_out


def test_lost_checkpoints_never_restart_a_run(federation: Any) -> None:
    federation.run()
    for path in (federation.folder / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(RunError, match="checkpoint: none, 4 lines"):
        federation.run()


def test_a_lost_log_is_not_made_up(federation: Any) -> None:
    federation.run()
    (federation.folder / "rounds.jsonl").unlink()
    with pytest.raises(RunError, match="checkpoint: round 3, 0 lines"):
        federation.run()


def test_other_settings_cannot_resume(federation: Any) -> None:
    federation.write(training__rounds=2)
    federation.run()
    federation.write(training__rounds=3)  # the noise was calibrated for 2
    with pytest.raises(RunError, match="settings"):
        federation.run()
    federation.write(training__rounds=2, server__max_attempts=9)  # this may change
    federation.run()


def test_too_few_platforms_at_the_start(federation: Any) -> None:
    with pytest.raises(QuorumError, match=r"expected 3 platforms, got 2 \(news: not connected"):
        federation.run(nodes=("shop", "films"))
    federation.write(server__min_platforms=2)
    federation.run(nodes=("shop", "films"))
    entry = federation.lines()[2]["platforms"]["news"]
    assert (entry["answered"], entry["reason"], entry["downlink_bytes"]) == (
        False,
        "not connected",
        0,
    )


def test_strangers_and_impostors_take_no_part(federation: Any) -> None:
    federation.write(server__min_platforms=2)
    federation.names = {"news": "films", "x": "casino"}  # a second films, and an unknown one
    federation.run(nodes=("shop", "films", "news", "x"))
    assert {name for name, _ in federation.requests} == {"shop", "films"}
    federation.names = {}


def test_bad_statistics_take_no_part(federation: Any) -> None:
    federation.broken_catalogues = {"news"}
    with pytest.raises(QuorumError, match="not symmetric"):
        federation.run()


def test_weights_are_the_public_ones(federation: Any) -> None:
    values = federation.settings()
    for name, weight in (("shop", 10.0), ("films", 30.0), ("news", 10.0)):
        values["platforms"][name]["weight"] = weight
    federation.settings = lambda **_: values
    federation.write()
    federation.run()
    now = 0.0
    for _ in range(
        3
    ):  # all numbers of an update are alike: it lies on a grid, and arrives as it is
        short, films = ((target - now) / 2 for target in (4, 5))
        now += (10 * short + 30 * films + 10 * short) / 50
    assert now == pytest.approx(23 / 5 * (1 - 0.5**3), rel=1e-3)  # (4 + 3 * 5 + 4) / 5
    for value in final(federation).values():
        np.testing.assert_allclose(value, now, rtol=1e-6)


def test_without_weights_populations_count(federation: Any) -> None:
    values = federation.settings()
    for name, population in (("shop", 500), ("films", 12_000), ("news", 500)):
        values["platforms"][name]["population"] = population
    values["training"]["rounds"] = 1
    federation.settings = lambda **_: values
    federation.write()
    federation.run()
    small, large = 500 / 4500**0.5, 12_000 / 16_000**0.5  # 7.4536 and 94.868
    mean = (4 * small + 5 * large + 4 * small) / (2 * small + large)
    for value in final(federation).values():  # half-way to it
        np.testing.assert_allclose(value, mean / 2, rtol=1e-6)


def test_run_folder_must_hold_a_federation(federation: Any, tmp_path: Path) -> None:
    federation.folder = tmp_path / "empty"
    with pytest.raises(RunError, match=r"federation\.json"):
        federation.run()
    federation.write(training__rounds=1)
    path = federation.folder / "federation.json"
    path.write_text(path.read_text().replace("rounds", "roundz"))
    with pytest.raises(ConfigError, match=r"roundz.*Did you mean 'rounds'"):
        federation.run()


# --- the record -------------------------------------------------------------------------------


def test_every_round_is_stated_and_signed(federation: Any) -> None:
    federation.write(server__min_platforms=2)
    federation.answers["news"] = refusing("BudgetExhausted")
    federation.run()
    found, lines = signed(federation), federation.lines()
    assert [one.round for one in found] == [one.index for one in found] == [0, 1, 2, 3]
    assert [one.adapter_out for one in found] == [line["adapter_sha256"] for line in lines]
    assert [one.adapter_in for one in found[1:]] == [one.adapter_out for one in found[:-1]]
    assert [one.request for one in found[1:]] == [
        next(asked.digest for _, asked in federation.requests if asked.round == round_)
        for round_ in (1, 2, 3)
    ]
    for one in found[1:]:
        assert {name: answer.outcome for name, answer in one.platforms.items()} == {
            "shop": "accepted",
            "films": "accepted",
            "news": "refused",
        }
        assert one.platforms["news"].envelope is None
        assert (one.steps, one.sample_rate, one.clip_norm) == (2, 0.1, 2.0)
        assert one.private
    asked = next(asked for name, asked in federation.requests if (name, asked.round) == ("shop", 2))
    envelope = federation.good("shop", asked).envelope
    assert found[2].platforms["shop"].envelope == leaf_hash(envelope.to_bytes()).hex()
    keys = read_keys(federation.folder / "record" / "keys.json")
    assert set(keys) == {*NAMES, "coordinator"}
    assert keys["films"] == federation.key("films").public
    secret = federation.folder / "coordinator.key"
    assert secret.stat().st_mode & 0o077 == 0


def other_key(federation: Any, asked: TrainRequest) -> object:
    reply = federation.good("films", asked)
    statement = federation.statement(asked, reply)
    return federation.sign("shop", statement)


def saying(**changes: object) -> Callable[[Any, TrainRequest], object]:
    def make(federation: Any, asked: TrainRequest) -> object:
        reply = federation.good("films", asked)
        return federation.sign("films", federation.statement(asked, reply, **changes))

    return make


@pytest.mark.parametrize(
    ("envelope", "reason", "kept"),
    [
        (other_key, "another signature", False),
        (saying(platform="shop"), "this update's platform", True),
        (saying(round=99), "this update's round", True),
        (saying(request="0" * 64), "this update's request", True),
        (saying(adapter_in="0" * 64), "this update's adapter_in", True),
        (saying(update="0" * 64), "this update's update", True),
        (saying(base="0" * 64), "this update's base", True),
        (saying(steps=1), "this update's steps", True),
        (saying(noise_multiplier=9.0), "this update's noise_multiplier", True),
        (saying(charge=None, epsilon=float("inf")), "this update's private", True),
    ],
)
def test_a_statement_of_something_else_is_rejected_by_name(
    federation: Any,
    envelope: Callable[[Any, TrainRequest], object],
    reason: str,
    kept: bool,
) -> None:
    federation.write(server__min_platforms=2, training__rounds=1)
    federation.answers["films"] = lambda asked: federation.good(
        "films", asked, envelope=envelope(federation, asked)
    ).to_records()
    federation.run()
    entry = federation.lines()[1]["platforms"]["films"]
    assert entry["answered"] is False
    assert reason in entry["reason"]
    answer = signed(federation)[1].platforms["films"]
    assert answer.outcome == "rejected"
    assert (answer.envelope is not None) is kept  # evidence, where it is the platform's own word


def test_constants_that_were_not_asked_for_are_rejected(federation: Any) -> None:
    federation.write(server__min_platforms=2, training__rounds=1)
    more = {"steps": 3, "noise_multiplier": 1.0, "clip_norm": 2.0, "sample_rate": 0.1}
    federation.answers["films"] = lambda asked: federation.good(
        "films", asked, constants=more
    ).to_records()
    federation.run()
    assert "this update's steps" in federation.lines()[1]["platforms"]["films"]["reason"]


def test_a_platform_has_one_key_in_a_run(federation: Any) -> None:
    federation.write(training__rounds=1)
    federation.run()
    federation.write(training__rounds=1, server__min_platforms=2)
    path_of(federation.folder / "checkpoints", 1).unlink()
    federation.key_seeds = {"films": 5}
    federation.run()
    entry = federation.lines()[1]["platforms"]["films"]
    assert (entry["answered"], entry["key"]) == (False, None)
    assert signed(federation)[-1].platforms["films"].outcome == "absent"
    assert (
        read_keys(federation.folder / "record" / "keys.json")["films"]
        != federation.key("films").public
    )


@pytest.mark.parametrize("what", ["coordinator.jsonl", "coordinator.jsonl.head", "all"])
def test_a_lost_record_is_not_made_up(federation: Any, what: str) -> None:
    federation.run()
    record = federation.folder / "record"
    for path in list(record.iterdir()) if what == "all" else [record / what]:
        path.unlink()
    with pytest.raises(RunError, match="record"):
        federation.run()


def test_another_key_cannot_go_on_with_a_record(federation: Any) -> None:
    federation.run()
    (federation.folder / "coordinator.key").unlink()
    with pytest.raises(RunError, match="a log as it was signed"):
        federation.run()
