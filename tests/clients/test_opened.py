"""A platform stays open while its files are the same, and no longer."""

from pathlib import Path

import numpy as np
import pytest

from clients.opened import OpenPlatforms
from shared.errors import RunError
from simulations.audits.checks.site import histories, request, site


def test_it_is_the_same_until_a_file_is_replaced(tmp_path: Path) -> None:
    site(tmp_path / "films", histories(5, 0))
    opened = OpenPlatforms()
    first = opened.open(tmp_path / "films")
    assert opened.open(tmp_path / "films") is first
    assert first.ground is not None
    content = (tmp_path / "films" / "sequences.npz").read_bytes()
    (tmp_path / "films" / "new").write_bytes(content)
    (tmp_path / "films" / "new").replace(tmp_path / "films" / "sequences.npz")
    second = opened.open(tmp_path / "films")
    assert second is not first
    assert opened.open(tmp_path / "films") is second


def test_a_platform_whose_users_changed_answers_with_the_new_ones(tmp_path: Path) -> None:
    """Another user is another answer, though the platform was open all the time."""
    opened, folder = OpenPlatforms(), tmp_path / "films"
    site(folder, histories(5, 0), unsafe_seed=1)
    before = opened.open(folder)
    digest = before._data_digest(request().adapter)
    site(folder, [*histories(5, 0), [1, 2, 3]], unsafe_seed=1)
    after = opened.open(folder)
    assert len(after.sequences) == len(before.sequences) + 1
    assert after._data_digest(request().adapter) != digest


def test_only_the_last_few_are_kept(tmp_path: Path) -> None:
    opened = OpenPlatforms()
    for number in range(10):
        site(tmp_path / str(number), histories(3, number))
        opened.open(tmp_path / str(number))
    assert len(opened._known) == 8
    assert tmp_path / "9" in opened._known
    assert tmp_path / "0" not in opened._known


def test_no_folder_and_half_a_folder(tmp_path: Path) -> None:
    opened = OpenPlatforms()
    with pytest.raises(RunError, match=r"platform\.json"):
        opened.open(tmp_path)
    site(tmp_path / "films", histories(3, 0))
    (tmp_path / "films" / "catalogue.json").unlink()
    assert opened.open(tmp_path / "films") is not opened.open(tmp_path / "films")


def test_the_ground_is_that_of_the_whitening_asked_for(tmp_path: Path) -> None:
    from shared.whitening import fit_whitening, moments
    from simulations.audits.checks.site import states

    films = site(tmp_path, histories(3, 0))
    one = fit_whitening([moments(states()[:, -1])])
    other = fit_whitening([moments(states()[:, -1]), moments(states(1)[:, -1] * 3 + 1)])
    first = films.ground(one).vectors.numpy().copy()
    assert films.ground(one) is films.ground(one)
    assert not np.array_equal(films.ground(other).vectors.numpy(), first)
    assert np.array_equal(films.ground(one).vectors.numpy(), first)
