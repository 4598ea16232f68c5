"""What operations knows without a model."""

import numpy as np
from numpy.typing import NDArray

LEFT_LATE_MINUTES = 60
SHORT_HAUL_MILES = 1000


def cannot_catch_up(dep_delay: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a flight left too late to make up for it in the air: no more than half an hour is won on a short haul.

    >>> cannot_catch_up(np.array([90.0, 90.0, 20.0, np.nan]), np.array([300.0, 2500.0, 300.0, 300.0])).tolist()
    [True, False, False, False]
    """
    return (dep_delay >= LEFT_LATE_MINUTES) & (distance < SHORT_HAUL_MILES)
