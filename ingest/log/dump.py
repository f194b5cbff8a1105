"""A log as one file: what `replay` reads on another machine.

Layout, little-endian::

    0   8  magic "GWDUMP\\r\\n" (shows a transfer that changed line ends)
    8   4  version (1)
    12  4  zero
    16  .. frames: u32 kind, u32 length, u32 CRC-32 of kind, length and body, then the body

Frames come in this order::

    1 content    u16 length of the hash, hash, content (rule sets and registries)
    2 installed  i64 position, a bundle of one control record from before the first position
    3 bundle     i64 first position, a bundle of records
    4 end        i64 number of records, i64 last position
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from contracts.log import LogRecord, RecordKind, decode_bundle, encode_bundle
from contracts.rejects import Refused
from ingest.log.reader import LogReader

DUMP_MAGIC = b"GWDUMP\r\n"
VERSION = 1
MAX_FRAME_BYTES = 1 << 30

_FILE = struct.Struct("<8sII")
_FRAME = struct.Struct("<III")
_POSITION = struct.Struct("<q")
_END = struct.Struct("<qq")
_HASH = struct.Struct("<H")
_CONTENT, _INSTALLED, _BUNDLE, _LAST = 1, 2, 3, 4


class DumpError(Exception):
    """A dump that can't be read. `at` is the byte where it went wrong."""

    def __init__(self, path: Path, at: int, text: str) -> None:
        super().__init__(f"{path}: byte {at}: {text}")
        self.path, self.at = path, at


class DumpTruncated(DumpError):
    """The file ends before the dump does."""


class DumpDamaged(DumpError):
    """Not a dump, or not the bytes that were written."""


class DumpTooNew(DumpError):
    """Written by a newer version."""


class Dumped(NamedTuple):
    """What a dump holds. installed: its control records, those from before it among them."""

    records: int
    installed: list[LogRecord]


