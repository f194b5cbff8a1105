"""The first stage: where a device's answer to the question of a group rule changes.

Rows come in event time behind the watermark of the device's gateway. A row that says nothing
(no value, bad, stale, or the answer isn't known) is no evidence. History (late or without a
trusted time) is no evidence either, but for safety rules: there, what is late and true counts
from when it is heard until the device's next reading; what is late and false changes nothing.
A row that time made shows no device to be alive, and one for want of readings makes no answer
false.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.predicates import PredicateBatch, Verdict
from rules.entries import FIRST
from rules.expr.evaluate import Bools, Floats, judge
from rules.expr.plan import Attribute, Truth, predicates_of, quantities_of
from rules.instances import AFTER_ALL_MS, NEVER_MS
from rules.members import LIVE, NOT_WATCHED, Members
from rules.memory import Memory
from rules.pieces import UNASKED, Pieces
from rules.ruleset import Rule, RuleSet
from rules.sheet import DOUBT, ENDS, LOSES, Index, Sheet, begins
from rules.watermarks import Watermarks

FALSE, TRUE, LOST = map(int, Verdict)
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Predicate:
    """One question of one machine row. name: the row's key and which of its questions."""

    rule: int
    plan: Truth
    family: int
    safety: bool
    missing_ms: int
    quantities: tuple[int, ...]
    name: str


def predicates(ruleset: RuleSet, members: Members) -> tuple[Predicate, ...]:
    """All of a rule set: row i of a `PredicateBatch` is question i."""
    found = []
    for number, rule in enumerate(ruleset.rules):
        if rule.mode == "group":
            for nth, plan in enumerate(questions(rule)):
                found.append(
                    Predicate(
                        rule=number,
                        plan=plan,
                        family=members.family_of(number),
                        safety=rule.card.safety,
                        missing_ms=rule.missing_ms,
                        quantities=quantities_of(plan),
                        name="/".join((*rule.key, str(nth))),
                    )
                )
    return tuple(found)


def questions(rule: Rule) -> tuple[Truth, ...]:
    """Those of `when`, then those that only `clear` has."""
    clear = () if rule.clear is None else predicates_of(rule.clear)
    return tuple(dict.fromkeys(predicates_of(rule.when) + clear))


@dataclass(slots=True)
class Answers:
    """By rank: verdict uint8 (0 = none yet), heard_ms int64 of the newest evidence, lost bool.

    judged: int16, in which of the quantity's `Pieces` the value lies that gave the verdict, or
    `UNASKED`. No part of snapshots.
    """

    verdict: NDArray[np.uint8]
    heard_ms: NDArray[np.int64]
    lost: Bools
    judged: NDArray[np.int16]

    @staticmethod
    def blank(room: int) -> Answers:
        return Answers(
            np.zeros(room, np.uint8),
            np.full(room, NEVER_MS),
            np.zeros(room, np.bool_),
            np.zeros(room, np.int16),
        )

    def make_room(self, room: int) -> None:
        known = len(self.verdict)
        if room > known:
            grown = Answers.blank(room)
            grown.verdict[:known] = self.verdict
            grown.heard_ms[:known] = self.heard_ms
            grown.lost[:known] = self.lost
            grown.judged[:known] = self.judged
            self.verdict, self.heard_ms = grown.verdict, grown.heard_ms
            self.lost, self.judged = grown.lost, grown.judged


@dataclass(frozen=True, slots=True)
class _Told:
    """Rows by device, in order inside each. verdict: uint8. real: whether the row shows that the
    device is heard: no tick of time, and nothing that is older than what was heard. turn: whether
    a schedule has begun or ended there. judged: int16, see `Answers`.
    """

    rank: NDArray[np.int32]
    verdict: NDArray[np.uint8]
    real: Bools
    turn: Bools
    judged: NDArray[np.int16]


