"""A BERT-like model that reads histories as text (`writing`), and how it is fine-tuned.

The network is on a GPU where torch finds one, and reads in bfloat16 there (weights, optimiser and
head stay float32): minutes for what takes hours on a CPU, but no run repeats another to the bit.

Shapes: `B` texts, `D` width.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from shared.config.training import ModelSettings
from shared.encoder import load_encoder
from shared.errors import DataError, EncoderError
from shared.model_folder import find_model
from shared.pooling import Pooling, pool
from simulations.baselines.learning import Progress
from simulations.baselines.writing import Texts, Writer

_WARM_UP = 0.1  # share of the steps in which the rate rises, before it falls to 0 linearly
_WEIGHT_DECAY = 0.01
_CLIP = 1.0
_ON_GPU = 32  # times as many texts at once: what fills a CPU's cache leaves a GPU idle


def device() -> torch.device:
    """Where text models are trained and read: the GPU where torch finds one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class TextReader(nn.Module):
    """A network that is trained, and what writes the catalogue's items for it.

    Args:
        network: in evaluation mode; all its parameters are trained.
        writer: histories and pairs as its tokens.

    Attributes:
        mixed: whether it reads in bfloat16, as it does on a GPU.
    """

    def __init__(self, network: nn.Module, writer: Writer, *, pooling: Pooling) -> None:
        super().__init__()
        self.device = device()
        self.mixed = self.device.type != "cpu"
        self.network = network.requires_grad_(True).to(self.device)
        self.writer = writer
        config: Any = network.config
        self.width = int(config.hidden_size)
        self._segments = getattr(config, "type_vocab_size", 0) >= 2
        self._pooling = pooling

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
        writer = Writer(
            [ids or [filler] for ids in tokens],
            first=tokenizer.cls_token_id,
            between=tokenizer.sep_token_id,
            filler=filler,
            max_tokens=frozen.max_tokens,
        )
        return cls(frozen.network, writer, pooling=frozen.pooling)

    def forward(self, texts: Texts) -> torch.Tensor:
        """(B, D) float32 pooled states; what is padded is not read."""
        ids = torch.from_numpy(texts.ids).to(self.device)
        sizes, seconds = (
            torch.from_numpy(part)[:, None].to(self.device) for part in (texts.sizes, texts.seconds)
        )
        places = torch.arange(ids.shape[1], device=self.device)
        mask = (places < sizes).to(torch.int64)
        kinds = mask * (places >= seconds)
        segments = {"token_type_ids": kinds} if self._segments else {}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            found = self.network(input_ids=ids, attention_mask=mask, **segments)
        return pool(found.last_hidden_state.float(), mask, self._pooling)


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
        self.to(reader.device)

    def forward(self, texts: Texts) -> torch.Tensor:
        """(B, outputs) float32 logits, where the network is."""
        logits: torch.Tensor = self.head(self.dropout(self.reader(texts)))
        return logits

    @torch.no_grad()
    def logits(self, texts: Texts, batch: int) -> torch.Tensor:
        """(B, outputs) float32 on the CPU, `batch` texts of similar length at a time; more on a
        GPU."""
        if self.reader.device.type != "cpu":
            batch *= _ON_GPU
        found = torch.zeros(len(texts), self.head.out_features, device=self.reader.device)
        order = np.argsort(texts.sizes, kind="stable")
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            found[torch.from_numpy(rows).to(found.device)] = self(texts[rows])
        return found.cpu()


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
