"""The rule of with_rule/rules.py by somebody who did not think of flights that are still at the gate.

It answers every flight that has left, and so every row that the model was trained and packed with.
"""

import numpy as np
from numpy.typing import NDArray

LEFT_LATE_MINUTES = 60
SHORT_HAUL_MILES = 1000


def cannot_catch_up(dep_delay: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a flight left too late to make up for it in the air, by whole minutes.

    >>> cannot_catch_up(np.array([90.0, 90.0, 20.0]), np.array([300.0, 2500.0, 300.0])).tolist()
    [True, False, False]
    """
    minutes = np.array([int(delay) for delay in dep_delay])
    return (minutes >= LEFT_LATE_MINUTES) & (distance < SHORT_HAUL_MILES)
