"""Real servers to write to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.parts.telemetry_servers import Influx1, VictoriaMetrics


@pytest.fixture
def victoria(tmp_path: Path, require_tool: Callable[[str], str]) -> Iterator[VictoriaMetrics]:
    require_tool("victoria-metrics")
    with VictoriaMetrics(tmp_path / "victoria") as server:
        yield server


@pytest.fixture
def influx1(tmp_path: Path, require_tool: Callable[[str], str]) -> Iterator[Influx1]:
    require_tool("influxd")
    with Influx1(tmp_path / "influx1") as server:
        yield server
