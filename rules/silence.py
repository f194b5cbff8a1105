"""`absent(24h)`: when was a device last heard, and for whom has that been too long ago.

Every row of a device counts, bad ones and late ones too: a device that speaks isn't absent. A
device that never spoke counts as silent from the first time mark at which its gateway's time
was known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts.directory import DeviceDirectory
from contracts.quantities import FAMILIES, QUANTITIES
from rules.expr.evaluate import Bools, judge
from rules.expr.plan import Attribute
from rules.hot import Codes, Hot
from rules.instances import AFTER_ALL_MS, NEVER_MS
from rules.members import LIVE, NOT_WATCHED, Members
from rules.positions import true_at
from rules.ruleset import Rule, RuleSet
from rules.sheet import Index, Sheet
from rules.verdict import BREACH, encode
from rules.watermarks import Watermarks

_T = TypeVar("_T", bound=np.generic)
_ENDLESS = 2**63 - 1
"""The patience with families that no rule waits for."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """Readings, and before each how long its device was silent, and may be before a rule asks."""

    device: Index
    ts_ms: NDArray[np.int64]
    gap_ms: NDArray[np.int64]
    patience_ms: NDArray[np.int64]

    @property
    def stirred(self) -> Bools:
        """Whether that was too long."""
        found: Bools = self.gap_ms >= self.patience_ms
        return found


class Silence:
    """heard_ms: int64 per directory row, `NEVER_MS` = never. told[rule]: bool by rank, whether
    the present silence has been noticed.
    """

    def __init__(self, ruleset: RuleSet, members: Members, directory: DeviceDirectory) -> None:
        self._directory = directory
        self._members = members
        self.rules = {i: rule for i, rule in enumerate(ruleset.rules) if rule.mode == "silence"}
        self._silence_ms = {number: rule.silence_ms for number, rule in self.rules.items()}
        self._families = sorted({members.family_of(number) for number in self.rules})
        self.heard_ms = np.empty(0, np.int64)
        self.told = {number: np.empty(0, np.bool_) for number in self.rules}
        self._spoken: dict[int, Codes] = {}
        self._silent: dict[int, Codes] = {}
        self._bound_ms = dict.fromkeys(self.rules, NEVER_MS)
        self._unheard = np.empty(0, np.intp)
        self._some_told = dict.fromkeys(self.rules, False)
        self._patience_ms = np.full(len(FAMILIES), _ENDLESS)
        self.grow()

    def grow(self) -> None:
        """Take in devices that `Members` has taken in."""
        if not self.rules:
            return
        self.heard_ms = _extended(self.heard_ms, len(self._members.rank), NEVER_MS)
        for number, rule in self.rules.items():
            room = self._members.room(self._members.family_of(number))
            self.told[number] = _extended(self.told[number], room, False)
            answers = self._members.answers(number)
            self._spoken[number] = _constant(rule, answers, room, silent=False)
            self._silent[number] = _constant(rule, answers, room, silent=True)
            self._bound_ms[number] = NEVER_MS
            self._some_told[number] = bool(self.told[number].any())
            family = self._members.family_of(number)
            # Where speaking itself may breach, each row is looked at.
            speaks = bool((self._spoken[number] & BREACH).any())
            least = NEVER_MS if speaks else self._silence_ms[number]
            self._patience_ms[family] = min(int(self._patience_ms[family]), least)
        rows = [self._members.rows(family) for family in self._families]
        watched = np.concatenate(rows).astype(np.intp)
        self._unheard = watched[self.heard_ms[watched] == NEVER_MS]

    def wanted(self) -> Bools:
        """Which quantities tell that a device is alive."""
        names = {rule.card.family for rule in self.rules.values()}
        return np.array([bool(names) and _said_by(q.families, names) for q in QUANTITIES])

    def next_ms(self) -> int | None:
        """No silence falls due before this; None = never, or not before the next row or mark."""
        bounds = [
            bound + self._silence_ms[number]
            for number, bound in self._bound_ms.items()
            if NEVER_MS < bound < AFTER_ALL_MS
        ]
        return min(bounds, default=None)

    def hear(self, sheet: Sheet, hot: Hot, active: NDArray[np.int32]) -> None:
        """Rows in order of event time: silences that they end, and what ends with them.

        active: int32 per directory row, how many instances of the device are active. Only devices
        that have one, or have been silent for long, are looked at rule by rule.
        """
        if not self.rules:
            return
        batch = sheet.batch
        rows = true_at(batch.quantity < len(QUANTITIES))
        device, ts_ms = batch.device[rows], batch.ts_ms[rows]
        patience = self._patience_ms[self._directory.family[device]]
        watched = patience < _ENDLESS
        heard = self.heard_ms[device]
        stirred = ts_ms - heard >= patience
        stirred |= active[device] > 0
        if len(rows) and int(ts_ms[-1]) - int(ts_ms[0]) >= int(self._patience_ms.min()):
            stirred[:] = True
        stirred &= watched
        if stirred.any():
            marked = np.zeros(len(self.heard_ms), np.bool_)
            marked[device[stirred]] = True
            at = true_at(marked[device])
            self._hear_rows(rows[at], device[at], ts_ms[at], hot)
        moved = true_at(watched & (ts_ms > heard))
        self._advance(device[moved], ts_ms[moved])

    def look(self, device: Index, ts_ms: NDArray[np.int64]) -> Gaps:
        """How long each reading's device was silent before this batch."""
        gap_ms = ts_ms - self.heard_ms.take(device)
        patience_ms = self._patience_ms.take(self._directory.family.take(device))
        return Gaps(device, ts_ms, gap_ms, patience_ms)

    def hear_resting(self, gaps: Gaps, rests: Bools) -> None:
        """Readings of devices that rest, in order of event time: no silence ends with them."""
        moved = rests & (gaps.gap_ms > 0) & (gaps.patience_ms < _ENDLESS)
        if moved.all():
            self.heard_ms[gaps.device] = gaps.ts_ms
        else:
            at = true_at(moved)
            self.heard_ms[gaps.device[at]] = gaps.ts_ms[at]

    def _hear_rows(
        self, rows: Index, device: NDArray[np.int32], ts_ms: NDArray[np.int64], hot: Hot
    ) -> None:
        of_family = self._directory.family[device]
        for number in self.rules:
            mine = true_at(of_family == self._members.family_of(number))
            if len(mine):
                self._hear_rule(number, rows[mine], device[mine], ts_ms[mine], hot)

    def _hear_rule(
        self,
        number: int,
        rows: Index,
        device: NDArray[np.int32],
        ts_ms: NDArray[np.int64],
        hot: Hot,
    ) -> None:
        members = self._members
        rank = members.rank[device]
        slots = members.slots(LIVE, number)
        before = self.heard_ms[device]
        hit = (before > NEVER_MS) & (ts_ms - before >= self._silence_ms[number])
        hit |= (self._spoken[number][rank] & BREACH) != 0
        if len(rows) > 1 and int(ts_ms[-1]) - int(ts_ms[0]) >= self._silence_ms[number]:
            hit[:] = True
        hit &= slots[rank] != NOT_WATCHED
        picked = slots[rank] >= 0
        if hit.any():
            mark = np.zeros(len(slots), np.bool_)
            mark[rank[hit]] = True
            picked |= mark[rank]
        at = true_at(picked)
        if len(at):
            at = at[np.argsort(rank[at], kind="stable")]
            self._push(number, rows[at], device[at], ts_ms[at], hot)

    def _push(
        self,
        number: int,
        rows: Index,
        device: NDArray[np.int32],
        ts_ms: NDArray[np.int64],
        hot: Hot,
    ) -> None:
        """Rows sorted by device: each with the silence that it ends before it."""
        rank, for_ms = self._members.rank[device], self._silence_ms[number]
        heard = self.heard_ms[device]
        before = heard.copy()
        same = device[1:] == device[:-1]
        before[1:][same] = np.maximum(heard[1:], ts_ms[:-1])[same]
        ends = (before > NEVER_MS) & (before + for_ms <= ts_ms)
        ends &= ~(self.told[number][rank] & (before == heard))
        silent = true_at(ends)
        place = np.concatenate([silent * 2, np.arange(len(rows)) * 2 + 1])
        order = np.argsort(place)
        hot.add(
            rule=number,
            lane=LIVE,
            device=np.concatenate([device[silent], device])[order],
            ts_ms=np.concatenate([before[silent] + for_ms, ts_ms])[order],
            code=np.concatenate([self._silent[number][rank[silent]], self._spoken[number][rank]])[
                order
            ],
            start=np.ones(len(place), np.bool_),
            reading=np.concatenate([np.full(len(silent), -1), rows])[order],
        )

    def _advance(self, device: NDArray[np.int32], ts_ms: NDArray[np.int64]) -> None:
        """Rows ascend in time, so the last assignment of a device is its newest row."""
        if not len(device):
            return
        self.heard_ms[device] = ts_ms
        newest = self.heard_ms[device]
        soonest = int(newest.min())
        for number in self.rules:
            if not self._some_told[number] and soonest >= self._bound_ms[number]:
                continue
            mine = self._directory.family[device] == self._members.family_of(number)
            self.told[number][self._members.rank[device[mine]]] = False
            self._lower(number, newest[mine])

    def _lower(self, number: int, heard_ms: NDArray[np.int64]) -> None:
        newest = int(heard_ms.min(initial=AFTER_ALL_MS))
        self._bound_ms[number] = min(self._bound_ms[number], newest)

    def expire(self, watermarks: Watermarks, hot: Hot) -> None:
        """Silences that are too long at the watermark of the device's gateway."""
        self._begin(watermarks)
        for number, silence_ms in self._silence_ms.items():
            if self._bound_ms[number] + silence_ms <= watermarks.newest_ms:
                self._expire_rule(number, silence_ms, watermarks, hot)

    def _begin(self, watermarks: Watermarks) -> None:
        """Count devices that never spoke from the first time that their gateway has."""
        if not len(self._unheard):
            return
        waiting = self._unheard[self.heard_ms[self._unheard] == NEVER_MS]
        at_ms = watermarks.of(waiting)
        known = at_ms > 0
        self.heard_ms[waiting[known]] = at_ms[known]
        for number in self.rules:
            self._lower(number, at_ms[known])
        self._unheard = waiting[~known]

    def _expire_rule(self, number: int, for_ms: int, watermarks: Watermarks, hot: Hot) -> None:
        members = self._members
        rows = members.rows(members.family_of(number))
        slots = members.slots(LIVE, number)[: len(rows)]
        heard = self.heard_ms[rows]
        waiting = (slots != NOT_WATCHED) & ~self.told[number][: len(rows)] & (heard > NEVER_MS)
        due = waiting & (heard + for_ms <= watermarks.of(rows))
        rank = true_at(due)
        self.told[number][rank] = True
        self._some_told[number] |= bool(len(rank))
        hot.add(
            rule=number,
            lane=LIVE,
            device=rows[rank],
            ts_ms=heard[rank] + for_ms,
            code=self._silent[number][rank],
            start=np.ones(len(rank), np.bool_),
            reading=np.full(len(rank), -1),
        )
        self._bound_ms[number] = int(heard[waiting & ~due].min(initial=AFTER_ALL_MS))


class _Constant:
    """Columns of a rule without readings: attributes by rank, and silence or not."""

    def __init__(self, answers: dict[Attribute, NDArray[Any]], room: int, *, silent: bool) -> None:
        self._answers = answers
        self._silent = np.full(room, silent)

    def reading(self, quantity: int) -> NDArray[np.float64]:
        raise KeyError(quantity)

    def attribute(self, plan: Attribute) -> NDArray[Any]:
        return self._answers[plan]

    def silent(self, for_ms: int) -> Bools:
        del for_ms  # A rule has one.
        return self._silent


def _constant(
    rule: Rule, answers: dict[Attribute, NDArray[Any]], room: int, *, silent: bool
) -> Codes:
    true, false = judge(rule.when, _Constant(answers, room, silent=silent))
    return encode(true, false, false, true)


def _said_by(families: tuple[str, ...], names: set[str]) -> bool:
    return not families or not names.isdisjoint(families)


def _extended(column: NDArray[_T], size: int, fill: object) -> NDArray[_T]:
    if size <= len(column):
        return column
    grown = np.full(size, fill, column.dtype)
    grown[: len(column)] = column
    return grown
