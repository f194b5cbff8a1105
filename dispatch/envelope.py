"""From an alert and a change of it to the CloudEvent that says so.

A pure function of its arguments: the same alert and change give the same bytes. `recordedtime`
and `traceparent` are left to who runs this. Every text is clipped, so that an event stays below
the 20 kB that Standard Webhooks advises, whatever a rule file holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from contracts.alert_data import (
    AlertChange,
    AlertData,
    AlertGroup,
    AlertPlace,
    Annotation,
    Area,
    Delivery,
    RuleRef,
    Sample,
    Timing,
)
from contracts.alerts import SEVERITY, AlertEvent, Phase, timestamp
from contracts.batch import Flag
from contracts.clips import reference
from contracts.groups import PREFIX
from contracts.quantities import QUANTITIES, QUANTITY_INDEX
from contracts.registry import Place
from contracts.rulebook import Text
from contracts.transitions import Episode
from dispatch.alert import Alert, Evidence
from dispatch.wording import clip, texts

MAX_BYTES = 20_000
FALLING = "falling_object."
UNKNOWN_GRID = "unknown"
_EARLIEST_MS = -62_135_596_800_000  # 0001-01-01
_LATEST_MS = 253_402_300_799_999  # 9999-12-31
_LONGEST_SEQUENCE_MS = 10**13 - 1
LATE_SCORE_MS = 15 * 60_000
"""So old may what a detector judged be to call a person still (proposal): somebody may lie where it
fell, and what a new receiver is told whole is as old."""

_FLAGS: tuple[tuple[int, Annotation], ...] = (
    (Flag.UNVERIFIED, "unverified_source"),
    (Flag.UNREGISTERED, "unregistered"),
    (Flag.TEST, "device_test"),
    (Flag.BAD, "quality_bad"),
    (Flag.STALE, "quality_stale"),
    (Flag.REPAIRED, "clock_repaired"),
    (Flag.CLOCK_UNKNOWN, "clock_unknown"),
    (Flag.HISTORICAL, "historical"),
)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What one event says beyond the alert's state. at_ms: event time of the change.

    severity_before: 0 = as now.
    """

    phase: Phase
    change: AlertChange
    at_ms: int
    notify: bool
    causation: str = ""
    by: str = ""
    note: str = ""
    severity_before: int = 0


def event_of(alert: Alert, told: Told) -> AlertEvent:
    """The event of the alert's present revision."""
    card = alert.card
    grid = area_of(alert)
    return envelope(
        subject=alert.id,
        revision=alert.revision,
        source=f"/grid/{quote(grid, safe='')}/{card.family}/{quote(alert.device, safe='')}",
        kind=f"io.gridwarden.{card.family}.{card.condition}.{told.phase}",
        grid=grid,
        at_ms=told.at_ms,
        sequence_ms=alert.sequence_ms,
        severity=alert.severity,
        causation=told.causation,
        # A late alert is history from its first moment; a safety signal always calls to act.
        expires=is_late(alert) and not rings(alert),
        dataref=_clip(alert),
        data=msgspec.to_builtins(_data(alert, told)),
    )


def envelope(
    *,
    subject: str,
    revision: int,
    source: str,
    kind: str,
    grid: str,
    at_ms: int,
    sequence_ms: int,
    severity: int,
    causation: str,
    data: dict[str, Any],
    expires: bool = False,
    dataref: str = "",
) -> AlertEvent:
    """A CloudEvent around `data`. kind: the `type`. expires: it is history from its own time on.
    dataref: where evidence is found."""
    number, text, _ = SEVERITY[severity]
    ms = min(max(sequence_ms, 0), _LONGEST_SEQUENCE_MS)
    return AlertEvent(
        specversion="1.0",
        id=f"{subject}-{revision}",
        source=source,
        type=kind,
        subject=subject,
        time=instant(at_ms),
        datacontenttype="application/json",
        gridcode=grid,
        partitionkey=grid,
        sequence=f"{ms:013d}{revision:07d}",
        severitynumber=number,
        severitytext=text,
        correlationid=subject,
        causationid=causation,
        expirytime=instant(at_ms) if expires else "",
        dataref=dataref,
        data=data,
    )


def _clip(alert: Alert) -> str:
    """The clip of what fell, by the camera that decided; "" when no camera did."""
    why = alert.why
    if not why.quantity.startswith(FALLING) or alert.device.startswith(PREFIX):
        return ""
    return reference(alert.device, why.ts_ms)


def area_of(alert: Alert) -> str:
    """The code of the grid, or of the community when the alert is of all of one."""
    whole = alert.place.community if alert.device.startswith(PREFIX) else ""
    return alert.place.grid or whole or UNKNOWN_GRID


def is_late(alert: Alert) -> bool:
    """Whether the last onset came after its time."""
    behind = Flag.LATE | Flag.HISTORICAL
    return alert.lane == Episode.LATE or bool(alert.why.flags & behind)


