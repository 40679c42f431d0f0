"""Checks of what users are promised: ledger, noise, policy, budget."""

from clients.joining.checks.found import Found
from clients.spending.promises import Asked, terms_sha256, total_epsilon
from shared.errors import BudgetExhausted, PolicyRefusal
from shared.privacy.accountant import Charge


def ledger(found: Found) -> str:
    """Ledgers and anchor are whole and in step."""
    records = found.home.promises.records()
    found.home.anchor.check(found.folder.ledgers, records)
    charges = sum(len(record.entries) for record in records.values())
    return f"{charges} charges, in step with {found.home.anchor.path}"


def promise(found: Found) -> str:
    """There is a noise that keeps the promise."""
    delta, noise_multiplier = found.promised
    epsilon = found.enrolment.federation.privacy.epsilon
    return (
        f"epsilon {epsilon:g} at delta {delta:.2g} for the whole run: "
        f"noise multiplier {noise_multiplier:g}"
    )


def policy(found: Found) -> str:
    """The partner's policy permits what the federation asks."""
    privacy = found.enrolment.federation.privacy
    limits = found.policy
    for setting, asked, right in (
        (
            "steps",
            privacy.steps_per_round,
            privacy.steps_per_round <= limits.max_steps_per_round,
        ),
        ("sample_rate", privacy.sample_rate, privacy.sample_rate <= limits.max_sample_rate),
        (
            "clip_norm",
            privacy.clip_norm,
            limits.min_clip_norm <= privacy.clip_norm <= limits.max_clip_norm,
        ),
        ("epsilon", privacy.epsilon, privacy.epsilon <= limits.max_epsilon),
        (
            "noise_multiplier",
            found.promised[1],
            found.promised[1] >= limits.min_noise_multiplier,
        ),
    ):
        if not right:
            raise PolicyRefusal(
                expected=f"a federation that keeps the policy's limit on {setting}",
                got=f"{setting} = {asked}",
                where=f"policy, {setting}",
                remedy="Every round would be refused: talk to the coordinator, or permit it.",
            )
    hours = f"; only {', '.join(limits.windows)}" if limits.windows else ""
    return f"permits this run{hours}"


def budget(found: Found) -> str:
    """Something is left to spend."""
    federation = found.enrolment.federation
    if not federation.privacy.private:
        return "this run has no guarantee and no budget"
    terms = terms_sha256(found.home.name, federation, found.enrolment.ca_pem)
    known = {made: file for file, made in found.home.promises.known().items()}
    steps = federation.training.rounds * federation.privacy.steps_per_round
    delta, noise_multiplier = found.promised
    charge = Charge(federation.privacy.sample_rate, noise_multiplier, steps)
    records = found.home.promises.records()
    file = known.get(terms, "")
    left = steps - (len(records[file].entries) if file in records else 0)
    if left <= 0:
        raise BudgetExhausted(
            expected="steps left under this promise",
            got="none: the run has been trained to its end",
            where="budget",
            remedy="A further run needs a new promise: enrol in it anew.",
        )
    total = total_epsilon(records, Asked(ledger=file, delta=delta, charge=charge))
    found.policy.check_total(total)
    return f"{left} of {steps} steps left; all runs composed: epsilon {total:.3f} at the end"
