"""What a change of a rule instance is about, and what it shows: devices, groups, evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from contracts.batch import Flag
from contracts.directory import DeviceDirectory
from contracts.groups import group_parts
from contracts.quantities import QUANTITIES
from contracts.registry import Place
from contracts.rulebook import RuleCard, Term
from contracts.transitions import TransitionBatch
from dispatch.alert import Evidence, GroupEvidence


@dataclass(frozen=True, slots=True)
class Subject:
    """A device or a group. place: where it is at a time. gateway, riser: "" = none."""

    id: str
    place: Callable[[int], Place]
    gateway: str
    riser: str
    group: GroupEvidence | None = None


def subject(directory: DeviceDirectory, transitions: TransitionBatch, number: int) -> Subject:
    """What one change is about."""
    groups = transitions.groups
    if groups is None or groups.group[number] < 0:
        row = int(transitions.device[number])
        return device_subject(directory, row)
    row, known = int(groups.group[number]), directory.groups
    named = groups.members[number]
    evidence = GroupEvidence(
        size=int(groups.size[number]),
        breached=int(groups.breached[number]),
        lost=int(groups.lost[number]),
        devices=tuple(directory.ids[device] for device in named[named >= 0].tolist()),
    )
    gateway, riser = _named_by(known.ids[row])
    return Subject(known.ids[row], partial(known.place, row), gateway, riser, evidence)


def device_subject(directory: DeviceDirectory, row: int) -> Subject:
    """A device of the directory as what a change is about."""
    table = directory.registry.devices
    riser = table.attribute("riser", row) if row < len(table) else ""
    place = partial(directory.place, row)
    return Subject(directory.ids[row], place, _gateway_of(directory, row), riser)


def place_of(about: Subject, onset_ms: int, evidence: Evidence) -> tuple[Place, bool]:
    """The place when it happened; when that names no grid, the one when it was heard.

    A fire stamped 1970 must still find its grid: the code valid now is where people go.
    """
    if not evidence.flags & Flag.CLOCK_UNKNOWN:
        place = about.place(onset_ms)
        if place.grid or place.community:
            return place, False
    place = about.place(evidence.heard_ms)
    return place, bool(place.grid or place.community)


def _gateway_of(directory: DeviceDirectory, device: int) -> str:
    """The gateway that speaks for a device row; a gateway as a device is its own. "" = none."""
    if directory.family_name(device) == "gateway":
        return directory.ids[device]
    row = int(directory.gateway[device])
    return "" if row < 0 else directory.gateways[row]


def _named_by(group: str) -> tuple[str, str]:
    """(gateway, riser) that a group's id names, "" = none."""
    kind, parts = group_parts(group)
    return (parts[-1] if kind == "gateway" else "", parts[-1] if kind == "riser" else "")


_PLAIN = Term("", "", "")


def evidence_of(card: RuleCard, row: dict[str, int | float], decided: str) -> Evidence:
    """What the row of a change shows. decided: what it was evidence for, as `Evidence` has it."""
    quantity = int(row["quantity"])
    term = card.terms[quantity - len(QUANTITIES)] if quantity >= len(QUANTITIES) else _PLAIN
    is_condition = bool(term.name) and not term.unit
    name = QUANTITIES[quantity].name if 0 <= quantity < len(QUANTITIES) else term.quantity
    return Evidence(
        decided=decided,  # type: ignore[arg-type]  # one of the literals, by the callers here
        quantity=name,
        function=term.name,
        unit=term.unit,
        value=None if is_condition else _finite(row["value"]),
        threshold=None if is_condition else _finite(row["threshold"]),
        ts_ms=int(row["decided_ms"]),
        heard_ms=int(row["heard_ms"]),
        flags=int(row["flags"]),
    )


def _finite(value: float) -> float | None:
    return value if -np.inf < value < np.inf else None
