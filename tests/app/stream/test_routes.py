"""Who goes where, before and after he is assigned."""

from __future__ import annotations

import zlib

import pytest

from app.stream.records import Assigned, BadRecord, encode, gateway_key, grid_key
from app.stream.routes import STRANGER_S, STRANGERS, Routes, Strangers


def test_the_assignment_wins_over_the_checksum() -> None:
    routes = Routes(8)
    free = zlib.crc32(b"gw-1") % 8
    assert routes.of_gateway("gw-1") == free
    routes.learn(gateway_key("gw-1"), encode(Assigned(partition=(free + 1) % 8)))
    routes.learn(grid_key("340111"), encode(Assigned(partition=7)))
    assert routes.of_gateway("gw-1") == (free + 1) % 8
    assert routes.of_grid("340111") == 7
    assert routes.of_grid("gw-1") == free  # Names of gateways and grids are apart.
    routes.learn(gateway_key("gw-1"), None)
    assert routes.of_gateway("gw-1") == free
    assert routes.assigned() == {grid_key("340111"): 7}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b'{"partition": 1}'),
        (b"device/x", b'{"partition": 1}'),
        (b"gateway/x", b'{"partition": 8}'),
        (b"gateway/x", b"{}"),
    ],
)
def test_nonsense_changes_nothing(key: bytes | None, value: bytes) -> None:
    routes = Routes(8)
    with pytest.raises(BadRecord):
        routes.learn(key, value)
    assert len(routes) == 0


def test_gateways_that_are_assigned_nowhere_are_remembered_for_a_while() -> None:
    routes = Routes(8)
    routes.learn(gateway_key("gw-1"), encode(Assigned(partition=1)))
    assert (routes.is_assigned("gw-1"), routes.is_assigned("gw-2")) == (True, False)
    strangers = Strangers()
    strangers.saw("b", 0)
    strangers.saw("a", 1)
    strangers.saw("b", STRANGER_S)
    assert strangers.names(STRANGER_S) == ["a", "b"]
    assert strangers.names(STRANGER_S + 2) == ["b"]
    for number in range(2 * STRANGERS):
        strangers.saw(str(number), STRANGER_S + 2)
    assert len(strangers.names(STRANGER_S + 2)) == STRANGERS
