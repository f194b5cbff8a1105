"""What keeps alerts from receivers: other alerts at the same place, and trial rules. Pure.

An alert is recorded in any case. It is *held* until it is delivered for the first time; from then
on everything of it is delivered, up to its end. So a receiver never hears the end of something
that it wasn't told, nor misses the end of something that it was.

Safety alerts are never held, whatever a rule file or a card says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from contracts.rulebook import RuleCard
from contracts.spots import Spot, spot_key
from contracts.transitions import Episode
from dispatch.alert import NEVER_MS, Alert

_At = tuple[str, Spot, tuple[str, ...]]


class Inhibitors:
    """The open alerts that may hold others back, by rule and place.

    Late alerts hold nothing back: they are history, and say nothing of now. One that has ended may
    linger: then it goes on holding for a while, by the log's time.

    now_ms: how far that is. due: (time, alert id), sorted: when what has ended lets others go.
    """

    def __init__(self, cards: Sequence[RuleCard]) -> None:
        ids = list(dict.fromkeys(card.id for card in cards))
        asked = {one for card in cards for one in card.inhibit}
        self._rules = {one: tuple(rule for rule in ids if one.names(rule)) for one in asked}
        self._kinds: dict[str, list[Spot]] = {}
        for one in sorted(asked, key=lambda one: (one.by, one.on)):
            for rule in self._rules[one]:
                kinds = self._kinds.setdefault(rule, [])
                if one.on not in kinds:
                    kinds.append(one.on)
        self._open: dict[_At, dict[str, Alert]] = {}
        self._ended: dict[str, tuple[Alert, int]] = {}
        self._lingers: dict[str, set[int]] = {}
        for one in asked:
            for rule in self._rules[one] if one.linger_ms else ():
                self._lingers.setdefault(rule, set()).add(one.linger_ms)
        self.now_ms = NEVER_MS
        self.due: list[tuple[int, str]] = []

    def opened(self, alert: Alert) -> None:
        self._let_go(alert.id)  # Opened anew, it stands behind those that are open.
        for at in self._places(alert):
            self._open.setdefault(at, {})[alert.id] = alert

    def closed(self, alert: Alert) -> None:
        places, lingers = self._places(alert), self._lingers.get(alert.card.id)
        if places and lingers:
            # It stays where it is, and counts for as long as who asks wants it to.
            self._ended[alert.id] = alert, self.now_ms
            fresh = {(self.now_ms + linger_ms, alert.id) for linger_ms in lingers}
            self.due = sorted({*self.due, *fresh})
        else:
            self._remove(alert)

    def _remove(self, alert: Alert) -> None:
        for at in self._places(alert):
            there = self._open.get(at, {})
            there.pop(alert.id, None)
            if not there:
                self._open.pop(at, None)

    def next_ms(self) -> int | None:
        """The log's time at which something that has ended lets others go; None = never."""
        return self.due[0][0] if self.due else None

    def over(self) -> list[tuple[int, str]]:
        """(time, alert id) of what has ended and let others go by now."""
        passed = [one for one in self.due if one[0] <= self.now_ms]
        self.due = self.due[len(passed) :]
        waiting = {name for _, name in self.due}
        for _, name in passed:
            if name not in waiting:
                self._let_go(name)
        return passed

    def _let_go(self, name: str) -> None:
        ended = self._ended.pop(name, None)
        if ended is not None:
            self._remove(ended[0])

    def forget(self, name: str) -> None:
        """Nothing is known of that alert any more; what it still held is let go when it is due."""
        if name in self._ended:
            self._let_go(name)

    def lingering(self) -> tuple[tuple[str, int], ...]:
        """(alert id, when its end was known) of what has ended and still counts."""
        return tuple((name, ended_ms) for name, (_, ended_ms) in self._ended.items())

    def linger(self, alert: Alert, ended_ms: int) -> None:
        """Take in what had ended before these inhibitors were made; `due` comes beside it."""
        if alert.card.id in self._lingers:
            self._ended[alert.id] = alert, ended_ms
            for at in self._places(alert):
                self._open.setdefault(at, {})[alert.id] = alert

    def restore(self, alerts: Iterable[Alert]) -> None:
        """From the open alerts, in the order of their opening."""
        self._open.clear()
        self._ended.clear()
        for alert in alerts:
            self.opened(alert)

    def of(self, alert: Alert) -> Alert | None:
        """The alert that holds this one back: the one that does already, as long as it may; else
        the first that the rule names, then the oldest. An alert on trial holds nothing back.
        """
        there = list(self._there(alert))
        present = (alerts[alert.held_by] for alerts in there if alert.held_by in alerts)
        oldest = (other for alerts in there for other in alerts.values())
        found = (other for other in chain(present, oldest) if not other.card.shadow)
        return next(found, None)

    def _there(self, alert: Alert) -> Iterator[dict[str, Alert]]:
        """Open alerts at its places, by id, of one inhibiting rule after the other."""
        for one in alert.card.inhibit:
            key = _key(alert, one.on)
            if key is None:
                continue
            for rule in self._rules.get(one, ()):
                if rule != alert.card.id:
                    there = self._open.get((rule, one.on, key), {})
                    yield self._counting(there, one.linger_ms) if self._ended else there

    def _counting(self, there: dict[str, Alert], linger_ms: int) -> dict[str, Alert]:
        """What is open, then what has ended less than `linger_ms` ago."""
        found = {name: alert for name, alert in there.items() if name not in self._ended}
        ended = sorted((self._ended[name][1], name) for name in there if name in self._ended)
        over_ms = self.now_ms - linger_ms
        return found | {name: there[name] for ended_ms, name in ended if ended_ms > over_ms}

    def _places(self, alert: Alert) -> list[_At]:
        if alert.lane != Episode.LIVE:
            return []
        return [
            (alert.card.id, kind, key)
            for kind in self._kinds.get(alert.card.id, ())
            if (key := _key(alert, kind)) is not None
        ]


def _key(alert: Alert, kind: Spot) -> tuple[str, ...] | None:
    return spot_key(
        kind, device=alert.device, gateway=alert.gateway, place=alert.place, riser=alert.riser
    )


def decide(alert: Alert, inhibitors: Inhibitors) -> None:
    """Set whether the alert is held from now on: when it opens, and again while it is held."""
    other = None
    if not alert.card.safety and not alert.card.shadow:
        other = inhibitors.of(alert)
    alert.held_by, alert.held_by_rule = ("", "") if other is None else (other.id, other.card.id)
    if alert.card.shadow and not alert.card.safety:
        alert.held = "shadow"
    else:
        alert.held = "" if other is None else "inhibited"
