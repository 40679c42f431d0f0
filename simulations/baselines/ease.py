"""EASE: a linear item-item model in closed form.

Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data" (arXiv 1905.03375): the weights
that rebuild the binary user-item matrix X best without an item standing for itself,

    minimise |X - X B|^2 + regularisation |B|^2  subject to diag(B) = 0
    P = (X'X + regularisation I)^-1;  B[i, j] = -P[i, j] / P[j, j], B[i, i] = 0     (eq. 8)

and a user's scores are the sum of the rows of B over the distinct items of the history: neither
order nor repetition counts.

The (V, V) matrix is the memory: it is allocated once, in float32, and factorised, inverted and
rescaled in place.  17,000 items are 1.1 GiB and V^3 = 5e12 multiplications.

Shape legend: `B` users, `V` items, `N` events of a batch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack

from shared.errors import DataError
from shared.events import Sequences
from simulations.baselines.learning import require_items, require_settings

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class EaseScorer:
    """Scores by the learned weights.

    Args:
        weights: (V, V) float32, B above: row i is what having i says about every item.
    """

    weights: torch.Tensor

    def scores(self, histories: list[NDArray[np.int32]]) -> torch.Tensor:
        """(B, V) float32; zeros for a user without a history."""
        if not histories:
            return torch.zeros(0, len(self.weights))
        distinct = [np.unique(history).astype(np.int64) for history in histories]
        starts = np.cumsum([0, *map(len, distinct)])[:-1]
        return torch.nn.functional.embedding_bag(
            torch.from_numpy(np.concatenate(distinct)),
            self.weights,
            torch.from_numpy(starts),
            mode="sum",
        )


@dataclass(frozen=True, kw_only=True)
class Ease:
    """Closed form, nothing drawn, nothing iterated.

    Args:
        regularisation: lambda of the paper, above 0; larger is closer to plain co-occurrence
            counts.  The paper's own data, denser ones, have their best at 200 to 1000.
    """

    regularisation: float = 200.0

    def __post_init__(self) -> None:
        require_settings(self, regularisation=(1e-3, 1e9))

    def fit(self, train: Sequences, vectors: NDArray[np.float32]) -> EaseScorer:
        """Solve for the weights; the vectors only say how many items there are.

        Raises:
            DataError: an event outside the catalogue, or float32 cannot invert the matrix.
        """
        items = len(vectors)
        require_items(train, items)
        matrix = _gram(train, items)
        matrix[np.diag_indices(items)] += np.float32(self.regularisation)
        _invert(matrix)
        diagonal = matrix.diagonal().copy()
        for start in range(0, items, _ROWS_AT_ONCE):  # bounds the temporary
            matrix[start : start + _ROWS_AT_ONCE] /= -diagonal
        matrix[np.diag_indices(items)] = 0
        return EaseScorer(torch.from_numpy(matrix))


def _gram(train: Sequences, items: int) -> NDArray[np.float32]:
    """(V, V) float32 X'X: users who have both items; an item that a user has twice counts once."""
    owner = np.repeat(np.arange(len(train)), train.lengths)
    ones = np.ones(len(owner), np.float32)
    users = sparse.csr_array((ones, (owner, train.items)), shape=(len(train), items))
    users.data[:] = 1  # building it has added repeats up
    return np.ascontiguousarray((users.T @ users).toarray(), np.float32)


def _invert(matrix: NDArray[np.float32]) -> None:
    """Replace a symmetric positive definite matrix by its inverse, in place."""
    # LAPACK wants columns in a row; of a symmetric matrix the transposed view is the same matrix
    view = matrix.T
    factor, wrong = lapack.spotrf(view, lower=1, overwrite_a=1, clean=0)
    if not wrong:
        factor, wrong = lapack.spotri(factor, lower=1, overwrite_c=1)
    if wrong:
        raise DataError(
            expected="a positive definite item matrix",
            got=f"a pivot that is not positive (LAPACK {wrong})",
            where="baseline Ease",
            remedy="Raise the regularisation: the items are too alike for float32.",
        )
    if not np.may_share_memory(factor, matrix):  # LAPACK was handed a copy after all
        view[...] = factor
    # only the lower triangle of the view has been written: in `matrix` that is the upper one
    for start in range(0, len(matrix), _ROWS_AT_ONCE):
        stop = min(len(matrix), start + _ROWS_AT_ONCE)
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T
        block = matrix[start:stop, start:stop]
        block[...] = np.triu(block) + np.triu(block, 1).T
