"""Wrong use: exit status 2 and one clear line on stderr that names file, field and mend."""

from __future__ import annotations

import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.cli.root import build
from app.content import shipped_rules
from app.main import _run
from dispatch.store import Store
from edge.sources.simulate import District, Size, write_registry
from ingest import layout
from ingest.ledger_store import LedgerStore
from ingest.log import LogReader, SqliteLog
from ingest.log.dump import write_dump
from ingest.quarantine import Quarantine
from tests.app.running import gridwarden
from tests.parts.tools import ROOT


@dataclass(frozen=True)
class Place:
    """What a case can refer to."""

    folder: Path
    port: int

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def config(self, text: str = "") -> Path:
        path = self.folder / "gridwarden.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def registry(self) -> Path:
        write_registry(self.folder / "registry", District(1, Size(1, 6, 1)))
        return self.folder / "registry"

    def stores(self) -> Path:
        """A data folder as a server leaves it, without a record."""
        data = self.data
        SqliteLog(layout.log_folder(data)).close()
        LedgerStore(layout.ledger_file(data)).close()
        Quarantine(layout.quarantine_file(data)).close()
        Store(data / "dispatch.db").close()
        return data


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A folder, and a port that is in use."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield Place(tmp_path, taken.getsockname()[1])


Arguments = list[str | Path]
Use = Callable[[Place], Arguments]


def up(place: Place, config: str = "", *more: str | Path) -> Arguments:
    quiet = "" if "[http]" in config else "\n[http]\nport = 0\n"
    if "[mqtt]" not in config:
        quiet += '\n[mqtt]\nbroker = "builtin"\nport = 0\n'
    return ["up", "--config", place.config(f"{config}\n{quiet}"), "--data", place.data, *more]


FAULT_LINE = 1 + (shipped_rules() / "smoke.yml").read_text(encoding="utf-8").splitlines().index(
    "    when: fault != 0"
)


def broken_rules(place: Place) -> Arguments:
    text = (shipped_rules() / "smoke.yml").read_text(encoding="utf-8")
    place.file("rules/smoke.yml", text.replace("when: fault != 0", "when: fault !! 0"))
    return up(place, 'rules = "rules"')


def broken_registry(place: Place) -> Arguments:
    devices = place.registry() / "devices.csv"
    rows = devices.read_text(encoding="utf-8").splitlines()
    rows[0] = rows[0].replace("family", "kind")
    devices.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return up(place, 'registry = "registry"')


def replay(place: Place, recording: Path, *more: str | Path) -> Arguments:
    rules: Arguments = [] if more else ["--rules", shipped_rules()]
    return ["replay", "--input", recording, "--out", place.folder / "out.jsonl", *rules, *more]


def cut_dump(place: Place, keep: int) -> Path:
    path = place.folder / "log.dump"
    SqliteLog(layout.log_folder(place.data)).close()
    with closing(LogReader(layout.log_folder(place.data))) as log:
        write_dump(log, path)
    path.write_bytes(path.read_bytes()[:keep])
    return path


GOOD = '{"deviceId": "sd-1", "family": "smoke", "ts": 1767225600000, "metrics": {"fire": 1}}\n'

