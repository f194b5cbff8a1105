"""What scores are worth: call first, visit later, ask where nobody is at home.

The shipped rules say the same in YAML (`deploy/rules/elderly_inactivity.yml`); a test holds both
against each other. Evaluation and `gridwarden detect` use this.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from detectors.inactivity.operator import Scores
from detectors.inactivity.presence import HomeState

BUDGET = 1.0
"""False alarms that are accepted in 30 days of a home: the call."""
VISIT_SHARE = 0.1
"""A tenth of the budget: somebody goes there (proposal)."""
CEILING_MIN = 24 * 60.0
DRY_MIN = 12 * 60.0
"""Fixed limits of cities (Shanghai Changning, Shenzhen Longgang), never exceeded."""


class Cause(IntEnum):
    """Why a home is told of; the highest that holds. See `LEVELS`."""

    NONE = 0
    CONTACT_UNKNOWN = 1
    CONTACT_AWAY = 2
    CEILING_WATER = 3
    CEILING_CALL = 4
    CALL = 5
    CEILING = 6
    VISIT = 7


LEVELS = {
    Cause.NONE: "none",
    Cause.CONTACT_UNKNOWN: "contact",
    Cause.CONTACT_AWAY: "contact",
    Cause.CEILING_WATER: "call",
    Cause.CEILING_CALL: "call",
    Cause.CALL: "call",
    Cause.CEILING: "visit",
    Cause.VISIT: "visit",
}
"""contact: ask whether all is well, nobody goes there."""


def at_home(state: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((state == HomeState.HOME) | (state == HomeState.ASLEEP))


def held(scores: Scores, budget: float = BUDGET) -> NDArray[np.bool_]:
    """bool[cause, home]: what holds of each home at this tick. Conditions, not changes of them.

    Nobody is sent where no heartbeats prove that the sensors work: there a day of silence and a
    dead system look the same.
    """
    state, here = scores.state, at_home(scores.state)
    long = scores.minutes >= CEILING_MIN
    found = np.zeros((len(Cause), len(state)), bool)
    found[Cause.CONTACT_UNKNOWN] = (state == HomeState.UNKNOWN) & long
    found[Cause.CONTACT_AWAY] = (state == HomeState.AWAY) & long
    found[Cause.CEILING_WATER] = here & (np.nan_to_num(scores.dry, nan=0.0) >= DRY_MIN)
    found[Cause.CEILING_CALL] = here & long
    found[Cause.CALL] = here & (scores.monthly <= budget)
    found[Cause.CEILING] = here & long & scores.hearts
    found[Cause.VISIT] = here & (scores.monthly <= budget * VISIT_SHARE) & scores.hearts
    return found


def causes(scores: Scores, budget: float = BUDGET) -> NDArray[np.uint8]:
    """uint8 `Cause` of each home at this tick: the highest that holds."""
    found = held(scores, budget)
    highest = len(Cause) - 1 - found[::-1].argmax(axis=0)
    return np.where(found.any(axis=0), highest, Cause.NONE).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Change:
    """A home's level rose, or its episode ended (`Cause.NONE`)."""

    home: int
    at_ms: int
    cause: Cause
    minutes: float
    monthly: float


class Episodes:
    """One episode lasts until the home is active again; in it each cause is told once, and only
    what is higher than what was told: an absence of many days is one contact call."""

    def __init__(self, homes: int) -> None:
        self._told = np.zeros(homes, np.uint8)

    def note(self, scores: Scores, budget: float = BUDGET) -> list[Change]:
        cause = causes(scores, budget)
        over = (self._told > 0) & (cause == 0) & (scores.minutes < 60)
        raised = cause > self._told
        self._told[over] = 0
        self._told[raised] = cause[raised]
        return [
            Change(
                int(row),
                scores.at_ms,
                Cause(int(self._told[row])),
                float(scores.minutes[row]),
                float(scores.monthly[row]),
            )
            for row in np.flatnonzero(over | raised)
        ]
