"""Whether a stream is watched as fast as it comes, and what time its pictures are of.

Pictures bear the stream's own time. That of its first one is taken for the gateway's. A picture can
only come late, so one that comes early proves that it was taken too late (the first ones often
come at a run), and the earliest stands. When pictures come ever later there are three reasons: the
wall clock was set, the camera's clock runs slower than ours, or this machine can't keep up and the
pictures wait before they are looked at. The first shows in the gateway's own two clocks. The
others look alike at first; so pictures are left out up to a key frame: what waits is then skipped
in no time, and of a slow clock nothing is gained. A backlog that comes after a stall of the line
is mostly worked off by then.
"""

from __future__ import annotations

DRIFT_MS = 2_000
"""Between the stream's time stamps and the clock, beyond which something is done about it."""
PATIENCE_MS = 5_000
"""So long a backlog may be worked off before pictures are left out (a proposal)."""
LEFT_OUT_US, GAIN_MS = 1_000_000, 500
"""Leaving out so much of the stream or more gains at least this where pictures wait."""
TOLD_MS = 60_000
"""So long after pictures were left out the camera still says so (a proposal)."""


class Pace:
    """Of one connection. start_ms: unix time of the stream's time 0."""

    def __init__(self, wall_ms: int, mono_ms: int) -> None:
        """When the first picture came, by both clocks."""
        self.start_ms = wall_ms
        self._begun_ms = mono_ms
        self._apart_ms = wall_ms - mono_ms
        self._late_from: int | None = None
        self._before: tuple[int, int] | None = None
        self._behind_until: int | None = None
        self.late_ms = 0

    @property
    def is_behind(self) -> bool:
        """Pictures had to be left out in the last minute."""
        return self._behind_until is not None

    def look(self, at_us: int, wall_ms: int, mono_ms: int) -> bool:
        """Take a picture's time. Whether pictures are to be left out, up to a key frame."""
        if self._behind_until is not None and mono_ms >= self._behind_until:
            self._behind_until = None
        if abs(wall_ms - mono_ms - self._apart_ms) > DRIFT_MS:
            self._set(self._begun_ms, wall_ms - mono_ms)
        self.late_ms = mono_ms - self._begun_ms - at_us // 1000
        if self.late_ms > DRIFT_MS:
            return self._is_too_late(at_us, mono_ms)
        if self.late_ms < 0:
            self._set(self._begun_ms + self.late_ms, self._apart_ms)
        self._late_from = self._before = None
        return False

    def _is_too_late(self, at_us: int, mono_ms: int) -> bool:
        if self._before is not None:
            before_us, before_ms = self._before
            if at_us < before_us + LEFT_OUT_US:
                return False  # The decoder still held it.
            if before_ms - self.late_ms < GAIN_MS:
                self._set(self._begun_ms + self.late_ms, self._apart_ms)
                self._late_from = self._before = None
                self.late_ms = 0
                return False
            self._behind_until = mono_ms + TOLD_MS
        elif self._late_from is None:
            self._late_from = mono_ms
            return False
        elif mono_ms - self._late_from < PATIENCE_MS:
            return False
        self._before = at_us, self.late_ms
        return True

    def _set(self, begun_ms: int, apart_ms: int) -> None:
        self._begun_ms, self._apart_ms = begun_ms, apart_ms
        self.start_ms = begun_ms + apart_ms
