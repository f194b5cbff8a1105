"""Questions to the store in InfluxQL, and their answers. Pure.

InfluxQL is what InfluxDB 1, 2 and 3 all understand at `/query`; in InfluxDB 2 the bucket needs a
mapping of database and retention policy (`deploy/influxdb/setup.sh` makes it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from contracts.quantities import QUANTITIES, QUANTITY_INDEX
from ingest.telemetry.contract import Sample
from ingest.telemetry.influx.lines import MEASUREMENT, NONE, flags_of

MAX_SAMPLES = 100_000
QUESTIONS_AT_ONCE = 20
"""Statements of one request: what they are asked with stays below 4 kB."""


class BadAnswer(Exception):
    """The server answered something else than was asked for; the text says what."""


def range_question(device: str, quantity: str, from_ms: int, to_ms: int) -> str:
    """Samples with from_ms <= ts < to_ms, a series for each set of flags."""
    return (
        f"SELECT {_name(quantity)}, {_name(quantity + NONE)} FROM {_name(MEASUREMENT)} "  # noqa: S608
        f'WHERE "device" = {_text(device)} AND time >= {from_ms}ms AND time < {to_ms}ms '
        f'GROUP BY "flags" LIMIT {MAX_SAMPLES}'
    )


def history_question(device: str, from_ms: int, to_ms: int) -> str:
    """All fields of a device with from_ms <= ts < to_ms, a series for each set of flags."""
    return (
        f"SELECT * FROM {_name(MEASUREMENT)} "  # noqa: S608
        f'WHERE "device" = {_text(device)} AND time >= {from_ms}ms AND time < {to_ms}ms '
        f'GROUP BY "flags" LIMIT {MAX_SAMPLES}'
    )


def history_answer(document: dict[str, Any]) -> tuple[list[tuple[str, Sample]], bool]:
    """(quantity, sample) in time order, and whether that is all. Raises `BadAnswer`."""
    found: list[tuple[str, Sample]] = []
    whole = True
    for series in _results(document, 1)[0]:
        flags, columns = flags_of(_flags(series)), series.get("columns", [])
        rows = _rows(series, len(columns))
        whole = whole and len(rows) < MAX_SAMPLES
        for at, column in enumerate(columns):
            name = column.removesuffix(NONE)
            if name in QUANTITY_INDEX:
                found += [
                    (name, Sample(row[0], float(row[at]) if name == column else None, flags))
                    for row in rows
                    if row[at] is not None
                ]
    found.sort(key=lambda one: (one[1].ts_ms, one[0], one[1].flags))
    return found, whole


def latest_questions(device: str) -> Iterator[tuple[list[tuple[str, bool]], str]]:
    """([(quantity, without a value)], statements): one statement asks for one field."""
    fields = [(q.name, none) for q in QUANTITIES for none in (False, True)]
    for at in range(0, len(fields), QUESTIONS_AT_ONCE):
        part = fields[at : at + QUESTIONS_AT_ONCE]
        yield (
            part,
            ";".join(
                f"SELECT last({_name(name + NONE * none)}) FROM {_name(MEASUREMENT)} "  # noqa: S608
                f'WHERE "device" = {_text(device)} GROUP BY "flags"'
                for name, none in part
            ),
        )


def range_answer(document: dict[str, Any]) -> list[Sample]:
    """In time order. Raises `BadAnswer`."""
    found: list[Sample] = []
    for series in _results(document, 1)[0]:
        flags = flags_of(_flags(series))
        for ts_ms, value, none in _rows(series, 3):
            if value is not None:
                found.append(Sample(ts_ms, float(value), flags))
            if none is not None:
                found.append(Sample(ts_ms, None, flags))
    found.sort(key=lambda sample: sample[0])
    return found[:MAX_SAMPLES]


def latest_answer(
    asked: Sequence[tuple[str, bool]], document: dict[str, Any]
) -> list[tuple[str, Sample]]:
    """(quantity, sample), newest last. Raises `BadAnswer`."""
    found = [
        (name, Sample(ts_ms, None if none else float(value), flags_of(_flags(series))))
        for (name, none), results in zip(asked, _results(document, len(asked)), strict=True)
        for series in results
        for ts_ms, value in _rows(series, 2)
    ]
    found.sort(key=lambda one: one[1].ts_ms)
    return found


def _flags(series: dict[str, Any]) -> str:
    return str(series.get("tags", {}).get("flags", ""))


def _rows(series: dict[str, Any], width: int) -> list[list[Any]]:
    if series.get("name") != MEASUREMENT or len(series.get("columns", ())) != width:
        raise BadAnswer("no answer to the question; the server doesn't speak InfluxQL")
    rows: list[list[Any]] = series["values"]
    return rows


def _results(document: dict[str, Any], wanted: int) -> list[list[dict[str, Any]]]:
    results = document.get("results", [])
    errors = [document.get("error"), *(result.get("error") for result in results)]
    told = next((error for error in errors if error), None)
    if told is not None:
        raise BadAnswer(str(told)[:300])
    if len(results) != wanted:
        raise BadAnswer(f"{len(results)} results to {wanted} questions")
    return [result.get("series", []) for result in results]


def _name(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"