def rings(alert: Alert) -> bool:
    """Whether a new onset calls a person: late ones are history, unless safety.

    A detector's score always comes behind what it judges, and after an outage of ours by as long as
    that was. Within a bound that is no reason to tell nobody.
    """
    card, why = alert.card, alert.why
    if card.safety or card.late == "fire" or not is_late(alert):
        return True
    return bool(card.detectors) and why.heard_ms - why.ts_ms <= LATE_SCORE_MS


def instant(ms: int) -> str:
    """RFC 3339; a time that no calendar holds becomes the nearest one that it does."""
    return timestamp(min(max(ms, _EARLIEST_MS), _LATEST_MS))


def _data(alert: Alert, told: Told) -> AlertData:
    card, said = alert.card, texts(alert)
    return AlertData(
        alert=alert.id,
        change=told.change,
        revision=alert.revision,
        rule=RuleRef(
            id=card.id,
            hash=card.hash,
            standard=clip(card.standard, 300),
            condition=clip((alert.level or card).condition_text, 600),
            removed=alert.removed,
            variant=clip(card.variant, 300),
            layer=clip(card.layer, 120),
            source=clip(card.source, 300),
            why=clipped(card.why, 600),
        ),
        title=clipped(said.title, 300),
        reason=clipped(said.reason, 1200),
        runbook=clipped(said.runbook, 2400),
        severity=alert.severity,
        level=SEVERITY[alert.severity][2],
        state=alert.state,
        acknowledged=alert.acknowledged,
        unknown=alert.unknown,
        disposition=alert.disposition,
        alert_class="safety" if card.safety else "standard",
        latching=card.latched,
        family=card.family,
        condition=card.condition,
        device=alert.device,
        place=_place(alert.place),
        threshold=alert.why.threshold,
        unit=card.unit,
        samples=list(_samples(alert)),
        timing=_timing(alert),
        annotations=list(_annotations(alert)),
        onset=instant(alert.onset_ms),
        onsets=alert.onsets,
        notify=told.notify,
        by=clip(told.by, 200),
        note=clip(told.note, 1500),
        group=_group(alert),
        delivery=_delivery(alert),
        shadow=alert.held == "shadow",
        over_budget=alert.over_budget and not card.safety,
        rule_severity=alert.rule_severity,
        level_name="" if alert.level is None else alert.level.name,
        severity_before=told.severity_before or alert.severity,
        severity_worst=alert.worst,
        flapping=bool(alert.waited_ms or alert.flapping_ms),
        models=list(alert.models),
    )


def _delivery(alert: Alert) -> Delivery:
    return Delivery(state=alert.held or "deliver", alert=alert.held_by, rule=alert.held_by_rule)


def clipped(text: Text, limit: int) -> Text:
    """Both languages within `limit` bytes each."""
    return Text(zh=clip(text.zh, limit), en=clip(text.en, limit))


def _place(place: Place) -> AlertPlace:
    def area(code: str, name: str) -> Area:
        return Area(code=code, name=clip(name, 240))

    return AlertPlace(
        district=area(place.district, place.district_name),
        street=area(place.street, place.street_name),
        community=area(place.community, place.community_name),
        grid=area(place.grid, place.grid_name),
        building=clip(place.building, 120),
        unit=clip(place.unit, 120),
        floor=clip(place.floor, 120),
        lon=place.lon,
        lat=place.lat,
    )


def _samples(alert: Alert) -> Iterator[Sample]:
    for evidence in (alert.why, alert.last):
        if evidence is not None and evidence.quantity:
            yield Sample(
                decided=evidence.decided,
                quantity=evidence.quantity,
                value=evidence.value,
                unit=evidence.unit or QUANTITIES[QUANTITY_INDEX[evidence.quantity]].unit,
                function=evidence.function,
                ts=instant(evidence.ts_ms),
            )


def _group(alert: Alert) -> AlertGroup | None:
    latest = alert.group
    if latest is None:
        return None
    return AlertGroup(
        id=clip(alert.device, 300),
        kind=alert.device.split(":", 2)[1],
        size=latest.size,
        breached=latest.breached,
        lost=latest.lost,
        devices=list(latest.devices),
    )


def _timing(alert: Alert) -> Timing:
    return Timing(
        happened=instant(alert.onset_ms),
        heard=instant(alert.why.heard_ms),
        clock=_clock(alert.why),
        late=is_late(alert),
        on_delay_ms=alert.waited_ms or (alert.level or alert.card).for_ms,
        flapping_on_delay_ms=alert.flapping_ms,
        slack_ms=alert.slack_ms,
    )


def _clock(why: Evidence) -> Literal["good", "repaired", "unknown"]:
    if why.flags & Flag.CLOCK_UNKNOWN:
        return "unknown"
    return "repaired" if why.flags & Flag.REPAIRED else "good"


def _annotations(alert: Alert) -> Iterator[Annotation]:
    if area_of(alert) == UNKNOWN_GRID:
        yield "grid_unknown"
    if alert.place_at_heard:
        yield "place_at_heard"
    for bit, annotation in _FLAGS:
        if alert.why.flags & bit:
            yield annotation
    if alert.lane == Episode.LATE or alert.why.flags & Flag.LATE:
        yield "late"
    if alert.severity != alert.rule_severity:
        yield "over_budget"
