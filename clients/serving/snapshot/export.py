"""Writes the federation's text encoder for use without torch; this side needs torch and onnx.

What is written is read back and held against the original, on texts of many kinds, before it takes
its name.  An export that differs is refused, and the platform is served without texts.

Shapes: `N` texts, `T` tokens, `H` layers that are read, `D` width.
"""

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clients.serving.snapshot.encoder import (
    FORMAT,
    PARTS,
    Encoder,
    EncoderMeta,
    encoder_name,
)
from shared.config.training import ModelSettings
from shared.encoder import TextEncoder, encoder_identity, load_encoder, spread
from shared.errors import EncoderError, RunError
from shared.files import file_sha256, storage_error, write_json
from shared.pooling import pool

LEAST_COSINE, MOST_APART = 0.9999, 1e-3
_OPSET = 20
PROBES = (
    *("", " \t\n", "!!!", "a", "word " * 400, "x" * 5000),
    "The Settlers of Catan™: a board game for 3-4 players (2nd ed.), €39.90",
    "café cre\u0300me \ufb01n STRASSE straße русский हिन्दी ไทย",
    "日本のお茶と和菓子 \u0643\u062a\u0627\u0628 \u05e2\u05d1\u05e8\u05d9\u05ea",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1ee \u2764\ufe0f\U0001f525",
    "zero\x00byte \x07bell \u200bjoiner \u202eright to left \ufffd",
)


def export_encoder(model: ModelSettings, folder: Path, *, identity: str) -> Path:
    """The exported encoder of that identity in `folder`: the one that is there, or a new one.

    Args:
        model: whose encoder; not looked at where the encoder is there already.
        identity: `shared.encoder.encoder_identity` that it must have.

    Returns:
        path of its `.json`.

    Raises:
        EncoderError: another identity, no fast tokenizer, a network that cannot be exported, one
            that gives other states afterwards, or a package is missing.
        StorageError: the disk refused.
    """
    if not identity:
        raise _refused("states of a known encoder", "states of an unknown one")
    path = folder / encoder_name(identity)
    try:
        if EncoderMeta.read(path, thorough=True).identity == identity:
            return path
    except RunError:
        pass  # then it is made
    if (found := encoder_identity(model)) != identity:
        raise _refused(f"encoder {identity[:16]}", f"encoder {found[:16]}")
    encoder = load_encoder(model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A folder of its own: platforms that share the cache may be at it at the same time.
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=folder))
        try:
            _write(encoder, making / path.name, identity)
            for part in (*PARTS, "json"):  # what says that the others are there comes last
                made = (making / path.name).with_suffix(f".{part}")
                with open(made, "rb+") as written:
                    os.fsync(written.fileno())
                made.replace(folder / made.name)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as error:
        raise storage_error(error, path) from error
    return path


def hold(wanted: NDArray[np.float32], found: NDArray[np.float32], what: str) -> None:
    """Compare vectors (..., D); those longer than 1 may be apart in proportion.

    Raises:
        EncoderError: a cosine below `LEAST_COSINE`, or a number more than `MOST_APART` off.
    """
    one, other = (part.reshape(-1, part.shape[-1]).astype(np.float64) for part in (wanted, found))
    lengths = np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1)
    both = (lengths[0] > 0) & (lengths[1] > 0)
    cosines = (one * other).sum(axis=1)[both] / (lengths[0] * lengths[1])[both]
    least = float(cosines.min(initial=1.0))
    scale = np.maximum(lengths[0], 1.0)[:, None]
    apart = float((np.abs(one - other) / scale).max(initial=0.0))
    if not (least >= LEAST_COSINE and apart <= MOST_APART):  # so that NaN is refused too
        raise _refused(
            f"{what} with cosine >= {LEAST_COSINE} and at most {MOST_APART} apart",
            f"cosine {least:.5f}, {apart:.2g} apart",
        )


