"""Every call of the protocol: its request, and how `Answers` answer it.  No sockets."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from clients.serving.engine import Answers
from clients.serving.service import limits, replies, requests
from clients.serving.wire import serving_pb2 as pb

SERVICE: str = pb.DESCRIPTOR.services_by_name["Serving"].full_name


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call.

    Args:
        name: as in the protocol.
        request: its type.
        answer: (answers, request) -> reply; of one that streams, replies.
        streams: whether many replies come.
    """

    name: str
    request: type[Message]
    answer: Callable[[Answers, Any], Any]
    streams: bool = False

    @property
    def path(self) -> str:
        """Its last part for HTTP: recommend, similar_items, ..."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()


def _recommend(answers: Answers, request: pb.RecommendRequest) -> pb.RecommendReply:
    return replies.recommended(
        answers.recommend(
            requests.who(request),
            k=requests.k(request.k),
            filters=requests.filters(request),
            diversity=limits.share(request.diversity, "diversity"),
            mode=requests.mode(request),
        )
    )


def _similar_items(answers: Answers, request: pb.SimilarItemsRequest) -> pb.SimilarItemsReply:
    item_id = limits.id_of(request.item_id, "item_id")
    found = answers.similar_items(
        item_id, k=requests.k(request.k), filters=requests.filters(request)
    )
    return replies.similar(found)


def _interests(answers: Answers, request: pb.InterestsRequest) -> pb.InterestsReply:
    most = limits.whole(request.most, "most", most=limits.MAX_INTERESTS, default=5)
    return replies.profile(answers.interests(requests.who(request), most=most))


def _explain(answers: Answers, request: pb.ExplainRequest) -> pb.ExplainReply:
    item_id = limits.id_of(request.item_id, "item_id")
    return replies.explained(answers.explain(requests.who(request), item_id))


def _audience(answers: Answers, request: pb.AudienceRequest) -> Iterator[pb.AudienceMember]:
    interest, item_id = requests.about(request)
    size = limits.whole(request.size, "size", most=limits.MAX_AUDIENCE, default=100)
    return map(replies.member, answers.audience(interest=interest, item_id=item_id, size=size))


def _similar_users(answers: Answers, request: pb.SimilarUsersRequest) -> pb.SimilarUsersReply:
    found = answers.similar_users(limits.id_of(request.user_id, "user_id"), k=requests.k(request.k))
    return pb.SimilarUsersReply(users=[replies.member(one) for one in found])


def _trends(answers: Answers, request: pb.TrendsRequest) -> pb.TrendsReply:
    found = answers.trends(
        window_s=limits.window(request.window_s, "window_s"),
        until=limits.time(request.until, "until"),
        k=limits.whole(request.k, "k", most=limits.MAX_TRENDS, default=10),
    )
    return replies.trends(found)


def _intent(answers: Answers, request: pb.IntentRequest) -> pb.IntentReply:
    return replies.intent(answers.intent(requests.intent(request), k=requests.k(request.k)))


def _post_events(answers: Answers, request: pb.PostEventsRequest) -> pb.PostEventsReply:
    return replies.posted(answers.post_events(requests.events(request)))


def _put_items(answers: Answers, request: pb.PutItemsRequest) -> pb.PutItemsReply:
    return replies.put(answers.put_items(requests.items(request)))


def _delete_items(answers: Answers, request: pb.DeleteItemsRequest) -> pb.DeleteItemsReply:
    ids = limits.texts(request.item_ids, "item_ids", least=1, most=limits.MAX_IDS)
    return replies.deleted(answers.delete_items(ids))


def _get_consent(answers: Answers, request: pb.ConsentRequest) -> pb.Consent:
    return replies.consent(answers.consent(limits.id_of(request.user_id, "user_id")))


def _set_consent(answers: Answers, request: pb.SetConsentRequest) -> pb.Consent:
    user_id = limits.id_of(request.user_id, "user_id")
    return replies.consent(answers.set_consent(user_id, **requests.consent(request)))


def _forget(answers: Answers, request: pb.ForgetRequest) -> pb.ForgetReply:
    return replies.forgotten(answers.forget(limits.id_of(request.user_id, "user_id")))


def _pseudonyms(answers: Answers, request: pb.PseudonymsRequest) -> pb.PseudonymsReply:
    ids = limits.texts(request.user_ids, "user_ids", least=1, most=limits.MAX_IDS)
    return pb.PseudonymsReply(pseudonyms=answers.pseudonyms(ids))


def _reload(answers: Answers, _: pb.ReloadRequest) -> pb.ReloadReply:
    return replies.reloaded(answers.reload())


def _status(answers: Answers, _: pb.StatusRequest) -> pb.StatusReply:
    return replies.status(answers.status())


CALLS: Mapping[str, Call] = {
    call.name: call
    for call in (
        Call(name="Recommend", request=pb.RecommendRequest, answer=_recommend),
        Call(name="SimilarItems", request=pb.SimilarItemsRequest, answer=_similar_items),
        Call(name="Interests", request=pb.InterestsRequest, answer=_interests),
        Call(name="Explain", request=pb.ExplainRequest, answer=_explain),
        Call(name="Audience", request=pb.AudienceRequest, answer=_audience, streams=True),
        Call(name="SimilarUsers", request=pb.SimilarUsersRequest, answer=_similar_users),
        Call(name="Trends", request=pb.TrendsRequest, answer=_trends),
        Call(name="Intent", request=pb.IntentRequest, answer=_intent),
        Call(name="PostEvents", request=pb.PostEventsRequest, answer=_post_events),
        Call(name="PutItems", request=pb.PutItemsRequest, answer=_put_items),
        Call(name="DeleteItems", request=pb.DeleteItemsRequest, answer=_delete_items),
        Call(name="GetConsent", request=pb.ConsentRequest, answer=_get_consent),
        Call(name="SetConsent", request=pb.SetConsentRequest, answer=_set_consent),
        Call(name="Forget", request=pb.ForgetRequest, answer=_forget),
        Call(name="Pseudonyms", request=pb.PseudonymsRequest, answer=_pseudonyms),
        Call(name="Reload", request=pb.ReloadRequest, answer=_reload),
        Call(name="Status", request=pb.StatusRequest, answer=_status),
    )
}
"""By name, in the order of the protocol."""
