"""What `init` finds out: what was said, what the files say, and the rest asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clients.joining.start import (
    Answers,
    check_sources,
    columns_of,
    likely,
    public_population,
    time_unit_of,
    users_of,
)
from clients.settings import ClientFolder
from shared.errors import ConfigError

Ask = Callable[[str, str], str]
"""(question, proposal) -> answer."""

_QUESTIONS = {
    "user": "Column of the log with the user's id",
    "item": "Column of the log with the item's id",
    "time": "Column of the log with the time (- for none)",
    "item_id": "Column of the catalogue with the item's id",
    "title": "Column of the catalogue with the title",
    "category": "Column of the catalogue with a category (- for none)",
}
_OPTIONAL = ("time", "category")


@dataclass(frozen=True, kw_only=True)
class Given:
    """What was said already; None where it was not.

    Args:
        columns: see `clients.joining.start.Answers`.
    """

    name: str | None = None
    kind: str | None = None
    population: int | None = None
    events: Path | None = None
    items: Path | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)
    time_unit: str | None = None
    separator: str | None = None
    header: tuple[str, ...] = ()


def interview(folder: ClientFolder, given: Given, ask: Ask | None) -> Answers:
    """Everything that `begin` needs.

    Args:
        ask: None takes what is proposed.

    Raises:
        ConfigError: something has no proposal and nobody can be asked.
        SourceError: a file cannot be read, or has no such column.
    """
    events = _path(given.events, "events", "The log: a file or a folder", ask)
    items = _path(given.items, "items", "The catalogue", ask)
    log_columns = list(given.header) or columns_of(events, given.separator)
    item_columns = columns_of(items)
    columns: dict[str, str] = {}
    for what, question in _QUESTIONS.items():
        of_log = what in ("user", "item", "time")
        present = log_columns if of_log else item_columns
        proposed = given.columns.get(what)
        if proposed is None:
            proposed = likely(present, "item" if what == "item_id" else what)
            if proposed is None and what == "item_id" and columns["item"] in present:
                proposed = columns["item"]
            if proposed is None and what == "item_id" and "id" in present:
                proposed = "id"
            proposed = _settled(question, proposed, present, ask, optional=what in _OPTIONAL)
        if proposed and proposed != "-":
            columns[what] = proposed
    headless = bool(given.header)
    unit = given.time_unit or "s"
    if "time" in columns and given.time_unit is None and not headless:
        unit = time_unit_of(events, columns["time"], given.separator)
    population = given.population
    if population is None:
        users = 0 if headless else users_of(events, columns["user"], given.separator)
        text = str(public_population(users)) if users else ""
        answer = _settled("Number of users to declare, public", text, [], ask, optional=False)
        try:
            population = int(answer or "")
        except ValueError:
            raise ConfigError(
                expected="a whole number", got=repr(answer), where="--population"
            ) from None
    answers = Answers(
        name=_word(given.name, "Name of the platform", folder.path.name, ask),
        kind=_word(given.kind, "What it is, in a word", "platform", ask),
        population=population,
        events=events,
        items=items,
        columns=columns,
        time_unit=unit,
        separator=given.separator,
        header=given.header,
    )
    check_sources(answers)
    return answers


def _path(given: Path | None, name: str, question: str, ask: Ask | None) -> Path:
    if given is None and ask is not None:
        given = Path(ask(question, ""))
    if given is None:
        raise ConfigError(
            expected=f"--{name} PATH",
            got="none",
            where="fedinterest-client init",
            remedy="It says where the platform's data is.",
        )
    return given.expanduser().resolve()


def _word(given: str | None, question: str, proposed: str, ask: Ask | None) -> str:
    if given is not None:
        return given
    return proposed if ask is None else ask(question, proposed)


def _settled(
    question: str, proposed: str | None, present: list[str], ask: Ask | None, *, optional: bool
) -> str | None:
    if ask is not None:
        shown = f"{question} [{', '.join(present[:12])}]" if present else question
        return ask(shown, proposed or ("-" if optional else ""))
    if not proposed and not optional:
        raise ConfigError(
            expected=question.lower(),
            got=f"no column that looks like it among {', '.join(present[:12])}"
            if present
            else "none",
            where="fedinterest-client init",
            remedy="Say it with an option; --help lists them.",
        )
    return proposed
