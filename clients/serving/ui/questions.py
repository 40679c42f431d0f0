"""The views that answer a question: from a form to what its template shows.

Each returns plain values; an error of the engine is the caller's to put into words.
"""

import math
from collections.abc import Callable
from typing import Any

from clients.serving import answers as a
from clients.serving.loaded import Loaded
from clients.serving.ui.drawing import falling
from clients.serving.ui.forms import Form
from clients.serving.ui.opened import Desk
from shared.errors import ConsentError, UnknownError

_HITS = 12
_MEMBERS = 12
_MOST_MEMBERS = 1_000_000
MODES = (("score", "Best guess (what the service gives)"), ("interest", "By interests alone"))
WINDOWS = (1, 7, 30, 90)
DAY_S = 86_400.0


def profile(desk: Desk, form: Form) -> dict[str, Any]:
    """A user's interests, the events behind them, and who is alike."""
    user = form.text("user")
    most = int(form.number("most", 5, 1, 20))
    found: dict[str, Any] = {"user": user, "most": most, "profile": None}
    if not user:
        return found
    found["profile"] = desk.engine.interests(a.Who(user_id=user), most=most)
    try:
        found["alike"] = desk.engine.similar_users(user, k=8)
    except ConsentError:
        found["alike"] = None  # opted out was said above: this is not opted in
    return found


def said_of_profile(found: dict[str, Any]) -> str:
    """For the live region."""
    if found["profile"] is None:
        return ""
    count = len(found["profile"].interests)
    return f"{count} interest{'' if count == 1 else 's'} found."


def tryout(desk: Desk, form: Form) -> dict[str, Any]:
    """Recommendations for a user or a made-up history, each with its parts; one explained."""
    loaded = desk.engine.loaded
    history = [item for item in form.several("history") if item in loaded.snapshot.catalogue.row_of]
    if (added := form.text("add")) in loaded.snapshot.catalogue.row_of and added not in history:
        history.append(added)
    if (removed := form.text("remove")) in history:
        history.remove(removed)
    find, user = form.text("find"), form.text("user")
    by_user = form.text("who", "user") == "user"
    if added or removed:
        by_user = False
    found: dict[str, Any] = {
        "user": user,
        "by_user": by_user,
        "history": [loaded.item(loaded.snapshot.catalogue.row_of[item]) for item in history],
        "find": find,
        "hits": search(loaded, find, tuple(history)),
        "k": int(form.number("k", 10, 1, 50)),
        "diversity": form.number("diversity", 0, 0, 1),
        "only": form.several("only"),
        "without": form.several("without"),
        "seen": bool(form.text("seen")),
        "mode": form.text("mode", "score"),
        "categories": categories(loaded),
        "modes": MODES,
        "result": None,
        "explained": None,
    }
    if not (user if by_user else history):
        return found
    who = a.Who(user_id=user) if by_user else a.Who(item_ids=tuple(history))
    found["result"] = desk.engine.recommend(
        who,
        k=found["k"],
        diversity=found["diversity"],
        mode=a.Mode.INTEREST_CONTENT if found["mode"] == "interest" else a.Mode.SCORE,
        filters=a.Filters(
            categories=found["only"],
            exclude_categories=found["without"],
            include_seen=found["seen"],
        ),
    )
    if wanted := form.text("explain"):
        found["explained"] = desk.engine.explain(who, wanted)
    return found


def said_of_tryout(found: dict[str, Any]) -> str:
    """For the live region."""
    said = []
    if found["find"]:
        said.append(f"{len(found['hits'])} titles found.")
    if found["result"] is not None:
        said.append(f"{len(found['result'].items)} recommendations.")
    if found["explained"] is not None:
        said.append(f"{found['explained'].item.title} is explained.")
    return " ".join(said)


def sentence(desk: Desk, form: Form) -> dict[str, Any]:
    """Which interests and items a sentence is about; why that cannot be said, where it cannot."""
    text = form.text("text")
    found: dict[str, Any] = {"text": text, "intent": None}
    if text and desk.engine.status().reads_texts:
        found["intent"] = desk.engine.intent(text, k=10)
    return found


def said_of_sentence(found: dict[str, Any]) -> str:
    """For the live region."""
    if found["intent"] is None:
        return ""
    count = len(found["intent"].interests)
    return f"{count} interest{'' if count == 1 else 's'} and {len(found['intent'].items)} items."


