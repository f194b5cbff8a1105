"""What falls becomes one tracklet, whatever its size; what doesn't, doesn't."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from contracts.tracklets import CROP, TrackletBatch, Trait, encode
from edge.camera.frontend import FrontEnd
from edge.camera.scale import View, default_view
from edge.camera.video import Frame
from tests.parts.clips import Picture, Place, facade, falling, pictures

WIDTH, HEIGHT, FPS = 320, 240, 25.0
WALL = facade(WIDTH, HEIGHT)
T0 = 1_772_323_200_000


def frames(clip: Iterable[Picture]) -> Iterator[Frame]:
    for number, picture in enumerate(clip):
        yield Frame(number, round(number * 1e6 / FPS), picture)


def masked_view() -> View:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:230, 60:260] = True
    plain = default_view(WIDTH, HEIGHT)
    return replace(plain, mask=mask, facade=np.where(mask, 0, -1).astype(np.int8))


def tracklets(
    things: list[tuple[Place, int, float]], view: View | None = None, seconds: float = 3.0
) -> TrackletBatch:
    front = FrontEnd("cam-1", view or default_view(WIDTH, HEIGHT), FPS, start_ms=T0)
    parts = []
    for frame in frames(pictures(WALL, seconds, things)):
        front.push(frame)
        parts.append(front.drain())
    front.finish()
    return TrackletBatch.join([*parts, front.drain()])


@pytest.mark.parametrize("side", [2, 3, 8, 20])
@pytest.mark.parametrize("contrast", [-45.0, 40.0])
def test_a_falling_thing_is_one_tracklet(side: int, contrast: float) -> None:
    found = tracklets([(falling(1.0, 160, 20, 225, g=250), side, contrast)])
    assert len(found) == 1
    assert found.cameras == ("cam-1",)
    assert T0 + 1000 <= found.start_ms[0] <= T0 + 1700
    assert abs(float(found.x[0]) - 160) < 2
    assert found.y[-1] > 190
    assert np.all(np.diff(found.y) > 0)
    assert np.sign(np.median(found.contrast)) == np.sign(contrast)
    assert found.storey[0] > found.storey[-1]


def test_an_upward_first_leg_belongs_to_the_fall() -> None:
    found = tracklets([(falling(0.5, 160, 120, 230, g=250, v=-180), 4, 50.0)])
    assert len(found) == 1
    assert found.y.min() < found.y[0] - 25
    assert found.y[-1] > found.y[0] + 50


def test_a_short_fall_of_a_second_is_seen() -> None:
    found = tracklets([(falling(0.6, 100, 30, 200, g=340), 5, -50.0)])
    assert len(found) == 1
    assert found.dt_us[-1] < 1_000_000


def test_two_things_are_two_tracklets() -> None:
    things = [(falling(0.5, x, 20, 225, g=250), 4, 60.0) for x in (90, 200)]
    found = tracklets(things)
    assert sorted(np.round(found.x[found.first]).tolist()) == pytest.approx([90, 200], abs=2)


def test_what_rises_or_goes_across_or_stands_is_not_handed_on() -> None:
    def across(at_s: float) -> tuple[float, float]:
        return 10 + 90 * at_s, 100.0

    def rising(at_s: float) -> tuple[float, float]:
        return 250.0, 220 - 60 * at_s

    assert len(tracklets([(across, 6, 60.0), (rising, 6, 60.0)])) == 0
    assert len(tracklets([])) == 0


def test_only_the_facade_is_seen_and_only_crops_of_it_are_kept() -> None:
    inside = (falling(0.5, 160, 20, 225, g=250), 6, 60.0)
    outside = (falling(0.5, 30, 20, 225, g=250), 6, 60.0)
    found = tracklets([inside, outside], masked_view())
    assert len(found) == 1
    assert found.traits[0] & Trait.MASKED
    assert found.traits[0] & Trait.CALIBRATED
    assert 1 <= len(found.crop_point) <= 3
    assert found.crops.shape[1:] == (CROP, CROP)
    # Without a mask nothing of the picture goes.
    plain = tracklets([inside])
    assert len(plain.crop_point) == 0
    assert not plain.traits[0] & Trait.MASKED


def test_a_crop_is_black_outside_the_facade() -> None:
    found = tracklets([(falling(0.4, 64, 20, 225, g=250), 6, 80.0)], masked_view())
    assert len(found.crop_point) >= 1
    for point, crop in zip(found.crop_point, found.crops, strict=True):
        left = round(float(found.x[point])) - CROP // 2
        assert (crop[:, : max(0, 60 - left)] == 0).all()


def test_the_same_frames_give_the_same_bytes() -> None:
    thing = [(falling(0.5, 160, 20, 225, g=250), 3, 40.0)]
    assert encode(tracklets(thing)) == encode(tracklets(thing))


def test_light_that_goes_on_is_no_tracklet_and_no_end_of_seeing() -> None:
    front = FrontEnd("cam-1", default_view(WIDTH, HEIGHT), FPS)
    clip = list(pictures(WALL, 4.0, [(falling(2.2, 160, 20, 225, g=250), 5, 60.0)]))
    lit = [np.clip(p.astype(int) + (60 if n >= 25 else 0), 0, 255).astype(np.uint8)
           for n, p in enumerate(clip)]  # fmt: skip
    for frame in frames(lit):
        front.push(frame)
    front.finish()
    assert len(front.drain()) == 1


def test_a_shaken_camera_still_sees_the_fall_and_nothing_else() -> None:
    chance = np.random.default_rng(5)
    clip = list(pictures(WALL, 5.0, [(falling(3.0, 160, 30, 220, g=250), 5, 70.0)]))
    shaken = [np.roll(p, tuple(chance.integers(-2, 3, 2)), (0, 1)) for p in clip]
    front = FrontEnd("cam-1", default_view(WIDTH, HEIGHT), FPS)
    for frame in frames(shaken):
        front.push(frame)
    front.finish()
    found = front.drain()
    assert len(found) >= 1
    drops = [found.y[a + k - 1] - found.y[a] for a, k in zip(found.first, found.count, strict=True)]
    assert max(drops) > 100
    assert len(found) <= 3


def test_a_downpour_is_bounded_and_counted() -> None:
    things = [
        (falling(0.4 + 0.021 * n, 10 + (37 * n) % 300, 10, 235, g=120, v=160), 2, 60.0)
        for n in range(160)
    ]
    front = FrontEnd("cam-1", default_view(WIDTH, HEIGHT), FPS)
    for frame in frames(pictures(WALL, 4.5, things)):
        front.push(frame)
    front.finish()
    assert 10 <= len(front.drain()) <= 60 + 3 * 5
    assert front.figures.passed.total() > 0
