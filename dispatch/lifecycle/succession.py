"""How open alerts pass from one rule set to another: all at once, or device by device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contracts.alert_data import AlertChange
from contracts.alerts import AlertEvent
from contracts.directory import DeviceDirectory
from contracts.rulebook import RuleCard
from contracts.where import card_of
from dispatch.alert import Alert
from dispatch.envelope import rings
from dispatch.lifecycle.book import Book


@dataclass(frozen=True, slots=True)
class RulesChange:
    """Rules that change at event time `at_ms`, device by device.

    Rule rows of transitions are those of `new`, then those of `old`. carried: (old, new) names of
    rules and their variants between which state goes on, and alerts with it.
    """

    new: tuple[RuleCard, ...]
    old: tuple[RuleCard, ...]
    carried: frozenset[tuple[str, str]]
    at_ms: int


class Succession:
    """The rules in force, and those that take over from them.

    cards: by rule row of the transitions. under_way: a change that not all devices have made.
    """

    def __init__(self, cards: Sequence[RuleCard], directory: DeviceDirectory, book: Book) -> None:
        self.cards = tuple(cards)
        self.under_way: RulesChange | None = None
        self._row_of_rule = {card.id: row for row, card in enumerate(self.cards)}
        self._directory, self._book = directory, book

    def row_of(self, rule: str) -> int | None:
        """The row of a rule as it is now; of two sets, as the new one has it."""
        return self._row_of_rule.get(rule)

    def change(self, change: RulesChange) -> None:
        """From now on transitions come from two rule sets; see `RulesChange`."""
        self.under_way = change
        self._take(change.new + change.old)
        self._row_of_rule |= {card.id: row for row, card in enumerate(change.new)}

    def end(self) -> list[AlertEvent]:
        """All devices are with the new rules. What was held back is looked at again."""
        change, self.under_way = self.under_way, None
        if change is None:
            return []
        self._take(change.new)
        return self._book.look_at_held(change.at_ms)

    def _take(self, cards: tuple[RuleCard, ...]) -> None:
        self.cards = cards
        self._row_of_rule = {card.id: row for row, card in enumerate(cards)}
        self._book.take_cards(cards)

    def has_say(
        self,
        about: str,
        row: dict[str, int | float],
        events: list[AlertEvent],
    ) -> bool:
        """An alert changes over before the first that the new rule says of it; after that the
        old rule, which may still have deadlines from before, has no say."""
        change, number = self.under_way, int(row["rule"])
        if change is None:
            return True
        card = self.cards[number]
        alert = self._book.at(card.id, about, int(row["lane"]))
        if alert is None or alert.card.hash == card.hash:
            return True
        if number >= len(change.new):
            self._book.counts["of_old_rule"] += 1
            return False
        goes_on = (alert.card.name, card.name) in change.carried
        events += self._go_over(alert, card, change.at_ms, goes_on=goes_on)
        return True

    def _card_now(self, alert: Alert) -> RuleCard | None:
        """The rule of an alert as it is now for its device; of two sets, as the new one has it.
        None = the rule is gone, or nobody asks it there any more."""
        change = self.under_way
        cards = self.cards if change is None else change.new
        mine = (card for card in cards if card.id == alert.card.id)
        return card_of(mine, self._directory, alert.device)

    def _go_over(
        self, alert: Alert, card: RuleCard, at_ms: int, *, goes_on: bool
    ) -> list[AlertEvent]:
        """Its rule is another one now."""
        event = self._settle(alert, card, "rule_changed", at_ms, goes_on=goes_on)
        return [event, *(self._book.let_go(alert.id, at_ms) if alert.state == "cleared" else [])]

    def settle_moved(
        self, moved: Callable[[str], bool], goes_on: Callable[[Alert, RuleCard], bool]
    ) -> list[AlertEvent]:
        """Say what the change of rules means for open alerts of devices that have moved.

        moved: by device. goes_on: whether the state behind the alert did, with the rule as its
        device meets it now; then the alert does too. Otherwise as in `settle`.
        """
        change = self.under_way
        events: list[AlertEvent] = []
        if change is None:
            return events
        for alert in self._book.open_alerts():
            if not moved(alert.device):
                continue
            card = self._card_now(alert)
            if card is not None:
                if not _is_same(card, alert.card) or alert.removed:
                    carried = goes_on(alert, card)
                    events += self._go_over(alert, card, change.at_ms, goes_on=carried)
            elif not alert.removed:
                events.append(self._settle(alert, alert.card, "rule_removed", change.at_ms))
                if alert.state == "cleared":
                    events += self._book.let_go(alert.id, change.at_ms)
        return events

    def settle(self, heard_ms: int) -> list[AlertEvent]:
        """Say what a new rule set means for open alerts; call it once after `restore`.

        A safety or latching alert stays open until its reset, and says that its rule changed
        or is gone; any alert does whose rule judges as before and only tells other people. Any
        other alert of such a rule is cleared: a changed rule starts anew and raises again if it
        still holds; a removed one would never clear its alert. What was held back is looked at
        again: rules and inhibitors may be others now.
        """
        events = []
        for alert in self._book.open_alerts():
            card = self._card_now(alert)
            if card is None and not alert.removed:
                events.append(self._settle(alert, alert.card, "rule_removed", heard_ms))
            elif card is not None and (not _is_same(card, alert.card) or alert.removed):
                goes_on = _judges_alike(card, alert.card)
                events.append(self._settle(alert, card, "rule_changed", heard_ms, goes_on=goes_on))
        return events + self._book.look_at_held(heard_ms)

    def _settle(
        self,
        alert: Alert,
        card: RuleCard,
        change: AlertChange,
        heard_ms: int,
        *,
        goes_on: bool = False,
    ) -> AlertEvent:
        if not (alert.card.safety or alert.card.latched or goes_on):
            return self._book.close(alert, change, heard_ms)
        before, name = alert.severity, "" if alert.level is None else alert.level.name
        names = [level.name for level in card.levels]
        alert.removed = change == "rule_removed"
        alert.card = card
        alert.stands_at = names.index(name) if name in names else len(names) - 1
        alert.stated = card.levels[alert.stands_at].severity if names else 0
        if alert.severity != before:
            change = "level"
        calls = alert.severity < before and rings(alert)
        return self._book.tell(
            alert, "updated", change, heard_ms, notify=calls, severity_before=before
        )


def _is_same(card: RuleCard, other: RuleCard) -> bool:
    """Whether it is the same variant with the same meaning."""
    return card.hash == other.hash and card.name == other.name


def _judges_alike(card: RuleCard, other: RuleCard) -> bool:
    """Whether two versions of a rule differ at most in who is told."""
    return card.decides == other.decides != ""
