"""Who takes part in a step: Poisson sampling, the one the accountant assumes."""

import numpy as np
from numpy.typing import NDArray

from shared.errors import PrivacyError
from shared.privacy.randomness import Stream


def poisson_sample(users: int, sample_rate: float, stream: Stream) -> NDArray[np.int64]:
    """Row numbers of the users in this step's batch, ascending; it may be empty.

    Every user is in with probability `sample_rate` (to within 2**-53), independently of all
    others and of how many there are: user i's coin is the stream's i-th number, so users after i
    can come and go without changing it.  Batches of a fixed size, shuffling, or "at least one
    user" would each break the accountant's assumption.

    Args:
        users: how many users the platform has now (private; no output's shape may depend on it
            once the batch has been summed and noised).
        sample_rate: public constant in (0, 1].
        stream: used for this step's sampling and nothing else: how much is drawn is private.

    Raises:
        PrivacyError: `sample_rate` outside (0, 1].
    """
    if not 0 < sample_rate <= 1:
        raise PrivacyError(
            expected="0 < sample_rate <= 1", got=repr(sample_rate), where="privacy.sample_rate"
        )
    return np.flatnonzero(stream.uniform(users) < sample_rate).astype(np.int64, copy=False)
