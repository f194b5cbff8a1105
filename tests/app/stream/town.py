"""A simulated town of several cells, one a partition, and what it leaves in the log.

A cell is a small district of its own: its grids, gateways and devices are nobody else's.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from app.content import content_hash, pack_files, pack_rules, read_rule_files, shipped_rules
from contracts.log import LogRecord, RecordKind
from contracts.messages import GatewayStatus, Installed
from contracts.pack import Pack, PackHeader, boot_text, encode
from edge.sources.simulate import write_registry
from edge.sources.simulate.district import DEMO_RATES, District
from edge.sources.simulate.layout import STREET_CODE, Size

S = 1_000
BOOT = 0x1122334455
DEVICES = 40
GATEWAYS = 2


@cache
def rules() -> bytes:
    return pack_rules(shipped_rules())


@cache
def changed_rules() -> bytes:
    """Other severities and limits, and a family's rules gone."""
    changed = {
        name: text.replace("\n    severity: 3", "\n    severity: 2").replace("0.07 MPa", "0.08 MPa")
        for name, text in read_rule_files(shipped_rules()).items()
        if name != "ebike.yml"
    }
    return pack_files({name: text.encode() for name, text in changed.items()})


@dataclass(frozen=True)
class Cell:
    """One district under codes and names of its own."""

    number: int
    start_ms: int

    @property
    def district(self) -> District:
        return _district(self.number, self.start_ms)

    def named(self, name: str) -> str:
        return f"c{self.number}-{name}"

    def gateway(self, row: int) -> str:
        return self.named(self.district.gateways[row])

    def registry(self) -> dict[str, str]:
        """areas.csv, grids.csv, devices.csv."""
        with TemporaryDirectory() as folder:
            write_registry(Path(folder), self.district)
            texts = {
                name: (Path(folder) / name).read_text(encoding="utf-8")
                for name in ("areas.csv", "grids.csv", "devices.csv")
            }
        street = f"{STREET_CODE[:6]}{self.number + 1:03d}"
        texts = {name: text.replace(STREET_CODE, street) for name, text in texts.items()}
        return texts | {"devices.csv": self._renamed(texts["devices.csv"])}

    def _renamed(self, text: str) -> str:
        rows = list(csv.DictReader(io.StringIO(text)))
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            names = {name: self.named(row[name]) for name in ("device", "gateway")}
            writer.writerow(row | names)
        return out.getvalue()

    def packs(self, from_ms: int, to_ms: int, seq: int) -> list[LogRecord]:
        """One of each gateway, heard a moment after the span."""
        found = []
        for row, batch in enumerate(self.district.split(from_ms, to_ms, range(GATEWAYS))):
            own = replace(batch, devices=tuple(self.named(name) for name in batch.devices))
            header = PackHeader(
                self.gateway(row), BOOT + row, seq, to_ms, to_ms - self.start_ms + 10 * S
            )
            # Now and then one comes 4 s late and is overtaken.
            heard_ms = to_ms + 40 + 3 * self.number + (4 * S if row and seq % 9 == 0 else 0)
            data = encode(Pack(header, own))
            found.append(LogRecord(RecordKind.PACK, heard_ms, self.gateway(row), data))
        return found

    def births(self, at_ms: int) -> list[LogRecord]:
        found = []
        for row in range(GATEWAYS):
            told = GatewayStatus(
                type="birth",
                gateway=self.gateway(row),
                boot=boot_text(BOOT + row),
                wall_ms=at_ms,
                mono_ms=at_ms - self.start_ms + 10 * S,
            )
            payload = msgspec.json.encode(told)
            found.append(LogRecord(RecordKind.STATUS, at_ms, self.gateway(row), payload))
        return found


@cache
def _district(number: int, start_ms: int) -> District:
    rates = replace(DEMO_RATES, incidents=2400.0, near_misses=600.0, sensor_faults=300.0)
    return District(20 + number, Size(GATEWAYS, DEVICES, 2), rates, start_ms=start_ms)


def joined(cells: list[Cell]) -> bytes:
    """The registry of some cells as content."""
    files: dict[str, list[str]] = {}
    for cell in cells:
        for name, text in cell.registry().items():
            lines = files.setdefault(name, [])
            lines += [line for line in text.splitlines() if line not in lines]
    return pack_files({name: ("\n".join(lines) + "\n").encode() for name, lines in files.items()})


def installed(at_ms: int, what: str, content: bytes) -> LogRecord:
    told = Installed(what=what, hash=content_hash(content), active_ms=at_ms)  # type: ignore[arg-type]
    return LogRecord(RecordKind.INSTALLED, at_ms, "", msgspec.json.encode(told))


def coming(at_ms: int, content: bytes, activate_ms: int) -> LogRecord:
    """Rules that come into force at an event time."""
    told = Installed(
        what="rules", hash=content_hash(content), active_ms=at_ms, activate_ms=activate_ms
    )
    return LogRecord(RecordKind.INSTALLED, at_ms, "", msgspec.json.encode(told))


def mark(at_ms: int) -> LogRecord:
    return LogRecord(RecordKind.MARK, at_ms, "", b"")
