"""The run in plain words: headline, takeaways, names of things, numbers as people write them.

The rule of this file: a sentence is built from what was measured, so it can be bad news; and a
run without privacy gets no sentence about what its users are promised.
"""

import math
from urllib.parse import urlsplit

from clients.sources.reasons import reason_words as reason_words
from simulations.report.record import TRAINED, RunRecord, Score

SYSTEM_WORDS = {
    "popularity": "the same list for everybody: the platform's most chosen items",
    "frozen": "the text model as it comes, whitened, without any training; round 0 equals it",
    "knn": "the platform's own “chosen together” statistics; they never leave it",
    "frozen+knn": "both of these, combined on the platform",
    "federated": "the interest model that the platforms trained together",
    "federated+knn": "federated and knn, combined on the platform",
}
_LOW = ("no", "one", "two", "three", "four", "five", "six")
_NUMBERS = (*_LOW, "seven", "eight", "nine", "ten", "eleven", "twelve")
_THIN = "\u202f"


def count_words(count: int, noun: str) -> str:
    """`four platforms`, `one platform`, `17 platforms`."""
    word = _NUMBERS[count] if count < len(_NUMBERS) else f"{count}"
    return f"{word} {noun}{'' if count == 1 else 's'}"


def integer(value: float | None) -> str:
    """With thousands separators."""
    return "–" if value is None else f"{value:,.0f}"


def plain(value: float | None, digits: int = 4) -> str:
    """A public constant, in as few digits as it has."""
    return "–" if value is None else f"{value:.{digits}g}"


def signed_percent(gain: float | None) -> str:
    """A relative change such as +14.2 %; a dash where there is none to speak of."""
    if gain is None:
        return "–"
    return f"{100 * gain:+.1f}{_THIN}%".replace("-", "−")


def size(count: float) -> str:
    """Bytes as people read them (decimal units)."""
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= divisor:
            value = count / divisor
            return f"{value:.0f}{_THIN}{unit}" if value >= 100 else f"{value:.1f}{_THIN}{unit}"
    return f"{count:.0f}{_THIN}B"


def duration(seconds: float | None) -> str:
    """As h, min and s."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f}{_THIN}s" if seconds >= 10 else f"{seconds:.1f}{_THIN}s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes}{_THIN}min"
    return f"{minutes // 60}{_THIN}h {minutes % 60}{_THIN}min"


def delta_words(delta: float | None) -> str:
    """Delta as `1 in 38,000`."""
    return "–" if not delta else f"1 in {1 / delta:,.0f}"


def gain(scores: dict[str, Score], system: str = "federated") -> float | None:
    """Relative NDCG@10 gain of a trained system over its untrained twin."""
    base, trained = scores.get(TRAINED[system]), scores.get(system)
    if base is None or trained is None or base.ndcg <= 0:
        return None
    return trained.ndcg / base.ndcg - 1


def headline(run: RunRecord) -> str:
    """What was gained, at what privacy cost, in one sentence."""
    many = len(run.platforms)
    who = f"{count_words(many, 'platform').capitalize()} trained one interest model together"
    if many == 1:
        who = "One platform trained the interest model on its own"
    cost = privacy_cost(run)
    change = gain(run.mean)
    if change is None:
        return f"{who}, {cost}."
    if abs(change) < 0.0005:
        return f"{who} and recommend neither better nor worse than before, {cost}."
    size_words = f"{abs(100 * change):.{0 if abs(change) >= 0.095 else 1}f}{_THIN}%"
    verb = "recommends" if many == 1 else "recommend"
    if change < 0:
        return f"{who}, but {verb} {size_words} worse than without training, {cost}."
    return f"{who} and {verb} {size_words} better for it, {cost}."


def privacy_cost(run: RunRecord) -> str:
    """The end of the headline."""
    if not run.private:
        return "with no privacy at all"
    return f"at a privacy cost of ε = {epsilon(worst_epsilon(run))} per user"


def worst_epsilon(run: RunRecord) -> float:
    """The largest epsilon of the platforms."""
    return max((platform.epsilon for platform in run.platforms), default=0.0)


def epsilon(value: float | None) -> str:
    """Rounded up, never down: a guarantee must not look better than it is."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "∞"
    return f"{math.ceil(value * 100 - 1e-6) / 100:.2f}".removesuffix(".00")


