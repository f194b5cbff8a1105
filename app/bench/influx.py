"""`bench influx`: what it costs to have every reading in InfluxDB, lines from columns beside Point
objects of the client library.

The server is Debian's VictoriaMetrics where it is found (on the path, or where `make tools` puts
it): it takes InfluxDB's v2 write API. Without it only the lines are measured. Rows are those of a
district: packs of 500, devices in grids, two quantities.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from influxdb_client.client.write import point as library

from app.bench.document import document
from app.bench.processes import usage
from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.quantities import FAMILY_INDEX, QUANTITIES, QUANTITY_INDEX
from contracts.registry import DeviceTable, Grid, Registry
from ingest.telemetry.buffer import Rows
from ingest.telemetry.influx import Address, InfluxTelemetry
from ingest.telemetry.influx.lines import BODY_ROWS, Encoder

DEVICES, GATEWAY_DEVICES, GRID_DEVICES = 10_000, 50, 500
STEP_ROWS = 20_000
START_MS = 1_760_000_000_000
PROGRAM = "victoria-metrics"
TOOLS = Path(__file__).parents[2] / ".tools" / "system" / "usr" / "bin"
DEADLINE_S = 120.0


def run(*, quick: bool, seed: int) -> dict[str, Any]:
    rows = 400_000 if quick else 3_000_000
    directory, batches = _town(), list(_batches(seed, rows))
    figures = _lines(directory, batches[: max(1, 400_000 // STEP_ROWS)])
    figures |= _points(directory, batches[0])
    figures["points_cost_times"] = (
        figures["point_cpu_s_per_million_rows"] / figures["cpu_s_per_million_rows"]
    )
    program = shutil.which(PROGRAM, path=os.environ.get("PATH", os.defpath) + f":{TOOLS}")
    if program is None:
        print(f"bench influx: no {PROGRAM}: the store itself isn't measured", file=sys.stderr)
    else:
        figures |= _store(program, directory, batches)
    settings = {
        "rows": rows,
        "devices": DEVICES,
        "step_rows": STEP_ROWS,
        "server": program is not None and PROGRAM,
    }
    return document("influx", figures, seed=seed, settings=settings)


def _town() -> DeviceDirectory:
    grids = tuple(
        Grid(code=f"340111002{i:06d}", name=f"g{i}", kind="residential")
        for i in range(DEVICES // GRID_DEVICES)
    )
    device = np.arange(DEVICES)
    table = DeviceTable(
        ids=tuple(f"fw-{i:07d}" for i in range(DEVICES)),
        family=np.full(DEVICES, FAMILY_INDEX["firewater"], np.int8),
        gateways=tuple(f"gw-{i:05d}" for i in range(DEVICES // GATEWAY_DEVICES)),
        gateway=(device // GATEWAY_DEVICES).astype(np.int32),
        grid=(device // GRID_DEVICES).astype(np.int32),
        lon=np.full(DEVICES, np.nan),
        lat=np.full(DEVICES, np.nan),
    )
    return DeviceDirectory(Registry(grids=grids, devices=table))


def _batches(seed: int, rows: int) -> Iterator[TaggedBatch]:
    """Packs of a gateway, as acceptance hands them over: devices in turn, two quantities."""
    random = np.random.default_rng(seed)
    quantities = [QUANTITY_INDEX[name] for name in ("static_pressure", "flow")]
    for at in range(0, rows, STEP_ROWS):
        row = np.arange(at, at + STEP_ROWS)
        gateway = row // 500 % (DEVICES // GATEWAY_DEVICES)
        ts_ms = START_MS + row // 500 * 37 + row % 500 // GATEWAY_DEVICES * 100
        none, position = np.zeros(STEP_ROWS, np.uint16), row // 500
        yield TaggedBatch(
            (gateway * GATEWAY_DEVICES + row % GATEWAY_DEVICES).astype(np.int32),
            np.array(quantities, np.int16)[row // GATEWAY_DEVICES % 2],
            ts_ms,
            np.round(random.normal(0.4, 0.02, STEP_ROWS), 3),
            none,
            ts_ms,
            position,
            (row % 500).astype(np.int32),
            position,
        )


def _rows(batch: TaggedBatch) -> Rows:
    return Rows(batch.device, batch.quantity, batch.ts_ms, batch.value, batch.flags)


def _lines(directory: DeviceDirectory, batches: list[TaggedBatch]) -> dict[str, float]:
    encoder = Encoder(directory)
    encoder.encode(_rows(batches[0]), START_MS)
    bodies: list[bytes] = []
    cpu_s = _cpu(lambda: bodies.extend(_encoded(encoder, batches)))
    count = sum(map(len, batches))
    packed: list[int] = []
    packing_s = _cpu(lambda: packed.extend(len(zlib.compress(body, 1)) for body in bodies[:20]))
    shown = BODY_ROWS * len(packed)
    return {
        "lines_per_cpu_s": count / cpu_s,
        "cpu_s_per_million_rows": cpu_s / count * 1e6,
        "bytes_per_row": sum(map(len, bodies)) / count,
        "gzip_bytes_per_row": sum(packed) / shown,
        "gzip_cpu_s_per_million_rows": packing_s / shown * 1e6,
    }


def _encoded(encoder: Encoder, batches: list[TaggedBatch]) -> Iterator[bytes]:
    for batch in batches:
        for body in encoder.encode(_rows(batch), START_MS)[0]:
            yield body.data


def _points(directory: DeviceDirectory, batch: TaggedBatch) -> dict[str, float]:
    """The same lines by the library's own objects, which must agree."""
    registry, count = directory.registry, 10_000
    # The library has types for some of its calls only.
    make: Any = library.Point
    texts: list[str] = []

    def build() -> None:
        columns = (batch.device, batch.quantity, batch.ts_ms, batch.value)
        listed = (column[:count].tolist() for column in columns)
        for device, quantity, ts_ms, value in zip(*listed, strict=True):
            grid = registry.grids[int(registry.devices.grid[device])].code
            point = (
                make("reading")
                .tag("community", grid[:12])
                .tag("device", directory.ids[device])
                .tag("family", directory.family_name(device))
                .tag("gateway", directory.gateways[int(directory.gateway[device])])
                .tag("grid", grid)
                .tag("street", grid[:9])
                .field(QUANTITIES[quantity].name, value)
                .time(ts_ms, write_precision="ms")
            )
            texts.append(point.to_line_protocol())

    cpu_s = _cpu(build)
    ours = b"".join(_encoded(Encoder(directory), [batch])).decode().splitlines()[:count]
    if ours != texts:
        raise ValueError("the lines differ from those of the client library")
    return {
        "point_lines_per_cpu_s": count / cpu_s,
        "point_cpu_s_per_million_rows": cpu_s / count * 1e6,
    }


