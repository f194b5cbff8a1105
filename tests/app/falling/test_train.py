"""The threshold: as little as keeps the promise on scenes that nothing was learned from."""

from __future__ import annotations

import numpy as np
import pytest

from app.falling.scenes import Part
from app.falling.train import (
    FALSE_EACH_HOUR,
    HUNTED,
    LEAST_THRESHOLD,
    MOST_THRESHOLD,
    Plan,
    choose_threshold,
    jobs,
)


def test_the_threshold_lets_as_many_pass_as_the_hours_allow() -> None:
    p = np.array([0.1, 0.9, 0.8, 0.7, 0.2])
    for hours, passed in ((0.5, 0), (1 / FALSE_EACH_HOUR, 1), (2 / FALSE_EACH_HOUR, 2)):
        threshold = choose_threshold(p, hours)
        assert (p >= threshold).sum() == passed
        # No more than a tenth of its odds above the first that must not pass.
        first = np.sort(p)[::-1][passed]
        assert threshold / (1 - threshold) == pytest.approx(1.1 * first / (1 - first))


def test_the_threshold_stays_in_its_bounds() -> None:
    assert choose_threshold(np.empty(0), 1.0) == LEAST_THRESHOLD
    assert choose_threshold(np.array([0.1]), 1.0) == LEAST_THRESHOLD
    assert choose_threshold(np.array([1.0]), 1.0) == MOST_THRESHOLD


def test_no_scene_is_learned_from_twice_or_chosen_by() -> None:
    plan = Plan()
    wanted = {part: list(jobs(plan, part)) for part in (Part.TRAIN, Part.CHOOSE)}
    for part, listed in wanted.items():
        assert all(job.recipe.part is part for job in listed)
        assert len({job.recipe.seed for job in listed}) == len(listed)
    hunts = [job.recipe for job in wanted[Part.TRAIN] if job.recipe.distractors == HUNTED]
    assert len(hunts) == plan.hunts
    assert not any(recipe.throws for recipe in hunts)
