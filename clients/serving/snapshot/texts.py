"""What a snapshot needs so that texts can be read beside it; this side needs torch.

Shapes: `V` items, `N` texts, `H` layers that are read, `D` width.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.platform import Platform
from clients.serving.snapshot.encoder import Encoder, encoder_name
from clients.serving.snapshot.head import NAME, Head
from clients.serving.snapshot.snapshot import Snapshot
from shared.errors import EncoderError
from shared.whitening import Whitening, moments

_SAMPLE = 24  # rows of the catalogue that new texts are held against


def read_texts(platform: Platform, snapshot: Snapshot, encoders: Path) -> None:
    """See to it that texts can be read for `snapshot`: that its encoder lies in `encoders`, and
    gives the catalogue's own rows for the catalogue's own texts.

    Raises:
        EncoderError: it cannot be exported (see `export_encoder`), or gives other rows.
        RunError: what was exported is damaged.
        StorageError: the disk refused.
    """
    from clients.serving.snapshot.export import export_encoder, hold  # only here: it is slow

    path = export_encoder(platform.record.model, encoders, identity=platform.record.encoder)
    texts, head = platform.catalogue.texts, Head.read(snapshot.folder / NAME)
    rows = np.linspace(0, len(texts) - 1, min(_SAMPLE, len(texts))).astype(int)
    states = Encoder(path).states([texts[row] for row in rows])
    if states.shape[1:] != head.shape:
        raise EncoderError(
            expected=f"states of shape (N, {head.shape[0]}, {head.shape[1]})",
            got=f"{states.shape}",
            where="export of the text encoder",
        )
    adapted, vectors = head.items(states)
    hold(snapshot.items[rows].astype(np.float32), adapted, "the catalogue's adapted items")
    hold(snapshot.vectors[rows].astype(np.float32), vectors, "the catalogue's items")


def head_of(
    states: NDArray[np.float32],
    whitening: Whitening,
    weight: NDArray[np.float32],
    *,
    encoder: str,
) -> Head:
    """What `Ground.of` does to these states, as one map a layer.

    Args:
        states: (V, H, D) of the catalogue, as encoded.
        whitening: of the federation.
        weight: (D, H * D) W of the platform's own model.
        encoder: identity of the encoder that the states come from; "" if not known.
    """
    # The map of `spherical` is that of a federation of one: no prior, no axes to keep.
    alone = Whitening(np.eye(states.shape[2], dtype=np.float32))
    maps = [
        alone.local(moments(states[:, layer]), prior_items=0)
        for layer in range(states.shape[1] - 1)
    ]
    maps.append(whitening.local(moments(states[:, -1])))
    return Head(
        encoder=encoder_name(encoder),
        centers=np.stack([one.center for one in maps]),
        maps=np.stack([one.matrix for one in maps]).astype(np.float32),
        adapter=np.ascontiguousarray(weight, np.float32),
    )
