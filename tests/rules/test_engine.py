"""The engine as an operator: strangers, growth, time, and what stays the same."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.batch import TaggedBatch
from contracts.operator import Operator, Progress
from contracts.quantities import QUANTITY_INDEX
from rules import RuleSet
from rules.engine import RuleEngine
from tests.rules.scene import T0, Device, Mark, Whole, admitted, directory_of, row, ruleset, short

FIRE = "id: smoke.fire, class: safety, when: fire != 0, on: {family: smoke, wing: east}"
TAMPER = "id: smoke.tamper, when: tamper != 0, on: {family: smoke, wing: east}"
LOW = "id: smoke.low, when: battery < 3 V, for: 60s, on: {family: smoke}"


def test_it_is_an_operator() -> None:
    operator: Operator = RuleEngine(RuleSet.empty(), directory_of([]))
    assert len(operator.on_rows(TaggedBatch.empty())) == 0
    assert len(operator.on_time(TaggedBatch.empty(), Progress(1, 1, np.empty(0, np.int64)))) == 0
    assert operator.next_ms() is None


def test_selection_by_attributes_and_strangers() -> None:
    devices = [
        Device("smoke", 0, {"wing": "east"}),
        Device("smoke", 0, {"wing": "west"}),
        Device("smoke", 0, {}),
        Device("smoke", 0, None),
        Device("efire", 0, None),
    ]
    engine = Whole(ruleset(FIRE, TAMPER), directory_of(devices))
    records = [row(i, 1, q, i) for i in range(5) for q in ("fire", "tamper")]

    told = engine.run(admitted(records, [0] * 5))

    assert [(t.rule, t.device) for t in told] == [(0, 0), (1, 0), (0, 3)]


def test_strangers_that_come_later_are_watched() -> None:
    directory = directory_of([Device("smoke", 0, {"wing": "east"})])
    engine = Whole(ruleset(FIRE, LOW), directory)
    for number in range(1, 40):
        directory.intern_device(f"late-{number}", "smoke", 0)
        (told,) = engine.run(admitted([row(0, 1, "fire", number)], [0] * 40))
        assert told.device == number


def test_next_ms_is_the_nearest_deadline() -> None:
    engine = Whole(ruleset(LOW), directory_of([Device("smoke")]))
    assert engine.engine.next_ms() is None
    engine.run(admitted([row(0, 2.5, "battery"), "mark"], [0]))
    assert engine.engine.next_ms() is None, "not released yet"
    engine.run([Mark((row(0, 2.5, "battery"),), (T0, 0), 3, 3)])
    assert engine.engine.next_ms() == T0 + 60_000
    engine.run([Mark((), (T0 + 60_000, 0), 4, 4)])
    assert engine.engine.next_ms() is None


def test_only_timed_quantities_are_wanted() -> None:
    wanted = RuleEngine(ruleset(FIRE, LOW), directory_of([])).wanted_quantities()
    assert np.flatnonzero(wanted).tolist() == [QUANTITY_INDEX["battery"]]


@pytest.mark.parametrize("gateway", [-1, 5], ids=["none", "not-in-progress"])
def test_a_device_without_a_known_watermark_waits(gateway: int) -> None:
    engine = Whole(ruleset(LOW), directory_of([Device("smoke", gateway)]))
    assert engine.run([Mark((row(0, 2, "battery"),), (T0 + 10**9,) * 2, 1, 1)]) == []


def test_many_devices_at_once_equal_one_at_a_time() -> None:
    devices = [Device("smoke")] * 300
    rng = np.random.default_rng(7)
    records = [
        row(float(at), float(rng.choice([2.0, 3.5])), "battery", int(rng.integers(300)))
        for at in np.sort(rng.integers(0, 900, 3000))
    ]
    whole, alone = (Whole(ruleset(LOW), directory_of(devices)) for _ in range(2))
    together = whole.run(admitted([*records, "mark", "end"], [0] * 300))
    apart = [
        told
        for device in range(300)
        for told in alone.run(
            admitted([r for r in records if r.device == device] + ["mark", "end"], [0] * 300)
        )
    ]

    def key(t: object) -> tuple[int, int, int]:
        return (t.at, t.device, t.change)  # type: ignore[attr-defined]

    assert len(together) > 300
    assert [(key(t), short([t])) for t in sorted(together, key=key)] == [
        (key(t), short([t])) for t in sorted(apart, key=key)
    ]