def odds(value: float) -> str:
    """exp(epsilon), the largest factor by which an attacker's odds can change."""
    if value > 30:
        return "more than a million million"
    factor = math.exp(value)
    return f"{factor:,.0f}" if factor >= 10 else f"{factor:.1f}"


def lede(run: RunRecord) -> list[str]:
    """A few sentences for the manager, below the headline."""
    sentences = []
    base, trained = run.mean.get("frozen"), run.mean.get("federated")
    if base and trained:
        sentences.append(
            f"Of 1,000 users{'' if len(run.platforms) == 1 else ' of an average platform'}, "
            f"{1000 * trained.hit:.0f} find the very item they chose next among their ten "
            f"recommendations; with the same model untrained it is {1000 * base.hit:.0f}."
        )
    headed, base_headed = run.mean.get("federated+knn"), run.mean.get("frozen+knn")
    if headed and base_headed:
        sentences.append(
            f"With each platform's own statistics on top it is {1000 * headed.hit:.0f} "
            f"instead of {1000 * base_headed.hit:.0f}."
        )
    if run.mean:
        best = max(run.mean, key=lambda system: run.mean[system].ndcg)
        average = "" if len(run.platforms) == 1 else " on average"
        sentences.append(f"The best system{average} is {best}.")
    return sentences


def learned(run: RunRecord) -> str:
    """The takeaway of the learning curves."""
    curves = [curve for platform in run.platforms if (curve := platform.curves.get("federated"))]
    if not curves:
        return "This run kept no validation scores by round, so there are no curves to show."
    rose = sum(curve[-1][1].ndcg > curve[0][1].ndcg for curve in curves)
    where = "on the platform" if len(curves) == 1 else f"on {rose} of {len(curves)} platforms"
    if len(curves) == 1 and not rose:
        where = "nowhere"
    last = max(curve[-1][0] for curve in curves)
    return (
        f"From round 0, which is the untrained model, to round {last}, validation quality "
        f"rose {where}."
    )


def tested(run: RunRecord) -> str:
    """The takeaway of the test table."""
    changes = [change for p in run.platforms if (change := gain(p.test)) is not None]
    if not changes:
        return "This run has no test scores of the federated model."
    better = sum(change > 0 for change in changes)
    if len(changes) == 1:
        verdict = "beats" if better else "does not beat"
        return f"On test, the federated model {verdict} the untrained one."
    where = f"{better} of {len(changes)} platforms"
    return f"On test, the federated model beats the untrained one on {where}."


def redacted(settings: object) -> object:
    """The settings without what must not be shown around: credentials in database URLs."""
    if isinstance(settings, dict):
        return {
            key: _without_credentials(value)
            if key == "url" and isinstance(value, str)
            else redacted(value)
            for key, value in settings.items()
        }
    if isinstance(settings, list | tuple):
        return [redacted(value) for value in settings]
    return settings


def _without_credentials(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "…"
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}" if parts.scheme else "…"


def fair(run: RunRecord) -> str:
    """How many groups of users gained, and how many lost."""
    groups = [one for p in run.platforms for one in p.groups if one.kind != "everybody"]
    counts = {
        verdict: sum(one.verdict == verdict for one in groups)
        for verdict in ("better", "worse", "no clear change")
    }
    if not groups:
        return "No platform has enough users to compare groups."
    return (
        f"Of {count_words(len(groups), 'group')} of users on all platforms, {counts['better']} are "
        f"served clearly better than without training, {counts['worse']} clearly worse, and for "
        f"{counts['no clear change']} there is no clear change."
    )
