"""The written mappings give the series that the expectations were reasoned from."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.sources.recordings import Refusal, open_recording
from tests.recorded.expect import RECORDINGS
from tests.recorded.recordings import NAMES, place_mapping

pytestmark = pytest.mark.recorded


@pytest.mark.parametrize("name", NAMES)
def test_a_mapping_reads_the_expected_series(
    name: str, recorded_data: Path, tmp_path: Path
) -> None:
    refused: list[Refusal] = []
    recording = open_recording(place_mapping(name, recorded_data, tmp_path))
    found: dict[str, list[tuple[int, float]]] = {}
    first = None
    for chunk in recording.chunks(0, refused.append):
        for device, _, quantity, ts, value, flags in chunk.batch.rows():
            first = ts if first is None else first
            assert device == RECORDINGS[name][0]
            assert bool(flags) == (quantity == "fire" and value != 0)
            found.setdefault(quantity, []).append((ts - first, value))
    wanted = RECORDINGS[name][1](recorded_data)
    assert not refused
    assert set(found) == set(wanted)
    for quantity, points in wanted.items():
        assert [ts for ts, _ in found[quantity]] == [ts for ts, _ in points]
        assert [v for _, v in found[quantity]] == pytest.approx([v for _, v in points], abs=1e-9)


def test_no_recording_is_kept_in_the_repository() -> None:
    here = Path(__file__).resolve().parent
    kept = {path.name for path in here.rglob("*.csv")} | {p.name for p in here.rglob("*.gz")}
    assert kept == {"areas.csv", "grids.csv", "devices.csv"}
