"""What a visitor sees: from a path and a form to a page.  No sockets here.

Rules:
1. A user's id comes in by a form and goes out in the field it was typed into, nowhere else; so does
   a sentence.
2. A question that cannot be answered is a page that says why, beside the form as it was filled in.
3. Whatever keeps everything from being answered is a page too, with status 503.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from clients.serving.ui import words
from clients.serving.ui.drawing import whisker
from clients.serving.ui.figures import Figures
from clients.serving.ui.forms import EMPTY, Form
from clients.serving.ui.opened import Desk, Opened
from clients.serving.ui.problems import Problem, problem_of, unprepared
from clients.serving.ui.questions import QUESTIONS
from shared.drawing import bar
from shared.errors import ConfigError, FedInterestError

VIEWS = {
    "": "Overview",
    "profile": "Profiles",
    "try": "Try it",
    "sentence": "Sentences",
    "trends": "Trends",
    "audience": "Audience",
    "fairness": "Fairness",
}
_ASSETS = {"style.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}
HTML = "text/html; charset=utf-8"
_LEAST_SCALE = 0.001  # of a figure's change: what is nothing stands in the middle


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One reply of HTTP."""

    body: bytes
    code: int = 200
    kind: str = HTML


class Pages:
    """All pages of one platform; safe to be called from many threads.

    Args:
        opened: the engine.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened, self._figures = opened, Figures()

    def warm(self) -> None:
        """Work out now what the first visitor would otherwise wait for."""
        try:
            desk = self._opened.desk()
            self._figures.moved(desk)
            self._figures.fairness(desk)
            self._figures.spent(desk)
        except FedInterestError:
            pass  # the page says it

    def answer(self, path: str, form: Form | None = None) -> Answer | None:
        """The reply to a path below the token; None where there is nothing.

        Args:
            form: what was posted; None for a GET.
        """
        if path in _ASSETS and form is None:
            return Answer(body=_asset(path).encode("utf-8"), kind=_ASSETS[path])
        if path not in VIEWS or (form is not None and path not in QUESTIONS):
            return None
        try:
            desk = self._opened.desk()
        except FedInterestError as error:
            return self._page(path, None, "problem.html", {"problem": unprepared(error)}, code=503)
        if path in QUESTIONS:
            return self._question(path, desk, form or EMPTY)
        try:
            values = self._overview(desk) if path == "" else self._fairness(desk)
        except FedInterestError as error:
            return self._page(path, desk, "problem.html", {"problem": problem_of(error)})
        return self._page(path, desk, "overview.html" if path == "" else "fairness.html", values)

    def refused(self, text: str) -> Answer:
        """A form that could not be read."""
        problem = Problem("That could not be read", text, "Go back, and send it again.")
        return self._page("", None, "problem.html", {"problem": problem}, code=400)

    def _question(self, path: str, desk: Desk, form: Form) -> Answer:
        ask, say = QUESTIONS[path]
        problem: Problem | None = None
        try:
            found = ask(desk, form)
            said = say(found)
        except FedInterestError as error:
            problem = problem_of(error)
            said = f"{problem.title}. {problem.text}"
            found = self._unanswered(path, desk, form, error)
        return self._page(path, desk, f"{path}.html", {**found, "problem": problem, "said": said})

    def _unanswered(
        self, path: str, desk: Desk, form: Form, error: FedInterestError
    ) -> dict[str, Any]:
        """The form as it was filled in, without an answer."""
        kept = {
            name: texts
            for name, texts in form.fields.items()
            # a number that does not fit is put back to what it was before anything was typed
            if not (isinstance(error, ConfigError) and name.replace("_", " ") == error.where)
        }
        asked = {name: texts for name, texts in kept.items() if name not in _ASKING[path]}
        found = QUESTIONS[path][0](desk, Form(asked))
        typed = Form(kept)
        for name in ("user", "interest", "text"):
            if name in found:
                found[name] = typed.text(name)
        if "by_user" in found:
            found["by_user"] = typed.text("who", "user") == "user"
        return found

    def _overview(self, desk: Desk) -> dict[str, Any]:
        figures = self._figures
        return {
            "spent": figures.spent(desk),
            "prepared": figures.prepared(desk),
            "moved": figures.moved(desk),
            "fairness": figures.fairness(desk),
            "stock": desk.engine.loaded.stock,
        }

    def _fairness(self, desk: Desk) -> dict[str, Any]:
        found = self._figures.fairness(desk)
        groups = found.groups if found is not None else ()
        ends = [end for one in groups for end in (one.change.low, one.change.high)]
        return {
            "fairness": found,
            "low": min([-_LEAST_SCALE, *ends]),
            "high": max([_LEAST_SCALE, *ends]),
            "spread": max((one.ndcg.high for one in groups), default=1.0),
        }

    def _page(
        self, path: str, desk: Desk | None, template: str, values: dict[str, Any], code: int = 200
    ) -> Answer:
        values = {"said": "", "problem": None, **values}
        text = (
            _environment()
            .get_template(template)
            .render(
                view=path,
                views=VIEWS,
                status=None if desk is None else desk.engine.status(),
                bar=bar,
                whisker=whisker,
                words=words,
                **values,
            )
        )
        return Answer(body=text.encode("utf-8"), code=code)


# What makes a form a question; without these it is only shown again.
_ASKING = {
    "profile": ("user",),
    "try": ("user", "who", "explain"),
    "sentence": ("text",),
    "trends": ("days",),
    "audience": ("interest", "item", "pick", "about"),
}


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("clients.serving.ui", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["coded"] = words.coded
    return made


@cache
def _asset(name: str) -> str:
    return resources.files("clients.serving.ui").joinpath("templates", name).read_text("utf-8")
