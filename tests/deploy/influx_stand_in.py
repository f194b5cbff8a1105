"""A stand-in for the `influx` command of InfluxDB 2, by the source of its version 2.7: what the
set-up calls, with the tables that it prints. What was made is kept in a folder.

    python influx_stand_in.py FOLDER bucket list --org gridwarden --name gridwarden ...
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(folder: Path, words: list[str]) -> int:
    """`words`: two or three that name the command, then options."""
    many = 3 if words[0] == "v1" else 2
    command, options = " ".join(words[:many]), options_of(words[many:])
    made = folder / command.split()[-2]
    made.mkdir(exist_ok=True)
    if command.endswith(" create"):
        return create(made, options)
    rows = [path.read_text() for path in sorted(made.iterdir())]
    name = options.get("--name") or options.get("--db")
    rows = [row for row in rows if name in (None, row.split("\t")[1])]
    if command == "bucket list" and not rows:
        print(f'Error: bucket "{name}" not found', file=sys.stderr)
        return 1
    print("".join(rows), end="")
    if command == "v1 dbrp list":
        print("\nVIRTUAL DBRP MAPPINGS (READ-ONLY)\n----------------------------------")
        print(f"0001\t{name}\t0002\tautogen\ttrue\ttrue\t0003")
    return 0


def options_of(words: list[str]) -> dict[str, str]:
    found = {}
    for at, word in enumerate(words):
        if word.startswith("-"):
            follows = words[at + 1 : at + 2]
            found[word] = follows[0] if follows and not follows[0].startswith("--") else ""
    return found


def create(made: Path, options: dict[str, str]) -> int:
    number = len(list(made.iterdir())) + 1
    if made.name == "task":
        name = Path(options["-f"])
        if not name.is_file():
            print(f'Error: failed to read query from "{name}"', file=sys.stderr)
            return 1
        (made.parent / "task.flux").write_text(name.read_text())
        cells = ["gridwarden_10m"]
    elif made.name == "dbrp":
        cells = [options["--db"], options["--bucket-id"], options["--rp"], "true", "false", "0003"]
    elif made.name == "auth":
        cells = [options["--description"], f"token-{number}", "admin"]
    else:
        cells = [options["--name"], options["--retention"]]
    row = "\t".join([f"{number:016x}", *cells]) + "\n"
    (made / str(number)).write_text(row)
    print(row, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
