"""The detector of falling objects: what it measures, when two tracklets are one event, and that
no cut of the log changes its answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.falling.session import SHIPPED, detector, load
from app.models import ModelError
from contracts.tracklets import TrackletBatch, Trait
from detectors.falling.features import (
    GRAVITY_STOREYS,
    NAMES,
    describe,
    longest_s,
    may_have_fallen,
)
from detectors.falling.manifest import Manifest, WrongModel, read_manifest
from detectors.falling.operator import (
    EVENT,
    TOGETHER_MS,
    Collected,
    Event,
    FallingObjects,
    readings,
    rounded_scores,
)

T0 = 1_772_323_200_000
STOREY_PX = 60.0


def track(
    camera: str = "cam-1",
    start_ms: int = T0,
    *,
    seconds: float = 1.4,
    g: float = GRAVITY_STOREYS,
    v: float = 0.0,
    top: float = 10.0,
    noise: float = 0.0,
    number: int = 0,
    size: int = 5,
) -> TrackletBatch:
    """Free fall at 25 frames a second, 60 px a storey; v is downward, storeys a second."""
    chance = np.random.default_rng(number)
    at = np.arange(round(seconds * 25) + 1)
    t = at / 25
    storey = top - v * t - 0.5 * g * t * t
    n = len(at)
    y = 700 - storey * STOREY_PX + chance.normal(0, noise, n)
    ones = np.ones(n)
    return TrackletBatch(
        (camera,),
        np.zeros(1, np.int32),
        np.array([number], np.int64),
        np.array([start_ms], np.int64),
        np.array([1280], np.int32),
        np.array([720], np.int32),
        np.array([Trait.CALIBRATED], np.uint8),
        np.array([2], np.int32),
        np.array([n], np.int32),
        (at * 40_000).astype(np.int64),
        600 + chance.normal(0, noise, n),
        np.maximum(y, 0),
        ones * size,
        ones * size,
        (ones * size * size).astype(np.int32),
        ones * 40,
        (700 - y) / STOREY_PX,
        np.empty(0, np.int32),
        np.empty((0, 16, 16), np.uint8),
    ).quantised()


def column(batch: TrackletBatch, name: str) -> NDArray[np.float32]:
    return describe(batch).matrix[:, NAMES.index(name)]


def test_free_fall_is_measured_as_free_fall() -> None:
    batch = TrackletBatch.join([track(), track(g=0.0, v=2.0), track(v=-1.0, seconds=1.2)])
    gain = column(batch, "gain_storeys")
    assert gain[0] == pytest.approx(GRAVITY_STOREYS, rel=0.03)
    assert gain[1] == pytest.approx(0, abs=0.1)
    assert column(batch, "drop_storeys")[0] == pytest.approx(
        0.5 * GRAVITY_STOREYS * 1.4**2, rel=0.02
    )
    assert column(batch, "rise_share")[2] > 0.05
    assert column(batch, "down_share")[0] > 0.9
    fall = describe(batch).fall
    assert fall.top[0] == pytest.approx(10, abs=0.05)
    assert fall.start[0] == pytest.approx(10, abs=0.1)
    assert fall.speed[0] == pytest.approx(GRAVITY_STOREYS * 1.4, rel=0.05)


def test_what_was_fallen_before_it_was_seen_is_added() -> None:
    fall = describe(track(v=2.0)).fall
    assert fall.start[0] - fall.top[0] == pytest.approx(4 / (2 * GRAVITY_STOREYS), rel=0.1)
    thrown_down = describe(track(v=6.0, seconds=0.8)).fall
    assert thrown_down.start[0] - thrown_down.top[0] == 1.0


def test_what_jumps_or_sways_is_not_measured_as_what_falls() -> None:
    calm = track()
    sways = replace(calm, x=600 + 60 * np.linspace(-1, 1, len(calm.x)) ** 2).quantised()
    jumps = replace(calm, x=calm.x + 50.0 * (np.arange(len(calm.x)) > 20)).quantised()
    both = TrackletBatch.join([calm, sways, jumps])
    # 60 px are a storey here, left and come back to in 1.4 s: 2 * 1 / 0.7 ** 2.
    np.testing.assert_allclose(column(both, "sway_storeys")[:2], [0.0, 4.08], atol=0.1)
    off = column(both, "off_centre")
    assert off[2] > off[0] + 1.0
    assert column(both, "longest_step")[2] > 1.5 * column(both, "longest_step")[0]
    # Five points lie near any cubic: what is left over is told as of many.
    noisy = [track(seconds=s, noise=2.0, v=6.0, number=n) for s in (0.16, 1.4) for n in range(40)]
    cubic = column(TrackletBatch.join(noisy), "off_centre_cubic")
    assert np.median(cubic[:40]) == pytest.approx(np.median(cubic[40:]), abs=0.7)


@pytest.mark.parametrize("metres", [0.5, 2.0, 10.0, 60.0, 3000.0])
def test_the_longest_fall_is_that_of_a_light_thing(metres: float) -> None:
    # By steps: gravity less drag that balances it at 7 m/s.
    speed = fallen = seconds = 0.0
    while fallen < metres:
        speed += 9.81 * (1 - (speed / 7.0) ** 2) * 1e-3
        fallen += speed * 1e-3
        seconds += 1e-3
    assert longest_s(np.array([metres / 3.0]))[0] == pytest.approx(seconds, rel=0.01)
    assert longest_s(np.zeros(1))[0] == 0.0


def test_physics_rules_out_what_is_too_slow_too_late_or_too_fast() -> None:
    falls = [track(), track(v=-1.0, seconds=1.6), track(v=2.4, g=0.0), track(v=5.0, seconds=0.4)]
    not_so = [
        track(v=0.9, g=0.0, seconds=2.0),  # a lift
        track(v=0.5, g=0.8, seconds=2.4),  # it ends at falling speed, but took too long
        track(v=3.0, g=-2.0, seconds=1.0),  # it is braked
        track(g=7.0, seconds=0.9),
        track(seconds=0.6),  # not far enough
    ]
    batch = TrackletBatch.join([*falls, *not_so])
    assert may_have_fallen(describe(batch)).tolist() == [True] * 4 + [False] * 5
    # Without a camera file storeys are a guess, and only how far it came is asked.
    guessed = replace(batch, traits=np.zeros_like(batch.traits))
    assert may_have_fallen(describe(guessed)).tolist() == [True] * 8 + [False]


def test_features_are_finite_and_do_not_depend_on_the_batch() -> None:
    tracks = [track(number=n, noise=1.0, g=0.5 * n, seconds=0.2 + 0.2 * n) for n in range(6)]
    tracks += [track(seconds=0.0), track(seconds=0.04)]
    whole = describe(TrackletBatch.join(tracks)).matrix
    alone = np.concatenate([describe(one).matrix for one in tracks])
    assert np.isfinite(whole).all()
    np.testing.assert_allclose(whole, alone, rtol=1e-5, atol=1e-6)
    assert describe(TrackletBatch.empty()).matrix.shape == (0, len(NAMES))


def gain_model(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """A model that everyone can follow: things that speed up have fallen."""
    return np.clip(x[:, NAMES.index("gain_storeys")] / 4, 0, 1)


def told(batches: list[TrackletBatch], *, forgetful: bool = False) -> list[Event]:
    judge = FallingObjects(gain_model, 0.5)
    found: list[Event] = []
    for batch in batches:
        found += judge.on_tracklets(batch)
        if forgetful:
            state = judge.snapshot()
            judge = FallingObjects(gain_model, 0.5)
            judge.restore(state)
    return found


def test_an_event_says_where_and_how_far() -> None:
    (event,) = told([track()])
    assert (event.camera, event.start_ms, event.end_ms) == ("cam-1", T0, T0 + 1400)
    assert event.score >= EVENT
    assert event.storeys == pytest.approx(3.2, abs=0.1)
    assert event.calibrated
    rows = readings([event]).rows()
    assert rows == [
        ("cam-1", "camera", "falling_object.start_storey", T0 + 1400, event.start_storey, 0),
        ("cam-1", "camera", "falling_object.storeys", T0 + 1400, event.storeys, 0),
        ("cam-1", "camera", "falling_object.score", T0 + 1400, event.score, 0),
    ]


def test_what_does_not_fall_is_no_event() -> None:
    assert told([track(g=0.1, v=2.0)]) == []
    assert told([TrackletBatch.empty()]) == []


def test_a_reflection_is_the_same_event() -> None:
    reflection = track(start_ms=T0 - 300, top=8.0, seconds=1.0, number=1)
    found = told([reflection, track(number=2)])
    assert [(event.first, event.revision) for event in found] == [(1, 0), (1, 1)]
    (event,) = Collected().with_told(found).events
    assert event.tracklets == 2
    assert event.storeys == found[1].storeys > found[0].storeys
    assert (event.start_ms, event.end_ms) == (T0 - 300, T0 + 1400)


def test_a_weaker_second_tracklet_says_nothing_new() -> None:
    found = told([track(number=1), track(number=2, start_ms=T0 + 200, seconds=0.8)])
    assert len(found) == 1


BUILDINGS = {"cam-1": 3, "cam-2": 3, "cam-3": 4}


def told_of_building(*batches: TrackletBatch) -> list[tuple[str, int]]:
    judge = FallingObjects(gain_model, 0.5)
    events = [event for batch in batches for event in judge.on_tracklets(batch, BUILDINGS)]
    state = judge.snapshot()
    again = FallingObjects(gain_model, 0.5)
    again.restore(state)
    assert again.snapshot() == state
    return [(event.camera, event.revision) for event in events]


@pytest.mark.parametrize(
    ("second", "told_too"),
    [
        pytest.param(track("cam-2", T0 + 300, number=1), False, id="same"),
        pytest.param(track("cam-2", T0 + 3300, number=1), False, id="clocks-differ"),
        pytest.param(track("cam-2", T0 + 3500, number=1), True, id="later"),
        pytest.param(track("cam-3", T0 + 300, number=1), True, id="other-building"),
        pytest.param(track("cam-9", T0 + 300, number=1), True, id="no-building"),
        pytest.param(track("cam-2", T0 + 300, top=21.0, number=1), True, id="higher"),
        pytest.param(track("cam-2", T0 + 300, top=12.0, number=1), False, id="a-bit-higher"),
    ],
)
def test_what_two_cameras_of_a_building_see_is_one_event(
    second: TrackletBatch, told_too: bool
) -> None:
    first = ("cam-1", 0)
    assert told_of_building(track(), second) == [first, (second.cameras[0], 0)][: 1 + told_too]
    whole = TrackletBatch.join([track(), second])
    assert told_of_building(whole) == told_of_building(track(), second)


def test_a_camera_that_saw_enough_for_an_alarm_is_heard_after_one_that_did_not() -> None:
    little, more = track(seconds=1.0), track("cam-2", T0 + 100, number=1)
    assert told_of_building(little, more) == [("cam-1", 0), ("cam-2", 0)]
    # The first sees more of it after all: the building has its alarm already.
    rest = track(start_ms=T0 + 200, seconds=1.5, number=2)
    assert told_of_building(little, more, rest) == [("cam-1", 0), ("cam-2", 0)]
    # The second saw little at first, and only then enough.
    part = track("cam-2", T0 + 50, seconds=0.9, number=3)
    assert told_of_building(little, part, more) == [("cam-1", 0), ("cam-2", 1)]


@pytest.mark.parametrize(("apart", "events"), [(TOGETHER_MS, 1), (TOGETHER_MS + 1, 2)])
def test_two_things_apart_in_time_are_two_events(apart: int, events: int) -> None:
    later = track(number=2, start_ms=T0 + 1400 + apart, seconds=1.6, top=6.8)
    found = told([track(number=1), later])
    assert len(Collected().with_told(found).events) == events


def test_what_is_thrown_while_another_lands_is_another_event() -> None:
    later = [track(number=n, start_ms=T0 + 300 * n, top=10.0 + 4 * n) for n in (1, 2, 3)]
    found = told([track(), *later])
    assert [event.first for event in found] == [0, 1, 2, 3]
    # The next piece of the first one still finds its event.
    piece = track(number=9, start_ms=T0 + 1450, top=6.5, v=4.0, seconds=1.0)
    events = Collected().with_told(told([track(), *later, piece])).events
    assert [(event.first, event.tracklets) for event in events] == [(0, 2), (1, 1), (2, 1), (3, 1)]


def test_cameras_are_kept_apart() -> None:
    found = told([track("cam-1"), track("cam-2")])
    assert [event.camera for event in found] == ["cam-1", "cam-2"]


_tracks = st.lists(
    st.tuples(
        st.sampled_from(["cam-1", "cam-2", "cam-3"]),
        st.integers(0, 6000),
        st.floats(0.3, 2.0),
        st.floats(0, 4),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=40, deadline=None)
@given(_tracks, st.data())
def test_no_cut_of_the_log_changes_the_answers(
    parts: list[tuple[str, int, float, float]], data: Any
) -> None:
    batches = [
        track(camera, T0 + at, seconds=seconds, g=g, number=number)
        for number, (camera, at, seconds, g) in enumerate(parts)
    ]
    whole = told([TrackletBatch.join(batches)])
    at = data.draw(st.integers(0, len(batches)))
    halves = [TrackletBatch.join(half) for half in (batches[:at], batches[at:])]
    assert told(halves) == whole
    assert told(batches, forgetful=True) == whole


def test_a_state_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 99"):
        FallingObjects(gain_model, 0.5).restore(b'{"version": 99, "last": []}')


def test_the_threshold_becomes_the_score_of_the_rules() -> None:
    p = np.array([0.0, 0.2, 0.9, 0.97, 1.0])
    score = rounded_scores(p, 0.9)
    assert score[2] == EVENT
    assert np.all(np.diff(score) > 0)
    assert 0 <= score[0] < 0.01
    assert 0.99 < score[-1] <= 1
    np.testing.assert_array_equal(np.round(score, 3), score)


# The shipped model.


def test_the_shipped_model_believes_a_fall_and_not_a_glide() -> None:
    judge = detector()
    batch = TrackletBatch.join(
        [track(noise=0.3, seconds=2.0), track(noise=0.3, g=0.05, v=1.0, seconds=2.0)]
    )
    fall, glide = judge.scores(batch)
    assert fall >= EVENT > glide


def wrong(manifest: Manifest, **fields: Any) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(manifest, **fields))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"sha256": "0" * 64}, "the model was changed", id="sha256"),
        pytest.param({"detector": "inactivity"}, "format 1 of 'inactivity'", id="detector"),
        pytest.param({"format": 2}, "format 2", id="format"),
        pytest.param({"inputs": NAMES[1:]}, "train the model anew", id="inputs"),
    ],
)
def test_a_wrong_manifest_is_refused(fields: dict[str, Any], said: str) -> None:
    model = (SHIPPED / "falling.onnx").read_bytes()
    _, manifest = load()
    with pytest.raises(WrongModel, match=said):
        read_manifest(wrong(manifest, **fields), model)
    with pytest.raises(WrongModel, match=r"manifest\.json"):
        read_manifest(b"{}", model)


def test_a_tampered_or_missing_model_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ModelError, match="can't be read"):
        load(tmp_path)
    data = bytearray((SHIPPED / "falling.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "falling.onnx").write_bytes(data)
    (tmp_path / "manifest.json").write_bytes((SHIPPED / "manifest.json").read_bytes())
    with pytest.raises(ModelError, match="the model was changed"):
        load(tmp_path)
    text = b"not a model at all"
    import hashlib

    _, manifest = load()
    (tmp_path / "falling.onnx").write_bytes(text)
    (tmp_path / "manifest.json").write_bytes(
        wrong(manifest, sha256=hashlib.sha256(text).hexdigest())
    )
    with pytest.raises(ModelError, match=r"falling\.onnx"):
        load(tmp_path)
