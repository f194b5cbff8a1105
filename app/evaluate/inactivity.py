"""`gridwarden evaluate inactivity`: docs/inactivity-evaluation.md as code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.evaluate import rivals
from app.evaluate.detected import Trace, hours_to_ring, silences, trace
from app.evaluate.outcome import MONTH_DAYS, Floats, Outcome, ratio_interval
from app.evaluate.scene import DAY_MS, TEST_FROM_DAY, Scene, build
from app.homes import HomeError, read_home, read_truth
from detectors.inactivity.alarms import BUDGET, Cause
from detectors.inactivity.layout import Kind
from detectors.inactivity.prior import Prior
from detectors.inactivity.silence import Infer

Bools = NDArray[np.bool_]


@dataclass(slots=True)
class Method:
    """One method over one home. ratio: a tick; it rings at knob or above. branch: the same of
    collapses. alone: ticks at which it rings whatever the knob. branch_alone: the same. silence:
    the number of each tick's: an alarm lasts as long."""

    ratio: Floats
    branch: Floats
    alone: Bools
    branch_alone: Bools
    silence: NDArray[np.intp]


@dataclass(slots=True)
class Run:
    """All homes, ready to be asked at any setting."""

    scenes: list[Scene]
    traces: list[Trace]

    @property
    def days(self) -> float:
        return sum(scene.days for scene in self.scenes)


def folders(path: Path) -> list[Path]:
    """The homes below a folder, or the folder itself. Raises `HomeError`."""
    if (path / "home.json").exists():
        return [path]
    found = sorted(one.parent for one in path.glob("*/home.json")) if path.is_dir() else []
    if not found:
        raise HomeError(f"--homes {path}: no home in it; a home is a folder with home.json")
    return found


def may_choose(paths: list[Path]) -> bool:
    """Whether a part of any of these homes is for choosing."""
    return any(read_home(path).name in TEST_FROM_DAY for path in paths)


def run(
    paths: list[Path],
    infer: Infer | None,
    prior: Prior,
    *,
    choosing: bool,
    seed: int,
    say: Callable[[str], None],
) -> Run:
    """Raises `HomeError`."""
    scenes, traces = [], []
    for path in paths:
        scene = build(read_home(path), read_truth(path), choosing=choosing, seed=seed)
        if scene is None or not scene.scored.any():
            continue
        say(f"{scene.home.name}: {scene.days:.0f} days scored, {len(scene.collapses)} collapses")
        scenes.append(scene)
        traces.append(trace(scene, infer, prior))
    if not scenes:
        raise HomeError("--homes: no home is long enough to be scored")
    return Run(scenes, traces)


def methods(found: Run, *, hindsight: bool) -> dict[str, list[Method]]:
    """Every method over every home; a home is one entry."""
    by_name: dict[str, list[Method]] = {
        "detector": [], "line": [], "line_outages_known": [], "fixed": [],
    }  # fmt: skip
    for scene, traced in zip(found.scenes, found.traces, strict=True):
        top, branch_top = rivals.ceilings(scene), rivals.branch_ceilings(scene)
        other = traced.other != Cause.NONE
        by_name["detector"].append(
            Method(
                1.0 / np.maximum(traced.monthly.astype(np.float64), 1e-12),
                1.0 / np.maximum(traced.branch_monthly.astype(np.float64), 1e-12),
                other,
                traced.branch_other != Cause.NONE,
                silences(scene, traced),
            )
        )
        for name, known in (("line", False), ("line_outages_known", True)):
            lines = rivals.line(scene, hindsight=hindsight, outages_known=known)
            ratio, branch = rivals.line_ratio(scene, lines), rivals.branch_line_ratio(scene, lines)
            by_name[name].append(Method(ratio, branch, top, branch_top, scene.silence))
        by_name["fixed"].append(
            Method(
                rivals.silence_h(scene),
                rivals.branch_silence_h(scene),
                top,
                branch_top,
                scene.silence,
            )
        )
    return by_name


