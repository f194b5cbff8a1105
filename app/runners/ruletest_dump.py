"""The log of a rule test as a dump, for `gridwarden replay` and a closer look."""

from __future__ import annotations

import re
import tempfile
from contextlib import closing
from pathlib import Path

import msgspec

from app.content import content_hash, pack_files, pack_rules, pack_settings
from app.runners.ruletest import SETTINGS, Played
from contracts.log import LogRecord, RecordKind
from contracts.messages import Installed
from ingest.log import LogReader, SqliteLog
from ingest.log.dump import write_dump
from rules.testing.case import Case
from rules.testing.traffic import registry_files


def keep(out: Path, rules: Path, case: Case, played: Played) -> Path:
    """Write the dump of one test into the folder `out`; returns its path. Raises `OSError`."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{_slug(case.file)}-{case.line}.dump"
    contents = {
        "settings": pack_settings(SETTINGS),
        "registry": pack_files(dict(registry_files(case))),
        "rules": pack_rules(rules),
    }
    with tempfile.TemporaryDirectory(prefix="gridwarden-test-") as name:
        folder = Path(name) / "log"
        with closing(SqliteLog(folder)) as log:
            installed = []
            for what, content in contents.items():
                log.put_content(content_hash(content), content)
                installed.append(_installed(what, content_hash(content), case.start_ms))
            log.commit([*installed, *played.records])
        with closing(LogReader(folder)) as reader:
            write_dump(reader, path)
    return path


def _installed(what: str, content: str, at_ms: int) -> LogRecord:
    told = msgspec.convert({"what": what, "hash": content, "active_ms": at_ms}, Installed)
    return LogRecord(RecordKind.INSTALLED, at_ms, "", msgspec.json.encode(told))


def _slug(file: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", file.rsplit(".test.", 1)[0]).strip("-")
