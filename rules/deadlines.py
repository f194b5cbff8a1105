"""When time alone will change each instance: asked anew of those that have changed, remembered of
the rest, so that a mark doesn't cost what is active but what is due."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.transitions import Episode
from rules.instances import AFTER_ALL_MS, NEVER_MS, Index, Instances
from rules.machine import Machine
from rules.positions import true_at


class Deadlines:
    """Follows one table, for ever under the same parameters. No part of snapshots.

    due_ms: int64 by slot. A late instance is due at once or not before another reading: its time
    is that of the readings that came late.
    """

    def __init__(self, instances: Instances) -> None:
        self._instances = instances
        self._due_ms = np.empty(0, np.int64)

    def until(self, limit_ms: int, machine: Machine) -> Index:
        """The slots, ascending, whose deadline is not after `limit_ms`."""
        return true_at(self._known(machine) <= limit_ms)

    def soonest_ms(self, machine: Machine) -> int:
        """`AFTER_ALL_MS` when there is none."""
        return int(self._known(machine).min(initial=AFTER_ALL_MS))

    def _known(self, machine: Machine) -> NDArray[np.int64]:
        gone, changed = self._instances.news()
        missing = self._instances.room - len(self._due_ms)
        if missing > 0:
            self._due_ms = np.append(self._due_ms, np.full(missing, AFTER_ALL_MS))
        self._due_ms[gone] = AFTER_ALL_MS
        if len(changed):
            state = self._instances.gather(changed)
            due = machine.deadlines(state)
            ended = np.where(due <= state.clock, NEVER_MS, AFTER_ALL_MS)
            self._due_ms[changed] = np.where(state.lane == Episode.LATE, ended, due)
        return self._due_ms
