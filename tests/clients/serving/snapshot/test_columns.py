"""A catalogue as arrays on disk says what the catalogue says."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.recommending.catalogue_words import CatalogueWords, phrases_of
from clients.serving.snapshot import columns
from clients.serving.snapshot.columns import Columns, write_columns
from shared.catalogue import Catalogue

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)
WORDS = st.lists(
    st.sampled_from(["red", "Tea", "pot", "of", "Zürich", "茶"]), min_size=1, max_size=6
)
PATHS = st.lists(st.sampled_from(["all", "tea", "pots"]), max_size=3).map(tuple)


@given(st.dictionaries(TEXT, st.tuples(WORDS.map(" ".join), PATHS), min_size=1, max_size=20))
@settings(deadline=None)
def test_it_is_the_catalogue(items: dict[str, tuple[str, tuple[str, ...]]]) -> None:
    import tempfile

    catalogue = Catalogue(
        ids=tuple(items),
        texts=tuple(f"{title}. {item}" for item, (title, _) in items.items()),
        titles=tuple(title for title, _ in items.values()),
        categories=tuple(path for _, path in items.values()),
    )
    with tempfile.TemporaryDirectory() as name:
        write_columns(catalogue, Path(name))
        found = Columns(Path(name))
        assert (len(found), len(found.row_of)) == (len(items), len(items))
        assert tuple(found.ids) == catalogue.ids
        assert tuple(found.titles) == catalogue.titles
        assert tuple(found.texts) == catalogue.texts
        assert tuple(found.categories) == catalogue.categories
        assert dict(found.row_of) == catalogue.row_of
        assert "nothing of that name" not in found.row_of
        assert found.row_of.get("\ud800") is None
        mine, theirs = CatalogueWords(catalogue), CatalogueWords(found, found.counted)
        for phrase in set().union(*map(phrases_of, catalogue.titles)):
            assert mine._could_name(phrase) == theirs._could_name(phrase)
            if mine._could_name(phrase):
                assert mine._phrase_rarity(phrase) == theirs._phrase_rarity(phrase)
        for path in catalogue.categories:
            for category in path:
                assert mine.category_rarity(category) == theirs.category_rarity(category)
                rows = [row for row, one in enumerate(catalogue.categories) if category in one]
                assert found.categories.by_name()[category].tolist() == rows


def test_ids_of_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_hash", lambda text: np.uint64(7))
    monkeypatch.setattr(columns, "_hashes", lambda texts: np.full(len(list(texts)), 7, np.uint64))
    catalogue = Catalogue(
        ids=("a", "b", "c"), texts=("x",) * 3, titles=("x",) * 3, categories=((),) * 3
    )
    write_columns(catalogue, tmp_path)
    found = Columns(tmp_path).row_of
    assert [found[item] for item in "abc"] == [0, 1, 2]
    with pytest.raises(KeyError):
        found["d"]


def test_it_reads_few_bytes_of_a_large_one(tmp_path: Path) -> None:
    """Nothing that is kept grows with the catalogue, but what is mapped."""
    count = 20_000
    titles = tuple(f"title {row % 50}" for row in range(count))
    ids = tuple(str(row) for row in range(count))
    write_columns(
        Catalogue(ids=ids, texts=titles, titles=titles, categories=((),) * count), tmp_path
    )
    found = Columns(tmp_path)
    assert found.row_of["19999"] == 19_999
    kept = [value for one in (found, found.ids, found.row_of) for value in vars(one).values()]
    assert sum(sys.getsizeof(one) for one in kept) < 5_000
    assert found.counted.phrases["title 7"] == Counter(titles)["title 7"]
