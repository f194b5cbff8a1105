"""Scenes as pictures, and as the pictures that are left of them behind an H.264 encoder."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from app.falling.scenes import STEPS_S, VERSION, Facade, Scene, Thing
from edge.camera.video import Frame

Picture = NDArray[np.uint8]
SUBSTEPS = 5
"""Places within the exposure that a blurred thing is painted at."""
NOISE_MARGIN = 64
CLOUD_FRAMES = 5
KEYFRAMES = 50


def paint_facade(facade: Facade, seed: int) -> Picture:
    """The wall without anything before it: storeys of windows, sky above, ground below."""
    chance = np.random.default_rng([VERSION, 77, seed])
    height, width = facade.height, facade.width
    picture = np.full((height, width), 205.0, np.float32)
    top, bottom = int(max(facade.rows[-1], 0)), int(min(facade.rows[0], height))
    left, right = int(facade.left), int(facade.right)
    picture[top:bottom, left:right] = facade.wall
    picture[bottom:] = facade.wall * 0.7
    bay = (right - left) / facade.bays
    for floor in range(len(facade.rows) - 1):
        low, high = facade.rows[floor], facade.rows[floor + 1]
        up, down = int(high + 0.25 * (low - high)), int(low - 0.2 * (low - high))
        for number in range(facade.bays):
            a, b = int(left + bay * (number + 0.25)), int(left + bay * (number + 0.75))
            picture[max(up, 0) : max(down, 0), a:b] += facade.windows * chance.uniform(0.4, 1.0)
    rough = chance.normal(0, 1, (height // 3 + 1, width // 3 + 1)).astype(np.float32)
    picture += facade.texture * cv2.resize(rough, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(cv2.GaussianBlur(picture, (3, 3), 0.7), 0, 255).astype(np.uint8)


class Painter:
    """Paints a scene's frames one after another."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._chance = np.random.default_rng([VERSION, 78, scene.seed])
        self._wall = paint_facade(scene.facade, scene.seed)
        self._lit = self._wall
        height, width = self._wall.shape
        shape = height + NOISE_MARGIN, width + NOISE_MARGIN
        noise = np.round(self._chance.normal(0, scene.noise, shape))
        # As what lightens and what darkens: two saturating sums of bytes are four times as fast
        # as one of wider numbers, and the same.
        self._lighter = np.clip(noise, 0, 255).astype(np.uint8)
        self._darker = np.clip(-noise, 0, 255).astype(np.uint8)
        self._cloud = self._chance.normal(0, 1, (6, 64)).astype(np.float32)
        self._things = sorted(scene.things, key=lambda thing: thing.start_s)
        self._drops = _drops(scene, self._chance)

    def frames(self) -> Iterator[Picture]:
        """uint8[height, width], the scene's frames in order."""
        for number in range(round(self.scene.seconds * self.scene.fps)):
            yield self._frame(number)

    def _frame(self, number: int) -> Picture:
        scene, at_s = self.scene, number / self.scene.fps
        if number % CLOUD_FRAMES == 0:
            self._light(at_s)
        picture = self._lit.copy()
        for thing in self._things:
            if thing.start_s > at_s + scene.exposure_s:
                break
            if thing.end_s >= at_s:
                _paint(picture, thing, at_s, scene.exposure_s)
        self._rain(picture, at_s)
        picture = self._shaken(picture, at_s)
        y, x = self._chance.integers(0, NOISE_MARGIN, 2)
        height, width = picture.shape
        part = slice(y, y + height), slice(x, x + width)
        cv2.add(picture, self._lighter[part], dst=picture)
        return np.asarray(cv2.subtract(picture, self._darker[part], dst=picture), np.uint8)

    def _light(self, at_s: float) -> None:
        scene = self.scene
        share = 1.0 + sum(step for when, step in scene.light if when <= at_s)
        if not scene.clouds:
            if share != 1.0:
                self._lit = np.asarray(
                    cv2.convertScaleAbs(self._wall, alpha=max(share, 0.3)), np.uint8
                )
            return
        drift = int(at_s * 2) % 48
        part = at_s * 2 % 1
        field = (1 - part) * self._cloud[:, drift : drift + 12]
        field = field + part * self._cloud[:, drift + 1 : drift + 13]
        height, width = self._wall.shape
        # A shadow has no edges: drawn eight times smaller, then smoothly made wide.
        small = cv2.resize(field, (width // 8, height // 8), interpolation=cv2.INTER_CUBIC)
        lit = (share * (1 - scene.clouds * np.clip(small, 0, 2) / 2)).astype(np.float32)
        wide = cv2.resize(lit, (width, height), interpolation=cv2.INTER_LINEAR)
        self._lit = np.asarray(cv2.multiply(self._wall, wide, dtype=cv2.CV_8U), np.uint8)

    def _rain(self, picture: Picture, at_s: float) -> None:
        for begin, end, count, slant in self.scene.rains:
            if not begin <= at_s < end:
                continue
            height, width = picture.shape
            for drop in self._drops[:count]:
                speed, phase, where, bright = drop
                y = (phase + speed * at_s) % 1.4 * height - 0.2 * height
                x = (where + slant * y / width + 0.37 * int(phase + speed * at_s)) % 1 * width
                length = speed * height * self.scene.exposure_s + 3
                a = int(x), int(y)
                b = int(x + slant * length), int(y + length)
                _streak(picture, a, b, bright)

    def _shaken(self, picture: Picture, at_s: float) -> Picture:
        for begin, end, pixels in self.scene.shakes:
            if begin <= at_s < end:
                x, y = self._chance.normal(0, pixels / 2, 2)
                size = picture.shape[1], picture.shape[0]
                matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
                return np.asarray(
                    cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8
                )
        return picture


def _drops(scene: Scene, chance: np.random.Generator) -> list[tuple[float, float, float, float]]:
    """(heights a second, phase, share of the width, grey levels): near drops are fast."""
    most = max((count for _, _, count, _ in scene.rains), default=0)
    return [
        (float(chance.uniform(1.0, 5.0)), float(chance.uniform(0, 10)),
         float(chance.random()), float(chance.uniform(8, 30)))
        for _ in range(most)
    ]  # fmt: skip


def _streak(picture: Picture, a: tuple[int, int], b: tuple[int, int], bright: float) -> None:
    top, bottom = max(0, a[1]), min(picture.shape[0], b[1])
    left, right = max(0, min(a[0], b[0]) - 1), min(picture.shape[1], max(a[0], b[0]) + 2)
    if top >= bottom or left >= right:
        return
    part = picture[top:bottom, left:right]
    ink = np.zeros_like(part)
    cv2.line(ink, (a[0] - left, a[1] - top), (b[0] - left, b[1] - top), int(bright), 1, cv2.LINE_AA)
    cv2.add(part, ink, dst=part)


def _paint(picture: Picture, thing: Thing, at_s: float, exposure_s: float) -> None:
    """An ellipse that turns, smeared over the exposure, with soft borders of about a pixel."""
    times = at_s + exposure_s * (np.arange(SUBSTEPS) / (SUBSTEPS - 1))
    places = [place for place in map(thing.at, times.tolist()) if place is not None]
    if not places:
        return
    reach = max(size for _, _, size in places) * 0.5 * thing.aspect**0.5 + 2 + thing.soft
    left = int(max(0, min(x for x, _, _ in places) - reach))
    right = int(min(picture.shape[1], max(x for x, _, _ in places) + reach + 1))
    top = int(max(0, min(y for _, y, _ in places) - reach))
    bottom = int(min(picture.shape[0], max(y for _, y, _ in places) + reach + 1))
    if left >= right or top >= bottom:
        return
    yy, xx = np.mgrid[top:bottom, left:right].astype(np.float32)
    angle = thing.turn * (at_s - thing.start_s)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    cover = np.zeros(xx.shape, np.float32)
    for x, y, size in places:
        long, short = size * 0.5 * thing.aspect**0.5, size * 0.5 / thing.aspect**0.5
        u, v = (xx - x) * cos + (yy - y) * sin, (yy - y) * cos - (xx - x) * sin
        away = (np.hypot(u / long, v / short) - 1) * np.sqrt(long * short)
        cover += np.clip(0.5 - away / (1 + thing.soft), 0, 1)
    part = picture[top:bottom, left:right]
    shown = part + thing.level * SUBSTEPS_SHARE * cover
    part[:] = np.clip(np.round(shown), 0, 255)


SUBSTEPS_SHARE = 1 / SUBSTEPS


class Encoder:
    """H.264 at a camera's rate: one thread, a key frame every two seconds, no frame held back.

    The quickest of libx264's ways of looking for motion, with the filter against blocks that
    cameras have, and luma alone: at the same rate as good as a slower way with colour (mean
    square error 6.06 against 5.97 of a noisy scene), for half the time.
    """

    def __init__(self, width: int, height: int, fps: float, kilobits: int) -> None:
        context: Any = av.CodecContext.create("libx264", "w")
        context.width, context.height = width, height
        context.pix_fmt = "gray"
        context.framerate = Fraction(fps).limit_denominator(1001)
        context.time_base = 1 / context.framerate
        context.thread_count = 1
        context.bit_rate = kilobits * 1000
        context.gop_size = KEYFRAMES
        context.options = {
            "preset": "ultrafast", "tune": "zerolatency", "maxrate": f"{kilobits}k",
            "bufsize": f"{kilobits}k", "x264-params": "deblock=1,0,0",
        }  # fmt: skip
        self._context = context
        # Always the same frame: the encoder keeps a copy of its own.
        self._frame: Any = av.VideoFrame(width, height, "gray")
        plane: Any = self._frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        self._luma = rows[:height, :width]
        self._number = 0

    def encode(self, picture: Picture | None) -> list[Any]:
        """Packets; None flushes."""
        if picture is None:
            return list(self._context.encode(None))
        self._luma[:] = picture
        self._frame.pts, self._frame.time_base = self._number, self._context.time_base
        self._number += 1
        return list(self._context.encode(self._frame))


def decoded(scene: Scene) -> Iterator[Frame]:
    """The scene's frames as a camera's viewer gets them: encoded, and decoded to luma planes."""
    facade = scene.facade
    encoder = Encoder(facade.width, facade.height, scene.fps, scene.kilobits)
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoder.thread_type = "NONE"
    decoder.options = {"flags": "low_delay"}
    number = 0
    for picture in _then_none(Painter(scene).frames()):
        for packet in encoder.encode(picture):
            for frame in decoder.decode(packet):
                yield _frame(frame, number, scene.fps)
                number += 1
    for frame in decoder.decode(None):
        yield _frame(frame, number, scene.fps)
        number += 1


def _then_none(pictures: Iterator[Picture]) -> Iterator[Picture | None]:
    yield from pictures
    yield None


def _frame(picture: Any, number: int, fps: float) -> Frame:
    plane = picture.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    luma = rows[: picture.height, : picture.width]
    return Frame(number, round(number * 1e6 / fps), luma, picture)


def write(scene: Scene, path: Path) -> None:
    """The scene as a clip, for looking at and for measuring."""
    facade = scene.facade
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=Fraction(scene.fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = facade.width, facade.height, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.bit_rate = scene.kilobits * 1000
        stream.options = {
            "preset": "superfast", "tune": "zerolatency", "maxrate": f"{scene.kilobits}k",
            "bufsize": f"{scene.kilobits}k",
        }  # fmt: skip
        plane = np.full((facade.height * 3 // 2, facade.width), 128, np.uint8)
        for picture in Painter(scene).frames():
            plane[: facade.height] = picture
            out.mux(stream.encode(av.VideoFrame.from_ndarray(plane, format="yuv420p")))
        out.mux(stream.encode(None))


def frames_of(thing: Thing, fps: float) -> int:
    """How many frames a thing is in the picture."""
    return int((len(thing.x) - 1) * STEPS_S * fps) + 1
