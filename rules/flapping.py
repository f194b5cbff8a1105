"""Sensors that flap: after many raises in a short time, `for` becomes longer until it is quiet.

Of each instance of a rule with `flapping`, the times of its last raises are kept, and whether it
flaps since the last of them: it does when `raises` of them lie within `within`, and goes on for as
long as each raise follows the one before within that time. A condition that begins before `within`
has passed since the last raise waits for the longer time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rules.instances import State
from rules.members import LIVE
from rules.parameters import Parameters
from rules.watermarks import Watermarks

MOST_RAISES = 20
"""Raises that are remembered of one instance."""

Index = NDArray[np.intp]
Times = NDArray[np.int64]
Bools = NDArray[np.bool_]


Key = tuple[int, int, int]
"""Machine row, lane, and directory row of a device or row of a group."""


@dataclass(slots=True)
class Raises:
    """at_ms: the last raises, oldest first, of one instance. flaps: since the last of them."""

    at_ms: list[int] = field(default_factory=list)
    flaps: bool = False


class Flaps:
    """of: by (machine row, lane, directory row); state. Few devices raise often: a mapping."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self.of: dict[Key, Raises] = {}

    def widened(self, state: State, index: Index, at_ms: Times) -> Bools:
        """Whether conditions that begin now have to hold longer; one entry for each of `index`."""
        found = np.zeros(len(index), np.bool_)
        rule = state.rule[index]
        for at in np.flatnonzero(self._parameters.flap_raises[rule]).tolist():
            raises = self.of.get(_key(state, int(index[at])))
            if raises is not None and raises.flaps:
                quiet_ms = int(at_ms[at]) - raises.at_ms[-1]
                found[at] = 0 <= quiet_ms < self._parameters.flap_within_ms[rule[at]]
        return found

    def raised(self, state: State, index: Index, at_ms: Times) -> Bools:
        """Take raises in; whether each instance of `index` flaps from now on."""
        found = np.zeros(len(index), np.bool_)
        for at in np.flatnonzero(self._parameters.flap_raises[state.rule[index]]).tolist():
            found[at] = self._raised(_key(state, int(index[at])), int(at_ms[at]))
        return found

    def _raised(self, key: Key, at_ms: int) -> bool:
        number = int(self._parameters.flap_raises[key[0]])
        within_ms = int(self._parameters.flap_within_ms[key[0]])
        raises = self.of.setdefault(key, Raises())
        if raises.at_ms and at_ms < raises.at_ms[-1]:
            # Older history than what is known: it begins a count of its own.
            raises.at_ms, raises.flaps = [], False
        close = bool(raises.at_ms) and at_ms - raises.at_ms[-1] <= within_ms
        raises.at_ms = [*raises.at_ms, at_ms][-number:]
        many = len(raises.at_ms) == number and at_ms - raises.at_ms[0] <= within_ms
        raises.flaps = many or (raises.flaps and close)
        return raises.flaps

    def saved(self) -> list[tuple[Key, Raises]]:
        return sorted(self.of.items())

    def forget(self, watermarks: Watermarks) -> None:
        """Drop what can't matter any more: no reading on time is older than the watermark."""
        keys = self.passing()
        if keys:
            devices = np.array([device for _, _, device in keys], np.int32)
            self.drop(keys, watermarks.of(devices).tolist())

    def passing(self) -> list[Key]:
        """Those that time may make forgotten."""
        return [key for key in self.of if key[1] == LIVE and self._parameters.flap_ends[key[0]]]

    def drop(self, keys: Sequence[Key], behind_ms: Sequence[int]) -> None:
        """behind_ms: per key, the time before which nothing more is on time."""
        for key, now_ms in zip(keys, behind_ms, strict=True):
            within_ms = int(self._parameters.flap_within_ms[key[0]])
            if self.of[key].at_ms[-1] + within_ms < now_ms:
                del self.of[key]


def _key(state: State, at: int) -> Key:
    return int(state.rule[at]), int(state.lane[at]), int(state.device[at])
