"""Active instances of group rules, sorted by (rule, group)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rules.instances import NAMES, Phase, State

Keys = NDArray[np.int64]


def key_of(rule: NDArray[np.int16] | int, group: NDArray[np.int32]) -> Keys:
    """int64, ascending by rule, then group."""
    high = np.asarray(rule).astype(np.int64) << 32
    key: Keys = high | group.astype(np.int64)
    return key


class Table:
    """Few rows: a quiet district has none. `State.device` holds rows of groups."""

    def __init__(self) -> None:
        self.state = State.blank(0)

    @property
    def keys(self) -> Keys:
        return key_of(self.state.rule, self.state.device)

    def load(self, keys: Keys) -> State:
        """A state for each key, ascending; blank where it is inactive."""
        found = State.blank(len(keys))
        mine = self.keys
        if len(mine):
            at = np.minimum(np.searchsorted(mine, keys), len(mine) - 1)
            there = mine[at] == keys
            for name in NAMES:
                getattr(found, name)[there] = getattr(self.state, name)[at[there]]
        found.rule = (keys >> 32).astype(np.int16)
        found.device = (keys & 0xFFFFFFFF).astype(np.int32)
        return found

    def store(self, state: State) -> None:
        """Replace the instances of `state`; those that have become inactive go."""
        keys = key_of(state.rule, state.device)
        stays = self.state.take(~np.isin(self.keys, keys))
        active = state.take(state.phase != Phase.INACTIVE)
        joined = State(*(np.concatenate([getattr(stays, n), getattr(active, n)]) for n in NAMES))
        self.state = joined.take(np.argsort(key_of(joined.rule, joined.device)))

    def drop(self, rule: int, group: int) -> None:
        gone = (self.state.rule == rule) & (self.state.device == group)
        self.state = self.state.take(~gone)
