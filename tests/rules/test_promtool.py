"""Prometheus's own rule tests as an oracle for `for` and for the off-delay.

The same random series are given to both. The two meet where samples and deadlines lie on
Prometheus's ticks and gaps are shorter than its look-back of 5 minutes; there an alert must be
firing at the same ticks. `clear_for` without `clear` is what Prometheus calls `keep_firing_for`.

They differ at one moment: a reading exactly when a delay runs out comes after it here (the alert
has changed, and the reading may change it again) and before it there. Series in which such a
reading says otherwise are left out.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.transitions import Change
from tests.rules.naive import Row, Told
from tests.rules.scene import T0, Device, S, Whole, admitted, directory_of, row, ruleset

TICK_S = 10
TICKS = 90
SERIES = 40
LONGEST_GAP = 25
"""Ticks; 250 s, less than the look-back."""


def random_series(seed: int) -> list[list[float | None]]:
    """Per device a value or a gap at each tick; spells of highs, lows and silence."""
    dice = random.Random(seed)
    found = []
    for _ in range(SERIES):
        values: list[float | None] = [dice.choice([400.0, 600.0])]
        while len(values) < TICKS:
            spell = dice.choice([1, 1, 2, 3, 5, 6, 7, 9, 12])
            if values[-1] is not None and dice.random() < 0.3:
                values += [None] * min(spell * 3, LONGEST_GAP)
            else:
                values += [dice.choice([400.0, 600.0])] * spell
        found.append(values[:TICKS])
    return found


def ours(series: list[list[float | None]], for_s: int, keep_s: int) -> list[Told]:
    options = f", for: {for_s}s" if for_s else ""
    options += f", clear_for: {keep_s}s" if keep_s else ""
    rules = ruleset(
        f"id: efire.high, on: {{family: efire}}, when: residual_current >= 500 mA{options}"
    )
    log: list[Row | str] = []
    for tick in range(TICKS):
        for device, values in enumerate(series):
            value = values[tick]
            if value is not None:
                log.append(row(tick * TICK_S, value, device=device))
        log.append("mark")
    engine = Whole(rules, directory_of([Device("efire")] * len(series), gateways=1))
    return engine.run(admitted([*log, "end"], [0] * len(series)))


def without_contradicted_deadlines(
    series: list[list[float | None]], told: list[Told]
) -> list[list[float | None]]:
    met = {
        one.device
        for one in told
        if one.at != one.decided
        and (tick := (one.at - T0) // (TICK_S * S)) < TICKS
        and series[one.device][tick] == (600.0 if one.change == Change.CLEARED else 400.0)
    }
    return [values for device, values in enumerate(series) if device not in met]


def firing_at(told: list[Told], devices: int) -> list[set[int]]:
    """Per tick the devices whose alert is open: raised at or before it, cleared after it."""
    spans: list[tuple[int, int, int]] = []
    since: dict[int, int] = {}
    for one in sorted(told, key=lambda one: one.at):
        if one.change == Change.RAISED:
            since[one.device] = one.at
        elif one.change == Change.CLEARED:
            spans.append((one.device, since.pop(one.device), one.at))
    spans += [(device, at, 2**62) for device, at in since.items()]
    assert {device for device, _, _ in spans} <= set(range(devices))
    ticks = [T0 + tick * TICK_S * S for tick in range(TICKS)]
    return [{device for device, start, end in spans if start <= at < end} for at in ticks]


def promtool_says(
    promtool: str,
    folder: Path,
    series: list[list[float | None]],
    firing: list[set[int]],
    for_s: int,
    keep_s: int,
) -> subprocess.CompletedProcess[str]:
    """promtool's verdict on whether exactly these alerts fire at each tick."""
    rule = {"alert": "High", "expr": "current >= 500", "for": f"{for_s}s"}
    if keep_s:
        rule["keep_firing_for"] = f"{keep_s}s"
    group = {"name": "g", "interval": f"{TICK_S}s", "rules": [rule]}
    (folder / "rules.yml").write_text(json.dumps({"groups": [group]}), encoding="utf-8")
    test = {
        "interval": f"{TICK_S}s",
        "input_series": [
            {
                "series": f'current{{device="{device}"}}',
                "values": " ".join("_" if v is None else f"{v:g}" for v in values),
            }
            for device, values in enumerate(series)
        ],
        "alert_rule_test": [
            {
                "eval_time": f"{tick * TICK_S}s",
                "alertname": "High",
                "exp_alerts": [{"exp_labels": {"device": str(d)}} for d in sorted(devices)],
            }
            for tick, devices in enumerate(firing)
        ],
    }
    document = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": f"{TICK_S}s",
        "tests": [test],
    }
    (folder / "test.yml").write_text(json.dumps(document), encoding="utf-8")
    return subprocess.run(
        [promtool, "test", "rules", "test.yml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("for_s", "keep_s"),
    [
        pytest.param(0, 0, id="at-once"),
        pytest.param(60, 0, id="for"),
        pytest.param(90, 0, id="longer-for"),
        pytest.param(60, 30, id="for-and-keep"),
        pytest.param(0, 120, id="keep"),
    ],
)
def test_alerts_fire_when_those_of_prometheus_do(
    for_s: int, keep_s: int, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    promtool = require_tool("promtool")
    series = random_series(seed=for_s + keep_s)
    series = without_contradicted_deadlines(series, ours(series, for_s, keep_s))
    firing = firing_at(ours(series, for_s, keep_s), len(series))
    assert len(series) > SERIES // 2
    assert sum(map(len, firing)) > 100, "the series make too few alerts to say anything"
    verdict = promtool_says(promtool, tmp_path, series, firing, for_s, keep_s)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


def test_promtool_would_see_a_difference_of_one_tick(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    series = random_series(seed=60)
    firing = firing_at(ours(series, 60, 0), SERIES)
    moved = [set(), *firing[:-1]]
    verdict = promtool_says(require_tool("promtool"), tmp_path, series, moved, 60, 0)
    assert verdict.returncode == 1
    assert "FAILED" in verdict.stdout + verdict.stderr
