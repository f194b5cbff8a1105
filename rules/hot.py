"""Rows that may change an instance: picked by rule, then put in order for the machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rules.machine import Events
from rules.members import LATE, LIVE, NOT_WATCHED, Members
from rules.positions import true_at
from rules.ruleset import Hearing
from rules.sheet import LOSES, Beside, Index, Sheet, begins
from rules.verdict import BREACH, HOLDS

Bools = NDArray[np.bool_]
Codes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Grouped:
    """Events by instance; rule, lane, device, slot: one entry per instance."""

    events: Events
    rule: NDArray[np.int16]
    lane: NDArray[np.uint8]
    device: NDArray[np.int32]
    slot: NDArray[np.int32]


class Hot:
    """Gathers events of all rules for one pass."""

    def __init__(self, members: Members, only: Bools | None = None) -> None:
        """only: bool per machine row, of which rules; None = all."""
        self._members = members
        self._only = only
        self._parts: list[tuple[NDArray[np.generic], ...]] = []

    @property
    def asks_all(self) -> bool:
        """Whether all rules are asked in this pass."""
        return self._only is None

    def asks(self, rule: int) -> bool:
        """Whether the machine row is asked in this pass."""
        return self._only is None or bool(self._only[rule])

    def add(
        self,
        *,
        rule: int,
        lane: int,
        device: NDArray[np.int32],
        ts_ms: NDArray[np.int64],
        code: Codes,
        start: Bools,
        reading: Index,
        tick: Bools | None = None,
        seen_ms: NDArray[np.int64] | None = None,
    ) -> None:
        """Events of one rule and lane, in their order inside each device.

        tick: which of them time alone made; None = none. seen_ms: the newest reading behind each;
        None = at the event itself.
        """
        n = len(device)
        if n and self.asks(rule):
            slot = self._members.slots(lane, rule)[self._members.rank[device]]
            numbers = np.full(n, rule, np.int16), np.full(n, lane, np.uint8)
            tick = np.zeros(n, np.bool_) if tick is None else tick
            seen_ms = ts_ms if seen_ms is None else seen_ms
            made = (*numbers, device, slot, ts_ms, code, start, reading, tick, seen_ms)
            self._parts.append(made)

    def grouped(self) -> Grouped | None:
        """All events by instance, order inside kept; None when there are none."""
        if not self._parts:
            return None
        columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        rule, lane, device = columns[:3]
        key = (rule.astype(np.int64) << 1 | lane) << 32 | device
        if (key[1:] < key[:-1]).any():
            order = np.argsort(key, kind="stable")
            columns = [column[order] for column in columns]
            key = key[order]
        rule, lane, device, slot, ts_ms, code, start, reading, tick, seen_ms = columns
        fresh = begins(key)
        first = true_at(fresh)
        instance = np.cumsum(fresh) - 1
        events = Events(instance, ts_ms, code, start, reading, tick, seen_ms)
        return Grouped(events, rule[first], lane[first], device[first], slot[first])


class Picker:
    """Decides which rows of a rule are worth a pass."""

    def __init__(self, members: Members, sheet: Sheet, hot: Hot) -> None:
        self._members = members
        self._sheet = sheet
        self._hot = hot

    def pick(
        self,
        rule: int,
        rows: Index,
        hits: Index,
        coded: Callable[[Index], Codes],
        *,
        hearing: Hearing,
    ) -> None:
        """rows: of the batch, ascending. hits: positions in them that may be breached.

        coded: verdicts at positions. A safety rule has one lane; others keep history apart:
        readings behind the watermark go to the late lane, where readings on time may end an
        episode but never begin one. Rules that drop or ring for them have no such lane.
        """
        members, sheet = self._members, self._sheet
        live, late = members.active[LIVE][rule], members.active[LATE][rule]
        if not len(hits) and not live and not late:
            return
        rank = members.rank[sheet.batch.device[rows]]
        slots = members.slots(LIVE, rule)
        hits = hits[slots[rank[hits]] != NOT_WATCHED]
        one_lane = hearing in ("safety", "fire")
        past = None if one_lane or sheet.past is None else sheet.past[rows]
        fresh_hits = hits if past is None else hits[~past[hits]]
        at = self._of_hot(slots, rank, fresh_hits, live)
        if past is not None:
            at = at[~past[at]]
        start = np.ones(len(at), np.bool_)
        self._push(rule, LIVE, rows, at, coded, start, safety=hearing == "safety")
        if hearing == "drop":
            return
        late_hits = hits[:0] if past is None else hits[past[hits]]
        if late or len(late_hits):
            at = self._of_hot(members.slots(LATE, rule), rank, late_hits, late)
            if sheet.beside is not None:
                # There, time is what the readings say.
                at = at[sheet.beside.tick[rows[at]] != LOSES]
            start = np.zeros(len(at), np.bool_) if past is None else past[at]
            self._push(rule, LATE, rows, at, coded, start)

    def _of_hot(
        self, slots: NDArray[np.int32], rank: NDArray[np.int32], hits: Index, active: int
    ) -> Index:
        """Positions of all rows of devices that have a hit or an active instance."""
        hot = slots[rank] >= 0 if active else np.zeros(len(rank), np.bool_)
        if len(hits):
            mark = np.zeros(len(slots), np.bool_)
            mark[rank[hits]] = True
            hot |= mark[rank]
        return true_at(hot)

    def _push(
        self,
        rule: int,
        lane: int,
        rows: Index,
        at: Index,
        coded: Callable[[Index], Codes],
        start: Bools,
        *,
        safety: bool = False,
    ) -> None:
        if not len(at):
            return
        code = coded(at)
        if self._sheet.unsure is not None:
            # A bad reading is no evidence, but the alarm of a safety rule counts as breached.
            sure = ~self._sheet.unsure[rows[at]]
            alarming = self._sheet.alarming
            if safety and alarming is not None:
                sure |= alarming[rows[at]] & ((code & BREACH) != 0)
            at, code, start = at[sure], code[sure], start[sure]
        if self._sheet.beside is not None:
            self._push_beside(rule, lane, rows[at], code, start, self._sheet.beside)
            return
        batch, picked = self._sheet.batch, rows[at]
        self._hot.add(
            rule=rule,
            lane=lane,
            device=batch.device[picked],
            ts_ms=batch.ts_ms[picked],
            code=code,
            start=start,
            reading=picked,
        )

    def _push_beside(
        self,
        rule: int,
        lane: int,
        picked: Index,
        code: Codes,
        start: Bools,
        beside: Beside,
    ) -> None:
        """Of a tick for want of readings only what begins or keeps a breach counts."""
        tick = beside.tick[picked]
        code = np.where(tick == LOSES, code & (BREACH | HOLDS), code)
        says = (code != 0) | (tick == 0)
        picked, code, start = picked[says], code[says], start[says]
        batch = self._sheet.batch
        self._hot.add(
            rule=rule,
            lane=lane,
            device=batch.device[picked],
            ts_ms=batch.ts_ms[picked],
            code=code,
            start=start,
            reading=picked if beside.shown is None else beside.shown[picked],
            tick=beside.tick[picked] != 0,
            seen_ms=beside.seen_ms[picked],
        )
