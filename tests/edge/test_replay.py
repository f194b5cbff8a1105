"""Recorded files: mapping, pacing, rejects, and going on exactly where a restart cut."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.batch import Flag
from edge.sources import Drawn, SourceError, open_source
from edge.sources.replay import Replay

T0 = 1_767_225_600_000
Row = tuple[str, str, str, int, float, int]


class Hand:
    """A clock that is moved by whoever waits on it."""

    def __init__(self, stop_after_ms: float = float("inf")) -> None:
        self.now = 0.0
        self.stop_after_ms = stop_after_ms

    def wall_ms(self) -> int:
        return T0 + 86_400_000 + int(self.now)

    def mono_ms(self) -> int:
        return int(self.now)

    def wait(self, ms: float) -> bool:
        self.now += max(0.0, ms)
        return self.now <= self.stop_after_ms


def lines(folder: Path, name: str, rows: list[tuple[int, float]], device: str = "fw-1") -> Path:
    path = folder / name
    path.write_text(
        "".join(
            json.dumps({"deviceId": device, "family": "firewater", "ts": T0 + at,
                        "metrics": {"flow": value, "temperature": value}}) + "\n"
            for at, value in rows
        )
    )  # fmt: skip
    return path


def opened(clock: Hand, recordings: list[Path], **options: Any) -> Replay:
    given = {"recordings": [str(path) for path in recordings], "speed": 0.0, **options}
    source = open_source("replay", given, clock=clock, gateways=["gw"])
    assert isinstance(source, Replay)
    return source


def readings(drawn: Iterator[Drawn] | list[Drawn]) -> list[Row]:
    return [row for one in drawn for row in one.batch.rows()]


def played(clock: Hand, recordings: list[Path], **options: Any) -> list[Row]:
    source = opened(clock, recordings, **options)
    rows = readings(source.batches(None))
    source.close()
    return rows


def test_json_lines_keep_order_and_times(tmp_path: Path) -> None:
    path = lines(tmp_path, "a.jsonl", [(n * 10, float(n)) for n in range(1200)])
    rows = played(Hand(), [path])
    assert len(rows) == 2400
    assert [row[3] for row in rows] == [T0 + n * 10 for n in range(1200) for _ in (0, 1)]


def test_speed_follows_the_recorded_times(tmp_path: Path) -> None:
    path = lines(tmp_path, "a.jsonl", [(0, 1.0), (60_000, 2.0), (180_000, 3.0)])
    clock = Hand()
    at = [clock.mono_ms() for _ in opened(clock, [path], speed=60.0).batches(None)]
    assert at == [0, 1000, 3000]


def test_stops_in_the_middle_of_a_wait(tmp_path: Path) -> None:
    path = lines(tmp_path, "a.jsonl", [(0, 1.0), (3_600_000, 2.0)])
    clock = Hand(stop_after_ms=5000)
    assert len(readings(opened(clock, [path], speed=1.0).batches(None))) == 2
    assert clock.now <= 6000


@pytest.mark.parametrize(
    ("rebase", "first"),
    [
        pytest.param("", T0, id="as-recorded"),
        pytest.param("now", T0 + 86_400_000, id="first-is-now"),
        pytest.param("end", T0 + 86_400_000 - 50, id="last-is-now"),
        pytest.param("2026-02-01T00:00:00+08:00", 1_769_875_200_000, id="given"),
    ],
)
def test_rebase(tmp_path: Path, rebase: str, first: int) -> None:
    path = lines(tmp_path, "a.jsonl", [(0, 1.0), (50, 2.0)])
    assert [row[3] for row in played(Hand(), [path], rebase=rebase)][::2] == [first, first + 50]


def test_several_recordings_play_in_order_of_time(tmp_path: Path) -> None:
    a = lines(tmp_path, "a.jsonl", [(n * 20, 0.0) for n in range(700)], "fw-a")
    b = lines(tmp_path, "b.jsonl", [(n * 30 + 5, 1.0) for n in range(500)], "fw-b")
    times = [row[3] for row in played(Hand(), [a, b])]
    assert times == sorted(times)
    assert len(times) == 2400


TIMES = st.lists(st.integers(0, 60), min_size=1, max_size=25)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(TIMES, TIMES, st.integers(0, 60), st.sampled_from([0.0, 1.0]))
def test_resumed_after_any_batch_the_rest_follows_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[int],
    second: list[int],
    cut: int,
    speed: float,
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    files = [
        lines(folder, "a.jsonl", [(at, n) for n, at in enumerate(first)], "fw-a"),
        lines(folder, "b.jsonl", [(at, n) for n, at in enumerate(second)], "fw-b"),
    ]
    whole = played(Hand(), files, rebase="now")
    before: list[Drawn] = []
    source = opened(Hand(), files, speed=speed, rebase="now")
    for drawn in source.batches(None):
        before.append(drawn)
        if len(before) > cut:
            break
    source.close()
    later = Hand()
    later.now = 12_345
    source = opened(later, files, speed=speed, rebase="now")
    rest = readings(source.batches(before[-1].cursor))
    source.close()
    assert readings(before) + rest == whole


def test_another_recording_starts_at_its_beginning(tmp_path: Path) -> None:
    a = lines(tmp_path, "a.jsonl", [(0, 1.0)])
    cursor = next(opened(Hand(), [a]).batches(None)).cursor
    b = lines(tmp_path, "b.jsonl", [(0, 1.0), (5, 2.0)])
    assert len(readings(opened(Hand(), [b]).batches(cursor))) == 4


def test_broken_lines_are_counted_and_written_down(tmp_path: Path) -> None:
    path = lines(tmp_path, "a.jsonl", [(0, 1.0), (1, 2.0)])
    good = path.read_text().splitlines()
    path.write_text("\n".join([good[0], "{broken", '{"deviceId": "x"}', good[1]]) + "\n")
    rejects = tmp_path / "rejects.jsonl"
    source = opened(Hand(), [path], rejects_file=str(rejects))
    assert len(readings(source.batches(None))) == 4
    source.close()
    assert source.rejects == 2
    told = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [(one["file"], one["line"]) for one in told] == [("a.jsonl", 2), ("a.jsonl", 3)]
    assert all(one["reason"] for one in told)


# Tables.

TABLE = """time,sensor,kind,value,alarm
2026-01-01T00:00:00Z,m01,motion,1,0
2026-01-01T00:00:01Z,m01,motion,x,0
2026-01-01T00:00:02Z,c01,contact,1,0
never,m01,motion,1,0
2026-01-01T00:00:03Z,m02,motion,0,1
2026-01-01T00:00:04Z,m02,motion,,0
2026-01-01T00:00:05Z,m02
2026-01-01T00:00:06Z,h 1,motion,1,0
2026-01-01T00:00:07Z,m02,motion,inf,0
"""

MAPPING = """
file = "home.csv.gz"
[time]
column = "time"
[[series]]
device = "home-a-{sensor}"
family = "elderly"
quantity = "motion"
column = "value"
alarm_column = "alarm"
where = {kind = "motion"}
[[series]]
device = "door"
family = "elderly"
quantity = "contact"
column = "value"
scale = 2.0
offset = 1.0
where = {kind = "contact"}
[rename]
home-a-m02 = "bed"
"""


def table(folder: Path, text: str = TABLE, mapping: str = MAPPING) -> Path:
    (folder / "home.csv.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "home.toml").write_text(mapping)
    return folder / "home.toml"


def test_a_mapping_names_converts_selects_and_refuses(tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.jsonl"
    rows = played(Hand(), [table(tmp_path)], rejects_file=str(rejects))
    assert rows == [
        ("home-a-m01", "elderly", "motion", T0, 1.0, 0),
        ("door", "elderly", "contact", T0 + 2000, 3.0, 0),
        ("bed", "elderly", "motion", T0 + 3000, 0.0, int(Flag.ALARM)),
    ]
    told = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert sorted(one["line"] for one in told) == [3, 5, 8, 9, 10]


@pytest.mark.parametrize(
    ("time", "want"),
    [
        pytest.param('start = "2026-01-01T00:00:00Z"\ninterval_ms = 500', [0, 500], id="interval"),
        pytest.param('column = "t"\nunit = "s"\nstart = "2026-01-01T00:00:00Z"', [1000, 2500],
                     id="since-start"),
        pytest.param('column = "local"\nzone = "Asia/Shanghai"', [0, 60_000], id="zone"),
    ],
)  # fmt: skip
def test_times(tmp_path: Path, time: str, want: list[int]) -> None:
    text = "t,local,value\n1,2026-01-01 08:00:00,5\n2.5,2026-01-01 08:01:00,6\n"
    mapping = (
        f'file = "home.csv.gz"\n[time]\n{time}\n[[series]]\ndevice = "d"\nfamily = "efire"\n'
        'quantity = "cable_temperature"\ncolumn = "value"\n'
    )
    rows = played(Hand(), [table(tmp_path, text, mapping)])
    assert [row[3] - T0 for row in rows] == want


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param('column = "value"', 'column = "vlaue"', "no column 'vlaue'", id="column"),
        pytest.param('"motion"\ncolumn', '"motoin"\ncolumn', "series[0].quantity", id="quantity"),
        pytest.param('family = "elderly"', 'family = "cats"', "series[0].family", id="family"),
        pytest.param("{sensor}", "{senser}", "no column 'senser'", id="device-column"),
        pytest.param('[time]\ncolumn = "time"', "[time]", "time: needs a column", id="no-time"),
        pytest.param('column = "time"', 'column = "time"\nzone = "Moon/Base"', "time.zone",
                     id="zone"),
        pytest.param("file =", "flie =", "flie", id="unknown-field"),
        pytest.param("home.csv.gz", "gone.csv", "No such file", id="no-file"),
        pytest.param("[time]", "[time", "not TOML", id="not-toml"),
    ],
)  # fmt: skip
def test_a_mapping_that_cannot_work_is_one_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = table(tmp_path, mapping=MAPPING.replace(old, new, 1))
    with pytest.raises(SourceError) as caught:
        opened(Hand(), [path])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_breaks_off_gives_its_rows_then_one_line(tmp_path: Path) -> None:
    text = TABLE + "2026-01-01T01:00:00Z,m01,motion,1,0\n" * 20_000
    path = table(tmp_path, text)
    whole = (tmp_path / "home.csv.gz").read_bytes()
    source = opened(Hand(), [path])
    source.close()
    (tmp_path / "home.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="breaks off"):
        readings(source.batches(None))


def test_unknown_sources_and_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no source is called 'modbus'"):
        open_source("modbus", {}, clock=Hand(), gateways=["gw"])
    with pytest.raises(SourceError, match="sped"):
        opened(Hand(), [table(tmp_path)], sped=1)


@pytest.mark.recorded
def test_the_recorded_temperature_series_in_celsius(recorded_data: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "t.toml"
    mapping.write_text(
        f'file = "{recorded_data}/sensors/ambient-temperature.csv"\n'
        '[time]\ncolumn = "time"\nzone = "UTC"\n[[series]]\ndevice = "ef-1"\nfamily = "efire"\n'
        'quantity = "cable_temperature"\ncolumn = "value"\n'
        "scale = 0.5555555555555556\noffset = -17.77777777777778\n"
    )
    rows = played(Hand(), [mapping])
    assert len(rows) == 7267
    assert rows[0][4] == pytest.approx((69.88083514 - 32) * 5 / 9)