CASES: dict[str, tuple[Use, tuple[str, ...]]] = {
    "no verb of ours": (lambda _: ["upp"], ("No such command 'upp'",)),
    "a missing option": (lambda _: ["replay"], ("'--input'",)),
    "an unknown option": (lambda _: ["up", "--demoo"], ("--demoo",)),
    "no config": (
        lambda p: ["up", "--config", p.folder / "absent.toml"],
        ("absent.toml: can't be read", "check --config"),
    ),
    "a config that is no TOML": (lambda p: up(p, "data = "), ("gridwarden.toml: not TOML",)),
    "an unknown key": (lambda p: up(p, "dat = 'x'"), ("gridwarden.toml: dat: remove it",)),
    "an unknown broker": (
        lambda p: up(p, "", "--broker", "hivemq"),
        ("mqtt.broker: ", "'auto', 'builtin'"),
    ),
    "no registry": (
        lambda p: up(p, 'registry = "nowhere"'),
        ("nowhere: no such folder", "devices.csv"),
    ),
    "a broken registry": (broken_registry, ("devices.csv:1: ", "family", "mend: ")),
    "no rules": (lambda p: up(p, 'rules = "nowhere"'), ("nowhere: no such folder",)),
    "a broken rule": (broken_rules, (f"smoke.yml:{FAULT_LINE}: ", "can't read '!!'", "mend: ")),
    "no secret of a webhook": (
        lambda p: up(
            p, '[[webhook]]\nname = "a"\nurl = "https://example.org"\nsecret_file = "nothing"'
        ),
        ("nothing: can't be read (No such file or directory)", "secret_file"),
    ),
    "a secret that is none": (
        lambda p: up(
            p,
            f'[[webhook]]\nname = "a"\nurl = "https://example.org"\n'
            f'secret_file = "{p.file("secret", "hunter2")}"',
        ),
        ("secret:1: not a webhook secret", "write whsec_"),
    ),
    "no password file": (
        lambda p: up(p, '[mqtt]\nbroker = "external"\nusername = "a"\npassword_file = "nothing"'),
        ("mqtt.password_file", "nothing"),
    ),
    "a port of the page in use": (
        lambda p: up(p, f"[http]\nport = {p.port}"),
        ("http.port: 127.0.0.1:", "Address already in use", "choose another"),
    ),
    "a port of the broker in use": (
        lambda p: up(p, f'[mqtt]\nbroker = "builtin"\nport = {p.port}'),
        ("mqtt.port: ", "is in use", "choose another port"),
    ),
    "an address that isn't here": (
        lambda p: up(p, '[http]\nhost = "192.0.2.1"\nport = 0'),
        ("http.", "192.0.2.1", "choose another"),
    ),
    "a data folder that is a file": (
        lambda p: up(p, "", "--data", p.file("data", "")),
        ("data: ", "File exists"),
    ),
    "no recording": (lambda p: replay(p, p.folder / "absent"), ("absent: can't be read",)),
    "a recording that is none": (
        lambda p: replay(p, p.file("picture.png", b"\x89PNG\r\n\x1a\n\0\0")),
        ("picture.png: nothing in it is a reading",),
    ),
    "a cut gz": (
        lambda p: replay(p, p.file("r.jsonl.gz", b"\x1f\x8b\x08\0\0\0\0\0")),
        ("r.jsonl.gz: can't be read",),
    ),
    "a folder without packs": (
        lambda p: replay(p, p.registry()),
        ("registry: holds no *.gwpk pack",),
    ),
    "a dump cut in its head": (
        lambda p: replay(p, cut_dump(p, 12)),
        ("log.dump: byte 12: ", "dump the log again"),
    ),
    "a dump cut at its end": (
        lambda p: replay(p, cut_dump(p, -5)),
        ("log.dump: byte ", "ends before the dump does", "dump the log again"),
    ),
    "replay without rules": (
        lambda p: replay(p, p.file("r.jsonl", GOOD), "--slack-ms", "0"),
        ("--rules: ", "brings no rules of its own"),
    ),
    "replay with rules that are none": (
        lambda p: replay(p, p.file("r.jsonl", GOOD), "--rules", p.folder),
        ("holds no *.yml rule file",),
    ),
    "replay with a registry that is none": (
        lambda p: [*replay(p, p.file("r.jsonl", GOOD)), "--registry", p.folder / "nowhere"],
        ("nowhere", "folder"),
    ),
    "replay to nowhere": (
        lambda p: [*replay(p, p.file("r.jsonl", GOOD)), "--out", p.folder / "no" / "where"],
        ("where", "No such file or directory", "--out"),
    ),
    "a benchmark that is none": (lambda _: ["bench", "nope"], ("'nope'", "e2e")),
    "explain without a store": (
        lambda p: ["explain", "x", "--data", p.folder],
        ("holds no dispatch.db",),
    ),
    "log dump without a log": (
        lambda p: ["log", "dump", "--data", p.folder, "--out", p.folder / "d"],
        (str(layout.log_folder(Path())),),
    ),
    "log dump to nowhere": (
        lambda p: ["log", "dump", "--data", p.stores(), "--out", p.folder / "no" / "where"],
        ("where", "--out"),
    ),
    "gaps without a log": (lambda p: ["gaps", "--data", p.folder], ("log",)),
    "keys of no server": (
        lambda p: ["keys", "list", "--data", p.folder / "nowhere"],
        ("nowhere: no such folder", "data folder"),
    ),
    "quarantine without letters": (
        lambda p: ["quarantine", "list", "--data", p.folder],
        ("no dead letters here",),
    ),
    "rules check of nothing": (
        lambda p: ["rules", "check", p.folder / "nowhere"],
        ("nowhere: no such folder",),
    ),
    "registry check of nothing": (
        lambda p: ["registry", "check", p.folder / "nowhere"],
        ("nowhere",),
    ),
    "a simulated profile that is none": (
        lambda p: ["simulate", "--out", p.folder / "s", "--profile", "war"],
        ("source (simulate)", "war"),
    ),
}


