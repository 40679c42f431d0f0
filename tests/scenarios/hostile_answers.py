"""What a hostile platform answers: one bad answer a round, and how each is left out by name."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Error, Message, RecordDict

from shared.errors import PolicyRefusal
from shared.protocol import Refusal, TrainRequest
from shared.transparency.envelope import Envelope
from shared.transparency.keys import SigningKey
from tests.scenarios.raw_node import Post, RawNode


@dataclass
class News:
    """The hostile platform: an honest answer, turned by `change` into what it says."""

    toys: Any
    earlier: list[Any] = field(default_factory=list)

    def honest(self, request: TrainRequest) -> Any:
        return self.toys.good("news", request)

    def answer(self, request: TrainRequest) -> RecordDict:
        reply = self.honest(request)
        self.earlier.append(reply)
        changed = ANSWERS[request.round - 1].change(self, request, reply)
        return changed if isinstance(changed, RecordDict) else changed.to_records()

    def signed(self, request: TrainRequest, reply: Any, **changes: Any) -> Any:
        """`reply` with these changes, and a statement that speaks of them."""
        changed = replace(reply, **changes)
        statement = self.toys.statement(request, changed)
        return replace(changed, envelope=self.toys.sign("news", statement))


Change = Callable[[News, TrainRequest, Any], Any]


def each(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """All tensors changed, and signed so."""
    return lambda news, request, reply: news.signed(
        request, reply, update={name: change(value) for name, value in reply.update.items()}
    )


def said(**changes: Any) -> Change:
    """Fields changed, and signed so."""
    return lambda news, request, reply: news.signed(request, reply, **changes)


def constants(**changes: Any) -> Change:
    return lambda news, request, reply: news.signed(
        request, reply, constants={**reply.constants, **changes}
    )


def more(news: News, request: TrainRequest, reply: Any) -> Any:
    return news.signed(request, reply, update={**reply.update, "more": np.ones(3, np.float32)})


def forged(news: News, _request: TrainRequest, reply: Any) -> Any:
    payload = reply.envelope.payload
    key = SigningKey.unsafe(99, "news")
    return replace(reply, envelope=Envelope.signed(reply.envelope.kind, payload, key))


def unlike_its_statement(_news: News, _request: TrainRequest, reply: Any) -> Any:
    return replace(reply, update={name: value + 1 for name, value in reply.update.items()})


def garbage(*_: Any) -> RecordDict:
    return RecordDict({"fedinterest": ConfigRecord({"kind": "train-reply", "x": b"\xff\x00"})})


def refuses(*_: Any) -> RecordDict:
    error = PolicyRefusal(expected="nothing", got="\x1b[31mred\n" * 100, where="news")
    return Refusal.of(error, platform="shop", public=True).to_records()


def as_it_is(_news: News, _request: TrainRequest, reply: Any) -> Any:
    return reply


def nothing(_node: RawNode, _asked: Message, _reply: Message) -> None:
    """No answer."""


def half(node: RawNode, _asked: Message, reply: Message) -> None:
    """Its parts are announced and never come."""
    node.announce(reply)


def other_bytes(node: RawNode, _asked: Message, reply: Message) -> None:
    """Garbage in the place of every part."""
    taken = node.announce(reply)
    for key in taken.objects_to_push:
        node.part(reply, taken, key, os.urandom(1000))


def error(node: RawNode, asked: Message, _reply: Message) -> None:
    node.push(asked, Message(Error(code=7, reason="\x1b[31mred"), reply_to=asked))


def twice(node: RawNode, asked: Message, reply: Message) -> None:
    """A good answer that another follows, to the same question."""
    node.push(asked, reply)
    node.push(asked, Message(garbage(), reply_to=asked))


@dataclass(frozen=True)
class Answer:
    """What is wrong with it, the outcome on record, and the reason."""

    name: str
    reason: str
    change: Change = as_it_is
    post: Post = RawNode.push
    outcome: str = "rejected"


LOST = "no answer|Flower error"
ANSWERS = (
    Answer("NaN", "finite numbers", each(lambda value: value * np.float32(np.nan))),
    Answer("infinity", "finite numbers", each(lambda value: value * 0 + np.float32(np.inf))),
    Answer("a huge norm", "L2 norm of at most 1000", each(lambda value: value * 0 + 60_000)),
    Answer("a wrong shape", "shape", each(lambda value: value[:, :-1])),
    Answer("a MiB", "shape", each(lambda _: np.zeros((1024, 4096), np.float32))),
    Answer("an extra tensor", "tensors", more),
    Answer("no tensor", "tensors", said(update={})),
    Answer("a stale round", "for round 8, got round 7", said(round=7)),
    Answer("a replayed answer", "for round 9, got round 1", lambda news, *_: news.earlier[0]),
    Answer("another request", "an answer to request", said(request_digest="0" * 64)),
    Answer("another's name", "an update from news, got 'shop'", said(platform="shop")),
    Answer("another key", "one signed with key", forged),
    Answer("no statement", "statement", lambda _n, _q, reply: replace(reply, envelope=None)),
    Answer("unlike its statement", "statement of this update's update", unlike_its_statement),
    Answer("fewer steps than asked", "statement of this update's steps", constants(steps=1)),
    Answer("another clipping bound", "update's clip_norm", constants(clip_norm=99.0)),
    Answer("garbage for a reply", "ProtocolError", garbage, outcome="refused|rejected"),
    Answer("a refusal in another's name", "red", refuses, outcome="refused"),
    Answer("a Flower error", "Flower error 7", post=error, outcome="absent"),
    Answer("nothing", LOST, post=nothing, outcome="absent"),
    Answer("half a reply", LOST, post=half, outcome="absent"),
    Answer("garbage for its parts", LOST, post=other_bytes, outcome="absent"),
    Answer("two answers to one question", "", post=twice, outcome="accepted"),
    Answer("nothing wrong", "", outcome="accepted"),
)
