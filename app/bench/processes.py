"""Other processes as a benchmark sees them: CPU seconds and resident memory, from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """cpu_s: user and system seconds so far. rss_mb: resident now. peak_mb: the most so far."""

    cpu_s: float
    rss_mb: float
    peak_mb: float


def usage(pid: int) -> Usage:
    """Raises `ProcessLookupError` when the process is gone."""
    folder = Path("/proc") / str(pid)
    try:
        fields = (folder / "stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        status = (folder / "status").read_text(encoding="ascii")
    except FileNotFoundError as error:
        raise ProcessLookupError(pid) from error
    sizes = {
        line.split(":")[0]: int(line.split()[1])
        for line in status.splitlines()
        if line.startswith(("VmRSS", "VmHWM"))
    }
    return Usage(
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICK,
        rss_mb=sizes.get("VmRSS", 0) / 1024,
        peak_mb=sizes.get("VmHWM", 0) / 1024,
    )
