"""A small world that answers honestly: dictionaries, counting, no vectors.  And a service over it.

Scores are multiples of 1/64, which a float of the protocol holds exactly.
"""

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from clients.serving import answers as a
from clients.serving.answers import NO_FILTERS, Consent, Filters, Member, Mode, Who
from clients.serving.service.serve import Service
from clients.serving.service.settings import ServingSettings
from shared.errors import (
    ConsentError,
    DataError,
    FedInterestError,
    RunError,
    UnknownError,
)

CATEGORIES = ("tea", "coffee", "books")


def catalogue() -> dict[str, a.Item]:
    return {
        f"i{n}": a.Item(item_id=f"i{n}", title=f"Title {n}", category=("shop", CATEGORIES[n % 3]))
        for n in range(30)
    }


@dataclass
class World:
    """Answers over dictionaries: items of the categories a history has most of, in catalogue order.

    Args:
        pause_s: how long `recommend` takes.
        trouble: what `recommend` and `audience` (after two members) raise instead of answering.
        empty: nothing to answer with yet.
    """

    pause_s: float = 0.0
    trouble: Exception | None = None
    empty: bool = False
    newest: int = 1
    number: int = 1
    items: dict[str, a.Item] = field(default_factory=catalogue)
    histories: dict[str, list[tuple[str, float]]] = field(
        default_factory=lambda: {
            "ann": [("i0", 1.0), ("i3", 2.0)],
            "bob": [("i1", 3.0), ("i0", 4.0)],
            "cy": [("i2", 5.0)],
        }
    )
    allowed: dict[str, Consent] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def recommend(
        self,
        who: Who,
        *,
        k: int = 10,
        filters: Filters = NO_FILTERS,
        diversity: float = 0.0,
        mode: Mode = Mode.SCORE,
    ) -> a.Recommended:
        self.calls.append("recommend")
        if self.pause_s:
            time.sleep(self.pause_s)
        if self.trouble is not None:
            raise self.trouble
        history = self._history(who)
        found = []
        for one in self._passing(filters, history):
            co, pop = self._liking(one, history) / 64, self._popular(one) / 64
            model = diversity if mode is Mode.SCORE else -diversity
            parts = a.Parts(shared_model=model, co_occurrence=co, popularity=pop)
            found.append(a.Recommendation(item=one, score=model + co + pop, parts=parts))
        found.sort(key=lambda one: -one.score)
        return a.Recommended(items=tuple(found[:k]), events=len(history), snapshot=self._name())

    def similar_items(
        self, item_id: str, *, k: int = 10, filters: Filters = NO_FILTERS
    ) -> a.Similar:
        self._item(item_id)
        found = [
            a.ScoredItem(item=one, score=self._liking(one, [item_id]) / 64)
            for one in self._passing(filters, [item_id])
        ]
        found.sort(key=lambda one: -one.score)
        return a.Similar(items=tuple(found[:k]), snapshot=self._name())

    def interests(self, who: Who, *, most: int = 5) -> a.Profile:
        read = tuple(self._item(one) for one in self._history(who))
        if not read:
            raise DataError(expected="an event", got="none", where="history")
        found = tuple(
            a.Interest(
                label=label,
                weight=0.5,
                titles=(label.title(), "more"),
                events=tuple(one for one in read if label in one.category),
            )
            for label in CATEGORIES[:most]
        )
        return a.Profile(interests=found, read=read, snapshot=self._name())

    def explain(self, who: Who, item_id: str) -> a.Explained:
        one, history = self._item(item_id), self._history(who)
        parts = a.Parts(shared_model=0.25, co_occurrence=0.125, popularity=0.0)
        events = tuple((self._item(event), 0.5) for event in history)
        return a.Explained(
            item=one,
            score=0.375,
            parts=parts,
            events=events,
            interests=(("tea", 0.75),),
            snapshot=self._name(),
        )

    def audience(self, *, interest: str | None, item_id: str | None, size: int) -> Iterator[Member]:
        if interest is not None and interest not in CATEGORIES:
            raise UnknownError(expected="an interest", got="another", where="interest")
        if item_id is not None:
            self._item(item_id)
        for n in range(size):
            if n == 2 and self.trouble is not None:
                raise self.trouble
            if self.pause_s:
                time.sleep(self.pause_s)
            yield Member(pseudonym=pseudonym(f"user {n}"), score=-float(n))

    def similar_users(self, user_id: str, *, k: int = 10) -> list[Member]:
        if not self.consent(user_id).similar_users:
            raise ConsentError(
                expected="a user who opted in", got="one who has not", where="user_id"
            )
        return [Member(pseudonym=pseudonym(one), score=0.5) for one in list(self.histories)[:k]]

    def trends(self, *, window_s: float, until: float, k: int = 10) -> a.Trends:
        one = a.Trend(label="tea", events=2**40, before=3, change=1e-300, z=2.125)
        return a.Trends(rising=(one,) * k, falling=(), since=until - window_s, until=until)

    def intent(self, text: str, *, k: int = 10) -> a.Intent:
        label = next((one for one in CATEGORIES if one in text), CATEGORIES[0])
        found = [one for one in self.items.values() if label in one.category][:k]
        return a.Intent(
            interests=((label, 1.0),),
            items=tuple(a.ScoredItem(item=one, score=0.5) for one in found),
            snapshot=self._name(),
        )

    def post_events(self, events: Sequence[a.PostedEvent]) -> a.Posted:
        accepted = unknown = out = repeated = 0
        with self.lock:
            for one in events:
                stamp = (one.item_id, one.time or time.time())
                history = self.histories.get(one.user_id, [])
                if not self.consent(one.user_id).learning:
                    out += 1
                elif one.item_id not in self.items:
                    unknown += 1
                else:
                    accepted += 1
                    repeated += stamp in history
                    if stamp not in history:
                        self.histories.setdefault(one.user_id, []).append(stamp)
        return a.Posted(accepted=accepted, unknown_items=unknown, opted_out=out, repeated=repeated)

    def put_items(self, items: Sequence[a.NewItem]) -> a.Put:
        added = changed = unchanged = 0
        with self.lock:
            for new in items:
                one = a.Item(item_id=new.item_id, title=new.title, category=new.category)
                before = self.items.get(one.item_id)
                added += before is None
                changed += before is not None and before != one
                unchanged += before == one
                self.items[one.item_id] = one
                self.deleted.discard(one.item_id)
        return a.Put(added=added, changed=changed, unchanged=unchanged)

    def delete_items(self, item_ids: Sequence[str]) -> a.Deleted:
        ids = dict.fromkeys(item_ids)
        with self.lock:
            gone = [one for one in ids if self.items.pop(one, None) is not None]
            already = [one for one in ids if one in self.deleted]
            self.deleted.update(gone)
        unknown = tuple(one for one in ids if one not in self.deleted)
        return a.Deleted(deleted=len(gone), already=len(already), unknown=unknown)

    def consent(self, user_id: str) -> Consent:
        return self.allowed.get(user_id, Consent())

    def set_consent(
        self, user_id: str, *, learning: bool | None = None, similar_users: bool | None = None
    ) -> Consent:
        before = self.consent(user_id)
        self.allowed[user_id] = Consent(
            learning=before.learning if learning is None else learning,
            similar_users=before.similar_users if similar_users is None else similar_users,
        )
        return self.allowed[user_id]

    def forget(self, user_id: str) -> a.Forgotten:
        found = self.histories.pop(user_id, None) is not None
        self.set_consent(user_id, learning=False)
        return a.Forgotten(receipt=b"\x00receipt\xff", found=found)

    def pseudonyms(self, user_ids: Sequence[str]) -> list[str]:
        return [pseudonym(one) for one in user_ids]

    def reload(self) -> a.Reloaded:
        if self.trouble is not None:
            raise self.trouble
        changed, self.number = self.number != self.newest, self.newest
        return a.Reloaded(snapshot=self._name(), round=self.number, changed=changed)

    def status(self) -> a.Status:
        return a.Status(
            platform="shop",
            snapshot=self._name(),
            round=self.number,
            items=len(self.items),
            users=len(self.histories),
            events=0,
            exact=True,
            loaded=1.7e9,
            no_texts="no encoder: ü",
            left_out=3,
            pending=len([one for one in self.allowed.values() if not one.learning]),
        )

    def _name(self) -> str:
        if self.empty:
            raise RunError(expected="a snapshot", got="none yet", where="snapshot")
        return f"snapshot-{self.number}"

    def _history(self, who: Who) -> list[str]:
        if who.item_ids is not None:
            return [self._item(one).item_id for one in who.item_ids]
        if not self.consent(str(who.user_id)).learning:
            raise ConsentError(expected="a user who takes part", got="opted out", where="user_id")
        if who.user_id not in self.histories:
            raise UnknownError(expected="a user with events", got="none", where="user_id")
        return [one for one, _ in self.histories[who.user_id]]

    def _item(self, item_id: str) -> a.Item:
        if item_id not in self.items:
            raise UnknownError(expected="an item", got="none of that id", where="item_id")
        return self.items[item_id]

    def _passing(self, filters: Filters, seen: Sequence[str]) -> list[a.Item]:
        def passes(one: a.Item) -> bool:
            path = set(one.category)
            return (
                (not filters.categories or bool(path & set(filters.categories)))
                and not path & set(filters.exclude_categories)
                and one.item_id not in filters.exclude_items
                and (not filters.only_items or one.item_id in filters.only_items)
                and (filters.include_seen or one.item_id not in seen)
            )

        return [one for one in self.items.values() if passes(one)]

    def _liking(self, one: a.Item, history: Sequence[str]) -> int:
        return sum(self.items[other].category == one.category for other in history)

    def _popular(self, one: a.Item) -> int:
        return sum(one.item_id == other for rows in self.histories.values() for other, _ in rows)


