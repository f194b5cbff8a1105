"""One dumped log, or a folder of them: pieces of one log, each of which goes on where another ends.

Pieces may overlap (a dump a week, each of the last ten days): a record that was there is passed
over. A hole between two of them is refused: what was in force, and what was running, would be lost
in it. So are dumps of two logs: the same position, accepted at another time.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

from contracts.log import LogRecord
from ingest.log.dump import DUMP_MAGIC, Dump, read_dump


class DumpsError(Exception):
    """Dumps that don't make one log; the text names the files and the mend."""


class Dumps:
    """contents: hash -> bytes of rule sets and registries that any of them brought along."""

    def __init__(self, paths: list[Path]) -> None:
        """Raises `DumpError`, `DumpsError`, `OSError`."""
        self.contents: dict[str, bytes] = {}
        begins: list[tuple[int, Path]] = []
        for path in paths:
            with read_dump(path) as dump:
                self.contents |= dump.contents
                first = _first_position(dump)
            if first is not None:
                begins.append((first, path))
        self.paths = [path for _, path in sorted(begins)]
        if paths and not self.paths:
            self.paths = paths[:1]

    def bundles(self) -> Iterator[list[LogRecord]]:
        """Control records of before, then all in order. Raises `DumpError`, `DumpsError`."""
        whole = _Whole()
        for number, path in enumerate(self.paths):
            with read_dump(path) as dump:
                before = len(dump.installed)
                bundles = dump.bundles()
                if before:
                    installed = next(bundles)
                    if number == 0:
                        yield installed
                for bundle in bundles:
                    fresh = whole.fresh(path, bundle)
                    if fresh:
                        yield fresh


class _Whole:
    """What has been read of the log: when each record was accepted, to compare what overlaps."""

    def __init__(self) -> None:
        self._accepted = array("q")
        self._first = self._next = 0
        self._path: Path | None = None

    def fresh(self, path: Path, bundle: list[LogRecord]) -> list[LogRecord]:
        if self._path is None:
            self._first = self._next = bundle[0].position
        if bundle[0].position > self._next:
            raise DumpsError(
                f"{path}: begins at position {bundle[0].position}, {self._path} ends at "
                f"{self._next - 1}; dump what is missing between them, or name one of them alone"
            )
        known = [record for record in bundle if record.position < self._next]
        for record in known:
            if self._accepted[record.position - self._first] != record.accepted_ms:
                raise DumpsError(
                    f"{path}: position {record.position} is another record in {self._path}; "
                    "they are dumps of two logs: name one of them alone"
                )
        fresh = bundle[len(known) :]
        self._accepted.extend(record.accepted_ms for record in fresh)
        self._next += len(fresh)
        self._path = path
        return fresh


def _first_position(dump: Dump) -> int | None:
    bundles = dump.bundles()
    if dump.installed:
        next(bundles)
    bundle = next(bundles, None)
    return None if bundle is None else bundle[0].position


def dumps_in(folder: Path) -> list[Path]:
    """The files of a folder that begin as dumps do, by name. Raises `OSError`."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.endswith(".part"):
            with path.open("rb") as handle:
                if handle.read(len(DUMP_MAGIC)) == DUMP_MAGIC:
                    found.append(path)
    return found
