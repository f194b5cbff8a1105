"""The book of alerts: which are open, what holds which back, and how each event is told.

Rules' changes and commands write in it through `Lifecycle`; every line ends as an alert event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from contracts.alert_data import AlertChange, Disposition
from contracts.alerts import AlertEvent, Phase
from contracts.messages import OperatorCommand
from contracts.rulebook import RuleCard
from dispatch.alert import Alert, Snapshot
from dispatch.envelope import Told, event_of, rings
from dispatch.lifecycle.budgets import Budgets, notice
from dispatch.lifecycle.quieting import Inhibitors, decide

CLOSED_KEPT = 4096
"""Closed alerts that can still be acknowledged or given a disposition; older ones are let go."""


class Book:
    """All alerts of one partition that are open or were not long ago.

    counts: how many changes and commands went which way, by reason; part of the snapshot.
    """

    def __init__(self, cards: Sequence[RuleCard]) -> None:
        self._alerts: dict[str, Alert] = {}
        self._open: dict[tuple[str, str, int], Alert] = {}
        self._closed: dict[str, None] = {}
        self._inhibitors = Inhibitors(cards)
        self._held: dict[str, set[str]] = {}
        self._budgets = Budgets()
        self.counts: Counter[str] = Counter()

    def get(self, name: str) -> Alert | None:
        """An alert by its id, open or closed."""
        return self._alerts.get(name)

    def at(self, rule: str, subject: str, lane: int) -> Alert | None:
        """The open alert of a rule about a device or group."""
        return self._open.get((rule, subject, lane))

    def open_alerts(self) -> tuple[Alert, ...]:
        """The open alerts in the order of their raising. Not copies: don't change them."""
        return tuple(self._open.values())

    # The log's time

    def hear(self, at_ms: int | None) -> None:
        """How far it has got."""
        if at_ms is not None:
            self._inhibitors.now_ms = max(self._inhibitors.now_ms, at_ms)

    def next_ms(self) -> int | None:
        """From which time on a mark would change something; None = never."""
        return self._inhibitors.next_ms()

    def pass_on(self) -> Iterator[AlertEvent]:
        """What ended inhibitors let go by now."""
        for due_ms, ended in self._inhibitors.over():
            yield from self.let_go(ended, due_ms)

    # Opening and closing

    def open(self, alert: Alert) -> bool:
        """Open it, for the first time or again. True: it is the first beyond its budget."""
        self._closed.pop(alert.id, None)
        self._alerts.pop(alert.id, None)  # In the order of opening, as restored.
        self._alerts[alert.id] = alert
        self._open[alert.key] = alert
        self._inhibitors.opened(alert)
        return self._decide(alert)

    def _decide(self, alert: Alert) -> bool:
        """Whether it is held, and by whom; if not, what its budget says. True: tell of that."""
        decide(alert, self._inhibitors)
        if alert.held_by:
            self._held.setdefault(alert.held_by, set()).add(alert.id)
        if alert.held:
            self.counts[f"held_{alert.held}"] += 1
            return False
        return self._budgets.take(alert)

    def judge(self, alert: Alert, disposition: Disposition | None) -> None:
        """What people found that it was; None = not known again."""
        self._budgets.judged(alert, disposition)
        alert.disposition = disposition

    def close(
        self, alert: Alert, change: AlertChange, at_ms: int, cmd: OperatorCommand | None = None
    ) -> AlertEvent:
        del self._open[alert.key]
        self._inhibitors.closed(alert)
        if alert.held_by:
            self._held.get(alert.held_by, set()).discard(alert.id)
        alert.state = "cleared"
        alert.unknown = False
        alert.removed = alert.removed or change == "rule_removed"
        self._closed[alert.id] = None
        if len(self._closed) > CLOSED_KEPT:
            oldest = next(iter(self._closed))
            del self._closed[oldest], self._alerts[oldest]
            self._inhibitors.forget(oldest)
            self.counts["closed_forgotten"] += 1
        return self.tell(alert, "cleared", change, at_ms, cmd=cmd)

    # What is held back

    def let_go(self, ended: str, at_ms: int) -> list[AlertEvent]:
        """Tell what only this alert has held back, in the order of raising."""
        held = [self._alerts[name] for name in self._held.pop(ended, ())]
        held.sort(key=lambda alert: (alert.onset_ms, alert.id))
        return [event for alert in held for event in self._look_again(alert, at_ms)]

    def _look_again(self, alert: Alert, at_ms: int) -> list[AlertEvent]:
        """At a held alert: it is told as raised now, or something else holds it back."""
        before = (alert.held, alert.held_by)
        is_over = self._decide(alert)
        if not alert.held:
            alert.worst = 0  # What it came to while nobody was told is nobody's worst.
            notify = rings(alert) and not alert.acknowledged
            event = self.tell(alert, "raised", "released", at_ms, notify=notify)
            return [event, *notices(alert, at_ms, is_over)]
        if (alert.held, alert.held_by) == before:
            return []
        return [self.tell(alert, "updated", "inhibited", at_ms)]

    def look_at_held(self, at_ms: int) -> list[AlertEvent]:
        """At all that is held back: what held it may be gone, or no longer do so."""
        self._held.clear()
        held = [alert for alert in self.open_alerts() if alert.held]
        return [event for alert in held for event in self._look_again(alert, at_ms)]

    # Other rules

    def take_cards(self, cards: Sequence[RuleCard]) -> None:
        """Other rules hold back now, and are held back."""
        before, self._inhibitors = self._inhibitors, Inhibitors(cards)
        self._inhibitors.restore(self._open.values())
        self._linger(before.now_ms, before.due, before.lingering())

    def _linger(
        self, now_ms: int, due: Sequence[tuple[int, str]], ended: Sequence[tuple[str, int]]
    ) -> None:
        """Take over what had ended and still holds others back."""
        self._inhibitors.now_ms, self._inhibitors.due = now_ms, list(due)
        for name, ended_ms in ended:
            alert = self._alerts.get(name)
            if alert is not None and name in self._closed:
                self._inhibitors.linger(alert, ended_ms)

    # What every change ends with

    def tell(
        self,
        alert: Alert,
        phase: Phase,
        change: AlertChange,
        at_ms: int,
        *,
        notify: bool = False,
        cmd: OperatorCommand | None = None,
        severity_before: int = 0,
    ) -> AlertEvent:
        """The event of a change, made now that the alert says what it has come to."""
        before = alert.last_event
        alert.revision += 1
        alert.worst = min(alert.worst or alert.severity, alert.severity)
        alert.sequence_ms = max(alert.sequence_ms, at_ms)
        told = Told(
            phase=phase,
            change=change,
            at_ms=at_ms,
            notify=notify and not alert.held,
            causation=before if cmd is None else cmd.id,
            by="" if cmd is None else cmd.by,
            note="" if cmd is None else cmd.note,
            severity_before=severity_before,
        )
        event = event_of(alert, told)
        alert.last_event = event.id
        self.counts[f"event_{change}"] += 1
        return event

    # Snapshots

    def state(self, verdicts: Sequence[tuple[str, str]]) -> Snapshot:
        """verdicts: (command id, what became of it), kept beside."""
        return Snapshot(
            alerts=tuple(self._alerts.values()),
            closed=tuple(self._closed),
            verdicts=tuple(verdicts),
            counts=tuple(self.counts.items()),
            budgets=self._budgets.state(),
            heard_ms=self._inhibitors.now_ms,
            due=tuple(self._inhibitors.due),
            lingering=self._inhibitors.lingering(),
        )

    def take_alerts(self, snapshot: Snapshot) -> None:
        """The alerts of a snapshot; `restore` is for the rest, when they are whole."""
        self._alerts = {alert.id: alert for alert in snapshot.alerts}
        self._closed = dict.fromkeys(snapshot.closed)
        self._open = {alert.key: alert for alert in snapshot.alerts if alert.id not in self._closed}

    def restore(self, snapshot: Snapshot) -> None:
        self._inhibitors.restore(self._open.values())
        self._linger(snapshot.heard_ms, snapshot.due, snapshot.lingering)
        self._held.clear()
        for alert in self._open.values():
            if alert.held_by:
                self._held.setdefault(alert.held_by, set()).add(alert.id)
        self._budgets.restore(snapshot.budgets)
        self.counts = Counter(dict(snapshot.counts))


def notices(alert: Alert, at_ms: int, is_over: bool) -> list[AlertEvent]:
    """What is told beside the first alert beyond a budget."""
    return [notice(alert, at_ms)] if is_over else []
