"""For a data protection impact assessment: what the run can say, and what its operators must add.

The topics are those that such an assessment needs (compare GDPR, article 35 (7)); legal grounds and
duties to inform are no matter of a run folder, so they are named as open.
"""

from typing import Any

from simulations.audits.dossier import Dossier
from simulations.audits.figures import ATTACKS
from simulations.audits.kept import AttackAudit, CanaryAudit
from simulations.report import words

Topic = dict[str, Any]


def impact(dossier: Dossier) -> list[Topic]:
    """Topics, each with what is `known` and what is `open`, in words."""
    return [
        _purpose(dossier),
        _flow(dossier),
        _retention(dossier),
        _risk(dossier),
        _attacks(dossier),
        _limits(dossier),
    ]


def _topic(name: str, known: list[str], open_: list[str]) -> Topic:
    return {"topic": name, "known": known, "open": open_}


def _purpose(dossier: Dossier) -> Topic:
    names = ", ".join(dossier.spending)
    many = words.count_words(len(dossier.spending), "platform")
    return _topic(
        "Purpose",
        [
            f"{many.capitalize()} ({names}) train one interest model together, so that each can "
            "recommend better to its own users than it could alone.",
            "What is needed for it: which user chose which item, and when. Names, addresses and "
            "free text are neither asked for nor read.",
        ],
        [
            "Legal ground, necessity and proportionality, and who is controller: for the operators "
            "to state."
        ],
    )


def _flow(dossier: Dossier) -> Topic:
    rounds = dossier.verified["rounds"]
    known = [
        "Stays on the platform: events, pseudonyms, histories, the local head, recommendations.",
        "Leaves it once: name, and count, mean and covariance of its public item vectors.",
        f"Leaves it in each of {rounds} rounds: one adapter update"
        + (", clipped and noised" if not dossier.open else ", exact: NOT PRIVATE")
        + ", public constants, and a signed statement; or a refusal.",
        "Comes back: the averaged adapter, the same for all.",
    ]
    if dossier.coordinator is not None:
        known.append(
            f"Each round is signed by every platform and the coordinator "
            f"({dossier.coordinator.log}, entries 0 to {dossier.coordinator.entry})."
        )
    return _topic("Data flow", known, ["Where coordinator and platforms are (transfers abroad)."])


def _retention(dossier: Dossier) -> Topic:
    return _topic(
        "Retention",
        [
            "Histories are kept in the platform's folder until its operator deletes them; the "
            "software has no period of its own.",
            "A round's secret is deleted when a later round is charged; the last one stays.",
            "Record and ledger hold no user data, and must be kept for as long as the promise is "
            "to be shown.",
            "Who opts out is left out of the next run. What they added to an adapter already "
            "released cannot be taken back; it is bounded by the promise.",
        ],
        ["Periods of deletion, and how requests of users are answered."],
    )


def _risk(dossier: Dossier) -> Topic:
    if dossier.open:
        known = [
            "High: nothing is promised to anybody. Updates and adapter can give single histories "
            "away."
        ]
    elif not dossier.cleared:
        known = [
            "Cannot be bounded, for what an epsilon rests on was not checked: "
            f"{'; '.join(dossier.missing)}."
        ]
        if dossier.seeded:
            known.append("The noise follows from a seed: to its holder this run protects nobody.")
    else:
        worst = float(dossier.recomputed["epsilon"])
        known = [
            f"Whoever sees all that was sent may raise the odds of a guess that somebody was in "
            f"the data by a factor of at most {words.odds(worst)} (e to the power of ε "
            f"{words.epsilon(worst)}), but for a chance of δ."
        ]
        together = dossier.recomputed["composed"]["across_platforms"]
        if together["epsilon"] is not None and len(together["over"]) > 1:
            known.append(
                f"For one person on all {len(together['over'])} platforms: ε "
                f"{words.epsilon(together['epsilon'])}."
            )
        known.append(
            "The factor is a ceiling for an attacker who knows everything else; what attacks "
            "reached is below."
        )
    known.append(
        "What many users have in common is learned on purpose, and says something about each of "
        "them, whether they took part or not."
    )
    return _topic("Residual risk", known, ["Whether this risk is acceptable, and who decided so."])


def _attacks(dossier: Dossier) -> Topic:
    known, open_ = [], []
    for name in ("canary", "attack"):
        part = dossier.parts[name]
        if part.state == "not audited":
            open_.append(f"Not audited ({name}): {part.why}. To do so: {part.command}")
        else:
            known += [f"FOUND ({name}): {finding}." for finding in part.findings]
    if dossier.canary is not None:
        known += _canary(dossier.canary)
    if dossier.attack is not None:
        known += _attack(dossier.attack)
    return _topic("Attack results", known, open_)


def _canary(found: CanaryAudit) -> list[str]:
    said = [
        f"{one.name}: ε of at least {max(0.0, one.epsilon):.2f}, {one.kind}, at "
        f"{one.confidence:.0%} confidence"
        for one in found.bounds
    ]
    return [
        f"{found.canaries} canary users on {found.platform}, each in or out by a fair coin, "
        f"trained anew under the promise of ε {found.epsilon:g}. {'; '.join(said)}.",
        *([found.threat] if found.threat else []),
    ]


def _attack(found: AttackAudit) -> list[str]:
    said = []
    for name, both in found.membership.items():
        inside, outside = both.private, both.control
        rate = "0.01"
        if rate in inside.tpr_at and rate in outside.tpr_at:
            said.append(
                f"{ATTACKS.get(name, name)} at 1 % false positives finds "
                f"{inside.tpr_at[rate][0]:.1%} of the members with privacy, "
                f"{outside.tpr_at[rate][0]:.1%} without"
            )
        said.append(f"AUC {inside.auc:.3f} and {outside.auc:.3f}")
    inverted = found.inversion
    items = [
        f"{users} user{'' if users == 1 else 's'}: {inside:.1%} with privacy, {outside:.1%} "
        f"without, {chance:.1%} by chance"
        for users, inside, outside, chance in zip(
            inverted.users,
            inverted.private.precision,
            inverted.control.precision,
            inverted.chance,
            strict=False,
        )
    ]
    return [
        f"Membership on {found.platform} ({found.users} users): {'; '.join(said)}.",
        f"Items read back from one update, by size of the batch. {'; '.join(items)}.",
        *found.threat.values(),
    ]


def _limits(dossier: Dossier) -> Topic:
    return _topic(
        "Limits",
        [
            "That a platform ran the code that it signed is its word.",
            "Keys are taken from the run folder: compare their ids with those that coordinator and "
            "platforms give out. Whoever made all keys could have written everything.",
            "Canaries and attacks train anew, on a platform alone; an attack that fails does not "
            "show that none succeeds. Their results are read from RUN/audit: make them again where "
            "the folder comes from somebody else.",
            "Catalogues, timing, refusals, and choices made by people after looking at exact "
            "results are outside the promise.",
            "A household that shares an account is one user; a person with two accounts is two.",
        ],
        [],
    )
