"""The benchmark's lines are those of the client library, whichever store it finds."""

from __future__ import annotations

from app.bench import influx
from ingest.telemetry.buffer import Rows
from ingest.telemetry.influx.lines import Encoder


def test_points_and_lines_agree() -> None:
    """`_points` raises where a line of ours isn't that of a Point, letter by letter."""
    directory = influx._town()
    (batch,) = influx._batches(1, influx.STEP_ROWS)

    figures = influx._points(directory, batch)

    assert set(figures) == {"point_lines_per_cpu_s", "point_cpu_s_per_million_rows"}


def test_rows_are_packs_of_a_gateway() -> None:
    directory = influx._town()
    first, second = influx._batches(1, 2 * influx.STEP_ROWS)
    assert len(first) == influx.STEP_ROWS
    assert len(set(directory.gateway[first.device[:500]].tolist())) == 1
    rows = Rows(second.device, second.quantity, second.ts_ms, second.value, second.flags)
    bodies, refused = Encoder(directory).encode(rows, 0)
    assert not refused
    assert sum(body.rows for body in bodies) == influx.STEP_ROWS
