"""Rules with `during`, `sequence` and `debounce` from docs/rules.md, reading by reading.

Beside `Naive`, whose state machine it uses: here is only what those keys make of a reading.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import attrgetter

from contracts.batch import Flag
from contracts.quantities import QUANTITIES, Kind
from contracts.transitions import Episode
from rules.expr import plan as p
from rules.expr.composed import Debounced, During, Sequence
from rules.ruleset import Rule
from rules.schedule import Schedule
from tests.rules.naive import NAN, PAST, Known, Naive, Row, Told, Truth, truth

START = 1_780_000_000_000 - 86_400_000
DAYS = 14
MINUTE = 60_000
Shown = tuple[int, int, int]


def inside(schedule: Schedule, ts: int) -> bool:
    """By the wall clock of Shanghai; for schedules of hours only."""
    clock = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ts, hours=8)
    minute = clock.hour * 60 + clock.minute
    return any(
        hours.start <= at < hours.end
        for part in schedule.parts
        for hours in part.hours
        for at in (minute, minute + 24 * 60)
    )


@cache
def turns(schedule: Schedule) -> tuple[int, ...]:
    """Every full minute at which it begins or ends, for the days that tests play in."""
    minutes = range(START - START % MINUTE, START + DAYS * 86_400_000, MINUTE)
    return tuple(at for at in minutes if inside(schedule, at) != inside(schedule, at - 1))


@dataclass
class Made:
    """What one rule keeps of one stream of one device. last: of n of m."""

    readings: list[bool] = field(default_factory=list)
    last: Known = field(default_factory=Known)
    reached: list[int | None] = field(default_factory=list)


@dataclass
class Question:
    """A rule's condition taken apart. plain: the rest of it."""

    plain: list[p.Truth] = field(default_factory=list)
    schedule: Schedule | None = None
    debounced: Debounced | None = None
    sequence: Sequence | None = None

    @staticmethod
    def of(rule: Rule) -> Question:
        made = Question()
        for part in rule.when.parts if isinstance(rule.when, p.Both) else (rule.when,):
            derived = [one.derived for one in p.readings_of(part)]
            if len(derived) == 1 and isinstance(derived[0], During):
                made.schedule = derived[0].schedule
            elif len(derived) == 1 and isinstance(derived[0], Debounced):
                made.debounced = derived[0]
            elif len(derived) == 1 and isinstance(derived[0], Sequence):
                made.sequence = derived[0]
            else:
                made.plain.append(part)
        return made

    @property
    def composed(self) -> bool:
        return bool(self.schedule or self.debounced or self.sequence)


