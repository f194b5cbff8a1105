"""The rules' meaning, reading by reading, in the plainest Python: what the engine must equal.

Slow on purpose and written from docs/rules.md, not from the engine: no arrays, no batches, no
skipping. It shares the compiled rules and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

from contracts.batch import Flag
from contracts.quantities import QUANTITIES, Kind
from contracts.transitions import Change, Episode
from rules.expr import plan as p
from rules.expr.attributes import amount
from rules.expr.limits import limits_of
from rules.ruleset import Rule, RuleSet
from tests.rules.naive_levels import NaiveLevels
from tests.rules.naive_windows import Tick, Windows

PAST = Flag.LATE | Flag.HISTORICAL | Flag.CLOCK_UNKNOWN
Truth = bool | None
NAN = math.nan


@dataclass(frozen=True)
class Row:
    device: int
    quantity: int
    ts: int
    value: float
    flags: int
    heard: int
    position: int
    row: int


@dataclass(frozen=True)
class Told:
    """One transition; NaN is written as None, so that equality means equality."""

    rule: int
    device: int
    change: int
    lane: int
    at: int
    onset: int
    value: float | None
    threshold: float | None
    quantity: int
    decided: int
    flags: int
    heard: int
    position: int
    row: int
    severity: int = 0
    level: int = -1
    waited: int = 0
    flapping: int = 0


@dataclass
class Instance:
    phase: str = "inactive"
    since: int = 0
    onset: int = 0
    clock: int = 0
    seen: int = 0
    unknown: bool = False
    widened: bool = False
    breach: int = 0
    reading: tuple[float, int, int, int, int] = (NAN, -1, 0, 0, 0)


@dataclass
class Known:
    """Newest value by event time of one quantity: of earlier marks, and of this mark's rows."""

    kept: tuple[int, float] | None = None
    now: tuple[int, float] | None = None


