"""Points in polygons, for many points at once: even-odd rule by ray casting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ring = tuple[tuple[float, float], ...]
Rings = tuple[Ring, ...]


class Points:
    """Points sorted by longitude, so that a polygon looks only at those near it.

    lon, lat: float64 degrees; NaN lies in no polygon.
    """

    def __init__(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> None:
        self._order = np.argsort(lon, kind="stable")
        self._lon = lon[self._order]
        self._lat = lat[self._order]

    def inside(self, rings: Rings) -> NDArray[np.intp]:
        """Indices of the points inside. Rings may be holes or islands; open ones are closed.

        A point on a border that two polygons share is in exactly one of them: an edge counts
        when the ray from the point to the east crosses it, lower end included, upper excluded,
        and is always reckoned from its lower end, so that both polygons round alike.
        """
        if not rings:
            return np.empty(0, np.intp)
        edges = _edges(rings)
        if len(edges) == 0:
            return np.empty(0, np.intp)
        west, south = edges[:, [0, 2]].min(), edges[:, 1].min()
        east, north = edges[:, [0, 2]].max(), edges[:, 3].max()
        first = np.searchsorted(self._lon, west, "left")
        last = np.searchsorted(self._lon, east, "right")
        near = first + np.flatnonzero(
            (self._lat[first:last] >= south) & (self._lat[first:last] < north)
        )
        found: NDArray[np.intp] = self._order[near[_odd(edges, self._lon[near], self._lat[near])]]
        return found


def _edges(rings: Rings) -> NDArray[np.float64]:
    """float64[n, 4]: x1, y1, x2, y2 with y1 < y2; level edges never cross a level ray."""
    parts = []
    for ring in rings:
        corners = np.array(ring, np.float64)
        parts.append(np.hstack([corners, np.roll(corners, -1, axis=0)]))
    edges = np.concatenate(parts)
    falling = edges[:, 1] > edges[:, 3]
    edges[falling] = edges[falling][:, [2, 3, 0, 1]]
    rising: NDArray[np.float64] = edges[edges[:, 1] < edges[:, 3]]
    return rising


def _odd(
    edges: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.bool_]:
    odd = np.zeros(len(x), np.bool_)
    if len(x) == 0:
        return odd
    for x1, y1, x2, y2 in edges:
        beside = np.flatnonzero((y1 <= y) & (y < y2))
        crossing = (x2 - x1) * ((y[beside] - y1) / (y2 - y1)) + x1
        odd[beside] ^= x[beside] < crossing
    return odd


def area(ring: Sequence[tuple[float, float]]) -> float:
    """The area of a ring in square degrees, by the shoelace formula around its first corner."""
    corners = np.array(ring, np.float64)
    x, y = (corners - corners[0]).T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