@dataclass
class NaiveComposed(Naive):
    made: dict[tuple[int, str, int], Made] = field(default_factory=dict)
    newest: dict[tuple[int, str, int, int], Known] = field(default_factory=dict)
    seen: dict[tuple[int, int], int] = field(default_factory=dict)
    ends: set[tuple[int, int, int]] = field(default_factory=set)
    reached: dict[int, int] = field(default_factory=dict)

    def _of(self, mode: str) -> list[tuple[int, Rule]]:
        """Composed rules are no business of the base."""
        return [pair for pair in super()._of(mode) if not Question.of(pair[1]).composed]

    def on_time(
        self, rows: list[Row], watermarks: list[int], position: int, heard: int
    ) -> list[Told]:
        self.out = []
        shown = (heard, position, -1)
        for number, rule in enumerate(self.ruleset.rules):
            question = Question.of(rule)
            if question.composed:
                self._mark(number, rule, question, rows, watermarks, shown)
        for known in [*self.newest.values(), *(one.last for one in self.made.values())]:
            if known.now is not None and (known.kept is None or known.now[0] >= known.kept[0]):
                known.kept = known.now
            known.now = None
        self.reached = dict(enumerate(watermarks))
        mine = self.levels.told(self.out)
        order = attrgetter("at", "rule", "device", "lane")
        return sorted([*mine, *super().on_time(rows, watermarks, position, heard)], key=order)

    def _mark(
        self,
        number: int,
        rule: Rule,
        question: Question,
        rows: list[Row],
        watermarks: list[int],
        shown: Shown,
    ) -> None:
        about = set(p.bases_of(rule.when))
        about |= set() if rule.clear is None else set(p.bases_of(rule.clear))
        # A group of families shares what it is told; here, all devices are asked alike.
        mine = [
            row
            for row in rows
            if row.quantity in about and self.families[row.device] == rule.card.family
        ]
        ticks = list(self._ticks(number, rule, question, mine, watermarks))
        for row in [*mine, None]:
            while ticks and (row is None or ticks[0][0] <= row.ts):
                at, device, late = ticks.pop(0)
                self._turn(number, rule, question, at, device, late, shown)
            if row is not None:
                self._reading(number, rule, question, row, shown)

    # Schedules

    def _ticks(
        self,
        number: int,
        rule: Rule,
        question: Question,
        rows: list[Row],
        watermarks: list[int],
    ) -> Iterator[tuple[int, int, bool]]:
        """(ts, device, late) of this mark, in order."""
        if question.schedule is None:
            return
        schedule, usable = question.schedule, [row for row in rows if sure(row)]
        live: set[tuple[int, int]] = set()
        for device, gateway in enumerate(self.gateways):
            first = min((r.ts for r in usable if r.device == device and not past(r)), default=None)
            since = self.reached.get(gateway, -1) if (number, device) in self.seen else first
            if since is not None and self.families[device] == rule.card.family:
                told = [at for at in turns(schedule) if since < at <= watermarks[gateway]]
                live |= {(at, device) for at in told}
        for row in usable:
            if past(row) and inside(schedule, row.ts):
                later = [at for at in turns(schedule) if at > row.ts]
                self.ends |= {(number, row.device, end) for end in later[:1]}
        late = set()
        for owner, device, end in sorted(self.ends):
            moments = [r.ts for r in usable if r.device == device]
            moments += [at for at, told in live if told == device]
            if owner == number and max(moments, default=-1) >= end:
                self.ends.remove((owner, device, end))
                late.add((end, device))
        ordered = [(at, device, False) for at, device in live]
        ordered += [(at, device, True) for at, device in late - live]
        yield from sorted(ordered)

    def _turn(
        self,
        number: int,
        rule: Rule,
        question: Question,
        at: int,
        device: int,
        late: bool,
        shown: Shown,
    ) -> None:
        if not self._watches(rule, device):
            return
        row = Row(device, -1, at, NAN, 0, *shown)
        stream = "late" if late else "live"
        when, clear = self._answers(number, rule, question, stream, row, complete=False)
        reading = (NAN, -1, at, 0, shown[0])
        seen = at if late else self.seen[number, device]
        lanes = [Episode.LATE] if late else [Episode.LIVE, Episode.LATE]
        for lane in lanes:
            start = lane is Episode.LIVE or late
            self._event(
                number, lane, device, at, when, clear, reading, shown, start=start, seen=seen
            )

    # Readings

    def _reading(self, number: int, rule: Rule, question: Question, row: Row, shown: Shown) -> None:
        safety = rule.card.safety
        if math.isnan(row.value) or not (sure(row) or (safety and alarming(row))):
            return
        late = past(row) and not safety
        stream = "all" if safety else "late" if late else "live"
        if sure(row):
            learn(self._newest(number, stream, row.device, row.quantity), row.ts, row.value)
            if not late:
                key = (number, row.device)
                self.seen[key] = max(self.seen.get(key, row.ts), row.ts)
        said = question.schedule is not None or row.quantity in clear_quantities(rule)
        complete = False
        if question.sequence is not None and row.quantity in p.bases_of(rule.when):
            complete = self._follow(number, question.sequence, stream, row)
            said = True
        if question.debounced is not None and row.quantity in p.bases_of(rule.when):
            said |= self._count(number, question.debounced, stream, row)
        if not said or not self._watches(rule, row.device):
            return
        when, clear = self._answers(number, rule, question, stream, row, complete=complete)
        if not sure(row) and when is not True:
            return
        reading = (row.value, row.quantity, row.ts, row.flags, row.heard)
        if not late:
            self._event(number, Episode.LIVE, row.device, row.ts, when, clear, reading, shown)
        if not safety:
            self._event(
                number, Episode.LATE, row.device, row.ts, when, clear, reading, shown, start=late
            )

    def _follow(self, number: int, sequence: Sequence, stream: str, row: Row) -> bool:
        made = self.made.setdefault((number, stream, row.device), Made())
        made.reached = made.reached or [None] * len(sequence.within_ms)
        holds = [
            row.quantity in p.bases_of(step) and self._ask(number, step, stream, row) is True
            for step in sequence.steps
        ]
        before = list(made.reached)
        for step, at in enumerate(before):
            follows = holds[step + 1] and at is not None and row.ts - at >= 0
            if at is None or not follows or row.ts - at > sequence.within_ms[step]:
                continue
            if step + 1 == len(before):
                made.reached = [None] * len(before)
                return True
            made.reached[step + 1] = max(row.ts, before[step + 1] or row.ts)
        if holds[0]:
            made.reached[0] = max(row.ts, before[0] or row.ts)
        return False

    def _count(self, number: int, debounced: Debounced, stream: str, row: Row) -> bool:
        found = self._ask(number, debounced.condition, stream, row)
        if found is None:
            return False
        made = self.made.setdefault((number, stream, row.device), Made())
        made.readings.append(found)
        fits = sum(made.readings[-debounced.of :]) >= debounced.least
        learn(made.last, row.ts, float(fits))
        return True

    def _answers(
        self,
        number: int,
        rule: Rule,
        question: Question,
        stream: str,
        row: Row,
        *,
        complete: bool,
    ) -> tuple[Truth, Truth]:
        parts: list[Truth] = [self._ask(number, part, stream, row) for part in question.plain]
        if question.schedule is not None:
            parts.append(inside(question.schedule, row.ts))
        if question.sequence is not None:
            parts.append(complete)
        if question.debounced is not None:
            made = self.made.get((number, stream, row.device), Made())
            last = recalled(made.last, row.ts)
            parts.append(None if last is None else last == 1)
        when: Truth = False if False in parts else None if None in parts else True
        clear = None if when is None else not when
        if rule.clear is not None:
            clear = self._ask(number, rule.clear, stream, row)
        return when, (False if when is True else clear)

    def _ask(self, number: int, plan: p.Truth, stream: str, row: Row) -> Truth:
        values = {}
        for quantity in p.bases_of(plan):
            known = self._newest(number, stream, row.device, quantity)
            own = quantity == row.quantity
            values[quantity] = row.value if own else recalled(known, row.ts)
        return truth(plan, values, self.attributes[row.device], False)

    def _newest(self, number: int, stream: str, device: int, quantity: int) -> Known:
        return self.newest.setdefault((number, stream, device, quantity), Known())


def past(row: Row) -> bool:
    return bool(row.flags & PAST)


def sure(row: Row) -> bool:
    return not math.isnan(row.value) and not row.flags & (Flag.BAD | Flag.STALE)


def alarming(row: Row) -> bool:
    kind = QUANTITIES[row.quantity].kind
    return bool(row.flags & Flag.ALARM) or kind in (Kind.SIGNAL, Kind.CODE)


def clear_quantities(rule: Rule) -> set[int]:
    return set() if rule.clear is None else set(p.bases_of(rule.clear))


def learn(known: Known, ts: int, value: float) -> None:
    if known.now is None or ts >= known.now[0]:
        known.now = (ts, value)


def recalled(known: Known, ts: int) -> float | None:
    """The newest that was so by then; of one moment, what was learned last."""
    usable = [k for k in (known.now, known.kept) if k is not None and k[0] <= ts]
    return max(usable, key=lambda k: k[0])[1] if usable else None
