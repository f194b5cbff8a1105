"""Rules that change while the server runs: half-written and bad files, a kill in the middle of
the change, and the bytes of the whole run from its dumped log."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.content import content_hash, load_rules, pack_rules, read_rule_files, shipped_rules
from tests.app.running import Child, Server, gridwarden, until
from tests.app.test_live_is_replay import (
    by_alert,
    comparable,
    configure_agent,
)
from tests.parts.mosquitto import Mosquitto

pytestmark = pytest.mark.broker


@dataclass(frozen=True)
class Run:
    folder: Path
    stored: list[bytes]
    bad: dict[str, Any]
    health: dict[str, Any]
    refused: tuple[int, str]
    last: tuple[int, dict[str, Any]]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("reload")
    with Mosquitto(folder / "broker") as broker:
        yield _run(folder, broker)


def _run(folder: Path, broker: Mosquitto) -> Run:
    configure_agent(folder, broker)
    data, config, rules = folder / "data", _configure(folder, broker), folder / "rules"
    _write(rules, read_rule_files(shipped_rules()))
    with (
        Server(folder, "first", data, "--config", config) as first,
        Child(folder, "agent", "edge", "run", "--config", folder / "agent.toml") as agent,
    ):
        until(lambda: first.alerts(state="cleared"), "alerts of the past that ended")
        # A half-written file never gets as far as the check.
        (rules / "smoke.yml").write_text("rules:\n  - {id: smoke.")
        _write(rules, _changed())
        until(lambda: _change(first)["coming"], "rules on their way")
        first.kill()
        with Server(folder, "second", data, "--config", config) as second:
            until(lambda: _change(second)["in_force"] == _name(rules), "changed rules in force")
            until(lambda: _rung_by(data, "0.08 MPa"), "an alert of the changed rules")
            (rules / "extra.yml").write_text("rules:\n  - {id: smoke.extra, whenn: fire != 0}\n")
            bad = until(lambda: _change(second)["refused"], "refused")
            asked = gridwarden("rules", "reload", "--data", data)
            health = second.get("/health")
            (rules / "extra.yml").unlink()
            until(lambda: not _change(second)["refused"], "well again")
            _write(rules, read_rule_files(shipped_rules()))
            second.process.send_signal(signal.SIGHUP)
            last = gridwarden("rules", "reload", "--data", data, "--json")
            assert agent.stop() == 0, agent.err
            assert second.stop() == 0, second.err
    with closing(sqlite3.connect(data / "dispatch.db")) as db:
        rows = db.execute("SELECT body FROM events WHERE kind = 'event' ORDER BY seq").fetchall()
    return Run(
        folder,
        [body for (body,) in rows],
        bad,
        health,
        (asked.returncode, asked.stdout),
        (last.returncode, json.loads(last.stdout)),
    )


def _configure(folder: Path, broker: Mosquitto) -> Path:
    config = folder / "gridwarden.toml"
    config.write_text(
        f"""
        data = "data"
        registry = "registry"
        rules = "rules"
        [mqtt]
        broker = "external"
        port = {broker.port}
        [http]
        port = 0
        [engine]
        slack_ms = 1700
        idle_ms = 1500
        snapshot_every_s = 1
        reload_s = 0.5
        activate_after_ms = 2500
        """
    )
    return config


def _changed() -> dict[str, str]:
    """Another limit, another level, and a family of rules gone."""
    return {
        name: text.replace("\n    severity: 3\n", "\n    severity: 2\n").replace(
            "< 0.07 MPa", "< 0.08 MPa"
        )
        for name, text in read_rule_files(shipped_rules()).items()
        if name != "ebike.yml"
    }


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.yml"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def _name(folder: Path) -> str:
    return content_hash(pack_rules(folder))


def _change(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.get("/api/v1/rules/change")
    return found


def _rung_by(data: Path, condition: str) -> bool:
    with closing(sqlite3.connect(f"file:{data / 'dispatch.db'}?mode=ro", uri=True)) as db:
        found = db.execute(
            "SELECT 1 FROM events WHERE instr(body, ?) LIMIT 1", [condition.encode()]
        )
        return found.fetchone() is not None


def test_each_alert_names_the_rule_that_decided_it(live: Run) -> None:
    shipped = {card.hash for card in load_rules(shipped_rules()).cards}
    named = {json.loads(event)["data"]["rule"]["hash"] for event in live.stored}
    assert named & shipped
    assert named - shipped


def test_a_bad_file_is_refused_visibly_and_the_old_rules_stay(live: Run) -> None:
    (finding,) = [one for one in live.bad["findings"] if "whenn" in one]
    assert finding.startswith("extra.yml:2")
    assert live.health["rules"]["refused"]["content"] == live.bad["content"]
    assert live.health["ready"]
    status, said = live.refused
    assert status == 1
    assert finding in said
    assert "the rules in force stay" in said


def test_reload_reports_each_rule(live: Run) -> None:
    status, state = live.last
    assert status == 0
    assert state["in_force"] == _name(shipped_rules())
    assert state["coming"] is None
    outcomes = {one["outcome"] for one in state["report"]}
    assert outcomes == {"kept", "migrated", "reset"}
    shown = gridwarden("rules", "reload", "--data", live.folder / "data", "--report")
    assert shown.returncode == 0
    assert "the rule is new" in shown.stdout
    watching = {one["rule"]: one["watched"] for one in state["report"]}
    assert watching["smoke.fire"]
    assert f"watches {watching['smoke.fire']} devices" in shown.stdout
    assert "; watches no device" in shown.stdout


def test_no_server_is_said_in_one_line(live: Run, tmp_path: Path) -> None:
    told = gridwarden("rules", "reload", "--data", tmp_path)
    assert told.returncode == 2
    assert "is this the data folder?" in told.stderr


def test_replay_of_the_log_gives_the_bytes_of_the_store(live: Run) -> None:
    dump, out = live.folder / "d", live.folder / "replayed.jsonl"
    dumped = gridwarden("log", "dump", "--data", live.folder / "data", "--out", dump)
    assert dumped.returncode == 0, dumped.stderr
    told = gridwarden("replay", "--input", dump, "--out", out)
    assert told.returncode == 0, told.stderr
    replayed = out.read_bytes().splitlines()
    stored = [comparable(event) for event in live.stored]
    assert len(stored) == len(replayed)
    assert by_alert(stored) == by_alert(replayed)
