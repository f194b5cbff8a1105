"""One example of each thing whose bytes are kept in goldens/."""

from __future__ import annotations

from contracts.alerts import AlertEvent, alert_id, timestamp
from contracts.batch import Flag, ReadingBatch
from contracts.log import LogRecord, RecordKind
from contracts.pack import Evicted, Pack, PackHeader

T0 = 1_772_323_200_000  # 2026-03-01T08:00:00+08:00
NAN = float("nan")
BOOT = 3 << 32 | 0x9F2C_0001

NONE = ReadingBatch.of([])
HEADER = PackHeader("gw-0001", BOOT, 17, T0, 123_456, alarm=True)
READINGS = Pack(
    HEADER,
    ReadingBatch.of(
        [
            ("sm-0001", "smoke", "fire", T0 - 1500, 1.0, int(Flag.ALARM | Flag.TEST)),
            ("sm-0001", "smoke", "battery", T0 - 1500, 3.1, 0),
            ("fw-0012", "firewater", "static_pressure", T0 - 1000, 0.31, 0),
            ("fw-0012", "firewater", "dynamic_pressure", T0 - 1000, NAN, int(Flag.BAD)),
            ("fw-0012", "firewater", "static_pressure", T0 + 5, -0.0, int(Flag.STALE)),
        ]
    ),
)
FAR = Pack(
    PackHeader("gw-0001", BOOT, 18, T0, 123_999),
    ReadingBatch.of([("sm-0001", "smoke", "fire", 0, 0.0, 0)]),
)
TOMBSTONE = Pack(
    PackHeader("gw-0001", BOOT, 19, T0, 124_000, tombstone=True),
    NONE,
    (
        Evicted(2 << 32 | 7, 1, 40, T0 - 7_200_000, T0 - 3_600_000, 20_000),
        Evicted(BOOT, 2, 2, T0 - 60_000, T0 - 59_000, 500),
    ),
)
EMPTY = Pack(PackHeader("gw-0001", BOOT, 20, T0, 124_001), NONE)
PACKS = {"readings": READINGS, "far": FAR, "tombstone": TOMBSTONE, "empty": EMPTY}

BUNDLE = [
    LogRecord(RecordKind.PACK, T0, "gw-0001", b"GWPK...", 41),
    LogRecord(RecordKind.FOREIGN, T0 + 20, "grid/v1/340111/002/001/007/smoke/d1/evt", b"{}", 42),
    LogRecord(RecordKind.MARK, T0 + 1000, "", b"", 43),
    LogRecord(RecordKind.COMMAND, T0 + 1000, "", '{"note":"到场"}'.encode(), 44),
]

ALERT = alert_id("smoke.fire", "sm-0001", T0 - 1500, 0)
EVENT = AlertEvent(
    specversion="1.0",
    id=f"{ALERT}-1",
    source="/grid/340111002001007/smoke/sm-0001",
    type="io.gridwarden.smoke.fire.raised",
    subject=ALERT,
    time=timestamp(T0 - 1500),
    datacontenttype="application/json",
    gridcode="340111002001007",
    partitionkey="340111002001007",
    sequence=f"{1:020d}",
    severitynumber=21,
    severitytext="FATAL",
    correlationid=ALERT,
    recordedtime=timestamp(T0),
    data={"rule": {"id": "smoke.fire"}, "title": {"zh": "火警", "en": "Fire"}, "value": 1.0},
)
