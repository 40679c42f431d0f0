"""A BERT-like model that reads histories as text, and how it is fine-tuned on a CPU.

A history is written newest first, item texts apart by the tokenizer's separator, and cut where the
room ends; an item's own text is cut first, so that a long one does not push the others out:

    [CLS] newest [SEP] the one before [SEP] ...                                a history
    [CLS] newest [SEP] the one before [SEP] ... [SEP] candidate [SEP]          a pair

as in Devlin et al. 2019, "BERT" (arXiv 1810.04805), where the second part of a pair has its own
segment embedding.  Tokenizers without such marks do without.

Shapes: `B` texts, `T` tokens, `D` width, `V` items.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from shared.config.training import ModelSettings
from shared.encoder import load_encoder
from shared.errors import DataError, EncoderError
from shared.model_folder import find_model
from shared.pooling import Pooling, pool
from simulations.baselines.learning import History, Progress

_WARM_UP = 0.1  # share of the steps in which the rate rises, before it falls to 0 linearly
_WEIGHT_DECAY = 0.01
_CLIP = 1.0


@dataclass(frozen=True)
class Text:
    """Token ids, and where the second part of a pair begins (their number, where there is none)."""

    tokens: list[int]
    second: int


class TextReader(nn.Module):
    """A network that is trained, with the catalogue's items as tokens.

    Args:
        network: in evaluation mode; all its parameters are trained.
        tokens: of every item, without special ones.
        first, between, filler: ids of the marks, None where the tokenizer has none, and of padding.
        max_tokens: of a history or a pair.
    """

    def __init__(
        self,
        network: nn.Module,
        tokens: list[list[int]],
        *,
        pooling: Pooling,
        first: int | None,
        between: int | None,
        filler: int,
        max_tokens: int,
    ) -> None:
        super().__init__()
        self.network = network.requires_grad_(True)
        config: Any = network.config
        self.width = int(config.hidden_size)
        self.max_tokens = max_tokens
        self._segments = getattr(config, "type_vocab_size", 0) >= 2
        self._tokens, self._pooling, self._filler = tokens, pooling, filler
        self._first = [] if first is None else [first]
        self._between = [] if between is None else [between]

    @classmethod
    def load(
        cls, encoder: str, texts: Sequence[str], *, max_tokens: int, item_tokens: int
    ) -> "TextReader":
        """Load what `ModelSettings.encoder` names, and the texts as its tokens.

        Args:
            max_tokens: of a history or a pair; less where the model has fewer places.
            item_tokens: of one item.

        Raises:
            ConfigError: max_tokens is out of range.
            EncoderError: the model is missing, incomplete, or has another tokenizer's files.
        """
        wanted = {"encoder": encoder, "max_tokens": max_tokens}
        folder = find_model(encoder)
        frozen = load_encoder(ModelSettings.load(wanted, where="text baseline"), folder)
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder.path, local_files_only=True)
            tokens: list[list[int]] = tokenizer(
                list(texts), add_special_tokens=False, truncation=True, max_length=item_tokens
            )["input_ids"]
        except Exception as error:  # tokenizers raises bare Exception
            raise EncoderError(
                expected="a tokenizer that reads every item text",
                got=str(error),
                where=f"model.encoder = {encoder}",
                remedy="A word-level tokenizer needs an unknown token.",
            ) from error
        known = int(frozen.network.get_input_embeddings().num_embeddings)  # type: ignore[operator]
        largest = max((max(ids) for ids in tokens if ids), default=0)
        if largest >= known:
            raise EncoderError(
                expected=f"token ids below {known}, the model's vocabulary",
                got=str(largest),
                where=f"model.encoder = {encoder}",
                remedy="The tokenizer in this folder belongs to another model.",
            )
        fillers = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, 0)
        filler = next(int(token) for token in fillers if token is not None)
        return cls(
            frozen.network,
            [ids or [filler] for ids in tokens],
            pooling=frozen.pooling,
            first=tokenizer.cls_token_id,
            between=tokenizer.sep_token_id,
            filler=filler,
            max_tokens=frozen.max_tokens,
        )

    def history(self, items: History) -> Text:
        """A history that is not empty, by itself."""
        tokens = self._written(items, self.max_tokens)
        return Text(tokens, len(tokens))

    def pair(self, items: History, candidate: int) -> Text:
        """A history and a candidate; the candidate is whole, the history gets what room is left."""
        last = self._tokens[candidate] + self._between
        # a model with few places keeps at least half of them for the history
        last = last[: self.max_tokens // 2]
        tokens = self._written(items, self.max_tokens - len(last))
        return Text(tokens + last, len(tokens))

    def _written(self, items: History, room: int) -> list[int]:
        tokens = list(self._first)
        for item in items[::-1].tolist():
            if len(tokens) >= room:
                break
            tokens += self._tokens[item] + self._between
        return tokens[:room]

    def forward(self, texts: Sequence[Text]) -> torch.Tensor:
        """(B, D) pooled states; what is padded is not read."""
        longest = max(len(text.tokens) for text in texts)
        ids = torch.full((len(texts), longest), self._filler, dtype=torch.int64)
        mask, kinds = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, text in enumerate(texts):
            size = len(text.tokens)
            ids[row, :size] = torch.tensor(text.tokens)
            mask[row, :size] = 1
            kinds[row, text.second : size] = 1
        segments = {"token_type_ids": kinds} if self._segments else {}
        found = self.network(input_ids=ids, attention_mask=mask, **segments)
        return pool(found.last_hidden_state, mask, self._pooling)


class TextModel(nn.Module):
    """A reader and a linear head on it.

    Args:
        outputs: width of the head, which starts at zero.
    """

    def __init__(self, reader: TextReader, outputs: int) -> None:
        super().__init__()
        self.reader = reader
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(reader.width, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, texts: Sequence[Text]) -> torch.Tensor:
        """(B, outputs) logits."""
        logits: torch.Tensor = self.head(self.dropout(self.reader(texts)))
        return logits

    @torch.no_grad()
    def logits(self, texts: Sequence[Text], batch: int) -> torch.Tensor:
        """(B, outputs) float32, `batch` texts of similar length at a time."""
        found = torch.zeros(len(texts), self.head.out_features)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row].tokens))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            found[rows] = self([texts[row] for row in rows])
        return found


def require_texts(texts: Sequence[str], items: int) -> None:
    """Check that there is a text for each of the catalogue's items.

    Raises:
        DataError: there are more, or fewer.
    """
    if len(texts) != items:
        raise DataError(
            expected=f"{items} texts, one for each item",
            got=str(len(texts)),
            where="text baseline",
            remedy="Make the baseline with the texts of the catalogue it is fitted on.",
        )


def fine_tune(
    model: TextModel,
    loss: Callable[[], torch.Tensor],
    *,
    steps: int,
    max_s: float | None,
    learning_rate: float,
    head_rate: float,
    progress: Progress | None,
) -> None:
    """AdamW steps on `loss`, the rate warmed up and then falling to 0; evaluation mode after.

    Args:
        loss: of the next batch.
        steps: how many.
        max_s: seconds after which no further step is made; such a run is not repeatable.
        learning_rate, head_rate: highest rates of the network and of the head.
        progress: called with (steps done, steps).
    """
    rates = (learning_rate, head_rate)
    parts = [{"params": list(part.parameters())} for part in (model.reader, model.head)]
    optimiser = torch.optim.AdamW(parts, lr=learning_rate, weight_decay=_WEIGHT_DECAY)
    warm, began = max(1, round(_WARM_UP * steps)), time.monotonic()
    model.train()
    for number in range(steps):
        if max_s is not None and time.monotonic() - began > max_s:
            if progress is not None:
                progress(steps, steps)
            break
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * min((number + 1) / warm, (steps - number) / steps)
        optimiser.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        optimiser.step()
        if progress is not None:
            progress(number + 1, steps)
    model.eval()
