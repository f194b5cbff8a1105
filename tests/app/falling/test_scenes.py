"""Scenes are drawn from their seed alone, fall as things fall, and are those that were frozen."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from app.falling.render import Painter, decoded
from app.falling.scenes import GRAVITY, STEPS_S, VERSION, Part, Recipe, Scene, draw

FROZEN = {1: "c284e153036f7197d71d9e8ca738dea6957dd26915cdb1d06b4e2089b1e980dc"}
"""Version -> digest of a hundred scenes. Frozen before a model was trained: a change of the
distribution is a new version, and needs a new model and a new evaluation."""


def digest_of(scene: Scene) -> bytes:
    """The scene's numbers to six digits, so that another machine's last bits don't matter."""
    parts = [scene.noise, scene.exposure_s, scene.kilobits, scene.clouds, *scene.facade.rows]
    parts += [value for many in (scene.light, scene.shakes, scene.rains) for one in many
              for value in one]  # fmt: skip
    for thing in scene.things:
        parts += [thing.start_s, thing.level, thing.aspect, thing.turn, len(thing.x)]
        parts += [*thing.x[::50], *thing.y[::50], *thing.size[::50]]
    text = " ".join(f"{value:.6g}" for value in parts) + str(sorted(scene.distractors))
    return text.encode()


def test_the_distribution_is_the_frozen_one() -> None:
    digest = hashlib.sha256()
    for seed in range(100):
        digest.update(digest_of(draw(Recipe(Part(1 + seed % 3), seed, throws=seed % 2 * 9))))
    assert digest.hexdigest() == FROZEN[VERSION]


def test_parts_share_no_scene() -> None:
    scenes = [draw(Recipe(part, 5)) for part in Part]
    assert len({digest_of(scene) for scene in scenes}) == 3
    assert digest_of(draw(Recipe(Part.TEST, 5))) == digest_of(scenes[2])


@pytest.mark.parametrize("seed", range(8))
def test_things_fall_as_things_fall(seed: int) -> None:
    scene = draw(Recipe(Part.TRAIN, seed))
    assert scene.objects
    for thing in scene.objects:
        speed = -np.diff(thing.storey) / STEPS_S
        gain = np.diff(speed) / STEPS_S
        # 2.8 to 3.2 m a storey: no faster than free fall, unless it slows down from going up.
        assert gain.max() <= GRAVITY / 2.8 * 1.6
        assert thing.storey[0] > thing.storey[-1] or len(thing.storey) < 30
        assert 2.0 <= thing.size[0] <= 40.0
        assert 10.0 <= abs(thing.level) <= 120.0


def test_a_scene_without_throws_has_every_distractor() -> None:
    recipe = Recipe(Part.TEST, 3, throws=0)
    assert draw(recipe).distractors == frozenset(recipe.distractors)
    assert not draw(recipe).objects


def test_pictures_come_from_the_seed_and_survive_the_encoder() -> None:
    recipe = Recipe(Part.TEST, 4, seconds=1.0, width=320, height=180, throws=0)
    scene = draw(recipe)
    first, again = list(Painter(scene).frames()), list(Painter(scene).frames())
    assert len(first) == 25
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    seen = [frame.luma.copy() for frame in decoded(scene)]
    assert len(seen) == 25
    off = np.abs(seen[-1].astype(int) - first[-1].astype(int)).mean()
    assert 0 < off < 6
    assert [frame.at_us for frame in decoded(replace(scene, seconds=0.2))][:2] == [0, 40_000]
