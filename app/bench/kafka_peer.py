"""Quix Streams beside a worker, for `bench kafka`: the same packs on the same broker."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaProducer

from app.bench.kafka_site import PACK_READINGS
from app.bench.rig import RigError
from contracts.log import LogRecord, encode_bundle
from contracts.pack import decode


def peer(bootstrap: str, folder: Path, packs: Sequence[LogRecord]) -> dict[str, float]:
    """As single readings in JSON, and as our bundles. folder: for its state. Raises `RigError`."""
    name = f"quix-{os.getpid()}"
    figures = {}
    for kind, records in (
        ("readings", [row for pack in packs for row in _rows(pack)]),
        ("packs", [(pack.source.encode(), encode_bundle([pack])) for pack in packs]),
    ):
        asyncio.run(_send(bootstrap, f"{name}-{kind}", records))
        spent = _quix(bootstrap, folder, f"{name}-{kind}", kind, len(records))
        total = len(packs) * PACK_READINGS
        label = "quix_" if kind == "readings" else "quix_packs_"
        figures[f"{label}readings_per_cpu_s"] = total / spent["cpu_s"]
        figures[f"{label}readings_per_s"] = total / spent["wall_s"]
    return figures


def _quix(bootstrap: str, folder: Path, topic: str, kind: str, count: int) -> dict[str, float]:
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "app.bench.quix_flow"),
            *(bootstrap, topic, topic, kind, str(count)),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    if done.returncode:
        raise RigError(f"quix: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _rows(pack: LogRecord) -> Iterator[tuple[bytes, bytes]]:
    for device, _, quantity, ts_ms, value, _ in decode(pack.payload).batch.rows():
        body = {"d": device, "q": quantity, "ts": ts_ms, "v": value}
        yield device.encode(), msgspec.json.encode(body)


async def _send(bootstrap: str, topic: str, records: list[tuple[bytes, bytes]]) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=8 << 20) as producer:
        sent = []
        for key, value in records:
            sent.append(await producer.send(topic, value, key=key))
            if len(sent) >= 5_000:
                await asyncio.gather(*sent)
                sent.clear()
        await asyncio.gather(*sent)
