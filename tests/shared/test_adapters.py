"""Adapters: bytes, hashes, and PEFT folders that the real `peft` reads."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from torch import nn

from shared.adapters import (
    CONFIG_FILE,
    LAYER,
    TENSOR_FILE,
    Adapter,
    adapter_bytes,
    adapter_sha256,
    extract,
    initial_adapter,
    load_peft,
    save_peft,
)
from shared.config.training import ModelSettings
from shared.errors import AdapterError
from shared.ground import Ground
from shared.model import InterestModel

WIDTH = 10
SETTINGS = ModelSettings(history_length=7, rank=13, decay=0.7, layers=2)
BASE = {"encoder": "e" * 64, "whitening": "f" * 64}


def trained(seed: int = 0) -> Adapter:
    generator = np.random.default_rng(seed)
    return {
        name: generator.normal(size=value.shape).astype(np.float32)
        for name, value in initial_adapter(SETTINGS, WIDTH).items()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_peft(tmp_path / "adapter", trained(), SETTINGS, WIDTH, BASE)
    return tmp_path / "adapter"


def same(a: Adapter, b: Adapter) -> bool:
    return list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)


# --- bytes and hashes ------------------------------------------------------------------------


def test_the_hash_is_pinned() -> None:
    """A release that changes these bytes breaks every `adapter_sha256` on record."""
    adapter = {"blocks.000.lora_B": np.arange(6, dtype=np.float32).reshape(2, 3)}
    header = b'{"blocks.000.lora_B":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'
    header += b" " * (-len(header) % 8)
    body = np.arange(6, dtype="<f4").tobytes()
    want = len(header).to_bytes(8, "little") + header + body
    assert adapter_bytes(adapter) == want
    assert adapter_sha256(adapter) == hashlib.sha256(want).hexdigest()


def test_the_hash_is_of_values_and_names_only() -> None:
    adapter = {**trained(), "another": np.ones(3, np.float32)}
    known = adapter_sha256(adapter)
    assert adapter_sha256({name: np.asfortranarray(v) for name, v in adapter.items()}) == known
    assert adapter_sha256(dict(reversed(adapter.items()))) == known
    strided = {name: np.repeat(v, 2, axis=0)[::2] for name, v in adapter.items()}
    assert adapter_sha256(strided) == known
    for name, value in adapter.items():
        other = value.copy()
        other.flat[0] = np.nextafter(other.flat[0], np.float32(9))
        assert adapter_sha256({**adapter, name: other}) != known
        assert adapter_sha256({**adapter, f"{name}x": value}) != known


def test_extract_is_a_copy() -> None:
    model = InterestModel(SETTINGS, WIDTH).load(trained(1))
    taken = extract(model)
    assert same(taken, trained(1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert same(taken, trained(1))
    assert not same(extract(model), taken)


# --- the folder ------------------------------------------------------------------------------


def test_round_trip(folder: Path) -> None:
    adapter, settings = load_peft(folder, base=BASE)
    assert same(adapter, trained())
    assert settings == SETTINGS
    assert {path.name for path in folder.iterdir()} == {CONFIG_FILE, TENSOR_FILE}


def test_the_same_adapter_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    save_peft(tmp_path / "again", trained(), SETTINGS, WIDTH, BASE)
    for name in (CONFIG_FILE, TENSOR_FILE):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


class Plain(nn.Module):
    """A module that knows nothing of this project but the layer's name."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.items = nn.Linear(features, width, bias=False)
        nn.init.zeros_(self.items.weight)

    def forward(self, vectors: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        return vectors + self.items(features)


def test_peft_loads_it(folder: Path) -> None:
    ours = InterestModel(SETTINGS, WIDTH).load(trained())
    generator = torch.Generator().manual_seed(1)
    ground = Ground(
        torch.randn((9, WIDTH), generator=generator),
        torch.randn((9, ours.features), generator=generator),
    )
    plain = Plain(ours.features, WIDTH)
    before = plain(ground.vectors, ground.features)
    theirs = PeftModel.from_pretrained(plain, str(folder))
    with torch.no_grad():
        want = ours.moved(ground)
        assert torch.allclose(theirs(ground.vectors, ground.features), want, atol=1e-5)
        assert not torch.allclose(want, before, atol=0.1)
        merged = theirs.merge_and_unload()
        assert torch.allclose(merged(ground.vectors, ground.features), want, atol=1e-5)


def test_saving_refuses_an_adapter_that_does_not_fit(tmp_path: Path) -> None:
    adapter = trained()
    next(iter(adapter.values()))[0, 0] = np.nan
    with pytest.raises(AdapterError):
        save_peft(tmp_path / "adapter", adapter, SETTINGS, WIDTH, BASE)
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("key", sorted(BASE))
def test_an_adapter_for_another_base(folder: Path, key: str) -> None:
    with pytest.raises(
        AdapterError, match=f"an adapter for {key} {'0' * 16}, got one for"
    ) as caught:
        load_peft(folder, base={**BASE, key: "0" * 64})
    assert caught.value.exit_code == 6
    assert "base model" in str(caught.value)
    with pytest.raises(AdapterError, match="None"):
        load_peft(folder, base={**BASE, "tokenizer": "1"})


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(folder: Path, share: float) -> None:
    path = folder / TENSOR_FILE
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(AdapterError, match=TENSOR_FILE) as caught:
        load_peft(folder, base=BASE)
    assert caught.value.__cause__ is not None


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="`adapter` folder"):
        load_peft(tmp_path, base=BASE)


