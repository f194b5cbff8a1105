"""Tracklets in the log become readings of their camera, once, and only from its own gateway."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from app.engine import Engine
from app.falling.session import load
from app.runners.falling_cameras import FallingCameras
from app.speaker import Fed, Speaker
from contracts import pack, tracklets
from contracts.alert_data import ModelRef
from contracts.batch import Flag, ReadingBatch
from contracts.log import LogRecord, RecordKind
from contracts.pack import Pack, PackHeader
from contracts.quantities import QUANTITY_INDEX
from contracts.registry import Registry
from ingest.registry import load as load_registry
from rules.ruleset import RuleSet
from tests.detectors.falling.test_falling import track

T0 = 1_767_225_600_000
MODEL = ModelRef(detector="falling", hash="model", threshold=0.5)
FILES = {
    "areas.csv": "code,level,name\n340199,district,D\n340199009,street,S\n"
    "340199009001,community,C\n",
    "grids.csv": "code,name,kind,valid_from,valid_to,state,reason\n"
    "340199009001001,G,residential,2000-01-01,,valid,\n",
    "devices.csv": "device,family,gateway,grid\ncam-1,camera,gw-1,340199009001001\n"
    "cam-2,camera,gw-2,340199009001001\n",
}


def registry() -> Registry:
    with TemporaryDirectory() as name:
        for file, text in FILES.items():
            (Path(name) / file).write_text(text, encoding="utf-8")
        return load_registry(Path(name))


def record(
    position: int,
    camera: str = "cam-1",
    *,
    gateway: str = "gw-1",
    at_ms: int = T0,
    seq: int | None = None,
    ahead_ms: int = 0,
    tracks: bytes | None = None,
) -> LogRecord:
    """A pack with a fall that ended at `at_ms`, accepted half a second later."""
    said = at_ms + ahead_ms
    fall = track(camera, said - 2000, seconds=2.0, noise=0.3, number=position)
    rows = ReadingBatch.of([(camera, "camera", "online", said, 1.0, 0)])
    data = tracklets.encode(fall) if tracks is None else tracks
    header = PackHeader(gateway, 7, seq or position, said + 10, said + 10)
    blob = pack.encode(Pack(header, rows, tracks=data))
    return LogRecord(RecordKind.PACK, at_ms + 500, gateway, blob, position)


def mark(position: int, at_ms: int) -> LogRecord:
    return LogRecord(RecordKind.MARK, at_ms, "", b"", position)


def speaker() -> Speaker:
    infer, manifest = load()
    return Speaker(FallingCameras(infer, manifest.threshold, MODEL))


def told(steps: list[list[LogRecord]], *, restart: bool = False) -> list[list[object]]:
    """Rows of the packs that come of the log, cut so."""
    engine, speaks = Engine(registry(), RuleSet.empty()), speaker()
    found = []
    for part in steps:
        step = engine.step(part)
        said = speaks.work(Fed(part, step.batches, engine.directory))
        found += [[*pack.decode(message.payload).batch.rows()] for message in said]
        if restart:
            saved, state = engine.snapshot(), speaks.snapshot()
            engine, speaks = Engine(registry(), RuleSet.empty()), speaker()
            engine.restore(saved)
            speaks.restore(state)
    return found


LOG = [
    record(1), mark(2, T0 + 900), record(3, "cam-2", gateway="gw-2", at_ms=T0 + 5000),
    mark(4, T0 + 5900), mark(5, T0 + 6900),
]  # fmt: skip


def test_a_fall_becomes_score_and_storeys_of_its_camera() -> None:
    first, second, calm = told([LOG])
    assert [(d, q, t) for d, _, q, t, _, _ in first] == [
        ("cam-1", "falling_object.start_storey", T0),
        ("cam-1", "falling_object.storeys", T0),
        ("cam-1", "falling_object.score", T0),
    ]
    assert first[0][4] > first[1][4] > 2
    assert first[2][4] >= 0.6
    assert {row[0] for row in second} == {"cam-2"}
    assert [(d, q, t, v) for d, _, q, t, v, _ in calm] == [
        ("cam-1", "falling_object.storeys", T0 + 5900, 0.0),
        ("cam-1", "falling_object.score", T0 + 5900, 0.0),
    ]


@pytest.mark.parametrize("restart", [False, True])
def test_after_a_fall_a_camera_is_said_to_be_calm_four_times(restart: bool) -> None:
    """Counted from the last fall, at the marks that come next."""
    seconds = [3, 5, 6, 7, 8, 9, 59, 62, 63, 500, 700, 3000, 3602, 3603, 9000]
    log = [record(1), mark(2, T0 + 900), record(3, at_ms=T0 + 2000)]
    log += [mark(n, T0 + s * 1000) for n, s in enumerate(seconds, 4)]
    rows = [row for part in told([[one] for one in log], restart=restart) for row in part]
    falls = {t for _, _, _, t, v, _ in rows if v}
    calm = [(t - T0) // 1000 for _, _, q, t, v, _ in rows if not v and q.endswith("score")]
    assert falls == {T0, T0 + 2000}
    assert calm == [8, 63, 700, 3603]


def test_two_cameras_of_one_building_tell_of_a_fall_once() -> None:
    both = [record(1), record(2, "cam-2", gateway="gw-2", at_ms=T0 + 400), mark(3, T0 + 1300)]
    assert [{row[0] for row in rows} for rows in told([both])] == [{"cam-1", "cam-2"}]
    plain = FILES["devices.csv"]
    FILES["devices.csv"] = "device,family,gateway,grid,building\n" + "".join(
        f"cam-{n},camera,gw-{n},340199009001001,7\n" for n in (1, 2)
    )
    try:
        for steps in ([both], [[one] for one in both]):
            assert [{row[0] for row in rows} for rows in told(steps, restart=True)] == [{"cam-1"}]
    finally:
        FILES["devices.csv"] = plain


@pytest.mark.parametrize("restart", [False, True])
def test_cuts_and_restarts_change_nothing(restart: bool) -> None:
    whole = told([LOG])
    assert told([[one] for one in LOG], restart=restart) == whole
    assert told([LOG[:1], LOG[1:3], LOG[3:]], restart=restart) == whole


def test_a_gateway_that_does_not_own_the_camera_is_not_believed() -> None:
    assert told([[record(1, gateway="gw-2"), mark(2, T0 + 900), mark(3, T0 + 90_000)]]) == []


def test_the_same_pack_again_is_not_judged_again() -> None:
    again = [record(1), mark(2, T0 + 900), record(3, seq=1), mark(4, T0 + 1900)]
    again[2] = LogRecord(RecordKind.PACK, T0 + 1500, "gw-1", again[0].payload, 3)
    assert len(told([again])) == 1


def test_broken_tracklets_are_counted_and_harm_nothing() -> None:
    speaks = speaker()
    detector = speaks.detector
    assert isinstance(detector, FallingCameras)
    engine = Engine(registry(), RuleSet.empty())
    bad = [record(1, tracks=b"GWTKnonsense"), record(2, tracks=b"x" * 40), mark(3, T0 + 900)]
    step = engine.step(bad)
    assert speaks.work(Fed(bad, step.batches, engine.directory)) == []
    assert detector.counts["truncated"] == 1
    assert detector.counts["bad_magic"] == 1


@pytest.mark.parametrize(("gateway", "taken"), [("detector-falling", 2), ("gw-2", 0)])
def test_only_the_detector_may_speak_of_a_camera_beside_its_gateway(
    gateway: str, taken: int
) -> None:
    rows, *_ = told([LOG])
    engine = Engine(registry(), RuleSet.empty())
    blob = pack.encode(Pack(PackHeader(gateway, 1, 1, T0, T0), ReadingBatch.of(rows)))
    step = engine.step([LogRecord(RecordKind.PACK, T0 + 900, gateway, blob, 1), mark(2, T0 + 1000)])
    scores = [QUANTITY_INDEX["falling_object.score"], QUANTITY_INDEX["falling_object.storeys"]]
    believed = [
        int(row)
        for batch in step.batches
        for row in np.flatnonzero(np.isin(batch.quantity, scores))
        if not batch.flags[row] & Flag.UNVERIFIED
    ]
    assert len(believed) == taken
