"""Recorded readings through the embedded engine in event time, without a broker.

How a recording ends. A dump ends where the live log ended: nothing is added, so that the answers
stay those of the live run. A plain recording has an end that no log would have, so time marks are
added behind it, as if all gateways had fallen silent:

1. One mark that lets every row and deadline up to the last accepted time take effect.
2. For rows stamped ahead of it (admission takes up to `future_ms`), one mark at each time at
   which they are due. So every row that was accepted has been judged when a replay ends.

Time goes no further. A deadline later than the last event time doesn't fire: what would have come
until then isn't known, and "no reading for 15 minutes" must not follow from the end of a file. A
deadline between the last accepted time and a row stamped ahead of it does fire: that row says that
it is later by now, as it would have live.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.content import unpack_registry, unpack_rules, unpack_settings
from app.engine import Engine, Sources, Step
from app.runners.recording import KEPT_BROKEN, Broken, Recording
from contracts.alerts import encode_event
from contracts.log import LogRecord, RecordKind
from contracts.registry import Registry
from ingest.admission import AdmissionSettings
from rules.ruleset import RuleSet


@dataclass(slots=True)
class Summary:
    """What a replay came to.

    records: log records, the time marks of the end left out. rejected: lines, packs and rows by
    reason; broken: the first of them with their places. counts: rows by what became of them.
    passed: lines of `edge decode` that hold no reading.
    """

    records: int = 0
    readings: int = 0
    events: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    broken: list[Broken] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)


def replay(
    recording: Recording,
    *,
    ruleset: RuleSet | None,
    registry: Registry | None,
    settings: AdmissionSettings | None,
    on_step: Callable[[Step], None],
) -> Summary:
    """Run a recording; `on_step` gets each step's events in order.

    Given rules, registry or settings are in force from the start, and the recording's own
    INSTALLED records of that kind are passed over; otherwise a dump's own content is used.
    """
    engine = Engine(
        registry or Registry(),
        ruleset or RuleSet.empty(),
        sources=_Installed(recording, ruleset, registry, settings).sources(),
        settings=settings,
    )
    summary = Summary()

    def run(records: list[LogRecord], of_input: int) -> None:
        step = engine.step(records)
        _count(summary, recording, step, of_input)
        on_step(step)

    last = None
    for records in recording.records():
        run(records, len(records))
        last = records[-1]
    if last is not None and not recording.dumped:
        for mark in _end_marks(engine, last):
            run([mark], 0)
    summary.rejected.update(recording.rejected)
    broken = sorted(recording.broken + summary.broken, key=lambda one: (one.line, one.name))
    summary.broken = broken[:KEPT_BROKEN]
    summary.passed.update(recording.passed)
    return summary


def _end_marks(engine: Engine, last: LogRecord) -> Iterator[LogRecord]:
    """See the top of this module."""
    at_ms: int | None = last.accepted_ms + engine.settings.slack_ms + engine.settings.idle_ms
    while at_ms is not None:
        yield LogRecord(RecordKind.MARK, at_ms, "", b"", engine.position + 1)
        at_ms = engine.admission.next_ms()


def _count(summary: Summary, recording: Recording, step: Step, records: int) -> None:
    summary.records += records
    summary.readings += sum(len(batch) for batch in step.batches)
    summary.events += len(step.events)
    summary.counts.update(step.counts)
    summary.rejected.update(reject.reject.reason.value for reject in step.rejects)
    for refused in step.rejects[: KEPT_BROKEN - len(summary.broken)]:
        name, line = recording.place_of(refused.position)
        summary.broken.append(Broken(name, line, refused.reject))


@contextmanager
def event_writer(path: Path) -> Iterator[Callable[[Step], None]]:
    """A context for `on_step` that writes alert events as JSON lines."""
    with path.open("wb") as out:

        def write(step: Step) -> None:
            for event in step.events:
                out.write(encode_event(event) + b"\n")

        yield write


@dataclass(frozen=True, slots=True)
class _Installed:
    """Content for INSTALLED records: what the caller gave wins over what the dump brought."""

    recording: Recording
    ruleset: RuleSet | None
    registry: Registry | None
    settings: AdmissionSettings | None

    def sources(self) -> Sources:
        return Sources(rules=self._rules, registry=self._registry, settings=self._settings)

    def _rules(self, content: str) -> RuleSet:
        return self.ruleset or unpack_rules(self.recording.contents[content])

    def _registry(self, content: str) -> Registry:
        return self.registry or unpack_registry(self.recording.contents[content])

    def _settings(self, content: str) -> AdmissionSettings:
        return self.settings or unpack_settings(self.recording.contents[content])
