"""The agent's two clocks, and the waiting of sources, as one object that tests can replace."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What a source or the agent may know of time."""

    def wall_ms(self) -> int:
        """Unix milliseconds; may step."""
        ...

    def mono_ms(self) -> int:
        """Milliseconds since the machine's boot; never steps."""
        ...

    def wait(self, ms: float) -> bool:
        """Sleep for `ms`; at once False when the agent is stopping."""
        ...


class SystemClock:
    """The machine's clocks. `stop()` wakes every sleeper for good."""

    def __init__(self) -> None:
        self._stopping = threading.Event()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def mono_ms(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def wait(self, ms: float) -> bool:
        return not self._stopping.wait(max(0.0, ms) / 1000)

    def stop(self) -> None:
        self._stopping.set()