def _cpu(step: Callable[[], object]) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


@dataclass(slots=True)
class _Server:
    url: str
    process: subprocess.Popen[bytes]
    data: Path

    def disk_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.data.rglob("*") if file.is_file())


@contextmanager
def _served(program: str, folder: Path, port: int) -> Iterator[_Server]:
    url = f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [
                program,
                f"-storageDataPath={folder / 'data'}",
                f"-httpListenAddr=127.0.0.1:{port}",
                "-retentionPeriod=100y",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not _answers(url + "/ping"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "server.log").read_text(errors="replace")[-2000:])
            time.sleep(0.05)
        yield _Server(url, process, folder / "data")
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30):  # noqa: S310 - of our own child.
            return True
    except (urllib.error.URLError, OSError):
        return False


def _store(
    program: str, directory: DeviceDirectory, batches: list[TaggedBatch]
) -> dict[str, float]:
    """All rows into the server as fast as it takes them; then once more with it away."""
    rows = sum(map(len, batches))
    with TemporaryDirectory(prefix="gridwarden-bench-") as name, socket.socket() as probe:
        folder = Path(name)
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        with _served(program, folder, port) as server:
            figures = _filled(server, folder / "a", directory, batches, rows)
        figures |= _away(program, folder, port, directory, batches)
    return figures


def _filled(
    server: _Server,
    folder: Path,
    directory: DeviceDirectory,
    batches: list[TaggedBatch],
    rows: int,
) -> dict[str, float]:
    store = _opened(folder, server.url)
    theirs, ours, start = usage(server.process.pid).cpu_s, time.process_time(), time.monotonic()
    for batch in batches:
        store.write(batch, directory)
        while store.state().handed_rows - store.state().stored_rows > 5 * STEP_ROWS:
            time.sleep(0.002)
    store.flush()
    _until(lambda: store.state().stored_rows == rows)
    took, cost = time.monotonic() - start, time.process_time() - ours
    theirs = usage(server.process.pid).cpu_s - theirs
    store.close()
    _answers(server.url + "/internal/force_flush")
    return {
        "stored_rows_per_s": rows / took,
        "store_cpu_s_per_million_rows": cost / rows * 1e6,
        "server_cpu_s_per_million_rows": theirs / rows * 1e6,
        "server_disk_bytes_per_row": server.disk_bytes() / rows,
    }


def _away(
    program: str,
    folder: Path,
    port: int,
    directory: DeviceDirectory,
    batches: list[TaggedBatch],
) -> dict[str, float]:
    part = batches[: max(1, 400_000 // STEP_ROWS)]
    rows = sum(map(len, part))
    store = _opened(folder / "b", f"http://127.0.0.1:{port}")
    start = time.monotonic()
    for batch in part:
        store.write(batch, directory)
        store.flush()
    spilled_s = time.monotonic() - start
    spilled = store.state()
    with _served(program, folder, port):
        start = time.monotonic()
        _until(lambda: store.state().spilled_rows == 0)
        drained_s = time.monotonic() - start
        lost = store.state().lost_rows
        store.close()
    return {
        "spill_rows_per_s": rows / spilled_s,
        "spill_bytes_per_row": spilled.spilled_bytes / spilled.spilled_rows,
        "drain_rows_per_s_with_waiting": rows / drained_s,
        "rows_lost": float(lost),
    }


def _opened(folder: Path, url: str) -> InfluxTelemetry:
    address = Address(url, "gridwarden")
    return InfluxTelemetry(folder, address, refused=lambda *_: None, jitter=lambda: 0.5)


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError("the store doesn't come to an end")
        time.sleep(0.005)