def ended(arguments: Arguments, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and stderr of a verb, in this process: that starts in no time."""
    words = [str(argument) for argument in arguments]
    try:
        status = _run(build(words[0]), words)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    return status, capfd.readouterr().err


def assert_one_line(told: str, *wanted: str) -> None:
    lines = told.splitlines()
    assert len(lines) == 1, told
    for part in wanted:
        assert part in lines[0], lines[0]


@pytest.mark.parametrize("case", CASES)
def test_one_line(case: str, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    use, wanted = CASES[case]
    status, told = ended(use(place), capfd)
    assert status == 2, told
    assert_one_line(told, *wanted)


@pytest.mark.parametrize(
    "file",
    ["dispatch.db", "ledger.db", "quarantine.db", "log/log.db", "log/log-*.db"],
)
def test_a_store_from_a_newer_version(
    file: str, place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    (path,) = place.stores().glob(file)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    status, told = ended(up(place), capfd)
    assert status == 2, told
    assert_one_line(told, path.name, "newer", "data folder")


@pytest.mark.parametrize(
    "file", ["dispatch.db", "ledger.db", "quarantine.db", "log/log.db", "log/log-*.db"]
)
def test_a_store_that_is_damaged(
    file: str, place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    (path,) = place.stores().glob(file)
    path.write_bytes(b"not a database at all" * 400)
    status, told = ended(up(place), capfd)
    assert status == 2, told
    assert_one_line(told, path.name)


def test_a_data_folder_in_use(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    with closing(SqliteLog(layout.log_folder(place.stores()))):
        status, told = ended(up(place), capfd)
    assert status == 2, told
    assert_one_line(told, "in use by another gridwarden", "stop that one first")


def test_an_unknown_alert_is_a_finding(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    status, told = ended(["explain", "nope", "--data", place.stores()], capfd)
    assert status == 1
    assert_one_line(told, "nope: no such alert")


def test_no_room_at_the_start(place: Place) -> None:
    """No file may grow beyond 16 kB, which is what a full disk looks like without one."""
    config = up(place)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 10, 16 << 10))

    done = subprocess.run(
        [sys.executable, "-m", "app", *map(str, config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=limit,
    )
    assert done.returncode == 2, done.stderr
    assert_one_line(done.stderr, "no room on the disk", "free some space")


def test_the_status_is_the_process_s(place: Place) -> None:
    told = gridwarden("replay", "--input", place.folder / "absent", "--out", "x", "--rules", "y")
    assert (told.returncode, told.stdout) == (2, "")
    assert_one_line(told.stderr, "absent: can't be read")
    shutil.rmtree(place.folder)
