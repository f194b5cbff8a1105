"""What is remembered of deadlines is what the whole table would say."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.directory import DeviceDirectory
from contracts.registry import Registry
from contracts.transitions import Episode
from rules.changes import Changes
from rules.deadlines import Deadlines
from rules.instances import AFTER_ALL_MS, NEVER_MS, Instances, Phase, State
from rules.machine import Machine
from rules.members import Members
from rules.parameters import Parameters
from tests.rules.scene import ruleset

RULE = (
    "id: efire.hot, on: {family: efire}, when: cable_temperature >= 70 degC, for: 30s, "
    "clear: cable_temperature < 60 degC, clear_for: 1m, missing: raise after 2m"
)

Step = tuple[str, int, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "hear", "release", "ask"]),
        st.integers(0, 99),
        st.sampled_from([Phase.PENDING, Phase.FIRING, Phase.CLEARING]),
        st.integers(0, 400_000),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS, st.integers(0, 500_000))
def test_remembered_is_recomputed(steps: list[Step], limit_ms: int) -> None:
    rules = ruleset(RULE)
    members = Members(rules, DeviceDirectory(Registry()))
    machine = Machine(Parameters(rules, members), Changes())
    instances = Instances()
    deadlines = Deadlines(instances)
    for what, number, phase, at_ms in [*steps, ("ask", 0, Phase.FIRING, 0)]:
        used = instances.slots()
        if what == "ask":
            state = instances.gather(used)
            due = machine.deadlines(state)
            ended = np.where(due <= state.clock, NEVER_MS, AFTER_ALL_MS)
            due = np.where(state.lane == Episode.LATE, ended, due)
            assert deadlines.until(limit_ms, machine).tolist() == used[due <= limit_ms].tolist()
            assert deadlines.soonest_ms(machine) == due.min(initial=AFTER_ALL_MS)
        elif what == "put" or not len(used):
            # Many at once sometimes, so that the table grows.
            count = 1 + number if number % 10 == 0 else 1
            state = State.blank(count)
            state.phase[:], state.lane[:] = phase, number % 2
            state.onset[:] = state.since[:] = state.seen[:] = at_ms
            state.clock[:] = at_ms + number * 1_000
            again = number % 3 == 0 and len(used)
            slots = used[number % len(used)][None] if again else instances.take_slots(count)
            instances.put(slots, state.take(np.zeros(len(slots), np.intp)))
        else:
            slot = used[number % len(used)][None].astype(np.int32)
            if what == "release":
                instances.release(slot)
            elif instances.table.lane[slot[0]] == Episode.LIVE:
                instances.hear(slot, np.array([at_ms]), waits=True)
