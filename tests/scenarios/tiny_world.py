"""Three small platforms in three formats, and a random encoder, as files on disk."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

ITEMS, SHELVES = 40, 4
USERS = {"shop": 120, "films": 80, "news": 60}
WORDS = [f"w{number}" for number in range(30)]
FEDERATION = """\
[platforms.shop]
kind = "shop"
events = { path = "shop.csv", user = "customer", item = "sku", time = "at", time_unit = "iso" }
items = { path = "shop-items.csv", item = "sku", title = "name", category = "shelf" }

[platforms.films]
kind = "films"
[platforms.films.events]
path = "films.dat"
separator = "::"
header = ["user", "film", "rating", "at"]
user = "user"
item = "film"
time = "at"
[platforms.films.items]
path = "films-items.jsonl"
item = "id"
title = "title"

[platforms.news]
kind = "news"
events = { path = "news.jsonl", user = "reader", item = "story", time = "ms", time_unit = "ms" }
items = { path = "news-items.csv", item = "story", title = "headline" }

[privacy]
steps_per_round = 2

[training]
rounds = 4

[speed]
threads = 1

[model]
rank = 8
layers = 2
history_length = 10
encoder = "encoder"
"""
START = 1_700_000_000


def write_encoder(folder: Path) -> None:
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(WORDS) + 2,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(folder)


def titles(rng: np.random.Generator) -> list[str]:
    """Items of a shelf share words, so that tastes can be read from texts."""
    found = []
    for item in range(ITEMS):
        own = item % SHELVES * 7 + rng.integers(0, 7, 3)
        found.append(" ".join(WORDS[number] for number in own) + f" item {item}")
    return found


def events(rng: np.random.Generator, users: int) -> list[tuple[int, int, int]]:
    """(user, item, time): each user stays on one shelf most of the time."""
    rows = []
    for user in range(users):
        shelf = rng.integers(SHELVES)
        mine = [item for item in range(ITEMS) if item % SHELVES == shelf]
        chosen = list(rng.choice(mine, 4, replace=False)) + list(rng.integers(0, ITEMS, 3))
        for item in dict.fromkeys(int(one) for one in chosen):
            rows.append((user, item, START + int(rng.integers(10**6))))
    return rows


def lines(path: Path, rows: Sequence[str]) -> None:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def write_federation(folder: Path) -> None:
    """Three platforms in three formats, their catalogues, and federation.toml."""
    folder.mkdir(parents=True)
    write_encoder(folder / "encoder")
    rng = np.random.default_rng(5)
    logs = {name: events(rng, users) for name, users in USERS.items()}
    names = {name: titles(rng) for name in USERS}
    moments = np.datetime64("1970-01-01T00:00:00")
    lines(
        folder / "shop.csv",
        ["customer,sku,at", *(f"c{u},s{i},{moments + t}" for u, i, t in logs["shop"])],
    )
    lines(
        folder / "shop-items.csv",
        ["sku,name,shelf"]
        + [f"s{i},{title},shelf {i % SHELVES}" for i, title in enumerate(names["shop"])],
    )
    lines(folder / "films.dat", [f"{u}::{i}::4::{t}" for u, i, t in logs["films"]])
    lines(
        folder / "films-items.jsonl",
        [json.dumps({"id": i, "title": title}) for i, title in enumerate(names["films"])],
    )
    lines(
        folder / "news.jsonl",
        [json.dumps({"reader": f"r{u}", "story": i, "ms": 1000 * t}) for u, i, t in logs["news"]],
    )
    lines(
        folder / "news-items.csv",
        ["story,headline", *(f"{i},{title}" for i, title in enumerate(names["news"]))],
    )
    (folder / "federation.toml").write_text(
        FEDERATION.replace('"encoder"', json.dumps(str(folder / "encoder"))), encoding="utf-8"
    )
