"""`gridwarden telemetry`: the same answers from either store, and input for replay out of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.bench.town import write_town
from contracts.batch import Flag, TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.quantities import FAMILIES, QUANTITIES
from contracts.telemetry import decode_many
from ingest.registry import load
from ingest.telemetry import SqliteTelemetry
from ingest.telemetry.influx import Address, InfluxTelemetry
from tests.app.running import gridwarden
from tests.ingest.packs import T0
from tests.parts.telemetry_servers import Influx1

DEVICES, READINGS = 30, 900
SPAN = ("--from", "2026-01-01T00:00:00Z", "--to", str(T0 + 1_200_000))


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    write_town(tmp_path / "registry", DEVICES, seed=5)
    return tmp_path / "registry"


def written(directory: DeviceDirectory) -> TaggedBatch:
    """Readings over twenty minutes; some late, some bad, some without a value."""
    random = np.random.default_rng(7)
    parts = []
    for flags in (0, int(Flag.BAD), int(Flag.LATE), int(Flag.TEST | Flag.REPAIRED)):
        rows = [
            (
                int(random.integers(0, DEVICES)),
                str(random.choice(["battery", "temperature", "rssi"])),
                T0 + int(random.integers(0, 1_200_000)),
                math.nan if random.random() < 0.1 else round(float(random.normal(20, 5)), 2),
            )
            for _ in range(READINGS // 4)
        ]
        parts.append(TaggedBatch.of(rows, flags=flags, heard_ms=T0))
    assert len(directory) == DEVICES
    return TaggedBatch.join(parts)


def in_sqlite(folder: Path, registry: Path) -> Path:
    directory = DeviceDirectory(load(registry))
    store = SqliteTelemetry(folder / "data" / "telemetry", clock=lambda: T0)
    store.write(written(directory), directory)
    store.close()
    config = folder / "sqlite.toml"
    config.write_text('data = "data"\n')
    return config


def in_influx(folder: Path, registry: Path, url: str) -> Path:
    directory = DeviceDirectory(load(registry))
    store = InfluxTelemetry(
        folder / "spill",
        Address(url, "gridwarden", version=1),
        refused=lambda *_: None,
        jitter=lambda: 0.0,
    )
    store.write(written(directory), directory)
    store.close()
    config = folder / "workers.toml"
    config.write_text(
        '[kafka]\nbootstrap = "127.0.0.1:9092"\n[telemetry]\nstore = "influx"\n'
        f'[telemetry.influx]\nurl = "{url}"\nversion = 1\n'
    )
    return config


def test_an_export_holds_every_reading_and_replays(tmp_path: Path, registry: Path) -> None:
    config = in_sqlite(tmp_path, registry)
    out = tmp_path / "out.jsonl"
    done = gridwarden(
        "telemetry", "export", "--config", config, "--registry", registry, *SPAN, "--out", out,
        "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    directory = DeviceDirectory(load(registry))
    batch = written(directory)
    wanted = {
        (directory.ids[d], FAMILIES[directory.family[d]], QUANTITIES[q].name, t, repr(v), f & 0xFF)
        for d, q, t, v, f in zip(
            *(
                getattr(batch, name).tolist()
                for name in ("device", "quantity", "ts_ms", "value", "flags")
            ),
            strict=True,
        )
    }
    lines = out.read_bytes().splitlines()
    decoded, _, rejects = decode_many(lines)
    assert not rejects
    assert len(decoded) == json.loads(done.stdout)["readings"] == READINGS
    found = {(d, f, q, t, repr(v), flags) for d, f, q, t, v, flags in decoded.rows()}
    assert found == wanted
    times = [json.loads(line)["ts"] for line in lines]
    assert times == sorted(times)

    replayed = gridwarden(
        "replay", "--input", out, "--rules", "deploy/rules", "--registry", registry,
        "--out", tmp_path / "alerts.jsonl", "--json",
    )  # fmt: skip
    assert replayed.returncode == 0, replayed.stderr
    assert json.loads(replayed.stdout)["readings"] == READINGS


def test_both_stores_give_the_same(
    tmp_path: Path, registry: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("influxd")
    with Influx1(tmp_path / "influx1") as server:
        configs = in_sqlite(tmp_path, registry), in_influx(tmp_path, registry, server.url)
        answers = []
        for config in configs:
            out = tmp_path / f"{config.stem}.jsonl"
            done = gridwarden(
                "telemetry", "export", "--config", config, "--registry", registry, *SPAN,
                "--out", out, "--json",
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            device = load(registry).devices.ids[3]
            asked = [
                json.loads(gridwarden("telemetry", *more, "--config", config, "--json").stdout)
                for more in (
                    ("latest", device),
                    ("range", device, "battery", *SPAN),
                )
            ]
            answers.append((sorted(out.read_bytes().splitlines()), asked))
    assert len(answers[0][0]) > READINGS // 2
    assert answers[0] == answers[1]


def test_only_the_grids_that_are_asked_for(tmp_path: Path, registry: Path) -> None:
    config = in_sqlite(tmp_path, registry)
    places = load(registry)
    code = places.grids[int(places.devices.grid[0])].code
    wanted = sum(places.grids[row].code == code for row in places.devices.grid.tolist())
    done = gridwarden(
        "telemetry", "export", "--config", config, "--registry", registry, *SPAN,
        "--grid", code, "--out", tmp_path / "out.jsonl", "--json",
    )  # fmt: skip
    assert json.loads(done.stdout)["devices"] == wanted


@pytest.mark.parametrize(
    ("arguments", "want"),
    [
        (("range", "d", "no_such", *SPAN), "no such quantity"),
        (("range", "d", "battery", "--from", "yesterday", "--to", "1"), "is no time"),
        (("range", "d", "battery", "--from", "2026-01-01T00:00", "--to", "1"), "names no offset"),
        (("latest", "d", "--config", "/no/such.toml"), "can't be read"),
        (("export", "--registry", "/no/such", *SPAN, "--out", "/tmp/x"), "/no/such"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments: tuple[str, ...], want: str) -> None:
    done = gridwarden("telemetry", *arguments)
    assert done.returncode == 2
    assert want in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_store_that_is_away_is_one_line(tmp_path: Path) -> None:
    config = tmp_path / "up.toml"
    config.write_text(
        '[telemetry]\nstore = "influx"\n[telemetry.influx]\nurl = "http://127.0.0.1:9"\n'
    )
    done = gridwarden("telemetry", "latest", "d", "--config", config)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
