"""What becomes of each rule's state when one rule set takes over from another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from rules.ruleset import Rule, RuleSet

Outcome = Literal["kept", "migrated", "reset"]


class Carried(msgspec.Struct, frozen=True):
    """What became of one public rule's state. left: instances of what it no longer
    watches."""

    rule: str
    outcome: Outcome
    why: str
    left: int = 0


class Known(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a machine row beside its state. part: "" also in snapshots that knew one
    row a rule."""

    id: str
    hash: str
    shape: str
    part: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return (self.id, self.part)


def known(ruleset: RuleSet) -> tuple[Known, ...]:
    """In the order of the machine rows."""
    return tuple(map(_known, ruleset.rules))


def _known(rule: Rule) -> Known:
    return Known(rule.id, rule.card.hash, rule.shape, rule.part)


def compared(
    old: Iterable[Known], new: RuleSet, left: Mapping[str, int] | None = None
) -> tuple[Carried, ...]:
    """One entry for each public rule of either set, sorted by id. left: instances by rule id."""
    now: dict[str, list[Known]] = {}
    for row in known(new):
        now.setdefault(row.id, []).append(row)
    then: dict[str, list[Known]] = {}
    for row in old:
        then.setdefault(row.id, []).append(row)
    report = [Carried(name, "reset", "the rule is new") for name in now if name not in then]
    for name, rows in then.items():
        if name not in now:
            report.append(Carried(name, "reset", "the rule is gone"))
            continue
        outcome, why = _became(rows, now[name])
        gone = 0 if left is None or outcome == "reset" else left.get(name, 0)
        if gone:
            why += f"; {gone} instances left: what they were about is no longer watched"
        report.append(Carried(name, outcome, why, gone))
    return tuple(sorted(report, key=lambda carried: carried.rule))


def _became(then: list[Known], now: list[Known]) -> tuple[Outcome, str]:
    """What becomes of the machine rows of one public rule, and why."""
    shape_of = {row.key: row.shape for row in now}
    lost = [row for row in then if shape_of.get(row.key) != row.shape]
    if not lost and all(row.hash == now[0].hash for row in then):
        return "kept", "unchanged"
    if not lost:
        return "migrated", "only its numbers or selection changed"
    told = [
        f"{row.part or 'it'} asks something else: {row.shape} became {shape_of[row.key]}"
        if row.key in shape_of
        else f"{row.part or 'what it was as a whole'} is gone"
        for row in lost
    ]
    return ("reset" if len(lost) == len(then) else "migrated"), "; ".join(told)
