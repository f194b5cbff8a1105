"""Real parts for dispatch tests: a store on disk, a receiver on loopback, a dispatcher."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatch.receiver import Receiver
from dispatch.store import Store

SECRET = bytes(range(32))
DEADLINE_S = 20.0


def until(met: Callable[[], object], what: str = "") -> None:
    """Wait until a condition holds; fail when it doesn't in time."""
    deadline = time.monotonic() + DEADLINE_S
    while not met():
        assert time.monotonic() < deadline, f"not in {DEADLINE_S} s: {what}"
        time.sleep(0.005)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "dispatch.db")
    yield opened
    opened.close()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    started = Receiver([SECRET], tmp_path / "received.jsonl")
    started.start()
    yield started
    started.close()
