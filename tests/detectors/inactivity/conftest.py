from __future__ import annotations

from collections.abc import Callable

import pytest

from detectors.inactivity.alarms import Episodes
from detectors.inactivity.operator import InactivityOperator
from detectors.training.homes import SimulatedHome
from tests.detectors.inactivity.lives import (
    Rows,
    cut,
    layout_of,
    local,
    operator_of,
    regular_home,
    rows_of,
    run,
)

KNOWN_DAY = 32


@pytest.fixture(scope="session")
def home() -> SimulatedHome:
    return regular_home(days=60)


@pytest.fixture(scope="session")
def month(home: SimulatedHome) -> bytes:
    """What the detector knows of the home after a month: a snapshot."""
    operator = operator_of(layout_of(home))
    rows = rows_of(home)
    until = local(home, KNOWN_DAY, 0)
    told = run(operator, cut(rows, rows[1] < until), until, Episodes(1))
    assert len(told.causes()) <= 3  # The budget, over a cold start.
    return operator.snapshot()


@pytest.fixture
def known(home: SimulatedHome, month: bytes) -> Callable[[], tuple[InactivityOperator, Rows]]:
    """The detector after a month, and what the home does afterwards."""

    def made() -> tuple[InactivityOperator, Rows]:
        operator = operator_of(layout_of(home))
        operator.restore(month)
        rows = rows_of(home)
        return operator, cut(rows, rows[1] >= local(home, KNOWN_DAY, 0))

    return made