def trends(desk: Desk, form: Form) -> dict[str, Any]:
    """What rises and falls among the events that were posted."""
    days = form.number("days", 7, 1 / 24, 3650)
    found = desk.engine.trends(window_s=days * DAY_S, until=0.0, k=10)
    return {
        "days": days,
        "windows": WINDOWS,
        "trends": found,
        "events": desk.live.events(),
        "most": max(
            (abs(math.log2(one.change)) for one in (*found.rising, *found.falling)), default=1
        ),
        "log2": math.log2,
    }


def said_of_trends(found: dict[str, Any]) -> str:
    """For the live region."""
    told = found["trends"]
    return f"{len(told.rising)} rising, {len(told.falling)} falling."


def audience(desk: Desk, form: Form) -> dict[str, Any]:
    """How many users are close to an interest or an item."""
    loaded = desk.engine.loaded
    named = categories(loaded)
    find, interest = form.text("find"), form.text("interest")
    item = form.text("pick") or form.text("item")
    by_item = form.text("about", "interest" if named else "item") == "item"
    if form.text("pick"):
        by_item = True
    row = loaded.snapshot.catalogue.row_of.get(item)
    found: dict[str, Any] = {
        "categories": named,
        "interest": interest,
        "by_item": by_item,
        "item": None if row is None else loaded.item(row),
        "find": find,
        "hits": search(loaded, find, ()),
        "least": form.number("least", 0.3, -1, 1),
        "members": None,
    }
    if item and row is None:
        raise UnknownError(expected="an item of the catalogue", got="another", where="item_id")
    if not (item if by_item else interest):
        return found
    members = list(
        desk.engine.audience(
            interest=None if by_item else interest,
            item_id=item if by_item else None,
            size=_MOST_MEMBERS,
        )
    )
    scores = [one.score for one in members]
    inside = sum(score >= found["least"] for score in scores)
    found |= {
        "members": members[: min(_MEMBERS, inside)],
        "users": len(members),
        "inside": inside,
        "curve": falling(
            scores,
            found["least"],
            f"Closeness of {len(members)} users, from {scores[0]:.2f} down to {scores[-1]:.2f}; "
            f"{inside} reach {found['least']:.2f}.",
        )
        if members
        else None,
        "best": scores[0] if scores else 0.0,
        "worst": scores[-1] if scores else 0.0,
        "about": found["item"].title if by_item and found["item"] else interest,
    }
    return found


def said_of_audience(found: dict[str, Any]) -> str:
    """For the live region."""
    if found["members"] is None:
        return f"{len(found['hits'])} titles found." if found["find"] else ""
    return f"{found['inside']} of {found['users']} users are in this audience."


QUESTIONS: dict[
    str, tuple[Callable[[Desk, Form], dict[str, Any]], Callable[[dict[str, Any]], str]]
] = {
    "profile": (profile, said_of_profile),
    "try": (tryout, said_of_tryout),
    "sentence": (sentence, said_of_sentence),
    "trends": (trends, said_of_trends),
    "audience": (audience, said_of_audience),
}


def search(loaded: Loaded, text: str, without: tuple[str, ...]) -> list[a.Item]:
    """Items whose title has all the words, titles that begin with the text first, then by how
    popular they are; none for an empty text, and none that is blocked.
    """
    words = text.casefold().split()
    if not words:
        return []
    catalogue, allowed = loaded.snapshot.catalogue, loaded.shelf.open
    hits = [
        row
        for row, title in enumerate(catalogue.titles)
        if allowed[row]
        and catalogue.ids[row] not in without
        and all(word in title.casefold() for word in words)
    ]
    start = " ".join(words)
    popular = loaded.snapshot.popularity
    hits.sort(
        key=lambda row: (
            not catalogue.titles[row].casefold().startswith(start),
            -float(popular[row]),
            row,
        )
    )
    return [loaded.item(row) for row in hits[:_HITS]]


def categories(loaded: Loaded) -> list[str]:
    """Names of categories with something to show in them."""
    return sorted(
        (name for name, rows in loaded.shelf.by_category.items() if loaded.shelf.open[rows].any()),
        key=str.casefold,
    )
