import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertModel

from shared.errors import ConfigError, DataError, EncoderError
from simulations.baselines import reading
from simulations.baselines.learning import seeded
from simulations.baselines.reading import (
    TextModel,
    TextReader,
    fine_tune,
    require_texts,
)
from simulations.baselines.writing import Texts

pytestmark = pytest.mark.usefixtures("generators_left_alone")

HISTORY = np.array([3, 1, 4], np.int32)


def _reader(encoder: str, texts: list[str], **changes: int) -> TextReader:
    with seeded(0):
        return TextReader.load(encoder, texts, **{"max_tokens": 32, "item_tokens": 8, **changes})


def _tokens(text: Texts) -> list[int]:
    assert len(text) == 1
    return text.ids[0, : text.sizes[0]].tolist()


def _words(encoder: str, text: Texts) -> list[str]:
    return AutoTokenizer.from_pretrained(encoder).convert_ids_to_tokens(_tokens(text))


def _pair(reader: TextReader, history: np.ndarray, candidate: int) -> Texts:
    return reader.writer.pairs([history], [np.array([candidate])])


def test_histories_are_read_newest_first(tiny_bert, texts) -> None:
    text = _reader(tiny_bert, texts).writer.histories([HISTORY])
    expected = "[CLS] w4 common [SEP] w1 common [SEP] w3 common [SEP]"
    assert _words(tiny_bert, text) == expected.split()
    assert text.seconds.tolist() == text.sizes.tolist()


def test_histories_are_cut_where_the_room_ends(tiny_bert, texts) -> None:
    text = _reader(tiny_bert, texts, max_tokens=6).writer.histories([HISTORY])
    assert _words(tiny_bert, text) == ["[CLS]", "w4", "common", "[SEP]", "w1", "common"]
    text = _reader(tiny_bert, texts, item_tokens=1).writer.histories([HISTORY])
    assert _words(tiny_bert, text) == ["[CLS]", "w4", "[SEP]", "w1", "[SEP]", "w3", "[SEP]"]
    assert _reader(tiny_bert, texts, max_tokens=500).writer.max_tokens == 40  # the model's places


def test_of_a_pair_the_candidate_stays_whole(tiny_bert, texts) -> None:
    text = _pair(_reader(tiny_bert, texts, max_tokens=9), HISTORY, 7)
    expected = "[CLS] w4 common [SEP] w1 common w7 common [SEP]"
    assert _words(tiny_bert, text) == expected.split()
    assert text.seconds.tolist() == [6]
    short = _pair(_reader(tiny_bert, texts, max_tokens=4), HISTORY, 7)
    assert _words(tiny_bert, short) == ["[CLS]", "w4", "w7", "common"]


def test_reading_is_the_model_on_each_text_alone(tiny_bert, texts) -> None:
    reader = _reader(tiny_bert, texts).eval()
    network = BertModel.from_pretrained(tiny_bert).eval()
    candidates = [np.array([7, 2]), np.array([9])]
    pairs = reader.writer.pairs([HISTORY, HISTORY[:1]], candidates)
    together = reader(pairs).detach()
    assert together.dtype == torch.float32
    for row, (size, second) in enumerate(zip(pairs.sizes, pairs.seconds, strict=True)):
        kinds = [0] * second + [1] * (size - second)
        states = network(
            input_ids=torch.tensor([pairs.ids[row, :size].tolist()]),
            token_type_ids=torch.tensor([kinds]),
        ).last_hidden_state
        expected = states.detach().mean(dim=1)[0]
        torch.testing.assert_close(together[row], expected, rtol=1e-4, atol=1e-5)


def test_half_precision_is_for_the_network_alone(tiny_bert, texts) -> None:
    with seeded(0):
        model = TextModel(_reader(tiny_bert, texts), 3).eval()
        torch.nn.init.normal_(model.head.weight)
    read = model.reader.writer.histories([HISTORY, HISTORY[:1]])
    whole = model.logits(read, 2)
    model.reader.mixed = True
    half = model.logits(read, 2)
    assert half.dtype == torch.float32
    assert 1e-6 < (half - whole).abs().max() < 0.1 * whole.abs().max()
    # the head has not rounded: bfloat16 has 8 bits, and a catalogue of them would be full of ties
    assert not torch.equal(half, half.bfloat16().float())
    model(read).sum().backward()
    assert all(own.grad.dtype == torch.float32 for own in model.head.parameters())


def test_batches_change_nothing(tiny_bert, texts) -> None:
    with seeded(0):
        model = TextModel(_reader(tiny_bert, texts), 5).eval()
        torch.nn.init.normal_(model.head.weight)
    histories = [HISTORY[:size] for size in (3, 1, 2, 3)]
    alone = torch.cat([model.logits(model.reader.writer.histories([own]), 8) for own in histories])
    assert alone.abs().max() > 0.1
    together = model.reader.writer.histories(histories)
    torch.testing.assert_close(model.logits(together, 2), alone, rtol=1e-4, atol=1e-4)
    assert model.logits(model.reader.writer.histories([]), 2).shape == (0, 5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_reads_as_on_the_cpu(tiny_bert, texts, monkeypatch) -> None:
    with seeded(0):
        fast = TextModel(_reader(tiny_bert, texts), 5).eval()
        torch.nn.init.normal_(fast.head.weight)
    monkeypatch.setattr(reading, "device", lambda: torch.device("cpu"))
    slow = TextModel(_reader(tiny_bert, texts), 5).eval()
    slow.load_state_dict(fast.state_dict())
    read = fast.reader.writer.histories([HISTORY, HISTORY[:1]])
    torch.testing.assert_close(fast.logits(read, 2), slow.logits(read, 2), rtol=0.05, atol=0.05)
    fast.reader.mixed = False
    torch.testing.assert_close(fast.logits(read, 2), slow.logits(read, 2), rtol=1e-3, atol=1e-3)


def test_an_item_without_tokens_is_padding(tiny_bert) -> None:
    text = _reader(tiny_bert, ["", "w1"]).writer.histories([np.array([0], np.int32)])
    assert _words(tiny_bert, text) == ["[CLS]", "[PAD]", "[SEP]"]


def _tuned(encoder: str, texts: list[str], **changes) -> tuple[TextModel, list[tuple[int, int]]]:
    model, calls = TextModel(_reader(encoder, texts), 1), []
    read = model.reader.writer.histories([HISTORY])
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
