"""One change of rules at an event time: two rule sets side by side until all have passed it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from contracts.alerts import AlertEvent
from contracts.directory import DeviceDirectory
from contracts.rulebook import RuleCard
from dispatch.alert import Alert
from dispatch.lifecycle import Lifecycle
from dispatch.lifecycle.succession import RulesChange
from rules.compared import Carried
from rules.engine import RuleEngine
from rules.ruleset import RuleSet
from rules.switch import Switch


@dataclass(frozen=True, slots=True)
class RulesNews:
    """What became of a set of rules that a record of the log named.

    content: its hash. state: `begun`, both are in force side by side; `done`, the new ones are
    alone; `refused`, the old ones stay. activate_ms: None = at once. position, heard_ms: of the
    record that made it so. report: what became of each rule's state.
    """

    content: str
    state: Literal["begun", "done", "refused"]
    position: int
    heard_ms: int
    activate_ms: int | None = None
    why: str = ""
    report: tuple[Carried, ...] = field(default=())


class Changeover:
    """Takes the old engine over and gives the new one back: see `Switch`."""

    def __init__(
        self,
        content: str,
        ruleset: RuleSet,
        activate_ms: int,
        *,
        old: RuleEngine,
        directory: DeviceDirectory,
        lifecycle: Lifecycle,
    ) -> None:
        self.content, self.ruleset, self.activate_ms = content, ruleset, activate_ms
        self._directory, self._lifecycle = directory, lifecycle
        self.switch = Switch(old, ruleset, directory, activate_ms)
        self._carried = self.switch.carried
        lifecycle.change_rules(
            RulesChange(
                new=ruleset.cards,
                old=old.ruleset.cards,
                carried=self._carried,
                at_ms=activate_ms,
            )
        )

    def settle(self) -> list[AlertEvent]:
        """To be called after each mark: what the change means for alerts of devices that moved."""
        switch = self.switch
        events = []
        if switch.arrived or switch.done:
            events = self._lifecycle.settle_moved(self._has_moved, self._goes_on)
        if switch.done:
            events += self._lifecycle.end_change()
        return events

    def end_now(self) -> list[AlertEvent]:
        """Don't wait for those that are behind: another change must not wait."""
        self.switch.finish()
        return self.settle()

    def _has_moved(self, device: str) -> bool:
        row = self._directory.row_of.get(device)
        # Groups, and what the registry no longer knows, are settled with the last.
        return self.switch.done or (row is not None and self.switch.has_moved(row))

    def _goes_on(self, alert: Alert, card: RuleCard) -> bool:
        """card: what the alert's device meets now."""
        device_row = self._directory.subject_row(alert.device)
        if (alert.card.name, card.name) not in self._carried or device_row is None:
            return False
        new = self.switch.new
        rule_row = self.ruleset.cards.index(card)
        if not new.watches(rule_row, device_row):
            return False
        # Of a rule with several questions, the one that the alert stood at may be gone.
        return alert.state == "latched" or new.is_active(rule_row, device_row, alert.lane)
