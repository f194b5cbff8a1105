"""The table of quantities is in itself sound."""

from __future__ import annotations

from contracts.quantities import (
    FAMILIES,
    FAMILY_INDEX,
    QUANTITIES,
    QUANTITY_INDEX,
    SAFETY,
    URGENT,
    Kind,
)
from contracts.units import UNITS, conversion


def test_names_are_unique_and_index_is_the_place() -> None:
    assert len(QUANTITY_INDEX) == len(QUANTITIES)
    assert len(FAMILY_INDEX) == len(FAMILIES)
    assert all(QUANTITIES[i].name == name for name, i in QUANTITY_INDEX.items())
    assert all(FAMILIES[i] == name for name, i in FAMILY_INDEX.items())


def test_every_canonical_unit_is_known_and_maps_to_itself() -> None:
    for quantity in QUANTITIES:
        assert quantity.unit in UNITS, quantity
        assert conversion(quantity.unit, quantity.name) == (1.0, 0.0, 1.0), quantity


def test_families_of_quantities_are_families() -> None:
    for quantity in QUANTITIES:
        assert set(quantity.families) <= set(FAMILIES), quantity


def test_alarm_bits_are_pure_numbers() -> None:
    bits = [q for q in QUANTITIES if q.kind in (Kind.SIGNAL, Kind.CODE)]
    assert {q.unit for q in bits} == {"1"}
    assert {q.name for q in bits} == URGENT
    assert SAFETY <= URGENT