def rewrite(folder: Path, change: str) -> None:
    """Save the folder's tensors anew, with something wrong about them."""
    path = folder / TENSOR_FILE
    content = path.read_bytes()
    tensors = {name: value.copy() for name, value in load_tensors(content).items()}
    head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    found: Any = json.loads(head["__metadata__"]["fedinterest"])
    trained_name = next(name for name in tensors if "lora_A" in name)
    fixed_name = next(name for name in tensors if "lora_B" in name)
    if change == "nan":
        tensors[trained_name][1, 1] = np.nan
    elif change == "wider":
        tensors[trained_name] = np.ones((WIDTH + 1, tensors[trained_name].shape[1]), np.float32)
    elif change == "scalar":
        tensors[trained_name] = np.ones((), np.float32)
    elif change == "float64":
        tensors[trained_name] = tensors[trained_name].astype(np.float64)
    elif change == "nothing trained":
        del tensors[trained_name]
    elif change == "nothing fixed":
        del tensors[fixed_name]
    elif change == "other directions":
        tensors[fixed_name][0] *= 2
    elif change == "one more":
        tensors["zzz"] = np.ones(2, np.float32)
    elif change == "other layers":
        found["model"]["layers"] = SETTINGS.layers + 1
    elif change == "unknown setting":
        found["model"]["depth"] = 3
    elif change == "other form":
        found["form"] = "stretched"
    elif change == "no settings":
        del found["model"]
    else:
        found = 3
    metadata = {"fedinterest": json.dumps(found)}
    path.write_bytes(save_tensors(tensors, metadata=None if change == "no words" else metadata))


@pytest.mark.parametrize(
    "change",
    [
        "nan",
        "wider",
        "scalar",
        "float64",
        "nothing trained",
        "nothing fixed",
        "other directions",
        "one more",
        "other layers",
        "unknown setting",
        "other form",
        "no settings",
        "no words",
        "words that are a number",
    ],
)
def test_a_folder_that_is_not_what_was_saved(folder: Path, change: str) -> None:
    rewrite(folder, change)
    with pytest.raises(AdapterError) as caught:
        load_peft(folder, base=BASE)
    assert caught.value.exit_code == 6


def test_only_one_layer_is_adapted(folder: Path) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    assert config["target_modules"] == [LAYER]
    tensors = load_tensors((folder / TENSOR_FILE).read_bytes())
    assert all(f".{LAYER}." in name for name in tensors)
    assert all(value.shape[0] == config["r"] for n, value in tensors.items() if "lora_A" in n)
