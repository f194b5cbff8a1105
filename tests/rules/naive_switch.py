"""A change of rules at an event time, reading by reading: what `rules.switch` must equal.

Two plain interpreters, and devices that are carried from one to the other by hand. Written from
docs/rules.md; it shares the compiled rules and the interpreter of one rule set, nothing else.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from contracts.batch import Flag
from contracts.transitions import Episode
from rules.ruleset import Rule
from tests.rules.naive import PAST, Instance, Known, Naive, Row, Told, truth
from tests.rules.scene import Mark

NEVER = -(10**18)


@dataclass
class NaiveSwitch:
    """Rules of transitions: those of the new set, then those of the old one."""

    old: Naive
    new: Naive
    at: int
    moved: dict[str, set[int]] = field(
        default_factory=lambda: {"instant": set(), "timed": set()},
    )
    heard: dict[tuple[str, int], list[Row]] = field(default_factory=lambda: defaultdict(list))
    """(mode, device): what the old rules were handed."""

    def remember(self, steps: Iterable[list[Row] | Mark]) -> None:
        """What the old rules were handed before the change was known of."""
        for step in steps:
            kind, rows = ("timed", step.rows) if isinstance(step, Mark) else ("instant", step)
            for row in rows:
                self.heard[kind, row.device].append(row)

    def on_rows(self, rows: list[Row]) -> list[Told]:
        found: list[Told] = []
        for row in rows:
            shown = (row.heard, row.position, row.row)
            if row.device not in self.moved["instant"] and row.ts >= self.at:
                found += self._of_old(self._expired(self.old, row.device, shown))
                self._move("instant", row.device)
                found += self._clamped(self._expired(self.new, row.device, shown))
            if row.device in self.moved["instant"]:
                found += self.new.on_rows([row])
            else:
                self.heard["instant", row.device].append(row)
                found += self._of_old(self.old.on_rows([row]))
        return sorted(found, key=lambda t: (t.position, t.row, t.at, t.rule, t.device))

    def on_time(
        self, rows: list[Row], watermarks: list[int], position: int, heard: int
    ) -> list[Told]:
        there = [w >= self.at - 1 for w in watermarks]
        here = [device for device, gw in enumerate(self.new.gateways) if there[gw]]
        later, earlier = [], []
        for row in rows:
            if row.device in self.moved["timed"] or (row.device in here and row.ts >= self.at):
                later.append(row)
            else:
                earlier.append(row)
                self.heard["timed", row.device].append(row)
        capped = [min(w, self.at - 1) for w in watermarks]
        found = self._of_old(self.old.on_time(earlier, capped, position, heard))
        arriving = {kind: [d for d in here if d not in self.moved[kind]] for kind in self.moved}
        for kind, devices in arriving.items():
            for device in devices:
                self._move(kind, device)
        if any(arriving.values()):
            just = [self.at - 1 if passed else NEVER for passed in there]
            told = self.new.on_time([], just, position, heard)
            moving = {device for devices in arriving.values() for device in devices}
            found += [t for t in told if t.device not in moving]
            found += self._clamped([t for t in told if t.device in moving])
        behind = [w if p else NEVER for w, p in zip(watermarks, there, strict=True)]
        return found + self.new.on_time(later, behind, position, heard)

    def reset(self, rule: int, device: int) -> None:
        name = [*self.new.ruleset.cards, *self.old.ruleset.cards][rule].id
        for naive in (self.old, self.new):
            for row, one in enumerate(naive.ruleset.rules):
                if one.id == name:
                    naive.reset(row, device)

    def _of_old(self, told: list[Told]) -> list[Told]:
        return [replace(t, rule=t.rule + len(self.new.ruleset.cards)) for t in told]

    def _clamped(self, told: list[Told]) -> list[Told]:
        """A rule decides nothing before it is in force."""
        return [replace(t, at=max(t.at, self.at)) for t in told]

    def _expired(self, naive: Naive, device: int, shown: tuple[int, int, int]) -> list[Told]:
        naive.out = []
        for (number, lane, of), instance in list(naive.instances.items()):
            if of == device and naive.ruleset.rules[number].mode == "instant":
                limit = instance.clock if lane == Episode.LATE else self.at - 1
                naive._expire(number, lane, device, instance, limit, shown)
        return sorted(naive.out, key=lambda t: (t.at, t.rule, t.device, t.lane))

    def _move(self, kind: str, device: int) -> None:
        self.moved[kind].add(device)
        for number, rule in enumerate(self.old.ruleset.rules):
            if (rule.mode == "instant") == (kind == "instant"):
                self._carry(number, rule, device)
        for number, rule in enumerate(self.new.ruleset.rules):
            if (rule.mode == "instant") == (kind == "instant"):
                self._recall(number, rule, kind, device)
        watching = {rule.card.family for rule in self.old.ruleset.rules if rule.mode == "silence"}
        if kind == "timed" and self.old.families[device] in watching:
            before = self.old.heard.pop(device, None)
            if before is not None:
                self.new.heard[device] = before

    def _carry(self, number: int, rule: Rule, device: int) -> None:
        moving = {
            lane: self.old.instances.pop((number, lane, device), None)
            for lane in (int(Episode.LIVE), int(Episode.LATE))
        }
        same = [n for n, new in enumerate(self.new.ruleset.rules) if new.id == rule.id]
        if not same or self.new.ruleset.rules[same[0]].shape != rule.shape:
            return
        to, became = same[0], self.new.ruleset.rules[same[0]]
        if not self.new._watches(became, device):
            return
        for lane, instance in moving.items():
            if instance is not None and self._goes_on(became, instance, device):
                self.new.instances[to, lane, device] = instance
        live = moving[int(Episode.LIVE)]
        known = (number, device) in self.old.told_silent
        active = live is not None and live.phase != "inactive"
        if known and (active or became.card.hash == rule.card.hash):
            self.new.told_silent.add((to, device))

    def _goes_on(self, became: Rule, instance: Instance, device: int) -> bool:
        """A running duration whose first reading the new rule excludes begins anew, or ends."""
        value, quantity, *rest = instance.reading
        asked = became.quantities
        if instance.phase != "pending" or asked != (quantity,) or math.isnan(value):
            return True
        attributes = self.new.attributes[device]
        if truth(became.when, {quantity: value}, attributes, False) is not False:
            return True
        if instance.seen <= instance.onset:
            return False
        instance.onset = instance.since = instance.seen
        instance.reading = (math.nan, quantity, rest[0], rest[1], rest[2])
        return True

    def _recall(self, number: int, rule: Rule, kind: str, device: int) -> None:
        """What the old rules over several quantities had heard, newest first counts."""
        if len(rule.quantities) == 1:
            return
        for quantity in rule.quantities:
            if not any(
                quantity in old.quantities
                and len(old.quantities) > 1
                and (old.mode, old.card.family, old.card.safety)
                == (rule.mode, rule.card.family, rule.card.safety)
                for old in self.old.ruleset.rules
            ):
                continue
            for stream in ("all",) if rule.card.safety else ("live", "late"):
                newest = self._newest(kind, device, quantity, stream)
                if newest is not None:
                    key = (number, stream, device * 1000 + quantity)
                    self.new.known[key] = Known(kept=newest)

    def _newest(
        self, kind: str, device: int, quantity: int, stream: str
    ) -> tuple[int, float] | None:
        found = None
        for row in self.heard[kind, device]:
            past = bool(row.flags & PAST)
            if row.quantity != quantity or math.isnan(row.value):
                continue
            if row.flags & (Flag.BAD | Flag.STALE) or (
                stream != "all" and past != (stream == "late")
            ):
                continue
            if found is None or row.ts >= found[0]:
                found = (row.ts, row.value)
        return found
