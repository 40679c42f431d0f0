"""Small worlds for the trained baselines, and a tiny random BERT that reads their texts."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from shared.events import Sequences
from shared.metrics import ranks
from simulations.baselines.base import Scorer

Pack = Callable[..., Sequences]

ITEMS = 24


@pytest.fixture
def generators_left_alone() -> Iterator[None]:
    """Training may not move the global generators: randomness is an argument."""
    before, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()
    yield
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], legacy)


@pytest.fixture(scope="session")
def pack() -> Pack:
    """Lists of items, one a user, to `Sequences`."""

    def pack(*users: list[int]) -> Sequences:
        return Sequences(
            users=tuple(f"u{number}" for number in range(len(users))),
            items=np.array([item for user in users for item in user], np.int32),
            offsets=np.cumsum([0, *map(len, users)]).astype(np.int64),
        )

    return pack


@pytest.fixture(scope="session")
def circle(pack: Pack) -> Sequences:
    """300 users who walk in a circle of 24 items, two to nine events each: i, then i + 1.

    All items are about equally popular, so that popularity finds one in 24.
    """
    rng = np.random.default_rng(5)
    starts, sizes = rng.integers(0, ITEMS, size=300), rng.integers(2, 10, size=300)
    return pack(
        *((start + np.arange(size)) % ITEMS for start, size in zip(starts, sizes, strict=True))
    )


@pytest.fixture(scope="session")
def vectors() -> np.ndarray:
    """(24, 16) unit vectors that say nothing about the circle but which item is which."""
    drawn = np.random.default_rng(6).standard_normal((ITEMS, 16)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@pytest.fixture(scope="session")
def walks() -> list[np.ndarray]:
    """For each item a history that ends with it, of different lengths: item i + 1 is next."""
    return [
        ((item - np.arange(1 + item % 5)[::-1]) % ITEMS).astype(np.int32) for item in range(ITEMS)
    ]


@pytest.fixture(scope="session")
def share_found(walks: list[np.ndarray]) -> Callable[[Scorer], float]:
    """For how many of the walks a system has the next item first, history left out."""

    def share(scorer: Scorer) -> float:
        following = torch.tensor([(int(walk[-1]) + 1) % ITEMS for walk in walks])
        return float((ranks(scorer.scores(walks), following, walks) == 0).double().mean())

    return share


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """A text of two words for each item; no two are equal."""
    return [f"w{item} common" for item in range(ITEMS)]


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> str:
    """A folder with a random BERT of two layers, and a word-level tokenizer with all marks."""
    folder: Path = tmp_path_factory.mktemp("tiny-bert")
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    words = [*marks.values(), "common", *(text.split()[0] for text in texts)]
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="removed")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(7)
        config = BertConfig(
            vocab_size=len(words),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=40,
            initializer_range=0.2,
            hidden_dropout_prob=0.05,
            attention_probs_dropout_prob=0.0,
        )
        BertModel(config).save_pretrained(folder)
    return str(folder)
