"""Figures from papers, beside ours where split, candidates and metric are the same.

Leave-last-out on the 5-core Amazon 2014 reviews, all items ranked.  They were not measured here,
and their cleaning may differ in details; they show the order of magnitude of trained systems.
"""

from simulations.bench.quality.entries import Quoted

_TIGER = "Rajput et al., Recommender Systems with Generative Retrieval, NeurIPS 2023"

STOREFRONTS = (
    Quoted(name="SASRec", source=_TIGER, platform="beauty", hr=0.0605, ndcg=0.0318),
    Quoted(name="SASRec", source=_TIGER, platform="toys", hr=0.0675, ndcg=0.0374),
    Quoted(name="TIGER", source=_TIGER, platform="beauty", hr=0.0648, ndcg=0.0384),
    Quoted(name="TIGER", source=_TIGER, platform="toys", hr=0.0712, ndcg=0.0432),
)


def quoted(recipe: str) -> tuple[Quoted, ...]:
    """The published figures for a recipe's data; none for most."""
    return STOREFRONTS if recipe == "storefronts" else ()
