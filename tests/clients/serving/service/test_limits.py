"""Every field has a range; outside of it the field is named and its value, if a text, is not."""

import math
from typing import Any

import pytest
from google.protobuf.message import Message

from clients.serving.service.calls import CALLS
from clients.serving.wire import serving_pb2 as pb
from shared.errors import ConfigError
from tests.clients.serving.service.world import World

SECRET = "customer-17"
LONG = SECRET * 100
WHO: dict[str, Any] = {"user_id": "ann"}


def many(n: int, text: str = "i1") -> list[str]:
    return [text] * n


WRONG: list[tuple[str, Message, str]] = [
    ("Recommend", pb.RecommendRequest(), "who"),
    ("Recommend", pb.RecommendRequest(user_id=""), "user_id"),
    ("Recommend", pb.RecommendRequest(user_id=LONG), "user_id"),
    ("Recommend", pb.RecommendRequest(**WHO, k=1001), "k"),
    ("Recommend", pb.RecommendRequest(**WHO, k=2**32 - 1), "k"),
    ("Recommend", pb.RecommendRequest(**WHO, diversity=-0.01), "diversity"),
    ("Recommend", pb.RecommendRequest(**WHO, diversity=1.01), "diversity"),
    ("Recommend", pb.RecommendRequest(**WHO, diversity=math.nan), "diversity"),
    ("Recommend", pb.RecommendRequest(**WHO, diversity=math.inf), "diversity"),
    ("Recommend", pb.RecommendRequest(**WHO, mode=2), "mode"),  # type: ignore[arg-type]
    ("Recommend", pb.RecommendRequest(**WHO, mode=-1), "mode"),  # type: ignore[arg-type]
    ("Recommend", pb.RecommendRequest(history={"item_ids": many(1001)}), "history.item_ids"),
    ("Recommend", pb.RecommendRequest(history={"item_ids": ["i1", ""]}), "history.item_ids[1]"),
    *(
        ("Recommend", pb.RecommendRequest(**WHO, filters={name: many(most + 1)}), f"filters.{name}")
        for name, most in (
            ("categories", 1000),
            ("exclude_categories", 1000),
            ("exclude_items", 10_000),
            ("only_items", 10_000),
        )
    ),
    (
        "SimilarItems",
        pb.SimilarItemsRequest(item_id="i1", filters={"categories": [LONG]}),
        "filters.categories[0]",
    ),
    ("SimilarItems", pb.SimilarItemsRequest(), "item_id"),
    ("SimilarItems", pb.SimilarItemsRequest(item_id="i1", k=1001), "k"),
    ("Interests", pb.InterestsRequest(most=1), "who"),
    ("Interests", pb.InterestsRequest(**WHO, most=21), "most"),
    ("Explain", pb.ExplainRequest(**WHO), "item_id"),
    ("Explain", pb.ExplainRequest(item_id="i1"), "who"),
    ("Audience", pb.AudienceRequest(size=1), "about"),
    ("Audience", pb.AudienceRequest(interest=LONG), "interest"),
    ("Audience", pb.AudienceRequest(item_id=""), "item_id"),
    ("Audience", pb.AudienceRequest(interest="tea", size=1_000_001), "size"),
    ("SimilarUsers", pb.SimilarUsersRequest(), "user_id"),
    ("SimilarUsers", pb.SimilarUsersRequest(**WHO, k=1001), "k"),
    ("Trends", pb.TrendsRequest(window_s=59.9), "window_s"),
    ("Trends", pb.TrendsRequest(window_s=4e8), "window_s"),
    ("Trends", pb.TrendsRequest(window_s=math.nan), "window_s"),
    ("Trends", pb.TrendsRequest(until=-1), "until"),
    ("Trends", pb.TrendsRequest(until=-math.inf), "until"),
    ("Trends", pb.TrendsRequest(k=101), "k"),
    ("Intent", pb.IntentRequest(), "text"),
    ("Intent", pb.IntentRequest(text=" \n\t"), "text"),
    ("Intent", pb.IntentRequest(text=SECRET * 400), "text"),
    ("Intent", pb.IntentRequest(text="tea", k=1001), "k"),
    ("PostEvents", pb.PostEventsRequest(), "events"),
    ("PostEvents", pb.PostEventsRequest(events=[pb.Event()] * 10_001), "events"),
    ("PostEvents", pb.PostEventsRequest(events=[{"user_id": "a"}]), "events[0].item_id"),
    (
        "PostEvents",
        pb.PostEventsRequest(
            events=[{"user_id": "a", "item_id": "i1"}, {"user_id": LONG, "item_id": "i1"}]
        ),
        "events[1].user_id",
    ),
    *(
        (
            "PostEvents",
            pb.PostEventsRequest(events=[{"user_id": SECRET, "item_id": "i", "time": time}]),
            "events[0].time",
        )
        for time in (-1.0, math.nan, math.inf, 1e11)
    ),
    ("PutItems", pb.PutItemsRequest(), "items"),
    ("PutItems", pb.PutItemsRequest(items=[{"item_id": "a", "title": "A"}] * 2), "items"),
    ("PutItems", pb.PutItemsRequest(items=[{"item_id": "a"}]), "items[0].title"),
    ("PutItems", pb.PutItemsRequest(items=[{"title": "A"}]), "items[0].item_id"),
    (
        "PutItems",
        pb.PutItemsRequest(items=[{"item_id": "a", "title": SECRET * 200}]),
        "items[0].title",
    ),
    (
        "PutItems",
        pb.PutItemsRequest(items=[{"item_id": "a", "text": SECRET * 2000}]),
        "items[0].text",
    ),
    (
        "PutItems",
        pb.PutItemsRequest(items=[{"item_id": "a", "title": "A", "category": many(21)}]),
        "items[0].category",
    ),
    ("DeleteItems", pb.DeleteItemsRequest(), "item_ids"),
    ("DeleteItems", pb.DeleteItemsRequest(item_ids=many(10_001)), "item_ids"),
    ("DeleteItems", pb.DeleteItemsRequest(item_ids=["i1", LONG]), "item_ids[1]"),
    ("GetConsent", pb.ConsentRequest(), "user_id"),
    ("SetConsent", pb.SetConsentRequest(user_id=SECRET), "learning"),
    ("SetConsent", pb.SetConsentRequest(learning=True), "user_id"),
    ("Forget", pb.ForgetRequest(), "user_id"),
    ("Pseudonyms", pb.PseudonymsRequest(), "user_ids"),
    ("Pseudonyms", pb.PseudonymsRequest(user_ids=many(10_001)), "user_ids"),
    ("Pseudonyms", pb.PseudonymsRequest(user_ids=["a", ""]), "user_ids[1]"),
]


