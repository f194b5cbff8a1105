"""Rule sets and registries as content behind a hash: read from folders, packed for the log.

The log holds the content itself, so a dump replays without the folders that it came from.
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import struct
import tarfile
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

import msgspec

from contracts.registry import Registry
from ingest.limits import AdmissionSettings
from ingest.registry import load as load_registry
from ingest.registry.columns import decode as decode_columns
from ingest.registry.columns import encode as encode_columns
from rules import RulesInvalid, compile_rules
from rules.layers import SHIPPED_PREFIX, missing_layer
from rules.ruleset import RuleSet
from rules.testing.document import is_test

_settings_decoder = msgspec.json.Decoder(AdmissionSettings)

RULE_SUFFIXES = (".yml", ".yaml")
_COLUMNS = b"gwcolumn"
_FOOT = struct.Struct("<Q8s")
"""Ends a registry that has columns: their size, and `_COLUMNS`."""


class ContentError(Exception):
    """A folder can't be read; the text names it and the mend."""


def shipped_rules() -> Path:
    """The rule packs that come with gridwarden: inside the wheel or in the checkout."""
    installed = Path(__file__).parent / "shipped" / "rules"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "deploy" / "rules"


def read_rule_files(folder: Path) -> dict[str, str]:
    """File name -> text of every rule file below `folder` and of the layers that it builds on,
    tests left out. Names are as in `rules.layers`; `file_of` finds the file. Raises `ContentError`.
    """
    files = _own_files(folder)
    folders = [folder.resolve()]
    while (missing := missing_layer(files)) is not None:
        file, line, root = missing
        below = folder_of(folder, root)
        said = f"{file_of(folder, file)}:{line}: extends {below}"
        if not below.is_dir():
            raise ContentError(f"{said}: no such folder; name a folder with *.yml rule files")
        if below.resolve() in folders:
            raise ContentError(f"{said}: goes round in a circle; take one extends out")
        folders.append(below.resolve())
        prefix = root if root == SHIPPED_PREFIX else f"{root}/"
        files |= {f"{prefix}{name}": text for name, text in _own_files(below).items()}
    return dict(sorted(files.items()))


def rule_folders(folder: Path) -> tuple[Path, ...]:
    """The folder and those of the layers that it builds on. Raises `ContentError`."""
    names = {
        SHIPPED_PREFIX if name.startswith(SHIPPED_PREFIX) else posixpath.dirname(name)
        for name in read_rule_files(folder)
        if name.startswith((SHIPPED_PREFIX, "../"))
    }
    return (folder, *(folder_of(folder, name) for name in sorted(names)))


def folder_of(folder: Path, root: str) -> Path:
    """The folder of a layer. root: as in `rules.layers`."""
    return shipped_rules() if root == SHIPPED_PREFIX else Path(os.path.normpath(folder / root))


def file_of(folder: Path, name: str) -> Path:
    """The file behind a name out of `read_rule_files(folder)`."""
    if name.startswith(SHIPPED_PREFIX):
        return shipped_rules() / name.removeprefix(SHIPPED_PREFIX)
    return Path(os.path.normpath(folder / name)) if name.startswith("../") else folder / name


