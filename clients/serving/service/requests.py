"""Requests of the protocol as values of `clients.serving.answers`; every field's range is checked.

Raises (all of them):
    ConfigError: a field is out of range; `where` is the field.
"""

from clients.serving.answers import NO_FILTERS, Filters, Mode, NewItem, PostedEvent, Who
from clients.serving.service import limits
from clients.serving.wire import serving_pb2 as pb

Asker = pb.RecommendRequest | pb.InterestsRequest | pb.ExplainRequest


def who(request: Asker) -> Who:
    """Whose history is meant."""
    match request.WhichOneof("who"):
        case "user_id":
            return Who(user_id=limits.id_of(request.user_id, "user_id"))
        case "history":
            ids = request.history.item_ids
            return Who(item_ids=limits.texts(ids, "history.item_ids", most=limits.MAX_HISTORY))
    raise limits.wrong("who", "user_id or history", "neither")


def filters(request: pb.RecommendRequest | pb.SimilarItemsRequest) -> Filters:
    """Its business rules."""
    if not request.HasField("filters"):
        return NO_FILTERS
    given, most = request.filters, limits.MAX_CATEGORIES
    return Filters(
        categories=limits.texts(
            given.categories, "filters.categories", most=most, check=limits.label
        ),
        exclude_categories=limits.texts(
            given.exclude_categories, "filters.exclude_categories", most=most, check=limits.label
        ),
        exclude_items=limits.texts(
            given.exclude_items, "filters.exclude_items", most=limits.MAX_IDS
        ),
        only_items=limits.texts(given.only_items, "filters.only_items", most=limits.MAX_IDS),
        include_seen=given.include_seen,
    )


def mode(request: pb.RecommendRequest) -> Mode:
    """How candidates are scored; the protocol lets any number through."""
    try:
        return Mode(int(request.mode))
    except ValueError:
        raise limits.wrong("mode", "0 or 1", str(int(request.mode))) from None


def k(value: int) -> int:
    """How many are wanted."""
    return limits.whole(value, "k", most=limits.MAX_K, default=10)


def about(request: pb.AudienceRequest) -> tuple[str | None, str | None]:
    """Interest or item, and None for the other."""
    match request.WhichOneof("about"):
        case "interest":
            return limits.label(request.interest, "interest"), None
        case "item_id":
            return None, limits.id_of(request.item_id, "item_id")
    raise limits.wrong("about", "interest or item_id", "neither")


def events(request: pb.PostEventsRequest) -> list[PostedEvent]:
    """The events."""
    limits.many(request.events, "events", least=1, most=limits.MAX_EVENTS)
    return [
        PostedEvent(
            user_id=limits.id_of(one.user_id, f"events[{at}].user_id"),
            item_id=limits.id_of(one.item_id, f"events[{at}].item_id"),
            time=limits.time(one.time, f"events[{at}].time"),
        )
        for at, one in enumerate(request.events)
    ]


def items(request: pb.PutItemsRequest) -> list[NewItem]:
    """The items."""
    limits.many(request.items, "items", least=1, most=limits.MAX_NEW_ITEMS)
    found = [_item(one, f"items[{at}]") for at, one in enumerate(request.items)]
    if (different := len({one.item_id for one in found})) < len(found):
        raise limits.wrong("items", "different ids", f"{len(found) - different} repeated")
    return found


def _item(given: pb.NewItem, field: str) -> NewItem:
    if not (given.title.strip() or given.text.strip()):
        raise limits.wrong(f"{field}.title", "a title, or a text", "neither")
    return NewItem(
        item_id=limits.id_of(given.item_id, f"{field}.item_id"),
        title=limits.text(given.title, f"{field}.title", least=0, most=limits.MAX_TITLE),
        category=limits.texts(
            given.category, f"{field}.category", most=limits.MAX_PATH, check=limits.label
        ),
        text=limits.text(given.text, f"{field}.text", least=0, most=limits.MAX_ITEM_TEXT),
    )


def consent(request: pb.SetConsentRequest) -> dict[str, bool]:
    """What is said, and only that."""
    said = {
        name: bool(getattr(request, name))
        for name in ("learning", "similar_users")
        if request.HasField(name)
    }
    if not said:
        raise limits.wrong("learning", "learning or similar_users", "neither")
    return said


def intent(request: pb.IntentRequest) -> str:
    """The text, which says something."""
    found = limits.text(request.text, "text", most=limits.MAX_TEXT)
    if not found.strip():
        raise limits.wrong("text", "words", "blanks only")
    return found
