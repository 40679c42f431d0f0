"""Streams, round secrets, noise and sampling: right distribution, right keys, never absent."""

import math
import os
import stat
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from shared.errors import LedgerError, PrivacyError, StorageError
from shared.privacy.noise import CryptographicNoise, UnsafeSeededNoise, noised
from shared.privacy.randomness import RoundSecret, StoredSecrets, Stream, UnsafeSeed
from shared.privacy.sampling import poisson_sample

ROUND = {"platform": "shop", "round": 3, "request": "ab" * 32, "data": "cd" * 32}


def seeded(*labels: str | int) -> UnsafeSeededNoise:
    return UnsafeSeededNoise(20261107, *labels)


def in_interval(value: float, low: float, high: float) -> bool:
    return low < value < high


# --- streams ---------------------------------------------------------------------------------


def test_uniform_is_the_aes_keystream() -> None:
    key = bytes(range(32))
    raw = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(24))
    words = [int.from_bytes(raw[i : i + 8], "little") for i in (0, 8, 16)]
    want = [(word % 2**52 + 0.5) / 2**52 for word in words]
    assert Stream(key).uniform(3).tolist() == want


def test_uniform_never_touches_the_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    for word, want in ((0, 2.0**-53), (-1, 1 - 2.0**-53)):
        stream = seeded("ends")
        monkeypatch.setattr(stream, "_words", lambda n, w=word: np.full(n, w, np.int64))
        assert stream.uniform(1)[0] == want
        assert torch.isfinite(stream.gaussian((8,), 1.0)).all()


def test_uniform_and_gaussian_distributions() -> None:
    uniforms = seeded("uniform").uniform(200_000)
    assert stats.kstest(uniforms, "uniform").pvalue > 1e-6
    normals = seeded("normal").gaussian((200_000,), 3.0, dtype=torch.float64).numpy()
    assert stats.kstest(normals, "norm", args=(0.0, 3.0)).pvalue > 1e-6
    # Neighbours share Box-Muller pairs: they must still be independent.
    for lag in (1, 2, 3):
        assert abs(np.corrcoef(normals[:-lag], normals[lag:])[0, 1]) < 5 / math.sqrt(200_000)
        squares = np.corrcoef(normals[:-lag] ** 2, normals[lag:] ** 2)[0, 1]
        assert abs(squares) < 5 / math.sqrt(200_000)


def test_small_draws_are_independent_too() -> None:
    stream = seeded("small")
    triples = torch.stack([stream.gaussian((3,), 1.0, torch.float64) for _ in range(4_000)])
    covariance = np.cov(triples.numpy().T)
    assert np.allclose(covariance, np.eye(3), atol=5 * math.sqrt(2 / 4_000))


@pytest.mark.parametrize("stddev", [1e-30, 0.1, 1.0, 1234.5])
def test_noise_scale_chi_square(stddev: float) -> None:
    n = 36_864
    total = float(
        (seeded("chi", str(stddev)).gaussian((n,), stddev).double() / stddev).square().sum()
    )
    assert in_interval(total, *stats.chi2.ppf([5e-7, 1 - 5e-7], n))


def test_chi_square_would_catch_one_in_fifty() -> None:
    n = 36_864
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], n)
    wrong = float(seeded("wrong").gaussian((n,), 1.05).double().square().sum())
    assert not low < wrong < high


def test_gaussian_shapes_and_types() -> None:
    stream = seeded("shapes")
    assert stream.gaussian((2, 3), 1.0).shape == (2, 3)
    assert stream.gaussian((), 1.0).shape == ()
    assert stream.gaussian((0, 5), 1.0).shape == (0, 5)
    assert stream.gaussian((2,), 1.0).dtype == torch.float32


@pytest.mark.parametrize("stddev", [0.0, -1.0, math.nan, math.inf])
def test_noise_is_never_absent(stddev: float) -> None:
    with pytest.raises(PrivacyError, match="stddev"):
        seeded("absent").gaussian((3,), stddev)


def test_gaussian_is_fast() -> None:
    stream = seeded("fast")
    best = math.inf
    for _ in range(30):
        start = time.perf_counter()
        stream.gaussian((36_864,), 1.0)
        best = min(best, time.perf_counter() - start)
    assert best < 0.012  # 2 ms on an idle core; the rest is for busy ones


@given(n=st.integers(0, 200), high=st.integers(1, 2**63 - 1))
def test_integers_stay_in_range(n: int, high: int) -> None:
    drawn = seeded("range").integers(n, high)
    assert drawn.dtype == np.int64
    assert len(drawn) == n
    assert ((drawn >= 0) & (drawn < high)).all()


