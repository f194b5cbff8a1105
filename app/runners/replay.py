"""Recorded readings through the embedded engine in event time, without a broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.content import unpack_registry, unpack_rules
from app.engine import Engine, Sources, Step
from app.runners.recording import Recording, end_mark
from contracts.alerts import encode_event
from contracts.registry import Registry
from ingest.admission import AdmissionSettings
from rules.ruleset import RuleSet


@dataclass(slots=True)
class Summary:
    """What a replay came to."""

    records: int = 0
    readings: int = 0
    events: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


def replay(
    recording: Recording,
    *,
    ruleset: RuleSet | None,
    registry: Registry | None,
    settings: AdmissionSettings,
    on_step: Callable[[Step], None],
) -> Summary:
    """Run a recording; `on_step` gets each step's events in order.

    A given rule set or registry is in force from the start and the recording's own INSTALLED
    records of that kind are passed over; otherwise a dump's own content is used.
    """
    engine = Engine(
        registry or Registry(),
        ruleset or RuleSet.empty(),
        sources=_Installed(recording, ruleset, registry).sources(),
        settings=settings,
    )
    summary = Summary()
    last = None
    for records in recording.records():
        step = engine.step(records)
        last = records[-1]
        _count(summary, step, len(records))
        on_step(step)
    if last is not None and not recording.dumped:
        step = engine.step([end_mark(last, settings.slack_ms + settings.idle_ms)])
        _count(summary, step, 0)
        on_step(step)
    summary.rejected.update(reject.reason.value for reject in recording.rejects)
    return summary


def _count(summary: Summary, step: Step, records: int) -> None:
    summary.records += records
    summary.readings += sum(len(batch) for batch in step.batches)
    summary.events += len(step.events)
    summary.counts.update(step.counts)
    summary.rejected.update(reject.reject.reason.value for reject in step.rejects)


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

    def sources(self) -> Sources:
        return Sources(rules=self._rules, registry=self._registry)

    def _rules(self, content: str) -> RuleSet:
        return self.ruleset or unpack_rules(self.recording.contents[content])

    def _registry(self, content: str) -> Registry:
        return self.registry or unpack_registry(self.recording.contents[content])
