"""Plays rule tests through the engine that live and replay use, from log records to alert events.

Time marks are those of a live log, one a second counted from the start of the test; marks at
which nothing could change are left out. A test ends like a recording (see `app.runners.replay`):
every row and deadline up to its end takes effect, and no later one.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from app.engine import Engine, Step
from contracts.alerts import AlertEvent
from contracts.log import LogRecord, RecordKind
from contracts.messages import OperatorCommand
from contracts.notices import is_notice
from contracts.registry import Registry
from ingest.admission import AdmissionSettings
from ingest.registry import load_with_findings
from rules.ruleset import RuleSet
from rules.testing.case import Case, Command
from rules.testing.faults import Fault
from rules.testing.judge import Came, is_of
from rules.testing.times import parse_start
from rules.testing.traffic import registry_files, traffic

MARK_MS = 1_000
SETTINGS = AdmissionSettings()
"""As a server is set when nothing else is said."""


@dataclass(slots=True)
class Played:
    """What a test came to.

    records: the log, with marks and commands; the same records give the same events. idle:
    faults that met nothing. deaf: commands whose alert there wasn't. refused: rows by reason.
    """

    events: list[AlertEvent] = field(default_factory=list)
    came: list[Came] = field(default_factory=list)
    records: list[LogRecord] = field(default_factory=list)
    idle: tuple[Fault, ...] = ()
    deaf: list[Command] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    readings: int = 0


class Registries:
    """Registries of cases, each made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[tuple[str, bytes], ...], tuple[Registry, list[str]]] = {}

    def of(self, case: Case) -> Registry:
        return self._of(case)[0]

    def faults(self, case: Case) -> list[str]:
        """What is wrong with the devices of a case."""
        return self._of(case)[1]

    def _of(self, case: Case) -> tuple[Registry, list[str]]:
        files = registry_files(case)
        key = tuple(sorted(files.items()))
        if key not in self._made:
            with tempfile.TemporaryDirectory(prefix="gridwarden-test-") as folder:
                for name, content in files.items():
                    (Path(folder) / name).write_bytes(content)
                registry, findings = load_with_findings(Path(folder))
            self._made[key] = registry, [one.problem for one in findings if one.level == "error"]
        return self._made[key]


def play(case: Case, ruleset: RuleSet, registry: Registry, *, every_mark: bool = False) -> Played:
    """Run one test. every_mark: also those at which nothing can change."""
    return _Player(case, Engine(registry, ruleset, settings=SETTINGS), every_mark).run()


def play_again(case: Case, records: Sequence[LogRecord], engine: Engine) -> list[Came]:
    """The same log through another engine; `known_ms` is right where a test asks for it."""
    found: list[Came] = []
    if not any(wanted.known_at_ms is not None for wanted in case.expect):
        return came_of(case, engine.step(records), 0)
    for record in records:
        found += came_of(case, engine.step([record]), record.accepted_ms)
    return found


def came_of(case: Case, step: Step, accepted_ms: int) -> list[Came]:
    return [
        Came(
            rule=event.data["rule"]["id"],
            device=event.data["device"],
            change=event.data["change"],
            at_ms=(parse_start(event.time) or 0) - case.start_ms,
            known_ms=accepted_ms - case.start_ms,
            data=event.data,
        )
        for event in step.events
        if not is_notice(event)
    ]


class _Player:
    def __init__(self, case: Case, engine: Engine, every_mark: bool) -> None:
        self._case = case
        self._every_mark = every_mark
        self._engine = engine
        self._played = Played()
        self._next_mark = 0
        self._now_ms = case.start_ms

    def run(self) -> Played:
        case = self._case
        sent = traffic(case)
        self._played.idle = sent.idle
        things: list[tuple[int, int, LogRecord | Command]] = [
            (record.accepted_ms, 0, record) for record in sent.records
        ]
        things += [(case.start_ms + one.at_ms, 1, one) for one in case.commands]
        things.sort(key=lambda thing: thing[:2])
        self._step(LogRecord(RecordKind.MARK, case.start_ms, "", b""))
        self._next_mark = 1
        for at_ms, _, thing in things:
            if isinstance(thing, LogRecord):
                self._marks(at_ms - 1)
                self._step(thing)
            else:
                self._marks(at_ms)
                self._command(thing, at_ms)
        self._end(max(case.start_ms + case.until_ms, things[-1][0] if things else 0))
        return self._played

    def _step(self, record: LogRecord) -> None:
        placed = replace(record, position=len(self._played.records) + 1)
        self._played.records.append(placed)
        step = self._engine.step([placed])
        self._now_ms = placed.accepted_ms
        self._played.events += step.events
        self._played.came += came_of(self._case, step, placed.accepted_ms)
        self._played.refused.update(one.reject.reason.value for one in step.rejects)
        self._played.readings += sum(len(batch) for batch in step.batches)

    def _marks(self, until_ms: int) -> None:
        """Marks up to a time: where something is due, and the last one, which moves quiet
        gateways on."""
        last = (until_ms - self._case.start_ms) // MARK_MS
        while self._next_mark <= last:
            due_ms = self._engine.next_ms()
            first = last
            if self._every_mark:
                first = self._next_mark
            elif due_ms is not None:
                first = min(last, -((self._case.start_ms - due_ms) // MARK_MS))
            self._next_mark = max(self._next_mark, first)
            at_ms = self._case.start_ms + self._next_mark * MARK_MS
            self._step(LogRecord(RecordKind.MARK, at_ms, "", b""))
            self._next_mark += 1

    def _end(self, end_ms: int) -> None:
        whole_ms = end_ms + SETTINGS.slack_ms + SETTINGS.idle_ms
        self._marks(whole_ms - 1)
        at_ms: int | None = whole_ms
        while at_ms is not None:
            self._step(LogRecord(RecordKind.MARK, at_ms, "", b""))
            at_ms = self._engine.admission.next_ms()

    def _command(self, command: Command, at_ms: int) -> None:
        alert = next(
            (
                one.data["alert"]
                for one in reversed(self._played.came)
                if one.rule == command.rule and is_of(command.device, one.device)
            ),
            None,
        )
        if alert is None:
            self._played.deaf.append(command)
            return
        told = msgspec.convert(
            {
                "id": f"test:{len(self._played.records)}",
                "action": command.action,
                "alert": alert,
                "at_ms": at_ms,
                "by": "test",
                "disposition": command.disposition or None,
            },
            OperatorCommand,
        )
        self._step(LogRecord(RecordKind.COMMAND, at_ms, "", msgspec.json.encode(told)))
