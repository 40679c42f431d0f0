"""The trainable tensors and nothing else: name -> float32 array, in one fixed order.

On disk an adapter is a PEFT folder (`adapter_config.json`, `adapter_model.safetensors`): LoRA on
the interest model's `readout`.  `lora_A` is fixed and written along, so that the folder is
complete for `peft.PeftModel`; only `lora_B` was trained.
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
from shared.model import READOUT, InterestModel, layout_of

Adapter = dict[str, NDArray[np.float32]]

CONFIG_FILE = "adapter_config.json"
TENSOR_FILE = "adapter_model.safetensors"
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
    return {n: p.detach().numpy().astype(np.float32, copy=True) for n, p in model.trainable()}


def difference(new: Adapter, old: Adapter) -> Adapter:
    """The update: new minus old, tensor by tensor."""
    return {name: new[name] - old[name] for name in old}


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
    layout = model.layout
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": None,
        "auto_mapping": None,
        "base_model_name_or_path": f"fedinterest/{base['encoder']}",
        "r": layout.rank,
        "lora_alpha": layout.rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [READOUT],
        "inference_mode": True,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
    }
    tensors = {
        f"{_PREFIX}{READOUT}.lora_A.weight": model.readout.lora_A.weight.detach().numpy(),
        **{f"{_PREFIX}{name}": value for name, value in adapter.items()},
    }
    metadata = {"fedinterest": json.dumps({**base, "model": settings.model_dump(mode="json")})}
    write_bytes(
        folder / TENSOR_FILE,
        save_tensors({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata=metadata),
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
    for key, value in base.items():
        if found.get(key) != value:
            raise AdapterError(
                expected=f"an adapter for {key} {value[:16]}",
                got=f"one for {str(found.get(key))[:16]}",
                where=str(path),
                remedy="Use the adapter with the base model it was trained on.",
            )
    adapter = {n.removeprefix(_PREFIX): v for n, v in sorted(tensors.items())}
    fixed = adapter.pop(f"{READOUT}.lora_A.weight", None)
    width = next((v.shape[0] for v in adapter.values() if v.ndim == 2), 0)
    model = InterestModel(settings, max(width, 1)).load(adapter)  # names, shapes, finite
    # Trained against other directions, the same numbers would mean something else.
    if fixed is None or not np.array_equal(fixed, model.readout.lora_A.weight.detach().numpy()):
        raise AdapterError(
            expected="the fixed directions of this version's base model",
            got="none" if fixed is None else "others",
            where=f"{path}, {READOUT}.lora_A.weight",
            remedy="Use the adapter with the base model it was trained on.",
        )
    return adapter, settings


__all__ = [
    "Adapter",
    "adapter_bytes",
    "adapter_sha256",
    "difference",
    "extract",
    "initial_adapter",
    "layout_of",
    "load_peft",
    "save_peft",
]
