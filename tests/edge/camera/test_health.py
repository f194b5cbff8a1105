"""Black, covered, frozen, turned away: states of the camera, and their ends."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from edge.camera.health import Health, State
from tests.parts.clips import Picture, facade, pictures

WALL = facade(320, 240)
OTHER = np.ascontiguousarray(facade(320, 240, seed=9)[::-1, ::-1].T[:240, :240].repeat(2, 1))[
    :, :320
]


def states(seconds: Iterable[Picture]) -> list[State]:
    """One picture a second."""
    health = Health()
    return [health.push(picture, number * 1_000_000) for number, picture in enumerate(seconds)]


def live(wall: Picture, seconds: int, seed: int = 1) -> list[Picture]:
    return list(pictures(wall, seconds, [], fps=1, seed=seed))


def test_a_wall_is_nothing_to_report() -> None:
    assert set(states(live(WALL, 60))) == {State()}


@pytest.mark.parametrize("level", [4, 128])
def test_a_black_or_covered_lens(level: int) -> None:
    dark = np.full((240, 320), level, np.uint8)
    found = states([*live(WALL, 5), *live(dark, 10), *live(WALL, 3)])
    assert [state.blocked for state in found] == [False] * 9 + [True] * 6 + [False] * 3


def test_a_frozen_picture() -> None:
    still = live(WALL, 1)
    found = states([*live(WALL, 3), *still * 40, *live(WALL, 2, seed=4)])
    frozen = [state.frozen for state in found]
    assert frozen.index(True) == 33
    assert frozen[-2:] == [False, False]


@pytest.mark.parametrize(("lamp", "frozen"), [(False, True), (True, False)])
def test_a_picture_that_half_a_day_does_not_change_is_frozen(lamp: bool, frozen: bool) -> None:
    """The encoder goes on, and the clock in a corner; a lamp before the facade is life."""
    mask = np.zeros(WALL.shape, bool)
    mask[:, 80:240] = True
    health = Health(mask)
    now = [state.frozen for state in map(health.push, *zip(*(
        (np.clip(picture + 40 * (np.arange(320) > 260) * (n % 2)
                 + 20 * (abs(np.arange(320) - 150) < 10) * (lamp and n == 500), 0, 255)
         .astype(np.uint8), n * 60_000_000)
        for n, picture in enumerate(live(WALL, 730))), strict=True))]  # fmt: skip
    assert now[-1] is frozen
    assert not any(now[:719])


def test_a_camera_that_was_turned_away_and_back() -> None:
    found = [state.moved for state in states([*live(WALL, 20), *live(OTHER, 20), *live(WALL, 5)])]
    assert not any(found[:25])
    assert all(found[28:40])
    assert not any(found[41:])


def test_dusk_is_not_another_view() -> None:
    falling_light = [(picture * (1 - n / 90)).astype(np.uint8) for n, picture in
                     enumerate(live(WALL, 60))]  # fmt: skip
    assert not any(state.moved for state in states(falling_light))
