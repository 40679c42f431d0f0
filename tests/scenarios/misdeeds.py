"""What a partner does who has rewritten its client: one misdeed a round.

Appended to a copy of `clients/platform.py` by `test_hostile_partners`: a partner's code is its own,
and no check that runs on its machine protects anybody else.
"""
# ruff: noqa: F821  names of the module that this is appended to

import os as _os
import time as _time
from dataclasses import replace as _replace

from flwr.app import ConfigRecord as _ConfigRecord
from flwr.app import RecordDict as _RecordDict

from clients.node.gate import Gate as _Gate
from shared.protocol import OLDEST_VERSION as _OLDEST
from shared.transparency.keys import SigningKey as _SigningKey


class _Raw:
    """Anything at all in the place of an answer."""

    def __init__(self, content):
        self.content = content

    def to_records(self):
        return self.content


_earlier = []


def _each(reply, change):
    return _replace(reply, update={name: change(value) for name, value in reply.update.items()})


def _garbage(reply):
    return _Raw(_RecordDict({"fedinterest": _ConfigRecord({"kind": "train-reply", "x": b"\xff"})}))


def _another_key(reply):
    envelope = reply.envelope
    forged = type(envelope).signed(envelope.kind, envelope.payload, _SigningKey.unsafe(99, "news"))
    return _replace(reply, envelope=forged)


def _huge(reply):
    update = {name: np.zeros((4000, 4000), np.float32) for name in reply.update}
    return _replace(reply, update=update, version=_OLDEST)  # 32 MB in half precision


def _late(reply):
    _time.sleep(LATE_S)
    return reply


def _dies(reply):
    _os._exit(9)


MISDEEDS = {
    1: lambda reply: _each(reply, lambda value: value * np.nan),
    2: lambda reply: _each(reply, lambda value: value * 0 + 60_000),
    3: lambda reply: _each(reply, lambda value: value[:, :-1]),
    4: lambda reply: _replace(reply, update={**reply.update, "more": np.ones(3, np.float32)}),
    5: lambda reply: _replace(reply, round=reply.round - 1),
    6: lambda reply: _earlier[0],
    7: lambda reply: _replace(reply, platform="shop"),
    8: lambda reply: _replace(reply, request_digest="0" * 64),
    9: _another_key,
    10: _garbage,
    11: _huge,
    12: lambda reply: _replace(reply, constants={**reply.constants, "clip_norm": 99.0}),
    13: lambda reply: _each(reply, lambda value: value + 1),  # not what the statement says
    14: _dies,
    15: _late,
}

_honest = Platform.train


def _hostile(self, request):
    reply = _honest(self, request)
    _earlier.append(reply)
    return MISDEEDS.get(request.round, lambda answer: answer)(reply)


Platform.train = _hostile
_Gate.release = lambda self, task, reply, policy: None
