"""Answers of `clients.serving.answers` as replies of the protocol."""

from collections.abc import Sequence

from clients.serving import answers as a
from clients.serving.wire import serving_pb2 as pb
from shared.operations.logs import tidy


def item(one: a.Item) -> pb.Item:
    """An item."""
    return pb.Item(item_id=one.item_id, title=one.title, category=one.category)


def parts(one: a.Parts) -> pb.Parts:
    """Where a score comes from."""
    return pb.Parts(
        shared_model=one.shared_model, co_occurrence=one.co_occurrence, popularity=one.popularity
    )


def scored(items: Sequence[a.ScoredItem]) -> list[pb.ScoredItem]:
    """Items with their cosines."""
    return [pb.ScoredItem(item=item(one.item), score=one.score) for one in items]


def recommended(one: a.Recommended) -> pb.RecommendReply:
    """Recommend."""
    return pb.RecommendReply(
        items=[
            pb.Recommendation(item=item(each.item), score=each.score, parts=parts(each.parts))
            for each in one.items
        ],
        events=one.events,
        snapshot=one.snapshot,
    )


def similar(one: a.Similar) -> pb.SimilarItemsReply:
    """SimilarItems."""
    return pb.SimilarItemsReply(items=scored(one.items), snapshot=one.snapshot)


def profile(one: a.Profile) -> pb.InterestsReply:
    """Interests."""
    return pb.InterestsReply(
        interests=[
            pb.Interest(
                label=each.label,
                weight=each.weight,
                titles=each.titles,
                events=[item(event) for event in each.events],
            )
            for each in one.interests
        ],
        read=[item(each) for each in one.read],
        snapshot=one.snapshot,
    )


def explained(one: a.Explained) -> pb.ExplainReply:
    """Explain."""
    return pb.ExplainReply(
        item=item(one.item),
        score=one.score,
        parts=parts(one.parts),
        events=[pb.Contribution(event=item(event), share=share) for event, share in one.events],
        interests=shares(one.interests),
        snapshot=one.snapshot,
    )


def shares(found: Sequence[tuple[str, float]]) -> list[pb.InterestShare]:
    """Interests with their shares."""
    return [pb.InterestShare(label=label, share=share) for label, share in found]


def member(one: a.Member) -> pb.AudienceMember:
    """One of Audience or SimilarUsers."""
    return pb.AudienceMember(pseudonym=one.pseudonym, score=one.score)


def trends(one: a.Trends) -> pb.TrendsReply:
    """Trends."""
    return pb.TrendsReply(
        rising=[_trend(each) for each in one.rising],
        falling=[_trend(each) for each in one.falling],
        since=one.since,
        until=one.until,
    )


def _trend(one: a.Trend) -> pb.Trend:
    return pb.Trend(
        label=one.label, events=one.events, before=one.before, change=one.change, z=one.z
    )


def intent(one: a.Intent) -> pb.IntentReply:
    """Intent."""
    return pb.IntentReply(
        interests=shares(one.interests), items=scored(one.items), snapshot=one.snapshot
    )


def posted(one: a.Posted) -> pb.PostEventsReply:
    """PostEvents."""
    return pb.PostEventsReply(
        accepted=one.accepted,
        unknown_items=one.unknown_items,
        opted_out=one.opted_out,
        repeated_events=one.repeated,
    )


def put(one: a.Put) -> pb.PutItemsReply:
    """PutItems."""
    return pb.PutItemsReply(added=one.added, changed=one.changed, unchanged=one.unchanged)


def deleted(one: a.Deleted) -> pb.DeleteItemsReply:
    """DeleteItems."""
    return pb.DeleteItemsReply(
        deleted=one.deleted, already_deleted=one.already, unknown=one.unknown
    )


def consent(one: a.Consent) -> pb.Consent:
    """GetConsent, SetConsent."""
    return pb.Consent(learning=one.learning, similar_users=one.similar_users)


def forgotten(one: a.Forgotten) -> pb.ForgetReply:
    """Forget."""
    return pb.ForgetReply(receipt=one.receipt, found=one.found)


def reloaded(one: a.Reloaded) -> pb.ReloadReply:
    """Reload."""
    return pb.ReloadReply(snapshot=one.snapshot, round=one.round, changed=one.changed)


def status(one: a.Status) -> pb.StatusReply:
    """Status."""
    return pb.StatusReply(
        platform=one.platform,
        snapshot=one.snapshot,
        round=one.round,
        items=one.items,
        users=one.users,
        events=one.events,
        exact=one.exact,
        loaded=one.loaded,
        reads_texts=one.reads_texts,
        no_texts=tidy(one.no_texts),
        left_out=one.left_out,
        pending=one.pending,
    )