class Predicates:
    """answers: by predicate. memories: by (family, safety), for questions over several
    quantities. Both are state.
    """

    def __init__(self, ruleset: RuleSet, members: Members, directory: DeviceDirectory) -> None:
        self.asked = predicates(ruleset, members)
        self._members = members
        self._directory = directory
        self.answers = [Answers.blank(members.room(one.family)) for one in self.asked]
        combined: dict[tuple[int, bool], set[int]] = {}
        for one in self.asked:
            if len(one.quantities) > 1:
                combined.setdefault((one.family, one.safety), set()).update(one.quantities)
        self.memories = {
            key: Memory(tuple(sorted(wanted)), members.room(key[0]), timed=True)
            for key, wanted in combined.items()
        }
        self._bound_ms = [NEVER_MS for _ in self.asked]
        self._heard_ms = 0
        self._pieces = [_pieces(one) for one in self.asked]

    def quantities(self) -> set[int]:
        return {quantity for one in self.asked for quantity in one.quantities}

    def single(self) -> set[tuple[int, int]]:
        """(family, quantity) of questions that rows may say nothing new to."""
        pairs = zip(self.asked, self._pieces, strict=True)
        return {(one.family, one.quantities[0]) for one, pieces in pairs if pieces is not None}

    def unresting(self) -> set[int]:
        """Quantities of which each row counts."""
        pairs = zip(self.asked, self._pieces, strict=True)
        return {q for one, pieces in pairs if pieces is None for q in one.quantities}

    def listeners(self, family: int, quantity: int) -> list[Question]:
        """What rows of one quantity of one family are asked."""
        return [
            Question(answers, pieces, one.missing_ms, self._members, one.rule)
            for one, answers, pieces in zip(self.asked, self.answers, self._pieces, strict=True)
            if pieces is not None and (one.family, one.quantities[0]) == (family, quantity)
        ]

    def grow(self) -> None:
        """Take in devices that `Members` has taken in."""
        for one, answers in zip(self.asked, self.answers, strict=True):
            answers.make_room(self._members.room(one.family))

    def next_ms(self) -> int | None:
        """No device is lost before this; None = never, or not before the next row."""
        bounds = [
            bound + one.missing_ms
            for one, bound in zip(self.asked, self._bound_ms, strict=True)
            if one.missing_ms and NEVER_MS < bound < AFTER_ALL_MS
        ]
        return min(bounds, default=None)

    def forget_bounds(self) -> None:
        """State was put in from outside."""
        self._bound_ms = [NEVER_MS for _ in self.asked]

    def on_time(self, sheet: Sheet | None, watermarks: Watermarks, heard_ms: int) -> PredicateBatch:
        """Rows in order of event time, then what falls silent up to the watermarks.

        heard_ms: when the mark was accepted that shows what is lost.
        """
        self._heard_ms = heard_ms
        if not self.asked:
            return PredicateBatch.empty()
        found = [] if sheet is None else self._read(sheet)
        for number, one in enumerate(self.asked):
            if one.missing_ms and self._bound_ms[number] + one.missing_ms <= watermarks.newest_ms:
                found.append(self._lose(number, one, watermarks))
        return PredicateBatch.join(found)

    def _read(self, sheet: Sheet) -> list[PredicateBatch]:
        recalled = {key: self._recall(key, memory, sheet) for key, memory in self.memories.items()}
        found = []
        for number, one in enumerate(self.asked):
            if len(one.quantities) == 1:
                rows = _evidence(sheet, one.family, one.quantities, safety=one.safety)
                values = {one.quantities[0]: sheet.batch.value[rows]}
            else:
                rows, known = recalled[one.family, one.safety]
                own = np.flatnonzero(np.isin(sheet.batch.quantity[rows], one.quantities))
                own, last = sheet.settled(rows, own)
                rows, values = rows[own], {q: known[q][last] for q in one.quantities}
            if len(rows):
                found.append(self._ask(number, one, sheet, rows, values))
        return found

    def _recall(
        self, key: tuple[int, bool], memory: Memory, sheet: Sheet
    ) -> tuple[Index, dict[int, Floats]]:
        family, safety = key
        rows = _evidence(sheet, family, memory.quantities, safety=safety)
        rank = self._members.rank[sheet.batch.device[rows]]
        if not len(rows):
            return rows, {quantity: np.empty(0) for quantity in memory.quantities}
        return rows, memory.recall(sheet, rows, rank, self._members.room(family))

    def _ask(
        self, number: int, one: Predicate, sheet: Sheet, rows: Index, values: dict[int, Floats]
    ) -> PredicateBatch:
        members, answers = self._members, self.answers[number]
        batch = sheet.batch
        rank = members.rank[batch.device[rows]]
        true, false = judge(one.plan, _Columns(members, one.rule, rank, values))
        counts = (true | false) & (members.slots(LIVE, one.rule)[rank] != NOT_WATCHED)
        if sheet.unsure is not None:
            # Only safety questions are asked of bad rows, and there only alarms count.
            counts &= true | ~sheet.unsure[rows]
        old = batch.ts_ms[rows] < answers.heard_ms[rank]
        counts &= ~old | (true & one.safety)
        real, turn = ~old, np.zeros(len(rows), np.bool_)
        if sheet.beside is not None:
            tick = sheet.beside.tick[rows]
            real &= tick == 0
            turn = tick == ENDS
            counts &= true | (tick != LOSES)
        at = np.flatnonzero(counts)
        at = at[np.argsort(rank[at], kind="stable")]
        verdict = np.where(true[at], TRUE, FALSE).astype(np.uint8)
        judged = np.zeros(len(at), np.int16)
        pieces = self._pieces[number]
        if pieces is not None:
            value = values[one.quantities[0]][at]
            judged = pieces.of_values(value) * (real[at] & ((batch.flags[rows[at]] & DOUBT) == 0))
        told = _Told(rank[at], verdict, real[at], turn[at], judged)
        return self._changes(number, one, batch, rows[at], told)

    def _changes(
        self, number: int, one: Predicate, batch: TaggedBatch, rows: Index, told: _Told
    ) -> PredicateBatch:
        """Rows by device, in order inside each: those that change its answer, with its losses."""
        if not len(rows):
            return PredicateBatch.empty()
        answers, ts = self.answers[number], batch.ts_ms[rows]
        before, heard, lost = _before(answers, told, ts)
        gone = np.zeros(len(ts), np.bool_)
        if one.missing_ms:
            gone = (heard > NEVER_MS) & (ts - heard >= one.missing_ms)
        same = told.rank[1:] == told.rank[:-1]
        # That a schedule begins says nothing of a device that is lost: it may be so, or not.
        maybe = told.turn & (lost | gone) & (told.verdict == TRUE)
        loses = gone & ~lost
        loses[1:] &= ~(same & gone[:-1] & (heard[1:] == heard[:-1]))
        changed = np.flatnonzero((told.verdict != before) | lost | gone)
        last = np.flatnonzero(np.append(~same, True))
        self._remember(number, told, last, ts, heard, (lost | gone)[last])
        picked = rows[changed]
        made = PredicateBatch(
            np.full(len(changed), number, np.int16),
            batch.device[picked],
            batch.ts_ms[picked],
            np.where(maybe, LOST, told.verdict)[changed].astype(np.uint8),
            batch.flags[picked],
            batch.heard_ms[picked],
            batch.position[picked],
            batch.row[picked],
        )
        silent = np.flatnonzero(loses)
        at_ms = heard[silent] + one.missing_ms
        losses = self._losses(number, batch.device[rows[silent]], at_ms)
        return PredicateBatch.join([losses, made])

    def _remember(
        self, number: int, told: _Told, last: Index, ts: Times, heard: Times, lost: Bools
    ) -> None:
        """last: the last row of each device; lost: whether it was so before that row."""
        answers, rank, real = self.answers[number], told.rank[last], told.real[last]
        answers.verdict[rank] = told.verdict[last]
        answers.heard_ms[rank] = np.where(real, ts[last], heard[last])
        answers.lost[rank] = lost & ~real
        answers.judged[rank] = told.judged[last]
        newest = int(answers.heard_ms[rank].min(initial=AFTER_ALL_MS))
        self._bound_ms[number] = min(self._bound_ms[number], newest)

    def _lose(self, number: int, one: Predicate, watermarks: Watermarks) -> PredicateBatch:
        answers = self.answers[number]
        devices = self._members.rows(one.family)
        n = len(devices)
        waiting = (answers.heard_ms[:n] > NEVER_MS) & ~answers.lost[:n]
        at = answers.heard_ms[:n] + one.missing_ms
        due = waiting & (at <= watermarks.of(devices))
        answers.lost[:n] |= due
        answers.judged[:n][due] = UNASKED
        rest = answers.heard_ms[:n][waiting & ~due]
        self._bound_ms[number] = int(rest.min(initial=AFTER_ALL_MS))
        return self._losses(number, devices[due], at[due])

    def _losses(
        self, number: int, device: NDArray[np.int32], ts_ms: NDArray[np.int64]
    ) -> PredicateBatch:
        n = len(device)
        return PredicateBatch(
            np.full(n, number, np.int16),
            device,
            ts_ms,
            np.full(n, LOST, np.uint8),
            np.zeros(n, np.uint16),
            np.full(n, self._heard_ms),
            np.full(n, -1),
            np.full(n, -1, np.int32),
        )


