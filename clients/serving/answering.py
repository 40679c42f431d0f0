"""The answers of one platform, from its newest snapshot and what has happened since.

A request works on one snapshot, with the items that were put beside it, from beginning to end:
`reload` and `put_items` put another in its place, and requests in flight finish on theirs.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clients.recommending.explain import explain
from clients.serving import answers as a
from clients.serving import scores
from clients.serving.live.store import Live, LiveEvent
from clients.serving.live.trends import trends
from clients.serving.loaded import Loaded
from clients.serving.people import People
from clients.serving.recent import Recent, closest
from clients.serving.snapshot.head import NAME as HEAD
from clients.serving.snapshot.head import Head
from clients.serving.snapshot.snapshot import Snapshot
from clients.serving.stock import Stock
from clients.serving.texts import Texts
from shared.errors import ConfigError, ConsentError, RunError, UnknownError

_CANDIDATES = 5  # times k, among which diversity chooses
_MOST_CANDIDATES = 500
_WEEK_S = 7 * 86_400.0
_NEAR = 20  # items whose interests are a text's
_TEMPERATURE = 0.1  # of the softmax over their cosines; the model is trained under it
_NOTHING: NDArray[np.int64] = np.zeros(0, np.int64)

Renew = Callable[[], Snapshot]
Forget = Callable[[str], a.Forgotten]
Learn = Callable[[str, bool], None]


class Engine:
    """See `clients.serving.engine.Answers`.

    Args:
        renew: makes or finds the newest snapshot; it may take seconds.
        live: posted events and consent.
        secret: of the platform's pseudonyms.
        blocked_items, blocked_categories: never shown.
        forget: removes a user from what is trained on and signs a receipt; None where there is no
            partner's folder to do it in.
        learn: has a user opted out, or in again, in training too; None likewise.
        texts: reads new items and sentences; None where nothing can.
    """

    def __init__(
        self,
        renew: Renew,
        live: Live,
        secret: bytes,
        *,
        blocked_items: tuple[str, ...] = (),
        blocked_categories: tuple[str, ...] = (),
        forget: Forget | None = None,
        learn: Learn | None = None,
        texts: Texts | None = None,
    ) -> None:
        self._renew, self._live, self._forget, self._learn = renew, live, forget, learn
        self._texts = texts
        self._changing = threading.Lock()  # of `_now`; who reads takes it as it is
        self._people, self._recent = People(live, secret), Recent(live)
        self._blocked = (blocked_items, blocked_categories)
        self._now = self._load(renew())

    @property
    def loaded(self) -> Loaded:
        """What answers now; for the platform's own page, which shows figures of all of it."""
        return self._now

    def _load(self, snapshot: Snapshot) -> Loaded:
        return Loaded.of(snapshot, *self._blocked).stocked(self._stock(snapshot))

    def _stock(self, snapshot: Snapshot) -> Stock:
        """The snapshot, and what was put and deleted up to now."""
        self._followed = self._live.item_changes()
        if self._texts is not None:
            return self._texts.stock(snapshot)
        stock = Stock.of(snapshot, Head.read(snapshot.folder / HEAD))
        return stock.without(self._live.deleted_items())

    def recommend(
        self,
        who: a.Who,
        *,
        k: int = 10,
        filters: a.Filters = a.NO_FILTERS,
        diversity: float = 0.0,
        mode: a.Mode = a.Mode.SCORE,
    ) -> a.Recommended:
        """The best items for a history."""
        _within("k", k, 1, 1000)
        _within("diversity", diversity, 0, 1)
        now = self._now
        known, read = self._read(now, who)
        allowed = now.shelf.allowed(filters)
        without = _NOTHING if filters.include_seen else known
        wide = k if diversity == 0 else min(max(k, _MOST_CANDIDATES), _CANDIDATES * k)
        if mode is a.Mode.INTEREST_CONTENT:
            wanted = now.by_interest(read)
            rows, shown = now.snapshot.index.search(
                wanted, wide, allowed=allowed, without=without, biased=False
            )
            found = scores.score(now.snapshot, read, rows)
        else:
            found = scores.ranked(now.snapshot, read, wide, allowed=allowed, without=without)
            shown = found.total
        if diversity > 0:
            vectors = now.snapshot.index.vectors(found.rows)
            chosen = scores.diverse(shown, vectors, k, diversity)
            found, shown = found[chosen], shown[chosen]
        if mode is a.Mode.INTEREST_CONTENT and len(shown):
            powers = np.exp(shown - shown.max())
            shown = powers / powers.sum()
        return a.Recommended(
            items=tuple(
                a.Recommendation(
                    item=now.item(row), score=float(shown[place]), parts=_parts(found, place)
                )
                for place, row in enumerate(found.rows.tolist())
            ),
            events=len(read),
            snapshot=now.snapshot.meta.id,
        )

    def similar_items(
        self, item_id: str, *, k: int = 10, filters: a.Filters = a.NO_FILTERS
    ) -> a.Similar:
        """The items closest to one."""
        _within("k", k, 1, 1000)
        now = self._now
        itself, index = np.array([now.open_row(item_id)]), now.snapshot.index
        rows, cosines = index.search(
            index.vectors(itself)[0],
            k,
            allowed=now.shelf.allowed(filters),
            without=itself,
            biased=False,
        )
        return a.Similar(
            items=tuple(
                a.ScoredItem(item=now.item(found), score=cosine)
                for found, cosine in zip(rows.tolist(), cosines.tolist(), strict=True)
            ),
            snapshot=now.snapshot.meta.id,
        )

    def interests(self, who: a.Who, *, most: int = 5) -> a.Profile:
        """A history's interests, in words."""
        _within("most", most, 1, 20)
        now = self._now
        _, read = self._read(now, who)
        read = read[now.shelf.open[read]]
        return a.Profile(
            interests=tuple(
                a.Interest(
                    label=group.label,
                    weight=group.weight,
                    titles=group.items,
                    events=tuple(now.item(int(read[place])) for place in group.events),
                )
                for group in now.groups(read, most)
            ),
            read=tuple(now.item(row) for row in read.tolist()),
            snapshot=now.snapshot.meta.id,
        )

    def explain(self, who: a.Who, item_id: str) -> a.Explained:
        """What carried an item: what its score loses when an event is left out."""
        now = self._now
        _, read = self._read(now, who)
        if not len(read):
            raise UnknownError(expected="a history of at least one event", got="none", where="who")
        row = now.open_row(item_id)
        found = scores.score(now.snapshot, read, np.array([row]))

        def totals(_: list[NDArray[np.int64]]) -> NDArray[np.float32]:
            return scores.left_out(now.snapshot, read, row)  # of those very histories, at once

        shown = now.shelf.open[read]
        places = np.flatnonzero(shown)
        groups = [  # named after what may be shown; positions are those of the whole history
            replace(group, events=tuple(places[list(group.events)].tolist()))
            for group in now.groups(read[shown], 5)
        ]
        why = explain(read, row, totals, groups)
        return a.Explained(
            item=now.item(row),
            score=float(found.total[0]),
            parts=_parts(found, 0),
            events=tuple(
                (now.item(int(read[place])), share) for place, share in why.events if shown[place]
            ),
            interests=why.interests,
            snapshot=now.snapshot.meta.id,
        )

    def audience(
        self, *, interest: str | None, item_id: str | None, size: int
    ) -> Iterator[a.Member]:
        """The users closest to an item or to an interest that the catalogue has a name for."""
        _within("size", size, 1, 1_000_000)
        if (interest is None) == (item_id is None):
            raise ConfigError(
                expected="an interest or an item", got="neither or both", where="about"
            )
        now = self._now
        if item_id is not None:
            row = np.array([now.open_row(item_id)])
            wanted = now.snapshot.index.vectors(row)[0]
        else:
            rows = now.named(interest or "")
            mean = now.snapshot.items[rows].mean(axis=0, dtype=np.float32)
            wanted = mean / max(float(np.linalg.norm(mean)), 1e-12)
        recent, out = self._recent.known(now.stock), self._live.opted_out()
        return closest(now.stock, recent, wanted, size, without=out, only=None)

    def similar_users(self, user_id: str, *, k: int = 10) -> list[a.Member]:
        """Users with like interests, among those who opted in."""
        _within("k", k, 1, 1000)
        now, name = self._now, self._people.permitted(user_id)
        opted_in = self._live.opted_in()
        if name not in opted_in:
            raise ConsentError(
                expected="a user who has opted in", got="one who has not", where="user_id"
            )
        _, read = self._read(now, a.Who(user_id=user_id))
        wanted = scores.interest(now.snapshot, read)
        recent = self._recent.known(now.stock)
        return list(closest(now.stock, recent, wanted, k, without={name}, only=opted_in))

    def trends(self, *, window_s: float, until: float, k: int = 10) -> a.Trends:
        """What rose and fell among posted events, by the innermost category of their items."""
        window = window_s or _WEEK_S
        if not 1 <= window <= 3650 * 86_400:
            raise ConfigError(expected="1 second to 10 years", got=f"{window:g}", where="window_s")
        _within("k", k, 1, 100)
        end = until or np.nextafter(self._live.newest() or time.time(), np.inf)
        now = self._now
        halves = []
        for start in (end - window, end - 2 * window):
            counts: Counter[str] = Counter()
            for item_id, count in self._live.counts(start, start + window).items():
                row = now.snapshot.catalogue.row_of.get(item_id)
                if row is not None and now.shelf.open[row]:
                    path = now.snapshot.catalogue.categories[row]
                    counts[path[-1] if path else now.snapshot.catalogue.titles[row]] += count
            halves.append(counts)
        rising, falling = trends(halves[0], halves[1], k)
        return a.Trends(rising=rising, falling=falling, since=end - window, until=float(end))

    def intent(self, text: str, *, k: int = 10) -> a.Intent:
        """What a sentence is about: the items that are closest to it, and their interests, each
        item counting by the model's own softmax of its cosine.
        """
        _within("k", k, 1, 1000)
        now = self._now
        texts, stock = self._reading(now, "Intent")
        adapted, _ = texts.vectors(stock, text)
        rows, cosines = stock.index.search(
            adapted, max(k, _NEAR), allowed=now.shelf.allowed(a.NO_FILTERS), biased=False
        )
        about = slice(_NEAR if adapted.any() else 0)
        weights = np.exp((cosines[about] - cosines[about].max(initial=-1)) / _TEMPERATURE)
        return a.Intent(
            interests=tuple(
                (group.label, group.weight) for group in now.groups_of(rows[about], weights, 5)
            ),
            items=tuple(
                a.ScoredItem(item=now.item(row), score=cosine)
                for row, cosine in zip(rows[:k].tolist(), cosines[:k].tolist(), strict=True)
            ),
            snapshot=stock.meta.id,
        )

    def post_events(self, events: Sequence[a.PostedEvent]) -> a.Posted:
        """Keep events; they count from the next answer on."""
        row_of, out = self._now.snapshot.catalogue.row_of, self._live.opted_out()
        moment = time.time()
        known = [one for one in events if one.item_id in row_of]
        kept = [
            LiveEvent(pseudonym=name, item_id=one.item_id, time=one.time or moment)
            for one in known
            if (name := self._people.name(one.user_id)) not in out
        ]
        posting = self._live.keep(kept)
        return a.Posted(
            accepted=posting.accepted,
            unknown_items=len(events) - len(known),
            opted_out=len(known) - len(kept) + posting.refused,
            repeated=posting.repeated,
        )

    def put_items(self, items: Sequence[a.NewItem]) -> a.Put:
        """Keep items; they can be recommended, asked about and posted events of when it returns."""
        if (different := len({one.item_id for one in items})) < len(items):
            raise ConfigError(
                expected="different ids", got=f"{len(items) - different} repeated", where="items"
            )
        with self._changing:
            texts, stock = self._reading(self._now, "PutItems")
            put, changed = texts.put(stock, items)
            if changed is not stock:
                self._now = self._now.stocked(changed)
                self._followed = self._live.item_changes()
        return put

    def delete_items(self, item_ids: Sequence[str]) -> a.Deleted:
        """Offer items no more; none of them is in what is answered when it returns."""
        with self._changing:
            stock = self._now.stock
            gone = self._live.delete_items(item_ids, stock.catalogue.row_of)
            if gone.deleted:
                unknown, waiting = set(gone.unknown), self._texts and self._texts.left_out
                stock = (
                    self._stock(stock.base)  # perhaps fewer are waiting now
                    if waiting
                    else stock.without(one for one in item_ids if one not in unknown)
                )
                self._now = self._now.stocked(stock)
                self._followed = self._live.item_changes()
        return gone

    def consent(self, user_id: str) -> a.Consent:
        """What a user allows."""
        return self._live.consent(self._people.name(user_id))

    def set_consent(
        self, user_id: str, *, learning: bool | None = None, similar_users: bool | None = None
    ) -> a.Consent:
        """Keep what a user allows.  Who stops learning is also taken out of what is trained on,
        before the next round is answered; who begins again is trained on when the log is next
        prepared.
        """
        name = self._people.name(user_id)
        if learning is False:  # first: the service stops at once, whatever follows
            self._live.set_consent(name, learning=False)
        if learning is not None and self._learn is not None:
            self._learn(user_id, learning)  # asked again, it is done again: it may have failed
        return self._live.set_consent(name, learning=learning, similar_users=similar_users)

    def forget(self, user_id: str) -> a.Forgotten:
        """Erase a user here, take them out of training, and leave a receipt."""
        if self._forget is None:
            raise RunError(
                expected="a partner's folder",
                got="a platform of a simulation",
                where="Forget",
                remedy="A receipt is signed with a partner's key.",
            )
        self._live.erase(self._people.name(user_id))
        return self._forget(user_id)

    def pseudonyms(self, user_ids: Sequence[str]) -> list[str]:
        """What Audience and SimilarUsers name users by."""
        return [self._people.name(user) for user in user_ids]

    def reload(self) -> a.Reloaded:
        """Take up the newest snapshot, and what another process has put or deleted."""
        found = self._renew()
        changed = found.meta.id != self._now.snapshot.meta.id
        if changed or self._live.item_changes() != self._followed:
            with self._changing:  # or what is put meanwhile would be put beside the old one only
                if changed:
                    self._now = self._load(found)
                else:
                    self._now = self._now.stocked(self._stock(self._now.stock.base))
        return a.Reloaded(snapshot=found.meta.id, round=found.meta.round, changed=changed)

    def status(self) -> a.Status:
        """What is served."""
        now, texts = self._now, self._texts
        meta = now.snapshot.meta
        return a.Status(
            platform=meta.platform,
            snapshot=meta.id,
            round=meta.round,
            items=now.shown,
            users=len(now.snapshot.sequences),
            events=self._live.events(),
            exact=now.snapshot.index.exact,
            loaded=now.at,
            no_texts="no encoder was given to read them with" if texts is None else texts.trouble,
            left_out=0 if texts is None else texts.left_out,
            pending=len(self._live.pending()),
        )

    def _reading(self, now: Loaded, where: str) -> tuple[Texts, Stock]:
        if self._texts is None:
            raise RunError(
                expected="an engine that reads texts", got="one that does not", where=where
            )
        return self._texts, now.stock

    def _read(self, now: Loaded, who: a.Who) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The whole history, and what of it the model reads."""
        known = self._people.history(now.snapshot, who)
        return known, known[-now.snapshot.meta.history_length :]


def _parts(found: scores.Scored, place: int) -> a.Parts:
    return a.Parts(
        shared_model=float(found.shared[place]),
        co_occurrence=float(found.together[place]),
        popularity=float(found.popular[place]),
    )


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(expected=f"{least:g} to {most:g}", got=f"{value:g}", where=name)
