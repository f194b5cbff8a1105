"""Points in polygons agree with a plain implementation, and borders belong to one side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.registry.polygons import Points, Rings, area

SQUARE = ((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0), (0.0, 0.0))
HOLE = ((1.0, 1.0), (1.0, 3.0), (3.0, 3.0), (3.0, 1.0), (1.0, 1.0))
ISLAND = ((10.0, 0.0), (12.0, 0.0), (11.0, 2.0), (10.0, 0.0))


def plainly_inside(x: float, y: float, rings: Rings) -> bool:
    """Ray casting as in a text book, one point and one edge at a time."""
    odd = False
    for ring in rings:
        for (x1, y1), (x2, y2) in zip(ring, (*ring[1:], ring[0]), strict=True):
            if (y1 > y) == (y2 > y):
                continue
            low, high = ((x1, y1), (x2, y2)) if y1 < y2 else ((x2, y2), (x1, y1))
            cross = (high[0] - low[0]) * ((y - low[1]) / (high[1] - low[1])) + low[0]
            odd ^= x < cross
    return odd


def inside(points: list[tuple[float, float]], rings: Rings) -> set[int]:
    lon = np.array([p[0] for p in points], np.float64)
    lat = np.array([p[1] for p in points], np.float64)
    return set(Points(lon, lat).inside(rings).tolist())


# A coarse lattice makes points on corners and edges common.
_coordinate = st.one_of(st.integers(-6, 6).map(float), st.floats(-6, 6))
_point = st.tuples(_coordinate, _coordinate)
_ring = st.lists(_point, min_size=3, max_size=8).map(tuple)


@given(st.lists(_point, max_size=30), st.lists(_ring, min_size=1, max_size=3).map(tuple))
def test_agrees_with_the_plain_way(points: list[tuple[float, float]], rings: Rings) -> None:
    want = {i for i, (x, y) in enumerate(points) if plainly_inside(x, y, rings)}
    assert inside(points, rings) == want


@given(st.lists(_point, min_size=1, max_size=30), _coordinate, _coordinate)
def test_a_cut_square_gives_every_point_to_one_part(
    points: list[tuple[float, float]], bottom: float, top: float
) -> None:
    whole: Rings = (((-6.0, -6.0), (6.0, -6.0), (6.0, 6.0), (-6.0, 6.0)),)
    left: Rings = (((-6.0, -6.0), (bottom, -6.0), (top, 6.0), (-6.0, 6.0)),)
    right: Rings = (((bottom, -6.0), (6.0, -6.0), (6.0, 6.0), (top, 6.0)),)
    one, other = inside(points, left), inside(points, right)
    assert not one & other
    assert one | other == inside(points, whole)


@pytest.mark.parametrize(
    ("point", "want"),
    [
        pytest.param((0.5, 0.5), True, id="in"),
        pytest.param((2.0, 2.0), False, id="in-the-hole"),
        pytest.param((11.0, 1.0), True, id="on-the-island"),
        pytest.param((9.0, 1.0), False, id="between"),
        pytest.param((np.nan, 1.0), False, id="nowhere"),
        pytest.param((1.0, np.nan), False, id="half"),
    ],
)
def test_holes_and_islands(point: tuple[float, float], want: bool) -> None:
    assert inside([point], (SQUARE, HOLE, ISLAND)) == ({0} if want else set())


def test_degenerate_polygons_hold_nothing() -> None:
    assert inside([(0.0, 0.0)], ()) == set()
    assert inside([(0.5, 0.0)], (((0.0, 0.0), (1.0, 0.0), (2.0, 0.0)),)) == set()
    assert inside([], (SQUARE,)) == set()


def test_an_edge_that_is_almost_level() -> None:
    rings: Rings = (((0.0, 0.0), (0.0, 3.0), (2.0, 2.3e-308)),)
    assert inside([(0.0, 2.0), (0.5, 1.0), (1.9, 1.0)], rings) == {0, 1}


def test_area() -> None:
    assert area(SQUARE) == 16.0
    assert area(SQUARE[:-1]) == 16.0
    assert area(((0.0, 0.0), (1.0, 1.0), (2.0, 2.0))) == 0.0
