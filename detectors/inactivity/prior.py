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

    exceeded: float64[2, 64], how often a day a silence gets to the lower end of a class of
    surprise; in homes without a front door sensor (0), where going out looks like silence, and with
    one (1). excess: float64[2], how far beyond a high level silences go on average that get there.
    """

    rate: NDArray[np.float64]
    exceeded: NDArray[np.float64]
    excess: NDArray[np.float64]

    @staticmethod
    def flat() -> Prior:
        """Knows next to nothing: for building the first model."""
        minutes = 7.5 * 2.0 ** np.arange(SILENCES)
        rate = np.tile(0.7 / minutes, (HALF_HOURS, 1))
        exceeded = np.tile(30.0 * np.exp(-BIN * np.arange(TAIL)), (2, 1))
        return Prior(rate, exceeded, np.ones(2))
