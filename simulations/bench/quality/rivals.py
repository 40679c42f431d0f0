"""Where the methods of the field are trained for the bench, once each, and kept."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.recommending.scorer import InterestScorer
from shared.config.federation import FederationSettings
from shared.files import replacing, sha256
from shared.ground import Ground
from shared.model import InterestModel
from simulations.bench.quality.methods import METHODS
from simulations.bench.quality.pair_training import Member, train_method
from simulations.run import FORMAT


@dataclass(frozen=True, kw_only=True)
class Rivals:
    """The federation on which methods are trained.

    Args:
        folder: of the bench's run.
        members: all platforms.
        settings: with populations filled in.
        progress: told (what, done, total).
    """

    folder: Path
    members: Mapping[str, Member]
    settings: FederationSettings
    progress: Callable[[str, int, int], None]

    def scorer(self, name: str, epsilon: float, seed: int, platform: str) -> InterestScorer:
        """Our model with what the method learned for `platform`, trained now unless kept."""
        ground = self.members[platform].ground
        return scorer_of(self._weights(name, epsilon, seed)[platform], self.settings, ground)

    def _weights(self, name: str, epsilon: float, seed: int) -> dict[str, NDArray[np.float32]]:
        """(D, F) W of each platform."""
        privacy = self.settings.privacy.replace(epsilon=epsilon)
        settings = self.settings.model_copy(update={"privacy": privacy})
        path = (
            self.folder / "models" / f"{name}-epsilon-{epsilon:g}-seed-{seed}-{self._digest()}.npz"
        )
        if not path.is_file():
            found = train_method(
                METHODS[name],
                self.members,
                settings,
                seed=seed,
                progress=lambda done, total: self.progress(
                    f"training {name}, epsilon {epsilon:g}", done, total
                ),
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, allow_pickle=False, **found)
        with np.load(path, allow_pickle=False) as kept:
            return {platform: kept[platform] for platform in self.members}

    def _digest(self) -> str:
        parts = self.settings.model_dump(mode="json", include={"model", "training", "platforms"})
        privacy = self.settings.privacy.model_dump(mode="json", exclude={"epsilon"})
        return sha256(json.dumps([parts, privacy, FORMAT], sort_keys=True).encode())[:8]


def scorer_of(
    weight: NDArray[np.float32], settings: FederationSettings, ground: Ground
) -> InterestScorer:
    """The interest model with a whole W (D, F) put into its blocks."""
    model = InterestModel(settings.model, ground.vectors.shape[1])
    blocks = {
        name: np.ascontiguousarray(weight[:, model.block(name).columns]) for name in model.names
    }
    return InterestScorer(model.load(blocks), ground)
