"""Which group a device belongs to, and where that group is."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.directory import DeviceDirectory
from contracts.groups import _MOST, KINDS, GroupKind, _as_one
from contracts.registry import Area, Column, DeviceTable, Grid, Registry

A, B = "340199001001001", "340199001001002"
T0 = 1_780_000_000_000


def column(*texts: str) -> Column:
    values = tuple(sorted(set(texts) - {""}))
    return Column(np.array([values.index(t) if t else -1 for t in texts], np.int32), values)


def directory() -> DeviceDirectory:
    """0, 1: one building, two floors. 2: that building's name in another grid. 3: no grid."""
    table = DeviceTable(
        ids=("d0", "d1", "d2", "d3", "d4"),
        family=np.zeros(5, np.int8),
        gateways=("gw-0", "gw-1"),
        gateway=np.array([0, 0, 1, 1, -1], np.int32),
        grid=np.array([0, 0, 1, -1, 0], np.int32),
        lon=np.full(5, 117.0),
        lat=np.full(5, 31.0),
        attributes={
            "building": column("3/4", "3/4", "3/4", "3/4", ""),
            "unit": column("1", "1", "1", "1", "1"),
            "floor": column("5", "6", "5", "5", "5"),
            "riser": column("R1", "", "R1", "R1", "R1"),
        },
    )
    areas = {A[:12]: Area(A[:12], "community", "Community")}
    grids = (Grid(A, "One", "residential"), Grid(B, "Two", "residential", valid_from_ms=T0))
    return DeviceDirectory(Registry(areas=areas, grids=grids, devices=table))


@pytest.mark.parametrize(
    ("kind", "want"),
    [
        ("grid", [A, A, B, "", A]),
        ("community", [A[:12], A[:12], A[:12], "", A[:12]]),
        ("building", [f"{A}/3%2F4", f"{A}/3%2F4", f"{B}/3%2F4", "", ""]),
        ("unit", [f"{A}/3%2F4/1", f"{A}/3%2F4/1", f"{B}/3%2F4/1", "", ""]),
        ("riser", [f"{A}/3%2F4/R1", "", f"{B}/3%2F4/R1", "", ""]),
        ("floor", [f"{A}/3%2F4/1/5", f"{A}/3%2F4/1/6", f"{B}/3%2F4/1/5", "", ""]),
        ("gateway", ["gw-0", "gw-0", "gw-1", "gw-1", ""]),
    ],
)
def test_the_group_of_each_device(kind: GroupKind, want: list[str]) -> None:
    groups = directory().groups
    names = ["" if row < 0 else groups.ids[row] for row in groups.of(kind).tolist()]
    assert names == [f"group:{kind}:{key}" if key else "" for key in want]


def test_a_stranger_belongs_to_its_gateway_alone() -> None:
    known = directory()
    for kind in KINDS:
        known.groups.of(kind)
    row = known.intern_device("new", "smoke", known.intern_gateway("gw-9"))

    assert [kind for kind in KINDS if known.groups.of(kind)[row] >= 0] == ["gateway"]
    assert known.subject_row("group:gateway:gw-9") == known.groups.of("gateway")[row]
    assert known.subject_row("new") == row
    assert known.subject_row("group:gateway:gw-10") is None


def test_the_place_is_what_all_devices_share() -> None:
    known = directory()

    def place(kind: GroupKind, device: int, at_ms: int = T0) -> tuple[str, ...]:
        found = known.groups.place(int(known.groups.of(kind)[device]), at_ms)
        assert found.lon is None
        assert found.lat is None
        return (found.grid, found.community_name, found.building, found.unit, found.floor)

    assert place("grid", 0) == (A, "Community", "", "", "")
    assert place("community", 0) == ("", "Community", "", "", "")
    assert place("building", 0) == (A, "Community", "3/4", "", "")
    assert place("unit", 0) == (A, "Community", "3/4", "1", "")
    assert place("floor", 1) == (A, "Community", "3/4", "1", "6")
    assert place("riser", 0) == (A, "Community", "3/4", "", "")
    assert place("gateway", 0) == (A, "Community", "3/4", "1", "")
    assert place("gateway", 2) == ("", "", "", "", "")
    assert place("building", 2, T0 - 1) == ("", "", "3/4", "", "")


def test_many_keys_become_one_number_however_wide_they_are() -> None:
    dice = np.random.default_rng(4)
    wide = [dice.integers(-1, 3, 500) * (_MOST // 8) for _ in range(4)]
    keys = [np.maximum(key, -1) for key in (*wide, dice.integers(-1, 2, 500))]
    _, want = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)
    _, found = np.unique(_as_one(keys), return_inverse=True)
    # The same rows are together, whatever the numbers are.
    pairs = set(zip(want.reshape(-1).tolist(), found.tolist(), strict=True))
    assert len(pairs) == len(set(want.reshape(-1).tolist())) == len(set(found.tolist()))
