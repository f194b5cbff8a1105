"""Homes that can't be used are refused in one line; what can be mended is mended and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.outcome import WRONG_USE
from app.homes import HomeError, read_home, read_truth
from tests.app.running import gridwarden

SENSORS: list[dict[str, Any]] = [
    {"sensor": "m1", "room": "living", "kind": "motion", "role": "room", "longest": 3},
    {"sensor": "d1", "room": "entrance", "kind": "contact", "role": "front_door"},
]
HOME: dict[str, Any] = {"home": "home-x", "timezone": "Asia/Shanghai", "sensors": SENSORS}
HEAD = "time,sensor,room,kind,value\n"
ROW = "2024-01-01T08:00:00+00:00,m1,living,motion,1\n"


def placed(folder: Path, events: str, **changed: Any) -> Path:
    (folder / "home.json").write_text(json.dumps(HOME | changed), encoding="utf-8")
    (folder / "events.csv").write_text(events, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("events", "changed", "said"),
    [
        (HEAD + ROW, {"timezone": "Mars/Olympus"}, "home.json: timezone: 'Mars/Olympus'"),
        (HEAD + ROW, {"timezone": 8}, "home.json: Expected `str`.*timezone"),
        (HEAD + ROW, {"sensors": []}, "home.json: sensors: none of them shows a person"),
        (HEAD + ROW, {"sensors": SENSORS * 2}, r"sensors\[2\].sensor: 'm1' stands there twice"),
        (HEAD + ROW, {"sensors": [SENSORS[0] | {"kind": "mood"}]}, r"sensors\[0\].kind: 'mood'"),
        (HEAD + ROW, {"sensors": [SENSORS[0] | {"room": "moon"}]}, r"sensors\[0\].room: 'moon'"),
        (HEAD + ROW, {"home": ""}, "home.json: home: is empty"),
        (
            HEAD + ROW,
            {"sensors": [SENSORS[0], SENSORS[1] | {"role": "Front-Door"}]},
            r"sensors\[1\].role: 'Front-Door'; the front door's role is front_door",
        ),
        (
            HEAD + ROW,
            {"sensors": [SENSORS[0] | {"role": "front_door"}]},
            r"sensors\[0\].role: 'front_door'; a front door is a contact, this is motion",
        ),
        (
            HEAD + ROW,
            {"sensors": [SENSORS[0] | {"role": "washer automatic"}]},
            r"sensors\[0\].role: .* ends in _automatic",
        ),
        ("", {}, r"events.csv:1: the columns are"),
        (HEAD, {}, "events.csv: holds no event"),
        (HEAD + ROW + "x,y\n", {}, "events.csv:3: 2 columns"),
        (HEAD + ROW.replace("m1", "m9"), {}, "events.csv:2: sensor: 'm9' isn't in home.json"),
        (HEAD + ROW.replace("living", "bath"), {}, "events.csv:2: room, kind: bath motion"),
        (HEAD + ROW.replace("+00:00", ""), {}, "events.csv:2: time: .* has no offset"),
        (HEAD + ROW.replace("2024", "later"), {}, "events.csv:2: time: .* is no RFC 3339"),
        (HEAD + ROW.replace(",1\n", ",on\n"), {}, "events.csv:2: value: 'on' is no number"),
        (HEAD + ROW.replace(",1\n", ",inf\n"), {}, "events.csv:2: value: 'inf' is no finite"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, events: str, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(HomeError, match=said):
        read_home(placed(tmp_path, events, **changed))


def test_a_home_without_home_json_is_refused_with_one_line(tmp_path: Path) -> None:
    out = str(tmp_path / "out.jsonl")
    ended = gridwarden("detect", "inactivity", "--home", str(tmp_path), "--out", out)
    assert ended.returncode == WRONG_USE
    assert ended.stderr.count("\n") == 1
    assert "home.json: can't be read" in ended.stderr


def test_what_can_be_mended_is_counted(tmp_path: Path) -> None:
    at = "2024-01-0{}T0{}:00:00+00:00,m1,living,motion,1\n"
    far = ROW.replace("2024-01-01", "2031-05-05")
    events = HEAD + at.format(1, 2) + at.format(1, 1) + at.format(1, 1) + far + at.format(1, 3)
    home = read_home(placed(tmp_path, events))
    assert home.repaired == {"ahead": 1, "unsorted": 1, "repeated": 1, "astray": 0}
    assert (home.ts_ms % 86_400_000 // 3_600_000).tolist() == [1, 2, 3]


@pytest.mark.parametrize("year", [1970, 2199])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_clock_that_is_years_wrong_dates_no_home(tmp_path: Path, year: int, place: str) -> None:
    """Else the home would be watched for 175 years, and silent in all of them."""
    rows = [f"2024-01-01T{hour:02d}:00:00+00:00,m1,living,motion,1\n" for hour in range(24)] * 2
    mad = [f"{year}-01-01T00:0{k}:00+00:00,m1,living,motion,1\n" for k in range(2)]
    at = {"first": 0, "middle": 20, "last": len(rows)}[place]
    home = read_home(placed(tmp_path, HEAD + "".join(rows[:at] + mad + rows[at:])))
    assert home.repaired["astray"] + home.repaired["ahead"] == 2
    assert home.ts_ms[-1] - home.ts_ms[0] == 23 * 3_600_000


def test_two_event_files_are_one_too_many(tmp_path: Path) -> None:
    folder = placed(tmp_path, HEAD + ROW)
    (folder / "events.csv.gz").write_bytes(b"")
    with pytest.raises(HomeError, match=r"events.csv: stands beside events.csv.gz"):
        read_home(folder)


def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path: Path) -> None:
    assert len(read_home(placed(tmp_path, "\ufeff" + HEAD + ROW)).ts_ms) == 1


def test_outages_and_absences_reach_nobody_but_the_scorer(tmp_path: Path) -> None:
    span = {"start": "2024-01-01T00:00:00+00:00", "end": "2024-01-02T00:00:00+00:00", "hours": 24}
    plain = read_home(placed(tmp_path, HEAD + ROW))
    told = read_home(placed(tmp_path, HEAD + ROW, outages=[span], absences_over_12h=[span]))
    assert told.layout.sensors == plain.layout.sensors
    assert read_truth(tmp_path).outages == [(1_704_067_200_000, 1_704_153_600_000)]
