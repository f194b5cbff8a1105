"""What alerts say of flapping devices, and who is called for old readings."""

from __future__ import annotations

import msgspec
import pytest

from contracts.batch import Flag
from contracts.rulebook import Late
from contracts.transitions import Change
from tests.dispatch import scene
from tests.dispatch.scene import HYDRANT, MINUTE, PRESSURE, T0

HOUR = 60 * MINUTE


@pytest.mark.parametrize(
    ("waited_ms", "flapping_ms", "want"),
    [
        pytest.param(0, 0, (False, MINUTE, 0), id="calm"),
        pytest.param(0, 5 * MINUTE, (True, MINUTE, 5 * MINUTE), id="begins"),
        pytest.param(5 * MINUTE, 5 * MINUTE, (True, 5 * MINUTE, 5 * MINUTE), id="goes-on"),
        pytest.param(5 * MINUTE, 0, (True, 5 * MINUTE, 0), id="has-waited"),
    ],
)
def test_an_alert_of_a_flapping_device_says_so(
    waited_ms: int, flapping_ms: int, want: tuple[bool, int, int]
) -> None:
    life = scene.lifecycle()
    place = {"rule": PRESSURE, "device": HYDRANT}
    row = scene.change(Change.RAISED, waited_ms=waited_ms, flapping_ms=flapping_ms, **place)
    raised, cleared = life.apply(scene.batch(row, scene.change(Change.CLEARED, T0 + 1, **place)))

    for event in (raised, cleared):
        timing = event.data["timing"]
        assert (
            event.data["flapping"],
            timing["on_delay_ms"],
            timing["flapping_on_delay_ms"],
        ) == want


@pytest.mark.parametrize(("late", "calls"), [("annotate", False), ("fire", True)])
def test_old_readings_call_somebody_where_the_rule_says_so(late: Late, calls: bool) -> None:
    cards = [msgspec.structs.replace(card, late=late) for card in scene.CARDS]
    row = scene.change(
        Change.RAISED, T0, rule=PRESSURE, device=HYDRANT, flags=Flag.LATE, heard_ms=T0 + HOUR
    )

    (event,) = scene.lifecycle(cards).apply(scene.batch(row))

    assert event.data["notify"] is calls
    assert (event.expirytime == "") is calls
    assert event.data["timing"]["late"], "what is late says so"
    assert "late" in event.data["annotations"]