def first_ring(scene: Scene, method: Method, hindsight: bool) -> tuple[Floats, Bools]:
    """Of each silence: the greatest ratio before what rings whatever the knob; whether it overlaps
    an outage. Only the scored part."""
    use = scene.scored & (scene.last > 0)
    if hindsight:
        use = use & ~scene.absent
    number, place = np.unique(method.silence[use], return_inverse=True)
    began = np.zeros(len(number))
    rung = np.full(len(number), np.inf)
    tick = np.flatnonzero(use)
    np.minimum.at(rung, place[method.alone[use]], tick[method.alone[use]])
    before = tick < rung[place]
    np.maximum.at(began, place[before], method.ratio[tick[before]])
    overlaps = np.zeros(len(number), bool)
    np.logical_or.at(overlaps, place, scene.out[use])
    return began, overlaps


def at_knob(found: Run, listed: list[Method], knob: float, *, hindsight: bool) -> Outcome:
    """What one setting gives, pooled over the homes."""
    delays, alarms = [], 0
    apart = {"outage_alarms": 0, "outage_alarms_seen_by_heartbeats": 0, "alone": 0}
    for scene, method in zip(found.scenes, listed, strict=True):
        ratio, overlaps = first_ring(scene, method, hindsight)
        rings = ratio >= knob
        alarms += int((rings & ~overlaps).sum())
        apart["outage_alarms"] += int((rings & overlaps).sum())
        if (scene.home.layout.kind == Kind.HEARTBEAT).any():
            apart["outage_alarms_seen_by_heartbeats"] += int((rings & overlaps).sum())
        use = scene.scored & (scene.last > 0) & ~(scene.absent & hindsight)
        reached = np.unique(method.silence[use & method.alone])
        rang = np.unique(method.silence[use & (method.ratio >= knob)])
        apart["alone"] += int((~np.isin(reached, rang)).sum())
        delays.append(hours_to_ring((method.branch >= knob) | method.branch_alone))
    return Outcome(np.concatenate(delays), _blocks(found), alarms, found.days, knob, apart)


def _blocks(found: Run) -> NDArray[np.int64]:
    """Home and day of each collapse, as one number."""
    return np.concatenate(
        [
            scene.ticks[scene.collapses] // DAY_MS + n * 10_000_000
            for n, scene in enumerate(found.scenes)
        ]
    )


def knob_for(found: Run, listed: list[Method], *, hindsight: bool) -> float:
    """The quickest setting with no more than one false alarm per 30 monitored days, pooled."""
    ratios = []
    for scene, method in zip(found.scenes, listed, strict=True):
        ratio, overlaps = first_ring(scene, method, hindsight)
        ratios.append(ratio[~overlaps])
    ordered = np.sort(np.concatenate(ratios))[::-1]
    allowed = int(found.days / MONTH_DAYS)
    return float(np.nextafter(ordered[allowed], np.inf)) if len(ordered) > allowed else 0.0


def city_outcome(found: Run, *, hindsight: bool, factor: float = 1.0) -> Outcome:
    """Fixed rules, their limits times the factor: each silence of each rule rings once."""
    delays, alarms, apart = [], 0, {"outage_alarms": 0}
    for scene in found.scenes:
        for ticks in rivals.city(scene, factor):
            on = ticks & scene.scored & ~(scene.absent & hindsight)
            start = np.flatnonzero(on & ~np.concatenate([[False], on[:-1]]))
            end = np.flatnonzero(on & ~np.concatenate([on[1:], [False]]))
            for a, b in zip(start.tolist(), end.tolist(), strict=True):
                if scene.out[a : b + 1].any():
                    apart["outage_alarms"] += 1
                else:
                    alarms += 1
        rung = rivals.branch_city(scene, factor)
        delays.append(hours_to_ring(rung))
    return Outcome(np.concatenate(delays), _blocks(found), alarms, found.days, factor, apart)


def city_factor(found: Run, *, hindsight: bool) -> float:
    """The least factor on the limits of cities with no more than one false alarm per 30 days."""
    allowed = int(found.days / MONTH_DAYS)
    low, high = 0.0, 16.0
    for _ in range(12):
        middle = (low + high) / 2
        rings = city_outcome(found, hindsight=hindsight, factor=middle).false_alarms
        low, high = (middle, high) if rings > allowed else (low, middle)
    return high


