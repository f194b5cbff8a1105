"""What becomes of each rule's state when one rule set takes over from another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from rules.ruleset import LOOKS, Rule, RuleSet

Outcome = Literal["kept", "migrated", "reset"]


class Carried(msgspec.Struct, frozen=True):
    """What became of the state of one public rule, or variant of it. rule: its name. left:
    instances of what it no longer watches. watched: devices that it watches now, None = it is
    gone, or that isn't known."""

    rule: str
    outcome: Outcome
    why: str
    left: int = 0
    watched: int | None = None


class Known(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a machine row beside its state. id: of the rule, with its variant behind it
    as in `RuleCard.name`. part: "" also in snapshots that knew one row a rule."""

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
    return Known(rule.card.name, rule.card.hash, rule.shape, rule.part)


def as_now(old: tuple[Known, ...], new: RuleSet) -> tuple[Known, ...]:
    """Saved before shapes told which way a rule looks: it looked as it does now."""
    shapes: dict[tuple[str, str, str], str] = {}
    for rule in new.rules:
        shapes.setdefault((rule.id, rule.part, rule.shape.partition(LOOKS)[0]), rule.shape)
    return tuple(
        msgspec.structs.replace(
            row, shape=shapes.get((public_id(row.id), row.part, row.shape), row.shape)
        )
        for row in old
    )


def compared(
    old: Iterable[Known], new: RuleSet, left: Mapping[str, int] | None = None
) -> tuple[Carried, ...]:
    """One entry for each public rule and variant of either set, sorted by name. left: instances
    by name."""
    now: dict[str, list[Known]] = {}
    for row in known(new):
        now.setdefault(row.id, []).append(row)
    then: dict[str, list[Known]] = {}
    for row in old:
        then.setdefault(row.id, []).append(row)
    report = [_arrived(name, now[name], then) for name in now if name not in then]
    for name, rows in then.items():
        if name not in now:
            report.append(_went(name, rows, now))
            continue
        outcome, why = _became(rows, now[name])
        gone = 0 if left is None or outcome == "reset" else left.get(name, 0)
        if gone:
            why += f"; {gone} instances left: what they were about is no longer watched"
        report.append(Carried(name, outcome, why, gone))
    return tuple(sorted(report, key=lambda carried: carried.rule))


def _arrived(name: str, rows: list[Known], then: Mapping[str, list[Known]]) -> Carried:
    """A rule that is new, or a variant, which takes over from the rule itself."""
    before = then.get(public_id(name))
    if before is None:
        return Carried(name, "reset", "the rule is new")
    outcome, why = _became(before, rows)
    return Carried(name, _alike(outcome), f"a variant of its own now: {why}")


def _went(name: str, rows: list[Known], now: Mapping[str, list[Known]]) -> Carried:
    after = now.get(public_id(name))
    if after is None or public_id(name) == name:
        return Carried(name, "reset", "the rule is gone")
    outcome, why = _became(rows, after)
    return Carried(name, _alike(outcome), f"the variant is gone, its devices meet the rule: {why}")


def _alike(outcome: Outcome) -> Outcome:
    return "migrated" if outcome == "kept" else outcome


def public_id(name: str) -> str:
    """Of a rule, from the name of any of its variants.

    >>> public_id("firewater.pressure_low@grid=340199")
    'firewater.pressure_low'
    """
    return name.partition("@")[0]


def going_on(old: Iterable[Known], new: RuleSet) -> frozenset[tuple[str, str]]:
    """(name then, name now) of variants of a rule between which a device's state goes on."""
    then: dict[str, list[Known]] = {}
    for row in old:
        then.setdefault(row.id, []).append(row)
    now: dict[str, list[Known]] = {}
    for row in known(new):
        now.setdefault(row.id, []).append(row)
    grouped = {rule.card.name for rule in new.rules if rule.group is not None}
    return frozenset(
        (before, after)
        for before, rows in then.items()
        for after, rows_now in now.items()
        if public_id(before) == public_id(after)
        and (before == after or after not in grouped)
        and _became(rows, rows_now)[0] != "reset"
    )


def _became(then: list[Known], now: list[Known]) -> tuple[Outcome, str]:
    """What becomes of the machine rows of one public rule, and why."""
    shape_of = {row.part: row.shape for row in now}  # Their ids may be of two variants.
    lost = [row for row in then if shape_of.get(row.part) != row.shape]
    if not lost and all(row.hash == now[0].hash for row in then):
        return "kept", "unchanged"
    if not lost:
        return "migrated", "only its numbers or selection changed" + _of_groups(now)
    told = [
        f"{row.part or 'it'} asks something else: {row.shape} became {shape_of[row.part]}"
        if row.part in shape_of
        else f"{row.part or 'what it was as a whole'} is gone"
        for row in lost
    ]
    return ("reset" if len(lost) == len(then) else "migrated"), "; ".join(told)


def _of_groups(rows: list[Known]) -> str:
    if not any(row.shape.startswith("group ") for row in rows):
        return ""
    return "; a device whose answer a changed limit leaves open counts once it has spoken again"
