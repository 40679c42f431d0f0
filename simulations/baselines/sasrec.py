"""SASRec: self-attention over item ids, trained with the full softmax.

Kang and McAuley 2018, "Self-Attentive Sequential Recommendation" (arXiv 1808.09781): learned
places, causal self-attention blocks, scores by the items' own input embeddings (section III, A to
C).  The loss is not the paper's binary one but the cross-entropy over the whole catalogue
at every event, which is what makes SASRec strong: Klenitskiy and Vasilev 2023, "Turning Dross Into
Gold Loss: is BERT4Rec really better than SASRec?" (arXiv 2309.07602).

As in the paper a place is counted back from the newest event of the window, so that the place from
which the next item is predicted is always the same one.  A window is padded after its newest event
here and not before its oldest: the causal mask then hides the padding too.

Item texts are not read.

Shape legend: `B` users, `L` longest history of the batch, `D` width, `V` items, `N` events that
are predicted.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from shared.errors import ConfigError
from shared.events import Sequences
from simulations.baselines.learning import (
    History,
    Lesson,
    Progress,
    Schedule,
    learn,
    rectangle,
    require_items,
    require_settings,
    seeded,
)

_EVENTS_AT_ONCE = 256  # rows of the softmax: (256, V) logits stay near the processor, twice as fast


class Block(nn.Module):
    """Causal self-attention and a pointwise network, each with its norm before and a bypass."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.norms = nn.ModuleList([nn.LayerNorm(hidden), nn.LayerNorm(hidden)])
        self.queries = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)
        self.pointwise = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, hidden)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(B, L, D) to (B, L, D); nothing is read from later events."""
        users, length, width = states.shape
        parts = self.queries(self.norms[0](states)).view(users, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        read = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, dropout_p=rate
        )
        states = states + self.dropout(self.out(read.transpose(1, 2).reshape(users, length, width)))
        return states + self.dropout(self.pointwise(self.norms[1](states)))


class SasRecNetwork(nn.Module):
    """Histories of item ids to a state after each event."""

    def __init__(
        self, items: int, *, hidden: int, blocks: int, heads: int, dropout: float, length: int
    ) -> None:
        super().__init__()
        self.items, self.places = nn.Embedding(items, hidden), nn.Embedding(length, hidden)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(hidden, heads, dropout) for _ in range(blocks)))
        self.norm = nn.LayerNorm(hidden)
        # torch's own N(0, 1) would start a tied softmax far too sure of itself
        nn.init.xavier_normal_(self.items.weight)
        nn.init.xavier_normal_(self.places.weight)

    def forward(self, items: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """(B, L, D) states: what is known after each event, without the ones that follow.

        Args:
            items: (B, L) int64, oldest first, anything after the newest.
            sizes: (B,) int64 events of each.
        """
        back = (sizes[:, None] - 1 - torch.arange(items.shape[1])).clamp_min(0)
        states = self.items(items) * self.items.embedding_dim**0.5 + self.places(back)
        return self.norm(self.blocks(self.dropout(states)))


@dataclass(frozen=True)
class SasRecScorer:
    """The state after the newest event, against every item's embedding.

    Args:
        network: trained.
        length: most recent events that are read.
    """

    network: SasRecNetwork
    length: int

    @torch.no_grad()
    def scores(self, histories: list[NDArray[np.int32]]) -> torch.Tensor:
        """(B, V) float32 logits; zeros for a user without a history."""
        items, sizes = rectangle([history[-self.length :] for history in histories])
        states = self.network(items, sizes)
        newest = states[torch.arange(len(sizes)), (sizes - 1).clamp_min(0)]
        return (newest * (sizes > 0)[:, None]) @ self.network.items.weight.T


@dataclass(frozen=True, kw_only=True)
class SasRec:
    """SASRec with cross-entropy, on a platform's own training events.

    Args:
        seed: of weights, dropout, order of users and who is held back.
        hidden, blocks, heads: D, attention blocks, heads of each; heads divide hidden.
        dropout: of embeddings, attention and both branches of a block.
        length: most recent events that are read.
        batch, learning_rate: users of an Adam step, its rate.
        held_share: users whose last training event decides when to stop.
        epochs, patience, max_s: see `Schedule`.
        progress: called with (steps done, most steps).
    """

    seed: int
    hidden: int = 128
    blocks: int = 2
    heads: int = 2
    dropout: float = 0.3
    length: int = 50
    batch: int = 128
    learning_rate: float = 1e-3
    held_share: float = 0.1
    epochs: int = 40
    patience: int = 3
    max_s: float | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        many = float("inf")
        require_settings(
            self,
            hidden=(1, many),
            blocks=(1, many),
            heads=(1, self.hidden),
            dropout=(0, 0.99),
            length=(1, many),
            batch=(1, many),
            learning_rate=(0, many),
            held_share=(0, 0.5),
            epochs=(1, many),
            patience=(1, many),
            max_s=(0, many),
        )
        if self.hidden % self.heads:
            raise ConfigError(
                expected=f"a divisor of hidden = {self.hidden}",
                got=f"heads = {self.heads}",
                where="baseline SasRec",
            )

    def fit(self, train: Sequences, vectors: NDArray[np.float32]) -> SasRecScorer:
        """Train; the vectors only say how many items there are.

        Raises:
            DataError: nobody has two events, or an event outside the catalogue.
        """
        require_items(train, len(vectors))
        lesson = Lesson.of(train, share=self.held_share, longest=self.length, seed=self.seed)
        schedule = Schedule(
            epochs=self.epochs,
            patience=self.patience,
            batch=self.batch,
            max_s=self.max_s,
            seed=self.seed,
        )
        with seeded(self.seed):
            network = SasRecNetwork(
                len(vectors),
                hidden=self.hidden,
                blocks=self.blocks,
                heads=self.heads,
                dropout=self.dropout,
                length=self.length,
            )
            rate = self.learning_rate
            optimiser = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.9, 0.98))

            def step(batch: list[History]) -> None:
                optimiser.zero_grad()
                accumulate(network, batch)
                optimiser.step()

            scorer = SasRecScorer(network, self.length)
            learn(network, step, scorer, lesson, schedule, self.progress)
        return scorer


def accumulate(network: SasRecNetwork, batch: list[History]) -> float:
    """Add the gradient of a batch's mean cross-entropy to the parameters; return that mean.

    The softmax is taken over some of the N events at a time: its gradient with respect to their
    states is gathered, and goes through the network once.
    """
    inputs, sizes = rectangle([events[:-1] for events in batch])
    wanted, _ = rectangle([events[1:] for events in batch])
    present = torch.arange(inputs.shape[1]) < sizes[:, None]
    states, targets = network(inputs, sizes)[present], wanted[present]
    leaf = states.detach().requires_grad_()
    total = 0.0
    for part, items in zip(
        leaf.split(_EVENTS_AT_ONCE), targets.split(_EVENTS_AT_ONCE), strict=True
    ):
        logits = part @ network.items.weight.T
        loss = functional.cross_entropy(logits, items, reduction="sum") / len(targets)
        loss.backward()
        total += float(loss.detach())
    states.backward(leaf.grad)
    return total
