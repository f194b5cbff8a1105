"""What texts name beside the deciding reading is the newest of its time, however the log is cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.batch import Flag, TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.quantities import QUANTITY_INDEX
from contracts.rulebook import RuleCard, Text
from dispatch.beside import Beside
from tests.rules.scene import Device, directory_of

NAMES = ("inactivity.minutes", "inactivity.usual")
CARD = RuleCard(
    id="a.b", hash="", family="elderly", condition="b", severity=3, title=Text(), tells=NAMES
)
Row = tuple[int, str, int, float, bool]
"""Device, quantity, event time, value, whether it is good."""

ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from((*NAMES, "home.state")),
        st.integers(0, 6),
        st.integers(0, 99).map(float),
        st.booleans(),
    ),
    max_size=14,
)


def directory() -> DeviceDirectory:
    return directory_of([Device("elderly")] * 3)


def batch(rows: list[Row], first: int) -> TaggedBatch:
    count = len(rows)
    return TaggedBatch(
        device=np.array([row[0] for row in rows], np.int32),
        quantity=np.array([QUANTITY_INDEX[row[1]] for row in rows], np.int16),
        ts_ms=np.array([row[2] for row in rows], np.int64),
        value=np.array([row[3] for row in rows]),
        flags=np.array([0 if row[4] else int(Flag.BAD) for row in rows], np.uint16),
        heard_ms=np.zeros(count, np.int64),
        position=(first + np.arange(count)) // 2,
        row=((first + np.arange(count)) % 2).astype(np.int32),
        order=np.zeros(count, np.int64),
    )


def naive(rows: list[Row], device: int) -> dict[str, float]:
    """The last of the latest times among all good rows."""
    found: dict[str, tuple[int, float]] = {}
    for which, name, ts, value, good in rows:
        if which == device and name in NAMES and good and ts >= found.get(name, (-1, 0.0))[0]:
            found[name] = ts, value
    return {name: value for name, (_, value) in found.items()}


@settings(max_examples=60, deadline=None)
@given(ROWS, st.sets(st.integers(0, 14)), st.booleans())
def test_cuts_and_forgetting_change_nothing(rows: list[Row], cuts: set[int], forgets: bool) -> None:
    places = directory()
    beside = Beside((CARD,), places)
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    for first, last in pairwise(edges):
        if forgets:
            state = beside.state()
            beside = Beside((CARD,), places)
            beside.restore(state)
        beside.hear(batch(rows[first:last], first))
        for at in range(first, last):
            for device in range(3):
                said = beside.at(NAMES, device, at // 2, at % 2)
                assert said == naive(rows[: at + 1], device)
    beside.hear(None)
    for device in range(3):
        assert beside.at(NAMES, device, 1_000, 0) == naive(rows, device)


def test_what_no_text_names_any_more_is_forgotten() -> None:
    beside = Beside((CARD,), directory())
    beside.hear(batch([(0, "inactivity.usual", 1, 5.0, True)], 0))
    beside.hear(None)
    beside.want(())
    assert beside.state() == ()
    assert beside.at(("inactivity.usual",), 0, 9, 0) == {}
