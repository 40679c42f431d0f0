"""What the demo world can talk about: tastes and styles, read from the two TOML files beside this.

A taste is what somebody is into (space, baking); a style is how they like it (luxurious, dark).
Both have words on every kind of platform, which is all that the platforms have in common.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

KINDS = ("shop", "film", "music", "news", "games")

_HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Taste:
    """One latent taste and its words.

    Args:
        leads_to: numbers of the tastes people go on to, the likelier one first.
        things: kind of platform -> what items there are about.
        categories: kind of platform -> the category written in its catalogue ("" for none).
    """

    name: str
    leads_to: tuple[int, int]
    things: dict[str, tuple[str, ...]]
    categories: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Style:
    """One style: how much it is liked on average (log-odds), what it grows into, its patterns."""

    name: str
    appeal: float
    leads_to: int
    patterns: dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Everything the world's titles are made of."""

    tastes: tuple[Taste, ...]
    styles: tuple[Style, ...]
    details: tuple[str, ...]
    places: tuple[str, ...]
    artists: tuple[str, ...]


def load_vocabulary() -> Vocabulary:
    """Read the vocabulary that ships with the package."""
    words = tomllib.loads((_HERE / "vocabulary.toml").read_text(encoding="utf-8"))
    forms = tomllib.loads((_HERE / "titles.toml").read_text(encoding="utf-8"))
    taste_number = {name: number for number, name in enumerate(words)}
    style_number = {name: number for number, name in enumerate(forms["styles"])}
    tastes = []
    for name, entry in words.items():
        core, products = tuple(entry["core"]), tuple(entry["products"])
        headlines = tuple(
            f"{who} {what}" for who in entry["subjects"] for what in entry["predicates"]
        )
        first, second = (taste_number[next_taste] for next_taste in entry["leads_to"])
        tastes.append(
            Taste(
                name=name,
                leads_to=(first, second),
                things={
                    "shop": products,
                    "film": core,
                    "music": core,
                    "news": headlines,
                    "games": core,
                },
                categories={
                    "shop": entry["department"],
                    "film": entry["genres"],
                    "music": "",
                    "news": entry["section"],
                    "games": "",
                },
            )
        )
    styles = tuple(
        Style(
            name=name,
            appeal=entry["appeal"],
            leads_to=style_number[entry["leads_to"]],
            patterns={kind: tuple(forms[kind][name]) for kind in KINDS},
        )
        for name, entry in forms["styles"].items()
    )
    return Vocabulary(
        tastes=tuple(tastes),
        styles=styles,
        places=tuple(forms["places"]["names"]),
        details=tuple(forms["shop"]["details"]),
        artists=tuple(forms["music"]["artists"]),
    )