def test_integers_are_unbiased() -> None:
    counts = np.bincount(seeded("integers").integers(70_000, 7), minlength=7)
    assert stats.chisquare(counts).pvalue > 1e-6
    # Two thirds of 2**64 / 2: without rejection the lower half would come twice as often.
    high = 2**63 - 1 - 2**61
    below = int((seeded("bias").integers(20_000, high) < high // 2).sum())
    assert stats.binomtest(below, 20_000, 0.5).pvalue > 1e-6


@given(n=st.integers(0, 300))
def test_permutation(n: int) -> None:
    assert sorted(seeded("permutation").permutation(n).tolist()) == list(range(n))


def test_a_bad_key_is_refused() -> None:
    with pytest.raises(PrivacyError, match="32 bytes"):
        Stream(b"short")


# --- adding noise ----------------------------------------------------------------------------


def test_noised_lies_on_a_public_grid() -> None:
    total = torch.linspace(-3, 3, 1000) / 7
    result = noised(total, 0.3, seeded("grid"))
    grid = 2.0 ** (math.floor(math.log2(0.3)) - 16)
    assert result.dtype == torch.float64
    assert torch.equal(result / grid, (result / grid).round())
    assert torch.equal(result.float().double(), result)  # float32 holds every grid point
    noise = seeded("grid").gaussian(total.shape, 0.3, torch.float64)
    assert torch.allclose(result, total.double() + noise, atol=grid / 2)


def test_noised_support_does_not_depend_on_the_sum() -> None:
    """Mironov's attack in small: low-order bits must not tell two sums apart."""
    low_bits = []
    for shift in (0.0, 1 / 3):
        result = noised(torch.full((50_000,), shift), 1.0, seeded("support", str(shift)))
        low_bits.append(float(((result * 2**16) % 2).mean()))
    assert all(abs(bits - 0.5) < 0.02 for bits in low_bits)


def test_noised_refuses_a_sum_that_is_not_finite() -> None:
    with pytest.raises(PrivacyError, match="finite"):
        noised(torch.tensor([1.0, math.nan]), 1.0, seeded("nan"))


def test_default_noise_comes_from_the_system() -> None:
    assert not torch.equal(
        CryptographicNoise().gaussian((4,), 1.0), CryptographicNoise().gaussian((4,), 1.0)
    )
    assert not CryptographicNoise.unsafe
    assert UnsafeSeededNoise.unsafe


# --- secrets ---------------------------------------------------------------------------------


def test_a_secret_is_stored_before_it_is_used(tmp_path: Path) -> None:
    first = StoredSecrets(tmp_path / "secrets").open(**ROUND)
    (path,) = (tmp_path / "secrets").iterdir()
    assert path.read_bytes() == first.key
    assert len(first.key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = StoredSecrets(tmp_path / "secrets").open(**ROUND)
    assert again == first
    assert first.key.hex() not in repr(first)
    assert repr(first.key) not in repr(first)


def test_secrets_come_from_the_operating_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "urandom", lambda n: b"\x07" * n)
    assert StoredSecrets(tmp_path).open(**ROUND).key == b"\x07" * 32


@pytest.mark.parametrize("changed", ["platform", "round", "request", "data"])
def test_anything_else_gets_another_secret_and_another_charge(tmp_path: Path, changed: str) -> None:
    secrets = StoredSecrets(tmp_path)
    other = {**ROUND, changed: 4 if changed == "round" else "ef" * 32}
    one, two = secrets.open(**ROUND), secrets.open(**other)
    assert one.key != two.key
    assert one.charge_key != two.charge_key


def test_a_forgotten_secret_is_charged_again(tmp_path: Path) -> None:
    secrets = StoredSecrets(tmp_path)
    before = secrets.open(**ROUND)
    secrets.forget(**ROUND)
    secrets.forget(**ROUND)
    assert list(tmp_path.iterdir()) == []
    after = secrets.open(**ROUND)
    assert after.key != before.key
    assert after.charge_key != before.charge_key


def test_earlier_rounds_are_forgotten(tmp_path: Path) -> None:
    secrets = StoredSecrets(tmp_path / "secrets")
    secrets.forget_before(5)  # no folder yet
    rounds = [1, 2, 9, 10, 10, 11, 1_234_567]
    for place, round_ in enumerate(rounds):
        secrets.open(**{**ROUND, "round": round_, "request": f"{place:02}" * 32})
    other = tmp_path / "secrets" / "notes.txt"
    other.write_text("1-not a secret")

    def left() -> list[int]:
        return sorted(int(p.name.partition("-")[0]) for p in other.parent.glob("*-*.secret"))

    (nine,) = other.parent.glob("000009-*")
    assert len(nine.name) == len("000009-.secret") + 64
    secrets.forget_before(1)
    assert left() == rounds
    kept = secrets.open(**{**ROUND, "round": 10, "request": "03" * 32})
    secrets.forget_before(10)
    assert left() == [10, 10, 11, 1_234_567]
    assert other.exists()
    assert secrets.open(**{**ROUND, "round": 10, "request": "03" * 32}) == kept
    secrets.forget_before(2_000_000)
    assert left() == []
    UnsafeSeed(1).forget_before(10)


def test_a_secret_that_cannot_be_removed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = StoredSecrets(tmp_path)
    secrets.open(**ROUND)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        secrets.forget_before(4)


def test_a_damaged_secret_is_an_error(tmp_path: Path) -> None:
    secrets = StoredSecrets(tmp_path)
    secrets.open(**ROUND)
    next(tmp_path.iterdir()).write_bytes(b"short")
    with pytest.raises(LedgerError, match="5 bytes"):
        secrets.open(**ROUND)


def test_an_unwritable_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        StoredSecrets(tmp_path / "file" / "secrets").open(**ROUND)


def test_streams_by_purpose_and_step() -> None:
    secret = RoundSecret(key=bytes(32), charge_key="x")
    draws = {
        (purpose, step): secret.stream(purpose, step).uniform(4).tobytes()
        for purpose in ("noise", "sampling", "negatives", "noise1")
        for step in (0, 1, 11)
    }
    assert len(set(draws.values())) == len(draws)
    assert secret.stream("noise", 1).uniform(4).tobytes() == draws["noise", 1]


def test_unsafe_seeds_are_visible_and_repeatable(tmp_path: Path) -> None:
    secret = UnsafeSeed(1).open(**ROUND)
    assert secret.unsafe
    assert UnsafeSeed(1).unsafe
    assert not StoredSecrets(tmp_path).unsafe
    assert not StoredSecrets(tmp_path).open(**ROUND).unsafe
    assert UnsafeSeed(1).open(**ROUND) == secret
    assert UnsafeSeed(2).open(**ROUND).key != secret.key
    for changed in ({"round": 4}, {"platform": "films"}):
        assert UnsafeSeed(1).open(**{**ROUND, **changed}).key != secret.key
    other = UnsafeSeed(1).open(**{**ROUND, "request": "00" * 32})
    assert other.key == secret.key
    assert other.charge_key != secret.charge_key  # yet it is not free


# --- sampling --------------------------------------------------------------------------------


@given(users=st.integers(0, 400), more=st.integers(0, 50), rate=st.floats(0.001, 1.0))
def test_adding_users_changes_nobody_elses_inclusion(users: int, more: int, rate: float) -> None:
    before = poisson_sample(users, rate, seeded("sample"))
    after = poisson_sample(users + more, rate, seeded("sample"))
    assert after[after < users].tolist() == before.tolist()
    assert before.dtype == np.int64


def test_poisson_sizes_are_binomial() -> None:
    users, rate, draws = 500, 0.05, 2000
    sizes = [len(poisson_sample(users, rate, seeded("size", i))) for i in range(draws)]
    mean, variance = users * rate, users * rate * (1 - rate)
    assert abs(np.mean(sizes) - mean) < 5 * math.sqrt(variance / draws)
    dispersion = float(np.sum((np.array(sizes) - mean) ** 2) / variance)
    assert in_interval(dispersion, *stats.chi2.ppf([5e-7, 1 - 5e-7], draws))


def test_each_user_is_in_at_the_rate() -> None:
    users, rate, draws = 40, 0.3, 4000
    counts = np.zeros(users)
    for i in range(draws):
        counts[poisson_sample(users, rate, seeded("rate", i))] += 1
    expected = draws * rate
    statistic = float(np.sum((counts - expected) ** 2) / (expected * (1 - rate)))
    assert in_interval(statistic, *stats.chi2.ppf([5e-7, 1 - 5e-7], users))


def test_empty_and_full_batches() -> None:
    assert poisson_sample(3, 1e-9, seeded("empty")).size == 0
    assert poisson_sample(0, 0.5, seeded("nobody")).size == 0
    assert poisson_sample(5, 1.0, seeded("all")).tolist() == [0, 1, 2, 3, 4]


@settings(max_examples=20)
@given(rate=st.one_of(st.floats(max_value=0), st.floats(min_value=1, exclude_min=True)))
def test_bad_rates(rate: float) -> None:
    with pytest.raises(PrivacyError, match="sample_rate"):
        poisson_sample(3, rate, seeded("bad"))
