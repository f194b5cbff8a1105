"""Generated scenes: what a camera at the foot of a building might see, with the truth beside it.

All of it is simulated, and every range is a proposal: facades of 6 to 30 storeys seen from below,
things thrown or dropped with gravity, drag, wind and tumbling, and what is mistaken for them. A
scene is drawn whole from its seed, before a pixel is painted. `VERSION` names the distribution;
it was frozen before any model was trained, and a change of it needs a new version.

Parts (training, choice of the threshold, evaluation) never share a scene: the part is in the seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

VERSION = 1
GRAVITY = 9.81
STEPS_S = 0.01
LONGEST_S = 8.0
SPACING_S = 4.0
"""Between two throws: room for the fall, and for a false alarm to stand apart."""


class Part(IntEnum):
    TRAIN = 1
    CHOOSE = 2
    TEST = 3


DISTRACTORS = (
    "birds", "insects", "leaves", "rain", "laundry", "clouds", "light", "shake", "glints", "lift",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Facade:
    """The building. rows: float64, image row of each storey's floor, from the ground up."""

    width: int
    height: int
    rows: NDArray[np.float64]
    left: float
    right: float
    wall: float
    windows: float
    texture: float
    bays: int

    def row(self, storey: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Image row of heights in storeys; straight on beyond the roof."""
        at = np.asarray(storey, np.float64)
        n = len(self.rows) - 1
        inside = np.interp(at, np.arange(n + 1), self.rows)
        above = self.rows[n] - (at - n) * (self.rows[n - 1] - self.rows[n])
        below = self.rows[0] - at * (self.rows[0] - self.rows[1])
        return np.where(at > n, above, np.where(at < 0, below, inside))

    def scale(self, storey: float) -> float:
        """Pixels of a storey there."""
        return float(self.row(storey - 0.5) - self.row(storey + 0.5))


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that moves before the facade, sampled each `STEPS_S` from `start_s`.

    kind: `object` for what was thrown, otherwise the distractor. x, y: float64[k], pixels. size:
    float64[k], pixels across. level: grey levels against the facade, signed; aspect and turn
    (rad/s) of a tumbling ellipse. soft: pixels of blur. storey: float64[k] or empty.
    """

    kind: str
    start_s: float
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    size: NDArray[np.float64]
    level: float
    aspect: float = 1.0
    turn: float = 0.0
    soft: float = 0.0
    storey: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def end_s(self) -> float:
        return self.start_s + (len(self.x) - 1) * STEPS_S

    def at(self, seconds: float) -> tuple[float, float, float] | None:
        """(x, y, size), or None when it isn't there."""
        place = (seconds - self.start_s) / STEPS_S
        if not 0 <= place <= len(self.x) - 1:
            return None
        low = min(int(place), len(self.x) - 2)
        part = place - low
        return tuple(  # type: ignore[return-value]
            float(column[low] + part * (column[low + 1] - column[low]))
            for column in (self.x, self.y, self.size)
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """noise: standard deviation in grey levels. exposure_s: how long a frame is lit.

    kilobits: of the encoder, a second. light: (second, share) of steps of brightness. clouds:
    depth of their shadows. shakes: (start, end, pixels). rains: (start, end, drops a frame, slant).
    """

    seed: int
    seconds: float
    fps: float
    facade: Facade
    things: tuple[Thing, ...]
    noise: float
    exposure_s: float
    kilobits: int
    distractors: frozenset[str]
    light: tuple[tuple[float, float], ...] = ()
    clouds: float = 0.0
    shakes: tuple[tuple[float, float, float], ...] = ()
    rains: tuple[tuple[float, float, int, float], ...] = ()

    @property
    def objects(self) -> tuple[Thing, ...]:
        return tuple(thing for thing in self.things if thing.kind == "object")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is asked of a scene. size, contrast: ranges of the objects'; throws: how many at most.

    spacing_s: between two throws; only scenes to learn from may have them closer. rate: how busy
    the distractors are against an ordinary quarter of an hour of a bad day.
    """

    part: Part
    seed: int
    seconds: float = 60.0
    width: int = 1280
    height: int = 720
    fps: float = 25.0
    size: tuple[float, float] = (2.0, 40.0)
    contrast: tuple[float, float] = (10.0, 120.0)
    throws: int = 14
    spacing_s: float = SPACING_S
    distractors: tuple[str, ...] = DISTRACTORS
    rate: float = 1.0


def draw(recipe: Recipe) -> Scene:
    """The scene of a recipe: the same recipe gives the same scene."""
    chance = np.random.default_rng([VERSION, recipe.part, recipe.seed])
    facade = _facade(recipe, chance)
    wanted = frozenset(
        name for name in recipe.distractors if chance.random() < 0.6 or recipe.throws == 0
    )
    things: list[Thing] = []
    if recipe.throws:
        times = 1.5 + recipe.spacing_s * np.arange(recipe.throws)
        things += [
            _throw(recipe, facade, float(begin + chance.uniform(0, 0.8)), chance)
            for begin in times[times < recipe.seconds - 3.0]
        ]
    minutes = recipe.seconds / 60 * recipe.rate
    for name, make, each_minute in (
        ("birds", _bird, 6.0), ("insects", _insect, 5.0), ("leaves", _leaf, 5.0),
        ("laundry", _laundry, 0.7), ("glints", _glint, 4.0), ("lift", _lift, 0.6),
    ):  # fmt: skip
        if name in wanted:
            for _ in range(chance.poisson(each_minute * minutes)):
                begin = float(chance.uniform(0, recipe.seconds - 0.5))
                things.append(make(facade, begin, recipe.seconds, chance))
    return Scene(
        recipe.seed,
        recipe.seconds,
        recipe.fps,
        facade,
        tuple(things),
        noise=float(chance.uniform(0.6, 2.5)),
        exposure_s=float(np.exp(chance.uniform(np.log(1 / 500), np.log(1 / 50)))),
        kilobits=int(chance.uniform(1500, 4000) * (recipe.width * recipe.height / 921_600) ** 0.75),
        distractors=wanted,
        light=_lights(recipe, chance) if "light" in wanted else (),
        clouds=float(chance.uniform(0.05, 0.25)) if "clouds" in wanted else 0.0,
        shakes=_spells(recipe, chance, 0.8, (0.5, 3.0), (0.3, 2.5)) if "shake" in wanted else (),
        rains=tuple(
            (begin, end, int(chance.integers(10, 70)), float(chance.normal(0, 0.12)))
            for begin, end, _ in _spells(recipe, chance, 0.3, (5.0, 30.0), (1, 1))
        ) if "rain" in wanted else (),
    )  # fmt: skip


def _facade(recipe: Recipe, chance: np.random.Generator) -> Facade:
    width, height = recipe.width, recipe.height
    storeys = int(np.exp(chance.uniform(np.log(6), np.log(30))))
    # Seen from below the upper storeys are smaller: by this factor from the ground to the roof.
    factor = np.exp(chance.uniform(0, np.log(2.5)))
    steps = factor ** -np.linspace(0, 1, storeys)
    ground = height * chance.uniform(0.92, 1.05)
    roof = height * chance.uniform(0.0, 0.12)
    rows = ground - np.concatenate([[0], np.cumsum(steps)]) * (ground - roof) / steps.sum()
    left = width * chance.uniform(0.02, 0.25)
    return Facade(
        width, height, rows, left, width - width * chance.uniform(0.02, 0.25),
        wall=float(chance.uniform(80, 190)), windows=float(chance.uniform(-55, 25)),
        texture=float(chance.uniform(1, 6)), bays=int(chance.integers(5, 14)),
    )  # fmt: skip


def _throw(recipe: Recipe, facade: Facade, begin: float, chance: np.random.Generator) -> Thing:
    """Gravity, drag towards a terminal speed, wind; 3 m a storey, give or take."""
    floors = len(facade.rows) - 1
    storey_m = chance.uniform(2.8, 3.2)
    start = chance.uniform(min(2.5, floors * 0.5), floors - 0.2)
    kind = chance.random()
    up = 0.0 if kind < 0.6 else chance.uniform(0.5, 3.5) if kind < 0.8 else -chance.uniform(0.5, 4)
    terminal = chance.uniform(14, 45) if chance.random() < 0.8 else chance.uniform(7, 14)
    wind, across = chance.normal(0, 1.5), chance.normal(0, 1.2)
    drag = GRAVITY / terminal**2
    height_m, aside_m = start * storey_m, 0.0
    heights, asides = [height_m], [0.0]
    while height_m > 0 and len(heights) < LONGEST_S / STEPS_S:
        speed = np.hypot(up, across - wind)
        up -= (GRAVITY + drag * speed * up) * STEPS_S
        across -= drag * speed * (across - wind) * STEPS_S
        height_m += up * STEPS_S
        aside_m += across * STEPS_S
        heights.append(height_m)
        asides.append(aside_m)
    storey = np.array(heights) / storey_m
    y = facade.row(storey)
    scale = facade.scale(start) / storey_m
    x = chance.uniform(facade.left + 20, facade.right - 20) + np.array(asides) * scale
    inside = (y < facade.height - 1) & (x > 1) & (x < facade.width - 1)
    last = len(y) if inside.all() else max(2, int(np.argmin(inside)))
    size = np.exp(chance.uniform(*np.log(recipe.size)))
    level = np.exp(chance.uniform(*np.log(recipe.contrast))) * chance.choice([-1.0, 1.0])
    return Thing(
        "object", begin, x[:last], y[:last], np.full(last, size), float(level),
        aspect=float(chance.uniform(1.0, 2.5)), turn=float(chance.uniform(0, 25)),
        storey=storey[:last],
    )  # fmt: skip


def _thing(
    kind: str,
    begin: float,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    size: NDArray[np.float64] | float,
    level: float,
    *,
    aspect: float = 1.0,
    turn: float = 0.0,
    soft: float = 0.0,
) -> Thing:
    sizes = np.maximum(np.broadcast_to(np.asarray(size, np.float64), x.shape), 0.5)
    return Thing(kind, begin, x, y, sizes, level, aspect, turn, soft)


def _clock(seconds: float) -> NDArray[np.float64]:
    return np.arange(max(2, round(seconds / STEPS_S)), dtype=np.float64) * STEPS_S


def _level(chance: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(chance.uniform(np.log(low), np.log(high))) * chance.choice([-1.0, 1.0]))


def _bird(f: Facade, begin: float, _: float, chance: np.random.Generator) -> Thing:
    """Across or gliding, a quarter of them diving; wings beat."""
    t = _clock(float(chance.uniform(1.5, 6)))
    speed = chance.uniform(60, 420) * f.height / 720
    dives = chance.random() < 0.25
    angle = chance.uniform(0.6, 1.4) if dives else chance.normal(0, 0.35)
    side = chance.choice([-1.0, 1.0])
    turn = chance.normal(0, 0.25)
    heading = angle + turn * t + 0.1 * np.sin(t * chance.uniform(1, 4))
    pull = 1 + (0.4 * t if dives else 0.1 * np.sin(2 * t))
    x = chance.uniform(0, f.width) + side * np.cumsum(speed * pull * np.cos(heading)) * STEPS_S
    y = chance.uniform(0, f.height * 0.8) + np.cumsum(speed * pull * np.sin(heading)) * STEPS_S
    size = chance.uniform(4, 22) * (1 + 0.35 * np.sin(t * chance.uniform(15, 60)))
    return _thing("birds", begin, x, y, size, _level(chance, 15, 110),
                  aspect=float(chance.uniform(1.3, 2.8)))  # fmt: skip


def _insect(f: Facade, begin: float, _: float, chance: np.random.Generator) -> Thing:
    """Near the lens: large, soft, fast and erratic."""
    t = _clock(float(chance.uniform(0.3, 2.0)))
    speed = chance.uniform(300, 1800) * f.height / 720
    heading = chance.uniform(0, 2 * np.pi) + np.cumsum(chance.normal(0, 0.35, len(t)))
    x = chance.uniform(0, f.width) + np.cumsum(speed * np.cos(heading)) * STEPS_S
    y = chance.uniform(0, f.height) + np.cumsum(speed * np.sin(heading)) * STEPS_S
    size = chance.uniform(8, 60)
    return _thing("insects", begin, x, y, size, _level(chance, 10, 60), soft=size * 0.3)


def _leaf(f: Facade, begin: float, _: float, chance: np.random.Generator) -> Thing:
    """At its terminal speed of 0.7 to 2.2 m/s at once, swinging."""
    t = _clock(float(chance.uniform(2, 7)))
    metre = f.scale(chance.uniform(0, len(f.rows) - 1)) / 3.0
    rate, swing = chance.uniform(2, 7), chance.uniform(0.05, 0.6) * metre
    fall = chance.uniform(0.7, 2.2) * metre * (1 + 0.3 * np.sin(rate * t + 1))
    x = chance.uniform(0, f.width) + swing * np.sin(rate * t) + chance.normal(0, 0.7) * metre * t
    y = chance.uniform(-0.1, 0.7) * f.height + np.cumsum(fall) * STEPS_S
    size = chance.uniform(2, 9) * (1 + 0.4 * np.sin(rate * t))
    level = _level(chance, 10, 70)
    return _thing("leaves", begin, x, y, size, level, aspect=chance.uniform(1, 3), turn=rate)


def _laundry(f: Facade, begin: float, seconds: float, chance: np.random.Generator) -> Thing:
    """Cloth on a line, swinging for long in gusts."""
    t = _clock(min(float(chance.uniform(5, 40)), max(seconds - begin, 0.5)))
    storey = chance.uniform(1, len(f.rows) - 1)
    scale = f.scale(storey)
    gust = np.clip(np.sin(t * chance.uniform(0.2, 0.6)), 0, 1)
    x = chance.uniform(f.left, f.right) + scale * 0.15 * gust * np.sin(t * chance.uniform(2, 6))
    y = f.row(storey) + scale * 0.06 * gust * np.sin(t * chance.uniform(3, 9))
    return _thing("laundry", begin, x, y, scale * chance.uniform(0.2, 0.5), _level(chance, 15, 80),
                  aspect=1.6)  # fmt: skip


def _glint(f: Facade, begin: float, _: float, chance: np.random.Generator) -> Thing:
    """A pane is opened or passed by light: a bright spot that grows, slides a bit, and goes."""
    t = _clock(float(chance.uniform(0.1, 1.2)))
    storey = chance.uniform(0, len(f.rows) - 1)
    scale = f.scale(storey)
    angle = chance.uniform(0, 2 * np.pi)
    way = scale * chance.uniform(0, 0.9) * t / t[-1]
    size = chance.uniform(3, 0.5 * scale + 4) * np.sin(np.pi * t / t[-1])
    x = chance.uniform(f.left, f.right) + way * np.cos(angle)
    return _thing("glints", begin, x, f.row(storey) + way * np.sin(angle), size,
                  float(chance.uniform(30, 120)))  # fmt: skip


def _lift(f: Facade, begin: float, seconds: float, chance: np.random.Generator) -> Thing:
    """A glass lift, or a gondola: constant speed between storeys, ramps at its ends."""
    floors = len(f.rows) - 1
    one, two = chance.uniform(0, floors, 2)
    speed = chance.uniform(0.3, 0.9)
    t = _clock(min(abs(one - two) / speed + 1.0, 20.0, max(seconds - begin, 0.5)))
    part = np.clip((t - 0.5) / max(t[-1] - 1.0, 0.1), 0, 1)
    storey = one + (two - one) * part
    x = np.full(len(t), chance.uniform(f.left, f.right))
    return _thing("lift", begin, x, f.row(storey), f.scale(floors / 2) * 0.8,
                  _level(chance, 15, 60))  # fmt: skip


def _lights(recipe: Recipe, chance: np.random.Generator) -> tuple[tuple[float, float], ...]:
    count = chance.poisson(1.5 * recipe.seconds / 60 * recipe.rate)
    return tuple(
        sorted(
            (float(chance.uniform(0, recipe.seconds)), float(chance.normal(0, 0.08)))
            for _ in range(count)
        )
    )


def _spells(
    recipe: Recipe,
    chance: np.random.Generator,
    each_minute: float,
    long: tuple[float, float],
    strong: tuple[float, float],
) -> tuple[tuple[float, float, float], ...]:
    """(start, end, strength) of what comes and goes."""
    count = chance.poisson(each_minute * recipe.seconds / 60 * recipe.rate)
    begins = np.sort(chance.uniform(0, recipe.seconds, count))
    return tuple(
        (float(begin), float(begin + chance.uniform(*long)), float(chance.uniform(*strong)))
        for begin in begins
    )
