"""Group rules, reading by reading and device by device: what the two stages must equal.

Written from docs/rules.md. A comparison with a count is tried with every answer that the devices
which aren't known might give; nothing is counted up or kept in step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

from contracts.batch import Flag
from contracts.quantities import QUANTITIES, Kind
from contracts.transitions import Change
from rules.expr import plan as p
from rules.ruleset import Rule
from tests.rules.naive import PAST, Naive, Row, Told, Truth, truth

Place = tuple[int, str]
"""(rule, group)."""

Reading = tuple[float, int, int, int]
"""Count, event time, flags, when it was heard."""


@dataclass(frozen=True)
class Said:
    rule: int
    group: str
    change: int
    at: int
    onset: int
    value: float
    threshold: float | None
    decided: int
    flags: int
    heard: int
    position: int
    size: int
    lost: int
    breached: tuple[int, ...]
    severity: int = 0
    level: int = -1
    waited: int = 0
    flapping: int = 0


@dataclass
class Answer:
    """Of one device to one question, as the first stage knows it."""

    said: bool | None = None
    heard: int | None = None
    lost: bool = False


@dataclass(frozen=True)
class Changed:
    """An answer that changed; said None = lost."""

    ts: int
    device: int
    position: int
    row: int
    question: p.Truth
    said: bool | None
    flags: int
    heard: int


@dataclass
class Known:
    """Of one device to one question, as far as the group's time has got."""

    said: bool | None = None
    lost: bool = False


@dataclass
class Group:
    phase: str = "inactive"
    since: int = 0
    onset: int = 0
    clock: int = 0
    unknown: bool = False
    widened: bool = False
    raises: list[int] = field(default_factory=list)
    reading: Reading = (0.0, 0, 0, 0)
    waiting: list[Changed] = field(default_factory=list)
    known: dict[tuple[int, p.Truth], Known] = field(default_factory=dict)


Moment = tuple[dict[tuple[int, p.Truth], Known], list[Changed]]
"""What was known of a group before a mark, and the changes that came up to it."""


