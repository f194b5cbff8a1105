"""However changes are cut into calls, and whenever it restarts, the bytes are the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.alerts import AlertEvent
from contracts.messages import OperatorCommand
from contracts.transitions import Change, Episode
from dispatch.lifecycle import Lifecycle
from tests.dispatch import scene
from tests.dispatch.scene import T0, S

Step = dict[str, float] | OperatorCommand

changes = st.builds(
    lambda what, rule, device, second, back, lane, flags, level: scene.change(
        what,
        T0 + second * S,
        rule=rule,
        device=device,
        onset_ms=T0 + (second - back) * S,
        lane=lane,
        flags=flags,
        **(scene.stands(level) if rule >= scene.HEAT else {}),
    ),
    st.sampled_from(Change),
    st.integers(0, 5),
    st.integers(0, 4),
    st.integers(0, 5),
    st.integers(0, 2),
    st.sampled_from(Episode),
    st.sampled_from([0, 2048, 1024, 16]),
    st.integers(0, 2),
)
pokes = st.tuples(
    st.sampled_from(["acknowledge", "reset", "disposition"]),
    st.integers(0, 9),
    st.sampled_from([None, "real", "false", "drill"]),
    st.integers(0, 20),
)


def run(steps: list[object], cut: list[bool], *, forget: bool) -> tuple[list[AlertEvent], bytes]:
    """Feed changes and commands; `cut[i]` ends a call after step i; forget = restart there."""
    life = scene.lifecycle()
    events: list[AlertEvent] = []
    rows: list[dict[str, float]] = []

    def flush() -> None:
        if rows:
            events.extend(life.apply(scene.batch(*rows)))
            rows.clear()

    for at, step in enumerate(steps):
        if isinstance(step, dict):
            rows.append(step)
        else:
            flush()
            _poke(life, step, events)
        if cut[at % len(cut)]:
            flush()
            if forget:
                blob, life = life.snapshot(), scene.lifecycle()
                life.restore(blob)
    flush()
    return events + life.settle(T0), life.snapshot()


def _poke(life: Lifecycle, step: object, events: list[AlertEvent]) -> None:
    action, which, disposition, number = step  # type: ignore[misc]
    seen = [event.subject for event in events] or ["nothing"]
    more = {} if disposition is None else {"disposition": disposition}
    cmd = scene.order(action, seen[which % len(seen)], command=f"c{number}", **more)
    events.extend(life.command(cmd, T0 + 10 * S)[0])


@given(
    st.lists(changes | pokes, max_size=40),
    st.lists(st.booleans(), min_size=1, max_size=8),
)
def test_cuts_and_restarts_change_nothing(steps: list[object], cut: list[bool]) -> None:
    whole, end = run(steps, [False], forget=False)

    for forget in (False, True):
        pieces, pieces_end = run(steps, cut, forget=forget)
        assert scene.as_bytes(pieces) == scene.as_bytes(whole)
        assert pieces_end == end


@given(st.lists(changes | pokes, max_size=60))
def test_what_always_holds(steps: list[object]) -> None:
    events, _ = run(steps, [False], forget=False)

    ids = [event.id for event in events]
    assert len(set(ids)) == len(ids)
    revisions: dict[str, list[AlertEvent]] = {}
    for event in events:
        revisions.setdefault(event.subject, []).append(event)
    for of_one in revisions.values():
        assert [event.data["revision"] for event in of_one] == list(range(1, len(of_one) + 1))
        assert of_one[0].type.endswith(".raised")
        sequences = [event.sequence for event in of_one]
        assert sequences == sorted(sequences)
        for event in of_one:
            if event.data["change"] in ("raised", "again") and event.data["class"] == "safety":
                assert event.data["notify"]
            if event.data["latching"] and event.type.endswith(".cleared"):
                assert event.data["change"] == "reset"
