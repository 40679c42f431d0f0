"""`fedinterest audit epsilon`: what was spent, recomputed without trusting what is claimed.

What is accounted for are the charges in the ledgers (`spending`); what the results say are claims
(`claims`); what an epsilon rests on is checked first (`assumptions`), and where a check is missing
no epsilon is given, in JSON neither than to people.

Epsilon is for one user of one platform, all their events, at the delta that the ledger promises:

- add_remove: one user more or less.  The promise, and what is reported (PLD).
- replace_one: one user is another.  Their part of the clipped sum moves by up to 2 * clip_norm.
  PLD of the tight pair, an upper bound by its grid only; see `shared.privacy.accountant.Relation`.

Composition is over charges, by PLD, at the largest delta involved: for a person on every platform
of the run, for one whose data several runs used (`others`), and for both.  It bounds what all the
runs *release* together, so which of their releases is picked later does not matter; a choice made
by looking at exact (not private) metrics is not in it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import AccountantError, ConfigError
from shared.privacy.accountant import Charge, composed_epsilon, course
from simulations.audits import accountants
from simulations.audits.assumptions import (
    Assumption,
    CodeAudit,
    assume,
    only_secrecy_missing,
)
from simulations.audits.claims import Claims, against_platform, against_rounds, below
from simulations.audits.formal_page import render
from simulations.audits.kind import about
from simulations.audits.spending import Spending, read_spending
from simulations.environment import cache_folder

__all__ = ["recompute", "render"]

_STAGES = 64
"""Of longer runs `by_round` shows so many rounds, evenly spaced."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Book:
    """One run as this audit sees it."""

    run: Path
    spending: Mapping[str, Spending]
    assumptions: Sequence[Assumption]
    seeded_only: bool

    @property
    def cleared(self) -> bool:
        """Whether everything that an epsilon rests on was checked."""
        return all(one.checked for one in self.assumptions)


def recompute(run: Path, *, others: list[Path]) -> Json:
    """Recompute every epsilon of `run` from its ledgers, and compose it with `others`.

    Args:
        others: runs that used the same users' data (tuning, earlier versions).

    Returns:
        `ok`, `seconds`, `epsilon` (the largest platform's, or None), `missing` (names of checks),
        `assumptions`, `platforms`, `composed`, `findings`, and `if_the_noise_had_been_secret`: the
        same numbers for a seeded run of which everything else was checked, else None.

    Raises:
        RunError: a folder is no run folder.
        ConfigError: a run is given twice.
    """
    started = time.monotonic()
    audit = CodeAudit.read(cache_folder())
    books = [_open(folder, audit) for folder in (run, *others)]
    _check_distinct(books)
    accountants.warm_up()
    main = books[0]
    claims = Claims.read(run)
    findings = [
        {"platform": name, "run": str(book.run), "what": what}
        for book in books
        for name, one in book.spending.items()
        for what in (*one.problems, *(() if one.private else ("NOT PRIVATE: no guarantee",)))
    ]
    platforms: Json = {}
    for name, spending in main.spending.items():
        platforms[name], said = _platform(spending, claims)
        findings += [{"platform": name, "run": str(run), "what": what} for what in said]
    composed, said = _composed(books, claims)
    findings += [{"platform": None, "run": str(run), "what": what} for what in said]
    shown, together = platforms, composed
    if not main.cleared:
        shown = {name: _withheld(entry) for name, entry in platforms.items()}
    if not all(book.cleared for book in books):
        # What rests on this run alone may be shown where only another run lacks a check.
        keep = ("across_platforms",) if main.cleared else ()
        together = {
            key: composed[key] if key in keep else _withheld_tree(composed[key]) for key in composed
        }
    hypothetical = main.seeded_only and all(book.cleared or book.seeded_only for book in books)
    rows = [one for book in books for one in book.assumptions]
    missing = list(dict.fromkeys(one.name for one in rows if not one.checked))
    numbers = [entry["epsilon"] for entry in shown.values() if entry["epsilon"] is not None]
    return {
        "ok": not missing and not findings,
        "seconds": round(time.monotonic() - started, 3),
        "epsilon": max(numbers, default=None),
        "missing": missing,
        "assumptions": [one.row() for one in rows],
        "platforms": shown,
        "composed": together,
        "findings": findings,
        "if_the_noise_had_been_secret": (
            {"platforms": platforms, "composed": composed} if hypothetical else None
        ),
    }


def _open(run: Path, audit: CodeAudit) -> Book:
    from simulations.audits.verify import verify

    about(run)  # raises where it is no run
    spending = read_spending(run)
    rows = assume(run, spending, verified=verify(run), audit=audit)
    return Book(run, spending, rows, only_secrecy_missing(rows, spending, audit))


def _check_distinct(books: Sequence[Book]) -> None:
    """A run given twice would be charged twice, and one given as its own copy, too."""
    seen: dict[str, Path] = {}
    for book in books:
        heads = {one.ledger.head for one in book.spending.values() if one.ledger is not None}
        for mark in (str(book.run.resolve()), *heads):
            if mark in seen:
                raise ConfigError(
                    expected="every run once",
                    got=f"{book.run} and {seen[mark]}, with the same ledger",
                    where="--with",
                    remedy="Give other runs on the same users.",
                )
        seen |= dict.fromkeys((str(book.run.resolve()), *heads), book.run)


