"""When two alerts are "at the same place": one key per kind of place, equal or not.

Names of buildings repeat from grid to grid, so a building counts only together with its grid, a
unit with its building, and so on. What isn't known is nobody's place: it equals nothing, not
even another unknown one, so that nothing grows quiet for want of data.
"""

from __future__ import annotations

from typing import Literal

from contracts.registry import Place

Spot = Literal["device", "floor", "unit", "riser", "building", "grid", "gateway"]
SPOTS: tuple[Spot, ...] = ("device", "floor", "unit", "riser", "building", "grid", "gateway")


def spot_key(
    kind: Spot, *, device: str, gateway: str, place: Place, riser: str
) -> tuple[str, ...] | None:
    """What is equal for two things at the same place of this kind; None = not known.

    gateway: that speaks for the device; a gateway as a device of its own is its own gateway.
    riser: the registry attribute. A floor and a riser are of one unit where units are named.

    >>> spot_key("building", device="d", gateway="g", place=Place(building="3"), riser="") is None
    True
    """
    building = (place.grid, place.building)
    needed: dict[Spot, tuple[str, ...]] = {
        "device": (device,),
        "gateway": (gateway,),
        "grid": (place.grid,),
        "building": building,
        "unit": (*building, place.unit),
        "floor": (*building, place.floor),
        "riser": (*building, riser),
    }
    if not all(needed[kind]):
        return None
    return (*needed[kind], place.unit) if kind in ("floor", "riser") else needed[kind]
