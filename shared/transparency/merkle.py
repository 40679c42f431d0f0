"""Merkle tree hashes and proofs of RFC 6962, section 2.1 (the same in RFC 9162, section 2.1).

A leaf is hashed with a leading 0, a node with a leading 1, so that neither passes for the other.
The tree over n leaves is split at the largest power of two below n; what two sizes of one log have
in common are whole subtrees, and those are all that is kept: O(n) memory, O(log n) an append, root
or proof.

Shapes: hashes are 32 bytes; a log's entries are numbered from 0.
"""

from collections.abc import Sequence
from hashlib import sha256

EMPTY = sha256(b"").digest()
"""Root of a log without entries."""

_TAGGED = sha256(b"\x01")


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one entry as a leaf."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of a node over its two subtrees."""
    state = _TAGGED.copy()
    state.update(left + right)
    return state.digest()


class Tree:
    """A growing log's hashes: `_levels[k][i]` is the root over leaves i 2^k to (i + 1) 2^k."""

    def __init__(self) -> None:
        self._levels: list[list[bytes]] = [[]]

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next entry."""
        level = 0
        self._levels[0].append(leaf)
        while len(row := self._levels[level]) % 2 == 0:
            if level + 1 == len(self._levels):
                self._levels.append([])
            self._levels[level + 1].append(node_hash(row[-2], row[-1]))
            level += 1

    def leaf(self, index: int) -> bytes:
        """The hash of entry `index`."""
        return self._levels[0][index]

    def root(self, size: int | None = None) -> bytes:
        """Tree hash over the first `size` entries; over all when None."""
        size = len(self) if size is None else self._checked(size)
        return self._root(0, size) if size else EMPTY

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """PATH(index, D[size]) of RFC 6962, section 2.1.1: that entry `index` is in the log.

        Raises:
            ValueError: there is no such entry in a log of that size.
        """
        size = len(self) if size is None else self._checked(size)
        if not 0 <= index < size:
            raise ValueError(f"expected an entry of {size}, got {index}")
        start, path = 0, []
        while size - start > 1:
            middle = start + _split(size - start)
            if index < middle:
                path.append(self._root(middle, size))
                size = middle
            else:
                path.append(self._root(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, first: int, second: int | None = None) -> list[bytes]:
        """PROOF(first, D[second]) of RFC 6962, section 2.1.2: that nothing was rewritten between.

        Raises:
            ValueError: not 0 < first <= second <= size.
        """
        second = len(self) if second is None else self._checked(second)
        if not 0 < first <= second:
            raise ValueError(f"expected 0 < first <= {second}, got {first}")
        start, end, path, known = 0, second, [], True
        while first != end:
            middle = start + _split(end - start)
            if first <= middle:
                path.append(self._root(middle, end))
                end = middle
            else:
                path.append(self._root(start, middle))
                start, known = middle, False
        return ([] if known else [self._root(start, end)]) + path[::-1]

    def _root(self, start: int, end: int) -> bytes:
        """Root over entries start to end, where `start` is a multiple of the span's subtrees."""
        found: bytes | None = None
        while end > start:  # from the right: the smallest whole subtree first
            level = min(end & -end, 1 << (end - start).bit_length() - 1).bit_length() - 1
            whole = self._levels[level][(end >> level) - 1]
            found = whole if found is None else node_hash(whole, found)
            end -= 1 << level
        return EMPTY if found is None else found

    def _checked(self, size: int) -> int:
        if not 0 <= size <= len(self):
            raise ValueError(f"expected a size of at most {len(self)}, got {size}")
        return size


def included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `path` proves `leaf` to be entry `index` of the log of `size` entries under `root`.

    RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if place % 2 or place == last:
            found = node_hash(sibling, found)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def consistent(
    first: int, second: int, path: Sequence[bytes], first_root: bytes, second_root: bytes
) -> bool:
    """Whether `path` proves the log of `first` entries to be the beginning of that of `second`.

    RFC 9162, section 2.1.4.2.
    """
    if first == second:
        return not path and first_root == second_root
    if not 0 < first < second or not path:
        return False
    steps = list(path)
    if first & (first - 1) == 0:  # a whole subtree: its root is the old root itself
        steps.insert(0, first_root)
    place, last = first - 1, second - 1
    while place % 2:
        place, last = place >> 1, last >> 1
    old = new = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            return False
        if place % 2 or place == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