@dataclass(frozen=True, slots=True)
class Question:
    """One question as rows of its quantity meet it that may say nothing new."""

    answers: Answers
    pieces: Pieces
    missing_ms: int
    members: Members
    rule: int

    def says_nothing(self, value: Floats, ts_ms: Times, rank: NDArray[np.int32]) -> Bools:
        """See `rules.rest.Listener`."""
        gap_ms = ts_ms - self.answers.heard_ms.take(rank)
        same: Bools = self.answers.judged.take(rank) == self.pieces.of_values(value)
        same &= gap_ms >= 0
        if self.missing_ms:
            same &= gap_ms < self.missing_ms
        return same | self._strange(rank)

    def take(self, value: Floats, ts_ms: Times, rank: NDArray[np.int32]) -> None:
        """See `rules.rest.Listener`."""
        del value
        strange = self._strange(rank)
        if strange.any():
            rank, ts_ms = rank[~strange], ts_ms[~strange]
        # In order of event time: of a device the last one stays.
        self.answers.heard_ms[rank] = ts_ms

    def _strange(self, rank: NDArray[np.int32]) -> Bools:
        """Rows of devices that aren't asked."""
        strange: Bools = self.members.slots(LIVE, self.rule).take(rank) == NOT_WATCHED
        return strange


