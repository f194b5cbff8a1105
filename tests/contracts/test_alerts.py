"""Alert events are lawful CloudEvents, and the same alert has the same id for ever."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.alerts import SEVERITY, AlertEvent, alert_id, encode_event, timestamp
from contracts.telemetry import FIRST_MS, LAST_MS
from tests.contracts.examples import EVENT

GOLDEN = Path(__file__).parent / "goldens" / "alert_event_v1.json"


def test_golden() -> None:
    assert encode_event(EVENT) == GOLDEN.read_bytes()
    assert msgspec.json.decode(GOLDEN.read_bytes(), type=AlertEvent) == EVENT


def test_the_id_of_an_episode_is_kept() -> None:
    assert alert_id("smoke.fire", "sm-0001", 1_772_323_198_500, 0) == "4dvewuqwf7chzz44qg5ektbbym"


@given(st.text(), st.text(), st.integers(FIRST_MS, LAST_MS), st.integers(0, 1))
def test_ids_can_be_signed(rule: str, device: str, onset_ms: int, lane: int) -> None:
    """A signature covers `id.timestamp.body`: an id with a "." could be read in two ways."""
    assert re.fullmatch("[a-z2-7]{26}", alert_id(rule, device, onset_ms, lane))


def test_ids_tell_episodes_apart() -> None:
    ids = {
        alert_id(rule, device, onset, lane)
        for rule in ("a", "ab")
        for device in ("b", "bb", "")
        for onset in (1, 11)
        for lane in (0, 1)
    }
    assert len(ids) == 24


def test_attributes_are_lawful() -> None:
    event = json.loads(encode_event(EVENT))
    for name, value in event.items():
        assert re.fullmatch("[a-z0-9]{1,20}", name)
        if name == "data":
            continue
        assert isinstance(value, str | int)
        if isinstance(value, int):
            assert -(2**31) <= value < 2**31
    assert event["gridcode"] == event["partitionkey"] == "340111002001007"
    assert "." not in event["id"]
    assert len(event["sequence"]) == 20


def test_severities() -> None:
    assert [SEVERITY[level][0] for level in (1, 2, 3, 4)] == [21, 17, 13, 9]


@pytest.mark.parametrize(
    ("ms", "want"),
    [
        (1_772_323_198_500, "2026-02-28T23:59:58.500Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (LAST_MS, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_timestamp(ms: int, want: str) -> None:
    assert timestamp(ms) == want


@given(st.integers(FIRST_MS, LAST_MS))
def test_timestamps_can_be_read_back(ms: int) -> None:
    text = timestamp(ms)
    assert len(text) == 24
    at = datetime.fromisoformat(text)
    assert (at - datetime.fromisoformat("1970-01-01T00:00:00Z")).total_seconds() == ms / 1000
