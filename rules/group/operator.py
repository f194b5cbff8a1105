"""The second stage: counts of each group's answers, and the state machine over groups.

Changes wait until event time has passed them at every gateway that has a device in the group
(the least of their watermarks), and are then worked in by (time, device). So the answer doesn't
hang on how far one gateway is behind another, only on what they said. A change that comes after
its time (a late alarm of a safety rule, a gateway that joins) is worked in when it comes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.groups import GroupKind
from contracts.operator import Progress
from contracts.predicates import PredicateBatch, Verdict
from contracts.transitions import MOST_MEMBERS, GroupColumns, TransitionBatch
from rules.changes import Changes, Revealed, in_time_order
from rules.episodes import Episodes
from rules.expr.plan import Truth, show
from rules.flapping import Flaps
from rules.group.judge import (
    FALSE,
    LOST_FALSE,
    LOST_TRUE,
    NEVER,
    STATES,
    TRUE,
    Tallies,
    decided,
    verdicts,
)
from rules.group.predicates import Predicate, predicates
from rules.group.table import Table, key_of
from rules.instances import AFTER_ALL_MS, NEVER_MS
from rules.machine import Events, Machine
from rules.members import LIVE, NOT_WATCHED, Members
from rules.parameters import Parameters
from rules.ruleset import Rule, RuleSet, digest
from rules.sheet import begins
from rules.verdict import BREACH

Times = NDArray[np.int64]
Rows = NDArray[np.int32]

_AFTER = np.zeros((STATES, 4), np.uint8)
"""[what was known, `Verdict`] -> what is known."""
_AFTER[:, Verdict.FALSE] = FALSE
_AFTER[:, Verdict.TRUE] = TRUE
_AFTER[:, Verdict.LOST] = LOST_FALSE
_AFTER[[TRUE, LOST_TRUE], Verdict.LOST] = LOST_TRUE
_AFTER[NEVER, Verdict.LOST] = NEVER


@dataclass(slots=True)
class Grouping:
    """One rule's groups. group: int32 by rank, -1 = not watched or without a group. size: int32
    per group. pairs: (group, gateway) that have a device, sorted by group.
    """

    group: Rows
    size: NDArray[np.int64]
    pairs: tuple[Rows, Rows]


class GroupOperator:
    """Works on `PredicateBatch`es of the rule set's predicates, in the order of their rows.

    recount: (rule, group) whose members or question have changed with the registry or the rules:
    judged at the first mark at which its time is known. held: nothing is counted yet: another
    engine still has the state. floor_ms: nothing is said to have happened before.
    known: by predicate, uint8 by rank: what is known of each device's answer, of those without a
    group too: another registry may give them one. waiting: changes
    whose time hasn't come. table: active instances. episodes: open alerts of rules with levels.
    flaps: what `flapping` remembers. These are state; `device` is a group in all of them.
    """

    def __init__(
        self,
        ruleset: RuleSet,
        members: Members,
        directory: DeviceDirectory,
        parameters: Parameters,
    ) -> None:
        self.rules = {i: rule for i, rule in enumerate(ruleset.rules) if rule.mode == "group"}
        self.asked: tuple[Predicate, ...] = predicates(ruleset, members)
        self._members = members
        self._directory = directory
        self.parameters = parameters
        self._of_rule = {
            number: [i for i, one in enumerate(self.asked) if one.rule == number]
            for number in self.rules
        }
        self._rule_of = np.array([one.rule for one in self.asked], np.int16)
        self.known = [np.zeros(0, np.uint8) for _ in self.asked]
        self.waiting = PredicateBatch.empty()
        self.table = Table()
        self.episodes = Episodes(ruleset, parameters)
        self.flaps = Flaps(parameters)
        self._row_at = {
            (self.episodes.public_row(number), rule.level): number
            for number, rule in self.rules.items()
        }
        self.recount: set[tuple[int, int]] = set()
        self._waits_for_time = False
        self.held = False
        self.floor_ms = NEVER_MS
        self.groupings: dict[int, Grouping] = {}
        self._made_of: dict[int, tuple[int, int]] = {}
        """Of how many devices, and how many of them no gateway has spoken for."""
        self._version = (-1, -1)
        self._limit: dict[int, Times] = {}
        self._grounds: dict[int, tuple[str, str]] = {}
        self.grow()

    def grow(self) -> None:
        """Take in devices that `Members` has taken in, and gateways that have been heard."""
        if not self.rules:
            return
        version = (len(self._members.rank), self._directory.adopted)
        if version == self._version:
            return
        self._version = version
        self._grounds.clear()
        self.groupings = {n: self._grouping(n, rule) for n, rule in self.rules.items()}
        for number, one in enumerate(self.asked):
            fresh = np.zeros(self._members.room(one.family), np.uint8)
            fresh[: len(self.known[number])] = self.known[number]
            self.known[number] = fresh

    def _grouping(self, number: int, rule: Rule) -> Grouping:
        members = self._members
        rows = members.rows(members.family_of(number))
        groups = self._directory.groups
        of = groups.of(_kind(rule))
        unheard = int((self._directory.gateway[rows] < 0).sum())
        known, self._made_of[number] = self._made_of.get(number), (len(rows), unheard)
        if known == self._made_of[number]:
            # The devices that came are of other families. Where a million are registered, each
            # gateway that is heard for the first time would cost a look at all of them.
            same = self.groupings[number]
            more = np.zeros(len(groups) - len(same.size), np.int64)
            return replace(same, size=np.concatenate([same.size, more]))
        watched = members.slots(LIVE, number)[: len(rows)] != NOT_WATCHED
        group = np.where(watched, of[rows], -1).astype(np.int32)
        inside = np.flatnonzero(group >= 0)
        size = np.bincount(group[inside], minlength=len(groups))
        gateway = self._directory.gateway[rows[inside]]
        heard = gateway >= 0
        key = np.unique(group[inside][heard].astype(np.int64) << 32 | gateway[heard])
        pairs = (key >> 32).astype(np.int32), (key & 0xFFFFFFFF).astype(np.int32)
        return Grouping(group, size, pairs)

    def ungrouped(self) -> dict[str, int]:
        """Rule id -> how many devices that it watches belong to no group."""
        found = {}
        for number, rule in self.rules.items():
            rows = self._members.rows(self._members.family_of(number))
            watched = self._members.slots(LIVE, number)[: len(rows)] != NOT_WATCHED
            found[rule.id] = int((watched & (self.groupings[number].group < 0)).sum())
        return found

    def next_ms(self) -> int | None:
        """The earliest event time at which `on_time` has something to do; None = never."""
        if self.held:
            return None
        state = self.table.state
        due = int(
            Machine(self.parameters, Changes(), self.flaps)
            .deadlines(state)
            .min(initial=AFTER_ALL_MS)
        )
        due = min(due, int(self.waiting.ts_ms.min(initial=AFTER_ALL_MS)))
        if self.recount and not self._waits_for_time:
            due = min(due, 0)
        return due if due < AFTER_ALL_MS else None

    def hold(self, floor_ms: int) -> None:
        """Let changes wait until the state has been filled in; then nothing is before floor_ms."""
        self.held, self.floor_ms = True, floor_ms

    def is_active(self, rule: int, group: int) -> bool:
        state = self.table.state
        return bool(((state.rule == rule) & (state.device == group)).any())

    def reset(self, rule: int, group: int) -> None:
        self.table.drop(rule, group)
        self.episodes.forget(self.episodes.public_row(rule), group)

    def on_time(self, told: PredicateBatch, progress: Progress) -> TransitionBatch:
        """Changes of the first stage, then deadlines; the answer is of public rules, in order of
        event time."""
        if not self.rules:
            return TransitionBatch.empty()
        self.grow()
        quiet = not (len(self.table.keys) or self.recount or self.flaps.of)
        if quiet and not len(told) and not len(self.waiting):
            return TransitionBatch.empty()
        self._limits(progress.watermark_ms)
        waiting = PredicateBatch.join([self.waiting, told])
        if self.held:
            self.waiting = waiting
            return TransitionBatch.empty()
        due = waiting.ts_ms <= self._limit_of(waiting)
        self.waiting = waiting.take(~due)
        released, group = self._ordered(waiting.take(due))
        before = self.known
        released, group = self._grouped(released, group)
        changes = Changes()
        machine = Machine(self.parameters, changes, self.flaps)
        if len(released):
            self._play(released, group, progress, machine)
        self._play_again(progress, machine)
        self._expire(machine, progress)
        self._forget_flaps()
        found = in_time_order(self.episodes.merge(changes.in_time_order()))
        return self._explained(found, before, released, group) if len(found) else found

    def tally_of(self, rule: int, group: int) -> tuple[int, ...]:
        """How many devices of one group are in each state, question by question."""
        one = np.array([group], np.int32)
        return tuple(
            count
            for number in self._of_rule[rule]
            for count in self._tally(rule, self.known[number], one)[0].tolist()
        )

    def ground_of(self, rule: int) -> tuple[str, str]:
        """What the verdicts of a rule's groups hang on beside answers: digests of what is asked,
        and of who is asked in which group."""
        if rule not in self._grounds:
            one, members = self.rules[rule], self._members
            rows = members.rows(members.family_of(rule))
            group = self.groupings[rule].group[rows < self._directory.registered]
            rows_of, place = np.unique(group, return_inverse=True)
            ids = self._directory.groups.ids
            there = [ids[at] if at >= 0 else "" for at in rows_of.tolist()]
            self._grounds[rule] = (
                digest([show(one.when), one.clear and show(one.clear), one.card.safety]),
                digest([there, hashlib.sha256(place.astype("<i4").tobytes()).hexdigest()]),
            )
        return self._grounds[rule]

    def breaching(self, rule: int) -> list[int]:
        """Groups of which something is known that breach the rule as it stands, ascending."""
        member = self.groupings[rule].group
        known = [self.known[i][: len(member)] != NEVER for i in self._of_rule[rule]]
        some = np.any(known, axis=0) & (member >= 0)
        groups = np.unique(member[some])
        found: list[int] = groups[self.verdicts_of(rule, groups) & BREACH > 0].tolist()
        return found

    def verdicts_of(self, rule: int, groups: Rows) -> NDArray[np.uint8]:
        """Of groups as they stand, ascending."""
        one = self.rules[rule]
        tallies = {
            self.asked[i].plan: self._tally(rule, self.known[i], groups)
            for i in self._of_rule[rule]
        }
        return verdicts(one.when, one.clear, Tallies(tallies, one.card.safety))

    # How far event time has got

    def _limits(self, watermark_ms: Times) -> None:
        at_ms = np.maximum(watermark_ms, NEVER_MS)
        for number, grouping in self.groupings.items():
            group, gateway = grouping.pairs
            known = gateway < len(at_ms)
            # No time for groups whose gateways haven't been heard of.
            limit = np.full(len(grouping.size), AFTER_ALL_MS)
            np.minimum.at(limit, group[known], at_ms[gateway[known]])
            np.minimum.at(limit, group[~known], NEVER_MS)
            limit[limit == AFTER_ALL_MS] = NEVER_MS
            self._limit[number] = limit

    def _limit_of(self, told: PredicateBatch) -> Times:
        """int64 per change: up to where its group's time has got; no group: it never comes."""
        found = np.full(len(told), NEVER_MS)
        rule, group = self._rule_of[told.predicate], self._groups_of(told)
        for number in np.unique(rule).tolist():
            mine = np.flatnonzero((rule == number) & (group >= 0))
            found[mine] = self._limit[number][group[mine]]
            found[(rule == number) & (group < 0)] = AFTER_ALL_MS
        return found

    def _groups_of(self, told: PredicateBatch) -> Rows:
        found = np.full(len(told), -1, np.int32)
        rank = self._members.rank[told.device]
        for number in np.unique(told.predicate).tolist():
            mine = told.predicate == number
            found[mine] = self.groupings[self.asked[number].rule].group[rank[mine]]
        return found

    def _ordered(self, released: PredicateBatch) -> tuple[PredicateBatch, Rows]:
        """By (rule, group, time, device, reading); group -1 = none."""
        group = self._groups_of(released)
        order = np.lexsort(
            (
                released.row,
                released.position,
                released.device,
                released.ts_ms,
                group,
                self._rule_of[released.predicate],
            )
        )
        return released.take(order), group[order]

    def _grouped(self, released: PredicateBatch, group: Rows) -> tuple[PredicateBatch, Rows]:
        """Those of groups; of the others only the answer is kept."""
        alone = released.take(np.flatnonzero(group < 0))
        if not len(alone):
            return released, group
        self.known = [column.copy() for column in self.known]
        for one in np.unique(alone.predicate).tolist():
            mine = np.flatnonzero(alone.predicate == one)
            rank = self._members.rank[alone.device[mine]]
            _chained(self.known[one], rank, alone.verdict[mine])
        inside = np.flatnonzero(group >= 0)
        return released.take(inside), group[inside]

    # Counting

    def _play(
        self, told: PredicateBatch, group: Rows, progress: Progress, machine: Machine
    ) -> None:
        known = [column.copy() for column in self.known]
        rule = self._rule_of[told.predicate]
        parts = []
        for number in np.unique(rule).tolist():
            mine = np.flatnonzero(rule == number)
            parts.append(self._judged(number, told.take(mine), group[mine], known))
        self.known = known
        heads = [part[0] for part in parts]
        key = np.concatenate([key_of(n, g) for n, g, *_ in heads])
        batch = TaggedBatch.join([part[1] for part in parts])
        code = np.concatenate([part[2] for part in parts])
        fresh = begins(key)
        n = len(key)
        events = _events(np.cumsum(fresh) - 1, batch, code, start=True)
        state = self.table.load(key[fresh])
        machine.play(state, events, batch, _at_mark(progress, n))
        self.table.store(state)

    def _play_again(self, progress: Progress, machine: Machine) -> None:
        """Judge groups that aren't what they were, at the time that they have got to."""
        without_time = set()
        for number, group in sorted(self.recount):
            one, rule = np.array([group], np.int32), self.rules[number]
            state = self.table.load(key_of(number, one))
            at_ms = np.maximum(self._limit[number][one], state.clock)
            if at_ms[0] <= NEVER_MS:
                without_time.add((number, group))
                continue
            tallies = Tallies(
                {
                    self.asked[i].plan: self._tally(number, self.known[i], one)
                    for i in self._of_rule[number]
                },
                rule.card.safety,
            )
            batch = TaggedBatch(
                one,
                np.full(1, -1, np.int16),
                at_ms,
                decided(rule.when, tallies),
                np.zeros(1, np.uint16),
                np.full(1, progress.heard_ms),
                np.full(1, progress.position),
                np.full(1, -1, np.int32),
                np.full(1, progress.position),
            )
            code = verdicts(rule.when, rule.clear, tallies)
            events = _events(np.zeros(1, np.intp), batch, code, start=True)
            machine.play(state, events, batch, _at_mark(progress, 1))
            self.table.store(state)
        self.recount = without_time
        self._waits_for_time = bool(without_time)

    def _judged(
        self, number: int, told: PredicateBatch, group: Rows, known: list[NDArray[np.uint8]]
    ) -> tuple[tuple[int, Rows], TaggedBatch, NDArray[np.uint8]]:
        """((rule, groups), the deciding readings, verdicts) after each reading; `known` moves."""
        rule = self.rules[number]
        first = np.flatnonzero(begins(group))
        segment = np.cumsum(begins(group)) - 1
        # A reading that changes several answers is judged when all of them have changed.
        last = np.append(_differ(group, told.ts_ms, told.device, told.position, told.row), True)
        at = np.flatnonzero(last)
        tallies: dict[Truth, NDArray[np.int32]] = {}
        for one in self._of_rule[number]:
            asked = self.asked[one]
            base = self._tally(number, known[one], group[first])
            mine = np.flatnonzero(told.predicate == one)
            steps = np.zeros((len(told) + 1, STATES), np.int32)
            rank = self._members.rank[told.device[mine]]
            was, now = _chained(known[one], rank, told.verdict[mine])
            steps[mine + 1, was] -= 1
            steps[mine + 1, now] += 1
            sums = np.cumsum(steps, axis=0, dtype=np.int32)
            tallies[asked.plan] = (base[segment] + sums[1:] - sums[first][segment])[at]
        counted = Tallies(tallies, rule.card.safety)
        n = len(at)
        batch = TaggedBatch(
            group[at],
            np.full(n, -1, np.int16),
            told.ts_ms[at],
            decided(rule.when, counted),
            told.flags[at],
            told.heard_ms[at],
            told.position[at],
            told.row[at],
            told.position[at],
        )
        return (number, group[at]), batch, verdicts(rule.when, rule.clear, counted)

    def _tally(self, number: int, known: NDArray[np.uint8], groups: Rows) -> NDArray[np.int32]:
        """int32[groups, STATES] as it stands."""
        member = self.groupings[number].group
        slot = np.full(len(self._directory.groups), -1, np.int64)
        slot[groups] = np.arange(len(groups))
        mine = np.flatnonzero(member >= 0)
        mine = mine[slot[member[mine]] >= 0]
        cell = slot[member[mine]] * STATES + known[mine]
        counts = np.bincount(cell, minlength=len(groups) * STATES)
        return counts.reshape(len(groups), STATES).astype(np.int32)

    # Deadlines

    def _expire(self, machine: Machine, progress: Progress) -> None:
        state = self.table.state
        if not len(state):
            return
        limit = np.array(
            [
                self._limit[rule][group]
                for rule, group in zip(state.rule.tolist(), state.device.tolist(), strict=True)
            ],
            np.int64,
        )
        due = np.flatnonzero(machine.deadlines(state) <= limit)
        if len(due):
            part = state.take(due)
            machine.expire(part, np.arange(len(due)), limit[due], _at_mark(progress, len(due)))
            self.table.store(part)

    def _forget_flaps(self) -> None:
        keys = self.flaps.passing()
        self.flaps.drop(keys, [int(self._limit[rule][group]) for rule, _, group in keys])

    # Evidence

    def _explained(
        self,
        found: TransitionBatch,
        before: list[NDArray[np.uint8]],
        told: PredicateBatch,
        group: Rows,
    ) -> TransitionBatch:
        """Changes of groups, each with the devices that it hangs on."""
        n = len(found)
        columns = GroupColumns.none(n)
        columns.group[:] = found.device
        for i in range(n):
            # A change of a group is rare: one alert of many devices.
            # It hangs on what the level asks at which the alert stands now.
            number = self._row_at[int(found.rule[i]), int(found.level[i])]
            one = int(found.device[i])
            mine = (self._rule_of[told.predicate] == number) & (group == one)
            mine &= told.ts_ms <= found.at_ms[i]
            breached, lost = self._evidence(number, one, before, told.take(np.flatnonzero(mine)))
            columns.size[i] = self.groupings[number].size[one]
            columns.breached[i], columns.lost[i] = len(breached), lost
            named = breached[:MOST_MEMBERS]
            columns.members[i, : len(named)] = named
        rest = {name: getattr(found, name) for name in found.__slots__}
        at_ms = np.maximum(found.at_ms, self.floor_ms)
        rest |= {"device": np.full(n, -1, np.int32), "groups": columns, "at_ms": at_ms}
        return TransitionBatch(**rest)

    def _evidence(
        self, number: int, group: int, before: list[NDArray[np.uint8]], told: PredicateBatch
    ) -> tuple[Rows, int]:
        """(directory rows of which a question is true, how many are lost) after `told`."""
        members = self._members
        grouping, asked = self.groupings[number], self._of_rule[number]
        ranks = np.flatnonzero(grouping.group == group)
        sure = [TRUE, LOST_TRUE] if self.rules[number].card.safety else [TRUE]
        true, lost = np.zeros(len(ranks), np.bool_), np.zeros(len(ranks), np.bool_)
        for one in asked:
            mine = told.predicate == one
            known = before[one][ranks].copy()
            place = np.searchsorted(ranks, members.rank[told.device[mine]])
            for at, verdict in zip(place.tolist(), told.verdict[mine].tolist(), strict=True):
                known[at] = _AFTER[known[at], verdict]
            true |= np.isin(known, sure)
            lost |= (known == LOST_FALSE) | (known == LOST_TRUE)
        rows = members.rows(members.family_of(number))
        return rows[ranks[true]], int(lost.sum())


