"""Put the recorded figures into the tables of docs/performance.md, and docs/capacity.md anew.

    gridwarden bench NAME --out benchmarks/results/NAME.json
    python benchmarks/refresh_page.py

Only values change; what the page says about them is for a person to read again.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
CAPACITY = ROOT / "docs" / "capacity.md"
BLOCK = re.compile(r"^```console\n\$ (?P<command>gridwarden .*)\n(?:.*\n)*?```\n", re.MULTILINE)
ROW = re.compile(r"^\| `(?P<bench>\w+)\.(?P<figure>\w+)` \| [^|]* \|", re.MULTILINE)


def main() -> int:
    figures: dict[str, dict[str, float]] = {}
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        figures[path.stem] = json.loads(path.read_text(encoding="utf-8"))["figures"]

    def row(found: re.Match[str]) -> str:
        bench, figure = found["bench"], found["figure"]
        if figure not in figures.get(bench, {}):
            raise SystemExit(f"{PAGE}: {bench}.{figure} isn't in benchmarks/results/{bench}.json")
        return f"| `{bench}.{figure}` | {figures[bench][figure]:.4g} |"

    PAGE.write_text(ROW.sub(row, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    CAPACITY.write_text(BLOCK.sub(computed, CAPACITY.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def computed(found: re.Match[str]) -> str:
    """A block of the page: the command, and what it says now."""
    words = found["command"].split()
    done = subprocess.run(
        [sys.executable, "-m", "app", *words[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return f"```console\n$ {found['command']}\n{done.stdout.rstrip()}\n```\n"


if __name__ == "__main__":
    sys.exit(main())
