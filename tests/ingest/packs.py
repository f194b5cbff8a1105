"""Small packs and records for tests of acceptance."""

from __future__ import annotations

from contracts import pack
from contracts.batch import Flag, ReadingBatch
from contracts.log import LogRecord, RecordKind
from contracts.messages import GatewayStatus, HeldBoot
from contracts.pack import Evicted, Pack, PackHeader, boot_text

T0 = 1_767_225_600_000
"""2026-01-01T00:00:00Z, a whole hour."""
BOOT = (1 << 32) | 0xABCD


def header(seq: int, *, gateway: str = "g1", boot: int = BOOT, wall_ms: int = T0) -> PackHeader:
    return PackHeader(gateway=gateway, boot=boot, seq=seq, wall_ms=wall_ms, mono_ms=0)


def pack_bytes(
    seq: int,
    *,
    gateway: str = "g1",
    boot: int = BOOT,
    wall_ms: int = T0,
    quantity: str = "battery",
    alarm: bool = False,
    evicted: tuple[Evicted, ...] = (),
    rows: int = 1,
) -> bytes:
    flags = int(Flag.ALARM) if alarm else 0
    batch = ReadingBatch.of(
        (f"d{i}", "smoke", quantity, wall_ms, float(seq), flags) for i in range(rows)
    )
    head = PackHeader(
        gateway=gateway,
        boot=boot,
        seq=seq,
        wall_ms=wall_ms,
        mono_ms=0,
        alarm=alarm,
        tombstone=bool(evicted),
    )
    return pack.encode(Pack(head, batch, evicted))


def status(
    *,
    gateway: str = "g1",
    held: tuple[tuple[int, int, int], ...] = (),
    wall_ms: int = T0,
    kind: str = "heartbeat",
    boot: int = BOOT,
) -> GatewayStatus:
    """held: (boot, oldest, next)."""
    return GatewayStatus(
        type=kind,  # type: ignore[arg-type]
        gateway=gateway,
        boot=boot_text(boot),
        wall_ms=wall_ms,
        mono_ms=0,
        boots=tuple(HeldBoot(boot=boot_text(b), oldest=o, next=n) for b, o, n in held),
    )


def record(seq: int, accepted_ms: int = T0, **of_pack: object) -> LogRecord:
    data = pack_bytes(seq, **of_pack)  # type: ignore[arg-type]
    return LogRecord(RecordKind.PACK, accepted_ms, str(of_pack.get("gateway", "g1")), data)
