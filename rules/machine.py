"""The state machine of rule instances, over columns.

    inactive --breach--> pending(since) --for--> firing(onset) --clear--> clearing(since)
       ^                    | not breached          ^  ^  clear fails        | clear_for
       +--------------------+                       |  +---------------------+
       +--------------------------------------------+------------------------+

A rule with `keep` on something momentary has no clearing: firing ends by itself so long after the
last breach.

A deadline has its own event time: it counts as passed when a reading at or after it changes the
verdict, or at a time mark. A reading that agrees with the phase changes nothing and reveals
nothing: that is what makes the answer independent of how readings are cut into batches, and
what lets all but the first of equal readings be skipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TaggedBatch
from contracts.transitions import Change
from rules.changes import Changes, Deciding, Index, Revealed, Times
from rules.flapping import Flaps
from rules.instances import AFTER_ALL_MS, CLEARING, FIRING, INACTIVE, PENDING, State
from rules.parameters import Parameters
from rules.positions import true_at
from rules.verdict import BREACH, CLEARS, HOLDS, LOST, NOT

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Events:
    """What instances meet, grouped by instance, in order inside each.

    instance: intp, ascending from 0. ts_ms: int64. code: uint8 verdict. start: whether it may
    begin an episode. reading: intp row of the batch, -1 = none (the device was silent). tick:
    time alone made it, so it is no sign that there is data. seen_ms: int64, the newest reading
    behind it.
    """

    instance: Index
    ts_ms: Times
    code: NDArray[np.uint8]
    start: Bools
    reading: Index
    tick: Bools
    seen_ms: Times

    def __len__(self) -> int:
        return len(self.ts_ms)


class Machine:
    """Works events and deadlines into states; writes changes."""

    def __init__(
        self, parameters: Parameters, changes: Changes, flaps: Flaps | None = None
    ) -> None:
        """flaps: of the rules that are watched for it; None = there are none."""
        self._parameters = parameters
        self._changes = changes
        self._flaps = flaps if parameters.flaps else None

    def deadlines(self, state: State) -> Times:
        """int64 per instance: when time alone will change it; `AFTER_ALL_MS` = never."""
        rule = state.rule
        due = np.full(len(state), AFTER_ALL_MS)
        pending, clearing = state.phase == PENDING, state.phase == CLEARING
        due[pending] = self._raised_at(state, slice(None))[pending]
        due[clearing] = (state.since + self._parameters.clear_for_ms[rule])[clearing]
        if self._parameters.keeps:
            ends = self._ends_at(state, slice(None))
            due = np.where(state.phase == FIRING, np.minimum(due, ends), due)
        missing = self._parameters.missing_ms[rule]
        watched = (state.phase == FIRING) & ~state.unknown & (missing > 0)
        due[watched] = np.minimum(due, self._lost_at(state, slice(None)))[watched]
        return due

    def _raised_at(self, state: State, index: Index | slice) -> Times:
        """When the condition will have held, or had held, for long enough."""
        rule = state.rule[index]
        delay = self._parameters.for_ms[rule]
        if self._flaps is not None:
            delay = np.where(state.widened[index], self._parameters.flap_for_ms[rule], delay)
        raised: Times = state.onset[index] + delay
        return raised

    def _lost_at(self, state: State, index: Index | slice) -> Times:
        """When data counts as lost; never before the alert is raised."""
        missing = self._parameters.missing_ms[state.rule[index]]
        lost: Times = np.maximum(state.seen[index] + missing, self._raised_at(state, index))
        return lost

    def _ends_at(self, state: State, index: Index | slice) -> Times:
        """When it ends by itself, counted from the last breach, or from when it is raised."""
        keep = self._parameters.keep_ms[state.rule[index]]
        last = np.maximum(state.since[index], self._raised_at(state, index))
        ends: Times = np.where(keep > 0, last + keep, AFTER_ALL_MS)
        return ends

    def expire(self, state: State, index: Index, limit_ms: Times, revealed: Revealed) -> None:
        """What time alone does to the instances `index` up to `limit_ms` (inclusive)."""
        self._raise_due(state, index, limit_ms, revealed)
        if self._parameters.keeps:
            self._end_due(state, index, limit_ms, revealed)
        self._clear_due(state, index, limit_ms, revealed)
        self._lose_due(state, index, limit_ms, revealed)

    def _raise_due(self, state: State, index: Index, limit_ms: Times, revealed: Revealed) -> None:
        due = self._raised_at(state, index)
        hit = true_at((state.phase[index] == PENDING) & (due <= limit_ms))
        if not len(hit):
            return
        j, at = index[hit], due[hit]
        state.phase[j] = FIRING
        state.clock[j] = np.maximum(state.clock[j], at)
        deciding = _kept(state, j, state.onset[j])
        self._tell(Change.RAISED, state, j, at, deciding, revealed.take(hit))
        # Only what a group hangs on can be lost before `for` is over.
        lost = true_at(state.unknown[j])
        if len(lost):
            k, shown = j[lost], revealed.take(hit[lost])
            deciding = _kept(state, k, state.onset[k])
            self._tell(Change.UNKNOWN, state, k, at[lost], deciding, shown)

    def _end_due(self, state: State, index: Index, limit_ms: Times, revealed: Revealed) -> None:
        due = self._ends_at(state, index)
        hit = true_at((state.phase[index] == FIRING) & (due <= limit_ms))
        if not len(hit):
            return
        j, at, shown = index[hit], due[hit], revealed.take(hit)
        state.phase[j] = INACTIVE
        none = Deciding.none(state.since[j], shown.heard_ms)
        self._tell(Change.CLEARED, state, j, at, none, shown)

    def _clear_due(self, state: State, index: Index, limit_ms: Times, revealed: Revealed) -> None:
        due = state.since[index] + self._parameters.clear_for_ms[state.rule[index]]
        # Lost data never clears: `missing` is longer than `clear_for`, so this falls due first.
        hit = true_at((state.phase[index] == CLEARING) & (due <= limit_ms))
        if not len(hit):
            return
        j, at = index[hit], due[hit]
        state.phase[j] = INACTIVE
        deciding = _kept(state, j, state.since[j])
        self._tell(Change.CLEARED, state, j, at, deciding, revealed.take(hit))

    def _lose_due(self, state: State, index: Index, limit_ms: Times, revealed: Revealed) -> None:
        missing = self._parameters.missing_ms[state.rule[index]]
        due = self._lost_at(state, index)
        open_ = (state.phase[index] == FIRING) & ~state.unknown[index] & (missing > 0)
        hit = true_at(open_ & (due <= limit_ms))
        if not len(hit):
            return
        j, at = index[hit], due[hit]
        state.unknown[j] = True
        state.clock[j] = np.maximum(state.clock[j], at)
        shown = revealed.take(hit)
        none = Deciding.none(state.seen[j], shown.heard_ms)
        self._tell(Change.UNKNOWN, state, j, at, none, shown)

    def play(self, state: State, events: Events, batch: TaggedBatch, revealed: Revealed) -> None:
        """Work the events into `state` (row i is instance i), in place.

        revealed: one entry per event. Time is work per change of verdict, not per reading: equal
        readings are skipped, and instances are worked through side by side, a round at a time.
        """
        if len(events) == len(state):
            # One each, as in most small batches.
            every = np.arange(len(events))
            now = _Round.of(events, every, events.ts_ms, batch, revealed)
            self._round(state, every, now)
            return
        kept, last = _compressed(state, events, self._parameters)
        count = np.bincount(events.instance[kept], minlength=len(state))
        head = np.cumsum(count) - count
        busiest = np.argsort(-count, kind="stable")
        for number in range(int(count.max(initial=0))):
            index = busiest[: np.searchsorted(-count[busiest], -number, side="left")]
            at = head[index] + number
            self._round(state, index, _Round.of(events, kept[at], last[at], batch, revealed))

    def _round(self, state: State, index: Index, now: _Round) -> None:
        """One event for each instance of `index`."""
        fresh = (state.phase[index] != INACTIVE) & (now.ts_ms >= state.clock[index])
        self._reveal(state, index, now, fresh)
        found = fresh & state.unknown[index] & ~now.lost & ~now.tick
        self._found(state, index, true_at(found), now)
        phase = state.phase[index]
        idle = phase == INACTIVE
        evidence = true_at(fresh & ~idle)
        self._begin(state, index, true_at(idle & now.breach & now.start), now)
        cancelled = fresh & (phase == PENDING) & now.not_breach
        state.phase[index[cancelled]] = INACTIVE
        state.phase[index[fresh & (phase == CLEARING) & now.holds]] = FIRING
        self._lose(state, index, true_at(fresh & now.lost), now)
        j = index[evidence]
        read = evidence[~now.tick[evidence]]
        state.seen[index[read]] = np.maximum(state.seen[index[read]], now.last_ms[read])
        state.clock[j] = np.maximum(state.clock[j], now.last_ms[evidence])
        clears = fresh & (phase == FIRING) & now.clears
        if self._parameters.keeps:
            keeps = self._parameters.keep_ms[state.rule[index]] > 0
            clears &= ~keeps
            again = true_at(fresh & keeps & now.breach & (phase != INACTIVE))
            j = index[again]
            state.since[j] = np.maximum(state.since[j], now.last_ms[again])
        self._end(state, index, true_at(clears), now)

    def _found(self, state: State, index: Index, hit: Index, now: _Round) -> None:
        """Data is back. What was lost while pending was never said."""
        if not len(hit):
            return
        state.unknown[index[hit]] = False
        said = hit[state.phase[index[hit]] != PENDING]
        self._tell_row(Change.KNOWN, state, index, said, now)

    def _lose(self, state: State, index: Index, hit: Index, now: _Round) -> None:
        """What the verdict of a group hangs on was lost; said at once while it is raised."""
        hit = hit[~state.unknown[index[hit]]]
        if not len(hit):
            return
        state.unknown[index[hit]] = True
        said = hit[state.phase[index[hit]] == FIRING]
        self._tell_row(Change.UNKNOWN, state, index, said, now)

    def _reveal(self, state: State, index: Index, now: _Round, fresh: Bools) -> None:
        """Deadlines that this event shows to have passed before it."""
        phase = state.phase[index]
        missing = self._parameters.missing_ms[state.rule[index]]
        gap = (missing > 0) & ~state.unknown[index] & (now.ts_ms >= state.seen[index] + missing)
        turned = (phase == PENDING) & now.not_breach
        turned |= (phase == CLEARING) & now.holds
        turned |= (phase == PENDING) & (now.lost != state.unknown[index])
        if self._parameters.keeps:
            # A breach so late is another one; an earlier one goes on and shows nothing.
            turned |= now.breach & (now.ts_ms >= self._ends_at(state, index))
        shown = true_at(fresh & (gap | turned))
        if len(shown):
            self.expire(state, index[shown], now.ts_ms[shown], now.revealed.take(shown))

    def _begin(self, state: State, index: Index, hit: Index, now: _Round) -> None:
        if not len(hit):
            return
        j = index[hit]
        state.onset[j] = now.ts_ms[hit]
        state.clock[j] = now.last_ms[hit]
        state.seen[j] = np.where(now.tick[hit], now.seen_ms[hit], now.last_ms[hit])
        state.unknown[j] = now.lost[hit]
        _keep(state, j, now.deciding.take(hit))
        if self._parameters.keeps:
            keeps = self._parameters.keep_ms[state.rule[j]] > 0
            state.since[j] = np.where(keeps, now.last_ms[hit], state.since[j])
        if self._flaps is not None:
            state.widened[j] = self._flaps.widened(state, j, now.ts_ms[hit])
        waits = self._raised_at(state, j) > state.onset[j]
        state.phase[j] = np.where(waits, PENDING, FIRING)
        self._tell_row(Change.RAISED, state, index, hit[~waits], now)
        self._tell_row(Change.UNKNOWN, state, index, hit[~waits & now.lost[hit]], now)

    def _end(self, state: State, index: Index, hit: Index, now: _Round) -> None:
        if not len(hit):
            return
        j = index[hit]
        waits = self._parameters.clear_for_ms[state.rule[j]] > 0
        state.phase[j] = np.where(waits, CLEARING, INACTIVE)
        _keep(state, j, now.deciding.take(hit))
        self._tell_row(Change.CLEARED, state, index, hit[~waits], now)

    def _tell_row(
        self, change: Change, state: State, index: Index, hit: Index, now: _Round
    ) -> None:
        """A change at the time of the event itself."""
        if len(hit):
            j, deciding = index[hit], now.deciding.take(hit)
            self._tell(change, state, j, now.ts_ms[hit], deciding, now.revealed.take(hit))

    def _tell(
        self,
        change: Change,
        state: State,
        index: Index,
        at_ms: Times,
        deciding: Deciding,
        revealed: Revealed,
    ) -> None:
        limits = self._parameters.when_limit
        if change == Change.CLEARED:
            limits = self._parameters.clear_limit
        threshold = limits.of(
            state.rule[index], deciding.quantity, state.device[index], deciding.value
        )
        waited = flapping = None
        if change == Change.RAISED and self._flaps is not None:
            longer = self._parameters.flap_for_ms[state.rule[index]]
            waited = np.where(state.widened[index], longer, 0)
            flapping = np.where(self._flaps.raised(state, index, at_ms), longer, 0)
        self._changes.add(
            change,
            state,
            index,
            at_ms=at_ms,
            threshold=threshold,
            deciding=deciding,
            revealed=revealed,
            waited_ms=waited,
            flapping_ms=flapping,
        )


@dataclass(frozen=True, slots=True)
class _Round:
    """One event for each of some instances, as columns. last_ms: end of its run of equals."""

    ts_ms: Times
    last_ms: Times
    not_breach: Bools
    clears: Bools
    breach: Bools
    holds: Bools
    lost: Bools
    start: Bools
    tick: Bools
    seen_ms: Times
    deciding: Deciding
    revealed: Revealed

    @staticmethod
    def of(
        events: Events, picked: Index, last: Times, batch: TaggedBatch, revealed: Revealed
    ) -> _Round:
        code, ts_ms = events.code[picked], events.ts_ms[picked]
        shown = revealed.take(picked)
        return _Round(
            ts_ms=ts_ms,
            last_ms=last,
            not_breach=(code & NOT) != 0,
            clears=(code & CLEARS) != 0,
            breach=(code & BREACH) != 0,
            holds=(code & HOLDS) != 0,
            lost=(code & LOST) != 0,
            start=events.start[picked],
            tick=events.tick[picked],
            seen_ms=events.seen_ms[picked],
            deciding=_deciding(batch, events.reading[picked], ts_ms, shown.heard_ms),
            revealed=shown,
        )


def _deciding(batch: TaggedBatch, row: Index, ts_ms: Times, heard_ms: Times) -> Deciding:
    silent = row < 0
    if not silent.any():
        return Deciding(
            batch.value[row], batch.quantity[row], ts_ms, batch.flags[row], batch.heard_ms[row]
        )
    made = Deciding.none(ts_ms, heard_ms.copy())
    read = true_at(~silent)
    made.value[read] = batch.value[row[read]]
    made.quantity[read] = batch.quantity[row[read]]
    made.flags[read] = batch.flags[row[read]]
    made.heard_ms[read] = batch.heard_ms[row[read]]
    return made


def _kept(state: State, index: Index, decided_ms: Times) -> Deciding:
    """The reading that is kept; decided_ms: its event time."""
    return Deciding(
        state.value[index],
        state.quantity[index],
        decided_ms,
        state.flags[index],
        state.heard[index],
    )


def _keep(state: State, index: Index, deciding: Deciding) -> None:
    state.since[index] = deciding.decided_ms
    state.value[index] = deciding.value
    state.quantity[index] = deciding.quantity
    state.flags[index] = deciding.flags
    state.heard[index] = deciding.heard_ms


def _compressed(state: State, events: Events, parameters: Parameters) -> tuple[Index, Times]:
    """Events that may change something, and the time at which the run of each ends.

    Kept are: the first of an instance, every change of verdict, what follows a gap as long as
    `missing` or `keep`, and the first that isn't older than the instance's clock. An instance whose
    readings aren't in order of time keeps all.
    """
    ts, instance = events.ts_ms, events.instance
    same = instance[1:] == instance[:-1]
    missing = parameters.missing_ms[state.rule][instance[1:]]
    clock = state.clock[instance[1:]]
    untidy = np.zeros(len(state), np.bool_)
    untidy[instance[1:][same & (ts[1:] < ts[:-1])]] = True
    changed = (events.code[1:] != events.code[:-1]) | (events.start[1:] != events.start[:-1])
    changed |= events.tick[1:] != events.tick[:-1]
    gap = (missing > 0) & (ts[1:] - ts[:-1] >= missing)
    if parameters.keeps:
        keep_ms = parameters.keep_ms[state.rule][instance[1:]]
        gap |= (keep_ms > 0) & (ts[1:] - ts[:-1] >= keep_ms)
    reaches = (ts[1:] >= clock) & (ts[:-1] < clock)
    keep = np.ones(len(events), np.bool_)
    keep[1:] = ~same | changed | gap | reaches | untidy[instance[1:]]
    kept = true_at(keep)
    last = ts[np.append(kept[1:], len(events)) - 1]
    return kept, last
