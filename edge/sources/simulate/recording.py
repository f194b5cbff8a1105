"""A simulated span as a recording: native telemetry lines and the truth, for `replay`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from contracts import telemetry
from edge.sources.simulate.district import District
from edge.sources.simulate.load import LoadDistrict

STEP_MS = 60_000


def write_recording(
    readings: Path, truth: Path, district: District | LoadDistrict, from_ms: int, to_ms: int
) -> tuple[int, int]:
    """Write all rows with from_ms <= ts < to_ms as JSON lines in time order, and what happened.

    Gives (rows, lines of truth). Raises OSError.
    """
    rows = told = 0
    with readings.open("wb") as out, truth.open("wb") as beside:
        for start in range(from_ms, to_ms, STEP_MS):
            end = min(start + STEP_MS, to_ms)
            batch = district.readings(start, end)
            if len(batch):
                out.write(telemetry.encode_messages(batch))
            rows += len(batch)
            for line in district.truth(start, end):
                beside.write(msgspec.json.encode(line) + b"\n")
                told += 1
    return rows, told
