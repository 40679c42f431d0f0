"""What NIST SP 800-226 asks about a claim of differential privacy, answered for one run.

"Guidelines for Evaluating Differential Privacy Guarantees" (March 2025) orders its questions as a
pyramid: the parameters on top, below them what can undermine them, at the bottom how the data is
collected.  The fields follow it from the top.  An answer is "checked" where an audit of this run
or of its code stands behind it, "stated" where it follows from how the software is written or is
the operators' word, and "not checked" where a check is lacking.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

from simulations.audits.dossier import Dossier
from simulations.audits.figures import high
from simulations.report import words

State = Literal["checked", "stated", "not checked"]
Answer = tuple[str, State, str]
"""Answer, state, evidence."""


def nist(dossier: Dossier) -> list[dict[str, Any]]:
    """Every field with its answer, its state and its evidence, top of the pyramid first."""
    fields: tuple[tuple[str, Callable[[Dossier], Answer]], ...] = (
        ("Epsilon and delta, with accountant", _epsilon),
        ("Unit of privacy", _unit),
        ("Adjacency", _adjacency),
        ("Composition", _composition),
        ("Mechanism", _mechanism),
        ("Sampling", _sampling),
        ("Noise source", _noise),
        ("Trust model", _trust),
        ("Utility and bias", _utility),
        ("Mixing with data that is not private", _mixing),
        ("Side channels", _channels),
        ("Access control", _access),
        ("Data collection", _collection),
    )
    return [
        {"field": name, "answer": said, "state": state, "evidence": evidence}
        for name, (said, state, evidence) in ((name, answer(dossier)) for name, answer in fields)
    ]


def _state(checked: bool) -> State:
    return "checked" if checked else "not checked"


def _nothing(dossier: Dossier) -> Answer | None:
    """The answer about a promise where there is none."""
    if dossier.private:
        return None
    if dossier.open:
        return "None: the record says NOT PRIVATE.", "checked", "signed by the platforms"
    return "Unknown: no readable ledger states a promise.", "not checked", "ledger/"


def _epsilon(dossier: Dossier) -> Answer:
    if (nothing := _nothing(dossier)) is not None:
        return nothing
    if not dossier.cleared:
        return (
            "No epsilon is stated, for what it rests on was not checked: "
            f"{'; '.join(dossier.missing)}.",
            "not checked",
            dossier.parts["epsilon"].command,
        )
    said = []
    for name, entry in dossier.recomputed["platforms"].items():
        cells = entry["accountants"]
        others = [
            f"{key.upper()} {high(cells[key]['epsilon'])}"
            for key in ("prv", "rdp", "exact")
            if cells[key]["epsilon"] is not None
        ]
        promised = dossier.promises[name][0]
        said.append(
            f"{name}: ε {high(entry['epsilon'])} of {words.epsilon(promised)} promised, "
            f"δ {words.plain(entry['delta'], 2)} ({words.delta_words(entry['delta'])}; "
            f"{', '.join(others)})"
        )
    return (
        f"Upper bounds by privacy loss distributions (PLD, dp-accounting). {'; '.join(said)}.",
        "checked" if dossier.parts["epsilon"].state == "ok" else "not checked",
        "every charge of the ledgers, against the signed record; accountants that can answer "
        "must agree",
    )


def _unit(dossier: Dossier) -> Answer:
    units = _distinct(one.unit for one in dossier.spending.values())
    if not dossier.private or not units:
        return _nothing(dossier) or ("Unknown.", "not checked", "ledger/")
    checked, _ = dossier.assumption("adjacency")
    return f"{_sentence(units)}", _state(checked), "line 1 of every ledger; neighbour replay"


def _adjacency(dossier: Dossier) -> Answer:
    relations = _distinct(one.adjacency for one in dossier.spending.values())
    if not dossier.private or not relations:
        return _nothing(dossier) or ("Unknown.", "not checked", "ledger/")
    checked, evidence = dossier.assumption("adjacency")
    said = f"{_sentence(relations)} (unbounded differential privacy)."
    if dossier.cleared:
        swapped = max(
            entry["relations"]["replace_one"] or 0.0
            for entry in dossier.recomputed["platforms"].values()
        )
        said += (
            f" For one user replaced by another the same charges cost ε {words.epsilon(swapped)}."
        )
    return said, _state(checked), evidence


def _composition(dossier: Dossier) -> Answer:
    if (nothing := _nothing(dossier)) is not None:
        return nothing
    how = (
        "All steps of all rounds are composed by PLD, also where their constants differ; other "
        "releases made from the same data add to this one."
    )
    if not dossier.cleared:
        return f"{how} No sum is stated, as for epsilon.", "not checked", "see epsilon"
    composed = dossier.recomputed["composed"]
    lines = [("a user of all platforms", composed["across_platforms"])]
    lines += [(f"{name}, over all runs", one) for name, one in composed["across_runs"].items()]
    lines.append(("all platforms, all runs", composed["everything"]))
    said = [
        f"{what}: ε {words.epsilon(one['epsilon'])} at δ {words.plain(one['delta'], 2)}"
        for what, one in lines
        if one is not None and one["epsilon"] is not None and len(one["over"]) > 1
    ]
    runs = (
        ""
        if composed["everything"]
        else (" No other run on the same users was given (audit epsilon --with).")
    )
    return f"{how} {_sentence(said)}.{runs}" if said else f"{how}{runs}", "checked", "the ledgers"


def _mechanism(dossier: Dossier) -> Answer:
    if (nothing := _nothing(dossier)) is not None:
        return nothing
    said = []
    for name, entry in dossier.recomputed["platforms"].items():
        said.append(
            f"{name}: {words.integer(entry['steps'])} steps, noise "
            f"{_listed(entry['noise_multipliers'])}, clip {_listed(entry['clip_norms'])}"
        )
    checked, evidence = dossier.assumption("clipping")
    return (
        "DP-SGD: each user's gradient, over all tensors together, is clipped in L2 norm, and "
        "Gaussian noise (its deviation is given in clip norms) is added to the sum, which is "
        f"divided by a public number. {'; '.join(said)}.",
        _state(checked),
        evidence,
    )


def _sampling(dossier: Dossier) -> Answer:
    if (nothing := _nothing(dossier)) is not None:
        return nothing
    rates = sorted(
        {
            rate
            for entry in dossier.recomputed["platforms"].values()
            for rate in entry["sample_rates"]
        }
    )
    checked, evidence = dossier.assumption("sampling")
    return (
        "Poisson: in each step every user takes part with the public probability "
        f"{_listed(rates)}, independently of all others. An empty batch is noised, and counts.",
        _state(checked),
        evidence,
    )


def _noise(dossier: Dossier) -> Answer:
    if (nothing := _nothing(dossier)) is not None:
        return nothing
    checked, evidence = dossier.assumption("secure noise")
    if dossier.seeded:
        return (
            "A seed: whoever knows it can compute the noise and take it away. Such a run protects "
            "nobody; it is for simulations only.",
            "not checked",
            evidence,
        )
    return (
        "AES-256 in counter mode, keyed by 32 bytes from the operating system, one key for each "
        "purpose and step; drawn in float64 and rounded to a grid that depends on the noise alone.",
        _state(checked),
        evidence,
    )


def _trust(dossier: Dossier) -> Answer:
    held = ", ".join(
        name for name in ("canary", "attack") if dossier.parts[name].state != "not audited"
    )
    return (
        "Each platform adds its own noise before anything leaves it (central differential privacy "
        "at each platform). Coordinator, other platforms and users of the model need not be "
        "trusted. The platform itself is trusted by its users, and with it the code that it runs: "
        "it signs which code that was, and nothing proves it.",
        "stated",
        f"attacked from the coordinator's seat: {held}" if held else "not attacked in this run",
    )


def _utility(dossier: Dossier) -> Answer:
    return (
        "Ranking quality by platform, against untrained and local baselines, is in report.html. "
        "Noise weighs more on platforms with few users. Whether some groups of users get worse "
        "recommendations than others was not measured.",
        "stated",
        "report.html, summary.json",
    )


def _mixing(dossier: Dossier) -> Answer:
    return (
        "Not under differential privacy: item texts and vectors (public), recommendations and "
        "the local head (they stay on the platform), refusals and absence, and choices that people "
        "make after looking at exact metrics. In a simulation report.html and summary.json hold "
        "exact metrics and counts.",
        "stated",
        "docs/privacy.md, out of scope",
    )


def _channels(dossier: Dossier) -> Answer:
    names = {"low-order bits", "silence", "reply", "public inputs"}
    passed = [
        check.name
        for check in (dossier.code.checks if dossier.code is not None else ())
        if check.name in names and check.ok
    ]
    evidence = f"audit code passed: {', '.join(passed)}" if passed else "the code was not audited"
    return (
        "Closed: low-order bits of floating point numbers, user ids and counts in replies, logs "
        "and errors. Open: how long a step takes depends on how many users were drawn; refusing, "
        "failing or being absent is seen by the coordinator.",
        "checked" if len(passed) == len(names) else "not checked",
        evidence,
    )


def _access(dossier: Dossier) -> Answer:
    """What of the secrets lies in the folder that is audited, and who may read it."""
    run = dossier.run
    secrets = [run / "coordinator.key", *sorted((run / "platforms").glob("*/*"))]
    held = [path for path in secrets if path.is_file()]
    shut = all(
        path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0 for path in held
    )
    said = (
        "Histories, secrets and signing keys lie in each platform's private folder, for its owner "
        "alone (mode 0700 and 0600), and are not encrypted by the software. "
    )
    if not held:
        return f"{said}None of them is in this folder.", "checked", "files of the folder"
    said += (
        f"This folder holds {len(held)} such files, as a simulation's does: hand it on without "
        "platforms/ and coordinator.key."
    )
    if not shut:
        said += " Some can be read by others on this machine."
    return said, _state(shut), "file modes in the folder"


def _collection(dossier: Dossier) -> Answer:
    return (
        "Platforms use logs that they hold already. On reading, users who opted out are left out "
        "first; bots, repeats and broken rows are dropped and counted; user ids become keyed "
        "pseudonyms. What is left stays in the platform's folder, in the clear, until its operator "
        "deletes it: differential privacy protects what is released, not what is collected.",
        "stated",
        "clients/sources; the platforms' own notices to their users are not part of a run",
    )


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))


def _sentence(parts: list[str]) -> str:
    said = "; ".join(parts)
    return said[:1].upper() + said[1:]


def _listed(values: Iterable[float]) -> str:
    return ", ".join(words.plain(value) for value in values) or "not signed"
