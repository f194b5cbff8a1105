"""Asks each rule's question of the rows that it looks at, and hands on those that matter.

Rules on the same quantity share one look-up of their rows; rules over several quantities share
one memory. A rule that nothing breaches and that has no active instance costs one comparison of
a column.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rules.entries import FIRST
from rules.expr.composed import Sequence
from rules.expr.evaluate import Bools, Floats, maybe
from rules.expr.plan import Attribute, Truth
from rules.hot import Codes, Hot, Picker
from rules.instances import Instances
from rules.members import LIVE, NOT_WATCHED, Members
from rules.memory import Memory
from rules.positions import true_at
from rules.ruleset import Hearing, Rule
from rules.sheet import Index, Sheet
from rules.standing import standing
from rules.verdict import verdicts

Stream = Literal["all", "fire", "live", "late"]
"""all: of safety rules; fire: of rules that ring for old readings too; others keep them apart."""

_ONE_STREAM: dict[Hearing, Stream] = {"safety": "all", "fire": "fire"}
_HEARS: dict[Stream, Hearing] = {stream: hearing for hearing, stream in _ONE_STREAM.items()}


@dataclass(slots=True)
class _Combined:
    """Rules of one family over several quantities that read the same rows."""

    family: int
    hearing: Hearing
    numbers: list[int] = field(default_factory=list)
    quantities: tuple[int, ...] = ()
    momentary: set[int] = field(default_factory=set)
    plans: list[Truth] = field(default_factory=list)

    @property
    def safety(self) -> bool:
        return self.hearing == "safety"


class Scan:
    """The rules of one mode. memories: by (family, stream). dropped: rule id -> how many rows it
    didn't look at because they were old. Both are state. standing: by (family, quantity).
    """

    def __init__(
        self, rules: dict[int, Rule], members: Members, instances: Instances, *, timed: bool
    ) -> None:
        self.rules = rules
        self.standing = standing(rules, members, instances)
        self._members = members
        self._timed = timed
        self._single: dict[tuple[int, int], list[int]] = {}
        self._combined: dict[tuple[int, Hearing], _Combined] = {}
        self.memories: dict[tuple[int, Stream], Memory] = {}
        self._asked = {number: rule.quantities for number, rule in rules.items()}
        self.dropped: Counter[str] = Counter()
        self._drops: dict[str, tuple[int, tuple[int, ...]]] = {}
        for number, rule in rules.items():
            self._place(number, rule)
            if rule.hearing == "drop":
                _, known = self._drops.get(rule.id, (number, ()))
                self._drops[rule.id] = number, tuple(dict.fromkeys(known + rule.quantities))

    def _place(self, number: int, rule: Rule) -> None:
        family = self._members.family_of(number)
        if len(rule.quantities) == 1:
            self._single.setdefault((family, rule.quantities[0]), []).append(number)
            return
        # What drops old readings knows the others' newest values.
        hearing = "ordinary" if rule.hearing == "drop" else rule.hearing
        group = self._combined.setdefault((family, hearing), _Combined(family, hearing))
        group.numbers.append(number)
        group.plans.append(rule.when)
        group.quantities = tuple(sorted({*group.quantities, *rule.quantities}))
        group.momentary |= {r.quantity for r in rule.readings if isinstance(r.derived, Sequence)}

    def quantities(self) -> set[int]:
        return {quantity for rule in self.rules.values() for quantity in rule.quantities}

    def memory(self, family: int, stream: Stream) -> Memory:
        """Made when it is first asked for."""
        found = self.memories.get((family, stream))
        if found is None:
            group = self._combined[family, _HEARS.get(stream, "ordinary")]
            room = self._members.room(family)
            found = Memory(group.quantities, room, timed=self._timed, plans=group.plans)
            self.memories[family, stream] = found
        return found

    def known_memory(self, family: int, stream: Stream) -> Memory | None:
        """None when no rule reads that stream."""
        if (family, _HEARS.get(stream, "ordinary")) not in self._combined:
            return None
        return self.memory(family, stream)

    def look_again(self, family: int, ranks: NDArray[np.int32]) -> None:
        """An instance of these devices has ended."""
        for (known, _), memory in self.memories.items():
            if known == family:
                memory.look_again(ranks)
        for (known, _), single in self.standing.items():
            if known == family:
                single.look_again(ranks)

    def memories_of(self, family: int, quantity: int) -> list[Memory]:
        """What remembers plain rows of it."""
        return [
            self.memory(family, _ONE_STREAM.get(group.hearing, "live"))
            for group in self._combined.values()
            if group.family == family and quantity in group.quantities
        ]

    def combined(self) -> set[tuple[int, int]]:
        """(family, quantity) of rules over several quantities."""
        return {(g.family, quantity) for g in self._combined.values() for quantity in g.quantities}

    def momentary(self) -> set[int]:
        """Quantities that are not remembered: each of their rows counts."""
        return {quantity for group in self._combined.values() for quantity in group.momentary}

    def collect(self, sheet: Sheet, hot: Hot) -> None:
        """Rows that may change an instance, to `hot`."""
        picker = Picker(self._members, sheet, hot)
        if sheet.past is not None:
            self._count_dropped(sheet, sheet.past, hot)
        for pair, rows in sheet.rows.items():
            numbers = self._single.get(pair)
            if numbers is None:
                continue
            single = self.standing.get(pair)
            if single is not None:
                single.asked(sheet.batch, rows, all_rules=hot.asks_all)
            self._collect_single(pair[1], rows, numbers, sheet, picker)
        for group in self._combined.values():
            if group.family not in sheet.families:
                continue
            rows = sheet.rows_of(group.family, group.quantities)
            usable = sheet.usable(rows, safety=group.safety)
            if usable is not None and sheet.beside is not None:
                # What can't be derived any more must be forgotten.
                usable |= sheet.batch.quantity[rows] >= FIRST
            rows = rows if usable is None else rows[usable]
            if len(rows):
                self._collect_combined(group, rows, sheet, picker, judges=hot.asks_all)

    def _count_dropped(self, sheet: Sheet, past: Bools, hot: Hot) -> None:
        """Rows that a rule would look at, were they on time."""
        for name, (number, quantities) in self._drops.items():
            if not hot.asks(number):
                continue
            rows = sheet.rows_of(self._members.family_of(number), quantities)
            rows = rows[past[rows]]
            slots = self._members.slots(LIVE, number)
            watched = slots[self._members.rank[sheet.batch.device[rows]]] != NOT_WATCHED
            if watched.any():
                self.dropped[name] += int(watched.sum())

    def _collect_single(
        self, quantity: int, rows: Index, numbers: list[int], sheet: Sheet, picker: Picker
    ) -> None:
        columns = _Columns(self._members, sheet, rows, {quantity: sheet.batch.value[rows]})
        for number in numbers:
            rule = self.rules[number]
            columns.rule = number
            hits = true_at(maybe(rule.when, columns))
            if len(hits):
                usable = sheet.usable(rows[hits], safety=rule.card.safety)
                hits = hits if usable is None else hits[usable]
            self._pick(number, rule, columns, hits, picker)

    def _collect_combined(
        self, group: _Combined, rows: Index, sheet: Sheet, picker: Picker, *, judges: bool
    ) -> None:
        values = self._recall(group, rows, sheet, judges=judges)
        for momentary in group.momentary:
            values[momentary] = _momentary(sheet, rows, momentary)
        quantity = sheet.batch.quantity[rows]
        for number in group.numbers:
            rule = self.rules[number]
            asked = self._asked[number]
            own = true_at(np.isin(quantity, asked))
            at, known = sheet.settled(rows, own)
            columns = _Columns(self._members, sheet, rows[at], {q: values[q][known] for q in asked})
            columns.rule = number
            hits = true_at(maybe(rule.when, columns))
            self._pick(number, rule, columns, hits, picker)

    def _pick(
        self, number: int, rule: Rule, columns: _Columns, hits: Index, picker: Picker
    ) -> None:
        def coded(at: Index) -> Codes:
            return verdicts(rule, columns.at(at))

        picker.pick(number, columns.rows, hits, coded, hearing=rule.hearing)

    def _recall(
        self, group: _Combined, rows: Index, sheet: Sheet, *, judges: bool
    ) -> dict[int, Floats]:
        """Per quantity the value known at each row, in the row's own stream."""
        members = self._members
        rank = members.rank[sheet.batch.device[rows]]
        room = members.room(group.family)
        one = _ONE_STREAM.get(group.hearing)
        if one is not None or sheet.past is None:
            memory = self.memory(group.family, one or "live")
            return memory.recall(sheet, rows, rank, room, judges=judges)
        values = {quantity: np.empty(len(rows)) for quantity in group.quantities}
        past = sheet.past[rows]
        parts: tuple[tuple[Stream, Bools], ...] = (("live", ~past), ("late", past))
        for stream, mine in parts:
            at = true_at(mine)
            if len(at):
                memory = self.memory(group.family, stream)
                found = memory.recall(sheet, rows[at], rank[at], room, judges=judges)
                for quantity, known in found.items():
                    values[quantity][at] = known
        return values


