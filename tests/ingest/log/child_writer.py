"""A child process that appends packs to a log and says each commit's last position, until killed
or done: `python -m tests.ingest.log.child_writer FOLDER COMMITS PER_COMMIT SEGMENT_BYTES`."""

import os
import sys
from pathlib import Path

from ingest.log import SqliteLog
from tests.ingest.packs import T0, record


def main() -> None:
    folder, commits, per_commit, segment_bytes = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    log = SqliteLog(folder, segment_bytes=segment_bytes)
    for n in range(commits):
        start = log.last_position
        log.append([record(start + i + 1, T0 + n) for i in range(per_commit)])
        # One write call: a line counts as said only when it left this process.
        os.write(1, f"{log.last_position}\n".encode())
        if n % 4 == 3:
            log.save_snapshot(log.last_position, {"a": b"x" * 100, "b": bytes(n)})
    log.close()


if __name__ == "__main__":
    main()
