"""A small district and the records that its gateways leave in the log."""

from __future__ import annotations

import msgspec
import numpy as np

from contracts.batch import Flag, ReadingBatch, TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord, RecordKind
from contracts.messages import GatewayStatus
from contracts.pack import Evicted, Pack, PackHeader, boot_text, encode
from contracts.quantities import FAMILY_INDEX, QUANTITIES
from contracts.registry import DeviceTable, Grid, Registry
from ingest.admission import Admission, AdmissionSettings, Admitted

T0 = 1_760_000_000_000
S = 1000
DAY = 86_400_000
GRID = "340111002003001"
BOOT = 1 << 32 | 0xABC

REGISTRY = Registry(
    grids=(Grid(GRID, "一号网格", "residential"),),
    devices=DeviceTable(
        ids=("sm-1", "fw-1", "fw-2", "sm-2", "lone-1"),
        family=np.array(
            [FAMILY_INDEX[f] for f in ("smoke", "firewater", "firewater", "smoke", "smoke")],
            np.int8,
        ),
        gateways=("gw-a", "gw-b"),
        gateway=np.array([0, 0, 1, 1, -1], np.int32),
        grid=np.array([0, 0, 0, -1, 0], np.int32),
        lon=np.full(5, np.nan),
        lat=np.full(5, np.nan),
    ),
)
FAMILY = {"sm": "smoke", "fw": "firewater", "lone": "smoke", "new": "smoke"}

Row = tuple[str, str, int, float]
"""(device, quantity, ts_ms, value); the device's family follows from its name."""


def admission(settings: AdmissionSettings | None = None) -> Admission:
    return Admission(DeviceDirectory(REGISTRY), settings)


def batch(rows: list[Row], flags: int = 0, family: str = "") -> ReadingBatch:
    return ReadingBatch.of(
        (device, family or FAMILY[device.split("-")[0]], quantity, ts, value, flags)
        for device, quantity, ts, value in rows
    )


class Log:
    """Writes records with rising positions. `now` is when the next one is accepted."""

    def __init__(self, now: int = T0) -> None:
        self.now = now
        self.position = 0
        self.seq: dict[tuple[str, int], int] = {}

    def record(self, kind: RecordKind, source: str, payload: bytes) -> LogRecord:
        self.position += 1
        return LogRecord(kind, self.now, source, payload, self.position)

    def pack(
        self,
        rows: list[Row],
        *,
        gateway: str = "gw-a",
        boot: int = BOOT,
        wall: int | None = None,
        mono: int | None = None,
        named: str = "",
        flags: int = 0,
        family: str = "",
        evicted: tuple[Evicted, ...] = (),
    ) -> LogRecord:
        """A pack whose clocks, if not given, are right: the gateway booted at `T0 - DAY`."""
        seq = self.seq[gateway, boot] = self.seq.get((gateway, boot), 0) + 1
        header = PackHeader(
            named or gateway,
            boot,
            seq,
            self.now if wall is None else wall,
            self.now - T0 + DAY if mono is None else mono,
            tombstone=bool(evicted),
        )
        payload = encode(Pack(header, batch(rows, flags, family), evicted))
        return self.record(RecordKind.PACK, gateway, payload)

    def status(
        self,
        kind: str = "birth",
        *,
        gateway: str = "gw-a",
        boot: int = BOOT,
        wall: int | None = None,
        mono: int | None = None,
        **more: object,
    ) -> LogRecord:
        status = {
            "type": kind,
            "gateway": gateway,
            "boot": boot_text(boot),
            "wall_ms": self.now if wall is None else wall,
            "mono_ms": self.now - T0 + DAY if mono is None else mono,
            **more,
        }
        payload = msgspec.json.encode(msgspec.convert(status, GatewayStatus))
        return self.record(RecordKind.STATUS, gateway, payload)

    def foreign(self, payload: object, topic: str = "") -> LogRecord:
        data = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        return self.record(RecordKind.FOREIGN, topic, data)

    def mark(self) -> LogRecord:
        return self.record(RecordKind.MARK, "", b"")


def told(admitted: Admitted | TaggedBatch, directory: DeviceDirectory) -> list[tuple[object, ...]]:
    """(device, quantity, ts_ms, value, flags of ingest) of each row."""
    rows = admitted.batch if isinstance(admitted, Admitted) else admitted
    return [
        (directory.ids[device], QUANTITIES[quantity].name, ts, value, Flag(flags & 0xFF00))
        for device, quantity, ts, value, flags in zip(
            rows.device.tolist(),
            rows.quantity.tolist(),
            rows.ts_ms.tolist(),
            rows.value.tolist(),
            rows.flags.tolist(),
            strict=True,
        )
    ]


def about_devices(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Without what is told about gateways."""
    return [row for row in rows if not str(row[0]).startswith("gw-")]


def reasons(admitted: Admitted) -> list[str]:
    return [reject.reject.reason.value for reject in admitted.rejects]
