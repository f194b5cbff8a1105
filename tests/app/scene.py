"""A small simulated district as log records: packs of two gateways, foreign messages, statuses,
time marks, rules and registries that change, and what people decide."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from app.content import read_rule_files, shipped_rules
from app.engine import Sources
from contracts import topics
from contracts.log import LogRecord, RecordKind
from contracts.messages import GatewayStatus, Installed, OperatorCommand
from contracts.pack import Pack, PackHeader, boot_text, encode
from contracts.registry import Registry
from edge.sources.simulate import write_registry
from edge.sources.simulate.district import DEMO_RATES, District
from edge.sources.simulate.layout import Size
from ingest.admission import AdmissionSettings
from ingest.registry import load as load_registry
from rules import compile_rules
from rules.ruleset import RuleSet

S = 1_000
T0 = 1_767_225_600_000
SPAN_MS = 240 * S
PACK_MS = 2 * S
BOOT = 0x1122334455
STRANGER = "sd-new"
"""A smoke detector that reports fire before it is in the registry."""

GREW = "registry with the stranger"
SHRANK = "registry without one gateway's fire-water devices"


@cache
def district() -> District:
    """Two gateways, 90 devices, and something happening every few seconds."""
    rates = replace(DEMO_RATES, incidents=900.0, near_misses=300.0, sensor_faults=200.0)
    return District(5, Size(gateways=2, devices=90, grids=3), rates, start_ms=T0)


@dataclass(frozen=True)
class Contents:
    """Rule sets and registries by a name that stands for their hash."""

    rules: dict[str, RuleSet]
    registries: dict[str, Registry]
    settings: dict[str, AdmissionSettings]

    def sources(self) -> Sources:
        return Sources(
            rules=self.rules.__getitem__,
            registry=self.registries.__getitem__,
            settings=self.settings.__getitem__,
        )


@cache
def contents() -> Contents:
    shipped = read_rule_files(shipped_rules())
    changed = {
        # Another severity of rules without levels, another limit, a whole family of rules gone.
        name: text.replace("\n    severity: 3", "\n    severity: 2").replace("0.07 MPa", "0.08 MPa")
        for name, text in shipped.items()
        if name != "ebike.yml"
    }
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_registry(folder, district())
        first = load_registry(folder)
        rows = _devices(folder)
        smoke = next(row for row in rows if row["family"] == "smoke")
        here = {"device": STRANGER, "gateway": "", "grid": first.grids[0].code}
        rows.insert(0, smoke | here)
        _write_devices(folder, rows)
        grew = load_registry(folder)
        gone = [r for r in rows if (r["family"], r["gateway"]) != ("firewater", "gw-02")]
        _write_devices(folder, gone)
        shrank = load_registry(folder)
    return Contents(
        {"shipped": compile_rules(shipped), "changed": compile_rules(changed)},
        {"first": first, GREW: grew, SHRANK: shrank},
        {"slow": AdmissionSettings(slack_ms=9_000, idle_ms=6_000), "usual": AdmissionSettings()},
    )


def _devices(folder: Path) -> list[dict[str, str]]:
    with (folder / "devices.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write_devices(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "devices.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def numbered(records: list[LogRecord]) -> list[LogRecord]:
    """In order of acceptance, with positions from 1."""
    ordered = sorted(records, key=lambda record: record.accepted_ms)
    return [replace(record, position=place) for place, record in enumerate(ordered, 1)]


def installed(at_ms: int, what: str, content: str) -> LogRecord:
    told = Installed(what=what, hash=content, active_ms=at_ms)  # type: ignore[arg-type]
    return LogRecord(RecordKind.INSTALLED, at_ms, "", msgspec.json.encode(told))


def command(at_ms: int, action: str, alert: str, number: int) -> LogRecord:
    told = OperatorCommand(
        id=f"desk:{number}",
        action=action,  # type: ignore[arg-type]
        alert=alert,
        at_ms=at_ms,
        by="desk",
        disposition="drill" if action == "disposition" else None,
    )
    return LogRecord(RecordKind.COMMAND, at_ms, "", msgspec.json.encode(told))


def packs() -> list[LogRecord]:
    """Every reading of the district, one gateway's packs now and then 5 s late and overtaken."""
    found = []
    for seq, start in enumerate(range(T0, T0 + SPAN_MS, PACK_MS), 1):
        for row, batch in enumerate(district().split(start, start + PACK_MS, (0, 1))):
            gateway = district().gateways[row]
            sent_ms = start + PACK_MS
            heard_ms = sent_ms + 40 + (5 * S if row and seq % 7 == 0 else 0)
            header = PackHeader(gateway, BOOT + row, seq, sent_ms, sent_ms - T0 + 10 * S)
            data = encode(Pack(header, batch))
            found.append(LogRecord(RecordKind.PACK, heard_ms, gateway, data))
    return found


def foreign() -> list[LogRecord]:
    """A stranger's fire, twice the same, and messages that nothing can be made of."""
    grid = contents().registries["first"].grids[0].code
    topic = topics.foreign(grid, "smoke", STRANGER)
    fire = {"deviceId": STRANGER, "family": "smoke", "ts": T0 + 40 * S, "metrics": {"fire": 1}}
    lines = [
        (T0 + 41 * S, fire),
        (T0 + 42 * S, fire),
        (T0 + 43 * S, {**fire, "metrics": {"nonsense": 1}}),
        (T0 + 44 * S, {**fire, "ts": "yesterday"}),
        (T0 + 110 * S, {**fire, "ts": T0 + 109 * S, "metrics": {"fire": 0}}),
        (T0 + 180 * S, {**fire, "ts": T0 + 179 * S}),
        # Its clock runs two minutes ahead, which admission takes.
        (T0 + 200 * S, {**fire, "ts": T0 + 319 * S, "metrics": {"fault": 1}}),
    ]
    return [
        LogRecord(RecordKind.FOREIGN, at, topic, msgspec.json.encode(line)) for at, line in lines
    ]


def statuses() -> list[LogRecord]:
    def status(at_ms: int, kind: str) -> LogRecord:
        told = GatewayStatus(
            type=kind,  # type: ignore[arg-type]
            gateway="gw-02",
            boot=boot_text(BOOT + 1),
            wall_ms=at_ms,
            mono_ms=at_ms - T0 + 10 * S,
        )
        return LogRecord(RecordKind.STATUS, at_ms, "gw-02", msgspec.json.encode(told))

    return [status(T0 + 500, "birth"), status(T0 + 150 * S, "heartbeat")]


def marks() -> list[LogRecord]:
    """One a second, and on until all that waited is through."""
    return [LogRecord(RecordKind.MARK, at, "", b"") for at in range(T0, T0 + SPAN_MS + 130 * S, S)]


def log() -> list[LogRecord]:
    """All of it but commands, in order, with rules and registries that change on the way."""
    return numbered(
        [
            installed(T0 - 2, "rules", "shipped"),
            installed(T0 - 1, "registry", "first"),
            *packs(),
            *foreign(),
            *statuses(),
            *marks(),
            installed(T0 + 100 * S + 1, "registry", GREW),
            installed(T0 + 130 * S + 1, "rules", "changed"),
            installed(T0 + 145 * S + 1, "settings", "slow"),
            installed(T0 + 170 * S + 1, "registry", SHRANK),
            installed(T0 + 230 * S + 1, "rules", "shipped"),
            installed(T0 + 231 * S + 1, "settings", "usual"),
        ]
    )
