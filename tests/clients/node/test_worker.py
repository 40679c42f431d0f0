"""The worker: what it is given, what it takes, and its end."""

import os
import signal
import time

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from clients.home import Home
from clients.node.refusals import Refusals
from clients.node.worker import Limits, Worker, resident_mib
from shared.errors import PolicyRefusal, RunError
from shared.protocol import CATALOGUE_QUERY, CatalogueReply, Refusal
from shared.sessions import started_at

LIMITS = Limits(round_s=120.0)


def test_it_answers_and_is_ended_when_it_takes_too_much(home: Home) -> None:
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    content = RecordDict({"fedinterest": ConfigRecord({"kind": "catalogue-query"})})
    message = Message(content, 5, CATALOGUE_QUERY)
    worker = Worker(home.folder.platform, threads=1)
    try:
        worker.ask(message, run_id=1, node_id=5)
        while (reply := worker.answer(LIMITS, 0.1)) is None:
            pass
        assert CatalogueReply.from_records(reply.content).platform == "shop"
        assert os.getpriority(os.PRIO_PROCESS, worker.pid) >= 10
        assert resident_mib(worker.pid) > 50
        os.kill(worker.pid, signal.SIGSTOP)
        worker.ask(message, run_id=1, node_id=5)
        with pytest.raises(PolicyRefusal, match="max_memory_mib at most 10"):
            worker.answer(Limits(round_s=60.0, memory_mib=10), 0.1)
        with pytest.raises(PolicyRefusal, match=r"max_round_s at most 0\.01"):
            worker.answer(Limits(round_s=0.01), 0.1)
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(RunError, match="exit code -9"):
            worker.answer(LIMITS, 10.0)
        assert not worker.alive
    finally:
        pid, began = worker.pid, time.monotonic()
        worker.end()
    assert started_at(pid) == 0
    assert time.monotonic() - began < 5


def test_refusals_name_the_setting(home: Home) -> None:
    book = Refusals(home.folder.state / "refusals.jsonl")
    assert book.lines() == []
    error = PolicyRefusal(expected="steps 1 to 9", got="10", where="policy, steps")
    book.note(error, message="train", run=7)
    book.note_answer(Refusal.of(error, platform="shop", public=True), message="train", run=7)
    own, told = book.lines()
    assert own["setting"] == told["setting"] == "steps"
    assert own["asked"] == told["asked"] == "10"
    assert own["expected"] == told["expected"] == "steps 1 to 9"
    assert (own["kind"], own["message"], own["run"]) == ("PolicyRefusal", "train", 7)
    assert book.path.stat().st_mode & 0o077 == 0
    with book.path.open("a") as file:
        file.write('{"torn')
    assert len(book.lines()) == 2