def _chained(
    known: NDArray[np.uint8], rank: Rows, verdict: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What was known before and after each change, in their order; `known` moves."""
    order = np.argsort(rank, kind="stable")
    ranks, said = rank[order], verdict[order]
    fresh = begins(ranks)
    was = known[ranks]
    # Between losses there is always an answer: what was known before one is what was said.
    was[1:][~fresh[1:]] = said[:-1][~fresh[1:]]
    now = _AFTER[was, said]
    was[1:][~fresh[1:]] = now[:-1][~fresh[1:]]
    ends = np.append(fresh[1:], True) if len(fresh) else fresh
    known[ranks[ends]] = now[ends]
    back = np.empty(len(order), np.intp)
    back[order] = np.arange(len(order))
    return was[back], now[back]


def _differ(*columns: NDArray[np.generic]) -> NDArray[np.bool_]:
    """bool per entry but the last: whether the next one is another."""
    found = np.zeros(max(len(columns[0]) - 1, 0), np.bool_)
    for column in columns:
        found |= column[1:] != column[:-1]
    return found


def _events(
    instance: NDArray[np.intp], batch: TaggedBatch, code: NDArray[np.uint8], *, start: bool
) -> Events:
    n = len(batch)
    begins_one, tick = np.full(n, start), np.zeros(n, np.bool_)
    return Events(instance, batch.ts_ms, code, begins_one, np.arange(n), tick, batch.ts_ms)


def _kind(rule: Rule) -> GroupKind:
    if rule.group is None:
        raise TypeError(f"{rule.id} speaks of no group")
    return rule.group


def _at_mark(progress: Progress, rows: int) -> Revealed:
    return Revealed(
        np.full(rows, progress.position),
        np.full(rows, -1, np.int32),
        np.full(rows, progress.heard_ms),
    )
