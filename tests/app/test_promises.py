"""Nothing is acknowledged or confirmed before it would survive a power cut."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from contracts import pack
from contracts.log import RecordKind
from ingest.log import SqliteLog
from tests.parts.crash_prefix import crashes, record

GROUPS, PACKS = 4, 3
CHILD = [sys.executable, "-m", "tests.app.child_acceptance"]


def kept(folder: Path) -> set[int]:
    """Sequences in the log."""
    log = SqliteLog(folder)
    try:
        return {
            pack.peek(one.payload)[1]
            for part in log.read(log.first_position)
            for one in part
            if one.kind is RecordKind.PACK
        }
    finally:
        log.close()


def promised(said: Sequence[str]) -> set[int]:
    return {int(seq) for line in said for seq in line.split()[1:]}


def test_a_power_cut_at_any_write_takes_nothing_that_was_promised(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("strace")
    folder = tmp_path / "data"
    (folder / "log").mkdir(parents=True)
    recording = record([*CHILD, str(folder), str(GROUPS), str(PACKS)], folder / "log")
    assert recording.status == 0
    everything = set(range(1, GROUPS * PACKS + 1))
    sizes = set()
    for cut in crashes(recording, ("synced", "all")):
        found = kept(cut.build(tmp_path / "cut"))
        missing = promised(cut.said) - found
        assert not missing, f"promised and gone: {missing} ({cut.mode}, event {cut.n})"
        sizes.add(len(found))
    for what in ("ack", "confirm"):
        assert promised([line for line in cut.said if line.startswith(what)]) == everything
    # The cuts lay between the commits too, not only before and behind all of them.
    assert sizes == set(range(0, GROUPS * PACKS + 1, PACKS))
