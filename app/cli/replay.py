"""`gridwarden replay`: recorded readings to alert events, in event time, without a broker."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from app.cli.outcome import fail
from app.content import ContentError, load_rules
from app.runners.recording import RecordingError, open_recording
from app.runners.replay import Summary, event_writer, replay
from contracts.detector import INNER_PREFIX
from contracts.directory import DeviceDirectory
from contracts.registry import Registry
from ingest.admission import AdmissionSettings
from ingest.registry import RegistryError
from ingest.registry import load as load_registry
from rules import RulesInvalid


def command(
    source: Annotated[
        Path,
        typer.Option(
            "--input", help="JSON lines, a folder of packs, a dumped log, or a folder of dumps"
        ),
    ],
    out: Annotated[Path, typer.Option(help="alert events as JSON lines")],
    rules: Annotated[
        Path | None, typer.Option(help="folder of rules; a dump brings its own")
    ] = None,
    registry: Annotated[
        Path | None, typer.Option(help="folder of the registry; a dump brings its own")
    ] = None,
    slack_ms: Annotated[
        int | None, typer.Option(min=0, help="how long timed rules wait; 2000, or a dump's own")
    ] = None,
    idle_ms: Annotated[
        int | None, typer.Option(min=100, help="silence that moves time on; 3000, or a dump's own")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Run a recording through rules and write the alert events that a live run would have sent."""
    try:
        recording = open_recording(source)
        ruleset = None if rules is None else load_rules(rules)
        places = None if registry is None else load_registry(registry)
    except (RecordingError, ContentError, RegistryError) as error:
        fail(str(error))
    except RulesInvalid as error:
        fail("\n".join(str(finding) for finding in error.findings))
    if ruleset is None and not recording.dumped:
        fail(f"--rules: {source} brings no rules of its own; name a folder")
    given = {"slack_ms": slack_ms, "idle_ms": idle_ms}
    named = {name: value for name, value in given.items() if value is not None}
    settings = AdmissionSettings(**named) if named else None
    try:
        with event_writer(out) as write:
            summary = replay(
                recording, ruleset=ruleset, registry=places, settings=settings, on_step=write
            )
    except RecordingError as error:
        fail(str(error))
    except OSError as error:
        fail(f"--out {out}: {error.strerror}; name a file that can be written")
    if not recording.dumped and places is not None:
        _tell_of_detectors(places)
    if as_json:
        print(json.dumps(_document(summary)))
    else:
        print(_sentence(summary), file=sys.stderr)


def _tell_of_detectors(places: Registry) -> None:
    """Alerts that don't come must not look like quiet."""
    judged = [one for one in DeviceDirectory(places).gateways if one.startswith(INNER_PREFIX)]
    if judged:
        print(
            f"gridwarden: replay runs no detector ({', '.join(judged)}): a recording of readings "
            "raises no alert on scores; play it with `up --rehearse-from`, or replay a dump",
            file=sys.stderr,
        )


def _document(summary: Summary) -> dict[str, object]:
    return {
        "records": summary.records,
        "readings": summary.readings,
        "events": summary.events,
        "rejected": dict(summary.rejected),
        "broken": [
            {
                "file": one.name,
                "line": one.line,
                "reason": one.reject.reason.value,
                "field": one.reject.field,
                "detail": one.reject.detail,
            }
            for one in summary.broken
        ],
        "passed": dict(summary.passed),
        "counts": dict(summary.counts),
    }


def _sentence(summary: Summary) -> str:
    line = (
        f"{summary.readings} readings of {summary.records} records: {summary.events} alert events"
    )
    if summary.passed:
        line += "; passed over: " + _told(summary.passed)
    if summary.rejected:
        line += f"; refused: {_told(summary.rejected)}, first {summary.broken[0]}"
    return line


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.most_common())
