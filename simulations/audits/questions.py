"""The four questions of an auditor, each answered in one sentence, with a word for its colour.

"ok" is only said of what was audited and held; "in part" where something was and held, and
something was not audited; "found" (a problem, to people) where something is wrong.
"""

from typing import Any, Literal

from simulations.audits.dossier import Dossier
from simulations.audits.figures import low
from simulations.report import words

Verdict = Literal["ok", "in part", "found", "not audited"]


def questions(dossier: Dossier) -> list[dict[str, Any]]:
    """`question`, `verdict`, `answer`, and `parts`: the audits that it rests on."""
    asked: tuple[tuple[str, tuple[Verdict, str], list[str]], ...] = (
        ("What was promised?", _promised(dossier), ["verify"]),
        ("What was spent?", _spent(dossier), ["epsilon", "code"]),
        ("What could an attacker have learned?", _learned(dossier), ["canary", "attack"]),
        ("Has anyone changed the record?", _changed(dossier), ["verify"]),
    )
    return [
        {"question": question, "verdict": verdict, "answer": answer, "parts": parts}
        for question, (verdict, answer), parts in asked
    ]


def word(state: str) -> str:
    """How a verdict or a part's state is shown to people."""
    return "problem" if state == "found" else state


def headline(dossier: Dossier) -> str:
    """The report in one sentence."""
    states = {name: part.state for name, part in dossier.parts.items()}
    found = [name for name, state in states.items() if state == "found"]
    lacking = [name for name, state in states.items() if state == "not audited"]
    if dossier.open:
        return "Nothing was promised: this run is NOT PRIVATE."
    if "verify" in found:
        return "The record is not as it was signed: nothing that follows from it can be relied on."
    if dossier.seeded:
        return "The noise of this run follows from a seed, so it protects nobody."
    if found:
        return f"Something is wrong: {' and '.join(found)} found it."
    if "epsilon" in lacking:
        return "The record is whole, but what was spent cannot be stated yet."
    if lacking:
        return (
            "The record is whole and no more was spent than promised; "
            f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not audited."
        )
    return (
        "The record is whole, no more was spent than promised, and nobody was seen to learn more."
    )


def _promised(dossier: Dossier) -> tuple[Verdict, str]:
    if dossier.open:
        return "found", "Nothing, to anybody: the platforms signed NOT PRIVATE."
    if not dossier.promises:
        return "not audited", "No ledger can be read, so no promise is known."
    lacking = [name for name in dossier.spending if name not in dossier.promises]
    values = sorted({epsilon for epsilon, _ in dossier.promises.values()})
    delta = max(delta for _, delta in dossier.promises.values())
    many = words.count_words(len(dossier.promises), "platform")
    range_ = " to ".join(dict.fromkeys(words.epsilon(one) for one in (values[0], values[-1])))
    said = (
        f"By each of {many}, to each of its users with all their events: ε = {range_}, "
        f"at δ of at most {words.delta_words(delta)}."
    )
    if lacking:
        return "found", f"{said} No promise can be read of {', '.join(lacking)}."
    if dossier.parts["verify"].state != "ok":
        return "found", f"{said} But the record that signs it does not verify."
    return "ok", said


def _spent(dossier: Dossier) -> tuple[Verdict, str]:
    part = dossier.parts["epsilon"]
    if dossier.open:
        return "found", "Everything: without a promise there is no budget."
    if not dossier.cleared:
        verdict: Verdict = "found" if part.state == "found" else "not audited"
        return verdict, f"No epsilon can be stated. Not checked: {'; '.join(dossier.missing)}."
    worst = words.epsilon(dossier.recomputed["epsilon"])
    said = f"At most ε = {worst} on any platform, recomputed from the ledgers."
    together = dossier.recomputed["composed"]["across_platforms"]
    if together["epsilon"] is not None and len(together["over"]) > 1:
        said += f" A user of all of them: {words.epsilon(together['epsilon'])}."
    if part.state == "found":
        return "found", f"{said} But {part.findings[0]}."
    if dossier.parts["code"].state == "found":
        return "found", f"{said} But the code failed its audit."
    return "ok", said


def _learned(dossier: Dossier) -> tuple[Verdict, str]:
    if dossier.open:
        return "found", "All that exact updates and an exact adapter give away: nothing hides it."
    if dossier.seeded:
        return "found", (
            "Whoever knows the seed can take the noise away, and then all that exact updates give "
            "away. Canaries and attacks do not know it: they speak of a run with secret noise."
        )
    parts = [dossier.parts[name] for name in ("canary", "attack")]
    found = [finding for part in parts for finding in part.findings if part.state == "found"]
    if found:
        return "found", f"More than is permitted, or the audit failed: {found[0]}."
    said = []
    if dossier.canary is not None:
        best = max(dossier.canary.bounds, key=lambda one: (one.kind == "proven", one.epsilon))
        verb = "prove" if best.kind == "proven" else "show"
        said.append(
            f"canary users {verb} an ε of at least {low(best.epsilon)} "
            f"of {words.epsilon(dossier.canary.epsilon)}"
            if best.epsilon >= 0.01
            else f"canary users {verb} nothing"
        )
    if dossier.attack is not None:
        auc = max(one.private.auc for one in dossier.attack.membership.values())
        bare = max(one.control.auc for one in dossier.attack.membership.values())
        said.append(
            f"membership attacks rank members first in {auc:.0%} of pairs "
            f"(guessing: 50%; without privacy: {bare:.0%})"
        )
    lacking = [part.name for part in parts if part.state == "not audited"]
    if not said:
        return "not audited", "Not audited: neither canaries nor attacks were run on this run."
    text = "; ".join(said)
    text = f"No more than promised: {text}."
    if lacking:
        return "in part", f"{text} Not audited: {lacking[0]}."
    return "ok", text


def _changed(dossier: Dossier) -> tuple[Verdict, str]:
    part = dossier.parts["verify"]
    if part.state != "ok":
        first = part.findings[0] if part.findings else part.why
        return "found", f"Yes, or it is damaged: {first}."
    return "ok", (
        f"No: every signature, proof and hash of {dossier.verified['rounds']} rounds holds, as "
        "long as the keys are those that coordinator and platforms give out."
    )