class _Texts(torch.nn.Module):
    """(N, T) ids and mask -> (N, H, D), as `TextEncoder._forward`."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.network = encoder.network
        self._layers, self._pooling = encoder.layers, encoder.pooling

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        found = self.network(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        states = (*found.hidden_states[:-1], found.last_hidden_state)
        depths = spread(len(states), self._layers)
        return torch.stack([pool(states[n], mask, self._pooling) for n in depths], dim=1)


def _write(encoder: TextEncoder, target: Path, identity: str) -> None:
    """Write `target`, a `.json`, and all that it names; and hold it against the original."""
    _tokenizer(encoder).save(str(target.with_suffix(".tokens")))
    _write_network(encoder, target.with_suffix(".onnx"))
    files = [target.with_suffix(f".{part}") for part in PARTS]
    meta = EncoderMeta(
        identity=identity,
        layers=encoder.layers,
        width=encoder.width,
        max_tokens=encoder.max_tokens,
        filler=encoder._filler,
        vocabulary=encoder._vocabulary,
        files={file.name: file_sha256(file) for file in files},
    )
    write_json(target, {"format": FORMAT, **asdict(meta)})
    _check(encoder, Encoder(target), PROBES)


def _tokenizer(encoder: TextEncoder) -> Any:
    """The encoder's tokenizer as `tokenizers` runs it, cutting and without padding."""
    from tokenizers import Tokenizer

    theirs = encoder._tokenizer
    backend = getattr(theirs, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise _refused("a tokenizer with tokenizer.json", type(theirs).__name__)
    try:
        own = Tokenizer.from_str(backend.to_str())
    except Exception as error:  # tokenizers raises bare Exception
        raise _refused("a tokenizer that can be written", type(error).__name__) from error
    own.no_padding()
    own.enable_truncation(encoder.max_tokens, direction=theirs.truncation_side)
    return own


def _write_network(encoder: TextEncoder, target: Path) -> None:
    """Write `target`, an `.onnx`, and the `.weights` beside it."""
    example = torch.full((2, 3), encoder._filler), torch.tensor([[1, 1, 1], [1, 0, 0]])
    program = _exported(_Texts(encoder), example)
    program.save(str(target), external_data=True)
    import onnx

    network = onnx.load(str(target), load_external_data=False)
    _strip(network)
    weights = target.with_suffix(".weights")
    for tensor in network.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = weights.name
    target.write_bytes(network.SerializeToString(deterministic=True))
    target.with_name(f"{target.name}.data").rename(weights)


def _exported(module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> Any:
    """The module as an ONNX program whose inputs' dimensions are free."""
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        with _quiet(), torch.no_grad():
            return torch.onnx.export(
                module.eval(),
                example,
                dynamo=True,
                input_names=["ids", "mask"],
                output_names=["states"],
                dynamic_shapes=(free, free),
                opset_version=_OPSET,
                verbose=False,
            )
    except ImportError as error:
        raise EncoderError(
            expected="the packages onnx and onnxscript",
            got="no such package",
            where="export of the text encoder",
            remedy="Run `pip install 'fedinterest[serving]'`.",
        ) from error
    except Exception as error:  # the exporter raises whatever the network's code does
        raise _refused("a network that can be exported", type(error).__name__) from error


def _strip(network: Any) -> None:
    """Take out what does not compute: it holds stack traces, and with them this machine's paths."""
    graph = network.graph
    graph.ClearField("value_info")
    for part in (network, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _check(encoder: TextEncoder, own: Encoder, texts: Sequence[str]) -> None:
    """Hold the exported network against the original, on all texts that it can read at all."""
    expected = {}
    for text in texts:
        try:
            expected[text] = encoder.encode([text], batch_size=1)[0]
        except EncoderError:
            continue
    if not expected:
        raise _refused("a text that the tokenizer can read", "none")
    hold(np.stack(list(expected.values())), own.states(list(expected)), "the original's states")


def _refused(expected: str, got: str) -> EncoderError:
    return EncoderError(expected=expected, got=got, where="export of the text encoder")


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's warnings are about its own insides; what it makes is checked."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
