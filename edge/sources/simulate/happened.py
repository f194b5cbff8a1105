"""Incidents as data: what happened to which device, what must ring and what must not.

The expectations are written as alert types (`family.condition`), independent of rule files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from edge.sources.simulate.effects import Change, Report

Class = Literal["incident", "near_miss", "sensor_fault"]


class Expected(msgspec.Struct, frozen=True):
    """An alert `type` that must be raised for the device, with its time of change in
    from_ms <= time <= by_ms."""

    type: str
    from_ms: int
    by_ms: int


@dataclass(frozen=True, slots=True)
class Course:
    """How one incident goes: its changes, its reports, and what must come of it."""

    changes: tuple[Change, ...] = ()
    reports: tuple[Report, ...] = ()
    expect: tuple[Expected, ...] = ()
    forbid: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident, near miss or sensor fault. device: number in the layout."""

    id: str
    kind: str
    klass: Class
    device: int
    start_ms: int
    end_ms: int
    key: int
    course: Course


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the truth file.

    expect: alerts that must come. forbid: alert types that must not be raised for this device
    because of this happening (from start_ms to end_ms). `class` in JSON.
    """

    id: str
    kind: str
    klass: str = msgspec.field(name="class")
    device: str
    family: str
    gateway: str
    grid: str
    building: str
    start_ms: int
    end_ms: int
    expect: tuple[Expected, ...] = ()
    forbid: tuple[str, ...] = ()
    note: str = ""