class DumpWriter:
    """A dump in the making: contents, control records of before, bundles, in this order.

    As a context: the file appears under its name only when all went well. Raises `OSError`.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(path.name + ".part")
        self.records = 0
        self._installed: list[LogRecord] = []
        self._last = 0
        self._file = self._part.open("wb")
        self._file.write(_FILE.pack(DUMP_MAGIC, VERSION, 0))

    def content(self, content_hash: str, content: bytes) -> None:
        name = content_hash.encode()
        _write_frame(self._file, _CONTENT, _HASH.pack(len(name)) + name + content)

    def installed(self, record: LogRecord) -> None:
        """A control record from before the first position."""
        body = _POSITION.pack(record.position) + encode_bundle([record])
        _write_frame(self._file, _INSTALLED, body)
        self._installed.append(record)

    def begins_at(self, position: int) -> None:
        self._last = position - 1

    def bundle(self, records: Sequence[LogRecord]) -> None:
        """The next records, at least one."""
        head = _POSITION.pack(records[0].position)
        _write_frame(self._file, _BUNDLE, head + encode_bundle(records))
        self.records += len(records)
        self._installed += [one for one in records if one.kind is RecordKind.INSTALLED]
        self._last = records[-1].position

    @property
    def dumped(self) -> Dumped:
        return Dumped(self.records, self._installed)

    def __enter__(self) -> DumpWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                _write_frame(self._file, _LAST, _END.pack(self.records, self._last))
                self._file.flush()
                os.fsync(self._file.fileno())
                self._part.replace(self._path)
        finally:
            self._file.close()
            self._part.unlink(missing_ok=True)


def write_dump(log: LogReader, path: Path, from_position: int | None = None) -> Dumped:
    """Write the log from a position (default: its first) to its end; returns what was written.

    The file appears under its name only when it is whole. Raises `StoreError`, `OSError`.
    """
    first = log.first_position if from_position is None else from_position
    with DumpWriter(path) as writer:
        for content_hash in log.index.content_hashes():
            writer.content(content_hash, log.get_content(content_hash))
        for record in log.installed_before(first):
            writer.installed(record)
        writer.begins_at(first)
        for bundle in log.read(first):
            writer.bundle(bundle)
    return writer.dumped


def _write_frame(file: BinaryIO, kind: int, body: bytes) -> None:
    file.write(_FRAME.pack(kind, len(body), _crc(kind, body)))
    file.write(body)


def _crc(kind: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(struct.pack("<II", kind, len(body))))


class Dump:
    """An open dump.

    contents: hash -> rule set or registry. installed: control records from before the first
    position, which say what was in force when the dump begins.
    """

    def __init__(self, path: Path) -> None:
        """Raises `DumpError` (of its three kinds), `OSError`."""
        self.path = path
        self.contents: dict[str, bytes] = {}
        self.installed: list[LogRecord] = []
        self._file = path.open("rb")
        try:
            self._read_head()
            self._read_heads()
        except BaseException:
            self._file.close()
            raise

    def _read_head(self) -> None:
        head = self._file.read(_FILE.size)
        if head[: len(DUMP_MAGIC)] != DUMP_MAGIC[: len(head)]:
            raise DumpDamaged(self.path, 0, "not a dumped log")
        if len(head) < _FILE.size:
            raise DumpTruncated(self.path, len(head), "the file ends in its header")
        version = _FILE.unpack(head)[1]
        if version > VERSION:
            raise DumpTooNew(self.path, 8, f"version {version}, this version reads up to {VERSION}")

    def _read_heads(self) -> None:
        while True:
            at = self._file.tell()
            kind, body = self._frame()
            if kind == _CONTENT:
                (size,) = _HASH.unpack_from(body)
                name = body[_HASH.size : _HASH.size + size].decode()
                self.contents[name] = body[_HASH.size + size :]
            elif kind == _INSTALLED:
                self.installed += self._records(at, body)
            else:
                self._file.seek(at)
                return

    def bundles(self) -> Iterator[list[LogRecord]]:
        """The control records of before, then the bundles in order.

        Ends without an error only where the dump is whole; raises `DumpError`.
        """
        if self.installed:
            yield self.installed
        records = 0
        position: int | None = None
        while True:
            at = self._file.tell()
            kind, body = self._frame()
            if kind == _LAST:
                if _END.unpack(body)[0] != records:
                    raise DumpDamaged(
                        self.path, at, f"holds {records} records, not as many as said"
                    )
                return
            if kind != _BUNDLE:
                raise DumpDamaged(self.path, at, f"unexpected frame {kind}")
            bundle = self._records(at, body)
            if position is not None and bundle[0].position != position:
                raise DumpDamaged(self.path, at, f"position {position} is missing")
            records += len(bundle)
            position = bundle[-1].position + 1
            yield bundle

    def _records(self, at: int, body: bytes) -> list[LogRecord]:
        try:
            (first,) = _POSITION.unpack_from(body)
            records = decode_bundle(body[_POSITION.size :], first)
        except (Refused, struct.error) as error:
            raise DumpDamaged(self.path, at, str(error)) from error
        if not records:
            raise DumpDamaged(self.path, at, "an empty bundle")
        return records

    def _frame(self) -> tuple[int, bytes]:
        at = self._file.tell()
        head = self._file.read(_FRAME.size)
        if len(head) < _FRAME.size:
            raise DumpTruncated(self.path, at + len(head), "the file ends before the dump does")
        kind, length, crc = _FRAME.unpack(head)
        if length > MAX_FRAME_BYTES:
            raise DumpDamaged(self.path, at, f"a frame of {length} bytes")
        body = self._file.read(length)
        if len(body) < length:
            raise DumpTruncated(
                self.path, at + len(head) + len(body), "the file ends before the dump does"
            )
        if _crc(kind, body) != crc:
            raise DumpDamaged(self.path, at, "wrong checksum")
        return kind, body

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Dump:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_dump(path: Path) -> Dump:
    """Open a dump: `.contents`, `.installed` and `.bundles()`. Raises `DumpError`, `OSError`."""
    return Dump(path)
