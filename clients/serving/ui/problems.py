"""What went wrong, for somebody who has never seen the program's insides."""

from dataclasses import dataclass

from shared.errors import ConfigError, ConsentError, FedInterestError, UnknownError


@dataclass(frozen=True)
class Problem:
    """What to say.

    Args:
        title: in a few words.
        text: what it means.
        remedy: what to do.
    """

    title: str
    text: str
    remedy: str = ""


def problem_of(error: FedInterestError) -> Problem:
    """An error that came of a question."""
    if isinstance(error, ConsentError):
        return Problem(
            "This user has opted out",
            "They asked not to be learned from, so nothing is worked out or shown for them.",
            "Nothing needs to be done.",
        )
    if isinstance(error, UnknownError) and error.where == "user_id":
        return Problem(
            "Nobody of that id is known here",
            "Either the id is written differently in the platform's log, or this user was left "
            "out: too few events, on the opt-out list, or new since the last preparation.",
            "Check the spelling: capital and small letters count. The overview says how many "
            "were left out, and why.",
        )
    if isinstance(error, UnknownError):
        return Problem(
            "That is not in the catalogue",
            "The item or interest is not one that is served here, or it is blocked.",
            "Search for it by title and choose from what is found.",
        )
    if isinstance(error, ConfigError):
        return Problem(
            "That does not fit", f"{error.where}: {error.expected} was expected.", error.remedy
        )
    return Problem("This cannot be answered", f"{error.expected} was expected.", error.remedy)


def unprepared(error: FedInterestError) -> Problem:
    """An error that keeps everything from being answered."""
    if error.where.endswith("platform") or "prepared" in error.expected:
        return Problem(
            "Nothing is prepared yet",
            "The platform's log has not been read here, so there is nothing to show.",
            "Whoever joins the federation does so with `fedinterest-client check`; "
            "`fedinterest-client up` prepares the log. Then load this page again.",
        )
    return Problem(
        "There is nothing to show yet",
        f"Expected {error.expected}, got {error.got}.",
        error.remedy or "Put that right, then load this page again.",
    )
