"""Child processes that end with this one, also when it is killed and can't say goodbye.

An orphan would hold the broker's port or the outbox, and the next start would fail on it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# The kernel's parent-death signal lasts over exec. It is asked for in the child itself, since
# Python can't safely run code between fork and exec when there are threads.
_FOLLOW = (
    "import ctypes, os, signal, sys\n"
    "PR_SET_PDEATHSIG = 1\n"
    "ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)\n"
    "if os.getppid() != int(sys.argv[1]):\n"
    "    sys.exit('the parent is gone')\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)


def start_child(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start `command` with its output appended to `log`, in a session of its own, so that a
    terminal's Ctrl-C reaches only us. Call it from a thread that lives as long as the process:
    the child gets SIGTERM when that thread ends. Other systems than Linux lack that."""
    if sys.platform == "linux":
        command = [sys.executable, "-I", "-S", "-c", _FOLLOW, str(os.getpid()), *command]
    with log.open("ab") as out:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
