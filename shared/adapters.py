"""The trainable tensors and nothing else: name -> float32 array, in one fixed order.

On disk an adapter is a PEFT folder (`adapter_config.json`, `adapter_model.safetensors`): LoRA of
rank D on a linear layer `items` from an item's features to its vector.  The blocks' pairs are
written multiplied out (`lora_A` is W, `lora_B` the identity): `peft.PeftModel` reads it as it is.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from shared.config.training import ModelSettings
from shared.errors import AdapterError, ConfigError
from shared.files import write_bytes, write_json
from shared.model import InterestModel

Adapter = dict[str, NDArray[np.float32]]

LAYER = "items"
CONFIG_FILE = "adapter_config.json"
TENSOR_FILE = "adapter_model.safetensors"
_FORM = "turned"  # how items use W (`shared.model`): another form scores otherwise
_PREFIX = "base_model.model."
_UNREADABLE = (
    *(OSError, SafetensorError, ConfigError),
    *(KeyError, ValueError, TypeError, AttributeError),
)


def initial_adapter(settings: ModelSettings, width: int) -> Adapter:
    """The adapter of round 0: zeros, so that the model is the frozen baseline."""
    return extract(InterestModel(settings, width))


def extract(model: InterestModel) -> Adapter:
    """A copy of the model's trainable tensors."""
    return {name: model.block(name).lora_B.weight.detach().numpy().copy() for name in model.names}


def adapter_bytes(adapter: Adapter) -> bytes:
    """The adapter as safetensors: the same tensors, the same bytes."""
    return save_tensors({name: np.ascontiguousarray(value) for name, value in adapter.items()})


def adapter_sha256(adapter: Adapter) -> str:
    """Hex SHA-256 of `adapter_bytes`."""
    return hashlib.sha256(adapter_bytes(adapter)).hexdigest()


def save_peft(
    folder: Path, adapter: Adapter, settings: ModelSettings, width: int, base: dict[str, str]
) -> None:
    """Write `adapter` as a PEFT folder; each file is replaced atomically.

    Args:
        base: what the adapter sits on, as words: encoder identity and whitening hash.
    """
    model = InterestModel(settings, width).load(adapter)
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": None,
        "auto_mapping": None,
        "base_model_name_or_path": f"fedinterest/{base['encoder']}",
        "r": width,
        "lora_alpha": width,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [LAYER],
        "inference_mode": True,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
    }
    tensors = {
        f"{_PREFIX}{LAYER}.lora_A.weight": model.weight.detach().numpy(),
        f"{_PREFIX}{LAYER}.lora_B.weight": np.eye(width, dtype=np.float32),
    }
    metadata = {
        "fedinterest": json.dumps(
            {**base, "form": _FORM, "model": settings.model_dump(mode="json")}
        )
    }
    write_bytes(
        folder / TENSOR_FILE,
        save_tensors(tensors, metadata=metadata),
    )
    write_json(folder / CONFIG_FILE, config)


def load_peft(folder: Path, *, base: dict[str, str]) -> tuple[Adapter, ModelSettings]:
    """Read a PEFT folder that `save_peft` wrote, and the model settings it was trained with.

    Raises:
        AdapterError: files are missing or damaged, or the adapter was trained on another base.
    """
    path = folder / TENSOR_FILE
    try:
        content = path.read_bytes()
        tensors = load_tensors(content)
        head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        found = json.loads(head["__metadata__"]["fedinterest"])
        settings = ModelSettings.load(found.pop("model"), where=str(path))
    except _UNREADABLE as error:
        raise AdapterError(
            expected="an adapter written by fedinterest",
            got=f"{type(error).__name__}",
            where=str(path),
            remedy="Give the run's `adapter` folder.",
        ) from error
    for key, value in {**base, "form": _FORM}.items():
        if found.get(key) != value:
            raise AdapterError(
                expected=f"an adapter for {key} {value[:16]}",
                got=f"one for {str(found.get(key))[:16]}",
                where=str(path),
                remedy="Use the adapter with the base model it was trained on.",
            )
    whole = tensors.pop(f"{_PREFIX}{LAYER}.lora_A.weight", np.zeros(0))
    outer = tensors.pop(f"{_PREFIX}{LAYER}.lora_B.weight", np.zeros(0))
    width = whole.shape[0] if whole.ndim == 2 else 1
    model = InterestModel(settings, width)
    fits = whole.shape == (width, model.features) and np.array_equal(outer, np.eye(width))
    if tensors or not fits:
        raise AdapterError(
            expected=f"{LAYER}.lora_A of shape (D, {settings.layers} D), and the identity",
            got=f"shapes {whole.shape} and {outer.shape}, {len(tensors)} more tensors",
            where=f"{path}, {LAYER}",
            remedy="Use the adapter with the base model it was trained on.",
        )
    adapter = {
        name: np.ascontiguousarray(whole[:, model.block(name).columns]) for name in model.names
    }
    model.load(adapter)  # dtype, finite
    return adapter, settings


__all__ = [
    "LAYER",
    "Adapter",
    "adapter_bytes",
    "adapter_sha256",
    "extract",
    "initial_adapter",
    "load_peft",
    "save_peft",
]
