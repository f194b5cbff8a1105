"""The detector's scores over a recorded home and over each simulated collapse, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.evaluate.scene import FOLLOWED_MS, STEP_MIN, STEP_MS, Scene
from app.homes import RecordedHome
from detectors.inactivity.alarms import causes
from detectors.inactivity.layout import Kind, Layout, Role
from detectors.inactivity.operator import InactivityOperator
from detectors.inactivity.prior import Prior
from detectors.inactivity.silence import Infer

STEPS = FOLLOWED_MS // STEP_MS


@dataclass(frozen=True, slots=True)
class Trace:
    """Of the recording, a row a tick; of collapses, `branch_*` [collapse, step from the collapse].

    monthly: float32, silences like this in 30 days. other: uint8 `Cause` without the budget.
    state: uint8 `HomeState`. since: int64 ms, when the detector last believed somebody active.
    """

    monthly: NDArray[np.float32]
    other: NDArray[np.uint8]
    state: NDArray[np.uint8]
    since: NDArray[np.int64]
    branch_monthly: NDArray[np.float32]
    branch_other: NDArray[np.uint8]


def trace(scene: Scene, infer: Infer | None, prior: Prior) -> Trace:
    """Home 0 is the recording; the others take up its state at a collapse and then hear
    heartbeats and what runs by itself, and nothing else."""
    places = _slots(scene)
    layout, lives = branched(scene.home, int(places.max(initial=-1)) + 1)
    operator = InactivityOperator(layout, infer, prior, step_min=STEP_MIN)
    ticks, collapses = scene.ticks, scene.collapses
    found = Trace(
        np.zeros(len(ticks), np.float32), np.zeros(len(ticks), np.uint8),
        np.zeros(len(ticks), np.uint8), np.zeros(len(ticks), np.int64),
        np.full((len(collapses), STEPS), 1e4, np.float32),
        np.zeros((len(collapses), STEPS), np.uint8),
    )  # fmt: skip
    home = scene.home
    cuts = np.searchsorted(home.ts_ms, ticks, side="right")
    signs = _signs(scene)
    first, nth = 0, 0
    running: dict[int, tuple[int, int]] = {}
    for i, at in enumerate(ticks.tolist()):
        last = int(cuts[i])
        if last > first:
            operator.feed(home.sensor[first:last], home.ts_ms[first:last], home.value[first:last])
            first = last
        if len(lives) and running and signs[i]:
            operator.feed(lives, np.full(len(lives), signs[i], np.int64), np.ones(len(lives)))
        scores = operator.tick(at)
        other = causes(scores, budget=-1.0)
        found.monthly[i], found.other[i], found.state[i] = (
            scores.monthly[0], other[0], scores.state[0],
        )  # fmt: skip
        found.since[i] = operator.state.home["since_ms"][0]
        for slot, (collapse, begun) in list(running.items()):
            step = i - begun - 1
            if step >= STEPS:
                del running[slot]
                continue
            found.branch_monthly[collapse, step] = scores.monthly[slot]
            found.branch_other[collapse, step] = other[slot]
        while nth < len(collapses) and collapses[nth] == i:
            slot = int(places[nth]) + 1
            operator.state.copy_home(0, slot)
            running[slot] = (nth, i)
            nth += 1
    return found


def _slots(scene: Scene) -> NDArray[np.intp]:
    """A free row for each collapse while it is followed."""
    slots: list[int] = []
    until: list[int] = []
    for at in scene.collapses.tolist():
        slot = next((k for k, end in enumerate(until) if end < at), len(until))
        if slot == len(until):
            until.append(0)
        until[slot] = at + STEPS + 1
        slots.append(slot)
    return np.array(slots, np.intp)


def branched(recorded: RecordedHome, branches: int) -> tuple[Layout, NDArray[np.int32]]:
    """The home and its branches; the sensors of the branches that go on."""
    old = recorded.layout
    heart = bool((old.kind == Kind.HEARTBEAT).any())
    automatic = bool((old.role == Role.AUTOMATIC).any())
    hung = [(Kind.HEARTBEAT, Role.PERSON)] if heart else []
    hung += [(Kind.CONTACT, Role.AUTOMATIC)] if automatic and not heart else []
    # What a home has is known by its sensors: a branch keeps a meter and a door that stay silent.
    wet = bool(np.isin(old.kind, (Kind.WATER, Kind.METER)).any())
    door = bool((old.role == Role.FRONT_DOOR).any())
    home, kind, role = list(old.home), list(old.kind), list(old.role)
    names, lives = list(old.sensors), []
    for branch in range(1, branches + 1):
        for k, (one, its) in enumerate(hung):
            lives.append(len(names))
            names.append(f"{branch}-{k}")
            home.append(branch)
            kind.append(int(one))
            role.append(int(its))
        silent = [(Kind.WATER, Role.PERSON)] if wet else []
        silent += [(Kind.CONTACT, Role.FRONT_DOOR)] if door else []
        for one, its in silent:
            names.append(f"{branch}-{one.name.lower()}")
            home.append(branch)
            kind.append(int(one))
            role.append(int(its))
    room = np.zeros(len(names), np.uint8)
    room[: len(old.room)] = old.room
    return Layout(
        (old.homes[0], *(f"branch-{n}" for n in range(1, branches + 1))),
        np.zeros(branches + 1, np.int16),
        old.zones,
        tuple(names),
        np.array(home, np.int32),
        np.array(kind, np.uint8),
        room,
        np.array(role, np.uint8),
    ), np.array(lives, np.int32)


def _signs(scene: Scene) -> list[int]:
    """Of each tick, the last row of a heartbeat or an automatic machine in it; 0 = none."""
    home = scene.home
    goes_on = np.isin(home.layout.kind, (Kind.HEARTBEAT,)) | (home.layout.role == Role.AUTOMATIC)
    ts = home.ts_ms[goes_on[home.sensor]]
    if not len(ts):
        return [0] * len(scene.ticks)
    last = np.searchsorted(ts, scene.ticks, side="right")
    found = np.where(last > 0, ts[np.maximum(last - 1, 0)], 0)
    found[np.diff(last, prepend=0) == 0] = 0
    return [int(one) for one in found]


def silences(scene: Scene, traced: Trace) -> NDArray[np.intp]:
    """The number of each tick's silence as the detector has it: activity of a sensor that it
    doesn't believe ends none, as it ends no alarm."""
    fresh = np.diff(scene.silence, prepend=-1) != 0
    believed = traced.since > scene.ticks - STEP_MS
    return np.cumsum(fresh & believed)


def hours_to_ring(rung: NDArray[np.bool_]) -> NDArray[np.float64]:
    """rung: bool[collapse, step]. Hours from each collapse to its first alarm; 48 when there was
    none."""
    step = np.where(rung.any(axis=1), rung.argmax(axis=1) + 1, STEPS)
    return np.asarray(step * STEP_MS / 3_600_000)
