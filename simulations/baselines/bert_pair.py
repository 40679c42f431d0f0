"""A fine-tuned BERT-like cross-encoder: does this item come next after this history?

History and candidate are read together as a pair of texts, and a linear layer with a sigmoid on the
pooled state says whether the second follows the first: BERT's next-sentence prediction turned to
items (Devlin et al. 2019, arXiv 1810.04805; Penha and Hauff 2020, "What does BERT know about books,
movies and music?", arXiv 2007.15356), trained with binary cross-entropy.

It does not rank the catalogue, it REORDERS THE FIRST `rerank` ITEMS OF THE FROZEN RANKING, as
Nogueira and Cho 2019 do with passages (arXiv 1901.04085).  Reading every pair of a history and an
item would be V passes through the encoder for one user, which no CPU does.  Everything below the
first `rerank` stays below, in frozen order: an item that is not among them cannot be found, and
HR@10 is at most the frozen HR@`rerank`.

What it is trained to tell apart is what it will be asked to: events whose real item is among the
frozen ranking's first `rerank`, against others from there.  Uniformly drawn others would teach it
only what the frozen ranking knows already.

20 pairs of 96 tokens through the embedded encoder are about 2e10 multiplications, 0.7 seconds on
one core for each user who is scored: evaluate it on a GPU (see `reading`), or on a sample of users.

Shape legend: `B` users, `V` items, `K` others of an example.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from shared.events import Sequences
from shared.metrics import Excluded
from simulations.baselines.frozen import Frozen, FrozenScorer
from simulations.baselines.learning import (
    History,
    Progress,
    draw_examples,
    require_items,
    require_settings,
    seeded,
)
from simulations.baselines.reading import TextModel, TextReader, fine_tune, require_texts

_ABOVE = 2.0  # frozen scores are cosines: whatever is above 1 is above all of them
_EXAMPLES_AT_ONCE = 256


@dataclass(frozen=True)
class Example:
    """An event, and the others it is to be told from."""

    history: History
    item: int
    others: NDArray[np.int64]


@dataclass(frozen=True)
class BertPairScorer:
    """The frozen ranking, its first items in the cross-encoder's order.

    Args:
        model: fine-tuned, one output.
        frozen: what chooses the items that are read.
        rerank: how many.
        length: most recent events that are read, tokens permitting.
        batch: pairs read at once.
    """

    model: TextModel
    frozen: FrozenScorer
    rerank: int
    length: int
    batch: int

    def scores(self, histories: list[NDArray[np.int32]]) -> torch.Tensor:
        """(B, V) float32: places in (2, 3] for what was read, cosines for the rest.

        Places and not probabilities, which tie near 0 and 1.  Items of the history are not read.
        A user without a history has zeros.
        """
        read = [history[-self.length :] for history in histories]
        total = self.frozen.scores(read)
        first = leading(total, read, self.rerank)
        logits = self.model.logits(self.model.reader.writer.pairs(read, first), self.batch)[:, 0]
        for row, (items, said) in enumerate(
            zip(first, logits.split([len(items) for items in first]), strict=True)
        ):
            order = torch.argsort(said, descending=True, stable=True)
            places = torch.arange(len(items), 0, -1) / max(1, len(items))
            total[row, torch.from_numpy(items)[order]] = _ABOVE + places
        return total


def leading(
    scores: torch.Tensor, histories: list[NDArray[np.int32]], count: int
) -> list[NDArray[np.int64]]:
    """The `count` best items of each user, best first, without those of the history.

    None for a user without a history: there is nothing they are best by.
    """
    left = scores.clone()
    known = Excluded.of(histories)
    left[known.rows, known.columns] = -torch.inf
    values, items = left.topk(min(count, scores.shape[1]), dim=1)
    return [
        (row[value > -torch.inf] if len(history) else row[:0]).numpy()
        for history, row, value in zip(histories, items, values, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class BertPair:
    """The cross-encoder, fine-tuned on a platform's own training events.

    Args:
        texts: of the V items, in the catalogue's order.
        encoder: see `ModelSettings.encoder`.
        seed: of dropout and examples.
        rerank: items of the frozen ranking that are read, for a user and in training.
        decay: of the frozen ranking.
        max_tokens: of a pair; item_tokens: of one item in it.
        length: most recent events that are read, tokens permitting.
        events: training events looked at for examples; those are kept whose item is among the
            first `rerank`, and all only if none is.
        batch, negatives: examples of a step, and K, others of each.
        steps, max_s: see `fine_tune`.
        learning_rate, head_rate: highest rates of the encoder and of the linear layer.
        score_batch: pairs read at once when scoring.
        progress: called with (steps done, steps).
    """

    texts: Sequence[str] = field(repr=False)
    encoder: str
    seed: int
    rerank: int = 20
    decay: float = 0.6
    max_tokens: int = 96
    item_tokens: int = 24
    length: int = 50
    events: int = 16384
    batch: int = 8
    negatives: int = 3
    steps: int = 300
    max_s: float | None = None
    learning_rate: float = 5e-5
    head_rate: float = 1e-3
    score_batch: int = 64
    progress: Progress | None = None

    def __post_init__(self) -> None:
        many = float("inf")
        require_settings(
            self,
            rerank=(1, many),
            decay=(1e-9, 1),
            max_tokens=(4, 512),
            item_tokens=(1, 512),
            length=(1, many),
            events=(1, many),
            batch=(1, many),
            negatives=(1, many),
            steps=(0, many),
            max_s=(0, many),
            learning_rate=(0, many),
            head_rate=(0, many),
            score_batch=(1, many),
        )

    def fit(self, train: Sequences, vectors: NDArray[np.float32]) -> BertPairScorer:
        """Fine-tune; the vectors choose what is read.

        Raises:
            DataError: nobody has two events, an event outside the catalogue, or texts of another.
            EncoderError: the model cannot be loaded, or has another tokenizer's files.
        """
        require_items(train, len(vectors))
        require_texts(self.texts, len(vectors))
        frozen = Frozen(self.decay).fit(train, vectors)
        rng = np.random.default_rng(self.seed)
        examples = self._examples(train, frozen, rng)
        with seeded(self.seed):
            reader = TextReader.load(
                self.encoder,
                self.texts,
                max_tokens=self.max_tokens,
                item_tokens=self.item_tokens,
            )
            model = TextModel(reader, 1)

            def loss() -> torch.Tensor:
                chosen = [examples[row] for row in rng.integers(len(examples), size=self.batch)]
                return pair_loss(model, chosen, self.negatives, rng)

            fine_tune(
                model,
                loss,
                steps=self.steps if examples else 0,
                max_s=self.max_s,
                learning_rate=self.learning_rate,
                head_rate=self.head_rate,
                progress=self.progress,
            )
        return BertPairScorer(model, frozen, self.rerank, self.length, self.score_batch)

    def _examples(
        self, train: Sequences, frozen: FrozenScorer, rng: np.random.Generator
    ) -> list[Example]:
        """What is learned from; nothing where there are no others to tell an item from."""
        within: list[Example] = []
        beyond: list[Example] = []
        drawn = draw_examples(train, self.events, self.length, rng)
        for start in range(0, len(drawn), _EXAMPLES_AT_ONCE):
            part = drawn[start : start + _EXAMPLES_AT_ONCE]
            histories = [history for history, _ in part]
            first = leading(frozen.scores(histories), histories, self.rerank)
            for (history, item), items in zip(part, first, strict=True):
                others = items[items != item]
                if len(others):
                    kept = within if len(others) < len(items) else beyond
                    kept.append(Example(history, item, others))
        return within or beyond


def pair_loss(
    model: TextModel, examples: Sequence[Example], negatives: int, rng: np.random.Generator
) -> torch.Tensor:
    """Binary cross-entropy, mean over the pairs: every example's item and K of its others."""
    items, labels = [], []
    for example in examples:
        count = min(negatives, len(example.others))
        others = rng.choice(example.others, size=count, replace=False)
        items.append(np.append(example.item, others))
        labels += [1.0] + [0.0] * count
    said = model(model.reader.writer.pairs([example.history for example in examples], items))[:, 0]
    wanted = torch.tensor(labels, device=said.device)
    return functional.binary_cross_entropy_with_logits(said, wanted)
