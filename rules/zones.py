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


@dataclass(frozen=True, slots=True)
class Zone:
    """digest: SHA-256 of the zone's data, 16 hexadecimal digits: a release of `tzdata` that
    changes the zone changes what a schedule in it means.
    """

    name: str
    digest: str
    info: ZoneInfo = field(compare=False, repr=False)

    def first_ms(self, local: datetime) -> int:
        """Epoch ms of the first moment at which the local clock shows `local` or later.

        local: naive, years 2 to 9998. A time that the clock jumps over counts from the jump.
        """
        return self._moment(local, fold=0)

    def last_ms(self, local: datetime) -> int:
        """Epoch ms from which on the local clock never again shows less than `local`."""
        return self._moment(local, fold=1)

    def _moment(self, local: datetime, fold: int) -> int:
        before = local.replace(tzinfo=self.info, fold=0).astimezone(UTC)
        after = local.replace(tzinfo=self.info, fold=1).astimezone(UTC)
        if before <= after:  # Shown once, or twice where a clock is put back (PEP 495).
            return (((before, after)[fold]) - _EPOCH) // _MS
        low, high = (after - _EPOCH) // _MS, (before - _EPOCH) // _MS
        while high - low > 1:
            middle = (low + high) // 2
            shown = (_EPOCH + middle * _MS).astimezone(self.info).replace(tzinfo=None)
            low, high = (low, middle) if shown >= local else (middle, high)
        return high


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
