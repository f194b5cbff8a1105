"""Which devices a variant of a rule is for, by the registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from contracts.directory import DeviceDirectory
from contracts.groups import PREFIX
from contracts.rulebook import RuleCard, Where

Bools = NDArray[np.bool_]
Rows = NDArray[np.int32]


def belongs(card: RuleCard, directory: DeviceDirectory, rows: Rows) -> Bools:
    """bool per directory row: whether the device meets this variant of the rule.

    Strangers, and devices without a grid or the attribute, fit no `Where`: they meet the rule
    itself. What the rule selects with `on` isn't asked here.
    """
    found = np.ones(len(rows), np.bool_)
    for where in card.where:
        found &= fits(where, directory, rows)
    for where in card.beside:
        found &= ~fits(where, directory, rows)
    return found


def fits(where: Where, directory: DeviceDirectory, rows: Rows) -> Bools:
    """bool per directory row: whether the device is one of those."""
    known = rows < directory.registered
    found = known.copy()
    table = directory.registry.devices
    if where.grids:
        grids = directory.registry.grids
        inside = [i for i, grid in enumerate(grids) if grid.code.startswith(where.grids)]
        found[known] &= np.isin(table.grid[rows[known]], inside)
    for name, values in where.attributes:
        column = table.attributes.get(name)
        if column is None:
            return np.zeros(len(rows), np.bool_)
        accepted = [i for i, value in enumerate(column.values) if value in values]
        found[known] &= np.isin(column.codes[rows[known]], accepted)
    return found


def card_of(cards: Iterable[RuleCard], directory: DeviceDirectory, subject: str) -> RuleCard | None:
    """The variant that a device (or group) meets; cards: those of one rule, in their order.

    None when it is for nobody like that, as when a variant was switched off. What the registry
    doesn't know any more meets the first.
    """
    known = list(cards)
    if len(known) == 1 and not (known[0].where or known[0].beside):
        return known[0]
    row = _a_device(directory, subject)
    if row is None:
        return next(iter(known), None)
    rows = np.array([row], np.int32)
    return next((card for card in known if belongs(card, directory, rows)[0]), None)


def _a_device(directory: DeviceDirectory, subject: str) -> int | None:
    """All devices of a group meet the same variant, so one of them will do."""
    row = directory.subject_row(subject)
    if row is None or not subject.startswith(PREFIX):
        return row
    return next(_members(directory, row), None)


def _members(directory: DeviceDirectory, row: int) -> Iterator[int]:
    yield from directory.groups.members(row).tolist()
