from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_SCORE: _ClassVar[Mode]
    MODE_INTEREST_CONTENT: _ClassVar[Mode]
MODE_SCORE: Mode
MODE_INTEREST_CONTENT: Mode

class Item(_message.Message):
    __slots__ = ("item_id", "title", "category")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    title: str
    category: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, item_id: _Optional[str] = ..., title: _Optional[str] = ..., category: _Optional[_Iterable[str]] = ...) -> None: ...

class History(_message.Message):
    __slots__ = ("item_ids",)
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, item_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Filters(_message.Message):
    __slots__ = ("categories", "exclude_categories", "exclude_items", "only_items", "include_seen")
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_ITEMS_FIELD_NUMBER: _ClassVar[int]
    ONLY_ITEMS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SEEN_FIELD_NUMBER: _ClassVar[int]
    categories: _containers.RepeatedScalarFieldContainer[str]
    exclude_categories: _containers.RepeatedScalarFieldContainer[str]
    exclude_items: _containers.RepeatedScalarFieldContainer[str]
    only_items: _containers.RepeatedScalarFieldContainer[str]
    include_seen: bool
    def __init__(self, categories: _Optional[_Iterable[str]] = ..., exclude_categories: _Optional[_Iterable[str]] = ..., exclude_items: _Optional[_Iterable[str]] = ..., only_items: _Optional[_Iterable[str]] = ..., include_seen: _Optional[bool] = ...) -> None: ...

class RecommendRequest(_message.Message):
    __slots__ = ("user_id", "history", "k", "filters", "diversity", "mode")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    history: History
    k: int
    filters: Filters
    diversity: float
    mode: Mode
    def __init__(self, user_id: _Optional[str] = ..., history: _Optional[_Union[History, _Mapping]] = ..., k: _Optional[int] = ..., filters: _Optional[_Union[Filters, _Mapping]] = ..., diversity: _Optional[float] = ..., mode: _Optional[_Union[Mode, str]] = ...) -> None: ...

class Parts(_message.Message):
    __slots__ = ("shared_model", "co_occurrence", "popularity")
    SHARED_MODEL_FIELD_NUMBER: _ClassVar[int]
    CO_OCCURRENCE_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_FIELD_NUMBER: _ClassVar[int]
    shared_model: float
    co_occurrence: float
    popularity: float
    def __init__(self, shared_model: _Optional[float] = ..., co_occurrence: _Optional[float] = ..., popularity: _Optional[float] = ...) -> None: ...

class Recommendation(_message.Message):
    __slots__ = ("item", "score", "parts")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    item: Item
    score: float
    parts: Parts
    def __init__(self, item: _Optional[_Union[Item, _Mapping]] = ..., score: _Optional[float] = ..., parts: _Optional[_Union[Parts, _Mapping]] = ...) -> None: ...

class RecommendReply(_message.Message):
    __slots__ = ("items", "events", "snapshot")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Recommendation]
    events: int
    snapshot: str
    def __init__(self, items: _Optional[_Iterable[_Union[Recommendation, _Mapping]]] = ..., events: _Optional[int] = ..., snapshot: _Optional[str] = ...) -> None: ...

class SimilarItemsRequest(_message.Message):
    __slots__ = ("item_id", "k", "filters")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    k: int
    filters: Filters
    def __init__(self, item_id: _Optional[str] = ..., k: _Optional[int] = ..., filters: _Optional[_Union[Filters, _Mapping]] = ...) -> None: ...

class ScoredItem(_message.Message):
    __slots__ = ("item", "score")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    item: Item
    score: float
    def __init__(self, item: _Optional[_Union[Item, _Mapping]] = ..., score: _Optional[float] = ...) -> None: ...

class SimilarItemsReply(_message.Message):
    __slots__ = ("items", "snapshot")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[ScoredItem]
    snapshot: str
    def __init__(self, items: _Optional[_Iterable[_Union[ScoredItem, _Mapping]]] = ..., snapshot: _Optional[str] = ...) -> None: ...

class InterestsRequest(_message.Message):
    __slots__ = ("user_id", "history", "most")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    history: History
    most: int
    def __init__(self, user_id: _Optional[str] = ..., history: _Optional[_Union[History, _Mapping]] = ..., most: _Optional[int] = ...) -> None: ...