def _momentary(sheet: Sheet, rows: Index, quantity: int) -> Floats:
    """1 beside rows of the cause that made it true, 0 everywhere else: it is not remembered."""
    cause = rows if sheet.beside is None else sheet.beside.cause[rows]
    true = (sheet.batch.quantity[rows] == quantity) & (sheet.batch.value[rows] == 1)
    return np.isin(cause, cause[true]).astype(np.float64)


class _Columns:
    """Rows as an expression sees them. rule: whose attributes are asked for."""

    def __init__(
        self, members: Members, sheet: Sheet, rows: Index, values: dict[int, Floats]
    ) -> None:
        self.rows = rows
        self.rule = -1
        self._members = members
        self._sheet = sheet
        self._values = values

    def at(self, positions: Index) -> _Columns:
        values = {quantity: value[positions] for quantity, value in self._values.items()}
        part = _Columns(self._members, self._sheet, self.rows[positions], values)
        part.rule = self.rule
        return part

    def reading(self, quantity: int) -> Floats:
        return self._values[quantity]

    def attribute(self, plan: Attribute) -> NDArray[Any]:
        rank = self._members.rank[self._sheet.batch.device[self.rows]]
        return self._members.answers(self.rule)[plan][rank]

    def silent(self, for_ms: int) -> Bools:
        raise KeyError(for_ms)
