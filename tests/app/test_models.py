"""Which model judged is a fact of the log, and alerts on scores carry it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from app.content import content_hash, pack_files, pack_rules, shipped_rules, unpack_registry
from app.engine import Engine
from app.runners.install import install_models
from contracts import pack
from contracts.alert_data import ModelRef
from contracts.alerts import AlertEvent, encode_event
from contracts.batch import ReadingBatch
from contracts.log import LogRecord, RecordKind, decode_bundle, encode_bundle
from contracts.messages import Installed
from contracts.pack import Pack, PackHeader
from contracts.registry import Registry
from ingest.acceptor import Acceptor
from ingest.ledger import Ledger
from ingest.log import SqliteLog
from ingest.quarantine import Quarantine
from rules import compile_rules
from rules.ruleset import RuleSet
from tests.app.running import gridwarden
from tests.app.scene import numbered

S = 1_000
T0 = 1_767_225_600_000
CAMERA, SENDER = "cam-1", "detector-falling"
FILES = {
    "areas.csv": "code,level,name\n340199,district,D\n340199009,street,S\n"
    "340199009001,community,C\n",
    "grids.csv": "code,name,kind,valid_from,valid_to,state,reason\n"
    "340199009001001,G,residential,2000-01-01,,valid,\n",
    "devices.csv": f"device,family,gateway,grid\n{CAMERA},camera,gw-1,340199009001001\n",
}
REGISTRY = pack_files({name: text.encode() for name, text in FILES.items()})
RULES = """
rules:
  - id: camera.fall
    title: {zh: 坠落, en: Fall}
    on: {family: camera}
    when: falling_object.storeys > 2 and falling_object.score >= 0.6
    severity: 2
  - id: camera.gone
    title: {zh: 遮挡, en: Blocked}
    on: {family: camera}
    when: lens_blocked != 0
    severity: 3