def _platform(spending: Spending, claims: Claims) -> tuple[Json, list[str]]:
    """One platform's numbers, and what is wrong with its claims."""
    started = time.monotonic()
    ledger, charges = spending.ledger, spending.charges
    entry: Json = {
        "epsilon": None,
        "delta": None if ledger is None else ledger.delta,
        "promised": None if ledger is None else ledger.epsilon,
        "claimed": claims.epsilon(spending.platform),
        "accountants": None,
        "relations": None,
        "steps": sum(charge.steps for charge in charges),
        "sample_rates": sorted({charge.sample_rate for charge in charges}),
        "noise_multipliers": sorted({charge.noise_multiplier for charge in charges}),
        "clip_norms": sorted({one.clip_norm for one in spending.statements}),
        "rounds": None,
        "by_round": None,
        "seconds": 0.0,
    }
    if ledger is None:
        said = []
        if entry["claimed"] not in (None, "inf"):
            said.append("summary.json claims an epsilon that no readable ledger bears out")
        return entry, said
    try:
        plain = accountants.answers(charges, ledger.delta)
        swapped = accountants.answers(charges, ledger.delta, "replace_one")
        stages = _thinned(spending.stages())
        curve = course([charges for _, charges in stages], ledger.delta)
    except AccountantError as error:
        return entry, [f"cannot be accounted for: {error}"]
    spent = plain["pld"].epsilon or 0.0
    said = against_platform(claims, spending, spent)
    said += against_rounds(claims, spending, stages, curve)
    for relation, found in (("add or remove", plain), ("replace one", swapped)):
        if accountants.disagreements(found):
            said.append(f"the accountants disagree ({relation}): trust none of them")
    entry |= {
        "epsilon": spent,
        "accountants": {name: answer.cell() for name, answer in plain.items()},
        "relations": {"add_remove": spent, "replace_one": swapped["pld"].epsilon},
        "rounds": [round_ for round_, _ in stages],
        "by_round": curve,
        "seconds": round(time.monotonic() - started, 3),
    }
    return entry, said


def _thinned(stages: list[tuple[int, list[Charge]]]) -> list[tuple[int, list[Charge]]]:
    """At most `_STAGES` stages with the same charges: neighbours are drawn together."""
    if len(stages) <= _STAGES:
        return stages
    ends = sorted({len(stages) * number // _STAGES for number in range(1, _STAGES + 1)})
    drawn = []
    for start, end in zip([0, *ends], ends, strict=False):
        part = stages[start:end]
        drawn.append((part[-1][0], [charge for _, charges in part for charge in charges]))
    return drawn


def _composed(books: Sequence[Book], claims: Claims) -> tuple[Json, list[str]]:
    """What a person is exposed to who is on several platforms, in several runs, or both."""
    main = books[0].spending
    across = _together([(name, one) for name, one in main.items()])
    across["claimed"] = claims.composed.get("epsilon")
    said: list[str] = []
    claimed = across["claimed"]
    # a coordinator's run claims nothing of a person on several platforms
    if across["epsilon"] is not None and len(across["over"]) > 1 and not claims.deployed:
        if claims.composed.get("delta") != across["delta"]:
            said.append("summary.json composes at another delta than the largest promised")
        if not isinstance(claimed, int | float) or below(float(claimed), across["epsilon"]):
            said.append("summary.json claims a smaller composed epsilon than the ledgers cost")
    found: Json = {"across_platforms": across, "across_runs": {}, "everything": None}
    if len(books) == 1:
        return found, said
    for name in main:
        parts = [(str(book.run), book.spending[name]) for book in books if name in book.spending]
        if len(parts) > 1:
            found["across_runs"][name] = _together(parts)
    for book in books[1:]:
        if not set(book.spending) & set(main):
            said.append(f"no platform of {book.run} is in this run: were these the same users?")
    found["everything"] = _together(
        [(f"{book.run}: {name}", one) for book in books for name, one in book.spending.items()]
    )
    return found, said


def _together(parts: Sequence[tuple[str, Spending]]) -> Json:
    """PLD over all charges of `parts`, at the largest delta; None where a ledger is lacking."""
    entry: Json = {"over": [label for label, _ in parts], "epsilon": None, "delta": None}
    ledgers = [one.ledger for _, one in parts]
    if not ledgers or any(ledger is None for ledger in ledgers):
        return entry | {"relations": None}
    entry["delta"] = max(ledger.delta for ledger in ledgers if ledger is not None)
    charges = [one.charges for _, one in parts]
    try:
        plain = composed_epsilon(charges, entry["delta"])
        swapped = composed_epsilon(charges, entry["delta"], "replace_one")
    except AccountantError:
        return entry | {"relations": None}
    return entry | {
        "epsilon": plain,
        "relations": {"add_remove": plain, "replace_one": swapped},
    }


_NUMBERS = ("epsilon", "accountants", "relations", "rounds", "by_round")


def _withheld(entry: Json) -> Json:
    return entry | dict.fromkeys(name for name in _NUMBERS if name in entry)


def _withheld_tree(entry: Json | None) -> Json | None:
    """The same for a composed entry, or for a table of them."""
    if entry is None:
        return None
    if "over" in entry:
        return _withheld(entry)
    return {name: _withheld(one) for name, one in entry.items()}
