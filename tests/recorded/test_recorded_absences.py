"""Recorded homes with absences put in, outages as they were, and a `home.json` full of nonsense.

Truth in `home.json` is for scoring; here it is used to choose days and to look for alarms in listed
outages. The detector gets none of it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.evaluate.scene import build
from app.homes import RecordedHome, Truth, read_home, read_truth
from app.models import load_inactivity
from app.runners.home import watch
from detectors.inactivity.alarms import BUDGET
from detectors.inactivity.layout import Kind, Role
from tests.app.running import gridwarden

pytestmark = [pytest.mark.recorded, pytest.mark.timeout(600)]

DAY, HOUR, MINUTE = 86_400_000, 3_600_000, 60_000
HOMES = ("home-a", "home-b", "home-c", "home-d", "home-e")
MUTE, LONG = HOMES[1:], HOMES[:2]
LENGTHS = (1.5, 12.0)


@dataclass(frozen=True)
class Absence:
    from_ms: int
    to_ms: int


def recorded(data: Path, name: str) -> tuple[RecordedHome, Truth]:
    folder = data / "elderly" / name
    return read_home(folder), read_truth(folder)


def told(home: RecordedHome, *, step_min: int = 15) -> list[tuple[str, str, int]]:
    """(level, cause, unix ms) of each alarm."""
    infer, prior, _ = load_inactivity()
    return [
        (line["level"], line["cause"], _ms(line["time"]))
        for line in watch(home, infer, prior, step_min=step_min, budget=BUDGET)
        if line["type"] == "alarm"
    ]


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def departures(home: RecordedHome, truth: Truth) -> list[int]:
    """Each time after which somebody left, by the home's own record: the front door, then nobody
    inside for half an hour. Without a door sensor, any activity in daytime."""
    scene = build(home, truth, choosing=False, seed=1)
    assert scene is not None
    door = scene.opened[1:][np.diff(scene.opened) > 0] if scene.opened.any() else scene.last[1:]
    outside = truth.outages
    found = [
        int(one)
        for one in door.tolist()
        if one > home.ts_ms[0] + 8 * DAY and not any(a - DAY <= one < b for a, b in outside)
    ]
    return sorted(set(found))


def injected(home: RecordedHome, at_ms: int, days: float) -> tuple[RecordedHome, Absence]:
    """From the door on the home is empty for so long: what was recorded goes on afterwards, moved
    by as many whole days; heartbeats fill the time as they did in the days before."""
    back = at_ms + round(days * DAY)
    whole = int(np.ceil(days)) * DAY
    beats = home.layout.kind[home.sensor] == Kind.HEARTBEAT
    before = home.ts_ms <= at_ms
    after = home.ts_ms > at_ms
    copies = [
        (home.sensor[day], home.ts_ms[day] + n * DAY, home.value[day])
        for n in range(1, int(np.ceil(days)) + 1)
        for day in [beats & (home.ts_ms > at_ms - DAY) & (home.ts_ms <= at_ms)]
    ]
    later = home.ts_ms + whole
    door = home.layout.role == Role.FRONT_DOOR
    rows = [
        (home.sensor[before], home.ts_ms[before], home.value[before]),
        *copies,
        (home.sensor[after], later[after], home.value[after]),
    ]
    if door.any():
        which = int(np.flatnonzero(door)[0])
        last = home.value[before & (home.sensor == which)][-1]
        swings = [(at_ms + MINUTE, 1 - last), (back, last), (back + MINUTE, 1 - last)]
        rows.append(
            (
                np.full(3, which, np.int32),
                np.array([at for at, _ in swings], np.int64),
                np.array([value for _, value in swings]),
            )
        )
    sensor, ts, value = (np.concatenate(column) for column in zip(*rows, strict=True))
    order = np.argsort(ts, kind="stable")
    joined = RecordedHome(home.name, home.layout, sensor[order], ts[order], value[order], {})
    return joined, Absence(at_ms, max(back, at_ms + whole))


def until(home: RecordedHome, end_ms: int, from_ms: int = 0) -> RecordedHome:
    use: NDArray[np.bool_] = (home.ts_ms <= end_ms) & (home.ts_ms >= from_ms)
    return RecordedHome(
        home.name, home.layout, home.sensor[use], home.ts_ms[use], home.value[use], {}
    )


@pytest.mark.parametrize("days", LENGTHS)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.torture if name in LONG else ()) for name in HOMES],
)
def test_an_absence_put_into_a_recorded_home_is_one_contact_call_at_most(
    name: str, days: float, recorded_data: Path
) -> None:
    home, truth = recorded(recorded_data, name)
    leaves = departures(home, truth)
    for place in np.linspace(0, len(leaves) - 1, 4).astype(int)[1:3]:
        left = leaves[place]
        # Three weeks of what was before are enough to know a home.
        recent = until(home, left + 2 * DAY, left - 21 * DAY)
        away, absence = injected(recent, left, days)
        alarms = [one for one in told(until(away, absence.to_ms)) if one[2] > left + 5 * MINUTE]
        assert "visit" not in [level for level, *_ in alarms], (name, days, left, alarms)
        if (home.layout.role == Role.FRONT_DOOR).any():
            assert len(alarms) <= 1, (name, days, left, alarms)
            assert {level for level, *_ in alarms} <= {"contact"}, (name, days, left, alarms)


def test_no_outage_of_home_a_is_an_alarm(recorded_data: Path) -> None:
    home, truth = recorded(recorded_data, "home-a")
    listed = told(home, step_min=30)
    assert truth.outages
    for begin, end in truth.outages:
        inside = [one for one in listed if begin <= one[2] < end + 30 * MINUTE]
        assert {level for level, *_ in inside} <= {"contact"}, inside
        assert len(inside) <= 1


@pytest.mark.parametrize("name", MUTE)
def test_a_home_without_heartbeats_that_says_nothing_is_unknown_and_asked_after(
    name: str, recorded_data: Path
) -> None:
    """Outage or absence: it looks the same."""
    home, _ = recorded(recorded_data, name)
    holes = np.flatnonzero(np.diff(home.ts_ms) > 26 * HOUR)
    for hole in holes[-2:].tolist():
        begin, end = int(home.ts_ms[hole]), int(home.ts_ms[hole + 1])
        infer, prior, _ = load_inactivity()
        part = until(home, end, begin - 10 * DAY)
        lines = list(watch(part, infer, prior, step_min=15, budget=BUDGET))
        there = [line for line in lines if begin < _ms(line["time"]) < end]
        states = [line["state"] for line in lines if line["type"] == "state"
                  and _ms(line["time"]) < end]  # fmt: skip
        assert states[-1] in ("unknown", "away"), (name, begin)
        late = [line for line in there if _ms(line["time"]) > begin + 24.5 * HOUR]
        assert [line["level"] for line in late if line["type"] == "alarm"] in ([], ["contact"])
        assert "visit" not in [line.get("level") for line in there]


def scrambled(folder: Path, into: Path) -> Path:
    """All that `home.json` says, but for time zone and sensors, is something else."""
    shutil.copytree(folder, into)
    facts: dict[str, Any] = json.loads((folder / "home.json").read_bytes())
    rng = np.random.default_rng(5)
    for name in facts:
        if name not in ("home", "timezone", "sensors"):
            facts[name] = rng.choice(["no", "7", "[]"])
    for one in facts["sensors"]:
        for name in one:
            if name not in ("sensor", "room", "kind", "role"):
                one[name] = str(rng.integers(1000))
    (into / "home.json").chmod(0o644)
    facts["outages"] = [{"start": "2010-01-01T00:00:00+00:00", "end": "2030-01-01T00:00:00+00:00"}]
    (into / "home.json").write_text(json.dumps(facts), encoding="utf-8")
    return into


@pytest.mark.parametrize("name", ["home-c", "home-d", "home-e"])
def test_of_home_json_only_time_zone_and_sensors_are_read(
    name: str, recorded_data: Path, tmp_path: Path
) -> None:
    folder = recorded_data / "elderly" / name
    mad = scrambled(folder, tmp_path / name)
    outs = []
    for at, where in enumerate((folder, mad)):
        out = tmp_path / f"{at}.jsonl"
        ended = gridwarden(
            "detect", "inactivity", "--home", str(where), "--out", str(out), "--step-min", "15"
        )
        assert ended.returncode == 0, ended.stderr
        outs.append(out.read_bytes())
    assert outs[0] == outs[1]
    assert outs[0].count(b"\n") > 10
