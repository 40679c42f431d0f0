"""Texts, read while serving: new items and their vectors, and what a sentence is about.

1. An item is on disk, in the live store, before it is usable; and usable when `put` returns.
2. A text is read once: its states are kept, and a restart or a new model reads only what is not
   there.
3. What cannot be read now (the encoder was not exported, a package is missing) is left out and
   counted, and stays in the live store until it can be.
"""

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.serving.answers import NewItem, Put
from clients.serving.live.store import Live
from clients.serving.snapshot.encoder import Encoder, not_installed
from clients.serving.snapshot.head import NAME as HEAD
from clients.serving.snapshot.head import Head
from clients.serving.snapshot.snapshot import Snapshot
from clients.serving.state_cache import StateCache, States
from clients.serving.stock import Stock
from clients.sources.item_text import item_text
from shared.errors import ConfigError, DataError, FedInterestError, RunError
from shared.operations.logs import event

log = logging.getLogger("fedinterest.serving")

_PACKAGES = ("onnxruntime", "tokenizers")
_AT_ONCE = 64  # texts; what was read is kept in steps, so that asking again goes on from there


class Texts:
    """See the module.

    Args:
        live: where new items are kept.
        cache: of their states.
        encoders: folder of exported encoders.
        no_texts: why the newest snapshot's texts cannot be read; "" where they can.
    """

    def __init__(
        self,
        live: Live,
        cache: StateCache,
        encoders: Path,
        *,
        no_texts: Callable[[], str] = lambda: "",
    ) -> None:
        self._live, self._cache, self._encoders = live, cache, encoders
        self._no_texts = no_texts
        self._encoder: Encoder | None = None
        self.trouble = ""
        """Why texts cannot be read; "" where they can."""
        self.left_out = 0
        """Items that are kept, and cannot be read now."""

    def stock(self, snapshot: Snapshot) -> Stock:
        """The snapshot with all that was put, less what was deleted.

        Raises:
            RunError: the snapshot, or the live store, is damaged.
            StorageError: the disk refused.
        """
        stock = Stock.of(snapshot, Head.read(snapshot.folder / HEAD))
        self._open(stock.head)
        items = [one for one in self._live.items_after(0)[0] if one != stock.own(one.item_id)]
        texts = list(dict.fromkeys(one.text for one in items))
        states = self._known(stock.head, texts)
        for start in range(0, len(texts), _AT_ONCE):
            missing = [text for text in texts[start : start + _AT_ONCE] if text not in states]
            states |= self._one_by_one(stock.head, missing)
        if states:
            self._cache.keep_only(stock.head.encoder, texts)
        usable = [one for one in items if one.text in states]
        deleted = set(self._live.deleted_items())
        waiting = [one for one in items if one.text not in states]
        self.left_out = sum(one.item_id not in deleted for one in waiting)
        if self.left_out:
            reason = f"{self.left_out} new items are left out: their texts cannot be read"
            event(log, "items left out", logging.WARNING, reason=reason)
        return self._with(stock, usable, states).without(deleted)

    def put(self, stock: Stock, items: Sequence[NewItem]) -> tuple[Put, Stock]:
        """Keep items, and the stock with them; ids are different.

        Raises:
            RunError: there are texts to read, and they cannot be; why is in the message.
            ConfigError: an item without a title and a text.
            DataError, EncoderError: a text that cannot be read; none of the items is kept.
            StorageError: the disk refused.
        """
        whole = [completed(one) for one in items]
        known = [stock.known(one.item_id) for one in whole]
        changed = [one for one, before in zip(whole, known, strict=True) if one != before]
        added = sum(before is None for before in known)
        counts = Put(added=added, changed=len(changed) - added, unchanged=len(whole) - len(changed))
        if not changed:
            return counts, stock
        # What was deleted and is as the snapshot has it comes back without being read.
        back = [one for one in changed if one == stock.own(one.item_id)]
        none = np.zeros((len(back), stock.head.shape[1]), np.float32)
        fresh = [one for one in changed if one not in back]
        if fresh:
            self._able("PutItems")
        texts = list(dict.fromkeys(one.text for one in fresh))
        states = self._known(stock.head, texts)
        missing = [text for text in texts if text not in states]
        for start in range(0, len(missing), _AT_ONCE):
            states |= self._read(stock.head, missing[start : start + _AT_ONCE])
        self._live.put_items(changed)
        return counts, self._with(stock.with_put(back, none, none), fresh, states)

    def vectors(self, stock: Stock, text: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(D,) adapted and (D,) frozen vector that an item of this text would have.

        Raises:
            RunError: texts cannot be read; why is in the message.
            DataError, EncoderError: this text cannot be read.
        """
        encoder = self._able("Intent")
        items, vectors = stock.head.items(encoder.states([text]))
        return items[0], vectors[0]

    def _open(self, head: Head) -> None:
        """Take up the encoder of `head`; the one that is in memory stays where it is the same."""
        missing = [name for name in _PACKAGES if find_spec(name) is None]
        self.trouble = str(not_installed(missing[0])) if missing else self._no_texts()
        if not self.trouble and not head.encoder:
            self.trouble = "the platform's item vectors come from an unknown encoder"
        if self.trouble:
            self._encoder = None
            return
        path = self._encoders / head.encoder
        if self._encoder is None or self._encoder.path != path:
            try:
                self._encoder = Encoder(path)
            except RunError as error:
                self._encoder, self.trouble = None, str(error)

    def _able(self, where: str) -> Encoder:
        if self._encoder is None:
            raise RunError(
                expected="texts that can be read", got=self.trouble or "none", where=where
            )
        return self._encoder

    def _known(self, head: Head, texts: Sequence[str]) -> dict[str, States]:
        return self._cache.find(head.encoder, head.shape, texts)

    def _read(self, head: Head, texts: Sequence[str]) -> dict[str, States]:
        encoder = self._able("texts")
        found = dict(zip(texts, encoder.states(texts), strict=True))
        self._cache.keep(head.encoder, found)
        return found

    def _one_by_one(self, head: Head, texts: Sequence[str]) -> dict[str, States]:
        """Those that can be read."""
        if self._encoder is None or not texts:
            return {}
        try:
            return self._read(head, texts)
        except FedInterestError:
            found: dict[str, States] = {}
            for text in texts:
                try:
                    found |= self._read(head, [text])
                except FedInterestError:
                    continue  # counted by the caller
            return found

    @staticmethod
    def _with(stock: Stock, items: Sequence[NewItem], states: dict[str, States]) -> Stock:
        if not items:
            return stock
        adapted, frozen = stock.head.items(np.stack([states[one.text] for one in items]))
        return stock.with_put(items, adapted, frozen)


def completed(item: NewItem) -> NewItem:
    """With text and title, as the platform's own source would give them.

    Raises:
        ConfigError: neither is there.
        DataError: no Unicode.
    """
    title, text = (" ".join(one.split()) for one in (item.title, item.text))
    category = tuple(" ".join(level.split()) for level in item.category if level.strip())
    if not (title or text):
        raise ConfigError(expected="a title, or a text", got="neither", where="items")
    try:
        " ".join((item.item_id, title, text, *category)).encode()
    except UnicodeEncodeError:  # `from None`: that error holds the text
        raise DataError(
            expected="text in Unicode", got="half a surrogate pair", where="items"
        ) from None
    return NewItem(
        item_id=item.item_id,
        title=title or item.item_id,
        category=category,
        text=text or item_text(title, (), category),
    )
