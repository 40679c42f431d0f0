"""The finished adapter that a platform was given, and the whitening map it sits on: one file."""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from shared.errors import RunError
from shared.files import write_bytes
from shared.protocol import AdapterDelivery, arrays_sha256

FILE = "delivered.safetensors"
_ADAPTER, _BASE = "adapter:", "base:"


def keep_delivered(folder: Path, delivery: AdapterDelivery) -> None:
    """Put it in `folder`, in the place of an earlier one.

    Raises:
        StorageError: the disk refused.
    """
    tensors = {f"{_ADAPTER}{name}": value for name, value in delivery.adapter.items()}
    tensors |= {f"{_BASE}{name}": value for name, value in delivery.base.items()}
    order = {"adapter": list(delivery.adapter), "base": list(delivery.base)}
    about = {
        **order,
        "round": delivery.round,
        "sha256": [arrays_sha256(delivery.adapter), arrays_sha256(delivery.base)],
    }
    whole = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    write_bytes(folder / FILE, save(whole, metadata={"fedinterest": json.dumps(about)}))


def read_delivered(folder: Path) -> AdapterDelivery | None:
    """What lies in `folder`; None where nothing was delivered yet.

    Raises:
        RunError: the file is damaged.
    """
    path = folder / FILE
    try:
        content = path.read_bytes()
        tensors = load(content)
        head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = json.loads(head["__metadata__"]["fedinterest"])
        found = AdapterDelivery(
            round=int(about["round"]),
            adapter={name: tensors[f"{_ADAPTER}{name}"] for name in about["adapter"]},
            base={name: tensors[f"{_BASE}{name}"] for name in about["base"]},
        )
        if [arrays_sha256(found.adapter), arrays_sha256(found.base)] != about["sha256"]:
            raise ValueError("checksum")
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            expected="an adapter as it was delivered",
            got=type(error).__name__,
            where=str(path),
            remedy="Remove the file; the coordinator's next `up` delivers it again.",
        ) from error
    return found
