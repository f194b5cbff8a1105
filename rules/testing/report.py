"""What a person is told of a failed test: what was expected, what came, and the nearest miss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rules.ruleset import Rule
from rules.testing.case import Case, Expectation
from rules.testing.judge import Came, Judgement, Miss, is_of
from rules.testing.reasons import why_quiet
from rules.testing.timeline import Shown, timeline
from rules.testing.times import offset_text


def told(case: Case, judgement: Judgement, rules: Mapping[str, Sequence[Rule]]) -> list[str]:
    """Lines about a failed test. rules: machine rows by id."""
    lines: list[str] = []
    for miss in judgement.misses:
        lines += _miss(case, miss, rules)
    nearest = {id(miss.nearest) for miss in judgement.misses}
    for came in judgement.extra:
        if id(came) not in nearest:
            lines.append(f"not expected: {_came(came)}")
    devices = {miss.wanted.device for miss in judgement.misses}
    devices |= {came.device for came in judgement.extra}
    expected = [_shown(one, one.device) for one in case.expect if one.device in devices]
    heard = [_shown(came, wanted.device) for wanted, came in judgement.met]
    heard += [_shown(came, _named(case, came)) for came in judgement.extra]
    heard = [one for one in heard if one.device in devices]
    drawn = devices if devices <= case.devices.keys() else set(case.devices)
    return lines + timeline(case, drawn, expected, heard)


def _shown(one: Expectation | Came, device: str) -> Shown:
    return Shown(one.rule, device, one.at_ms, one.change)


def _named(case: Case, came: Came) -> str:
    """As the test names the device or group; as the alert does when it doesn't."""
    return next((e.device for e in case.expect if is_of(e.device, came.device)), came.device)


def _miss(case: Case, miss: Miss, rules: Mapping[str, Sequence[Rule]]) -> Iterator[str]:
    wanted, nearest = miss.wanted, miss.nearest
    yield f"expected (line {wanted.line}): {_expected(wanted)}"
    if nearest is not None:
        said = ", ".join(f"{w.name} {_plain(w.came)} and not {w.wanted}" for w in miss.wrong)
        yield f"  nearest: {_came(nearest)}"
        yield f"  it differs in: {said}"
        return
    yield f"  nothing of {wanted.rule} that isn't expected elsewhere came"
    device = case.devices.get(wanted.device)
    if device is not None and wanted.change == "raised":
        why = [why_quiet(case, rule, device) for rule in rules.get(wanted.rule, ())]
        yield from dict.fromkeys(f"  {one}" for one in why if one)


def _expected(wanted: Expectation) -> str:
    more = [f"{name} {text}" for name, text in wanted.checks.items()]
    if wanted.known_at_ms is not None:
        more.append(f"known at {offset_text(wanted.known_at_ms)}")
    extra = f" ({', '.join(more)})" if more else ""
    at = offset_text(wanted.at_ms)
    return f"at {at} {wanted.rule} of {wanted.device} is {wanted.change}{extra}"


def _came(came: Came) -> str:
    data = came.data
    more = [f"severity {data['severity']}"]
    sample = next((s for s in data["samples"] if s["decided"] == came.change), None)
    if sample is not None and sample["value"] is not None:
        unit = "" if sample["unit"] == "1" else f" {sample['unit']}"
        more.append(f"{sample['quantity']} {sample['value']:g}{unit}")
    if data["timing"]["late"]:
        more.append("late")
    more.append(f"known at {offset_text(came.known_ms)}")
    at = offset_text(came.at_ms)
    return f"at {at} {came.rule} of {came.device} is {came.change} ({', '.join(more)})"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, list | tuple):
        return " ".join(str(one) for one in value) or "none"
    return "none" if value is None else str(value)