@dataclass
class Naive:
    """families, gateways: per device. attributes: per device, None = a stranger."""

    ruleset: RuleSet
    families: list[str]
    gateways: list[int]
    attributes: list[dict[str, str] | None]
    instances: dict[tuple[int, int, int], Instance] = field(default_factory=dict)
    known: dict[tuple[int, str, int], Known] = field(default_factory=dict)
    heard: dict[int, int] = field(default_factory=dict)
    told_silent: set[tuple[int, int]] = field(default_factory=set)
    out: list[Told] = field(default_factory=list)
    raises: dict[tuple[int, int, int], list[int]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    windows: Windows = field(init=False)
    levels: NaiveLevels = field(init=False)

    def __post_init__(self) -> None:
        self.windows = Windows(self.ruleset.derived, self.families, self.gateways)
        self.levels = NaiveLevels(self.ruleset, self._level_limit)

    def on_rows(self, rows: list[Row]) -> list[Told]:
        self.out = []
        for row in rows:
            for number, rule in self._of("instant"):
                if self._watches(rule, row.device) and row.quantity in rule.quantities:
                    self._row(number, rule, row, (row.heard, row.position, row.row))
        for told in self.out:
            name = self.ruleset.rules[told.rule].id
            for number, rule in self._of("silence"):
                if rule.id == name:
                    self.instances.pop((number, told.lane, told.device), None)
        order = attrgetter("position", "row", "at", "rule", "device", "lane")
        return sorted(self.levels.told(sorted(self.out, key=order)), key=order)

    def on_time(
        self, rows: list[Row], watermarks: list[int], position: int, heard: int
    ) -> list[Told]:
        self.out = []
        at_mark = (heard, position, -1)
        plain = [(r.device, r.quantity, r.ts, r.value, r.flags) for r in rows]
        ticks = self.windows.ticks(plain, watermarks)
        for row in [*rows, None]:
            while ticks and (row is None or ticks[0][0] <= row.ts):
                ts, device, _ = ticks[0]
                asked = {index for at, owner, index in ticks if (at, owner) == (ts, device)}
                ticks = ticks[len(asked) :]
                tick = self.windows.tick(ts, device, asked, plain)
                if tick is not None:
                    self._tick(tick, at_mark)
            if row is not None:
                made = self.windows.read(row.device, row.quantity, row.ts, row.value, row.flags)
                for number, rule in self._of("timed"):
                    if self._watches(rule, row.device):
                        self._row(number, rule, row, at_mark, made)
                self._speaks(row, at_mark)
        self._forget_mark()
        self.windows.mark(watermarks, {(row.device, row.quantity) for row in rows})
        self._silences(watermarks, at_mark)
        for (number, lane, device), instance in list(self.instances.items()):
            limit = instance.clock if lane == Episode.LATE else watermarks[self.gateways[device]]
            self._expire(number, lane, device, instance, limit, at_mark)
        order = attrgetter("at", "rule", "device", "lane")
        return sorted(self.levels.told(sorted(self.out, key=order)), key=order)

    def reset(self, rule: int, device: int) -> None:
        card = self.ruleset.cards[rule]
        for lane in Episode:
            for number, row in enumerate(self.ruleset.rules):
                if row.id == card.id:
                    self.instances.pop((number, lane, device), None)
            self.levels.alerts.pop((card.id, lane, device), None)

    # Who is asked, and what is known

    def _of(self, mode: str) -> list[tuple[int, Rule]]:
        return [(i, rule) for i, rule in enumerate(self.ruleset.rules) if rule.mode == mode]

    def _watches(self, rule: Rule, device: int) -> bool:
        if self.families[device] != rule.card.family:
            return False
        attributes = self.attributes[device]
        if attributes is None:
            return rule.card.safety or not rule.selectors
        return all(attributes.get(name) in values for name, values in rule.selectors)

    def _row(
        self,
        number: int,
        rule: Rule,
        row: Row,
        shown: tuple[int, int, int],
        made: dict[int, float] | None = None,
    ) -> None:
        """made: what was derived of the reading; all of it is known when the rule is asked."""
        made = {q: value for q, value in (made or {}).items() if q in rule.quantities}
        if row.quantity not in rule.quantities and not made:
            return
        bad = bool(row.flags & (Flag.BAD | Flag.STALE))
        safety = rule.card.safety
        if math.isnan(row.value):
            return
        alarm = row.flags & Flag.ALARM or QUANTITIES[row.quantity].kind in (Kind.SIGNAL, Kind.CODE)
        if bad and not (safety and alarm):
            return
        old = bool(row.flags & PAST)
        apart = not safety and rule.late != "fire"
        if old and rule.late == "drop" and not safety:
            return
        past = old and apart
        stream = "late" if past else "live" if apart else "all"
        values = self._values(rule, stream, row, bad, made)
        if row.quantity not in rule.quantities:
            speaks = [q for q, value in made.items() if not math.isnan(value)]
            if not speaks:
                return
            row = replace(row, quantity=max(speaks), value=made[max(speaks)])
        when, clear = self._verdict(rule, row.device, values)
        if bad and when is not True:
            return
        reading = (row.value, row.quantity, row.ts, row.flags, row.heard)
        if not past:
            self._event(number, Episode.LIVE, row.device, row.ts, when, clear, reading, shown)
        if apart and rule.late != "drop":
            self._event(
                number, Episode.LATE, row.device, row.ts, when, clear, reading, shown, start=past
            )

    def _tick(self, tick: Tick, shown: tuple[int, int, int]) -> None:
        """Time has made readings leave windows or too old."""
        for number, rule in self._of("timed"):
            made = {q: value for q, value in tick.values.items() if q in rule.quantities}
            if not self._watches(rule, tick.device) or not made:
                continue
            row = Row(tick.device, -1, tick.ts, NAN, 0, *shown)
            values = self._values(rule, "all" if rule.card.safety else "live", row, False, made)
            speaks = [q for q, value in made.items() if not math.isnan(value)]
            if not speaks:
                continue
            quantity = max(speaks)
            when, clear = self._verdict(rule, tick.device, values)
            if when is not True and clear is not False:
                continue
            reading = (made[quantity], quantity, tick.ts, 0, shown[0])
            self._event(
                number,
                Episode.LIVE,
                tick.device,
                tick.ts,
                when or None,
                clear and None,
                reading,
                shown,
                seen=tick.seen[quantity],
            )

    def _values(
        self, rule: Rule, stream: str, row: Row, bad: bool, made: dict[int, float]
    ) -> dict[int, float | None]:
        for quantity, value in made.items():
            self._learn(rule, self._known(rule, stream, row.device, quantity), row.ts, value)
        values = {q: self._recall(rule, stream, row, q, bad) for q in rule.quantities}
        values |= made
        return {q: None if v is None or math.isnan(v) else v for q, v in values.items()}

    def _known(self, rule: Rule, stream: str, device: int, quantity: int) -> Known:
        key = (self.ruleset.rules.index(rule), stream, device * 1000 + quantity)
        return self.known.setdefault(key, Known())

    def _recall(self, rule: Rule, stream: str, row: Row, quantity: int, bad: bool) -> float | None:
        known = self._known(rule, stream, row.device, quantity)
        if quantity == row.quantity:
            if not bad:
                self._learn(rule, known, row.ts, row.value)
            return row.value
        if rule.mode == "instant":
            return None if known.kept is None else known.kept[1]
        usable = [k for k in (known.kept, known.now) if k is not None and k[0] <= row.ts]
        # On a tie the newer acquaintance counts; max keeps the first, so look at it first.
        return max(reversed(usable), key=lambda k: k[0])[1] if usable else None

    def _learn(self, rule: Rule, known: Known, ts: int, value: float) -> None:
        if rule.mode == "instant":
            if known.kept is None or ts >= known.kept[0]:
                known.kept = (ts, value)
        elif known.now is None or ts >= known.now[0]:
            known.now = (ts, value)

    def _forget_mark(self) -> None:
        for known in self.known.values():
            if known.now is not None and (known.kept is None or known.now[0] >= known.kept[0]):
                known.kept = known.now
            known.now = None

    def _level_limit(
        self, rule: Rule, quantity: int, value: float | None, device: int
    ) -> float | None:
        known = NAN if value is None else value
        return limit_of(rule.when, rule, quantity, known, self.attributes[device])

    # Expressions

    def _verdict(
        self, rule: Rule, device: int, values: dict[int, float | None], silent: bool = False
    ) -> tuple[Truth, Truth]:
        def ask(plan: p.Truth) -> Truth:
            return truth(plan, values, self.attributes[device], silent)

        when = ask(rule.when)
        clear = ask(rule.clear) if rule.clear is not None else (None if when is None else not when)
        return when, (False if when is True else clear)

    # Silence

    def _speaks(self, row: Row, shown: tuple[int, int, int]) -> None:
        before = self.heard.get(row.device)
        for number, rule in self._of("silence"):
            if not self._watches(rule, row.device):
                continue
            if (
                before is not None
                and before + rule.silence_ms <= row.ts
                and (number, row.device) not in self.told_silent
            ):
                self._silent(number, rule, row.device, before + rule.silence_ms, shown)
            when, clear = self._verdict(rule, row.device, {})
            reading = (row.value, row.quantity, row.ts, row.flags, row.heard)
            self._event(number, Episode.LIVE, row.device, row.ts, when, clear, reading, shown)
        if before is None or row.ts > before:
            self.heard[row.device] = row.ts
            self.told_silent -= {(number, row.device) for number, _ in self._of("silence")}

    def _silences(self, watermarks: list[int], shown: tuple[int, int, int]) -> None:
        for device, gateway in enumerate(self.gateways):
            limit = watermarks[gateway]
            if limit > 0:
                self.heard.setdefault(device, limit)
            for number, rule in self._of("silence"):
                if not self._watches(rule, device) or device not in self.heard:
                    continue
                at = self.heard[device] + rule.silence_ms
                if at <= limit and (number, device) not in self.told_silent:
                    self.told_silent.add((number, device))
                    self._silent(number, rule, device, at, shown)

    def _silent(
        self, number: int, rule: Rule, device: int, at: int, shown: tuple[int, int, int]
    ) -> None:
        when, clear = self._verdict(rule, device, {}, silent=True)
        reading = (NAN, -1, at, 0, shown[0])
        self._event(number, Episode.LIVE, device, at, when, clear, reading, shown)

    # The state machine

    def _event(
        self,
        number: int,
        lane: int,
        device: int,
        ts: int,
        when: Truth,
        clear: Truth,
        reading: tuple[float, int, int, int, int],
        shown: tuple[int, int, int],
        start: bool = True,
        seen: int | None = None,
    ) -> None:
        """seen: of a tick, the newest reading behind it: it is no sign of data itself."""
        rule = self.ruleset.rules[number]
        at = self.instances.setdefault((number, lane, device), Instance())
        fresh = at.phase != "inactive" and ts >= at.clock
        if fresh:
            gap = rule.missing_ms and not at.unknown and ts >= at.seen + rule.missing_ms
            turned = (at.phase == "pending" and when is False) or (
                at.phase == "clearing" and clear is False
            )
            over = rule.keep_ms and when is True and ts >= self._end(rule, at)
            if gap or turned or over:
                self._expire(number, lane, device, at, ts, shown)
            if at.unknown and seen is None:
                at.unknown = False
                self._tell(Change.KNOWN, number, lane, device, at, ts, reading, shown)
        if at.phase == "inactive":
            if when is True and start:
                at.since = at.onset = at.clock = ts
                at.seen = ts if seen is None else seen
                at.reading, at.unknown = reading, False
                at.breach, at.widened = ts, self._flaps(number, lane, device, ts)
                at.phase = "pending" if delay_of(rule, at) else "firing"
                if at.phase == "firing":
                    self._tell(Change.RAISED, number, lane, device, at, ts, reading, shown)
            return
        if not fresh:
            return
        at.clock = max(at.clock, ts)
        if when is True:
            at.breach = max(at.breach, ts)
        if seen is None:
            at.seen = max(at.seen, ts)
        if at.phase == "pending" and when is False:
            at.phase = "inactive"
        elif at.phase == "clearing" and clear is False:
            at.phase = "firing"
        elif at.phase == "firing" and clear is True and not rule.keep_ms:
            at.since, at.reading = ts, reading
            at.phase = "clearing" if rule.clear_for_ms else "inactive"
            if not rule.clear_for_ms:
                self._tell(Change.CLEARED, number, lane, device, at, ts, reading, shown)

    def _expire(
        self,
        number: int,
        lane: int,
        device: int,
        at: Instance,
        limit: int,
        shown: tuple[int, int, int],
    ) -> None:
        rule = self.ruleset.rules[number]
        if at.phase == "pending" and at.onset + delay_of(rule, at) <= limit:
            due = at.onset + delay_of(rule, at)
            at.phase, at.clock = "firing", max(at.clock, due)
            self._tell(Change.RAISED, number, lane, device, at, due, at.reading, shown)
        if at.phase == "firing" and rule.keep_ms and self._end(rule, at) <= limit:
            reading = (NAN, -1, at.breach, 0, shown[0])
            due = self._end(rule, at)
            at.phase = "inactive"
            self._tell(Change.CLEARED, number, lane, device, at, due, reading, shown)
        if at.phase == "clearing":
            due = at.since + rule.clear_for_ms
            if due <= limit:
                at.phase = "inactive"
                self._tell(Change.CLEARED, number, lane, device, at, due, at.reading, shown)
        if at.phase == "firing" and rule.missing_ms and not at.unknown:
            due = max(at.seen + rule.missing_ms, at.onset + delay_of(rule, at))
            if due <= limit:
                at.unknown, at.clock = True, max(at.clock, due)
                reading = (NAN, -1, at.seen, 0, shown[0])
                self._tell(Change.UNKNOWN, number, lane, device, at, due, reading, shown)

    def _term(self, rule: Rule, quantity: int) -> int:
        """Behind the quantities: which of the terms of the rule's card."""
        name = self.ruleset.derived[quantity - len(QUANTITIES)].derived.name
        return len(QUANTITIES) + [term.name for term in rule.card.terms].index(name)

    def _end(self, rule: Rule, at: Instance) -> int:
        """When a momentary alert ends by itself."""
        return max(at.breach, at.onset + delay_of(rule, at)) + rule.keep_ms

    def _flaps(self, number: int, lane: int, device: int, ts: int) -> bool:
        """Whether the device flaps at `ts`: all its raises, looked at from the first on."""
        watched = self.ruleset.rules[number].flapping
        raises = self.raises.get((number, lane, device), [])
        if watched is None or not raises:
            return False
        flaps, run = False, [raises[0]]
        for at in raises[1:]:
            near = 0 <= at - run[-1] <= watched.within_ms
            run = [*run, at] if at >= run[-1] else [at]
            many = sum(at - earlier <= watched.within_ms for earlier in run) >= watched.raises
            flaps = (many and len(run) > 1) or (flaps and near)
        return flaps and 0 <= ts - raises[-1] < watched.within_ms

    def _tell(
        self,
        change: Change,
        number: int,
        lane: int,
        device: int,
        at: Instance,
        at_ms: int,
        reading: tuple[float, int, int, int, int],
        shown: tuple[int, int, int],
    ) -> None:
        rule = self.ruleset.rules[number]
        value, quantity, decided, flags, heard = reading
        asked = rule.clear if change is Change.CLEARED and rule.clear is not None else rule.when
        limit = limit_of(asked, rule, quantity, value, self.attributes[device])
        waited = flapping = 0
        if change is Change.RAISED and rule.flapping is not None:
            waited = rule.flapping.for_ms if at.widened else 0
            self.raises.setdefault((number, lane, device), []).append(at_ms)
            flapping = rule.flapping.for_ms if self._flaps(number, lane, device, at_ms) else 0
        self.out.append(
            Told(
                number,
                device,
                change,
                lane,
                at_ms,
                at.onset,
                None if math.isnan(value) else value,
                limit,
                quantity if quantity < len(QUANTITIES) else self._term(rule, quantity),
                decided,
                flags,
                heard,
                shown[1],
                shown[2],
                waited=waited,
                flapping=flapping,
            )
        )


def delay_of(rule: Rule, at: Instance) -> int:
    """How long the condition must hold, by the rule as it is now."""
    return rule.flapping.for_ms if rule.flapping and at.widened else rule.for_ms


def truth(
    plan: p.Truth,
    values: dict[int, float | None],
    attributes: dict[str, str] | None,
    silent: bool,
) -> Truth:
    """True, False or None = unknown."""
    if isinstance(plan, p.Silent):
        return silent
    if isinstance(plan, p.AttributeIs):
        return None if attributes is None else attributes.get(plan.attribute) in plan.choices
    if isinstance(plan, p.Negated):
        inner = truth(plan.operand, values, attributes, silent)
        return None if inner is None else not inner
    if isinstance(plan, p.Both | p.Either):
        parts = [truth(part, values, attributes, silent) for part in plan.parts]
        settles = isinstance(plan, p.Either)
        if settles in parts:
            return settles
        return None if None in parts else not settles
    if isinstance(plan, p.OneOf):
        item = number_of(plan.item, values, attributes)
        return None if item is None else item in plan.choices
    assert isinstance(plan, p.Compared)
    left = number_of(plan.left, values, attributes)
    right = number_of(plan.right, values, attributes)
    if left is None or right is None:
        return None
    return _COMPARE[plan.operator](left, right)


def limit_of(
    asked: p.Truth, rule: Rule, quantity: int, value: float, attributes: dict[str, str] | None
) -> float | None:
    """What the value is compared with: of several the nearest that it meets, or the nearest."""
    same = {quantity}
    for one in rule.readings:
        if quantity in (other.quantity for other in rule.readings if other.name == one.name):
            same.add(one.quantity)
    best: tuple[bool, float, float] | None = None
    for limit in (limit for q, limits in limits_of(asked).items() if q in same for limit in limits):
        number = number_of(limit.number, {}, attributes)
        if number is None:
            continue
        unmet = not _COMPARE[limit.operator](value, number)
        away = 0.0 if math.isnan(value) else abs(value - number)
        if best is None or (unmet, away) < best[:2]:
            best = (unmet, away, number)
    return None if best is None else best[2]


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


def number_of(
    plan: p.Number, values: dict[int, float | None], attributes: dict[str, str] | None
) -> float | None:
    if isinstance(plan, p.Constant):
        return plan.value
    if isinstance(plan, p.Reading):
        return values[plan.quantity]
    if isinstance(plan, p.AttributeNumber):
        said = (attributes or {}).get(plan.attribute, "")
        found = amount(said, plan)
        return None if math.isnan(found) else found
    assert isinstance(plan, p.Computed)
    left = number_of(plan.left, values, attributes)
    right = number_of(plan.right, values, attributes)
    if left is None or right is None:
        return None
    if plan.operator == "/":
        return _divided(left, right)
    result: Any = {"+": left + right, "-": left - right, "*": left * right}[plan.operator]
    return None if math.isnan(result) else float(result)


def _divided(left: float, right: float) -> float | None:
    if right == 0:
        return None if left == 0 else math.copysign(math.inf, left) * math.copysign(1, right)
    return left / right
