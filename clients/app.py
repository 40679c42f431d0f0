"""The platform's Flower ClientApp: wiring only.

A node is told where its platform's private folder lies:
- deployed, and in-process or Ray simulation: `platform-folder` in its node config;
- `flwr run` on a simulation federation: `run-folder` in the run config and Flower's own
  `partition-id`, which counts the platforms in the order of the run's federation.json.

Nothing but the protocol's replies leaves.  An error becomes a Refusal; its text goes along only
for errors that speak of the request and not of the platform's files or data.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.opened import OpenPlatforms
from clients.platform import Platform
from clients.policy import Policy
from shared.errors import (
    AdapterError,
    BudgetExhausted,
    ConfigError,
    FedInterestError,
    PolicyRefusal,
    ProtocolError,
    RunError,
)
from shared.protocol import (
    AdapterDelivery,
    CatalogueReply,
    Refusal,
    TrainRequest,
    answered_in,
)

app = ClientApp()
log = logging.getLogger("fedinterest.client")
_platforms = OpenPlatforms()

_PUBLIC = (ProtocolError, PolicyRefusal, BudgetExhausted, AdapterError)


@app.query("catalogue")
def catalogue(message: Message, context: Context) -> Message:
    """Answer with the statistics of the public catalogue."""
    return _answer(message, context, _catalogue)


@app.query("adapter")
def adapter(message: Message, context: Context) -> Message:
    """Keep the finished adapter, and say so."""
    return _answer(message, context, _adapter)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answer with the round's update."""
    return _answer(message, context, _train)


def _catalogue(platform: Platform, _folder: Path, content: RecordDict) -> RecordDict:
    moments = platform.moments()
    reply = CatalogueReply(
        platform=platform.name,
        count=moments.count,
        mean=moments.mean,
        covariance=moments.covariance,
        key=platform.key.public.hex,
        version=answered_in(content),
    )
    return reply.to_records()


def _adapter(platform: Platform, _folder: Path, content: RecordDict) -> RecordDict:
    return platform.receive(AdapterDelivery.from_records(content)).to_records()


def _train(platform: Platform, folder: Path, content: RecordDict) -> RecordDict:
    request = TrainRequest.from_records(content)
    Policy.read(folder).check(request)
    return platform.train(request).to_records()


def _answer(
    message: Message, context: Context, work: Callable[[Platform, Path, RecordDict], RecordDict]
) -> Message:
    name = ""
    try:
        folder = platform_folder(context)
        if isinstance(threads := context.node_config.get("threads"), int):
            torch.set_num_threads(threads)
        platform = _platforms.open(folder)
        name = platform.name
        records = work(platform, folder, message.content)
    except FedInterestError as error:
        log.warning("%s refuses: %s", name or "platform", error)
        public = isinstance(error, _PUBLIC)
        records = Refusal.of(
            error, platform=name, public=public, version=answered_in(message.content)
        ).to_records()
    except Exception:
        # Flower would send the exception's text to the coordinator: it may hold private data.
        log.exception("%s failed", name or "platform")
        records = Refusal(
            platform=name,
            code=FedInterestError.exit_code,
            kind="InternalError",
            message="the reason is in the platform's own log",
            version=answered_in(message.content),
        ).to_records()
    return Message(records, reply_to=message)


def platform_folder(context: Context) -> Path:
    """The private folder this node works on.

    Raises:
        ConfigError: neither `platform-folder` nor `run-folder` with `partition-id` is given.
        RunError: the run's federation.json is missing or has no such platform.
    """
    folder = context.node_config.get("platform-folder")
    if isinstance(folder, str) and folder:
        return Path(folder)
    run, number = context.run_config.get("run-folder"), context.node_config.get("partition-id")
    if not (isinstance(run, str) and run) or number is None:
        raise ConfigError(
            expected="`platform-folder` in the node config",
            got="none",
            where="flower-supernode --node-config",
            remedy="Start it with --node-config 'platform-folder=\"/path/to/folder\"'.",
        )
    path = Path(run) / "federation.json"
    try:
        names = list(json.loads(path.read_text(encoding="utf-8"))["platforms"])
        index = int(number)
        if index < 0:
            raise IndexError(index)
        return Path(run) / "platforms" / str(names[index])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise RunError(
            expected=f"a federation with a platform number {number}",
            got=type(error).__name__,
            where=str(path),
        ) from error
