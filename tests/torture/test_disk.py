"""Disks that run full while the parts work: alarms first, every loss told, nothing forgotten."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from contracts import pack
from contracts.log import RecordKind
from contracts.messages import GatewayStatus
from tests.torture import results
from tests.torture.account import changes, compare, gaps, logged, records, replayed
from tests.torture.district import FIRE_RULE, head, record
from tests.torture.packs import Gateway, fire, now_ms, send
from tests.torture.processes import until
from tests.torture.proxy import Proxy
from tests.torture.scene import scene

MIB = 1 << 20

pytestmark = pytest.mark.broker


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Call it with a size in bytes: gives a folder on a disk of that size."""
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"a small disk needs root and mount: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_the_outbox_runs_full(tmp_path: Path, small_disk: Callable[[int], Path]) -> None:
    """The link is down, the disk full: the oldest readings go, a tombstone tells, alarms stay."""
    disk = small_disk(18 * MIB)
    with scene(tmp_path, ("gw-1",)) as there:
        proxy = Proxy(there.broker.port)
        there.stack.callback(proxy.close)
        proxy.cut()
        start_ms = now_ms() - 240_000
        made = record(tmp_path, "gw-1", start_ms=start_ms, seconds=220, seed=3)
        agent = there.agent(
            "gw-1", made.path, broker_port=proxy.port, speed=0, path=disk / "outbox.db",
            outbox="limit_mib = 64\nfree_mib = 0\nballast_mib = 8", pack="rows = 100",
        )  # fmt: skip
        until(lambda: "source ended" in agent.log, 60, "the recording is read")
        until(lambda: "disk full=True" in agent.log, 30, "the agent notices")
        proxy.mend()
        until(lambda: agent.finished, 120, "the agent is drained")
        until(lambda: len(there.receiver.raised(FIRE_RULE)) >= len(made.fires), 60, "the fires")
        until(there.server.drained, 30, "the server is drained")
        assert there.server.stop() == 0
        account = compare(made.parts, logged(there.server.data))
        ledger = gaps(there.server.data, "gw-1")
        statuses = [
            msgspec.json.decode(one.payload, type=GatewayStatus)
            for one in records(there.server.data)
            if one.kind is RecordKind.STATUS
        ]
        print(account)
        assert account.lost > 0, "the disk was big enough"
        assert (account.strange, account.doubled) == (0, 0)
        assert ledger["open"] == []
        # Ranges without readings are tombstones that were folded into a later one. A birth may
        # tell of a range before its tombstone does; then how many readings is not known.
        packs = [loss for loss in ledger["lost"] if loss["readings"] != 0]
        told = sum(loss["readings"] or 0 for loss in packs)
        gone = sum(loss["last"] - loss["first"] + 1 for loss in ledger["lost"])
        last = max(statuses, key=lambda status: status.wall_ms)
        (boot,) = last.boots
        headers = [
            pack.decode(one.payload).header
            for one in records(there.server.data)
            if one.kind is RecordKind.PACK
        ]
        arrived = {header.seq: header.tombstone for header in headers}
        print(last, ledger["lost"], sep="\n")
        if all(loss["readings"] for loss in packs):
            assert told == account.lost
        # Every sequence that was used is in the log or named as lost, and none is both.
        assert gone + len(arrived) == boot.next - 1
        # A tombstone has a sequence of its own. One that is folded into the next before it is sent
        # is gone like the packs that it told of, and where eviction has passed it, its sequence
        # lies in the middle of their range (`edge.tombstones.merge`). So they are counted too.
        assert gone == last.evicted_packs + last.tombstones - sum(arrived.values())
        assert 0 < told <= account.lost
        rung = {event["data"]["device"] for event in there.receiver.raised(FIRE_RULE)}
        assert rung == made.fires.keys(), "alarms outlive everything else"
        assert any(status.disk_full for status in statuses)
        assert any(status.evicted_packs for status in statuses)
        again, _ = replayed(there.server.data, tmp_path)
        assert again == changes(there.receiver.events())


def fill(disk: Path, left: int) -> Path:
    """Take all of a disk's room but `left` bytes."""
    facts = os.statvfs(disk)
    path = disk / "somebody-elses"
    with path.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, facts.f_bavail * facts.f_frsize - left)
    return path


@pytest.mark.parametrize(
    "seconds", [6, pytest.param(60, marks=pytest.mark.torture)], ids=["short", "long"]
)
def test_the_log_runs_full(tmp_path: Path, small_disk: Callable[[int], Path], seconds: int) -> None:
    """The server has no room: it takes nothing that it can't keep, and says so; a fire is told
    all the same; with room again everything that waited comes in."""
    disk = small_disk(96 * MIB)
    retention = f"min_free_bytes = {4 * MIB}\nreserve_bytes = {4 * MIB}"
    with scene(tmp_path, ("gw-1", "gw-2"), data=disk / "data", retention=retention) as there:
        server, receiver = there.server, there.receiver

        def full() -> bool:
            health = server.health()
            return not health["ready"] and any("disk" in said for said in health["problems"])

        made = record(tmp_path, "gw-1", start_ms=now_ms(), seconds=seconds, seed=5, fires=0)
        agent = there.agent("gw-1", made.path)
        until(lambda: server.metric("gridwarden_readings_total", outcome="accepted") > 0, 30, "in")
        filler = fill(disk, 256 << 10)
        until(full, 60, "/health says that the disk is full")
        send(there.broker.port, [Gateway("gw-2").pack([fire(head("gw-2", 0), now_ms())])])
        until(lambda: receiver.raised(FIRE_RULE, head("gw-2", 0)), 60, "the fire is told")
        # It stays full for as long as the recording goes on.
        time.sleep(max(0.0, made.parts[-1].ts_ms.max() / 1000 - time.time()))
        assert not agent.finished, "what isn't in the log was confirmed"
        assert full(), server.health()["problems"]
        assert server.metric("gridwarden_messages_total", outcome="turned_back") > 0
        filler.unlink()
        until(lambda: agent.finished, 120, "the agent is drained")
        until(lambda: server.health()["ok"], 60, "/health is well again")
        until(server.drained, 30, "the server is drained")
        assert server.stop() == 0
        account = compare(made.parts, logged(server.data, "gw-1"))
        assert (account.lost, account.strange, account.doubled) == (0, 0, 0), account
        again, _ = replayed(server.data, tmp_path)
        assert again == changes(receiver.events())
        if seconds > 6:
            results.keep("log_full", {"seconds": seconds, "readings": account.found, "lost": 0})