@dataclass
class NaiveGroups(Naive):
    """groups: per device and kind its group, "" = none."""

    groups: list[dict[str, str]] = field(default_factory=list)
    answers: dict[tuple[int, int, p.Truth], Answer] = field(default_factory=dict)
    open: dict[Place, Group] = field(default_factory=dict)
    rows: list[Told] = field(default_factory=list)
    moments: dict[Place, Moment] = field(default_factory=dict)

    def mark(self, rows: list[Row], watermarks: list[int], position: int, heard: int) -> list[Said]:
        self.rows, self.moments = [], {}
        for row in rows:
            for number, rule in self._of("group"):
                if row.quantity in rule.quantities and self._group(rule, row.device):
                    self._hear(number, rule, row, heard)
        self._forget_mark()
        for (number, device, question), answer in self.answers.items():
            rule = self.ruleset.rules[number]
            limit = watermarks[self.gateways[device]]
            if rule.missing_ms and answer.heard is not None and not answer.lost:
                due = answer.heard + rule.missing_ms
                if due <= limit:
                    answer.lost = True
                    self._send(number, Changed(due, device, -1, -1, question, None, 0, heard))
        for (number, name), group in self.open.items():
            members = self._members(number, name)
            limit = min(watermarks[self.gateways[device]] for device in members)
            self._advance(number, name, group, limit, (position, heard))
        self.rows.sort(key=lambda told: (told.at, told.rule, told.device))
        merged = self.levels.told(self.rows)
        return sorted((self._explained(told) for told in merged), key=lambda s: (s.at, s.rule))

    def _group(self, rule: Rule, device: int) -> str:
        return self.groups[device].get(rule.group or "", "") if self._watches(rule, device) else ""

    def _members(self, number: int, name: str) -> list[int]:
        rule = self.ruleset.rules[number]
        return [d for d in range(len(self.families)) if self._group(rule, d) == name]

    # One device

    def _hear(self, number: int, rule: Rule, row: Row, mark_heard: int) -> None:
        safety = rule.card.safety
        bad = bool(row.flags & (Flag.BAD | Flag.STALE))
        alarm = row.flags & Flag.ALARM or QUANTITIES[row.quantity].kind in (Kind.SIGNAL, Kind.CODE)
        if math.isnan(row.value) or (bad and not (safety and alarm)):
            return
        if row.flags & PAST and not safety:
            return
        stream = "all" if safety else "live"
        values = {q: self._recall(rule, stream, row, q, bad) for q in rule.quantities}
        for question in _questions(rule):
            if row.quantity not in p.quantities_of(question):
                continue
            said = truth(question, values, self.attributes[row.device], False)
            if said is None or (bad and not said):
                continue
            self._answer(number, rule, row, question, said, mark_heard)

    def _answer(
        self, number: int, rule: Rule, row: Row, question: p.Truth, said: bool, mark_heard: int
    ) -> None:
        answer = self.answers.setdefault((number, row.device, question), Answer())
        old = answer.heard is not None and row.ts < answer.heard
        if old and not (rule.card.safety and said):
            return
        if rule.missing_ms and answer.heard is not None and not answer.lost:
            due = answer.heard + rule.missing_ms
            if due <= row.ts:
                answer.lost = True
                self._send(number, Changed(due, row.device, -1, -1, question, None, 0, mark_heard))
        if said != answer.said or answer.lost:
            told = (row.ts, row.device, row.position, row.row)
            self._send(number, Changed(*told, question, said, row.flags, row.heard))
        answer.said = said
        if not old:
            answer.heard, answer.lost = row.ts, False

    def _send(self, number: int, changed: Changed) -> None:
        name = self._group(self.ruleset.rules[number], changed.device)
        self.open.setdefault((number, name), Group()).waiting.append(changed)

    # One group

    def _advance(
        self, number: int, name: str, group: Group, limit: int, shown: tuple[int, int]
    ) -> None:
        rule = self.ruleset.rules[number]
        due = [changed for changed in group.waiting if changed.ts <= limit]
        group.waiting = [changed for changed in group.waiting if changed.ts > limit]
        due.sort(key=lambda c: (c.ts, c.device, c.position, c.row))
        before = {key: Known(known.said, known.lost) for key, known in group.known.items()}

        self.moments[number, name] = before, due

        def tell(change: Change, at: int, reading: Reading) -> None:
            self._tell_group(number, name, change, at, reading, group, shown)

        for i, changed in enumerate(due):
            _apply(group.known, changed)
            reading = (changed.ts, changed.device, changed.position, changed.row)
            later = due[i + 1] if i + 1 < len(due) else None
            if later and (later.ts, later.device, later.position, later.row) == reading:
                continue
            view = _View(rule, self._members(number, name), group.known)
            deciding = (view.first(rule.when), changed.ts, changed.flags, changed.heard)
            _event(rule, group, changed.ts, view, deciding, tell)
        _expire(rule, group, limit, tell)

    def _tell_group(
        self,
        number: int,
        name: str,
        change: Change,
        at: int,
        reading: Reading,
        group: Group,
        shown: tuple[int, int],
    ) -> None:
        rule = self.ruleset.rules[number]
        limit = _limit(rule, rule.clear if change is Change.CLEARED else None)
        value, decided, flags, heard = reading
        waited = flapping = 0
        if change is Change.RAISED and rule.flapping is not None:
            waited = rule.flapping.for_ms if group.widened else 0
            group.raises.append(at)
            flapping = rule.flapping.for_ms if flaps(rule, group, at) else 0
        self.rows.append(
            Told(
                number,
                self._names().index(name),
                change,
                0,
                at,
                group.onset,
                value,
                limit,
                -1,
                decided,
                flags,
                heard,
                shown[0],
                -1,
                waited=waited,
                flapping=flapping,
            )
        )

    def _names(self) -> list[str]:
        return sorted({name for groups in self.groups for name in groups.values()})

    def _explained(self, told: Told) -> Said:
        """With the devices that its level hangs on."""
        card, name = self.ruleset.cards[told.rule].id, self._names()[told.device]
        number = next(
            i for i, r in enumerate(self.ruleset.rules) if r.id == card and r.level == told.level
        )
        rule = self.ruleset.rules[number]
        before, due = self.moments[number, name]
        then = {key: Known(known.said, known.lost) for key, known in before.items()}
        for changed in due:
            if changed.ts <= told.at:
                _apply(then, changed)
        view = _View(rule, self._members(number, name), then)
        assert told.value is not None
        return Said(
            told.rule,
            name,
            told.change,
            told.at,
            told.onset,
            told.value,
            told.threshold,
            told.decided,
            told.flags,
            told.heard,
            told.position,
            len(view.members),
            len([d for d in view.members if view.is_lost(d)]),
            tuple(d for d in view.members if view.is_true(d)),
            told.severity,
            told.level,
            told.waited,
            told.flapping,
        )

    def _level_limit(
        self, rule: Rule, quantity: int, value: float | None, device: int
    ) -> float | None:
        if rule.group is None:
            return super()._level_limit(rule, quantity, value, device)
        return _limit(rule, None)