def _pieces(one: Predicate) -> Pieces | None:
    """None: each of its rows counts."""
    if len(one.quantities) != 1 or one.quantities[0] >= FIRST:
        return None
    pieces = Pieces.of((one.plan,), one.quantities[0])
    return None if pieces.exact else pieces


def _before(answers: Answers, told: _Told, ts: Times) -> tuple[NDArray[np.uint8], Times, Bools]:
    """Per row: the answer, when the device was heard, and whether it was lost, before it."""
    rank = told.rank
    same = rank[1:] == rank[:-1]
    verdict, heard, lost = answers.verdict[rank], answers.heard_ms[rank], answers.lost[rank]
    verdict[1:][same] = told.verdict[:-1][same]
    first = np.flatnonzero(begins(rank))[np.cumsum(begins(rank)) - 1]
    newest = np.maximum.accumulate(np.where(told.real, np.arange(len(ts)), -1))
    newest = np.append(-1, newest[:-1])
    inside = newest >= first
    heard[inside] = ts[newest[inside]]
    lost &= ~inside
    return verdict, heard, lost


def _evidence(sheet: Sheet, family: int, quantities: tuple[int, ...], *, safety: bool) -> Index:
    """Rows of a family that a question may look at, ascending."""
    rows = sheet.rows_of(family, quantities)
    usable = sheet.usable(rows, safety=safety)
    if usable is not None and sheet.beside is not None and len(quantities) > 1:
        # What can't be derived any more must be forgotten.
        usable |= sheet.batch.quantity[rows] >= FIRST
    rows = rows if usable is None else rows[usable]
    if safety or sheet.past is None:
        return rows
    fresh: Index = rows[~sheet.past[rows]]
    return fresh


class _Columns:
    """Rows as a question sees them."""

    def __init__(
        self, members: Members, rule: int, rank: NDArray[np.int32], values: dict[int, Floats]
    ) -> None:
        self._members = members
        self._rule = rule
        self._rank = rank
        self._values = values

    def reading(self, quantity: int) -> Floats:
        return self._values[quantity]

    def attribute(self, plan: Attribute) -> NDArray[Any]:
        return self._members.answers(self._rule)[plan][self._rank]

    def silent(self, for_ms: int) -> Bools:
        raise KeyError(for_ms)
