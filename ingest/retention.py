"""What goes when the disk runs short: raw history first, then telemetry, then dead letters.

Alerts are never touched from here. So that they can still be written on a full disk, a file of
ballast is held in reserve and let go when nothing else helps. `decide` is pure; `Retention` looks
at the disk and carries out.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from ingest.storage import StoreError, sync_folder

BALLAST_BYTES = 64 << 20
BALLAST_SHARE = 16
"""The ballast is at most this part of what may be used in all (proposal)."""

Target = Literal["log", "telemetry", "letters", "ballast"]


@dataclass(frozen=True, slots=True)
class Limits:
    """log_bytes: bound on raw history. min_free_bytes: what must stay free on the disk.

    log_keep_ms: raw history older than this goes; None = as long as there is room.
    ballast_bytes: reserved for alerts.
    """

    log_bytes: int = 20 << 30
    min_free_bytes: int = 512 << 20
    log_keep_ms: int | None = None
    ballast_bytes: int = BALLAST_BYTES

    @property
    def ballast(self) -> int:
        """The ballast, smaller where little may be used."""
        return min(self.ballast_bytes, self.log_bytes // BALLAST_SHARE)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the disk looks like, in bytes. free: of the file system.

    log: all of the log; sheddable: its sealed segments that no restart needs, oldest first, as
    (bytes, accepted_ms of the last record). telemetry: what it could give back.
    """

    free: int
    log: int
    sheddable: tuple[tuple[int, int], ...]
    telemetry: int
    letters: int
    ballast_held: int


class Action(NamedTuple):
    """`shed`: give back about so many bytes. `reserve`: make the ballast that big."""

    what: Literal["shed", "release", "reserve"]
    target: Target
    bytes: int


def decide(facts: Facts, limits: Limits, now_ms: int) -> list[Action]:
    """What to do now, in order. Nothing needed by a restart is ever among it."""
    actions: list[Action] = []
    wanted_free = max(0, limits.min_free_bytes - facts.free)
    from_log = _log_share(facts, limits, now_ms, wanted_free)
    if from_log:
        actions.append(Action("shed", "log", from_log))
    short = wanted_free - from_log
    sources: tuple[tuple[Target, int], ...] = (
        ("telemetry", facts.telemetry),
        ("letters", facts.letters),
    )
    for target, held in sources:
        part = min(short, held)
        if part > 0:
            actions.append(Action("shed", target, part))
            short -= part
    return actions + _ballast(facts, limits, short)


def _log_share(facts: Facts, limits: Limits, now_ms: int, wanted_free: int) -> int:
    """Bytes of whole segments to shed: for the disk, for the bound, for their age."""
    wanted = max(wanted_free, facts.log - limits.log_bytes)
    total = 0
    for size, last_ms in facts.sheddable:
        aged = limits.log_keep_ms is not None and now_ms - last_ms > limits.log_keep_ms
        if total >= wanted and not aged:
            break
        total += size
    return total


def _ballast(facts: Facts, limits: Limits, short: int) -> list[Action]:
    if short > 0 and facts.ballast_held and facts.free < limits.ballast:
        return [Action("release", "ballast", facts.ballast_held)]
    # Only with room to spare, else it would be made and let go in turns.
    if facts.ballast_held < limits.ballast and facts.free > 2 * limits.ballast:
        return [Action("reserve", "ballast", limits.ballast)]
    return []


class Segments(Protocol):
    """What retention needs of the log."""

    def bytes(self) -> int: ...
    def sheddable(self, before_position: int) -> tuple[tuple[int, int], ...]: ...
    def shed(self, before_position: int, limit_bytes: int | None = None) -> Freed: ...


class Freed(Protocol):
    @property
    def bytes(self) -> int: ...


class Expendable(Protocol):
    """What retention needs of the other stores: what they could give back, and to do so.

    shed returns the bytes that came free.
    """

    def sheddable(self) -> int: ...
    def shed(self, wanted_bytes: int) -> int: ...


class Ballast:
    """A file of real blocks that can be deleted when the disk is full."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def held(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def reserve(self, size: int) -> bool:
        """False where there is no room for it; then nothing of it stays."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o640)
        try:
            os.posix_fallocate(descriptor, 0, size)
            os.fsync(descriptor)
        except OSError:
            # A file system that is too full to reserve on is what the counters will show.
            self.release()
            return False
        finally:
            os.close(descriptor)
        return True

    def release(self) -> int:
        held = self.held()
        self.path.unlink(missing_ok=True)
        sync_folder(self.path.parent)
        return held


class Retention:
    """Looks and acts; call `run` every few seconds, and at once after a `StoreFull`."""

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        *,
        log: Segments,
        telemetry: Expendable | None,
        letters: Expendable | None,
        needed_from: Callable[[], int],
    ) -> None:
        """folder: of the data. needed_from: the first position that a restart would need."""
        self.folder, self.limits = folder, limits
        self.ballast = Ballast(folder / "ballast")
        self.shed_bytes: Counter[str] = Counter()
        """Bytes given back since the start, by target."""
        self.failed: Counter[str] = Counter()
        """Actions that a store or the disk refused, by target; tried again at the next run."""
        self._log, self._needed_from = log, needed_from
        self._others: dict[Target, Expendable] = {}
        if telemetry is not None:
            self._others["telemetry"] = telemetry
        if letters is not None:
            self._others["letters"] = letters

    def look(self) -> Facts:
        telemetry, letters = self._others.get("telemetry"), self._others.get("letters")
        return Facts(
            free=shutil.disk_usage(self.folder).free,
            log=self._log.bytes(),
            sheddable=self._log.sheddable(self._needed_from()),
            telemetry=telemetry.sheddable() if telemetry else 0,
            letters=letters.sheddable() if letters else 0,
            ballast_held=self.ballast.held(),
        )

    @property
    def starved(self) -> bool:
        """The reserve is used up: from here on only alarms should be written.

        Then set `Acceptor.sparing`: the agents keep their other packs and send them again.
        """
        return self.ballast.held() < self.limits.ballast

    def run(self, now_ms: int) -> list[Action]:
        """Decide and carry out; returns what was done."""
        try:
            actions = decide(self.look(), self.limits, now_ms)
        except (StoreError, OSError):
            # A disk that is full may refuse even to be looked at; that must not stop alarms.
            self.failed["look"] += 1
            return []
        for action in actions:
            try:
                self.shed_bytes[action.target] += self._act(action)
            except (StoreError, OSError):
                self.failed[action.target] += 1
        return actions

    def _act(self, action: Action) -> int:
        """Bytes that came free."""
        if action.what == "release":
            return self.ballast.release()
        if action.what == "reserve":
            if not self.ballast.reserve(action.bytes):
                self.failed["ballast"] += 1
            return 0
        if action.target == "log":
            return self._log.shed(self._needed_from(), action.bytes).bytes
        return self._others[action.target].shed(action.bytes)
