"""From a checked rule to its card and its machine rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from contracts.quantities import QUANTITIES
from contracts.rulebook import PLACEHOLDERS, Inhibition, Level, RuleCard
from rules.durations import duration_text
from rules.expr.composed import During
from rules.expr.plan import (
    Both,
    Silent,
    Truth,
    attributes_of,
    bases_of,
    readings_of,
    show,
    silences_of,
)
from rules.lasting import keep_of
from rules.quieting import without_telling
from rules.ruleset import Rule, digest
from rules.schema import MISSING_PART, WrittenRule, placeholders_of


@dataclass(frozen=True, slots=True)
class Question:
    """One question: the rule's only one, or that of one of its levels. No faults are left in it.

    timed: whether it is decided in event time, at marks.
    """

    written: WrittenRule
    when: Truth
    clear: Truth | None
    timed: bool = False

    @property
    def waits(self) -> bool:
        """Whether it can only be decided at marks."""
        plans = (self.when,) if self.clear is None else (self.when, self.clear)
        derived = any(one.derived is not None for plan in plans for one in readings_of(plan))
        alone = bool(self.written.for_ms or silences_of(self.when))
        return alone or derived or self.written.group is not None


def rows_of(written: WrittenRule, asked: Sequence[Question]) -> tuple[Rule, ...]:
    """The machine rows of one public rule: its question or levels, and the silence that raises."""
    # Levels decided in different orders would tear one alert in two. But danger never waits.
    together = any(one.waits for one in asked) and not written.safety
    asked = [replace(one, timed=one.waits or together) for one in asked]
    silent = written.missing_ms if written.missing_raises else 0
    levels = tuple(_level(one) for one in asked)
    if silent:
        text = show(_silence(asked[0].when, silent))
        missing = Level(
            name=MISSING_PART,
            severity=levels[0].severity,
            silence_ms=silent,
            timed=True,
            condition_text=text,
        )
        levels = (missing, *levels)
    selectors = tuple(sorted(written.selectors.items()))
    card = _card(written, asked, levels)
    said = _meaning(written, asked, card, selectors)
    card = msgspec.structs.replace(card, hash=digest(said), decides=digest(without_telling(said)))
    several = bool(card.levels)
    first = 1 if silent else 0
    keeps = [keep_of(one.written, one.when) for one in asked]
    rows = [
        Rule(
            card=card,
            selectors=selectors,
            when=one.when,
            clear=one.clear,
            for_ms=one.written.for_ms,
            clear_for_ms=clear_for_ms,
            # What ends by itself isn't open for want of data.
            missing_ms=0 if keep_ms else written.missing_ms,
            keep_ms=keep_ms,
            flapping=written.flapping,
            late=written.late,
            timed=one.timed,
            group=written.group,
            part=one.written.name,
            order=order,
            severity=one.written.severity if several else 0,
            level=order if several else -1,
            file=written.file,
            line=written.line,
        )
        for order, (one, (keep_ms, clear_for_ms)) in enumerate(
            zip(asked, keeps, strict=True), first
        )
    ]
    if silent:
        rows.insert(0, _silence_row(rows[0], _silence(asked[0].when, silent), levels[0].severity))
    return tuple(rows)


def attribute_parts(when: Truth) -> tuple[Truth, ...]:
    """The parts of an `and` that ask only for attributes."""
    parts = when.parts if isinstance(when, Both) else (when,)
    return tuple(
        part
        for part in parts
        if attributes_of(part) and not readings_of(part) and not silences_of(part)
    )


def _silence(when: Truth, for_ms: int) -> Truth:
    """Silence of the devices that `when` is about."""
    about = attribute_parts(when)
    return Both((Silent(for_ms), *about)) if about else Silent(for_ms)


def _silence_row(like: Rule, when: Truth, severity: int) -> Rule:
    return replace(
        like,
        when=when,
        clear=None,
        for_ms=0,
        clear_for_ms=0,
        missing_ms=0,
        keep_ms=0,
        flapping=None,
        late="annotate",
        timed=True,
        part=MISSING_PART,
        order=0,
        severity=severity,
        level=0,
    )


def _level(one: Question) -> Level:
    return Level(
        name=one.written.name,
        severity=one.written.severity,
        for_ms=one.written.for_ms,
        timed=one.timed,
        condition_text=show(one.when),
    )


def _card(written: WrittenRule, asked: Sequence[Question], levels: tuple[Level, ...]) -> RuleCard:
    read = readings_of(asked[-1].when)
    worst = levels[-1]
    texts = [f"{level.name}: {level.condition_text}" for level in levels if level.name]
    return RuleCard(
        id=written.id,
        hash="",
        family=written.family,
        condition=written.condition,
        severity=worst.severity,
        title=written.title,
        reason=written.reason,
        runbook=written.runbook,
        standard=written.standard,
        owner=written.owner,
        safety=written.safety,
        latched=written.latched,
        timed=any(one.timed for one in asked),
        for_ms=0 if written.levels else worst.for_ms,
        unit=read[0].unit if read and written.group is None else "1",
        condition_text="; ".join(texts) if written.levels else worst.condition_text,
        levels=levels if len(levels) > 1 else (),
        inhibit=written.inhibit,
        shadow=written.shadow,
        budget=written.budget,
        late=written.late,
        flapping=written.flapping is not None,
        detectors=_detectors(asked),
        tells=_tells(written),
    )


def _tells(written: WrittenRule) -> tuple[str, ...]:
    texts = (written.title, written.reason, written.runbook)
    named = {name for text in texts for name in placeholders_of(text)}
    return tuple(sorted(named - PLACEHOLDERS.keys()))


def _detectors(asked: Sequence[Question]) -> tuple[str, ...]:
    plans = [plan for one in asked for plan in (one.when, one.clear) if plan is not None]
    bases = {base for plan in plans for base in bases_of(plan)}
    return tuple(sorted({QUANTITIES[base].detector for base in bases} - {""}))


def _meaning(
    written: WrittenRule,
    asked: Sequence[Question],
    card: RuleCard,
    selectors: tuple[tuple[str, tuple[str, ...]], ...],
) -> dict[str, Any]:
    """What decides: no comments, no order of keys, no texts for people.

    A key that came into the language later is here only where a rule has it: the hashes of
    rules without it stay what they were.
    """
    missing = duration_text(written.missing_ms)
    said: dict[str, Any] = {
        "id": card.id,
        "condition": card.condition,
        "family": card.family,
        "on": {name: list(values) for name, values in selectors},
        "missing": f"raise {missing}" if written.missing_raises else missing,
        "severity": card.severity,
        "safety": card.safety,
        "latched": card.latched,
    }
    if written.group is not None:
        said["group"] = written.group
    if written.keep_ms:
        said["keep"] = duration_text(written.keep_ms)
    if written.flapping is not None:
        one = written.flapping
        said["flapping"] = [one.raises, duration_text(one.within_ms), duration_text(one.for_ms)]
    if written.late != "annotate":
        said["late"] = written.late
    if card.inhibit:
        said["inhibit"] = [_inhibition(one) for one in card.inhibit]
    if card.shadow:
        said["shadow"] = True
    if card.budget:
        said["budget"] = card.budget
    if not written.levels:
        return said | _question(asked[0])
    levels = [
        {"name": one.written.name, "severity": one.written.severity} | _question(one)
        for one in asked
    ]
    return said | {"levels": levels}


def _inhibition(one: Inhibition) -> str:
    linger = f" linger {duration_text(one.linger_ms)}" if one.linger_ms else ""
    return f"{one.by} on {one.on}{linger}"


def _question(one: Question) -> dict[str, Any]:
    schedules = [
        reading.derived.schedule.key
        for reading in readings_of(one.when)
        if isinstance(reading.derived, During)
    ]
    return ({"schedules": schedules} if schedules else {}) | {
        "when": show(one.when),
        "for": duration_text(one.written.for_ms),
        "clear": "" if one.clear is None else show(one.clear),
        "clear_for": duration_text(one.written.clear_for_ms),
    }
