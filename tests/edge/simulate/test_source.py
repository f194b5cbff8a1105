"""The simulator as a source: pace, resuming, truth file, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.sources import Drawn, SourceError, open_source
from edge.sources.simulate import District, Size
from edge.sources.simulate.district import DEMO_RATES

START = 1_767_225_600_000
START_TEXT = "2026-01-01T08:00:00+08:00"
GATEWAYS = ("gw-01", "gw-03", "gw-02")
Row = tuple[str, str, str, int, float, int]


class HandClock:
    """A clock of the test: waiting moves it, until `stop_ms` is reached."""

    def __init__(self, at_ms: int, stop_ms: int) -> None:
        self.at_ms = at_ms
        self.stop_ms = stop_ms

    def wall_ms(self) -> int:
        return self.at_ms

    def mono_ms(self) -> int:
        return self.at_ms - START

    def wait(self, ms: float) -> bool:
        self.at_ms += max(int(ms), 1) if ms > 0 else 0
        return self.at_ms < self.stop_ms


def opened(clock: HandClock, **options: Any) -> Any:
    table = {"profile": "demo", "devices": 120, "gateways": 3, "grids": 3, "start": START_TEXT}
    return open_source("simulate", table | options, clock=clock, gateways=GATEWAYS)


def per_gateway(drawn: Iterator[Drawn]) -> dict[int, list[Row]]:
    rows: dict[int, list[Row]] = {0: [], 1: [], 2: []}
    for one in drawn:
        rows[one.gateway] += one.batch.rows()
    return rows


def expected(end_ms: int) -> dict[int, list[Row]]:
    district = District(1, Size(3, 120, 3), DEMO_RATES, start_ms=START)
    order = [district.gateways.index(name) for name in GATEWAYS]
    return {i: district.readings(START, end_ms, g).rows() for i, g in enumerate(order)}


def test_it_draws_what_the_district_says_and_nothing_of_the_future() -> None:
    clock = HandClock(START, START + 30_000)
    rows: dict[int, list[Row]] = {0: [], 1: [], 2: []}
    for one in opened(clock).batches(None):
        assert one.batch.ts_ms[-1] < clock.wall_ms()
        rows[one.gateway] += one.batch.rows()
    assert rows == expected(START + 29_750)


@settings(max_examples=10, deadline=None)
@given(stops=st.lists(st.integers(1, 40), min_size=1, max_size=4), pause=st.integers(0, 20_000))
def test_after_any_batch_it_goes_on_from_the_cursor(stops: list[int], pause: int) -> None:
    clock = HandClock(START, START + 10**9)
    rows: dict[int, list[Row]] = {0: [], 1: [], 2: []}
    cursor = None
    end = "2026-01-01T08:01:00+08:00"
    for stop in [*stops, 10**9]:
        drawn = list(islice(opened(clock, end=end).batches(cursor), stop))
        for one in drawn:
            rows[one.gateway] += one.batch.rows()
        cursor = drawn[-1].cursor if drawn else cursor
        clock.at_ms += pause
    assert rows == expected(START + 60_000)


def test_the_rows_are_the_same_at_any_step() -> None:
    end = "2026-01-01T08:00:30+08:00"
    coarse = opened(HandClock(START, START + 10**9), end=end, step_ms=7_000)
    assert per_gateway(coarse.batches(None)) == expected(START + 30_000)


def test_speed_catches_up_and_then_keeps_pace_with_the_clock() -> None:
    hour = 3_600_000
    clock = HandClock(START + hour, START + hour + 400_000)
    last = 0
    for one in opened(clock, speed=60, step_ms=10_000).batches(None):
        last = int(one.batch.ts_ms[-1])
        assert last < clock.wall_ms()
    assert clock.wall_ms() - last < 30_000


def test_unpaced_it_runs_to_its_end_without_waiting() -> None:
    clock = HandClock(START, START + 1)
    source = opened(clock, speed=0, end="2026-01-01T08:10:00+08:00")
    assert per_gateway(source.batches(None)) == expected(START + 600_000)
    assert clock.wall_ms() == START


def test_now_means_the_clock() -> None:
    clock = HandClock(START + 12_345, START + 30_000)
    first = next(opened(clock, start="now").batches(None))
    assert first.batch.ts_ms[0] >= START + 12_345


def test_the_truth_is_written_beside(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    path.write_text("of another run\n")
    clock = HandClock(START, START + 1_200_000)
    per_gateway(opened(clock, truth_file=str(path), step_ms=10_000).batches(None))
    told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    district = District(1, Size(3, 120, 3), DEMO_RATES, start_ms=START)
    assert [one["id"] for one in told] == [
        one.id for one in district.truth(START, START + 1_190_000)
    ]
    assert told[0]["kind"] == "fire"
    assert told[0]["expect"][0]["type"] == "smoke.fire"
    assert {"id", "kind", "class", "device", "grid", "start_ms", "end_ms", "forbid"} <= set(told[0])


def test_an_agent_of_one_gateway_is_told_only_its_own_truth(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    options = {
        "profile": "demo",
        "start": START_TEXT,
        "truth_file": str(path),
        "step_ms": 10_000,
    }
    clock = HandClock(START, START + 1_200_000)
    source = open_source("simulate", options, clock=clock, gateways=("gw-04",))
    assert {one.gateway for one in source.batches(None)} == {0}
    told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {one["gateway"] for one in told} == {"gw-04"}


def test_a_quiet_district_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    clock = HandClock(START, START + 60_000)
    per_gateway(opened(clock, profile="quiet", truth_file=str(path)).batches(None))
    assert path.read_bytes() == b""


def test_a_load_takes_the_names_of_the_agents_gateways() -> None:
    clock = HandClock(START, START + 10_000)
    options = {"profile": "load", "devices_per_gateway": 10, "period_ms": 100, "start": "now"}
    source = open_source("simulate", options, clock=clock, gateways=("north", "south"))
    drawn = list(source.batches(None))
    rows = [sum(len(one.batch) for one in drawn if one.gateway == g) for g in (0, 1)]
    assert all(970 <= count <= 980 for count in rows)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"profile": "storm"}, "profile"),
        ({"sed": 3}, "sed"),
        ({"seed": -1}, "seed"),
        ({"start": "yesterday"}, "source.start"),
        ({"start": "2026-01-01T08:00:00"}, "offset"),
        ({"end": "never"}, "source.end"),
        ({"speed": 0}, "source.speed"),
        ({"gateways": 2}, "gw-03"),
        ({"incidents_per_hour": "many"}, "incidents_per_hour"),
    ],
)
def test_wrong_options_are_named_in_one_line(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SourceError) as refused:
        opened(HandClock(START, START + 1), **options)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_cursor_of_another_source_is_refused() -> None:
    source = opened(HandClock(START, START + 1_000))
    with pytest.raises(SourceError, match="cursor"):
        next(source.batches(b'{"file": 3}'))


def test_a_truth_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    source = opened(HandClock(START, START + 1_000), truth_file=str(tmp_path / "no" / "truth"))
    with pytest.raises(SourceError, match="truth_file"):
        next(source.batches(None))


def test_rates_can_be_set_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    clock = HandClock(START, START + 3_600_000)
    rates = {"near_misses_per_hour": 30, "first_incident_s": -1}
    per_gateway(
        opened(clock, profile="quiet", truth_file=str(path), step_ms=60_000, **rates).batches(None)
    )
    told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {one["class"] for one in told} == {"near_miss"}
