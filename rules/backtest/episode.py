"""One alert from its raising to its end, gathered from alert events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from contracts.alerts import AlertEvent, is_for_receivers
from contracts.notices import is_notice


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """Times are event times in ms; ended_ms None: still open at the end of the input.

    severity: the highest that it had, 1 (Ⅰ) to 4 (Ⅳ). delivered: whether anybody was told.
    disposition: what a person said of it in the recorded commands: real, false, drill or "".
    """

    alert: str
    rule: str
    device: str
    grid: str
    safety: bool
    severity: int
    onset_ms: int
    raised_ms: int
    ended_ms: int | None
    late: bool
    delivered: bool
    disposition: str


class Episodes:
    """Folds alert events, in order, into episodes; notices are counted only."""

    def __init__(self) -> None:
        self._found: dict[str, Episode] = {}
        self.events = 0

    def add(self, events: Iterable[AlertEvent]) -> None:
        for event in events:
            self.events += 1
            if is_notice(event):
                continue
            known = self._found.get(event.subject)
            self._found[event.subject] = _first(event) if known is None else _next(known, event)

    def all(self) -> tuple[Episode, ...]:
        """By rule, device and time."""
        return tuple(
            sorted(self._found.values(), key=lambda one: (one.rule, one.device, one.raised_ms))
        )


def _first(event: AlertEvent) -> Episode:
    data = event.data
    return Episode(
        alert=event.subject,
        rule=data["rule"]["id"],
        device=data["device"],
        grid=event.gridcode,
        safety=data["class"] == "safety",
        severity=data["severity"],
        onset_ms=_ms(data["onset"]),
        raised_ms=_ms(event.time),
        ended_ms=_ms(event.time) if data["state"] == "cleared" else None,
        late=data["timing"]["late"],
        delivered=is_for_receivers(event),
        disposition=data["disposition"] or "",
    )


def _next(known: Episode, event: AlertEvent) -> Episode:
    data = event.data
    return msgspec.structs.replace(
        known,
        severity=min(known.severity, data["severity"]),
        ended_ms=_ms(event.time) if data["state"] == "cleared" else None,
        delivered=known.delivered or is_for_receivers(event),
        disposition=data["disposition"] or known.disposition,
    )


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
