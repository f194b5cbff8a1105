"""Rows that agree with what rules for one quantity have come to: they only show that it lasts.

A reading that says to a rule what the one before it said changes nothing, whether the rule is
inactive, waits or has raised (`rules.machine`). So of each device it is kept what the rules for a
quantity were asked last, and a row that means the same needn't be looked at: an instance that is
there learns that it was heard.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TaggedBatch
from rules.entries import FIRST
from rules.instances import Instances
from rules.members import LIVE, Members
from rules.pieces import UNASKED, Pieces
from rules.positions import true_at
from rules.ruleset import Rule
from rules.sheet import DOUBT, Index

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Ranks = NDArray[np.int32]


class Standing:
    """The rules of one family that ask for one plain quantity alone. Implements `rest.Listener`.

    judged: int16 by rank, in which of the quantity's pieces the newest value lies that all of them
    were asked about, or `UNASKED`; made when it is first needed, and no part of snapshots.
    """

    def __init__(
        self, rules: dict[int, Rule], pieces: Pieces, members: Members, instances: Instances
    ) -> None:
        self._rules = rules
        self._pieces = pieces
        self._members = members
        self._instances = instances
        self._judged = np.empty(0, np.int16)

    @property
    def numbers(self) -> list[int]:
        """Their machine rows."""
        return list(self._rules)

    def says_nothing(self, value: Floats, ts_ms: Times, rank: Ranks) -> Bools:
        if int(rank.max(initial=-1)) >= len(self._judged):
            return np.zeros(len(rank), np.bool_)
        same: Bools = self._judged.take(rank) == self._pieces.of_values(value)
        for number, rule in self._rules.items():
            at, slot = self._instances_of(number, rank)
            if not len(at):
                continue
            table = self._instances.table
            goes_on = (ts_ms[at] >= table.clock[slot]) & ~table.unknown[slot]
            if rule.missing_ms:
                goes_on &= ts_ms[at] - table.seen[slot] < rule.missing_ms
            same[at] &= goes_on
        return same

    def take(self, value: Floats, ts_ms: Times, rank: Ranks) -> None:
        del value
        for number, rule in self._rules.items():
            at, slot = self._instances_of(number, rank)
            if len(at):
                self._instances.hear(slot, ts_ms[at], waits=bool(rule.missing_ms))

    def asked(self, batch: TaggedBatch, rows: Index, *, all_rules: bool) -> None:
        """Rows of the quantity that rules are asked about now, before anything comes of it."""
        rank = self._members.rank.take(batch.device[rows])
        room = int(rank.max()) + 1
        if room > len(self._judged):
            family = self._members.family_of(next(iter(self._rules)))
            grown = np.zeros(max(room, self._members.room(family)), np.int16)
            grown[: len(self._judged)] = self._judged
            self._judged = grown
        ts_ms, value = batch.ts_ms[rows], batch.value[rows]
        self._judged[rank] = self._pieces.of_values(value) if all_rules else UNASKED
        plain = ((batch.flags[rows] & DOUBT) == 0) & ~np.isnan(value)
        for number in self._rules:
            at, slot = self._instances_of(number, rank)
            # What is older than what an instance has worked in isn't worked in.
            plain[at] &= ts_ms[at] >= self._instances.table.clock[slot]
        if not plain.all():
            self._judged[rank[~plain]] = UNASKED
        if len(rank) > 1:
            order = np.argsort(rank, kind="stable")
            rank, ts_ms = rank[order], ts_ms[order]
            back = (rank[1:] == rank[:-1]) & (ts_ms[1:] < ts_ms[:-1])
            self._judged[rank[1:][back]] = UNASKED

    def look_again(self, ranks: Ranks) -> None:
        """An instance of these devices has ended."""
        self._judged[ranks[ranks < len(self._judged)]] = UNASKED

    def _instances_of(self, number: int, rank: Ranks) -> tuple[Index, NDArray[np.int32]]:
        """Rows of devices with a live instance of the rule, and its slot."""
        if not self._members.active[LIVE][number]:
            return _NONE
        slots = self._members.slots(LIVE, number).take(rank)
        at = true_at(slots >= 0)
        return at, slots[at]


_NONE = (np.empty(0, np.intp), np.empty(0, np.int32))


def standing(
    rules: dict[int, Rule], members: Members, instances: Instances
) -> dict[tuple[int, int], Standing]:
    """By (family, quantity); rules whose instances may stand while others of them rest."""
    asked: dict[tuple[int, int], dict[int, Rule]] = {}
    for number, rule in rules.items():
        if len(rule.quantities) == 1 and rule.quantities[0] < FIRST:
            asked.setdefault((members.family_of(number), rule.quantities[0]), {})[number] = rule
    found = {}
    for key, mine in asked.items():
        plans = [p for rule in mine.values() for p in (rule.when, rule.clear) if p is not None]
        pieces = Pieces.of(plans, key[1])
        if not pieces.exact and not any(rule.keep_ms for rule in mine.values()):
            found[key] = Standing(mine, pieces, members, instances)
    return found
