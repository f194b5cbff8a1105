"""The pipeline behind the log as one deterministic step: records in, alert events out.

Live, replay, tests and recovery all call `Engine.step`; nothing else decides. The answer is a
function of the records alone, however they are cut into calls:

* rows act on instant rules in log order;
* timed work happens only at MARK records, which are in the log;
* commands and installed registries and settings take effect at their own position; so do
  installed rule sets, or at the event time that their record names (`app.changeover`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.changeover import Changeover, RulesNews
from contracts.alert_data import ModelRef
from contracts.alerts import AlertEvent, timestamp
from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord, RecordKind
from contracts.messages import Installed, OperatorCommand
from contracts.registry import Registry
from dispatch.lifecycle import Lifecycle
from ingest.admission import Admission, AdmissionSettings, RowReject
from rules.compared import Carried
from rules.engine import RuleEngine
from rules.ruleset import RuleSet
from rules.switch import Switch

_command_decoder = msgspec.json.Decoder(OperatorCommand)
_installed_decoder = msgspec.json.Decoder(Installed)

SNAPSHOT_VERSION = 1
_ROWS = (RecordKind.PACK, RecordKind.FOREIGN, RecordKind.STATUS)


class SnapshotMismatch(Exception):
    """A snapshot can't be used here: other version, rules or registry than it was made with."""


class SnapshotHead(msgspec.Struct, frozen=True, kw_only=True):
    """Beside the chunks: the position in the log and the content hashes they were made with.

    "" = nothing of that kind had been installed. coming: rules that are taking over. models: of
    detectors, as the log named them last.
    """

    version: int
    position: int
    rules: str
    registry: str
    settings: str = ""
    coming: str = ""
    activate_ms: int = 0
    models: tuple[ModelRef, ...] = ()


_head_decoder = msgspec.json.Decoder(SnapshotHead)


@dataclass(slots=True)
class Step:
    """What one call of `Engine.step` found, in log order.

    events: alert events. batches: accepted rows, for the telemetry store. rejects: refused rows
    and messages, for quarantine. counts: how many rows went which way, by reason. news: what
    became of rule sets that records named.
    """

    events: list[AlertEvent] = field(default_factory=list)
    batches: list[TaggedBatch] = field(default_factory=list)
    rejects: list[RowReject] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    news: list[RulesNews] = field(default_factory=list)


