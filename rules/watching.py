"""How many devices rules watch, and why a rule doesn't watch one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from contracts.directory import DeviceDirectory
from contracts.quantities import FAMILIES
from contracts.where import belongs
from rules.members import LIVE, NOT_WATCHED, Members, has
from rules.ruleset import Rule, RuleSet


def watched(ruleset: RuleSet, members: Members) -> dict[str, int]:
    """Devices by name of the rule or variant; a rule over groups watches the devices in them."""
    counts: dict[str, int] = {}
    for number, rule in enumerate(ruleset.rules):
        if rule.card.name not in counts:
            known = len(members.rows(members.family_of(number)))
            slots = members.slots(LIVE, number)[:known]
            counts[rule.card.name] = int((slots != NOT_WATCHED).sum())
    return counts


def why_not(rows: Sequence[Rule], directory: DeviceDirectory, device: int) -> Iterator[str]:
    """Why no variant of a rule watches a device of the registry.

    rows: of all variants of the rule, none = it is switched off. device: its directory row.
    """
    if not rows:
        yield "it is switched off: enabled: false"
        return
    family = FAMILIES[int(directory.family[device])]
    if family != rows[0].card.family:
        yield f"it is for {rows[0].card.family} devices, this one is of family {family}"
        return
    at = np.array([device], np.int32)
    for name, values in rows[0].selectors:
        if not has(directory, name, values, at)[0]:
            yield f"on asks for {name} {' or '.join(values)}, {_said(directory, name, device)}"
            return
    if not any(belongs(row.card, directory, at)[0] for row in rows):
        yield "an override switches it off for this device: enabled: false"


def _said(directory: DeviceDirectory, attribute: str, device: int) -> str:
    column = directory.registry.devices.attributes.get(attribute)
    code = -1 if column is None else int(column.codes[device])
    if column is None or code < 0:
        return "the registry says nothing of it"
    return f"the registry says {column.values[code]}"
