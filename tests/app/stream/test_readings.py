"""Workers write readings to a store that dies, die themselves, and every reading is there."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.stream.readings import Readings
from app.stream.records import decode_letter
from app.stream.settings import load
from contracts import pack
from contracts.batch import TaggedBatch
from contracts.log import LogRecord, RecordKind
from tests.app.stream.cluster import Cluster, Worker, until
from tests.app.stream.test_worker import heads, said
from tests.app.stream.town import Cell, changed_rules, joined, rules
from tests.ingest.packs import T0
from tests.ingest.telemetry.influx.rows import town
from tests.parts.telemetry_servers import Influx1, VictoriaMetrics

PARTITIONS = 2


def sent(records: Iterable[LogRecord]) -> set[tuple[str, str, int, float]]:
    """(device, quantity, ts_ms, value) of all readings with a value; none without is sent twice."""
    found = set()
    for record in records:
        if record.kind is RecordKind.PACK:
            batch = pack.decode(record.payload).batch
            for device, _, quantity, ts_ms, value, _ in batch.rows():
                if not math.isnan(value):
                    found.add((device, quantity, ts_ms, value))
    return found


def stored(server: VictoriaMetrics) -> set[tuple[str, str, int, float]]:
    return {
        (labels["device"], labels["__name__"].removeprefix("reading_"), ts_ms, value)
        for labels, ts_ms, value in server.points()
    }


def telemetry(worker: Worker) -> dict[str, Any]:
    status, body = worker.get("/health")
    found: dict[str, Any] = json.loads(body)["telemetry"] if status else {}
    return found


@pytest.mark.kafka
def test_worker_and_store_die_and_every_reading_is_there(
    tmp_path: Path, kafka: str, topic_prefix: str, require_tool: Callable[[str], str]
) -> None:
    require_tool("victoria-metrics")
    cells = [Cell(number, T0) for number in range(PARTITIONS)]
    records = {cell.number: said(cell) for cell in cells}
    wanted = set.union(*(sent(listed) for listed in records.values()))
    assert len(wanted) > 2_000
    cluster = Cluster(tmp_path, kafka, topic_prefix, partitions=PARTITIONS, worker="marks = false")
    cluster.publish([rules(), changed_rules(), *(joined([cell]) for cell in cells)])
    with VictoriaMetrics(tmp_path / "victoria") as server:
        more = (
            f'\n[telemetry]\nstore = "influx"\n'
            f'[telemetry.influx]\nurl = "{server.url}"\nsettle_s = 30\n'
        )
        try:
            worker = cluster.add("one", more)
            for cell in cells:
                half = len(records[cell.number]) // 2
                cluster.put([(cell.number, [*heads([cell]), *records[cell.number][:half]])])
            cluster.finish()
            until(lambda: telemetry(worker).get("stored_rows", 0) > 0, 60, "rows are stored")
            server.kill()
            for cell in cells:
                half = len(records[cell.number]) // 2
                cluster.put([(cell.number, records[cell.number][half:])])
            until(lambda: telemetry(worker).get("spilled_rows", 0) > 0, 60, "rows wait on disk")
            assert "telemetry store: 127.0.0.1" in worker.get("/health")[1].decode()
            assert b"gridwarden_telemetry_store_up 0.0" in worker.get("/metrics")[1]
            worker.kill()
            cluster.add("one")
            cluster.finish()
            server.start()
            until(lambda: telemetry(worker).get("spilled_rows") == 0, 60, "the disk is worked off")
            assert b"gridwarden_telemetry_store_up 1.0" in worker.get("/metrics")[1]
            assert telemetry(worker)["lost_rows"] == telemetry(worker)["refused_rows"] == 0
            assert worker.stop() == 0, worker.log
        finally:
            cluster.discard()
        assert wanted - stored(server) == set()


class Box:
    """Takes records as Kafka would."""

    def __init__(self) -> None:
        self.records: list[tuple[str, int, bytes | None, bytes | None]] = []

    async def send(self, records: Sequence[tuple[str, int, bytes | None, bytes | None]]) -> None:
        await asyncio.sleep(0)
        self.records += records


def test_a_refused_line_is_in_letters_when_flush_returns(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("influxd")
    with Influx1(tmp_path / "influx1") as server:
        config = tmp_path / "stream.toml"
        config.write_text(
            f'data = "data"\n[telemetry]\nstore = "influx"\n'
            f'[telemetry.influx]\nurl = "{server.url}"\nversion = 1\n'
        )
        settings, box = load(config), Box()

        async def write() -> None:
            readings = Readings(settings, box, clock=lambda: T0)
            assert readings.store is not None
            rows = [(0, "flow", T0, 1.0), (0, "flow", T0 + 1, math.inf)]
            readings.store.write(TaggedBatch.of(rows, heard_ms=T0), town())
            await asyncio.to_thread(readings.flush)
            assert len(box.records) == 1
            await readings.close()

        asyncio.run(write())
        assert [point[-1] for point in server.points()] == [1.0]
    topic, partition, key, value = box.records[0]
    assert (topic, partition, key) == (settings.layout.letters.name, 0, b"telemetry")
    letter = decode_letter(value or b"")
    assert (letter.by, letter.reason, letter.at_ms) == ("worker", "store_refused", T0)
    assert letter.payload.startswith(b"d0 flow=inf")


def test_without_a_section_there_is_no_store(tmp_path: Path) -> None:
    async def look() -> None:
        readings = Readings(load(None), Box(), clock=lambda: T0)
        assert readings.store is None
        await asyncio.to_thread(readings.flush)
        await readings.close()

    asyncio.run(look())
