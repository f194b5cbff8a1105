"""`sequence`, `debounce` and `during` of a rule to conditions; what makes no sense is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rules.document import Reader
from rules.expr.check import checked
from rules.expr.composed import Debounced, During, Sequence
from rules.expr.plan import (
    Both,
    Truth,
    asking,
    attributes_of,
    bases_of,
    holds,
    silences_of,
)
from rules.expr.syntax import ExpressionError
from rules.finding import suggest
from rules.group.judge import is_true_of_none
from rules.named import Named
from rules.schedule import Part
from rules.schema import WrittenRule

Fault = Callable[[str, str, str], None]
"""(key, problem, mend)."""


def sequence_of(reader: Reader, written: WrittenRule) -> Truth | None:
    """The condition of a rule with `sequence`; None with a finding that says why not."""
    before = len(reader.findings)
    steps = []
    for step in written.sequence:
        try:
            plan = checked(step.when) if step.when else None
        except ExpressionError as error:
            problem = f"{error.problem} (column {error.at})"
            reader.fault(step.line, f"{step.path}.when", problem, error.mend)
            continue
        if plan is not None:
            steps.append(plan)
            problem, mend = _of_step(plan, written)
            if problem:
                reader.fault(step.line, f"{step.path}.when", problem, mend)
    if len(reader.findings) > before or len(steps) < 2:
        return None
    return holds(Sequence(tuple(steps), tuple(step.within_ms for step in written.sequence[1:])))


def _of_step(plan: Truth, written: WrittenRule) -> tuple[str, str]:
    if silences_of(plan):
        return "absent is no step: nothing is read", "write a rule of its own for silence"
    if not bases_of(plan):
        return "looks at no reading", "name a quantity"
    if attributes_of(plan) and written.safety:
        mend = "select in on: there, devices that the registry doesn't know still count"
        return "a safety rule may not hang on an attribute here", mend
    return "", ""


_SHORT_FOR = {"first": "keep", "last": "for and clear_for"}


_ONE_DEVICE = {
    "sequence": "write the sequence as a rule of its own, without group",
    "debounce": "write for:, or debounce: last 30s",
}


def _is_short(written: WrittenRule) -> bool:
    return written.debounce is not None and written.debounce.kind in _SHORT_FOR


def spelt_out(written: WrittenRule) -> WrittenRule:
    """A rule or level with what `debounce: first` and `debounce: last` are short for."""
    if written.debounce is None or not _is_short(written):
        return written
    for_ms = written.debounce.for_ms
    if written.debounce.kind == "first":
        return replace(written, keep_ms=for_ms)
    return replace(written, for_ms=for_ms, clear_for_ms=for_ms)


def check_composed(written: WrittenRule, when: Truth, fault: Fault) -> None:
    """What doesn't go together."""
    if written.sequence:
        _check_sequence(written, fault)
    for key, mend in _ONE_DEVICE.items() if written.group is not None else ():
        if key in written.lines and not (key == "debounce" and _is_short(written)):
            fault(key, f"{key} follows the readings of one device, a group has none", mend)
    for key in ("debounce", "during"):
        if key in written.lines and silences_of(when):
            fault(key, f"absent has no {key}: it is about missing data", f"leave {key} out")
    if written.debounce is not None and _is_short(written):
        kind = written.debounce.kind
        for key in ("for", "clear_for", "keep"):
            if key in written.lines:
                problem = f"debounce: {kind} is short for {_SHORT_FOR[kind]}, {key} is there too"
                fault("debounce", problem, f"write {_SHORT_FOR[kind]}, and leave debounce out")


def _check_sequence(written: WrittenRule, fault: Fault) -> None:
    if "when" in written.lines:
        fault("sequence", "when and sequence are two conditions", "keep one of them")
    if written.for_ms:
        fault("for", "a sequence is complete at one moment and can't last", "leave for out")
    if written.debounce is not None:
        fault("debounce", "a sequence is complete at one moment", "leave debounce out")
    if not {"clear", "keep"} & written.lines.keys() and not written.latched:
        mend = "add clear:, keep: or latched: true"
        fault("sequence", "nothing says when the alert of a sequence ends", mend)


def composed(
    written: WrittenRule, when: Truth, clear: Truth | None, named: Named, fault: Fault
) -> Truth:
    """The condition with what the other keys make of it."""
    if written.group is not None:
        return _of_group(written, when, clear, named, fault)
    parts = _parts(when)
    debounce = written.debounce
    if debounce is not None and debounce.kind == "readings":
        # Attributes don't change from reading to reading.
        steady = tuple(p for p in parts if attributes_of(p) and not bases_of(p))
        rest = tuple(part for part in parts if part not in steady)
        parts = (*steady, holds(Debounced(_joined(rest), debounce.least, debounce.of)))
    schedule = _schedule(written, named, fault)
    if schedule:
        about = {*bases_of(when), *(() if clear is None else bases_of(clear))}
        parts = (*parts, holds(During(named.schedule(schedule), tuple(sorted(about)))))
    return _joined(parts)


def _of_group(
    written: WrittenRule, when: Truth, clear: Truth | None, named: Named, fault: Fault
) -> Truth:
    """A device counts inside the schedule only; what else there is is short for other keys."""
    schedule = _schedule(written, named, fault)
    if not schedule:
        return when
    if is_true_of_none(when):
        problem = "outside of its hours no device counts, and when is true of none"
        fault("during", problem, "count what is wrong: devices(not ...) >= 2")
    about = {*bases_of(when), *(() if clear is None else bases_of(clear))}
    inside = holds(During(named.schedule(schedule), tuple(sorted(about))))
    return asking(when, lambda plan: Both((*_parts(plan), inside)))


def _schedule(written: WrittenRule, named: Named, fault: Fault) -> tuple[Part, ...]:
    if not isinstance(written.during, str):
        return written.during
    if written.during and written.during not in named.schedules:
        close = suggest(written.during, named.schedules) if named.schedules else ""
        mend = close or "name it in schedules:"
        fault("during", f"unknown schedule {written.during}", mend)
    return named.schedules.get(written.during, ())


def _parts(when: Truth) -> tuple[Truth, ...]:
    return when.parts if isinstance(when, Both) else (when,)


def _joined(parts: tuple[Truth, ...]) -> Truth:
    return Both(parts) if len(parts) > 1 else parts[0]
