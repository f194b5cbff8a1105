"""All state of an engine in one place: what is built from a rule set, and what is snapshot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.directory import DeviceDirectory
from contracts.transitions import Episode
from rules.calm import Calm
from rules.deadlines import Deadlines
from rules.derived.stage import Derive
from rules.episodes import Episodes
from rules.flapping import Flaps
from rules.group.operator import GroupOperator
from rules.group.predicates import Predicates
from rules.hot import Grouped
from rules.instances import Instances, Phase, State
from rules.members import INACTIVE, LIVE, Members
from rules.parameters import Parameters
from rules.positions import true_at
from rules.rest import Rest
from rules.ruleset import RuleSet
from rules.scan import Scan
from rules.silence import Silence

Index = NDArray[np.intp]


class Parts:
    """Built empty; `link` and `settle` keep the table and the slots of the members together."""

    def __init__(self, ruleset: RuleSet, directory: DeviceDirectory) -> None:
        self.ruleset = ruleset
        self.directory = directory
        self.members = Members(ruleset, directory)
        self.instances = Instances()
        self.deadlines = Deadlines(self.instances)
        self.parameters = Parameters(ruleset, self.members)
        self.flaps = Flaps(self.parameters)
        self.episodes = Episodes(ruleset, self.parameters)
        by_mode = {
            mode: {i: rule for i, rule in enumerate(ruleset.rules) if rule.mode == mode}
            for mode in ("instant", "timed")
        }
        self.instant = Scan(by_mode["instant"], self.members, self.instances, timed=False)
        self.timed = Scan(by_mode["timed"], self.members, self.instances, timed=True)
        derived = len(ruleset.derived)
        self.active = np.zeros(len(directory), np.int32)
        self.restless = np.zeros(len(directory), np.int32)
        self._may_rest = self._resting(ruleset)
        self.silence = Silence(ruleset, self.members, directory)
        self.derive = Derive(ruleset.derived, directory, ruleset.rules)
        self.predicates = Predicates(ruleset, self.members, directory)
        self.groups = GroupOperator(ruleset, self.members, directory, self.parameters)
        self.rest_instant = Rest(
            Calm(by_mode["instant"], self.members, derived=derived),
            self.instant,
            self.members,
            directory,
        )
        self.rest_timed = Rest(
            Calm(by_mode["timed"], self.members, derived=derived),
            self.timed,
            self.members,
            directory,
            unresting=self.derive.unresting() | self.predicates.unresting(),
            silence=self.silence,
            predicates=self.predicates,
        )

    def _resting(self, ruleset: RuleSet) -> NDArray[np.bool_]:
        """bool per machine row: whether rows that agree with an instance let it be."""
        found = np.zeros(len(ruleset.rules), np.bool_)
        for scan in (self.instant, self.timed):
            for standing in scan.standing.values():
                found[standing.numbers] = True
        return found

    def grow(self) -> None:
        """Take in devices that the directory has got since."""
        missing = len(self.directory) - len(self.active)
        if missing > 0:
            more = np.zeros(missing + 64, np.int32)
            self.active = np.concatenate([self.active, more])
            self.restless = np.concatenate([self.restless, more])
        if self.members.grow():
            self.silence.grow()
            self.predicates.grow()
            self.groups.grow()
            self.rest_instant.grow()
            self.rest_timed.grow()

    def load(self, grouped: Grouped) -> State:
        """The states of grouped instances; blank where they are inactive."""
        state = self.instances.gather(grouped.slot)
        state.rule, state.lane, state.device = grouped.rule, grouped.lane, grouped.device
        return state

    def settle(self, state: State, slot: NDArray[np.int32]) -> None:
        """Write states back; slot: where each stood, below 0 = nowhere."""
        active, had = state.phase != Phase.INACTIVE, slot >= 0
        stays = true_at(active & had)
        if len(stays):
            self.instances.put(slot[stays], state.take(stays))
        gone = true_at(~active & had)
        if len(gone):
            self.instances.release(slot[gone])
            self._link(state, gone, np.full(len(gone), INACTIVE, np.int32), -1)
        fresh = true_at(active & ~had)
        if len(fresh):
            self.insert(state.take(fresh))

    def insert(self, state: State) -> None:
        """Put instances that are inactive so far into the table."""
        slots = self.instances.take_slots(len(state))
        self.instances.put(slots, state)
        self._link(state, np.arange(len(state)), slots, 1)

    def drop(self, rule: int, device: int) -> None:
        """Make the instance of a machine row inactive in both lanes."""
        rank = self.members.rank[device]
        for lane in Episode:
            if not self.members.active[lane][rule]:
                continue
            slots = self.members.slots(lane, rule)
            if slots[rank] >= 0:
                self.instances.release(slots[rank : rank + 1].copy())
                slots[rank] = INACTIVE
                self.members.active[lane][rule] -= 1
                self.active[device] -= 1
                self.restless[device] -= self._stirs(np.array([rule]), np.array([lane]))[0]
                self.look_again(np.array([device], np.int32))

    def _link(self, state: State, index: Index, slots: NDArray[np.int32], step: int) -> None:
        """Point from (rule, lane, device) to the table; step: +1 for new, -1 for gone."""
        np.add.at(self.active, state.device[index], step)
        stirs = self._stirs(state.rule[index], state.lane[index])
        np.add.at(self.restless, state.device[index], stirs * step)
        if step < 0:
            self.look_again(state.device[index])
        pair = state.rule[index].astype(np.int64) << 1 | state.lane[index]
        rank = self.members.rank[state.device[index]]
        for key in np.unique(pair).tolist():
            rule, lane = key >> 1, key & 1
            mine = true_at(pair == key)
            self.members.slots(lane, rule)[rank[mine]] = slots[mine]
            self.members.active[lane][rule] += step * len(mine)

    def _stirs(
        self, rule: NDArray[np.int16] | Index, lane: NDArray[np.uint8] | Index
    ) -> NDArray[np.bool_]:
        """Of instances: whether each row of their devices counts."""
        stirs: NDArray[np.bool_] = (lane != LIVE) | ~self._may_rest[rule]
        return stirs

    def look_again(self, device: NDArray[np.int32]) -> None:
        family, rank = self.directory.family[device], self.members.rank[device]
        for number in np.unique(family).tolist():
            for scan in (self.instant, self.timed):
                scan.look_again(number, rank[family == number])
