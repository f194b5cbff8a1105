"""The verbs that look at ingest's stores."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from app.cli import gaps, log, quarantine
from contracts.log import LogRecord, RecordKind
from contracts.rejects import Reason, Reject
from ingest.layout import ledger_file, log_folder, quarantine_file
from ingest.ledger_store import LedgerStore
from ingest.log import SqliteLog
from ingest.log.dump import read_dump
from ingest.quarantine import Quarantine
from tests.ingest.packs import BOOT, T0, pack_bytes, status

RUN = CliRunner()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Packs 1, 2 and 5 of g1; the copy of the ledger knows only of the first."""
    store = SqliteLog(log_folder(tmp_path))
    beat = msgspec.json.encode(status(held=((BOOT, 4, 6),), wall_ms=T0 + 60_000))
    store.append([LogRecord(RecordKind.PACK, T0, "g1", pack_bytes(1))])
    ledger = LedgerStore(ledger_file(tmp_path))
    ledger.save(ledger.load(store), 1, T0)
    ledger.close()
    store.append([LogRecord(RecordKind.PACK, T0, "g1", pack_bytes(n)) for n in (2, 5)])
    store.append([LogRecord(RecordKind.STATUS, T0 + 60_000, "g1", beat)])
    store.close()
    letters = Quarantine(quarantine_file(tmp_path))
    letters.put([("some/topic", b"\xffbytes", Reject(reason=Reason.BAD_JSON, detail="no"))], T0)
    letters.close()
    return tmp_path


def test_log_dump_and_info(data: Path) -> None:
    out = data / "out.gwdump"
    done = RUN.invoke(log.app, ["dump", "--data", str(data), "--out", str(out), "--json"])
    said = {"records": 4, "out": str(out), "installed": []}
    assert (done.exit_code, json.loads(done.stdout)) == (0, said)
    with read_dump(out) as dump:
        assert [r.position for b in dump.bundles() for r in b] == [1, 2, 3, 4]
    done = RUN.invoke(log.app, ["dump", "--data", str(data), "--out", str(out), "--from", "3"])
    assert done.exit_code == 0
    with read_dump(out) as dump:
        assert [r.position for b in dump.bundles() for r in b] == [3, 4]
    found = json.loads(RUN.invoke(log.app, ["info", "--data", str(data), "--json"]).stdout)
    assert (found["first_position"], found["last_position"], found["segments"]) == (1, 4, 1)
    assert found["last_accepted"] == "2026-01-01T00:01:00.000Z"


def test_a_wrong_folder_is_one_clear_line(tmp_path: Path) -> None:
    for app, arguments in (
        (log.app, ["info"]),
        (log.app, ["dump", "--out", str(tmp_path / "x")]),
        (quarantine.app, ["list"]),
        (gaps.app, []),
    ):
        done = RUN.invoke(app, [*arguments, "--data", str(tmp_path)])
        assert done.exit_code == 2
        assert done.stderr.count("\n") == 1
        assert "is this the data folder?" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_quarantine_list_show_and_replay(data: Path) -> None:
    at = ["--data", str(data)]
    found = json.loads(RUN.invoke(quarantine.app, ["list", *at, "--json"]).stdout)
    assert (found["kept"], found["by_reason"]) == (1, {"bad_json": 1})
    assert found["letters"][0] | {"at": ""} == {
        "id": 1, "at": "", "reason": "bad_json", "field": "", "detail": "no",
        "source": "some/topic", "row": -1, "position": 0, "bytes": 6, "state": "kept",
    }  # fmt: skip
    assert "bad_json" in RUN.invoke(quarantine.app, ["list", *at]).stdout
    shown = json.loads(RUN.invoke(quarantine.app, ["show", "1", *at, "--json"]).stdout)
    assert shown["payload"] == "/2J5dGVz"
    assert RUN.invoke(quarantine.app, ["show", "9", *at]).exit_code == 2
    assert RUN.invoke(quarantine.app, ["replay", *at]).exit_code == 2
    nothing = RUN.invoke(quarantine.app, ["replay", "9", *at])
    assert (nothing.exit_code, nothing.stdout, nothing.stderr.count("\n")) == (1, "", 1)
    done = RUN.invoke(quarantine.app, ["replay", "1", *at, "--json"])
    assert json.loads(done.stdout) == {"wanted": 1}
    letters = Quarantine(quarantine_file(data))
    assert [letter.id for letter in letters.wanted()] == [1]
    letters.close()


def test_gaps_shows_hours_and_what_is_missing_up_to_the_last_record(data: Path) -> None:
    done = RUN.invoke(gaps.app, ["--data", str(data), "--json"])
    [found] = json.loads(done.stdout)["gateways"]
    assert found["gateway"] == "g1"
    assert found["hours"][0]["state"] == "data missing"
    assert [(g["first"], g["last"]) for g in found["open"]] == [(4, 4)]
    assert [(x["first"], x["last"], x["reason"]) for x in found["lost"]] == [(3, 3, "not_held")]
    text = RUN.invoke(gaps.app, ["--data", str(data), "--gateway", "g1"]).stdout
    assert "missing: boot" in text
    hour = found["hours"][0]
    assert hour["from"] < hour["to"]
    assert f"  {hour['from']} .. " in text
    assert "lost (not_held)" in text
    assert RUN.invoke(gaps.app, ["--data", str(data), "--gateway", "gx"]).exit_code == 2
