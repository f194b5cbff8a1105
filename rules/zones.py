"""Time zones out of the pinned `tzdata` package, whatever zone files the machine has.

The package is data of this program like its rule packs; nothing else is read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

DEFAULT_ZONE = "Asia/Shanghai"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_FIRST_MS, _LAST_MS = -62_000_000_000_000, 253_000_000_000_000


@dataclass(frozen=True, slots=True)
class Zone:
    """digest: SHA-256 of the zone's data, 16 hexadecimal digits: a release of `tzdata` that
    changes the zone changes what a schedule in it means.
    """

    name: str
    digest: str
    info: ZoneInfo = field(compare=False, repr=False)

    def told(self, ms: int) -> str:
        """ISO 8601 in whole seconds with the offset from UTC: `2026-03-01T08:00:05+08:00`."""
        return self.at(ms).isoformat(timespec="seconds")

    def at(self, ms: int) -> datetime:
        """The moment with this zone's offset; what no calendar holds becomes the nearest day."""
        inside = min(max(ms, _FIRST_MS), _LAST_MS)
        return (_EPOCH + inside * _MS).astimezone(self.info)

    def first_ms(self, local: datetime) -> int:
        """Epoch ms of the first moment at which the local clock shows `local` or later.

        local: naive, years 2 to 9998. A time that the clock jumps over counts from the jump.
        """
        first, second = self._shown_at(local)
        return first if first <= second else self._jump(local, second, first)

    def last_ms(self, local: datetime) -> int:
        """Epoch ms from which on the local clock never again shows less than `local`."""
        first, second = self._shown_at(local)
        if first > second:
            return self._jump(local, second, first)
        # A clock that is put back to just this time never shows less than it.
        return first if self._local(second - 1) >= local else second

    def _shown_at(self, local: datetime) -> tuple[int, int]:
        """When the clock shows it, twice where it is put back; falling where it is put forward
        over it (PEP 495).
        """
        first = local.replace(tzinfo=self.info, fold=0).astimezone(UTC)
        second = local.replace(tzinfo=self.info, fold=1).astimezone(UTC)
        return (first - _EPOCH) // _MS, (second - _EPOCH) // _MS

    def _jump(self, local: datetime, low: int, high: int) -> int:
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._local(middle) >= local else (middle, high)
        return high

    def _local(self, ms: int) -> datetime:
        return (_EPOCH + ms * _MS).astimezone(self.info).replace(tzinfo=None)


@cache
def zone_names() -> frozenset[str]:
    """All names of the database, as `Asia/Shanghai`."""
    listed = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8")
    return frozenset(listed.split())


@cache
def zone(name: str) -> Zone:
    """Raises `KeyError` for a name that isn't in `zone_names`."""
    if name not in zone_names():
        raise KeyError(name)
    data = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with data.open("rb") as source:
        info = ZoneInfo.from_file(source, key=name)
    return Zone(name, hashlib.sha256(data.read_bytes()).hexdigest()[:16], info)
