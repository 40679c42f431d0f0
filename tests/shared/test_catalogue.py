"""Catalogue: what it refuses, and what its content hash distinguishes."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalogue import Catalogue
from shared.errors import CatalogueError, DataError


def make_catalogue(texts: list[str], ids: list[str] | None = None) -> Catalogue:
    return Catalogue(
        ids=tuple(ids or (f"i{n}" for n in range(len(texts)))),
        texts=tuple(texts),
        titles=tuple(texts),
        categories=((),) * len(texts),
    )


def test_rows_are_positions() -> None:
    catalogue = make_catalogue(["a", "b", "c"], ["x", "y", "z"])
    assert len(catalogue) == 3
    assert catalogue.row_of == {"x": 0, "y": 1, "z": 2}


@pytest.mark.parametrize(
    ("ids", "texts", "message"),
    [
        ([], [], "at least one item"),
        (["a", "b", "a", "b"], ["w", "x", "y", "z"], "2 repeated, the first is 'a'"),
        (["a", "b"], ["w", " \t"], "none for item 'b'"),
        (["a", "b"], ["w", "\ud800"], "half a surrogate pair in item 'b'"),
    ],
)
def test_refuses_what_cannot_be_encoded(ids: list[str], texts: list[str], message: str) -> None:
    with pytest.raises(CatalogueError, match=message) as caught:
        Catalogue(
            ids=tuple(ids), texts=tuple(texts), titles=tuple(texts), categories=((),) * len(ids)
        )
    assert caught.value.exit_code == 4
    assert isinstance(caught.value, DataError)


def test_refuses_columns_of_different_lengths() -> None:
    with pytest.raises(CatalogueError, match=r"lengths \[1, 2\]"):
        Catalogue(ids=("a", "b"), texts=("x", "y"), titles=("x",), categories=((), ()))


def test_content_hash_is_pinned() -> None:
    # printf '4\nGlue5\nPaper' | sha256sum
    assert make_catalogue(["Glue", "Paper"]).content_hash == (
        "f29f5f255f1bacef56e481a1367e672e59725729322dad1b72c3eae1fca22f4c"
    )


def test_content_hash_ignores_what_the_encoder_does_not_read() -> None:
    assert make_catalogue(["a", "b"], ["1", "2"]).content_hash == (
        make_catalogue(["a", "b"], ["8", "9"]).content_hash
    )


@given(
    st.lists(st.text("a\x00\n12", min_size=1).filter(str.strip), min_size=1, max_size=4),
    st.lists(st.text("a\x00\n12", min_size=1).filter(str.strip), min_size=1, max_size=4),
)
def test_content_hash_separates_different_texts(one: list[str], other: list[str]) -> None:
    same = make_catalogue(one).content_hash == make_catalogue(other).content_hash
    assert same == (one == other)


def test_content_hash_knows_where_a_text_ends() -> None:
    assert make_catalogue(["a\x00b", "c"]).content_hash != (
        make_catalogue(["a", "b\x00c"]).content_hash
    )


def test_survives_pickling() -> None:
    catalogue = make_catalogue(["a", "b"])
    assert pickle.loads(pickle.dumps(catalogue)) == catalogue
