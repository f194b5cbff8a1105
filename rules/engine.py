"""Runs a rule set over batches: the `Operator` between ingest and dispatch.

Instant rules act on rows in log order; timed rules and all deadlines act at time marks, in event
time. Nothing depends on how rows are cut into calls of `on_rows`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.operator import Progress
from contracts.transitions import Episode, TransitionBatch
from rules.carry import pack, unpack
from rules.changes import Changes, Revealed, in_log_order, in_time_order
from rules.compared import Carried
from rules.derived.rows import Rows
from rules.entries import FIRST
from rules.hot import Hot
from rules.instances import AFTER_ALL_MS, State
from rules.machine import Machine
from rules.members import NOT_WATCHED
from rules.parameters import Parameters, TermOf
from rules.parts import Parts
from rules.positions import true_at
from rules.ruleset import RuleSet
from rules.sheet import Sheet
from rules.subset import Subset
from rules.watching import watched
from rules.watermarks import Watermarks

LATE_DROPPED = "late_dropped"
"""Begins the names of counts of readings that a rule with `late: drop` didn't look at."""


class RuleEngine:
    """Implements `contracts.operator.Operator`. Rule rows of answers and of `reset` are those of
    `ruleset.cards`; inside, a rule is a machine row of `ruleset.rules`.

    carried: what became of each rule's state at the last `restore`.
    """

    def __init__(self, ruleset: RuleSet, directory: DeviceDirectory) -> None:
        self._built = Parts(ruleset, directory)
        self._blank = True
        """Nobody has put anything into the parts: a snapshot can be laid into them as they are."""
        self._public_row = ruleset.public
        self._term = TermOf(ruleset)
        self.carried: tuple[Carried, ...] = ()

    @property
    def _parts(self) -> Parts:
        """Whoever asks may change them."""
        self._blank = False
        return self._built

    @property
    def _parameters(self) -> Parameters:
        return self._built.parameters

    def wanted_quantities(self) -> NDArray[np.bool_]:
        """bool[len(QUANTITIES)]: what timed rules look at; other rows need no waiting."""
        parts = self._built
        wanted = parts.silence.wanted()
        asked = parts.timed.quantities() | parts.predicates.quantities()
        plain = {quantity for quantity in asked if quantity < FIRST}
        wanted[sorted(plain | parts.derive.wanted())] = True
        return wanted

    def on_rows(self, batch: TaggedBatch, only: NDArray[np.bool_] | None = None) -> TransitionBatch:
        """Rows in log order. The answer is in log order too, sorted by position and row.

        only: bool per machine row, which rules are asked; None = all.
        """
        parts = self._parts
        parts.grow()
        if not len(batch) or not parts.instant.rules:
            return TransitionBatch.empty()
        awake = parts.rest_instant.wake(batch, parts.active, parts.restless).rows
        if awake is not None:
            if not len(awake):
                return TransitionBatch.empty()
            batch = batch.take(awake)
        hot = Hot(parts.members, only)
        parts.instant.collect(Sheet(batch, parts.directory.family), hot)
        changes = Changes()
        self._play(hot, batch, None, Machine(self._parameters, changes, self._parts.flaps))
        return self._merged_rows(changes)

    def on_time(self, batch: TaggedBatch, progress: Progress) -> TransitionBatch:
        """Rows behind the watermark in event-time order, then deadlines up to it.

        The answer is in order of event time; its position is that of the mark, its row -1.
        """
        parts = self._parts
        parts.grow()
        changes = Changes()
        machine = Machine(self._parameters, changes, self._parts.flaps)
        watermarks = Watermarks(parts.directory, progress.watermark_ms)
        hot = Hot(parts.members)
        batch, made = self._awake(_ascending(batch), watermarks)
        batch, beside = parts.derive.extended(batch, made, watermarks, progress, parts.active)
        sheet = None
        if len(batch):
            derived = len(parts.ruleset.derived)
            sheet = Sheet(batch, parts.directory.family, beside, derived=derived)
            parts.timed.collect(sheet, hot)
            parts.silence.hear(sheet, hot, parts.active)
        parts.silence.expire(watermarks, hot)
        self._play(hot, batch, progress, machine)
        self._expire(machine, watermarks, progress)
        parts.flaps.forget(watermarks)
        told = parts.predicates.on_time(sheet, watermarks, progress.heard_ms)
        of_groups = parts.groups.on_time(told, progress)
        of_devices = in_time_order(parts.episodes.merge(changes.in_time_order()))
        return self._plain(_merged(of_devices, of_groups))

    def _awake(self, batch: TaggedBatch, watermarks: Watermarks) -> tuple[TaggedBatch, Rows | None]:
        """Of the rows, and of what is derived of them and of time, those that may matter."""
        parts = self._parts
        made = parts.derive.made(batch, watermarks, parts.active)
        if not len(batch) and made is None:
            return batch, None
        awake = parts.rest_timed.wake(batch, parts.active, parts.restless, made)
        if made is not None and awake.derived is not None:
            made = made.take(awake.derived)
        if awake.rows is None:
            return batch, made
        if made is not None:
            place = np.cumsum(np.bincount(awake.rows, minlength=len(batch))) - 1
            made = made.caused_by(place)
        return batch.take(awake.rows), made

    def next_ms(self) -> int | None:
        """The earliest event time at which `on_time` has something to do; None = never."""
        parts = self._parts
        machine = Machine(self._parameters, Changes(), parts.flaps)
        stages = (parts.silence, parts.derive, parts.predicates, parts.groups)
        others = [stage.next_ms() for stage in stages]
        due = min([parts.deadlines.soonest_ms(machine), *(at for at in others if at is not None)])
        return max(due, 0) if due < AFTER_ALL_MS else None

    def reset(self, rule_row: int, device_row: int) -> None:
        """An operator reset a latched alert: the instance is inactive, a new onset raises anew.

        rule_row: any variant of the rule will do. device_row: of the directory; of its groups
        when the rule speaks of a group.
        """
        self._parts.grow()
        for row in self._rows_of(rule_row):
            if self._parts.ruleset.rules[row].group is not None:
                self._parts.groups.reset(row, device_row)
            else:
                self._parts.drop(row, device_row)
                self._parts.episodes.forget(int(self._public_row[row]), device_row)

    def _rows_of(self, rule_row: int) -> list[int]:
        """Machine rows of a public rule in all its variants."""
        name = self._parts.ruleset.cards[rule_row].id
        return [row for row, rule in enumerate(self._parts.ruleset.rules) if rule.id == name]

    def snapshot(self) -> bytes:
        return pack(self._parts)

    def restore(self, blob: bytes, remap: NDArray[np.int32] | None = None) -> None:
        """Carry on from a snapshot, made with this rule set or another; see `carried`.

        Raises `rules.carry.SnapshotInvalid`.
        """
        parts = self._built
        if not self._blank:
            parts = Parts(parts.ruleset, parts.directory)
        # Half of it laid into them is no clean start for the next.
        self._blank = False
        parts.grow()
        self.carried = unpack(parts, blob, remap)
        self._built = parts

    @property
    def ruleset(self) -> RuleSet:
        return self._built.ruleset

    def watched(self) -> dict[str, int]:
        """How many devices each rule and variant watches, by name."""
        self._parts.grow()
        return watched(self._parts.ruleset, self._parts.members)

    def watches(self, rule_row: int, device_row: int) -> bool:
        """Whether the public rule looks at this device, or group when it speaks of groups."""
        parts = self._parts
        parts.grow()
        rows = true_at(self._public_row == rule_row).tolist()
        spoken = [parts.ruleset.rules[row].group for row in rows]
        if any(spoken):
            return parts.directory.groups.kinds[device_row] in spoken
        family, rank = int(parts.directory.family[device_row]), parts.members.rank[device_row]
        return any(
            family == parts.members.family_of(row)
            and parts.members.slots(Episode.LIVE, row)[rank] != NOT_WATCHED
            for row in rows
        )

    def is_active(self, rule_row: int, device_row: int, lane: int) -> bool:
        """Whether an instance of the public rule is, for a device or group that it watches."""
        parts = self._parts
        for row in true_at(self._public_row == rule_row).tolist():
            if parts.ruleset.rules[row].group is not None:
                if parts.groups.is_active(row, device_row):
                    return True
                continue
            slots = parts.members.slots(lane, row)
            if slots[parts.members.rank[device_row]] >= 0:
                return True
        return False

    def hand_over(self, successor: RuleEngine, subset: Subset) -> tuple[Carried, ...]:
        """Copy state to the engine of another rule set, which has nothing yet of that subset.

        What stays here must be left to rest: no more rows of those devices. Both engines share
        a directory.
        """
        self._parts.grow()
        successor._parts.grow()
        return unpack(successor._parts, pack(self._parts, subset), None, subset)

    def hold_groups(self, activate_ms: int) -> None:
        """Count nothing until the state of groups has been handed over; say nothing of before."""
        self._parts.groups.hold(activate_ms)

    def expire(
        self,
        devices: NDArray[np.int32],
        limit_ms: int,
        revealed: Revealed,
        only: NDArray[np.bool_],
    ) -> TransitionBatch:
        """What time alone does up to `limit_ms` to the instances of instant rules.

        devices: directory rows, ascending; revealed: one entry for each of them. only: bool per
        machine row.
        """
        instances = self._parts.instances
        instant = [row for row in self._parts.instant.rules if only[row]]
        slots = instances.slots()
        state = instances.gather(slots)
        place = np.searchsorted(devices, state.device)
        place[place == len(devices)] = 0
        mine = (devices[place] == state.device) & np.isin(state.rule, instant)
        changes = Changes()
        machine = Machine(self._parameters, changes, self._parts.flaps)
        limits = np.where(state.lane == Episode.LATE, state.clock, limit_ms)
        due = true_at(mine & (machine.deadlines(state) <= limits))
        if len(due):
            part, shown = state.take(due), revealed.take(place[due])
            machine.expire(part, np.arange(len(due)), limits[due], shown)
            self._parts.settle(part, slots[due].astype(np.int32))
        return self._merged_rows(changes)

    def _merged_rows(self, changes: Changes) -> TransitionBatch:
        """What rows of the log have changed, by public rule."""
        merged = self._parts.episodes.merge(changes.in_log_order())
        for row, device in self._parts.episodes.ended:
            self._parts.drop(row, device)
        return self._plain(in_log_order(merged))

    def state_bytes(self) -> int:
        """Bytes of state that grow with devices and rules."""
        active = len(self._parts.instances) * State.BYTES
        return self._parts.members.state_bytes() + active + self._parts.derive.state_bytes()

    def counts(self) -> dict[str, int]:
        """What couldn't be kept or computed since the state began, by reason."""
        parts = self._parts
        # Copied at once: others ask while this counts on.
        dropped = Counter(dict(parts.instant.dropped)) + Counter(dict(parts.timed.dropped))
        return parts.derive.counts() | {
            f"{LATE_DROPPED} {rule}": number for rule, number in sorted(dropped.items())
        }

    def _plain(self, found: TransitionBatch) -> TransitionBatch:
        """In place of derived quantities the terms of the public rules."""
        if not len(found) or not self._parts.ruleset.derived:
            return found
        return replace(found, quantity=self._term.of(found.rule, found.quantity))

    def _play(
        self, hot: Hot, batch: TaggedBatch, progress: Progress | None, machine: Machine
    ) -> None:
        grouped = hot.grouped()
        if grouped is None:
            return
        reading = grouped.events.reading
        if progress is None:
            revealed = Revealed(
                batch.position[reading], batch.row[reading], batch.heard_ms[reading]
            )
        else:
            revealed = _at_mark(progress, len(reading))
        state = self._parts.load(grouped)
        machine.play(state, grouped.events, batch, revealed)
        self._parts.settle(state, grouped.slot)

    def _expire(self, machine: Machine, watermarks: Watermarks, progress: Progress) -> None:
        """Deadlines: live ones up to the watermark, late ones up to what the late lane has seen."""
        instances = self._parts.instances
        slots = self._parts.deadlines.until(watermarks.newest_ms, machine)
        if not len(slots):
            return
        state = instances.gather(slots)
        limit_ms = np.where(state.lane == Episode.LATE, state.clock, watermarks.of(state.device))
        due = true_at(machine.deadlines(state) <= limit_ms)
        if len(due):
            part = state.take(due)
            machine.expire(part, np.arange(len(due)), limit_ms[due], _at_mark(progress, len(due)))
            self._parts.settle(part, slots[due].astype(np.int32))


def _merged(of_devices: TransitionBatch, of_groups: TransitionBatch) -> TransitionBatch:
    """By event time, changes of devices first; each in its order."""
    if not len(of_groups):
        return of_devices
    joined = TransitionBatch.join([of_devices, of_groups])
    return joined.take(np.argsort(joined.at_ms, kind="stable"))


def _at_mark(progress: Progress, rows: int) -> Revealed:
    return Revealed(
        np.full(rows, progress.position),
        np.full(rows, -1, np.int32),
        np.full(rows, progress.heard_ms),
    )


def _ascending(batch: TaggedBatch) -> TaggedBatch:
    """By event time; equal times stay in their order."""
    if (batch.ts_ms[1:] >= batch.ts_ms[:-1]).all():
        return batch
    return batch.take(np.argsort(batch.ts_ms, kind="stable"))
