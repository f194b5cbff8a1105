"""Power cuts by replaying a child's writes: what the disk would hold if they had stopped at n.

`record` runs a child under strace and gives every write, cut, sync and removal below a folder in
the order in which they were done, with the lines that the child wrote to its standard output
among them. `crashes` rebuilds the folder at each point of that sequence, in three ways:

* `all`: every write up to here reached the disk;
* `torn`: the same, and the last write only by half;
* `synced`: of each file only what its own last sync had covered.

A line counts as said when its write began and a file operation as done when it returned, so that
a test that asks "is everything there that was said?" errs on the strict side.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.parts.tools import find_tool

CALLS = (
    "open,openat,creat,pwrite64,write,writev,pwritev,fdatasync,fsync,ftruncate,truncate,"
    "unlink,unlinkat,rename,renameat,renameat2"
)
UNFOLLOWED = {"writev", "pwritev", "truncate", "creat"}
IGNORED = "-shm"
"""SQLite's shared memory is rebuilt from the write-ahead log; it is mapped, so no call shows it."""

Mode = Literal["all", "torn", "synced"]


@dataclass(frozen=True, slots=True)
class Write:
    path: str
    data: bytes
    offset: int  # -1: at the end


@dataclass(frozen=True, slots=True)
class Truncate:
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Create:
    path: str
    empty: bool


@dataclass(frozen=True, slots=True)
class Sync:
    path: str


@dataclass(frozen=True, slots=True)
class Unlink:
    path: str


@dataclass(frozen=True, slots=True)
class Rename:
    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Said:
    """A line of the child's standard output."""

    line: str


Event = Write | Truncate | Create | Sync | Unlink | Rename | Said


@dataclass(frozen=True, slots=True)
class Recording:
    """What happened below `folder`; before: its files at the start. status: the child's exit."""

    folder: Path
    before: Mapping[str, bytes]
    events: Sequence[Event]
    status: int


@dataclass(frozen=True, slots=True)
class Crash:
    """The disk after a power cut behind event `n`: path below the folder -> bytes, and all lines
    that had been said by then."""

    n: int
    mode: Mode
    files: Mapping[str, bytes]
    said: Sequence[str]

    def build(self, folder: Path) -> Path:
        """Write the files into `folder`, which is emptied first."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder


def record(argv: Sequence[str], folder: Path, *, timeout_s: float = 120) -> Recording:
    """Run `argv` under strace. Raises `MissingTool`, and ValueError on what it can't follow."""
    folder = folder.resolve()
    trace = folder.with_name(folder.name + ".strace")
    before = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    command = [
        find_tool("strace"), "-f", "-y", "-xx", "-s", "2000000", "-o", str(trace),
        "-e", f"trace={CALLS}", *argv,
    ]  # fmt: skip
    child = subprocess.run(command, stdout=subprocess.DEVNULL, timeout=timeout_s, check=False)
    return Recording(folder, before, _events(trace, folder), child.returncode)