def _limit(rule: Rule, clear: p.Truth | None) -> float | None:
    limit = p.count_limit_of(clear if clear is not None else rule.when)
    return None if math.isnan(limit) else limit


def flaps(rule: Rule, group: Group, at: int) -> bool:
    """Whether a raise follows so many others that the group flaps from then on."""
    assert rule.flapping is not None
    run = group.raises
    found = near = False
    for i, now in enumerate(run):
        if now > at:
            break
        near = i > 0 and now - run[i - 1] <= rule.flapping.within_ms
        first = i - rule.flapping.raises + 1
        many = first >= 0 and now - run[first] <= rule.flapping.within_ms
        found = many or (found and near)
    return found


def _questions(rule: Rule) -> list[p.Truth]:
    clear = () if rule.clear is None else p.predicates_of(rule.clear)
    return list(dict.fromkeys([*p.predicates_of(rule.when), *clear]))


def _apply(known: dict[tuple[int, p.Truth], Known], changed: Changed) -> None:
    one = known.setdefault((changed.device, changed.question), Known())
    if changed.said is None:
        one.lost = True
    else:
        one.said, one.lost = changed.said, False


@dataclass
class _View:
    """What is known of a group's devices at one moment."""

    rule: Rule
    members: list[int]
    known: dict[tuple[int, p.Truth], Known]

    def of(self, device: int, question: p.Truth) -> Known:
        return self.known.get((device, question), Known())

    def sure(self, device: int, question: p.Truth) -> bool:
        one = self.of(device, question)
        return one.said is True and (self.rule.card.safety or not one.lost)

    def is_true(self, device: int) -> bool:
        return any(self.sure(device, question) for question in _questions(self.rule))

    def is_lost(self, device: int) -> bool:
        return any(self.of(device, question).lost for question in _questions(self.rule))

    def first(self, plan: p.Truth) -> float:
        counted = p.counts_of(plan)[0]
        number = sum(self.sure(device, counted.operand) for device in self.members)
        if isinstance(counted, p.Counted) and counted.function == "share":
            return number / max(len(self.members), 1)
        return number

    def choices(self, device: int, question: p.Truth, ending: bool) -> list[bool]:
        one = self.of(device, question)
        if one.said is None:
            return [False] if ending else [False, True]
        if one.lost and not (not ending and self.rule.card.safety and one.said):
            return [False, True]
        return [one.said]

    def truth(self, plan: p.Truth, ending: bool) -> Truth:
        if isinstance(plan, p.Negated):
            inner = self.truth(plan.operand, ending)
            return None if inner is None else not inner
        if isinstance(plan, p.Both | p.Either):
            parts = [self.truth(part, ending) for part in plan.parts]
            settles = isinstance(plan, p.Either)
            if settles in parts:
                return settles
            return None if None in parts else not settles
        if isinstance(plan, p.Every):
            return self.every(plan.operand, ending)
        assert isinstance(plan, p.Compared)
        found = {
            _COMPARE[plan.operator](left, right)
            for left in self.numbers(plan.left, ending)
            for right in self.numbers(plan.right, ending)
        }
        return found.pop() if len(found) == 1 else None

    def every(self, question: p.Truth, ending: bool) -> Truth:
        members = self.members
        if ending:
            members = [d for d in members if self.of(d, question).said is not None]
        asked = [self.choices(device, question, ending) for device in members]
        found = {all(answers) for answers in product(*asked)}
        if not members:
            return None
        return found.pop() if len(found) == 1 else None

    def numbers(self, plan: p.Number, ending: bool) -> set[float]:
        if isinstance(plan, p.Constant):
            return {plan.value}
        assert isinstance(plan, p.Counted)
        asked = [self.choices(device, plan.operand, ending) for device in self.members]
        whole = len(self.members) if plan.function == "share" else 1
        return {sum(answers) / whole for answers in product(*asked)}


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}

