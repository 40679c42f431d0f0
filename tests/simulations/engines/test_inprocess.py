"""The in-process grid keeps Flower's contract, and the stock strategies run on it."""

import logging
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from server.rounds.log import Event, listening
from shared.errors import RunError
from simulations.engines.inprocess import InProcessGrid, platform_folders, quiet_flower

NAMES = ["shop", "films"]


def echo_app() -> ClientApp:
    app = ClientApp()

    @app.query("catalogue")
    def query(message: Message, context: Context) -> Message:
        told = {
            **context.node_config,
            **context.run_config,
            **message.content["c"],  # type: ignore[dict-item]
        }
        return Message(RecordDict({"told": ConfigRecord(told)}), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        arrays = [
            array + int(context.node_config["partition-id"])
            for array in message.content["arrays"].to_numpy_ndarrays()  # type: ignore[union-attr]
        ]
        content = RecordDict(
            {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 1})}
        )
        return Message(content, reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        raise KeyboardInterrupt

    return app


def a_grid(tmp_path: Path) -> InProcessGrid:
    folders = platform_folders(tmp_path, NAMES)
    return InProcessGrid(echo_app(), folders, run_folder=tmp_path, threads=3)


def test_each_node_is_a_platform(tmp_path: Path) -> None:
    grid = a_grid(tmp_path)
    nodes = list(grid.get_node_ids())
    content = RecordDict({"c": ConfigRecord({"x": 1})})
    messages = [Message(content, node, "query.catalogue") for node in nodes]
    ids = list(grid.push_messages(messages))
    replies = list(grid.pull_messages(ids))
    assert [reply.metadata.src_node_id for reply in replies] == nodes
    assert [reply.metadata.reply_to_message_id for reply in replies] == ids
    assert len(set(ids)) == 2
    for number, (name, reply) in enumerate(zip(NAMES, replies, strict=True)):
        assert dict(reply.content["told"]) == {
            "platform-folder": str(tmp_path / "platforms" / name),
            "partition-id": number,
            "num-partitions": 2,
            "threads": 3,
            "run-folder": str(tmp_path),
            "x": 1,
        }
    assert list(grid.pull_messages(ids)) == []  # each once


def test_an_unknown_node_is_an_error(tmp_path: Path) -> None:
    grid = a_grid(tmp_path)
    message = Message(RecordDict(), 7, "train")
    with pytest.raises(RunError, match="got 7"):
        grid.send_and_receive([message])


def test_flower_s_own_strategy_runs_on_it(tmp_path: Path) -> None:
    strategy = FedAvg(fraction_evaluate=0.0, min_evaluate_nodes=0)
    with quiet_flower():
        result = strategy.start(
            grid=a_grid(tmp_path), initial_arrays=ArrayRecord([np.zeros(2)]), num_rounds=3
        )
    [value] = result.arrays.to_numpy_ndarrays()
    assert value.tolist() == [1.5, 1.5]  # + (0 + 1) / 2 a round


def test_ctrl_c_comes_straight_through(tmp_path: Path) -> None:
    grid = a_grid(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        grid.send_and_receive([Message(RecordDict(), next(iter(grid.get_node_ids())), "evaluate")])


def test_training_is_announced_platform_by_platform(tmp_path: Path) -> None:
    grid = a_grid(tmp_path)
    content = RecordDict({"arrays": ArrayRecord([np.zeros(1)])})
    heard: list[Event] = []
    with listening(heard.append):
        list(
            grid.send_and_receive(
                [Message(content, node, "train", group_id="4") for node in grid.get_node_ids()]
            )
        )
    assert [(event.kind, event.platform, event.round) for event in heard] == [
        ("asked", "shop", 4),
        ("answered", "shop", 4),
        ("asked", "films", 4),
        ("answered", "films", 4),
    ]


def test_flower_is_quiet_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("flwr")
    before = logger.level
    with quiet_flower():
        assert not logger.isEnabledFor(logging.WARNING)
    assert logger.level == before
