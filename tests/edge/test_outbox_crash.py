"""What was accepted survives kill -9, a power cut at every write, and a disk that takes no more."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from contracts.pack import decode
from edge.outbox import Outbox, OutboxLimits
from edge.pack_table import Kind
from edge.shelf import FIRST, Shelf
from tests.parts.crash_prefix import Said, crashes, record
from tests.parts.tools import ROOT

LIMITS = OutboxLimits(bytes=1 << 30, free_bytes=0, ballast_bytes=0)
KILLS = 8


def command(folder: Path, commits: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "tests.parts.outbox_child", str(folder), str(commits), *options]


@dataclass
class Told:
    """What a child has said: accepted (boot, seq), up to where it handed in confirms."""

    accepted: set[tuple[int, int]] = field(default_factory=set)
    confirming: dict[int, int] = field(default_factory=dict)
    cursor: int = 0
    boot: int = 0
    stuck: int = 0

    def hear(self, lines: Iterable[str]) -> Told:
        pending = 0
        for line in lines:
            word, *rest = line.split()
            if word == "accepted":
                self.boot = int(rest[0])
                self.accepted.add((self.boot, int(rest[1])))
                self.confirming[self.boot] = max(self.confirming.get(self.boot, 0), pending)
            elif word == "confirming":
                pending = int(rest[0])
                if self.boot:
                    self.confirming[self.boot] = max(self.confirming.get(self.boot, 0), pending)
            elif word == "cursor":
                self.cursor = int(rest[0])
            elif word == "stuck":
                self.stuck += 1
        return self


def check(folder: Path, told: Told) -> None:
    """Everything said is there, or was confirmed, or a tombstone tells of it."""
    outbox = Outbox(folder / "outbox.db", ["gw"], LIMITS)
    try:
        assert outbox.moved is None
        shelf = Shelf(outbox.path, [outbox.id_of(0)])
        rows = [
            (kind, boot, seq, decode(data))
            for kind in Kind
            for boot, seq, data in shelf.after(0, kind, FIRST, 10**6)
        ]
        shelf.close()
        held = {(boot, seq) for _, boot, seq, _ in rows}
        gone = {
            (row.boot, seq)
            for *_, pack in rows
            for row in pack.evicted
            for seq in range(row.first, row.last + 1)
        }
        gone |= {
            (row.boot, seq)
            for row in outbox._table.counts.remembered.get(0, ())
            for seq in range(row.first, row.last + 1)
        }
        missing = {
            key for key in told.accepted - held - gone if key[1] > told.confirming.get(key[0], 0)
        }
        assert not missing, sorted(missing)[:5]
        cursor = int(outbox.bookmark("test").cursor or b"0")
        assert cursor >= told.cursor
        newest = max((int(p.batch.value[0]) for *_, p in rows if len(p.batch)), default=0)
        assert newest <= cursor
    finally:
        outbox.close()


def test_nothing_accepted_is_lost_by_kill_9(tmp_path: Path) -> None:
    told = Told()
    pick = random.Random(7)
    for life in range(KILLS):
        with subprocess.Popen(command(tmp_path, 0), stdout=subprocess.PIPE, cwd=ROOT) as child:
            assert child.stdout is not None
            head = [child.stdout.readline() for _ in range(pick.randint(1, 40))]
            time.sleep(pick.random() / 50)
            child.send_signal(signal.SIGKILL)
            lines = b"".join([*head, child.stdout.read()]).decode().splitlines(keepends=True)
        told.hear(line for line in lines if line.endswith("\n"))
        assert len(told.accepted) > life
        check(tmp_path, told)


@pytest.mark.timeout(300)
def test_nothing_accepted_is_lost_by_a_power_cut_at_any_write(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("strace")
    folder = tmp_path / "outbox"
    folder.mkdir()
    os.chdir(ROOT)
    recording = record(command(folder, 14, "--checkpoint", "8"), folder)
    assert recording.status == 0
    assert sum(isinstance(event, Said) for event in recording.events) > 28
    points = 0
    # What is rebuilt needs no syncs of its own: in memory where there is such a folder.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as rebuilt:
        for crash in crashes(recording, ("all", "torn", "synced")):
            check(crash.build(Path(rebuilt) / "outbox"), Told().hear(crash.said))
            points += 1
    assert points > 200


def test_a_full_disk_loses_nothing_and_the_agent_goes_on(tmp_path: Path) -> None:
    subprocess.run(command(tmp_path, 30), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    size = (tmp_path / "outbox.db").stat().st_size
    # No file may grow beyond what the outbox has now: writes fail like on a full disk.
    done = subprocess.run(
        command(tmp_path, 60, "--limit-file", str(size), "--checkpoint", "8"),
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    told = Told().hear(done.stdout.splitlines())
    check(tmp_path, told)
    assert told.stuck
    assert done.stdout.splitlines()[-1].startswith("cursor")
