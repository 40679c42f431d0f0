"""Frozen text encoder: a catalogue's texts -> states by layer, computed once and cached on disk.

Shapes: N texts, V items, T tokens, H layers that are read, D width.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.catalogue import Catalogue
from shared.config.training import ModelSettings
from shared.errors import CacheError, EncoderError
from shared.model_folder import ModelFolder, find_model
from shared.pooling import Pooling, pool, resolve_pooling
from shared.vector_cache import read_vectors, vector_key, write_vectors

Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)

# On CPUs a few hundred tokens at once are fastest (the states stay in the processor's cache):
# 2,600 tokens/s on one core, against 1,350 for 128 texts at once sorted by characters.
_TOKENS_AT_ONCE = 512
_SCHEME = 2  # raised when this file's own arithmetic changes, so that old caches are not read


def encode_catalogue(
    catalogue: Catalogue,
    model: ModelSettings,
    *,
    cache_dir: Path,
    batch_size: int,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """(V, H, D) pooled, unnormalised states of the catalogue's texts, from the cache where it can.

    A damaged cache is logged as a warning and replaced.  The model is loaded only when the cache
    has no answer.

    Args:
        cache_dir: folder of cached vectors; the key covers weights, tokenizer, pooling, cut,
            layers, texts.
        batch_size: most texts at once.
        progress: called with (items done, V); once at the end when the cache answers.

    Raises:
        EncoderError: the model is missing, incomplete, not the promised one, or gives NaN.
        StorageError: the cache cannot be written.
    """
    folder = find_model(model.encoder)
    key = vector_key(_space(model, folder), catalogue.content_hash)
    try:
        cached = read_vectors(cache_dir, key, rows=len(catalogue))
    except CacheError as damage:
        _log.warning("%s Encoding the items again.", damage)
        cached = None
    if cached is not None:
        if progress is not None:
            progress(len(catalogue), len(catalogue))
        return cached
    encoder = load_encoder(model, folder)
    vectors = encoder.encode(catalogue.texts, batch_size=batch_size, progress=progress)
    write_vectors(cache_dir, key, vectors)
    return vectors


def encoder_identity(model: ModelSettings) -> str:
    """Hex SHA-256 of what turns a text into states: weights, tokenizer, pooling, cut, layers.

    Two parties with the same identity have the same item space; an adapter fits no other.
    """
    return _space(model, find_model(model.encoder))


def _space(model: ModelSettings, folder: ModelFolder) -> str:
    return vector_key(_SCHEME, folder.identity, model.pooling, model.max_tokens, model.layers)


def load_encoder(model: ModelSettings, folder: ModelFolder | None = None) -> "TextEncoder":
    """Load the frozen model and its tokenizer in float32; never touches the network.

    Raises:
        EncoderError: files are missing or damaged, or weights are missing from them (transformers
            would draw those at random, silently).
    """
    folder = folder or find_model(model.encoder)
    from transformers import AutoModel, AutoTokenizer

    try:
        with _quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder.path, local_files_only=True)
            network, report = AutoModel.from_pretrained(
                folder.path,
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # from_pretrained raises whatever its parsers raise
        raise EncoderError(
            expected="a Hugging Face text model with its tokenizer",
            got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            where=f"model.encoder = {model.encoder}",
            remedy="Check that the folder is whole: config, tokenizer and weights.",
        ) from error
    absent = sorted(
        name for name in report["missing_keys"] if not name.startswith("pooler.")
    ) + sorted(str(entry[0]) for entry in report["mismatched_keys"])
    if absent:
        raise EncoderError(
            expected="all weights of the model",
            got=f"{len(absent)} missing or of another shape, the first is {absent[0]}",
            where=f"model.encoder = {model.encoder}",
            remedy="The weights and config.json belong to different models.",
        )
    pooling = resolve_pooling(model.pooling, network.config)
    if getattr(network.config, "is_encoder_decoder", False):
        network = network.get_encoder()
    return TextEncoder(
        network, tokenizer, pooling=pooling, max_tokens=model.max_tokens, layers=model.layers
    )


class TextEncoder:
    """A frozen network and its tokenizer; pads on the right, by itself.

    Padding is done here because GPT-like tokenizers have no padding token and may pad on the left:
    on the right, with the mask, neither positions nor a causal model's states depend on it.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        tokenizer: Any,
        *,
        pooling: Pooling,
        max_tokens: int,
        layers: int,
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.pooling: Pooling = pooling
        self.layers = layers
        self._tokenizer = tokenizer
        limits = (
            max_tokens,
            tokenizer.model_max_length,
            getattr(network.config, "max_position_embeddings", None) or max_tokens,
        )
        self.max_tokens = int(min(limits))
        first = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, 0)
        self._filler = next(int(token) for token in first if token is not None)
        self._vocabulary = int(network.get_input_embeddings().num_embeddings)  # type: ignore[operator]

    @property
    def width(self) -> int:
        """D."""
        return int(self.network.config.hidden_size)  # type: ignore[union-attr, arg-type]

    def encode(
        self, texts: Sequence[str], *, batch_size: int, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """(N, H, D) pooled states in the order of `texts`; equal texts are encoded once.

        The layers are evenly spread, from the word embeddings (0) to the last one, which is the
        last; a network with fewer has some of them twice.

        Texts are batched by their number of tokens, longest first, so that little is padded.

        Raises:
            EncoderError: a vector is not finite, or the tokenizer does not fit the model.
        """
        distinct = list(dict.fromkeys(texts))
        row_of = {text: row for row, text in enumerate(distinct)}
        index = np.array([row_of[text] for text in texts], dtype=np.int64)
        copies = np.bincount(index, minlength=len(distinct))
        tokens = self._tokens(distinct)
        vectors: NDArray[np.float32] | None = None
        done = 0
        for rows in _batches([len(ids) for ids in tokens], batch_size):
            pooled = self._forward([tokens[row] for row in rows])
            if vectors is None:
                vectors = np.zeros((len(distinct), *pooled.shape[1:]), dtype=np.float32)
            vectors[rows] = pooled
            done += int(copies[rows].sum())
            if progress is not None:
                progress(done, len(texts))
        if vectors is None:
            return np.zeros((0, self.layers, self.width), np.float32)
        return vectors[index]

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, cut to `max_tokens`; a text without any becomes one filler."""
        if not texts:
            return []
        try:
            with _quiet_transformers():
                read = self._tokenizer(texts, truncation=True, max_length=self.max_tokens)
        except Exception as error:  # tokenizers raises bare Exception
            raise EncoderError(
                expected="a tokenizer that reads every item text",
                got=str(error),
                where="model.encoder",
                remedy="A word-level tokenizer needs an unknown token.",
            ) from error
        found: list[list[int]] = read["input_ids"]
        largest = max((max(ids) for ids in found if ids), default=0)
        if largest >= self._vocabulary:
            raise EncoderError(
                expected=f"token ids below {self._vocabulary}, the model's vocabulary",
                got=str(largest),
                where="model.encoder",
                remedy="The tokenizer in this folder belongs to another model.",
            )
        return [ids or [self._filler] for ids in found]

    def _forward(self, tokens: list[list[int]]) -> NDArray[np.float32]:
        longest = max(map(len, tokens))
        ids = torch.full((len(tokens), longest), self._filler, dtype=torch.int64)
        mask = torch.zeros((len(tokens), longest), dtype=torch.int64)
        for row, text in enumerate(tokens):
            ids[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        with torch.inference_mode():
            found = self.network(input_ids=ids, attention_mask=mask, output_hidden_states=True)
            # `hidden_states` may lack the network's closing norm, `last_hidden_state` has it
            states = (*found.hidden_states[:-1], found.last_hidden_state)
            depths = spread(len(states), self.layers)
            pooled = np.stack([pool(states[n], mask, self.pooling).numpy() for n in depths], axis=1)
        broken = ~np.isfinite(pooled).all(axis=(1, 2))
        if broken.any():
            raise EncoderError(
                expected="finite item vectors",
                got=f"{int(broken.sum())} texts with NaN or infinity",
                where="model.encoder",
                remedy="The model's weights are damaged, or overflow.",
            )
        return pooled


def spread(states: int, layers: int) -> list[int]:
    """Which of `states` hidden states are read: `layers` of them, evenly, the last one last."""
    if layers == 1:
        return [states - 1]
    return [round(number * (states - 1) / (layers - 1)) for number in range(layers)]


def _batches(lengths: list[int], batch_size: int) -> Iterator[list[int]]:
    """Rows in batches of similar length, longest first: the largest need for memory comes first."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    start = 0
    while start < len(order):
        size = max(1, min(batch_size, _TOKENS_AT_ONCE // lengths[order[start]]))
        yield order[start : start + size]
        start += size


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No "Loading weights" bar, no load report from our own calls; the user's settings return."""
    from transformers.utils import logging as theirs

    def no_bar(factory: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return theirs.EmptyTqdm(*args, **kwargs)

    # not disable_progress_bar(): that one switches the hub's download bars off as well
    level, hook = theirs.get_verbosity(), theirs.set_tqdm_hook(no_bar)
    theirs.set_verbosity_error()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        theirs.set_tqdm_hook(hook)
