"""The `data` of an alert event: what a person or a platform needs to act, and why.

Every field is always present; `null` or "" where a thing is not known. Changed by addition only.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.rulebook import Text

AlertState = Literal["active", "latched", "cleared"]
AlertChange = Literal[
    "raised",  # the condition holds
    "again",  # it holds anew while the alert was open: notifies again
    "unknown",  # data was lost while the alert is open
    "known",  # data is back
    "latched",  # the condition is over; the alert waits for a reset
    "acknowledged",  # somebody has taken it
    "disposition",  # somebody said what it was
    "released",  # what kept it back is over: from now on it is delivered
    "inhibited",  # another alert keeps it back from now on
    "level",  # it stands at another level of its rule, or the rule's severity was changed
    "rule_changed",  # the rule was replaced by another version
    "rule_removed",  # the rule is gone
    "cleared",  # the condition is over
    "reset",  # somebody ended it
    "reminder",  # nobody has acknowledged it yet: a notification, not a change
]
Annotation = Literal[
    "unverified_source",
    "grid_unknown",
    "unregistered",
    "place_at_heard",
    "device_test",
    "quality_bad",
    "quality_stale",
    "clock_repaired",
    "clock_unknown",
    "late",
    "historical",
    "over_budget",
]
DeliveryState = Literal["deliver", "inhibited", "shadow"]
Disposition = Literal["real", "false", "drill"]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Whether receivers get this event; recorded it is in any case.

    state: `deliver`; `inhibited`, another alert at the same place is open; `shadow`, the rule is
    on trial. alert, rule: the alert that inhibits and its rule, "" = none.
    """

    state: DeliveryState = "deliver"
    alert: str = ""
    rule: str = ""


class RuleRef(msgspec.Struct, frozen=True, kw_only=True):
    """Which rule decided. `hash` names its exact meaning; `removed`: it is no longer in force.

    variant: the one that overrides made for such devices, "" = the rule itself. layer, source:
    which layer had the last word on it, and in what file and line; "" = nobody changed what the
    rule's own file says. why: what is given there as the reason.
    """

    id: str
    hash: str
    standard: str = ""
    condition: str = ""
    removed: bool = False
    variant: str = ""
    layer: str = ""
    source: str = ""
    why: Text = Text()


class ModelRef(msgspec.Struct, frozen=True, kw_only=True):
    """Whose scores an alert hangs on. detector: as in `inactivity`. hash: SHA-256 of the manifest
    of its model, which names the model's own; threshold: that of the manifest, null = it has none.
    """

    detector: str
    hash: str
    threshold: float | None = None


class Area(msgspec.Struct, frozen=True, kw_only=True):
    code: str = ""
    name: str = ""


class AlertPlace(msgspec.Struct, frozen=True, kw_only=True):
    """The four levels with codes and names, and the spot. lon, lat: degrees."""

    district: Area = Area()
    street: Area = Area()
    community: Area = Area()
    grid: Area = Area()
    building: str = ""
    unit: str = ""
    floor: str = ""
    lon: float | None = None
    lat: float | None = None


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A reading that decided. value: in `unit`, null = the sensor sent none. ts: RFC 3339.

    function: what was asked of the quantity, as `avg(static_pressure, 5m)`, and then value is the
    answer, null = it is true; "" = its newest value.
    """

    decided: Literal["raised", "again", "level", "cleared", "unknown", "known"]
    quantity: str
    value: float | None
    unit: str
    ts: str
    function: str = ""


class AlertGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The group that an alert is about, as it was at the last change.

    id: e.g. `group:building:340199001001001/3`. size: devices that the rule watches there.
    breached: of how many the question was true. devices: their ids, the first 16. lost: devices
    that had been silent for too long.
    """

    id: str
    kind: str
    size: int
    breached: int
    lost: int
    devices: list[str]


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """When it happened, when it was heard, and how good the clock was.

    happened: event time at which the condition began. heard: when the deciding reading was
    accepted. late: it came after its time. on_delay_ms: how long the condition had to hold;
    flapping_on_delay_ms: how long the next one must, because the device flaps, 0 = as long.
    slack_ms: how long timed rules wait for late readings.
    """

    happened: str
    heard: str
    clock: Literal["good", "repaired", "unknown"]
    late: bool
    on_delay_ms: int
    slack_ms: int
    flapping_on_delay_ms: int = 0


class AlertData(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one alert after one change.

    severity: at which it stands now, 1 (Ⅰ, red) to 4 (Ⅳ, blue); level: the same as a Roman number.
    level_name: of the rule's level at which it stands, "" = the rule has none, "missing" = raised
    by silence. severity_before: before this event. severity_worst: the worst so far; who was told
    of that is told of all that follows. flapping: it was raised so often in a short time that the
    condition must hold for longer (`timing`).
    notify: whether this event should call a person. revision counts the alert's events from 1.
    onsets counts how often the condition began while the alert was open. by, note: of the
    command behind this event. reminder: the number of a reminder, 0 for every other event.
    threshold: the limit that was met, in `unit`. shadow: the rule is on trial, nobody is told.
    over_budget: the rule had rung too often in this grid on this day, so `severity` is 4;
    rule_severity is what it would have been.
    device: its id; of a group alert the id of the group. group: null for an alert of a device.
    models: where the rule asks for scores of a detector, the model that judged when the alert was
    raised last; [] = it doesn't, or the log doesn't say.
    """

    alert: str
    change: AlertChange
    revision: int
    rule: RuleRef
    title: Text
    reason: Text
    runbook: Text
    severity: int
    level: str
    state: AlertState
    acknowledged: bool
    unknown: bool
    disposition: Disposition | None
    alert_class: Literal["safety", "standard"] = msgspec.field(name="class")
    latching: bool
    family: str
    condition: str
    device: str
    place: AlertPlace
    threshold: float | None
    unit: str
    samples: list[Sample]
    timing: Timing
    annotations: list[Annotation]
    onset: str
    onsets: int
    notify: bool
    by: str = ""
    note: str = ""
    reminder: int = 0
    group: AlertGroup | None = None
    delivery: Delivery = Delivery()
    shadow: bool = False
    over_budget: bool = False
    rule_severity: int = 0
    level_name: str = ""
    severity_before: int = 0
    severity_worst: int = 0
    flapping: bool = False
    models: list[ModelRef] = []
