"""`gridwarden explain ALERT_ID`: why this alert, from what the alert itself carries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.outcome import FINDINGS, fail
from app.cli.zone import zone_named
from dispatch.queries import Queries
from dispatch.tables import connect
from rules.zones import DEFAULT_ZONE, Zone


def command(
    alert: Annotated[
        str, typer.Argument(metavar="ALERT_ID", help="the alert's id, or that of one of its events")
    ],
    data: Annotated[Path, typer.Option(help="data folder of the server")] = Path("var/gridwarden"),
    events: Annotated[
        Path | None, typer.Option(help="alert events as JSON lines, as `replay` writes them")
    ] = None,
    zone: Annotated[
        str, typer.Option(help="time zone of the times shown, that of the rules by default")
    ] = DEFAULT_ZONE,
    as_json: Annotated[bool, typer.Option("--json", help="its events as one document")] = False,
) -> None:
    """Print the rule, the readings, the limits, the place and the history of one alert."""
    local = zone_named(zone)
    name = alert.split("-", 1)[0]
    found = list(_from_file(events, name) if events is not None else _from_store(data, name))
    if not found:
        fail(f"{alert}: no such alert in {events or data}", FINDINGS)
    if as_json:
        print(json.dumps({"alert": name, "events": found}, ensure_ascii=False))
        return
    for line in _told(name, found, local):
        print(line)


def _from_file(path: Path, name: str) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        fail(f"--events {path}: {error.strerror}")
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line)
        except ValueError:
            fail(f"--events {path}:{number}: not JSON")
        if event.get("subject") == name:
            yield event


def _from_store(data: Path, name: str) -> Iterator[dict[str, Any]]:
    path = data / "dispatch.db"
    if not path.is_file():
        fail(f"--data {data}: holds no dispatch.db; name the server's data folder")
    db = connect(path, synchronous="NORMAL")
    db.execute("PRAGMA query_only = ON")
    queries = Queries(db)
    try:
        for row in queries.events_of(name):
            yield json.loads(row["body"])
    finally:
        queries.close()


def _told(name: str, events: list[dict[str, Any]], local: Zone) -> Iterator[str]:
    last = events[-1]["data"]
    rule, place, timing = last["rule"], last["place"], last["timing"]
    yield f"alert     {name}   {last['title']['zh']} / {last['title']['en']}"
    yield f"why       {last['reason']['zh']}"
    yield f"          {last['reason']['en']}"
    yield f"rule      {rule['id']}   hash {rule['hash'][:16]}   standard: {rule['standard'] or '-'}"
    for model in last.get("models", ()):
        said = "" if model["threshold"] is None else f"   threshold {model['threshold']}"
        yield f"model     {model['detector']}   hash {model['hash'][:16]}{said}"
    if rule.get("source"):
        for_whom = f" for {rule['variant']}" if rule["variant"] else ""
        yield f"changed   by layer {rule['layer']}{for_whom}: {rule['source']}"
        if rule["why"]["zh"]:
            yield f"          {rule['why']['zh']} / {rule['why']['en']}"
    for sample in last["samples"]:
        unit = "" if sample["unit"] == "1" else f" {sample['unit']}"
        at = _local(sample["ts"], local)
        yield f"reading   {sample['quantity']} = {sample['value']}{unit} at {at}"
    if last.get("threshold") is not None:
        unit = "" if last["unit"] == "1" else f" {last['unit']}"
        yield f"limit     {last['threshold']}{unit}"
    grid = place["grid"]["code"] or "grid unknown"
    names = [place[level]["name"] for level in ("district", "street", "community", "grid")]
    spot = [place[key] for key in ("building", "unit", "floor")]
    yield f"place     {grid}   {' '.join(filter(None, names + spot))}"
    yield f"device    {last['device']}"
    if events[-1].get("dataref"):
        yield f"clip      {events[-1]['dataref']}   (gridwarden clip fetch)"
    yield (
        f"time      happened {_local(timing['happened'], local)}, "
        f"heard {_local(timing['heard'], local)}, "
        f"clock {timing['clock']}{', late' if timing['late'] else ''}"
    )
    if last.get("annotations"):
        yield f"note      {', '.join(last['annotations'])}"
    yield from _held(last)
    yield "history"
    for event in events:
        phase = event["type"].rsplit(".", 1)[1]
        what = event["data"]["change"]
        kept = event["data"].get("delivery", {}).get("state", "deliver")
        note = "" if kept == "deliver" else f"   ({kept}: not delivered)"
        yield f"  {_local(event['time'], local)}  {phase:8} {what}   {event['id']}{note}"


def _local(text: str, local: Zone) -> str:
    """RFC 3339 in that zone, to the millisecond that it has."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text  # Events of other programs: shown as they are.
    whole = at.microsecond == 0
    return at.astimezone(local.info).isoformat(timespec="seconds" if whole else "milliseconds")


def _held(data: dict[str, Any]) -> Iterator[str]:
    """Why receivers don't hear of it, or hear less."""
    delivery = data.get("delivery", {})
    if delivery.get("state") == "inhibited":
        yield f"held back by alert {delivery['alert']} of rule {delivery['rule']}"
    elif delivery.get("state") == "shadow":
        yield "on trial  its rule is in shadow: nobody is told"
    if data.get("over_budget"):
        yield (
            f"budget    used up in this grid on this day: level {data['severity']}"
            f" instead of {data['rule_severity']}"
        )
