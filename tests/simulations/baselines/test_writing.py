import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulations.baselines.writing import Writer


class Written:
    """Histories and pairs written one token list at a time: what the arrays have to say."""

    def __init__(self, tokens: list[list[int]], first: int | None, between: int | None, room: int):
        self.first = [] if first is None else [first]
        between = [] if between is None else [between]
        self.tokens, self.room = [[*own, *between] for own in tokens], room

    def history(self, items: list[int], room: int) -> list[int]:
        found = list(self.first)
        for item in items[::-1]:
            if len(found) >= room:
                break
            found += self.tokens[item]
        return found[:room]

    def pair(self, items: list[int], candidate: int) -> tuple[list[int], list[int]]:
        last = self.tokens[candidate][: self.room // 2]
        return self.history(items, self.room - len(last)), last


ITEM = st.integers(0, 5)
MARK = st.none() | st.just(90)


@given(
    tokens=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=7), min_size=6, max_size=6),
    users=st.lists(
        st.tuples(st.lists(ITEM, min_size=1, max_size=12), st.lists(ITEM, max_size=4)), max_size=4
    ),
    first=MARK,
    between=MARK,
    room=st.integers(4, 30),
)
def test_arrays_say_what_lists_said(tokens, users, first, between, room) -> None:
    writer = Writer(tokens, first=first, between=between, filler=0, max_tokens=room)
    oracle = Written(tokens, first, between, room)
    histories = [np.array(items, np.int32) for items, _ in users]
    alone = writer.histories(histories)
    assert len(alone) == len(users)
    for row, (items, _) in enumerate(users):
        expected = oracle.history(items, room)
        assert alone.ids[row].tolist() == expected + [0] * (alone.ids.shape[1] - len(expected))
        assert alone.sizes[row] == alone.seconds[row] == len(expected)
    pairs = writer.pairs(histories, [np.array(own, np.int64) for _, own in users])
    wanted = [oracle.pair(items, one) for items, own in users for one in own]
    assert len(pairs) == len(wanted)
    for row, (before, last) in enumerate(wanted):
        padding = [0] * (pairs.ids.shape[1] - len(before) - len(last))
        assert pairs.ids[row].tolist() == before + last + padding
        assert (pairs.seconds[row], pairs.sizes[row]) == (len(before), len(before) + len(last))
    chosen = pairs[np.arange(len(pairs))[::-2]]
    assert chosen.sizes.tolist() == pairs.sizes[::-2].tolist()
    assert chosen.ids.shape[1] == chosen.sizes.max(initial=0)


def test_a_history_longer_than_the_room_is_its_newest_part() -> None:
    writer = Writer([[1], [2], [3]], first=7, between=8, filler=0, max_tokens=6)
    long = np.arange(5000, dtype=np.int32) % 3
    assert writer.histories([long]).ids.tolist() == [[7, 2, 8, 1, 8, 3]]
