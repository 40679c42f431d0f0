"""Federated adapter methods of the field, on the same data, loss, budget and bytes as ours.

Each learns W (D, F) of the interest model (`shared.model`) as a LoRA pair W = B A, B (D, r) and
A (r, F), from the same per-user gradients (`shared.objective`), clipped, noised and charged alike.
What differs is the rule:

- `fedavg-ab`: A and B are trained and averaged each by itself (FedIT: Zhang et al. 2023, arXiv
  2305.05644), so the mean of the products is not the product of the means.
- `ffa`: A is drawn and fixed, B trained (FFA-LoRA: Sun et al. 2024, arXiv 2403.12313).
- `fedsvd`: as `ffa`, and after each round A becomes the right singular vectors of B A and B the
  rest (FedSVD: Lee et al. 2025, arXiv 2505.12805).
- `alternating`: B in odd rounds, A in even ones (RoLoRA: Chen et al. 2024, arXiv 2409.02346).
- `mr-mtl`: each platform keeps its own B, pulled to the mean of all (Liu et al. 2022, arXiv
  2206.07902, mean-regularised multi-task learning).
- `fedprox`: four local steps a round, pulled to where the round began (Li et al. 2020, arXiv
  1812.06127); with one step a round it would be FedAvg.
- `fedadam`: the mean update goes through Adam on the server (Reddi et al. 2021, arXiv 2003.00295).

The last three train B, as `ffa` does.  r is what the bytes of one of our updates allow in float16,
as their papers send them, an eighth of `ModelSettings.rank` for B alone, and fewer where A travels
too.

Shapes: `D` width, `F` features, `r` rank of the pair.
"""

import math
from dataclasses import dataclass
from typing import Literal

Part = Literal["A", "B"]

HALVES = 8
"""Numbers of two bits in the bytes of one float16."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A rule; see the module.

    Args:
        name: the system's name.
        trained: parts that a round trains, round after round in turn.
        refactor: whether A is made anew from B A after each round.
        personal: how far a platform's own B is pulled to the mean before a round, in [0, 1]; None
            for methods with one model for all.
        proximal: strength of the pull to where the round began, over the learning rate.
        local_steps: steps a round; there are as many fewer rounds.
        optimiser: of the server.
        server_rate: its learning rate; Adam moves every number by about this much a round.
        learning_rate: of a platform's SGD in a federation of 100,000 users or more; a pair of r
            columns bears longer steps than all of W.
    """

    name: str
    trained: tuple[tuple[Part, ...], ...] = (("B",),)
    refactor: bool = False
    personal: float | None = None
    proximal: float = 0.0
    local_steps: int = 1
    optimiser: Literal["fedavg", "fedadam"] = "fedavg"
    server_rate: float = 1.0
    learning_rate: float = 70.0

    def rate(self, chosen: float | None, population: int) -> float:
        """The learning rate: `chosen`, or by declared users as `TrainingSettings.rate` has it."""
        if chosen is not None:
            return chosen
        return self.learning_rate * min(1.0, math.sqrt(population / 100_000))

    def rank(self, rank: int, width: int, features: int) -> int:
        """Columns of B, so that no round sends more numbers than B (width, `rank`) has."""
        heaviest = max(
            sum(width if part == "B" else features for part in parts) for parts in self.trained
        )
        return max(1, min(rank, rank * width // heaviest))


METHODS = {
    method.name: method
    for method in (
        Method(name="fedavg-ab", trained=(("A", "B"),)),
        Method(name="ffa"),
        Method(name="fedsvd", refactor=True),
        Method(name="alternating", trained=(("B",), ("A",))),
        Method(name="mr-mtl", personal=0.5),
        Method(name="fedprox", local_steps=4, proximal=0.1),
        Method(name="fedadam", optimiser="fedadam", server_rate=0.02),
    )
}