def pseudonym(user_id: str) -> str:
    return hashlib.sha256(user_id.encode()).hexdigest()


def settings(**changes: Any) -> ServingSettings:
    values = {"address": "127.0.0.1:0", "json_address": "127.0.0.1:0", "refresh_s": 3600.0}
    return ServingSettings.load({**values, **changes}, where="test")


@contextmanager
def serving(world: World, **changes: Any) -> Iterator[Service]:
    """A real service over `world`, on free ports of loopback."""
    service = Service(world, settings(**changes))
    try:
        yield service
    finally:
        service.stop()


ANN = Who(user_id="ann")
QUESTIONS: dict[str, Any] = {
    "recommend": lambda of: of.recommend(ANN, k=3, diversity=0.5),
    "recommend by content": lambda of: of.recommend(ANN, mode=Mode.INTEREST_CONTENT),
    "recommend from a history": lambda of: of.recommend(Who(item_ids=("i1", "i2", "i1"))),
    "recommend from nothing": lambda of: of.recommend(Who(item_ids=())),
    "recommend with filters": lambda of: of.recommend(
        ANN,
        filters=Filters(
            categories=("tea", "books"),
            exclude_categories=("books",),
            exclude_items=("i6",),
            only_items=("i0", "i3", "i6", "i9", "i2"),
            include_seen=True,
        ),
    ),
    "similar items": lambda of: of.similar_items("i4", k=2, filters=Filters(categories=("tea",))),
    "interests": lambda of: of.interests(ANN, most=2),
    "explain": lambda of: of.explain(ANN, "i7"),
    "audience of an interest": lambda of: list(of.audience(interest="tea", item_id=None, size=5)),
    "audience of an item": lambda of: list(of.audience(interest=None, item_id="i1", size=1)),
    "opting in": lambda of: of.set_consent("ann", similar_users=True),
    "similar users": lambda of: of.similar_users("ann", k=2),
    "trends": lambda of: of.trends(window_s=3600.5, until=1.7e9, k=2),
    "intent": lambda of: of.intent("a cup of coffee, bitte: ☕", k=3),
    "post events": lambda of: of.post_events(
        [
            a.PostedEvent(user_id="dee", item_id="i5", time=9.5),
            a.PostedEvent(user_id="dee", item_id="i5", time=9.5),
            a.PostedEvent(user_id="dee", item_id="nothing", time=9.5),
        ]
    ),
    "recommend after them": lambda of: of.recommend(Who(user_id="dee")),
    "put items": lambda of: of.put_items(
        [
            a.NewItem(item_id="i1", title="Title 1", category=("shop", "coffee")),
            a.NewItem(item_id="i2", title="Other"),
            a.NewItem(item_id="new", title="", text="something new"),
        ]
    ),
    "delete items": lambda of: of.delete_items(["i29", "nothing", "i29", "i28"]),
    "delete items again": lambda of: of.delete_items(["i29", "niente", "i27"]),
    "consent": lambda of: of.consent("ann"),
    "opting out": lambda of: of.set_consent("bob", learning=False),
    "forget": lambda of: of.forget("cy"),
    "forget again": lambda of: of.forget("cy"),
    "pseudonyms": lambda of: of.pseudonyms(["ann", "Ünïcode"]),
    "reload": lambda of: of.reload(),
    "status": lambda of: of.status(),
    "unknown user": lambda of: of.recommend(Who(user_id="nobody")),
    "unknown item": lambda of: of.explain(ANN, "nothing"),
    "unknown interest": lambda of: list(of.audience(interest="moss", item_id=None, size=5)),
    "opted out": lambda of: of.recommend(Who(user_id="bob")),
    "not opted in": lambda of: of.similar_users("bob"),
    "no data": lambda of: of.interests(Who(item_ids=())),
}
"""Every call, in an order in which they build on each other."""


def asked(of: Any) -> dict[str, Any]:
    """What `of` answers to `QUESTIONS`; of an error its kind and what it says."""
    found = {}
    for name, question in QUESTIONS.items():
        try:
            found[name] = question(of)
        except FedInterestError as error:
            found[name] = (type(error).__name__, str(error))
    return found
