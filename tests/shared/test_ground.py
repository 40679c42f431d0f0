"""The public side of a platform: vectors, and features of every layer."""

import numpy as np
import pytest
import torch

from shared.errors import DataError, ProtocolError
from shared.ground import Ground
from shared.whitening import fit_whitening, moments

ITEMS, LAYERS, WIDTH = 300, 3, 6


def states(seed: int = 0) -> np.ndarray:
    """Layers of very different spread, and one correlated within itself."""
    drawn = np.random.default_rng(seed).normal(size=(ITEMS, LAYERS, WIDTH)).astype(np.float32)
    drawn[:, 1] *= 100
    drawn[:, 0, 1:] += 3 * drawn[:, 0, :1]
    return drawn + 5


def test_vectors_are_the_last_layer_whitened() -> None:
    given = states()
    whitening = fit_whitening([moments(given[:, -1]), moments(states(1)[:, -1])])
    found = Ground.of(given, whitening)
    want = whitening.local(moments(given[:, -1])).items(given[:, -1])
    assert np.array_equal(found.vectors.numpy(), want)
    assert torch.allclose(found.features[:, -WIDTH:] * LAYERS**0.5, found.vectors, atol=1e-6)


def test_every_layer_weighs_the_same_and_is_even() -> None:
    given = states()
    found = Ground.of(given, fit_whitening([moments(given[:, -1])])).features
    assert found.dtype == torch.float32
    assert found.shape == (ITEMS, LAYERS * WIDTH)
    for layer in range(LAYERS - 1):
        part = found[:, layer * WIDTH : (layer + 1) * WIDTH].double().numpy() * LAYERS**0.5
        np.testing.assert_allclose(np.linalg.norm(part, axis=1), 1, atol=1e-6)
        of = given[:, layer].astype(np.float64)
        of = (of - of.mean(0)) / np.linalg.norm(of - of.mean(0), axis=1, keepdims=True)
        before, after = (np.linalg.eigvalsh(np.cov(x.T, bias=True)) for x in (of, part))
        assert after.max() / after.min() < 30
        assert layer or before.max() / before.min() > 5 * after.max() / after.min()


def test_a_catalogue_without_any_difference_between_its_items_has_no_features() -> None:
    given = states()
    whitening = fit_whitening([moments(given[:, -1])])
    given[:, 0] = 7.0
    assert not Ground.of(given, whitening).features[:, :WIDTH].any()


def test_refusals() -> None:
    given = states()
    whitening = fit_whitening([moments(given[:, -1])])
    with pytest.raises(DataError, match=r"text states \(V, H, D\)"):
        Ground.of(given[:, 0], whitening)
    with pytest.raises(ProtocolError, match="another encoder"):
        Ground.of(given[:, :, :4], whitening)
    given[3, 1, 2] = np.nan
    with pytest.raises(DataError, match="NaN"):
        Ground.of(given, whitening)
