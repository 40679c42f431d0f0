"""Replies of the protocol as values of `clients.serving.answers`: for those who ask."""

from collections.abc import Iterable

from clients.serving import answers as a
from clients.serving.wire import serving_pb2 as pb


def item(one: pb.Item) -> a.Item:
    """An item."""
    return a.Item(item_id=one.item_id, title=one.title, category=tuple(one.category))


def parts(one: pb.Parts) -> a.Parts:
    """Where a score comes from."""
    return a.Parts(
        shared_model=one.shared_model, co_occurrence=one.co_occurrence, popularity=one.popularity
    )


def scored(items: Iterable[pb.ScoredItem]) -> tuple[a.ScoredItem, ...]:
    """Items with their cosines."""
    return tuple(a.ScoredItem(item=item(one.item), score=one.score) for one in items)


def recommended(one: pb.RecommendReply) -> a.Recommended:
    """Recommend."""
    return a.Recommended(
        items=tuple(
            a.Recommendation(item=item(each.item), score=each.score, parts=parts(each.parts))
            for each in one.items
        ),
        events=one.events,
        snapshot=one.snapshot,
    )


def similar(one: pb.SimilarItemsReply) -> a.Similar:
    """SimilarItems."""
    return a.Similar(items=scored(one.items), snapshot=one.snapshot)


def profile(one: pb.InterestsReply) -> a.Profile:
    """Interests."""
    return a.Profile(
        interests=tuple(
            a.Interest(
                label=each.label,
                weight=each.weight,
                titles=tuple(each.titles),
                events=tuple(item(event) for event in each.events),
            )
            for each in one.interests
        ),
        read=tuple(item(each) for each in one.read),
        snapshot=one.snapshot,
    )


def explained(one: pb.ExplainReply) -> a.Explained:
    """Explain."""
    return a.Explained(
        item=item(one.item),
        score=one.score,
        parts=parts(one.parts),
        events=tuple((item(each.event), each.share) for each in one.events),
        interests=shares(one.interests),
        snapshot=one.snapshot,
    )


def shares(found: Iterable[pb.InterestShare]) -> tuple[tuple[str, float], ...]:
    """Interests with their shares."""
    return tuple((one.label, one.share) for one in found)


def member(one: pb.AudienceMember) -> a.Member:
    """One of Audience or SimilarUsers."""
    return a.Member(pseudonym=one.pseudonym, score=one.score)


def trends(one: pb.TrendsReply) -> a.Trends:
    """Trends."""
    return a.Trends(
        rising=tuple(_trend(each) for each in one.rising),
        falling=tuple(_trend(each) for each in one.falling),
        since=one.since,
        until=one.until,
    )


def _trend(one: pb.Trend) -> a.Trend:
    return a.Trend(
        label=one.label, events=one.events, before=one.before, change=one.change, z=one.z
    )


def intent(one: pb.IntentReply) -> a.Intent:
    """Intent."""
    return a.Intent(interests=shares(one.interests), items=scored(one.items), snapshot=one.snapshot)


def posted(one: pb.PostEventsReply) -> a.Posted:
    """PostEvents."""
    return a.Posted(
        accepted=one.accepted,
        unknown_items=one.unknown_items,
        opted_out=one.opted_out,
        repeated=one.repeated_events,
    )


def put(one: pb.PutItemsReply) -> a.Put:
    """PutItems."""
    return a.Put(added=one.added, changed=one.changed, unchanged=one.unchanged)


def deleted(one: pb.DeleteItemsReply) -> a.Deleted:
    """DeleteItems."""
    return a.Deleted(deleted=one.deleted, already=one.already_deleted, unknown=tuple(one.unknown))


def consent(one: pb.Consent) -> a.Consent:
    """GetConsent, SetConsent."""
    return a.Consent(learning=one.learning, similar_users=one.similar_users)


def forgotten(one: pb.ForgetReply) -> a.Forgotten:
    """Forget."""
    return a.Forgotten(receipt=one.receipt, found=one.found)


def reloaded(one: pb.ReloadReply) -> a.Reloaded:
    """Reload."""
    return a.Reloaded(snapshot=one.snapshot, round=one.round, changed=one.changed)


def status(one: pb.StatusReply) -> a.Status:
    """Status."""
    return a.Status(
        platform=one.platform,
        snapshot=one.snapshot,
        round=one.round,
        items=one.items,
        users=one.users,
        events=one.events,
        exact=one.exact,
        loaded=one.loaded,
        no_texts=one.no_texts,
        left_out=one.left_out,
        pending=one.pending,
    )