@pytest.mark.parametrize(("call", "request_", "where"), WRONG)
def test_out_of_range(call: str, request_: Message, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        list(CALLS[call].answer(World(), request_))
    error = caught.value
    assert error.where == where
    assert error.expected
    assert error.got
    assert SECRET not in str(error)


def test_every_call_but_two_has_a_field_that_can_be_wrong() -> None:
    assert {call for call, _, _ in WRONG} == set(CALLS) - {"Reload", "Status"}


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        ("Recommend", pb.RecommendRequest(**WHO, k=1000, diversity=1.0, mode="MODE_SCORE")),
        ("Recommend", pb.RecommendRequest(history={"item_ids": many(1000)})),
        ("Recommend", pb.RecommendRequest(**WHO, filters={"only_items": many(10_000)})),
        ("Interests", pb.InterestsRequest(**WHO, most=20)),
        ("Trends", pb.TrendsRequest(window_s=60, until=99_999_999_999, k=100)),
        ("Intent", pb.IntentRequest(text="t" * 4000)),
        ("PostEvents", pb.PostEventsRequest(events=[{"user_id": "ä" * 512, "item_id": "i1"}])),
        ("PutItems", pb.PutItemsRequest(items=[{"item_id": "a", "text": "t" * 20_000}])),
        ("DeleteItems", pb.DeleteItemsRequest(item_ids=many(10_000))),
        ("Audience", pb.AudienceRequest(interest="tea", size=1_000_000)),
    ],
)
def test_the_ends_of_the_ranges_are_in(call: str, request_: Message) -> None:
    CALLS[call].answer(World(), request_)


def test_milliseconds_are_recognised() -> None:
    request = pb.TrendsRequest(until=1.7e12)
    with pytest.raises(ConfigError, match="Divide milliseconds by 1000"):
        CALLS["Trends"].answer(World(), request)


def test_zero_means_the_default() -> None:
    found = CALLS["Trends"].answer(World(), pb.TrendsRequest())
    assert (found.since, found.until, len(found.rising)) == (-604_800.0, 0.0, 10)
    assert len(CALLS["Recommend"].answer(World(), pb.RecommendRequest(**WHO)).items) == 10
    assert len(list(CALLS["Audience"].answer(World(), pb.AudienceRequest(interest="tea")))) == 100
