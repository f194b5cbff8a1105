"""The same answers however rows are cut, and whatever is forgotten between two of them."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.inactivity.operator import InactivityOperator, Scores
from detectors.inactivity.state import SnapshotMismatch, State
from detectors.training.homes import START_MS, joined, simulate_home
from rules.zones import zone
from tests.detectors.inactivity.lives import SHANGHAI, operator_of

HOMES = [simulate_home(f"h{n}", seed=11, days=3) for n in range(5)]
LAYOUT, SENSOR, TS, VALUE = joined(HOMES, zone(SHANGHAI).info)
END = START_MS + 2 * 86_400_000
SHORT = TS < END


def equal(one: list[Scores], other: list[Scores]) -> None:
    assert [s.at_ms for s in one] == [s.at_ms for s in other]
    for a, b in zip(one, other, strict=True):
        for name in ("p", "monthly", "minutes", "state", "dry", "hearts"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def whole() -> tuple[InactivityOperator, list[Scores]]:
    operator = operator_of(LAYOUT)
    operator.feed(SENSOR[SHORT], TS[SHORT], VALUE[SHORT])
    return operator, operator.advance(END)


WHOLE = whole()


@given(st.lists(st.integers(0, int(SHORT.sum())), max_size=12), st.booleans())
@settings(max_examples=12, deadline=None)
def test_cutting_and_forgetting_change_nothing(cuts: list[int], forgets: bool) -> None:
    operator = operator_of(LAYOUT)
    found: list[Scores] = []
    edges = [0, *sorted(cuts), int(SHORT.sum())]
    for first, last in pairwise(edges):
        operator.feed(SENSOR[first:last], TS[first:last], VALUE[first:last])
        if last < len(TS):
            # All rows before this moment are there.
            found += operator.advance(int(TS[last]) - 1 if last < SHORT.sum() else END)
        if forgets:
            blob = operator.snapshot()
            operator = operator_of(LAYOUT)
            operator.restore(blob)
            assert operator.snapshot() == blob
    equal(found, WHOLE[1])
    assert operator.snapshot() == WHOLE[0].snapshot()


def test_homes_do_not_touch_each_other() -> None:
    alone = []
    for home in HOMES[:2]:
        layout, sensor, ts, value = joined([home], zone(SHANGHAI).info)
        operator = operator_of(layout)
        operator.feed(sensor[ts < END], ts[ts < END], value[ts < END])
        alone.append({s.at_ms: s for s in operator.advance(END)})
    for scores in WHOLE[1][300:]:
        for row, one in enumerate(alone):
            assert scores.state[row] == one[scores.at_ms].state[0]
            assert scores.minutes[row] == one[scores.at_ms].minutes[0]


def test_a_snapshot_is_taken_up_by_name_under_another_layout() -> None:
    blob = WHOLE[0].snapshot()
    layout, *_ = joined([HOMES[3], HOMES[1]], zone(SHANGHAI).info)
    operator = operator_of(layout)
    operator.restore(blob)
    old = WHOLE[0].state.home
    for name, column in operator.state.home.items():
        np.testing.assert_array_equal(column, old[name][[3, 1]])


@pytest.mark.parametrize("blob", [b"", b"\x00", b"\x81\xa7version\x63"])
def test_a_damaged_snapshot_is_refused(blob: bytes) -> None:
    with pytest.raises(SnapshotMismatch):
        State(LAYOUT).restore(blob, LAYOUT)


def test_a_home_costs_less_than_16_kb() -> None:
    assert WHOLE[0].state.bytes_per_home(len(HOMES)) < 16_000


def test_what_came_late_moves_the_silence_and_scores_nothing_in_hindsight() -> None:
    operator = operator_of(LAYOUT)
    late = (LAYOUT.home[SENSOR] == 0) & (TS > END - 6 * 3_600_000)
    operator.feed(SENSOR[SHORT & ~late], TS[SHORT & ~late], VALUE[SHORT & ~late])
    quiet = operator.advance(END)[-1]
    before = {name: column[0].copy() for name, column in operator.state.home.items()}
    operator.feed(SENSOR[SHORT & late], TS[SHORT & late], VALUE[SHORT & late])
    told = operator.advance(END + 300_000)
    assert len(told) == 1
    assert told[0].minutes[0] <= quiet.minutes[0]
    assert operator.state.home["inside_ms"][0] == WHOLE[0].state.home["inside_ms"][0]
    np.testing.assert_array_equal(operator.state.home["events"][0], before["events"])
    np.testing.assert_array_equal(operator.state.home["tail"][0], before["tail"])


def test_a_snapshot_of_before_proofs_is_taken_up() -> None:
    """What homes have taught isn't lost by an upgrade; a column of today's may not be missing."""
    kept = msgspec.msgpack.decode(WHOLE[0].snapshot())
    del kept["sensor"]["proof_ms"], kept["home"]["begun_ms"]
    damaged = msgspec.msgpack.encode(kept)
    kept["version"] = 3
    operator = operator_of(LAYOUT)
    with pytest.raises(SnapshotMismatch):
        operator.restore(damaged)
    operator.restore(msgspec.msgpack.encode(kept))
    old, new = WHOLE[0].state.home, operator.state.home
    np.testing.assert_array_equal(new["events"], old["events"])
    np.testing.assert_array_equal(new["begun_ms"], old["since_ms"])
    assert operator.advance(END + 300_000)[0].minutes.tolist() >= [0.0]
