"""Camera files: polygons, storeys, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.camera import CameraError
from edge.camera.scale import default_view, load_camera_file, make_view

GOOD = """
width = 640
height = 360

[[facade]]
polygon = [[100, 20], [500, 20], [500, 340], [100, 340]]
storeys = [[340, 0], [180, 6], [20, 10]]

[[ignore]]
polygon = [[100, 300], [200, 300], [200, 340], [100, 340]]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "cam.toml"
    path.write_text(text)
    return path


def test_storeys_follow_the_rows_and_go_on_beyond_them(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    view = make_view(load_camera_file(path), 640, 360, path)
    y = np.array([340.0, 260, 180, 100, 20, 0])
    assert view.storeys(np.full(6, 300.0), y).tolist() == [0, 3, 6, 8, 10, 10.5]
    inside = view.inside(np.array([300.0, 50, 150, -5]), np.array([180.0, 180, 320, 0]))
    assert inside.tolist() == [True, False, False, False]
    assert view.is_calibrated


def test_without_a_file_the_whole_picture_is_watched() -> None:
    view = default_view(640, 360)
    assert not view.is_calibrated
    assert view.inside(np.array([0.0, 639]), np.array([0.0, 359])).all()
    assert view.storeys(np.array([0.0, 0]), np.array([360.0, 0])).tolist() == [0, 12]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param("[500, 340]", "[700, 340]", "(700, 340) lies outside", id="outside"),
        pytest.param("[200, 300]", "[200, -3]", "ignore[0].polygon: (200, -3)", id="negative"),
        pytest.param("[[340, 0]", "[[340, 7]", "storeys must fall", id="storeys"),
        pytest.param("width = 640", "width = 640\nwide = 1", "unknown field", id="unknown"),
        pytest.param("width = 640", "width = 4", ">= 16", id="small"),
        pytest.param("[[facade]]", "[[fassade]]", "unknown field `fassade`", id="no-facade"),
        pytest.param("[[facade]]", "[[facade]", "not TOML", id="no-toml"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(CameraError) as error:
        load_camera_file(written(tmp_path, GOOD.replace(old, new)))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_for_another_picture_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    with pytest.raises(CameraError, match="is for 640x360, the picture has 1280x720"):
        make_view(load_camera_file(path), 1280, 720, path)


def test_a_file_that_hides_everything_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace("[[100, 300], [200, 300], [200, 340]", "[[0, 0], [640, 0], [640, 360]")
    text = text.replace("[100, 340]]\n", "[0, 360], [0, 0]]\n").replace(
        "[[100, 20], [500, 20], [500, 340], [0, 360], [0, 0]]",
        "[[100, 20], [500, 20], [500, 340], [100, 340]]",
    )
    path = written(tmp_path, text)
    with pytest.raises(CameraError, match="no facade is left"):
        make_view(load_camera_file(path), 640, 360, path)