Tell = Callable[[Change, int, Reading], None]


def _delay(rule: Rule, at: Group) -> int:
    return rule.flapping.for_ms if rule.flapping and at.widened else rule.for_ms


def _is_widened(rule: Rule, at: Group, ts: int) -> bool:
    if rule.flapping is None or not at.raises:
        return False
    return flaps(rule, at, ts) and 0 <= ts - at.raises[-1] < rule.flapping.within_ms


def _event(rule: Rule, at: Group, ts: int, view: _View, reading: Reading, tell: Tell) -> None:
    raises = view.truth(rule.when, ending=False) is True
    still = view.truth(rule.when, ending=True)
    over = still is False and not raises
    clear = still if rule.clear is None else view.truth(rule.clear, ending=True)
    if rule.clear is None:
        clears, holds = over, not over
    else:
        clears, holds = clear is True and over, clear is False or raises
    lost = still is None and not (rule.clear is not None and clear is False)
    holds = holds or lost
    fresh = at.phase != "inactive" and ts >= at.clock
    if fresh:
        turns = (at.phase == "pending" and over) or (at.phase == "clearing" and holds)
        if turns or (at.phase == "pending" and lost != at.unknown):
            _expire(rule, at, ts, tell)
        if at.unknown and not lost:
            at.unknown = False
            if at.phase in ("firing", "clearing"):
                tell(Change.KNOWN, ts, reading)
    if at.phase == "inactive":
        if raises:
            at.since = at.onset = at.clock = ts
            at.reading, at.unknown = reading, lost
            at.widened = _is_widened(rule, at, ts)
            at.phase = "pending" if _delay(rule, at) else "firing"
            if not _delay(rule, at):
                tell(Change.RAISED, ts, reading)
                if lost:
                    tell(Change.UNKNOWN, ts, reading)
        return
    if not fresh:
        return
    at.clock = ts
    if at.phase == "pending" and over:
        at.phase = "inactive"
        return
    if at.phase == "clearing" and holds:
        at.phase = "firing"
    if lost and not at.unknown:
        at.unknown = True
        if at.phase == "firing":
            tell(Change.UNKNOWN, ts, reading)
    if at.phase == "firing" and clears:
        at.since, at.reading = ts, reading
        at.phase = "clearing" if rule.clear_for_ms else "inactive"
        if not rule.clear_for_ms:
            tell(Change.CLEARED, ts, reading)


def _expire(rule: Rule, at: Group, limit: int, tell: Tell) -> None:
    if at.phase == "pending" and at.since + _delay(rule, at) <= limit:
        due = at.since + _delay(rule, at)
        at.phase, at.clock = "firing", max(at.clock, due)
        tell(Change.RAISED, due, at.reading)
        if at.unknown:
            tell(Change.UNKNOWN, due, at.reading)
    if at.phase == "clearing" and at.since + rule.clear_for_ms <= limit:
        at.phase = "inactive"
        tell(Change.CLEARED, at.since + rule.clear_for_ms, at.reading)