def results(found: Run, past: Run | None = None) -> dict[str, Any]:
    """Every method with and without hindsight, at the same rate; the detector at its own budget.

    past: the part for choosing of the same homes. Then each method is shown as well at the setting
    that was right there: the rate that comes of it is what a city would have got.
    """
    told: dict[str, Any] = {}
    for hindsight in (False, True):
        listed = methods(found, hindsight=hindsight)
        knobs = {name: knob_for(found, one, hindsight=hindsight) for name, one in listed.items()}
        at = {
            name: at_knob(found, one, knobs[name], hindsight=hindsight)
            for name, one in listed.items()
        }
        at["detector_at_its_budget"] = at_knob(
            found, listed["detector"], 1.0 / BUDGET, hindsight=hindsight
        )
        at["city"] = city_outcome(found, hindsight=hindsight)
        at["city_same_rate"] = city_outcome(
            found, hindsight=hindsight, factor=city_factor(found, hindsight=hindsight)
        )
        if past is not None:
            at |= _set_on_the_past(found, listed, past, hindsight=hindsight)
        key = "with_hindsight" if hindsight else "without_hindsight"
        told[key] = {name: outcome.document() for name, outcome in at.items()}
        told[key]["ratio_interval_95"] = ratio_interval(at["detector"], at["line"])
    told["homes"] = [_home(found, k) for k in range(len(found.scenes))]
    return told


def _set_on_the_past(
    found: Run, listed: dict[str, list[Method]], past: Run, *, hindsight: bool
) -> dict[str, Outcome]:
    before = methods(past, hindsight=hindsight)
    at = {
        f"{name}_set_on_the_past": at_knob(
            found, one, knob_for(past, before[name], hindsight=hindsight), hindsight=hindsight
        )
        for name, one in listed.items()
    }
    factor = city_factor(past, hindsight=hindsight)
    at["city_set_on_the_past"] = city_outcome(found, hindsight=hindsight, factor=factor)
    return at


def _home(found: Run, k: int) -> dict[str, Any]:
    """One home at the settings that were found for all."""
    one = Run([found.scenes[k]], [found.traces[k]])
    every, mine = methods(found, hindsight=False), methods(one, hindsight=False)
    scene = found.scenes[k]
    told: dict[str, Any] = {
        "home": scene.home.name,
        "days": round(scene.days, 1),
        "collapses": len(scene.collapses),
        "repaired": scene.home.repaired,
    }
    for name in every:
        knob = knob_for(found, every[name], hindsight=False)
        told[name] = at_knob(one, mine[name], knob, hindsight=False).document()
    told["detector_at_its_budget"] = at_knob(
        one, mine["detector"], 1.0 / BUDGET, hindsight=False
    ).document()
    told["contact_calls"] = _contacts(found.traces[k], scene)
    return told


def _contacts(traced: Trace, scene: Scene) -> int:
    contact = np.isin(traced.other, (Cause.CONTACT_AWAY, Cause.CONTACT_UNKNOWN)) & scene.scored
    return len(np.unique(scene.silence[contact]))


def figures(told: dict[str, Any]) -> dict[str, float]:
    """The names that others read."""
    blind = told["without_hindsight"]
    own, line, fixed = blind["detector"], blind["line"], blind["fixed"]
    budget = blind["detector_at_its_budget"]
    homes = {
        f"{home['home'].replace('-', '_')}_{name}median_delay_h": home[method]["median_delay_h"]
        for home in told["homes"]
        for name, method in (("", "detector"), ("line_", "line"))
    }
    return homes | {
        "median_delay_h": own["median_delay_h"],
        "p90_delay_h": own["p90_delay_h"],
        "line_median_delay_h": line["median_delay_h"],
        "fixed_median_delay_h": fixed["median_delay_h"],
        "city_median_delay_h": blind["city"]["median_delay_h"],
        "line_p90_delay_h": line["p90_delay_h"],
        "line_outages_known_median_delay_h": blind["line_outages_known"]["median_delay_h"],
        "city_same_rate_median_delay_h": blind["city_same_rate"]["median_delay_h"],
        "false_alarms_per_30d": own["false_alarms_per_30d"],
        "false_alarms_per_30d_low": own["interval_95"][0],
        "false_alarms_per_30d_high": own["interval_95"][1],
        "outage_alarms": float(own["apart"]["outage_alarms_seen_by_heartbeats"]),
        "budget_median_delay_h": budget["median_delay_h"],
        "budget_false_alarms_per_30d": budget["false_alarms_per_30d"],
        "median_of_line_median": own["median_delay_h"] / max(line["median_delay_h"], 1e-9),
        "median_of_line_median_low": blind["ratio_interval_95"][0],
        "median_of_line_median_high": blind["ratio_interval_95"][1],
    }