class Interest(_message.Message):
    __slots__ = ("label", "weight", "titles", "events")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    TITLES_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    label: str
    weight: float
    titles: _containers.RepeatedScalarFieldContainer[str]
    events: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, label: _Optional[str] = ..., weight: _Optional[float] = ..., titles: _Optional[_Iterable[str]] = ..., events: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class InterestsReply(_message.Message):
    __slots__ = ("interests", "read", "snapshot")
    INTERESTS_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    interests: _containers.RepeatedCompositeFieldContainer[Interest]
    read: _containers.RepeatedCompositeFieldContainer[Item]
    snapshot: str
    def __init__(self, interests: _Optional[_Iterable[_Union[Interest, _Mapping]]] = ..., read: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., snapshot: _Optional[str] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("user_id", "history", "item_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    history: History
    item_id: str
    def __init__(self, user_id: _Optional[str] = ..., history: _Optional[_Union[History, _Mapping]] = ..., item_id: _Optional[str] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("event", "share")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    event: Item
    share: float
    def __init__(self, event: _Optional[_Union[Item, _Mapping]] = ..., share: _Optional[float] = ...) -> None: ...

class InterestShare(_message.Message):
    __slots__ = ("label", "share")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    label: str
    share: float
    def __init__(self, label: _Optional[str] = ..., share: _Optional[float] = ...) -> None: ...

class ExplainReply(_message.Message):
    __slots__ = ("item", "score", "parts", "events", "interests", "snapshot")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    INTERESTS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    item: Item
    score: float
    parts: Parts
    events: _containers.RepeatedCompositeFieldContainer[Contribution]
    interests: _containers.RepeatedCompositeFieldContainer[InterestShare]
    snapshot: str
    def __init__(self, item: _Optional[_Union[Item, _Mapping]] = ..., score: _Optional[float] = ..., parts: _Optional[_Union[Parts, _Mapping]] = ..., events: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ..., interests: _Optional[_Iterable[_Union[InterestShare, _Mapping]]] = ..., snapshot: _Optional[str] = ...) -> None: ...

class AudienceRequest(_message.Message):
    __slots__ = ("interest", "item_id", "size")
    INTEREST_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    interest: str
    item_id: str
    size: int
    def __init__(self, interest: _Optional[str] = ..., item_id: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class AudienceMember(_message.Message):
    __slots__ = ("pseudonym", "score")
    PSEUDONYM_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    pseudonym: str
    score: float
    def __init__(self, pseudonym: _Optional[str] = ..., score: _Optional[float] = ...) -> None: ...

class SimilarUsersRequest(_message.Message):
    __slots__ = ("user_id", "k")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    k: int
    def __init__(self, user_id: _Optional[str] = ..., k: _Optional[int] = ...) -> None: ...

class SimilarUsersReply(_message.Message):
    __slots__ = ("users",)
    USERS_FIELD_NUMBER: _ClassVar[int]
    users: _containers.RepeatedCompositeFieldContainer[AudienceMember]
    def __init__(self, users: _Optional[_Iterable[_Union[AudienceMember, _Mapping]]] = ...) -> None: ...

class TrendsRequest(_message.Message):
    __slots__ = ("window_s", "until", "k")
    WINDOW_S_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    window_s: float
    until: float
    k: int
    def __init__(self, window_s: _Optional[float] = ..., until: _Optional[float] = ..., k: _Optional[int] = ...) -> None: ...

class Trend(_message.Message):
    __slots__ = ("label", "events", "before", "change", "z")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    label: str
    events: int
    before: int
    change: float
    z: float
    def __init__(self, label: _Optional[str] = ..., events: _Optional[int] = ..., before: _Optional[int] = ..., change: _Optional[float] = ..., z: _Optional[float] = ...) -> None: ...

class TrendsReply(_message.Message):
    __slots__ = ("rising", "falling", "since", "until")
    RISING_FIELD_NUMBER: _ClassVar[int]
    FALLING_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    rising: _containers.RepeatedCompositeFieldContainer[Trend]
    falling: _containers.RepeatedCompositeFieldContainer[Trend]
    since: float
    until: float
    def __init__(self, rising: _Optional[_Iterable[_Union[Trend, _Mapping]]] = ..., falling: _Optional[_Iterable[_Union[Trend, _Mapping]]] = ..., since: _Optional[float] = ..., until: _Optional[float] = ...) -> None: ...

class IntentRequest(_message.Message):
    __slots__ = ("text", "k")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    text: str
    k: int
    def __init__(self, text: _Optional[str] = ..., k: _Optional[int] = ...) -> None: ...

class IntentReply(_message.Message):
    __slots__ = ("interests", "items", "snapshot")
    INTERESTS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    interests: _containers.RepeatedCompositeFieldContainer[InterestShare]
    items: _containers.RepeatedCompositeFieldContainer[ScoredItem]
    snapshot: str
    def __init__(self, interests: _Optional[_Iterable[_Union[InterestShare, _Mapping]]] = ..., items: _Optional[_Iterable[_Union[ScoredItem, _Mapping]]] = ..., snapshot: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("user_id", "item_id", "time")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    item_id: str
    time: float
    def __init__(self, user_id: _Optional[str] = ..., item_id: _Optional[str] = ..., time: _Optional[float] = ...) -> None: ...

class PostEventsRequest(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class PostEventsReply(_message.Message):
    __slots__ = ("accepted", "unknown_items", "opted_out", "repeated_events")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_ITEMS_FIELD_NUMBER: _ClassVar[int]
    OPTED_OUT_FIELD_NUMBER: _ClassVar[int]
    REPEATED_EVENTS_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    unknown_items: int
    opted_out: int
    repeated_events: int
    def __init__(self, accepted: _Optional[int] = ..., unknown_items: _Optional[int] = ..., opted_out: _Optional[int] = ..., repeated_events: _Optional[int] = ...) -> None: ...

class NewItem(_message.Message):
    __slots__ = ("item_id", "title", "category", "text")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    title: str
    category: _containers.RepeatedScalarFieldContainer[str]
    text: str
    def __init__(self, item_id: _Optional[str] = ..., title: _Optional[str] = ..., category: _Optional[_Iterable[str]] = ..., text: _Optional[str] = ...) -> None: ...

class PutItemsRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[NewItem]
    def __init__(self, items: _Optional[_Iterable[_Union[NewItem, _Mapping]]] = ...) -> None: ...

class PutItemsReply(_message.Message):
    __slots__ = ("added", "changed", "unchanged")
    ADDED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    added: int
    changed: int
    unchanged: int
    def __init__(self, added: _Optional[int] = ..., changed: _Optional[int] = ..., unchanged: _Optional[int] = ...) -> None: ...

class DeleteItemsRequest(_message.Message):
    __slots__ = ("item_ids",)
    ITEM_IDS_FIELD_NUMBER: _ClassVar[int]
    item_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, item_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class DeleteItemsReply(_message.Message):
    __slots__ = ("deleted", "already_deleted", "unknown")
    DELETED_FIELD_NUMBER: _ClassVar[int]
    ALREADY_DELETED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    already_deleted: int
    unknown: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, deleted: _Optional[int] = ..., already_deleted: _Optional[int] = ..., unknown: _Optional[_Iterable[str]] = ...) -> None: ...

class ConsentRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class SetConsentRequest(_message.Message):
    __slots__ = ("user_id", "learning", "similar_users")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    LEARNING_FIELD_NUMBER: _ClassVar[int]
    SIMILAR_USERS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    learning: bool
    similar_users: bool
    def __init__(self, user_id: _Optional[str] = ..., learning: _Optional[bool] = ..., similar_users: _Optional[bool] = ...) -> None: ...

class Consent(_message.Message):
    __slots__ = ("learning", "similar_users")
    LEARNING_FIELD_NUMBER: _ClassVar[int]
    SIMILAR_USERS_FIELD_NUMBER: _ClassVar[int]
    learning: bool
    similar_users: bool
    def __init__(self, learning: _Optional[bool] = ..., similar_users: _Optional[bool] = ...) -> None: ...

class ForgetRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class ForgetReply(_message.Message):
    __slots__ = ("receipt", "found")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    receipt: bytes
    found: bool
    def __init__(self, receipt: _Optional[bytes] = ..., found: _Optional[bool] = ...) -> None: ...

class PseudonymsRequest(_message.Message):
    __slots__ = ("user_ids",)
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, user_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class PseudonymsReply(_message.Message):
    __slots__ = ("pseudonyms",)
    PSEUDONYMS_FIELD_NUMBER: _ClassVar[int]
    pseudonyms: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, pseudonyms: _Optional[_Iterable[str]] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadReply(_message.Message):
    __slots__ = ("snapshot", "round", "changed")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    snapshot: str
    round: int
    changed: bool
    def __init__(self, snapshot: _Optional[str] = ..., round: _Optional[int] = ..., changed: _Optional[bool] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("platform", "snapshot", "round", "items", "users", "events", "exact", "loaded", "reads_texts", "no_texts", "left_out", "pending")
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    READS_TEXTS_FIELD_NUMBER: _ClassVar[int]
    NO_TEXTS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    platform: str
    snapshot: str
    round: int
    items: int
    users: int
    events: int
    exact: bool
    loaded: float
    reads_texts: bool
    no_texts: str
    left_out: int
    pending: int
    def __init__(self, platform: _Optional[str] = ..., snapshot: _Optional[str] = ..., round: _Optional[int] = ..., items: _Optional[int] = ..., users: _Optional[int] = ..., events: _Optional[int] = ..., exact: _Optional[bool] = ..., loaded: _Optional[float] = ..., reads_texts: _Optional[bool] = ..., no_texts: _Optional[str] = ..., left_out: _Optional[int] = ..., pending: _Optional[int] = ...) -> None: ...