def crashes(recording: Recording, modes: Sequence[Mode] = ("all", "synced")) -> Iterator[Crash]:
    """Every power cut: one behind each event that changed a file or said a line."""
    disk = _Disk(recording.before)
    said: list[str] = []
    yield from (Crash(0, mode, disk.image(mode), ()) for mode in modes)
    for n, event in enumerate(recording.events, 1):
        if "torn" in modes and isinstance(event, Write) and len(event.data) > 1:
            half = Write(event.path, event.data[: len(event.data) // 2], event.offset)
            yield Crash(n, "torn", disk.image_after(half), tuple(said))
        if isinstance(event, Said):
            said.append(event.line)
        disk.apply(event)
        for mode in modes:
            if mode != "torn":
                yield Crash(n, mode, disk.image(mode), tuple(said))


@dataclass
class _Disk:
    before: Mapping[str, bytes]
    live: dict[str, bytearray] = field(default_factory=dict)
    synced: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.live = {name: bytearray(data) for name, data in self.before.items()}
        self.synced = dict(self.before)

    def image(self, mode: Mode) -> dict[str, bytes]:
        if mode == "synced":
            return dict(self.synced)
        return {name: bytes(data) for name, data in self.live.items()}

    def image_after(self, write: Write) -> dict[str, bytes]:
        image = {name: bytes(data) for name, data in self.live.items()}
        data = bytearray(image.get(write.path, b""))
        _put(data, write)
        return {**image, write.path: bytes(data)}

    def apply(self, event: Event) -> None:
        match event:
            case Write(path):
                _put(self.live.setdefault(path, bytearray()), event)
            case Truncate(path, size):
                data = self.live.setdefault(path, bytearray())
                del data[size:]
                data.extend(bytes(size - len(data)))
            case Create(path, empty):
                if empty or path not in self.live:
                    self.live[path] = bytearray()
                # A new name may outlive the cut although nothing of its content does.
                self.synced.setdefault(path, b"")
            case Sync(path):
                self.synced[path] = bytes(self.live.get(path, b""))
            case Unlink(path):
                self.live.pop(path, None)
                self.synced.pop(path, None)
            case Rename(path, target):
                self.live[target] = self.live.pop(path)
                self.synced[target] = self.synced.pop(path, b"")


def _put(data: bytearray, write: Write) -> None:
    start = len(data) if write.offset < 0 else write.offset
    if start > len(data):
        data.extend(bytes(start - len(data)))
    data[start : start + len(write.data)] = write.data


_LINE = re.compile(r"^(\d+)\s+(.*)$")
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FD = re.compile(r"^(\d+)<((?:\\x[0-9a-f]{2})*)>")
_DIRECTORY = re.compile(r"^(?:AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)>")


def _events(trace: Path, folder: Path) -> list[Event]:
    events: list[Event] = []
    begun: dict[str, str] = {}
    for raw in trace.read_text(errors="replace").splitlines():
        line = _LINE.match(raw)
        if line is None:
            continue
        pid, text = line.groups()
        if text.endswith("<unfinished ...>"):
            begun[pid] = text.removesuffix("<unfinished ...>").rstrip()
            events += _said(begun[pid], finished=False)
            continue
        resumed = _RESUMED.match(text)
        if resumed:
            text = begun.pop(pid) + resumed.group(2)
            events += _file_event(text, folder)
            continue
        events += _said(text, finished=True) + _file_event(text, folder)
    return events


def _said(text: str, *, finished: bool) -> list[Event]:
    if not text.startswith("write(1<") or (finished and "= -1" in text[-60:]):
        return []
    found = _STRING.search(text)
    if found is None:
        return []
    return [Said(line) for line in _bytes(found.group(1)).decode().splitlines()]


def _file_event(text: str, folder: Path) -> list[Event]:
    call = _CALL.match(text)
    if call is None or int(call.group(3)) < 0:
        return []
    name, arguments, result = call.group(1), call.group(2), int(call.group(3))
    strings = [_bytes(s) for s in _STRING.findall(arguments)]
    fd = _FD.match(arguments)
    if name in ("unlink", "rename", "open", "openat", "unlinkat", "renameat", "renameat2"):
        return _name_event(name, arguments, [_absolute(s, arguments) for s in strings], folder)
    path = _below(_bytes(fd.group(2)).decode(), folder) if fd else None
    if path is None:
        return []
    if name in UNFOLLOWED:
        raise ValueError(f"{name} on {path}: the replayer doesn't follow this call")
    match name:
        case "pwrite64":
            offset = int(arguments.rsplit(",", 1)[1])
            return [Write(path, strings[0][:result], offset)]
        case "write":
            return [Write(path, strings[0][:result], -1)]
        case "ftruncate":
            return [Truncate(path, int(arguments.rsplit(",", 1)[1]))]
        case "fsync" | "fdatasync":
            return [Sync(path)]
    return []


def _name_event(name: str, arguments: str, paths: list[str], folder: Path) -> list[Event]:
    inside = [_below(path, folder) for path in paths]
    if not inside or inside[0] is None:
        return []
    if name.startswith("unlink"):
        return [Unlink(inside[0])]
    if name.startswith("rename"):
        if inside[1] is None:
            raise ValueError(f"{paths[0]} is moved out of the folder: not followed")
        return [Rename(inside[0], inside[1])]
    if "O_CREAT" in arguments or "O_TRUNC" in arguments:
        return [Create(inside[0], empty="O_TRUNC" in arguments)]
    return []


def _absolute(path: bytes, arguments: str) -> str:
    text = path.decode()
    directory = _DIRECTORY.match(arguments)
    if text.startswith("/") or directory is None:
        return text
    return f"{_bytes(directory.group(1)).decode()}/{text}"


def _below(path: str, folder: Path) -> str | None:
    start = f"{folder}/"
    if not path.startswith(start) or path.endswith(IGNORED):
        return None
    return path.removeprefix(start)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
