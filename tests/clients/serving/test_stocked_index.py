"""Items that were put beside others are searched with them: against sorting all scores."""

from functools import partial
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clients.serving.snapshot.index import Index
from clients.serving.stocked_index import StockedIndex

NUMBERS = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0])


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_it_is_what_sorting_all_gives(data: st.DataObject) -> None:
    """Numbers that halves hold, so that ties are ties in every precision; zero rows among them."""
    items, put, width = (data.draw(st.integers(1, most)) for most in (20, 8, 9))
    drawn = partial(hnp.arrays, np.float32, elements=NUMBERS)
    vectors = (data.draw(drawn((items + put, width))) / 4).astype(np.float16)  # no longer than 1
    bias = np.abs(data.draw(drawn(items + put)))
    rows = st.integers(0, items - 1)
    replaced = data.draw(st.lists(rows, unique=True, max_size=min(items, put)))
    base = Index.open(vectors[:items], bias[:items], Path("nowhere"))
    index = StockedIndex(
        base, items, vectors[items:], bias[items:], np.array(sorted(replaced), np.int64)
    )
    query, k = data.draw(drawn(width)), data.draw(st.integers(0, 30))
    mask = data.draw(st.none() | hnp.arrays(bool, items + put))
    every = st.integers(0, items + put - 1)
    without = np.array(data.draw(st.lists(every, max_size=5)), np.int64)
    biased = data.draw(st.booleans())
    found, scores = index.search(
        query, k, allowed=mask, without=without, biased=biased, roughly=data.draw(st.booleans())
    )
    total = vectors.astype(np.float64) @ query + (bias if biased else 0)
    kept = np.ones(items + put, bool) if mask is None else mask.copy()
    kept[without] = kept[replaced] = False
    best = [row for row in np.lexsort((np.arange(len(total)), -total)).tolist() if kept[row]]
    assert found.tolist() == best[:k]
    np.testing.assert_array_equal(scores, total[found].astype(np.float32))

    asked = np.array(data.draw(st.lists(every, max_size=12)), np.int64)
    np.testing.assert_array_equal(index.vectors(asked), vectors[asked].astype(np.float32))
    own = index.scores(query, asked, biased=biased)
    np.testing.assert_array_equal(own, total[asked].astype(np.float32))
    extra, least = data.draw(drawn(len(asked))), data.draw(NUMBERS)
    reached = index.reaching(query, asked, extra, least)
    whole = vectors[asked].astype(np.float64) @ query + bias[asked] + extra
    assert reached[whole >= least].all()
