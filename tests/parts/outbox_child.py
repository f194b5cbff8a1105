"""A child process that fills an outbox and says what was accepted, to be killed or recorded.

    python -m tests.parts.outbox_child FOLDER COMMITS [--limit-file BYTES] [--checkpoint PAGES]

Lines: `confirming SEQ` before a confirm is handed in; `accepted BOOT SEQ KIND` and `cursor N` when
the write has returned; `stuck` when the disk didn't take it. Each pack's first value is its number
over all lives, which is also the cursor.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import resource
from pathlib import Path

from contracts.messages import BootConfirm
from contracts.pack import boot_text
from edge.graveyard import Stamp
from edge.intake import Bookmark
from edge.outbox import Outbox, OutboxLimits, Work
from edge.outbox_file import OutboxStuck
from tests.parts.readings import closed

LIMITS = OutboxLimits(bytes=40_000, free_bytes=0, ballast_bytes=131_072)


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("commits", type=int)
    parser.add_argument("--limit-file", type=int, default=0)
    parser.add_argument("--checkpoint", type=int, default=0)
    args = parser.parse_args()
    outbox = Outbox(args.folder / "outbox.db", ["gw"], LIMITS)
    if args.checkpoint:
        outbox._db.execute(f"PRAGMA wal_autocheckpoint = {args.checkpoint}")
    if args.limit_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (args.limit_file, resource.RLIM_INFINITY))
    fill(outbox, args.commits)


def fill(outbox: Outbox, commits: int) -> None:
    pick = random.Random(outbox.boot)
    done = int(outbox.bookmark("test").cursor or b"0")
    rounds = range(commits) if commits else itertools.count()
    for _ in rounds:
        count = pick.randint(1, 6)
        alarms = [pick.random() < 0.2 for _ in range(count)]
        packs = [closed(10, first=done + n, alarm=alarm) for n, alarm in enumerate(alarms, start=1)]
        upto = max(0, outbox.next_seq(0) - pick.randint(1, 60))
        if upto:
            say(f"confirming {upto}")
        work = Work(
            closed=packs,
            bookmark=Bookmark(str(done + count).encode(), (0,)),
            source="test",
            confirms=[(0, BootConfirm(boot=boot_text(outbox.boot), upto=upto))],
        )
        try:
            seqs = outbox.write(work).seqs
        except OutboxStuck:
            say("stuck")
            relieve(outbox)
            continue
        for seq, alarm in zip(seqs, alarms, strict=True):
            say(f"accepted {outbox.boot} {seq} {'alarm' if alarm else 'data'}")
        done += count
        say(f"cursor {done}")


def relieve(outbox: Outbox) -> None:
    # The limit is per file, so giving up the ballast is played by raising it by the same size.
    limit, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    if Path(f"{outbox.path}.ballast").exists() and limit != most:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit + LIMITS.ballast_bytes, most))
    outbox.give_up_ballast()
    try:
        outbox.relieve(8192, Stamp(1, 1), for_alarms=True)
    except OutboxStuck:
        say("stuck")


if __name__ == "__main__":
    main()
