"""Hostile partners through the whole chain: the honest ones learn as if they were not there.

One real coordinator (`fedinterest-server up`: nginx, SuperLink, conductor) and its partners, each
with an enrolled certificate and a Flower node of its own that speaks through the gateway.  `news`
commits another of `ANSWERS` in every round; meanwhile it, `garden` (enrolled too late for the run,
then revoked) and strangers try each of `ACTS` at the gateway.  `shop` and `films` are honest, and
two are a quorum.

The same with a partner's own, rewritten client: test_hostile_partners.py.
"""

import json
import os
import re
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message, RecordDict

from server.membership.enrolment import init
from server.running.status import status
from server.settings import ServerFolder
from shared.certificates import utc_now
from shared.protocol import TrainRequest
from shared.transparency.keys import SigningKey
from tests.scenarios.deployed import PROJECT
from tests.scenarios.hostile_acts import ACTS, Act, Scene, drip
from tests.scenarios.hostile_answers import ANSWERS, News, refuses
from tests.scenarios.raw_node import RawNode
from tests.server.gates import Applicant, Gate, free_port

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nginx")]

TOYS = runpy.run_path(str(PROJECT / "tests" / "server" / "conftest.py"))
HONEST, TIMEOUT_S = ("shop", "films"), 3
ROUNDS = len(ANSWERS)
SETTINGS = f"""
[privacy]
sample_rate = 0.1
steps_per_round = 2
[server]
min_platforms = 2
round_timeout_s = {TIMEOUT_S}
max_attempts = 50
"""


@dataclass
class Played:
    """What is left when all is over."""

    lines: list[dict[str, Any]]
    expected: list[str]
    finished: dict[str, Any]
    came: dict[str, Any]
    refused: list[dict[str, Any]]
    told: list[dict[str, Any]]
    children: dict[str, dict[str, Any]]
    delivered: set[str]
    failures: list[int]


def without_news(folder: Path) -> list[str]:
    """The adapters of a run in one process in which news refuses instead of misbehaving."""
    toys = TOYS["ToyFederation"](folder)
    toys.write(training__rounds=ROUNDS, server__min_platforms=2)
    good = {number for number, one in enumerate(ANSWERS, 1) if one.outcome == "accepted"}
    toys.answers["news"] = lambda request: (
        toys.good("news", request).to_records() if request.round in good else refuses()
    )
    toys.run()
    return [str(line["adapter_sha256"]) for line in toys.lines()]


def wait(condition: Callable[[], Any], what: str, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    place = tmp_path_factory.mktemp("hostile")
    port = free_port()
    folder = init(place / "co", name="toys", address=f"127.0.0.1:{port}", now=utc_now())
    toml = folder.path / "server.toml"
    head = toml.read_text().partition("# --- what every user")[0]
    toml.write_text(head.replace("partners = 2 ", "partners = 3 ") + SETTINGS)
    folder = ServerFolder(folder.path)
    (place / "files").mkdir()
    with (place / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "server.cli", "up", str(folder.path)),
                *("--once", "--rounds", str(ROUNDS)),
            ],
            env={**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )
    gate = Gate(folder, port, None, process, place / "files")  # type: ignore[arg-type]
    nodes: dict[str, RawNode] = {}
    try:
        yield play(place, gate, nodes)
    finally:
        for node in nodes.values():
            node.end()
        process.terminate()
        process.wait(150)


