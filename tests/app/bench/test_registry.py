"""The made-up town is a faultless registry, and nothing that its devices say begins an alert."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.bench import registry
from app.bench.town import CALM, CORNERS, SIDE, write_town
from contracts.quantities import FAMILIES
from ingest.registry import check, load

DEVICES = 700


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "town"
    write_town(folder, DEVICES, seed=3)
    return folder


def test_a_town_has_no_fault(town: Path) -> None:
    assert check(town) == []


def test_half_of_the_devices_find_their_grid_by_their_point(town: Path) -> None:
    found = load(town)
    table = found.devices
    assert len(table) == DEVICES
    assert (table.grid >= 0).all()
    assert int((~np.isnan(table.lon)).sum()) == DEVICES // 2
    assert len(found.grids) == SIDE * SIDE
    assert {len(grid.polygon[0]) for grid in found.grids} == {CORNERS}


def test_every_device_speaks_once_and_all_is_well(town: Path) -> None:
    families = load(town).devices.family.tolist()
    found = registry._serve(town)
    assert found["readings"] == sum(len(CALM[FAMILIES[family]]) for family in families)
    assert found["events"] == 0
    assert found["rules"] > 80


def test_loading_is_measured(town: Path) -> None:
    found = registry._child("load", town)
    assert found["cpu_s"] > 0
    assert 0 < found["before_mb"] < found["peak_mb"]
