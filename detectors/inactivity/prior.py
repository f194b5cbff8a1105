"""What is known of homes before one is known: it comes with the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity.state import HALF_HOURS, SILENCES, TAIL

BIN = 0.5
"""Width of a class of surprise."""


@dataclass(frozen=True, slots=True)
class Prior:
    """rate: float64[48, 8], activity per minute by half hour of the day and class of silence.

    exceeded: float64[64], how often a day a silence gets to the lower end of a class of surprise.
    excess: how far beyond a high level the silences go on average that get there.
    """

    rate: NDArray[np.float64]
    exceeded: NDArray[np.float64]
    excess: float

    @staticmethod
    def flat() -> Prior:
        """Knows next to nothing: for building the first model."""
        minutes = 7.5 * 2.0 ** np.arange(SILENCES)
        rate = np.tile(0.7 / minutes, (HALF_HOURS, 1))
        return Prior(rate, 30.0 * np.exp(-BIN * np.arange(TAIL)), 1.0)
