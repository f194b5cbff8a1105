"""Which part of an engine's state is meant: when rules change, devices move over one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Kind = Literal["instant", "timed", "whole"]
"""instant: of rules that act in log order. timed: of rules that act in event time, of windows
and of silences. whole: what belongs to no single device, such as groups."""

KINDS: frozenset[Kind] = frozenset(("instant", "timed", "whole"))
_Rows = TypeVar("_Rows", NDArray[np.int32], NDArray[np.intp])


@dataclass(frozen=True, slots=True)
class Subset:
    """devices: bool per directory row, None = all of them; rows behind its end are out.

    together: ids of rules of both kinds, which move as a whole with those that are timed.
    """

    devices: NDArray[np.bool_] | None = None
    kinds: frozenset[Kind] = KINDS
    together: frozenset[str] = frozenset()

    def has(self, rows: NDArray[np.int32] | NDArray[np.intp]) -> NDArray[np.bool_]:
        """bool per entry of `rows`, which are directory rows."""
        if self.devices is None:
            return np.ones(len(rows), np.bool_)
        inside = rows < len(self.devices)
        found = np.zeros(len(rows), np.bool_)
        found[inside] = self.devices[rows[inside]]
        return found

    def of(self, rows: _Rows) -> _Rows:
        """Those of the directory rows that are meant."""
        return rows if self.devices is None else rows[self.has(rows)]

    def covers(self, mode: str, rule: str = "") -> bool:
        """Whether state of a rule of this mode is meant."""
        instant = mode == "instant" and rule not in self.together
        return ("instant" if instant else "timed") in self.kinds


EVERYTHING = Subset()
