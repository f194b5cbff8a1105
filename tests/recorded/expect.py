"""Which alerts the recordings must give, worked out from the raw files without the product.

Nothing of the product is imported: plain csv and one pass of Python per rule, so that it can
disagree. `python -m tests.recorded.expect DATA > tests/recorded/expected.json` writes the file
that the end-to-end tests compare with; `EXPECTED.md` says why the numbers are what they are.

Times are milliseconds from the first row of a recording, so that they hold wherever a replay
moves the recording to.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

MINUTE_MS = 60_000
HOUR_MS = 3_600_000

Point = tuple[int, float]
"""(ms from the first row of the recording, value in the canonical unit)."""


class Doubtful(Exception):
    """A decision hangs on a margin that rounding could turn: choose another threshold."""


@dataclass(frozen=True)
class Episode:
    """onset_ms: the condition begins. raised_ms: `for` later. cleared_ms: None = still open at the
    end. extreme: the value furthest beyond the limit."""

    onset_ms: int
    raised_ms: int
    cleared_ms: int | None
    extreme: float


@dataclass(frozen=True)
class Rule:
    """A threshold rule, as this file understands it; hit and clear are verdicts on one value."""

    id: str
    when: str
    hit: Callable[[float], bool]
    clear: Callable[[float], bool]
    limits: tuple[float, ...]
    for_ms: int = 0
    clear_for_ms: int = 0


@dataclass
class Expected:
    """What one recording gives.

    readings: how many the mapping makes; repeated: how many of them equal an earlier one in
    quantity, time and value (ingest counts them as duplicates). span_ms: first to last.
    shipped, test: alert rule -> its episodes, under the shipped rules and under those of
    `tests/recorded/rules`; a rule that is named with no episode must stay quiet. silence: of the
    shipped rules that wait for silence, where the readings come on time (a backlog that arrives at
    once has no silence).
    """

    device: str
    readings: int
    repeated: int
    span_ms: int
    silence: dict[str, list[Episode]] = field(default_factory=dict)
    shipped: dict[str, list[Episode]] = field(default_factory=dict)
    test: dict[str, list[Episode]] = field(default_factory=dict)


def episodes(rule: Rule, points: list[Point]) -> list[Episode]:
    """Walk the points once: onset at the first hit, raised when it has lasted `for`, over when
    `clear` has lasted `clear_for`. Raises `Doubtful` near a margin."""
    done: list[Episode] = []
    onset: int | None = None
    raised = False
    clearing: int | None = None
    worst: list[float] = []
    for ts, value in points:
        _sure(rule, value)
        if raised and clearing is not None and ts > clearing + rule.clear_for_ms:
            assert onset is not None
            done.append(_episode(rule, onset, clearing + rule.clear_for_ms, worst))
            onset, raised, clearing = None, False, None
        hit = rule.hit(value)
        if onset is not None and not raised:
            if not hit:
                _sure_of_time(rule, onset, ts)
            raised = ts >= onset + rule.for_ms
        if not raised:
            if hit and onset is None:
                onset, worst = ts, []
            if hit:
                worst.append(value)
                raised = rule.for_ms == 0
            else:
                onset = None
            continue
        if hit:
            worst.append(value)
        if not rule.clear(value):
            _sure_of_clearing(rule, clearing, ts)
            clearing = None
        elif clearing is None:
            clearing = ts
            if rule.clear_for_ms == 0:
                assert onset is not None
                done.append(_episode(rule, onset, ts, worst))
                onset, raised, clearing = None, False, None
    if raised:
        assert onset is not None
        done.append(_episode(rule, onset, None, worst))
    return done


def _episode(rule: Rule, onset: int, cleared: int | None, worst: list[float]) -> Episode:
    limit = rule.limits[0] if rule.limits else 0.0
    extreme = max(worst, key=lambda value: abs(value - limit))
    return Episode(onset, onset + rule.for_ms, cleared, round(extreme, 6))


def silences(points: list[Point], for_ms: int) -> list[Episode]:
    """Gaps between readings longer than `for`: raised that long after the last reading before,
    cleared by the next one. The extreme is the length of the gap in hours."""
    done = []
    for (ts, _), (after, _) in pairwise(points):
        if abs(after - ts - for_ms) < 500:
            raise Doubtful(f"a gap of {after - ts} ms")
        if after - ts > for_ms:
            hours = round((after - ts) / HOUR_MS, 6)
            done.append(Episode(ts, ts + for_ms, after, hours))
    return done


def _sure(rule: Rule, value: float) -> None:
    if any(abs(value - limit) < 1e-9 for limit in rule.limits):
        raise Doubtful(f"{rule.id}: {value!r} is too near to a limit")


def _sure_of_time(rule: Rule, onset: int, ts: int) -> None:
    if rule.for_ms and abs(ts - onset - rule.for_ms) < 500:
        raise Doubtful(f"{rule.id}: a row stands {ts - onset} ms behind its onset")


def _sure_of_clearing(rule: Rule, since: int | None, ts: int) -> None:
    if since is not None and abs(ts - since - rule.clear_for_ms) < 500:
        raise Doubtful(f"{rule.id}: stopped clearing {ts - since} ms after it began")


def above(rule_id: str, quantity: str, limit: float, clear: float, for_ms: int = 0) -> Rule:
    return Rule(
        rule_id,
        f"{quantity} >= {limit:g}, clear < {clear:g}",
        lambda value: value >= limit,
        lambda value: value < clear,
        (limit, clear),
        for_ms,
    )


def below(
    rule_id: str, quantity: str, limit: float, clear: float, for_ms: int, clear_for_ms: int = 0
) -> Rule:
    return Rule(
        rule_id,
        f"{quantity} < {limit:g}, clear > {clear:g}",
        lambda value: value < limit,
        lambda value: value > clear,
        (limit, clear),
        for_ms,
        clear_for_ms,
    )


def still(rule_id: str, for_ms: int) -> Rule:
    return Rule(
        rule_id,
        "motion == 0, clear motion == 1",
        lambda value: value == 0,
        lambda value: value == 1,
        (),
        for_ms,
    )


def rows(path: Path) -> Iterator[dict[str, str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as handle:
        yield from csv.DictReader(handle)


def clock_ms(text: str) -> int:
    """Unix ms of a time; one without a zone counts as UTC, only differences matter here."""
    at = datetime.fromisoformat(text)
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


# The recordings: the written mapping of columns, a second time and by hand.


def cable(data: Path) -> dict[str, list[Point]]:
    """Degrees Fahrenheit to Celsius, hourly."""
    listed = list(rows(data / "sensors" / "ambient-temperature.csv"))
    celsius = [(float(r["value"]) - 32.0) / 1.8 for r in listed]
    return timed([clock_ms(r["time"]) for r in listed], cable_temperature=celsius)


def pump(data: Path) -> dict[str, list[Point]]:
    """Static pressure in MPa = 0.1 * bar + 0.10; flow in L/s = l/min / 60."""
    listed = list(rows(data / "sensors" / "pump-valve.csv.gz"))
    return timed(
        [clock_ms(r["time"]) for r in listed],
        static_pressure=[0.1 * float(r["pressure_bar"]) + 0.10 for r in listed],
        flow=[float(r["flow_l_min"]) / 60.0 for r in listed],
    )


def smoke(data: Path) -> dict[str, list[Point]]:
    """The label as alarm bit; one row a second, because the file has no clock."""
    listed = list(rows(data / "sensors" / "smoke.csv"))
    return timed(
        [i * 1000 for i in range(len(listed))],
        fire=[float(r["fire_alarm"]) for r in listed],
        temperature=[float(r["temperature_c"]) for r in listed],
        humidity=[float(r["humidity_pct"]) for r in listed],
        co2=[float(r["eco2_ppm"]) for r in listed],
    )


def home(data: Path) -> dict[str, list[Point]]:
    """All motion sensors of home d as one."""
    path = data / "elderly" / "home-d" / "events.csv.gz"
    listed = [r for r in rows(path) if r["kind"] == "motion"]
    return timed([clock_ms(r["time"]) for r in listed], motion=[float(r["value"]) for r in listed])


def timed(times: list[int], **columns: list[float]) -> dict[str, list[Point]]:
    return {
        name: [(ts - times[0], value) for ts, value in zip(times, column, strict=True)]
        for name, column in columns.items()
    }


RECORDINGS: dict[str, tuple[str, Callable[[Path], dict[str, list[Point]]]]] = {
    "cable": ("rec-cable-01", cable),
    "pump": ("rec-pump-01", pump),
    "smoke": ("rec-smoke-01", smoke),
    "home": ("rec-home-01", home),
}
"""Name -> (device, its series by quantity)."""

# The shipped rules' thresholds, as the domain's table of defaults has them.
_TEMPERATURE, _STATIC = "cable_temperature", "static_pressure"
SHIPPED: dict[str, list[tuple[str, Rule]]] = {
    "cable": [
        (_TEMPERATURE, above("efire.temp_warn", _TEMPERATURE, 55, 54)),
        (_TEMPERATURE, above("efire.temp_high", _TEMPERATURE, 70, 69)),
    ],
    "pump": [
        (_STATIC, below("firewater.pressure_low", _STATIC, 0.07, 0.08, MINUTE_MS)),
        (_STATIC, below("firewater.pressure_warn", _STATIC, 0.10, 0.11, MINUTE_MS)),
        (_STATIC, above("firewater.pressure_high", _STATIC, 1.0, 0.99, MINUTE_MS)),
    ],
    "smoke": [("fire", above("smoke.fire", "fire", 0.5, -1.0))],
    "home": [("motion", still("elderly.no_activity", 24 * HOUR_MS))],
}

SILENCE: dict[str, dict[str, int]] = {
    "cable": {"efire.offline": 24 * HOUR_MS},
    "pump": {"firewater.offline": 24 * HOUR_MS},
    "smoke": {"smoke.offline": 24 * HOUR_MS},
    "home": {},
}

TEST: dict[str, list[tuple[str, Rule]]] = {
    "cable": [
        ("cable_temperature", above("efire.test_room_warm", "cable_temperature", 28.0, 26.5)),
        ("cable_temperature", below("efire.test_room_cold", "cable_temperature", 15.0, 16.0, 0)),
    ],
    "pump": [("flow", below("firewater.test_flow_low", "flow", 0.49, 0.51, MINUTE_MS, 30_000))],
    "smoke": [],
    "home": [("motion", still("elderly.test_no_motion", 12 * HOUR_MS))],
}


def expectations(data: Path) -> dict[str, Expected]:
    """Recording -> what it gives. Raises `Doubtful`."""
    found = {}
    for name, (device, read) in RECORDINGS.items():
        series = read(data)
        told = [(q, ts, value) for q, points in series.items() for ts, value in points]
        found[name] = Expected(
            device=device,
            readings=len(told),
            repeated=len(told) - len(set(told)),
            span_ms=max(ts for _, ts, _ in told),
            silence={
                rule: silences(sorted((ts, value) for _, ts, value in told), for_ms)
                for rule, for_ms in SILENCE[name].items()
            },
            shipped={rule.id: episodes(rule, series[q]) for q, rule in SHIPPED[name]},
            test={rule.id: episodes(rule, series[q]) for q, rule in TEST[name]},
        )
    return found


def main(data: Path) -> None:
    told = {name: asdict(one) for name, one in expectations(data).items()}
    json.dump(told, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
