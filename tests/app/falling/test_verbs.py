"""`detect`, `evaluate` and `train falling` as a person meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import msgspec
import pytest

from app.cli.root import build
from app.falling.evaluate import CELLS, NEGATIVE, Extent, recipes, run
from app.falling.figures import figures
from app.falling.outcomes import judge
from app.falling.pictures import tiles, write_sheet
from app.falling.render import write
from app.falling.scenes import Part, Recipe, draw
from app.falling.session import detector
from app.falling.shelf import Job, Shelf
from app.falling.train import Plan, train
from app.main import _run as run_verb

SCENE = Recipe(
    Part.CHOOSE, 501, seconds=7.0, size=(8, 9), contrast=(90, 100), throws=1, distractors=()
)


def call(*arguments: str) -> int:
    try:
        return run_verb(build(arguments[0]), list(arguments))
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "fall.mp4"
    write(draw(SCENE), path)
    return path


def camera_file(path: Path, *, width: int = 1280, corner: int = 1279) -> Path:
    facade = draw(SCENE).facade
    rows = [[round(float(row), 1), n] for n, row in enumerate(facade.rows)]
    path.write_text(
        f"width = {width}\nheight = 720\n[[facade]]\n"
        f"polygon = [[0, 0], [{corner}, 0], [{corner}, 719], [0, 719]]\nstoreys = {rows[::-1]}\n"
    )
    return path


def test_a_fall_is_told_once_with_its_storey(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    file = camera_file(tmp_path / "cam.toml")
    assert call("detect", "falling", "--input", str(clip), "--camera", str(file), "--out",
                str(out)) == 0  # fmt: skip
    (event,) = [json.loads(line) for line in out.read_text().splitlines()]
    (thing,) = draw(SCENE).objects
    assert event["clip"] == "fall.mp4"
    assert event["score"] >= 0.6
    assert event["calibrated"] is True
    assert event["start_storey"] == pytest.approx(thing.storey[0], abs=1.0)
    assert thing.start_s - 0.2 <= event["start_s"] < event["end_s"] <= thing.end_s + 0.2
    assert event["start_frame"] == pytest.approx(event["start_s"] * 25, abs=1.5)
    assert event["end_y"] > event["start_y"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        pytest.param({"--input": "none.mp4"}, "no such clip", id="clip"),
        pytest.param({"--camera": "none.toml"}, "none.toml: No such file", id="camera"),
        pytest.param({"--camera": "outside"}, "lies outside the picture", id="polygon"),
        pytest.param({"--camera": "other"}, "is for 1920x720, the picture has", id="size"),
        pytest.param({"--model": "."}, "can't be read", id="model"),
        pytest.param({"--out": "/none/events.jsonl"}, "--out /none", id="out"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wrong: dict[str, str],
    said: str,
) -> None:
    given = {"--input": str(clip), "--out": str(tmp_path / "out.jsonl")} | wrong
    if given.get("--camera") == "outside":
        given["--camera"] = str(camera_file(tmp_path / "cam.toml", corner=1300))
    if given.get("--camera") == "other":
        given["--camera"] = str(camera_file(tmp_path / "cam.toml", width=1920))
    if given.get("--model") == ".":
        given["--model"] = str(tmp_path)
    assert call("detect", "falling", *[part for pair in given.items() for part in pair]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_an_evaluation_goes_on_where_it_stopped(tmp_path: Path) -> None:
    extent = Extent(events=1, hours=0.0028, seconds=10.0)
    told: list[str] = []
    first = run(Extent(1, 0.0028, 10.0, most_s=0.0), work=tmp_path, say=told.append)
    assert len(first) < len(list(recipes(extent)))
    whole = run(extent, work=tmp_path, say=told.append)
    told.clear()
    assert run(extent, work=tmp_path, say=told.append) == whole
    assert told == []
    assert {one.cell for one in whole} == {cell.name for cell in CELLS} | {NEGATIVE}
    made = figures(whole)
    assert made["events_clear"] >= 1
    assert made["negative_hours"] == pytest.approx(10 / 3600)


def test_the_promised_extent_is_what_is_evaluated() -> None:
    wanted = list(recipes(Extent()))
    of: dict[str, Any] = {}
    for cell, recipe in wanted:
        of.setdefault(cell, []).append(recipe)
    assert sum(recipe.seconds for recipe in of[NEGATIVE]) == 3 * 3600
    for name in ("clear", "faint"):
        assert sum(recipe.throws for recipe in of[name]) >= 400
    seeds = [recipe.seed for _, recipe in wanted]
    assert len(set(seeds)) == len(seeds)
    assert all(recipe.part is Part.TEST for _, recipe in wanted)


def test_training_is_repeatable_and_its_model_answers_as_the_trees_do() -> None:
    plan = Plan(scenes=2, choose=2, hunts=2, seconds=8.0, width=640, height=360, glides=60, trees=8)
    one, two = (train(plan, Shelf()) for _ in range(2))
    assert one.model == two.model
    assert one.manifest == two.manifest
    assert one.parity < 1e-5


def test_throws_told_and_missed_are_drawn(tmp_path: Path) -> None:
    recipe = Recipe(Part.CHOOSE, 502, seconds=8.0, throws=2, contrast=(40, 60), distractors=())
    (seen,) = Shelf().watched([Job(recipe)])
    scene = draw(recipe)
    outcome = judge(scene, seen[1], detector(), key="clear/502", cell="clear")
    lost = msgspec.structs.replace(
        outcome, throws=tuple(msgspec.structs.replace(one, told=0) for one in outcome.throws)
    )
    told, missed = tiles([(scene, seen[1], outcome), (scene, seen[1], lost)], detector(), 1)
    assert [len(told), len(missed)] == [1, 1]
    green, red = told[0][..., 1].astype(int), told[0][..., 2].astype(int)
    assert (green > red + 60).sum() > 20
    write_sheet(tmp_path / "sheet.png", [told, missed])
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    assert sheet.shape == (580, 190, 3)
