"""Against the vectors of Certificate Transparency, and the RFC's formulas written plainly."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.transparency.merkle import EMPTY, Tree, consistent, included, leaf_hash

# Leaves, roots and proofs as in the tests of certificate-transparency's reference implementation.
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A, B, C = (
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
)
D, E, F = (
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
)


def tree_of(entries: list[bytes]) -> Tree:
    tree = Tree()
    for entry in entries:
        tree.append(leaf_hash(entry))
    return tree


def hexes(path: list[bytes]) -> list[str]:
    return [one.hex() for one in path]


def test_roots_of_the_reference_tree() -> None:
    tree = tree_of(ENTRIES)
    assert EMPTY.hex() == ROOTS[0]
    assert [tree.root(size).hex() for size in range(9)] == ROOTS
    assert [tree_of(ENTRIES[:size]).root().hex() for size in range(9)] == ROOTS


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [
        (0, 1, []),
        (0, 8, [A, B, C]),
        (5, 8, [D, E, ROOTS[4]]),
        (2, 3, [ROOTS[2]]),
        (1, 5, [ROOTS[1], B, D]),
    ],
)
def test_inclusion_in_the_reference_tree(index: int, size: int, path: list[str]) -> None:
    assert hexes(tree_of(ENTRIES).inclusion(index, size)) == path


@pytest.mark.parametrize(
    ("first", "second", "path"),
    [(1, 1, []), (1, 8, [A, B, C]), (6, 8, [F, E, ROOTS[4]]), (2, 8, [B, C])],
)
def test_consistency_of_the_reference_tree(first: int, second: int, path: list[str]) -> None:
    assert hexes(tree_of(ENTRIES).consistency(first, second)) == path


# --- the RFC's definitions, word for word -------------------------------------------------------


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(d: list[bytes]) -> bytes:
    if not d:
        return sha256(b"").digest()
    if len(d) == 1:
        return sha256(b"\x00" + d[0]).digest()
    k = split(len(d))
    return sha256(b"\x01" + mth(d[:k]) + mth(d[k:])).digest()


def path(m: int, d: list[bytes]) -> list[bytes]:
    if len(d) == 1:
        return []
    k = split(len(d))
    if m < k:
        return [*path(m, d[:k]), mth(d[k:])]
    return [*path(m - k, d[k:]), mth(d[:k])]


def subproof(m: int, d: list[bytes], b: bool) -> list[bytes]:
    if m == len(d):
        return [] if b else [mth(d)]
    k = split(len(d))
    if m <= k:
        return [*subproof(m, d[:k], b), mth(d[k:])]
    return [*subproof(m - k, d[k:], False), mth(d[:k])]


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=40), st.data())
@settings(max_examples=150, deadline=None)
def test_like_the_rfc_and_proofs_prove_nothing_else(d: list[bytes], data: st.DataObject) -> None:
    tree = tree_of(d)
    size = data.draw(st.integers(1, len(d)))
    index = data.draw(st.integers(0, size - 1))
    first = data.draw(st.integers(1, size))
    root, old = tree.root(size), tree.root(first)
    assert root == mth(d[:size])
    inclusion, consistency = tree.inclusion(index, size), tree.consistency(first, size)
    assert inclusion == path(index, d[:size])
    assert consistency == subproof(first, d[:size], True)
    leaf = leaf_hash(d[index])
    assert included(leaf, index, size, inclusion, root)
    assert consistent(first, size, consistency, old, root)
    # what is not so is not proven
    assert not included(leaf_hash(d[index] + b"!"), index, size, inclusion, root)
    assert not included(leaf, index, size, [*inclusion, root], root)
    assert not included(leaf, index, size, inclusion, old if old != root else EMPTY)
    assert not consistent(first, size, [*consistency, root], old, root)
    assert not consistent(first, size, consistency, EMPTY, root)
    assert not consistent(first, size, consistency, old, EMPTY)
    for proof, check in (
        (inclusion, lambda spoilt: included(leaf, index, size, spoilt, root)),
        (consistency, lambda spoilt: consistent(first, size, spoilt, old, root)),
    ):
        for place in range(len(proof)):
            assert not check([*proof[:place], *proof[place + 1 :]])
            assert not check([*proof[:place], EMPTY, *proof[place + 1 :]])


def test_what_there_is_no_proof_of() -> None:
    tree = tree_of(ENTRIES)
    for call in (
        lambda: tree.inclusion(8),
        lambda: tree.inclusion(-1),
        lambda: tree.root(9),
        lambda: tree.consistency(0),
        lambda: tree.consistency(5, 4),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()
    assert not included(leaf_hash(b""), 8, 8, [], tree.root())
    assert not consistent(0, 8, [], EMPTY, tree.root())
    assert not consistent(9, 8, [EMPTY], EMPTY, tree.root())
