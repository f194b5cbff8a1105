"""Mutated packs and messages in a flood, beside a healthy gateway: each is counted and kept with a
reason, nobody crashes and nobody waits."""

from __future__ import annotations

import json
import random
import re
import struct
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.bench.wire import WireSender
from contracts import topics
from contracts.log import RecordKind
from tests.contracts.test_hostile import hurt_json, mutated
from tests.torture import results
from tests.torture.account import changes, compare, logged, records, replayed
from tests.torture.district import FIRE_RULE, GRID, record
from tests.torture.packs import Gateway, now_ms
from tests.torture.processes import gridwarden, until
from tests.torture.scene import scene

STALL_MS = 20_000
"""A fire of the healthy gateway that takes longer than this waited for the flood to end."""
EVIL = ("evil-1", "evil-2", "evil-3")

pytestmark = pytest.mark.broker


def sealed(data: bytes) -> bytes:
    """With a right checksum and length, so that what lies behind them is judged."""
    if len(data) < 24:
        return data
    head = data[:8] + struct.pack("<I", len(data))
    crc = zlib.crc32(data[16:], zlib.crc32(head))
    return head + struct.pack("<I", crc) + data[16:]


def flood(count: int, seed: int) -> Iterator[tuple[bytes, bytes]]:
    """(topic, payload): hurt packs, statuses, JSON and SenML, on right and on wrong topics."""
    chance = random.Random(seed)
    gateways = [Gateway(name) for name in EVIL]
    now = now_ms()
    status = {"type": "heartbeat", "gateway": EVIL[0], "boot": f"{1 << 32 | 7:016x}",
              "wall_ms": now, "mono_ms": 5, "boots": []}  # fmt: skip
    senml = [{"bn": "evil-dev", "bt": now / 1000, "n": "static_pressure", "u": "MPa", "v": 0.3}]
    for number in range(count):
        kind = chance.randrange(4)
        if kind <= 1:
            gateway = chance.choice(gateways)
            rows = [
                (f"evil-{n}", "firewater", "static_pressure", now + number, 0.3, 0)
                for n in range(chance.randrange(1, 8))
            ]
            topic, data = gateway.pack(rows)
            data = mutated(data, chance)
            data = sealed(data) if chance.random() < 0.5 else data
        elif kind == 2:
            device = f"evil-{chance.randrange(9)}"
            topic = topics.foreign(GRID, "firewater", device).encode()
            message = {"deviceId": device, "family": "firewater", "ts": now + number,
                       "metrics": {"static_pressure": 0.3, "temperature": 20}}  # fmt: skip
            source = senml if chance.random() < 0.3 else message
            data = hurt_json(json.dumps(source).encode(), chance)
        else:
            topic = topics.state(EVIL[0]).encode()
            data = hurt_json(json.dumps(status).encode(), chance)
        yield _misled(topic, chance), data


def _misled(topic: bytes, chance: random.Random) -> bytes:
    """One in ten comes on a topic that nobody should use, yet that ingest listens to."""
    if chance.random() >= 0.1:
        return topic
    return chance.choice(
        [
            b"gw/v1/evil 1/pack",
            b"gw/v1/" + b"e" * 90 + b"/pack",
            "gw/v1/网关/state".encode(),
            b"grid/v1/a/b/c/d/firewater/ev il/tele",
            b"grid/v1/340111/002/001/001/dragons/evil-1/evt",
            b"gw/v1/evil-2/state",
            b"gw/v1/evil-3/pack",
        ]
    )


def weather(folder: Path, count: int, seconds: float) -> dict[str, float]:
    retention = f"min_free_bytes = 0\nreserve_bytes = 1048576\nquarantine_rows = {count * 10}"
    with scene(folder, ("gw-1",), lasting=False, retention=retention) as there:
        server, receiver = there.server, there.receiver
        made = record(folder, "gw-1", start_ms=now_ms() + 1_500, seconds=seconds, seed=11, pumps=20)
        agent = there.agent("gw-1", made.path)
        sender = WireSender("127.0.0.1", there.broker.port, "flood")
        began = time.monotonic()
        sender.send_all(flood(count, 20_260_301), began + 600)
        sender.settle(120)
        sender.close()
        flooded_s = time.monotonic() - began
        until(lambda: agent.finished, 120, "the healthy agent is drained")
        until(lambda: len(receiver.raised(FIRE_RULE)) >= len(made.fires), 60, "its fires are told")

        def outcomes() -> dict[str, float]:
            names = ("accepted", "duplicate", "refused")
            return {n: server.metric("gridwarden_messages_total", outcome=n) for n in names}

        # The agent tells at its end how often it sent a pack; its statuses are all in the log.
        (sent,) = re.findall(r"agent stopped .* sent_packs=(\d+)", agent.log)

        def healthy() -> int:
            mine = [r for r in records(server.data) if r.source == "gw-1"]
            return int(sent) + sum(r.kind is RecordKind.STATUS for r in mine)

        def taken() -> bool:
            return sum(outcomes().values()) >= count + healthy()

        until(taken, 120, "every message is counted")
        until(server.drained, 60, "the server is drained")
        server.fail_if_ended()
        counted, rejected = outcomes(), server.metric("gridwarden_rejected_total")
        by_metric = {
            reason: server.metric("gridwarden_rejected_total", reason=reason)
            for reason in ("bad_json", "bad_checksum", "bad_topic", "truncated")
        }
        assert server.stop() == 0
        receiver.finish()
        listed = json.loads(
            gridwarden("quarantine", "list", "--data", server.data, "--json", "--limit", "100")
        )
        kept = [
            one
            for one in records(server.data)
            if one.kind not in (RecordKind.MARK, RecordKind.INSTALLED)
        ]
        print(counted, rejected, listed["by_reason"], healthy(), f"{flooded_s:.1f} s")
        assert sender.sent == count
        # Messages in = accepted + duplicates + refused, and the accepted ones are in the log.
        assert sum(counted.values()) == count + healthy()
        assert counted["accepted"] == len(kept)
        # Every refusal, of a message or of a row in one, is kept with its reason.
        assert listed["shed"] == 0
        assert listed["kept"] == sum(listed["by_reason"].values()) == rejected
        assert rejected >= counted["refused"] > count / 4
        for reason, number in by_metric.items():
            assert number == listed["by_reason"].get(reason, 0), reason
        assert "" not in listed["by_reason"]
        account = compare(made.parts, logged(server.data, "gw-1"))
        assert (account.lost, account.strange, account.doubled) == (0, 0, 0), account
        fires = receiver.raised(FIRE_RULE)
        assert Counter(e["data"]["device"] for e in fires) == Counter(made.fires.keys())
        late_ms = [e["received_ms"] - made.fires[e["data"]["device"]] for e in fires]
        assert max(late_ms) < STALL_MS, "the flood stalled the healthy gateway"
        again, _ = replayed(server.data, folder)
        assert again == changes(receiver.events())
        return {
            "messages": count,
            "flood_s": flooded_s,
            **{f"messages_{name}": n for name, n in counted.items()},
            "letters_kept": listed["kept"],
            "healthy_alert_ms_most": max(late_ms),
        }


def test_bad_input_in_a_flood(tmp_path: Path) -> None:
    weather(tmp_path, 8_000, 4)


@pytest.mark.torture
def test_100_000_bad_inputs(tmp_path: Path) -> None:
    results.keep("bad_input", weather(tmp_path, 100_000, 40))
