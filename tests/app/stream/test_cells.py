"""Cells and assignments: what is assigned stays, what shares a gateway stays together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.stream.cells import Cell, cells_of, partition_of_devices, plan
from app.stream.records import gateway_key, grid_key
from app.stream.routes import by_checksum
from contracts.registry import DeviceTable, Grid, Registry

PARTITIONS = 5
GRIDS = tuple(f"34011100200{n // 3}00{n % 3 + 1}" for n in range(9))
"""Three communities of three grids."""
GATEWAYS = tuple(f"gw-{n}" for n in range(6))

Row = tuple[int, int]
"""(gateway, grid) of a device, -1 = none."""

rows = st.lists(
    st.tuples(st.integers(-1, len(GATEWAYS) - 1), st.integers(-1, len(GRIDS) - 1)), max_size=20
)


def registry(devices: Sequence[Row], grids: Sequence[str] = GRIDS) -> Registry:
    return Registry(
        grids=tuple(Grid(code, code, "residential") for code in grids),
        devices=DeviceTable(
            ids=tuple(f"d{n}" for n in range(len(devices))),
            family=np.zeros(len(devices), np.int8),
            gateways=GATEWAYS,
            gateway=np.array([gateway for gateway, _ in devices], np.int32),
            grid=np.array([grid for _, grid in devices], np.int32),
            lon=np.full(len(devices), np.nan),
            lat=np.full(len(devices), np.nan),
        ),
    )


def settled(cells: list[Cell], known: dict[bytes, int], *, move: bool) -> dict[bytes, int]:
    return known | dict(plan(cells, known, PARTITIONS, move=move).changes)


def test_a_detectors_inner_gateway_ties_nothing_together() -> None:
    """Homes of all grids are of the one gateway that speaks for the detector."""
    one = registry([(0, 0), (1, 1), (2, 0), (2, 1), (2, 2)])
    names = ("gw-0", "gw-1", "detector-inactivity")
    one = replace(one, devices=replace(one.devices, gateways=names))
    cells = cells_of(one, whole_communities=False)
    assert [cell.gateways for cell in cells if cell.gateways] == [("gw-0",), ("gw-1",)]
    assert all(len(cell.grids) == 1 for cell in cells)
    chosen = plan(cells, {}, PARTITIONS, move=False).partitions
    found = partition_of_devices(one, cells, chosen, PARTITIONS)
    assert found.tolist()[2:] == [
        by_checksum(GRIDS[0], PARTITIONS),
        by_checksum(GRIDS[1], PARTITIONS),
        by_checksum(GRIDS[2], PARTITIONS),
    ]


@given(rows, st.booleans())
def test_whoever_shares_a_gateway_shares_a_cell(devices: list[Row], communities: bool) -> None:
    cells = cells_of(registry(devices), whole_communities=communities)
    of = {key: n for n, cell in enumerate(cells) for key in cell.keys}
    assert sum(len(cell.keys) for cell in cells) == len(of)  # Each is in one cell.
    for gateway, grid in devices:
        if gateway >= 0 and grid >= 0:
            assert of[gateway_key(GATEWAYS[gateway])] == of[grid_key(GRIDS[grid])]
    assert {code for cell in cells for code in cell.grids} == set(GRIDS)
    if communities:
        assert len({of[grid_key(code)] for code in GRIDS[:3]}) == 1
    elif not devices:
        assert len(cells) == len(GRIDS)


@given(rows)
def test_the_same_registry_changes_nothing(devices: list[Row]) -> None:
    cells = cells_of(registry(devices))
    first = plan(cells, {}, PARTITIONS, move=False)
    assert not first.joined
    assert [by_checksum(cell.name, PARTITIONS) for cell in cells] == list(first.partitions)
    again = plan(cells, first.changes, PARTITIONS, move=False)
    assert (again.changes, again.joined, again.partitions) == ({}, (), first.partitions)


@given(rows, rows)
def test_what_is_assigned_stays_unless_cells_join(before: list[Row], after: list[Row]) -> None:
    known = settled(cells_of(registry(before)), {}, move=False)
    cells = cells_of(registry(after))
    planned = plan(cells, known, PARTITIONS, move=False)
    assert all(key not in known for key in planned.changes)
    joined = {one.cell for one in planned.joined}
    for cell, partition in zip(cells, planned.partitions, strict=True):
        there = {known[key] for key in cell.keys if key in known}
        assert (len(there) > 1) == (cell in joined)
        if len(there) == 1:
            assert partition == there.pop()


@given(rows, rows)
def test_a_move_brings_each_cell_to_one_partition(before: list[Row], after: list[Row]) -> None:
    known = settled(cells_of(registry(before)), {}, move=False)
    there = registry(after)
    cells = cells_of(there)
    planned = plan(cells, known, PARTITIONS, move=True)
    moved = known | dict(planned.changes)
    for cell, partition in zip(cells, planned.partitions, strict=True):
        assert {moved[key] for key in cell.keys} == {partition}
        came = [known[key] for key in cell.keys if key in known]
        assert not came or came.count(partition) == max(map(came.count, came))
    assert not plan(cells, moved, PARTITIONS, move=False).changes
    found = partition_of_devices(there, cells, planned.partitions, PARTITIONS)
    for row, (gateway, grid) in enumerate(after):
        if gateway >= 0:
            assert found[row] == moved[gateway_key(GATEWAYS[gateway])]
        if grid >= 0:
            assert found[row] == moved[grid_key(GRIDS[grid])]
        if gateway < 0 and grid < 0:
            assert found[row] == by_checksum(f"d{row}", PARTITIONS)


def test_a_joined_cell_says_who_is_where() -> None:
    known = {grid_key(GRIDS[0]): 1, grid_key(GRIDS[1]): 2, gateway_key("gw-0"): 2}
    (joined,) = plan(
        cells_of(registry([(0, 0), (0, 1)], GRIDS[:2])), known, PARTITIONS, move=False
    ).joined
    assert str(joined) == (
        f"the cell of {GRIDS[0]} would join partitions: "
        f"grid/{GRIDS[0]} in 1; grid/{GRIDS[1]}, gateway/gw-0 in 2"
    )
