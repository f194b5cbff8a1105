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
from dispatch.alert import Alert

_At = tuple[str, Spot, tuple[str, ...]]


class Inhibitors:
    """The open alerts that may hold others back, by rule and place.

    Late alerts hold nothing back: they are history, and say nothing of now.
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

    def opened(self, alert: Alert) -> None:
        for at in self._places(alert):
            self._open.setdefault(at, {})[alert.id] = alert

    def closed(self, alert: Alert) -> None:
        for at in self._places(alert):
            there = self._open.get(at, {})
            there.pop(alert.id, None)
            if not there:
                self._open.pop(at, None)

    def restore(self, alerts: Iterable[Alert]) -> None:
        """From the open alerts, in the order of their opening."""
        self._open.clear()
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
                    yield self._open.get((rule, one.on, key), {})

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
