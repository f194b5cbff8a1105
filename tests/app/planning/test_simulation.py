"""The simulated city is one that can be worked out by hand where nothing is by chance."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.planning.picture import picture
from app.planning.simulation import DETECT_S, City, balance, fail

EVEN = City(devices=8_000, cell_devices=1, partitions=8, workers=4, busy=0.5)
DEVICES = np.full(8, 1_000, np.int64)


def test_one_of_four_fails_and_the_wait_is_what_the_arithmetic_says() -> None:
    """Two partitions of a quarter of half the work stand still for 30 s, and those who take one
    more each have a third of their time left for it."""
    found = fail(EVEN, DEVICES, 1, recovery_s=0.0)

    assert found.moved == 2
    assert found.longest_s == pytest.approx(DETECT_S, abs=1.5)
    # A worker that took one: 0.75 busy now, and 30 s of 0.25 to make up at 0.25 a second; the
    # other partitions of that worker wait along, so all is over after another 30 s.
    assert found.over_s == pytest.approx(2 * DETECT_S, abs=3)


def test_reading_back_is_waited_for() -> None:
    short = fail(EVEN, DEVICES, 1, recovery_s=0.0)
    long = fail(EVEN, DEVICES, 1, recovery_s=10_000.0)

    assert long.longest_s == pytest.approx(short.longest_s + 10, abs=1.5)


def test_nobody_waits_while_nobody_fails() -> None:
    found = fail(EVEN, DEVICES, 0, recovery_s=10.0)
    assert (found.moved, found.over_s) == (0, 0.0)


def test_too_few_that_are_left_never_make_up() -> None:
    city = City(devices=8_000, cell_devices=1, partitions=8, workers=4, busy=0.8)
    found = fail(city, DEVICES, 2, recovery_s=0.0, horizon_s=300)

    assert found.over_s is None
    assert found.wait_s[-1] > found.wait_s[100]


def test_all_can_not_fail() -> None:
    with pytest.raises(ValueError, match="fewer than the 4"):
        fail(EVEN, DEVICES, 4, recovery_s=0.0)


@settings(max_examples=20)
@given(st.integers(1, 200_000), st.integers(1, 500), st.integers(1, 64), st.integers(0, 5))
def test_every_device_has_its_partition(
    devices: int, cell_devices: int, partitions: int, seed: int
) -> None:
    city = City(devices, cell_devices, partitions, 1, 0.5)
    found = balance(city, seed)

    total = int(found.partition_devices.sum())
    assert abs(total - devices) <= found.cells
    assert found.most_partition >= 1
    assert (balance(city, seed).partition_devices == found.partition_devices).all()


def test_the_checksum_spreads_many_cells_evenly() -> None:
    few = balance(City(1_000_000, 10_000, 64, 16, 0.5), 1)
    many = balance(City(1_000_000, 100, 64, 16, 0.5), 1)

    assert many.most_partition < few.most_partition
    assert many.most_partition < 1.5


def test_the_picture_says_that_it_is_simulated() -> None:
    failures = [fail(EVEN, DEVICES, count, recovery_s=5.0) for count in (1, 2)]
    root = ElementTree.fromstring(picture(EVEN, failures))  # noqa: S314 - our own text.

    texts = [element.text or "" for element in root.iter() if element.tag.endswith("text")]
    assert texts[0].startswith("Simulated: 8,000 devices")
    assert sum("failed: " in text for text in texts) == 2
