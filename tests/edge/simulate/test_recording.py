"""A written recording holds the readings, and says the same as the district."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from contracts import telemetry
from edge.sources.simulate import District, Rates, Size, write_recording


def test_a_recording_reads_back_as_the_districts_readings(tmp_path: Path) -> None:
    district = District(9, Size(2, 90, 2), Rates(600.0, 300.0, 100.0))
    start, end = district.start_ms, district.start_ms + 330_000
    rows, told = write_recording(tmp_path / "r", tmp_path / "t", district, start, end)
    wanted = district.readings(start, end)
    batch, _, rejects = telemetry.decode_many((tmp_path / "r").read_bytes().splitlines())
    assert not len(rejects)
    assert sorted(batch.rows()) == sorted(wanted.rows())
    assert np.all(np.diff(batch.ts_ms) >= 0)
    assert rows == len(wanted)
    lines = [json.loads(line) for line in (tmp_path / "t").read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == [one.id for one in district.truth(start, end)]
    assert told == len(lines) > 10
