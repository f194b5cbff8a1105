"""From one rule set to the next at an event time T, while readings come.

A reading stamped T or later meets the new rules, an earlier one the old. Gateways get to T at
different moments, so both engines run side by side for a while, and devices move one by one:

* What acts in event time moves at the first mark at which the watermark of the device's gateway
  has left nothing before T to come. Deadlines before T fire by the old rules first.
* What acts in log order moves at the device's first reading stamped T or later, or at that mark.
* A rule of both kinds moves as a whole at that mark: its alert must not be torn in two. Until then
  what of it acts in log order goes on by the old rules; what is new of it doesn't wait.
* When all gateways are there, what belongs to no single device moves, and the old engine retires.

A device moves once: a reading from before T that comes after that is late, or out of order, and
meets the new rules. What has moved stays behind as a copy that nothing wakes: the old engine's
time ends just before T, and it gets no more rows of the device.

A duration that the new numbers make over before T ends at T: no rule decides before it is in
force.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.operator import Progress
from contracts.rulebook import RuleCard
from contracts.transitions import TransitionBatch
from rules.carry import SnapshotInvalid
from rules.changes import Revealed
from rules.compared import Carried, compared, going_on, known
from rules.engine import LATE_DROPPED, RuleEngine
from rules.instances import NEVER_MS
from rules.ruleset import Rule, RuleSet
from rules.subset import Kind, Subset

VERSION = 1
Bools = NDArray[np.bool_]


class _Saved(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    activate_ms: int
    old: bytes
    new: bytes
    instant: bytes
    timed: bytes
    behind: dict[str, int]
    left: dict[str, int]


_saved_decoder = msgspec.msgpack.Decoder(_Saved)


class Switch:
    """Implements `contracts.operator.Operator`. Rule rows are those of `cards`.

    The old engine, in whatever state it is, becomes part of this. arrived: whether devices moved
    for good at the last mark. done: whether all have passed T; then `new` carries on alone, and
    its rows are those of its own rule set.
    """

    def __init__(
        self, old: RuleEngine, new: RuleSet, directory: DeviceDirectory, activate_ms: int
    ) -> None:
        self.old = old
        self.new = RuleEngine(new, directory)
        self.new.hold_groups(activate_ms)
        self.activate_ms = activate_ms
        self.done = False
        self.arrived = False
        self._directory = directory
        self._moved: dict[Kind, Bools] = {
            "instant": np.zeros(0, np.bool_),
            "timed": np.zeros(0, np.bool_),
        }
        self._left: Counter[str] = Counter()
        self._behind_ms = np.empty(0, np.int64)
        self._first_old = len(new.cards)
        self._together = _torn(old.ruleset, new)
        self._alone_old = _alone(old.ruleset, self._together, old.ruleset)
        self._alone_new = _alone(new, self._together, old.ruleset)

    @property
    def cards(self) -> tuple[RuleCard, ...]:
        """Those of the new set first, then those of the old one."""
        return self.new.ruleset.cards + self.old.ruleset.cards

    @property
    def report(self) -> tuple[Carried, ...]:
        """What becomes of each rule's state, as far as devices have moved."""
        return compared(known(self.old.ruleset), self.new.ruleset, self._left)

    @property
    def carried(self) -> frozenset[tuple[str, str]]:
        """See `rules.compared.going_on`."""
        return going_on(known(self.old.ruleset), self.new.ruleset)

    def has_moved(self, device_row: int) -> bool:
        """Whether all state of a device is with the new rules."""
        return all(device_row < len(moved) and moved[device_row] for moved in self._moved.values())

    def waiting(self) -> tuple[str, ...]:
        """Gateways of registered or known devices that haven't got to T."""
        rows = np.flatnonzero(~self._known("timed"))
        gateways = np.unique(self._directory.gateway[rows])
        return tuple(self._directory.gateways[row] for row in gateways.tolist() if row >= 0)

    def wanted_quantities(self) -> Bools:
        return self.old.wanted_quantities() | self.new.wanted_quantities()

    def on_rows(self, batch: TaggedBatch) -> TransitionBatch:
        """Rows in log order; so is the answer."""
        moved = self._known("instant")
        first, devices = self._first_new(batch, moved)
        to_new = np.arange(len(batch)) >= first[batch.device]
        between = to_new & ~self._known("timed")[batch.device]
        parts = [self._of_old(self.old.on_rows(batch.take(~to_new)))]
        last_ms = self.activate_ms - 1
        if len(devices):
            at = first[devices]
            shown = Revealed(batch.position[at], batch.row[at], batch.heard_ms[at])
            told = self.old.expire(devices, last_ms, shown, self._alone_old)
            parts.append(self._of_old(told))
            moving = np.zeros(len(self._directory), np.bool_)
            moving[devices] = True
            self._move("instant", moving)
            told = self.new.expire(devices, last_ms, shown, self._alone_new)
            parts.append(self._at_activation(told))
        if self._together:
            part = batch.take(between)
            parts.append(self._of_old(self.old.on_rows(part, ~self._alone_old)))
            parts.append(self.new.on_rows(part, self._alone_new))
            to_new &= ~between
        parts.append(self.new.on_rows(batch.take(to_new)))
        return TransitionBatch.join(parts).in_log_order()

    def _first_new(
        self, batch: TaggedBatch, moved: Bools
    ) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Per device the first row of the batch that meets the new rules; who moves with it."""
        first = np.where(moved, 0, len(batch))
        reaches = np.flatnonzero((batch.ts_ms >= self.activate_ms) & ~moved[batch.device])
        devices, at = np.unique(batch.device[reaches], return_index=True)
        first[devices] = reaches[at]
        return first, devices

    def on_time(self, batch: TaggedBatch, progress: Progress) -> TransitionBatch:
        """Rows behind the watermark in order of event time; first the old rules, then the new."""
        last_ms = self.activate_ms - 1
        passed = progress.watermark_ms >= last_ms
        before = self._known("timed")
        here = self._of_gateways(passed)
        device = batch.device
        to_new = before[device] | (here[device] & (batch.ts_ms >= self.activate_ms))
        capped = np.minimum(progress.watermark_ms, last_ms)
        told = self.old.on_time(batch.take(~to_new), replace(progress, watermark_ms=capped))
        parts = [self._of_old(told), *self._arrive(here, passed, progress)]
        self._behind_ms = np.where(passed, progress.watermark_ms, NEVER_MS)
        parts.append(self._new_on_time(batch.take(to_new), progress, self._behind_ms))
        self.arrived = len(parts) > 2
        if passed.all() and progress.heard_ms >= self.activate_ms:
            self.finish()
        return TransitionBatch.join(parts)

    def _arrive(self, here: Bools, passed: Bools, progress: Progress) -> list[TransitionBatch]:
        """Move what is behind T now; what the new numbers say of running durations."""
        instant, timed = here & ~self._known("instant"), here & ~self._known("timed")
        if not (instant.any() or timed.any()):
            return []
        self._move("instant", instant)
        self._move("timed", timed)
        # Its time never goes back: who passed before stays where the last mark left him.
        behind_ms = np.where(passed, self.activate_ms - 1, NEVER_MS)
        known = len(self._behind_ms)
        behind_ms[:known] = np.maximum(behind_ms[:known], self._behind_ms)
        found = self._new_on_time(TaggedBatch.empty(), progress, behind_ms)
        mine = (found.device >= 0) & (instant | timed)[found.device]
        own = np.flatnonzero(mine)
        others = np.flatnonzero(~mine)
        return [found.take(others), self._at_activation(found.take(own))]

    def _new_on_time(
        self, batch: TaggedBatch, progress: Progress, behind_ms: NDArray[np.int64]
    ) -> TransitionBatch:
        return self.new.on_time(batch, replace(progress, watermark_ms=behind_ms))

    def finish(self) -> None:
        """Move all that is left; the old engine has nothing more to say."""
        everyone = np.ones(len(self._directory), np.bool_)
        self._move("instant", everyone & ~self._known("instant"))
        self._move("timed", everyone & ~self._known("timed"))
        carried = self.old.hand_over(self.new, Subset(kinds=frozenset(("whole",))))
        self._left.update({one.rule: one.left for one in carried if one.left})
        self.done = True

    def _move(self, kind: Kind, devices: Bools) -> None:
        if not devices.any():
            return
        subset = Subset(devices, frozenset((kind,)), self._together)
        carried = self.old.hand_over(self.new, subset)
        self._left.update({one.rule: one.left for one in carried if one.left})
        self._moved[kind] = self._known(kind) | devices

    def _known(self, kind: Kind) -> Bools:
        """Whether each device of the directory has moved; devices come while this lasts."""
        moved = np.zeros(len(self._directory), np.bool_)
        moved[: len(self._moved[kind])] = self._moved[kind]
        return moved

    def _of_gateways(self, passed: Bools) -> Bools:
        """Per device, whether its gateway has passed. A device without a gateway never spoke."""
        gateway = self._directory.gateway
        inside = (gateway >= 0) & (gateway < len(passed))
        found = np.zeros(len(gateway), np.bool_)
        found[inside] = passed[gateway[inside]]
        return found

    def _of_old(self, told: TransitionBatch) -> TransitionBatch:
        return replace(told, rule=told.rule + np.int32(self._first_old))

    def _at_activation(self, told: TransitionBatch) -> TransitionBatch:
        return replace(told, at_ms=np.maximum(told.at_ms, self.activate_ms))

    def counts(self) -> dict[str, int]:
        """See `RuleEngine.counts`; by the rules in whose windows the readings are by now."""
        old, new = self.old.counts(), self.new.counts()
        both = {name: old.get(name, 0) + new.get(name, 0) for name in old | new}
        return old | new | {n: both[n] for n in both if n.startswith(LATE_DROPPED)}

    def state_bytes(self) -> int:
        return self.old.state_bytes() + self.new.state_bytes()

    def next_ms(self) -> int | None:
        """Not later than T: who waits for a mark must see it."""
        due = [at for at in (self.old.next_ms(), self.new.next_ms()) if at is not None]
        return min([*due, self.activate_ms])

    def reset(self, rule_row: int, device_row: int) -> None:
        """An operator's reset: wherever the device is by now."""
        name = self.cards[rule_row].id
        spoken = {rule.group is None for engine in self._both() for rule in _rows(engine, name)}
        if len(spoken) > 1:
            return  # One of them speaks of groups: nothing of the instance goes on.
        for engine in self._both():
            for row, card in enumerate(engine.ruleset.cards):
                if card.id == name and engine.watches(row, device_row):
                    engine.reset(row, device_row)

    def _both(self) -> tuple[RuleEngine, RuleEngine]:
        return self.old, self.new

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(
            _Saved(
                version=VERSION,
                activate_ms=self.activate_ms,
                old=self.old.snapshot(),
                new=self.new.snapshot(),
                instant=_rows_of(self._moved["instant"]),
                timed=_rows_of(self._moved["timed"]),
                behind=self._behind(),
                left=dict(sorted(self._left.items())),
            )
        )

    def _behind(self) -> dict[str, int]:
        """Up to where the new engine was told, by gateway."""
        names = self._directory.gateways
        there = np.flatnonzero(self._behind_ms > NEVER_MS).tolist()
        return {names[row]: int(self._behind_ms[row]) for row in there}

    def restore(self, blob: bytes, remap: NDArray[np.int32] | None = None) -> None:
        """Carry on in the middle; built with the same rule sets. Raises `SnapshotInvalid`."""
        try:
            saved = _saved_decoder.decode(blob)
        except msgspec.DecodeError as error:
            raise SnapshotInvalid(f"no snapshot of a change of rules: {error}") from None
        if saved.version != VERSION:
            raise SnapshotInvalid(f"change of rules, version {saved.version}, this is {VERSION}")
        self.activate_ms = saved.activate_ms
        self.old.restore(saved.old, remap)
        self.new.restore(saved.new, remap)
        self._left = Counter(saved.left)
        there = [self._directory.intern_gateway(gateway) for gateway in saved.behind]
        self._behind_ms = np.full(len(self._directory.gateways), NEVER_MS)
        self._behind_ms[there] = list(saved.behind.values())
        for kind, rows in (("instant", saved.instant), ("timed", saved.timed)):
            moved = np.zeros(len(self._directory), np.bool_)
            moved[_remapped(np.frombuffer(rows, "<i4"), remap)] = True
            self._moved[kind] = moved  # type: ignore[index]  # the two kinds above


