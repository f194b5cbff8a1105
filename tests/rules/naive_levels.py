"""What several machine rows of one rule mean for its alert, written from docs/rules.md.

One change at a time, in plain Python; shares the order of rows with the engine and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from contracts.transitions import Change
from rules.ruleset import Rule, RuleSet

if TYPE_CHECKING:
    from tests.rules.naive import Told

KINDS = [Change.KNOWN, Change.RAISED, Change.CLEARED, Change.UNKNOWN]


@dataclass
class Alert:
    """holds: the rows that are raised. lost: those of them whose data is missing."""

    onset: int = 0
    at: int = 0
    holds: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)

    def top(self) -> int | None:
        return max(self.holds) if self.holds else None


@dataclass
class NaiveLevels:
    """limit: of a rule's quantity, for a value of it and a device."""

    ruleset: RuleSet
    limit: Callable[[Rule, int, float | None, int], float | None]
    alerts: dict[tuple[str, int, int], Alert] = field(default_factory=dict)

    def told(self, changes: list[Told]) -> list[Told]:
        """Changes of machine rows, in order, to those of rules, in no order."""
        rules = self.ruleset.rules
        ids = [card.id for card in self.ruleset.cards]
        found = [
            replace(change, rule=ids.index(rules[change.rule].id))
            for change in changes
            if self._alone(change.rule)
        ]
        waiting = [change for change in changes if not self._alone(change.rule)]
        while waiting:
            first = waiting[0]
            together = [c for c in waiting if self._moment(c) == self._moment(first)]
            waiting = [c for c in waiting if self._moment(c) != self._moment(first)]
            found += self._at_once(together)
        return found

    def _alone(self, row: int) -> bool:
        return sum(rule.id == self.ruleset.rules[row].id for rule in self.ruleset.rules) == 1

    def _moment(self, told: Told) -> tuple[object, ...]:
        name = self.ruleset.rules[told.rule].id
        return name, told.lane, told.device, told.position, told.row, told.at

    def _at_once(self, changes: list[Told]) -> list[Told]:
        found = []
        while changes:
            turn = {change.rule: change for change in reversed(changes)}
            changes = [change for change in changes if change is not turn[change.rule]]
            for kind in KINDS:
                found += self._step(kind, [c for c in turn.values() if c.change == kind])
        return found

    def _step(self, kind: Change, changes: list[Told]) -> list[Told]:
        if not changes:
            return []
        any_one = changes[0]
        name = self.ruleset.rules[any_one.rule].id
        alert = self.alerts.setdefault((name, any_one.lane, any_one.device), Alert())
        top, lost = alert.top(), alert.top() in alert.lost
        for change in changes:
            if kind is Change.RAISED:
                alert.holds.add(change.rule)
            if kind is Change.CLEARED:
                alert.holds.remove(change.rule)
            if kind is Change.UNKNOWN:
                alert.lost.add(change.rule)
            elif change.rule in alert.lost:
                alert.lost.remove(change.rule)
        if top is None:
            alert.onset = min(change.onset for change in changes)
            alert.at = 0
        if any_one.row >= 0:
            # A reading that says something ends the silence, whatever the next mark finds.
            alert.holds -= {row for row in alert.holds if self.ruleset.rules[row].mode == "silence"}
        now = alert.top()
        found = []
        if now != top:
            what = Change.LEVEL
            if top is None:
                what = Change.RAISED
            if now is None:
                what = Change.CLEARED
            said = next((c for c in changes if c.rule == now), None)
            if said is None:
                said = next(c for c in changes if c.rule == top)
            found.append(self._say(what, alert, now if now is not None else top, said))
        if now is not None and (now in alert.lost) != lost:
            said = max(changes, key=lambda c: c.rule)
            what = Change.UNKNOWN if now in alert.lost else Change.KNOWN
            found.append(self._say(what, alert, now, said))
        return found

    def _say(self, what: Change, alert: Alert, row: int | None, said: Told) -> Told:
        assert row is not None
        rule = self.ruleset.rules[row]
        alert.at = max(alert.at, said.at)
        limit = said.threshold
        if what is Change.LEVEL:
            limit = self.limit(rule, said.quantity, said.value, said.device)
        ids = [card.id for card in self.ruleset.cards]
        return replace(
            said,
            rule=ids.index(rule.id),
            change=what,
            at=alert.at,
            onset=alert.onset,
            threshold=limit,
            severity=rule.severity,
            level=rule.level,
        )