def _no_settings(content: str) -> AdmissionSettings:
    raise LookupError(f"nobody has the settings {content}")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where an engine finds the content behind the hash of an INSTALLED record."""

    rules: Callable[[str], RuleSet]
    registry: Callable[[str], Registry]
    settings: Callable[[str], AdmissionSettings] = _no_settings


class Engine:
    """One partition's state: admission, rules and episodes over one device directory."""

    def __init__(
        self,
        registry: Registry,
        ruleset: RuleSet,
        *,
        sources: Sources | None = None,
        settings: AdmissionSettings | None = None,
    ) -> None:
        self._settings = settings or AdmissionSettings()
        self._sources = sources
        self.position = 0
        self.content: dict[str, str] = {}
        self.models: dict[str, ModelRef] = {}
        """What judges, by detector, as the log says."""
        self.coming: Changeover | None = None
        self._build(registry, ruleset)

    @property
    def settings(self) -> AdmissionSettings:
        """What is in force: given at the start, or installed since."""
        return self._settings

    def _build(self, registry: Registry, ruleset: RuleSet) -> RuleEngine:
        self.registry = registry
        self.ruleset = ruleset
        self.directory = DeviceDirectory(registry)
        self.admission = Admission(self.directory, self._settings)
        engine = RuleEngine(ruleset, self.directory)
        self.rules: RuleEngine | Switch = engine
        self.lifecycle = Lifecycle(
            ruleset.cards, self.directory, slack_ms=self._settings.slack_ms, models=self.models
        )
        self.admission.want(engine.wanted_quantities())
        return engine

    def _change_over(
        self, old: RuleEngine, content: str, ruleset: RuleSet, activate_ms: int
    ) -> None:
        """From now on both rule sets are there."""
        self.coming = Changeover(
            content,
            ruleset,
            activate_ms,
            old=old,
            directory=self.directory,
            lifecycle=self.lifecycle,
        )
        self.rules = self.coming.switch
        self.admission.want(self.rules.wanted_quantities())

    def step(self, records: Sequence[LogRecord]) -> Step:
        """Carry on with the next records of the log."""
        step = Step()
        rows: list[LogRecord] = []
        for record in records:
            if record.kind in _ROWS:
                rows.append(record)
                continue
            self._on_rows(rows, step)
            rows = []
            if record.kind is RecordKind.MARK:
                self._on_mark(record, step)
            elif record.kind is RecordKind.COMMAND:
                self._on_command(record, step)
            else:
                self._on_installed(record, step)
        self._on_rows(rows, step)
        if records:
            self.position = records[-1].position
        return step

    def next_ms(self) -> int | None:
        """The earliest time at which a mark would change something; None when nothing waits."""
        waiting = (self.admission.next_ms(), self._deadline_ms(), self.lifecycle.next_ms())
        return min((at for at in waiting if at is not None), default=None)

    def _deadline_ms(self) -> int | None:
        """Deadlines are event times; a mark reveals one `slack_ms` later at the earliest."""
        deadline = self.rules.next_ms()
        return None if deadline is None else deadline + self._settings.slack_ms

    def _on_rows(self, records: list[LogRecord], step: Step) -> None:
        if not records:
            return
        admitted = self.admission.admit(records)
        step.rejects.extend(admitted.rejects)
        step.counts.update(admitted.counts)
        if len(admitted.batch):
            step.batches.append(admitted.batch)
            transitions = self.rules.on_rows(admitted.batch).in_log_order()
            step.events.extend(self.lifecycle.apply(transitions, heard=admitted.batch))

    def _on_mark(self, record: LogRecord, step: Step) -> None:
        released, progress = self.admission.mark(record)
        transitions = self.rules.on_time(released, progress)
        step.events.extend(self.lifecycle.apply(transitions, record.accepted_ms))
        if self.coming is not None:
            step.events.extend(self.coming.settle())
            if self.coming.switch.done:
                self._changed_over(self.coming, record, step)

    def _changed_over(self, coming: Changeover, record: LogRecord, step: Step) -> None:
        """The new rules are alone."""
        self.ruleset, self.rules, self.coming = coming.ruleset, coming.switch.new, None
        self.content["rules"] = coming.content
        self.admission.want(self.rules.wanted_quantities())
        step.news.append(_news(coming.content, "done", record, coming=coming))

    def _on_command(self, record: LogRecord, step: Step) -> None:
        command = _command_decoder.decode(record.payload)
        events, resets = self.lifecycle.command(command, record.accepted_ms)
        for rule, row in resets:
            self.rules.reset(rule, row)
        step.events.extend(events)

    def _on_installed(self, record: LogRecord, step: Step) -> None:
        installed = _installed_decoder.decode(record.payload)
        if installed.what == "model":
            name = installed.name
            self.models[name] = ModelRef(
                detector=name, hash=installed.hash, threshold=installed.threshold
            )
            return
        if self._sources is None:
            return
        if installed.what == "rules" and installed.activate_ms is not None:
            at_ms = installed.activate_ms
            self._on_coming(self._sources, installed.hash, at_ms, record, step)
            return
        if installed.what == "rules" and self.coming is not None:
            step.events.extend(self.coming.end_now())
            self._changed_over(self.coming, record, step)
        if self.content.get(installed.what) == installed.hash:
            return
        self.content[installed.what] = installed.hash
        if installed.what == "rules":
            ruleset = self._sources.rules(installed.hash)
            if ruleset.hash != self.ruleset.hash:
                self._reinstall(self.registry, ruleset)
                self._settle(record, step)
            report = () if isinstance(self.rules, Switch) else _counted(self.rules)
            step.news.append(_news(installed.hash, "done", record, report=report))
        elif installed.what == "settings":
            settings = self._sources.settings(installed.hash)
            if settings != self._settings:
                self._settings = settings
                self._reinstall(self.registry, self.ruleset)
        else:
            registry = self._sources.registry(installed.hash)
            if registry.hash != self.registry.hash:
                self._reinstall(registry, self.ruleset)
                if any(card.where for card in self.ruleset.cards):
                    # Devices that were moved may meet another variant of a rule.
                    self._settle(record, step)

    def _on_coming(
        self, sources: Sources, content: str, activate_ms: int, record: LogRecord, step: Step
    ) -> None:
        """Rules that come into force at an event time; refused when that is over already."""
        reached_ms = self.admission.handed_over_ms
        if content == (self.coming.content if self.coming else self.content.get("rules")):
            return
        if isinstance(self.rules, Switch):
            why = "another change of rules is under way"
            step.news.append(_news(content, "refused", record, activate_ms=activate_ms, why=why))
        elif reached_ms >= activate_ms:
            why = f"readings up to {timestamp(reached_ms)} have been judged already"
            step.news.append(_news(content, "refused", record, activate_ms=activate_ms, why=why))
        elif (ruleset := sources.rules(content)).hash == self.ruleset.hash:
            self.content["rules"] = content
            step.news.append(_news(content, "done", record, activate_ms=activate_ms))
        else:
            self._change_over(self.rules, content, ruleset, activate_ms)
            step.news.append(_news(content, "begun", record, coming=self.coming))

    def _settle(self, record: LogRecord, step: Step) -> None:
        """Say what the new rules mean for open alerts; an alert that ended for it starts anew."""
        events = self.lifecycle.settle(record.accepted_ms)
        row_of_rule = {card.id: row for row, card in enumerate(self.ruleset.cards)}
        for event in events:
            rule = row_of_rule.get(event.data["rule"]["id"])
            # A device that has left the registry has no state that could be reset.
            row = self.directory.subject_row(event.data["device"])
            if event.type.endswith(".cleared") and rule is not None and row is not None:
                self.rules.reset(rule, row)
        step.events.extend(events)

    def _reinstall(self, registry: Registry, ruleset: RuleSet) -> None:
        """Take over all state under other content, by way of a snapshot."""
        chunks = self.snapshot()
        old, coming = self.directory, self.coming
        engine = self._build(registry, ruleset)
        if coming is not None:
            self._change_over(engine, coming.content, coming.ruleset, coming.activate_ms)
        self._restore_parts(chunks, self._remap(old))

    def _remap(self, old: DeviceDirectory) -> NDArray[np.int32] | None:
        """Old directory row -> new row; strangers that are now registered move to their row."""
        new = self.directory
        for device, family, gateway in old.strangers():
            new.intern_device(device, family, new.intern_gateway(gateway))
        if old.ids == new.ids:
            return None
        return np.array([new.row_of.get(device, -1) for device in old.ids], np.int32)

    def snapshot(self) -> dict[str, bytes]:
        """All state as named chunks; `restore` on a new engine carries on from there."""
        return self.freeze()()

    def freeze(self) -> Callable[[], dict[str, bytes]]:
        """`snapshot` of this moment, to be packed later and in any thread."""
        head = SnapshotHead(
            version=SNAPSHOT_VERSION,
            position=self.position,
            rules=self.content.get("rules", ""),
            registry=self.content.get("registry", ""),
            settings=self.content.get("settings", ""),
            coming=self.coming.content if self.coming else "",
            activate_ms=self.coming.activate_ms if self.coming else 0,
            models=tuple(self.models.values()),
        )
        admission, rest = (
            self.admission.freeze(),
            {
                "head": msgspec.json.encode(head),
                "rules": self.rules.snapshot(),
                "lifecycle": self.lifecycle.snapshot(),
            },
        )
        return lambda: rest | {"admission": admission()}

    def restore(self, chunks: dict[str, bytes]) -> None:
        """Carry on from a snapshot. Raises `SnapshotMismatch` for another version.

        The caller has built this engine from the content that `read_head` names; later
        INSTALLED records of the log change it.
        """
        head = read_head(chunks)
        self.content = {
            "rules": head.rules,
            "registry": head.registry,
            "settings": head.settings,
        }
        self.models.clear()
        self.models.update((model.detector, model) for model in head.models)
        if head.coming and isinstance(self.rules, RuleEngine):
            if self._sources is None:
                raise SnapshotMismatch("made in the middle of a change of rules")
            ruleset = self._sources.rules(head.coming)
            self._change_over(self.rules, head.coming, ruleset, head.activate_ms)
        self._restore_parts(chunks, None)
        self.position = head.position

    def _restore_parts(self, chunks: dict[str, bytes], remap: NDArray[np.int32] | None) -> None:
        self.admission.restore(chunks["admission"], remap)
        self.rules.restore(chunks["rules"], remap)
        self.lifecycle.restore(chunks["lifecycle"], remap)