def _torn(old: RuleSet, new: RuleSet) -> frozenset[str]:
    """Ids of rules that act in log order and in event time, and whose state goes on."""
    kinds: dict[str, set[bool]] = {}
    for rule in old.rules:
        kinds.setdefault(rule.id, set()).add(rule.mode == "instant")
    there = {(rule.key, rule.shape) for rule in new.rules}
    goes_on = {rule.id for rule in old.rules if (rule.key, rule.shape) in there}
    return frozenset(name for name in goes_on if len(kinds[name]) > 1)


def _alone(ruleset: RuleSet, names: frozenset[str], old: RuleSet) -> Bools:
    """bool per machine row: whether it doesn't wait for others of its rule. What a rule has not
    asked before has nothing to wait for."""
    known = {(rule.key, rule.shape) for rule in old.rules if rule.id in names}
    return np.array([(rule.key, rule.shape) not in known for rule in ruleset.rules], np.bool_)


def _rows(engine: RuleEngine, name: str) -> list[Rule]:
    """The machine rows of a public rule."""
    return [rule for rule in engine.ruleset.rules if rule.id == name]


def _rows_of(moved: Bools) -> bytes:
    return np.flatnonzero(moved).astype("<i4").tobytes()


def _remapped(rows: NDArray[np.int32], remap: NDArray[np.int32] | None) -> NDArray[np.int32]:
    if remap is None:
        return rows
    found: NDArray[np.int32] = remap[rows[rows < len(remap)]]
    return found[found >= 0]