def play(place: Path, gate: Gate, nodes: dict[str, RawNode]) -> Played:
    log = lambda: (place / "up.log").read_text()[-3000:]  # noqa: E731
    applicants = {
        name: Applicant(name, signing=SigningKey.unsafe(0, name), population=100)
        for name in (*HONEST, "news", "garden")
    }
    for name in (*HONEST, "news"):
        gate.enrol(applicants[name])
    run = gate.folder.runs / "0001"
    wait((run / "federation.json").exists, "a run")
    gate.enrol(applicants["garden"])
    wait(lambda: status(gate.folder.path)["ok"], "a coordinator that is up")

    toys = TOYS["ToyFederation"](place / "toys")
    toys.names["garden"] = "shop"  # it says, and shows the shop's own key, which is public
    news, tried = News(toys), threading.Event()
    toys.answers["news"] = news.answer

    posted: set[int] = set()

    def shop(request: TrainRequest) -> RecordDict:
        """Not before news has answered, and in the last round not before all was tried.

        If that is late the round is asked again: on a busy machine, too, nothing is missed.
        """
        end = time.monotonic() + 2 * TIMEOUT_S
        while request.round not in posted and time.monotonic() < end:
            time.sleep(0.02)
        if request.round == ROUNDS:
            tried.wait(2 * TIMEOUT_S)
        return toys.good("shop", request).to_records()

    toys.answers["shop"] = shop

    def post(node: RawNode, asked: Message, reply: Message) -> None:
        train = asked.metadata.message_type == "train"
        number = int(asked.metadata.group_id) if train else ROUNDS
        ANSWERS[number - 1].post(node, asked, reply)
        posted.add(number if train else 0)

    contexts = {name: gate.context(name) for name in applicants}
    for name in ("garden", "news", "films", "shop"):
        nodes[name] = RawNode(
            name,
            gate.port,
            contexts[name],
            applicants[name].node,
            toys.app(),
            post if name == "news" else None,
        )
        nodes[name].start()
        wait(lambda name=name: nodes[name].answered, f"{name} to be asked: {log()}")

    rounds = run / "rounds.jsonl"
    wait(lambda: rounds.exists() and len(rounds.read_text().splitlines()) > 1, "round 1")
    scene = Scene(gate, nodes, contexts, place / "files")
    came: dict[str, Any] = {}
    dripping = threading.Thread(target=lambda: came.update(drip=drip(scene)))
    dripping.start()
    for act in ACTS:
        try:
            came[act.name] = act.do(scene)
        except OSError as failed:
            came[act.name] = failed
    dripping.join()
    tried.set()
    assert gate.process.wait(120) == 0, log()
    children = json.loads((gate.folder.state / "processes.json").read_text())["children"]
    return Played(
        lines=jsonl(rounds),
        expected=without_news(place / "run"),
        finished=json.loads((run / "finished.json").read_text()),
        came=came,
        refused=jsonl(gate.folder.log / "gateway-refused.jsonl"),
        told=jsonl(gate.folder.log / "conductor.jsonl"),
        children=children,
        delivered=set(toys.delivered),
        failures=[one for name in HONEST for one in nodes[name].failures],
    )


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("number", range(1, ROUNDS + 1), ids=[one.name for one in ANSWERS])
def test_a_bad_answer_is_left_out_by_name(played: Played, number: int) -> None:
    answer = ANSWERS[number - 1]
    line = played.lines[number]
    entry = line["platforms"]["news"]
    assert re.fullmatch(answer.outcome, entry["outcome"]), entry
    assert entry["answered"] == (answer.outcome == "accepted")
    assert re.search(answer.reason, entry["reason"] or ""), entry["reason"]
    assert (entry["reason"] or "").isprintable()
    left_out = [
        one
        for one in played.told
        if one["event"] == "left out" and (one["round"], one["platform"]) == (number, "news")
    ]
    assert [one["reason"] for one in left_out] == ([entry["reason"]] if answer.reason else [])
    assert all(line["platforms"][name]["answered"] for name in HONEST)
    assert line["adapter_sha256"] == played.expected[number]


@pytest.mark.parametrize("act", ACTS, ids=[one.name for one in ACTS])
def test_what_is_tried_at_the_gateway_fails_by_name(played: Played, act: Act) -> None:
    assert played.came[act.name] == act.comes
    if act.noted is not None:
        noted = [(one["partner"], one["path"], one["status"]) for one in played.refused]
        assert act.noted in noted


def test_a_slow_drip_is_cut(played: Played) -> None:
    assert played.came["drip"] == "cut"


def test_who_is_not_in_the_run_takes_no_part_in_anybodys_name(played: Played) -> None:
    """Garden was first at the roll call, and said that it was the shop, with the shop's key."""
    said = [one.get("message", "") for one in played.told]
    assert [one for one in said if "takes no part" in one] == [
        "garden takes no part: expected garden, whose node it is, got 'shop' (set-up)"
    ]


def test_the_run_ends_as_if_they_had_not_been_there(played: Played) -> None:
    assert [line["round"] for line in played.lines] == list(range(ROUNDS + 1))
    assert [line["adapter_sha256"] for line in played.lines] == played.expected
    assert played.finished["adapter_sha256"] == played.expected[-1]
    assert played.delivered >= set(HONEST)
    assert played.failures == []
    assert played.children["superlink"]["restarts"] == 0
    assert played.children["gateway"]["restarts"] == 0
