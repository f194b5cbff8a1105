"""A registry of columns is the registry of the files that they were made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from contracts.registry import Column, Registry
from ingest.registry import load
from ingest.registry.columns import decode, encode
from tests.ingest.registry.folders import DEVICES, POLYGONS, write

MORE = DEVICES + "".join(
    f"d-{n},gas,gw {n % 300},{'' if n % 3 else '340111002001001'},,,楼{n},,{n % 33},\n"
    for n in range(400)
)
"""Gateways with a name that is none, devices without a place, and more texts than a byte counts."""


def assert_same(found: Any, wanted: Any) -> None:
    """All fields, with the types of arrays."""
    assert type(found) is type(wanted)
    if isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    elif dataclasses.is_dataclass(wanted):
        for field in dataclasses.fields(wanted):
            assert_same(getattr(found, field.name), getattr(wanted, field.name))
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for name in wanted:
            assert_same(found[name], wanted[name])
    else:
        assert found == wanted


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"devices": MORE},
        {"polygons": POLYGONS, "devices": MORE},
        {"toml": '[codes]\ndedicated_marker = "9.."\n'},
        {"devices": "device,family\n"},
    ],
)
def test_they_say_what_the_files_say(tmp_path: Path, files: dict[str, str]) -> None:
    loaded = load(write(tmp_path, **files))
    found = decode(encode(loaded))
    assert_same(found, loaded)
    assert encode(loaded) == encode(load(tmp_path))


def test_of_another_version_nothing_is_taken(tmp_path: Path) -> None:
    blob = encode(load(write(tmp_path)))
    told = msgspec.msgpack.decode(blob)
    for changed in (
        {"version": told["version"] + 1, "ids": "something else"},
        {"families": ["fridge", *told["families"]]},
    ):
        assert decode(msgspec.msgpack.encode(told | changed)) is None


def test_a_later_version_may_know_more_families(tmp_path: Path) -> None:
    """As long as no device is of one."""
    told = msgspec.msgpack.decode(encode(load(write(tmp_path))))
    more = [*told["families"], "fridge"]
    assert decode(msgspec.msgpack.encode(told | {"families": more})) is not None
    fridge = [told["family"][0], bytes([len(told["families"])]) * 3]
    assert decode(msgspec.msgpack.encode(told | {"families": more, "family": fridge})) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: dataclasses.replace(table, lon=table.lon[:-1]),
        lambda table: dataclasses.replace(table, gateway=table.gateway + 1),
        lambda table: dataclasses.replace(table, grid=table.grid - 2),
        lambda table: dataclasses.replace(
            table, attributes={"floor": Column(np.array([0, 1, 9], np.int32), ("1", "2"))}
        ),
    ],
)
def test_columns_that_dont_belong_together_are_refused(tmp_path: Path, spoil: Any) -> None:
    registry: Registry = load(write(tmp_path))
    spoilt = dataclasses.replace(registry, devices=spoil(registry.devices))
    with pytest.raises(ValueError, match="of a registry"):
        decode(encode(spoilt))
