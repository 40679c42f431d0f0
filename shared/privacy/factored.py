"""Per-user clipping of linear layers' gradients without forming them.

The gradient of user b for a linear layer's weight is sum over t of g[b,t] a[b,t]^T, from the
layer's inputs a (B, T, I) and the gradients of its outputs g (B, T, O).  So its squared norm is
sum over t, s of (a_t . a_s)(g_t . g_s), and a weighted sum over users is one matrix product
(Goodfellow 2015, arXiv 1510.01799; Bu et al. 2023, arXiv 2210.00038): the (B, O, I) per-user
gradients never go through memory, which is what makes a private step slow.  Whoever knows the
factors (`shared.objective`) hands them to `PrivateOptimizer.accumulate_factors`.

Guarantee: that of `shared.privacy.clipping.clipped_sum`.  Norms are taken in float64.  Where a
user's positions nearly cancel, so that float32 products could round to more than the slack in
`clip_factors`, or anything is not finite, over- or underflows, that user's gradient is formed
after all and goes through `clipped_sum`.  Which way a user takes depends on nobody else.
"""

from collections.abc import Sequence

import torch

from shared.errors import PrivacyError
from shared.privacy.clipping import ClippedSum, clip_factors, clipped_sum

Factors = tuple[torch.Tensor, torch.Tensor]
"""(B, T, I) a layer's inputs, and (B, T, O) the gradients of its outputs."""

_AT_ONCE = 8  # users whose rows stay in a core's cache: a third of the time of all at once
_SMALL, _LARGE = 1e-24, 1e30  # squared norms between which float32 products are safe


def factored_sum(factors: Sequence[Factors], clip_norm: float) -> ClippedSum:
    """`clipped_sum` of the gradients that `factors` describe, one pair per trainable tensor.

    Raises:
        PrivacyError: see `clipped_sum`.
    """
    sizes = {len(tensor) for pair in factors for tensor in pair}
    if len(sizes) != 1 or not clip_norm > 0:
        raise PrivacyError(
            expected="the same users for every tensor, and clip_norm > 0",
            got=f"numbers of users {sorted(sizes)}, clip_norm {clip_norm!r}",
            where="clipping",
        )
    squared = torch.zeros(sizes.pop(), dtype=torch.float64)
    bound = torch.zeros_like(squared)  # squared norm if positions did not cancel, and a margin
    safe = torch.ones_like(squared, dtype=torch.bool)
    for inputs, outputs in factors:
        one, other = _gram(inputs), _gram(outputs)
        squared += (one * other).sum((1, 2))
        lengths = (_diagonal(one) * _diagonal(other)).sqrt()  # (B, T) |a_t| |g_t|
        # A term's float32 rounding is (T + 2) 2**-24 of these; the slack is 2**-16 of the norm.
        bound += (lengths.sum(1) * ((inputs.shape[1] + 2) / 256)).square()
        for gram in (one, other):
            sizes_t = _diagonal(gram)
            safe &= ((sizes_t == 0) | ((sizes_t > _SMALL) & (sizes_t < _LARGE))).all(1)
    nothing = bound == 0
    safe &= nothing | ((squared >= bound) & (squared > _SMALL) & (squared < _LARGE))
    whole = bool(safe.all())
    kept = list(factors) if whole else [(a[safe], g[safe]) for a, g in factors]
    weights = clip_factors(squared[safe].clamp_min(0).sqrt(), clip_norm)
    sums = [
        (g * weights[:, None, None].to(g.dtype)).flatten(0, 1).T @ a.flatten(0, 1) for a, g in kept
    ]
    clipped, invalid = int((weights < 1).sum()), 0
    if not whole:
        formed = [torch.einsum("bto,bti->boi", g[~safe], a[~safe]) for a, g in factors]
        rest = clipped_sum(formed, clip_norm)
        sums = [total + more for total, more in zip(sums, rest.sums, strict=True)]
        clipped, invalid = clipped + rest.clipped, rest.invalid
    return ClippedSum(sums=tuple(sums), clipped=clipped, invalid=invalid)


def _gram(rows: torch.Tensor) -> torch.Tensor:
    """(B, T, T) float64 inner products of (B, T, P)."""
    users, positions = rows.shape[:2]
    found = torch.empty(users, positions, positions, dtype=torch.float64)
    for start in range(0, users, _AT_ONCE):
        wide = rows[start : start + _AT_ONCE].double()
        torch.bmm(wide, wide.mT, out=found[start : start + _AT_ONCE])
    return found


def _diagonal(gram: torch.Tensor) -> torch.Tensor:
    return gram.diagonal(dim1=1, dim2=2)