def _news(
    content: str,
    state: Literal["begun", "done", "refused"],
    record: LogRecord,
    *,
    coming: Changeover | None = None,
    activate_ms: int | None = None,
    why: str = "",
    report: tuple[Carried, ...] = (),
) -> RulesNews:
    return RulesNews(
        content=content,
        state=state,
        position=record.position,
        heard_ms=record.accepted_ms,
        activate_ms=coming.activate_ms if coming else activate_ms,
        why=why,
        report=_with_watched(coming.switch.report, coming.switch.new) if coming else report,
    )


def _counted(engine: RuleEngine) -> tuple[Carried, ...]:
    return _with_watched(engine.carried, engine)


def _with_watched(report: tuple[Carried, ...], engine: RuleEngine) -> tuple[Carried, ...]:
    """The report with how many devices each rule watches now: a misspelt selection watches none."""
    counts = engine.watched()
    return tuple(msgspec.structs.replace(one, watched=counts.get(one.rule)) for one in report)


def read_head(chunks: dict[str, bytes]) -> SnapshotHead:
    """The head of a snapshot. Raises `SnapshotMismatch` for another version."""
    head = _head_decoder.decode(chunks["head"])
    if head.version != SNAPSHOT_VERSION:
        raise SnapshotMismatch(f"snapshot version {head.version}, this is {SNAPSHOT_VERSION}")
    return head
