"""Makes a snapshot: the one part of serving that needs torch.

The platform's folder and the adapter it was given become arrays that can be read without either.
Nothing is read from the log and no text is encoded: a new adapter costs a matrix product.
"""

import hashlib
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.delivered import read_delivered
from clients.platform import Platform
from clients.recommending.head import LocalHead
from clients.recommending.mixing import tuned
from clients.recommending.scorer import InterestScorer
from clients.serving.snapshot.columns import write_columns
from clients.serving.snapshot.head import NAME as HEAD
from clients.serving.snapshot.snapshot import FORMAT, META, Snapshot
from clients.serving.snapshot.texts import head_of
from clients.serving.snapshot.write import About, written
from clients.stamp import FILES as PLATFORM
from shared.adapters import Adapter, adapter_sha256, initial_adapter
from shared.config.training import Interpolation
from shared.files import file_sha256
from shared.whitening import Whitening, fit_whitening

_AT_ONCE = 1024


def newest(platform: Platform, folder: Path, *, parts: Interpolation) -> Snapshot:
    """The snapshot of what the platform has now: the one in `folder` that is of it, or a new one.

    Older ones are removed once the new one is whole; who has one of them mapped keeps it.

    Args:
        folder: of snapshots; each lies in a folder named by its id.
        parts: `PublicSettings.interpolation` of the platform.

    Raises:
        RunError, AdapterError: what lies in the platform's folder is damaged.
        StorageError: the disk refused.
    """
    adapter, whitening, round_ = _model(platform, parts)
    made_from = _id(platform, adapter, whitening)
    place = folder / made_from
    if not (place / META).is_file():
        _write(place, platform, adapter, whitening, round_)
    found = Snapshot.open(place)
    for other in folder.iterdir():
        if other.is_dir() and other != place:
            shutil.rmtree(other, ignore_errors=True)
    return found


def _model(platform: Platform, parts: Interpolation) -> tuple[Adapter, Whitening, int]:
    """The platform's own model: as delivered with its own part, or the frozen one before that."""
    delivered = read_delivered(platform.folder)
    if delivered is None:
        width = platform.states.shape[2]
        whitening = fit_whitening([platform.moments()])
        return initial_adapter(platform.record.model, width), whitening, 0
    adapter = platform.own_adapter(delivered.adapter, delivered.round, parts)
    return adapter, Whitening.from_arrays(delivered.base), delivered.round


def _id(platform: Platform, adapter: Adapter, whitening: Whitening) -> str:
    digest = hashlib.sha256(f"{FORMAT} {adapter_sha256(adapter)} {whitening.sha256}".encode())
    for name in PLATFORM:
        digest.update(file_sha256(platform.folder / name).encode())
    return digest.hexdigest()[:32]


def _write(
    place: Path, platform: Platform, adapter: Adapter, whitening: Whitening, round_: int
) -> None:
    model = platform.record.model
    scorer = InterestScorer.of(model, adapter, platform.ground(whitening))
    text_head = head_of(
        platform.states,
        whitening,
        scorer.model.weight.detach().numpy(),
        encoder=platform.record.encoder,
    )
    sequences = platform.sequences
    head = LocalHead.fit(sequences, len(platform.catalogue), decay=model.decay)
    head = tuned(head, scorer, sequences, history_length=model.history_length)
    users = np.zeros((len(sequences), scorer.items.shape[1]), np.float16)
    for start in range(0, len(sequences), _AT_ONCE):
        stop = min(start + _AT_ONCE, len(sequences))
        histories = [sequences[number] for number in range(start, stop)]
        users[start:stop] = scorer.interests(histories).numpy()
    arrays: dict[str, NDArray[np.generic]] = {
        "items": scorer.items.numpy().astype(np.float16),
        "vectors": scorer.ground.vectors.numpy().astype(np.float16),
        "popularity": head.popularity,
        "users": users,
        "together.data": head.similarity.data,
        "together.indices": head.similarity.indices,
        "together.indptr": head.similarity.indptr,
    }
    about = About(
        platform=platform.name,
        round=round_,
        decay=model.decay,
        history_length=model.history_length,
        knn=head.mixing.knn,
        popularity=head.mixing.popularity,
    )
    with written(place, about) as making:
        for name, array in arrays.items():
            np.save(making / f"{name}.npy", np.ascontiguousarray(array))
        text_head.write(making / HEAD)
        write_columns(platform.catalogue, making)
        shutil.copyfile(platform.folder / "sequences.npz", making / "sequences.npz")
