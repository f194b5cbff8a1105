"""What was acknowledged survives kill -9 and power cuts."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts import pack
from ingest.log import SqliteLog
from tests.parts.crash_prefix import crashes, record

CHILD = [sys.executable, "-m", "tests.ingest.log.child_writer"]


def check(folder: Path, said: int) -> int:
    """Open, read all, append one; returns the last position there was."""
    log = SqliteLog(folder, segment_bytes=60_000)
    try:
        found = [one for part in log.read(log.first_position) for one in part]
        assert [one.position for one in found] == list(range(1, len(found) + 1))
        assert [pack.peek(one.payload)[1] for one in found] == list(range(1, len(found) + 1))
        assert log.last_position == len(found) >= said
        snapshot = log.load_snapshot()
        assert snapshot is None or snapshot.position <= log.last_position
        assert log.append(found[-1:] or []) == len(found) + 1 if found else True
        return len(found)
    finally:
        log.close()


@pytest.mark.parametrize(
    "rounds", [pytest.param(3, id="short"), pytest.param(60, marks=pytest.mark.torture, id="long")]
)
def test_kill_in_the_middle(tmp_path: Path, rounds: int) -> None:
    """Each round goes on with the log of the one before."""
    chance = random.Random(7)
    last = 0
    for _ in range(rounds):
        child = subprocess.Popen(
            [*CHILD, str(tmp_path), "100000", "20", "60000"], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(chance.randrange(1, 60))]
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        whole = [int(line) for line in lines if line.endswith(b"\n")]
        assert whole[-1] > last
        log = SqliteLog(tmp_path)
        found = [one for part in log.read(1) for one in part]
        assert [pack.peek(one.payload)[1] for one in found] == list(range(1, len(found) + 1))
        assert len(found) == log.last_position >= whole[-1]
        last = log.last_position
        log.close()


@pytest.mark.parametrize(
    ("commits", "per_commit"),
    [
        pytest.param(6, 4, id="short"),
        pytest.param(14, 20, marks=pytest.mark.torture, id="long"),
    ],
)
def test_power_cut_at_every_write(
    tmp_path: Path, require_tool: Callable[[str], str], commits: int, per_commit: int
) -> None:
    require_tool("strace")
    folder = tmp_path / "log"
    folder.mkdir()
    recording = record([*CHILD, str(folder), str(commits), str(per_commit), "40000"], folder)
    assert recording.status == 0
    assert len(list(folder.glob("log-*.db"))) > 1
    cuts = list(crashes(recording, modes=("all", "synced", "torn")))
    assert int(cuts[-1].said[-1]) == commits * per_commit
    lengths = set()
    for cut in cuts:
        said = int(cut.said[-1]) if cut.said else 0
        lengths.add(check(cut.build(tmp_path / "cut"), said))
    assert lengths == set(range(0, commits * per_commit + 1, per_commit))
