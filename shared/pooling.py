"""From token states to one vector per text.  Shapes: B texts, T tokens, D width.

All functions expect padding on the right: real tokens first, mask 1 for real and 0 for padding.
"""

from typing import Any, Literal

import torch

Pooling = Literal["mean", "last", "cls"]


def resolve_pooling(asked: Literal["auto", "mean", "last", "cls"], config: Any) -> Pooling:
    """Decide "auto" by a model's `config`: last token for a causal decoder, else the mean.

    In a causal model only the last token has read the whole text.  A model counts as causal when
    its configuration says `is_decoder`, or when transformers knows a causal head but no masked one
    for its type (BERT has both).
    """
    if asked != "auto":
        return asked
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    if getattr(config, "is_encoder_decoder", False):
        return "mean"  # only its encoder is used, which reads both ways
    kind = config.model_type
    causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    masked = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    decoder = bool(getattr(config, "is_decoder", False)) or (causal and not masked)
    return "last" if decoder else "mean"


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Pool (B, T, D) states under a (B, T) right-padded mask of 0 and 1 into (B, D).

    Every text must have at least one real token.
    """
    if pooling == "cls":
        return states[:, 0]
    lengths = mask.sum(dim=1)
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), lengths - 1]
    # masked_fill, not a product: a padding state may be anything, NaN included
    total = states.masked_fill(mask[..., None] == 0, 0.0).sum(dim=1)
    return total / lengths[:, None].to(states.dtype)
