"""Which partition of `log` a gateway or grid belongs to. Pure.

What `assignments` says wins. Who isn't in it yet goes by the checksum of his own name: for a
gateway's or device's first packs, before anybody has published the registry that names it.
"""

from __future__ import annotations

import zlib

from app.stream.records import PUBLISHED, BadRecord, decode_assigned, gateway_key, grid_key

STRANGERS = 1_000
STRANGER_S = 600.0


def by_checksum(name: str, partitions: int) -> int:
    """CRC-32 of the UTF-8 name, modulo the number of partitions."""
    return zlib.crc32(name.encode()) % partitions


class Routes:
    """What is known of `assignments`; `learn` each of its records, in order."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._of: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._of)

    def learn(self, key: bytes | None, value: bytes | None) -> None:
        """No value takes the assignment back. Raises `BadRecord`; then nothing changes."""
        if key is not None and key.startswith(PUBLISHED):
            return
        if not key or not key.startswith((b"gateway/", b"grid/")):
            raise BadRecord(f"key {key!r} is neither gateway/ nor grid/")
        if value is None:
            self._of.pop(key, None)
            return
        partition = decode_assigned(value)
        if partition >= self.partitions:
            raise BadRecord(f"{key!r} is assigned to {partition} of {self.partitions} partitions")
        self._of[key] = partition

    def assigned(self) -> dict[bytes, int]:
        """Key -> partition, as it stands in the topic."""
        return dict(self._of)

    def of_gateway(self, gateway: str) -> int:
        found = self._of.get(gateway_key(gateway))
        return by_checksum(gateway, self.partitions) if found is None else found

    def is_assigned(self, gateway: str) -> bool:
        return gateway_key(gateway) in self._of

    def of_grid(self, grid: str) -> int:
        found = self._of.get(grid_key(grid))
        return by_checksum(grid, self.partitions) if found is None else found


class Strangers:
    """Gateways that speak and are assigned nowhere: their records go to a partition that may not
    know their devices. A gateway that was replaced is one until the registry names it."""

    def __init__(self) -> None:
        self._seen_s: dict[str, float] = {}

    def saw(self, gateway: str, now_s: float) -> None:
        """Beyond `STRANGERS` names no more are noted."""
        if gateway in self._seen_s or len(self._seen_s) < STRANGERS:
            self._seen_s[gateway] = now_s

    def names(self, now_s: float) -> list[str]:
        """Those seen in the last `STRANGER_S`."""
        self._seen_s = {
            name: at_s for name, at_s in list(self._seen_s.items()) if now_s - at_s < STRANGER_S
        }
        return sorted(self._seen_s)
