"""`fedinterest recommend`: what a trained run recommends to a user, or after a list of items."""

import difflib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clients.platform import Platform
from clients.recommending.recommend import (
    Recommendation,
    Recommendations,
    Recommender,
    number_of,
    rows_of,
)
from clients.splits import MIN_EVENTS
from server.rounds import checkpoint as checkpoints
from server.rounds.checkpoint import Checkpoint
from shared.config.federation import run_federation
from shared.errors import ConfigError, DataError, RunError
from shared.whitening import Whitening
from simulations.prepare import open_prepared

_LONGEST = 80  # characters of a title in the table
_SHORT = 48  # and in an explanation
_FELT = 0.005  # a smaller contribution would be shown as 0 %
_EVENTS = 3  # that an explanation shows; --json has all of them


@dataclass(frozen=True, kw_only=True)
class Recommended:
    """Recommendations and what they were made with.

    Args:
        platform, kind: the platform's name and what it is.
        round, rounds: the adapter's last finished round, of how many.
        private: False where the adapter was trained without any guarantee.
        events: the length of the known history; the model may have read less of it.
        found: the recommendations.
    """

    platform: str
    kind: str
    round: int
    rounds: int
    private: bool
    events: int
    found: Recommendations

    def as_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; no user id and no pseudonym is among them."""
        read = self.found.read
        return {
            "platform": self.platform,
            "round": self.round,
            "rounds": self.rounds,
            "private": self.private,
            "history": {
                "events": self.events,
                "read": [{"item_id": item.item_id, "title": item.title} for item in read],
            },
            "interests": [
                {
                    "label": interest.label,
                    "weight": interest.weight,
                    "titles": list(interest.items),
                    "events": [read[place].item_id for place in interest.events],
                }
                for interest in self.found.interests
            ],
            "recommendations": [
                self._one(rank, entry) for rank, entry in enumerate(self.found.items, 1)
            ],
        }

    def _one(self, rank: int, entry: Recommendation) -> dict[str, Any]:
        values: dict[str, Any] = {
            "rank": rank,
            "item_id": entry.item.item_id,
            "title": entry.item.title,
            "category": list(entry.item.category),
            "score": entry.score,
            "parts": {
                "shared_model": entry.parts.shared_model,
                "co_occurrence": entry.parts.co_occurrence,
                "popularity": entry.parts.popularity,
            },
        }
        if entry.explanation is not None:
            read = self.found.read
            values["explanation"] = {
                "events": [
                    {
                        "item_id": read[place].item_id,
                        "title": read[place].title,
                        "contribution": share,
                    }
                    for place, share in entry.explanation.events
                ],
                "interests": [
                    {"label": label, "contribution": share}
                    for label, share in entry.explanation.interests
                ],
            }
        return values

    def render(self, console: Console) -> None:
        """Print for people: tables, and under them why, if it was asked for."""
        heading = Text(_printable(f"{self.platform} ({self.kind})"), style="bold")
        unfinished = " (unfinished)" if self.round < self.rounds else ""
        heading.append(
            f"  {self.events} events known, {len(self.found.read)} read; "
            f"adapter of round {self.round} of {self.rounds}{unfinished}",
            style="dim",
        )
        console.print(heading)
        if not self.private:
            console.print(
                Text("NOT PRIVATE: this adapter was trained with epsilon = inf.", "bold red")
            )
        if self.found.interests:
            console.print()
            console.print(self._interests())
        console.print()
        if not self.found.items:
            console.print(Text("Nothing to recommend: every item is in the history."))
            return
        console.print(self._table())
        if any(entry.explanation for entry in self.found.items):
            for rank, entry in enumerate(self.found.items, 1):
                console.print()
                self._explain(console, rank, entry)
            console.print()
            console.print(
                Text(
                    "Contributions: what the score loses without the event, as a share of all such "
                    "losses; a negative one spoke against the item.",
                    style="dim",
                )
            )

    def _interests(self) -> Table:
        table = _table()
        table.add_column("interest", overflow="fold")
        table.add_column("weight", justify="right", no_wrap=True)
        table.add_column("for example", overflow="fold", style="dim")
        for interest in self.found.interests:
            shown = "; ".join(_short(title, _SHORT) for title in interest.items)
            weight = Text(f"{100 * interest.weight:.0f} %")
            table.add_row(Text(_printable(interest.label)), weight, Text(shown))
        return table

    def _table(self) -> Table:
        table = _table()
        table.add_column("#", justify="right", no_wrap=True)
        table.add_column("title", overflow="fold", ratio=3)
        categorised = any(entry.item.category for entry in self.found.items)
        if categorised:
            table.add_column("category", overflow="fold", style="dim", ratio=2)
        table.add_column("score", justify="right", no_wrap=True)
        for rank, entry in enumerate(self.found.items, 1):
            category = [Text(_printable(" / ".join(entry.item.category)))] if categorised else []
            title = Text(_short(entry.item.title, _LONGEST))
            table.add_row(str(rank), title, *category, f"{entry.score:.3f}")
        return table

    def _explain(self, console: Console, rank: int, entry: Recommendation) -> None:
        parts, why = entry.parts, entry.explanation
        if why is None:
            return
        console.print(Text(f"{rank}. {_short(entry.item.title, _LONGEST)}", style="bold"))
        lines = [
            f"score {entry.score:.3f} = {parts.shared_model:.3f} shared model "
            f"+ {parts.co_occurrence:.3f} co-occurrence + {parts.popularity:.3f} popularity"
        ]
        read = self.found.read
        shown = [
            f"{_percent(share)} {_short(read[place].title, _SHORT)}"
            for place, share in why.events[:_EVENTS]
            if abs(share) >= _FELT
        ]
        if len(why.events) > _EVENTS:
            left = sum(share for _, share in why.events[_EVENTS:])
            shown.append(f"{_percent(left)} {len(why.events) - _EVENTS} more")
        carried = [
            f"{_percent(share)} {_printable(label)}"
            for label, share in why.interests
            if abs(share) >= _FELT
        ]
        lines.append("events: " + ("; ".join(shown) or "none made a difference"))
        lines.append("interests: " + ("; ".join(carried) or "none made a difference"))
        for line in lines:
            console.print(Padding(Text(line), (0, 0, 0, 3), expand=False))


def recommend(
    run: Path,
    platform: str,
    *,
    user: str | None,
    history: list[str] | None,
    k: int = 10,
    explain: bool = False,
) -> Recommended:
    """Recommend with the newest adapter of a run folder.

    Args:
        user: a raw user id, as in the platform's log; all their events are the history, held-out
            ones included.
        history: instead of a user: item ids or exact titles, oldest first.
        k: how many items at most.
        explain: also say what carried each.

    Raises:
        ConfigError: no such platform; k under 1; both a user and a history, or neither.
        RunError: no run folder, nothing trained in it yet, or parts of it are missing.
        DataError: an unknown user, or unknown items.
        AdapterError, ProtocolError: the adapter is another base model's.
    """
    if k < 1:
        raise ConfigError(expected="k of at least 1", got=str(k), where="-k")
    if (user is None) == (not history):
        raise ConfigError(
            expected="a user or a history",
            got="neither" if user is None else "both",
            where="recommend",
            remedy="Give --user ID, or --history ITEM for each item, oldest first.",
        )
    own = _platform(run, platform)
    trained = _trained(run)
    settings = run_federation(run)
    try:
        adapter = own.own_adapter(trained.adapter, trained.round, settings.interpolation(own.name))
        recommender = Recommender.of(own, adapter, Whitening.from_arrays(trained.base))
        if user is not None:
            rows = _history_of(run, own, user)
        else:
            rows = rows_of(recommender.catalogue, history or [])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(
            expected="a whole platform folder",
            got=type(error).__name__,
            where=str(own.folder),
            remedy="Restore it, or train again in a new run folder.",
        ) from error
    return Recommended(
        platform=own.name,
        kind=own.record.kind,
        round=trained.round,
        rounds=settings.training.rounds,
        private=own.record.private,
        events=len(set(rows.tolist())),
        found=recommender.recommend(rows, k=k, explained=explain),
    )


def _platform(run: Path, name: str) -> Platform:
    found = sorted(path.parent.name for path in (run / "platforms").glob("*/platform.json"))
    if not found:
        raise RunError(
            expected="a run folder with platforms",
            got="none",
            where=str(run),
            remedy="`fedinterest simulate --out DIR` makes one.",
        )
    if name not in found:
        folded = {each.casefold(): each for each in found}
        near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
        hint = f"Did you mean {folded[near[0]]!r}? " if near else ""
        raise ConfigError(
            expected="a platform of the run",
            got=repr(name),
            where="--platform",
            remedy=f"{hint}The platforms are {', '.join(found)}.",
        )
    return Platform.open(run / "platforms" / name)


def _trained(run: Path) -> Checkpoint:
    found = checkpoints.latest(run / "checkpoints")
    if found is None or found.round < 1:
        raise RunError(
            expected="a run with a trained adapter",
            got="no checkpoint" if found is None else "one that has not finished its first round",
            where=str(run),
            remedy=f"Train it: fedinterest simulate RECIPE --out {run} --resume, "
            "with the recipe it was begun with.",
        )
    return found


def _history_of(run: Path, platform: Platform, user: str) -> NDArray[np.int32]:
    """(L,) all events of a user, those held out for evaluation included."""
    secret = (platform.folder / "pseudonym.secret").read_bytes()
    split = open_prepared(run, platform.folder.name).split
    number = number_of(split.train, secret, user)
    if number is None:
        raise DataError(
            expected="a user with a history on this platform",
            got="an unknown one",
            where=f"--user, platform {platform.name}",
            remedy="Write the id as the platform's log does. Who opted out, or has fewer than "
            f"{MIN_EVENTS} events left after cleaning, is not known here; "
            "--history ITEM works for anybody.",
        )
    if not len(split.validation) == len(split.test) == len(split):
        raise ValueError("held-out events of other users")
    held_out = np.array([split.validation[number], split.test[number]], dtype=np.int32)
    return np.concatenate([split.train[number], held_out])


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)


def _short(title: str, longest: int) -> str:
    text = _printable(title)
    return text if len(text) <= longest else text[: longest - 3].rstrip() + "..."


def _printable(text: str) -> str:
    """On one line and without control characters: titles are data, a terminal obeys them."""
    return "".join(c if c.isprintable() else " " for c in text)


def _percent(share: float) -> str:
    return f"{100 * share:+.0f} %"
