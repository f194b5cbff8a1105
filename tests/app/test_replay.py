"""Recordings in all their forms through the engine, and what a live run sent, once more."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.content import load_rules, shipped_rules
from app.runners.recording import Recording, RecordingError, open_recording
from app.runners.replay import Summary, replay
from contracts.alerts import encode_event
from contracts.batch import ReadingBatch
from contracts.log import LogRecord, RecordKind
from contracts.pack import Pack, PackHeader, encode
from ingest.admission import AdmissionSettings
from ingest.log.dump import DumpWriter
from rules import compile_rules
from rules.ruleset import RuleSet
from tests.app.scene import T0, S

SETTINGS = AdmissionSettings()
TIMED = """
rules:
  - id: firewater.pressure_low
    title: {zh: 压力低, en: Pressure low}
    on: {family: firewater}
    when: static_pressure < 0.07 MPa
    for: 10s
    severity: 2
    standard: proposal
    reason: {zh: 压力低, en: pressure low}
    runbook: {zh: 查看, en: look}
  - id: firewater.silent
    title: {zh: 无数据, en: Silent}
    on: {family: firewater}
    when: absent(30s)
    severity: 3
    standard: proposal
    reason: {zh: 无数据, en: silent}
    runbook: {zh: 查看, en: look}
"""


@pytest.fixture(scope="module")
def shipped() -> RuleSet:
    return load_rules(shipped_rules())


@pytest.fixture(scope="module")
def timed() -> RuleSet:
    return compile_rules({"timed.yml": TIMED})


def line(device: str, ts_ms: int, **metrics: float) -> dict[str, Any]:
    family = {"sd": "smoke", "fw": "firewater"}[device[:2]]
    return {"deviceId": device, "family": family, "ts": ts_ms, "metrics": metrics}


def write_lines(path: Path, lines: list[Any]) -> Path:
    """Objects as JSON lines, bytes as they are."""
    raw = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines]
    content = b"\n".join(raw) + b"\n"
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def records(recording: Recording) -> list[LogRecord]:
    return [record for batch in recording.records() for record in batch]


def run(path: Path, rules: RuleSet) -> tuple[Summary, list[dict[str, Any]]]:
    events: list[bytes] = []
    summary = replay(
        open_recording(path),
        ruleset=rules,
        registry=None,
        settings=SETTINGS,
        on_step=lambda step: events.extend(encode_event(event) for event in step.events),
    )
    return summary, [json.loads(event) for event in events]


def ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def raised(events: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """(rule, ms after T0) of each raised alert."""
    return [
        (event["data"]["rule"]["id"], ms(event["time"]) - T0)
        for event in events
        if event["data"]["change"] == "raised"
    ]


# Lines


def test_a_line_is_accepted_at_its_own_time_in_file_order(tmp_path: Path) -> None:
    times = [T0, T0 + 300, T0 + 100, T0 + 400, T0 + 5_000, T0 + 5_001]
    path = write_lines(tmp_path / "r.jsonl", [line("sd-1", ts, fire=0) for ts in times])
    found = records(open_recording(path))
    readings = [record for record in found if record.kind is RecordKind.FOREIGN]
    assert [json.loads(record.payload)["ts"] for record in readings] == times
    # A line from before its neighbour is accepted with it: acceptance never goes back.
    assert [record.accepted_ms - T0 for record in readings] == [0, 300, 300, 400, 5_000, 5_001]
    assert [record.position for record in found] == list(range(1, len(found) + 1))
    accepted = [record.accepted_ms for record in found]
    assert accepted == sorted(accepted)
    marks = [record for record in found if record.kind is RecordKind.MARK]
    assert [mark.accepted_ms - T0 for mark in marks] == [4_999]


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_broken_lines_are_counted_with_their_numbers(
    tmp_path: Path, shipped: RuleSet, name: str
) -> None:
    path = write_lines(
        tmp_path / name,
        [
            line("sd-1", T0, fire=0),
            b"{not json",
            b"",
            {"deviceId": "sd-1", "family": "smoke", "metrics": {"fire": 1}},
            {**line("sd-1", T0, fire=1), "ts": "yesterday"},
            line("sd-1", T0 + 1, smell=3),
            b"\xff\xfe",
            line("sd-1", T0 + 2, fire=1),
        ],
    )
    summary, events = run(path, shipped)
    assert raised(events) == [("smoke.fire", 2)]
    assert (summary.readings, summary.events) == (2, 1)
    assert summary.rejected == {"bad_json": 2, "bad_field": 2, "unknown_quantity": 1}
    told = [(one.name, one.line, one.reject.reason.value) for one in summary.broken]
    assert told == [
        (name, 2, "bad_json"),
        (name, 4, "bad_field"),
        (name, 5, "bad_field"),
        (name, 6, "unknown_quantity"),
        (name, 7, "bad_json"),
    ]


def test_lines_of_decode_without_a_reading_are_passed_over_and_counted(
    tmp_path: Path, shipped: RuleSet
) -> None:
    path = write_lines(
        tmp_path / "decoded.jsonl",
        [
            {"event": {"type": "registration"}, "device": "sd-1"},
            {"reject": "bad_checksum", "frame": "4040"},
            line("sd-1", T0, fire=1),
            {"event": "heartbeat"},
        ],
    )
    summary, events = run(path, shipped)
    assert raised(events) == [("smoke.fire", 0)]
    assert summary.passed == {"event": 2, "reject": 1}
    assert not summary.rejected


def test_a_file_in_which_nothing_is_a_reading_is_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    with pytest.raises(RecordingError, match=r"picture\.png: nothing in it is a reading"):
        records(open_recording(path))


def test_a_cut_gz_says_so(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "r.jsonl.gz", [line("sd-1", T0 + n, fire=0) for n in range(99)])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RecordingError, match="can't be read"):
        records(open_recording(path))


# The end


def test_the_end_releases_what_waits_and_invents_no_silence(tmp_path: Path, timed: RuleSet) -> None:
    low = [line("fw-1", T0 + n * S, static_pressure=0.05) for n in range(12)]
    summary, events = run(write_lines(tmp_path / "r.jsonl", low), timed)
    # Rows up to the last one count, and their deadlines. Silence after the end isn't known.
    assert raised(events) == [("firewater.pressure_low", 10 * S)]
    assert summary.records == len(low) + 11  # a mark before each line but the first


def test_a_deadline_up_to_the_last_line_fires_at_its_own_time(
    tmp_path: Path, timed: RuleSet
) -> None:
    path = write_lines(
        tmp_path / "r.jsonl",
        [line("fw-1", T0, static_pressure=0.2), line("fw-2", T0 + 30 * S, static_pressure=0.2)],
    )
    _, events = run(path, timed)
    assert raised(events) == [("firewater.silent", 30 * S)]


def test_a_row_stamped_ahead_of_the_end_is_judged(tmp_path: Path, timed: RuleSet) -> None:
    """Its pack was sent at T0; the last row is stamped 100 s later, which is still believed."""
    rows = [
        ("fw-1", "firewater", "static_pressure", T0 + at * S, 0.05, 0) for at in range(0, 101, 2)
    ]
    folder = tmp_path / "packs"
    folder.mkdir()
    header = PackHeader("gw-1", 1, 1, T0, 10 * S)
    (folder / "1.gwpk").write_bytes(encode(Pack(header, ReadingBatch.of(rows))))
    summary, events = run(folder, timed)
    assert summary.readings == len(rows)
    assert raised(events) == [("firewater.pressure_low", 10 * S)]


# Packs


def test_a_folder_of_packs_in_the_order_of_its_names(tmp_path: Path, shipped: RuleSet) -> None:
    for number in range(3):
        row = ("sd-1", "smoke", "fire", T0 + number * S, float(number == 2), 0)
        header = PackHeader("gw-1", 1, number + 1, T0 + number * S, number * S)
        data = encode(Pack(header, ReadingBatch.of([row])))
        (tmp_path / f"{number}.gwpk").write_bytes(data)
    (tmp_path / "1a.gwpk").write_bytes(b"GWPK but cut")
    (tmp_path / "notes.txt").write_text("not looked at")
    summary, events = run(tmp_path, shipped)
    assert summary.readings == 3
    assert raised(events) == [("smoke.fire", 2 * S)]
    assert [(one.name, one.line) for one in summary.broken] == [("1a.gwpk", 0)]
    assert sum(summary.rejected.values()) == 1


def test_a_folder_without_packs_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"holds no \*\.gwpk pack"):
        open_recording(tmp_path)


def test_an_alert_of_a_window_says_what_was_asked(tmp_path: Path) -> None:
    rule = TIMED.split("  - id: firewater.silent")[0]
    changes = {
        "static_pressure < 0.07 MPa": "delta(static_pressure, 30s) < -30 kPa",
        "    for: 10s\n": "",
        "{zh: 压力低, en: pressure low}": "{zh: '{value}', en: 'fell by {value} {unit}'}",
    }
    for old, new in changes.items():
        rule = rule.replace(old, new)
    fallen = {0: 0.30, 10: 0.30, 20: 0.29, 30: 0.28, 40: 0.25}
    lines = [line("fw-1", T0 + at * S, static_pressure=mpa) for at, mpa in fallen.items()]
    lines += [line("fw-1", T0 + at * S, static_pressure=0.25) for at in range(50, 90, 10)]

    _, events = run(write_lines(tmp_path / "fall.jsonl", lines), compile_rules({"a.yml": rule}))

    raised, cleared = events
    assert raised["data"]["reason"]["en"] == "fell by -0.05 MPa"
    assert raised["data"]["samples"] == [
        {
            "decided": "raised",
            "quantity": "static_pressure",
            "value": -0.05,
            "unit": "MPa",
            "ts": _instant(T0 + 40 * S),
            "function": "delta(static_pressure, 30s)",
        }
    ]
    assert cleared["data"]["change"] == "cleared"
    assert cleared["data"]["samples"][-1]["ts"] == _instant(T0 + 60 * S)


def _instant(ts_ms: int) -> str:
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%dT%H:%M:%S.000Z}"


# A folder of dumps


def dumped(path: Path, first: int, last: int, *, begins_ms: int = T0) -> Path:
    """Records first..last of one log, one a second: readings, and a mark behind each."""
    with DumpWriter(path) as writer:
        writer.content("cafe", b"rules")
        writer.begins_at(first)
        writer.bundle(
            [
                LogRecord(
                    RecordKind.FOREIGN if number % 2 else RecordKind.MARK,
                    begins_ms + number * 1_000,
                    "",
                    json.dumps(line("sd-1", T0 + number * 1_000, fire=int(number == 5))).encode()
                    if number % 2
                    else b"",
                    number,
                )
                for number in range(first, last + 1)
            ]
        )
    return path


def test_a_folder_of_dumps_is_one_log(tmp_path: Path, shipped: RuleSet) -> None:
    """By position, not by name; what overlaps is there once."""
    dumped(tmp_path / "b.dump", 1, 4)
    dumped(tmp_path / "a.dump", 3, 9)
    (tmp_path / "notes.txt").write_text("kept beside them")
    whole = dumped(tmp_path.parent / f"{tmp_path.name}.dump", 1, 9)
    recording = open_recording(tmp_path)
    assert recording.dumped
    assert recording.contents == {"cafe": b"rules"}
    assert [record.position for record in records(recording)] == list(range(1, 10))
    assert run(tmp_path, shipped) == run(whole, shipped)
    assert raised(run(tmp_path, shipped)[1]) == [("smoke.fire", 5_000)]


@pytest.mark.parametrize(
    ("first", "begins_ms", "problem"),
    [
        pytest.param(6, T0, r"begins at position 6, .*a.dump ends at 4; dump what is", id="hole"),
        pytest.param(4, T0 + 7, r"position 4 is another record in .*two logs", id="two-logs"),
    ],
)
def test_dumps_that_make_no_log_are_refused(
    tmp_path: Path, first: int, begins_ms: int, problem: str
) -> None:
    dumped(tmp_path / "a.dump", 1, 4)
    dumped(tmp_path / "b.dump", first, 9, begins_ms=begins_ms)
    with pytest.raises(RecordingError, match=problem):
        records(open_recording(tmp_path))


def test_a_damaged_dump_among_others_is_named(tmp_path: Path) -> None:
    dumped(tmp_path / "a.dump", 1, 4)
    cut = dumped(tmp_path / "b.dump", 5, 9)
    cut.write_bytes(cut.read_bytes()[:-3])
    with pytest.raises(RecordingError, match=r"b\.dump: byte .*dump the log again"):
        records(open_recording(tmp_path))


def test_packs_and_dumps_in_one_folder_are_refused(tmp_path: Path) -> None:
    dumped(tmp_path / "a.dump", 1, 4)
    (tmp_path / "x.gwpk").write_bytes(b"")
    with pytest.raises(RecordingError, match="keep them in two folders"):
        open_recording(tmp_path)
