import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertModel

from shared.errors import ConfigError, DataError, EncoderError
from simulations.baselines.learning import seeded
from simulations.baselines.reading import Text, TextModel, TextReader, fine_tune, require_texts

pytestmark = pytest.mark.usefixtures("generators_left_alone")

HISTORY = np.array([3, 1, 4], np.int32)


def _reader(encoder: str, texts: list[str], **changes: int) -> TextReader:
    with seeded(0):
        return TextReader.load(encoder, texts, **{"max_tokens": 32, "item_tokens": 8, **changes})


def _words(encoder: str, text: Text) -> list[str]:
    return AutoTokenizer.from_pretrained(encoder).convert_ids_to_tokens(text.tokens)


def test_histories_are_read_newest_first(tiny_bert, texts) -> None:
    text = _reader(tiny_bert, texts).history(HISTORY)
    expected = "[CLS] w4 common [SEP] w1 common [SEP] w3 common [SEP]"
    assert _words(tiny_bert, text) == expected.split()
    assert text.second == len(text.tokens)


def test_histories_are_cut_where_the_room_ends(tiny_bert, texts) -> None:
    text = _reader(tiny_bert, texts, max_tokens=6).history(HISTORY)
    assert _words(tiny_bert, text) == ["[CLS]", "w4", "common", "[SEP]", "w1", "common"]
    text = _reader(tiny_bert, texts, item_tokens=1).history(HISTORY)
    assert _words(tiny_bert, text) == ["[CLS]", "w4", "[SEP]", "w1", "[SEP]", "w3", "[SEP]"]
    assert _reader(tiny_bert, texts, max_tokens=500).max_tokens == 40  # the model's places


def test_of_a_pair_the_candidate_stays_whole(tiny_bert, texts) -> None:
    text = _reader(tiny_bert, texts, max_tokens=9).pair(HISTORY, 7)
    expected = "[CLS] w4 common [SEP] w1 common w7 common [SEP]"
    assert _words(tiny_bert, text) == expected.split()
    assert text.second == 6
    short = _reader(tiny_bert, texts, max_tokens=4).pair(HISTORY, 7)
    assert _words(tiny_bert, short) == ["[CLS]", "w4", "w7", "common"]


def test_reading_is_the_model_on_each_text_alone(tiny_bert, texts) -> None:
    reader = _reader(tiny_bert, texts).eval()
    network = BertModel.from_pretrained(tiny_bert).eval()
    pairs = [reader.history(HISTORY), reader.pair(HISTORY, 7), reader.history(HISTORY[:1])]
    together = reader(pairs).detach()
    for row, text in enumerate(pairs):
        kinds = [0] * text.second + [1] * (len(text.tokens) - text.second)
        states = network(
            input_ids=torch.tensor([text.tokens]), token_type_ids=torch.tensor([kinds])
        ).last_hidden_state
        expected = states.detach().mean(dim=1)[0]
        torch.testing.assert_close(together[row], expected, rtol=1e-4, atol=1e-5)


def test_batches_change_nothing(tiny_bert, texts) -> None:
    with seeded(0):
        model = TextModel(_reader(tiny_bert, texts), 5).eval()
        torch.nn.init.normal_(model.head.weight)
    read = [model.reader.history(HISTORY[:size]) for size in (3, 1, 2, 3)]
    alone = torch.cat([model.logits([text], 8) for text in read])
    assert alone.abs().max() > 0.1
    torch.testing.assert_close(model.logits(read, 2), alone, rtol=1e-4, atol=1e-4)
    assert model.logits([], 2).shape == (0, 5)


def test_an_item_without_tokens_is_padding(tiny_bert) -> None:
    reader = _reader(tiny_bert, ["", "w1"])
    assert _words(tiny_bert, reader.history(np.array([0], np.int32))) == ["[CLS]", "[PAD]", "[SEP]"]


def _tuned(encoder: str, texts: list[str], **changes) -> tuple[TextModel, list[tuple[int, int]]]:
    model, calls = TextModel(_reader(encoder, texts), 1), []
    read = [model.reader.history(HISTORY)]
    with seeded(0):
        fine_tune(
            model,
            lambda: (model(read) - 1).square().sum(),
            progress=lambda *call: calls.append(call),
            **{"steps": 5, "max_s": None, "learning_rate": 0.01, "head_rate": 0.1, **changes},
        )
    return model, calls


def test_tuning_changes_the_network_and_counts_its_steps(tiny_bert, texts) -> None:
    with seeded(1):
        model, calls = _tuned(tiny_bert, texts)
        still, cut = _tuned(tiny_bert, texts, max_s=0.0)
    assert not model.training
    assert calls == [(n, 5) for n in range(1, 6)]
    assert cut == [(5, 5)]
    name = "network.encoder.layer.0.attention.self.query.weight"
    moved = model.reader.get_parameter(name) - still.reader.get_parameter(name)
    assert moved.abs().max() > 1e-3
    assert torch.equal(still.head.weight, torch.zeros(1, 32))


def test_what_is_refused(tiny_bert, texts) -> None:
    with pytest.raises(ConfigError, match="max_tokens"):
        _reader(tiny_bert, texts, max_tokens=2)
    with pytest.raises(EncoderError, match="which is no folder"):
        _reader("/no/such/folder", texts)
    with pytest.raises(DataError, match="24 texts, one for each item, got 2"):
        require_texts(["a", "b"], 24)
