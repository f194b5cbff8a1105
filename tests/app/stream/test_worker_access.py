"""A worker on a Kafka that wants TLS and a password."""

from __future__ import annotations

import asyncio
import json

import pytest

from app.stream import admin
from app.stream.settings import load
from contracts.log import LogRecord, RecordKind, encode_bundle
from tests.app.stream.cluster import Worker, _write
from tests.app.stream.test_bridge_access import KAFKA_PASSWORD, WRONG, Site, site
from tests.parts.guarded_broker import Authority
from tests.torture.processes import until

__all__ = ["site"]
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


def problems(worker: Worker) -> str:
    return str(json.loads(worker.get("/health")[1] or b"{}").get("problems"))


def test_a_worker_gets_in_with_what_is_right_and_tells_nothing(site: Site) -> None:
    site.bridge("right")
    site.bridge("wrong", kafka=WRONG)
    site.bridge("strange", ca=Authority(site.folder, "stranger").file)
    names = ("right", "wrong", "strange")
    settings = load(site.folder / "right.toml")
    workers = [Worker(f"w-{name}", site.folder, site.folder / f"{name}.toml") for name in names]
    mark = encode_bundle([LogRecord(RecordKind.MARK, 1_800_000_000_000, "", b"")])

    async def make() -> None:
        async with admin.admin(settings.kafka) as client:
            await admin.apply(client, settings.layout)
        await _write(settings, [(settings.layout.log.name, 0, None, mark)])

    asyncio.run(make())
    try:
        for worker in workers:
            worker.start()
        right, *others = workers
        until(lambda: len(right.partitions()) == 1, 90, "it has all partitions")
        until(lambda: right.partitions()[0]["offset"] >= 0, 60, "it decides")
        for other in others:
            until(lambda other=other: "kafka at" in problems(other), 60, "health names Kafka")  # type: ignore[misc]
        for worker in workers:
            for secret in (KAFKA_PASSWORD, WRONG):
                assert secret not in worker.log + worker.get("/health")[1].decode()
        assert right.stop() == 0, right.log
    finally:
        for worker in workers:
            worker.discard()
