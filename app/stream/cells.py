"""Cells: grids that must stand in one partition, and which partition that is. Pure.

A cell is what gateways tie together: all grids whose devices speak through a common gateway. The
rules look at nothing wider, unless they ask about communities; then cells are made of those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.stream.records import gateway_key, grid_key
from app.stream.routes import by_checksum
from contracts.detector import INNER_PREFIX
from contracts.registry import Registry


@dataclass(frozen=True, slots=True)
class Cell:
    """grids: codes. gateways: ids. Both sorted; a cell has at least one of either."""

    grids: tuple[str, ...]
    gateways: tuple[str, ...]

    @property
    def name(self) -> str:
        """The least grid code; without a grid the least gateway."""
        return self.grids[0] if self.grids else self.gateways[0]

    @property
    def keys(self) -> tuple[bytes, ...]:
        """As they stand in `assignments`."""
        grids = tuple(grid_key(code) for code in self.grids)
        return grids + tuple(gateway_key(name) for name in self.gateways)


@dataclass(frozen=True, slots=True)
class Joined:
    """A cell whose members are assigned to several partitions: partition -> who is there."""

    cell: Cell
    members: Mapping[int, tuple[str, ...]]

    def __str__(self) -> str:
        there = "; ".join(
            f"{', '.join(names[:3])}{' ...' if len(names) > 3 else ''} in {partition}"
            for partition, names in sorted(self.members.items())
        )
        return f"the cell of {self.cell.name} would join partitions: {there}"


@dataclass(frozen=True, slots=True)
class Plan:
    """partitions: of each cell. changes: what `assignments` must be told. joined: cells that
    stand in several partitions now; with `move` they are brought to one."""

    partitions: tuple[int, ...]
    changes: Mapping[bytes, int]
    joined: tuple[Joined, ...]


def cells_of(registry: Registry, *, whole_communities: bool = False) -> list[Cell]:
    """The cells of a registry, in the order of their names. A grid without devices is one too."""
    forest = _Forest()
    codes = [grid.code for grid in registry.grids]
    for code in codes:
        forest.add(("grid", code))
        if whole_communities:
            community = code[: registry.scheme.lengths[2]]
            forest.join(("grid", code), ("community", community))
    for gateway, code in _ties(registry):
        if gateway:
            forest.add(("gateway", gateway))
        if gateway and code:
            forest.join(("gateway", gateway), ("grid", code))
    cells = []
    for members in forest.trees():
        grids = sorted({name for kind, name in members if kind == "grid"})
        gateways = sorted({name for kind, name in members if kind == "gateway"})
        cells.append(Cell(tuple(grids), tuple(gateways)))
    return sorted(cells, key=lambda cell: (not cell.grids, cell.name))


def _ties(registry: Registry) -> list[tuple[str, str]]:
    """(gateway, grid code) of devices, each pair once; "" = none.

    A detector's inner gateway ties nothing together and is assigned nowhere: it speaks in every
    partition, for the homes and cameras of that partition.
    """
    table = registry.devices
    pairs = np.unique(np.stack([table.gateway, table.grid], axis=1), axis=0)
    inner = [name.startswith(INNER_PREFIX) for name in table.gateways]
    return [
        (
            table.gateways[gateway] if gateway >= 0 and not inner[gateway] else "",
            registry.grids[grid].code if grid >= 0 else "",
        )
        for gateway, grid in pairs.tolist()
    ]


def plan(cells: Sequence[Cell], known: Mapping[bytes, int], partitions: int, *, move: bool) -> Plan:
    """Who is assigned stays; a new cell goes where the checksum of its name says.

    known: what `assignments` says now; one who isn't in the registry any more keeps his place.
    A joined cell goes, with `move`, to the partition that has most of it, of those the least;
    without, nothing of it changes.
    """
    chosen: list[int] = []
    changes: dict[bytes, int] = {}
    joined: list[Joined] = []
    for cell in cells:
        there = Counter(known[key] for key in cell.keys if key in known)
        if len(there) > 1:
            joined.append(Joined(cell, _members(cell, known)))
        target = min(there, key=lambda p: (-there[p], p)) if there else None
        if target is None:
            target = by_checksum(cell.name, partitions)
        chosen.append(target)
        if len(there) <= 1 or move:
            changes |= {key: target for key in cell.keys if known.get(key) != target}
    return Plan(tuple(chosen), changes, tuple(joined))


def _members(cell: Cell, known: Mapping[bytes, int]) -> dict[int, tuple[str, ...]]:
    found: dict[int, list[str]] = {}
    for key in cell.keys:
        if key in known:
            found.setdefault(known[key], []).append(key.decode())
    return {partition: tuple(names) for partition, names in found.items()}


def partition_of_devices(
    registry: Registry, cells: Sequence[Cell], chosen: Sequence[int], partitions: int
) -> NDArray[np.int32]:
    """int32 per device of the registry. One with neither gateway nor grid goes by the checksum of
    its own id: nobody can tell where its messages come in."""
    of = {key: p for cell, p in zip(cells, chosen, strict=True) for key in cell.keys}
    by_grid, by_gateway = _places(registry, of)
    found = np.where(registry.devices.grid >= 0, by_grid, by_gateway)
    for row in np.flatnonzero(found < 0).tolist():
        found[row] = by_checksum(registry.devices.ids[row], partitions)
    return found.astype(np.int32)


def _places(
    registry: Registry, of: Mapping[bytes, int]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Per device where its grid and where its gateway stands, -1 = nowhere."""
    table = registry.devices
    by_gateway = _column(of.get(gateway_key(name), -1) for name in table.gateways)
    by_grid = _column(of.get(grid_key(grid.code), -1) for grid in registry.grids)
    return by_grid[table.grid], by_gateway[table.gateway]


def between(
    registry: Registry, of_device: NDArray[np.int32], known: Mapping[bytes, int], planned: Plan
) -> dict[int, NDArray[np.bool_]]:
    """Of each partition that gets cells and gives some up: the devices that it must know as long as
    both goes on. of_device: where each goes. known: what `assignments` says now."""
    gaining = set(planned.changes.values())
    losing = {known[key] for key, p in planned.changes.items() if known.get(key, p) != p}
    by_grid, by_gateway = _places(registry, known)
    return {
        partition: (of_device == partition) | (by_grid == partition) | (by_gateway == partition)
        for partition in sorted(gaining & losing)
    }


def _column(values: Iterable[int]) -> NDArray[np.int32]:
    """With a last element for the index -1."""
    return np.array([*values, -1], np.int32)


Node = tuple[str, str]


class _Forest:
    """Union-find with path halving."""

    def __init__(self) -> None:
        self._parent: dict[Node, Node] = {}

    def add(self, node: Node) -> Node:
        parent = self._parent
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(self, one: Node, other: Node) -> None:
        self._parent[self.add(one)] = self.add(other)

    def trees(self) -> list[list[Node]]:
        found: dict[Node, list[Node]] = {}
        for node in self._parent:
            found.setdefault(self.add(node), []).append(node)
        return list(found.values())