def _own_files(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        raise ContentError(f"{folder}: no such folder; name a folder with *.yml rule files")
    files = {
        path.relative_to(folder).as_posix(): text_of(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in RULE_SUFFIXES and not is_test(path.name)
    }
    if not files:
        raise ContentError(f"{folder}: holds no *.yml rule file")
    return files


_ENCODINGS = (("utf-16", (b"\xff\xfe", b"\xfe\xff")), ("gb18030", (b"",)))
"""What people save files in besides, and how such a file begins."""


def text_of(path: Path) -> str:
    """Raises `ContentError` where it is no UTF-8, with the line and what it seems to be."""
    data = path.read_bytes()
    try:
        # As text is read elsewhere: all kinds of line ends are one.
        return io.StringIO(data.decode(), newline=None).read()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        seems = next((name for name, heads in _ENCODINGS if _reads_as(data, name, heads)), "")
        told = f" (it seems to be {_CALLED[seems]})" if seems else ""
        raise ContentError(f"{path}:{line}: no UTF-8 text{told}; save the file as UTF-8") from None


_CALLED = {"utf-16": "UTF-16", "gb18030": "GBK"}


def _reads_as(data: bytes, encoding: str, heads: tuple[bytes, ...]) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return data.startswith(heads)


def load_rules(folder: Path) -> RuleSet:
    """Raises `ContentError`, or `rules.RulesInvalid` whose findings name the files themselves."""
    try:
        return compile_rules(read_rule_files(folder))
    except RulesInvalid as error:
        named = [
            replace(finding, file=str(file_of(folder, finding.file))) for finding in error.findings
        ]
        raise RulesInvalid(named) from None


def pack_files(files: dict[str, bytes]) -> bytes:
    """The same files give the same bytes: sorted, without times or owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            archive.addfile(entry, io.BytesIO(files[name]))
    return zlib.compress(buffer.getvalue(), 6)


def unpack_files(content: bytes) -> dict[str, bytes]:
    """Raises `ContentError` when the content is damaged."""
    try:
        raw = zlib.decompress(content)
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
            found: dict[str, bytes] = {}
            for entry in archive:
                handle = archive.extractfile(entry)
                if handle is not None:
                    found[entry.name] = handle.read()
            return found
    except (zlib.error, tarfile.TarError) as error:
        raise ContentError(f"stored content is damaged: {error}") from None


def pack_rules(folder: Path) -> bytes:
    return pack_files({name: text.encode() for name, text in read_rule_files(folder).items()})


def unpack_rules(content: bytes) -> RuleSet:
    return compile_rules({name: data.decode() for name, data in unpack_files(content).items()})


def pack_registry(folder: Path) -> bytes:
    """Raises `ContentError`."""
    if not folder.is_dir():
        raise ContentError(f"{folder}: no such folder; name a folder with grids.csv, devices.csv")
    return pack_files({path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()})


def with_columns(content: bytes, registry: Registry) -> bytes:
    """The packed files of a registry, and behind them what they came to: whoever takes it up
    needn't read the files again, which takes many times as long. Who doesn't know of columns
    reads the files; both say the same.

    registry: what `unpack_registry(content)` gives.
    """
    columns = zlib.compress(encode_columns(registry), 1)
    return content + columns + _FOOT.pack(len(columns), _COLUMNS)


def _columns(content: bytes) -> Registry | None:
    """None: it has none, or of another version. Raises `ContentError`."""
    end = len(content) - _FOOT.size
    size, magic = _FOOT.unpack_from(content, end) if end >= 0 else (0, b"")
    if magic != _COLUMNS or size > end:
        return None
    try:
        return decode_columns(zlib.decompress(memoryview(content)[end - size : end]))
    except (zlib.error, msgspec.DecodeError, ValueError, TypeError) as error:
        raise ContentError(f"stored columns of a registry are damaged: {error}") from None


def unpack_registry(content: bytes) -> Registry:
    """From its columns where it has some. Raises `ContentError`, `RegistryError`.

    Files are written to a folder of its own for the moment of loading: the loader reads folders.
    """
    known = _columns(content)
    if known is not None:
        return known
    with tempfile.TemporaryDirectory(prefix="gridwarden-registry-") as folder:
        for name, data in unpack_files(content).items():
            if name != Path(name).name:
                raise ContentError(f"stored registry names a path: {name!r}")
            (Path(folder) / name).write_bytes(data)
        return load_registry(Path(folder))


def pack_settings(settings: AdmissionSettings) -> bytes:
    """All of them, not only those that differ: a later version may have other defaults."""
    return msgspec.json.encode(settings)


def unpack_settings(content: bytes) -> AdmissionSettings:
    """Raises `ContentError`."""
    try:
        return _settings_decoder.decode(content)
    except msgspec.DecodeError as error:
        raise ContentError(f"stored settings are damaged: {error}") from None


def content_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
