"""What is asked of the engine and what it answers: plain values, no protocol.

`clients.serving.wire` says what each field means; the names are the same.
"""

from dataclasses import dataclass
from enum import Enum


class Mode(Enum):
    """How candidates are scored."""

    SCORE = 0
    INTEREST_CONTENT = 1


@dataclass(frozen=True, kw_only=True)
class Who:
    """Whose history: a user's, or one that is given.

    Args:
        user_id: raw, as the log writes it; None where `item_ids` is given.
        item_ids: oldest first; None where `user_id` is given.
    """

    user_id: str | None = None
    item_ids: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Business rules; empty ones let everything through."""

    categories: tuple[str, ...] = ()
    exclude_categories: tuple[str, ...] = ()
    exclude_items: tuple[str, ...] = ()
    only_items: tuple[str, ...] = ()
    include_seen: bool = False


NO_FILTERS = Filters()


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One item, for people."""

    item_id: str
    title: str
    category: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Where a score comes from; the parts add up to it, up to rounding."""

    shared_model: float
    co_occurrence: float
    popularity: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """One recommended item."""

    item: Item
    score: float
    parts: Parts


@dataclass(frozen=True, kw_only=True)
class Recommended:
    """The best first; `events` of the history were read."""

    items: tuple[Recommendation, ...]
    events: int
    snapshot: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredItem:
    """An item and its cosine."""

    item: Item
    score: float


@dataclass(frozen=True, kw_only=True)
class Similar:
    """Items, the closest first."""

    items: tuple[ScoredItem, ...]
    snapshot: str


@dataclass(frozen=True, kw_only=True)
class Interest:
    """One interest, in words; weights of those returned sum to 1."""

    label: str
    weight: float
    titles: tuple[str, ...]
    events: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A history's interests, the heaviest first, and the events that were read, oldest first."""

    interests: tuple[Interest, ...]
    read: tuple[Item, ...]
    snapshot: str


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What carried an item: (event, share) and (interest's label, share), the strongest first."""

    item: Item
    score: float
    parts: Parts
    events: tuple[tuple[Item, float], ...]
    interests: tuple[tuple[str, float], ...]
    snapshot: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A user of an audience, by pseudonym."""

    pseudonym: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Trend:
    """One interest in two windows of time."""

    label: str
    events: int
    before: int
    change: float
    z: float


@dataclass(frozen=True, kw_only=True)
class Trends:
    """The strongest first; times in seconds since 1970."""

    rising: tuple[Trend, ...]
    falling: tuple[Trend, ...]
    since: float
    until: float


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What a text is about: (label, share) summing to 1, and the items that are closest."""

    interests: tuple[tuple[str, float], ...]
    items: tuple[ScoredItem, ...]
    snapshot: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PostedEvent:
    """An event from outside; time in seconds since 1970, 0 for now."""

    user_id: str
    item_id: str
    time: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Posted:
    """What became of posted events."""

    accepted: int
    unknown_items: int
    opted_out: int
    repeated: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NewItem:
    """An item from outside; an empty text is made from title and category."""

    item_id: str
    title: str
    category: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Put:
    """What became of new items."""

    added: int
    changed: int
    unchanged: int


@dataclass(frozen=True, kw_only=True)
class Deleted:
    """What became of items that are not offered any more; `unknown`: ids that no item has."""

    deleted: int
    already: int
    unknown: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Consent:
    """What a user allows."""

    learning: bool = True
    similar_users: bool = False


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """The signed receipt, and whether the user was among those trained on."""

    receipt: bytes
    found: bool


@dataclass(frozen=True, kw_only=True)
class Reloaded:
    """Which snapshot answers now; `changed`: another than before."""

    snapshot: str
    round: int
    changed: bool


@dataclass(frozen=True, kw_only=True)
class Status:
    """What is served.

    Args:
        no_texts: why Intent and PutItems do not answer; "" where they do.
        left_out: items that were put, and wait until their texts can be read.
        pending: opt-outs that training has not taken up yet.
    """

    platform: str
    snapshot: str
    round: int
    items: int
    users: int
    events: int
    exact: bool
    loaded: float
    no_texts: str = ""
    left_out: int = 0
    pending: int = 0

    @property
    def reads_texts(self) -> bool:
        """Whether Intent and PutItems answer."""
        return not self.no_texts
