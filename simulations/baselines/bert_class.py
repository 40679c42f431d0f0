"""A fine-tuned BERT-like model that reads the history and names the next item's class.

Every item of the catalogue is a class: the history as text goes through the encoder, its pooled
state h through a linear layer, and the softmax cross-entropy of the next item is what all of it is
trained on, as in any text classification by BERT (Devlin et al. 2019, arXiv 1810.04805, section
4.1: p = softmax(W h + b)).  W starts at zero and b at the log of the items' shares of the training
events, so that it starts as popularity.

Only the history is read as text: an item that was never met in training has no class worth the
name, and what was learned about one catalogue says nothing about another.

A step of 32 histories of 96 tokens through the embedded encoder is about 1e11 multiplications,
seconds on one core: `steps` and `max_s` bound what is spent.  On a GPU (see `reading`) it is a
few hundredths of a second.

Shape legend: `B` users, `D` width, `V` items.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from shared.events import Sequences
from simulations.baselines.learning import (
    Progress,
    draw_examples,
    require_items,
    require_settings,
    seeded,
)
from simulations.baselines.reading import TextModel, TextReader, fine_tune, require_texts


@dataclass(frozen=True)
class BertClassScorer:
    """Logits of the classes.

    Args:
        model: fine-tuned, V outputs.
        length: most recent events that are read, tokens permitting.
        batch: histories read at once.
    """

    model: TextModel
    length: int
    batch: int

    def scores(self, histories: list[NDArray[np.int32]]) -> torch.Tensor:
        """(B, V) float32; zeros for a user without a history."""
        total = torch.zeros(len(histories), self.model.head.out_features)
        rows = [row for row, history in enumerate(histories) if len(history)]
        read = [histories[row][-self.length :] for row in rows]
        total[rows] = self.model.logits(self.model.reader.writer.histories(read), self.batch)
        return total


@dataclass(frozen=True, kw_only=True)
class BertClass:
    """The text classifier, fine-tuned on a platform's own training events.

    Args:
        texts: of the V items, in the catalogue's order.
        encoder: see `ModelSettings.encoder`.
        seed: of dropout and examples.
        max_tokens: of a history; item_tokens: of one item in it.
        length: most recent events that are read, tokens permitting.
        batch: histories of a step, each with one event to be named.
        steps, max_s: see `fine_tune`.
        learning_rate, head_rate: highest rates of the encoder and of the linear layer.
        progress: called with (steps done, steps).
    """

    texts: Sequence[str] = field(repr=False)
    encoder: str
    seed: int
    max_tokens: int = 96
    item_tokens: int = 24
    length: int = 50
    batch: int = 32
    steps: int = 400
    max_s: float | None = None
    learning_rate: float = 5e-5
    head_rate: float = 1e-3
    progress: Progress | None = None

    def __post_init__(self) -> None:
        many = float("inf")
        require_settings(
            self,
            max_tokens=(4, 512),
            item_tokens=(1, 512),
            length=(1, many),
            batch=(1, many),
            steps=(0, many),
            max_s=(0, many),
            learning_rate=(0, many),
            head_rate=(0, many),
        )

    def fit(self, train: Sequences, vectors: NDArray[np.float32]) -> BertClassScorer:
        """Fine-tune; the vectors only say how many items there are.

        Raises:
            DataError: nobody has two events, an event outside the catalogue, or texts of another.
            EncoderError: the model cannot be loaded, or has another tokenizer's files.
        """
        require_items(train, len(vectors))
        require_texts(self.texts, len(vectors))
        rng = np.random.default_rng(self.seed)
        with seeded(self.seed):
            reader = TextReader.load(
                self.encoder,
                self.texts,
                max_tokens=self.max_tokens,
                item_tokens=self.item_tokens,
            )
            model = TextModel(reader, len(vectors))
            seen = np.bincount(train.items, minlength=len(vectors)) + 1
            with torch.no_grad():
                model.head.bias.copy_(torch.from_numpy(np.log(seen / seen.sum())))

            def loss() -> torch.Tensor:
                examples = draw_examples(train, self.batch, self.length, rng)
                logits = model(reader.writer.histories([history for history, _ in examples]))
                wanted = torch.tensor([item for _, item in examples], device=logits.device)
                return functional.cross_entropy(logits, wanted)

            fine_tune(
                model,
                loss,
                steps=self.steps,
                max_s=self.max_s,
                learning_rate=self.learning_rate,
                head_rate=self.head_rate,
                progress=self.progress,
            )
        return BertClassScorer(model, self.length, self.batch)
