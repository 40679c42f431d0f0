"""One platform's answers: what the service, the page and tests ask."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from clients.serving.answers import (
    NO_FILTERS,
    Consent,
    Deleted,
    Explained,
    Filters,
    Forgotten,
    Intent,
    Member,
    Mode,
    NewItem,
    Posted,
    PostedEvent,
    Profile,
    Put,
    Recommended,
    Reloaded,
    Similar,
    Status,
    Trends,
    Who,
)


class Answers(Protocol):
    """What can be asked; safe to be called from many threads.

    Raises (all of them):
        ConfigError: a number or a combination that makes no sense.
        UnknownError: no such user, item or interest.
        DataError: nothing to answer from.
        ConsentError: the user has opted out, or not in.
        RunError: nothing to answer with yet.
    """

    def recommend(
        self,
        who: Who,
        *,
        k: int = 10,
        filters: Filters = NO_FILTERS,
        diversity: float = 0.0,
        mode: Mode = Mode.SCORE,
    ) -> Recommended: ...
    def similar_items(
        self, item_id: str, *, k: int = 10, filters: Filters = NO_FILTERS
    ) -> Similar: ...
    def interests(self, who: Who, *, most: int = 5) -> Profile: ...
    def explain(self, who: Who, item_id: str) -> Explained: ...
    def audience(
        self, *, interest: str | None, item_id: str | None, size: int
    ) -> Iterator[Member]: ...
    def similar_users(self, user_id: str, *, k: int = 10) -> list[Member]: ...
    def trends(self, *, window_s: float, until: float, k: int = 10) -> Trends: ...
    def intent(self, text: str, *, k: int = 10) -> Intent: ...
    def post_events(self, events: Sequence[PostedEvent]) -> Posted: ...
    def put_items(self, items: Sequence[NewItem]) -> Put: ...
    def delete_items(self, item_ids: Sequence[str]) -> Deleted: ...
    def consent(self, user_id: str) -> Consent: ...
    def set_consent(
        self, user_id: str, *, learning: bool | None = None, similar_users: bool | None = None
    ) -> Consent: ...
    def forget(self, user_id: str) -> Forgotten: ...
    def pseudonyms(self, user_ids: Sequence[str]) -> list[str]: ...
    def reload(self) -> Reloaded: ...
    def status(self) -> Status: ...