"""
OLD = ModelRef(detector="falling", hash="a" * 64, threshold=0.25)
NEW = ModelRef(detector="falling", hash="b" * 64)


def told(model: ModelRef, at_ms: int) -> LogRecord:
    installed = Installed(
        what="model", hash=model.hash, active_ms=at_ms, name=model.detector,
        threshold=model.threshold,
    )  # fmt: skip
    return LogRecord(RecordKind.INSTALLED, at_ms, "", msgspec.json.encode(installed))


def scored(seq: int, at_ms: int, storeys: float) -> LogRecord:
    rows = [
        (CAMERA, "camera", "falling_object.storeys", at_ms, storeys, 0),
        (CAMERA, "camera", "falling_object.score", at_ms, 0.9, 0),
        (CAMERA, "camera", "lens_blocked", at_ms, float(storeys > 0), 0),
    ]
    header = PackHeader(SENDER, 1, seq, at_ms, at_ms)
    blob = pack.encode(Pack(header, ReadingBatch.of(rows)))
    return LogRecord(RecordKind.PACK, at_ms + 50, SENDER, blob)


def log() -> list[LogRecord]:
    """Two falls and what ends them; the model changes while nothing is wrong."""
    marks = [LogRecord(RecordKind.MARK, T0 + at * S, "", b"") for at in range(40)]
    falls = [(1, 5, 4.0), (2, 10, 0.0), (3, 20, 4.0), (4, 30, 0.0)]
    packs = [scored(seq, T0 + at * S + 1, storeys) for seq, at, storeys in falls]
    return numbered([told(OLD, T0), told(NEW, T0 + 15 * S), *marks, *packs])


def engine() -> Engine:
    registry: Registry = unpack_registry(REGISTRY)
    return Engine(registry, compile_rules({"camera.yml": RULES}))


def events(cuts: list[int], *, restart: bool = False) -> list[AlertEvent]:
    one, found = engine(), []
    records = log()
    for first, last in zip([0, *cuts], [*cuts, len(records)], strict=True):
        found += one.step(records[first:last]).events
        if restart:
            saved, one = one.snapshot(), engine()
            one.restore(saved)
    return found


def test_alerts_on_scores_name_the_model_of_their_onset() -> None:
    said = {
        (e.data["rule"]["id"], e.data["onset"][17:19], e.data["change"]): e.data["models"]
        for e in events([])
    }
    old, new = msgspec.to_builtins([OLD]), msgspec.to_builtins([NEW])
    assert said == {
        ("camera.fall", "05", "raised"): old,
        ("camera.fall", "05", "cleared"): old,
        ("camera.fall", "20", "raised"): new,
        ("camera.fall", "20", "cleared"): new,
        ("camera.gone", "05", "raised"): [],
        ("camera.gone", "05", "cleared"): [],
        ("camera.gone", "20", "raised"): [],
        ("camera.gone", "20", "cleared"): [],
    }


@pytest.mark.parametrize("restart", [False, True])
def test_cuts_and_restarts_change_no_byte(restart: bool) -> None:
    cuts = list(range(1, len(log())))
    assert [*map(encode_event, events(cuts, restart=restart))] == [*map(encode_event, events([]))]


def test_the_model_of_open_alerts_outlives_new_rules_and_registry() -> None:
    one, records = engine(), log()
    before = [record for record in records if record.accepted_ms < T0 + 10 * S]
    one.step(before)
    one._reinstall(one.registry, RuleSet.of(one.ruleset.rules))
    assert {alert.models for alert in one.lifecycle.open_alerts()} == {(OLD,), ()}
    rest = one.step(records[len(before) :]).events
    assert [e.data["models"] for e in rest if e.data["rule"]["id"] == "camera.fall"] == [
        msgspec.to_builtins([model]) for model in (OLD, NEW, NEW)
    ]


def test_shipped_rules_know_whose_scores_they_ask_for() -> None:
    files = {path.name: path.read_text("utf-8") for path in shipped_rules().glob("*.yml")}
    ruleset = compile_rules({k: v for k, v in files.items() if not k.endswith(".test.yml")})
    found = {card.id: card.detectors for card in ruleset.cards if card.detectors}
    assert found["camera.falling_object"] == ("falling",)
    assert found["elderly.quiet"] == ("inactivity",)
    assert "camera.lens_blocked" not in found


def test_a_start_names_models_once_and_dumps_show_and_keep_them(tmp_path: Path) -> None:
    with closing(SqliteLog(tmp_path / "data" / "log")) as store:
        quarantine = Quarantine(tmp_path / "letters.db")
        acceptor = Acceptor(store, Ledger(), quarantine, clock=lambda: T0)
        for what, content in (("rules", pack_rules(_rules(tmp_path))), ("registry", REGISTRY)):
            installed = Installed(what=what, hash=content_hash(content), active_ms=T0)  # type: ignore[arg-type]
            acceptor.append_installed(installed, content)
        install_models(acceptor, store, [OLD], T0)
        install_models(acceptor, store, [OLD], T0)
        install_models(acceptor, store, [NEW], T0)
        store.commit([one for one in log() if one.kind is not RecordKind.INSTALLED])
        quarantine.close()
    out = tmp_path / "log.dump"
    dumped = gridwarden("log", "dump", "--data", tmp_path / "data", "--out", out, "--json")
    installed = json.loads(dumped.stdout)["installed"]
    assert [(one["what"], one["name"], one["threshold"]) for one in installed] == [
        ("rules", "", None), ("registry", "", None), ("model", "falling", 0.25),
        ("model", "falling", None),
    ]  # fmt: skip
    gridwarden("replay", "--input", out, "--out", tmp_path / "out.jsonl", "--json")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    falls = [line["data"]["models"] for line in lines if line["type"].count("fall")]
    assert falls == [msgspec.to_builtins([NEW])] * 4


def _rules(folder: Path) -> Path:
    (folder / "rules").mkdir()
    (folder / "rules" / "camera.yml").write_text(RULES, encoding="utf-8")
    return folder / "rules"


def test_the_record_is_read_from_its_bytes() -> None:
    [record] = decode_bundle(encode_bundle([told(OLD, T0)]), 1)
    assert msgspec.json.decode(record.payload, type=Installed).threshold == 0.25
